//! Hundreds of kills at random moments while a configuration is written: the old revision or the new one is there,
//! never neither, and nothing that was acknowledged is lost: revisions, accounts, lines of the audit log, what waits for
//! its confirmation and what has gone back.
//!
//! This program starts itself as the writer, reads from a pipe what the writer has acknowledged, and kills it. `EDGEWAY_KILLS`
//! says how often (500), `EDGEWAY_SEED` repeats a run as far as a machine does.

#![forbid(unsafe_code)]

mod desk;
mod store;

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

/// The folder in which the writer writes: whoever is given it is the writer.
const WRITES_IN: &str = "EDGEWAY_KILLS_WRITE_IN";
/// What kind of writer it is.
const WRITES_AS: &str = "EDGEWAY_KILLS_WRITE_AS";
const KILLS: u32 = 500;
/// The desk does more for each word that it says; so many of the kills are its.
const DESK_SHARE: u32 = 4;

/// What is run, by name: how often, and with which randomness; it says what it has seen.
type Run = fn(u32, &mut Random) -> String;
const TESTS: [(&str, Run); 3] = [
    ("five_hundred_kills_lose_nothing", |kills, random| store::kill_often(kills, random)),
    ("kills_of_the_desk_leave_the_old_or_the_new_and_what_it_goes_back_to", |kills, random| {
        desk::kill_often(kills / DESK_SHARE, random)
    }),
    ("kills_while_time_runs_out_leave_what_it_goes_back_to", |_, random| desk::kill_at_the_deadline(random)),
];

fn main() {
    if let Some(folder) = env::var_os(WRITES_IN) {
        let kind = env::var(WRITES_AS).unwrap_or_default();
        match kind.as_str() {
            "store" => store::write_for_ever(Path::new(&folder), store::SMALL),
            "large" => store::write_for_ever(Path::new(&folder), store::LARGE),
            "desk" => desk::write_for_ever(Path::new(&folder)),
            "deadline" => desk::wait_for_ever(Path::new(&folder)),
            other => panic!("no writer is called {other}"),
        }
    }
    // As the other test programs, for who runs one of them by its name.
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted: Vec<_> =
        TESTS.iter().filter(|(name, _)| filter.as_ref().is_none_or(|filter| name.contains(filter))).collect();
    println!("\nrunning {} tests", wanted.len());
    let kills = number_of("EDGEWAY_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap_or(KILLS));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number_of("EDGEWAY_SEED").unwrap_or(clock.as_secs());
    println!("seed {seed}");
    for (name, run) in &wanted {
        let started = Instant::now();
        let seen = run(kills, &mut Random(seed | 1));
        println!("test {name} ... ok\n{seen}, {:.1} s", started.elapsed().as_secs_f64());
    }
    let (passed, others) = (wanted.len(), TESTS.len() - wanted.len());
    println!("\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {others} filtered out");
}

/// Says it, at once and whole.
fn say(word: &str) {
    let mut out = stdout().lock();
    out.write_all(word.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).expect("said");
}

/// Starts a writer; what it says is read by a thread, so that it never waits for us. With a first word it is waited for.
fn start(folder: &Path, kind: &str, first: Option<&str>) -> (Child, JoinHandle<Vec<String>>) {
    let program = env::current_exe().expect("our own name");
    let mut writer = Command::new(program)
        .env(WRITES_IN, folder)
        .env(WRITES_AS, kind)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let mut lines = BufReader::new(writer.stdout.take().expect("a pipe"));
    let mut said = Vec::new();
    if let Some(first) = first {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert!(line.trim_end().starts_with(first), "{line}");
        said.push(line.trim_end().to_owned());
    }
    let reader = thread::spawn(move || {
        let mut line = Vec::new();
        // A line without its end is no acknowledgement.
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) && line.ends_with(b"\n") {
            said.push(String::from_utf8(line.clone()).expect("words").trim_end().to_owned());
            line.clear();
        }
        said
    });
    (writer, reader)
}

/// Kills it; all that it has said.
fn kill(mut writer: Child, lines: JoinHandle<Vec<String>>) -> Vec<String> {
    writer.kill().expect("killed");
    let ended = writer.wait().expect("ended");
    assert!(ended.code().is_none(), "it has ended by itself: {ended}");
    lines.join().expect("no panic")
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
    fn new(name: &str, number: u32) -> Self {
        let path = env::temp_dir().join(format!("edgeway-kills-{}-{name}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
