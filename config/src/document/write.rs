//! The canonical text of a document: the order of the manual, one way to write each value.

use std::fmt::Write as _;

use super::{Document, Entry, SEALED, Value};
use crate::known::{self, Role};

/// Top-level settings, then tables, then lists of tables.
pub(super) fn text(document: &Document, masked: bool) -> String {
    let mut text = String::new();
    let known: Vec<_> = known::of(Role::Core).filter(|setting| setting.list().is_none()).collect();
    let mut tables: Vec<&str> = Vec::new();
    for setting in &known {
        let table = setting.path.rsplit_once('.').map_or("", |(table, _)| table);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    // The settings outside of any table must come first; the first table of the manual need not be that.
    tables.sort_by_key(|table| !table.is_empty());
    for table in tables {
        let mut named = table.is_empty();
        for setting in &known {
            let (of, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
            let Some(value) = document.plain.get(setting.path).filter(|_| of == table) else { continue };
            if !named {
                begin(&mut text, &format!("[{table}]"));
                named = true;
            }
            line(&mut text, key, value, masked);
        }
    }
    let mut lists: Vec<&str> = Vec::new();
    for list in known::of(Role::Core).filter_map(known::Setting::list) {
        if !lists.contains(&list) {
            lists.push(list);
        }
    }
    for list in lists {
        for entry in document.entries(list) {
            begin(&mut text, &format!("[[{list}]]"));
            self::entry(&mut text, list, entry, masked);
        }
    }
    text
}

fn begin(text: &mut String, head: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(head);
    text.push('\n');
}

fn entry(text: &mut String, list: &str, entry: &Entry, masked: bool) {
    for setting in known::of(Role::Core).filter(|setting| setting.list() == Some(list)) {
        let key = &setting.path[list.len() + 1..];
        if let Some(value) = entry.get(key) {
            line(text, key, value, masked);
        }
    }
}

fn line(text: &mut String, key: &str, one: &Value, masked: bool) {
    text.push_str(key);
    text.push_str(" = ");
    value(text, one, masked);
    text.push('\n');
}

pub(super) fn value(text: &mut String, value: &Value, masked: bool) {
    match value {
        Value::Boolean(yes) => text.push_str(if *yes { "true" } else { "false" }),
        Value::Integer(number) => {
            // Writing into a String cannot fail.
            let _ = write!(text, "{number}");
        }
        Value::Text(one) => quote(text, one),
        Value::Secret(_) if masked => quote(text, SEALED),
        Value::Secret(hidden) => quote(text, hidden.expose()),
        Value::List(all) => {
            text.push('[');
            for (index, one) in all.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                self::value(text, one, masked);
            }
            text.push(']');
        }
    }
}

/// A basic string of TOML.
pub(super) fn quote(text: &mut String, one: &str) {
    text.push('"');
    for c in one.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
