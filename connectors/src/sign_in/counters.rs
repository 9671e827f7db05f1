//! What sign-in counts (`edgeway_http_total`, label `what`). The names are stable.

/// Every counter with what it counts, for the manual.
pub const ALL: [(&str, &str); 17] = [
    (GOOD, "sign-ins whose credentials were right"),
    (REFUSED, "sign-ins whose credentials were wrong (401)"),
    (UNAVAILABLE, "sign-ins that nobody could check (503)"),
    (TOO_MANY, "sign-ins refused unread by rate control (429)"),
    (CACHED, "sign-ins answered from the credential cache"),
    (UNCACHED, "passwords that the credential cache did not know"),
    (ASKED, "questions to whoever checks credentials"),
    (COALESCED, "sign-ins that waited for a question that was under way"),
    (TOLD, "sign-ins learnt from other cores"),
    (ISSUED, "session tokens issued"),
    (REVOKED, "users revoked by the operator"),
    (PURGED, "users purged from the credential cache by the operator"),
    (TOKEN_REFUSED, "requests with a token that is forged, expired, revoked or of another deployment"),
    (FOREIGN_DOMAIN, "requests for a domain that is not served (403)"),
    (NOT_SELF, "requests for another user's data (403)"),
    (NOT_ALLOWED, "requests that the HTTP server allow list does not allow (403)"),
    (USER_BUSY, "requests of a user who has too many under way (429)"),
];

pub(super) const GOOD: &str = "sign_in_good";
pub(super) const REFUSED: &str = "sign_in_refused";
pub(super) const UNAVAILABLE: &str = "sign_in_unavailable";
pub(super) const TOO_MANY: &str = "sign_in_too_many";
pub(super) const CACHED: &str = "sign_in_cached";
pub(super) const UNCACHED: &str = "sign_in_uncached";
pub(super) const ASKED: &str = "authority_asked";
pub(super) const COALESCED: &str = "sign_in_coalesced";
pub(super) const TOLD: &str = "sign_in_told";
pub(super) const ISSUED: &str = "token_issued";
pub(super) const REVOKED: &str = "user_revoked";
pub(super) const PURGED: &str = "user_purged";
/// A token that is no proof.
pub const TOKEN_REFUSED: &str = "token_refused";
/// Not one of our domains.
pub const FOREIGN_DOMAIN: &str = "domain_refused";
/// Another user's data.
pub const NOT_SELF: &str = "not_self";
/// Not on the HTTP server allow list.
pub const NOT_ALLOWED: &str = "not_allowed";
/// Too many of one user.
pub const USER_BUSY: &str = "user_busy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_lists_every_counter() {
        const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manual/sign-in.md");
        let manual = std::fs::read_to_string(MANUAL).unwrap();
        let listed: Vec<&str> = manual.lines().skip_while(|line| *line != "| what | counts |").skip(2).collect();
        let wanted: Vec<String> = ALL.iter().map(|(name, what)| format!("| `{name}` | {what} |")).collect();
        assert_eq!(listed, wanted, "docs/manual/sign-in.md should have these rows:\n{}", wanted.join("\n"));
    }
}
