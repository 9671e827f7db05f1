use std::net::Ipv6Addr;

use edgeway_model::Secret;
use edgeway_model::sign_in::{Deployment, DigestSecret, Profile, Subject, TokenProof, UserName};
use proptest::prelude::*;

use super::*;
use crate::limits::{SESSION_NAMES_MAX, SESSION_SERVERS_MAX, TOKEN_KEYS_MAX};

fn session() -> Session {
    let user = UserName::new("alice").expect("legal");
    Session {
        subject: Subject { deployment: Deployment::default_one(), user },
        until_ms: 1_700_028_800_000,
        since_ms: 1_700_000_000_000,
        verifier: Some(Secret::new([5; 32])),
        digests: vec![DigestSecret {
            user: "Alice".into(),
            realm: "example.com".into(),
            md5: Secret::new([6; 16]),
            sha256: Secret::new([7; 32]),
        }],
        tokens: vec![TokenProof {
            hash: Secret::new([8; 32]),
            since_ms: 1_700_000_000_000,
            until_ms: 1_700_003_600_000,
        }],
        devices: Some(vec!["CSFALICE".into()]),
        numbers: vec!["10001".into(), "alice".into()],
        profile: Profile { uds_servers: vec!["cucm1.example.com".into()], im_servers: Vec::new() },
    }
}

fn samples() -> Vec<Frame> {
    let v4 = SocketAddr::from(([203, 0, 113, 7], 5_061));
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 40_000);
    vec![
        Frame::Hello(Hello {
            version: 1,
            version_min: 1,
            node: NodeId::new("core1").expect("legal"),
            role: Role::Core,
            boot: 7,
            wall_ms: 1_700_000_000_000,
            stun_keepalive: true,
            contact: "10.0.0.5:5060".into(),
            domains: vec!["example.com".into(), "例え.jp".into()],
        }),
        Frame::Keepalive {
            sequence: 9,
            wall_ms: 1,
            load: Load { registrations: 3, calls: 1, stranded: true, draining: true },
        },
        Frame::KeepaliveAnswer { sequence: 9, wall_ms: 2 },
        Frame::FromClient { flow: FlowId(77), peer: v6, sip: Bytes::from_static(b"OPTIONS") },
        Frame::ToClient { sip: Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n") },
        Frame::FlowClosed { flow: FlowId(77) },
        Frame::FlowMoved { flow: FlowId(78) },
        Frame::GrantPorts { address: v4.ip(), pairs: vec![PortPair { rtp: 36_000 }, PortPair { rtp: 36_002 }] },
        Frame::SetRelay(RelayRule {
            relay: RelayId(5),
            ports: PortPair { rtp: 36_000 },
            call: 3,
            flow: FlowId(77),
            described: Some((v4, v6)),
            srtp: true,
            mux: true,
            carriage: Carriage::Rtp,
        }),
        Frame::SetRelay(RelayRule {
            relay: RelayId(6),
            ports: PortPair { rtp: 36_002 },
            call: 3,
            flow: FlowId(78),
            described: None,
            srtp: false,
            mux: false,
            carriage: Carriage::Datagrams,
        }),
        Frame::CloseRelay { relay: RelayId(5), ports: PortPair { rtp: 36_000 } },
        Frame::Synchronised,
        Frame::ClientSilent { relay: RelayId(5) },
        Frame::Services { https_port: 8_443, xmpp_port: 0 },
        Frame::EdgeSettings { revision: 7, committed_ms: 1_764_000_000_000, text: "[limits]\nflows_max = 5\n".into() },
        Frame::EdgeSettingsOutcome { revision: 7, refused: Some("limits.flows_max is 0".into()) },
        Frame::EdgeSettingsOutcome { revision: 8, refused: None },
        Frame::TokenKeys(vec![TokenKey { id: [1; 8], public: [2; 32] }, TokenKey { id: [3; 8], public: [4; 32] }]),
        Frame::SignedIn(session().into()),
        Frame::Identity(Identity {
            edge: NodeId::new("edge1").expect("legal"),
            boot: 9,
            flow: FlowId(77),
            deployment: Deployment::default_one(),
            aors: vec!["alice@example.com".into()],
        }),
        Frame::Revoked(Revocation { subject: session().subject, before_ms: 1_700_000_000_000 }),
    ]
}

#[test]
fn every_frame_survives_the_wire_cut_at_every_byte() {
    let all: Vec<u8> = samples().iter().flat_map(|frame| frame.encode().to_vec()).collect();
    for cut in 0..all.len() {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for part in [&all[..cut], &all[cut..]] {
            decoder.push(Bytes::copy_from_slice(part));
            while let Some(frame) = decoder.poll_frame().expect("our own frames are legal") {
                got.push(frame);
            }
        }
        assert_eq!(got, samples(), "cut at {cut}");
    }
}

#[test]
fn a_frame_over_the_bound_is_refused_before_it_is_kept() {
    let mut decoder = Decoder::default();
    decoder.push(Bytes::from_static(&[0xff, 0, 0, 0, 1]));
    assert!(matches!(decoder.poll_frame(), Err(FrameFault::TooLong(_))));
}

#[test]
fn illegal_fields_are_named() {
    let cases: [(&[u8], FrameFault); 4] = [
        (&[99], FrameFault::UnknownKind(99)),
        (&[FLOW_CLOSED, 0], FrameFault::Length(FLOW_CLOSED)),
        (&[CLOSE_RELAY, 0, 0, 0, 1, 0, 3], FrameFault::Field("port pair")),
        (&[GRANT_PORTS, 5], FrameFault::Field("address family")),
    ];
    for (bytes, fault) in cases {
        assert_eq!(Frame::decode(Bytes::from_static(bytes)), Err(fault));
    }
}

/// Frames whose payload ends in a message or a list take every byte there is.
fn is_open_ended(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::FromClient { .. }
            | Frame::ToClient { .. }
            | Frame::GrantPorts { .. }
            | Frame::EdgeSettings { .. }
            | Frame::EdgeSettingsOutcome { .. }
    )
}

#[test]
fn a_later_version_may_add_fields() {
    for frame in samples().into_iter().filter(|frame| !is_open_ended(frame)) {
        let mut bytes = frame.encode().slice(4..).to_vec();
        bytes.extend_from_slice(b"something new");
        assert_eq!(Frame::decode(Bytes::from(bytes)), Ok(frame));
    }
}

#[test]
fn a_later_version_may_add_kinds() {
    let mut bytes = Vec::new();
    for (index, frame) in samples().into_iter().enumerate() {
        bytes.extend_from_slice(&[0, 0, 0, 3, 200 + u8::try_from(index).expect("few"), 1, 2]);
        bytes.extend_from_slice(&frame.encode());
    }
    for cut in 0..bytes.len() {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            decoder.push(Bytes::copy_from_slice(part));
            while let Some(frame) = decoder.poll_frame().expect("legal") {
                got.push(frame);
            }
        }
        assert_eq!((got, decoder.unknown()), (samples(), samples().len() as u64), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_never_grow(chunks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let mut decoder = Decoder::default();
        for chunk in chunks {
            decoder.push(Bytes::from(chunk));
            loop {
                match decoder.poll_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            prop_assert!(decoder.partial.len() <= LINK_FRAME_BYTES_MAX + 4);
        }
    }

    #[test]
    fn a_mutated_frame_decodes_or_is_refused(index in 0_usize..18, at in 0_usize..200, value in any::<u8>()) {
        let mut bytes = samples()[index].encode().slice(4..).to_vec();
        let len = bytes.len();
        bytes[at % len] = value;
        if let Ok(frame) = Frame::decode(Bytes::from(bytes)) {
            let again = Frame::decode(frame.encode().slice(4..));
            prop_assert_eq!(again, Ok(frame));
        }
    }
}

#[test]
fn what_later_versions_know_is_not_said_to_older_ones_and_a_session_never_to_an_edge() {
    let mut said = Vec::new();
    for frame in samples() {
        for (version, role) in [(0, Role::Core), (1, Role::Core), (2, Role::Core), (3, Role::Core), (3, Role::Edge)] {
            let to_peer = frame.encode_for(version, role);
            let is_new = matches!(
                frame,
                Frame::Services { .. }
                    | Frame::TokenKeys(_)
                    | Frame::SignedIn(_)
                    | Frame::Identity(_)
                    | Frame::Revoked(_)
                    | Frame::FlowMoved { .. }
                    | Frame::EdgeSettings { .. }
                    | Frame::EdgeSettingsOutcome { .. }
            );
            let is_secret = matches!(frame, Frame::SignedIn(_) | Frame::Identity(_));
            let expected = version >= if is_new { 3 } else { 1 } && !(is_secret && role == Role::Edge);
            assert_eq!(to_peer.is_some(), expected, "{frame:?} to {role} of version {version}");
            said.extend(to_peer.filter(|_| role == Role::Edge));
        }
    }
    let secrets: [&[u8]; 3] = [&[5; 32], &[6; 16], &[7; 32]];
    for secret in secrets {
        assert!(said.iter().all(|bytes| !bytes.windows(secret.len()).any(|window| window == secret)));
    }
}

#[test]
fn a_session_of_the_largest_size_fits_a_frame_and_more_is_refused() {
    let long = || "x".repeat(crate::limits::STRING_BYTES_MAX);
    let many = |most: usize| (0..=most).map(|_| long()).collect::<Vec<_>>();
    let mut large = session();
    (large.devices, large.numbers) = (Some(many(SESSION_NAMES_MAX)), many(SESSION_NAMES_MAX));
    (large.profile.uds_servers, large.profile.im_servers) = (many(SESSION_SERVERS_MAX), many(SESSION_SERVERS_MAX));
    let bytes = Frame::SignedIn(large.into()).encode().slice(4..);
    assert!(bytes.len() <= LINK_FRAME_BYTES_MAX);
    let Ok(Frame::SignedIn(read)) = Frame::decode(bytes) else { panic!("our own frame is legal") };
    assert_eq!(
        (read.devices.as_ref().map_or(0, Vec::len), read.profile.im_servers.len()),
        (SESSION_NAMES_MAX, SESSION_SERVERS_MAX)
    );
    let too_many = [TOKEN_KEYS, u8::try_from(TOKEN_KEYS_MAX).expect("few") + 1];
    assert_eq!(Frame::decode(Bytes::copy_from_slice(&too_many)), Err(FrameFault::Field("number of keys")));
    let nobody = [REVOKED, 0, 1, b'd', 0, 0];
    assert_eq!(Frame::decode(Bytes::copy_from_slice(&nobody)), Err(FrameFault::Field("user name")));
}
