//! Heads as they stand on the wire (RFC 9112): that of a request is written, that of an answer is read.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use super::framing::{Chunk, Framing};
use super::limits::{ANSWER_HEAD_BYTES_MAX, ANSWER_HEADERS_MAX};

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// There is none.
    Nothing,
    /// It has so many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Writes the head of a request for `host`. Names stand as they are usually written: servers inside are old, and
/// some compare them so.
pub(super) fn write<B>(out: &mut Vec<u8>, request: &Request<B>, host: &str, body: Sent) {
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !request.headers().contains_key(HOST) {
        field(out, "host", host.as_bytes());
    }
    for (name, value) in request.headers() {
        // How the body is framed is decided here.
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    match body {
        // RFC 9110 §8.6.
        Sent::Nothing if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) => {
            field(out, "content-length", b"0");
        }
        Sent::Nothing => {}
        Sent::Length(length) => field(out, "content-length", length.to_string().as_bytes()),
        Sent::Chunked => field(out, "transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let mut begins = true;
    out.extend(name.bytes().map(|byte| {
        let upper = std::mem::replace(&mut begins, byte == b'-');
        if upper { byte.to_ascii_uppercase() } else { byte }
    }));
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection may be used again behind it.
    pub(super) keeps: bool,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    TooLarge,
    /// In words that hold nothing of what was read.
    Broken(&'static str),
}

const NO_HTTP: HeadFault = HeadFault::Broken("what it says is no HTTP");

/// Takes the head of the answer to a `method` request from what was read; `None` if it is not all there.
pub(super) fn read(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, HeadFault> {
    let mut fields = [const { MaybeUninit::uninit() }; ANSWER_HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, read, &mut fields);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= ANSWER_HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if read.len() < ANSWER_HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
        Err(_) => return Err(NO_HTTP),
    };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| NO_HTTP)?;
    let version = if answer.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| NO_HTTP)?;
        // Copied: whoever keeps a value keeps no more than that.
        let value = HeaderValue::from_bytes(field.value).map_err(|_| NO_HTTP)?;
        headers.append(name, value);
    }
    let framing = framing(status, version, &headers, method).map_err(HeadFault::Broken)?;
    let keeps = framing != Framing::UntilEnd && keeps(version, &headers);
    bytes::Buf::advance(read, length);
    Ok(Some(Head { status, version, headers, framing, keeps }))
}

/// RFC 9112 §6.3, without what only a guess could make sense of.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Framing, &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match lengths.next() {
        None => None,
        Some(first) => {
            let digits = Some(first.as_bytes()).filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit));
            let number = digits.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
            if lengths.any(|other| other != first) {
                return Err("its body has two lengths");
            }
            Some(number.ok_or("the length of its body is no number")?)
        }
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match (coding, length) {
        (Some(_), Some(_)) => Err("its body has a length and is chunked"),
        (Some(coding), None) => {
            let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
            if version == Version::HTTP_10 || !chunked || codings.next().is_some() {
                return Err("its body is coded in a way nobody asked for");
            }
            Ok(if bodiless { Framing::Length(0) } else { Framing::Chunked(Chunk::Size) })
        }
        (None, _) if bodiless => Ok(Framing::Length(0)),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::UntilEnd),
    }
}

fn keeps(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        let mut values = headers.get_all(CONNECTION).iter();
        values.any(|value| {
            value.as_bytes().split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str, method: &Method) -> Result<(Framing, bool), HeadFault> {
        let mut bytes = BytesMut::from(text);
        let head = read(&mut bytes, method)?.expect("all of it");
        assert_eq!(&bytes[..], b"", "{text}");
        Ok((head.framing, head.keeps))
    }

    #[test]
    fn where_a_body_ends_and_whether_the_connection_stays() {
        let (none, chunked) = (Framing::Length(0), Framing::Chunked(Chunk::Size));
        let cases = [
            ("1.1 200 OK", "Content-Length: 7\r\n", (Framing::Length(7), true)),
            ("1.1 200 OK", "Content-Length: 7\r\ncontent-length: 7\r\n", (Framing::Length(7), true)),
            ("1.1 200 OK", "Transfer-Encoding: Chunked\r\n", (chunked, true)),
            ("1.1 200 OK", "Transfer-Encoding: chunked\r\nConnection: x, Close\r\n", (chunked, false)),
            ("1.1 200 OK", "", (Framing::UntilEnd, false)),
            ("1.0 200 OK", "Content-Length: 7\r\n", (Framing::Length(7), false)),
            ("1.0 200 OK", "Content-Length: 7\r\nConnection: keep-alive\r\n", (Framing::Length(7), true)),
            ("1.1 204 No Content", "", (none, true)),
            ("1.1 304 Not Modified", "Content-Length: 7\r\n", (none, true)),
            ("1.1 103 Early Hints", "Link: a\r\n", (none, true)),
        ];
        for (line, fields, wanted) in cases {
            let text = format!("HTTP/{line}\r\n{fields}\r\n");
            assert_eq!(framed(&text, &Method::GET), Ok(wanted), "{text}");
            assert_eq!(framed(&text, &Method::HEAD).map(|(framing, _)| framing), Ok(none), "{text}");
        }
    }

    #[test]
    fn what_only_a_guess_could_frame_is_broken() {
        for fields in [
            "Content-Length: 7\r\nContent-Length: 8\r\n",
            "Content-Length: 7, 7\r\n",
            "Content-Length: +7\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "A : b\r\n",
            "A: b\r\n c\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert!(matches!(framed(&text, &Method::GET), Err(HeadFault::Broken(_))), "{text}");
        }
        let old = framed("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &Method::GET);
        assert!(matches!(old, Err(HeadFault::Broken(_))));
    }

    #[test]
    fn heads_are_bounded_and_waited_for() {
        let text = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(ANSWER_HEAD_BYTES_MAX));
        for length in [0, 1, 9, 17, 1000, ANSWER_HEAD_BYTES_MAX - 1] {
            let begun = read(&mut BytesMut::from(&text.as_bytes()[..length]), &Method::GET);
            assert!(matches!(begun, Ok(None)), "{length}");
        }
        let all = text.clone() + "\r\n\r\n";
        for text in [&text.as_bytes()[..ANSWER_HEAD_BYTES_MAX], all.as_bytes()] {
            let fault = read(&mut BytesMut::from(text), &Method::GET).expect_err("too large");
            assert_eq!(fault, HeadFault::TooLarge);
        }
    }

    #[test]
    fn names_are_written_as_usual() {
        let request = Request::post("/a?b").header("x-two-words", "1").header("content-length", "9").body(());
        let request = request.expect("a request");
        for (body, end) in [
            (Sent::Nothing, "Content-Length: 0\r\n"),
            (Sent::Length(3), "Content-Length: 3\r\n"),
            (Sent::Chunked, "Transfer-Encoding: chunked\r\n"),
        ] {
            let mut out = Vec::new();
            write(&mut out, &request, "h:1", body);
            let wanted = format!("POST /a?b HTTP/1.1\r\nHost: h:1\r\nX-Two-Words: 1\r\n{end}\r\n");
            assert_eq!(String::from_utf8_lossy(&out), wanted);
        }
    }
}
