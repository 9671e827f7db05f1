//! As much of SOAP as the simulated servers need: which method was called, what an element holds, envelopes, faults.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::http::{Answer, escaped};

/// The method of a request.
pub(super) struct Call {
    /// Local name.
    pub(super) name: String,
    /// The namespace its prefix stands for.
    pub(super) namespace: String,
}

/// The first element inside the `Body` of an envelope.
pub(super) fn method(body: &[u8]) -> Option<Call> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text);
    let mut path = 0;
    let mut namespaces: Vec<(String, String)> = Vec::new();
    loop {
        let event = reader.read_event().ok()?;
        let (element, opens) = match &event {
            Event::Start(element) => (element, true),
            Event::Empty(element) => (element, false),
            Event::End(_) => {
                path -= 1;
                continue;
            }
            Event::Eof => return None,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => continue,
        };
        for attribute in element.attributes().flatten() {
            let key = attribute.key.as_ref().to_owned();
            if let Some(prefix) = key.strip_prefix("xmlns") {
                let value = attribute.value.clone().into_owned();
                namespaces.push((prefix.trim_start_matches(':').to_owned(), value));
            }
        }
        let local = element.local_name().as_ref().to_owned();
        match (path, local.as_str()) {
            (0, "Envelope") | (1, "Body" | "Header") => {}
            (2, _) => {
                let name = element.name();
                let prefix = name.prefix().map(|prefix| prefix.as_ref().to_owned());
                let prefix = prefix.unwrap_or_default();
                let namespace = namespaces.iter().rev().find(|(known, _)| *known == prefix)?.1.clone();
                return Some(Call { name: local, namespace });
            }
            _ => return None,
        }
        path += i32::from(opens);
    }
}

/// The text of the first element of that local name.
pub(super) fn leaf(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) if element.local_name().as_ref() == name => {
                let raw = reader.read_text(element.name()).ok()?;
                return quick_xml::escape::unescape(&raw).ok().map(std::borrow::Cow::into_owned);
            }
            Event::Eof => return None,
            Event::Start(_)
            | Event::Empty(_)
            | Event::End(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

/// An answer of SOAP 1.1.
pub(super) fn envelope(status: u16, body: &str) -> Answer {
    let text = format!(
        "<?xml version='1.0' encoding='UTF-8'?><soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    );
    Answer::new(status, "text/xml;charset=UTF-8", text)
}

/// A refusal: status 500 and a fault.
pub(super) fn fault(namespace: &str, who: &str, code: &str, words: &str) -> Answer {
    let words = escaped(words);
    envelope(
        500,
        &format!(
            "<soapenv:Fault><faultcode>{who}</faultcode><faultstring>{words}</faultstring><detail>\
         <axlError><axlcode>{code}</axlcode><axlmessage>{words}</axlmessage><request>{}</request></axlError>\
         </detail></soapenv:Fault>",
            escaped(namespace)
        ),
    )
}
