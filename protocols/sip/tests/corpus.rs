//! The committed fuzz corpora and the torture messages, replayed by a stable compiler.

use std::path::Path;

use edgeway_sip::fuzzing;

#[expect(clippy::disallowed_methods, reason = "the corpora are files beside the source")]
fn replay(folder: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder is committed");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        target(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 3, "{} holds a corpus", folder.display());
}

#[test]
fn messages() {
    replay("../../fuzz/corpus/sip_message", fuzzing::sip_message);
    replay("tests/torture", fuzzing::sip_message);
}

#[test]
fn streams() {
    replay("../../fuzz/corpus/sip_framer", fuzzing::sip_framer);
    replay("tests/torture", fuzzing::sip_framer);
}

#[test]
fn addresses() {
    replay("../../fuzz/corpus/sip_uri", fuzzing::sip_uri);
}

#[test]
fn keepalives() {
    replay("../../fuzz/corpus/stun", fuzzing::stun);
}

#[test]
fn bodies() {
    replay("../../fuzz/corpus/sip_multipart", fuzzing::sip_multipart);
}
