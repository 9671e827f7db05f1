//! The task behind a phone: connection, client and server transactions, registration, timers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Random;
use edgeway_sip::{Message, Name};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::calls::CallEntry;
use super::connection::{Connection, Event};
use super::dialog::Unacknowledged;
use super::{Call, Command, PhoneConfig, PhoneError};
use crate::credentials::{Challenge, Credentials};
use crate::limits::{
    ANSWER_MAX, EVENTS_QUEUE_MAX, RECONNECT_MAX, RESPONSES_KEPT, RINGING_MAX, T1, T2, TRANSACTION_LIFE,
    TRANSACTIONS_MAX,
};
use crate::transport::Arrival;
use crate::wire::{self, Head};

/// How long a pong may take (RFC 5626 §4.4.1).
const PONG_MAX: Duration = Duration::from_secs(10);

/// First pause before reconnecting; doubles up to [`RECONNECT_MAX`].
const RECONNECT_FIRST: Duration = Duration::from_millis(200);

pub(super) type Reply<T> = oneshot::Sender<Result<T, PhoneError>>;

/// What a client transaction is for.
pub(super) enum Purpose {
    Register { reply: Option<Reply<u32>>, expires: u32, answered_challenge: bool },
    Plain { reply: Option<Reply<u16>> },
    Invite { call: u64, answered_challenge: bool },
    Reinvite { call: u64, reply: Option<Reply<()>>, hold: bool },
    Refer { reply: Option<Reply<()>> },
    Bye { reply: Option<Reply<()>> },
    Cancel,
}

/// A client transaction (RFC 3261 §17.1).
pub(super) struct Pending {
    pub(super) purpose: Purpose,
    pub(super) request: Message,
    bytes: Bytes,
    /// Next retransmission and the pause after it; `None` on a stream or once answered.
    again: Option<(Instant, Duration)>,
    deadline: Instant,
}

/// The phone's inner state.
pub(super) struct Actor {
    pub(super) config: PhoneConfig,
    pub(super) random: Random,
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) offers: mpsc::Sender<Call>,
    pub(super) calls: BTreeMap<u64, CallEntry>,
    pub(super) next_call: u64,
    pub(super) unacknowledged: Vec<Unacknowledged>,
    connection: Option<Connection>,
    generation: u64,
    events: mpsc::Receiver<Event>,
    events_in: mpsc::Sender<Event>,
    pending: BTreeMap<String, Pending>,
    /// Branch, method and bytes of responses sent, for requests that come again.
    responses: VecDeque<(String, String, Bytes)>,
    /// Branch and bytes of ACKs to refusals, for refusals that come again.
    refusal_acks: VecDeque<(String, Bytes)>,
    registration: Registration,
    ping_at: Option<Instant>,
    pong_due: Option<Instant>,
    reconnect: Option<(Instant, Duration)>,
    last_local: SocketAddr,
}

struct Registration {
    wanted: bool,
    call_id: String,
    tag: String,
    cseq: u32,
    instance: String,
    credentials: Credentials,
    service_route: Vec<String>,
    refresh_at: Option<Instant>,
    state: watch::Sender<bool>,
}

impl Actor {
    /// Connects to the proxy.
    pub(super) async fn connect(
        config: PhoneConfig,
        commands: mpsc::WeakSender<Command>,
        offers: mpsc::Sender<Call>,
        state: watch::Sender<bool>,
    ) -> Result<Self, PhoneError> {
        let mut random = wire::random();
        let (events_in, events) = mpsc::channel(EVENTS_QUEUE_MAX);
        let connection = Connection::open(&config.transport, config.local_port, 0, events_in.clone()).await?;
        let registration = Registration {
            wanted: false,
            call_id: wire::token(&mut random, 20),
            tag: wire::token(&mut random, 10),
            cseq: 0,
            instance: config.instance.clone().unwrap_or_else(|| uuid(&mut random)),
            credentials: Credentials::new(config.name(), &config.password),
            service_route: Vec::new(),
            refresh_at: None,
            state,
        };
        let last_local = connection.local;
        Ok(Self {
            ping_at: config.keepalive.map(|pause| Instant::now() + pause),
            config,
            random,
            commands,
            offers,
            calls: BTreeMap::new(),
            next_call: 0,
            unacknowledged: Vec::new(),
            connection: Some(connection),
            generation: 0,
            events,
            events_in,
            pending: BTreeMap::new(),
            responses: VecDeque::new(),
            refusal_acks: VecDeque::new(),
            registration,
            pong_due: None,
            reconnect: None,
            last_local,
        })
    }

    /// Runs until the phone is dropped.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                Some((generation, arrival)) = self.events.recv() => {
                    if self.connection.as_ref().is_some_and(|c| c.generation == generation) {
                        self.arrived(arrival).await;
                    }
                }
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                () = sleep_until(wake) => self.tick().await,
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Register { expires, reply } => {
                self.registration.wanted = expires != 0;
                self.send_register(Some(reply), expires.min(self.config.expires_secs), false);
            }
            Command::Request { method, uri, reply } => self.send_plain(&method, &uri, reply),
            Command::Dial { uri, reply } => {
                let call = self.dial(&uri).await;
                let _ = reply.send(call);
            }
            Command::Answer { call, reply } => {
                let _ = reply.send(self.answer(call));
            }
            Command::Refuse { call, status, reason, reply } => {
                let _ = reply.send(self.refuse(call, status, &reason));
            }
            Command::Hold { call, on, update, reply } => self.hold(call, on, update, reply),
            Command::Progress { call, reply } => {
                let _ = reply.send(self.announce(call));
            }
            Command::Transfer { call, uri, reply } => self.transfer(call, &uri, reply),
            Command::HangUp { call, reply } => self.hang_up(call, reply),
            Command::Reset => {
                if let Some(connection) = self.connection.take() {
                    connection.reset();
                    self.lost("reset by this phone");
                }
            }
        }
    }

    async fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Message(message) => {
                self.config.observer.tell(self.config.name(), false, self.config.transport.server(), &message);
                if message.is_request() { self.request(&message).await } else { self.response(&message) }
            }
            Arrival::Ping => self.send_raw(Bytes::from_static(b"\r\n")),
            Arrival::Pong => self.pong_due = None,
            Arrival::Stun(_) => {}
            Arrival::Closed(why) => {
                self.connection = None;
                self.lost(&why);
            }
        }
    }

    // ── sending ──────────────────────────────────────────────────────────────────────────────

    /// The address requests are sent from, also while the connection is down.
    pub(super) const fn local(&self) -> SocketAddr {
        self.last_local
    }

    /// A fresh Via value and its branch.
    pub(super) fn via(&mut self) -> (String, String) {
        let branch = format!("z9hG4bK{}", wire::token(&mut self.random, 16));
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.config.transport.via(), self.local());
        (via, branch)
    }

    /// The Contact of dialogs; RFC 5626 §4.3: `ob` asks that they stay on this flow.
    pub(super) fn contact(&self) -> String {
        let Self { config, .. } = self;
        format!("<sip:{}@{};transport={};ob>", config.user, self.local(), config.transport.param())
    }

    /// Route values for a request outside a dialog.
    pub(super) fn initial_routes(&self) -> Vec<String> {
        // RFC 3608 §5: the service route, if the registrar gave one, after the proxy's own.
        if self.registration.service_route.is_empty() {
            self.config.routes.clone()
        } else {
            self.registration.service_route.clone()
        }
    }

    /// Adds the credentials the last challenge asks for, if any, to header lines.
    pub(super) fn authorise(&mut self, method: &str, uri: &str, lines: &mut Vec<String>) {
        lines.extend(self.registration.credentials.line(method, uri, &mut self.random));
    }

    /// Learns a challenge; `false` if the response carries none that can be answered.
    pub(super) fn challenged(&mut self, response: &Message) -> bool {
        let challenge = Challenge::of(response);
        let answerable = challenge.is_some();
        challenge.into_iter().for_each(|challenge| self.registration.credentials.learn(challenge));
        answerable
    }

    /// Sends a message and tells the observer.
    pub(super) fn send(&mut self, bytes: Bytes) {
        if let Ok(message) = Message::parse(bytes.clone()) {
            self.config.observer.tell(self.config.name(), true, self.config.transport.server(), &message);
        }
        self.send_raw(bytes);
    }

    fn send_raw(&mut self, bytes: Bytes) {
        let sent = self.connection.as_ref().is_some_and(|connection| connection.send(bytes));
        if !sent && self.connection.take().is_some() {
            self.lost("the proxy does not read");
        }
    }

    /// Starts a client transaction.
    pub(super) fn transact(
        &mut self,
        head: &Head,
        lines: &[String],
        body: Option<(&str, &str)>,
        purpose: Purpose,
    ) -> String {
        let (via, branch) = self.via();
        let bytes = head.write(&via, lines, body);
        self.transact_bytes(branch.clone(), bytes, purpose);
        branch
    }

    /// Starts a client transaction with a message already written.
    pub(super) fn transact_bytes(&mut self, branch: String, bytes: Bytes, purpose: Purpose) {
        let Ok(request) = Message::parse(bytes.clone()) else {
            return fail(purpose, &PhoneError::WrongState { why: "the request cannot be written" });
        };
        if self.pending.len() >= TRANSACTIONS_MAX {
            return fail(purpose, &PhoneError::WrongState { why: "too many transactions" });
        }
        let now = Instant::now();
        let reliable = self.connection.as_ref().is_none_or(|connection| connection.reliable);
        let key = key(&branch, request.cseq().1);
        let again = (!reliable).then_some((now + T1, 2 * T1));
        self.pending.insert(key, Pending { purpose, request, bytes: bytes.clone(), again, deadline: now + ANSWER_MAX });
        self.send(bytes);
    }

    /// The request of a running client transaction.
    pub(super) fn pending_request(&self, branch: &str, method: &str) -> Option<&Message> {
        self.pending.get(&key(branch, method)).map(|pending| &pending.request)
    }

    /// Answers a request and keeps the answer for when the request comes again.
    pub(super) fn respond(
        &mut self,
        request: &Message,
        status: u16,
        reason: &str,
        tag: Option<&str>,
        lines: &[String],
        body: Option<(&str, &str)>,
    ) -> Bytes {
        let bytes = wire::response(request, status, reason, tag, lines, body);
        let (branch, method) = (wire::branch(request), request.cseq().1);
        self.responses.retain(|(b, m, _)| *b != branch || m != method);
        if self.responses.len() == RESPONSES_KEPT {
            self.responses.pop_front();
        }
        self.responses.push_back((branch, method.to_owned(), bytes.clone()));
        self.send(bytes.clone());
        bytes
    }

    /// Sends a final answer to an INVITE again until its ACK comes.
    pub(super) fn expect_ack(&mut self, call: Option<u64>, invite: &Message, bytes: Bytes) {
        let reliable = self.connection.as_ref().is_none_or(|connection| connection.reliable);
        // RFC 3261 §13.3.1.4: the 2xx is repeated over any transport, a refusal (§17.2.1, timer G)
        // only over an unreliable one.
        if call.is_none() && reliable {
            return;
        }
        let now = Instant::now();
        self.unacknowledged.push(Unacknowledged {
            call,
            call_id: invite.call_id().to_owned(),
            cseq: invite.cseq().0,
            bytes,
            next: now + T1,
            pause: T1,
            until: now + TRANSACTION_LIFE,
        });
    }

    // ── receiving ────────────────────────────────────────────────────────────────────────────

    async fn request(&mut self, request: &Message) {
        let (branch, method) = (wire::branch(request), request.cseq().1);
        let seen = self.responses.iter().find(|(b, m, _)| *b == branch && m == method);
        if let (Some((_, _, bytes)), true) = (seen, method != "ACK") {
            let bytes = bytes.clone();
            return self.send(bytes);
        }
        match method {
            "INVITE" => self.invited(request).await,
            "ACK" => self.acknowledged(request),
            "CANCEL" => self.cancelled(request),
            "BYE" => self.bye(request),
            "PRACK" if wire::to_tag(request).is_some() => self.pracked(request),
            "UPDATE" if !request.body().is_empty() => self.updated(request),
            "REFER" if wire::to_tag(request).is_some() => self.referred(request).await,
            _ => self.other(request, method),
        }
    }

    fn other(&mut self, request: &Message, method: &str) {
        let tag = wire::token(&mut self.random, 10);
        if wire::to_tag(request).is_some() && !self.calls.values().any(|call| call.leg.owns(request)) {
            self.respond(request, 481, "Call/Transaction Does Not Exist", None, &[], None);
        } else if matches!(method, "OPTIONS" | "MESSAGE" | "NOTIFY" | "INFO" | "UPDATE") {
            let lines = [allow(), format!("Contact: {}", self.contact())];
            self.respond(request, 200, "OK", Some(&tag), &lines, None);
        } else {
            self.respond(request, 405, "Method Not Allowed", Some(&tag), &[allow()], None);
        }
    }

    fn response(&mut self, response: &Message) {
        let (branch, method) = (wire::branch(response), response.cseq().1);
        let status = response.status().unwrap_or(0);
        let key = key(&branch, method);
        if status < 200 {
            let Some(pending) = self.pending.get_mut(&key) else { return };
            let invite = match &pending.purpose {
                Purpose::Invite { call, .. } => Some(*call),
                Purpose::Reinvite { .. } => None,
                Purpose::Register { .. }
                | Purpose::Plain { .. }
                | Purpose::Refer { .. }
                | Purpose::Bye { .. }
                | Purpose::Cancel => return,
            };
            pending.again = None;
            pending.deadline = Instant::now() + RINGING_MAX;
            if let Some(call) = invite {
                self.progress(call, status, response);
            }
            return;
        }
        let Some(pending) = self.pending.remove(&key) else {
            return self.stray(response, &branch, method, status);
        };
        if method == "INVITE" && status >= 300 {
            let ack = wire::ack_refused(&pending.request, response);
            if self.refusal_acks.len() == RESPONSES_KEPT {
                self.refusal_acks.pop_front();
            }
            self.refusal_acks.push_back((branch, ack.clone()));
            self.send(ack);
        }
        self.answered(pending, response, status);
    }

    /// A final answer again: the ACK was lost (RFC 3261 §13.2.2.4, §17.1.1.2).
    fn stray(&mut self, response: &Message, branch: &str, method: &str, status: u16) {
        if method != "INVITE" {
            return;
        }
        if status < 300 {
            return self.ok_again(response);
        }
        let ack = self.refusal_acks.iter().find(|(b, _)| b == branch).map(|(_, ack)| ack.clone());
        if let Some(ack) = ack {
            self.send(ack);
        }
    }

    fn answered(&mut self, pending: Pending, response: &Message, status: u16) {
        match pending.purpose {
            Purpose::Register { reply, expires, answered_challenge } => {
                self.register_answered(reply, expires, answered_challenge, response, status);
            }
            Purpose::Plain { reply } => tell(reply, Ok(status)),
            Purpose::Invite { call, answered_challenge } => {
                self.invite_answered(call, answered_challenge, response, status);
            }
            Purpose::Reinvite { call, reply, hold } => self.reinvite_answered(call, reply, hold, response, status),
            Purpose::Refer { reply } if status < 300 => tell(reply, Ok(())),
            Purpose::Refer { reply } => tell(reply, Err(refused(response, status))),
            Purpose::Bye { reply } => tell(reply, Ok(())),
            Purpose::Cancel => {}
        }
    }

    // ── registration and plain requests ──────────────────────────────────────────────────────

    fn send_register(&mut self, reply: Option<Reply<u32>>, expires: u32, answered_challenge: bool) {
        let Self { config, registration, .. } = self;
        registration.cseq += 1;
        let (aor, uri) = (config.aor(), format!("sip:{}", config.domain));
        let head = Head {
            method: "REGISTER".to_owned(),
            uri: uri.clone(),
            routes: config.routes.clone(),
            from: format!("<{aor}>;tag={}", registration.tag),
            to: format!("<{aor}>"),
            call_id: registration.call_id.clone(),
            cseq: registration.cseq,
        };
        let mut instance = format!("+sip.instance=\"<urn:uuid:{}>\";reg-id=1", registration.instance);
        if let Some(device) = &config.device {
            // As a client of a call manager writes it: no token, and a parameter without a value.
            instance.push_str(&format!(
                ";+u.sip!devicename.ccm.cisco.com=\"{device}\";+u.sip!model.ccm.cisco.com=\"503\";video"
            ));
        }
        let mut lines = vec![
            format!("Contact: {};{instance}", self.contact()),
            format!("Expires: {expires}"),
            "Supported: path, outbound, gruu".to_owned(),
            format!("User-Agent: {}", self.config.user_agent),
            allow(),
        ];
        self.authorise("REGISTER", &uri, &mut lines);
        self.transact(&head, &lines, None, Purpose::Register { reply, expires, answered_challenge });
    }

    fn register_answered(
        &mut self,
        reply: Option<Reply<u32>>,
        expires: u32,
        answered_challenge: bool,
        response: &Message,
        status: u16,
    ) {
        if matches!(status, 401 | 407) && !answered_challenge && self.challenged(response) {
            return self.send_register(reply, expires, true);
        }
        if !(200..300).contains(&status) {
            self.set_registered(false);
            if self.registration.wanted && (status == 408 || status >= 500) {
                // Not our fault: someone on the way is down or closing.
                self.registration.refresh_at = Some(Instant::now() + RECONNECT_MAX);
            }
            return tell(reply, Err(refused(response, status)));
        }
        let granted = if expires == 0 { 0 } else { self.granted(response).unwrap_or(expires) };
        self.registration.service_route = wire::values(response, Name::ServiceRoute);
        self.registration.refresh_at =
            (granted > 0).then(|| Instant::now() + Duration::from_secs(u64::from(granted).div_ceil(2)));
        self.set_registered(granted > 0);
        tell(reply, Ok(granted));
    }

    /// The expiry of our own Contact in a 200 to REGISTER (RFC 3261 §10.2.4).
    fn granted(&self, response: &Message) -> Option<u32> {
        let user = format!("sip:{}@", self.config.user);
        let ours = response.contacts().filter(|contact| {
            let instance = contact.param("+sip.instance").flatten();
            contact.uri.starts_with(&user) || instance.is_some_and(|id| id.contains(&self.registration.instance))
        });
        ours.filter_map(|contact| contact.expires()).max().or_else(|| response.expires())
    }

    fn set_registered(&self, on: bool) {
        self.registration.state.send_if_modified(|state| std::mem::replace(state, on) != on);
    }

    fn send_plain(&mut self, method: &str, uri: &str, reply: Reply<u16>) {
        let tag = wire::token(&mut self.random, 10);
        let head = Head {
            method: method.to_owned(),
            uri: uri.to_owned(),
            routes: self.initial_routes(),
            from: format!("<{}>;tag={tag}", self.config.aor()),
            to: format!("<{uri}>"),
            call_id: wire::token(&mut self.random, 20),
            cseq: 1,
        };
        let lines = [format!("Contact: {}", self.contact())];
        self.transact(&head, &lines, None, Purpose::Plain { reply: Some(reply) });
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────

    fn next_wake(&self) -> Instant {
        let transactions = self.pending.values().flat_map(|p| [Some(p.deadline), p.again.map(|(at, _)| at)]);
        let answers = self.unacknowledged.iter().map(|u| Some(u.next.min(u.until)));
        let others = [self.registration.refresh_at, self.ping_at, self.pong_due, self.reconnect.map(|(at, _)| at)];
        let idle = Instant::now() + Duration::from_secs(3_600);
        transactions.chain(answers).chain(others).flatten().min().unwrap_or(idle)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        self.retransmit(now);
        self.expire(now);
        self.repeat_answers(now);
        if self.registration.refresh_at.is_some_and(|at| at <= now) {
            self.registration.refresh_at = None;
            if self.connection.is_some() {
                self.send_register(None, self.config.expires_secs, false);
            }
        }
        if self.pong_due.is_some_and(|at| at <= now) {
            self.pong_due = None;
            self.connection = None;
            self.lost("no pong");
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping(now);
        }
        if let Some((_, pause)) = self.reconnect.filter(|(at, _)| *at <= now) {
            self.try_reconnect(pause).await;
        }
    }

    fn ping(&mut self, now: Instant) {
        self.ping_at = self.config.keepalive.map(|pause| now + pause);
        if self.connection.as_ref().is_some_and(|connection| connection.reliable) {
            self.pong_due = self.pong_due.or(Some(now + PONG_MAX));
            self.send_raw(Bytes::from_static(b"\r\n\r\n"));
        }
    }

    fn retransmit(&mut self, now: Instant) {
        let mut due = Vec::new();
        for pending in self.pending.values_mut() {
            if let Some((at, pause)) = pending.again.filter(|(at, _)| *at <= now) {
                // RFC 3261 §17.1.2.2: only requests other than INVITE stop doubling at T2.
                let invite = matches!(pending.purpose, Purpose::Invite { .. } | Purpose::Reinvite { .. });
                pending.again = Some((at + pause, if invite { 2 * pause } else { (2 * pause).min(T2) }));
                due.push(pending.bytes.clone());
            }
        }
        due.into_iter().for_each(|bytes| self.send(bytes));
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<String> =
            self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(key, _)| key.clone()).collect();
        for pending in late.into_iter().filter_map(|key| self.pending.remove(&key)).collect::<Vec<_>>() {
            self.unanswered(pending.purpose, &PhoneError::TimedOut { what: "a request" });
        }
    }

    /// A client transaction ends without a final answer.
    fn unanswered(&mut self, purpose: Purpose, error: &PhoneError) {
        match purpose {
            Purpose::Register { reply, .. } => {
                self.set_registered(false);
                if self.registration.wanted {
                    self.registration.refresh_at = Some(Instant::now() + RECONNECT_MAX);
                }
                tell(reply, Err(error.clone()));
            }
            Purpose::Invite { call, .. } => self.invite_unanswered(call, error),
            Purpose::Reinvite { call, reply, hold } => {
                self.reinvite_unanswered(call, hold);
                tell(reply, Err(error.clone()));
            }
            other @ (Purpose::Plain { .. } | Purpose::Refer { .. } | Purpose::Bye { .. } | Purpose::Cancel) => {
                fail(other, error);
            }
        }
    }

    fn repeat_answers(&mut self, now: Instant) {
        let (mut due, mut dead) = (Vec::new(), Vec::new());
        self.unacknowledged.retain_mut(|answer| {
            if answer.until <= now {
                dead.extend(answer.call);
                return false;
            }
            if answer.next <= now {
                answer.pause = (2 * answer.pause).min(T2);
                answer.next = now + answer.pause;
                due.push(answer.bytes.clone());
            }
            true
        });
        due.into_iter().for_each(|bytes| self.send(bytes));
        dead.into_iter().for_each(|call| self.never_acknowledged(call));
    }

    // ── the connection ───────────────────────────────────────────────────────────────────────

    fn lost(&mut self, why: &str) {
        self.set_registered(false);
        (self.pong_due, self.registration.refresh_at) = (None, None);
        let error = PhoneError::ConnectionLost { why: why.to_owned() };
        for pending in std::mem::take(&mut self.pending).into_values() {
            self.unanswered(pending.purpose, &error);
        }
        if self.config.reconnect {
            self.reconnect = Some((Instant::now() + RECONNECT_FIRST, RECONNECT_FIRST));
        } else {
            self.end_all_calls();
        }
    }

    async fn try_reconnect(&mut self, pause: Duration) {
        self.generation += 1;
        let Self { config, generation, events_in, .. } = self;
        match Connection::open(&config.transport, config.local_port, *generation, events_in.clone()).await {
            Ok(connection) => {
                self.last_local = connection.local;
                self.connection = Some(connection);
                self.reconnect = None;
                if self.registration.wanted {
                    self.send_register(None, self.config.expires_secs, false);
                }
            }
            Err(_) => {
                let pause = (2 * pause).min(RECONNECT_MAX);
                self.reconnect = Some((Instant::now() + pause, pause));
            }
        }
    }
}

/// RFC 3261 §17.1.3: a response belongs to the transaction with its branch and CSeq method.
fn key(branch: &str, method: &str) -> String {
    format!("{branch} {method}")
}

fn fail(purpose: Purpose, error: &PhoneError) {
    match purpose {
        Purpose::Register { reply, .. } => tell(reply, Err(error.clone())),
        Purpose::Plain { reply } => tell(reply, Err(error.clone())),
        Purpose::Reinvite { reply, .. } | Purpose::Bye { reply } | Purpose::Refer { reply } => {
            tell(reply, Err(error.clone()))
        }
        Purpose::Invite { .. } | Purpose::Cancel => {}
    }
}

pub(super) fn tell<T>(reply: Option<Reply<T>>, result: Result<T, PhoneError>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

pub(super) fn refused(response: &Message, status: u16) -> PhoneError {
    PhoneError::Refused { status, reason: wire::reason(response) }
}

pub(super) fn allow() -> String {
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, NOTIFY, INFO, UPDATE, PRACK, REFER".to_owned()
}

fn uuid(random: &mut Random) -> String {
    let b: [u8; 16] = random.bytes();
    let hex = |range: std::ops::Range<usize>| b[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // RFC 9562 §5.4: version 4, variant 10.
    format!("{}-{}-4{}-8{}-{}", hex(0..4), hex(4..6), &hex(6..8)[1..], &hex(8..10)[1..], hex(10..16))
}
