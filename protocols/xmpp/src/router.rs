//! One client's stream at the core, from its first header to its end (RFC 6120). Decides what a client and a server
//! hear of each other: the server is found, secured and asked for its features before the client hears anything;
//! nothing of a client is sent anywhere before its user's rate allows it; after sign-in bytes pass as they come.
//!
//! ```text
//!  greeting ─▶ meeting ─▶ offered ─▶ asking ─▶ moving ─▶ exchange ─▶ relay ─▶ ended
//!                servers     ▲ ▲        │ rate    home       │
//!                            │ └────────┴─────── failure ────┘
//!                            └─ prompted: no initial response
//! ```
//! Nothing is sent twice: credentials that a server may have seen are never shown to another one. Where nobody can
//! check them a client hears `<temporary-auth-failure/>`, never that they are wrong.
//!
//! The connectors drive it: they dial, do TLS, ask for the rate, and move the bytes.

mod asked;
mod exchange;
mod greeting;
mod kept;
mod meeting;
mod reader;
mod relay;
mod relaying;
mod server;
mod signing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::chat::{ChatEnd, ChatOffence};
use zeroize::Zeroizing;

pub use exchange::{Action, Beginning, Candidate, Down, Input, Verdict};
pub use greeting::{normal_domain, turned_away};

use self::kept::Kept;
use self::reader::{Item, Reader};
use self::relay::Relay;
use self::server::Server;
use self::signing::{Exchange, Shown};
use crate::condition::{Condition, StreamFault};
use crate::element::Header;
use crate::limits::{FIRST_WORD_WITHIN, MEET_WITHIN, SIGN_IN_WITHIN, WAITING_BYTES_MAX};
use crate::sasl::Mechanism;
use crate::scan::Bounds;

/// The session. Whoever drives it hands in what happens ([`Self::handle`]), then does what it wants ([`Self::poll`])
/// until there is nothing more, and comes again when [`Self::next_deadline`] has come.
pub struct Router {
    domain: String,
    servers: Vec<Candidate>,
    remembered: Vec<Mechanism>,
    id: [u8; 16],
    phase: Phase,
    /// The client's stream, up to sign-in.
    reader: Reader,
    /// What of the client's has not been looked at yet.
    waiting: Kept,
    header: Option<Header>,
    /// The client has had our header.
    answered: bool,
    server: Option<Server>,
    /// Counts dials: bytes of a connection that was left are nobody's.
    dials: u32,
    /// Servers that are still to be tried in this round.
    untried: VecDeque<usize>,
    redirects: u8,
    /// Whether all servers that failed in this round have said that the domain is not theirs; `None` while none has failed.
    nowhere: Option<bool>,
    /// What the client was offered.
    offered: Vec<Mechanism>,
    /// Sign-ins that have failed.
    failed: u8,
    /// When the client must have signed in.
    sign_in_by: Moment,
    /// When it must have begun to, once it was told with what.
    begin_by: Option<Moment>,
    /// When one who has signed in must be gone, once an end has begun.
    close_by: Option<Moment>,
    actions: VecDeque<Action>,
}

enum Phase {
    /// The client's header is to come.
    Greeting,
    /// A server is looked for, and the client waits for its features.
    Meeting {
        /// When it has waited long enough.
        by: Moment,
    },
    /// The client is to sign in.
    Offered,
    /// It has named a mechanism, and is to show what goes with it.
    Prompted(Mechanism),
    /// It has shown credentials: may a server see them?
    Asking(Shown),
    /// A server may see them, and is not ready yet.
    Moving(Shown),
    /// A server has seen them.
    Exchange(Exchange),
    /// It has taken them.
    Relay(Box<Relay>),
    /// Nothing more.
    Ended,
}

impl Router {
    /// A session of which nothing has come yet.
    #[must_use]
    pub fn new(beginning: Beginning, now: Moment) -> Self {
        let Beginning { domain, servers, remembered, id } = beginning;
        Self {
            domain: normal_domain(&domain),
            servers,
            remembered,
            id,
            phase: Phase::Greeting,
            reader: Reader::new(Bounds::STRANGER),
            waiting: Kept::default(),
            header: None,
            answered: false,
            server: None,
            dials: 0,
            untried: VecDeque::new(),
            redirects: 0,
            nowhere: None,
            offered: Vec::new(),
            failed: 0,
            sign_in_by: now + SIGN_IN_WITHIN,
            begin_by: None,
            close_by: None,
            actions: VecDeque::new(),
        }
    }

    /// Takes what has happened.
    pub fn handle(&mut self, input: Input, now: Moment) {
        match input {
            _ if self.has_ended() => return,
            Input::Client(bytes) if self.relays() => self.relay_client(bytes, now),
            Input::Client(bytes) => self.waiting.add(&bytes),
            Input::ClientEnded(how) => self.client_ended(how),
            Input::Connected => self.server_connected(now),
            Input::Secured => self.server_secured(now),
            Input::Server(bytes) => self.server_bytes(bytes, now),
            Input::ServerGone => self.server_gone(now),
            Input::Verdict(verdict) => self.judged(verdict, now),
            Input::Disconnect(fault) => self.disconnect(fault, now),
            Input::Tick => self.tick(now),
        }
        self.read_client(now);
        if self.is_silent() {
            self.begin_by.get_or_insert(now + FIRST_WORD_WITHIN);
        }
    }

    /// What is to be done next; `None` when there is nothing.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to come again at the latest; `None` once it has ended, and while a stream that has signed in goes its way.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let server = self.server.as_ref().filter(|server| !server.is_ready()).map(|server| server.deadline);
        let own = match &self.phase {
            Phase::Ended => return None,
            Phase::Relay(relay) => return relay.bind_by().into_iter().chain(self.close_by).min(),
            Phase::Meeting { by } => Some(*by),
            Phase::Exchange(exchange) => exchange.answer_by,
            Phase::Offered if self.is_silent() => self.begin_by,
            Phase::Greeting | Phase::Offered | Phase::Prompted(_) | Phase::Asking(_) | Phase::Moving(_) => None,
        };
        own.into_iter().chain(server).chain([self.sign_in_by]).min()
    }

    /// Whether the driver may put a space of its own between what the client says to the server, to keep the connection
    /// (RFC 6120 §4.6.1).
    #[must_use]
    pub fn may_tell_server(&self) -> bool {
        matches!(&self.phase, Phase::Relay(relay) if relay.may_tell_server())
    }

    /// Looks at what the client has sent, as far as it is its turn.
    fn read_client(&mut self, now: Moment) {
        while !self.waiting.is_empty() {
            match &self.phase {
                Phase::Greeting | Phase::Offered | Phase::Prompted(_) => {}
                Phase::Exchange(exchange) if exchange.is_clients_turn() => {}
                Phase::Relay(_) => {
                    let bytes = self.waiting.take();
                    return self.relay_client(Bytes::from_owner(bytes), now);
                }
                Phase::Ended => {
                    self.waiting = Kept::default();
                    return;
                }
                Phase::Meeting { .. } | Phase::Asking(_) | Phase::Moving(_) | Phase::Exchange(_) => {
                    if self.waiting.len() > WAITING_BYTES_MAX {
                        self.offend(StreamFault::new(Condition::PolicyViolation, "Too much was sent ahead."));
                    }
                    return;
                }
            }
            let bytes = self.waiting.take();
            let mut rest: &[u8] = &bytes;
            let item = self.reader.next(&mut rest);
            self.waiting.add(rest);
            match item {
                Ok(None) => {}
                Ok(Some(item)) => self.client_item(item, now),
                Err(fault) => self.offend(fault),
            }
        }
    }

    fn client_item(&mut self, item: Item, now: Moment) {
        match item {
            Item::Header(header, _) => match greeting::check(&header, &self.domain) {
                Ok(()) => {
                    self.header = Some(header);
                    self.phase = Phase::Meeting { by: now + MEET_WITHIN };
                    self.try_servers(&[], now);
                }
                Err(fault) => {
                    self.header = Some(header);
                    self.refuse(fault);
                }
            },
            Item::Close => {
                self.say_header();
                self.say("</stream:stream>");
                self.end(ChatEnd::Closed);
            }
            Item::Element(element) => self.sign_in(element, now),
        }
    }

    /// Bytes of the server go to whatever they are for now; those of a server that has been left on the way are nobody's.
    fn server_bytes(&mut self, bytes: Bytes, now: Moment) {
        let mut rest: &[u8] = &bytes;
        let dial = self.dials;
        loop {
            if self.relays() {
                let left = bytes.slice(bytes.len() - rest.len()..);
                return self.relay_server(left, now);
            }
            let Some(server) = self.server.as_mut().filter(|_| self.dials == dial) else { return };
            if server.is_ready() {
                match server.next(&mut rest) {
                    Ok(None) => return,
                    Ok(Some(item)) => self.server_item(item, now),
                    Err(down) => return self.server_down(down, now),
                }
            } else {
                let heard = server.negotiate(&mut rest);
                if heard == server::Heard::Nothing {
                    return;
                }
                self.heard(heard, now);
            }
        }
    }

    fn tick(&mut self, now: Moment) {
        let late = |moment: Moment| moment <= now;
        match &self.phase {
            Phase::Ended => return,
            Phase::Relay(_) => return self.relay_tick(now),
            _ if late(self.sign_in_by) || (self.is_silent() && self.begin_by.is_some_and(late)) => {
                return self.refuse(StreamFault::new(Condition::ConnectionTimeout, "Sign-in took too long."));
            }
            Phase::Exchange(exchange) if exchange.answer_by.is_some_and(late) => self.server_down(Down::Silent, now),
            Phase::Meeting { by } if late(*by) => self.offer(),
            Phase::Greeting
            | Phase::Meeting { .. }
            | Phase::Offered
            | Phase::Prompted(_)
            | Phase::Asking(_)
            | Phase::Moving(_)
            | Phase::Exchange(_) => {}
        }
        if self.server.as_ref().is_some_and(|server| !server.is_ready() && late(server.deadline)) {
            self.server_down(Down::Silent, now);
        }
    }

    fn client_ended(&mut self, how: ChatEnd) {
        // It has said its last word, and hears the server's: that is waited for, but not for long.
        let hears = matches!(&self.phase, Phase::Relay(relay) if relay.client_closed && !relay.server_closed);
        if how == ChatEnd::Closed && hears {
            return;
        }
        self.unseen();
        // Without a word to the server, which may keep the session for a while.
        self.close_server();
        self.phase = Phase::Ended;
        self.actions.push_back(Action::End(how));
    }

    fn disconnect(&mut self, fault: StreamFault, now: Moment) {
        if self.relays() { self.relay_disconnect(fault, now) } else { self.refuse(fault) }
    }

    /// Whether the client knows with what to sign in, and has not tried yet.
    const fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Offered) && self.failed == 0
    }

    const fn relays(&self) -> bool {
        matches!(self.phase, Phase::Relay(_))
    }

    const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The client did what it may not.
    fn offend(&mut self, fault: StreamFault) {
        // What was sent ahead of a sign-in that has failed makes no sense any more; that is nobody's fault.
        if self.failed == 0 {
            self.actions.push_back(Action::Offence(ChatOffence::Protocol, fault.text));
        }
        self.refuse(fault);
    }

    /// Tells the client why its stream ends, and ends it.
    fn refuse(&mut self, fault: StreamFault) {
        if self.has_ended() {
            return;
        }
        if let Phase::Relay(relay) = &self.phase {
            if !relay.may_tell_client() {
                return self.break_off();
            }
            self.answered = relay.server_open;
        }
        self.say_header();
        self.say(&fault.to_xml());
        self.end(ChatEnd::Closed);
    }

    /// Our header, unless the client has had one. The id is the server's where there is one.
    fn say_header(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            let server = self.server.as_ref().map(|server| server.id.clone()).filter(|id| !id.is_empty());
            let id = server.unwrap_or_else(|| greeting::id(self.id));
            let header = greeting::ours(self.header.as_ref(), &self.domain, &id);
            self.say(&header);
        }
    }

    fn say(&mut self, text: &str) {
        self.actions.push_back(Action::ToClient(Bytes::copy_from_slice(text.as_bytes())));
    }

    fn tell_server(&mut self, text: &str) {
        self.actions.push_back(Action::ToServer(Bytes::copy_from_slice(text.as_bytes())));
    }

    /// As [`Self::tell_server`], for what overwrites itself when it has been sent.
    fn tell_server_secret(&mut self, text: Zeroizing<Vec<u8>>) {
        self.actions.push_back(Action::ToServer(Bytes::from_owner(text)));
    }

    /// Ends both sides in XMPP's words, of which the client has had all.
    fn end(&mut self, how: ChatEnd) {
        self.unseen();
        let relayed = matches!(&self.phase, Phase::Relay(relay) if relay.may_tell_server());
        if relayed || self.server.as_ref().is_some_and(Server::is_ready) {
            self.tell_server("</stream:stream>");
        }
        self.close_server();
        self.phase = Phase::Ended;
        self.waiting = Kept::default();
        self.actions.push_back(Action::End(how));
    }

    /// Whatever was let pass to a server, and reached none, is not an attempt at anybody.
    fn unseen(&mut self) {
        if matches!(self.phase, Phase::Moving(_)) {
            self.actions.push_back(Action::Unseen);
        }
    }

    /// Ends both sides without a word.
    fn break_off(&mut self) {
        self.close_server();
        self.phase = Phase::Ended;
        self.actions.push_back(Action::End(ChatEnd::Broken));
    }

    /// Closes the connection to the server, if there is one.
    fn close_server(&mut self) {
        let relays = matches!(&self.phase, Phase::Relay(relay) if !relay.server_gone);
        if self.server.take().is_some() || relays {
            self.actions.push_back(Action::CloseServer);
        }
    }
}
