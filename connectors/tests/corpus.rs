//! The committed fuzz corpus, replayed by a stable compiler.

use std::fs;
use std::path::Path;

#[test]
fn what_fuzzing_has_found_stays_harmless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/axl_xml");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let bytes = fs::read(entry.expect("a file").path()).expect("it can be read");
        edgeway_connectors::fuzzing::axl_xml(&bytes);
        count += 1;
    }
    assert!(count > 5, "{} holds a corpus", folder.display());
}
