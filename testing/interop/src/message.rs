//! SIP messages as text, as far as a probe needs them: no grammar, long header names, one header a line.

use anyhow::{Context, Result, bail};
use std::fmt::Write as _;

/// A message larger than this is none.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A SIP message as text, split where it is asked about.
#[derive(Clone, Debug)]
pub struct Message {
    head: String,
    /// What follows the empty line.
    pub body: String,
}

impl Message {
    /// Takes one complete message off the front of a stream; leading CRLFs are keepalives. None while it is incomplete.
    pub fn take(received: &mut Vec<u8>) -> Result<Option<Self>> {
        let keepalive = received.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        received.drain(..keepalive);
        let Some(head_bytes) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            if received.len() > MESSAGE_BYTES_MAX {
                bail!("a head without end");
            }
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&received[..head_bytes + 2]).into_owned();
        let message = Self { head, body: String::new() };
        let length = message.header("Content-Length").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
        let end = head_bytes + 4 + length.min(MESSAGE_BYTES_MAX);
        if received.len() < end {
            return Ok(None);
        }
        let body = String::from_utf8_lossy(&received[head_bytes + 4..end]).into_owned();
        received.drain(..end);
        Ok(Some(Self { body, ..message }))
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        self.head.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        if self.status().is_some() { None } else { self.head.split_whitespace().next() }
    }

    /// The first line.
    pub fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// Every header of this name (long form), top down.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.fields(name).collect()
    }

    /// The URI between angle brackets of a header such as Contact.
    pub fn uri(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.header(name)?.split_once('<')?;
        rest.split('>').next()
    }

    /// The response a user agent would give; `body` is empty or an SDP.
    pub fn response(&self, status: &str, contact: &str, body: &str) -> Result<String> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.reply(status, "wire", &format!("Contact: {contact}\r\n{kind}"), body)
    }

    /// A response with a tag, header lines and a body of one's choice.
    pub fn reply(&self, status: &str, tag: &str, lines: &str, body: &str) -> Result<String> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in self.fields(name) {
                write!(text, "{name}: {value}\r\n")?;
            }
        }
        let to = self.header("To").context("To")?;
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
        write!(text, "To: {to}{tag}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(text)
    }

    /// The ACK for a refusal of this INVITE (RFC 3261 §17.1.1.3).
    pub fn acknowledgement(&self, answer: &Self) -> Result<String> {
        self.beside("ACK", answer.header("To").context("To")?)
    }

    /// The CANCEL for this INVITE (RFC 3261 §9.1).
    pub fn cancel(&self) -> Result<String> {
        self.beside("CANCEL", self.header("To").context("To")?)
    }

    /// A request that belongs to the transaction of this one.
    fn beside(&self, method: &str, to: &str) -> Result<String> {
        let target = self.first_line().split_whitespace().nth(1).context("a request URI")?;
        let mut text = format!("{method} {target} SIP/2.0\r\n");
        for (name, value) in [
            ("Via", self.header("Via")),
            ("From", self.header("From")),
            ("To", Some(to)),
            ("Call-ID", self.header("Call-ID")),
        ] {
            write!(text, "{name}: {}\r\n", value.with_context(|| name.to_owned())?)?;
        }
        let (number, _) = self.sequence().context("CSeq")?;
        write!(text, "CSeq: {number} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")?;
        Ok(text)
    }

    /// The number and the method of the CSeq header.
    pub fn sequence(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    fn fields<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(move |(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_off_the_stream_one_by_one() {
        let mut wire = b"\r\n\r\nSIP/2.0 488 Not Acceptable Here\r\nVIA: a\r\nVia: b\r\nContent-Length: 2\r\n\r\nxy\
                         OPTIONS sip:a SIP/2.0\r\nTo: <sip:a>\r\n\r"
            .to_vec();
        let message = Message::take(&mut wire).unwrap().unwrap();
        assert_eq!((message.status(), message.method(), message.body.as_str()), (Some(488), None, "xy"));
        assert_eq!(message.headers("via"), ["a", "b"]);
        assert!(Message::take(&mut wire).unwrap().is_none(), "incomplete");
        wire.push(b'\n');
        let request = Message::take(&mut wire).unwrap().unwrap();
        assert_eq!((request.method(), request.uri("To")), (Some("OPTIONS"), Some("sip:a")));
    }

    #[test]
    fn a_response_carries_what_identifies_the_request() {
        let mut wire =
            b"INVITE sip:b SIP/2.0\r\nVia: 1\r\nVia: 2\r\nRecord-Route: <r>\r\nFrom: f\r\nTo: t\r\nCall-ID: c\r\n\
                         CSeq: 1 INVITE\r\n\r\n"
                .to_vec();
        let request = Message::take(&mut wire).unwrap().unwrap();
        let mut wire = request.response("200 OK", "<sip:b>", "v=0").unwrap().into_bytes();
        let response = Message::take(&mut wire).unwrap().unwrap();
        assert_eq!(response.headers("Via"), ["1", "2"]);
        assert_eq!((response.header("To"), response.header("Record-Route")), (Some("t;tag=wire"), Some("<r>")));
    }
}
