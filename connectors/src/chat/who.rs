//! Whose credentials a client shows, and in which window of attempts they count.

use edgeway_model::sign_in::{Deployment, Subject, UserName};
use sha2::{Digest as _, Sha256};

/// Whose attempts have a window by their spelling; the name of no deployment of an operator's, which has users.
const UNNAMED: &str = "chat.unnamed";

/// Who credentials say they are of.
#[derive(Debug)]
pub(super) enum Who {
    /// A user, by the same name as at any other sign-in.
    User(Subject),
    /// One who can have no name at sign-in, by a name made of its spelling.
    Spelled(Subject),
    /// Only the server can tell.
    Unsaid,
    /// Nobody: no server is to see the credentials.
    Nobody,
}

impl Who {
    /// `name` as the client or a server spells it, without the domain of its stream; `None` where only the server can
    /// tell.
    ///
    /// Servers take several spellings for one user (RFC 7622 §3.3: fullwidth letters, letters with their accents apart;
    /// directories behind them: runs of spaces, characters that cannot be seen), and each would have a window of
    /// attempts of its own. So a name that is none at sign-in passes only if it is of characters that nothing maps to
    /// others: what ASCII prints but a space, and the letters of [`stays_apart`]. What JIDs escape (XEP-0106) counts
    /// as what it stands for.
    pub(super) fn claimed(deployment: &Deployment, name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::Unsaid };
        let Some(text) = unescaped(name) else { return Self::Nobody };
        if let Some(user) = UserName::new(&text) {
            return Self::User(Subject { deployment: deployment.clone(), user });
        }
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() || stays_apart(c)) {
            return Self::Nobody;
        }
        let folded = text.to_ascii_lowercase();
        let parts = Sha256::new().chain_update(deployment.as_str()).chain_update([0]).chain_update(folded);
        let hex: String = parts.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        match (Deployment::new(UNNAMED), UserName::new(&hex)) {
            (Some(deployment), Some(user)) => Self::Spelled(Subject { deployment, user }),
            (None, _) | (_, None) => Self::Nobody,
        }
    }

    /// Whom a server says a full JID is of (RFC 7622 §3.1).
    pub(super) fn bound(deployment: &Deployment, jid: &str) -> Self {
        let bare = jid.split('/').next().unwrap_or_default();
        Self::claimed(deployment, bare.split_once('@').map(|(local, _)| local))
    }

    /// The user, where it is one.
    pub(super) const fn subject(&self) -> Option<&Subject> {
        match self {
            Self::User(subject) => Some(subject),
            Self::Spelled(_) | Self::Unsaid | Self::Nobody => None,
        }
    }

    /// Whose attempts and sessions are counted; `None` where that is nobody.
    pub(super) const fn counted(&self) -> Option<&Subject> {
        match self {
            Self::User(subject) | Self::Spelled(subject) => Some(subject),
            Self::Unsaid | Self::Nobody => None,
        }
    }
}

/// What a name stands for in a JID (XEP-0106 §3), in any case, as servers take it. `None` for a backslash that stands
/// for nothing, and for what ends the name in a JID.
fn unescaped(name: &str) -> Option<String> {
    if name.contains(['@', '/']) {
        return None;
    }
    let mut parts = name.split('\\');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        text.push(match code {
            "20" => ' ',
            "22" => '"',
            "26" => '&',
            "27" => '\'',
            "2f" | "2F" => '/',
            "3a" | "3A" => ':',
            "3c" | "3C" => '<',
            "3e" | "3E" => '>',
            "40" => '@',
            "5c" | "5C" => '\\',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

/// Letters of Hebrew, Arabic and Georgian. None is a mark, none has two cases, NFKC changes none, and none becomes
/// another one together with others that are here: a name of them has one spelling. Scripts whose vowels are marks
/// (Thai, those of India) have several for most names, and are not here.
const fn stays_apart(c: char) -> bool {
    matches!(c, '\u{5d0}'..='\u{5ea}' | '\u{620}'..='\u{63f}' | '\u{641}'..='\u{64a}' | '\u{671}'..='\u{673}')
        || matches!(c, '\u{679}'..='\u{6d3}' | '\u{6d5}' | '\u{10d0}'..='\u{10fa}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        Who::claimed(&Deployment::default_one(), Some(name))
    }

    #[test]
    fn one_user_has_one_window_in_whatever_spelling() {
        let alice = who("alice");
        for same in ["ALICE", "Alice", " alice ", "alice\\20", "\\20Alice"] {
            assert_eq!(who(same).counted(), alice.counted(), "{same}");
        }
        assert!(alice.counted().is_some() && alice.counted() == alice.subject());
        let smith = who("alice smith");
        assert!(smith.subject().is_some() && who("alice\\20smith").counted() == smith.counted());
        assert_eq!(who("d\\27artagnan").counted(), who("d'Artagnan").counted());
        // What a server, or a directory behind it, may take for her, and we would not.
        for spelling in [
            "\u{ff41}lice",
            "al\u{131}\u{307}ce",
            "\u{1d41a}lice",
            "ali\u{ad}ce",
            "al\u{2170}ce",
            "alic\u{b2}",
            "alice\t",
            "al\tice",
            "\ralice",
            "alice\n",
            "al\u{0}ice",
            "al\u{1b}ice",
            "al\u{7f}ice",
            "alice  smith",
            "alice\\20\\20smith",
            "alice \\20smith",
            "alice: smith",
            "alice@x1",
            "alice/desk",
            "CORP\\alice",
            "alice\\",
            "alice\\2",
            "alice\\41",
            "",
            " ",
            "\\20",
        ] {
            assert!(matches!(who(spelling), Who::Nobody), "{spelling:?}");
        }
    }

    #[test]
    fn marks_and_what_is_composed_of_others_is_nobodys() {
        for spelling in [
            // Alef and its marks, which are one letter together; the same in Devanagari, Thai, Lao, Tamil.
            "\u{627}\u{653}",
            "\u{627}\u{654}",
            "\u{648}\u{655}",
            "\u{928}\u{93c}",
            "\u{e01}\u{e33}",
            "\u{e01}\u{e4d}\u{e32}",
            "\u{e81}\u{eb3}",
            "\u{b95}\u{bc6}\u{bbe}",
            // Points; a letter that only makes others longer; digits; what stands for two letters; capitals of Georgian.
            "\u{5d0}\u{5b7}",
            "\u{627}\u{640}",
            "\u{661}",
            "\u{6f1}",
            "\u{675}",
            "\u{fb1f}",
            "\u{10fc}",
            "\u{10a0}",
            "\u{1c90}",
            "\u{200f}\u{5d0}",
        ] {
            assert!(matches!(who(spelling), Who::Nobody), "{spelling:?}");
        }
        for name in ["\u{5d0}\u{5d1}", "\u{623}\u{62d}\u{645}\u{62f}", "\u{10d0}\u{10da}\u{10d8}1", "\u{5d0}.x"] {
            assert!(matches!(who(name), Who::Spelled(_)), "{name:?}");
        }
    }

    #[test]
    fn who_has_no_name_here_has_a_window_all_the_same() {
        let escaped = who("c\\3ad");
        assert!(escaped.subject().is_none() && escaped.counted().is_some());
        assert_eq!(escaped.counted(), who("C\\3AD").counted());
        assert_eq!(escaped.counted(), who("c:d").counted());
        assert_ne!(escaped.counted(), who("c\\3ae").counted());
        let elsewhere = Who::claimed(&Deployment::new("other").unwrap(), Some("c:d"));
        assert_ne!(escaped.counted(), elsewhere.counted());
        assert!(matches!(Who::claimed(&Deployment::default_one(), None), Who::Unsaid));
    }

    #[test]
    fn a_jid_says_whose_it_is() {
        let of = |jid: &str| Who::bound(&Deployment::default_one(), jid);
        for jid in ["alice@example.com/desk", "Alice@example.com", "alice@example.com/a@b/c"] {
            assert_eq!(of(jid).subject(), who("alice").subject(), "{jid}");
        }
        assert_eq!(of("d\\27artagnan@example.com/x").subject(), who("d'artagnan").subject());
        for nobodys in ["example.com", "example.com/alice@x", ""] {
            assert!(matches!(of(nobodys), Who::Unsaid), "{nobodys}");
        }
    }
}
