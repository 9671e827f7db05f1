//! TLS towards registrars: who is trusted, under which name, and what is said where one is not.

use std::net::SocketAddr;
use std::sync::Arc;

use edgeway_model::world::Transport;
use edgeway_runtime::inside::{InsideTls, roots_in};
use edgeway_runtime::listen::{bind_tcp, serve_tls};
use edgeway_runtime::reactor::ReactorLimits;
use edgeway_runtime::tls::CertificateStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{World, run};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        Self(CertifiedIssuer::self_signed(params, key).expect("authority"))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        Arc::new(roots_in(self.0.pem().as_bytes()).expect("one authority"))
    }

    fn issue(&self, names: Vec<SanType>, last_year: Option<i32>) -> (String, KeyPair) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        if let Some(year) = last_year {
            params.not_before = rcgen::date_time_ymd(year, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 12, 31);
        }
        let key = KeyPair::generate().expect("key");
        (params.signed_by(&key, &self.0).expect("signed").pem(), key)
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

/// A registrar that echoes, with this certificate; `clients`: whose certificates it demands.
async fn registrar(certificate: &(String, KeyPair), clients: Option<Arc<RootCertStore>>) -> SocketAddr {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let chain = vec![CertificateDer::from_pem_slice(certificate.0.as_bytes()).expect("pem")];
    let key = PrivateKeyDer::try_from(certificate.1.serialize_der()).expect("key");
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider).build().expect("verifier"),
        ),
        None => builder.with_no_client_auth(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("pair")));
    let listener = TcpListener::bind("[::1]:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn trust(world: &World, authority: &Authority, own: Option<Arc<CertificateStore>>) {
    let tls = InsideTls::new(Some(authority.roots()), own, false, false).expect("sound");
    world.reactor.attach_inside_tls(tls.client.expect("there is somebody to trust"));
}

#[test]
fn a_registrar_is_taken_by_name_uri_or_address() {
    run(ReactorLimits::default(), |world| async move {
        let authority = Authority::new();
        trust(&world, &authority, None);
        let uri = SanType::URI("sip:example.com".try_into().expect("a URI"));
        let ip = SanType::IpAddress("::1".parse().expect("an address"));
        let certificate = authority.issue(vec![dns("PBX.example.com"), uri, ip], None);
        let address = registrar(&certificate, None).await;
        for (sequence, name) in [(1, Some("pbx.example.com")), (2, Some("example.com")), (3, None)] {
            world.dial_as(sequence, address, Transport::Tls, name);
            let wanted = usize::try_from(sequence).expect("small");
            world.until("the echo", |log| log.received(b"first") >= wanted).await;
        }
        assert_eq!(world.log.borrow().closed(), [""; 0]);
    });
}

#[test]
fn one_that_proves_nothing_is_refused_and_the_cause_is_told() {
    run(ReactorLimits::default(), |world| async move {
        let (ours, theirs) = (Authority::new(), Authority::new());
        trust(&world, &ours, None);
        let name = "pbx.example.com";
        let wildcard = ours.issue(vec![dns("*.example.com")], None);
        let with_user = SanType::URI("sip:alice@pbx.example.com".try_into().expect("a URI"));
        let cases = [
            (theirs.issue(vec![dns(name)], None), "signed by nobody we trust"),
            (ours.issue(vec![dns("other.example.com")], None), "not for pbx.example.com but for other.example.com"),
            (ours.issue(vec![dns(name)], Some(2020)), "has expired"),
            (ours.issue(vec![dns(name)], Some(2098)), "not valid yet"),
            (wildcard, "but for *.example.com"),
            (ours.issue(vec![with_user], None), "but for nobody"),
        ];
        for (index, (certificate, cause)) in cases.iter().enumerate() {
            let address = registrar(certificate, None).await;
            world.dial_as(index as u64, address, Transport::Tls, Some(name));
            world.until(cause, |log| log.closed().get(index).is_some_and(|why| why.contains(cause))).await;
        }
        assert_eq!(world.log.borrow().opened(), [], "not for a moment");
    });
}

#[test]
fn we_show_our_certificate_where_one_is_demanded() {
    run(ReactorLimits::default(), |world| async move {
        let authority = Authority::new();
        let certificate = authority.issue(vec![dns("pbx.example.com")], None);
        let address = registrar(&certificate, Some(authority.roots())).await;
        trust(&world, &authority, None);
        world.dial_as(1, address, Transport::Tls, Some("pbx.example.com"));
        world.until("it refused us", |log| log.closed().first().is_some_and(|why| why.contains("it refused us"))).await;

        let (chain, key) = authority.issue(vec![dns("core1.example.com")], None);
        let own = CertificateStore::from_pem(&chain, &key.serialize_pem()).expect("a pair");
        trust(&world, &authority, Some(Arc::new(own)));
        world.dial_as(2, address, Transport::Tls, Some("pbx.example.com"));
        world.until("the echo", |log| log.received(b"first") >= 1).await;
    });
}

#[test]
fn registrars_may_connect_to_us_if_they_prove_themselves() {
    run(ReactorLimits::default(), |world| async move {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (chain, key) = ours.issue(vec![dns("core1.example.com")], None);
        let own = Arc::new(CertificateStore::from_pem(&chain, &key.serialize_pem()).expect("a pair"));
        let tls = InsideTls::new(Some(ours.roots()), Some(own), true, true).expect("sound");
        let listener = bind_tcp("TLS", "[::1]:0".parse().expect("address")).expect("bind");
        let address = listener.local_addr().expect("bound");
        serve_tls(&world.reactor, listener, tls.server.expect("listens")).expect("serve");

        // A core is as good a client as any.
        let shown = |authority: &Authority| {
            let (chain, key) = authority.issue(vec![dns("pbx.example.com")], None);
            Some(Arc::new(CertificateStore::from_pem(&chain, &key.serialize_pem()).expect("a pair")))
        };
        for (sequence, own) in [(1, None), (2, shown(&theirs))] {
            trust(&world, &ours, own);
            world.dial_as(sequence, address, Transport::Tls, Some("core1.example.com"));
            let wanted = usize::try_from(sequence).expect("small");
            world
                .until("refused", |log| {
                    log.closed().iter().filter(|why| why.contains("it refused us")).count() == wanted
                })
                .await;
        }
        assert_eq!(world.log.borrow().received(b"first"), 0);
        trust(&world, &ours, shown(&ours));
        world.dial_as(3, address, Transport::Tls, Some("core1.example.com"));
        world.until("both ends", |log| log.received(b"first") >= 2).await;
    });
}
