//! Which server a user lives on: as their authority has said, as a server has, or as their last sign-in has shown.

use std::cell::RefCell;
use std::collections::BTreeMap;

use edgeway_model::sign_in::Subject;

use super::limits::HOMES_MAX;
use super::server::Server;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
}

/// What is known of one user's home.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    /// The servers that the user's authority names, best first.
    told: Vec<String>,
    /// Where the user was last, or was sent.
    last: Option<Place>,
}

impl Home {
    /// How late a server comes for this user: where the user was last comes first, since a stream that can be resumed is
    /// there, unless the authority has moved the user elsewhere; then those that the authority names, in its order.
    pub(super) fn rank(&self, server: &Server) -> usize {
        let told = self.told.iter().position(|name| server.is_called(name));
        let is_last = self.last.as_ref().is_some_and(|last| last.host == server.host && last.port == server.port);
        match told {
            _ if is_last && (told.is_some() || self.told.is_empty()) => 0,
            Some(place) => place + 1,
            None => usize::MAX,
        }
    }
}

/// What is remembered. Lost with the process: then users are where their authority, or weight, puts them.
#[derive(Default)]
pub(super) struct Homes(RefCell<Known>);

#[derive(Default)]
struct Known {
    /// With the number of the sign-in.
    places: BTreeMap<Subject, (u64, Place)>,
    /// The same by that number: who came last gives way last.
    by_age: BTreeMap<u64, Subject>,
    next: u64,
}

impl Homes {
    /// The user is on this server now, or is sent there. Whoever was remembered longest ago gives way.
    pub(super) fn remember(&self, subject: &Subject, server: &Server) {
        let known = &mut *self.0.borrow_mut();
        if let Some((number, _)) = known.places.remove(subject) {
            known.by_age.remove(&number);
        } else if known.places.len() >= HOMES_MAX
            && let Some((_, oldest)) = known.by_age.pop_first()
        {
            known.places.remove(&oldest);
        }
        known.by_age.insert(known.next, subject.clone());
        let place = Place { host: server.host.clone(), port: server.port };
        known.places.insert(subject.clone(), (known.next, place));
        known.next += 1;
    }

    /// What is known of a user of whom the authority says `told`.
    pub(super) fn of(&self, subject: &Subject, told: Vec<String>) -> Home {
        Home { told, last: self.0.borrow().places.get(subject).map(|(_, place)| place.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::{Deployment, UserName};

    use super::super::servers::tests::server;
    use super::*;

    fn user(name: &str) -> Subject {
        Subject { deployment: Deployment::default_one(), user: UserName::new(name).unwrap() }
    }

    #[test]
    fn who_came_longest_ago_is_forgotten_first() {
        let (homes, a, b) = (Homes::default(), server("a", 0, 1), server("b", 0, 1));
        for number in 0..HOMES_MAX {
            homes.remember(&user(&format!("user{number}")), &a);
        }
        // The first in the alphabet, who came first, comes again.
        homes.remember(&user("user0"), &b);
        homes.remember(&user("zoe"), &a);
        assert_eq!(homes.of(&user("user0"), Vec::new()).rank(&b), 0);
        assert_eq!(homes.of(&user("zoe"), Vec::new()).rank(&a), 0);
        assert_eq!(homes.of(&user("user1"), Vec::new()).rank(&a), usize::MAX, "the one who had to go");
        let known = homes.0.borrow();
        assert_eq!((known.places.len(), known.by_age.len()), (HOMES_MAX, HOMES_MAX));
    }

    #[test]
    fn where_a_user_was_last_comes_first_unless_the_authority_has_moved_them() {
        let (homes, a, b) = (Homes::default(), server("a", 0, 1), server("b", 0, 1));
        homes.remember(&user("alice"), &b);
        let rank = |told: &[&str]| {
            let home = homes.of(&user("alice"), told.iter().map(|name| (*name).to_owned()).collect());
            (home.rank(&a), home.rank(&b))
        };
        assert_eq!(rank(&[]), (usize::MAX, 0));
        assert_eq!(rank(&["a", "B"]), (1, 0), "it is the second node of the pair, and has the stream");
        assert_eq!(rank(&["a"]), (1, usize::MAX));
        let elsewhere = Home { told: Vec::new(), last: Some(Place { host: "b".to_owned(), port: 1 }) };
        assert_eq!(elsewhere.rank(&b), usize::MAX, "another server of that host");
    }
}
