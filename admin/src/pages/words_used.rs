//! Every word a page shows is in the catalogues, and no word there is idle.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::words::Language;

fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let wanted = names.filter(|path| path.to_string_lossy().ends_with(ending));
    wanted.map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("text"))).collect()
}

/// Every string literal of a source file that could be a key: two words with a dot between.
fn literals(text: &str) -> BTreeSet<&str> {
    let is_key = |literal: &&str| {
        literal.split_once('.').is_some_and(|(section, name)| {
            let is_word =
                |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            is_word(section) && is_word(name)
        })
    };
    text.split('"').filter(is_key).collect()
}

#[test]
fn every_key_is_known_and_used() {
    let words = Language::English.words();
    let keys: BTreeSet<&str> = words.keys().collect();
    let settings: BTreeSet<_> =
        edgeway_config::known_settings(edgeway_config::Role::Core).iter().map(|one| one.path).collect();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let sources: Vec<_> = files("templates", ".html").into_iter().chain(files("src/pages", ".rs")).collect();
    let mut used = BTreeSet::new();
    for (file, text) in &sources {
        for literal in literals(text) {
            let (section, name) = literal.split_once('.').expect("a key");
            if sections.contains(section)
                && !settings.contains(literal)
                && !["html", "css", "js", "toml", "svg", "rs"].contains(&name)
            {
                assert!(keys.contains(literal), "{file}: {literal} is in no catalogue");
                used.insert(literal);
            }
        }
    }
    // What nodes say is found by its words, not by its key.
    let idle: Vec<_> = keys.iter().filter(|key| !used.contains(*key) && !key.starts_with("said.")).collect();
    assert!(idle.is_empty(), "no page says: {idle:?}");
}

/// A template without its expressions, comments, tags and the texts of scripts: what is left is shown as it stands.
fn shown(template: &str) -> String {
    let mut text = template.to_owned();
    for (open, close) in [("{#", "#}"), ("{%", "%}"), ("{{", "}}")] {
        while let Some(at) = text.find(open) {
            let end = text[at..].find(close).map_or(text.len(), |end| at + end + close.len());
            text.replace_range(at..end, "");
        }
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        let (tag, after) = after.split_once('>').unwrap_or((after, ""));
        for name in ["aria-label", "title", "placeholder", "alt", "value", "content", "data-say", "data-confirm"] {
            let Some((_, value)) = tag.split_once(&format!(" {name}=\"")) else { continue };
            let is_meta = tag.starts_with("meta") || tag.starts_with("option") || tag.contains("type=\"hidden\"");
            if !is_meta {
                out.push_str(value.split('"').next().unwrap_or_default());
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[test]
fn no_template_speaks_for_itself() {
    for (file, text) in files("templates", ".html") {
        // The name of the product is the same in all languages.
        let left = shown(&text).replace("Edgeway", "");
        let letters: String = left.chars().filter(|char| char.is_alphabetic()).collect();
        assert!(letters.is_empty(), "{file} says {letters}");
    }
    assert_eq!(shown("<p title=\"{{ x }}\">{% if y %}Hello{% endif %}</p>"), "Hello");
    assert_eq!(shown("<input value=\"yes\">{# no #}"), "yes");
}

#[test]
fn no_template_has_scripts_or_styles_of_its_own() {
    for (file, text) in files("templates", ".html") {
        let lower = text.to_lowercase();
        for bad in [
            " style=",
            " onclick=",
            " onload=",
            " onerror=",
            " onsubmit=",
            "javascript:",
            "<style",
            "<script>",
            "|safe",
        ] {
            assert!(!lower.contains(bad), "{file} has {bad}");
        }
        let open = lower.matches("<script ").count();
        assert_eq!(open, lower.matches(" defer></script>").count(), "{file}: scripts are files");
    }
}

/// The string literals of a source file as they are at run time, each with the code before it.
fn strings(source: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = source[from..].find('"').map(|at| from + at) {
        let mut text = String::new();
        let mut chars = source[open + 1..].char_indices();
        let mut close = source.len();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    close = open + 1 + at;
                    break;
                }
                '\\' => match chars.next() {
                    // A line that goes on: the white space of the next one is none of the text.
                    Some((_, '\n')) => {
                        let rest = chars.as_str();
                        let blank = rest.len() - rest.trim_start().len();
                        chars.by_ref().take(rest[..blank].chars().count()).for_each(drop);
                    }
                    Some((_, other)) => text.push(other),
                    None => {}
                },
                other => text.push(other),
            }
        }
        found.push((&source[..open], text));
        from = (close + 1).min(source.len());
    }
    found
}

/// A text of a source file with something in its holes.
fn filled_in(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str("x7");
        rest = after;
    }
    out + rest
}

/// Where alarms are raised, and where what they say comes from: whole functions, or whatever is called a cause or an action.
const ALARMS: [(&str, &str, &str); 14] = [
    ("admin/src/configuration/boot.rs", "", ""),
    ("admin/src/configuration/mod.rs", "", ""),
    ("runtime/src/reactor/operated.rs", "", ""),
    ("runtime/src/reactor.rs", "", ""),
    ("runtime/src/alarms.rs", "", "#[cfg(test)]"),
    ("runtime/src/certificates.rs", "", "#[cfg(test)]"),
    ("model/src/certificates.rs", "fn remedy", "\n    }\n"),
    ("connectors/src/allowed.rs", "", "#[cfg(test)]"),
    ("connectors/src/users_file/mod.rs", "", "#[cfg(test)]"),
    ("connectors/src/sign_in/health.rs", "", "#[cfg(test)]"),
    ("connectors/src/discovery/fault.rs", "const fn action", "\n    }\n"),
    ("connectors/src/discovery/refresh.rs", "", ""),
    ("connectors/src/discovery/mod.rs", "", ""),
    ("connectors/src/chat/health.rs", "", "#[cfg(test)]"),
];

/// What alarms' causes are made of.
const PARTS: [(&str, &str, &str); 4] = [
    ("connectors/src/discovery/fault.rs", "pub enum AskFault", "\n}\n"),
    ("policy/src/discovery/check.rs", "pub enum Lie", "\n}\n"),
    ("policy/src/discovery/diff.rs", "fn meaning", "\n    }\n"),
    ("policy/src/discovery/diff.rs", "impl fmt::Display for What", "\n}\n"),
];

fn section((file, from, until): (&str, &str, &str)) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let start = text.find(from).unwrap_or_else(|| panic!("{file} has no {from}"));
    let text = &text[start..];
    let end = if until.is_empty() { text.len() } else { text.find(until).unwrap_or(text.len()) };
    text[..end].to_owned()
}

#[test]
fn refusals_speak_japanese() {
    let words = Language::Japanese.words();
    for reason in edgeway_model::attempt::Reason::ALL {
        assert!(!words.said(reason.words()).is_foreign, "{}: {}", reason.id(), reason.words());
    }
}

#[test]
fn alarms_speak_japanese() {
    let words = Language::Japanese.words();
    let mut said = 0;
    let mut missing = Vec::new();
    let mut look = |file: &str, text: &str| {
        let text = filled_in(text);
        said += 1;
        if words.said(&text).is_foreign {
            missing.push(format!("{file}: {text}"));
        }
    };
    for place in ALARMS {
        let text = section(place);
        for (before, literal) in strings(&text) {
            let before: String = before.chars().rev().filter(|char| !char.is_whitespace()).take(24).collect();
            let before: String = before.chars().rev().collect();
            let is_alarms = ["cause=", "cause:", "action=", "action:", "cause=format!(", "cause:format!("]
                .iter()
                .any(|end| before.ends_with(end))
                || before.ends_with("cause,")
                || before.ends_with("0=>format!(")
                || ["_=>format!(", "_)=>format!(", "None=>format!("].iter().any(|end| before.ends_with(end))
                || !place.1.is_empty();
            if is_alarms && literal.contains(' ') {
                look(place.0, &literal);
            }
        }
    }
    for place in PARTS {
        for (before, literal) in strings(&section(place)) {
            let is_test_name = before.trim_end().ends_with("which:");
            if literal.contains(' ') && !is_test_name {
                look(place.0, &literal);
            }
        }
    }
    assert!(missing.is_empty(), "in English only:\n{}", missing.join("\n"));
    assert!(said > 80, "only {said} sentences were found: have they moved?");
}
