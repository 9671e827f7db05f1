//! What a node that is taken out of service still lets pass, and how it says so.

use crate::edit::Edit;
use crate::header::Name;
use crate::message::Message;
use crate::mra::is_keep_alive;
use crate::uri::NameAddr;

/// The Warning of what is refused: the field's clients know it, and try another path.
pub const WARNING: (u16, &str) = (382, "System in Maintenance Mode");

/// For how long a registration is granted that is accepted all the same, seconds: a call may end any moment, and
/// then the device goes elsewhere.
pub const EXPIRES_MAX: u32 = 60;

/// When a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It belongs to something that exists, ends something, or begins nothing.
    Never,
    /// It is of a device that stays, or of a call there is: with a call up it must pass.
    UnlessInCall,
    /// It begins something.
    Always,
}

/// When a request is refused by a node that is taken out of service.
#[must_use]
pub fn refused(request: &Message) -> Refused {
    if request.to_tag().is_some() {
        return Refused::Never;
    }
    match request.method() {
        // The keepalive of a path that stands by: this one is no path to fall back to.
        Some("REGISTER") if is_keep_alive(request) => Refused::Always,
        Some("REGISTER") if ends(request) => Refused::Never,
        Some("REGISTER") => Refused::UnlessInCall,
        // The end of a subscription, or a look at what is.
        Some("SUBSCRIBE") if request.expires() == Some(0) => Refused::Never,
        // A transfer of a call there is (RFC 3891, RFC 4538).
        Some("INVITE" | "REFER" | "SUBSCRIBE") if concerns_a_call(request) => Refused::UnlessInCall,
        // OPTIONS asks, an unsolicited NOTIFY tells of messages waiting; CANCEL and ACK have been looked at.
        Some("OPTIONS" | "NOTIFY" | "CANCEL" | "ACK" | "BYE") => Refused::Never,
        Some(_) | None => Refused::Always,
    }
}

/// Whether a request outside of any dialog names one it is about.
fn concerns_a_call(request: &Message) -> bool {
    ["Replaces", "Target-Dialog", "Join"].iter().any(|name| request.other(name).is_some())
}

/// Whether a REGISTER only takes bindings away, or only asks what there is (RFC 3261 §10.2).
fn ends(register: &Message) -> bool {
    let general = register.expires();
    register
        .contacts()
        .all(|contact| contact.is_star() || contact.expires().or(general).is_some_and(|seconds| seconds == 0))
}

/// Shortens what a registrar has granted, so that the device comes back soon (RFC 3261 §10.3: a shorter time is for
/// whoever answers to choose).
pub fn shorten(edit: &mut Edit<'_>, response: &Message) {
    for (index, value) in response.values(Name::Contact).enumerate() {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        let longer = NameAddr::read(value).and_then(|contact| contact.expires()).is_some_and(|one| one > EXPIRES_MAX);
        if let Some(shorter) = longer.then(|| with_expires(text)).flatten() {
            edit.replace_value(Name::Contact, index, &shorter);
        }
    }
    if response.expires().is_some_and(|seconds| seconds > EXPIRES_MAX) {
        edit.set(Name::Expires, &EXPIRES_MAX.to_string());
    }
}

/// A Contact value with another `expires` parameter, which it has already.
fn with_expires(value: &str) -> Option<String> {
    let after = value.rfind('>').map_or(0, |at| at + 1);
    let (address, params) = value.split_at_checked(after)?;
    let params: Vec<String> = params
        .split(';')
        .map(|param| {
            let name = param.split('=').next().unwrap_or_default();
            if name.trim().eq_ignore_ascii_case("expires") {
                format!("expires={EXPIRES_MAX}")
            } else {
                param.to_owned()
            }
        })
        .collect();
    Some(format!("{address}{}", params.join(";")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(method: &str, to_tag: &str, fields: &str) -> Message {
        let text = format!(
            "{method} sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>{to_tag}\r\nCall-ID: 1\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 70\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("legal")
    }

    #[test]
    fn what_begins_is_refused_and_what_exists_is_not() {
        let contact = "Contact: <sip:alice@192.0.2.1:5061>";
        for (method, to_tag, fields, expected) in [
            ("INVITE", "", "", Refused::Always),
            ("INVITE", ";tag=2", "", Refused::Never),
            ("BYE", ";tag=2", "", Refused::Never),
            ("REFER", ";tag=2", "", Refused::Never),
            ("INVITE", "", "Replaces: 1;to-tag=2;from-tag=3\r\n", Refused::UnlessInCall),
            ("REFER", "", "Refer-To: <sip:a@h>\r\nTarget-Dialog: 1;local-tag=2\r\n", Refused::UnlessInCall),
            ("REFER", "", "Refer-To: <sip:a@h>\r\n", Refused::Always),
            ("SUBSCRIBE", "", "Expires: 0\r\n", Refused::Never),
            ("SUBSCRIBE", "", "Expires: 600\r\n", Refused::Always),
            ("MESSAGE", "", "", Refused::Always),
            ("SUBSCRIBE", "", "", Refused::Always),
            ("SUBSCRIBE", ";tag=2", "", Refused::Never),
            ("NOTIFY", "", "", Refused::Never),
            ("OPTIONS", "", "", Refused::Never),
            ("REGISTER", "", &format!("{contact}\r\nExpires: 3600\r\n"), Refused::UnlessInCall),
            ("REGISTER", "", &format!("{contact}\r\n"), Refused::UnlessInCall),
            ("REGISTER", "", &format!("{contact};expires=0\r\nExpires: 3600\r\n"), Refused::Never),
            ("REGISTER", "", &format!("{contact};expires=600, <sip:a@192.0.2.2>;expires=0\r\n"), Refused::UnlessInCall),
            ("REGISTER", "", "Contact: *\r\nExpires: 0\r\n", Refused::Never),
        ] {
            assert_eq!(refused(&request(method, to_tag, fields)), expected, "{method} {to_tag} {fields}");
        }
    }

    #[test]
    fn a_long_registration_becomes_a_short_one() {
        let register = request("REGISTER", "", "Contact: <sip:alice@192.0.2.1:5061>\r\nExpires: 3600\r\n");
        for (contact, expires, expected) in [
            ("<sip:a@h;x=1>;expires=3600;q=0.5", "3600", ("<sip:a@h;x=1>;expires=60;q=0.5", Some(60))),
            ("\"A > B\" <sip:a@h>;Expires=61", "30", ("\"A > B\" <sip:a@h>;expires=60", Some(30))),
            ("<sip:a@h>;expires=59", "59", ("<sip:a@h>;expires=59", Some(59))),
        ] {
            let response = register.respond(200, "OK").header(Name::Contact, contact).header(Name::Expires, expires);
            let response = Message::parse(response.to_tag("r").build()).expect("legal");
            let mut edit = response.edit();
            shorten(&mut edit, &response);
            let shorter = Message::parse(edit.finish()).expect("legal");
            let told = shorter.header(Name::Contact).map(String::from_utf8_lossy);
            assert_eq!((told.as_deref().unwrap_or_default(), shorter.expires()), expected);
        }
    }
}
