//! The certificate that administrators are shown: the operator's, or one that the core makes itself.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use edgeway_config::{AdminSettings, CertificateFiles};
use edgeway_runtime::pki;
use edgeway_runtime::tls::{CertificateStore, server_config};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};

use crate::limits::{SELF_SIGNED_DAYS, SELF_SIGNED_LEFT_DAYS};

const CHAIN_FILE: &str = "admin.crt";
const KEY_FILE: &str = "admin.key";

/// What is shown, where it comes from, and what becomes of it.
pub(crate) struct Shown {
    store: Arc<CertificateStore>,
    /// The operator's files, and when they were last changed.
    files: Option<(CertificateFiles, Option<SystemTime>)>,
}

impl Shown {
    /// Reads the operator's certificate, or the own one, which is made now if there is none or it ends soon.
    pub(crate) fn open(settings: &AdminSettings, state_dir: &Path, node: &str) -> Result<Self, String> {
        let files = match &settings.certificate {
            Some(files) => files.clone(),
            None => own(state_dir, node, &settings.names)?,
        };
        let store = CertificateStore::load(std::slice::from_ref(&files)).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        let files = settings.certificate.is_some().then(|| {
            let changed = changed(&files);
            (files, changed)
        });
        Ok(Self { store: Arc::new(store), files })
    }

    /// SHA-256 of what is shown, as browsers print it.
    pub(crate) fn fingerprint(&self) -> String {
        let key = self.store.first();
        let digest = key.cert.first().map(|certificate| Sha256::digest(certificate.as_ref())).unwrap_or_default();
        let pairs: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Whether it is one the core made itself.
    pub(crate) const fn is_own(&self) -> bool {
        self.files.is_none()
    }

    /// TLS for HTTP/2 and HTTP/1.1.
    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&server_config(Arc::clone(&self.store)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Reads the operator's files again if they have changed.
    pub(crate) fn look_again(&mut self) {
        let Some((files, last)) = &mut self.files else { return };
        let now = changed(files);
        if now == *last {
            return;
        }
        *last = now;
        match self.store.reload(std::slice::from_ref(files)) {
            Ok(()) => tracing::info!("the certificate of the admin listener has been read again"),
            Err(faults) => {
                for fault in faults {
                    tracing::warn!("the certificate of the admin listener stays as it was: {fault}");
                }
            }
        }
    }
}

fn changed(files: &CertificateFiles) -> Option<SystemTime> {
    let of = |path: &str| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    of(&files.chain).max(of(&files.key))
}

fn own(state_dir: &Path, node: &str, names: &[String]) -> Result<CertificateFiles, String> {
    let (chain, key) = (state_dir.join(CHAIN_FILE), state_dir.join(KEY_FILE));
    if !holds_for_long(&chain) || !key.exists() {
        let (certificate, private) = self_signed(node, names).map_err(|error| format!("no certificate: {error}"))?;
        pki::replace(&key, private.as_bytes()).map_err(|error| explained(&error))?;
        pki::replace(&chain, certificate.as_bytes()).map_err(|error| explained(&error))?;
    }
    Ok(CertificateFiles { chain: chain.display().to_string(), key: key.display().to_string() })
}

fn explained(error: &pki::PkiError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

fn holds_for_long(chain: &Path) -> bool {
    let Ok(bytes) = std::fs::read(chain) else { return false };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&bytes) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let left = certificate.validity().not_after.timestamp() - now_seconds();
    left > SELF_SIGNED_LEFT_DAYS * 86_400
}

fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn self_signed(node: &str, names: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("Edgeway {node}"));
    params.distinguished_name = subject;
    for name in ["localhost", "127.0.0.1", "::1", node].into_iter().chain(names.iter().map(String::as_str)) {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into()?),
        });
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = (now - day).into();
    params.not_after = (now + day * u32::try_from(SELF_SIGNED_DAYS).unwrap_or(1)).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
