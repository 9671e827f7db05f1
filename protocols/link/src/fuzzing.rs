//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz target
//! and the property tests run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeway_model::chat::ChatEnd;
use edgeway_model::limits::LINK_FRAME_BYTES_MAX;
use edgeway_model::{Moment, NodeId, Role};

use crate::chat::{ChatDecoder, ChatEvent, ChatFrame, ChatMux};
use crate::engine::{Link, LinkEvent};
use crate::frame::{Decoder, Frame, Hello};
use crate::limits::{CHAT_DATA_BYTES_MAX, CHAT_FRAME_COST_BYTES, CHAT_WINDOW_BYTES_MIN, VERSION, VERSION_MIN};

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

/// Reads what comes on a chat carrier, as either end. It is cut the same way wherever the transport cut it, what is decoded survives being
/// encoded, and no more than one unfinished frame is kept. An end takes the same bytes and goes on or fails once, tells of each stream what may be
/// told, and keeps both ways to the windows that were given. Every third piece is read, and every fifth stream ended, meanwhile.
pub fn chat_frames(bytes: &[u8]) {
    let whole = chat_decoded(&[bytes]);
    let middle = bytes.len() / 2;
    assert_eq!(whole, chat_decoded(&[&bytes[..middle], &bytes[middle..]]), "the cut of the transport does not matter");
    for frame in &whole.0 {
        let mut again = Vec::new();
        frame.encode(&mut again);
        let decoded = ChatDecoder::default().poll_frame(&mut &*again);
        assert_eq!(decoded.as_ref(), Ok(&Some(frame.clone())), "what was decoded can be encoded");
    }
    for role in [Role::Edge, Role::Core] {
        chat_end(role, bytes);
    }
}

/// What is known of one stream beside the end that is tried.
struct Counted {
    /// What the other end may send, and has sent.
    inward: (u64, u64),
    /// What this end may send, and has sent.
    outward: (u64, u64),
    signed_in: bool,
    /// The other end has ended its side, or this one has.
    theirs: bool,
    ours: bool,
}

impl Counted {
    fn new() -> Self {
        let window = (u64::from(CHAT_WINDOW_BYTES_MIN), 0);
        Self { inward: window, outward: window, signed_in: false, theirs: false, ours: false }
    }
}

fn chat_cost(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + u64::from(CHAT_FRAME_COST_BYTES)
}

/// What an end has to say is whole frames, of streams that are there, within their windows.
fn chat_said(mux: &mut ChatMux, streams: &mut BTreeMap<u32, Counted>) {
    let (frames, followed) = chat_decoded(&[mux.outgoing()]);
    assert!(followed, "frames are said");
    mux.handle_sent(mux.outgoing().len());
    for frame in frames {
        match frame {
            ChatFrame::Open { stream, .. } => assert!(streams.insert(stream, Counted::new()).is_none(), "once"),
            ChatFrame::Data { stream, bytes } => {
                let stream = streams.get_mut(&stream).expect("a stream that is there");
                stream.outward.1 += chat_cost(&bytes);
                assert!(!stream.ours && stream.outward.1 <= stream.outward.0, "within its window, before its end");
            }
            ChatFrame::Credit { stream, bytes } => {
                streams.get_mut(&stream).expect("a stream that is there").inward.0 += u64::from(bytes);
            }
            ChatFrame::End { stream, .. } => streams.get_mut(&stream).expect("a stream that is there").ours = true,
            ChatFrame::SignedIn { .. } | ChatFrame::SignInRefused { .. } | ChatFrame::Leaving => {
                panic!("nobody has asked for it")
            }
            ChatFrame::Ping | ChatFrame::Pong => {}
        }
    }
}

fn chat_end(role: Role, bytes: &[u8]) {
    let now = Moment::from_secs(1);
    let mut mux = ChatMux::new(role, now);
    if role == Role::Edge {
        let client = "192.0.2.1:5000".parse().expect("an address");
        let opening = edgeway_model::chat::ChatOpening { number: 1, client, domain: "example.com".to_owned() };
        for number in 1..=3 {
            assert_eq!(mux.open(&opening, now), Ok(number));
        }
    }
    let (mut streams, mut heard) = (BTreeMap::new(), ChatDecoder::default());
    let (mut failed, mut pieces) = (0, 0);
    for part in bytes.chunks(17) {
        chat_said(&mut mux, &mut streams);
        let mut rest = part;
        while let Ok(Some(frame)) = heard.poll_frame(&mut rest) {
            match frame {
                ChatFrame::Open { stream, .. } => drop(streams.entry(stream).or_insert_with(Counted::new)),
                ChatFrame::Credit { stream, bytes } => {
                    if let Some(stream) = streams.get_mut(&stream) {
                        stream.outward.0 += u64::from(bytes);
                    }
                }
                ChatFrame::Data { .. }
                | ChatFrame::SignedIn { .. }
                | ChatFrame::SignInRefused { .. }
                | ChatFrame::End { .. }
                | ChatFrame::Ping
                | ChatFrame::Pong
                | ChatFrame::Leaving => {}
            }
        }
        mux.handle_bytes(part, now);
        while let Some(event) = mux.poll_event() {
            assert_eq!(failed, 0, "nothing comes after the fault");
            match event {
                ChatEvent::Data { stream, bytes, .. } => {
                    let counted = streams.get_mut(&stream).expect("a stream that is there");
                    counted.inward.1 += chat_cost(&bytes);
                    assert!(!counted.theirs, "nothing comes after the end");
                    assert!(counted.inward.1 <= counted.inward.0, "no more than the window allows");
                    pieces += 1;
                    if pieces % 3 == 0 {
                        mux.read(stream, 1, bytes.len());
                    }
                    let room = mux.room(stream, bytes.len());
                    assert_eq!(mux.send(stream, &bytes), room);
                }
                ChatEvent::Opened { stream, .. } if stream % 5 == 0 => mux.end(stream, ChatEnd::Closed),
                ChatEvent::Ended { stream, .. } => {
                    streams.get_mut(&stream).expect("a stream that is there").theirs = true;
                }
                ChatEvent::SignInRefused { stream } => {
                    let stream = streams.get(&stream).expect("a stream that is there");
                    assert!(role == Role::Edge && !stream.theirs && !stream.signed_in, "the core says it, and in time");
                }
                ChatEvent::SignedIn { stream } => {
                    let stream = streams.get_mut(&stream).expect("a stream that is there");
                    assert!(role == Role::Edge && !stream.theirs, "the core says it, and in time");
                    assert!(!std::mem::replace(&mut stream.signed_in, true), "once");
                }
                ChatEvent::Failed(_) => failed += 1,
                ChatEvent::Opened { .. } | ChatEvent::Room { .. } | ChatEvent::Leaving => {}
            }
        }
        let unread = streams.values().map(|stream| stream.inward.0).sum::<u64>();
        assert!(mux.unread_bytes() <= unread, "no more than the windows allow");
    }
    chat_said(&mut mux, &mut streams);
}

/// The frames of a carrier that came in these parts, and whether it could be followed to the end.
fn chat_decoded(parts: &[&[u8]]) -> (Vec<ChatFrame>, bool) {
    let (mut decoder, mut frames) = (ChatDecoder::default(), Vec::new());
    for part in parts {
        let mut rest = *part;
        loop {
            match decoder.poll_frame(&mut rest) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
        assert!(rest.is_empty() && decoder.kept_bytes() < CHAT_DATA_BYTES_MAX + 8, "one unfinished frame at most");
    }
    (frames, true)
}
