//! What one packet costs in each engine: `cargo run --release -p edgeway-media --example packet_cost`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::time::Instant;

use edgeway_model::media::{Component, InsideRelay, OutsideSecurity, PortPair, SrtpKey};
use edgeway_model::{Moment, NodeId, Random, RelayId, Secret};

const PACKETS: u32 = 1_000_000;
/// G.711, 20 ms.
const PACKET_BYTES: usize = 172;

fn main() {
    let key = |byte| SrtpKey(Secret::new([byte; 30]));
    let described = ([10, 0, 0, 7], 5004).into();
    let rule = InsideRelay {
        peer: NodeId::new("edge1").expect("a legal name"),
        relay: RelayId(1),
        ports: PortPair { rtp: 36_000 },
        described: Some((described, ([10, 0, 0, 7], 5005).into())),
        outside: OutsideSecurity::Srtp { receive: Some(key(1)), send: key(1) },
    };
    let mut engine = edgeway_media::relay::InsideEngine::new(rule, Random::from_seed([1; 32]), Moment::ZERO);
    let mut packets = Vec::with_capacity(PACKETS as usize);
    let started = Instant::now();
    for n in 0..PACKETS {
        let mut buffer = [0u8; PACKET_BYTES + 10];
        buffer[0] = 0x80;
        buffer[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        let len = engine.handle_from_inside(Component::Rtp, described, &mut buffer, PACKET_BYTES).expect("it is sound");
        packets.push((buffer, len));
    }
    report("inside to link", started);
    let started = Instant::now();
    for (buffer, len) in &mut packets {
        let opened = engine.handle_from_link(Component::Rtp, 0, true, &mut buffer[..*len], Moment::ZERO);
        assert!(opened.outcome.is_ok());
    }
    report("link to inside", started);
}

#[allow(clippy::print_stdout, reason = "its output is the point")]
fn report(what: &str, started: Instant) {
    println!("{what}: {} ns a packet", started.elapsed().as_nanos() / u128::from(PACKETS));
}
