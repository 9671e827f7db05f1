//! The certificates clients see on SIP over TLS: which one, and how it is read, checked and replaced.
//!
//! The name a client asks for (SNI, RFC 6066 §3) chooses: a certificate with exactly that name, else
//! one with a wildcard for its first label (RFC 9525 §6.3), else one for the service domain the name is
//! made of, else the first. A client whose edge has a name outside its service domain asks for the edge's
//! first labels before that domain (`edge` and `example.com` make `edge.example.com`) and then checks that
//! the certificate names the domain: as it is, as `collab-edge.` before it, or as the SRV name
//! `_collab-edge._tls.` before it. Links between nodes have certificates of their own: see [`crate::pki`].

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
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
use x509_parser::der_parser::Oid;
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

    /// The first certificate, for a node that has one.
    #[must_use]
    pub fn first(&self) -> CertifiedKey {
        CertifiedKey::clone(&self.table().default)
    }

    /// Every name the certificates carry, sorted; wildcards begin with `*.`, service domains with their SRV
    /// name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let table = self.table();
        let mut names: Vec<_> = table.exact.keys().cloned().collect();
        names.extend(table.wildcard.keys().map(|suffix| format!("*.{suffix}")));
        names.extend(table.service.keys().map(|domain| format!("{SERVICE_SRV}{domain}")));
        names.sort();
        names
    }

    /// The certificates themselves, each once, the first first.
    #[must_use]
    pub fn leaves(&self) -> Vec<CertificateDer<'static>> {
        self.table().leaves.clone()
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
        f.debug_tuple("CertificateStore").field(&self.names()).finish()
    }
}

/// Certificates by name. Where two carry the same name, the earlier has it.
struct Table {
    default: Arc<CertifiedKey>,
    /// Of each chain the first, in the order of the settings.
    leaves: Vec<CertificateDer<'static>>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// By service domain, out of SRV names.
    service: HashMap<String, Arc<CertifiedKey>>,
}

/// What stands before a service domain in a certificate's SRV name.
const SERVICE_SRV: &str = "_collab-edge._tls.";
/// What stands before it in a DNS name of that purpose.
const SERVICE_HOST: &str = "collab-edge.";

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
        let (mut exact, mut wildcard, mut service) = (HashMap::new(), HashMap::new(), HashMap::new());
        let leaves = certified.iter().filter_map(|one| one.key.cert.first().cloned()).collect();
        let default = Arc::clone(&certified.first().expect("the callers have at least one").key);
        for Certified { key, names, .. } in certified {
            for name in names {
                let (table, name) = match (name.strip_prefix("*."), name.strip_prefix(SERVICE_SRV)) {
                    (Some(suffix), _) => (&mut wildcard, suffix.to_owned()),
                    (None, Some(domain)) => (&mut service, domain.to_owned()),
                    (None, None) => (&mut exact, name),
                };
                table.entry(name).or_insert_with(|| Arc::clone(&key));
            }
        }
        Self { default, leaves, exact, wildcard, service }
    }

    fn named(&self, asked: &str) -> Option<&Arc<CertifiedKey>> {
        let name = normal(asked);
        if let Some(key) = self.exact.get(&name) {
            return Some(key);
        }
        // RFC 9525 §6.3: a wildcard stands for one whole label, the left-most.
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() {
            return None;
        }
        self.wildcard.get(suffix).or_else(|| self.for_service(suffix))
    }

    /// The certificate for a service domain: `suffix`, or what is left of it without its first labels.
    fn for_service(&self, suffix: &str) -> Option<&Arc<CertifiedKey>> {
        let mut domain = Some(suffix);
        while let Some(name) = domain {
            let named = self.service.get(name).or_else(|| self.exact.get(&format!("{SERVICE_HOST}{name}")));
            if let Some(key) = named.or_else(|| self.exact.get(name)) {
                return Some(key);
            }
            domain = name.split_once('.').map(|(_, rest)| rest);
        }
        None
    }
}

/// Host names know no case, and a final dot says nothing.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A certificate that has been checked.
struct Certified {
    key: Arc<CertifiedKey>,
    /// Its DNS and SRV names, in lower case.
    names: Vec<String>,
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
    let bytes = read_file(path, PEM_FILE_BYTES_MAX).map_err(CertificateReason::Unreadable)?;
    if bytes.len() as u64 > PEM_FILE_BYTES_MAX { Err(CertificateReason::TooLarge) } else { Ok(bytes) }
}

/// A file, or as much of it as is one byte too many. Whoever opens a pipe waits for its other end: only regular files
/// are read.
pub(crate) fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not ours and will grow")]
fn damaged(error: pem::Error) -> CertificateReason {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block begins in a way nobody knows",
        pem::Error::Base64Decode(_) => "a block is no base64",
        pem::Error::SectionTooLarge => "a block is too large",
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
    let names = check(&leaf).map_err(of_chain)?;
    Ok(Certified { key: Arc::new(certified), names })
}

/// Whether the key belongs to one of the certificates after the first.
fn holds_key_of_another(certified: &CertifiedKey) -> bool {
    let Some(key) = certified.key.public_key() else { return false };
    certified.cert.iter().skip(1).any(|certificate| {
        X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.public_key().raw == key.as_ref())
    })
}

/// The SRV name (RFC 4985 §2) of clients' service domains, if this is one: an IA5String, within the explicit
/// tag of otherName.
fn srv_name(kind: &Oid<'_>, value: &[u8]) -> Option<String> {
    if kind.to_id_string() != "1.3.6.1.5.5.7.8.7" {
        return None;
    }
    let value = match value {
        [0xa0, length, inner @ ..] if usize::from(*length) == inner.len() => inner,
        other => other,
    };
    let [0x16, length, text @ ..] = value else { return None };
    if usize::from(*length) != text.len() {
        return None;
    }
    std::str::from_utf8(text).ok().map(normal).filter(|name| name.starts_with(SERVICE_SRV))
}

/// The DNS names of a certificate that is valid now, and that names something: a host or an address.
fn check(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CertificateReason> {
    let unusable = |_| CertificateReason::UnusableCertificate;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateReason::UnusableCertificate)?;
    let (validity, now) = (parsed.validity(), i64::try_from(unix_now()).unwrap_or(i64::MAX));
    if now > validity.not_after.timestamp() {
        return Err(CertificateReason::Expired(validity.not_after.to_string()));
    }
    if now < validity.not_before.timestamp() {
        return Err(CertificateReason::NotYetValid(validity.not_before.to_string()));
    }
    let (mut names, mut names_address) = (Vec::new(), false);
    if let Some(extension) = parsed.subject_alternative_name().map_err(unusable)? {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(dns) = name {
                names.push(normal(dns));
            } else if let GeneralName::OtherName(kind, value) = name {
                names.extend(srv_name(kind, value));
            } else if let GeneralName::IPAddress(bytes) = name {
                names_address |= matches!(bytes.len(), 4 | 16);
            }
        }
    }
    if names.is_empty() && !names_address { Err(CertificateReason::NoNames) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};
    use rustls::client::Resumption;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConnection,
        SupportedProtocolVersion,
    };

    use super::*;
    use crate::pki::Authority;
    use crate::pki::tests::Scratch;

    /// Chain and key of a certificate whose only flaw is what `change` makes of it; PEM.
    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn files(scratch: &Scratch, name: &str, (chain, key): &(String, String)) -> CertificateFiles {
        let path = |end: &str| scratch.path().join(format!("{name}.{end}")).display().to_string();
        let files = CertificateFiles { chain: path("crt"), key: path("key") };
        fs::write(&files.chain, chain).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    struct World {
        authority: CertifiedIssuer<'static, KeyPair>,
        scratch: Scratch,
    }

    impl World {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { authority, scratch: Scratch::new("tls") }
        }

        fn issue(&self, file: &str, names: &[&str]) -> CertificateFiles {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.authority).unwrap();
            files(&self.scratch, file, &(certificate.pem(), key.serialize_pem()))
        }

        /// A client that trusts our CA and remembers nothing.
        fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let mut client = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            client.resumption = Resumption::disabled();
            client
        }
    }

    /// A handshake in memory, and what the server has to say after it (tickets).
    fn handshake(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        host: &'static str,
    ) -> Result<ClientConnection, Error> {
        let mut client = ClientConnection::new(Arc::clone(client), host.try_into().unwrap())?;
        let mut server = ServerConnection::new(Arc::clone(server))?;
        for _ in 0..8 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(client)
    }

    fn first_name(key: &CertifiedKey) -> String {
        let names = check(&key.cert[0]).unwrap();
        names.into_iter().next().unwrap_or_default()
    }

    #[test]
    fn the_name_asked_for_chooses() {
        let world = World::new();
        let store = CertificateStore::load(&[
            world.issue("first", &["edge.example.com", "192.0.2.10"]),
            world.issue("wild", &["*.example.com"]),
            world.issue("exact", &["SIP.Example.com", "other.example.org"]),
            world.issue("late", &["sip.example.com", "late.example.org"]),
        ])
        .unwrap();
        for (asked, shown) in [
            (None, "edge.example.com"),
            (Some("edge.example.com"), "edge.example.com"),
            // The exact name wins over the wildcard, and the earlier of two over the later.
            (Some("sip.example.com"), "sip.example.com"),
            (Some("SIP.EXAMPLE.COM."), "sip.example.com"),
            (Some("late.example.org"), "sip.example.com"),
            (Some("phones.example.com"), "*.example.com"),
            // A wildcard is one label: not none, not two.
            (Some("example.com"), "edge.example.com"),
            (Some("a.b.example.com"), "edge.example.com"),
            (Some(".example.com"), "edge.example.com"),
            (Some("unknown.test"), "edge.example.com"),
            (Some(""), "edge.example.com"),
        ] {
            assert_eq!(first_name(&store.choose(asked)), shown, "{asked:?}");
        }
        assert_eq!(store.choose(Some("late.example.org")).cert, store.table().exact["late.example.org"].cert);
    }

    #[test]
    fn a_name_made_of_a_service_domain_finds_its_certificate() {
        let world = World::new();
        let srv = |domain: &str| {
            let mut params = CertificateParams::new(vec!["mra.sp.test".to_owned()]).unwrap();
            let name = format!("_collab-edge._tls.{domain}");
            let value = rcgen::OtherNameValue::Utf8String(name);
            params.subject_alt_names.push(SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 7], value)));
            params
        };
        // rcgen writes UTF8String only; the standard's IA5String differs by its tag.
        let key = KeyPair::generate().unwrap();
        let mut der = srv("srv.test").signed_by(&key, &world.authority).unwrap().der().to_vec();
        let at = der.windows(18).position(|bytes| bytes == b"_collab-edge._tls.").unwrap();
        assert_eq!(der[at - 2], 0x0c);
        der[at - 2] = 0x16;
        let pem = crate::pki::pem_of("CERTIFICATE", &der);
        let srv = files(&world.scratch, "srv", &(pem, key.serialize_pem()));
        let store = CertificateStore::load(&[
            world.issue("default", &["edge.sp.test"]),
            world.issue("domain", &["example.com"]),
            world.issue("host", &["collab-edge.example.org"]),
            srv,
        ])
        .unwrap();
        for (asked, shown) in [
            ("edge.example.com", "example.com"),
            ("edge.dmz.example.com", "example.com"),
            ("edge.example.org", "collab-edge.example.org"),
            ("edge.srv.test", "mra.sp.test"),
            ("example.com", "example.com"),
            ("edge.elsewhere.test", "edge.sp.test"),
            ("org", "edge.sp.test"),
        ] {
            assert_eq!(first_name(&store.choose(Some(asked))), shown, "{asked}");
        }
        assert!(store.names().contains(&"_collab-edge._tls.srv.test".to_owned()));
    }

    #[test]
    fn a_verifying_client_is_served_by_name_over_both_versions() {
        let world = World::new();
        let store =
            CertificateStore::load(&[world.issue("a", &["edge.example.com"]), world.issue("b", &["*.example.org"])]);
        let server = server_config(Arc::new(store.unwrap()));
        for versions in [&[&version::TLS13], &[&version::TLS12]] {
            let client = Arc::new(world.client(versions));
            for host in ["edge.example.com", "anything.example.org"] {
                let shaken = handshake(&server, &client, host).unwrap();
                assert_eq!(shaken.protocol_version(), Some(versions[0].version), "{host}");
            }
            let refused = handshake(&server, &client, "stranger.test");
            assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "the default names somebody else");
        }
    }

    #[test]
    fn a_client_that_returns_resumes() {
        let world = World::new();
        let server = server_config(Arc::new(CertificateStore::load(&[world.issue("a", &["a.test"])]).unwrap()));
        for versions in [&[&version::TLS13], &[&version::TLS12]] {
            let mut client = world.client(versions);
            client.resumption = Resumption::in_memory_sessions(4);
            let client = Arc::new(client);
            let first = handshake(&server, &client, "a.test").unwrap();
            assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
            let second = handshake(&server, &client, "a.test").unwrap();
            assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed), "{:?}", versions[0].version);
        }
    }

    #[test]
    fn only_forward_secret_suites_with_aead_and_nothing_kept_for_the_idle() {
        let world = World::new();
        let config = server_config(Arc::new(CertificateStore::load(&[world.issue("a", &["a.test"])]).unwrap()));
        for suite in &config.crypto_provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            let aead = name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_");
            let forward_secret = suite.version().version == ProtocolVersion::TLSv1_3 || name.starts_with("TLS_ECDHE_");
            assert!(aead && forward_secret, "{name}");
        }
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.session_storage.can_cache() && config.ticketer.enabled());
    }

    #[test]
    fn every_fault_is_told_at_once_with_file_and_remedy() {
        let world = World::new();
        let (good_chain, good_key) = self_signed(|_| {});
        let (other_chain, other_key) = self_signed(|_| {});
        let now = |years: i32| date_time_ymd(2026 + years, 1, 1);
        let expired = self_signed(|params| (params.not_before, params.not_after) = (now(-20), now(-10)));
        let future = self_signed(|params| (params.not_before, params.not_after) = (now(400), now(410)));
        let nameless = self_signed(|params| params.subject_alt_names.clear());
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned();
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                   -----END RSA PRIVATE KEY-----\n";
        let junk = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let cases: [(&str, (String, String), &str, &str); 14] = [
            ("mismatch", (good_chain.clone(), other_key.clone()), "key", "it is not the key of the certificate"),
            ("order", (format!("{other_chain}{good_chain}"), good_key.clone()), "crt", "wrong order"),
            ("expired", expired, "crt", "expired at Jan  1 00:00:00 2016"),
            ("future", future, "crt", "not valid before"),
            ("nameless", nameless, "crt", "names no host"),
            ("empty", (String::new(), good_key.clone()), "crt", "no certificate"),
            ("swapped", (good_key.clone(), good_key.clone()), "crt", "no certificate"),
            ("no-key", (good_chain.clone(), good_chain.clone()), "key", "no private key"),
            ("cut", (good_chain[..200].to_owned(), good_key.clone()), "crt", "a block has no end"),
            ("base64", (good_chain.replace("MII", "M*I"), good_key.clone()), "crt", "no base64"),
            ("junk-key", (good_chain.clone(), junk.to_owned()), "key", "cannot be used"),
            ("encrypted", (good_chain.clone(), encrypted), "key", "encrypted"),
            ("old", (good_chain.clone(), old.to_owned()), "key", "encrypted"),
            ("large", (good_chain.clone(), " ".repeat(1024 * 1024 + 1)), "key", "larger than 1048576"),
        ];
        let mut all: Vec<_> = cases.iter().map(|(name, pair, ..)| files(&world.scratch, name, pair)).collect();
        let missing = CertificateFiles { chain: "/nonexistent/a.crt".into(), key: "/nonexistent/a.key".into() };
        all.push(missing);
        let faults = CertificateStore::load(&all).unwrap_err();
        assert_eq!(faults.len(), cases.len() + 2, "the missing pair counts twice: {faults:#?}");
        for ((name, _, end, reason), fault) in cases.iter().zip(&faults) {
            assert_eq!(fault.path, world.scratch.path().join(format!("{name}.{end}")), "{fault}");
            let text = fault.to_string();
            assert!(text.contains(reason) && text.ends_with(fault.reason.remedy()), "{name}: {text}");
            assert!(!text.contains("MII") && !text.contains("AAAA"), "{name} shows what is in the file: {text}");
        }
        let text = faults.last().unwrap().to_string();
        assert!(text.starts_with("/nonexistent/a.key: it cannot be read: No such file"), "{text}");
        assert!(CertificateStore::load(&[]).is_err());
    }

    #[test]
    fn a_reload_takes_all_or_nothing() {
        let world = World::new();
        let first = world.issue("edge", &["old.test"]);
        let store = Arc::new(CertificateStore::load(std::slice::from_ref(&first)).unwrap());
        let server = server_config(Arc::clone(&store));
        let client = Arc::new(world.client(&[&version::TLS13]));
        assert!(handshake(&server, &client, "old.test").is_ok());

        // One of two is bad: neither is taken.
        let second = world.issue("new", &["new.test"]);
        let faults =
            store.reload(&[second.clone(), CertificateFiles { key: first.key, ..second.clone() }]).unwrap_err();
        assert!(matches!(faults[..], [CertificateFault { reason: CertificateReason::KeyMismatch { .. }, .. }]));
        assert!(handshake(&server, &client, "old.test").is_ok());

        store.reload(&[second]).unwrap();
        assert!(handshake(&server, &client, "new.test").is_ok());
        assert!(handshake(&server, &client, "old.test").is_err());
    }

    #[test]
    fn certificates_can_come_out_of_memory() {
        let authority = Authority::ephemeral().unwrap();
        let made = authority.issue_server(&["lab.test"]).unwrap();
        let (chain, key) = made.pem();
        let from_pem = CertificateStore::from_pem(&chain, &key).unwrap();
        let from_der = CertificateStore::from_der(made.chain, made.key).unwrap();
        assert_eq!(
            format!("{from_pem:?} {from_der:?}"),
            r#"CertificateStore(["lab.test"]) CertificateStore(["lab.test"])"#
        );
        let (_, other) = authority.issue_server(&["lab.test"]).unwrap().pem();
        let fault = CertificateStore::from_pem(&chain, &other).unwrap_err();
        assert!(fault.to_string().starts_with("(in memory): it is not the key"), "{fault}");
    }

    #[test]
    fn an_address_is_a_name_too() {
        let (chain, key) = self_signed(|params| {
            params.subject_alt_names = vec![SanType::IpAddress("2001:db8::1".parse().unwrap())];
        });
        let store = CertificateStore::from_pem(&chain, &key).unwrap();
        assert_eq!(store.choose(None).cert.len(), 1, "shown to whoever asks for no name");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let fault = read_file(Path::new("/dev/null"), 9).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::InvalidInput, "{fault}");
    }
}
