//! "SIP Path headers Off": registrars that know no Path get a Contact that leads to the core.
//!
//! The client's `sip:alice@192.0.2.7:50061;transport=tls` becomes
//! `sip:alice@<core>;transport=tcp;orig-hostport=192.0.2.7%3A50061~tls;ew-route=<edge>.<token>` and comes
//! back as it was, in the 200 to the client and in requests from inside. Everything needed stands in
//! the URI itself, so that no table can lose it.

use edgeway_sip::uri::{NameAddr, Uri};
use edgeway_sip::{Edit, Message, Name};

const ORIGINAL: &str = "orig-hostport";
const ROUTE: &str = "ew-route";

/// A Contact that leads to `core` (`host:port`) and on to the flow named by `route`
/// (`<edge>.<token>`). `None` for what is no SIP URI.
fn rewritten(uri: &str, core: &str, transport: &str, route: &str) -> Option<String> {
    let parsed = Uri::parse(uri)?;
    if !matches!(parsed.scheme.to_ascii_lowercase().as_str(), "sip" | "sips") {
        return None;
    }
    let host = if parsed.host.contains(':') { format!("[{}]", parsed.host) } else { parsed.host.to_owned() };
    let hostport = parsed.port.map_or(host.clone(), |port| format!("{host}:{port}"));
    let original_transport = parsed.param("transport").flatten().unwrap_or("");
    let mut out = format!("{}:", parsed.scheme);
    if let Some(user) = parsed.user {
        out.push_str(user);
        out.push('@');
    }
    out.push_str(core);
    push_params(&mut out, &parsed, |name| name.eq_ignore_ascii_case("transport"));
    let escaped = hostport.replace(':', "%3A").replace('[', "%5B").replace(']', "%5D");
    out.push_str(&format!(";transport={transport};{ORIGINAL}={escaped}~{original_transport};{ROUTE}={route}"));
    Some(out)
}

/// The client's own URI and its route, out of a rewritten one.
pub(crate) fn restored(uri: &str) -> Option<(String, String)> {
    let parsed = Uri::parse(uri)?;
    let (escaped, transport) = parsed.param(ORIGINAL).flatten()?.rsplit_once('~')?;
    let route = parsed.param(ROUTE).flatten()?;
    let hostport = escaped.replace("%3A", ":").replace("%5B", "[").replace("%5D", "]");
    let mut out = format!("{}:", parsed.scheme);
    if let Some(user) = parsed.user {
        out.push_str(user);
        out.push('@');
    }
    out.push_str(&hostport);
    if !transport.is_empty() {
        out.push_str(&format!(";transport={transport}"));
    }
    push_params(&mut out, &parsed, |name| {
        [ORIGINAL, ROUTE, "transport"].iter().any(|ours| name.eq_ignore_ascii_case(ours))
    });
    Some((out, route.to_owned()))
}

fn push_params(out: &mut String, uri: &Uri<'_>, skip: impl Fn(&str) -> bool) {
    for (name, value) in uri.params().filter(|(name, _)| !skip(name)) {
        out.push(';');
        out.push_str(name);
        if let Some(value) = value {
            out.push('=');
            out.push_str(value);
        }
    }
}

/// Points every Contact of a REGISTER at the core.
pub(crate) fn hide(edit: &mut Edit<'_>, register: &Message, core: &str, transport: &str, route: &str) {
    let _ = replace_uris(edit, register, |uri| rewritten(uri, core, transport, route));
}

/// Gives the client its own Contacts back. Whether any was hidden.
pub(crate) fn reveal(edit: &mut Edit<'_>, response: &Message) -> bool {
    replace_uris(edit, response, |uri| restored(uri).map(|(original, _)| original))
}

/// Puts another URI into each Contact, leaving its display name and parameters byte for byte. Whether
/// there was one to put.
fn replace_uris(edit: &mut Edit<'_>, message: &Message, new_uri: impl Fn(&str) -> Option<String>) -> bool {
    let mut any = false;
    for (index, value) in message.values(Name::Contact).enumerate() {
        let (Ok(text), Some(contact)) = (std::str::from_utf8(value), NameAddr::parse(value)) else { continue };
        let Some(new) = new_uri(contact.uri) else { continue };
        let Some(at) = text.find(contact.uri) else { continue };
        let (before, after) = (&text[..at], &text[at + contact.uri.len()..]);
        // A bare URI gets brackets: its parameters would otherwise be read as the header's.
        let replaced =
            if before.ends_with('<') { format!("{before}{new}{after}") } else { format!("{before}<{new}>{after}") };
        edit.replace_value(Name::Contact, index, &replaced);
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_goes_in_and_comes_back() {
        for uri in [
            "sip:alice@192.0.2.7:50061;transport=tls",
            "sip:7514c56a-1034@172.16.84.136:58980;transport=tls;ob;gr=urn:uuid:1",
            "sip:bob@[2001:db8::7]:5061",
            "sip:198.51.100.9",
            "sips:carol@phone.example.net",
        ] {
            let hidden = rewritten(uri, "10.0.0.5:5060", "tcp", "edge1.00ff").expect("a SIP URI");
            let parsed = Uri::parse(&hidden).expect("legal");
            assert_eq!((parsed.host, parsed.port), ("10.0.0.5", Some(5_060)), "{hidden}");
            assert_eq!(parsed.param("transport"), Some(Some("tcp")));
            assert_eq!(restored(&hidden), Some((uri.to_owned(), "edge1.00ff".to_owned())), "{hidden}");
        }
        assert_eq!(rewritten("tel:+4930", "c", "tcp", "r"), None);
        assert_eq!(restored("sip:alice@10.0.0.5"), None);
    }
}
