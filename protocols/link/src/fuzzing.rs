//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz target
//! and the property tests run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use bytes::Bytes;
use edgeway_model::limits::LINK_FRAME_BYTES_MAX;
use edgeway_model::{Moment, NodeId, Role};

use crate::engine::{Link, LinkEvent};
use crate::frame::{Decoder, Frame, Hello};
use crate::limits::{VERSION, VERSION_MIN};

/// Reads a stream of frames. It is cut the same way wherever the transport cut it, what is decoded
/// survives being encoded, and no more than one unfinished frame is kept. A link that is up takes the
/// same bytes and either stays up or fails with a reason, once.
pub fn link_frames(bytes: &[u8]) {
    let whole = decoded(&[bytes]);
    let middle = bytes.len() / 2;
    assert_eq!(whole, decoded(&[&bytes[..middle], &bytes[middle..]]), "the cut of the transport does not matter");
    for frame in &whole.0 {
        let again = frame.encode();
        assert_eq!(Frame::decode(again.slice(4..)).as_ref(), Ok(frame), "what was decoded can be encoded");
    }
    for role in [Role::Edge, Role::Core] {
        let mut link = greeted(role);
        link.handle_bytes(Bytes::copy_from_slice(bytes), Moment::from_secs(1));
        while link.poll_transmit().is_some() {}
        let events: Vec<_> = std::iter::from_fn(|| link.poll_event()).collect();
        let failures = events.iter().filter(|event| matches!(event, LinkEvent::Failed(_))).count();
        assert_eq!(failures, usize::from(!link.is_up()), "a link fails once, with a reason");
    }
}

/// The frames of a stream that came in these parts, and whether it could be followed to the end.
fn decoded(parts: &[&[u8]]) -> (Vec<Frame>, bool) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for part in parts {
        decoder.push(Bytes::copy_from_slice(part));
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
        assert!(decoder.kept_bytes() <= LINK_FRAME_BYTES_MAX + 4, "one unfinished frame at most");
    }
    (frames, true)
}

/// A core's link whose peer, of that role, has said hello.
fn greeted(role: Role) -> Link {
    let node = |name: &str| NodeId::new(name).expect("a legal name");
    let hello = |name: &str, role| Hello {
        version: VERSION,
        version_min: VERSION_MIN,
        node: node(name),
        role,
        boot: 1,
        wall_ms: 1,
        stun_keepalive: true,
        contact: String::new(),
        domains: Vec::new(),
    };
    let mut link = Link::new(hello("core1", Role::Core), node("peer"), role, None, Moment::from_secs(1));
    link.handle_bytes(Frame::Hello(hello("peer", role)).encode(), Moment::from_secs(1));
    while link.poll_transmit().is_some() {}
    while link.poll_event().is_some() {}
    link
}
