//! Random sequences of operations: the store in a file and the one in memory give the same answers, whenever the file is
//! opened anew.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeway_admin::store::{AuditLine, Kind, MemoryStore, NewRevision, SqliteStore, Store, StoreFault, Write};
use proptest::prelude::*;

/// Something that is asked of both.
#[derive(Clone, Debug)]
enum Operation {
    Head,
    Revision(u64),
    History(Option<u64>, usize),
    /// On the head plus so much, which is a conflict unless it is nothing.
    Commit(u64, String, Vec<(Kind, String, Option<String>)>),
    Record(Kind, String),
    Records(Kind, Option<String>, usize),
    /// With the version that is there plus so much.
    Put(Kind, String, String, Option<u64>),
    Remove(Kind, String),
    Audit(String),
    Audited(Option<u64>, usize),
    Reopen,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::ALL[..])
}

/// Few keys, so that they meet.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(vec!["", "1", "2", "a", "b", "B", "ä", "日本", "a\u{0}"]).prop_map(String::from), 1 => ".{0,6}"]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..12_u64, 1 => any::<u64>()]
}

fn operation() -> impl Strategy<Value = Operation> {
    let limit = || prop_oneof![Just(0), 1..5_usize, Just(usize::MAX)];
    // Mostly what is there, now and then something else.
    let off_by = || prop_oneof![4 => Just(0), 1 => 1..3_u64, 1 => Just(u64::MAX)];
    let writes = prop::collection::vec((kind(), key(), prop::option::of(".{0,8}")), 0..3);
    prop_oneof![
        1 => Just(Operation::Head),
        1 => number().prop_map(Operation::Revision),
        1 => (prop::option::of(number()), limit()).prop_map(|(before, limit)| Operation::History(before, limit)),
        4 => (off_by(), ".{0,20}", writes).prop_map(|(off, text, writes)| Operation::Commit(off, text, writes)),
        2 => (kind(), key()).prop_map(|(kind, key)| Operation::Record(kind, key)),
        2 => (kind(), prop::option::of(key()), limit()).prop_map(|(kind, after, limit)| Operation::Records(kind, after, limit)),
        4 => (kind(), key(), ".{0,8}", prop::option::of(off_by()))
            .prop_map(|(kind, key, value, off)| Operation::Put(kind, key, value, off)),
        2 => (kind(), key()).prop_map(|(kind, key)| Operation::Remove(kind, key)),
        1 => ".{0,8}".prop_map(Operation::Audit),
        1 => (prop::option::of(number()), limit()).prop_map(|(before, limit)| Operation::Audited(before, limit)),
        1 => Just(Operation::Reopen),
    ]
}

/// What a store answers, as words: answers and faults alike.
fn answer(store: &dyn Store, operation: &Operation) -> String {
    let shown = |done: Result<String, StoreFault>| done.unwrap_or_else(|fault| format!("{fault:?}"));
    shown(match operation {
        Operation::Head => store.head().map(|found| format!("{found:?}")),
        Operation::Revision(number) => store.revision(*number).map(|found| format!("{found:?}")),
        Operation::History(before, limit) => store.history(*before, *limit).map(|found| format!("{found:?}")),
        Operation::Commit(off, text, writes) => {
            let head = store.head().ok().flatten().map_or(0, |revision| revision.head.number);
            let new = NewRevision { author: "a".into(), at_ms: head, comment: text.clone(), document: text.clone() };
            let also: Vec<Write<'_>> =
                writes.iter().map(|(kind, key, value)| Write { kind: *kind, key, value: value.as_deref() }).collect();
            store.commit(head.wrapping_add(*off), new, &also).map(|made| format!("{made:?}"))
        }
        Operation::Record(kind, key) => store.record(*kind, key).map(|found| format!("{found:?}")),
        Operation::Records(kind, after, limit) => {
            store.records(*kind, after.as_deref(), *limit).map(|found| format!("{found:?}"))
        }
        Operation::Put(kind, key, value, off) => {
            let version = store.record(*kind, key).ok().flatten().map_or(0, |record| record.version);
            let expected = off.map(|off| version.wrapping_add(off));
            store.put(*kind, key, value, expected).map(|made| made.to_string())
        }
        Operation::Remove(kind, key) => store.remove(*kind, key).map(|was| was.to_string()),
        Operation::Audit(text) => {
            let line = AuditLine {
                number: 0,
                at_ms: text.len() as u64,
                actor: text.clone(),
                from: text.clone(),
                action: text.clone(),
                outcome: text.clone(),
            };
            store.audit(&line).map(|()| String::new())
        }
        Operation::Audited(before, limit) => store.audited(*before, *limit).map(|found| format!("{found:?}")),
        Operation::Reopen => Ok(String::new()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn file_and_memory_agree(operations in prop::collection::vec(operation(), 1..60)) {
        let folder = Folder::new();
        let open = || SqliteStore::open(&folder.0).expect("a store");
        let (mut file, memory) = (open(), MemoryStore::new());
        for operation in &operations {
            if matches!(operation, Operation::Reopen) {
                drop(file);
                file = open();
            }
            prop_assert_eq!(answer(&file, operation), answer(&memory, operation), "{:?}", operation);
        }
        file.check().expect("sound");
    }
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("edgeway-model-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
