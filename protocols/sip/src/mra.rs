//! What the field's clients say in REGISTER about paths and their failover: keepalives of standby
//! paths (`cisco-keep-alive`), adaptive routing (AR) and STUN keepalive (SK).
//!
//! Says what a message means; what to do about it is the node's business.

use crate::header::Name;
use crate::message::Message;

/// Whether this REGISTER only asks if a server is there: every Contact carries `cisco-keep-alive` and
/// asks for no time. It looks like a de-registration and is none.
#[must_use]
pub fn is_keep_alive(request: &Message) -> bool {
    if request.method() != Some("REGISTER") {
        return false;
    }
    let general = request.expires();
    let mut contacts = 0;
    let all = request.contacts().all(|contact| {
        contacts += 1;
        let expires = contact.param("expires").flatten().and_then(|text| text.parse().ok()).or(general);
        contact.param("cisco-keep-alive").is_some() && expires == Some(0)
    });
    all && contacts > 0
}

/// Features a path has if every hop of it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFeatures {
    /// AR: a REGISTER goes on through another core where the one its Route names is away.
    pub adaptive_routing: bool,
    /// SK: STUN requests on the SIP connection are answered for the whole path.
    pub stun_keepalive: bool,
}

impl PathFeatures {
    /// What a client offers: `x-cisco-mra-ha` at its Contact, or the same value in Supported.
    #[must_use]
    pub fn offered(register: &Message) -> Self {
        let at_contact = register.contacts().filter_map(|contact| contact.param("x-cisco-mra-ha").flatten());
        let supported = register.values(Name::Supported).filter_map(|value| std::str::from_utf8(value).ok());
        let supported = supported.filter_map(|value| feature_value(value, OPTION_TAG));
        let none = Self { adaptive_routing: false, stun_keepalive: false };
        at_contact.chain(supported).fold(none, |sum, value| {
            let has = |feature: &str| value.split('_').any(|part| part.eq_ignore_ascii_case(feature));
            Self {
                adaptive_routing: sum.adaptive_routing || has("AR"),
                stun_keepalive: sum.stun_keepalive || has("SK"),
            }
        })
    }

    /// What is left where the next hop has only `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            adaptive_routing: self.adaptive_routing && other.adaptive_routing,
            stun_keepalive: self.stun_keepalive && other.stun_keepalive,
        }
    }

    /// How an answer says so, in Supported.
    #[must_use]
    pub const fn option_tag(self) -> Option<&'static str> {
        match (self.adaptive_routing, self.stun_keepalive) {
            (true, true) => Some("X-cisco-supports-AR_SK"),
            (true, false) => Some("X-cisco-supports-AR"),
            (false, true) => Some("X-cisco-supports-SK"),
            (false, false) => None,
        }
    }

    /// Whether an option tag says anything about these features.
    #[must_use]
    pub fn is_option_tag(tag: &str) -> bool {
        feature_value(tag, OPTION_TAG)
            .is_some_and(|value| value.split('_').all(|part| matches!(part.to_ascii_uppercase().as_str(), "AR" | "SK")))
    }
}

const OPTION_TAG: &str = "X-cisco-supports-";

fn feature_value<'a>(tag: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, value) = tag.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn register(contact: &str, rest: &str) -> Message {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 REGISTER\r\nContact: {contact}\r\n{rest}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("legal")
    }

    #[test]
    fn a_keepalive_asks_for_no_time_and_says_so_everywhere() {
        for (contact, rest, expected) in [
            ("<sip:a@h>;expires=0;cisco-keep-alive", "Expires: 0\r\n", true),
            ("<sip:a@h>;cisco-keep-alive", "Expires: 0\r\n", true),
            ("<sip:a@h>;expires=0;cisco-keep-alive", "", true),
            ("<sip:a@h>;expires=0", "Expires: 0\r\n", false),
            ("<sip:a@h>;cisco-keep-alive", "Expires: 60\r\n", false),
            ("<sip:a@h>;expires=60;cisco-keep-alive", "Expires: 0\r\n", false),
            ("<sip:a@h>;cisco-keep-alive", "", false),
            ("<sip:a@h>;expires=0;cisco-keep-alive, <sip:b@h>", "Expires: 0\r\n", false),
            ("*", "Expires: 0\r\n", false),
        ] {
            assert_eq!(is_keep_alive(&register(contact, rest)), expected, "{contact} {rest}");
        }
    }

    #[test]
    fn features_are_offered_and_stripped_to_what_every_hop_has() {
        let offered = |contact: &str, rest: &str| PathFeatures::offered(&register(contact, rest)).option_tag();
        assert_eq!(offered("<sip:a@h>;x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1", ""), Some("X-cisco-supports-AR_SK"));
        assert_eq!(offered("<sip:a@h>;x-cisco-mra-ha=SK", ""), Some("X-cisco-supports-SK"));
        assert_eq!(offered("<sip:a@h>", "Supported: path, x-cisco-supports-AR\r\n"), Some("X-cisco-supports-AR"));
        assert_eq!(offered("<sip:a@h>;x-cisco-mra-ha", "k: X-cisco-supports-everything\r\n"), None);
        let (all, adaptive) = (
            PathFeatures { adaptive_routing: true, stun_keepalive: true },
            PathFeatures { adaptive_routing: true, stun_keepalive: false },
        );
        assert_eq!(all.and(adaptive), adaptive);
        assert!(PathFeatures::is_option_tag("X-cisco-supports-AR_SK"));
        assert!(!PathFeatures::is_option_tag("X-cisco-supports-video"));
    }
}
