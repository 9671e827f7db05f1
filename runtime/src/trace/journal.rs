//! The last attempts. Refusals and successes are kept apart, so that an ordinary day does not wash out what went wrong,
//! and nobody fills it alone: a user and an address may each hold so many refusals, and when all places are taken the
//! oldest of whichever address holds most gives way.
//!
//! Written from the reactor and from the HTTP thread, hence the lock; it is held for a few map operations.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use edgeway_model::attempt::{Attempt, Code, Kind, Reason};
use edgeway_model::{NodeId, Role};
use edgeway_policy::rate::Prefix;
use serde_json::{Value, json};

use super::limits::{
    REFUSALS_MAX, REFUSALS_PER_ADDRESS_MAX, REFUSALS_PER_USER_MAX, SUCCESSES_MAX, WORDS_CHARACTERS_MAX,
};
use crate::clock::unix_ms;

/// What a node remembers of attempts.
#[derive(Debug, Default)]
pub struct Journal {
    node: OnceLock<(NodeId, Role)>,
    entries: Mutex<Entries>,
}

/// Whom to look for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Part of the user's name, in lower case.
    pub(super) user: Option<String>,
    /// The whole code.
    pub(super) code: Option<Code>,
    /// The client's address as text.
    pub(super) client: Option<String>,
    /// Older than this one.
    pub(super) before: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    at_ms: u64,
    attempt: Attempt,
    /// How often, where the same is one entry.
    times: u64,
}

/// Whose place an entry takes.
type Place = Option<Prefix>;
/// What makes two successes the same.
type Same = (Kind, Option<String>, Place);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    refusals: BTreeMap<u64, Entry>,
    of_user: HashMap<String, VecDeque<u64>>,
    of_place: HashMap<Place, VecDeque<u64>>,
    by_fill: BTreeSet<(usize, Place)>,
    successes: BTreeMap<u64, Entry>,
    last_success: HashMap<Same, u64>,
}

impl Journal {
    /// Says whose it is; the first who says so is believed.
    pub(crate) fn belongs_to(&self, node: NodeId, role: Role) {
        let _ = self.node.set((node, role));
    }

    /// Takes in what became of an attempt, now.
    pub fn record(&self, attempt: Attempt) {
        self.record_at(attempt, unix_ms());
    }

    /// Takes in a refusal of this node's own, and gives it a code for the client; none where the system has no
    /// randomness.
    pub fn refuse(&self, mut attempt: Attempt) -> Option<Code> {
        attempt.code = fresh_code();
        let code = attempt.code;
        self.record(attempt);
        code
    }

    fn record_at(&self, mut attempt: Attempt, at_ms: u64) {
        let bounded = |text: &str| text.chars().take(WORDS_CHARACTERS_MAX).collect::<String>();
        attempt.detail = bounded(&attempt.detail);
        attempt.trace = bounded(&attempt.trace);
        attempt.user = attempt.user.map(|user| edgeway_model::Pii::new(bounded(user.reveal())));
        self.lock().take(Entry { at_ms, attempt, times: 1 });
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Whoever panicked with it left at worst one entry that nobody finds.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Newest first; the number of the last one that was looked at where there are more, and how many fit in all. The
    /// reactor waits for it, so a page costs what is on it; with a filter every entry is looked at once, for the count.
    pub(super) fn list(&self, filter: &Filter, limit: usize) -> (Vec<Value>, Option<u64>, usize) {
        let entries = self.lock();
        let fits = |entry: &Entry| filter.fits(&entry.attempt);
        let total = match filter.takes_all() {
            true => entries.refusals.len() + entries.successes.len(),
            false => entries.refusals.values().chain(entries.successes.values()).filter(|entry| fits(entry)).count(),
        };
        let older = ..filter.before.unwrap_or(u64::MAX);
        let (refusals, successes) = (entries.refusals.range(older).rev(), entries.successes.range(older).rev());
        let mut rest = newest_first(refusals, successes).filter(|(_, entry)| fits(entry));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next = rest.next().and(page.last()).map(|(number, _)| **number);
        (page.iter().map(|(_, entry)| self.json(entry)).collect(), next, total)
    }

    fn json(&self, entry: &Entry) -> Value {
        let Entry { at_ms, attempt, times } = entry;
        let (edge, core) = match self.node.get() {
            Some((node, Role::Edge)) => (Some(node), None),
            Some((node, Role::Core)) => (attempt.edge.as_ref(), Some(node)),
            None => (attempt.edge.as_ref(), None),
        };
        json!({
            "at_ms": at_ms,
            "user": attempt.user.as_ref().map(|user| user.reveal()),
            "client": attempt.client.as_ref().map(|client| client.reveal().to_string()),
            "edge": edge.map(NodeId::as_str),
            "core": core.map(NodeId::as_str),
            "kind": attempt.kind.label(),
            "outcome": if attempt.reason == Reason::Accepted { "accepted" } else { "refused" },
            "reason": attempt.reason.id(),
            "words": attempt.reason.words(),
            "code": attempt.code.map(|code| code.to_string()),
            "detail": attempt.detail,
            "trace": attempt.trace,
            "times": times,
        })
    }
}

impl Filter {
    fn takes_all(&self) -> bool {
        self.user.is_none() && self.code.is_none() && self.client.is_none()
    }

    /// Nothing is written down that is not asked for: it is asked of thousands at once.
    fn fits(&self, attempt: &Attempt) -> bool {
        let is_of = |wanted: &String| name_of(attempt).is_some_and(|user| user.contains(wanted));
        let is_from =
            |wanted: &String| attempt.client.as_ref().is_some_and(|client| client.reveal().to_string() == *wanted);
        self.code.is_none_or(|wanted| attempt.code == Some(wanted))
            && self.user.as_ref().is_none_or(is_of)
            && self.client.as_ref().is_none_or(is_from)
    }
}

/// Two lists, each newest first, as one.
fn newest_first<'a, T: 'a>(
    one: impl Iterator<Item = (&'a u64, T)>,
    other: impl Iterator<Item = (&'a u64, T)>,
) -> impl Iterator<Item = (&'a u64, T)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((a, _)), Some((b, _))) if a < b => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

impl Entries {
    fn take(&mut self, entry: Entry) {
        let number = self.next;
        self.next += 1;
        if entry.attempt.reason == Reason::Accepted {
            self.succeeded(number, entry)
        } else {
            self.refused(number, entry)
        }
    }

    fn succeeded(&mut self, number: u64, mut entry: Entry) {
        let same = (entry.attempt.kind, name_of(&entry.attempt), place_of(&entry.attempt));
        if let Some(before) = self.last_success.insert(same, number).and_then(|before| self.successes.remove(&before)) {
            entry.times += before.times;
        }
        self.successes.insert(number, entry);
        while self.successes.len() > SUCCESSES_MAX
            && let Some((_, oldest)) = self.successes.pop_first()
        {
            let attempt = &oldest.attempt;
            self.last_success.remove(&(attempt.kind, name_of(attempt), place_of(attempt)));
        }
    }

    fn refused(&mut self, number: u64, entry: Entry) {
        let (user, place) = (name_of(&entry.attempt), place_of(&entry.attempt));
        let of_user = user.as_ref().and_then(|user| self.of_user.get(user));
        if let Some(oldest) = of_user.filter(|held| held.len() >= REFUSALS_PER_USER_MAX).and_then(|held| held.front()) {
            self.forget(*oldest);
        }
        let of_place = self.of_place.get(&place).filter(|held| held.len() >= REFUSALS_PER_ADDRESS_MAX);
        if let Some(oldest) = of_place.and_then(|held| held.front()) {
            self.forget(*oldest);
        }
        if self.refusals.len() >= REFUSALS_MAX
            && let Some((_, fullest)) = self.by_fill.last()
            && let Some(oldest) = self.of_place.get(fullest).and_then(|held| held.front())
        {
            self.forget(*oldest);
        }
        if let Some(user) = user {
            self.of_user.entry(user).or_default().push_back(number);
        }
        let held = self.of_place.entry(place).or_default();
        self.by_fill.remove(&(held.len(), place));
        held.push_back(number);
        self.by_fill.insert((held.len(), place));
        self.refusals.insert(number, entry);
    }

    fn forget(&mut self, number: u64) {
        let Some(entry) = self.refusals.remove(&number) else { return };
        if let Some(user) = name_of(&entry.attempt)
            && let Some(held) = self.of_user.get_mut(&user)
        {
            held.retain(|one| *one != number);
            if held.is_empty() {
                self.of_user.remove(&user);
            }
        }
        let place = place_of(&entry.attempt);
        if let Some(held) = self.of_place.get_mut(&place) {
            self.by_fill.remove(&(held.len(), place));
            held.retain(|one| *one != number);
            if held.is_empty() {
                self.of_place.remove(&place);
            } else {
                self.by_fill.insert((held.len(), place));
            }
        }
    }
}

fn name_of(attempt: &Attempt) -> Option<String> {
    attempt.user.as_ref().map(|user| user.reveal().to_lowercase())
}

fn place_of(attempt: &Attempt) -> Place {
    attempt.client.as_ref().map(|client| Prefix::from(*client.reveal()))
}

fn fresh_code() -> Option<Code> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(Code::from_random(u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use edgeway_model::Pii;

    use super::*;

    fn attempt(user: &str, client: u32, reason: Reason) -> Attempt {
        Attempt {
            kind: Kind::SignIn,
            reason,
            user: Some(Pii::new(user.to_owned())),
            client: Some(Pii::new(IpAddr::V4(Ipv4Addr::from(client)))),
            edge: None,
            code: None,
            detail: String::new(),
            trace: "t".to_owned(),
        }
    }

    fn found(journal: &Journal, user: &str) -> usize {
        journal.list(&Filter { user: Some(user.to_owned()), ..Filter::default() }, usize::MAX).2
    }

    #[test]
    fn a_noisy_stranger_washes_out_nobody() {
        let journal = Journal::default();
        for number in 0..100 {
            journal.record(attempt(&format!("quiet{number}-"), 0x0a00_0000 + number, Reason::WrongCredentials));
        }
        // One address with all names there are, then one name from all addresses, then both.
        for number in 0..20_000 {
            journal.record(attempt(&format!("name{number}"), 1, Reason::WrongCredentials));
            journal.record(attempt("victim", 0xc000_0000 + number, Reason::WrongCredentials));
        }
        assert_eq!(found(&journal, "victim"), REFUSALS_PER_USER_MAX);
        assert_eq!(found(&journal, "name"), REFUSALS_PER_ADDRESS_MAX);
        for number in 0..20_000 {
            journal.record(attempt(&format!("flood{number}"), 2 + number % 50, Reason::WrongCredentials));
        }
        let entries = journal.lock();
        assert_eq!(entries.refusals.len(), REFUSALS_MAX);
        assert_eq!(entries.of_place.values().map(VecDeque::len).sum::<usize>(), REFUSALS_MAX);
        assert_eq!(entries.of_user.values().map(VecDeque::len).sum::<usize>(), REFUSALS_MAX);
        assert_eq!(entries.by_fill.len(), entries.of_place.len());
        drop(entries);
        for number in 0..100 {
            assert_eq!(found(&journal, &format!("quiet{number}-")), 1, "{number}");
        }
    }

    #[test]
    fn successes_are_compact_and_push_out_no_refusal() {
        let journal = Journal::default();
        let code = journal.refuse(attempt("sato", 7, Reason::SignInLimit)).expect("randomness");
        for _ in 0..10_000 {
            journal.record(attempt("sato", 7, Reason::Accepted));
        }
        for number in 0..10_000 {
            journal.record(attempt(&format!("user{number}"), number, Reason::Accepted));
        }
        assert_eq!(journal.lock().last_success.len(), SUCCESSES_MAX);
        let (list, _, _) = journal.list(&Filter { code: Some(code), ..Filter::default() }, 10);
        assert_eq!(list.len(), 1);
        assert_eq!((list[0]["user"].as_str(), list[0]["reason"].as_str()), (Some("sato"), Some("sign_in_limit")));
        journal.record(attempt("sato", 7, Reason::Accepted));
        journal.record(attempt("sato", 7, Reason::Accepted));
        let (list, next, total) = journal.list(&Filter { user: Some("sato".into()), ..Filter::default() }, 1);
        assert_eq!((list[0]["outcome"].as_str(), list[0]["times"].as_u64(), total), (Some("accepted"), Some(2), 2));
        // All of them, page by page: each once, newest first.
        let (mut before, mut pages, mut seen) = (None, 0, Vec::new());
        loop {
            let (list, more, all) = journal.list(&Filter { before, ..Filter::default() }, 500);
            assert_eq!(all, SUCCESSES_MAX + 1);
            seen.extend(list.iter().map(|one| one["user"].as_str().unwrap_or_default().to_owned()));
            pages += 1;
            match more {
                Some(number) => before = Some(number),
                None => break,
            }
        }
        assert_eq!((seen.len(), pages), (SUCCESSES_MAX + 1, 9));
        assert_eq!((seen[0].as_str(), seen[1].as_str(), seen[SUCCESSES_MAX].as_str()), ("sato", "user9999", "sato"));
        let older = Filter { user: Some("sato".into()), before: next, ..Filter::default() };
        let (list, next, _) = journal.list(&older, 1);
        assert_eq!((list[0]["outcome"].as_str(), next), (Some("refused"), None));
    }
}
