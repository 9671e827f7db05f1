//! Hundreds of kills at random moments while a configuration is written: the old revision or the new one is there,
//! never neither, and nothing that was acknowledged is lost.
//!
//! This program starts itself as the writer, reads from a pipe what the writer has acknowledged, and kills it. `EDGEWAY_KILLS`
//! says how often (500), `EDGEWAY_SEED` repeats a run as far as a machine does.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use edgeway_admin::store::{AuditLine, Kind, NewRevision, SqliteStore, Store, Write};

/// The folder in which the writer writes: whoever is given it is the writer.
const WRITES_IN: &str = "EDGEWAY_KILLS_WRITE_IN";
const KILLS: u32 = 500;
/// How long the writer is let to write at most.
const LIFE_MAX: Duration = Duration::from_millis(30);
/// So many kills have one store; the next begins with none, so that its making is interrupted, too.
const KILLS_OF_ONE_STORE: u32 = 25;
/// What the writer says when its store is open.
const OPEN: &str = "open";
const NAME: &str = "five_hundred_kills_lose_nothing";

fn main() {
    if let Some(folder) = env::var_os(WRITES_IN) {
        write_for_ever(Path::new(&folder));
    }
    // As the other test programs, for who runs one of them by its name.
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !NAME.contains(&filter)) {
        println!("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out");
        return;
    }
    println!("\nrunning 1 test");
    let seen = kill_often();
    println!(
        "test {NAME} ... ok\n{seen}\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
    );
}

/// The document of a revision: of any size, and no other's.
fn document(number: u64) -> String {
    let length = usize::try_from(number * 7_919 % 9_001).expect("small");
    let mut text = format!("# {number}\n");
    while text.len() < length {
        text.push_str(&format!("[[registrar]]\nname = \"{number}.{}\"\n", text.len()));
    }
    text
}

/// Writes revision after revision and says of each that it is written, until it is killed.
fn write_for_ever(folder: &Path) -> ! {
    let store = SqliteStore::open(folder).expect("a store");
    let say = |word: &str| {
        let mut out = stdout().lock();
        out.write_all(word.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).expect("said");
    };
    say(OPEN);
    let mut head = store.head().expect("an answer").map_or(0, |revision| revision.head.number);
    loop {
        let number = head + 1;
        let new = NewRevision {
            author: "account alice".into(),
            at_ms: number,
            comment: format!("comment {number}"),
            document: document(number),
        };
        // What belongs to a revision is there with it or not at all.
        let text = number.to_string();
        let imported = Write { kind: Kind::Imported, key: "core1", value: Some(&text) };
        head = store.commit(head, new, &[imported]).expect("committed").number;
        say(&text);
        let line = AuditLine {
            number: 0,
            at_ms: number,
            actor: "account alice".into(),
            from: "socket".into(),
            action: text,
            outcome: "done".into(),
        };
        store.audit(&line).expect("written");
        say("audited");
    }
}

/// What was seen in a run, so that one knows what it has shown.
#[derive(Debug, Default)]
struct Seen {
    kills: u32,
    acknowledged: u64,
    /// Kills before the store was open: while it was made or looked through.
    before_open: u32,
    /// Kills after which the head was what was acknowledged last.
    old: u32,
    /// Kills after which it was one further, whose acknowledgement the kill has swallowed.
    new: u32,
}

fn kill_often() -> String {
    let started = Instant::now();
    let kills = number_of("EDGEWAY_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap_or(KILLS));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number_of("EDGEWAY_SEED").unwrap_or(clock.as_secs());
    println!("seed {seed}");
    let mut random = Random(seed | 1);
    let mut seen = Seen::default();
    let mut folder = Folder::new(kills);
    let mut head = 0;
    for kill in 0..kills {
        if kill % KILLS_OF_ONE_STORE == 0 {
            folder = Folder::new(kill);
            head = 0;
        }
        // Every third is killed wherever it is, the others while they write.
        let (mut writer, lines) = start(&folder.0, kill % 3 != 0);
        thread::sleep(LIFE_MAX.mul_f64(random.below_one()));
        writer.kill().expect("killed");
        writer.wait().expect("ended");
        let said = lines.join().expect("no panic");
        head = examine(&folder.0, head, &said, &mut seen);
        seen.kills += 1;
    }
    assert!(seen.acknowledged > u64::from(kills) / 10, "it was killed before it wrote: {seen:?}");
    format!("{seen:?}, {:.1} s", started.elapsed().as_secs_f64())
}

/// Starts the writer; what it says is read by a thread, so that it never waits for us.
fn start(folder: &Path, wait_until_open: bool) -> (Child, thread::JoinHandle<Vec<String>>) {
    let program = env::current_exe().expect("our own name");
    let mut writer =
        Command::new(program).env(WRITES_IN, folder).stdout(Stdio::piped()).spawn().expect("the writer starts");
    let mut lines = BufReader::new(writer.stdout.take().expect("a pipe"));
    let mut said = Vec::new();
    if wait_until_open {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line.trim_end(), OPEN);
        said.push(line.trim_end().to_owned());
    }
    let reader = thread::spawn(move || {
        // A line without its end is no acknowledgement.
        for line in lines.split(b'\n').map_while(Result::ok) {
            said.push(String::from_utf8(line).expect("words"));
        }
        said
    });
    (writer, reader)
}

/// Opens what is left and compares it with what was said. Answers the head that is there.
fn examine(folder: &Path, head_before: u64, said: &[String], seen: &mut Seen) -> u64 {
    let acknowledged: Vec<u64> = said.iter().filter_map(|line| line.parse().ok()).collect();
    let store = SqliteStore::open(folder).expect("it opens after a kill");
    store.check().expect("every page is sound");
    let last = acknowledged.last().copied().unwrap_or(head_before);
    let head = store.head().expect("an answer");
    let number = head.as_ref().map_or(0, |head| head.head.number);
    assert!(number == last || number == last + 1, "revision {last} was acknowledged, {number} is there");
    for number in acknowledged.iter().copied().chain(head.iter().map(|head| head.head.number)) {
        let revision = store.revision(number).expect("an answer").expect("an acknowledged revision is there");
        assert!(revision.document == document(number), "the text of revision {number} is another");
        assert_eq!((revision.head.at_ms, revision.head.comment), (number, format!("comment {number}")));
    }
    let imported =
        store.record(Kind::Imported, "core1").expect("an answer").map_or(0, |one| one.value.parse().expect("a number"));
    assert_eq!(imported, number, "what belongs to the revision is of another one");
    // A line of the audit log that was acknowledged is there, too: the newest is of the last revision or the one before.
    let audited = store.audited(None, 1).expect("an answer").first().map_or(0, |line| line.at_ms);
    if said.last().is_some_and(|word| word == "audited") {
        assert!(audited >= last, "the audit line of revision {last} is gone");
    }
    seen.acknowledged += acknowledged.len() as u64;
    seen.before_open += u32::from(said.is_empty());
    seen.old += u32::from(number == last);
    seen.new += u32::from(number > last);
    number
}

fn number_of(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// xorshift: enough for moments.
struct Random(u64);

impl Random {
    fn below_one(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(number: u32) -> Self {
        let path = env::temp_dir().join(format!("edgeway-kills-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
