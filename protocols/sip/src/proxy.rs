//! The transactions of a proxy (RFC 3261 §16, §17 with RFC 6026 and RFC 4320), without its routing.
//!
//! One entry joins a server transaction (towards upstream, where the request came from) and a client
//! transaction (towards downstream, where it went). The engine recognises retransmissions, answers
//! and forwards CANCEL, acknowledges failed INVITEs hop by hop, retransmits over UDP and gives up in
//! time. It does *not* choose where a request goes and edits no message: the node does, between
//! [`Proxy::receive_request`] and [`Proxy::forward`], and between [`Proxy::receive_response`] and
//! [`Proxy::respond`].
//!
//! ```text
//!  receive_request ─► Waiting ─forward─► Trying ─1xx─► Proceeding ─2xx (INVITE)─► Accepted ─► gone
//!                        │                 │               │
//!                        └──── respond ────┴───────────────┴──► Completed ─ACK / time─► gone
//! ```
//! There is no forking: one request has one downstream at a time; [`Proxy::forward`] again moves it.
//! On reliable hops nothing is retransmitted by a timer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::{Deadline, FlowId, Moment, NodeId};

use crate::message::Message;

mod attempts;
mod derived;
mod hop;

use self::derived::{acknowledge, derive};
pub use self::hop::Hop;
use self::hop::{flow_of, hold, release};

/// RFC 3261 T1: the round-trip estimate that starts retransmission over UDP.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// RFC 3261 T2: the longest retransmission interval.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// RFC 3261 timers H, J, L: how long a finished transaction absorbs retransmissions.
pub(crate) const LINGER: Duration = Duration::from_secs(32);
/// RFC 3261 timers I, T4: how long retransmitted ACKs are absorbed on unreliable transports.
const T4: Duration = Duration::from_secs(5);
/// How long a finished transaction with another node of ours is remembered: a broken link is noticed
/// after 3 s of silence and waited for 4 s, and then the request comes again for the lost answer.
const LINGER_PEER: Duration = Duration::from_secs(8);
/// RFC 3261 timer C: how long a callee may ring without a word.
const RINGING_MAX: Duration = Duration::from_secs(181);
/// Transactions held at once; more are refused with 503.
pub const TRANSACTIONS_MAX: usize = 200_000;

/// Bytes the unfinished and remembered transactions of all clients behind one node may hold, so that one
/// edge cannot use up a core's memory. Answers are remembered for 8 s where there is room; the oldest give
/// way first, and only where all is unfinished a request is answered 503.
pub const HELD_BYTES_PER_NODE_MAX: usize = 32 * 1024 * 1024;

/// What a transaction holds besides its messages, bytes.
const TRANSACTION_BYTES: usize = 1024;

/// One transaction pair of a [`Proxy`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransactionId(u64);

/// What a request turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// A new request: route it with [`Proxy::forward`] or answer it with [`Proxy::respond`].
    New(TransactionId),
    /// A retransmission, a CANCEL or the ACK of a failed INVITE: dealt with, nothing to do.
    Absorbed,
    /// The ACK of a 2xx: forward it without a transaction (RFC 3261 §16.7).
    Acknowledgement,
    /// A CANCEL that matches no INVITE: answer 481.
    StrayCancel,
    /// The table is full: answer 503.
    Full,
}

/// A response that belongs to a transaction of ours.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The transaction.
    pub id: TransactionId,
    /// Where the request came from.
    pub upstream: Hop,
    /// The request as it was received from upstream.
    pub request: Message,
    /// Upstream is gone ([`Proxy::hop_lost`]): the answer changes what we know, and is sent to nobody.
    pub orphaned: bool,
}

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub hop: Hop,
    /// The flow at the other side of the transaction, where there is one: whose message this is.
    pub flow: Option<FlowId>,
    /// One message.
    pub bytes: Bytes,
}

/// Something that happened by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No final answer came in time: answer 408.
    TimedOut(TransactionId),
    /// A transaction that had not been forwarded yet ran out of time: answer 503.
    Unroutable(TransactionId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    Trying,
    Proceeding,
    /// A 2xx to an INVITE has gone upstream (RFC 6026).
    Accepted,
    Completed,
}

#[derive(Debug)]
struct Downstream {
    hop: Hop,
    sent: Bytes,
    /// A final answer has come.
    answered: bool,
}

#[derive(Debug)]
struct Resend {
    at: Moment,
    interval: Duration,
}

#[derive(Debug)]
struct Transaction {
    key: Key,
    upstream: Hop,
    /// As received; of a finished non-INVITE nothing is left to ask, and thousands of those linger.
    request: Option<Message>,
    invite: bool,
    state: State,
    downstream: Option<Downstream>,
    /// The last response sent upstream, repeated for retransmitted requests.
    answer: Option<Bytes>,
    cancelled: bool,
    /// Upstream is gone: nothing is sent there any more.
    orphaned: bool,
    /// Counts the servers it was tried at: each gets a branch of its own.
    attempt: u8,
    resend: Option<Resend>,
    opened: Moment,
    expires: Moment,
    armed: Moment,
    /// What it holds, as counted against the node it came through.
    held: usize,
}

impl Transaction {
    fn upstream_transmit(&self, bytes: Bytes) -> Transmit {
        let flow = self.downstream.as_ref().and_then(|downstream| flow_of(&downstream.hop));
        Transmit { hop: self.upstream.clone(), flow, bytes }
    }

    /// A finished non-INVITE repeats its answer and absorbs others; it needs no request for that. INVITEs
    /// still acknowledge and are cancelled. How much less it holds now.
    fn slim_down(&mut self) -> usize {
        if self.invite {
            return 0;
        }
        self.request = None;
        if let Some(downstream) = &mut self.downstream {
            downstream.sent = Bytes::new();
        }
        let before = self.held;
        self.held = before.min(TRANSACTION_BYTES + self.answer.as_ref().map_or(0, Bytes::len));
        before - self.held
    }

    fn cancel_transmit(&self) -> Option<Transmit> {
        let downstream = self.downstream.as_ref()?;
        let bytes = derive(&downstream.sent, "CANCEL", None)?;
        Some(Transmit { hop: downstream.hop.clone(), flow: flow_of(&self.upstream), bytes })
    }
}

/// What makes two requests the same transaction (RFC 3261 §17.2.3), per hop, so that no client can
/// touch the transaction of another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    hop: Hop,
    text: Box<str>,
    invite: bool,
}

/// How long the engine waits for answers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the final answer of a non-INVITE, and for the first answer of an INVITE.
    pub answer: Duration,
    /// For a route, before a request is given up as unroutable.
    pub route: Duration,
}

/// The transactions of one node.
#[derive(Debug)]
pub struct Proxy {
    patience: Patience,
    branch_prefix: String,
    next_id: u64,
    transactions: HashMap<TransactionId, Transaction>,
    by_key: HashMap<Key, TransactionId>,
    per_hop: HashMap<Hop, u32>,
    held: HashMap<NodeId, usize>,
    /// Per node the answered ones, oldest first, to be forgotten early where there is no room.
    answered: HashMap<NodeId, VecDeque<TransactionId>>,
    timers: BTreeSet<(Moment, TransactionId)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Proxy {
    /// An engine whose branches start with a number that is different after each restart.
    #[must_use]
    pub fn new(patience: Patience, boot: u64) -> Self {
        Self {
            patience,
            branch_prefix: format!("z9hG4bKew{boot:x}."),
            next_id: 0,
            transactions: HashMap::new(),
            by_key: HashMap::new(),
            per_hop: HashMap::new(),
            held: HashMap::new(),
            answered: HashMap::new(),
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Waits so long from now on; what is under way has been promised its time and keeps it.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Transactions held now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether no transaction is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Whether this flow has a transaction in progress, on either side.
    #[must_use]
    pub fn is_busy(&self, flow: FlowId) -> bool {
        self.per_hop.contains_key(&Hop::Flow(flow))
    }

    /// The request of a transaction, as received; not that of a finished non-INVITE.
    #[must_use]
    pub fn request(&self, id: TransactionId) -> Option<&Message> {
        self.transactions.get(&id)?.request.as_ref()
    }

    /// Where a transaction's request came from.
    #[must_use]
    pub fn upstream(&self, id: TransactionId) -> Option<&Hop> {
        self.transactions.get(&id).map(|transaction| &transaction.upstream)
    }

    /// Where a transaction's request went, if it has gone.
    #[must_use]
    pub fn downstream(&self, id: TransactionId) -> Option<&Hop> {
        self.transactions.get(&id)?.downstream.as_ref().map(|downstream| &downstream.hop)
    }

    /// Whether a provisional answer has come from downstream.
    #[must_use]
    pub fn is_proceeding(&self, id: TransactionId) -> bool {
        self.transactions.get(&id).is_some_and(|transaction| transaction.state == State::Proceeding)
    }

    /// RFC 4320 §4.2: whether an answer to this request comes too late for whoever asked. A 408 is then
    /// only noise; an INVITE has no such time.
    #[must_use]
    pub fn is_late(&self, id: TransactionId, now: Moment) -> bool {
        self.transactions.get(&id).is_some_and(|transaction| !transaction.invite && now >= transaction.opened + LINGER)
    }

    /// Forgets a transaction without an answer to it.
    pub fn forget(&mut self, id: TransactionId) {
        self.remove(id);
    }

    /// A branch for a message that has no transaction (the ACK of a 2xx).
    pub fn stateless_branch(&mut self) -> String {
        self.next_id += 1;
        self.branch(TransactionId(self.next_id))
    }

    /// A request arrived.
    pub fn receive_request(&mut self, request: &Message, from: Hop, now: Moment) -> Received {
        let method = request.method().unwrap_or_default();
        let invite = matches!(method, "INVITE" | "ACK" | "CANCEL");
        let key = Key { hop: from, text: transaction_text(request, invite), invite };
        let known = self.by_key.get(&key).copied();
        match method {
            "ACK" => self.receive_ack(known, now),
            "CANCEL" => self.receive_cancel(known, request, now),
            _ => match known {
                Some(id) => self.repeat(id),
                None => self.open(key, request, method == "INVITE", now),
            },
        }
    }

    /// Sends the request of `id`, already carrying our Via with [`Self::branch`], to `hop`. Called
    /// again, it moves the request to another hop (a dead core's requests to a living one).
    pub fn forward(&mut self, id: TransactionId, hop: Hop, bytes: Bytes, now: Moment) {
        let patience = self.patience.answer;
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if matches!(transaction.state, State::Accepted | State::Completed) {
            return;
        }
        if let Some(old) = transaction.downstream.take() {
            release(&mut self.per_hop, &old.hop);
        }
        hold(&mut self.per_hop, &hop);
        transaction.state = State::Trying;
        transaction.expires = now + patience;
        transaction.resend = (!hop.is_reliable()).then(|| Resend { at: now + T1, interval: T1 });
        transaction.downstream = Some(Downstream { hop: hop.clone(), sent: bytes.clone(), answered: false });
        let flow = flow_of(&transaction.upstream);
        self.transmits.push_back(Transmit { hop, flow, bytes });
        self.arm(id);
    }

    /// Sends the request of `id` once more to the hop it went to: the link that carried it broke.
    pub fn resend(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get(&id) else { return };
        if let (State::Trying | State::Proceeding, Some(downstream)) = (transaction.state, &transaction.downstream) {
            let flow = flow_of(&transaction.upstream);
            self.transmits.push_back(Transmit { hop: downstream.hop.clone(), flow, bytes: downstream.sent.clone() });
        }
    }

    /// Takes the request of `id` back from a hop that cannot be reached now. It waits for a route again
    /// ([`Self::forward`]), as long as any request may.
    pub fn park(&mut self, id: TransactionId, now: Moment) {
        let patience = self.patience.route;
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if !matches!(transaction.state, State::Trying | State::Waiting) {
            return;
        }
        if let Some(old) = transaction.downstream.take() {
            release(&mut self.per_hop, &old.hop);
        }
        transaction.state = State::Waiting;
        transaction.resend = None;
        transaction.expires = now + patience;
        self.arm(id);
    }

    /// Shortens the wait for an answer to `id`: the hop it went to may be dead.
    pub fn hurry(&mut self, id: TransactionId, now: Moment) {
        let patience = self.patience.route;
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if matches!(transaction.state, State::Trying | State::Proceeding) {
            transaction.expires = transaction.expires.min(now + patience);
            self.arm(id);
        }
    }

    /// Transactions that still want an answer from `hop`.
    #[must_use]
    pub fn waiting_for(&self, hop: &Hop) -> Vec<TransactionId> {
        let mut ids: Vec<_> = self
            .transactions
            .iter()
            .filter(|(_, transaction)| {
                matches!(transaction.state, State::Trying | State::Proceeding)
                    && transaction.downstream.as_ref().is_some_and(|downstream| downstream.hop == *hop)
            })
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Transactions not forwarded yet.
    #[must_use]
    pub fn unrouted(&self) -> Vec<TransactionId> {
        let waiting = self.transactions.iter().filter(|(_, transaction)| transaction.state == State::Waiting);
        let mut ids: Vec<_> = waiting.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// A response arrived from `from`. `None`: it matches nothing of ours, or it is one the proxy
    /// itself deals with (100, answers to our CANCEL, retransmitted failures).
    pub fn receive_response(&mut self, response: &Message, from: &Hop, now: Moment) -> Result<Option<Matched>, Stray> {
        let id = self.id_of(response.top_via().branch().unwrap_or_default()).ok_or(Stray)?;
        let (Some(transaction), Some(status)) = (self.transactions.get_mut(&id), response.status()) else {
            return Err(Stray);
        };
        let Some(downstream) = transaction.downstream.as_mut().filter(|downstream| downstream.hop == *from) else {
            return Err(Stray);
        };
        if response.cseq().1 == "CANCEL" {
            if transaction.state == State::Proceeding && transaction.invite && status >= 200 {
                transaction.resend = None;
            }
            return Ok(None);
        }
        downstream.answered |= status >= 200;
        if transaction.invite && status >= 300 {
            let flow = flow_of(&transaction.upstream);
            let ack = acknowledge(&downstream.sent, response);
            self.transmits.extend(ack.map(|bytes| Transmit { hop: from.clone(), flow, bytes }));
        }
        match transaction.state {
            State::Trying | State::Proceeding => {}
            State::Accepted if (200..300).contains(&status) => {}
            State::Accepted | State::Completed | State::Waiting => return Ok(None),
        }
        if status < 200 {
            transaction.state = State::Proceeding;
            if transaction.invite {
                transaction.resend = None;
                transaction.expires = now + RINGING_MAX;
                if transaction.cancelled {
                    self.cancel_downstream(id, now);
                }
                self.arm(id);
            }
            // RFC 4320 §4.1: no provisional answer to anything but INVITE goes on.
            let Some(transaction) = self.transactions.get(&id).filter(|known| known.invite) else { return Ok(None) };
            // RFC 3261 §16.7: 100 is for one hop. Two nodes of ours are one: without it the first would
            // hold a CANCEL back, and would not know that the second has sent the INVITE on.
            if status == 100 && !transaction.upstream.is_node() {
                return Ok(None);
            }
        }
        let Some(transaction) = self.transactions.get(&id) else { return Err(Stray) };
        let Some(request) = transaction.request.clone() else { return Ok(None) };
        let upstream = transaction.upstream.clone();
        Ok(Some(Matched { id, upstream, request, orphaned: transaction.orphaned }))
    }

    /// Sends a response upstream: one the node made, or one from downstream, edited. After a final one
    /// only repetitions of a 2xx to INVITE are sent.
    pub fn respond(&mut self, id: TransactionId, status: u16, bytes: Bytes, now: Moment) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        match transaction.state {
            State::Waiting | State::Trying | State::Proceeding => {}
            State::Accepted if (200..300).contains(&status) => {}
            State::Accepted | State::Completed => return,
        }
        if transaction.orphaned {
            if status >= 200 {
                self.remove(id);
            }
            return;
        }
        self.transmits.push_back(transaction.upstream_transmit(bytes.clone()));
        if status < 200 {
            transaction.answer = Some(bytes);
            return;
        }
        let linger = linger(transaction, status);
        if let Some(linger) = linger {
            let again = !transaction.upstream.is_reliable() && transaction.invite && status >= 300;
            transaction.state = if transaction.invite && status < 300 { State::Accepted } else { State::Completed };
            transaction.resend = again.then(|| Resend { at: now + T1, interval: T1 });
            transaction.answer = Some(bytes);
            transaction.expires = now + linger;
            let freed = transaction.slim_down();
            if let Hop::Client { edge, .. } = &transaction.upstream {
                if let Some(all) = self.held.get_mut(edge) {
                    *all = all.saturating_sub(freed);
                }
                let answered = self.answered.entry(edge.clone()).or_default();
                // An INVITE is never forgotten early: one that is sent again would ring twice.
                if !transaction.invite {
                    answered.push_back(id);
                }
                while answered.front().is_some_and(|oldest| !self.transactions.contains_key(oldest)) {
                    answered.pop_front();
                }
            }
            self.arm(id);
        } else {
            self.remove(id);
        }
    }

    /// Gives up on downstream: a CANCEL goes after an INVITE that rings. The node answers upstream.
    pub fn abandon(&mut self, id: TransactionId, now: Moment) {
        if self.transactions.get(&id).is_some_and(|transaction| transaction.invite) {
            self.cancel_downstream(id, now);
        }
    }

    /// A hop is gone for good. Returns the transactions whose answer was awaited from it. Those whose
    /// request came from it go on without an upstream: what was forwarded cannot be unsaid, an INVITE is
    /// cancelled, and the node still sees the answer ([`Matched::orphaned`]).
    pub fn hop_lost(&mut self, hop: &Hop, now: Moment) -> Vec<TransactionId> {
        // Nearly every connection that ends has nothing under way: nothing is searched for it.
        if let Hop::Flow(_) | Hop::Client { .. } = hop
            && !self.per_hop.contains_key(hop)
        {
            return Vec::new();
        }
        self.orphan_all(|upstream| upstream == hop, now);
        self.waiting_for(hop)
    }

    /// An edge has restarted: its clients are gone, like upstreams in [`Self::hop_lost`].
    pub fn clients_lost(&mut self, edge: &NodeId, now: Moment) {
        self.orphan_all(|upstream| matches!(upstream, Hop::Client { edge: of, .. } if of == edge), now);
    }

    fn orphan_all(&mut self, is_gone: impl Fn(&Hop) -> bool, now: Moment) {
        let orphans = self.transactions.iter().filter(|(_, transaction)| is_gone(&transaction.upstream));
        let mut orphans: Vec<_> = orphans.map(|(id, _)| *id).collect();
        // In order: what is sent must not depend on the order of a hash map.
        orphans.sort_unstable();
        for id in orphans {
            self.orphan(id, now);
        }
    }

    fn orphan(&mut self, id: TransactionId, now: Moment) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        match transaction.state {
            State::Waiting if transaction.invite => self.remove(id),
            State::Accepted | State::Completed => self.remove(id),
            State::Waiting | State::Trying | State::Proceeding => {
                transaction.orphaned = true;
                transaction.cancelled |= transaction.invite;
                transaction.expires = transaction.expires.min(now + LINGER);
                self.arm(id);
                self.abandon(id, now);
            }
        }
    }

    /// The moment asked for by [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            self.fire(id, now);
        }
    }

    /// When [`Self::handle_timeout`] should next be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timers.first().map(|(at, _)| Deadline { at: *at, why: "SIP transaction" })
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened by itself.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn open(&mut self, key: Key, request: &Message, invite: bool, now: Moment) -> Received {
        if self.transactions.len() >= TRANSACTIONS_MAX {
            return Received::Full;
        }
        // As received, as sent on, and its answer.
        let held = TRANSACTION_BYTES + 3 * request.bytes().len();
        if let Hop::Client { edge, .. } = &key.hop {
            if !self.make_room(edge, held) {
                return Received::Full;
            }
            *self.held.entry(edge.clone()).or_default() += held;
        }
        self.next_id += 1;
        let id = TransactionId(self.next_id);
        hold(&mut self.per_hop, &key.hop);
        self.by_key.insert(key.clone(), id);
        let expires = now + self.patience.route;
        let transaction = Transaction {
            upstream: key.hop.clone(),
            key,
            request: Some(request.clone()),
            invite,
            state: State::Waiting,
            downstream: None,
            answer: None,
            cancelled: false,
            orphaned: false,
            attempt: 0,
            resend: None,
            opened: now,
            expires,
            armed: expires,
            held,
        };
        self.transactions.insert(id, transaction);
        self.timers.insert((expires, id));
        Received::New(id)
    }

    /// Whether this node may hold so much more. What is answered waits only for repetitions, which are rare
    /// where the transport repeats nothing: the oldest of it is forgotten before a new request is refused.
    fn make_room(&mut self, node: &NodeId, more: usize) -> bool {
        while self.held.get(node).is_some_and(|held| held + more > HELD_BYTES_PER_NODE_MAX) {
            let Some(oldest) = self.answered.get_mut(node).and_then(VecDeque::pop_front) else { return false };
            self.remove(oldest);
        }
        true
    }

    fn repeat(&mut self, id: TransactionId) -> Received {
        if let Some(transaction) = self.transactions.get(&id)
            && let Some(answer) = &transaction.answer
            // RFC 6026 §7.1: a 2xx is repeated by the UAS, end to end, never by a proxy.
            && (transaction.state != State::Accepted || transaction.upstream.is_node())
        {
            self.transmits.push_back(transaction.upstream_transmit(answer.clone()));
        }
        Received::Absorbed
    }

    fn receive_ack(&mut self, known: Option<TransactionId>, now: Moment) -> Received {
        let Some(id) = known else { return Received::Acknowledgement };
        let Some(transaction) = self.transactions.get_mut(&id) else { return Received::Acknowledgement };
        match transaction.state {
            State::Completed => {
                // Downstream may still owe the answer to our CANCEL, or, over UDP, may miss our ACK and
                // repeat its answer (timer D): each wants its ACK.
                let owes = |downstream: &Downstream| !downstream.answered || !downstream.hop.is_reliable();
                let owed = transaction.downstream.as_ref().is_some_and(owes);
                transaction.resend = None;
                if !transaction.upstream.is_reliable() && !owed {
                    transaction.expires = now + T4;
                } else if !owed {
                    self.remove(id);
                    return Received::Absorbed;
                }
                self.arm(id);
                Received::Absorbed
            }
            State::Accepted => Received::Acknowledgement,
            State::Waiting | State::Trying | State::Proceeding => Received::Absorbed,
        }
    }

    fn receive_cancel(&mut self, known: Option<TransactionId>, cancel: &Message, now: Moment) -> Received {
        let Some((id, transaction)) = known.and_then(|id| Some((id, self.transactions.get_mut(&id)?))) else {
            return Received::StrayCancel;
        };
        let bytes = cancel.respond(200, "OK").to_tag("c").build();
        self.transmits.push_back(transaction.upstream_transmit(bytes));
        match transaction.state {
            State::Waiting => {
                let Some(request) = &transaction.request else { return Received::Absorbed };
                let terminated = request.respond(487, "Request Terminated").to_tag("c").build();
                self.respond(id, 487, terminated, now);
            }
            // RFC 3261 §9.1: no CANCEL before a provisional answer has come.
            State::Trying => transaction.cancelled = true,
            State::Proceeding => {
                transaction.cancelled = true;
                self.cancel_downstream(id, now);
            }
            State::Accepted | State::Completed => {}
        }
        Received::Absorbed
    }

    /// A CANCEL is a request of its own: over UDP it is repeated (timer E) until it is answered.
    fn cancel_downstream(&mut self, id: TransactionId, now: Moment) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if transaction.state != State::Proceeding {
            return;
        }
        transaction.cancelled = true;
        let unreliable = transaction.downstream.as_ref().is_some_and(|downstream| !downstream.hop.is_reliable());
        transaction.resend = unreliable.then(|| Resend { at: now + T1, interval: T1 });
        let cancel = transaction.cancel_transmit();
        self.transmits.extend(cancel);
        self.arm(id);
    }

    fn fire(&mut self, id: TransactionId, now: Moment) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if now < transaction.expires {
            if let Some(resend) = &mut transaction.resend
                && now >= resend.at
            {
                let limit = if transaction.invite && transaction.state == State::Trying { LINGER } else { T2 };
                resend.interval = (resend.interval * 2).min(limit);
                resend.at = now + resend.interval;
                let again = match transaction.state {
                    // An INVITE is repeated no more once it rings: what is due is its CANCEL.
                    State::Proceeding if transaction.invite => transaction.cancel_transmit(),
                    State::Trying | State::Proceeding => transaction.downstream.as_ref().map(|downstream| {
                        let flow = flow_of(&transaction.upstream);
                        Transmit { hop: downstream.hop.clone(), flow, bytes: downstream.sent.clone() }
                    }),
                    State::Waiting | State::Accepted | State::Completed => {
                        transaction.answer.clone().map(|bytes| transaction.upstream_transmit(bytes))
                    }
                };
                self.transmits.extend(again);
            }
            return self.arm(id);
        }
        match transaction.state {
            State::Waiting => self.events.push_back(Event::Unroutable(id)),
            State::Trying => self.events.push_back(Event::TimedOut(id)),
            State::Proceeding => {
                // Sent once and not armed again: the node answers upstream now, and that sets the timer.
                let cancel = if transaction.invite { transaction.cancel_transmit() } else { None };
                self.transmits.extend(cancel);
                self.events.push_back(Event::TimedOut(id));
            }
            State::Accepted | State::Completed => self.remove(id),
        }
    }

    fn arm(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        self.timers.remove(&(transaction.armed, id));
        transaction.armed = match &transaction.resend {
            Some(resend) => resend.at.min(transaction.expires),
            None => transaction.expires,
        };
        self.timers.insert((transaction.armed, id));
    }

    fn remove(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.remove(&id) else { return };
        self.by_key.remove(&transaction.key);
        self.timers.remove(&(transaction.armed, id));
        if let Hop::Client { edge, .. } = &transaction.upstream
            && let Some(all) = self.held.get_mut(edge)
        {
            *all = all.saturating_sub(transaction.held);
        }
        release(&mut self.per_hop, &transaction.upstream);
        if let Some(downstream) = &transaction.downstream {
            release(&mut self.per_hop, &downstream.hop);
        }
    }
}

/// A response that belongs to no transaction of ours, or came from a hop the request never went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a response that matches no request of ours")]
pub struct Stray;

/// How long a finished transaction must still be remembered; `None`: not at all.
fn linger(transaction: &Transaction, status: u16) -> Option<Duration> {
    if transaction.invite {
        return Some(if status < 300 || !transaction.upstream.is_node() { LINGER } else { LINGER_PEER });
    }
    match transaction.upstream {
        Hop::Flow(_) => None,
        Hop::Peer(_) | Hop::Client { .. } => Some(LINGER_PEER),
        Hop::Datagram { .. } => Some(LINGER),
    }
}

/// RFC 3261 §17.2.3: the branch (unique by its magic cookie) and sent-by; for elements of RFC 2543,
/// which have no cookie, the fields that stand in for it.
fn transaction_text(request: &Message, invite: bool) -> Box<str> {
    let via = request.top_via();
    match via.branch() {
        Some(branch) if branch.starts_with("z9hG4bK") => {
            let method = if invite { "" } else { request.method().unwrap_or_default() };
            format!("{branch} {} {} {method}", via.host, via.port.unwrap_or(0)).into_boxed_str()
        }
        _ => {
            let (number, method) = request.cseq();
            let method = if invite { "INVITE" } else { method };
            format!("{} {} {number} {method}", request.call_id(), request.from_tag().unwrap_or_default())
                .into_boxed_str()
        }
    }
}

#[cfg(test)]
mod tests;
