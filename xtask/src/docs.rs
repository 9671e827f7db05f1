//! The pages of the manual that come from the code: settings, every bound of the product, and every
//! header its nodes touch.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::root;

/// Every `limits.rs` there may be, and what its bounds are about. A folder that does not exist yet is
/// passed over.
const ROOMS: &[(&str, &str)] = &[
    ("model/src", "The product"),
    ("config/src", "Configuration files"),
    ("protocols/sip/src", "SIP messages and transactions"),
    ("protocols/media/src", "SRTP and relays"),
    ("protocols/link/src", "The link between edge and core"),
    ("protocols/http-proxy/src", "What clients ask over HTTPS"),
    ("protocols/xmpp/src", "XMPP streams"),
    ("policy/src", "Policies"),
    ("nodes/edge-node/src", "The edge"),
    ("nodes/core-node/src", "The core"),
    ("runtime/src", "Sockets and threads"),
    ("runtime/src/link", "Link connections"),
    ("runtime/src/pki", "Identities and pairing"),
    ("runtime/src/trace", "Attempts and traces"),
    ("runtime/src/media", "Media threads"),
    ("runtime/src/http", "HTTP"),
    ("runtime/src/chat", "Chat"),
    ("admin/src/pages", "Web pages"),
    ("connectors/src/chat", "Chat at the core"),
    ("connectors/src/discovery", "Discovery of UC servers"),
    ("connectors/src/proxy", "The reverse proxy and its HTTP client"),
    ("connectors/src/authorities", "Who checks credentials"),
    ("connectors/src/sign_in", "Sign-in at the core"),
    ("admin/src/configuration", "Changes of the configuration"),
    ("admin/src", "The administrator's listener"),
    ("admin/src/support", "Support bundles"),
    ("admin/src/store", "The store of revisions"),
    ("lab-servers/src", "Servers and phones of the lab"),
    ("apps/edgeway/src/lab", "The lab"),
];

/// Writes every page.
pub(crate) fn write() -> Result<()> {
    for (path, text) in pages()? {
        let file = root().join(path);
        fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// Name and text of every page.
fn pages() -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("docs/manual/settings.md", edgeway_config::manual_page()),
        ("docs/manual/limits.md", limits_page()?),
        ("docs/manual/headers.md", edgeway_sip::touched::manual_page()),
    ])
}

fn limits_page() -> Result<String> {
    let mut page = String::from(HEAD);
    for (folder, title) in ROOMS {
        let path = format!("{folder}/limits.rs");
        let file = root().join(&path);
        if !file.exists() {
            continue;
        }
        let source = fs::read_to_string(&file).with_context(|| format!("{path} cannot be read"))?;
        // Writing into a String cannot fail.
        let _ = write!(page, "\n## {title}\n\nFrom [{path}](../../{path}).\n\n{TABLE_HEAD}");
        for bound in bounds(&source) {
            let _ = writeln!(page, "| `{}` | {} | {} |", bound.name, bound.value, bound.reason);
        }
    }
    Ok(page)
}

/// One constant of a `limits.rs`.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    name: String,
    value: String,
    reason: String,
}

/// The public constants of a source text with their comments.
fn bounds(source: &str) -> Vec<Bound> {
    let mut found = Vec::new();
    let mut reason = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("///") {
            reason.push_str(comment);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let mut declaration = rest.to_owned();
            while !declaration.contains(';') {
                let Some(next) = lines.next() else { break };
                declaration.push_str(next);
            }
            if let Some((name, (_, value))) =
                declaration.split_once(": ").map(|(n, r)| (n, r.split_once('=').unwrap_or((r, ""))))
            {
                let reason = linked_words(reason.trim());
                found.push(Bound {
                    name: name.to_owned(),
                    value: shown(name, value.trim().trim_end_matches(';')),
                    reason,
                });
            }
            reason.clear();
        } else if !line.starts_with("#[") {
            reason.clear();
        }
    }
    found
}

/// A value as an operator reads it.
fn shown(name: &str, expression: &str) -> String {
    let in_bytes = name.contains("BYTES");
    for (call, unit) in
        [("Duration::from_secs(", "s"), ("Duration::from_millis(", "ms"), ("Duration::from_micros(", "µs")]
    {
        let argument = expression.strip_prefix(call).and_then(|rest| rest.strip_suffix(')'));
        if let Some(number) = argument.and_then(product) {
            return in_time(number, unit);
        }
    }
    match product(expression) {
        Some(number) if in_bytes && number >= 1024 && number.is_multiple_of(1024 * 1024) => {
            format!("{} Mi", number / (1024 * 1024))
        }
        Some(number) if in_bytes && number >= 1024 && number.is_multiple_of(1024) => format!("{} Ki", number / 1024),
        Some(number) => grouped(number),
        None => format!("`{}`", expression.rsplit("limits::").next().unwrap_or(expression)),
    }
}

fn in_time(number: u64, unit: &str) -> String {
    match unit {
        "s" if number >= 86_400 && number.is_multiple_of(86_400) => format!("{} days", grouped(number / 86_400)),
        "s" if number >= 3_600 && number.is_multiple_of(3_600) => format!("{} h", number / 3_600),
        "s" if number >= 60 && number.is_multiple_of(60) => format!("{} min", number / 60),
        _ => format!("{} {unit}", grouped(number)),
    }
}

/// The value of numbers with `*` and `+` between them.
fn product(expression: &str) -> Option<u64> {
    let term = |term: &str| {
        let factors = term.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok());
        factors.reduce(|a, b| a?.checked_mul(b?))?
    };
    expression.split('+').map(term).reduce(|a, b| a?.checked_add(b?))?
}

/// 50000 as 50,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A comment without its links into the code, and without what would break a table.
fn linked_words(comment: &str) -> String {
    comment.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from the limits.rs of each crate. Change it there. -->

# Limits

Every queue, table, buffer and wait has a bound, and every bound has a name and a reason. What does not fit is refused
or dropped with a counted reason, never kept. Sizes are in bytes unless the text says otherwise; Ki is 1,024, Mi is
1,024 × 1,024. These are constants of the program; what an operator can set stands in [settings](settings.md).
";

const TABLE_HEAD: &str = "\
| name | value | what and why |
|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_found_with_their_reasons() {
        let source = "//! Bounds.\n\n/// Largest thing, bytes:\n/// two [`Lines`].\npub const BYTES_MAX: usize = 64 * 1024;\n\n\
                      /// Wait.\npub const WAIT: Duration =\n    Duration::from_millis(1_500);\n\nconst OWN: u8 = 1;\n\
                      pub const BARE: u64 = 50_000;\n";
        let bound = |name: &str, value: &str, reason: &str| Bound {
            name: name.into(),
            value: value.into(),
            reason: reason.into(),
        };
        assert_eq!(
            bounds(source),
            [
                bound("BYTES_MAX", "64 Ki", "Largest thing, bytes: two `Lines`."),
                bound("WAIT", "1,500 ms", "Wait."),
                bound("BARE", "50,000", ""),
            ]
        );
    }

    #[test]
    fn values_are_readable() {
        for (expression, value) in [
            ("1024 * 1024", "1 Mi"),
            ("64 * 1024 + 1024", "65 Ki"),
            ("1160", "1,160"),
            ("Duration::from_secs(3_600)", "1 h"),
            ("Duration::from_secs(15 * 60)", "15 min"),
            ("Duration::from_secs(365 * 86_400)", "365 days"),
            ("Duration::from_secs(32)", "32 s"),
            ("edgeway_model::limits::RELAYS_MAX", "`RELAYS_MAX`"),
        ] {
            assert_eq!(shown("A_BYTES_MAX", expression), value, "{expression}");
        }
        assert_eq!(shown("STREAMS_MAX", "4_096"), "4,096");
    }

    #[test]
    fn no_room_is_forgotten() {
        let mut open = vec![root()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                let name = entry.file_name().unwrap_or_default();
                if entry.is_dir() && name != "target" && name != "testing" && !name.to_string_lossy().starts_with('.') {
                    open.push(entry);
                } else if name == "limits.rs" {
                    let known = ROOMS.iter().any(|(room, _)| folder == root().join(room));
                    assert!(known, "{} is missing in ROOMS of xtask/src/docs.rs", entry.display());
                }
            }
        }
    }

    #[test]
    fn the_manual_is_up_to_date() {
        for (path, text) in pages().expect("the sources can be read") {
            let written = fs::read_to_string(root().join(path)).unwrap_or_default();
            assert!(written == text, "{path} is out of date: run `cargo xtask docs`");
        }
    }
}
