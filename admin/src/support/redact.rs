//! What leaves the house: no secrets, and no names of people unless that is wanted.
//!
//! A stand-in is a keyed hash under a key that is made for one bundle and forgotten with it: the same person is the same
//! stand-in within the bundle, and nobody can find out by trying who it was.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

/// What stands for a secret.
const LEFT_OUT: &str = "(left out)";

/// Names of settings and fields whose values are secrets, as parts of their names.
const SECRET: [&str; 8] = ["password", "secret", "token", "cookie", "authorization", "credential", "private", "crypto"];
/// Those that sound so and are none: names of files, figures and switches.
const NO_SECRET: [&str; 7] = ["_file", "interval", "maximum", "tokens", "count", "period", "_keys"];

/// Fields whose values name people, or where they are.
const PERSONAL: [&str; 13] = [
    "user",
    "aor",
    "from",
    "to",
    "contact",
    "client",
    "address_of_record",
    "device",
    "call_id",
    "jid",
    "id_of_user",
    "caller",
    "callee",
];

/// How a bundle is redacted.
#[derive(Debug)]
pub struct Redaction {
    key: Option<hmac::Key>,
}

impl Redaction {
    /// Secrets go, names are replaced under this key, which must be random and used for one bundle only.
    #[must_use]
    pub fn of(key: [u8; 32]) -> Self {
        Self { key: Some(hmac::Key::new(hmac::HMAC_SHA256, &key)) }
    }

    /// Secrets go, names stay.
    #[must_use]
    pub const fn none() -> Self {
        Self { key: None }
    }

    pub(super) const fn keeps_names(&self) -> bool {
        self.key.is_none()
    }

    /// A text, and how often something was replaced in it.
    pub(super) fn text(&self, text: &str) -> (String, usize) {
        let (mut out, mut count) = (String::with_capacity(text.len()), 0);
        for line in text.split_inclusive('\n') {
            match assignment(line) {
                Some((before, after)) => {
                    out.push_str(before);
                    out.push_str(LEFT_OUT);
                    out.push_str(after);
                    count += 1;
                }
                None => count += self.line(line, &mut out),
            }
        }
        (out, count)
    }

    /// Words that are addresses of people or of machines outside.
    fn line(&self, line: &str, out: &mut String) -> usize {
        let Some(key) = &self.key else {
            out.push_str(line);
            return 0;
        };
        let is_of_word = |c: char| c.is_alphanumeric() || "@.-_+%:~!*'".contains(c);
        let (mut rest, mut count) = (line, 0);
        while let Some(start) = rest.find(is_of_word) {
            let end = rest[start..].find(|c| !is_of_word(c)).map_or(rest.len(), |end| start + end);
            out.push_str(&rest[..start]);
            let word = &rest[start..end];
            match stand_in(key, word) {
                Some(other) => {
                    out.push_str(&other);
                    count += 1;
                }
                None => out.push_str(word),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        count
    }

    /// JSON, and how often something was replaced in it.
    pub(super) fn json(&self, value: &Value) -> (Value, usize) {
        match value {
            Value::Object(fields) => {
                let (mut out, mut count) = (Map::new(), 0);
                for (name, value) in fields {
                    let (value, replaced) = self.field(name, value);
                    count += replaced;
                    out.insert(name.clone(), value);
                }
                (Value::Object(out), count)
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.json(item)).collect();
                let count = items.iter().map(|(_, count)| count).sum();
                (items.into_iter().map(|(item, _)| item).collect(), count)
            }
            Value::String(text) => {
                let (text, count) = self.text(text);
                (Value::String(text), count)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => (value.clone(), 0),
        }
    }

    fn field(&self, name: &str, value: &Value) -> (Value, usize) {
        let text = match value {
            Value::String(text) if !text.is_empty() => text,
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return self.json(value);
            }
        };
        if is_secret(name) {
            return (LEFT_OUT.into(), 1);
        }
        match &self.key {
            Some(key) if PERSONAL.contains(&name) => (named(key, text).into(), 1),
            Some(_) | None => self.json(value),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word)) && !NO_SECRET.iter().any(|word| name.contains(word))
}

/// A line `name = value` or `"name": "value",` of a secret: what stands before the value and behind it.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let at = line.find(['=', ':'])?;
    let name = line[..at].trim().trim_matches('"');
    if name.is_empty() || name.contains(char::is_whitespace) || !is_secret(name) {
        return None;
    }
    let value = line[at + 1..].trim_start_matches([' ', '\t']);
    let before = line.len() - value.len();
    let end = value.trim_end_matches(['\r', '\n', ',']).len();
    (end > 0).then(|| (&line[..before], &line[before + end..]))
}

/// What stands for a word that names a person or a machine outside; `None` for any other word.
fn stand_in(key: &hmac::Key, word: &str) -> Option<String> {
    let bare = word.trim_end_matches(['.', ':', '!', '\'']);
    let tail = &word[bare.len()..];
    let (scheme, rest) = match bare.split_once(':') {
        Some((scheme @ ("sip" | "sips" | "xmpp" | "tel"), rest)) => (Some(scheme), rest),
        Some(_) | None => (None, bare),
    };
    let replaced = match rest.rsplit_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => {
            let host = address(key, host).unwrap_or_else(|| host.to_owned());
            format!("{}@{host}", named(key, user))
        }
        Some(_) | None if scheme == Some("tel") => named(key, rest),
        Some(_) | None => address(key, rest)?,
    };
    let scheme = scheme.map(|scheme| format!("{scheme}:")).unwrap_or_default();
    Some(format!("{scheme}{replaced}{tail}"))
}

/// An address of the internet, with or without a port; those of private networks say nothing of people.
fn address(key: &hmac::Key, word: &str) -> Option<String> {
    let (ip, port) = match word.parse::<IpAddr>() {
        Ok(ip) => (ip, String::new()),
        Err(_) => {
            let (ip, port) = word.rsplit_once(':')?;
            port.parse::<u16>().ok()?;
            (ip.parse::<IpAddr>().ok()?, format!(":{port}"))
        }
    };
    let private = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_unspecified() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || (ip.segments()[0] & 0xfe00) == 0xfc00,
    };
    (!private).then(|| format!("ip-{}{port}", hash(key, ip.to_string().as_bytes())))
}

fn named(key: &hmac::Key, name: &str) -> String {
    format!("user-{}", hash(key, name.to_lowercase().as_bytes()))
}

fn hash(key: &hmac::Key, bytes: &[u8]) -> String {
    hmac::sign(key, bytes).as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redaction() -> Redaction {
        Redaction::of([1; 32])
    }

    #[test]
    fn people_and_their_addresses_get_stand_ins() {
        let text = "registered sip:sato@example.com on flow 7 from 203.0.113.9:50000, [2001:db8::1], 10.0.0.5:5060.\n\
                    sato@example.com again. tel:+81312345678";
        let (shown, count) = redaction().text(text);
        for gone in ["sato", "203.0.113.9", "2001:db8::1", "81312345678"] {
            assert!(!shown.contains(gone), "{gone} in {shown}");
        }
        for kept in ["@example.com", ":50000", "10.0.0.5:5060", "flow 7", "registered sip:user-"] {
            assert!(shown.contains(kept), "{kept} is gone from {shown}");
        }
        assert_eq!(count, 5);
        let users: Vec<_> = shown.match_indices("user-").map(|(at, _)| &shown[at..at + 13]).collect();
        assert_eq!(users[0], users[1], "the same person is the same");
    }

    #[test]
    fn another_bundle_has_other_stand_ins() {
        let (one, other) = (redaction().text("sato@a.example").0, Redaction::of([2; 32]).text("sato@a.example").0);
        assert_ne!(one, other);
    }

    #[test]
    fn secrets_go_whoever_asks() {
        for redaction in [redaction(), Redaction::none()] {
            let (shown, _) = redaction.text(
                "password = \"hunter2\"\npassword_file = \"/etc/edgeway/password\"\n  \"secret\": \"hunter2\",\n\
                 maximum_tokens = 3\nAuthorization: Basic aHVudGVyMg==\n",
            );
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
            assert!(shown.contains("/etc/edgeway/password") && shown.contains("maximum_tokens = 3"), "{shown}");
            let (shown, _) =
                redaction.json(&json!({ "a": [{ "session_token": "abc", "tokens": "3", "password": "" }] }));
            assert_eq!(shown, json!({ "a": [{ "session_token": LEFT_OUT, "tokens": "3", "password": "" }] }));
        }
    }

    #[test]
    fn fields_that_name_people_are_replaced_whole() {
        let (shown, _) = redaction().json(&json!({ "user": "佐藤", "node": "core1", "list": ["sip:b@c.example"] }));
        assert!(shown["user"].as_str().is_some_and(|user| user.starts_with("user-")), "{shown}");
        assert_eq!(shown["node"], "core1");
        assert!(shown["list"][0].as_str().is_some_and(|one| !one.contains("sip:b@")), "{shown}");
        assert_eq!(Redaction::none().json(&json!({ "user": "佐藤" })).0, json!({ "user": "佐藤" }));
    }

    proptest! {
        #[test]
        fn no_name_gets_through(before in "[ a-z=<\"]{0,9}", user in "[a-z]{6,12}", after in "[ >\",;]{1,5}.{0,20}") {
            let text = format!("{before} <sip:{user}@example.com{after}");
            let (shown, _) = redaction().text(&text);
            prop_assert!(!shown.contains(&format!("{user}@")), "{shown}");
        }

        #[test]
        fn text_without_names_stays(text in "[a-zA-Z ,;()\n]{0,60}") {
            prop_assert_eq!(redaction().text(&text).0, text);
        }
    }
}
