//! What the CA has signed: one file per node certificate in `issued/`, so that a node can be revoked by its
//! name. Files of their own, because a command and the running core may sign at the same time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use edgeway_model::NodeId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::identity::{Life, node_of, serial_of};
use super::limits::ISSUED_MAX;
use super::{PkiError, store, unix_now};

const FOLDER: &str = "issued";

/// The folder of issued certificates.
#[derive(Clone, Debug)]
pub(super) struct Issued(PathBuf);

impl Issued {
    /// The folder in the CA's state directory.
    pub(super) fn in_state(dir: &Path) -> Self {
        Self(dir.join(FOLDER))
    }

    /// Whether this certificate is noted.
    pub(super) fn knows(&self, certificate: &CertificateDer<'_>) -> bool {
        self.path(certificate).is_ok_and(|path| path.exists())
    }

    /// Notes a certificate; forgets those that have ended.
    pub(super) fn note(&self, certificate: &CertificateDer<'_>) -> Result<(), PkiError> {
        store::ensure_directory(&self.0)?;
        let path = self.path(certificate)?;
        if self.all()?.len() >= ISSUED_MAX {
            return Err(PkiError::Full(format!("{} holds {ISSUED_MAX} certificates already", self.0.display())));
        }
        store::replace(&path, store::pem("CERTIFICATE", certificate).as_bytes())
    }

    fn path(&self, certificate: &CertificateDer<'_>) -> Result<PathBuf, PkiError> {
        let serial = serial_of(certificate).ok_or_else(|| PkiError::Certificate("it cannot be read".to_owned()))?;
        Ok(self.0.join(format!("{}.pem", store::hex(&serial))))
    }

    /// The certificates of `node` that have not ended.
    pub(super) fn of(&self, node: &NodeId) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let mut all = self.all()?;
        all.retain(|certificate| node_of(std::slice::from_ref(certificate)).is_some_and(|(named, _)| named == *node));
        Ok(all)
    }

    /// Every certificate that has not ended; the files of the others are removed.
    fn all(&self) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(PkiError::file("read", &self.0, source)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| PkiError::file("read", &self.0, source))?.path();
            if path.extension().is_none_or(|end| end != "pem") {
                continue;
            }
            let Some(bytes) = store::read_private(&path)? else { continue };
            let certificate = CertificateDer::from_pem_slice(&bytes)
                .map_err(|_| PkiError::damaged(&path, "it holds no certificate"))?
                .into_owned();
            if Life::of(&certificate).is_none_or(|life| life.is_over(unix_now())) {
                let _ = fs::remove_file(&path);
            } else {
                all.push(certificate);
            }
        }
        Ok(all)
    }
}
