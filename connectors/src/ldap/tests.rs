use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeway_model::sign_in::Deployment;
use edgeway_runtime::pki::tls::provider;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::*;
use crate::scratch::Scratch;

/// What a server does with the next connections.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// TLS, and this answer to the bind.
    Result(u8),
    /// TLS, and these bytes instead of an answer.
    Bytes(&'static [u8]),
    /// TLS, and nothing.
    Silent,
    /// TLS, and the end.
    Close,
    /// No TLS at all.
    Plain,
}

struct Server {
    place: HostPort,
    binds: Arc<AtomicUsize>,
}

/// An authority, and certificates of it for a name.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Reads one message and gives its content.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        head.push(stream.read_u8().await.ok()?);
        if let Some((_, length)) = message::length(&head).ok()? {
            let mut content = vec![0; length];
            stream.read_exact(&mut content).await.ok()?;
            return Some(content);
        }
    }
}

async fn serve(mut plain: TcpStream, acceptor: TlsAcceptor, act: Act, tls_result: Option<u8>, binds: Arc<AtomicUsize>) {
    if let Act::Plain = act {
        let _ = plain.write_all(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00").await;
        let _ = plain.read_u8().await;
        return;
    }
    if let Some(code) = tls_result {
        assert_eq!(read(&mut plain).await.unwrap()[3], 0x77, "nothing comes before StartTLS");
        let answer = [0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, code, 4, 0, 4, 0];
        if plain.write_all(&answer).await.is_err() || code != 0 {
            return;
        }
    }
    let Ok(mut stream) = acceptor.accept(plain).await else { return };
    let Some(bind) = read(&mut stream).await else { return };
    assert_eq!(bind[3], 0x60, "a bind");
    binds.fetch_add(1, Ordering::SeqCst);
    match act {
        Act::Result(code) => {
            let _ = stream.write_all(&[0x30, 0x0c, 2, 1, 2, 0x61, 7, 0x0a, 1, code, 4, 0, 4, 0]).await;
            let _ = read(&mut stream).await;
        }
        Act::Bytes(bytes) => {
            let _ = stream.write_all(bytes).await;
            let _ = stream.read_u8().await;
        }
        Act::Silent => {
            let _ = stream.read_u8().await;
        }
        Act::Close | Act::Plain => {}
    }
}

async fn server(ca: &Ca, name: &str, act: Act, tls_result: Option<u8>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let (acceptor, binds) = (ca.acceptor(name), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&binds);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone(), act, tls_result, Arc::clone(&counted)));
        }
    });
    Server { place, binds }
}

/// A port nobody listens on.
async fn nobody() -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }
}

async fn check(ca: &Ca, servers: &[&HostPort], start_tls: bool, password: &str) -> Verdict {
    let folder = Scratch::new(&format!("ldap-{:?}", std::thread::current().id()));
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let settings = LdapSettings {
        servers: servers.iter().map(|server| (*server).clone()).collect(),
        start_tls,
        ca: Some(file.to_str().unwrap().to_owned()),
        bind_dn: "uid={user},ou=people,dc=example,dc=com".to_owned(),
    };
    let directory = Directory::new(&settings, Resolver::default()).unwrap();
    let subject = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
    directory.check(&subject, &Credential::Password(Zeroizing::new(password.to_owned()))).await
}

fn unavailable(verdict: Verdict) -> String {
    let Verdict::Unavailable { why, .. } = verdict else { panic!("{verdict:?}") };
    why
}

#[tokio::test]
async fn results_become_verdicts() {
    let ca = Ca::new();
    for (code, good) in [(0, true), (49, false), (32, false), (34, false), (48, false), (53, false), (19, false)] {
        for tls_result in [None, Some(0)] {
            let server = server(&ca, "127.0.0.1", Act::Result(code), tls_result).await;
            let verdict = check(&ca, &[&server.place], tls_result.is_some(), "secret").await;
            assert_eq!(matches!(verdict, Verdict::Good(_)), good, "{code}: {verdict:?}");
            assert!(good || matches!(verdict, Verdict::Refused), "{code}: {verdict:?}");
        }
    }
    for code in [1, 2, 3, 7, 8, 10, 11, 13, 14, 51, 52, 80, 118] {
        let server = server(&ca, "127.0.0.1", Act::Result(code), None).await;
        let why = unavailable(check(&ca, &[&server.place], false, "secret").await);
        assert!(why.contains(&format!("result {code} ")), "{why}");
    }
}

#[tokio::test]
async fn an_empty_password_never_reaches_a_directory() {
    let ca = Ca::new();
    let server = server(&ca, "127.0.0.1", Act::Result(0), None).await;
    for password in ["", &"x".repeat(PASSWORD_BYTES_MAX + 1)] {
        assert!(matches!(check(&ca, &[&server.place], false, password).await, Verdict::Refused));
    }
    assert_eq!(server.binds.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nothing_is_said_in_plain_or_to_a_stranger() {
    let (ca, other) = (Ca::new(), Ca::new());
    let stranger = server(&other, "127.0.0.1", Act::Result(0), None).await;
    let why = unavailable(check(&ca, &[&stranger.place], false, "secret").await);
    assert!(why.contains("signed by nobody we trust"), "{why}");
    let misnamed = server(&ca, "ldap.example.com", Act::Result(0), None).await;
    let why = unavailable(check(&ca, &[&misnamed.place], false, "secret").await);
    assert!(why.contains("ldap.example.com"), "{why}");
    let plain = server(&ca, "127.0.0.1", Act::Plain, None).await;
    unavailable(check(&ca, &[&plain.place], false, "secret").await);
    unavailable(check(&ca, &[&plain.place], true, "secret").await);
    // Without TLS it will not do.
    let unwilling = server(&ca, "127.0.0.1", Act::Result(0), Some(2)).await;
    let why = unavailable(check(&ca, &[&unwilling.place], true, "secret").await);
    assert!(why.contains("result 2"), "{why}");
    for server in [&stranger, &misnamed, &plain, &unwilling] {
        assert_eq!(server.binds.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn servers_that_do_not_say_are_passed_over_and_one_that_says_no_is_believed() {
    let ca = Ca::new();
    let good = server(&ca, "127.0.0.1", Act::Result(0), None).await;
    let no = server(&ca, "127.0.0.1", Act::Result(49), None).await;
    let nobody = nobody().await;
    for act in [
        Act::Result(52),
        Act::Close,
        Act::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Act::Bytes(b"\x30\x84\x7f\xff\xff\xff"),
        Act::Bytes(b"\x30\x0c\x02\x01\x09\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
        Act::Bytes(b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00"),
    ] {
        let bad = server(&ca, "127.0.0.1", act, None).await;
        let verdict = check(&ca, &[&nobody, &bad.place, &good.place], false, "secret").await;
        assert!(matches!(verdict, Verdict::Good(_)), "{act:?}: {verdict:?}");
        unavailable(check(&ca, &[&bad.place, &nobody], false, "secret").await);
    }
    assert!(matches!(check(&ca, &[&no.place, &good.place], false, "secret").await, Verdict::Refused));
}

#[tokio::test]
async fn a_silent_server_costs_its_time_and_no_more() {
    let ca = Ca::new();
    let silent = server(&ca, "127.0.0.1", Act::Silent, None).await;
    let good = server(&ca, "127.0.0.1", Act::Result(0), None).await;
    let start = std::time::Instant::now();
    assert!(matches!(check(&ca, &[&silent.place, &good.place], false, "secret").await, Verdict::Good(_)));
    let took = start.elapsed();
    assert!((LDAP_SERVER_WITHIN..CHECK_WITHIN).contains(&took), "{took:?}");
}

#[test]
fn values_are_escaped() {
    for (value, expected) in [
        ("alice", "alice"),
        ("müller", "müller"),
        ("a,dc=evil", "a\\,dc\\=evil"),
        ("a+b\"c\\d<e>f;g", "a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
        ("#a#", "\\#a#"),
        (" a b ", "\\ a b\\ "),
        (" ", "\\ "),
        ("a\0b", "a\\00b"),
        ("a\u{85}", "a\\c2\\85"),
    ] {
        assert_eq!(escaped(value), expected);
    }
}
