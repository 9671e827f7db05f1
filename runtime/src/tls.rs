//! The certificates clients see on SIP over TLS: which one, and how it is read, checked and replaced.
//!
//! The name a client asks for (SNI, RFC 6066 §3) chooses: a certificate with exactly that name, else
//! one with a wildcard for its last label (RFC 9525 §6.3), else the first. Links between nodes have
//! certificates of their own: see [`crate::pki`].

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use edgeway_config::CertificateFiles;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig, version};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::PEM_FILE_BYTES_MAX;
use crate::pki::tls::provider;
use crate::pki::unix_now;

/// Where a certificate made in memory comes from, in messages.
const IN_MEMORY: &str = "(in memory)";

/// What an edge presents to clients on SIP over TLS: TLS 1.3 and 1.2, ECDHE with AEAD only, no
/// certificate asked of the client, resumption by tickets under keys that change every six hours.
///
/// Nothing is kept per connection beyond what it needs itself: no early data, no table of sessions.
#[must_use]
pub fn server_config(store: Arc<CertificateStore>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has suites of both versions")
        .with_no_client_auth()
        .with_cert_resolver(store);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "no TLS tickets: every client makes full handshakes"),
    }
    // A phone holds one connection: one ticket serves its next one.
    config.send_tls13_tickets = 1;
    Arc::new(config)
}

/// The certificates of one edge; can be replaced while in use.
pub struct CertificateStore {
    current: RwLock<Arc<Table>>,
}

impl CertificateStore {
    /// Reads and checks certificates; the first is the one for clients that ask for no name, or for
    /// another.
    ///
    /// # Errors
    /// Everything that is wrong, for all of them at once.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, Vec<CertificateFault>> {
        Ok(Self::of(Table::load(files)?))
    }

    /// One certificate out of memory: its chain and key, PEM.
    ///
    /// # Errors
    /// [`CertificateFault`] as for a file.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CertificateFault> {
        let fault = |reason| CertificateFault { path: PathBuf::from(IN_MEMORY), reason };
        let chain = parse_chain(chain.as_bytes()).map_err(fault)?;
        Self::from_der(chain, parse_key(key.as_bytes()).map_err(fault)?)
    }

    /// One certificate out of memory: its chain, leaf first, and its key.
    ///
    /// # Errors
    /// [`CertificateFault`] as for a file.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateFault> {
        let certified = certify(chain, key, Path::new(IN_MEMORY), Path::new(IN_MEMORY))?;
        Ok(Self::of(Table::new(vec![certified])))
    }

    /// Reads and checks certificates, then puts them in the place of all before. Handshakes that have
    /// begun end with the old ones; connections stay.
    ///
    /// # Errors
    /// Everything that is wrong; the certificates before then stay in use.
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), Vec<CertificateFault>> {
        let table = Arc::new(Table::load(files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    /// Whether a client that connects to `host` (a DNS name or an IP address) is shown a certificate
    /// that names it. An address is never asked for by name (RFC 6066 §3), so only the first
    /// certificate counts for it.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let table = self.table();
        match host.parse::<IpAddr>() {
            Ok(address) => table.default_addresses.contains(&address),
            Err(_) => table.named(host).is_some(),
        }
    }

    fn of(table: Table) -> Self {
        Self { current: RwLock::new(Arc::new(table)) }
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn choose(&self, asked: Option<&str>) -> Arc<CertifiedKey> {
        let table = self.table();
        Arc::clone(asked.and_then(|name| table.named(name)).unwrap_or(&table.default))
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        let mut names: Vec<_> = table.exact.keys().cloned().collect();
        names.extend(table.wildcard.keys().map(|suffix| format!("*.{suffix}")));
        names.sort();
        f.debug_tuple("CertificateStore").field(&names).finish()
    }
}

/// Certificates by name. Where two carry the same name, the earlier has it.
struct Table {
    default: Arc<CertifiedKey>,
    /// The IP addresses that the default certificate names.
    default_addresses: Vec<IpAddr>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl Table {
    fn load(files: &[CertificateFiles]) -> Result<Self, Vec<CertificateFault>> {
        let (mut certified, mut faults) = (Vec::new(), Vec::new());
        for pair in files {
            match read_pair(Path::new(&pair.chain), Path::new(&pair.key)) {
                Ok(good) => certified.push(good),
                Err(found) => faults.extend(found),
            }
        }
        if files.is_empty() {
            faults.push(CertificateFault {
                path: PathBuf::from("sip.certificates"),
                reason: CertificateReason::NoneGiven,
            });
        }
        if faults.is_empty() { Ok(Self::new(certified)) } else { Err(faults) }
    }

    /// `certified` holds at least one.
    fn new(certified: Vec<Certified>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        let default = Arc::clone(&certified.first().expect("the callers have at least one").key);
        let default_addresses = certified.first().map(|first| first.addresses.clone()).unwrap_or_default();
        for Certified { key, names, .. } in certified {
            for name in names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut wildcard, suffix.to_owned()),
                    None => (&mut exact, name),
                };
                table.entry(name).or_insert_with(|| Arc::clone(&key));
            }
        }
        Self { default, default_addresses, exact, wildcard }
    }

    fn named(&self, asked: &str) -> Option<&Arc<CertifiedKey>> {
        let name = normal(asked);
        if let Some(key) = self.exact.get(&name) {
            return Some(key);
        }
        // RFC 9525 §6.3: a wildcard stands for one whole label, the left-most.
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

/// Host names know no case, and a final dot says nothing.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A certificate that has been checked.
struct Certified {
    key: Arc<CertifiedKey>,
    /// Its DNS names, in lower case.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// What is wrong with a certificate or a key.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}. {}", path.display(), reason.remedy())]
pub struct CertificateFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: CertificateReason,
}

/// Why a certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateReason {
    /// No certificate is configured at all.
    #[error("no certificate is given")]
    NoneGiven,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file is larger than [`PEM_FILE_BYTES_MAX`].
    #[error("it is larger than {PEM_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// The PEM text is cut off or damaged.
    #[error("its PEM text is damaged: {0}")]
    Damaged(String),
    /// There is no certificate in it.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// There is no private key in it.
    #[error("it holds no private key in PEM form")]
    NoKey,
    /// The private key is protected with a passphrase.
    #[error("its private key is encrypted")]
    EncryptedKey,
    /// The private key is of a kind TLS does not know, or damaged.
    #[error("its private key cannot be used: {0}")]
    UnusableKey(Error),
    /// The certificate cannot be read.
    #[error("its certificate cannot be read")]
    UnusableCertificate,
    /// The key is that of another certificate.
    #[error("it is not the key of the certificate in {}", chain.display())]
    KeyMismatch {
        /// The certificate file.
        chain: PathBuf,
    },
    /// The key is that of a certificate further down.
    #[error("its certificates are in the wrong order")]
    WrongOrder,
    /// The certificate is past its end.
    #[error("its certificate expired at {0}")]
    Expired(String),
    /// The certificate has not begun yet.
    #[error("its certificate is not valid before {0}")]
    NotYetValid(String),
    /// The certificate carries no name a client could check.
    #[error("its certificate names no host (no subjectAltName)")]
    NoNames,
}

impl CertificateReason {
    /// What the operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoneGiven => "Name a certificate and its key.",
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => "Check the path.",
            Self::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "Let the user the service runs as read the file and enter its folder."
            }
            Self::Unreadable(_) => "Check that it is a file, on a disk that works.",
            Self::TooLarge => "Check that it is the right file: certificates and keys are small.",
            Self::Damaged(_) => "Copy the file again, whole.",
            Self::NoCertificate => "It must contain a block that begins with `-----BEGIN CERTIFICATE-----`.",
            Self::NoKey => "It must contain a block that begins with `-----BEGIN PRIVATE KEY-----`.",
            Self::EncryptedKey => {
                "Remove the passphrase: `openssl pkey -in KEY -out KEY.plain`, readable by the service only."
            }
            Self::UnusableKey(_) => "Use an ECDSA (P-256, P-384), RSA (2048 bits or more) or Ed25519 key.",
            Self::UnusableCertificate => "Have the certificate issued again.",
            Self::KeyMismatch { .. } => "Give each certificate the key its request was made with.",
            Self::WrongOrder => "Put the certificate of this edge first, then the one that signed it, and so on.",
            Self::Expired(_) => "Renew the certificate; if it is new, check the clock of this machine.",
            Self::NotYetValid(_) => "Check the clock of this machine.",
            Self::NoNames => "Have it issued with a subjectAltName; clients ignore the common name.",
        }
    }
}

fn read_pair(chain_path: &Path, key_path: &Path) -> Result<Certified, Vec<CertificateFault>> {
    let fault = |path: &Path, reason| CertificateFault { path: path.to_owned(), reason };
    let chain = read(chain_path).and_then(|bytes| parse_chain(&bytes)).map_err(|reason| fault(chain_path, reason));
    let key = read(key_path).and_then(|bytes| parse_key(&bytes)).map_err(|reason| fault(key_path, reason));
    warn_if_open(key_path);
    match (chain, key) {
        (Ok(chain), Ok(key)) => certify(chain, key, chain_path, key_path).map_err(|fault| vec![fault]),
        (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateReason> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PEM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let count = read.map_err(CertificateReason::Unreadable)?;
    if count as u64 > PEM_FILE_BYTES_MAX { Err(CertificateReason::TooLarge) } else { Ok(bytes) }
}

/// A key that everybody on the machine can read still works, as in other servers; it is told.
fn warn_if_open(path: &Path) {
    let open = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0);
    if open {
        tracing::warn!("{} can be read by every user of this machine: chmod o= it", path.display());
    }
}

fn parse_chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateReason> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(damaged)?;
    if chain.is_empty() { Err(CertificateReason::NoCertificate) } else { Ok(chain) }
}

fn parse_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateReason> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        // Old OpenSSL writes its encryption into a header of the block, which makes the base64 fail.
        Err(_) if is_encrypted(bytes) => Err(CertificateReason::EncryptedKey),
        Err(pem::Error::NoItemsFound) => Err(CertificateReason::NoKey),
        parsed => parsed.map_err(damaged),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |needle: &[u8]| pem.windows(needle.len()).any(|window| window == needle);
    holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED")
}

/// Never shows the text itself: it may be a key.
fn damaged(error: pem::Error) -> CertificateReason {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block begins in a way nobody knows",
        pem::Error::Base64Decode(_) => "a block is no base64",
        pem::Error::SectionTooLarge => "a block is too large",
        // Also whatever later versions add.
        _ => "it cannot be read",
    };
    CertificateReason::Damaged(what.to_owned())
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_path: &Path,
    key_path: &Path,
) -> Result<Certified, CertificateFault> {
    let of_chain = |reason| CertificateFault { path: chain_path.to_owned(), reason };
    let of_key = |reason| CertificateFault { path: key_path.to_owned(), reason };
    let Some(leaf) = chain.first().cloned() else { return Err(of_chain(CertificateReason::NoCertificate)) };
    let signing =
        provider().key_provider.load_private_key(key).map_err(|error| of_key(CertificateReason::UnusableKey(error)))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) if holds_key_of_another(&certified) => {
            return Err(of_chain(CertificateReason::WrongOrder));
        }
        Err(Error::InconsistentKeys(_)) => {
            return Err(of_key(CertificateReason::KeyMismatch { chain: chain_path.to_owned() }));
        }
        Err(_) => return Err(of_chain(CertificateReason::UnusableCertificate)),
    }
    let (names, addresses) = check(&leaf).map_err(of_chain)?;
    Ok(Certified { key: Arc::new(certified), names, addresses })
}

/// Whether the key belongs to one of the certificates after the first.
fn holds_key_of_another(certified: &CertifiedKey) -> bool {
    let Some(key) = certified.key.public_key() else { return false };
    certified.cert.iter().skip(1).any(|certificate| {
        X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.public_key().raw == key.as_ref())
    })
}

/// The names of a certificate that is valid now.
fn check(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, Vec<IpAddr>), CertificateReason> {
    let unusable = |_| CertificateReason::UnusableCertificate;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateReason::UnusableCertificate)?;
    let (validity, now) = (parsed.validity(), i64::try_from(unix_now()).unwrap_or(i64::MAX));
    if now > validity.not_after.timestamp() {
        return Err(CertificateReason::Expired(validity.not_after.to_string()));
    }
    if now < validity.not_before.timestamp() {
        return Err(CertificateReason::NotYetValid(validity.not_before.to_string()));
    }
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    if let Some(extension) = parsed.subject_alternative_name().map_err(unusable)? {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(dns) = name {
                names.push(normal(dns));
            } else if let GeneralName::IPAddress(bytes) = name {
                addresses.extend(address(bytes));
            }
        }
    }
    if names.is_empty() && addresses.is_empty() { Err(CertificateReason::NoNames) } else { Ok((names, addresses)) }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
