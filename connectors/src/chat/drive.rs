//! One client's stream: what comes from the edge and what comes from the server go through its router, and what that
//! wants is done. One task for each; what one side cannot take is not read from the other.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use edgeway_model::attempt::Reason;
use edgeway_model::chat::{ChatEnd, ChatOffence};
use edgeway_model::{Moment, Pii};
use edgeway_policy::rate::Source;
use edgeway_runtime::chat::{ChatStream, Item};
use edgeway_xmpp::router::{Action, Down, Input, Router, Verdict};
use edgeway_xmpp::sasl::Mechanism;
use edgeway_xmpp::{Condition, StreamFault};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, Sleep, sleep_until};

use super::counters as count;
use super::limits::{CLIENT_PIECES_PER_WRITE, PIECES_PER_TURN, READY_WITHIN};
use super::server::Server;
use super::sessions::{Entered, Full, Order};
use super::upstream::{Event, Upstream};
use super::who::Who;
use super::{Chat, attempt};

/// The stream of one client, driven.
pub(super) struct Drive {
    chat: Rc<Chat>,
    entered: Entered,
    stream: ChatStream,
    router: Router,
    upstream: Upstream,
    /// By the router's numbers.
    servers: Vec<Rc<Server>>,
    /// Whose credentials were shown last.
    who: Option<Who>,
    /// What was the matter with the server that went last.
    gone: Option<String>,
    /// When the server that was dialled must have got as far as its features.
    ready_by: Option<Moment>,
    /// When something was said to the server last.
    spoke: Moment,
    timer: Pin<Box<Sleep>>,
    /// Pieces that were moved.
    pieces: usize,
    /// Whether the client's side has ended.
    client_gone: bool,
}

/// What happens to a stream.
enum Happened {
    Client(Item),
    Server(Event),
    Ordered(Order),
    Due,
}

impl Drive {
    pub(super) fn new(
        chat: Rc<Chat>,
        entered: Entered,
        stream: ChatStream,
        router: Router,
        servers: Vec<Rc<Server>>,
    ) -> Self {
        let domain = Rc::from(entered.entry().opening.domain.as_str());
        let upstream = Upstream::new(chat.dialler(), domain);
        let (timer, spoke) = (Box::pin(sleep_until(Instant::now())), chat.now());
        Self {
            chat,
            entered,
            stream,
            router,
            upstream,
            servers,
            who: None,
            gone: None,
            ready_by: None,
            spoke,
            timer,
            pieces: 0,
            client_gone: false,
        }
    }

    /// Until it has ended.
    pub(super) async fn run(mut self) {
        loop {
            let now = self.chat.now();
            while let Some(action) = self.router.poll() {
                if let Some(how) = self.carry_out(action, now) {
                    self.stream.end(how);
                    if let Some(farewell) = self.upstream.close() {
                        farewell.await;
                    }
                    return;
                }
            }
            self.pieces = self.pieces.wrapping_add(1);
            if self.pieces.is_multiple_of(PIECES_PER_TURN) {
                yield_now().await;
            }
            let happened = poll_fn(|context| self.poll(context)).await;
            self.handle(happened);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happened> {
        if let Some(order) = self.entered.entry().ordered(context) {
            return Poll::Ready(Happened::Ordered(order));
        }
        // The client is read first, so that what it has sent at once leaves at once; now and then the server is.
        let had_room = self.upstream.has_room();
        let server_first = self.pieces.is_multiple_of(CLIENT_PIECES_PER_WRITE);
        let first = if server_first { None } else { self.poll_client(context) };
        let polled = first.or_else(|| self.poll_server(context)).or_else(|| {
            // What the server has just taken makes room, and nothing else would wake us for it.
            if server_first || !had_room { self.poll_client(context) } else { None }
        });
        if let Some(happened) = polled {
            return Poll::Ready(happened);
        }
        self.poll_timer(context)
    }

    fn poll_server(&mut self, context: &mut Context<'_>) -> Option<Happened> {
        let may_read = self.client_gone || self.stream.poll_room(context).is_ready();
        let mut scratch = self.chat.scratch.borrow_mut();
        match self.upstream.poll(context, may_read, &mut scratch) {
            Poll::Ready(event) => Some(Happened::Server(event)),
            Poll::Pending => None,
        }
    }

    fn poll_client(&self, context: &Context<'_>) -> Option<Happened> {
        if self.client_gone || !self.upstream.has_room() {
            return None;
        }
        match self.stream.poll_receive(context) {
            Poll::Ready(item) => Some(Happened::Client(item)),
            Poll::Pending => None,
        }
    }

    /// The timer is left alone as long as it is not late: most deadlines move on before they come.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Happened> {
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        let deadline = self.chat.instant(deadline);
        loop {
            let set = self.timer.deadline();
            if deadline < set {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if deadline <= self.timer.deadline() {
                return Poll::Ready(Happened::Due);
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let space_by = self.entered.entry().is_signed_in().then(|| self.spoke + self.chat.space_after.get());
        self.router.next_deadline().into_iter().chain(self.ready_by).chain(space_by).min()
    }

    fn handle(&mut self, happened: Happened) {
        let now = self.chat.now();
        let entry = self.entered.entry();
        let input = match happened {
            Happened::Client(Item::Bytes(bytes)) => {
                entry.bytes_in.set(entry.bytes_in.get() + bytes.len() as u64);
                Input::Client(bytes)
            }
            Happened::Client(Item::End(how)) => {
                self.client_gone = true;
                Input::ClientEnded(how)
            }
            // An edge has nothing to say about that.
            Happened::Client(Item::SignedIn | Item::SignInRefused) => return,
            Happened::Server(Event::Connected) => Input::Connected,
            Happened::Server(Event::Secured) => Input::Secured,
            Happened::Server(Event::Said(bytes)) => Input::Server(bytes),
            Happened::Server(Event::Gone(why)) => {
                if entry.is_signed_in() {
                    self.chat.count(count::SERVER_LOST);
                }
                self.gone = Some(why);
                Input::ServerGone
            }
            Happened::Ordered(order) => self.ordered(order),
            Happened::Due => self.due(now),
        };
        self.router.handle(input, now);
    }

    fn due(&mut self, now: Moment) -> Input {
        if self.ready_by.is_some_and(|by| by <= now) {
            self.ready_by = None;
            drop(self.upstream.close());
            self.gone = Some("it did not answer in time".to_owned());
            return Input::ServerGone;
        }
        if now >= self.spoke + self.chat.space_after.get() {
            self.spoke = now;
            if self.router.may_tell_server() {
                self.upstream.send(Bytes::from_static(b" "));
            }
        }
        Input::Tick
    }

    fn ordered(&self, order: Order) -> Input {
        match order {
            // It has made it meanwhile.
            Order::GiveWay if self.entered.entry().is_signed_in() => Input::Tick,
            Order::GiveWay => {
                self.chat.count(count::CUT_FOR_OTHERS);
                Input::Disconnect(StreamFault::new(Condition::ResourceConstraint, "Others come to sign in."))
            }
            Order::Disconnect | Order::Revoked => {
                self.chat.count(count::DISCONNECTED);
                let text = if order == Order::Revoked { "the user was revoked" } else { "ended by an operator" };
                Input::Disconnect(StreamFault::new(Condition::PolicyViolation, text))
            }
            // XEP-0198 §5: a stream that ends without a word can be resumed, through another core; one that ends with
            // `</stream:stream>`, or with an error, is over on both sides, and so are the messages under way. A client
            // without stream management takes it for a lost connection and comes back at once, where quite a few take
            // an error for the last word.
            Order::Stop if self.entered.entry().is_signed_in() => Input::ClientEnded(ChatEnd::Broken),
            Order::Stop => Input::Disconnect(StreamFault::new(Condition::SystemShutdown, "this node is about to stop")),
        }
    }

    /// Does what the router wants; how the stream ends, once it does.
    fn carry_out(&mut self, action: Action, now: Moment) -> Option<ChatEnd> {
        let entry = self.entered.entry();
        match action {
            Action::ToClient(bytes) => {
                entry.bytes_out.set(entry.bytes_out.get() + bytes.len() as u64);
                self.stream.send(bytes);
            }
            Action::ToServer(bytes) => {
                self.spoke = now;
                self.upstream.send(bytes);
            }
            Action::Dial { server } => {
                if let Some(server) = self.servers.get(server) {
                    *entry.server.borrow_mut() = Some(server.to_string());
                    self.ready_by = Some(now + READY_WITHIN);
                    self.upstream.dial(Rc::clone(server));
                }
            }
            Action::StartTls => self.upstream.start_tls(),
            Action::CloseServer => {
                self.ready_by = None;
                if let Some(farewell) = self.upstream.close() {
                    spawn_local(farewell);
                }
            }
            Action::ServerDown { server, why } => self.server_down(server, why, true),
            Action::ServerDoubted { server, why } => self.server_down(server, why, false),
            Action::ServerUp { server, mechanisms } => {
                self.ready_by = None;
                if let Some(server) = self.servers.get(server) {
                    self.chat.health.answered(server, &entry.opening.domain, &self.chat.servers());
                    self.chat.remember(&entry.opening.domain, mechanisms);
                }
            }
            Action::AskRate { user, mechanism: _ } => self.ask_rate(user.as_ref()),
            Action::Unseen => match self.who.as_ref().and_then(Who::counted) {
                Some(counted) => self.chat.desk.unseen(counted, Source::at(entry.opening.client.ip())),
                None => self.chat.nameless.give_back(entry.opening.client.ip()),
            },
            Action::Homed { server } => self.at_home(server),
            Action::Bound { jid, resumed } => {
                if resumed {
                    self.chat.count(count::RESUMED);
                }
                // One that was resumed can be resumed again.
                entry.resumable.set(entry.resumable.get() || resumed);
                self.bound(jid, resumed);
            }
            Action::Resumable => entry.resumable.set(true),
            Action::Offence(offence, detail) => {
                // The edge charges the client's address for it, however the stream ends. Not for credentials that were
                // not looked at: whoever tries them elsewhere must not lock out the user's office.
                if offence != ChatOffence::Abuse {
                    self.stream.sign_in_refused();
                }
                self.chat.offence(&entry.edge, &entry.opening, offence, detail);
                let reason = match offence {
                    ChatOffence::SignIn => Some(Reason::WrongCredentials),
                    ChatOffence::Protocol => Some(Reason::ChatRules),
                    // Told already, with its code.
                    ChatOffence::Abuse => None,
                };
                if let Some(reason) = reason {
                    self.attempted(reason, detail);
                }
            }
            Action::SignedIn { server, mechanism, .. } => return self.signed_in(server, mechanism),
            Action::End(how) => return Some(how),
        }
        None
    }

    /// The user is to be found on this server from now on.
    fn at_home(&self, server: usize) {
        if let (Some(server), Some(subject)) = (self.servers.get(server), self.who.as_ref().and_then(Who::subject)) {
            self.chat.homes.remember(subject, server);
        }
    }

    /// A server failed: for sure, or perhaps by the client's doing.
    fn server_down(&mut self, server: usize, why: Down, certain: bool) {
        self.ready_by = None;
        let told = self.gone.take();
        let Some(server) = self.servers.get(server) else { return };
        let domain = &self.entered.entry().opening.domain;
        self.chat.count(count::SERVER_FAILED);
        // It has answered, and the next one may know the domain.
        if why == Down::HostUnknown {
            self.attempted(Reason::NoChatServer, "the server does not know the domain");
            return tracing::debug!(event = "chat.server", server = %server, %domain, "an IM server does not serve a domain of its deployment");
        }
        let why = told.filter(|_| why == Down::Gone).unwrap_or_else(|| why.to_string());
        if !self.entered.entry().is_signed_in() {
            self.attempted(Reason::NoChatServer, &format!("{server}: {why}"));
        }
        if certain {
            self.chat.health.failed(server, domain, &why);
        } else {
            self.chat.health.doubted(server, domain, &why);
        }
    }

    /// Something has become of the attempt that the client is told by the server, or by nobody.
    fn attempted(&self, reason: Reason, detail: &str) {
        let (entry, user) = (self.entered.entry(), self.who.as_ref().and_then(Who::counted));
        self.chat.teller.attempted(attempt(&entry.edge, &entry.opening, user, reason, detail));
    }

    fn ask_rate(&mut self, user: Option<&Pii<String>>) {
        let (entry, now) = (self.entered.entry(), self.chat.now());
        let who = Who::claimed(&entry.deployment, user.map(|user| user.reveal().as_str()));
        let verdict = match self.chat.admit(&who, entry.opening.client.ip()) {
            Ok(()) => Verdict::Pass { homes: self.homes(&who) },
            Err(Verdict::Refused { retry_after, .. }) => {
                let detail = self.chat.desk.too_often(retry_after);
                let told = attempt(&entry.edge, &entry.opening, who.counted(), Reason::SignInLimit, &detail);
                Verdict::Refused { retry_after, code: self.chat.teller.refused(told) }
            }
            Err(verdict) => verdict,
        };
        if matches!(verdict, Verdict::Refused { .. }) {
            self.chat.count(count::TOO_MANY);
        }
        self.who = Some(who);
        self.router.handle(Input::Verdict(verdict), now);
    }

    /// The servers a user is to be on, best first: each user comes to the same one again, from wherever.
    fn homes(&self, who: &Who) -> Vec<usize> {
        let Some(subject) = who.subject() else { return Vec::new() };
        let (home, domain) = (self.chat.home_of(subject), &self.entered.entry().opening.domain);
        let ranked = self.chat.servers().ranked(&subject.deployment, domain, subject.user.as_str(), &home);
        ranked.iter().filter_map(|one| self.servers.iter().position(|own| own.is_at(one))).collect()
    }

    /// A server has taken the credentials. A user who has as many sessions as may be is told so now, and no sooner, since
    /// it is nobody else's business; the client has not heard of its success then, and its stream ends so.
    fn signed_in(&self, server: usize, mechanism: Mechanism) -> Option<ChatEnd> {
        let (entry, who) = (self.entered.entry(), self.who.as_ref());
        let (named, address) = (who.and_then(Who::counted), entry.opening.client.ip());
        let proven = named.filter(|_| mechanism.proves_its_name());
        if self.entered.signed_in(who.and_then(Who::subject).cloned(), proven.cloned()).is_err() {
            self.chat.count(count::USER_FULL);
            self.stream.send(Bytes::from(USER_FULL.to_xml()));
            return Some(ChatEnd::Closed);
        }
        match (proven, named) {
            (Some(proven), _) => self.chat.desk.proven(proven, Source::at(address)),
            (None, None) => self.chat.nameless.give_back(address),
            (None, Some(_)) => {}
        }
        self.at_home(server);
        self.chat.count(count::SIGNED_IN);
        self.attempted(Reason::Accepted, "");
        self.stream.signed_in();
        None
    }

    /// The server has said whose stream it is, or that it is the one of before, which does not say: then it is that of
    /// whom it claims to be of.
    fn bound(&mut self, jid: Option<Pii<String>>, resumed: bool) {
        let entry = self.entered.entry();
        let said = jid.as_ref().map(|jid| Who::bound(&entry.deployment, jid.reveal()));
        if let Some(counted) = said.as_ref().and_then(Who::counted).filter(|_| entry.counted.borrow().is_none()) {
            self.chat.desk.proven(counted, Source::at(entry.opening.client.ip()));
        }
        let whose = said.as_ref().or_else(|| self.who.as_ref().filter(|_| resumed));
        let filed = whose.map(|who| self.entered.bound(who.subject().cloned(), who.counted().cloned()));
        if jid.is_some() {
            *entry.jid.borrow_mut() = jid;
        }
        if filed == Some(Err(Full)) {
            self.chat.count(count::USER_FULL);
            self.router.handle(Input::Disconnect(USER_FULL), self.chat.now());
        }
    }
}

const USER_FULL: StreamFault = StreamFault::new(Condition::ResourceConstraint, "this user has too many sessions");
