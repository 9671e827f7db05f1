//! The phone as a verifying TLS client: it registers only where the certificate is issued by the
//! authority it trusts and carries the name it was told.

use std::net::SocketAddr;
use std::sync::Arc;

use edgeway_lab_servers::{Phone, PhoneConfig, PhoneError, PhoneTransport, Registrar, RegistrarConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const DOMAIN: &str = "lab.example";
const NAME: &str = "edge.lab.example";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// A TLS end for `NAME` in front of the registrar.
async fn tls_end(authority: &Authority, registrar: SocketAddr) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority.issuer).expect("signed");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("certificate and key fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(stream).await?;
                let mut inside = TcpStream::connect(registrar).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    address
}

fn phone(server: SocketAddr, name: &str, ca_pem: &str) -> PhoneConfig {
    let transport = PhoneTransport::Tls { server, name: name.to_owned(), ca_pem: ca_pem.to_owned() };
    PhoneConfig::new("alice", "a-secret", DOMAIN, transport)
}

#[tokio::test]
async fn only_the_right_name_by_the_right_authority_is_registered_with() {
    let registrar = Registrar::start(RegistrarConfig::new(DOMAIN, &[("alice", "a-secret")])).await.expect("registrar");
    let (ours, other) = (authority(), authority());
    let server = tls_end(&ours, registrar.address()).await;

    for (name, ca, what) in [(NAME, &other.pem, "another authority"), ("edge.other.example", &ours.pem, "another name")]
    {
        let refused = Phone::register(phone(server, name, ca)).await.err();
        assert!(matches!(refused, Some(PhoneError::Certificate { .. })), "{what}: {refused:?}");
        assert!(registrar.bindings("alice").await.is_empty(), "{what}");
    }
    let alice = Phone::register(phone(server, NAME, &ours.pem)).await.expect("the right one");
    assert!(*alice.registered().borrow());
    let bindings = registrar.bindings("alice").await;
    assert!(bindings[0].contact.contains("transport=tls"), "{bindings:?}");
}

#[tokio::test]
async fn a_trust_store_that_cannot_be_read_trusts_nobody() {
    let registrar = Registrar::start(RegistrarConfig::new(DOMAIN, &[("alice", "a-secret")])).await.expect("registrar");
    let server = tls_end(&authority(), registrar.address()).await;
    for ca in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Phone::register(phone(server, NAME, ca)).await.is_err());
    }
}
