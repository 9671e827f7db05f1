//! Our parser against an independent one, on everything we have and on mutations of it.

mod oracle;

use std::path::Path;

use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "the messages are files beside the source")]
fn messages() -> Vec<Vec<u8>> {
    let folders = ["tests/torture", "../../fuzz/corpus/sip_message", "../../fuzz/corpus/sip_differential"];
    let folders = folders.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder is committed"));
    entries.map(|entry| std::fs::read(entry.expect("a readable folder").path()).expect("a readable file")).collect()
}

#[test]
fn both_parsers_read_what_both_accept_alike() {
    let messages = messages();
    let accepted = messages.iter().filter(|message| oracle::compare(message)).count();
    assert!(accepted >= 20, "both accept enough to compare: {accepted} of {}", messages.len());
}

proptest! {
    #[test]
    fn so_they_do_after_mutations(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
    ) {
        let messages = messages();
        let mut message = which.get(&messages).clone();
        for (at, byte, kind) in edits {
            if message.is_empty() {
                break;
            }
            let at = at.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                2 => { message.remove(at); }
                // A line twice.
                _ => {
                    let end = message[at..].iter().position(|byte| *byte == b'\n').map_or(at, |more| at + more + 1);
                    let start = message[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |back| back + 1);
                    let line = message[start..end].to_vec();
                    message.splice(end..end, line);
                }
            }
        }
        oracle::compare(&message);
    }
}
