//! Header names (RFC 3261 §20 and extensions): the ones this product reads or writes have a
//! variant, every other one is [`Name::Other`] and passes through untouched.

/// The name of a header field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[expect(missing_docs, reason = "each variant is the header field of that name")]
pub enum Name {
    Via,
    Route,
    RecordRoute,
    Path,
    ServiceRoute,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    ContentLength,
    ContentType,
    Expires,
    MinExpires,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Warning,
    RetryAfter,
    Authorization,
    WwwAuthenticate,
    ProxyAuthorization,
    ProxyAuthenticate,
    UserAgent,
    Server,
    Allow,
    Accept,
    Event,
    Reason,
    Timestamp,
    Date,
    FlowTimer,
    PAssertedIdentity,
    PPreferredIdentity,
    RemotePartyId,
    Diversion,
    HistoryInfo,
    ReferredBy,
    PServedUser,
    PProfileKey,
    PChargeInfo,
    /// Any header field without a variant of its own.
    Other,
}

impl Name {
    /// The canonical spelling; `"Other"` for [`Name::Other`], which has none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Path => "Path",
            Self::ServiceRoute => "Service-Route",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::Contact => "Contact",
            Self::MaxForwards => "Max-Forwards",
            Self::ContentLength => "Content-Length",
            Self::ContentType => "Content-Type",
            Self::Expires => "Expires",
            Self::MinExpires => "Min-Expires",
            Self::Require => "Require",
            Self::ProxyRequire => "Proxy-Require",
            Self::Supported => "Supported",
            Self::Unsupported => "Unsupported",
            Self::Warning => "Warning",
            Self::RetryAfter => "Retry-After",
            Self::Authorization => "Authorization",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::UserAgent => "User-Agent",
            Self::Server => "Server",
            Self::Allow => "Allow",
            Self::Accept => "Accept",
            Self::Event => "Event",
            Self::Reason => "Reason",
            Self::Timestamp => "Timestamp",
            Self::Date => "Date",
            Self::FlowTimer => "Flow-Timer",
            Self::PAssertedIdentity => "P-Asserted-Identity",
            Self::PPreferredIdentity => "P-Preferred-Identity",
            Self::RemotePartyId => "Remote-Party-ID",
            Self::Diversion => "Diversion",
            Self::HistoryInfo => "History-Info",
            Self::ReferredBy => "Referred-By",
            Self::PServedUser => "P-Served-User",
            Self::PProfileKey => "P-Profile-Key",
            Self::PChargeInfo => "P-Charge-Info",
            Self::Other => "Other",
        }
    }

    /// Recognises a name as it stands in a message: any case, compact forms included.
    #[must_use]
    pub fn recognise(name: &[u8]) -> Self {
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Self::Other };
        if name.len() == 1 {
            return Self::from_compact(first);
        }
        // Length and first letter leave few candidates, so that an unknown header costs one comparison or none.
        let candidates: &[Self] = match (name.len(), first) {
            (2, b't') => &[Self::To],
            (3, b'v') => &[Self::Via],
            (4, b'c') => &[Self::CSeq],
            (4, b'd') => &[Self::Date],
            (4, b'f') => &[Self::From],
            (4, b'p') => &[Self::Path],
            (5, b'a') => &[Self::Allow],
            (5, b'e') => &[Self::Event],
            (5, b'r') => &[Self::Route],
            (6, b'a') => &[Self::Accept],
            (6, b'r') => &[Self::Reason],
            (6, b's') => &[Self::Server],
            (7, b'c') => &[Self::CallId, Self::Contact],
            (7, b'e') => &[Self::Expires],
            (7, b'r') => &[Self::Require],
            (7, b'w') => &[Self::Warning],
            (9, b'd') => &[Self::Diversion],
            (9, b's') => &[Self::Supported],
            (9, b't') => &[Self::Timestamp],
            (10, b'f') => &[Self::FlowTimer],
            (10, b'u') => &[Self::UserAgent],
            (11, b'm') => &[Self::MinExpires],
            (11, b'r') => &[Self::RetryAfter, Self::ReferredBy],
            (11, b'u') => &[Self::Unsupported],
            (12, b'c') => &[Self::ContentType],
            (12, b'h') => &[Self::HistoryInfo],
            (12, b'm') => &[Self::MaxForwards],
            (12, b'r') => &[Self::RecordRoute],
            (13, b'a') => &[Self::Authorization],
            (13, b'p') => &[Self::ProxyRequire, Self::PServedUser, Self::PProfileKey, Self::PChargeInfo],
            (13, b's') => &[Self::ServiceRoute],
            (14, b'c') => &[Self::ContentLength],
            (15, b'r') => &[Self::RemotePartyId],
            (16, b'w') => &[Self::WwwAuthenticate],
            (18, b'p') => &[Self::ProxyAuthenticate],
            (19, b'p') => &[Self::ProxyAuthorization, Self::PAssertedIdentity],
            (20, b'p') => &[Self::PPreferredIdentity],
            (_, _) => &[],
        };
        candidates
            .iter()
            .copied()
            .find(|candidate| candidate.as_str().as_bytes().eq_ignore_ascii_case(name))
            .unwrap_or(Self::Other)
    }

    const fn from_compact(letter: u8) -> Self {
        match letter {
            b'b' => Self::ReferredBy,
            b'c' => Self::ContentType,
            b'f' => Self::From,
            b'i' => Self::CallId,
            b'k' => Self::Supported,
            b'l' => Self::ContentLength,
            b'm' => Self::Contact,
            b'o' => Self::Event,
            b't' => Self::To,
            b'v' => Self::Via,
            _ => Self::Other,
        }
    }
}

/// Whether two spellings name the same header field without a variant of its own: case does not
/// count, and a registered compact form equals its long form.
#[must_use]
pub(crate) fn same_other(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b) || expand(a).eq_ignore_ascii_case(expand(b))
}

/// The long form of a compact name that has no variant (IANA SIP header fields registry).
fn expand(name: &[u8]) -> &[u8] {
    let [letter] = name else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => b"Accept-Contact",
        b'd' => b"Request-Disposition",
        b'e' => b"Content-Encoding",
        b'j' => b"Reject-Contact",
        b'n' => b"Identity-Info",
        b'r' => b"Refer-To",
        b's' => b"Subject",
        b'u' => b"Allow-Events",
        b'x' => b"Session-Expires",
        b'y' => b"Identity",
        _ => name,
    }
}

/// Whether a request of this method makes a dialog, so that a proxy that wants to see what follows puts
/// itself into Record-Route (RFC 3261 §16.6; RFC 3515; RFC 6665 §4.3: a NOTIFY makes one, too).
#[must_use]
pub fn makes_dialog(method: &str) -> bool {
    matches!(method, "INVITE" | "SUBSCRIBE" | "REFER" | "NOTIFY")
}

/// The label a method is counted under: itself if it is one of the field's, else `other`, so that no
/// stranger can invent labels.
#[must_use]
pub fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 14] = [
        "REGISTER",
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "SUBSCRIBE",
        "NOTIFY",
        "MESSAGE",
        "REFER",
        "INFO",
        "UPDATE",
        "PRACK",
        "PUBLISH",
    ];
    KNOWN.iter().find(|known| **known == method).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Name; 43] = [
        Name::Via,
        Name::Route,
        Name::RecordRoute,
        Name::Path,
        Name::ServiceRoute,
        Name::From,
        Name::To,
        Name::CallId,
        Name::CSeq,
        Name::Contact,
        Name::MaxForwards,
        Name::ContentLength,
        Name::ContentType,
        Name::Expires,
        Name::MinExpires,
        Name::Require,
        Name::ProxyRequire,
        Name::Supported,
        Name::Unsupported,
        Name::Warning,
        Name::RetryAfter,
        Name::Authorization,
        Name::WwwAuthenticate,
        Name::ProxyAuthorization,
        Name::ProxyAuthenticate,
        Name::UserAgent,
        Name::Server,
        Name::Allow,
        Name::Accept,
        Name::Event,
        Name::Reason,
        Name::Timestamp,
        Name::Date,
        Name::FlowTimer,
        Name::PAssertedIdentity,
        Name::PPreferredIdentity,
        Name::RemotePartyId,
        Name::Diversion,
        Name::HistoryInfo,
        Name::ReferredBy,
        Name::PServedUser,
        Name::PProfileKey,
        Name::PChargeInfo,
    ];

    #[test]
    fn every_name_is_recognised_in_any_case() {
        for name in ALL {
            assert_eq!(Name::recognise(name.as_str().as_bytes()), name);
            assert_eq!(Name::recognise(name.as_str().to_ascii_uppercase().as_bytes()), name);
            assert_eq!(Name::recognise(name.as_str().to_ascii_lowercase().as_bytes()), name);
        }
    }

    #[test]
    fn compact_forms_are_recognised() {
        assert_eq!(Name::recognise(b"V"), Name::Via);
        assert_eq!(Name::recognise(b"l"), Name::ContentLength);
        assert!(same_other(b"s", b"subject"));
        assert!(same_other(b"Session-Expires", b"X"));
        assert!(!same_other(b"s", b"X-Subject"));
    }
}
