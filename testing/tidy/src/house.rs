//! Reads the real tree: Cargo's own account of the crates, and the files under version control.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde_json::Value;

use crate::TextFile;
use crate::crates::{Crate, is_pure};

/// What is in the repository.
#[derive(Debug)]
pub struct House {
    /// Its crates.
    pub crates: Vec<Crate>,
    /// Its text files.
    pub texts: Vec<TextFile>,
    /// Every file with its size in bytes.
    pub sizes: Vec<(String, u64)>,
    /// Every file's name.
    pub names: BTreeSet<String>,
}

impl House {
    /// Reads the repository this crate lies in.
    ///
    /// # Errors
    ///
    /// Cargo cannot be run or does not answer as expected, or a file cannot be read.
    pub fn read() -> io::Result<Self> {
        let root = root()?;
        let mut house =
            Self { crates: read_crates(&root)?, texts: Vec::new(), sizes: Vec::new(), names: BTreeSet::new() };
        for path in list_files(&root)? {
            let bytes = fs::read(root.join(&path))?;
            house.sizes.push((path.clone(), bytes.len() as u64));
            house.names.insert(path.clone());
            if let Ok(text) = String::from_utf8(bytes) {
                house.texts.push(TextFile { path, text });
            }
        }
        Ok(house)
    }

    /// One file's text; empty where there is no such file.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        self.texts.iter().find(|file| file.path == path).map_or("", |file| &file.text)
    }
}

fn root() -> io::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| io::Error::other("the crate has no root above it"))
}

fn read_crates(root: &Path) -> io::Result<Vec<Crate>> {
    let answer = run(root, &["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let answer: Value = serde_json::from_str(&answer)?;
    let packages = answer["packages"].as_array().ok_or_else(|| io::Error::other("cargo metadata names no packages"))?;
    packages.iter().map(|package| read_crate(root, package)).collect()
}

fn read_crate(root: &Path, package: &Value) -> io::Result<Crate> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let manifest_path = PathBuf::from(text("manifest_path"));
    let folder = manifest_path.parent().unwrap_or(root);
    let manifest = fs::read_to_string(&manifest_path)?;
    let lib = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    let folder = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().replace('\\', "/");
    let name = text("name");
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let depends_on = dependencies
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| {
            let tests_only = dependency["kind"].as_str() == Some("dev");
            (dependency["name"].as_str().unwrap_or_default().to_owned(), tests_only)
        })
        .collect();
    let built_with = if is_pure(&folder) { built_with(root, &name)? } else { BTreeSet::new() };
    Ok(Crate { name, folder, description: text("description"), manifest, lib, depends_on, built_with })
}

/// What a crate is built with when it is built alone. `cargo metadata` cannot tell: it unites the
/// features every crate and every test of the workspace asks for.
fn built_with(root: &Path, package: &str) -> io::Result<BTreeSet<String>> {
    let tree = run(root, &["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}", "--locked"])?;
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != package).map(str::to_owned).collect())
}

fn run(root: &Path, arguments: &[&str]) -> io::Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files under version control and those about to be; all files where this is no checkout.
fn list_files(root: &Path) -> io::Result<Vec<String>> {
    let git = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let listed = Command::new("git").args(git).current_dir(root).output();
    if let Some(output) = listed.ok().filter(|output| output.status.success()) {
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let names = names.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file());
        return Ok(names.map(str::to_owned).collect());
    }
    let mut files = Vec::new();
    walk(root, root, &mut files)?;
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            walk(root, &path, files)?;
        } else if path.is_file() {
            files.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}
