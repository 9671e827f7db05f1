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
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let sources: Vec<_> = files("templates", ".html").into_iter().chain(files("src/pages", ".rs")).collect();
    let mut used = BTreeSet::new();
    for (file, text) in &sources {
        for literal in literals(text) {
            let (section, name) = literal.split_once('.').expect("a key");
            if sections.contains(section) && !["html", "css", "js", "toml", "svg", "rs"].contains(&name) {
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
            let is_meta = tag.starts_with("meta") || tag.starts_with("option");
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
