//! TLS configurations between nodes: TLS 1.3 only, both sides proven, no resumption (each link
//! proves both ends anew, so a revocation holds from the next handshake on).

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};

use edgeway_model::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme, version,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::identity::{dns_name, server_name};
use super::{Identity, NodeKey, PkiError, Role, node_of};

/// ALPN of the signalling link.
pub const LINK_ALPN: &[u8] = b"edgeway-link/1";
/// ALPN of the media path (QUIC).
pub const MEDIA_ALPN: &[u8] = b"edgeway-media/1";
/// ALPN of the TCP connection media takes where UDP is blocked.
pub const MEDIA_STREAM_ALPN: &[u8] = b"edgeway-media-stream/1";
/// ALPN of the bulk connection: requests of clients over HTTPS.
pub const BULK_ALPN: &[u8] = b"edgeway-bulk/1";
/// ALPN of the chat carrier: XMPP streams of clients.
pub const CHAT_ALPN: &[u8] = b"edgeway-chat/1";
/// ALPN of joining.
pub const JOIN_ALPN: &[u8] = b"edgeway-join/1";
/// The server name asked for while joining; no node can have it.
pub const JOIN_NAME: &str = "join.edgeway.internal";

/// What a listening edge presents to, and demands from, a core that links.
///
/// # Errors
/// If the identity's parts cannot be used for TLS.
pub fn link_server_config(identity: &Identity) -> Result<Arc<ServerConfig>, PkiError> {
    server_config(identity, LINK_ALPN)
}

/// What a dialling core presents to, and demands from, the node `expected` in that role. Dial with
/// [`server_name`]`(expected)`.
///
/// # Errors
/// If the identity's parts cannot be used for TLS.
pub fn link_client_config(identity: &Identity, expected: &NodeId, role: Role) -> Result<Arc<ClientConfig>, PkiError> {
    client_config(identity, expected, role, LINK_ALPN)
}

/// As [`link_server_config`], for QUIC.
///
/// # Errors
/// If the identity's parts cannot be used for TLS.
pub fn media_server_config(identity: &Identity) -> Result<Arc<ServerConfig>, PkiError> {
    server_config(identity, MEDIA_ALPN)
}

/// As [`link_client_config`], for QUIC.
///
/// # Errors
/// If the identity's parts cannot be used for TLS.
pub fn media_client_config(identity: &Identity, expected: &NodeId) -> Result<Arc<ClientConfig>, PkiError> {
    client_config(identity, expected, Role::Edge, MEDIA_ALPN)
}

/// The same identity and the same demands, for the TCP connection media takes where UDP is blocked.
#[must_use]
pub fn for_media_stream(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![MEDIA_STREAM_ALPN.to_vec()];
    Arc::new(config)
}

/// The same identity and the same demands, for the bulk connection.
#[must_use]
pub fn for_bulk(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![BULK_ALPN.to_vec()];
    Arc::new(config)
}

/// The same identity and the same demands, for the chat carrier.
#[must_use]
pub fn for_chat(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![CHAT_ALPN.to_vec()];
    Arc::new(config)
}

/// As [`for_chat`], for the core.
#[must_use]
pub fn to_chat(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![CHAT_ALPN.to_vec()];
    Arc::new(config)
}

/// As [`link_client_config`], for the bulk connection to an edge.
///
/// # Errors
/// If the identity's parts cannot be used for TLS.
pub fn bulk_client_config(identity: &Identity, expected: &NodeId) -> Result<Arc<ClientConfig>, PkiError> {
    client_config(identity, expected, Role::Edge, BULK_ALPN)
}

/// As [`for_media_stream`], for the core.
#[must_use]
pub fn to_media_stream(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![MEDIA_STREAM_ALPN.to_vec()];
    Arc::new(config)
}

/// What an edge presents to a core that joins: its bare key.
///
/// # Errors
/// If the key cannot be used for TLS.
pub fn join_server_config(key: &NodeKey) -> Result<Arc<ServerConfig>, PkiError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(vec![key.join_certificate()?], key.private_key())
        .map_err(unusable)?;
    finish_server(&mut config, JOIN_ALPN);
    Ok(Arc::new(config))
}

/// What a joining core demands from an edge: the key whose hash the token carries.
///
/// # Errors
/// If TLS 1.3 is not available.
pub fn join_client_config(key_hash: [u8; 32]) -> Result<Arc<ClientConfig>, PkiError> {
    let verifier = PinnedKey { key_hash, algorithms: provider().signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What a TLS failure between nodes means and what to do about it.
#[must_use]
pub fn explain(error: &Error) -> String {
    if let Error::InvalidCertificate(cause) = error {
        return explain_certificate(cause);
    }
    if let Error::AlertReceived(alert) = error {
        return explain_alert(*alert);
    }
    if matches!(error, Error::NoApplicationProtocol) {
        return NOT_SPOKEN.to_owned();
    }
    if matches!(error, Error::NoCertificatesPresented) {
        return "the peer showed no certificate: it is no Edgeway core, or not paired".to_owned();
    }
    error.to_string()
}

/// As [`explain`], for an error that came through a socket.
#[must_use]
pub fn explain_io(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => explain(tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        None => error.to_string(),
    }
}

/// The one crypto provider of the product.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Whether `list` is a revocation list that `authority` signed. `certificate` is any of its certificates.
pub(crate) fn verify_revocations(
    list: &CertificateRevocationListDer<'static>,
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    node: &NodeId,
) -> Result<(), Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider())
        .with_crls([list.clone()])
        .only_check_end_entity_revocation()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let verified = verifier.verify_server_cert(certificate, &[], &server_name(node), &[], UnixTime::now());
    match verified {
        // The signature is checked before the list is read: a list that names our own certificate is genuine.
        Ok(_) | Err(Error::InvalidCertificate(CertificateError::Revoked)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether `authority` signed `certificate`, it names `node`, and it is valid now.
pub(crate) fn verify_node(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    node: &NodeId,
) -> Result<(), Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_server_cert(certificate, &[], &server_name(node), &[], UnixTime::now()).map(|_| ())
}

fn server_config(identity: &Identity, alpn: &[u8]) -> Result<Arc<ServerConfig>, PkiError> {
    let mut chain =
        WebPkiClientVerifier::builder_with_provider(roots(identity.authority()).map_err(unusable)?, provider());
    if let Some(list) = identity.revoked() {
        chain = chain.with_crls([list.clone()]).only_check_end_entity_revocation();
    }
    let chain = chain.build().map_err(|error| PkiError::Certificate(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(PeerCore { chain }))
        .with_single_cert(vec![identity.certificate().clone()], identity.key().private_key())
        .map_err(unusable)?;
    finish_server(&mut config, alpn);
    Ok(Arc::new(config))
}

fn client_config(
    identity: &Identity,
    expected: &NodeId,
    role: Role,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, PkiError> {
    let mut chain =
        WebPkiServerVerifier::builder_with_provider(roots(identity.authority()).map_err(unusable)?, provider());
    if let Some(list) = identity.revoked() {
        chain = chain.with_crls([list.clone()]).only_check_end_entity_revocation();
    }
    let chain = chain.build().map_err(|error| PkiError::Certificate(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerNode { chain, expected: expected.clone(), role }))
        .with_client_auth_cert(vec![identity.certificate().clone()], identity.key().private_key())
        .map_err(unusable)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn finish_server(config: &mut ServerConfig, alpn: &[u8]) {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

fn roots(authority: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    Ok(Arc::new(roots))
}

fn unusable(error: Error) -> PkiError {
    PkiError::Certificate(error.to_string())
}

/// The peer's certificate is of our CA but not of the node or role that belongs here.
#[derive(Debug)]
struct WrongPeer(String);

impl fmt::Display for WrongPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongPeer {}

fn wrong_peer(text: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongPeer(text)))))
}

fn check_role(certificate: &CertificateDer<'_>, role: Role) -> Result<NodeId, Error> {
    match node_of(std::slice::from_ref(certificate)) {
        Some((node, is)) if is == role => Ok(node),
        Some((node, is)) => {
            Err(wrong_peer(format!("the peer is {node} in the role of {is}, where the role of {role} belongs")))
        }
        None => {
            Err(wrong_peer("the peer's certificate names no node and role: issue it with `edgeway pki issue`".into()))
        }
    }
}

/// Accepts a core of our CA.
#[derive(Debug)]
struct PeerCore {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for PeerCore {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_role(end_entity, Role::Core)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts the one node that was dialled.
#[derive(Debug)]
struct PeerNode {
    chain: Arc<WebPkiServerVerifier>,
    expected: NodeId,
    role: Role,
}

impl ServerCertVerifier for PeerNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is the one this configuration was made for, whatever the caller dials with.
        let name = server_name(&self.expected);
        let verified = self.chain.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?;
        let node = check_role(end_entity, self.role)?;
        if node != self.expected {
            return Err(wrong_peer(format!("the peer is {node}, not {}", dns_name(&self.expected))));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts one key, in whatever certificate it comes: RFC 7469 in spirit.
#[derive(Debug)]
struct PinnedKey {
    key_hash: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let hash: [u8; 32] = Sha256::digest(&key).into();
        if bool::from(hash.ct_eq(&self.key_hash)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(wrong_peer(
            "the machine that answered is not the edge that made this token (its key differs): check the address in \
             front of the edge, and make a new invitation if the edge was installed anew"
                .into(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
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

const NOT_SPOKEN: &str = "the peer does not speak this protocol there: check that the address is the link port of an \
                          edge and that the edge is paired (`edgeway edge invite` there, `edgeway core join` here)";

const FOREIGN: &str = "the peer's certificate is of another CA than ours: pair the two again (`edgeway edge invite` on \
                       the edge, `edgeway core join` on the core)";

// rustls may add causes at any time; their own words then have to do.
#[allow(clippy::wildcard_enum_match_arm)]
fn explain_certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => FOREIGN.to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired: renew it by pairing again (`edgeway edge invite`, `edgeway core join`), and \
             check the clocks of both machines"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet: the clock of this machine is behind, or the one that signed is ahead; \
             set up time synchronisation on both"
                .to_owned()
        }
        CertificateError::Revoked => {
            "the certificate has been revoked: this node was taken out of service; pair it again if that was a mistake"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "another node answered than the one that was dialled: check the address recorded for it".to_owned()
        }
        CertificateError::Other(OtherError(other)) => other.to_string(),
        other => format!("the peer's certificate was refused: {other:?}"),
    }
}

#[allow(clippy::wildcard_enum_match_arm)]
fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::NoApplicationProtocol => NOT_SPOKEN.to_owned(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            format!("the peer does not know our CA; seen from there: {FOREIGN}")
        }
        AlertDescription::CertificateExpired => {
            "the peer finds our certificate expired: renew it by pairing again, and check the clocks of both machines"
                .to_owned()
        }
        AlertDescription::CertificateRevoked => {
            "our certificate has been revoked: this node was taken out of service; pair it again if that was a mistake"
                .to_owned()
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => {
            "the peer refuses our certificate (its own log says why): it is of the wrong node or role".to_owned()
        }
        other => format!("the peer refused with TLS alert {other:?}"),
    }
}
