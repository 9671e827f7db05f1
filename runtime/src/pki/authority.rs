//! The certificate authority: one key on one core, for nodes only; and, for labs, server
//! certificates of the public style.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeway_model::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::identity::{dns_name, role_uri};
use super::limits::{AUTHORITY_VALIDITY, CLOCK_SKEW_MAX, NODE_VALIDITY};
use super::{Identity, NodeKey, PkiError, Role, random, store};

const AUTHORITY_FILE: &str = "authority.pem";
const REVOKED_FILE: &str = "authority-revoked.pem";

/// A certificate authority. `Debug` shows no secret.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// A CA that lives in memory only, for labs and tests.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn ephemeral() -> Result<Self, PkiError> {
        Self::named("Edgeway node CA")
    }

    /// As [`Self::ephemeral`], with the name a person reads; a random tail keeps two of them apart.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn named(name: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("{name} {}", store::hex(&random::<4>()?)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, AUTHORITY_VALIDITY);
        params.serial_number = Some(serial()?);
        let certificate = params.self_signed(&key)?.der().clone();
        Self::from_parts(certificate, key)
    }

    /// Makes a CA and keeps it in `dir` (file of mode 0600).
    ///
    /// # Errors
    /// [`PkiError::Exists`] if there is one already; else what the file system said.
    pub fn create(dir: &Path) -> Result<Self, PkiError> {
        store::ensure_directory(dir)?;
        let authority = Self::ephemeral()?;
        let mut text = authority.issuer.key().serialize_pem();
        text.push_str(&authority.certificate_pem());
        let path = dir.join(AUTHORITY_FILE);
        if !store::create(&path, text.as_bytes())? {
            return Err(PkiError::Exists { path });
        }
        Ok(authority)
    }

    /// The CA kept in `dir`; `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be read, is open to others, or is damaged.
    pub fn load(dir: &Path) -> Result<Option<Self>, PkiError> {
        let path = dir.join(AUTHORITY_FILE);
        let Some(bytes) = store::read_private(&path)? else { return Ok(None) };
        let damaged = |what: &str| PkiError::damaged(&path, what);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is no text"))?;
        let key = KeyPair::from_pem(text).map_err(|_| damaged("it holds no private key"))?;
        let certificate =
            CertificateDer::from_pem_slice(&bytes).map_err(|_| damaged("it holds no certificate"))?.into_owned();
        if super::identity::public_key_of(&certificate) != Some(key.subject_public_key_info()) {
            return Err(damaged("its certificate is of another key"));
        }
        Self::from_parts(certificate, key).map(Some)
    }

    /// The CA kept in `dir`, made now if there is none.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::create`].
    pub fn load_or_create(dir: &Path) -> Result<Self, PkiError> {
        if let Some(authority) = Self::load(dir)? {
            return Ok(authority);
        }
        match Self::create(dir) {
            // Somebody else was faster: theirs is the one.
            Err(PkiError::Exists { path }) => {
                Self::load(dir)?.ok_or_else(|| PkiError::damaged(&path, "it vanished while being read"))
            }
            made => made,
        }
    }

    /// The CA certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA certificate as PEM, to be handed to whoever is to trust it.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        store::pem("CERTIFICATE", &self.certificate)
    }

    /// Signs a certificate for the node that holds the private half of `public_key`
    /// (SubjectPublicKeyInfo, DER): serverAuth and clientAuth, one year.
    ///
    /// # Errors
    /// If the key is of a kind we do not sign.
    pub fn sign_node(&self, public_key: &[u8], node: &NodeId, role: Role) -> Result<CertificateDer<'static>, PkiError> {
        let key = SubjectPublicKeyInfo::from_der(public_key)?;
        let mut params = CertificateParams::new(vec![dns_name(node)])?;
        params.subject_alt_names.push(SanType::URI(role_uri(role).try_into()?));
        name_subject(&mut params, node.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &key, NODE_VALIDITY)
    }

    /// A whole identity with a fresh key: for further cores (`pki issue`) and for labs.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn issue(&self, node: &NodeId, role: Role) -> Result<Identity, PkiError> {
        let key = NodeKey::generate()?;
        let certificate = self.sign_node(&key.public_key(), node, role)?;
        Identity::new(key, certificate, self.certificate.clone())
    }

    /// [`Self::issue`], written into a directory that is then carried to the new node.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if the directory holds an identity already.
    pub fn issue_to(&self, node: &NodeId, role: Role, dir: &Path) -> Result<Identity, PkiError> {
        let path = super::identity::identity_path(dir);
        if path.exists() {
            return Err(PkiError::Exists { path });
        }
        let identity = self.issue(node, role)?;
        identity.store(dir)?;
        Ok(identity)
    }

    /// A server certificate of the public style (serverAuth only, 90 days) for DNS names and IP
    /// addresses: what clients of a lab verify against [`Self::certificate_pem`].
    ///
    /// # Errors
    /// If a name is neither.
    pub fn issue_server(&self, names: &[&str]) -> Result<ServerCertificate, PkiError> {
        let first = names.first().ok_or_else(|| PkiError::Name(String::new()))?;
        if let Some(bad) = names.iter().find(|name| ServerName::try_from(**name).is_err()) {
            return Err(PkiError::Name((*bad).to_owned()));
        }
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|_| PkiError::Name(names.join(", ")))?;
        name_subject(&mut params, first);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = self.sign(params, &key, SERVER_VALIDITY)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        Ok(ServerCertificate { chain: vec![certificate], key })
    }

    /// The revocation list of this CA with `certificate` added to what `before` lists. Hand it to
    /// every node ([`Identity::with_revoked`]).
    ///
    /// # Errors
    /// If `certificate` or `before` cannot be read.
    pub fn revoke(
        &self,
        certificate: &CertificateDer<'_>,
        before: Option<&CertificateRevocationListDer<'_>>,
    ) -> Result<CertificateRevocationListDer<'static>, PkiError> {
        let unreadable = |_| PkiError::Certificate("it cannot be read".to_owned());
        let mut serials = Vec::new();
        if let Some(before) = before {
            let (_, list) = CertificateRevocationList::from_der(before).map_err(unreadable)?;
            serials.extend(list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()));
        }
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(unreadable)?;
        let serial = parsed.raw_serial().to_vec();
        if !serials.contains(&serial) {
            serials.push(serial);
        }
        let now = date_time_ymd(1970, 1, 1) + since_1970();
        let entry = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        // The number only has to grow (RFC 5280 §5.2.3).
        let number = u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + AUTHORITY_VALIDITY,
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.der().clone())
    }

    /// [`Self::revoke`], with the list kept in the CA's directory.
    ///
    /// # Errors
    /// As [`Self::revoke`], and what the file system said.
    pub fn revoke_in(
        &self,
        dir: &Path,
        certificate: &CertificateDer<'_>,
    ) -> Result<CertificateRevocationListDer<'static>, PkiError> {
        let path = dir.join(REVOKED_FILE);
        let before = match store::read_private(&path)? {
            None => None,
            Some(bytes) => Some(
                CertificateRevocationListDer::from_pem_slice(&bytes)
                    .map_err(|_| PkiError::damaged(&path, "it holds no revocation list"))?,
            ),
        };
        let list = self.revoke(certificate, before.as_ref())?;
        store::replace(&path, store::pem("X509 CRL", &list).as_bytes())?;
        Ok(list)
    }

    fn from_parts(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, PkiError> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        validity: Duration,
    ) -> Result<CertificateDer<'static>, PkiError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        set_validity(&mut params, validity);
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate chain and its key, as a TLS server for clients needs them.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The certificate, ours first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

impl ServerCertificate {
    /// Chain and key as PEM.
    #[must_use]
    pub fn pem(&self) -> (String, String) {
        let chain = self.chain.iter().map(|certificate| store::pem("CERTIFICATE", certificate)).collect();
        (chain, store::pem("PRIVATE KEY", self.key.secret_der()))
    }

    /// Writes `server.crt` and `server.key` (mode 0600) into `dir` and returns their paths.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn store(&self, dir: &Path) -> Result<(PathBuf, PathBuf), PkiError> {
        store::ensure_directory(dir)?;
        let (chain_path, key_path) = (dir.join("server.crt"), dir.join("server.key"));
        let (chain, key) = self.pem();
        store::replace(&chain_path, chain.as_bytes())?;
        store::replace(&key_path, key.as_bytes())?;
        Ok((chain_path, key_path))
    }
}

/// As public CAs issue them.
const SERVER_VALIDITY: Duration = Duration::from_secs(90 * 86_400);

fn name_subject(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

fn set_validity(params: &mut CertificateParams, validity: Duration) {
    let now = since_1970();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(CLOCK_SKEW_MAX);
    params.not_after = date_time_ymd(1970, 1, 1) + now + validity;
}

/// 127 random bits (RFC 5280 §4.1.2.2: positive, at most 20 bytes).
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
