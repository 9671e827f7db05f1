//! The desk with its store, as a core starts it: first starts, changes, changes that wait for their confirmation, what
//! goes back because its time has run out; and kills anywhere in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeway_admin::configuration::{By, ChangeOrder, ConfigurationDesk, Proposal, boot};
use edgeway_admin::store::{Kind, SqliteStore, Store as _};
use edgeway_runtime::operate::{self, OperatorPort, Prepared, Refusal, Work};
use serde_json::json;

use super::{Folder, Random, kill, say, start};

/// How long the writer is let to write at most.
const LIFE_MAX: Duration = Duration::from_millis(250);
/// So many kills have one node; the next starts for the first time.
const KILLS_OF_ONE_NODE: u32 = 10;
/// Writers whose change waits while they are killed, all at once.
const DEADLINES: u32 = 12;
/// The shortest time in which a revision may be confirmed.
const CONFIRM: Duration = Duration::from_secs(5);
/// How far about the end of that time the kills are.
const ABOUT: Duration = Duration::from_millis(1_500);

fn file(folder: &Path) -> PathBuf {
    let path = folder.join("core.toml");
    if !path.exists() {
        let text = format!(
            "node = \"core1\"\nstate_dir = {:?}\ndomains = [\"d0.example\"]\n[sip]\nadvertise = \"10.0.0.4:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n",
            folder.join("state")
        );
        fs::write(&path, text).expect("written");
    }
    path
}

/// What stands in for the node: it takes everything.
fn node() -> OperatorPort {
    let (port, mut asked) = operate::port();
    tokio::spawn(async move {
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(_, answer) => drop(answer.send(Err(Refusal::invalid("nothing is asked")))),
                Work::Prepare(_, answer) => drop(answer.send(Ok(Prepared { restart: Vec::new() }))),
                Work::Apply(answer) => drop(answer.send(Ok(()))),
                Work::Abort | Work::Tell(_) => {}
            }
        }
    });
    port
}

/// Which of the domains holds: that of the first entry.
fn held(domains: &[String]) -> u64 {
    domains[0].trim_start_matches('d').trim_end_matches(".example").parse().expect("one of ours")
}

async fn commit(desk: &ConfigurationDesk, domain: u64, confirm: Option<Duration>) -> u64 {
    let change = ChangeOrder { path: "domains".into(), value: json!([format!("d{domain}.example")]) };
    let by = By { author: "account alice".into(), comment: format!("comment {domain}") };
    let done = desk.commit(desk.current().revision, Proposal::Changes(vec![change]), by, confirm).await;
    done.expect("committed").revision
}

fn block_on(work: impl Future<Output = ()>) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work);
    unreachable!("it is killed")
}

/// `held N`: N holds for good. `waits N`: it holds for now. `expired N`: what had waited is over its time, and N comes back.
pub(super) fn write_for_ever(folder: &Path) -> ! {
    let path = file(folder);
    block_on(async move {
        loop {
            let booted = boot(&path).expect("it starts");
            let mut domain = held(&booted.settings.domains);
            let desk = ConfigurationDesk::new(booted.parts, node());
            if let Some(waiting) = desk.current().waiting {
                desk.confirm(waiting.revision).await.expect("confirmed");
            }
            say(&format!("held {domain}"));
            for _ in 0..2 {
                domain += 1;
                commit(&desk, domain, None).await;
                say(&format!("held {domain}"));
            }
            domain += 1;
            let revision = commit(&desk, domain, Some(Duration::from_secs(600))).await;
            say(&format!("waits {domain}"));
            desk.confirm(revision).await.expect("confirmed");
            say(&format!("held {domain}"));
            let back_to = desk.current().revision;
            let revision = commit(&desk, domain + 1, Some(Duration::from_secs(600))).await;
            say(&format!("waits {}", domain + 1));
            // As if time had run out while nobody was there; the next start sees it.
            let record = json!({ "revision": revision, "back_to": back_to, "until_ms": 1 }).to_string();
            drop(desk);
            let store = SqliteStore::open(&folder.join("state")).expect("a store");
            store.put(Kind::Confirmation, &back_to.to_string(), &record, None).expect("written");
            say(&format!("expired {domain}"));
        }
    })
}

/// Commits a change that waits, and does what a desk does when its time is over, until it is killed.
pub(super) fn wait_for_ever(folder: &Path) -> ! {
    let path = file(folder);
    block_on(async move {
        let booted = boot(&path).expect("it starts");
        let desk = ConfigurationDesk::new(booted.parts, node());
        commit(&desk, 1, None).await;
        commit(&desk, 2, Some(CONFIRM)).await;
        let until = desk.current().waiting.expect("it waits").until_ms;
        say(&format!("waits {until}"));
        desk.watch().await;
    })
}

#[derive(Debug, Default)]
struct Seen {
    kills: u32,
    acknowledged: usize,
    /// Kills before the first word: at a first start, or at another.
    before_open: u32,
    /// Kills after which what had run out had gone back.
    gone_back: u32,
    /// Kills after which a change was there whose acknowledgement the kill has swallowed.
    new: u32,
}

pub(super) fn kill_often(kills: u32, random: &mut Random) -> String {
    let mut seen = Seen::default();
    let mut folder = Folder::new("desk", kills);
    let mut certain = 0;
    for number in 0..kills {
        if number % KILLS_OF_ONE_NODE == 0 {
            folder = Folder::new("desk", number);
            certain = 0;
        }
        let (writer, lines) = start(&folder.0, "desk", (number % 3 != 0).then_some("held"));
        thread::sleep(LIFE_MAX.mul_f64(random.below_one()));
        let said = kill(writer, lines);
        certain = examine(&folder.0, certain, &said, &mut seen);
        seen.kills += 1;
    }
    assert!(seen.acknowledged > kills as usize, "it was killed before it wrote: {seen:?}");
    assert!(kills < 100 || seen.gone_back > 0, "nothing has gone back: {seen:?}");
    format!("{seen:?}")
}

/// Starts what is left and compares what holds with what was said. Answers what holds.
fn examine(folder: &Path, certain: u64, said: &[String], seen: &mut Seen) -> u64 {
    let booted = boot(&file(folder)).expect("it starts after a kill");
    let now = held(&booted.settings.domains);
    let word = said.last().and_then(|line| line.split_once(' '));
    let last: u64 = word.map_or(certain, |(_, number)| number.parse().expect("a number"));
    let allowed = match word.map(|(word, _)| word) {
        // One more may have been begun. Where nothing was said, one may have been waiting.
        Some("held") => last..=last + 1,
        // It waits, was confirmed, or its time was said to be over.
        Some("waits") => last - 1..=last,
        Some("expired") => last..=last,
        None => certain..=certain,
        Some(other) => panic!("{other}?"),
    };
    assert!(allowed.contains(&now), "{said:?}: {now} holds");
    let desk_of = booted.parts.store;
    let head = desk_of.head().expect("an answer").expect("a revision");
    assert!(head.document.contains(&format!("d{now}.example")), "the newest revision is what holds");
    if word.is_some_and(|(word, _)| word == "expired") {
        assert_eq!(head.head.author, "confirmation", "{:?}", head.head);
        seen.gone_back += 1;
    }
    // Every change that was acknowledged is in the history.
    let history = desk_of.history(None, 500).expect("an answer");
    for number in
        said.iter().filter_map(|line| line.split_once(' ')?.1.parse::<u64>().ok()).filter(|number| *number > 0)
    {
        assert!(history.iter().any(|head| head.comment == format!("comment {number}")), "{number} is in no revision");
    }
    seen.acknowledged += said.len();
    seen.before_open += u32::from(said.is_empty());
    seen.new += u32::from(word.is_some_and(|(word, _)| word == "held") && now > last);
    now
}

/// Kills about the moment at which a change goes back that nobody has confirmed.
pub(super) fn kill_at_the_deadline(random: &mut Random) -> String {
    let moments: Vec<f64> = (0..DEADLINES).map(|_| random.below_one() * 2.0 - 1.0).collect();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            moments.iter().enumerate().map(|(number, moment)| scope.spawn(move || one(number, *moment))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let before = outcomes.iter().filter(|gone| !**gone).count();
    format!("{DEADLINES} kills, {before} of them before it had gone back")
}

/// Whether it had gone back when it was killed.
fn one(number: usize, moment: f64) -> bool {
    let folder = Folder::new("deadline", u32::try_from(number).expect("few"));
    let (writer, lines) = start(&folder.0, "deadline", Some("waits"));
    thread::sleep(Duration::from_secs_f64(CONFIRM.as_secs_f64() + moment * ABOUT.as_secs_f64()));
    let said = kill(writer, lines);
    let until: u64 = said[0].strip_prefix("waits ").and_then(|until| until.parse().ok()).expect("a time");
    let store = SqliteStore::open(&folder.0.join("state")).expect("it opens after a kill");
    let head = store.head().expect("an answer").expect("a revision").head.number;
    assert!(head == 3 || head == 4, "{head}");
    let waiting = store.records(Kind::Confirmation, None, 10).expect("an answer");
    assert_eq!(waiting.len(), usize::from(head == 3), "it waits, or it has gone back: both or neither would be wrong");
    drop(store);
    // Whatever was there: when its time is over it has gone back, once.
    while now_ms() <= until {
        thread::sleep(Duration::from_millis(20));
    }
    let booted = boot(&file(&folder.0)).expect("it starts after a kill");
    assert_eq!(held(&booted.settings.domains), 1, "nobody has confirmed it");
    assert_eq!(booted.parts.store.head().expect("an answer").expect("a revision").head.number, 4);
    assert!(booted.parts.store.records(Kind::Confirmation, None, 10).expect("an answer").is_empty());
    head == 4
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
