//! What chat does to each stanza, without sockets: the scanner, the router's splice, and the carrier's frames.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use edgeway_link::chat::{ChatDecoder, ChatFrame};
use edgeway_model::Moment;
use edgeway_xmpp::router::{Action, Beginning, Candidate, Input, Router, Verdict};
use edgeway_xmpp::scan::{Boundary, Bounds, Scanner};

use super::cpu;

/// A message of a few words, with its XMPP.
const MESSAGE_BYTES: usize = 200;
/// What is measured of each.
const BYTES: usize = 256 << 20;
/// Stanzas that come in one piece, as an edge or a core reads them.
const PIECE_BYTES: usize = 4 * 1024;
/// Frames that leave a carrier together.
const FRAMES: usize = 20;
const HEADER: &str = "<stream:stream to='example.com' from='alice@example.com' id='1' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";

/// Measures, and prints.
pub(super) fn run() -> Result<()> {
    println!("\nchat without sockets, CPU\n\n                                  ns each   ns per byte   MB/s");
    let row = |name: &str, bytes: usize, spent: Duration, count: usize| {
        let nanoseconds = spent.as_secs_f64() * 1e9 / count as f64;
        let each = nanoseconds / bytes as f64;
        println!("{name:<32} {nanoseconds:>8.0} {each:>13.2} {:>6.0}", 1e3 / each);
    };
    let message = message();
    for (name, stanza) in stanzas(&message) {
        let count = BYTES / stanza.len();
        row(&format!("scanner: {name}"), stanza.len(), scan(&stanza, count)?, count);
    }
    let count = BYTES / 8 / MESSAGE_BYTES;
    row("router: message, spliced", MESSAGE_BYTES, splice(message.as_bytes(), count)?, count);
    let (encoded, decoded) = frames(message.as_bytes(), count)?;
    row("carrier: frame, encoded", MESSAGE_BYTES, encoded, count);
    row("carrier: frame, decoded", MESSAGE_BYTES, decoded, count);
    Ok(())
}

fn message() -> String {
    let (head, tail) = ("<message to='bob@example.com/desk' type='chat' id='m17'><body>", "</body></message>");
    format!(
        "{head}{}{tail}",
        "word ".repeat(40).chars().take(MESSAGE_BYTES - head.len() - tail.len()).collect::<String>()
    )
}

/// A message, much text, and tags that take the longest for each byte.
fn stanzas(message: &str) -> Vec<(&'static str, String)> {
    let text = |bytes: usize, of: &str| format!("<message><body>{}</body></message>", of.repeat(bytes / of.len()));
    let attributes: String = (0..60).map(|n| format!(" a{n}=''")).collect();
    let declared: String = (0..60).map(|n| format!(" xmlns:a{n}='u{n}'")).collect();
    let used: String = (0..60).map(|n| format!(" a{n}:b=''")).collect();
    vec![
        ("message of 200 bytes", message.to_owned()),
        ("64 KiB of text", text(64 * 1024, "word ")),
        ("64 KiB of umlauts", text(64 * 1024, "\u{fc}")),
        ("64 KiB of references", text(64 * 1024, "&amp;")),
        ("empty elements", format!("<m>{}</m>", "<a/>".repeat(1_000))),
        ("levels, to and fro", format!("{}{}", "<a>".repeat(120), "</a>".repeat(120))),
        ("60 attributes", format!("<m{attributes}/>")),
        ("60 namespaces", format!("<m{declared}/>")),
        ("60 attributes of namespaces", format!("<m{declared}><a{used}/></m>")),
    ]
}

/// Stanza after stanza, in pieces.
fn scan(stanza: &str, count: usize) -> Result<Duration> {
    let mut scanner = Scanner::new(Bounds::SIGNED_IN);
    let refused = |fault| anyhow!("the scanner refuses {}: {fault:?}", stanza.get(..80).unwrap_or(stanza));
    scanner.step(HEADER.as_bytes()).map_err(refused)?;
    let at_once = (PIECE_BYTES / stanza.len()).max(1);
    let bytes = stanza.repeat(at_once).into_bytes();
    let rounds = count.div_ceil(at_once);
    let mut seen = 0;
    let before = cpu();
    for _ in 0..rounds {
        for piece in bytes.chunks(PIECE_BYTES) {
            let mut rest = black_box(piece);
            while !rest.is_empty() {
                let step = scanner.step(rest).map_err(refused)?;
                rest = rest.get(step.consumed..).unwrap_or_default();
                seen += usize::from(step.event == Some(Boundary::Stanza));
            }
        }
    }
    let spent = cpu() - before;
    ensure!(seen == rounds * at_once, "{seen} stanzas were seen");
    Ok(spent.mul_f64(count as f64 / seen as f64))
}

/// A router whose client has signed in; messages come from it, one at a time.
fn splice(message: &[u8], count: usize) -> Result<Duration> {
    let mut router = bound()?;
    let message = Bytes::copy_from_slice(message);
    let mut passed = 0;
    let before = cpu();
    for _ in 0..count {
        router.handle(Input::Client(message.clone()), Moment::ZERO);
        while let Some(action) = router.poll() {
            if let Action::ToServer(bytes) = action {
                passed += black_box(bytes).len();
            }
        }
    }
    let spent = cpu() - before;
    ensure!(passed == count * message.len(), "{passed} bytes passed");
    Ok(spent)
}

fn bound() -> Result<Router> {
    const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
    const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
    let server = Candidate { host: "im1.example.com".to_owned(), port: 5223, direct_tls: true };
    let beginning =
        Beginning { domain: "example.com".to_owned(), servers: vec![server], remembered: Vec::new(), id: [7; 16] };
    let mut router = Router::new(beginning, Moment::ZERO);
    let said = |text: String| Bytes::from(text.into_bytes());
    let (client, server) = (|text| Input::Client(said(text)), |text| Input::Server(said(text)));
    let features = |inner: String| format!("{HEADER}<stream:features>{inner}</stream:features>");
    for input in [
        client(HEADER.to_owned()),
        Input::Connected,
        Input::Secured,
        server(features(format!("<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>"))),
        client(format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")),
        Input::Verdict(Verdict::Pass { homes: Vec::new() }),
        server(format!("<success xmlns='{SASL}'/>")),
        client(HEADER.to_owned()),
        server(features(format!("<bind xmlns='{BIND}'/>"))),
        client(format!("<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")),
        server(format!("<iq type='result' id='b'><bind xmlns='{BIND}'><jid>alice@example.com/a</jid></bind></iq>")),
    ] {
        router.handle(input, Moment::ZERO);
        while let Some(action) = router.poll() {
            ensure!(!matches!(action, Action::End(_)), "the stream ends");
        }
    }
    Ok(router)
}

/// Frames with a message each, encoded and decoded, as many as leave together.
fn frames(message: &[u8], count: usize) -> Result<(Duration, Duration)> {
    let frame = ChatFrame::Data { stream: 7, bytes: Bytes::copy_from_slice(message) };
    let (mut decoder, mut out) = (ChatDecoder::default(), Vec::new());
    let (mut encoding, mut decoding) = (Duration::ZERO, Duration::ZERO);
    let mut seen = 0;
    // So many that looking at the clock does not count.
    for _ in 0..count / FRAMES / 100 {
        let before = cpu();
        for _ in 0..100 {
            out.clear();
            for _ in 0..FRAMES {
                black_box(&frame).encode(&mut out);
            }
        }
        let between = cpu();
        for _ in 0..100 {
            let mut rest = black_box(out.as_slice());
            while let Some(frame) = decoder.poll_frame(&mut rest).ok().flatten() {
                seen += usize::from(matches!(black_box(frame), ChatFrame::Data { .. }));
            }
        }
        (encoding, decoding) = (encoding + (between - before), decoding + (cpu() - between));
    }
    ensure!(seen == count / FRAMES / 100 * FRAMES * 100, "{seen} frames were seen");
    let scale = count as f64 / seen as f64;
    Ok((encoding.mul_f64(scale), decoding.mul_f64(scale)))
}
