//! The committed fuzz corpora, replayed by a stable compiler.

use std::path::Path;

use edgeway_media::fuzzing;

#[expect(clippy::disallowed_methods, reason = "the corpora are files beside the source")]
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the folder is committed");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        run(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 3, "{} holds a corpus", folder.display());
}

#[test]
fn descriptions() {
    replay("sdp", fuzzing::sdp);
}

#[test]
fn packets() {
    replay("srtp", fuzzing::srtp);
    replay("relay", fuzzing::relay);
}
