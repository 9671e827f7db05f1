//! Wrong answers to the digest challenges this core makes: how often somebody may guess at a password.
//!
//! ```text
//!   one connection            GUESSES_PER_FLOW_MAX wrong ones, then it is refused
//!   one user, strangers       GUESSES_PER_USER_MAX wrong ones from connections and addresses that have proven nothing
//!   one user, one address     the same again for each address the user has proven itself from
//! ```
//! Whoever is over a bound is answered without a look at what is shown, until the window ends. A connection that
//! has proven itself to be the user's is held to the first bound only, and what is right is never counted: a
//! stranger who guesses shuts no phone of the user's out.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

use edgeway_model::sign_in::Subject;
use edgeway_model::{FlowId, Moment};

use crate::limits::{
    GUESS_WINDOW, GUESSED_USERS_MAX, GUESSERS_MAX, GUESSES_PER_FLOW_MAX, GUESSES_PER_USER_MAX, HOMES_MAX,
    HOMES_PER_USER_MAX,
};

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Moment,
    wrong: u32,
}

impl Window {
    const fn new(now: Moment) -> Self {
        Self { began: now, wrong: 0 }
    }

    fn count(&mut self, now: Moment) {
        if now >= self.began + GUESS_WINDOW {
            *self = Self::new(now);
        }
        self.wrong += 1;
    }

    /// How long, in seconds, nothing more is looked at.
    fn shut(&self, most: u32, now: Moment) -> Option<u64> {
        let ends = self.began + GUESS_WINDOW;
        (self.wrong >= most && now < ends).then(|| ends.since(now).as_secs() + 1)
    }
}

/// A connection that has shown credentials.
#[derive(Debug)]
struct Speaker {
    address: IpAddr,
    window: Window,
}

/// A table in which the oldest gives way.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), most }
    }

    fn enter(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(key) {
            while self.map.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.map.entry(key.clone()).or_insert_with(new)
    }
}

/// A user, and the address of its own it is guessed at from; `None`: any other.
type Guessed = (Subject, Option<IpAddr>);

/// Who has guessed wrong.
#[derive(Debug)]
pub(crate) struct Guesses {
    speakers: HashMap<FlowId, Speaker>,
    users: Bounded<Guessed, Window>,
    /// Addresses that users have proven themselves from.
    homes: Bounded<Subject, VecDeque<IpAddr>>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { speakers: HashMap::new(), users: Bounded::new(GUESSED_USERS_MAX), homes: Bounded::new(HOMES_MAX) }
    }
}

impl Guesses {
    /// A connection is about to show credentials.
    pub(crate) fn speaks(&mut self, flow: FlowId, address: IpAddr, now: Moment) {
        if self.speakers.len() < GUESSERS_MAX || self.speakers.contains_key(&flow) {
            self.speakers.entry(flow).or_insert_with(|| Speaker { address, window: Window::new(now) });
        }
    }

    /// For how many seconds what a connection shows is not looked at. `user`: whom it wants to be; `is_its`: that
    /// it has proven to be before.
    pub(crate) fn shut(&self, flow: FlowId, user: Option<&Subject>, is_its: bool, now: Moment) -> Option<u64> {
        let speaker = self.speakers.get(&flow);
        let of_flow = speaker.and_then(|speaker| speaker.window.shut(GUESSES_PER_FLOW_MAX, now));
        let of_user = || {
            let window = self.users.map.get(&self.guessed(flow, user?))?;
            window.shut(GUESSES_PER_USER_MAX, now)
        };
        of_flow.or_else(|| if is_its { None } else { of_user() })
    }

    /// What was shown is wrong.
    pub(crate) fn wrong(&mut self, flow: FlowId, user: Option<&Subject>, is_its: bool, now: Moment) {
        if let Some(speaker) = self.speakers.get_mut(&flow) {
            speaker.window.count(now);
        }
        if let Some(user) = user.filter(|_| !is_its) {
            let key = self.guessed(flow, user);
            self.users.enter(&key, || Window::new(now)).count(now);
        }
    }

    /// What was shown is right, and was not shown before.
    pub(crate) fn right(&mut self, flow: FlowId, user: &Subject, now: Moment) {
        let Some(speaker) = self.speakers.get_mut(&flow) else { return };
        speaker.window = Window::new(now);
        let homes = self.homes.enter(user, VecDeque::new);
        homes.retain(|known| *known != speaker.address);
        homes.push_back(speaker.address);
        if homes.len() > HOMES_PER_USER_MAX {
            homes.pop_front();
        }
    }

    /// A user has signed in with a password the authority has taken: what was guessed before is no matter.
    pub(crate) fn signed_in(&mut self, user: &Subject) {
        let homes = self.homes.map.get(user).into_iter().flatten().copied().map(Some);
        for home in homes.chain([None]) {
            if let Some(window) = self.users.map.get_mut(&(user.clone(), home)) {
                window.wrong = 0;
            }
        }
    }

    pub(crate) fn flow_closed(&mut self, flow: FlowId) {
        self.speakers.remove(&flow);
    }

    pub(crate) fn flows_closed(&mut self, is_gone: impl Fn(FlowId) -> bool) {
        self.speakers.retain(|flow, _| !is_gone(*flow));
    }

    fn guessed(&self, flow: FlowId, user: &Subject) -> Guessed {
        let address = self.speakers.get(&flow).map(|speaker| speaker.address);
        let homes = self.homes.map.get(user);
        (user.clone(), address.filter(|address| homes.is_some_and(|homes| homes.contains(address))))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use edgeway_model::sign_in::{Deployment, UserName};

    use super::*;

    fn subject(name: &str) -> Subject {
        Subject { deployment: Deployment::default_one(), user: UserName::new(name).expect("legal") }
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    const START: Moment = Moment::from_secs(5);

    #[test]
    fn strangers_shut_out_strangers_only_and_for_a_time() {
        let (mut guesses, alice) = (Guesses::default(), subject("alice"));
        guesses.speaks(FlowId(2), address(1), START);
        guesses.right(FlowId(2), &alice, START);
        for number in 0..GUESSES_PER_USER_MAX {
            let flow = FlowId(100 + 2 * u64::from(number));
            guesses.speaks(flow, address(9), START);
            assert_eq!(guesses.shut(flow, Some(&alice), false, START), None);
            guesses.wrong(flow, Some(&alice), false, START);
        }
        guesses.speaks(FlowId(4), address(8), START);
        assert_eq!(guesses.shut(FlowId(4), Some(&alice), false, START), Some(GUESS_WINDOW.as_secs() + 1));
        assert_eq!(guesses.shut(FlowId(4), Some(&subject("bob")), false, START), None);
        assert_eq!(guesses.shut(FlowId(2), Some(&alice), true, START), None, "a proven connection");
        guesses.speaks(FlowId(6), address(1), START);
        assert_eq!(guesses.shut(FlowId(6), Some(&alice), false, START), None, "her own address");
        assert_eq!(guesses.shut(FlowId(4), Some(&alice), false, START + GUESS_WINDOW), None);
        guesses.signed_in(&alice);
        assert_eq!(guesses.shut(FlowId(4), Some(&alice), false, START), None);
    }

    #[test]
    fn a_connection_guesses_a_few_times_whoever_it_wants_to_be() {
        let mut guesses = Guesses::default();
        guesses.speaks(FlowId(2), address(1), START);
        for number in 0..GUESSES_PER_FLOW_MAX {
            assert_eq!(guesses.shut(FlowId(2), None, false, START), None);
            guesses.wrong(FlowId(2), Some(&subject(&format!("user{number}"))), false, START);
        }
        for is_its in [true, false] {
            assert!(guesses.shut(FlowId(2), Some(&subject("alice")), is_its, START).is_some());
        }
        guesses.flow_closed(FlowId(2));
        assert_eq!(guesses.shut(FlowId(2), None, false, START), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guesses = Guesses::default();
        for number in 0..=GUESSED_USERS_MAX {
            guesses.wrong(FlowId(2), Some(&subject(&format!("user{number}"))), false, START);
        }
        assert_eq!((guesses.users.map.len(), guesses.users.order.len()), (GUESSED_USERS_MAX, GUESSED_USERS_MAX));
        for last in 0..=u8::MAX {
            let flow = FlowId(2 * u64::from(last));
            guesses.speaks(flow, address(last), START);
            guesses.right(flow, &subject("alice"), START);
        }
        assert_eq!(guesses.homes.map[&subject("alice")].len(), HOMES_PER_USER_MAX);
    }
}
