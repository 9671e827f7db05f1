//! What a node is to its peers: a key, a certificate, and the CA both ends trust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeway_model::NodeId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, store, tls};

/// The suffix of every node's name in its certificate.
pub const NODE_DOMAIN: &str = "node.edgeway.internal";

const IDENTITY_FILE: &str = "identity.pem";
const REVOKED_FILE: &str = "revoked.pem";

pub use edgeway_model::Role;

/// The URI that carries the role in a certificate.
#[must_use]
pub const fn role_uri(role: Role) -> &'static str {
    match role {
        Role::Edge => "edgeway:role:edge",
        Role::Core => "edgeway:role:core",
    }
}

/// The name a node's certificate carries and a dialling peer asks for.
#[must_use]
pub fn dns_name(node: &NodeId) -> String {
    format!("{node}.{NODE_DOMAIN}")
}

/// [`dns_name`] as rustls wants it.
#[must_use]
pub fn server_name(node: &NodeId) -> ServerName<'static> {
    ServerName::try_from(dns_name(node)).expect("a node name is one legal label of at most 63 bytes")
}

/// The node and role a verified peer certificate stands for; `None` if it names none, or several.
/// Says nothing about who signed it: the TLS configurations of [`tls`] have checked that before.
#[must_use]
pub fn node_of(chain: &[CertificateDer<'_>]) -> Option<(NodeId, Role)> {
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    let (mut node, mut role) = (None, None);
    let names = certificate.subject_alternative_name().ok()??;
    for name in &names.value.general_names {
        if let GeneralName::DNSName(dns) = name {
            let label = dns.strip_suffix(NODE_DOMAIN)?.strip_suffix('.')?;
            if node.replace(NodeId::new(label)?).is_some() {
                return None;
            }
        } else if let GeneralName::URI(uri) = name {
            let this = [Role::Edge, Role::Core].into_iter().find(|role| role_uri(*role) == *uri)?;
            if role.replace(this).is_some() {
                return None;
            }
        }
    }
    Some((node?, role?))
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of a certificate.
#[must_use]
pub fn key_hash_of(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).into())
}

/// The SubjectPublicKeyInfo (DER) of a certificate.
#[must_use]
pub fn public_key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.public_key().raw.to_vec())
}

/// Whether a certificate may sign others (basicConstraints CA).
#[must_use]
pub fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((rest, parsed)) = X509Certificate::from_der(certificate) else { return false };
    rest.is_empty()
        && parsed.extensions().iter().any(
            |extension| matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(basic) if basic.ca),
        )
}

/// The private key of a node (ECDSA P-256). Cheap to clone; `Debug` shows no secret.
#[derive(Clone)]
pub struct NodeKey(Arc<KeyPair>);

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self(Arc::new(KeyPair::generate()?)))
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// SHA-256 of [`Self::public_key`]: what a join token pins.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        Sha256::digest(self.public_key()).into()
    }

    /// A self-signed certificate of this key, shown while joining: there the key is pinned by its
    /// hash, and the certificate is only its wrapping.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn join_certificate(&self) -> Result<CertificateDer<'static>, PkiError> {
        let mut params = CertificateParams::new(vec![tls::JOIN_NAME.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, tls::JOIN_NAME);
        Ok(params.self_signed(&*self.0)?.der().clone())
    }

    /// The key as rustls wants it.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialized_der().to_vec()))
    }

    fn from_pem(text: &str) -> Result<Self, rcgen::Error> {
        KeyPair::from_pem(text).map(|key| Self(Arc::new(key)))
    }

    fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", store::hex(&self.key_hash()[..6]))
    }
}

/// A paired node: its key, its certificate and the CA that signed it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    node: NodeId,
    role: Role,
    key: NodeKey,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    revoked: Option<CertificateRevocationListDer<'static>>,
}

impl Identity {
    /// Puts the parts together, checking that they belong together: the CA signed the certificate,
    /// it is of this key, names a node, and is valid now.
    ///
    /// # Errors
    /// Which of these does not hold.
    pub fn new(
        key: NodeKey,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Self, PkiError> {
        let refused = |why: &str| PkiError::Certificate(why.to_owned());
        let (node, role) =
            node_of(std::slice::from_ref(&certificate)).ok_or_else(|| refused("it names no node and role"))?;
        if key_hash_of(&certificate) != Some(key.key_hash()) {
            return Err(refused("it was issued for another key"));
        }
        if !is_authority(&authority) {
            return Err(refused("what came as the CA may not sign certificates"));
        }
        tls::verify_node(&certificate, &authority, &node)
            .map_err(|error| PkiError::Certificate(explain_own(&error)))?;
        Ok(Self { node, role, key, certificate, authority, revoked: None })
    }

    /// The node this identity stands for.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Its role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &NodeKey {
        &self.key
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA both ends of a link trust.
    #[must_use]
    pub const fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// SHA-256 of the CA certificate: tells whether two nodes belong together.
    #[must_use]
    pub fn authority_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.authority).into()
    }

    /// The revocation list in force, if one was handed over.
    #[must_use]
    pub const fn revoked(&self) -> Option<&CertificateRevocationListDer<'static>> {
        self.revoked.as_ref()
    }

    /// The same identity, refusing peers on the list ([`super::Authority::revoke`]).
    #[must_use]
    pub fn with_revoked(mut self, list: CertificateRevocationListDer<'static>) -> Self {
        self.revoked = Some(list);
        self
    }

    /// When the certificate ends, Unix seconds. An operator is warned before.
    #[must_use]
    pub fn not_after_unix(&self) -> i64 {
        X509Certificate::from_der(&self.certificate).map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp())
    }

    /// Writes key, certificate and CA into one file of the state directory, in one step, and the
    /// revocation list beside it.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn store(&self, dir: &Path) -> Result<(), PkiError> {
        store::ensure_directory(dir)?;
        if let Some(list) = &self.revoked {
            store::replace(&dir.join(REVOKED_FILE), store::pem("X509 CRL", list).as_bytes())?;
        }
        let mut text = self.key.to_pem();
        text.push_str(&store::pem("CERTIFICATE", &self.certificate));
        text.push_str(&store::pem("CERTIFICATE", &self.authority));
        store::replace(&dir.join(IDENTITY_FILE), text.as_bytes())
    }
}

#[cfg(test)]
impl Identity {
    /// The same key and certificate in front of another CA: what no honest node has.
    pub(crate) fn trusting(mut self, authority: CertificateDer<'static>) -> Self {
        self.authority = authority;
        self
    }
}

/// What the state directory of a node holds.
#[derive(Clone, Debug)]
pub enum NodeState {
    /// A key, not yet paired: nobody can link with this node.
    Unpaired(NodeKey),
    /// A whole identity.
    Paired(Identity),
}

impl NodeState {
    /// Reads the state directory; `None` if this node has never had a key.
    ///
    /// # Errors
    /// If the file cannot be read, is open to others, or its parts do not belong together.
    pub fn load(dir: &Path) -> Result<Option<Self>, PkiError> {
        let path = dir.join(IDENTITY_FILE);
        let Some(bytes) = store::read_private(&path)? else { return Ok(None) };
        let damaged = |what: &str| PkiError::damaged(&path, what);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is no text"))?;
        let key = NodeKey::from_pem(text).map_err(|_| damaged("it holds no private key"))?;
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            certificates.push(certificate.map_err(|_| damaged("a certificate in it cannot be read"))?);
        }
        let mut certificates = certificates.into_iter();
        let (Some(certificate), Some(authority)) = (certificates.next(), certificates.next()) else {
            return Ok(Some(Self::Unpaired(key)));
        };
        let mut identity = Identity::new(key, certificate, authority)?;
        identity.revoked = load_revoked(&dir.join(REVOKED_FILE))?;
        Ok(Some(Self::Paired(identity)))
    }

    /// As [`Self::load`]; a node without a key gets one.
    ///
    /// # Errors
    /// As [`Self::load`], and if the key cannot be made or written.
    pub fn load_or_create(dir: &Path) -> Result<Self, PkiError> {
        if let Some(state) = Self::load(dir)? {
            return Ok(state);
        }
        store::ensure_directory(dir)?;
        // Two starts at once must agree on one key: only the first one is kept, both then read it.
        store::create(&dir.join(IDENTITY_FILE), NodeKey::generate()?.to_pem().as_bytes())?;
        Self::load(dir)?.ok_or_else(|| PkiError::damaged(&dir.join(IDENTITY_FILE), "it vanished while being made"))
    }

    /// The key, paired or not.
    #[must_use]
    pub const fn key(&self) -> &NodeKey {
        match self {
            Self::Unpaired(key) => key,
            Self::Paired(identity) => &identity.key,
        }
    }

    /// The identity, if there is one.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Unpaired(_) => None,
            Self::Paired(identity) => Some(identity),
        }
    }
}

/// Where the identity lives in a state directory.
#[must_use]
pub fn identity_path(dir: &Path) -> PathBuf {
    dir.join(IDENTITY_FILE)
}

fn load_revoked(path: &Path) -> Result<Option<CertificateRevocationListDer<'static>>, PkiError> {
    let Some(bytes) = store::read_private(path)? else { return Ok(None) };
    let list = CertificateRevocationListDer::from_pem_slice(&bytes)
        .map_err(|_| PkiError::damaged(path, "it holds no revocation list"))?;
    Ok(Some(list))
}

/// A refusal of our own certificate, in words.
fn explain_own(error: &rustls::Error) -> String {
    tls::explain(error)
}
