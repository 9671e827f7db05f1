//! A SIP message as it may be kept and handed on: without media keys, credentials, tokens, and bodies other than session
//! descriptions. What was taken out is marked; lengths fit what is left, so that other programs read it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use edgeway_sip::{Message, Name};

use super::limits::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX};

/// What stands where something was.
const GONE: &str = "-removed-";
/// Headers whose value is a secret or proves one; of an Authorization the scheme stays.
const SECRET_WORDS: [&str; 7] =
    ["authorization", "authentication-info", "cookie", "token", "secret", "password", "x-auth"];
/// Parameters whose value is one, wherever they stand.
const SECRET_PARAMETERS: [&str; 11] = [
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "proxy-authorization",
    "x-auth",
    "response",
];
/// Kinds of URI that may hold a password.
const URI_SCHEMES: [&str; 9] = ["sip", "sips", "http", "https", "ldap", "ldaps", "tel", "xmpp", "im"];
/// Digits of a flow's token that are random: knowing them is a licence to reach the client.
const FLOW_TOKEN_DIGITS: usize = 32;

/// A message as text, and its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redacted {
    pub(crate) first_line: String,
    pub(crate) text: String,
}

pub(crate) fn redact(message: &Message) -> Redacted {
    let first = match (message.method(), message.status()) {
        (Some(method), _) => format!("{method} {} SIP/2.0", message.request_uri().unwrap_or_default()),
        (None, status) => {
            let reason = message.reason().map(String::from_utf8_lossy).unwrap_or_default();
            format!("SIP/2.0 {} {reason}", status.unwrap_or_default())
        }
    };
    let first_line = value_of(&first);
    let body = body_of(message);
    let mut text = format!("{first_line}\r\n");
    for (name, value) in message.all_lines() {
        let name_shown = printable(name);
        let lower = name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(value);
        let shown = if lower == "content-length" || lower == "l" {
            body.len().to_string()
        } else if SECRET_WORDS.iter().any(|word| lower.contains(word)) {
            let scheme = value.split_whitespace().next().filter(|word| is_scheme(word)).unwrap_or_default();
            format!("{scheme} {GONE}").trim_start().to_owned()
        } else {
            value_of(&value)
        };
        let _ = write!(text, "{name_shown}: {shown}\r\n");
        if text.len() > MESSAGE_BYTES_MAX {
            break;
        }
    }
    text.push_str("\r\n");
    text.push_str(&body);
    Redacted { first_line, text }
}

fn is_scheme(word: &str) -> bool {
    ["basic", "digest", "bearer"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// The description without keys; anything else is only counted.
fn body_of(message: &Message) -> String {
    let (body, sdp) = (message.body(), message.sdp());
    if body.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for line in String::from_utf8_lossy(sdp).lines() {
        text.push_str(&description_line(line));
        text.push_str("\r\n");
        if text.len() > MESSAGE_BYTES_MAX {
            break;
        }
    }
    if sdp.len() != body.len() {
        let kind = message.header(Name::ContentType).map(String::from_utf8_lossy).unwrap_or_default();
        let _ = write!(text, "[{} bytes of {}: not kept]\r\n", body.len() - sdp.len().min(body.len()), value_of(&kind));
    }
    text
}

fn description_line(line: &str) -> String {
    let line = &*cut(line);
    let lower = line.trim_start().to_ascii_lowercase();
    if lower.starts_with("a=crypto:") {
        // Tag and suite say much and give nothing away.
        let mut words = line.split_whitespace();
        let (tag, suite) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        return format!("{} {} inline:{GONE}", printable(tag), printable(suite));
    }
    for secret in ["k=", "a=key-mgmt:", "a=ice-pwd:", "a=pwd:", "a=passwd:"] {
        if lower.starts_with(secret) {
            return format!("{secret}{GONE}");
        }
    }
    // Of whatever kind a line is, a key of SDES is written so.
    match lower.find("inline:") {
        Some(at) => format!(
            "{}inline:{GONE}",
            printable(&line.chars().take(lower.get(..at).map_or(0, |head| head.chars().count())).collect::<String>())
        ),
        None => value_of(line),
    }
}

/// Not longer than lines are kept. The word that the cut goes through goes as a whole: half of it may be a secret that
/// nothing shows to be one any more.
fn cut(line: &str) -> Cow<'_, str> {
    if line.len() <= LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let end = (0..=LINE_BYTES_MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    let head = line.get(..end).unwrap_or_default();
    let whole = head.rfind(['<', '"', ' ', ',', '>', '=']).map_or(0, |at| at + 1);
    Cow::Owned(format!("{}[cut]", head.get(..whole).unwrap_or_default()))
}

/// A value on one line, without what stands in it for a secret.
fn value_of(value: &str) -> String {
    let value = without_passwords(&printable(&cut(value)));
    let value = without_parameters(&value);
    without_flow_tokens(&without_bearers(&value))
}

/// `sip:user:password@host` loses the password (RFC 3261 §19.1.1), and so does that of any URI.
fn without_passwords(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        let start = before.rfind(['<', '"', ' ', ',', '>', '=']).map_or(0, |at| at + 1);
        let address = &before[start..];
        let (scheme, user) = address.split_once(':').unwrap_or_default();
        let user = user.trim_start_matches('/');
        let is_uri = URI_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
        match user.split_once(':').filter(|_| is_uri) {
            Some((_, password)) => {
                out.push_str(&before[..at - password.len()]);
                out.push_str(GONE);
            }
            None => out.push_str(before),
        }
        out.push('@');
        rest = &after[1..];
    }
    out.push_str(rest);
    out
}

/// What is to be taken out next at `from` or later, and up to where that looked.
type Find = fn(value: &str, lower: &str, from: usize) -> (Option<Range<usize>>, usize);

/// `value` without what `find` finds; and how many bytes were looked at for that, which hostile text must not multiply.
fn without(value: &str, find: Find) -> (String, usize) {
    let lower = value.to_ascii_lowercase();
    let mut out = String::with_capacity(value.len());
    let (mut from, mut looked_at) = (0, 0);
    loop {
        let (found, up_to) = find(value, &lower, from);
        looked_at += up_to - from;
        let Some(gone) = found else { break };
        out.push_str(value.get(from..gone.start).unwrap_or_default());
        out.push_str(GONE);
        from = gone.end;
    }
    out.push_str(value.get(from..).unwrap_or_default());
    (out, looked_at)
}

/// The value of a parameter that is a secret.
fn parameter(value: &str, lower: &str, from: usize) -> (Option<Range<usize>>, usize) {
    let names_secret = |head: &str| {
        let before = SECRET_PARAMETERS.iter().filter_map(|name| head.strip_suffix(name));
        before.into_iter().any(|before| !before.chars().next_back().is_some_and(char::is_alphanumeric))
    };
    let rest = lower.get(from..).unwrap_or_default();
    let mut equals = rest.match_indices('=').map(|(at, _)| at);
    let Some(at) = equals.find(|at| names_secret(rest.get(..*at).unwrap_or_default())) else {
        return (None, value.len());
    };
    let start = from + at + 1;
    let rest = value.get(start..).unwrap_or_default();
    let length = match rest.strip_prefix('"') {
        Some(quoted) => quoted.find('"').map_or(rest.len(), |end| end + 2),
        None => rest.find([';', '&', ',', '>', ' ', '?']).unwrap_or(rest.len()),
    };
    (Some(start..start + length), start + length)
}

/// What follows a word that introduces credentials, where it looks like some.
fn credentials(value: &str, lower: &str, from: usize) -> (Option<Range<usize>>, usize) {
    let rest = lower.get(from..).unwrap_or_default();
    for (at, _) in rest.match_indices([' ', ':']) {
        let head = rest.get(..=at).unwrap_or_default();
        if !["bearer ", "basic ", "inline:"].iter().any(|scheme| head.ends_with(scheme)) {
            continue;
        }
        let start = from + at + 1;
        let rest = value.get(start..).unwrap_or_default();
        let length = rest.find([' ', ',', ';', '"', '\'', '>', '|']).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        // "Basic authentication" is no secret. What is none has no colon in it, or is short: nothing is looked at often.
        if word.len() >= 4 && !word.bytes().all(|one| one.is_ascii_lowercase()) {
            return (Some(start..start + length), start + length);
        }
    }
    (None, value.len())
}

fn without_parameters(value: &str) -> String {
    without(value, parameter).0
}

fn without_bearers(value: &str) -> String {
    without(value, credentials).0
}

/// A text for the log without what looks like a secret, whoever wrote it.
pub(crate) fn scrub(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    let signs = SECRET_PARAMETERS.iter().chain(&["bearer ", "basic ", "inline:", "@"]);
    if !signs.into_iter().any(|sign| lower.contains(sign)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(without_bearers(&without_parameters(&without_passwords(text))))
}

/// Of 32 hexadecimal digits in front of an `@`, which is what a flow's token is, the random half.
fn without_flow_tokens(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('@') {
        let before = rest.get(..at).unwrap_or_default();
        let digits = before.bytes().rev().take_while(u8::is_ascii_hexdigit).count();
        if digits == FLOW_TOKEN_DIGITS {
            out.push_str(before.get(..at - FLOW_TOKEN_DIGITS / 2).unwrap_or_default());
            out.push_str("xxxxxxxxxxxxxxxx");
        } else {
            out.push_str(before);
        }
        out.push('@');
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// On one line, and nothing a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> Redacted {
        redact(&Message::parse(text.to_owned().into()).expect("a message"))
    }

    #[test]
    fn nothing_secret_is_left_and_what_is_left_is_a_message() {
        let body = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nk=clear:S3CRET\r\nm=audio 4000 RTP/SAVP 0\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:S3CRETS3CRETS3CRETS3CRETS3CRETS3CRETS3CR|2^20\r\n\
                    a=ice-pwd:S3CRET\r\na=x-ours inline:S3CRET\r\n";
        let text = format!(
            "INVITE sip:bob:S3CRET@example.com;token=S3CRET SIP/2.0\r\n\
             Via: SIP/2.0/TLS 10.0.0.1:5061;branch=z9hG4bK1\r\n\
             Route: <sip:edge1.0000000000000007aaaabbbbccccdddd@edge.example.com:5061;transport=tls;lr;ob>\r\n\
             From: \"A\" <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\n\
             Authorization: Digest username=\"alice\", response=\"S3CRET\"\r\n\
             Proxy-Authorization: Bearer S3CRET\r\nCookie: X-Auth=S3CRET\r\nX-Auth-Token: S3CRET\r\n\
             Refer-To: <sip:carol@example.com?Authorization=S3CRET&Replaces=x>\r\nX-Note: Bearer S3CRET\r\n\
             Call-Info: <https://h/x?access_token=S3CRET>;token=\"S3C;RET\"\r\n\
             Max-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let kept = redacted(&text);
        assert!(!kept.text.contains("S3CRET") && !kept.text.contains("S3C;RET"), "{}", kept.text);
        assert!(!kept.text.contains("aaaabbbbccccdddd") && kept.text.contains("edge1.0000000000000007xxxx"));
        assert!(kept.text.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:-removed-"), "{}", kept.text);
        assert!(kept.text.contains("sip:alice@example.com") && kept.text.contains("Replaces=x"), "{}", kept.text);
        let again = Message::parse(kept.text.clone().into()).expect("still a message");
        assert_eq!(again.body().len(), again.sdp().len());
        assert_eq!(again.method(), Some("INVITE"));
    }

    #[test]
    fn hostile_lines_are_cut_and_each_byte_is_looked_at_but_once() {
        let secrets = "TOKEN=S3CRET;".repeat(65_536 / 13);
        for (find, hit) in [
            (parameter as Find, "TOKEN=x;"),
            (parameter, "xtoken=;"),
            (parameter, "token=\"x"),
            (credentials, "Bearer S3CRET "),
            (credentials, "inline:"),
            (credentials, "basic a "),
            (credentials, "basic inline:"),
        ] {
            let line = hit.repeat(65_536 / hit.len());
            let (_, looked_at) = without(&line, find);
            assert!(looked_at <= line.len(), "{hit}: {looked_at} of {}", line.len());
        }
        assert_eq!(without(&secrets, parameter).0, "TOKEN=-removed-;".repeat(65_536 / 13));
        let kept = description_line(&format!("a=x {secrets}"));
        assert!(kept.len() < 2 * LINE_BYTES_MAX && !kept.contains("S3CRET"), "{}", kept.len());
        // A secret that the cut goes through.
        for introduced in
            ["<sip:bob:S3CRETS3CRET@h>", "\"Bearer S3CRETS3CRET", "a=ice-pwd:S3CRETS3CRET", "token=S3CRETS3CRET"]
        {
            let at = introduced.find("S3CRET").expect("there");
            let line = format!("{} {introduced}{}", "x".repeat(LINE_BYTES_MAX - at - 4), "y".repeat(99));
            let kept = value_of(&line);
            assert!(!kept.contains("S3C") && kept.ends_with("[cut]") || kept.ends_with(GONE), "{kept}");
        }
    }

    #[test]
    fn other_bodies_are_counted_and_not_kept() {
        let kept = redacted(
            "MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=a\r\n\
             To: <sip:b@h>\r\nCall-ID: one\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\n\
             Content-Length: 6\r\n\r\nS3CRET",
        );
        assert!(
            !kept.text.contains("S3CRET") && kept.text.contains("[6 bytes of text/plain: not kept]"),
            "{}",
            kept.text
        );
        assert_eq!(kept.first_line, "MESSAGE sip:bob@example.com SIP/2.0");
        Message::parse(kept.text.into()).expect("still a message");
    }
}
