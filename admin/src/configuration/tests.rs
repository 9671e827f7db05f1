use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use edgeway_config::PasswordSettings;
use edgeway_runtime::operate::{self, Prepared, Refusal, Work};
use serde_json::json;

use super::*;
use crate::scratch::Scratch;
use crate::store::{AuditLine, MemoryStore, Record, RevisionHead, SqliteStore};

const SHARED: &str = "domains = [\"example.com\"]\n\n[sip]\nregistrars = [\"tcp:10.0.0.5:5060\"]\n";

fn file(at: &std::path::Path, shared: &str) -> PathBuf {
    let path = at.join("core.toml");
    let own = format!("node = \"core1\"\nstate_dir = {:?}\n", at.join("state"));
    let text = own + &shared.replace("[sip]\n", "[sip]\nadvertise = \"10.0.0.4:5060\"\n");
    fs::write(&path, text).expect("written");
    path
}

/// What stands in for the node: it notes what is done to it. The real one is asked in `apps/edgeway/tests`.
#[derive(Default)]
struct Noted {
    prepared: Mutex<Option<Arc<CoreSettings>>>,
    applied: Mutex<Vec<Arc<CoreSettings>>>,
    aborted: AtomicUsize,
    refuses: AtomicBool,
    /// It gets ready and does not use it, and what it does then.
    does_not_apply: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    told: Mutex<Vec<Told>>,
}

impl Noted {
    fn domains(&self) -> Vec<String> {
        self.applied.lock().expect("ours").last().map(|settings| settings.domains.clone()).unwrap_or_default()
    }

    fn alarms(&self) -> Vec<&'static str> {
        let mut standing = Vec::new();
        for told in self.told.lock().expect("ours").iter() {
            match told {
                Told::Alarm(alarm) => standing.push(alarm.id),
                Told::AlarmOver { id, .. } => standing.retain(|one| one != id),
                Told::Configuration { .. } | Told::Refused => {}
            }
        }
        standing.sort_unstable();
        standing.dedup();
        standing
    }
}

fn node() -> (OperatorPort, Arc<Noted>) {
    let (port, mut asked) = operate::port();
    let noted = Arc::new(Noted::default());
    let node = Arc::clone(&noted);
    tokio::spawn(async move {
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(_, answer) => drop(answer.send(Err(Refusal::invalid("nothing is asked")))),
                Work::Prepare(_, answer) if node.refuses.load(Ordering::SeqCst) => {
                    drop(answer.send(Err(vec!["the certificate cannot be read".to_owned()])));
                }
                Work::Prepare(settings, answer) => {
                    let restart = if settings.sip.path_headers { vec![] } else { vec!["sip.path_headers".to_owned()] };
                    *node.prepared.lock().expect("ours") = Some(settings);
                    drop(answer.send(Ok(Prepared { restart })));
                }
                Work::Apply(answer) => {
                    let prepared = node.prepared.lock().expect("ours").take().expect("it was prepared");
                    if let Some(then) = node.does_not_apply.lock().expect("ours").take() {
                        then();
                        drop(answer.send(Err(Refusal::invalid("it has none"))));
                        continue;
                    }
                    node.applied.lock().expect("ours").push(prepared);
                    drop(answer.send(Ok(())));
                }
                Work::Abort => {
                    node.aborted.fetch_add(1, Ordering::SeqCst);
                    *node.prepared.lock().expect("ours") = None;
                }
                Work::Tell(told) => node.told.lock().expect("ours").push(told),
            }
        }
    });
    (port, noted)
}

fn open(file: &std::path::Path) -> (ConfigurationDesk, Arc<Noted>) {
    let (port, noted) = node();
    (ConfigurationDesk::new(boot(file).expect("it starts").parts, port), noted)
}

fn by(author: &str) -> By {
    By { author: author.to_owned(), comment: String::new() }
}

fn domains(all: &[&str]) -> Proposal {
    Proposal::Changes(vec![ChangeOrder { path: "domains".to_owned(), value: json!(all) }])
}

#[tokio::test]
async fn what_the_file_says_is_the_first_revision_and_changes_are_further_ones() {
    let scratch = Scratch::new("desk-first");
    let file = file(scratch.path(), SHARED);
    let (desk, node) = open(&file);
    let first = desk.current();
    assert_eq!((first.revision, first.source.as_str(), first.document.as_str()), (1, "store", SHARED));

    let plan = desk.propose(domains(&["example.com", "example.org"])).await.expect("a plan");
    assert_eq!((plan.revision, plan.steps.len()), (1, 1));
    assert_eq!(plan.steps[0].after.as_deref(), Some("[\"example.com\", \"example.org\"]"));
    assert!(node.domains().is_empty() && node.aborted.load(Ordering::SeqCst) == 1, "a plan changes nothing");

    let done = desk.commit(1, domains(&["example.org"]), by("account alice"), None).await.expect("committed");
    assert_eq!((done.revision, node.domains()), (2, vec!["example.org".to_owned()]));
    let late = desk.commit(1, domains(&["late.example"]), by("account bob"), None).await;
    assert!(matches!(late, Err(ConfigurationFault::Conflict { head: 2 })), "{late:?}");
    let same = desk.commit(2, domains(&["example.org"]), by("account bob"), None).await.expect("nothing to do");
    assert_eq!((same.revision, same.steps.len()), (2, 0));

    let back = desk.rollback(1, None, by("account bob")).await.expect("rolled back");
    assert_eq!((back.revision, node.domains()), (3, vec!["example.com".to_owned()]));
    let history = desk.history(None, 10).await.expect("a history");
    let seen: Vec<_> = history.iter().map(|one| (one.revision, one.author.as_str(), one.comment.as_str())).collect();
    assert_eq!(
        seen,
        [
            (3, "account bob", "back to revision 1"),
            (2, "account alice", ""),
            (1, "file", "what the file said at the first start")
        ]
    );
    let between = desk.difference(1, 2).await.expect("both are there");
    assert_eq!(between.changes[0].after.as_deref(), Some("[\"example.org\"]"));
    drop(desk);
    let again = boot(&file).expect("it starts again");
    assert_eq!(again.settings.domains, ["example.com"]);
    assert!(again.parts.alarms.is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_line_and_changes_nothing() {
    let scratch = Scratch::new("desk-wrong");
    let (desk, node) = open(&file(scratch.path(), SHARED));
    let text = "domains = [\"a..b\"]\nsip.registrars = [\"tcp:10.0.0.5:5060\"]\nsip.path_headers = \"no\"\n";
    let Err(ConfigurationFault::Problems(problems)) = desk.propose(Proposal::Document(text.to_owned())).await else {
        panic!("it is wrong");
    };
    let seen: Vec<_> = problems.iter().map(|one| (one.path.as_str(), one.line)).collect();
    assert_eq!(seen, [("domains[0]", Some(1)), ("sip.path_headers", Some(3))]);
    for (path, value) in [
        ("node", json!("x")),
        ("domain", json!("x")),
        ("unity[\"a\"].user", json!("x")),
        ("domains", json!({ "a": 1 })),
    ] {
        let order = ChangeOrder { path: path.to_owned(), value };
        let refused = desk.propose(Proposal::Changes(vec![order])).await;
        assert!(matches!(refused, Err(ConfigurationFault::Problems(_))), "{path}");
    }
    node.refuses.store(true, Ordering::SeqCst);
    let refused = desk.commit(1, domains(&["b.example"]), by("a"), None).await;
    assert!(matches!(refused, Err(ConfigurationFault::Refused(_))), "{refused:?}");
    assert_eq!((desk.current().revision, desk.history(None, 10).await.expect("asked").len()), (1, 1));
}

#[tokio::test]
async fn what_nobody_confirms_goes_back_by_itself() {
    let scratch = Scratch::new("desk-confirm");
    let file = file(scratch.path(), SHARED);
    let (desk, node) = open(&file);
    let watched = desk.clone();
    let watch = tokio::spawn(async move { watched.watch().await });
    let done = desk.commit(1, domains(&["b.example"]), by("a"), Some(Duration::ZERO)).await.expect("committed");
    let waiting = done.waiting.expect("it waits");
    assert_eq!((waiting.revision, waiting.back_to), (2, 1));
    assert!(matches!(
        desk.commit(2, domains(&["c.example"]), by("b"), None).await,
        Err(ConfigurationFault::Waiting { revision: 2 })
    ));
    assert!(node.alarms().contains(&ALARM_WAITING), "{:?}", node.alarms());
    let until = tokio::time::Instant::now() + CONFIRM_MIN + Duration::from_secs(20);
    while desk.current().revision == 2 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((desk.current().revision, node.domains()), (3, vec!["example.com".to_owned()]));
    let newest = &desk.history(None, 1).await.expect("asked")[0];
    assert_eq!(
        (newest.author.as_str(), newest.comment.as_str()),
        ("confirmation", "revision 2 was not confirmed: back to revision 1")
    );
    assert!(!node.alarms().contains(&ALARM_WAITING));

    let done =
        desk.commit(3, domains(&["d.example"]), by("a"), Some(Duration::from_secs(60))).await.expect("committed");
    desk.confirm(done.revision).await.expect("confirmed");
    assert!(matches!(desk.confirm(done.revision).await, Err(ConfigurationFault::NotFound(_))));
    assert_eq!(desk.current().waiting, None);
    watch.abort();
    let _ = watch.await;
    drop(desk);
    assert_eq!(boot(&file).expect("it starts").settings.domains, ["d.example"]);
}

#[tokio::test]
async fn a_confirmation_that_runs_out_while_nobody_is_there_goes_back_at_the_next_start() {
    let scratch = Scratch::new("desk-away");
    let file = file(scratch.path(), SHARED);
    let (desk, _node) = open(&file);
    let done =
        desk.commit(1, domains(&["b.example"]), by("a"), Some(Duration::from_secs(600))).await.expect("committed");
    drop(desk);
    let still = boot(&file).expect("it starts");
    assert_eq!(still.settings.domains, ["b.example"], "there is time left");
    assert_eq!(still.parts.holding.waiting.as_ref().map(|waiting| waiting.revision), Some(done.revision));
    drop(still);
    let store = SqliteStore::open(&scratch.path().join("state")).expect("the store");
    let over = Waiting { revision: 2, back_to: 1, until_ms: 1 };
    store.put(Kind::Confirmation, &over.key(), &over.json(), None).expect("put");
    drop(store);
    let booted = boot(&file).expect("it starts");
    assert_eq!(
        (booted.settings.domains.as_slice(), booted.parts.holding.revision),
        (&["example.com".to_owned()][..], 3)
    );
    assert_eq!(booted.parts.holding.waiting, None);
}

#[tokio::test]
async fn an_edit_of_the_file_is_a_change_like_any_other() {
    let scratch = Scratch::new("desk-file");
    let path = file(scratch.path(), SHARED);
    let (desk, node) = open(&path);
    desk.commit(
        1,
        Proposal::Changes(vec![ChangeOrder { path: "log.level".to_owned(), value: json!("debug") }]),
        by("a"),
        None,
    )
    .await
    .expect("committed");
    assert_eq!(desk.read_file().await.expect("read"), None, "the file is as it was");
    file(scratch.path(), &SHARED.replace("example.com", "example.net"));
    let done = desk.read_file().await.expect("read").expect("it was changed");
    assert_eq!((done.revision, done.steps.len(), node.domains()), (3, 1, vec!["example.net".to_owned()]));
    assert!(desk.current().document.contains("debug"), "what was changed elsewhere stays");

    let text = fs::read_to_string(&path).expect("the file");
    fs::write(&path, format!("drain.timeout = \"3s\"\n{text}")).expect("written");
    assert_eq!(desk.read_file().await.expect("read").expect("it was changed").revision, 3, "in no revision");
    let own = node.applied.lock().expect("ours").last().expect("applied").drain_timeout;
    assert_eq!(own, Duration::from_secs(3), "what is the node's own holds, too");

    file(scratch.path(), &SHARED.replace("example.com", "no..name"));
    assert!(matches!(desk.read_file().await, Err(ConfigurationFault::Problems(_))));
    assert_eq!((node.alarms(), desk.current().revision), (vec![ALARM_FILE], 3));
    let booted = boot(&path).expect("it starts all the same");
    assert_eq!(booted.settings.domains, ["example.net"]);
    assert_eq!(booted.parts.alarms.iter().map(|alarm| alarm.id).collect::<Vec<_>>(), [ALARM_FILE]);
    drop(booted);

    // Without shared settings at all: those of the store hold, less what was taken out of the file.
    file(scratch.path(), "[sip]\nregistrars = [\"tcp:10.0.0.5:5060\"]\n");
    assert!(desk.read_file().await.is_err(), "domains are required, and they were taken away");
    file(scratch.path(), &SHARED.replace("example.com", "example.edu"));
    let booted = boot(&path).expect("it starts");
    assert_eq!(
        (booted.settings.domains.as_slice(), booted.parts.holding.revision),
        (&["example.edu".to_owned()][..], 4)
    );
}

#[tokio::test]
async fn passwords_are_sealed_bound_to_their_address_and_never_shown() {
    let scratch = Scratch::new("desk-secret");
    let path = file(scratch.path(), SHARED);
    let (desk, node) = open(&path);
    let with = |address: &str, password: &str| {
        let text =
            format!("{SHARED}\n[[unified_cm]]\naddress = \"{address}\"\nuser = \"axl\"\npassword = \"{password}\"\n");
        Proposal::Document(text)
    };
    let plan = desk.propose(with("cucm1.example.com", "hunter2")).await.expect("a plan");
    assert!(!format!("{plan:?}").contains("hunter2"));
    desk.commit(1, with("cucm1.example.com", "hunter2"), by("a"), None).await.expect("committed");
    let opened =
        |node: &Noted| node.applied.lock().expect("ours").last().expect("applied").uc.unified_cm[0].password.clone();
    assert!(matches!(opened(&node), PasswordSettings::Open(plain) if plain.expose() == "hunter2"));
    let current = desk.current();
    assert!(current.document.contains("password = \"sealed\"") && desk.export(true).contains("sealed:v1:"));
    for shown in [format!("{current:?}"), desk.export(true), format!("{:?}", desk.origins())] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for entry in fs::read_dir(scratch.path().join("state")).expect("the folder") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        assert!(!bytes.windows(7).any(|seven| seven == b"hunter2"), "no file has it");
    }
    // The mask keeps it; what is sealed for one address opens for no other.
    let kept = desk.commit(2, with("cucm1.example.com", "sealed"), by("a"), None).await.expect("nothing changes");
    assert_eq!(kept.revision, 2);
    let stolen = desk
        .export(true)
        .split("password = \"")
        .nth(1)
        .expect("a password")
        .split('"')
        .next()
        .expect("its end")
        .to_owned();
    let moved =
        desk.commit(2, with("evil.example.com", &stolen), by("b"), None).await.expect_err("it is of no use there");
    assert!(moved.to_string().contains("sealed for another setting"), "{moved}");
    let masked = desk.commit(2, with("evil.example.com", "sealed"), by("b"), None).await.expect_err("there is none");
    assert!(masked.to_string().contains("there is none yet"), "{masked}");
    let long = desk.propose(with("cucm1.example.com", "two\\nlines")).await.expect_err("no password");
    assert!(!long.to_string().contains("two"), "{long}");
    // At the next start it is opened again; with another key it is not, and the node starts all the same.
    let booted = boot(&path).expect("it starts");
    assert!(
        matches!(&booted.settings.uc.unified_cm[0].password, PasswordSettings::Open(plain) if plain.expose() == "hunter2")
    );
    drop(booted);
    fs::remove_file(scratch.path().join("state/secret.key")).expect("there is a key");
    let booted = boot(&path).expect("it starts");
    assert_eq!(booted.parts.alarms.iter().map(|alarm| alarm.id).collect::<Vec<_>>(), [ALARM_SECRET]);
    // In a file it is refused.
    file(scratch.path(), &format!("{SHARED}\n[[unity]]\naddress = \"a\"\nuser = \"b\"\npassword = \"hunter2\"\n"));
    let Err(refused) = boot(&path) else { panic!("a plain password in a file") };
    assert!(refused.to_string().contains("is a secret in plain text") && !refused.to_string().contains("hunter2"));
}

/// A store that fails when it is told to, besides what the store's own tests do to the real one.
struct Failing(MemoryStore, AtomicBool, Mutex<Option<Meanwhile>>);

/// What happens while somebody asks whether there is room.
type Meanwhile = Box<dyn FnOnce() + Send>;

impl Failing {
    fn new() -> Self {
        Self(MemoryStore::new(), AtomicBool::new(false), Mutex::new(None))
    }

    fn may(&self) -> Result<(), StoreFault> {
        if self.1.load(Ordering::SeqCst) { Err(StoreFault::Unavailable("the disk is full".to_owned())) } else { Ok(()) }
    }
}

impl Store for Failing {
    fn head(&self) -> Result<Option<Revision>, StoreFault> {
        self.0.head()
    }
    fn revision(&self, number: u64) -> Result<Option<Revision>, StoreFault> {
        self.0.revision(number)
    }
    fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionHead>, StoreFault> {
        self.0.history(before, limit)
    }
    fn commit(&self, expected: u64, new: NewRevision, also: &[Write<'_>]) -> Result<RevisionHead, StoreFault> {
        self.may()?;
        self.0.commit(expected, new, also)
    }
    fn record(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreFault> {
        self.0.record(kind, key)
    }
    fn records(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreFault> {
        self.0.records(kind, after, limit)
    }
    fn put(&self, kind: Kind, key: &str, value: &str, expected: Option<u64>) -> Result<u64, StoreFault> {
        self.may()?;
        self.0.put(kind, key, value, expected)
    }
    fn remove(&self, kind: Kind, key: &str) -> Result<bool, StoreFault> {
        self.may()?;
        self.0.remove(kind, key)
    }
    fn audit(&self, line: &AuditLine) -> Result<(), StoreFault> {
        self.0.audit(line)
    }
    fn audited(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreFault> {
        self.0.audited(before, limit)
    }
    fn has_room(&self, bytes: usize) -> Result<(), StoreFault> {
        self.may()?;
        if let Some(meanwhile) = self.2.lock().expect("ours").take() {
            meanwhile();
        }
        self.0.has_room(bytes)
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_does_not_hold() {
    let scratch = Scratch::new("desk-full");
    let path = file(scratch.path(), SHARED);
    let store = Arc::new(Failing::new());
    let opened = Arc::clone(&store);
    let booted = boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    store.1.store(true, Ordering::SeqCst);
    let fault = desk.commit(1, domains(&["b.example"]), by("a"), None).await.expect_err("the disk is full");
    assert!(fault.to_string().contains("the disk is full"), "{fault}");
    assert_eq!((desk.current().revision, node.domains().len(), node.aborted.load(Ordering::SeqCst)), (1, 0, 1));
    assert_eq!(node.alarms(), [ALARM_STORE]);
    store.1.store(false, Ordering::SeqCst);
    desk.commit(1, domains(&["b.example"]), by("a"), None).await.expect("there is room again");
    assert_eq!((node.domains(), node.alarms()), (vec!["b.example".to_owned()], Vec::new()));

    // What nobody has confirmed goes even so, and is written as soon as that is possible.
    let waiting = Waiting { revision: 3, back_to: 2, until_ms: 1 };
    desk.commit(2, domains(&["c.example"]), by("a"), Some(Duration::from_secs(600))).await.expect("committed");
    desk.0.hold(Holding { waiting: Some(waiting), ..Holding::clone(&desk.0.now()) });
    store.1.store(true, Ordering::SeqCst);
    assert!(desk.roll_back_unconfirmed().await.is_err());
    assert_eq!(node.domains(), ["b.example"], "it does not hold any more");
    assert_eq!(desk.current().revision, 2, "and is not said to");
    store.1.store(false, Ordering::SeqCst);
    assert!(matches!(desk.confirm(3).await, Err(ConfigurationFault::NotFound(_))), "it is too late");
    desk.roll_back_unconfirmed().await.expect("written");
    assert_eq!((desk.current().revision, desk.current().waiting), (4, None));
}

#[tokio::test]
async fn without_a_store_the_last_good_copy_holds() {
    let scratch = Scratch::new("desk-nostore");
    let path = file(scratch.path(), SHARED);
    let fails = |_: &std::path::Path| Err("it is damaged".to_owned());
    let alone = boot_with(&path, fails).expect("it starts");
    assert_eq!(
        (alone.parts.holding.source, alone.settings.domains.as_slice()),
        (Source::File, &["example.com".to_owned()][..])
    );
    let (desk, _node) = open(&path);
    desk.commit(1, domains(&["b.example"]), by("a"), None).await.expect("committed");
    drop(desk);
    let booted = boot_with(&path, fails).expect("it starts");
    assert_eq!(
        (booted.parts.holding.source, booted.settings.domains.as_slice()),
        (Source::LastGood, &["b.example".to_owned()][..])
    );
    let (port, noted) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    assert!(matches!(
        desk.commit(0, domains(&["c.example"]), by("a"), None).await,
        Err(ConfigurationFault::Unavailable(_))
    ));
    let watched = desk.clone();
    let watch = tokio::spawn(async move { watched.watch().await });
    while noted.told.lock().expect("ours").len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(noted.alarms(), [ALARM_STORE]);
    watch.abort();
}

#[tokio::test]
async fn a_store_that_comes_later_is_used_without_a_restart() {
    let scratch = Scratch::new("desk-late");
    let path = file(scratch.path(), SHARED);
    // As another core has left it: a second revision that this node has no copy of.
    let store = Arc::new(MemoryStore::new());
    let opened = Arc::clone(&store);
    let first = boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts");
    let (port, _) = node();
    let desk = ConfigurationDesk::new(first.parts, port);
    desk.commit(1, domains(&["b.example"]), by("a"), None).await.expect("committed");
    drop(desk);
    let _ = fs::remove_file(scratch.path().join("state/last-good.toml"));

    let full = Arc::new(AtomicBool::new(true));
    let (is_full, opened) = (Arc::clone(&full), Arc::clone(&store));
    let late = boot_with(&path, move |_| match is_full.load(Ordering::SeqCst) {
        true => Err("there is no room".to_owned()),
        false => Ok(Arc::clone(&opened) as Arc<dyn Store>),
    });
    let late = late.expect("it starts");
    assert_eq!(late.settings.domains, ["example.com"], "as the file says");
    let (port, node) = node();
    let shared = Arc::clone(&late.parts.store);
    let desk = ConfigurationDesk::new(late.parts, port);
    let waiting = tokio::spawn({
        let desk = desk.clone();
        async move { desk.store_opened().await }
    });
    assert!(desk.heal().await && !desk.is_store_open());
    let refused = desk.commit(0, domains(&["c.example"]), by("a"), None).await.expect_err("there is no store");
    assert!(refused.to_string().contains("there is no room"), "{refused}");
    assert!(matches!(shared.head(), Err(StoreFault::Unavailable(why)) if why.contains("there is no room")));
    assert!(node.domains().is_empty());

    full.store(false, Ordering::SeqCst);
    assert!(!desk.heal().await && desk.is_store_open());
    waiting.await.expect("it is told");
    assert_eq!(node.domains(), ["b.example"], "what the store holds is used");
    assert_eq!((desk.current().revision, node.alarms()), (2, Vec::new()));
    desk.commit(2, domains(&["c.example"]), by("a"), None).await.expect("committed");
    assert_eq!(shared.head().expect("an answer").expect("one").head.number, 3);
}

/// A core that was started beside a damaged store, whose configuration only the last good copy still has.
fn beside_a_damaged_store(scratch: &Scratch) -> (PathBuf, Booted) {
    let path = file(scratch.path(), SHARED);
    let state = scratch.path().join("state");
    drop(boot(&path).expect("it starts"));
    fs::write(state.join("last-good.toml"), SHARED.replace("example.com", "copied.example")).expect("written");
    drop(take_store_away(&state));
    fs::write(state.join("store.db"), "no store").expect("written");
    let booted = boot(&path).expect("it starts");
    assert_eq!(booted.settings.domains, ["copied.example"], "the last good copy holds");
    (state, booted)
}

fn take_store_away(state: &std::path::Path) -> Vec<u8> {
    let was = fs::read(state.join("store.db")).expect("there");
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    was
}

#[tokio::test]
async fn no_new_store_takes_the_place_of_a_damaged_one_that_is_being_repaired() {
    let scratch = Scratch::new("desk-repaired");
    let (state, booted) = beside_a_damaged_store(&scratch);
    let copy = fs::read_to_string(state.join("last-good.toml")).expect("there");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    take_store_away(&state);
    assert!(desk.heal().await && !desk.is_store_open());
    assert!(!state.join("store.db").exists(), "none is made");
    assert_eq!(node.alarms(), [ALARM_STORE]);
    // Nor is one used that somebody else has made and that holds nothing.
    drop(SqliteStore::open(&state).expect("made"));
    assert!(desk.heal().await && !desk.is_store_open());
    assert!(node.domains().is_empty() && node.alarms() == [ALARM_STORE]);
    assert_eq!(SqliteStore::open(&state).expect("there").head().expect("asked"), None, "it holds nothing still");
    assert_eq!(fs::read_to_string(state.join("last-good.toml")).expect("there"), copy);
}

#[tokio::test]
async fn the_last_good_copy_is_not_what_the_node_refuses_though_the_store_is_there_again() {
    let scratch = Scratch::new("desk-refused");
    let (state, booted) = beside_a_damaged_store(&scratch);
    let copy = fs::read_to_string(state.join("last-good.toml")).expect("there");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    take_store_away(&state);
    let back_up = SqliteStore::open(&state).expect("made");
    let document = SHARED.replace("example.com", "stored.example");
    let new = NewRevision { author: "a".to_owned(), at_ms: 1, comment: String::new(), document };
    back_up.commit(0, new, &[]).expect("committed");
    drop(back_up);
    node.refuses.store(true, Ordering::SeqCst);
    assert!(desk.heal().await && !desk.is_store_open());
    assert_eq!(fs::read_to_string(state.join("last-good.toml")).expect("there"), copy, "it is as it was");
    node.refuses.store(false, Ordering::SeqCst);
    assert!(!desk.heal().await && desk.is_store_open());
    assert_eq!(node.domains(), ["stored.example"]);
    let copy = fs::read_to_string(state.join("last-good.toml")).expect("there");
    assert!(copy.contains("stored.example"), "{copy}");
}

#[tokio::test]
async fn the_alarm_of_a_full_disk_is_over_when_there_is_room_and_what_the_file_said_is_taken_then() {
    let scratch = Scratch::new("desk-room");
    let path = file(scratch.path(), SHARED);
    let store = Arc::new(Failing::new());
    let opened = Arc::clone(&store);
    let booted = boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    store.1.store(true, Ordering::SeqCst);
    file(scratch.path(), &SHARED.replace("example.com", "b.example"));
    desk.read_file().await.expect_err("the disk is full");
    assert_eq!((node.domains(), node.alarms()), (Vec::<String>::new(), vec![ALARM_FILE, ALARM_STORE]));
    assert!(desk.heal().await, "it is full still");
    assert_eq!(node.alarms(), [ALARM_FILE, ALARM_STORE]);
    store.1.store(false, Ordering::SeqCst);
    assert!(!desk.heal().await);
    assert_eq!((node.domains(), node.alarms()), (vec!["b.example".to_owned()], Vec::new()));
    assert!(!desk.heal().await, "there is nothing to try");
}

#[tokio::test]
async fn a_store_that_comes_full_goes_on_being_alarmed_and_the_file_is_taken_when_there_is_room() {
    let scratch = Scratch::new("desk-late-full");
    let path = file(scratch.path(), SHARED);
    let store = Arc::new(Failing::new());
    let opened = Arc::clone(&store);
    drop(boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts"));
    let held = Arc::new(AtomicBool::new(true));
    let (is_held, opened) = (Arc::clone(&held), Arc::clone(&store));
    let late = boot_with(&path, move |_| match is_held.load(Ordering::SeqCst) {
        true => Err("another process holds it".to_owned()),
        false => Ok(Arc::clone(&opened) as Arc<dyn Store>),
    });
    let (port, node) = node();
    let desk = ConfigurationDesk::new(late.expect("it starts").parts, port);
    file(scratch.path(), &SHARED.replace("example.com", "b.example"));
    store.1.store(true, Ordering::SeqCst);
    held.store(false, Ordering::SeqCst);
    assert!(desk.heal().await && desk.is_store_open());
    assert_eq!((node.domains(), node.alarms()), (vec!["example.com".to_owned()], vec![ALARM_STORE]));
    assert!(desk.heal().await, "it is full still");
    store.1.store(false, Ordering::SeqCst);
    assert!(!desk.heal().await);
    assert_eq!((node.domains(), node.alarms()), (vec!["b.example".to_owned()], Vec::new()));
}

#[tokio::test]
async fn the_alarm_of_what_fails_while_room_is_looked_for_stays() {
    let scratch = Scratch::new("desk-newer");
    let path = file(scratch.path(), SHARED);
    let store = Arc::new(Failing::new());
    let opened = Arc::clone(&store);
    let booted = boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    desk.0.store_failed("a line was not taken".to_owned(), 10).await;
    let (inner, runtime) = (Arc::clone(&desk.0), tokio::runtime::Handle::current());
    let fails = move || runtime.block_on(inner.store_failed("a document was not taken".to_owned(), 1_000));
    *store.2.lock().expect("ours") = Some(Box::new(fails));
    assert!(desk.heal().await, "there is room for the line, and not for the document");
    // The node answers after it has heard all that was told before.
    desk.propose(domains(&["b.example"])).await.expect("a plan");
    assert_eq!(node.alarms(), [ALARM_STORE]);
    assert!(!desk.heal().await);
    desk.propose(domains(&["b.example"])).await.expect("a plan");
    assert_eq!(node.alarms(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_disk_that_hangs_while_the_store_is_opened_keeps_nobody_waiting() {
    let scratch = Scratch::new("desk-hangs");
    let path = file(scratch.path(), SHARED);
    let (hung, hangs) = std::sync::mpsc::channel::<()>();
    let (hangs, is_start) = (Mutex::new(hangs), AtomicBool::new(true));
    let booted = boot_with(&path, move |_| {
        if !is_start.swap(false, Ordering::SeqCst) {
            let _ = hangs.lock().expect("ours").recv();
        }
        Err("the disk does not answer".to_owned())
    });
    let (port, _node) = node();
    let desk = ConfigurationDesk::new(booted.expect("it starts").parts, port);
    let healing = tokio::spawn({
        let desk = desk.clone();
        async move { desk.heal().await }
    });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let planned = tokio::time::timeout(Duration::from_secs(20), desk.propose(domains(&["b.example"]))).await;
    assert!(!healing.is_finished(), "it hangs");
    drop(hung);
    assert!(matches!(planned, Ok(Ok(_))), "a plan waits for no disk");
    assert!(healing.await.expect("it ends"));
}

#[tokio::test]
async fn a_damaged_store_is_not_touched_and_no_reason_not_to_start() {
    let scratch = Scratch::new("desk-damaged");
    let path = file(scratch.path(), SHARED);
    drop(boot(&path).expect("it starts"));
    let store = scratch.path().join("state/store.db");
    for beside in ["store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(scratch.path().join("state").join(beside));
    }
    fs::write(&store, b"this was a store once, and now it is not").expect("written");
    let booted = boot(&path).expect("it starts");
    assert_eq!(booted.settings.domains, ["example.com"]);
    assert_eq!(booted.parts.alarms.iter().map(|alarm| alarm.id).collect::<Vec<_>>(), [ALARM_STORE]);
    assert_eq!(fs::read(&store).expect("there"), b"this was a store once, and now it is not");
}

#[tokio::test]
async fn what_has_begun_is_finished_though_nobody_listens_any_more() {
    let scratch = Scratch::new("desk-gone");
    let (desk, node) = open(&file(scratch.path(), SHARED));
    {
        let commit = desk.commit(1, domains(&["b.example"]), by("a"), None);
        tokio::pin!(commit);
        let begun = tokio::time::timeout(Duration::from_micros(1), &mut commit).await;
        drop(begun);
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while node.domains().is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.domains(), ["b.example"]);
    assert_eq!(desk.history(None, 10).await.expect("asked").len(), 2);
}

#[tokio::test]
async fn a_restart_that_is_needed_is_said_until_it_is_not() {
    let scratch = Scratch::new("desk-restart");
    let (desk, node) = open(&file(scratch.path(), SHARED));
    let order =
        |value: serde_json::Value| Proposal::Changes(vec![ChangeOrder { path: "sip.path_headers".to_owned(), value }]);
    let done = desk.commit(1, order(json!(false)), by("a"), None).await.expect("committed");
    assert_eq!(done.steps[0].impact, "restart");
    assert_eq!((desk.current().restart, node.alarms()), (vec!["sip.path_headers".to_owned()], vec![ALARM_RESTART]));
    desk.commit(2, order(serde_json::Value::Null), by("a"), None).await.expect("committed");
    assert!(desk.current().restart.is_empty() && node.alarms().is_empty(), "it is as it was at the start");
}

#[tokio::test]
async fn what_the_node_did_not_use_is_taken_back_with_its_confirmation_as_soon_as_the_store_can() {
    let scratch = Scratch::new("desk-owed");
    let path = file(scratch.path(), SHARED);
    let store = Arc::new(Failing::new());
    let opened = Arc::clone(&store);
    let booted = boot_with(&path, move |_| Ok(Arc::clone(&opened) as Arc<dyn Store>)).expect("it starts");
    let (port, node) = node();
    let desk = ConfigurationDesk::new(booted.parts, port);
    let minute = Some(Duration::from_secs(60));

    *node.does_not_apply.lock().expect("ours") = Some(Box::new(|| ()));
    let refused = desk.commit(1, domains(&["b.example"]), by("a"), minute).await;
    assert!(matches!(refused, Err(ConfigurationFault::Refused(_))), "{refused:?}");
    assert_eq!((desk.current().revision, desk.current().waiting), (3, None));
    assert_eq!(Waiting::read(store.as_ref()).expect("asked"), None, "nothing waits");

    let full = Arc::clone(&store);
    *node.does_not_apply.lock().expect("ours") = Some(Box::new(move || full.1.store(true, Ordering::SeqCst)));
    let refused = desk.commit(3, domains(&["b.example"]), by("a"), minute).await;
    assert!(matches!(refused, Err(ConfigurationFault::Refused(_))), "{refused:?}");
    assert_eq!(node.alarms(), [ALARM_REVISION]);
    let still = desk.commit(3, domains(&["c.example"]), by("a"), None).await;
    assert!(matches!(still, Err(ConfigurationFault::Store(_))), "it says why: {still:?}");
    store.1.store(false, Ordering::SeqCst);
    desk.take_back().await.expect("there is room again");
    assert_eq!((desk.current().revision, node.alarms()), (5, Vec::new()));
    assert_eq!(Waiting::read(store.as_ref()).expect("asked"), None, "nothing waits");
    desk.commit(5, domains(&["c.example"]), by("a"), None).await.expect("it goes on");
    assert_eq!(node.domains(), ["c.example"]);
}
