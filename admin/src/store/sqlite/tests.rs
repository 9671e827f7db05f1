use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::scratch::Scratch;
use crate::store::conformance;

fn new(document: &str) -> NewRevision {
    NewRevision { author: "file".into(), at_ms: 1, comment: String::new(), document: document.into() }
}

fn open(scratch: &Scratch) -> SqliteStore {
    SqliteStore::open(scratch.path()).expect("a store")
}

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join(FILE_NAME)
}

/// Something that happens to a file, and its name.
type Damage = (&'static str, fn(&mut Vec<u8>));

/// A fault at opening that says this and has left everything as it was.
fn refused(scratch: &Scratch, words: &str) -> OpenFault {
    let before = contents(scratch);
    let fault = SqliteStore::open(scratch.path()).expect_err("no store");
    assert!(fault.to_string().contains(words), "{fault}");
    assert!(before == contents(scratch), "something was written");
    fault
}

/// What the folder holds, but for an empty log and the index of one: they say nothing.
fn contents(scratch: &Scratch) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(scratch.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect();
    files.retain(|(path, bytes)| {
        let name = path.to_string_lossy();
        !(name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty())
    });
    files.sort();
    files
}

#[test]
fn it_conforms() {
    conformance::ask_all(&|ask| {
        let scratch = Scratch::new("sqlite-conforms");
        ask(&|| Box::new(SqliteStore::open(scratch.path()).expect("a store")));
        open(&scratch).check().expect("sound");
    });
}

#[test]
fn it_is_for_its_owner_alone_and_flushed() {
    let scratch = Scratch::new("sqlite-mode");
    let store = open(&scratch);
    store.commit(0, new("x"), &[]).expect("committed");
    for entry in fs::read_dir(scratch.path()).expect("a folder").map(|entry| entry.expect("an entry")) {
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
    let pragma = |name: &str| -> String {
        let connection = store.connection();
        connection
            .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
            .expect(name)
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!((pragma("synchronous").as_str(), pragma("foreign_keys").as_str()), ("2", "1"));
    drop(store);
    fs::set_permissions(file(&scratch), fs::Permissions::from_mode(0o644)).expect("set");
    drop(open(&scratch));
    assert_eq!(fs::metadata(file(&scratch)).expect("metadata").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let scratch = Scratch::new("sqlite-newer");
    open(&scratch).commit(0, new("x"), &[]).expect("committed");
    Connection::open(file(&scratch)).expect("opened").pragma_update(None, "user_version", 99).expect("set");
    assert!(matches!(refused(&scratch, "newer version"), OpenFault::Newer { found: 99, known: 1, .. }));
}

#[test]
fn a_newer_version_in_the_log_alone_is_seen() {
    let scratch = Scratch::new("sqlite-newer-log");
    let store = open(&scratch);
    store.connection().pragma_update(None, "user_version", 99).expect("set");
    // The process that wrote it has not closed it: the head of the file says 1.
    let head = fs::read(file(&scratch)).expect("a file");
    assert_eq!(head[60..64], [0, 0, 0, 1]);
    assert!(matches!(refused(&scratch, "newer version"), OpenFault::Newer { found: 99, .. }));
}

#[test]
fn a_damaged_store_is_left_alone() {
    let scratch = Scratch::new("sqlite-damaged");
    let store = open(&scratch);
    for number in 0..50 {
        store.commit(number, new(&format!("{number}: {}", "x".repeat(5_000))), &[]).expect("committed");
    }
    drop(store);
    let good = fs::read(file(&scratch)).expect("a file");
    let damage: [Damage; 5] = [
        ("empty", Vec::clear),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("head", |bytes| bytes[..16].fill(0)),
        ("page", |bytes| bytes[4_096..8_192].fill(0xaa)),
        ("zeroes", |bytes| bytes[..].fill(0)),
    ];
    for (name, damage) in damage {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(file(&scratch), &bytes).expect("written");
        let fault = refused(&scratch, "restore a back-up");
        assert!(matches!(fault, OpenFault::Damaged { .. }), "{name}: {fault}");
    }
    fs::write(file(&scratch), &good).expect("written");
    assert_eq!(open(&scratch).head().expect("an answer").expect("a head").head.number, 50);
}

#[test]
fn a_text_that_is_not_what_was_written_is_not_handed_out() {
    let scratch = Scratch::new("sqlite-text");
    let store = open(&scratch);
    store.commit(0, new("first"), &[]).expect("committed");
    store.commit(1, new("domain = \"example.com\""), &[]).expect("committed");
    drop(store);
    let mut bytes = fs::read(file(&scratch)).expect("a file");
    let at = bytes.windows(11).rposition(|window| window == b"example.com").expect("the text");
    bytes[at] ^= 1;
    fs::write(file(&scratch), &bytes).expect("written");
    let store = open(&scratch);
    for read in [store.head(), store.revision(2)] {
        let fault = read.expect_err("damaged");
        assert!(matches!(&fault, StoreFault::Damaged(what) if what.contains("revision 2")), "{fault}");
    }
    assert_eq!(store.revision(1).expect("an answer").expect("there").document, "first");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let scratch = Scratch::new("sqlite-foreign");
    Connection::open(file(&scratch)).expect("opened").execute_batch("CREATE TABLE x (y)").expect("made");
    assert!(matches!(refused(&scratch, "not a store of Edgeway"), OpenFault::Foreign { .. }));
    fs::write(file(&scratch), "[sip]\nlisten = \"0.0.0.0:5060\"\n").expect("written");
    assert!(matches!(refused(&scratch, "damaged"), OpenFault::Damaged { .. }));
    fs::remove_file(file(&scratch)).expect("removed");
    fs::create_dir(file(&scratch)).expect("made");
    assert!(matches!(refused(&scratch, "cannot be read"), OpenFault::Unreadable { .. }));
}

#[test]
fn a_log_without_its_store_is_not_given_a_new_one() {
    let scratch = Scratch::new("sqlite-log");
    let store = open(&scratch);
    store.commit(0, new("x"), &[]).expect("committed");
    fs::remove_file(file(&scratch)).expect("removed");
    assert!(matches!(refused(&scratch, "the file itself is gone"), OpenFault::Damaged { .. }));
}

#[test]
fn where_nobody_writes_no_store_is_made() {
    // A folder that takes no files, not even root's.
    let fault = SqliteStore::open(Path::new("/sys/kernel")).expect_err("no store");
    assert!(matches!(fault, OpenFault::NotWritable { .. }), "{fault}");
    assert!(fault.to_string().contains("must be writable"), "{fault}");
    let fault = SqliteStore::open(Path::new("/no/such/folder")).expect_err("no store");
    assert!(matches!(fault, OpenFault::NotWritable { .. }), "{fault}");
}

#[test]
fn another_process_that_writes_is_waited_for_and_not_for_ever() {
    let scratch = Scratch::new("sqlite-busy");
    let store = open(&scratch);
    let other = Connection::open(file(&scratch)).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let fault = store.commit(0, new("x"), &[]).expect_err("held");
    assert!(matches!(&fault, StoreFault::Unavailable(why) if why.contains("another process")), "{fault}");
    assert_eq!(store.head().expect("reading goes on"), None);
    other.execute_batch("ROLLBACK").expect("ended");
    store.commit(0, new("x"), &[]).expect("committed");
}

#[test]
fn a_back_up_is_the_store_of_that_moment() {
    let scratch = Scratch::new("sqlite-back-up");
    let store = open(&scratch);
    let elsewhere = scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let copy = elsewhere.join(FILE_NAME);
    for number in 0..20 {
        store.commit(number, new(&number.to_string()), &[]).expect("committed");
    }
    store.put(Kind::Account, "alice", "{}", None).expect("written");
    store.back_up(&copy).expect("copied");
    store.commit(20, new("later"), &[]).expect("committed");
    assert_eq!(fs::metadata(&copy).expect("metadata").permissions().mode() & 0o777, 0o600);
    assert!(matches!(store.back_up(&copy), Err(StoreFault::Unavailable(_))), "never over what is there");
    let restored = SqliteStore::open(&elsewhere).expect("a store");
    restored.check().expect("sound");
    assert_eq!(restored.head().expect("an answer").expect("a head").document, "19");
    assert!(restored.record(Kind::Account, "alice").expect("an answer").is_some());
    restored.commit(20, new("on"), &[]).expect("committed");
    let mode: String =
        restored.connection().pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
}

#[test]
fn formats_follow_each_other_or_not_at_all() {
    let scratch = Scratch::new("sqlite-formats");
    open(&scratch).commit(0, new("x"), &[]).expect("committed");
    let versions = |scratch: &Scratch| -> i32 {
        let connection = Connection::open(file(scratch)).expect("opened");
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
    };
    let broken: &[&str] = &["", "CREATE TABLE further (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"];
    assert!(open::connect(&file(&scratch), broken).is_err());
    assert_eq!(versions(&scratch), 1);
    let better: &[&str] = &["", "CREATE TABLE further (x INTEGER) STRICT;", "INSERT INTO further VALUES (3);"];
    let connection = open::connect(&file(&scratch), better).expect("upgraded");
    let kept: (i64, String) = connection
        .query_row("SELECT x, document FROM further, revisions", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("both");
    assert_eq!(kept, (3, "x".into()));
    drop(connection);
    assert_eq!(versions(&scratch), 3);
    assert!(matches!(refused(&scratch, "newer version"), OpenFault::Newer { found: 3, known: 1, .. }));
}

#[test]
fn the_audit_log_forgets_its_oldest_lines() {
    let scratch = Scratch::new("sqlite-audit");
    let store = open(&scratch);
    let line =
        AuditLine { number: 0, at_ms: 1, actor: "a".into(), from: "b".into(), action: "c".into(), outcome: "d".into() };
    // As if so many had been written before.
    let full = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                INSERT INTO audit SELECT i, 1, 'a', 'b', 'c', 'd' FROM n";
    store.connection().execute(full, [signed(AUDIT_LINES_MAX)]).expect("filled");
    for _ in 0..5 {
        store.audit(&line).expect("written");
    }
    let count: u64 =
        store.connection().query_row("SELECT count(*) FROM audit", [], |row| unsigned(row, 0)).expect("a count");
    assert_eq!(count, AUDIT_LINES_MAX);
    assert_eq!(store.audited(Some(7), 10).expect("a page").len(), 1);
    assert_eq!(store.audited(None, 1).expect("a page")[0].number, AUDIT_LINES_MAX + 5);
}

#[test]
fn what_was_written_to_find_out_whether_there_is_room_does_not_stay_after_a_crash() {
    let scratch = Scratch::new("sqlite-room");
    let left = |store: &SqliteStore| {
        let sql = "SELECT count(*) FROM records WHERE kind = ?1";
        store.connection().query_row(sql, [ROOM], |row| unsigned(row, 0)).expect("a count")
    };
    let crash = |store: &SqliteStore| {
        let sql = "INSERT INTO records (kind, key, value, version) VALUES (?1, ?1, 'x', 1)";
        store.connection().execute(sql, [ROOM]).expect("written");
        assert_eq!(left(store), 1);
    };
    crash(&open(&scratch));
    let store = open(&scratch);
    assert_eq!(left(&store), 0, "gone when it is opened");
    crash(&store);
    store.commit(0, new("x"), &[]).expect("committed");
    assert_eq!(left(&store), 0, "gone with the next change");
    store.has_room(1_000).expect("there is room");
    assert_eq!(left(&store), 0);
}
