//! Text from elements, with everything escaped that could end what it stands in.

use std::fmt::Write as _;

use crate::element::{Attribute, Element};
use crate::ns;

/// Appends an element to what stands where `default` is the namespace without a prefix, and `stream` that of streams.
pub(super) fn element(out: &mut String, element: &Element, default: &str) {
    let prefix = match element.namespace.as_str() {
        ns::STREAMS => "stream:",
        ns::XML => "xml:",
        _ => "",
    };
    let default = if !prefix.is_empty() || element.namespace == default {
        let _ = write!(out, "<{prefix}{}", element.name);
        default
    } else {
        let _ = write!(out, "<{} xmlns='{}'", element.name, escape(&element.namespace));
        element.namespace.as_str()
    };
    for (number, one) in element.attributes.iter().enumerate() {
        attribute(out, one, number);
    }
    if element.text.is_empty() && element.children.is_empty() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    push_escaped(out, &element.text);
    for child in &element.children {
        self::element(out, child, default);
    }
    let _ = write!(out, "</{prefix}{}>", element.name);
}

fn attribute(out: &mut String, attribute: &Attribute, number: usize) {
    let Attribute { namespace, name, value } = attribute;
    // Writing into a String cannot fail.
    let _ = match namespace.as_str() {
        "" => write!(out, " {name}='"),
        ns::XML => write!(out, " xml:{name}='"),
        other => write!(out, " xmlns:a{number}='{}' a{number}:{name}='", escape(other)),
    };
    push_escaped(out, value);
    out.push('\'');
}

/// A text as it may stand between tags and in values: what has a meaning there is a reference. What XML does not allow at
/// all becomes U+FFFD.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_escaped(&mut out, text);
    out
}

fn push_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // As they are, they would become blanks in values and line feeds in text.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
}
