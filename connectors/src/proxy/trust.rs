//! Whom we trust at an HTTPS server inside, and what we show it.
//!
//! A certificate must be signed by a trusted authority, or stand itself in the configured file; be valid now;
//! and name the host as it is written, as dNSName or iPAddress (RFC 9525 §6). Common names do not count.
//! A certificate that stands in the file needs a rule of its own: Unified CM's self-signed ones say that they are
//! authorities, and as such no path validation takes them for a server's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgeway_runtime::inside::trusted_pem;
use edgeway_runtime::pki::tls::provider;
use edgeway_runtime::tls::CertificateStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme, version,
};
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names of a wrong certificate that are told.
const NAMES_TOLD_MAX: usize = 4;

/// Whom we trust at a server, and what we show it. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    id: u64,
    /// Of what it was made.
    made_of: [u8; 32],
    verifies: bool,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("id", &self.id).field("verifies", &self.verifies).finish_non_exhaustive()
    }
}

/// Why nobody can be trusted, for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrustFault(String);

impl Trust {
    /// Trusts the certificates in the PEM file `ca`, those of the system if there is none; `setting` is how the
    /// operator says which. `own` is shown to a server that asks.
    ///
    /// # Errors
    /// [`TrustFault`], when the file cannot be used.
    pub fn load(ca: Option<&str>, setting: &str, own: Option<&CertificateStore>) -> Result<Self, TrustFault> {
        let (path, pem) = trusted_pem(ca, setting).map_err(|fault| TrustFault(fault.to_string()))?;
        Self::in_pem(&pem, own).map_err(|fault| TrustFault(format!("{path}: {fault}")))
    }

    /// Trusts the certificates of a PEM text.
    ///
    /// # Errors
    /// [`TrustFault`], when there is none in it.
    pub fn in_pem(pem: &[u8], own: Option<&CertificateStore>) -> Result<Self, TrustFault> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| TrustFault(format!("damaged: {error}")))?;
        let listed: BTreeSet<Vec<u8>> = certificates.iter().map(|der| der.as_ref().to_vec()).collect();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(TrustFault("it holds no certificate".to_owned()));
        }
        let algorithms = provider().signature_verification_algorithms;
        Self::with(Arc::new(Verified { roots, listed, algorithms }), own, Some(pem))
    }

    /// Takes any certificate: only where the operator says so for one server.
    ///
    /// # Errors
    /// [`TrustFault`], when TLS cannot be set up.
    pub fn anybody(own: Option<&CertificateStore>) -> Result<Self, TrustFault> {
        let algorithms = provider().signature_verification_algorithms;
        Self::with(Arc::new(Unverified { algorithms }), own, None)
    }

    fn with(
        verifier: Arc<dyn ServerCertVerifier>,
        own: Option<&CertificateStore>,
        pem: Option<&[u8]>,
    ) -> Result<Self, TrustFault> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let verifies = pem.is_some();
        let mut made_of = Sha256::new();
        made_of.update([u8::from(verifies)]);
        let shown = own.map(|own| own.first().cert).unwrap_or_default();
        for part in pem.into_iter().chain(shown.iter().map(AsRef::as_ref)) {
            made_of.update(part.len().to_be_bytes());
            made_of.update(part);
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| TrustFault(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own.first()))),
            None => builder.with_no_client_auth(),
        };
        // A resumed connection shows no certificate: each one is proven anew.
        config.resumption = Resumption::disabled();
        let (id, made_of) = (NEXT_ID.fetch_add(1, Ordering::Relaxed), made_of.finalize().into());
        Ok(Self { config: Arc::new(config), verifier, id, made_of, verifies })
    }

    /// Whether certificates are checked.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Two with one id are the same.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the two trust the same, and show the same, though they were made at different times.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The same for a server whose certificate may carry any of `names`, whatever name is asked for in the handshake.
    pub(crate) fn naming(&self, names: Vec<ServerName<'static>>, alpn: Vec<Vec<u8>>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn;
        if self.verifies {
            config.dangerous().set_certificate_verifier(Arc::new(AnyOf { names, inner: Arc::clone(&self.verifier) }));
        }
        Arc::new(config)
    }
}

/// Accepts what another one accepts under one of several names.
#[derive(Debug)]
struct AnyOf {
    names: Vec<ServerName<'static>>,
    inner: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut refusal = None;
        for name in &self.names {
            match self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
                // The name that is wanted first is the one to tell.
                Err(fault) if is_wrong_name(&fault) => _ = refusal.get_or_insert(fault),
                other => return other,
            }
        }
        Err(refusal.unwrap_or(Error::InvalidCertificate(CertificateError::NotValidForName)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_wrong_name(fault: &Error) -> bool {
    matches!(fault, Error::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<WrongName>())
}

/// Why TLS with a server did not come to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// Nobody we trust has signed the certificate.
    #[error("its certificate is signed by nobody we trust")]
    UnknownAuthority,
    /// The certificate is for others.
    #[error("its certificate is not for {wanted} but for {names}")]
    WrongName {
        /// The host as it is written in the settings or the request.
        wanted: String,
        /// Whom it names, some of them.
        names: String,
    },
    /// The certificate is no longer valid.
    #[error("its certificate has expired")]
    Expired,
    /// The certificate is not valid yet.
    #[error("its certificate is not valid yet: is the clock right?")]
    NotValidYet,
    /// The server refused us.
    #[error("it refused us with the TLS alert {0}: does it want a certificate of ours?")]
    Refused(String),
    /// Anything else.
    #[error("TLS: {0}")]
    Other(String),
}

impl TlsFault {
    /// What a handshake failed for; `None` where it was not TLS but the connection.
    pub(crate) fn of(error: &std::io::Error) -> Option<Self> {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "rustls' errors are many, and not exhaustive")]
        Some(match tls {
            // An authority of the same name with another key is another authority.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::NotValidForName,
            ) => Self::UnknownAuthority,
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                Self::Expired
            }
            Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Self::NotValidYet
            }
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<WrongName>() {
                    Some(WrongName { wanted, names }) => {
                        Self::WrongName { wanted: wanted.clone(), names: names.clone() }
                    }
                    // What webpki says of a self-signed certificate that is an authority's and not in our file.
                    None if other.to_string().contains("CaUsedAsEndEntity") => Self::UnknownAuthority,
                    None => Self::Other(other.to_string()),
                }
            }
            Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        })
    }
}

/// The certificate is for others.
#[derive(Debug)]
struct WrongName {
    wanted: String,
    names: String,
}

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not for {} but for {}", self.wanted, self.names)
    }
}

impl std::error::Error for WrongName {}

/// Accepts what the file of trusted certificates covers.
#[derive(Debug)]
struct Verified {
    roots: RootCertStore,
    /// The certificates of the file, as they are.
    listed: BTreeSet<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verified {
    /// Whether the certificate is one of the file's, and valid now.
    fn check_listed(&self, certificate: &CertificateDer<'_>, now: UnixTime, why: Error) -> Result<(), Error> {
        if !self.listed.contains(certificate.as_ref()) {
            return Err(why);
        }
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
        let now = i64::try_from(now.as_secs()).map_err(|_| bad())?;
        let validity = parsed.validity();
        if now < validity.not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now > validity.not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        if let Err(why) = signed {
            self.check_listed(end_entity, now, why)?;
        }
        if verify_server_name(&certificate, server_name).is_err() {
            let wrong = WrongName { wanted: server_name.to_str().into_owned(), names: names_of(end_entity) };
            return Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts any certificate whose key the server holds.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whom a certificate names, for the operator.
fn names_of(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return "nobody".to_owned() };
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(name_of)
        .take(NAMES_TOLD_MAX)
        .collect();
    if names.is_empty() { "nobody (it has no subject alternative name)".to_owned() } else { names.join(", ") }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        // Whatever stands there may reach a log.
        GeneralName::DNSName(name) => Some(name.chars().filter(char::is_ascii_graphic).take(253).collect()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        GeneralName::URI(_)
        | GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}
