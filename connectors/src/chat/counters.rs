//! What chat counts at a core (`edgeway_xmpp_total`, label `what`). The names are stable.

use edgeway_model::chat::ChatOffence;

/// Every counter with what it counts, for the manual.
pub const ALL: [(&str, &str); 16] = [
    (STREAM, "streams that edges carried to this core"),
    (FULL, "streams refused because too many were there"),
    (CUT_FOR_OTHERS, "streams ended because others of their edge came to sign in, and they had been at it longest"),
    (MAINTENANCE, "streams turned away in maintenance mode"),
    (SIGNED_IN, "chat clients that signed in"),
    (RESUMED, "of these, those that resumed a stream they had had"),
    (TOO_MANY, "chat sign-ins refused unread by rate control"),
    (USER_FULL, "chat clients refused because their user had too many sessions"),
    (REFUSED, "chat sign-ins that an IM server refused"),
    (SERVER_FAILED, "connections to IM servers that did not come to be"),
    (SERVER_DOWN, "times that an IM server was found not to answer"),
    (SERVER_LOST, "chat sessions whose IM server went away"),
    (DISCONNECTED, "chat sessions ended by the operator, or with their user's revocation"),
    (OFFENCE_PROTOCOL, "chat clients that did not speak XMPP, or broke a bound, seen by this core"),
    (OFFENCE_SIGN_IN, "refused credentials of chat clients, as intrusion protection sees them"),
    (OFFENCE_ABUSE, "credentials of chat clients that came too often, as intrusion protection sees them"),
];

pub(super) const STREAM: &str = "chat_core_stream";
pub(super) const FULL: &str = "chat_core_full";
pub(super) const CUT_FOR_OTHERS: &str = "chat_core_cut_for_others";
pub(super) const MAINTENANCE: &str = "chat_core_maintenance";
pub(super) const SIGNED_IN: &str = "chat_signed_in";
pub(super) const RESUMED: &str = "chat_resumed";
pub(super) const TOO_MANY: &str = "chat_sign_in_too_many";
pub(super) const USER_FULL: &str = "chat_user_full";
pub(super) const REFUSED: &str = "chat_sign_in_refused";
pub(super) const SERVER_FAILED: &str = "chat_server_failed";
pub(super) const SERVER_DOWN: &str = "chat_server_down";
pub(super) const SERVER_LOST: &str = "chat_server_lost";
pub(super) const DISCONNECTED: &str = "chat_disconnected";
const OFFENCE_PROTOCOL: &str = "chat_offence_protocol";
const OFFENCE_SIGN_IN: &str = "chat_offence_sign_in";
const OFFENCE_ABUSE: &str = "chat_offence_abuse";

/// Of an offence.
pub(super) const fn offence(offence: ChatOffence) -> &'static str {
    match offence {
        ChatOffence::Protocol => OFFENCE_PROTOCOL,
        ChatOffence::SignIn => OFFENCE_SIGN_IN,
        ChatOffence::Abuse => OFFENCE_ABUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_lists_every_counter() {
        const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manual/chat.md");
        let manual = std::fs::read_to_string(MANUAL).unwrap();
        let rows = manual.lines().skip_while(|line| *line != "| what, at a core | counts |").skip(2);
        let listed: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
        let wanted: Vec<String> = ALL.iter().map(|(name, what)| format!("| `{name}` | {what} |")).collect();
        assert_eq!(listed, wanted, "docs/manual/chat.md should have these rows:\n{}", wanted.join("\n"));
    }
}
