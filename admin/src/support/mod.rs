//! What one sends to whoever helps: a tar file of what a node says of itself, with a manifest, and without secrets. Names
//! of people and addresses of theirs are replaced by stand-ins, the same one for the same name within one bundle, unless
//! the operator wants them in.

pub mod limits;
mod redact;

use std::io;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::limits::{PART_BYTES_MAX, PARTS_MAX};
pub use self::redact::Redaction;

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: String,
    about: &'static str,
    bytes: Vec<u8>,
    /// How much was cut off at its beginning.
    cut: usize,
    redacted: usize,
}

/// A bundle that is being put together.
#[derive(Debug)]
pub struct Bundle {
    redaction: Redaction,
    parts: Vec<Part>,
    missing: Vec<(String, String)>,
}

impl Bundle {
    /// An empty one.
    #[must_use]
    pub const fn new(redaction: Redaction) -> Self {
        Self { redaction, parts: Vec::new(), missing: Vec::new() }
    }

    /// Adds a text. `name` is a file name out of our own words, not out of what anybody said.
    pub fn text(&mut self, name: &str, about: &'static str, text: &str) {
        let cut = text.len().saturating_sub(PART_BYTES_MAX);
        let from = (cut..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let (text, redacted) = self.redaction.text(&text[from..]);
        self.add(name, about, text.into_bytes(), from, redacted);
    }

    /// Adds JSON.
    pub fn json(&mut self, name: &str, about: &'static str, value: &Value) {
        let (value, redacted) = self.redaction.json(value);
        self.add(name, about, format!("{value:#}\n").into_bytes(), 0, redacted);
    }

    /// Says why something is not in it.
    pub fn missing(&mut self, name: &str, why: &str) {
        if self.missing.len() < PARTS_MAX {
            let (why, _) = self.redaction.text(why);
            self.missing.push((name.to_owned(), why));
        }
    }

    fn add(&mut self, name: &str, about: &'static str, bytes: Vec<u8>, cut: usize, redacted: usize) {
        if self.parts.len() < PARTS_MAX {
            self.parts.push(Part { name: name.to_owned(), about, bytes, cut, redacted });
        } else {
            self.missing(name, "the bundle holds too many files");
        }
    }

    /// What is in it: each file with its size, its SHA-256 and how much was replaced.
    #[must_use]
    pub fn manifest(&self, now_ms: u64) -> Value {
        let file = |part: &Part| {
            json!({
                "name": part.name,
                "about": part.about,
                "bytes": part.bytes.len(),
                "sha256": Sha256::digest(&part.bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                "cut_at_beginning_bytes": part.cut,
                "replaced": part.redacted,
            })
        };
        let missing = |(name, why): &(String, String)| json!({ "name": name, "why": why });
        json!({
            "made_ms": now_ms,
            "edgeway": env!("CARGO_PKG_VERSION"),
            "names_and_addresses": if self.redaction.keeps_names() { "as they are" } else { "replaced" },
            "secrets": "left out",
            "files": self.parts.iter().map(file).collect::<Vec<_>>(),
            "missing": self.missing.iter().map(missing).collect::<Vec<_>>(),
        })
    }

    /// The tar file; the manifest comes first. All of it is in the folder `folder`.
    ///
    /// # Errors
    /// A name that no tar file can hold.
    pub fn finish(self, folder: &str, now_ms: u64) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let manifest = format!("{:#}\n", self.manifest(now_ms));
        let mut append = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now_ms / 1_000);
            tar.append_data(&mut header, format!("{folder}/{name}"), bytes)
        };
        append("manifest.json", manifest.as_bytes())?;
        self.parts.iter().try_for_each(|part| append(&part.name, &part.bytes))?;
        tar.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn unpack(tar: &[u8]) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        });
        entries.collect()
    }

    #[test]
    fn the_manifest_says_what_is_in_it() {
        let mut bundle = Bundle::new(Redaction::of([7; 32]));
        bundle.json("status.json", "what it says", &json!({ "node": "core1", "aor": "sip:sato@example.com" }));
        bundle.text("settings.toml", "its settings", "password = \"hunter2\"\ndomains = [\"example.com\"]\n");
        bundle.missing("journal.txt", "no journalctl for sato@example.com");
        let files = unpack(&bundle.finish("edgeway-core1", 1_000).unwrap());
        let manifest: Value = serde_json::from_str(&files["edgeway-core1/manifest.json"]).unwrap();
        for (place, expected) in [("/files/0/name", "status.json"), ("/names_and_addresses", "replaced")] {
            assert_eq!(manifest.pointer(place).and_then(Value::as_str), Some(expected));
        }
        for file in manifest["files"].as_array().unwrap() {
            let text = &files[&format!("edgeway-core1/{}", file["name"].as_str().unwrap())];
            let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(file["sha256"], json!(hash));
            assert_eq!(file["bytes"], json!(text.len()));
        }
        let all = files.values().cloned().collect::<String>();
        assert!(!all.contains("sato") && !all.contains("hunter2"), "{all}");
        assert!(all.contains("core1") && all.contains("domains = [\"example.com\"]"), "{all}");
    }

    #[test]
    fn of_what_is_too_long_the_end_is_kept() {
        let mut bundle = Bundle::new(Redaction::none());
        let text = format!("{}é the end", "é".repeat(PART_BYTES_MAX / 2));
        bundle.text("journal.txt", "its log", &text);
        let files = unpack(&bundle.finish("b", 0).unwrap());
        assert!(files["b/journal.txt"].ends_with("the end") && files["b/journal.txt"].len() <= PART_BYTES_MAX);
        assert!(files["b/manifest.json"].contains("cut_at_beginning_bytes"));
    }

    #[test]
    fn a_bundle_is_bounded() {
        let mut bundle = Bundle::new(Redaction::none());
        (0..PARTS_MAX * 3).for_each(|n| bundle.text(&format!("{n}.txt"), "one of many", "x"));
        assert_eq!(unpack(&bundle.finish("b", 0).unwrap()).len(), PARTS_MAX + 1);
    }
}
