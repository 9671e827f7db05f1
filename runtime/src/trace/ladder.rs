//! What several nodes have kept, put together: in order of time, as text, and as a file for Wireshark.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use super::pcapng::{self, Packet, stand_in};
use crate::clock::rfc3339;

/// Width of one party's column.
const COLUMN: usize = 26;
/// Parties in one picture; messages of others are left out of it, and that is said.
const PARTIES_MAX: usize = 12;

/// Puts the answers of several nodes to `ladder` together. What went from one node to another was seen by both: it is there
/// once, as its sender saw it.
#[must_use]
pub fn merge(answers: &[Value]) -> Vec<Value> {
    let of = |answer: &Value| answer.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut messages: Vec<_> = answers.iter().flat_map(of).collect();
    let key = |message: &Value| (text(message, "from"), text(message, "to"), text(message, "text"));
    let sent: BTreeSet<_> =
        messages.iter().filter(|message| text(message, "node") == text(message, "from")).map(key).collect();
    messages.retain(|message| text(message, "node") != text(message, "to") || !sent.contains(&key(message)));
    messages.sort_by_key(at_us);
    messages
}

/// The ladder as text: a column for each party, an arrow for each message, and what was decided below it.
#[must_use]
pub fn picture(messages: &[Value]) -> String {
    let mut parties: Vec<String> = Vec::new();
    for message in messages {
        for end in ["from", "to"] {
            let party = text(message, end);
            if !parties.contains(&party) && parties.len() < PARTIES_MAX {
                parties.push(party);
            }
        }
    }
    parties.sort_by_key(|party| rank(party, messages));
    let mut out = format!("{:13} ", "time (UTC)");
    for party in &parties {
        let _ = write!(out, "{:COLUMN$}", shortened(party, COLUMN - 1));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    let mut left_out = 0;
    for message in messages {
        let column = |end| parties.iter().position(|party| *party == text(message, end));
        let (Some(from), Some(to)) = (column("from"), column("to")) else {
            left_out += 1;
            continue;
        };
        let time = rfc3339(at_us(message) / 1_000);
        let line = arrow(parties.len(), from, to, &label(&text(message, "first_line")));
        let _ = writeln!(out, "{:13} {}", time.get(11..23).unwrap_or_default(), line.trim_end());
        let decision = text(message, "decision");
        if !decision.is_empty() {
            let node = text(message, "node");
            let _ = writeln!(out, "{:13} {:indent$}{node}: {decision}", "", "", indent = from.min(to) * COLUMN + 2);
        }
    }
    if left_out > 0 {
        let _ = writeln!(out, "and {left_out} messages of further parties");
    }
    out
}

/// The messages as a pcapng file. Nodes have addresses of their own there that nobody has elsewhere.
#[must_use]
pub fn capture(messages: &[Value]) -> Vec<u8> {
    let mut names: Vec<String> = Vec::new();
    let mut address = |party: String| {
        party.parse::<SocketAddr>().unwrap_or_else(|_| {
            let known = names.iter().position(|known| *known == party);
            stand_in(known.unwrap_or_else(|| {
                names.push(party);
                names.len() - 1
            }))
        })
    };
    let parts = messages.iter().map(|message| {
        let comment = [text(message, "node"), text(message, "decision")].join(": ");
        let ends = (address(text(message, "from")), address(text(message, "to")));
        (at_us(message), ends, text(message, "text"), comment.trim_end_matches(": ").to_owned())
    });
    let parts: Vec<_> = parts.collect();
    let packets = parts.iter().map(|(at_us, (from, to), text, comment)| Packet {
        at_us: *at_us,
        from: *from,
        to: *to,
        text,
        comment,
    });
    pcapng::write(&packets.collect::<Vec<_>>())
}

fn at_us(message: &Value) -> u64 {
    message.get("at_us").and_then(Value::as_u64).unwrap_or_default()
}

/// A text of an answer, without what a terminal obeys: answers of other nodes are believed nothing.
fn text(message: &Value, name: &str) -> String {
    let text = message.get(name).and_then(Value::as_str).unwrap_or_default();
    let plain = |one: char| if one.is_control() && one != '\r' && one != '\n' { '?' } else { one };
    let text: String = text.chars().map(plain).collect();
    if name == "text" { text } else { text.replace(['\r', '\n'], "?") }
}

/// Clients on the left, then edges, then cores, then who is inside: by what they are seen to talk to.
fn rank(party: &str, messages: &[Value]) -> (u8, String) {
    let nodes: BTreeSet<_> = messages.iter().map(|message| text(message, "node")).collect();
    let is_node = |name: &str| nodes.contains(name) || name.parse::<SocketAddr>().is_err();
    let talks_inside = |node: &str| {
        messages
            .iter()
            .any(|message| text(message, "node") == node && message.get("inside") == Some(&Value::Bool(true)))
    };
    let place = if is_node(party) {
        if talks_inside(party) { 2 } else { 1 }
    } else {
        let inside = messages.iter().any(|message| {
            (text(message, "from") == party || text(message, "to") == party)
                && message.get("inside") == Some(&Value::Bool(true))
        });
        if inside { 3 } else { 0 }
    };
    (place, party.to_owned())
}

/// `INVITE`, or `200 OK`.
fn label(first_line: &str) -> String {
    match first_line.strip_prefix("SIP/2.0 ") {
        Some(status) => status.to_owned(),
        None => first_line.split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn shortened(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// One line: a bar for each party, and the arrow between two of them.
fn arrow(parties: usize, from: usize, to: usize, label: &str) -> String {
    let mut line: Vec<char> = (0..parties * COLUMN).map(|at| if at % COLUMN == 0 { '|' } else { ' ' }).collect();
    let (left, right) = (from.min(to) * COLUMN, from.max(to) * COLUMN);
    if left == right {
        return format!("{} {label}", line.into_iter().take(left + 1).collect::<String>());
    }
    line[left + 1..right].fill('-');
    if from < to {
        line[right - 1] = '>';
    } else {
        line[left + 1] = '<';
    }
    let label = shortened(label, right - left - 6);
    for (at, one) in format!(" {label} ").chars().enumerate() {
        line[left + 3 + at] = one;
    }
    line.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(at_us: u64, node: &str, from: &str, to: &str, first: &str, inside: bool) -> Value {
        json!({ "at_us": at_us, "node": node, "from": from, "to": to, "first_line": first, "inside": inside,
                "text": format!("{first}\r\nCall-ID: one\r\n\r\n"),
                "decision": if node == "core1" && inside { "registrar by priority" } else { "" } })
    }

    #[test]
    fn two_nodes_make_one_ladder() {
        let (client, registrar) = ("203.0.113.7:50412", "10.0.0.5:5060");
        let edge = json!({ "messages": [
            message(1_000, "edge1", client, "edge1", "INVITE sip:bob@example.com SIP/2.0", false),
            message(2_000, "edge1", "edge1", "core1", "INVITE sip:bob@example.com SIP/2.0", false),
            message(9_000, "edge1", "core1", "edge1", "SIP/2.0 486 Busy Here", false),
        ] });
        let core = json!({ "messages": [
            message(3_000, "core1", "edge1", "core1", "INVITE sip:bob@example.com SIP/2.0", false),
            message(4_000, "core1", "core1", registrar, "INVITE sip:bob@example.com SIP/2.0", true),
            message(5_000, "core1", registrar, "core1", "SIP/2.0 486 Busy Here", true),
        ] });
        let merged = merge(&[edge, core]);
        assert_eq!(merged.len(), 5, "what edge1 sent to core1 is there once");
        let picture = picture(&merged);
        let lines: Vec<_> = picture.lines().collect();
        assert!(
            lines[0].starts_with("time (UTC)    203.0.113.7:50412         edge1                     core1"),
            "{picture}"
        );
        assert!(lines[1].starts_with("00:00:00.001  |-- INVITE -------------->|"), "{picture}");
        assert!(
            picture.contains("core1: registrar by priority") && picture.contains("|<- 486 Busy Here "),
            "{picture}"
        );
        let file = capture(&merged);
        assert_eq!(file.windows(20).filter(|part| part.starts_with(b"INVITE sip:bob")).count(), 3);
    }

    #[test]
    fn nothing_of_another_node_commands_a_terminal() {
        let hostile = json!({ "messages": [
            { "at_us": 1, "node": "e\u{1b}[2J", "from": "e\u{1b}[2J", "to": "x\r\ny", "first_line": "SIP/2.0 \u{1b}]0;x", "text": "\u{7}" },
            { "at_us": "x", "node": 7, "from": null },
            7,
        ] });
        let merged = merge(&[hostile, json!(null), json!({ "messages": 7 })]);
        let picture = picture(&merged);
        assert!(picture.chars().all(|one| one == '\n' || !one.is_control()), "{picture:?}");
        assert!(!capture(&merged).contains(&0x1b));
    }
}
