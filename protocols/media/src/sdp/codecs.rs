//! The names of codecs, for an operator who looks at a call. Nothing is decided by them.

use super::{Description, Section};
use crate::limits::CODECS_BYTES_MAX;

impl Description {
    /// What a section's media may be encoded with, the preferred codec first: out of `a=rtpmap`, or the static payload
    /// types of RFC 3551 §6. Empty where it is no RTP; cut where there are many.
    pub(super) fn codecs(&self, section: &Section) -> String {
        let mut out = String::new();
        if section.profile.token().is_none() {
            return out;
        }
        let media = section.lines.clone().next().map_or(&[][..], |index| self.line(index));
        for format in media.split(|&b| b == b' ').filter(|part| !part.is_empty()).skip(3) {
            let name = self.mapped(section, format).or_else(|| static_codec(format)).unwrap_or(format);
            let Some(name) = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|b| b.is_ascii_graphic()))
            else {
                continue;
            };
            if out.len() + name.len() + 2 > CODECS_BYTES_MAX {
                break;
            }
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(name);
        }
        out
    }

    /// RFC 8866 §6.6: `rtpmap:<payload type> <encoding name>/<clock rate>`.
    fn mapped(&self, section: &Section, format: &[u8]) -> Option<&[u8]> {
        section.lines.clone().find_map(|index| {
            let value = self.line(index).strip_prefix(b"a=rtpmap:")?.trim_ascii();
            let at = value.iter().position(|&b| b == b' ')?;
            let name = value[at..].trim_ascii().split(|&b| b == b'/').next()?;
            (&value[..at] == format).then_some(name)
        })
    }
}

/// RFC 3551 §6, those in use.
const fn static_codec(format: &[u8]) -> Option<&'static [u8]> {
    match format {
        b"0" => Some(b"PCMU"),
        b"3" => Some(b"GSM"),
        b"4" => Some(b"G723"),
        b"8" => Some(b"PCMA"),
        b"9" => Some(b"G722"),
        b"13" => Some(b"CN"),
        b"15" => Some(b"G728"),
        b"18" => Some(b"G729"),
        b"31" => Some(b"H261"),
        b"34" => Some(b"H263"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(media: &str) -> String {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
        let description = Description::parse(text.as_bytes()).expect("legal");
        description.codecs(&description.sections()[0])
    }

    #[test]
    fn codecs_have_the_names_the_answer_gives_them() {
        assert_eq!(of("m=audio 4000 RTP/AVP 0 8\r\n"), "PCMU, PCMA");
        let mapped =
            "m=audio 4000 RTP/SAVP 111 101 77\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:111 opus/48000/2\r\n";
        assert_eq!(of(mapped), "opus, telephone-event, 77");
        assert_eq!(of("m=application 4000 UDP/BFCP *\r\n"), "");
        assert_eq!(of("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 ev\u{1b}il/8000\r\n"), "");
        let many: Vec<_> = (200..300).map(|number| number.to_string()).collect();
        assert!(of(&format!("m=audio 4000 RTP/AVP {}\r\n", many.join(" "))).len() <= CODECS_BYTES_MAX);
    }
}
