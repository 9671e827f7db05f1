use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;

/// Records in wire form: type, time to live, data.
type Zone = BTreeMap<(&'static str, u16), Vec<(u16, u32, Vec<u8>)>>;

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).expect("short"));
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    [&priority.to_be_bytes()[..], &weight.to_be_bytes(), &port.to_be_bytes(), &wire_name(target)].concat()
}

fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [&order.to_be_bytes()[..], &[0, 9], &text("s"), &text(service), &text(""), &wire_name(replacement)].concat()
}

fn zone() -> Zone {
    let big = (0..80).map(|index: u16| (33, 60, srv(index, 1, 5060, "node.with.a.long.name.big.example"))).collect();
    BTreeMap::from([
        (("pbx.example", 35), vec![(35, 600, naptr(10, "SIPS+D2T", "_sips._tcp.pbx.example"))]),
        (("_sips._tcp.pbx.example", 33), vec![(33, 300, srv(1, 2, 5061, "a.pbx.example"))]),
        (("a.pbx.example", 1), vec![(1, 0, vec![192, 0, 2, 1]), (1, 30, vec![192, 0, 2, 2])]),
        (("a.pbx.example", 28), vec![(28, 60, std::net::Ipv6Addr::LOCALHOST.octets().to_vec())]),
        (("alias.example", 1), vec![(5, 20, wire_name("a.pbx.example")), (1, 60, vec![192, 0, 2, 9])]),
        (("_sip._tcp.big.example", 33), big),
    ])
}

/// What the server says to one question. An alias' address is filed under the alias' target.
fn reply(zone: &Zone, question: &[u8], udp: bool) -> Vec<u8> {
    let mut at = 12;
    let mut labels = Vec::new();
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).into_owned());
        at += 1 + length;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let found = zone.iter().find(|((known, of), _)| *known == name && *of == kind).map(|(_, records)| records.clone());
    let exists = zone.keys().any(|(known, _)| *known == name);
    let code = match name.as_str() {
        "broken.example" => 2,
        _ if exists => 0,
        _ => 3,
    };
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&question[12..at + 5]);
    let records = found.unwrap_or_default();
    let mut owner = wire_name(&name);
    for (kind, ttl, data) in &records {
        out.extend_from_slice(&owner);
        out.extend_from_slice(&[&kind.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes()].concat());
        out.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
        out.extend_from_slice(data);
        if *kind == 5 {
            owner = data.clone();
        }
    }
    out[6..8].copy_from_slice(&u16::try_from(records.len()).expect("few").to_be_bytes());
    if udp && out.len() > 1_232 {
        out.truncate(1_232);
        out[2] |= 0x02;
    }
    out
}

/// A name server on loopback, over UDP and TCP, which first drops so many datagrams.
async fn server(mut drops: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("bound");
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            counted.fetch_add(1, Ordering::SeqCst);
            if drops > 0 {
                drops -= 1;
                continue;
            }
            // A forger's answer comes first: it is not taken.
            let mut forged = reply(&zone(), &buffer[..length], true);
            forged[0] ^= 0xff;
            let _ = udp.send_to(&forged, peer).await;
            let _ = udp.send_to(&reply(&zone(), &buffer[..length], true), peer).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap_or(0);
            let mut question = vec![0; usize::from(length)];
            let _ = stream.read_exact(&mut question).await;
            let answer = reply(&zone(), &question, false);
            let _ = stream.write_u16(u16::try_from(answer.len()).expect("short")).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    (address, asked)
}

async fn ask_for(resolver: &Resolver, name: &str, kind: RecordKind) -> DnsAnswer {
    resolver.answer(&DnsQuery { name: name.to_owned(), kind }).await
}

#[tokio::test]
async fn every_kind_of_record_comes_with_its_time_to_live() {
    let (address, _) = server(0).await;
    let resolver = Resolver::new(vec![address]);
    let DnsAnswer::Naptr { records, ttl } = ask_for(&resolver, "pbx.example", RecordKind::Naptr).await else {
        panic!()
    };
    assert_eq!((records[0].service.as_str(), ttl.as_secs()), ("SIPS+D2T", 600));
    assert_eq!(records[0].replacement, "_sips._tcp.pbx.example");
    let service = ask_for(&resolver, "_sips._tcp.pbx.example", RecordKind::Srv).await;
    let DnsAnswer::Srv { records, ttl } = service else { panic!() };
    assert_eq!((records[0].target.as_str(), records[0].port, ttl.as_secs()), ("a.pbx.example", 5061, 300));
    let found = ask_for(&resolver, "a.pbx.example", RecordKind::Addresses).await;
    let DnsAnswer::Addresses { addresses, ttl } = found else { panic!() };
    assert_eq!(addresses.len(), 3);
    assert_eq!(ttl, Duration::ZERO, "the shortest, and zero is zero");
    let found = ask_for(&resolver, "alias.example", RecordKind::Addresses).await;
    let DnsAnswer::Addresses { addresses, ttl } = found else { panic!() };
    assert_eq!((addresses, ttl.as_secs()), (vec!["192.0.2.9".parse().expect("v4")], 20), "the alias counts, too");
}

#[tokio::test]
async fn nothing_and_failure_are_two_things() {
    let (address, _) = server(0).await;
    let resolver = Resolver::new(vec![address]);
    for kind in [RecordKind::Naptr, RecordKind::Srv, RecordKind::Addresses] {
        assert_eq!(ask_for(&resolver, "gone.example", kind).await, DnsAnswer::Nothing, "no such name");
    }
    assert_eq!(ask_for(&resolver, "pbx.example", RecordKind::Srv).await, DnsAnswer::Nothing, "no such record");
    let broken = ask_for(&resolver, "broken.example", RecordKind::Srv).await;
    assert!(matches!(&broken, DnsAnswer::Failed { why } if why.contains("error 2")), "{broken:?}");
    let dead = Resolver::new(vec!["127.0.0.1:1".parse().expect("address")]);
    let answer = ask_for(&dead, "pbx.example", RecordKind::Addresses).await;
    assert!(matches!(&answer, DnsAnswer::Failed { why } if why.contains("127.0.0.1:1")), "{answer:?}");
    let odd = ask_for(&resolver, "a..b", RecordKind::Srv).await;
    assert!(matches!(odd, DnsAnswer::Failed { .. }));
}

#[tokio::test]
async fn a_lost_datagram_and_a_dead_server_are_overcome() {
    let (address, asked) = server(1).await;
    let resolver = Resolver::new(vec!["127.0.0.1:1".parse().expect("address"), address]);
    let answer = ask_for(&resolver, "_sips._tcp.pbx.example", RecordKind::Srv).await;
    assert!(matches!(answer, DnsAnswer::Srv { .. }), "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_asked_for_over_tcp() {
    let (address, _) = server(0).await;
    let answer = ask_for(&Resolver::new(vec![address]), "_sip._tcp.big.example", RecordKind::Srv).await;
    let DnsAnswer::Srv { records, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(records.len(), 80);
}

#[test]
fn files_of_the_system_are_read_as_they_are_written() {
    let servers = servers_in(
        "# a comment\nnameserver 10.0.0.2\nsearch example.com\nnameserver\t2001:db8::2 \n\
                              nameserver nonsense\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
    );
    let expected: Vec<SocketAddr> =
        ["10.0.0.2:53", "[2001:db8::2]:53", "10.0.0.3:53"].map(|one| one.parse().expect("address")).to_vec();
    assert_eq!(servers, expected);
    let hosts = "127.0.0.1 localhost\n::1 localhost # PBX.example\n10.0.0.5 pbx PBX.example.\n";
    assert_eq!(in_hosts(hosts, "pbx.example"), ["10.0.0.5".parse::<IpAddr>().expect("v4")]);
    assert_eq!(in_hosts(hosts, "localhost").len(), 2);
    assert!(in_hosts(hosts, "example").is_empty());
}
