use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::tls::CertificateStore;
use http::Request;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::servers::{Act, Made, NameServer, OK, Server};
use crate::proxy::{ClientFault, HttpClient, Target, TlsFault, Trust};

const NOW: (i32, u8, u8) = (2020, 1, 1);
const LATER: (i32, u8, u8) = (2090, 1, 1);
const HOST: &str = "cucm1.example.com";

async fn ask(server: &Server, host: &str, trust: Trust) -> Result<(), ClientFault> {
    let names = NameServer::start(vec![vec![Ipv4Addr::LOCALHOST]]).await;
    let client = HttpClient::new(Resolver::new(vec![names.address]), trust, true);
    let target = Target { https: true, host: host.to_owned(), port: server.address.port() };
    let request = Request::get("/").body(Bytes::new()).expect("a request");
    let fetched = client.fetch(&target, request, 1024, Duration::from_secs(5)).await?;
    assert_eq!(&fetched.body[..], b"ok");
    Ok(())
}

/// Certificate, host, trusted file: what comes of it.
#[tokio::test]
async fn a_wrong_certificate_is_refused_with_its_reason_and_nothing_is_sent() {
    let (ours, others) = (Made::authority("ours"), Made::authority("others"));
    let wrong = |names: &str| Some(TlsFault::WrongName { wanted: HOST.to_owned(), names: names.to_owned() });
    let own = Made::self_signed_authority(&[HOST], LATER);
    let old = Made::self_signed_authority(&[HOST], (2021, 1, 1));
    let elsewhere = Made::self_signed_authority(&["cucm2.example.com"], LATER);
    let both = own.pem.clone() + &ours.pem;
    let (plain, star) = (ours.issue(&[HOST], NOW, LATER), ours.issue(&["*.example.com"], NOW, LATER));
    let cases: Vec<(&str, &Made, &str, &str, Option<TlsFault>)> = vec![
        ("signed", &plain, HOST, &ours.pem, None),
        ("a dot at the end", &plain, "cucm1.example.com.", &ours.pem, None),
        ("a star", &star, HOST, &ours.pem, None),
        ("nobody we trust", &plain, HOST, &others.pem, Some(TlsFault::UnknownAuthority)),
        ("listed itself", &own, HOST, &own.pem, None),
        ("listed among others", &own, HOST, &both, None),
        ("self-signed and not listed", &own, HOST, &ours.pem, Some(TlsFault::UnknownAuthority)),
        ("listed and expired", &old, HOST, &old.pem, Some(TlsFault::Expired)),
        ("listed for another name", &elsewhere, HOST, &elsewhere.pem, wrong("cucm2.example.com")),
    ];
    for (what, made, host, trusted, fault) in cases {
        let server = Server::tls(vec![Act::Say(OK.to_owned())], made.server()).await;
        let trust = Trust::in_pem(trusted.as_bytes(), None).expect("certificates");
        let result = ask(&server, host, trust).await;
        assert_eq!(result.err(), fault.clone().map(ClientFault::Tls), "{what}");
        let sent = if fault.is_some() { 0 } else { 1 };
        assert_eq!((server.requests().len(), server.connections()), (sent, 1), "{what}: never tried again as plain");
    }
    let issued = [
        ("expired", ours.issue(&[HOST], NOW, (2021, 1, 1)), Some(TlsFault::Expired)),
        ("not yet", ours.issue(&[HOST], (2080, 1, 1), LATER), Some(TlsFault::NotValidYet)),
        ("for others", ours.issue(&["a.example.com", "192.0.2.1"], NOW, LATER), wrong("a.example.com, 192.0.2.1")),
        ("for nobody", ours.issue(&[], NOW, LATER), wrong("nobody (it has no subject alternative name)")),
        ("a star for two labels", ours.issue(&["*.com"], NOW, LATER), wrong("*.com")),
    ];
    for (what, made, fault) in issued {
        let server = Server::tls(vec![Act::Say(OK.to_owned())], made.server()).await;
        let trust = Trust::in_pem(ours.pem.as_bytes(), None).expect("certificates");
        assert_eq!(ask(&server, HOST, trust).await.err(), fault.map(ClientFault::Tls), "{what}");
        assert_eq!(server.requests().len(), 0, "{what}");
        let server = Server::tls(vec![Act::Say(OK.to_owned())], made.server()).await;
        let anybody = Trust::anybody(None).expect("TLS");
        assert_eq!(ask(&server, HOST, anybody).await, Ok(()), "{what}: where the operator says so");
    }
}

#[tokio::test]
async fn an_address_is_compared_with_addresses() {
    let ours = Made::authority("ours");
    for (names, good) in [(["127.0.0.1"], true), (["127.0.0.2"], false), (["a.example"], false)] {
        let server = Server::tls(vec![Act::Say(OK.to_owned())], ours.issue(&names, NOW, LATER).server()).await;
        let trust = Trust::in_pem(ours.pem.as_bytes(), None).expect("certificates");
        assert_eq!(ask(&server, "127.0.0.1", trust).await.is_ok(), good, "{names:?}");
    }
}

#[tokio::test]
async fn our_own_certificate_is_shown_to_a_server_that_asks() {
    let ours = Made::authority("ours");
    let core = ours.issue(&["core.example.com"], NOW, LATER);
    let store = CertificateStore::from_pem(&core.pem, &core.key_pem()).expect("a pair");
    for (own, good) in [(Some(&store), true), (None, false)] {
        let config = ours.issue(&[HOST], NOW, LATER).server_asking(&ours);
        let server = Server::tls(vec![Act::Say(OK.to_owned())], config).await;
        let trust = Trust::in_pem(ours.pem.as_bytes(), own).expect("certificates");
        let result = ask(&server, HOST, trust).await;
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}

#[test]
fn a_file_without_certificates_is_told() {
    for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        assert!(Trust::in_pem(pem.as_bytes(), None).is_err(), "{pem:?}");
    }
    assert!(Trust::load(Some("/nonexistent/ca.pem"), "http.ca", None).is_err_and(|fault| {
        let words = fault.to_string();
        words.contains("/nonexistent/ca.pem") && words.contains("http.ca")
    }));
    let made = Made::authority("ours");
    let der = CertificateDer::from_pem_slice(made.pem.as_bytes()).expect("PEM");
    assert_eq!(der, made.der());
}
