//! Stream errors (RFC 6120 §4.9).

use edgeway_model::attempt::Code;

use crate::ns;

/// Why a stream ends (RFC 6120 §4.9.3), as far as we say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// XML that cannot be processed: an element that is none of those expected here.
    BadFormat,
    /// A prefix of the stream's namespace other than `stream`.
    BadNamespacePrefix,
    /// The time to go on has passed.
    ConnectionTimeout,
    /// A domain we do not serve.
    HostUnknown,
    /// Something of ours broke.
    InternalServerError,
    /// A namespace other than `jabber:client` or that of streams.
    InvalidNamespace,
    /// Something before sign-in that may come only after it.
    NotAuthorized,
    /// No XML.
    NotWellFormed,
    /// A rule of this service: a bound, a rate, an operator.
    PolicyViolation,
    /// What must be asked cannot be reached.
    RemoteConnectionFailed,
    /// The stream begins anew somewhere else, for no fault of the client's.
    Reset,
    /// Too many are here already.
    ResourceConstraint,
    /// XML that XMPP forbids: comments, processing instructions, document types, entities (RFC 6120 §11.1).
    RestrictedXml,
    /// This node is about to stop.
    SystemShutdown,
    /// No UTF-8, or XML that says it is something else.
    UnsupportedEncoding,
    /// A feature that was not offered.
    UnsupportedFeature,
    /// A version of XMPP other than 1.0.
    UnsupportedVersion,
}

impl Condition {
    /// The name of its element.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::BadNamespacePrefix => "bad-namespace-prefix",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostUnknown => "host-unknown",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidNamespace => "invalid-namespace",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SystemShutdown => "system-shutdown",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }
}

/// A stream that cannot go on: what the other side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", condition.name())]
pub struct StreamFault {
    /// In XMPP's words.
    pub condition: Condition,
    /// In ours: for a person, without anything the other side sent. Needs no escaping.
    pub text: &'static str,
    /// What the refusal is found by; said behind the text.
    pub code: Option<Code>,
}

impl StreamFault {
    /// With both.
    #[must_use]
    pub const fn new(condition: Condition, text: &'static str) -> Self {
        Self { condition, text, code: None }
    }

    /// The same, with a code that the client is told.
    #[must_use]
    pub const fn coded(self, code: Option<Code>) -> Self {
        Self { code, ..self }
    }

    /// The error and the end of the stream, to be sent within a stream whose header has been sent.
    #[must_use]
    pub fn to_xml(self) -> String {
        let (name, errors) = (self.condition.name(), ns::STREAM_ERRORS);
        let text = with_code(self.text, self.code);
        format!(
            "<stream:error><{name} xmlns='{errors}'/><text xmlns='{errors}' xml:lang='en'>{text}</text></stream:error></stream:stream>"
        )
    }
}

/// A text for a person, and behind it the code that a refusal is found by.
pub(crate) fn with_code(text: &str, code: Option<Code>) -> String {
    match code {
        Some(code) => format!("{text} ({code})"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_stands_behind_the_text() {
        let fault = StreamFault::new(Condition::HostUnknown, "Not here.");
        assert!(fault.to_xml().contains(">Not here.</text>"));
        let code = Code::parse("EW-7K2F");
        assert!(fault.coded(code).to_xml().contains(">Not here. (EW-7K2F)</text>"));
    }
}
