//! What every back end must do: the same questions to each, for its tests to call.
//!
//! A function here panics where a store is not what it must be. Each begins with an empty store, opens it as often as it
//! likes, several at a time, and closes it in between.

use std::collections::BTreeSet;
use std::thread;

use super::limits::{
    AUDIT_FIELD_BYTES_MAX, AUTHOR_BYTES_MAX, COMMENT_BYTES_MAX, CONFIRMATIONS_MAX, DOCUMENT_BYTES_MAX,
    HISTORY_BYTES_MAX, KEY_BYTES_MAX, PAGE_MAX, REVISIONS_MAX, REVISIONS_WHOLE, WRITES_MAX,
};
use super::{AuditLine, Kind, NewRevision, Record, Store, StoreFault, Write};

/// A place where a store is: opens it, the same one each time.
pub type Place<'a> = &'a (dyn Fn() -> Box<dyn Store> + Sync);

/// One question and its name.
pub type Question = (&'static str, fn(Place<'_>));

/// All questions. Each wants a place of its own, where nothing is yet.
pub const SUITE: &[Question] = &[
    ("it begins empty", begins_empty),
    ("revisions are numbered and kept", revisions_are_numbered_and_kept),
    ("a commit on another head is a conflict", commit_on_another_head),
    ("records belong to a commit or nothing does", records_belong_to_a_commit),
    ("of threads that commit at once one wins each time", threads_commit),
    ("records are written by their version", records_by_version),
    ("versions never come back", versions_never_come_back),
    ("of threads that write one record at once one wins each time", threads_put),
    ("kinds are apart", kinds_are_apart),
    ("records are listed in order and by pages", records_by_pages),
    ("history is listed by pages", history_by_pages),
    ("all letters are kept", all_letters),
    ("what was written is there when it is opened again", kept_when_reopened),
    ("what is too large is refused and nothing has changed", too_large),
    ("kinds are full at their bound", kinds_are_full),
    ("old revisions are thinned out", revisions_are_thinned),
    ("large documents thin the history, too", large_documents),
    ("what waits for confirmation is kept", confirmations_are_kept),
    ("audit lines are numbered, cut and listed by pages", audit_lines),
    ("threads share the audit log", threads_audit),
    ("what is tried leaves nothing", trying_leaves_nothing),
];

/// What is done at a place.
pub type Visit<'v> = &'v dyn Fn(Place<'_>);

/// Asks everything; `fresh` makes an empty place and has it visited.
pub fn ask_all(fresh: &dyn Fn(Visit<'_>)) {
    for (name, question) in SUITE {
        println!("conformance: {name}");
        fresh(&|place| question(place));
    }
}

fn new(document: &str) -> NewRevision {
    NewRevision {
        author: "account alice".into(),
        at_ms: 1_700_000_000_000,
        comment: String::new(),
        document: document.into(),
    }
}

fn line(action: &str) -> AuditLine {
    AuditLine {
        number: 0,
        at_ms: 7,
        actor: "account alice".into(),
        from: "198.51.100.7".into(),
        action: action.into(),
        outcome: "done".into(),
    }
}

/// Commits on whatever is the head.
fn commit(store: &dyn Store, document: &str) -> u64 {
    let head = head(store);
    store.commit(head, new(document), &[]).expect("a commit on the head").number
}

fn head(store: &dyn Store) -> u64 {
    store.head().expect("a head").map_or(0, |revision| revision.head.number)
}

fn document(store: &dyn Store, number: u64) -> Option<String> {
    store.revision(number).expect("an answer").map(|revision| revision.document)
}

/// All numbers, oldest first, by way of pages of 97.
fn numbers(store: &dyn Store) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    loop {
        let page = store.history(found.last().copied(), 97).expect("a page");
        found.extend(page.iter().map(|head| head.number));
        if page.is_empty() {
            found.reverse();
            return found;
        }
    }
}

fn value(store: &dyn Store, kind: Kind, key: &str) -> Option<String> {
    store.record(kind, key).expect("an answer").map(|record| record.value)
}

fn is_full<T>(done: Result<T, StoreFault>) -> bool {
    matches!(done, Err(StoreFault::Full(_)))
}

/// The head of a conflict, if it is one.
fn conflict<T>(done: Result<T, StoreFault>) -> Option<u64> {
    match done {
        Err(StoreFault::Conflict { head }) => Some(head),
        Ok(_) | Err(StoreFault::Full(_) | StoreFault::Unavailable(_) | StoreFault::Damaged(_)) => None,
    }
}

fn begins_empty(place: Place<'_>) {
    let store = place();
    assert_eq!(store.head().expect("an answer"), None);
    for number in [0, 1, u64::MAX] {
        assert_eq!(store.revision(number).expect("an answer"), None);
        assert_eq!(store.history(Some(number), 10).expect("an answer"), []);
        assert_eq!(store.audited(Some(number), 10).expect("an answer"), []);
    }
    for kind in Kind::ALL {
        assert_eq!(store.records(kind, None, 10).expect("an answer"), []);
        assert_eq!(store.record(kind, "alice").expect("an answer"), None);
        assert!(!store.remove(kind, "alice").expect("an answer"));
    }
}

fn revisions_are_numbered_and_kept(place: Place<'_>) {
    let store = place();
    for number in 1..=20 {
        let mut revision = new(&format!("number = {number}\n"));
        revision.comment = format!("comment {number}");
        revision.at_ms += number;
        let made = store.commit(number - 1, revision.clone(), &[]).expect("committed");
        assert_eq!((made.number, &made.author, made.at_ms), (number, &revision.author, revision.at_ms));
        let kept = store.head().expect("an answer").expect("a head");
        assert_eq!(kept.head, made);
        assert_eq!((&kept.head.comment, &kept.document), (&revision.comment, &revision.document));
    }
    for number in 1..=20 {
        assert_eq!(document(&*store, number), Some(format!("number = {number}\n")));
    }
    assert_eq!(document(&*store, 21), None);
}

fn commit_on_another_head(place: Place<'_>) {
    let store = place();
    for wrong in [1, 2, u64::MAX] {
        assert_eq!(conflict(store.commit(wrong, new("a"), &[])), Some(0));
    }
    commit(&*store, "a");
    commit(&*store, "b");
    for wrong in [0, 1, 3, u64::MAX] {
        assert_eq!(conflict(store.commit(wrong, new("c"), &[])), Some(2));
    }
    assert_eq!(numbers(&*store), [1, 2]);
    assert_eq!(document(&*store, 2), Some("b".into()));
}

fn records_belong_to_a_commit(place: Place<'_>) {
    let store = place();
    let waits = Write { kind: Kind::Confirmation, key: "0", value: Some("{}") };
    let imported = Write { kind: Kind::Imported, key: "core1", value: Some("\"a\"") };
    store.commit(0, new("a"), &[waits, imported]).expect("committed");
    assert_eq!(value(&*store, Kind::Confirmation, "0"), Some("{}".into()));
    assert_eq!(value(&*store, Kind::Imported, "core1"), Some("\"a\"".into()));
    let other = Write { value: Some("\"b\""), ..imported };
    assert_eq!(conflict(store.commit(0, new("b"), &[other])), Some(1));
    // The second of three does not fit.
    let none = Write { key: "", ..imported };
    let gone = Write { value: None, ..waits };
    assert!(is_full(store.commit(1, new("b"), &[gone, none, other])));
    assert!(is_full(store.commit(1, new("b"), &[other; WRITES_MAX + 1])));
    let full: Vec<String> = (1..=CONFIRMATIONS_MAX).map(|number| number.to_string()).collect();
    for key in &full[1..] {
        store.put(Kind::Confirmation, key, "{}", None).expect("room");
    }
    assert!(is_full(store.commit(1, new("b"), &[other, Write { key: &full[0], ..waits }])), "no more confirmations");
    assert_eq!(value(&*store, Kind::Imported, "core1"), Some("\"a\"".into()));
    assert_eq!(value(&*store, Kind::Confirmation, "0"), Some("{}".into()));
    assert_eq!(head(&*store), 1);
    // One goes, one comes, and one that is not there goes.
    let absent = Write { kind: Kind::Account, key: "nobody", value: None };
    store.commit(1, new("b"), &[gone, Write { key: &full[0], ..waits }, other, absent]).expect("committed");
    assert_eq!(value(&*store, Kind::Confirmation, "0"), None);
    assert_eq!(value(&*store, Kind::Imported, "core1"), Some("\"b\"".into()));
}

fn threads_commit(place: Place<'_>) {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let stores: Vec<Box<dyn Store>> = (0..2).map(|_| place()).collect();
    let made: Vec<(u64, String)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                // Two share a handle, two have the other.
                let store = &*stores[thread % stores.len()];
                scope.spawn(move || {
                    let text = |turn| format!("{thread}.{turn}");
                    (0..EACH).map(|turn| (commit_somehow(store, &text(turn)), text(turn))).collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect()
    });
    let store = place();
    let distinct: BTreeSet<u64> = made.iter().map(|(number, _)| *number).collect();
    assert_eq!(distinct, (1..=(THREADS * EACH) as u64).collect());
    for (number, text) in made {
        assert_eq!(document(&*store, number), Some(text));
    }
}

/// Commits on a head that others are changing.
fn commit_somehow(store: &dyn Store, document: &str) -> u64 {
    let mut expected = head(store);
    loop {
        match store.commit(expected, new(document), &[]) {
            Ok(made) => return made.number,
            Err(StoreFault::Conflict { head }) => {
                assert_ne!(head, expected, "a conflict with the head that was expected");
                expected = head;
            }
            Err(fault @ (StoreFault::Full(_) | StoreFault::Unavailable(_) | StoreFault::Damaged(_))) => {
                panic!("{fault}")
            }
        }
    }
}

fn records_by_version(place: Place<'_>) {
    let store = place();
    assert_eq!(conflict(store.put(Kind::Account, "alice", "1", Some(7))), Some(0));
    let first = store.put(Kind::Account, "alice", "1", Some(0)).expect("written");
    assert_eq!(conflict(store.put(Kind::Account, "alice", "2", Some(0))), Some(first));
    assert_eq!(conflict(store.put(Kind::Account, "alice", "2", Some(u64::MAX))), Some(first));
    let second = store.put(Kind::Account, "alice", "2", Some(first)).expect("written");
    assert!(second > first);
    let third = store.put(Kind::Account, "alice", "3", None).expect("written");
    assert!(third > second);
    let kept = Record { key: "alice".into(), value: "3".into(), version: third };
    assert_eq!(store.record(Kind::Account, "alice").expect("an answer"), Some(kept.clone()));
    assert_eq!(store.records(Kind::Account, None, 10).expect("an answer"), [kept]);
}

fn versions_never_come_back(place: Place<'_>) {
    let store = place();
    let first = store.put(Kind::Account, "alice", "1", None).expect("written");
    assert!(store.remove(Kind::Account, "alice").expect("removed"));
    assert!(!store.remove(Kind::Account, "alice").expect("an answer"));
    drop(store);
    let store = place();
    let again = store.put(Kind::Account, "alice", "1", Some(0)).expect("written");
    assert!(again > first, "{again} after {first}");
    assert_eq!(conflict(store.put(Kind::Account, "alice", "2", Some(first))), Some(again));
}

fn threads_put(place: Place<'_>) {
    const THREADS: usize = 4;
    const EACH: u64 = 25;
    let add_one = |store: &dyn Store| loop {
        let now = store.record(Kind::FirstCode, "count").expect("an answer");
        let (count, version) = now.map_or((0, 0), |record| (record.value.parse().expect("a number"), record.version));
        let next: u64 = count + 1;
        let done = store.put(Kind::FirstCode, "count", &next.to_string(), Some(version));
        if done.is_ok() {
            return;
        }
        assert!(conflict(done).is_some(), "a conflict or nothing");
    };
    let stores: Vec<Box<dyn Store>> = (0..2).map(|_| place()).collect();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let store = &*stores[number % stores.len()];
            scope.spawn(move || (0..EACH).for_each(|_| add_one(store)));
        }
    });
    let all = (THREADS as u64 * EACH).to_string();
    assert_eq!(value(&*place(), Kind::FirstCode, "count"), Some(all));
    // Exactly one takes what there is one of.
    let taken = thread::scope(|scope| {
        let takers: Vec<_> = (0..THREADS)
            .map(|number| {
                let store = &*stores[number % stores.len()];
                scope.spawn(move || store.remove(Kind::FirstCode, "count").expect("an answer"))
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().expect("no panic")).filter(|taken| *taken).count()
    });
    assert_eq!(taken, 1);
}

fn kinds_are_apart(place: Place<'_>) {
    let store = place();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        store.put(kind, "same", &number.to_string(), Some(0)).expect("written");
    }
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(value(&*store, kind, "same"), Some(number.to_string()));
        assert_eq!(store.records(kind, None, 10).expect("an answer").len(), 1);
    }
    assert!(store.remove(Kind::Session, "same").expect("removed"));
    let left = Kind::ALL.into_iter().filter(|kind| value(&*store, *kind, "same").is_some()).count();
    assert_eq!(left, Kind::ALL.len() - 1);
}

fn records_by_pages(place: Place<'_>) {
    let store = place();
    let mut keys: Vec<String> =
        ["b", "a", "B", "ä", "a b", "a\u{0}b", "あ", "😀", "~", "aa"].map(String::from).to_vec();
    keys.extend((0..20).map(|number| format!("n{number}")));
    for key in &keys {
        store.put(Kind::Token, key, key, Some(0)).expect("written");
    }
    keys.sort_unstable();
    for limit in [1, 7, PAGE_MAX, usize::MAX] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let page = store.records(Kind::Token, listed.last().map(String::as_str), limit).expect("a page");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            assert!(page.iter().all(|record| record.key == record.value && record.version > 0));
            listed.extend(page.into_iter().map(|record| record.key));
        }
        assert_eq!(listed, keys);
    }
    assert_eq!(store.records(Kind::Token, None, 0).expect("a page"), []);
    // After a key that is not there.
    assert_eq!(store.records(Kind::Token, Some("n9x"), 1).expect("a page")[0].key, "~");
    for number in 0..PAGE_MAX {
        store.put(Kind::Token, &format!("more{number}"), "", None).expect("written");
    }
    assert_eq!(store.records(Kind::Token, None, usize::MAX).expect("a page").len(), PAGE_MAX);
}

fn history_by_pages(place: Place<'_>) {
    let store = place();
    for number in 1..=30 {
        assert_eq!(commit(&*store, &number.to_string()), number);
    }
    let listed = |before, limit| -> Vec<u64> {
        store.history(before, limit).expect("a page").iter().map(|head| head.number).collect()
    };
    assert_eq!(listed(None, 3), [30, 29, 28]);
    assert_eq!(listed(Some(28), 3), [27, 26, 25]);
    assert_eq!(listed(Some(2), 3), [1]);
    assert_eq!(listed(Some(1), 3), [0; 0]);
    assert_eq!(listed(Some(0), 3), [0; 0]);
    assert_eq!(listed(Some(u64::MAX), usize::MAX), (1..=30).rev().collect::<Vec<_>>());
    assert_eq!(listed(None, 0), [0; 0]);
    let first = store.revision(9).expect("an answer").expect("there").head;
    assert_eq!(store.history(Some(10), 1).expect("a page"), [first]);
}

fn all_letters(place: Place<'_>) {
    const TEXT: &str = "ä ß 日本語 عربي 😀 \u{0} \u{1b}[31m \r\n\t \u{202e} \u{feff} ' \" \\ ; -- % _ \u{10ffff}";
    let revision = NewRevision { author: TEXT.into(), at_ms: 0, comment: TEXT.into(), document: TEXT.into() };
    let store = place();
    store.commit(0, revision, &[Write { kind: Kind::Imported, key: TEXT, value: Some(TEXT) }]).expect("committed");
    store.put(Kind::Account, TEXT, TEXT, Some(0)).expect("written");
    store
        .audit(&AuditLine {
            number: 0,
            at_ms: 0,
            actor: TEXT.into(),
            from: TEXT.into(),
            action: TEXT.into(),
            outcome: TEXT.into(),
        })
        .expect("written");
    drop(store);
    let store = place();
    let kept = store.head().expect("an answer").expect("a head");
    assert_eq!((&*kept.head.author, &*kept.head.comment, &*kept.document), (TEXT, TEXT, TEXT));
    assert_eq!(value(&*store, Kind::Account, TEXT).as_deref(), Some(TEXT));
    assert_eq!(value(&*store, Kind::Imported, TEXT).as_deref(), Some(TEXT));
    assert_eq!(value(&*store, Kind::Account, &TEXT["ä".len()..]), None);
    let kept = store.audited(None, 1).expect("a page").remove(0);
    assert_eq!([&*kept.actor, &*kept.from, &*kept.action, &*kept.outcome], [TEXT; 4]);
    assert!(store.remove(Kind::Account, TEXT).expect("removed"));
}

fn kept_when_reopened(place: Place<'_>) {
    for turn in 1..=10_u64 {
        let store = place();
        assert_eq!(head(&*store), 2 * (turn - 1));
        assert_eq!(store.audited(None, PAGE_MAX).expect("a page").len() as u64, turn - 1);
        assert_eq!(store.records(Kind::Session, None, PAGE_MAX).expect("a page").len() as u64, turn - 1);
        for number in 1..2 * turn - 1 {
            assert_eq!(document(&*store, number), Some(number.to_string()));
        }
        let first = commit(&*store, &(2 * turn - 1).to_string());
        store.put(Kind::Session, &turn.to_string(), "x", Some(0)).expect("written");
        store.audit(&line(&turn.to_string())).expect("written");
        // What another writes is seen without opening it again.
        let other = place();
        commit(&*other, &(2 * turn).to_string());
        drop(other);
        assert_eq!(head(&*store), first + 1);
        assert_eq!(conflict(store.commit(first, new("late"), &[])), Some(first + 1));
    }
}

fn too_large(place: Place<'_>) {
    let store = place();
    let text = |bytes: usize| "x".repeat(bytes);
    let largest = NewRevision {
        author: text(AUTHOR_BYTES_MAX),
        at_ms: i64::MAX as u64,
        comment: text(COMMENT_BYTES_MAX),
        document: text(DOCUMENT_BYTES_MAX),
    };
    assert!(is_full(store.commit(0, NewRevision { author: text(AUTHOR_BYTES_MAX + 1), ..largest.clone() }, &[])));
    assert!(is_full(store.commit(0, NewRevision { comment: text(COMMENT_BYTES_MAX + 1), ..largest.clone() }, &[])));
    assert!(is_full(store.commit(0, NewRevision { document: text(DOCUMENT_BYTES_MAX + 1), ..largest.clone() }, &[])));
    assert!(is_full(store.commit(0, NewRevision { at_ms: u64::MAX, ..largest.clone() }, &[])));
    assert_eq!(store.head().expect("an answer"), None);
    store.commit(0, largest.clone(), &[]).expect("the largest fits");
    assert_eq!(store.head().expect("an answer").expect("a head").document, largest.document);
    for kind in Kind::ALL {
        assert!(is_full(store.put(kind, "", "x", None)));
        assert!(is_full(store.put(kind, &text(KEY_BYTES_MAX + 1), "x", None)));
        assert!(is_full(store.put(kind, "key", &text(kind.bytes_max() + 1), None)));
        assert_eq!(store.records(kind, None, 10).expect("an answer"), []);
        store.put(kind, &text(KEY_BYTES_MAX), &text(kind.bytes_max()), None).expect("the largest fits");
        assert_eq!(value(&*store, kind, &text(KEY_BYTES_MAX)), Some(text(kind.bytes_max())));
    }
}

fn kinds_are_full(place: Place<'_>) {
    let store = place();
    // The same bound holds for each kind; those with thousands would take long to fill.
    for kind in [Kind::Account, Kind::FirstCode, Kind::Confirmation, Kind::Imported] {
        for number in 0..kind.records_max() {
            store.put(kind, &number.to_string(), "x", Some(0)).expect("room");
        }
        assert!(is_full(store.put(kind, "one more", "x", None)));
        assert!(is_full(store.put(kind, "one more", "x", Some(0))));
        assert_eq!(value(&*store, kind, "one more"), None);
        store.put(kind, "0", "y", None).expect("one that is there is written");
        assert!(store.remove(kind, "0").expect("removed"));
        store.put(kind, "one more", "x", Some(0)).expect("room again");
    }
}

fn revisions_are_thinned(place: Place<'_>) {
    const MORE: u64 = 60;
    let store = place();
    let all = REVISIONS_MAX as u64 + MORE;
    for number in 1..=all {
        store.commit(number - 1, new(&number.to_string()), &[]).expect("committed");
    }
    let kept = numbers(&*store);
    assert_eq!(kept.len(), REVISIONS_MAX);
    assert_eq!(head(&*store), all);
    let whole: Vec<u64> = (all - REVISIONS_WHOLE as u64 + 1..=all).collect();
    assert!(kept.ends_with(&whole), "the newest are all there");
    assert_eq!(kept[0], 1, "and so is the first");
    for number in 1..=all {
        assert_eq!(document(&*store, number), kept.contains(&number).then(|| number.to_string()));
    }
}

fn large_documents(place: Place<'_>) {
    let store = place();
    let large = "x".repeat(DOCUMENT_BYTES_MAX);
    let fit = HISTORY_BYTES_MAX / DOCUMENT_BYTES_MAX;
    for _ in 0..fit + 3 {
        commit(&*store, &large);
    }
    let kept = numbers(&*store);
    assert_eq!(kept.len(), fit);
    assert_eq!(kept.last(), Some(&(fit as u64 + 3)));
}

fn confirmations_are_kept(place: Place<'_>) {
    let store = place();
    let large = "x".repeat(DOCUMENT_BYTES_MAX);
    for _ in 0..3 {
        commit(&*store, &large);
    }
    store.put(Kind::Confirmation, "2", "{}", Some(0)).expect("written");
    for _ in 0..HISTORY_BYTES_MAX / DOCUMENT_BYTES_MAX {
        commit(&*store, &large);
    }
    assert_eq!(document(&*store, 2).as_ref(), Some(&large), "somebody may have to return to it");
    assert_eq!((document(&*store, 1), document(&*store, 3)), (None, None));
    store.remove(Kind::Confirmation, "2").expect("removed");
    commit(&*store, &large);
    assert_eq!(document(&*store, 2), None);
}

fn audit_lines(place: Place<'_>) {
    let store = place();
    for number in 1..=30 {
        store.audit(&AuditLine { number: 4_711, at_ms: number, ..line(&number.to_string()) }).expect("written");
    }
    let listed = |before, limit| -> Vec<u64> {
        let page = store.audited(before, limit).expect("a page");
        assert!(page.iter().all(|line| line.action == line.number.to_string() && line.at_ms == line.number));
        page.iter().map(|line| line.number).collect()
    };
    assert_eq!(listed(None, 2), [30, 29]);
    assert_eq!(listed(Some(29), 2), [28, 27]);
    assert_eq!(listed(Some(2), 2), [1]);
    assert_eq!(listed(Some(1), 2), [0; 0]);
    assert_eq!(listed(Some(u64::MAX), usize::MAX).len(), 30);
    // A field of letters of three bytes, longer than is kept.
    let long = "語".repeat(AUDIT_FIELD_BYTES_MAX);
    let all =
        AuditLine { actor: long.clone(), from: long.clone(), outcome: long.clone(), at_ms: u64::MAX, ..line(&long) };
    store.audit(&all).expect("written");
    let kept = store.audited(None, 1).expect("a page").remove(0);
    assert_eq!(kept.number, 31);
    for field in [&kept.actor, &kept.from, &kept.action, &kept.outcome] {
        assert!(field.len() <= AUDIT_FIELD_BYTES_MAX && field.len() > AUDIT_FIELD_BYTES_MAX - 8, "{}", field.len());
        assert!(field.strip_suffix('…').is_some_and(|start| long.starts_with(start)));
    }
}

fn threads_audit(place: Place<'_>) {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let stores: Vec<Box<dyn Store>> = (0..2).map(|_| place()).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &*stores[thread % stores.len()];
            scope.spawn(move || {
                (0..EACH).for_each(|turn| store.audit(&line(&format!("{thread}.{turn}"))).expect("written"));
            });
        }
    });
    let kept = place().audited(None, PAGE_MAX).expect("a page");
    assert_eq!(
        kept.iter().map(|line| line.number).collect::<Vec<_>>(),
        (1..=(THREADS * EACH) as u64).rev().collect::<Vec<_>>()
    );
    let texts: BTreeSet<&str> = kept.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(texts.len(), THREADS * EACH);
}

fn trying_leaves_nothing(place: Place<'_>) {
    let store = place();
    for bytes in [0, 1, 100_000, DOCUMENT_BYTES_MAX, usize::MAX] {
        store.has_room(bytes).expect("there is room");
    }
    assert!(store.head().expect("an answer").is_none() && store.audited(None, PAGE_MAX).expect("an answer").is_empty());
    for kind in Kind::ALL {
        assert!(store.records(kind, None, PAGE_MAX).expect("an answer").is_empty());
    }
}
