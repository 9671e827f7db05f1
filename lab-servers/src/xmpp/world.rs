//! What the nodes of a chat service share: users, sessions, what is wrong with whom, and what came in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::read::Element;
use crate::limits::{CHAT_LOG_BYTES_MAX, CHAT_STREAMS_MAX, CHAT_WAITING_MAX};
use crate::uc::OneTimePasswords;

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatFault {
    /// It accepts connections and says nothing.
    Hang,
    /// It closes the connection when it is shown credentials.
    DieInAuth,
    /// It cannot ask whoever knows the passwords: `<temporary-auth-failure/>`.
    TemporaryAuthFailure,
    /// It sends clients to this host instead of features: `<see-other-host/>`.
    SeeOtherHost(String),
    /// It reads this many bytes, and pauses this long.
    SlowReader(usize, Duration),
}

/// How a stream ended at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnding {
    /// The client said `</stream:stream>`.
    Closed,
    /// The connection ended without a word.
    Broken,
    /// The server ended it, for an error or because the session went on elsewhere.
    ByServer,
}

/// One connection, as the server saw it.
#[derive(Clone, Debug, Default)]
pub struct StreamSeen {
    /// Which node.
    pub node: String,
    /// What came before TLS.
    pub before_tls: Vec<u8>,
    /// What came inside TLS, the bytes as they came.
    pub received: Vec<u8>,
    /// The stanzas in it, as this server cut them: all elements after sign-in.
    pub stanzas: Vec<String>,
    /// The mechanism that was asked for last.
    pub mechanism: Option<String>,
    /// Attempts to sign in.
    pub attempts: u32,
    /// Who signed in: the JID, full once there is a resource.
    pub jid: Option<String>,
    /// Whether the session was resumed on it.
    pub resumed: bool,
    /// How it ended, if it has.
    pub ended: Option<StreamEnding>,
    /// The server's complaint about what came in, if there is one.
    pub fault: Option<String>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its full JID.
    pub jid: String,
    /// The node that holds it.
    pub node: String,
    /// Whether a connection is there.
    pub attached: bool,
    /// Whether it has sent presence.
    pub available: bool,
    /// Stanzas received from the client since stream management was enabled, if it was.
    pub received: Option<u32>,
    /// Stanzas sent to it since then.
    pub sent: Option<u32>,
}

/// Told to the task of a connection.
pub(super) enum Order {
    Write(String),
    /// The session goes on at another connection, or an operator ends it.
    End(&'static str),
}

/// What is remembered of stream management (XEP-0198).
pub(super) struct Managed {
    pub(super) id: String,
    pub(super) resumable: bool,
    pub(super) received: u32,
    pub(super) sent: u32,
    pub(super) unacknowledged: VecDeque<String>,
}

pub(super) struct Session {
    pub(super) number: u64,
    pub(super) node: String,
    pub(super) user: String,
    pub(super) jid: String,
    pub(super) presence: Option<String>,
    pub(super) orders: Option<mpsc::Sender<Order>>,
    pub(super) managed: Option<Managed>,
    /// Until when it may be resumed.
    pub(super) until: Option<Instant>,
}

impl Session {
    fn send(&mut self, stanza: String) -> bool {
        let Some(managed) = &mut self.managed else {
            return self.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Write(stanza)).is_ok());
        };
        if managed.unacknowledged.len() >= CHAT_WAITING_MAX {
            return false;
        }
        managed.sent = managed.sent.wrapping_add(1);
        managed.unacknowledged.push_back(stanza.clone());
        if let Some(orders) = &self.orders {
            let asking = format!("{stanza}<r xmlns='urn:xmpp:sm:3'/>");
            if orders.try_send(Order::Write(asking)).is_err() {
                // It does not read: what waits is sent when it resumes.
                self.orders = None;
            }
        }
        true
    }
}

/// Everything that may change.
pub(super) struct World {
    pub(super) domain: String,
    pub(super) users: BTreeMap<String, String>,
    /// The node a user must sign in at, where it matters.
    pub(super) homes: BTreeMap<String, String>,
    pub(super) tokens: BTreeMap<String, String>,
    pub(super) faults: BTreeMap<String, ChatFault>,
    pub(super) sessions: Vec<Session>,
    pub(super) streams: VecDeque<StreamSeen>,
    /// Streams forgotten at the front of `streams`.
    forgotten: usize,
    pub(super) resume_within: Duration,
    numbers: u64,
}

pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) one_time: OneTimePasswords,
}

impl Shared {
    pub(super) fn new(
        domain: &str,
        users: BTreeMap<String, String>,
        resume_within: Duration,
        one_time: OneTimePasswords,
    ) -> Self {
        let world = World {
            domain: domain.to_owned(),
            users,
            homes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            faults: BTreeMap::new(),
            sessions: Vec::new(),
            streams: VecDeque::new(),
            forgotten: 0,
            resume_within,
            numbers: 0,
        };
        Self { world: Mutex::new(world), one_time }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered of a stream.
    pub(super) fn note(&self, stream: usize, change: impl FnOnce(&mut StreamSeen)) {
        let mut world = self.world();
        if let Some(at) = stream.checked_sub(world.forgotten)
            && let Some(seen) = world.streams.get_mut(at)
        {
            change(seen);
        }
    }
}

/// Adds to a log that has a bound.
pub(super) fn keep(log: &mut Vec<u8>, bytes: &[u8]) {
    let room = CHAT_LOG_BYTES_MAX.saturating_sub(log.len());
    log.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

impl World {
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Begins the log of a stream.
    pub(super) fn open(&mut self, node: &str) -> usize {
        if self.streams.len() == CHAT_STREAMS_MAX {
            self.streams.pop_front();
            self.forgotten += 1;
        }
        self.streams.push_back(StreamSeen { node: node.to_owned(), ..StreamSeen::default() });
        self.forgotten + self.streams.len() - 1
    }

    pub(super) fn forget(&mut self) {
        self.forgotten += self.streams.len();
        self.streams.clear();
    }

    pub(super) fn session(&mut self, number: u64) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.number == number)
    }

    /// Sessions whose time to be resumed has passed are over.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        let over: Vec<u64> = self
            .sessions
            .iter()
            .filter(|session| session.orders.is_none() && session.until.is_some_and(|until| until < now))
            .map(|session| session.number)
            .collect();
        over.into_iter().for_each(|number| self.end(number));
    }

    /// The session is over: the others are told.
    pub(super) fn end(&mut self, number: u64) {
        let Some(at) = self.sessions.iter().position(|session| session.number == number) else { return };
        let gone = self.sessions.remove(at);
        if gone.presence.is_some() {
            self.broadcast(&gone.jid, &format!("<presence from='{}' type='unavailable'/>", gone.jid));
        }
    }

    /// To everybody who is available, but for the one it is of.
    fn broadcast(&mut self, from: &str, stanza: &str) {
        for session in &mut self.sessions {
            if session.presence.is_some() && session.jid != from {
                session.send(stanza.to_owned());
            }
        }
    }

    /// A client's presence without an address.
    pub(super) fn presence(&mut self, number: u64, stanza: &str, is_available: bool) {
        let Some(session) = self.session(number) else { return };
        let (jid, was) = (session.jid.clone(), session.presence.take());
        if is_available {
            session.presence = Some(stanza.to_owned());
        }
        self.broadcast(&jid, stanza);
        if is_available && was.is_none() {
            let others: Vec<String> = self
                .sessions
                .iter()
                .filter(|session| session.jid != jid)
                .filter_map(|session| session.presence.clone())
                .collect();
            if let Some(session) = self.session(number) {
                others.into_iter().for_each(|stanza| _ = session.send(stanza));
            }
        }
    }

    /// Takes a stanza to whoever it is addressed to; whether anybody is there.
    pub(super) fn route(&mut self, to: &str, stanza: &str, is_message: bool) -> bool {
        self.sweep();
        let full = self.sessions.iter().position(|session| session.jid == to);
        if let Some(session) = full.and_then(|at| self.sessions.get_mut(at)) {
            return session.send(stanza.to_owned());
        }
        let user = to.split('@').next().unwrap_or_default();
        if !is_message {
            return false;
        }
        let mut reached = false;
        for session in self.sessions.iter_mut().filter(|session| session.user == user && session.presence.is_some()) {
            reached |= session.send(stanza.to_owned());
        }
        reached
    }

    /// Everything a session is owed, from the count that the client acknowledges on; `None` if it cannot be.
    pub(super) fn acknowledged(&mut self, number: u64, count: u32) -> Option<Vec<String>> {
        let managed = self.session(number)?.managed.as_mut()?;
        let waiting = u32::try_from(managed.unacknowledged.len()).unwrap_or(u32::MAX);
        let left = managed.sent.wrapping_sub(count);
        if left > waiting {
            return None;
        }
        managed.unacknowledged.drain(..(waiting - left) as usize);
        Some(managed.unacknowledged.iter().cloned().collect())
    }
}

/// `stanza` with who it is from, and with what the header of its stream declares and it does not.
pub(super) fn stamped(raw: &str, element: &Element, from: &str, prefixes: &[(String, String)]) -> String {
    let name = raw.find([' ', '\t', '\r', '\n', '/', '>']).unwrap_or(raw.len());
    let start = raw.split('>').next().unwrap_or_default();
    let mut out = raw[..name].to_owned();
    if element.attribute("from").is_none() {
        out.push_str(&format!(" from='{from}'"));
    }
    for (prefix, namespace) in prefixes {
        if !start.contains(&format!("xmlns:{prefix}")) {
            out.push_str(&format!(" xmlns:{prefix}='{namespace}'"));
        }
    }
    out + &raw[name..]
}
