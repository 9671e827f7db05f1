//! The committed fuzz corpus, replayed by a stable compiler.

use std::path::Path;

use edgeway_policy::fuzzing;

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus is files beside the source")]
fn urls_and_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/allow_list");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is committed") {
        let path = entry.expect("a readable folder").path();
        fuzzing::allow_list(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 3, "{} holds a corpus", folder.display());
}
