//! One registration, call or chat with all that a node says of it, for people: a line for each thing.

use edgeway_runtime::admin::{cell, printable};
use edgeway_runtime::clock::rfc3339;
use serde_json::{Map, Value};

/// How deep things within things are shown; what is deeper is shown as it came.
const DEPTH_MAX: usize = 4;

/// The lines of it.
pub(crate) fn lines(row: &Value) -> String {
    let mut out = String::new();
    if let Value::Object(fields) = row {
        put(&mut out, fields, 0);
    }
    out
}

fn put(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    let width = fields.keys().map(|name| title(name).chars().count()).max().unwrap_or(0);
    for (name, value) in fields {
        let title = title(name);
        match value {
            Value::Array(parts) if depth < DEPTH_MAX && parts.iter().any(Value::is_object) => {
                for (number, part) in parts.iter().enumerate() {
                    out.push_str(&format!("{indent}{title} {}\n", number + 1));
                    if let Value::Object(part) = part {
                        put(out, part, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                out.push_str(&format!("{indent}{title:width$}  {}\n", text(name, value)))
            }
        }
    }
}

fn title(name: &str) -> String {
    let name = name.strip_suffix("_ms").unwrap_or(name);
    let name = name.strip_suffix("_s").map_or_else(|| name.to_owned(), |name| format!("{name} (s)"));
    printable(&name.replace('_', " "))
}

fn text(name: &str, value: &Value) -> String {
    match value {
        Value::Number(number) if name.ends_with("_ms") => number.as_u64().map_or_else(|| cell(Some(value)), rfc3339),
        Value::Object(parts) => {
            let part = |(name, value): (&String, &Value)| format!("{} {}", title(name), text(name, value));
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
        Value::Array(parts) => parts.iter().map(|part| text("", part)).collect::<Vec<_>>().join(", "),
        Value::String(words) if words.is_empty() => cell(None),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => cell(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_is_shown_and_commands_no_terminal() {
        let call = json!({
            "id": 7, "from": "ali\u{1b}ce@example.com", "since_ms": 1_795_543_200_123_u64, "device": null, "media": ["audio"],
            "sections": [{ "codecs": "PCMU", "packets": { "inward": 5, "outward": 6 }, "direction": "" }],
        });
        let shown = lines(&call);
        for line in [
            "id        7\n",
            "from      ali?ce@example.com\n",
            "since     2026-11-24T18:00:00.123Z\n",
            "device    -\n",
            "media     audio\n",
            "sections 1\n",
            "  codecs     PCMU\n",
            "  packets    inward 5, outward 6\n",
            "  direction  -\n",
        ] {
            assert!(shown.contains(line), "{line:?} in {shown}");
        }
        assert_eq!(lines(&json!({ "expires_in_s": 9 })), "expires in (s)  9\n");
    }
}
