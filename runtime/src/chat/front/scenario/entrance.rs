//! From the first byte to a core.

use edgeway_model::chat::ChatEnd;
use tokio::io::AsyncReadExt as _;

use super::rig::{AUTH, CLOSE, Client, HEADER, Pipe, Rig, SERVER, STARTTLS, SUCCESS, run};

#[test]
fn a_client_comes_in_by_starttls_and_reaches_a_core() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        client.send(HEADER).await;
        let greeting = client.until("</stream:features>").await;
        let id = greeting.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
        assert_eq!(id.len(), 32);
        assert_eq!(
            greeting,
            format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams' from='example.com' id='{id}' version='1.0' \
                 xml:lang='en'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
                 </stream:features>"
            )
        );
        // A client in use sends such an attribute.
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' cookie='0'/>").await;
        client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        let mut client = rig.secure(client.into_tcp(), "edge.example.com", &[]).await.expect("TLS");
        client.send(HEADER).await;
        let core = rig.core().await;
        assert_eq!((core.opening.domain.as_str(), core.key.as_str()), ("example.com", "127.0.0.1"));
        assert_eq!(core.hears(HEADER.len()).await, HEADER, "it goes inside as it is");
        core.says(SERVER);
        client.until(SERVER).await;
        client.send(AUTH).await;
        assert_eq!(core.hears(AUTH.len()).await, AUTH);
        core.stream.signed_in();
        core.says(SUCCESS);
        client.until(SUCCESS).await;
        client.send(HEADER).await;
        assert_eq!(core.hears(HEADER.len()).await, HEADER);
        core.says(SERVER);
        client.until(SERVER).await;
        rig.until("it has signed in", |rig| rig.counted("chat_signed_in") == 1).await;
        client.send("<message><body>one</body></message>").await;
        assert_eq!(core.hears(35).await, "<message><body>one</body></message>");
        core.says("<message><body>two</body></message>");
        client.until("<message><body>two</body></message>").await;
        client.send(CLOSE).await;
        assert_eq!(core.hears_out().await, (CLOSE.to_owned(), ChatEnd::Closed));
        core.says(CLOSE);
        core.stream.end(ChatEnd::Closed);
        assert_eq!(client.rest().await, CLOSE);
        assert_eq!(rig.offences(), []);
    });
}

#[test]
fn white_space_that_crosses_the_success_of_a_sign_in_is_no_offence() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        client.send(AUTH).await;
        assert_eq!(core.hears(AUTH.len()).await, AUTH);
        core.stream.signed_in();
        core.says(SUCCESS);
        client.until(SUCCESS).await;
        client.send(&format!("\n {HEADER}")).await;
        assert_eq!(core.hears(HEADER.len() + 2).await, format!("\n {HEADER}"));
        core.says(SERVER);
        client.until(SERVER).await;
        assert_eq!(rig.offences(), []);
    });
}

#[test]
fn a_stream_in_single_bytes_and_one_with_white_space_mean_the_same() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        for byte in HEADER.bytes() {
            client.send_bytes(&[byte]).await;
        }
        client.until("</stream:features>").await;
        client.send(&format!("\n {STARTTLS}")).await;
        client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        let mut client = rig.secure(client.into_tcp(), "edge.example.com", &[]).await.expect("TLS");
        for byte in HEADER.bytes() {
            client.send_bytes(&[byte]).await;
        }
        assert_eq!(rig.core().await.hears(HEADER.len()).await, HEADER);
        // What follows the header at once goes on with it.
        let mut client = rig.behind_tls().await;
        client.send(&format!("{HEADER}\n{AUTH}")).await;
        assert_eq!(rig.core().await.hears(HEADER.len() + 1 + AUTH.len()).await, format!("{HEADER}\n{AUTH}"));
    });
}

#[test]
fn the_same_user_asks_for_the_same_core() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.behind_tls().await;
        client.send(&HEADER.replace(" to=", " from='Alice@Example.com/phone' to=")).await;
        let core = rig.core().await;
        assert_eq!(core.key, "alice@example.com");
        assert!(core.opening.client.ip().is_loopback() && core.opening.number > 0);
    });
}

#[test]
fn the_certificate_is_that_of_the_name_that_is_asked_for() {
    run(async {
        let rig = Rig::start();
        for name in ["edge.example.com", "chat.example.org"] {
            // A client checks it: with the other one there is no TLS.
            let tcp = rig.connect_direct().await;
            rig.secure(tcp, name, &[b"xmpp-client"]).await.expect("direct TLS");
            let mut client = rig.connect().await;
            client.send(&format!("{HEADER}{STARTTLS}")).await;
            client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            rig.secure(client.into_tcp(), name, &[]).await.expect("STARTTLS");
        }
        let tcp = rig.connect_direct().await;
        assert!(rig.secure(tcp, "other.example.net", &[]).await.is_err(), "no certificate has this name");
    });
}

#[test]
fn direct_tls_is_for_chat_alone() {
    run(async {
        let rig = Rig::start();
        for alpn in [&[&b"xmpp-client"[..]][..], &[], &[b"h2", b"xmpp-client"]] {
            let tcp = rig.connect_direct().await;
            let mut client = rig.secure(tcp, "edge.example.com", alpn).await.expect("TLS");
            let Pipe::Tls(stream) = &client.pipe else { panic!("TLS") };
            let agreed = (!alpn.is_empty()).then_some(&b"xmpp-client"[..]);
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
            client.send(HEADER).await;
            assert_eq!(rig.core().await.hears(HEADER.len()).await, HEADER);
        }
        for alpn in [&[&b"h2"[..]][..], &[b"http/1.1", b"xmpp-server"]] {
            let tcp = rig.connect_direct().await;
            assert!(rig.secure(tcp, "edge.example.com", alpn).await.is_err(), "{alpn:?} is something else");
        }
        rig.until("they are counted", |rig| rig.counted("chat_handshake_failed") == 2).await;
        assert!(!rig.has_reached_a_core());
    });
}

/// What a client that says this before TLS is told, from the edge's header on.
async fn refused(rig: &Rig, said: &str) -> String {
    let mut client = rig.connect().await;
    client.send(said).await;
    let told = client.rest().await;
    let (greeting, error) = told.split_once("<stream:error>").unwrap_or_else(|| panic!("{said}: {told}"));
    assert!(greeting.starts_with("<?xml version='1.0'?><stream:stream "), "{said}: {told}");
    assert!(error.ends_with("</stream:error></stream:stream>"), "{said}: {told}");
    assert!(!rig.has_reached_a_core());
    error.split(['<', ' ']).nth(1).unwrap_or_default().to_owned()
}

#[test]
fn whatever_comes_with_starttls_is_not_what_comes_behind_tls() {
    run(async {
        let rig = Rig::start();
        for smuggled in [HEADER, AUTH, " ", "\n", "x", "\u{16}\u{3}\u{1}"] {
            assert_eq!(
                refused(&rig, &format!("{HEADER}{STARTTLS}{smuggled}")).await,
                "policy-violation",
                "{smuggled:?}"
            );
        }
        let offences = rig.offences();
        assert_eq!(offences.len(), 6);
    });
}

#[test]
fn before_tls_there_is_nothing_but_tls() {
    run(async {
        let rig = Rig::start();
        let cases = [
            (AUTH, "policy-violation"),
            ("<message to='a@b'><body>x</body></message>", "not-authorized"),
            ("<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>", "not-authorized"),
            (
                "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
                "unsupported-feature",
            ),
            ("<starttls/>", "unsupported-feature"),
            ("<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>", "unsupported-feature"),
        ];
        for (said, condition) in cases {
            assert_eq!(refused(&rig, &format!("{HEADER}{said}")).await, condition, "{said}");
        }
    });
}

#[test]
fn a_header_that_is_none_of_ours_is_told_so() {
    run(async {
        let rig = Rig::start();
        let cases = [
            (HEADER.replace(" to='example.com'", ""), "host-unknown"),
            (HEADER.replace("example.com", "a@example.com"), "host-unknown"),
            (HEADER.replace("example.com", &"a".repeat(1_024)), "host-unknown"),
            (HEADER.replace(" version='1.0'>", ">"), "unsupported-version"),
            (HEADER.replace(" version='1.0'>", " version='2.0'>"), "unsupported-version"),
            (HEADER.replace("jabber:client", "jabber:server"), "invalid-namespace"),
            (HEADER.replace("http://etherx.jabber.org/streams", "urn:other"), "invalid-namespace"),
            ("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), "not-well-formed"),
        ];
        for (header, condition) in cases {
            assert_eq!(refused(&rig, &header).await, condition, "{header}");
        }
    });
}

#[test]
fn the_same_holds_behind_tls() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.behind_tls().await;
        client.send(&HEADER.replace(" to='example.com'", "")).await;
        let told = client.rest().await;
        assert!(told.starts_with("<?xml") && told.contains("<host-unknown "), "{told}");
        assert!(!rig.has_reached_a_core());
    });
}

#[test]
fn without_a_core_a_client_is_told_so() {
    run(async {
        let rig = Rig::start();
        rig.lose_cores();
        let mut client = rig.behind_tls().await;
        client.send(HEADER).await;
        let told = client.rest().await;
        assert!(told.starts_with("<?xml version='1.0'?><stream:stream "), "{told}");
        assert!(told.contains("from='example.com'") && told.contains("<remote-connection-failed "), "{told}");
        assert!(told.ends_with(CLOSE));
        assert_eq!((rig.counted("chat_no_core"), rig.offences().len()), (1, 0));
    });
}

#[test]
fn a_client_may_leave_before_tls() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        client.send(&format!("{HEADER}{CLOSE}")).await;
        assert!(client.rest().await.ends_with("</stream:features></stream:stream>"));
        assert_eq!(rig.offences(), []);
    });
}

#[test]
fn what_is_no_tls_gets_an_alert() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        client.send(&format!("{HEADER}{STARTTLS}")).await;
        client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        client.send(HEADER).await;
        let mut alert = Vec::new();
        let Client { pipe: Pipe::Plain(mut tcp), .. } = client else { panic!("no TLS") };
        let _ = tcp.read_to_end(&mut alert).await;
        assert_eq!(alert.first(), Some(&21), "an alert (RFC 8446 §5.1)");
        assert_eq!(rig.counted("chat_handshake_failed"), 1);
    });
}
