//! File systems of our own, small ones that can be filled and broken. Gone when they are dropped, and with the mount
//! namespace in any case.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use edgeway_interop::process::Scratch;

/// A mounted file system.
pub(crate) struct Disk {
    at: PathBuf,
    /// The file that is its disk, if it is not in memory.
    image: Option<PathBuf>,
    scratch: Scratch,
}

impl Disk {
    /// One in memory.
    pub(crate) fn in_memory(name: &str, size: &str) -> Result<Self> {
        let (at, scratch) = place(name)?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs", text(&at)?])?;
        Ok(Self { at, image: None, scratch })
    }

    /// One with a journal, in a file; an error makes it read-only, which is how most machines are set up.
    pub(crate) fn ext4(name: &str, bytes: u64) -> Result<Self> {
        let (at, scratch) = place(name)?;
        let image = scratch.path().join("image");
        File::create(&image)?.set_len(bytes)?;
        run("/usr/sbin/mkfs.ext4", &["-q", "-m", "0", text(&image)?])?;
        let disk = Self { at, image: Some(image), scratch };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// From now on nothing is written to it: what the kernel does at an error of the disk.
    pub(crate) fn break_down(&self) -> Result<()> {
        self.remount("abort")
    }

    /// Takes a broken one away and puts it back; its journal is replayed.
    pub(crate) fn again(&self) -> Result<()> {
        run("umount", &[text(&self.at)?])?;
        self.mount()
    }

    /// Mounts it in another way.
    pub(crate) fn remount(&self, how: &str) -> Result<()> {
        run("mount", &["-o", &format!("remount,{how}"), text(&self.at)?])
    }

    fn mount(&self) -> Result<()> {
        let image = self.image.as_deref().context("it is in memory")?;
        run("mount", &["-o", "loop,errors=remount-ro", text(image)?, text(&self.at)?])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Before its image goes with the scratch folder.
        if run("umount", &["--lazy", &self.at.to_string_lossy()]).is_err() {
            self.scratch.keep();
        }
    }
}

fn place(name: &str) -> Result<(PathBuf, Scratch)> {
    let scratch = Scratch::create(name)?;
    let at = scratch.path().join("disk");
    fs::create_dir(&at)?;
    Ok((at, scratch))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a name in UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{program} cannot be run"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
