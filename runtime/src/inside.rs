//! TLS towards the inside: whom we trust as a registrar, and what we show.
//!
//! There is no way to switch verification off. A registrar's certificate must be signed by a
//! configured authority (or one of the system's), be valid now, and name the host the operator wrote
//! (RFC 5922 §4, §7): as dNSName or iPAddress, or as the URI `sip:host`. Wildcards and common names do
//! not count (RFC 5922 §7.2).

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use edgeway_config::CoreTlsSettings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme, version,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::CA_FILE_BYTES_MAX;
use crate::pki::tls::{explain, provider};
use crate::tls::{CertificateStore, read_file};

/// Where systems keep the certificates they trust, in the order they are looked for.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a core needs for TLS inside.
#[derive(Clone)]
pub struct InsideTls {
    /// For connections we dial; `None` where nobody can be trusted.
    pub client: Option<Arc<ClientConfig>>,
    /// For connections to us; `None` without a listener.
    pub server: Option<Arc<ServerConfig>>,
    /// What we show, where there is anything.
    pub own: Option<Arc<CertificateStore>>,
}

/// Why TLS inside cannot be set up, for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InsideTlsFault(String);

impl InsideTls {
    /// Reads the files of the settings. `dials`: TLS registrars are configured.
    ///
    /// # Errors
    /// With all that is wrong with the files.
    pub fn load(settings: &CoreTlsSettings, dials: bool) -> Result<Self, InsideTlsFault> {
        let verifies = !settings.listen.is_empty() && settings.verify_clients;
        let roots = if dials || verifies || settings.ca.is_some() { Some(Arc::new(roots(settings)?)) } else { None };
        let store = settings.certificate.as_ref().map(|files| {
            CertificateStore::load(std::slice::from_ref(files)).map(Arc::new).map_err(|faults| {
                let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
                InsideTlsFault(lines.join("\n"))
            })
        });
        Self::new(roots, store.transpose()?, verifies, !settings.listen.is_empty())
    }

    /// Out of parts: trusted authorities, our own certificate, whether to ask those who connect for theirs.
    ///
    /// # Errors
    /// When the parts do not fit.
    pub fn new(
        roots: Option<Arc<RootCertStore>>,
        own: Option<Arc<CertificateStore>>,
        verifies: bool,
        listens: bool,
    ) -> Result<Self, InsideTlsFault> {
        let client = roots.as_ref().map(|roots| client(Arc::clone(roots), own.as_deref())).transpose()?;
        let shown = own.clone();
        let server = match (own, listens) {
            (Some(own), true) => Some(server(own, roots.filter(|_| verifies))?),
            (Some(_) | None, _) => None,
        };
        Ok(Self { client, server, own: shown })
    }
}

fn roots(settings: &CoreTlsSettings) -> Result<RootCertStore, InsideTlsFault> {
    let (path, text) = trusted_pem(settings.ca.as_deref(), "sip.tls.ca")?;
    roots_in(&text).map_err(|why| InsideTlsFault(format!("{path}: {why}")))
}

/// The PEM text of the trusted certificates and where it was read: the file `ca`, which `setting` names, or the
/// system's.
///
/// # Errors
/// In the operator's words, when there is no such file, or it cannot be read.
pub fn trusted_pem(ca: Option<&str>, setting: &str) -> Result<(String, Vec<u8>), InsideTlsFault> {
    let path = ca.or_else(|| SYSTEM_CA_FILES.into_iter().find(|path| Path::new(path).exists())).ok_or_else(|| {
        InsideTlsFault(format!("this system has no file of trusted certificates: name one in {setting}"))
    })?;
    let text = read_file(Path::new(path), CA_FILE_BYTES_MAX).map_err(|error| {
        InsideTlsFault(format!("{path}: {error}. It must be a PEM file this service can read ({setting})"))
    })?;
    Ok((path.to_owned(), text))
}

/// The trusted certificates in a PEM text.
///
/// # Errors
/// In words, when there is none.
pub fn roots_in(pem: &[u8]) -> Result<RootCertStore, String> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| format!("damaged: {error}"))?;
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 { Err("it holds no certificate of an authority".to_owned()) } else { Ok(roots) }
}

fn client(roots: Arc<RootCertStore>, own: Option<&CertificateStore>) -> Result<Arc<ClientConfig>, InsideTlsFault> {
    let fault = |error: Error| InsideTlsFault(error.to_string());
    let verifier = Registrar { roots, algorithms: provider().signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(fault)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own.first()))),
        None => builder.with_no_client_auth(),
    };
    // A resumed connection shows no certificate: each one is proven anew.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server(own: Arc<CertificateStore>, roots: Option<Arc<RootCertStore>>) -> Result<Arc<ServerConfig>, InsideTlsFault> {
    let fault = |error: String| InsideTlsFault(error);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| fault(error.to_string()))?;
    let builder = match roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fault(error.to_string()))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(own);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What went wrong with a TLS connection inside, in the operator's words.
pub(crate) fn explain_inside(error: &std::io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        let ended = error.kind() == std::io::ErrorKind::UnexpectedEof;
        return if ended { "TLS: closed by the peer".to_owned() } else { error.to_string() };
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls' errors are many, and not exhaustive")]
    match tls {
        // An authority of the same name with another key is another authority.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is signed by nobody we trust (sip.tls.ca)".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        Error::AlertReceived(alert) => format!("it refused us: TLS alert {alert:?} (sip.tls.certificate)"),
        other => explain(other),
    }
}

/// Accepts a registrar whose certificate names the host that was dialled.
#[derive(Debug)]
struct Registrar {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Registrar {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)?;
        check_name(end_entity, server_name)?;
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

/// The certificate is for others.
#[derive(Debug)]
struct WrongName {
    wanted: String,
    names: Vec<String>,
}

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "nobody".to_owned() } else { self.names.join(", ") };
        write!(f, "its certificate is not for {} but for {names}", self.wanted)
    }
}

impl std::error::Error for WrongName {}

/// RFC 5922 §7.1, §7.2: the identities of a certificate, compared with the one that is wanted.
fn check_name(certificate: &CertificateDer<'_>, wanted: &ServerName<'_>) -> Result<(), Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let alternatives = parsed.subject_alternative_name().map_err(|_| bad())?;
    let names: Vec<String> =
        alternatives.iter().flat_map(|extension| &extension.value.general_names).filter_map(identity).collect();
    let wanted = match wanted {
        ServerName::DnsName(name) => name.as_ref().trim_end_matches('.').to_ascii_lowercase(),
        ServerName::IpAddress(ip) => IpAddr::from(*ip).to_string(),
        _ => return Err(bad()),
    };
    if names.contains(&wanted) {
        return Ok(());
    }
    // Few are enough for the operator to see what is wrong.
    let names = names.into_iter().take(4).collect();
    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongName { wanted, names })))))
}

/// A SIP identity: RFC 5922 §7.1 takes the URI `sip:host` without a user, and dNSName.
fn identity(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        GeneralName::URI(uri) => {
            let (scheme, host) = uri.split_once(':')?;
            let plain = scheme.eq_ignore_ascii_case("sip") && !host.contains(['@', ';', '?', ':']);
            plain.then(|| host.to_ascii_lowercase())
        }
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}
