//! `cargo xtask package`: the Debian package, made with `dpkg-deb` out of what cargo has built.
//!
//! The same sources and the same compiler make the same package: times are those of the commit.

mod libraries;
mod manual;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cargo, root, succeeds, target};

/// The programs, with the section of the manual each belongs to.
const PROGRAMS: [(&str, u8); 3] = [("edgeway", 1), ("edgeway-edge", 8), ("edgeway-core", 8)];
/// Files of the repository that are installed as they are, and where.
const FILES: [(&str, &str); 7] = [
    ("packaging/systemd/edgeway-edge.service", "lib/systemd/system/edgeway-edge.service"),
    ("packaging/systemd/edgeway-core.service", "lib/systemd/system/edgeway-core.service"),
    ("docs/howto/edge.toml", "etc/edgeway/edge.toml.example"),
    ("docs/howto/core.toml", "etc/edgeway/core.toml.example"),
    ("packaging/grafana/edgeway.json", "usr/share/edgeway/grafana/edgeway.json"),
    ("packaging/prometheus/edgeway.rules.yml", "usr/share/edgeway/prometheus/edgeway.rules.yml"),
    ("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/edgeway"),
];
/// What dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// A package that is looked at once and thrown away: a few seconds.
pub(crate) const QUICK: &str = "-z1";
/// One that is handed out.
const BEST: &str = "-z9";
const DOCUMENTS: &str = "usr/share/doc/edgeway";

/// Builds the programs as they are installed, and then the package; says where it is.
pub(crate) fn run() -> Result<bool> {
    let programs = PROGRAMS.iter().flat_map(|(name, _)| ["-p", name]);
    if !succeeds(cargo().args(["build", "--profile", "dist", "--locked"]).args(programs))? {
        return Ok(false);
    }
    println!("{}", make(&target().join("dist"), BEST)?.display());
    Ok(true)
}

/// Makes the package out of the programs in a folder, compressed so well: from [`QUICK`] to [`BEST`].
pub(crate) fn make(programs: &Path, compression: &str) -> Result<PathBuf> {
    let folder = target().join("package");
    let tree = Tree(folder.join("root"));
    if tree.0.exists() {
        fs::remove_dir_all(&tree.0).with_context(|| format!("{} cannot be emptied", tree.0.display()))?;
    }
    let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
    for (name, section) in PROGRAMS {
        let program = tree.program(programs, name)?;
        let page = manual::page(&program, name, section)?;
        tree.compressed(&format!("usr/share/man/man{section}/{name}.{section}.gz"), page.as_bytes())?;
    }
    for (from, to) in FILES {
        tree.file(to, &read(from)?, 0o644)?;
    }
    tree.compressed(&format!("{DOCUMENTS}/changelog.gz"), &read("CHANGELOG.md")?)?;
    tree.compressed(&format!("{DOCUMENTS}/changelog.Debian.gz"), changes(version)?.as_bytes())?;
    tree.compressed(
        &format!("{DOCUMENTS}/libraries.txt.gz"),
        libraries::page(&PROGRAMS.map(|(name, _)| name))?.as_bytes(),
    )?;
    let licence = indented(&text("LICENSE-MIT")?);
    let copyright = text("packaging/debian/copyright")?.replace("@MIT@", &licence);
    tree.file(&format!("{DOCUMENTS}/copyright"), copyright.as_bytes(), 0o644)?;
    let architecture = output("dpkg", &["--print-architecture"])?;
    let control = text("packaging/debian/control")?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", &architecture)
        .replace("@KIBIBYTES@", &tree.kibibytes()?)
        .replace("@LIBRARIES@", &tree.libraries()?);
    tree.file("DEBIAN/control", control.as_bytes(), 0o644)?;
    tree.file("DEBIAN/conffiles", &read("packaging/debian/conffiles")?, 0o644)?;
    for script in SCRIPTS {
        tree.file(&format!("DEBIAN/{script}"), &read(&format!("packaging/debian/{script}"))?, 0o755)?;
    }
    tree.sums()?;
    let package = folder.join(format!("edgeway_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", compression, "--build"])
        .arg(&tree.0)
        .arg(&package)
        .env("SOURCE_DATE_EPOCH", commit_time()?);
    quietly(&mut build)?;
    Ok(package)
}

/// What will be on a machine, under one folder.
struct Tree(PathBuf);

impl Tree {
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.0.join(path);
        let folder = place.parent().context("a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        // Whatever the umask of whoever builds.
        for made in folder.ancestors().take_while(|one| one.starts_with(&self.0)) {
            fs::set_permissions(made, Permissions::from_mode(0o755))?;
        }
        Ok(place)
    }

    fn file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::write(&place, bytes).with_context(|| format!("{} cannot be written", place.display()))?;
        Ok(fs::set_permissions(&place, Permissions::from_mode(mode))?)
    }

    /// With no name and no time in it, so that it is the same whenever it is made.
    fn compressed(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut gzip = Command::new("gzip").args(["-9nc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = gzip.stdin.take().context("gzip takes no input")?;
        let bytes = bytes.to_vec();
        // Beside reading what it says, or both would wait.
        let fed = std::thread::spawn(move || input.write_all(&bytes));
        let made = gzip.wait_with_output()?;
        fed.join().ok().context("gzip was not fed")??;
        ensure!(made.status.success(), "gzip: {}", made.status);
        self.file(path, &made.stdout, 0o644)
    }

    /// Without what only a debugger reads.
    fn program(&self, programs: &Path, name: &str) -> Result<PathBuf> {
        let place = self.place(&format!("usr/bin/{name}"))?;
        let mut strip = Command::new("strip");
        strip.args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note", "-o"]);
        quietly(strip.arg(&place).arg(programs.join(name)))?;
        fs::set_permissions(&place, Permissions::from_mode(0o755))?;
        Ok(place)
    }

    fn kibibytes(&self) -> Result<String> {
        let mut bytes = 0;
        for file in self.files()? {
            bytes += fs::metadata(self.0.join(file))?.len().next_multiple_of(4_096);
        }
        Ok((bytes / 1_024).to_string())
    }

    /// Every file that is installed, by its path below the root, in order.
    fn files(&self) -> Result<Vec<String>> {
        let (mut folders, mut files) = (vec![self.0.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&self.0)?.display().to_string());
                }
            }
        }
        files.retain(|file| !file.starts_with("DEBIAN/"));
        files.sort();
        Ok(files)
    }

    /// The sums by which `dpkg --verify` finds files that have changed.
    fn sums(&self) -> Result<()> {
        let sums = Command::new("md5sum").args(self.files()?).current_dir(&self.0).output()?;
        ensure!(sums.status.success(), "md5sum: {}", sums.status);
        self.file("DEBIAN/md5sums", &sums.stdout, 0o644)
    }

    /// The packages with the shared libraries that the programs need: those of the C compiler, and nothing else.
    fn libraries(&self) -> Result<String> {
        let (mut versions, mut gcc) = (Vec::new(), false);
        for (name, _) in PROGRAMS {
            let place = self.0.join("usr/bin").join(name).display().to_string();
            let headers = output("objdump", &["-p", &place])?;
            for needed in headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
                match needed.trim() {
                    "libgcc_s.so.1" => gcc = true,
                    "libc.so.6" | "libm.so.6" => {}
                    loader if loader.starts_with("ld-linux-") => {}
                    other => bail!("{name} needs {other}, and no rule says which package has it"),
                }
            }
            versions.extend(headers.split_whitespace().filter_map(c_library));
        }
        let (major, minor) = versions.into_iter().max().context("the programs name no version of the C library")?;
        Ok(format!("libc6 (>= {major}.{minor}){}", if gcc { ", libgcc-s1" } else { "" }))
    }
}

/// `GLIBC_2.34` as two numbers.
fn c_library(word: &str) -> Option<(u32, u32)> {
    let mut numbers = word.strip_prefix("GLIBC_")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The changes as Debian writes them; ours are in the changelog beside it.
fn changes(version: &str) -> Result<String> {
    let control = text("packaging/debian/control")?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: ")).context("no maintainer")?;
    let time = output("date", &["--utc", "--rfc-email", "--date", &format!("@{}", commit_time()?)])?;
    Ok(format!(
        "edgeway ({version}) unstable; urgency=medium\n\n  * What has changed is in changelog.gz.\n\n -- {maintainer}  {time}\n"
    ))
}

/// Seconds since 1970 of what is built, for everything that carries a time.
fn commit_time() -> Result<String> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(time) => Ok(time),
        Err(_) => output("git", &["log", "-1", "--format=%ct"]).context("without git, set SOURCE_DATE_EPOCH"),
    }
}

/// A text as a paragraph of a control file.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { " .".to_owned() } else { format!(" {line}") };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(root().join(path)).with_context(|| format!("{path} cannot be read"))
}

fn text(path: &str) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{path} is no text"))
}

/// What a program says, without the last line's end.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Runs a command that has nothing to say unless it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_c_library_are_numbers() {
        assert_eq!(c_library("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(c_library("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(c_library("GLIBC_PRIVATE"), None);
        assert_eq!(c_library("GCC_3.0"), None);
        assert!(c_library("GLIBC_2.9") < c_library("GLIBC_2.34"));
    }

    #[test]
    fn a_licence_is_one_paragraph() {
        assert_eq!(indented("One\n\ntwo\n"), " One\n .\n two");
    }

    #[test]
    fn every_example_is_a_configuration_file_that_an_upgrade_keeps() {
        let kept = text("packaging/debian/conffiles").expect("a list");
        let kept: Vec<_> = kept.lines().collect();
        let mut installed: Vec<_> =
            FILES.iter().map(|(_, to)| format!("/{to}")).filter(|to| to.starts_with("/etc/")).collect();
        installed.sort();
        assert_eq!(kept, installed);
    }
}
