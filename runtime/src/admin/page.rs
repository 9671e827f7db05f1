//! The status as a page: read-only, without scripts, at the loopback address of `metrics`. Made of the same JSON as the
//! table; no users are in it.

use std::fmt::Write as _;

use serde_json::Value;

use super::report::{cell, printable};

/// Nothing is fetched but its own style; nothing frames it, and nothing is sent anywhere.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The style of the page.
pub(super) const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0; }
";

const DAY_S: i64 = 86_400;

/// The page of a status.
pub(super) fn render(status: &Value) -> String {
    let of = |name: &str| escaped(&cell(status.get(name)));
    let title = format!("Edgeway {} {}", of("role"), of("node"));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"10\">\n\
         <link rel=\"stylesheet\" href=\"/status.css\"></head><body>\n<h1>{title}</h1>\n"
    );
    let configuration = status.pointer("/configuration/source").filter(|one| one.is_string());
    let from = configuration.map(|source| format!(", configuration of {}", escaped(&cell(Some(source)))));
    // Writing into a String cannot fail.
    let _ = writeln!(page, "<p>Version {}{}. {}</p>", of("version"), from.unwrap_or_default(), maintenance(status));
    let row = |alarm: &Value| ["severity", "id", "about", "cause", "action"].map(|name| cell(alarm.get(name))).to_vec();
    table(&mut page, "Alarms", &["Severity", "Alarm", "About", "Cause", "What to do"], list(status, "alarms").map(row));
    let row = |service: &Value| vec![cell(service.get("name")), cell(service.get("state")), notes(service)];
    table(&mut page, "Unified Communications status", &["Service", "State", ""], list(status, "services").map(row));
    let row = |(name, gauge): (&str, &str)| {
        let of = |which: &str| cell(status.pointer(&format!("/{gauge}/{which}")));
        vec![name.to_owned(), of("current"), of("peak")]
    };
    let gauges = [
        ("MRA registrations", "registrations"),
        ("Calls", "calls"),
        ("Chats", "chats"),
        ("Connections", "connections"),
    ];
    table(&mut page, "Sessions", &["", "Current", "Peak"], gauges.into_iter().map(row));
    let row =
        |link: &Value| ["peer", "role", "state", "media_path", "trouble"].map(|name| cell(link.get(name))).to_vec();
    table(&mut page, "Links", &["Node", "Role", "State", "Media path", "Trouble"], list(status, "links").map(row));
    let now_s = status.get("now_ms").and_then(Value::as_i64).unwrap_or(0) / 1_000;
    let row = |one: &Value| {
        let left = one.get("not_after_unix").and_then(Value::as_i64).map(|end| (end - now_s).div_euclid(DAY_S));
        vec![cell(one.get("use")), names(one), left.map_or_else(|| cell(None), |days| days.to_string())]
    };
    table(&mut page, "Certificates", &["Use", "Names", "Days left"], list(status, "certificates").map(row));
    page.push_str("</body></html>\n");
    page
}

fn maintenance(status: &Value) -> String {
    let Some(one) = status.get("maintenance").filter(|one| one.is_object()) else { return "In service.".to_owned() };
    if one.get("drained") == Some(&Value::Bool(true)) {
        return "<strong>Maintenance mode: drained.</strong>".to_owned();
    }
    let left = |kind: &str| format!("{} {kind}", escaped(&cell(one.pointer(&format!("/remaining/{kind}")))));
    let left = ["calls", "chats", "registrations", "requests"].map(left).join(", ");
    format!("<strong>Maintenance mode: draining.</strong> Left are {left}.")
}

fn notes(service: &Value) -> String {
    let part = |part: &Value| format!("{}: {}", cell(part.get("name")), cell(part.get("state")));
    let notes = list(service, "notes").map(|note| cell(Some(note)));
    list(service, "parts").map(part).chain(notes).collect::<Vec<_>>().join("; ")
}

fn names(certificate: &Value) -> String {
    list(certificate, "names").map(|name| cell(Some(name))).collect::<Vec<_>>().join(", ")
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn table(page: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = write!(page, "<h2>{title}</h2>\n<table><thead><tr>");
    for head in heads {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
    let mut count = 0;
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>\n");
        count += 1;
    }
    if count == 0 {
        let _ = writeln!(page, "<tr><td colspan=\"{}\">none</td></tr>", heads.len());
    }
    page.push_str("</tbody></table>\n");
}

/// As text of a page, whatever it is.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in printable(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_say_is_text_and_nothing_else() {
        let evil = "<script>alert(1)</script>\"'&\u{1b}[2J";
        let page = render(&json!({
            "node": evil, "role": "edge", "version": evil, "now_ms": 86_400_000,
            "services": [{ "name": evil, "state": evil, "parts": [{ "name": evil, "state": evil }], "notes": [evil] }],
            "alarms": [{ "severity": evil, "id": evil, "about": evil, "cause": evil, "action": evil }],
            "links": [{ "peer": evil, "role": evil, "state": evil, "media_path": evil, "trouble": evil }],
            "certificates": [{ "use": evil, "names": [evil], "not_after_unix": 86_400 * 31 }],
            "configuration": { "source": evil },
        }));
        assert!(!page.contains("<script") && !page.contains('\u{1b}') && page.contains("&lt;script&gt;"), "{page}");
        assert!(page.contains("<td>30</td>"), "days are left: {page}");
    }

    #[test]
    fn maintenance_mode_is_said_with_what_is_left() {
        let maintenance =
            json!({ "drained": false, "remaining": { "calls": 2, "chats": 1, "registrations": 0, "requests": 0 } });
        assert!(
            render(&json!({ "maintenance": maintenance })).contains("draining.</strong> Left are 2 calls, 1 chats")
        );
        assert!(render(&json!({ "maintenance": { "drained": true } })).contains("drained"));
        assert!(render(&json!({})).contains("In service."));
    }
}
