//! The line side of the simulated call manager: it believes whoever speaks to it, and knows devices by name.

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::uc::{Role, SIP_PORT, SIP_TLS_PORT, UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::{LineFault, MediaSecurity, Phone, PhoneConfig, PhoneError, PhoneTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CUCM: &str = "cucm1.lab.example";
const SOON: Duration = Duration::from_secs(5);

fn cluster() -> UcCluster {
    let users = vec![UcUser::new("alice", "a-secret", "1001"), UcUser::new("bob", "b-secret", "1002")];
    let mut config = UcConfig::new("lab.example", users);
    config.nodes = vec![("cucm1".to_owned(), Role::CallManager, true)];
    UcCluster::start(config, &LabCa::new("UC test CA").expect("a CA")).expect("a cluster")
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Udp,
    Tcp,
    Tls,
}

fn phone(cluster: &UcCluster, way: Way, number: &str, device: Option<&str>) -> PhoneConfig {
    let address = cluster.address(CUCM).expect("a node");
    let server = SocketAddr::new(address, if matches!(way, Way::Tls) { SIP_TLS_PORT } else { SIP_PORT });
    let transport = match way {
        Way::Udp => PhoneTransport::Udp { server },
        Way::Tcp => PhoneTransport::Tcp { server },
        Way::Tls => PhoneTransport::Tls { server, name: CUCM.to_owned(), ca_pem: cluster.ca_pem().to_owned() },
    };
    let mut config = PhoneConfig::new(number, "never asked for", CUCM, transport);
    (config.device, config.security) = (device.map(str::to_owned), MediaSecurity::Plain);
    config.reconnect = false;
    config
}

#[tokio::test]
async fn known_devices_register_for_120_seconds_without_a_challenge_and_call_each_other() {
    for way in [Way::Udp, Way::Tcp, Way::Tls] {
        let cluster = cluster();
        let alice = Phone::register(phone(&cluster, way, "1001", Some("CSFALICE"))).await.expect("registered");
        let bob = Phone::register(phone(&cluster, way, "1002", Some("CSFBOB"))).await.expect("registered");
        assert_eq!(alice.refresh().await.expect("again"), 120, "{way:?}: 600 were asked for");
        assert_eq!(cluster.bindings(CUCM, "1002").await.len(), 1);
        let (out, inward) =
            tokio::join!(alice.call("sip:1002@cucm1.lab.example"), bob.answer_next(SOON, Duration::from_millis(10)));
        let (out, _inward) = (out.expect("answered"), inward.expect("offered"));
        out.hang_up().await.expect("over");
    }
}

#[tokio::test]
async fn devices_nobody_knows_and_numbers_of_others_are_refused() {
    let cluster = cluster();
    for (number, device, status) in
        [("1001", None, 404), ("1001", Some("CSFEVE"), 404), ("1002", Some("CSFALICE"), 403)]
    {
        let refused = Phone::register(phone(&cluster, Way::Tcp, number, device)).await.err();
        let got = match refused {
            Some(PhoneError::Refused { status, .. }) => status,
            other => panic!("{device:?} {number}: {other:?}"),
        };
        assert_eq!(got, status, "{device:?} {number}");
    }
    assert!(cluster.bindings(CUCM, "1002").await.is_empty());
    let refuses = Some((503, "Service Unavailable".to_owned(), "busy".to_owned()));
    cluster.line_fault(CUCM, LineFault { refuses, ..LineFault::default() });
    let refused = Phone::register(phone(&cluster, Way::Tcp, "1001", Some("CSFALICE"))).await.err();
    assert!(matches!(refused, Some(PhoneError::Refused { status: 503, .. })), "{refused:?}");
}

#[tokio::test]
async fn stun_between_sip_messages_is_answered_until_it_is_not() {
    let cluster = cluster();
    let server = SocketAddr::new(cluster.address(CUCM).expect("a node"), SIP_PORT);
    let mut stream = tokio::net::TcpStream::connect(server).await.expect("connected");
    let mut request = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    request.extend(0xa0..=0xab_u8);
    stream.write_all(&request).await.expect("written");
    let mut answer = [0; 32];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(answer[..2], [0x01, 0x01]);
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!(port, stream.local_addr().expect("connected").port());

    cluster.line_fault(CUCM, LineFault { deaf_to_stun: true, ..LineFault::default() });
    stream.write_all(&request).await.expect("written");
    // A ping behind it is answered, so the request was read.
    stream.write_all(b"\r\n\r\n").await.expect("written");
    let mut pong = [0; 2];
    tokio::time::timeout(SOON, stream.read_exact(&mut pong)).await.expect("in time").expect("an answer");
    assert_eq!(&pong, b"\r\n");
}
