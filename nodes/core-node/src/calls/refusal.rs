//! Why a description goes no further, in words fit for a Warning.

use edgeway_media::sdp;
use edgeway_model::notice::DropReason;
use edgeway_sip::Message;

/// Why a description is refused.
#[derive(Clone, Debug)]
pub(crate) struct MediaRefusal {
    pub(crate) status: u16,
    pub(crate) warning: u16,
    pub(crate) text: String,
    pub(crate) reason: DropReason,
}

impl From<sdp::Refusal> for MediaRefusal {
    fn from(refusal: sdp::Refusal) -> Self {
        let reason = match refusal {
            sdp::Refusal::NoEncryption | sdp::Refusal::UnsupportedSuite => DropReason::NoEncryption,
            sdp::Refusal::Malformed(_) | sdp::Refusal::UnsupportedProfile => DropReason::Malformed,
        };
        Self { status: refusal.status(), warning: refusal.warning(), text: refusal.to_string(), reason }
    }
}

impl MediaRefusal {
    /// A description of a call we do not know (any more) cannot be rewritten, so it goes no further:
    /// keys must not go in, nor plain media out. Without one there is nothing to refuse.
    pub(super) fn unless_bare(method: Option<&str>, message: &Message) -> Result<Option<Vec<u8>>, Self> {
        if !message.has_sdp() || !matches!(method, Some("INVITE" | "UPDATE" | "PRACK")) {
            return Ok(None);
        }
        if message.status().is_some_and(|status| status >= 300) {
            return Ok(Some(Vec::new()));
        }
        Err(Self::new(481, "no such call here", DropReason::NoRelay))
    }

    pub(super) fn no_ports(text: &str) -> Self {
        Self::new(503, text, DropReason::NoPorts)
    }

    pub(super) fn no_call() -> Self {
        Self::new(481, "no such call here", DropReason::NoRelay)
    }

    /// A party broke the rules of offer and answer.
    pub(super) fn unexpected(text: &str) -> Self {
        Self::new(500, text, DropReason::Malformed)
    }

    pub(super) fn overload(text: &str) -> Self {
        Self::new(503, text, DropReason::Overload)
    }

    pub(super) fn new(status: u16, text: &str, reason: DropReason) -> Self {
        Self { status, warning: 399, text: text.to_owned(), reason }
    }
}
