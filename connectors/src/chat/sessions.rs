//! The streams that are there, and who has signed in on them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use edgeway_model::chat::ChatOpening;
use edgeway_model::sign_in::{Deployment, Subject};
use edgeway_model::{NodeId, Pii};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::{HttpFact, Teller};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::limits::{SESSIONS_PER_USER_MAX, STRANGERS_PER_EDGE_MAX, STREAMS_MAX};

/// What a stream is told from outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By the operator: it ends.
    Disconnect,
    /// Its user was revoked: it ends.
    Revoked,
    /// It has not signed in for longest, and others come.
    GiveWay,
    /// The core stops.
    Stop,
}

/// One stream, as others see it.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) edge: NodeId,
    pub(super) opening: ChatOpening,
    pub(super) deployment: Deployment,
    pub(super) since_ms: u64,
    /// Bytes from the client, and to it.
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    /// Where it goes on, once it is known.
    pub(super) server: RefCell<Option<String>>,
    signed_in: Cell<bool>,
    /// Once it has signed in: whom it claims to be of, and once it is bound, whom the server says. `None` for a user who
    /// has no name here, or one that nobody knows.
    pub(super) user: RefCell<Option<Subject>>,
    /// In whose number of sessions it counts: nobody's before that is proven.
    pub(super) counted: RefCell<Option<Subject>>,
    /// Once it is bound.
    pub(super) jid: RefCell<Option<Pii<String>>>,
    /// Whether the server has said that it can be resumed (XEP-0198).
    pub(super) resumable: Cell<bool>,
    pub(super) order: Cell<Option<Order>>,
    /// Wakes it for the order.
    waker: RefCell<Option<Waker>>,
}

impl Entry {
    /// Whether it is a session: the client has signed in.
    pub(super) fn is_signed_in(&self) -> bool {
        self.signed_in.get()
    }

    /// The order, if there is one; else the task is woken for it.
    pub(super) fn ordered(&self, context: &Context<'_>) -> Option<Order> {
        let order = self.order.take();
        let mut place = self.waker.borrow_mut();
        if order.is_none() && !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *place = Some(context.waker().clone());
        }
        order
    }

    fn order(&self, order: Order) {
        if self.order.get().is_none() {
            self.order.set(Some(order));
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// All streams.
pub(super) struct Sessions {
    teller: Teller,
    by_id: RefCell<BTreeMap<u64, Rc<Entry>>>,
    next_id: Cell<u64>,
    /// Streams that have not signed in, oldest first, but those that were told to give way.
    strangers: RefCell<BTreeMap<NodeId, BTreeSet<u64>>>,
    by_user: RefCell<BTreeMap<Subject, usize>>,
    by_deployment: RefCell<BTreeMap<Deployment, u64>>,
    /// Whether the node will hear how many there are.
    telling: Cell<bool>,
    /// The most there were at once since the node was told last.
    most: Cell<u64>,
    tell_every: Duration,
    stopping: Cell<bool>,
    /// Woken when one has ended.
    ended: Notify,
}

impl Sessions {
    pub(super) fn new(teller: Teller, tell_every: Duration) -> Self {
        Self {
            teller,
            by_id: RefCell::default(),
            next_id: Cell::new(1),
            strangers: RefCell::default(),
            by_user: RefCell::default(),
            by_deployment: RefCell::default(),
            telling: Cell::new(false),
            most: Cell::new(0),
            tell_every,
            stopping: Cell::new(false),
            ended: Notify::new(),
        }
    }

    /// A stream has come. It stays until the guard is dropped. Where its edge has its fill of those that have not signed
    /// in, the oldest of them gives way.
    pub(super) fn enter(
        self: &Rc<Self>,
        edge: NodeId,
        opening: &ChatOpening,
        deployment: Deployment,
    ) -> Result<Entered, Full> {
        if self.by_id.borrow().len() >= STREAMS_MAX || self.stopping.get() {
            return Err(Full);
        }
        let id = self.next_id.replace(self.next_id.get() + 1);
        let mut strangers = self.strangers.borrow_mut();
        let of_edge = strangers.entry(edge.clone()).or_default();
        if of_edge.len() >= STRANGERS_PER_EDGE_MAX
            && let Some(oldest) = of_edge.pop_first()
            && let Some(oldest) = self.by_id.borrow().get(&oldest)
        {
            oldest.order(Order::GiveWay);
        }
        of_edge.insert(id);
        let entry = Rc::new(Entry {
            id,
            edge,
            opening: opening.clone(),
            deployment,
            since_ms: unix_ms(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            server: RefCell::default(),
            signed_in: Cell::new(false),
            user: RefCell::default(),
            counted: RefCell::default(),
            jid: RefCell::default(),
            resumable: Cell::new(false),
            order: Cell::new(None),
            waker: RefCell::default(),
        });
        self.by_id.borrow_mut().insert(id, Rc::clone(&entry));
        Ok(Entered { sessions: Rc::clone(self), entry })
    }

    /// Its client has signed in.
    fn signed_in(self: &Rc<Self>, entry: &Entry, user: Option<Subject>, counted: Option<Subject>) -> Result<(), Full> {
        self.file(entry, user, counted)?;
        self.is_no_stranger(entry);
        entry.signed_in.set(true);
        *self.by_deployment.borrow_mut().entry(entry.deployment.clone()).or_default() += 1;
        self.most.set(self.most.get().max(self.count()));
        self.tell();
        Ok(())
    }

    /// Puts it to the sessions of whom it is of; if there are too many of them, it stays where it was.
    fn file(&self, entry: &Entry, user: Option<Subject>, counted: Option<Subject>) -> Result<(), Full> {
        let mut filed = entry.counted.borrow_mut();
        if *filed != counted {
            let mut by_user = self.by_user.borrow_mut();
            if let Some(counted) = &counted {
                let count = by_user.entry(counted.clone()).or_default();
                if *count >= SESSIONS_PER_USER_MAX {
                    return Err(Full);
                }
                *count += 1;
            }
            if let Some(before) = std::mem::replace(&mut *filed, counted) {
                less(&mut by_user, &before);
            }
        }
        *entry.user.borrow_mut() = user;
        Ok(())
    }

    fn is_no_stranger(&self, entry: &Entry) {
        let mut strangers = self.strangers.borrow_mut();
        if let Some(of_edge) = strangers.get_mut(&entry.edge) {
            of_edge.remove(&entry.id);
            if of_edge.is_empty() {
                strangers.remove(&entry.edge);
            }
        }
    }

    fn leave(self: &Rc<Self>, entry: &Entry) {
        self.by_id.borrow_mut().remove(&entry.id);
        self.is_no_stranger(entry);
        if let Some(counted) = entry.counted.borrow_mut().take() {
            less(&mut self.by_user.borrow_mut(), &counted);
        }
        if entry.signed_in.get() {
            if let Some(count) = self.by_deployment.borrow_mut().get_mut(&entry.deployment) {
                *count = count.saturating_sub(1);
            }
            self.tell();
        }
        self.ended.notify_waiters();
    }

    /// The node hears how many there are: at once the first time, and from then on no more often than it is of use.
    fn tell(self: &Rc<Self>) {
        if self.telling.replace(true) {
            return;
        }
        let sessions = Rc::clone(self);
        spawn_local(async move {
            let mut told = None;
            loop {
                let count = sessions.count();
                let most = sessions.most.replace(count);
                // A crowd that came and went since the last time is part of the peak.
                if most > count.max(told.unwrap_or(0)) {
                    sessions.teller.tell(HttpFact::Chats(most));
                    told = Some(most);
                }
                if told == Some(count) {
                    return sessions.telling.set(false);
                }
                sessions.teller.tell(HttpFact::Chats(count));
                told = Some(count);
                tokio::time::sleep(sessions.tell_every).await;
            }
        });
    }

    /// Sessions now.
    pub(super) fn count(&self) -> u64 {
        self.by_deployment.borrow().values().sum()
    }

    /// Sessions now, by deployment.
    pub(super) fn counts(&self) -> BTreeMap<Deployment, u64> {
        self.by_deployment.borrow().clone()
    }

    /// Sessions with an id greater than `after` that `wanted` wants, at most `limit`; and how many more there are.
    pub(super) fn page(&self, after: u64, limit: usize, wanted: impl Fn(&Entry) -> bool) -> (Vec<Rc<Entry>>, usize) {
        let by_id = self.by_id.borrow();
        let behind = by_id.range(after.saturating_add(1)..).map(|(_, entry)| entry);
        let mut found = behind.filter(|one| one.is_signed_in() && wanted(one));
        let page = found.by_ref().take(limit).cloned().collect();
        (page, found.count())
    }

    /// Whether there was such a stream.
    pub(super) fn disconnect(&self, id: u64) -> bool {
        self.by_id.borrow().get(&id).inspect(|entry| entry.order(Order::Disconnect)).is_some()
    }

    /// Ends the sessions of a user. How many there were.
    pub(super) fn revoke(&self, subject: &Subject) -> usize {
        let by_id = self.by_id.borrow();
        let theirs = by_id.values().filter(|entry| entry.user.borrow().as_ref() == Some(subject));
        theirs.inspect(|entry| entry.order(Order::Revoked)).count()
    }

    /// Ends all, as at a stop; others may come.
    pub(super) fn end_all(&self) {
        self.by_id.borrow().values().for_each(|entry| entry.order(Order::Stop));
    }

    /// Lets nobody in any more and ends all; returns when all have ended.
    pub(super) async fn stop(&self) {
        self.stopping.set(true);
        self.by_id.borrow().values().for_each(|entry| entry.order(Order::Stop));
        loop {
            let ended = self.ended.notified();
            if self.by_id.borrow().is_empty() {
                return;
            }
            ended.await;
        }
    }
}

fn less(counts: &mut BTreeMap<Subject, usize>, key: &Subject) {
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        Some(_) => _ = counts.remove(key),
        None => {}
    }
}

/// A stream that is there, until dropped.
pub(super) struct Entered {
    sessions: Rc<Sessions>,
    entry: Rc<Entry>,
}

impl Entered {
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The client has signed in, and claims to be of `user`; `counted`: in whose number of sessions it counts, where that
    /// is proven.
    pub(super) fn signed_in(&self, user: Option<Subject>, counted: Option<Subject>) -> Result<(), Full> {
        self.sessions.signed_in(&self.entry, user, counted)
    }

    /// Now it is known whose it is.
    pub(super) fn bound(&self, user: Option<Subject>, counted: Option<Subject>) -> Result<(), Full> {
        self.sessions.file(&self.entry, user, counted)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.sessions.leave(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::UserName;
    use tokio::task::LocalSet;

    use super::*;

    fn opening(number: u64) -> ChatOpening {
        let client = "192.0.2.1:5222".parse().unwrap();
        ChatOpening { number, client, domain: "example.com".to_owned() }
    }

    fn subject(user: &str) -> Subject {
        Subject { deployment: Deployment::default_one(), user: UserName::new(user).unwrap() }
    }

    fn enter(sessions: &Rc<Sessions>, edge: &str) -> Result<Entered, Full> {
        sessions.enter(NodeId::new(edge).unwrap(), &opening(1), Deployment::default_one())
    }

    fn sign_in(entered: &Entered, user: &str) -> Result<(), Full> {
        entered.signed_in(Some(subject(user)), Some(subject(user)))
    }

    #[test]
    fn each_edge_has_room_for_strangers_of_its_own_and_the_oldest_gives_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let sessions = Rc::new(Sessions::new(Teller::new().0, Duration::from_millis(1)));
            let mut there: Vec<_> = (0..STRANGERS_PER_EDGE_MAX).map(|_| enter(&sessions, "edge1").unwrap()).collect();
            let order = |entered: &Entered| entered.entry().order.get();
            sign_in(&there[0], "alice").unwrap();
            let (other, more) = (enter(&sessions, "edge2").unwrap(), enter(&sessions, "edge1").unwrap());
            assert!(there.iter().all(|one| order(one).is_none()), "who signs in makes room");
            // Who has signed in is none of them, however old.
            let newest = enter(&sessions, "edge1").unwrap();
            let told: Vec<usize> = (0..there.len()).filter(|place| order(&there[*place]).is_some()).collect();
            assert_eq!((told, order(&there[1])), (vec![1], Some(Order::GiveWay)));
            assert_eq!((order(&other), order(&more), order(&newest)), (None, None, None));
            // It is no longer counted, and not told twice.
            drop(there.remove(1));
            let last = enter(&sessions, "edge1").unwrap();
            assert_eq!(order(&there[1]), Some(Order::GiveWay));
            there.truncate(1);
            assert_eq!((sessions.count(), sessions.by_id.borrow().len()), (1, 5));
            drop((there, other, more, newest, last));
            assert_eq!((sessions.count(), sessions.by_id.borrow().len()), (0, 0));
            assert!(sessions.strangers.borrow().is_empty() && sessions.by_user.borrow().is_empty());
        });
    }

    #[test]
    fn a_session_is_that_of_whom_the_server_says() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let sessions = Rc::new(Sessions::new(Teller::new().0, Duration::from_millis(1)));
            let many: Vec<_> = (0..SESSIONS_PER_USER_MAX).map(|_| enter(&sessions, "edge1").unwrap()).collect();
            // Whoever only claims to be somebody takes no room of theirs, and ends with them.
            many.iter().for_each(|one| one.signed_in(Some(subject("alice")), None).unwrap());
            let alice = enter(&sessions, "edge1").unwrap();
            sign_in(&alice, "alice").unwrap();
            assert_eq!(sessions.revoke(&subject("alice")), SESSIONS_PER_USER_MAX + 1);
            // The server says who they are.
            many.iter().for_each(|one| one.bound(Some(subject("bob")), Some(subject("bob"))).unwrap());
            assert_eq!((sessions.revoke(&subject("alice")), sessions.revoke(&subject("bob"))), (1, many.len()));
            assert_eq!(alice.bound(Some(subject("bob")), Some(subject("bob"))), Err(Full));
            many[0].bound(Some(subject("bob")), Some(subject("bob"))).unwrap();
            many[0].bound(None, None).unwrap();
            alice.bound(Some(subject("bob")), Some(subject("bob"))).unwrap();
            assert_eq!(sessions.by_user.borrow().get(&subject("bob")), Some(&SESSIONS_PER_USER_MAX));
            drop((many, alice));
            assert!(sessions.by_user.borrow().is_empty() && sessions.count() == 0);
        });
    }

    #[test]
    fn a_user_has_so_many_sessions_and_a_revocation_reaches_all_of_them() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (teller, mut facts) = Teller::new();
            let sessions = Rc::new(Sessions::new(teller, Duration::from_millis(1)));
            let own: Vec<_> = (0..SESSIONS_PER_USER_MAX).map(|_| enter(&sessions, "edge1").unwrap()).collect();
            own.iter().for_each(|one| sign_in(one, "alice").unwrap());
            let bob = enter(&sessions, "edge1").unwrap();
            assert_eq!(sign_in(&bob, "alice"), Err(Full));
            sign_in(&bob, "bob").unwrap();
            assert_eq!(sessions.revoke(&subject("alice")), SESSIONS_PER_USER_MAX);
            assert!(own.iter().all(|one| one.entry().order.get() == Some(Order::Revoked)));
            assert_eq!(bob.entry().order.get(), None);
            let wanted = SESSIONS_PER_USER_MAX as u64 + 1;
            while !matches!(facts.recv().await, Some(HttpFact::Chats(count)) if count == wanted) {}
            let (page, more) = sessions.page(0, 5, |_| true);
            assert_eq!((page.len(), more), (5, SESSIONS_PER_USER_MAX - 4));
            let (rest, more) = sessions.page(page[4].id, 50, |_| true);
            assert_eq!((rest.len(), more), (SESSIONS_PER_USER_MAX - 4, 0));
            assert!(sessions.disconnect(bob.entry().id) && !sessions.disconnect(9_999));
            assert_eq!(bob.entry().order.get(), Some(Order::Disconnect));
            drop(own);
            while !matches!(facts.recv().await, Some(HttpFact::Chats(1))) {}
        });
    }

    #[test]
    fn a_crowd_that_comes_and_goes_between_two_reports_is_part_of_the_peak() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (teller, mut facts) = Teller::new();
            let sessions = Rc::new(Sessions::new(teller, Duration::from_millis(1)));
            let crowd: Vec<_> = (0..3).map(|_| enter(&sessions, "edge1").unwrap()).collect();
            crowd.iter().for_each(|one| sign_in(one, "alice").unwrap());
            drop(crowd);
            assert!(matches!(facts.recv().await, Some(HttpFact::Chats(3))));
            assert!(matches!(facts.recv().await, Some(HttpFact::Chats(0))));
        });
    }
}
