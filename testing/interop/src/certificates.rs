//! A small public-style CA and server certificates, made with `openssl`.

use crate::host::run;
use anyhow::{Context, Result};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A CA with an ECDSA P-256 key.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    name: String,
}

/// A certificate (with its chain) and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS #8.
    pub key: PathBuf,
}

impl Authority {
    /// Makes a CA whose files are `<directory>/<name>.pem` and `.key`.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        let authority = Self { directory: directory.to_owned(), name: name.to_owned() };
        make_key(&authority.file("key"))?;
        openssl(
            directory,
            &[
                "req",
                "-x509",
                "-new",
                "-days",
                "30",
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                "keyUsage=critical,keyCertSign",
            ],
            &[("-key", &authority.file("key")), ("-out", &authority.certificate())],
        )?;
        Ok(authority)
    }

    /// The CA's own certificate: what clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.file("pem")
    }

    /// Issues a certificate for a DNS name or an IP address, to be shown by servers and clients.
    pub fn issue(&self, name: &str) -> Result<Certificate> {
        self.issue_for(&[name])
    }

    /// The same for several names and addresses; the first names the files.
    pub fn issue_for(&self, names: &[&str]) -> Result<Certificate> {
        let dns_name = *names.first().context("a name")?;
        let file = |extension: &str| self.directory.join(format!("{}-{dns_name}.{extension}", self.name));
        let (request, extensions) = (file("csr"), file("ext"));
        let issued = Certificate { certificate: file("pem"), key: file("key") };
        make_key(&issued.key)?;
        let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
        let shown: Vec<String> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
        let shown = shown.join(",");
        fs::write(&extensions, format!("subjectAltName={shown}\nextendedKeyUsage=serverAuth,clientAuth\n"))
            .with_context(|| format!("write {}", extensions.display()))?;
        openssl(
            &self.directory,
            &["req", "-new", "-subj", &format!("/CN={dns_name}")],
            &[("-key", &issued.key), ("-out", &request)],
        )?;
        openssl(
            &self.directory,
            &["x509", "-req", "-days", "30"],
            &[
                ("-in", &request),
                ("-CA", &self.certificate()),
                ("-CAkey", &self.file("key")),
                ("-extfile", &extensions),
                ("-out", &issued.certificate),
            ],
        )?;
        Ok(issued)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.name))
    }
}

fn make_key(file: &Path) -> Result<()> {
    let directory = file.parent().context("a key file lies in a directory")?;
    openssl(directory, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &[("-out", file)])
}

fn openssl(directory: &Path, words: &[&str], files: &[(&str, &Path)]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(words);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    run(&mut command).map(drop)
}
