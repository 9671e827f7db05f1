//! The store alone, as fast as it can: it is made, written, carried over from its log, closed, opened again, and killed
//! wherever it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use edgeway_admin::store::limits::{LOG_BYTES_MAX, PAGE_MAX};
use edgeway_admin::store::{AuditLine, Kind, NewRevision, SqliteStore, Store, Write};

use super::{Folder, Random, kill, say, start};

/// How long the writer is let to write at most; most lives are much shorter.
const LIFE_MAX: Duration = Duration::from_millis(250);
/// So many kills have one store; the next begins with none, so that its making is interrupted, too.
const KILLS_OF_ONE_STORE: u32 = 25;
/// Every so many stores have large documents, so that their log is carried over all the time.
const LARGE_EVERY: u32 = 3;
/// Sizes of documents, bytes at most.
pub(super) const SMALL: usize = 9_001;
pub(super) const LARGE: usize = 250_001;
/// What the writer says when its store is open.
const OPEN: &str = "open";
/// After so many revisions it closes its store, which carries the log over, and opens it again; with large ones it does not,
/// so that the log is carried over because it is full.
const REVISIONS_OPEN: u64 = 4;
/// So many accounts it leaves; older ones are removed.
const ACCOUNTS: u64 = 3;

/// The document of a revision: of any size, and no other's.
fn document(number: u64, bytes_max: usize) -> String {
    let length = usize::try_from(number * 7_919).expect("small") % bytes_max;
    let mut text = format!("# {number}\n");
    while text.len() < length {
        text.push_str(&format!("[[registrar]]\nname = \"{number}.{}\"\n", text.len()));
    }
    text
}

fn account(number: u64) -> String {
    format!("user-{number}")
}

fn line(number: u64) -> AuditLine {
    AuditLine {
        number: 0,
        at_ms: number,
        actor: "account alice".into(),
        from: "socket".into(),
        action: number.to_string(),
        outcome: "done".into(),
    }
}

/// Writes revision after revision and says of each thing that it is written, until it is killed.
pub(super) fn write_for_ever(folder: &Path, bytes_max: usize) -> ! {
    loop {
        let store = SqliteStore::open(folder).expect("a store");
        say(OPEN);
        let mut head = store.head().expect("an answer").map_or(0, |revision| revision.head.number);
        for _ in 0..if bytes_max == LARGE { u64::MAX } else { REVISIONS_OPEN } {
            let number = head + 1;
            let new = NewRevision {
                author: "account alice".into(),
                at_ms: number,
                comment: format!("comment {number}"),
                document: document(number, bytes_max),
            };
            // What belongs to a revision is there with it or not at all.
            let text = number.to_string();
            let imported = Write { kind: Kind::Imported, key: "core1", value: Some(&text) };
            head = store.commit(head, new, &[imported]).expect("committed").number;
            say(&text);
            store.audit(&line(number)).expect("written");
            say(&format!("audited {number}"));
            store.put(Kind::Account, &account(number), &text, Some(0)).expect("written");
            say(&format!("account {number}"));
            if let Some(old) = number.checked_sub(ACCOUNTS) {
                store.remove(Kind::Account, &account(old)).expect("removed");
                say(&format!("gone {old}"));
            }
        }
    }
}

/// What was seen in a run, so that one knows what it has shown.
#[derive(Debug, Default)]
struct Seen {
    kills: u32,
    acknowledged: u64,
    /// Kills before the store was open: while it was made or looked through.
    before_open: u32,
    /// Kills while it was closed and opened again.
    reopening: u32,
    /// Kills after which the head was what was acknowledged last.
    old: u32,
    /// Kills after which it was one further, whose acknowledgement the kill has swallowed.
    new: u32,
    /// Kills of a writer whose log was carried over before: at a close, or because it was full.
    carried_over: u32,
}

/// What is known of a store between two kills.
#[derive(Default)]
struct Known {
    head: u64,
    accounts: BTreeSet<u64>,
}

pub(super) fn kill_often(kills: u32, random: &mut Random) -> String {
    let mut seen = Seen::default();
    let mut folder = Folder::new("store", kills);
    let mut known = Known::default();
    for number in 0..kills {
        let large = (number / KILLS_OF_ONE_STORE).is_multiple_of(LARGE_EVERY);
        if number % KILLS_OF_ONE_STORE == 0 {
            folder = Folder::new("store", number);
            known = Known::default();
        }
        // Every third is killed wherever it is, the others while they write.
        let first = (number % 3 != 0).then_some(OPEN);
        let (writer, lines) = start(&folder.0, if large { "large" } else { "store" }, first);
        let part = random.below_one();
        thread::sleep(LIFE_MAX.mul_f64(part * part));
        let said = kill(writer, lines);
        examine(&folder.0, if large { LARGE } else { SMALL }, &mut known, &said, &mut seen);
        seen.kills += 1;
    }
    assert!(seen.acknowledged > u64::from(kills) / 10, "it was killed before it wrote: {seen:?}");
    assert!(kills < KILLS_OF_ONE_STORE || seen.carried_over > 0, "no log was carried over: {seen:?}");
    format!("{seen:?}")
}

/// The numbers behind a word.
fn numbers<'a>(said: &'a [String], word: &'a str) -> impl Iterator<Item = u64> + 'a {
    said.iter().filter_map(move |line| line.strip_prefix(word)?.parse().ok())
}

/// Opens what is left and compares it with what was said.
fn examine(folder: &Path, bytes_max: usize, known: &mut Known, said: &[String], seen: &mut Seen) {
    let acknowledged: Vec<u64> = numbers(said, "").collect();
    let store = SqliteStore::open(folder).expect("it opens after a kill");
    store.check().expect("every page is sound");
    let last = acknowledged.last().copied().unwrap_or(known.head);
    let head = store.head().expect("an answer");
    let number = head.as_ref().map_or(0, |head| head.head.number);
    assert!(number == last || number == last + 1, "revision {last} was acknowledged, {number} is there");
    for number in acknowledged.iter().copied().chain(head.iter().map(|head| head.head.number)) {
        let revision = store.revision(number).expect("an answer").expect("an acknowledged revision is there");
        assert!(revision.document == document(number, bytes_max), "the text of revision {number} is another");
        assert_eq!((revision.head.at_ms, revision.head.comment), (number, format!("comment {number}")));
    }
    let imported =
        store.record(Kind::Imported, "core1").expect("an answer").map_or(0, |one| one.value.parse().expect("a number"));
    assert_eq!(imported, number, "what belongs to the revision is of another one");

    // Every line of the audit log that was acknowledged is there, as it was written and once.
    let lines = store.audited(None, PAGE_MAX).expect("an answer");
    for number in numbers(said, "audited ") {
        let of: Vec<_> = lines.iter().filter(|line| line.at_ms == number).collect();
        assert_eq!(of.len(), 1, "audit lines of revision {number}");
        assert_eq!(AuditLine { number: 0, ..of[0].clone() }, line(number));
    }
    // So is every account, and what was removed is gone; of one at most it is not known.
    known.accounts.extend(numbers(said, "account "));
    let removed: BTreeSet<u64> = numbers(said, "gone ").collect();
    known.accounts.retain(|number| !removed.contains(number));
    let records = store.records(Kind::Account, None, PAGE_MAX).expect("an answer");
    let there: BTreeSet<u64> = records.iter().map(|record| record.value.parse().expect("a number")).collect();
    assert!(records.iter().all(|record| record.key == account(record.value.parse().expect("a number"))));
    let differ: Vec<_> = there.symmetric_difference(&known.accounts).collect();
    assert!(differ.len() <= 1, "{:?} were acknowledged, {there:?} are there", known.accounts);
    assert!(removed.is_disjoint(&there), "{removed:?} were removed, {there:?} are there");
    // A kill swallows the word of what was in hand, and of nothing else.
    assert!(differ.iter().all(|number| **number + ACCOUNTS >= last), "{differ:?} at revision {last}");
    (known.accounts, known.head) = (there, number);

    seen.acknowledged += acknowledged.len() as u64;
    seen.before_open += u32::from(said.is_empty());
    let opened = said.iter().filter(|line| *line == OPEN).count();
    let filled = numbers(said, "account ").count() as u64 / REVISIONS_OPEN;
    seen.reopening += u32::from(bytes_max != LARGE && opened > 0 && filled >= opened as u64);
    let written: usize = acknowledged.iter().map(|number| document(*number, bytes_max).len()).sum();
    seen.carried_over += u32::from(opened > 1 || written > LOG_BYTES_MAX);
    seen.old += u32::from(number == last);
    seen.new += u32::from(number > last);
}
