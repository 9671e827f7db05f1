//! The libraries of others that the programs contain, with their licences: these ask to be handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cargo;

/// How the files with a licence begin.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The list, and then every text once, with the libraries it is that of.
pub(super) fn page(programs: &[&str]) -> Result<String> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform];
    let output = cargo().args(arguments).output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let inside = contained(&metadata, programs)?;
    let mut list = String::from(HEAD);
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in rows(&metadata, "/packages") {
        let field = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or_default();
        // What has a source is from somewhere else.
        if !inside.contains(field("id")) || field("source").is_empty() {
            continue;
        }
        let name = format!("{} {}", field("name"), field("version"));
        let licence = if field("license").is_empty() { "see below" } else { field("license") };
        // Writing into a String cannot fail.
        let _ = writeln!(list, "{name}: {licence}");
        let folder = Path::new(field("manifest_path")).parent().context("a folder")?;
        for text in licences(folder)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        let _ = write!(list, "\n{}\n{}\n\n{}\n", "=".repeat(78), names.join(", "), text.trim_end());
    }
    Ok(list)
}

/// The packages that are in the programs: whatever they depend on, but not what only builds or tests them.
fn contained(metadata: &Value, programs: &[&str]) -> Result<BTreeSet<String>> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = rows(metadata, "/packages").filter(|one| one.get("source").is_none_or(Value::is_null));
    let ours = ours.filter(|one| programs.contains(&text(one, "name").as_str()));
    let mut open: Vec<String> = ours.map(|one| text(one, "id")).collect();
    ensure!(open.len() == programs.len(), "cargo metadata does not name {}", programs.join(", "));
    let nodes: BTreeMap<_, _> = rows(metadata, "/resolve/nodes").map(|node| (text(node, "id"), node)).collect();
    let mut inside = BTreeSet::new();
    while let Some(id) = open.pop() {
        let node = nodes.get(&id).with_context(|| format!("cargo metadata does not resolve {id}"))?;
        if inside.insert(id) {
            let normal = |one: &&Value| rows(one, "/dep_kinds").any(|kind| kind.get("kind").is_none_or(Value::is_null));
            open.extend(rows(node, "/deps").filter(normal).map(|one| text(one, "pkg")));
        }
    }
    Ok(inside)
}

fn rows<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn licences(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            files.push(path);
        }
    }
    files.sort();
    files.iter().map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())).collect()
}

const HEAD: &str = "\
Libraries that are part of edgeway, edgeway-edge and edgeway-core, each with its
licence as its authors state it, and below the texts they come with.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_what_is_inside_and_nothing_that_only_tests_or_builds() {
        let page = page(&["edgeway-edge", "edgeway-core", "edgeway"]).expect("a list");
        let (list, texts) = page.split_once("\n====").expect("texts");
        let has = |name: &str| list.lines().any(|line| line.starts_with(name));
        for inside in ["tokio 1.", "rustls 0.", "aws-lc-rs 1.", "clap_builder 4."] {
            assert!(has(inside), "{inside} is missing");
        }
        for outside in ["proptest ", "edgeway", "xtask", "cc 1."] {
            assert!(!has(outside), "{outside} is not in the programs");
        }
        assert!(texts.contains("Permission is hereby granted") && texts.contains("Apache License"));
    }
}
