//! Our scanner against an independent parser, on every seed we have and on mutations of them.

mod oracle;

use std::path::Path;

use proptest::prelude::*;

/// What the fuzz targets start with; those of the scanner's without their first byte.
#[expect(clippy::disallowed_methods, reason = "the streams are files beside the source")]
fn streams() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut streams = Vec::new();
    for (target, skipped) in [("xmpp_scan", 1), ("xmpp_differential", 0)] {
        for entry in std::fs::read_dir(folder.join(target)).expect("the folder is committed") {
            let file = std::fs::read(entry.expect("a readable folder").path()).expect("a readable file");
            streams.push(file.get(skipped..).unwrap_or_default().to_vec());
        }
    }
    streams
}

#[test]
fn both_parsers_read_what_passes_alike() {
    let compared: usize = streams().iter().map(|stream| oracle::compare(stream)).sum();
    assert!(compared >= 40, "enough passes to compare: {compared} elements");
}

/// What a mutation puts in.
const PIECES: [&str; 30] = [
    "<",
    ">",
    "/",
    "</",
    "/>",
    "'",
    "\"",
    "=",
    "&",
    ";",
    "]]>",
    "<![CDATA[",
    "]",
    "<!--",
    "-->",
    "<?",
    "?>",
    "&lt;",
    "&#60;",
    "&#x0;",
    "xmlns:a='urn:a' ",
    " xmlns=''",
    "a:",
    ":",
    "\u{e9}",
    "\u{fffe}",
    "<a>",
    "</a>",
    "<a b='>'/>",
    "</stream:stream>",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn so_they_do_after_mutations(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..5), 1..5),
    ) {
        let streams = streams();
        let mut stream = which.get(&streams).clone();
        for (at, byte, kind) in edits {
            if stream.is_empty() {
                break;
            }
            let at = at.index(stream.len());
            match kind {
                0 => stream[at] = byte,
                1 => { stream.remove(at); }
                2 => stream.truncate(at.max(200)),
                3 => {
                    let other = stream[at..].iter().take(usize::from(byte)).copied().collect::<Vec<_>>();
                    stream.splice(at..at, other);
                }
                _ => {
                    let piece = PIECES[usize::from(byte) % PIECES.len()];
                    stream.splice(at..at, piece.bytes());
                }
            }
        }
        oracle::compare(&stream);
        let piece = [u8::try_from(stream.len() % 7).unwrap_or(1)];
        edgeway_xmpp::fuzzing::xmpp_scan(&[&piece[..], &stream].concat());
    }
}
