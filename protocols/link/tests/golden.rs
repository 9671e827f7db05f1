//! The frames of version 1 as bytes, as the first release wrote them. They must be read the same for as
//! long as version 1 is understood, and a peer of version 1 must be sent nothing else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use edgeway_link::frame::{Frame, Hello, Load, RelayRule, Role};
use edgeway_model::media::{Carriage, PortPair};
use edgeway_model::{FlowId, NodeId, RelayId};

const GOLDEN: &str = include_str!("golden/version1.txt");

fn samples() -> Vec<(&'static str, Frame)> {
    let v4 = SocketAddr::from(([203, 0, 113, 7], 5_061));
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 40_000);
    let hello = |name: &str, role, contact: &str, domains: &[&str]| {
        Frame::Hello(Hello {
            version: 1,
            version_min: 1,
            node: NodeId::new(name).expect("legal"),
            role,
            boot: 7,
            wall_ms: 1_700_000_000_000,
            stun_keepalive: true,
            contact: contact.into(),
            domains: domains.iter().map(ToString::to_string).collect(),
        })
    };
    let ports = PortPair { rtp: 36_000 };
    let set = |described, srtp| {
        let (relay, flow, mux, carriage) = (RelayId(5), FlowId(77), false, Carriage::Rtp);
        Frame::SetRelay(RelayRule { relay, ports, call: 3, flow, described, srtp, mux, carriage })
    };
    vec![
        ("hello-core", hello("core1", Role::Core, "10.0.0.5:5060", &["example.com", "例え.jp"])),
        ("hello-edge", hello("edge1", Role::Edge, "edge.example.com:5061", &[])),
        (
            "keepalive",
            Frame::Keepalive {
                sequence: 9,
                wall_ms: 1,
                load: Load { registrations: 3, calls: 1, stranded: false, draining: false },
            },
        ),
        ("keepalive-answer", Frame::KeepaliveAnswer { sequence: 9, wall_ms: 2 }),
        ("from-client", Frame::FromClient { flow: FlowId(77), peer: v6, sip: Bytes::from_static(b"OPTIONS") }),
        ("to-client", Frame::ToClient { sip: Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n") }),
        ("flow-closed", Frame::FlowClosed { flow: FlowId(77) }),
        ("grant-ports", Frame::GrantPorts { address: v4.ip(), pairs: vec![ports, PortPair { rtp: 36_002 }] }),
        ("set-relay", set(Some((v4, v6)), true)),
        ("set-relay-bare", set(None, false)),
        ("close-relay", Frame::CloseRelay { relay: RelayId(5), ports }),
        ("client-silent", Frame::ClientSilent { relay: RelayId(5) }),
        ("synchronised", Frame::Synchronised),
    ]
}

fn golden() -> BTreeMap<&'static str, Bytes> {
    let line = |line: &'static str| {
        let (name, hex) = line.split_once(' ').expect("a name and bytes");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (name, (0..hex.len()).step_by(2).map(byte).collect())
    };
    GOLDEN.lines().map(line).collect()
}

#[test]
fn version_1_is_read_as_it_was_written() {
    let golden = golden();
    assert_eq!(golden.len(), samples().len());
    for (name, frame) in samples() {
        assert_eq!(Frame::decode(golden[name].slice(4..)), Ok(frame), "{name}");
    }
}

#[test]
fn a_peer_of_version_1_is_sent_version_1() {
    let golden = golden();
    for (name, frame) in samples() {
        let sent = frame
            .encode_for(1, Role::Core)
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let known: String = golden[name].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sent, Some(known), "{name}");
    }
}

type Target = fn(&[u8]);

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads the committed corpus")]
fn the_corpora_of_the_fuzz_targets_hold() {
    let targets: [(_, Target); 2] =
        [("link_frames", edgeway_link::fuzzing::link_frames), ("chat_frames", edgeway_link::fuzzing::chat_frames)];
    for (name, target) in targets {
        let corpus = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).expect("the corpus is committed") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
            target(&bytes);
            inputs += 1;
        }
        assert!(inputs > 10, "only {inputs} inputs of {name}");
    }
}
