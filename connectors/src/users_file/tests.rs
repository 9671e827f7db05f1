use std::time::Duration;

use edgeway_model::sign_in::Deployment;
use tokio::sync::mpsc::UnboundedReceiver;
use zeroize::Zeroizing;

use super::edit::{Costs, hash};
use super::*;
use crate::scratch::Scratch;

fn subject(name: &str) -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new(name).unwrap() }
}

fn password(text: &str) -> Credential {
    Credential::Password(Zeroizing::new(text.to_owned()))
}

/// A file with alice (`secret`) and bob (the same, locked).
struct Site {
    _folder: Scratch,
    path: PathBuf,
    file: Rc<UsersFile>,
    facts: UnboundedReceiver<HttpFact>,
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = Scratch::new(name);
        let path = folder.path().join("users");
        let hash = hash(b"secret", Costs::LEAST).unwrap();
        fs::write(&path, format!("alice:{hash}:1001:CSFALICE\nbob:!{hash}\n")).unwrap();
        let (teller, facts) = Teller::new();
        let file = UsersFile::open(&path, teller).unwrap();
        Self { _folder: folder, path, file, facts }
    }

    async fn check(&self, user: &str, text: &str) -> Verdict {
        self.file.check(&subject(user), &password(text)).await
    }
}

#[tokio::test]
async fn right_wrong_unknown_and_locked() {
    let site = Site::new("users-verdicts");
    let Verdict::Good(known) = site.check("Alice", "secret").await else { panic!("alice is known") };
    assert_eq!((known.user.as_str(), known.until_ms), ("alice", None));
    assert_eq!((known.numbers, known.devices), (vec!["1001".to_owned()], Some(vec!["CSFALICE".to_owned()])));
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    for (user, text) in [("alice", "Secret"), ("alice", ""), ("bob", "secret"), ("carol", "secret"), ("alice", &long)] {
        assert!(matches!(site.check(user, text).await, Verdict::Refused), "{user} {text:.20}");
    }
    let token = Credential::Bearer(Zeroizing::new("secret".to_owned()));
    assert!(matches!(site.file.check(&subject("alice"), &token).await, Verdict::Refused));
}

#[tokio::test]
async fn a_changed_file_is_taken_and_a_wrong_one_is_told() {
    let mut site = Site::new("users-changes");
    let carol = hash(b"other", Costs::LEAST).unwrap();
    fs::write(&site.path, format!("carol:{carol}\n")).unwrap();
    assert!(matches!(site.check("carol", "other").await, Verdict::Refused), "not before it has been looked at");
    site.file.look().await;
    assert!(matches!(site.check("carol", "other").await, Verdict::Good(_)));
    assert!(matches!(site.check("alice", "secret").await, Verdict::Refused));

    fs::write(&site.path, "nonsense\n").unwrap();
    site.file.look().await;
    let Ok(HttpFact::Alarm(alarm)) = site.facts.try_recv() else { panic!("an alarm") };
    assert_eq!((alarm.id, alarm.about.as_str()), (ALARM_USERS_FILE, site.path.to_str().unwrap()));
    assert!(alarm.cause.contains("line 1"), "{}", alarm.cause);
    assert!(matches!(site.check("carol", "other").await, Verdict::Good(_)), "the last good one stays");
    site.file.look().await;
    assert!(site.facts.try_recv().is_err(), "told once");

    fs::remove_file(&site.path).unwrap();
    site.file.look().await;
    assert!(matches!(site.facts.try_recv(), Ok(HttpFact::Alarm(_))));
    site.file.look().await;
    assert!(site.facts.try_recv().is_err(), "told once");

    fs::write(&site.path, format!("dave:{carol}\n")).unwrap();
    site.file.look().await;
    assert!(matches!(site.facts.try_recv(), Ok(HttpFact::AlarmOver { id: ALARM_USERS_FILE, .. })));
    assert!(matches!(site.check("dave", "other").await, Verdict::Good(_)));
}

#[tokio::test]
async fn the_watch_takes_changes_and_ends_with_the_file() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let site = Site::new("users-watch");
            let watch = tokio::task::spawn_local(UsersFile::watch(Rc::downgrade(&site.file)));
            let hash = hash(b"other", Costs::LEAST).unwrap();
            fs::write(&site.path, format!("carol:{hash}\n")).unwrap();
            while matches!(site.check("carol", "other").await, Verdict::Refused) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            drop(site);
            watch.await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn many_at_once_wait_and_the_rest_are_told_so() {
    let site = Site::new("users-many");
    let (subject, credential) = (subject("alice"), password("secret"));
    let mut checks = Vec::new();
    for _ in 0..ARGON2_WAITING_MAX + 3 {
        checks.push(site.file.check(&subject, &credential));
    }
    // All are asked before any is answered: nobody else runs in between.
    let mut verdicts = Vec::new();
    let mut pending = checks;
    std::future::poll_fn(|context| {
        pending.retain_mut(|check| match check.as_mut().poll(context) {
            std::task::Poll::Ready(verdict) => {
                verdicts.push(verdict);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let good = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Good(_))).count();
    let unavailable = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Unavailable { .. })).count();
    assert_eq!((good, unavailable, site.file.waiting.get()), (ARGON2_WAITING_MAX, 3, 0));
}

#[test]
fn a_name_nobody_has_costs_like_one_of_the_file_and_always_the_same() {
    let site = Site::new("users-cost");
    let users = site.file.users.borrow().clone();
    let nobody = UserName::new("nobody").unwrap();
    let cost = site.file.cost_of_nobody(&users, &nobody);
    assert_eq!(cost, users.by_name[&UserName::new("alice").unwrap()].hash.cost());
    assert_eq!(cost, site.file.cost_of_nobody(&users, &nobody));
    assert_eq!(site.file.cost_of_nobody(&Users::default(), &nobody).memory_kib, 19 * 1024);
}

#[test]
fn a_file_that_is_not_there_or_wrong_is_a_fault_in_words() {
    let folder = Scratch::new("users-fault");
    let (teller, _facts) = Teller::new();
    let path = folder.path().join("users");
    assert!(UsersFile::open(&path, teller.clone()).is_err());
    fs::write(&path, "alice\n").unwrap();
    let fault = UsersFile::open(&path, teller).map(|_| ()).unwrap_err().to_string();
    assert!(fault.contains("line 1") && fault.contains("users"), "{fault}");
}
