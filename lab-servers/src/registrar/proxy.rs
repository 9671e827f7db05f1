//! What the registrar does with a request: answer it, or proxy it (RFC 3261 §16, §17).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_sip::{Message, Name, NameAddr, Uri};
use tokio::time::Instant;

use super::Actor;
use super::line::answers_for;
use super::location::{Binding, Verdict};
use crate::limits::{RINGING_MAX, T1, T2, TRANSACTION_LIFE, TRANSACTIONS_MAX};
use crate::wire;

/// Where a message came from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Stream(u64),
    Datagram(SocketAddr),
}

impl Hop {
    const fn reliable(self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

/// A proxied request: one server transaction and its client transactions.
pub(super) struct Transaction {
    request: Message,
    from: Hop,
    branch: String,
    branches: Vec<Branch>,
    /// The last answer, for a request that comes again.
    last: Option<Bytes>,
    finished: bool,
    cancelled: bool,
    /// The best refusal so far.
    best: Option<Message>,
    /// A refused INVITE over UDP is answered again until its ACK comes (timer G).
    again: Option<(Instant, Duration)>,
    until: Instant,
}

/// One target of a proxied request.
struct Branch {
    id: String,
    request: Message,
    hop: Hop,
    again: Option<(Instant, Duration)>,
    deadline: Instant,
    provisional: bool,
    done: bool,
    cancel_sent: bool,
}

/// A target before it is tried.
struct Target {
    uri: String,
    routes: Vec<String>,
    hop: Hop,
}

impl Transaction {
    fn invite(&self) -> bool {
        self.request.method() == Some("INVITE")
    }
}

impl Actor {
    pub(super) fn request(&mut self, hop: Hop, request: &Message) {
        let request = &self.stamped(hop, request);
        match request.method().unwrap_or_default() {
            "ACK" => return self.acknowledged(hop, request),
            "CANCEL" => return self.cancel(hop, request),
            _ => {}
        }
        let branch = wire::branch(request);
        if let Some(again) =
            self.transactions.values().find(|t| t.branch == branch && t.request.method() == request.method())
        {
            if let Some(bytes) = again.last.clone() {
                self.answer_bytes(hop, request, bytes);
            }
            return;
        }
        if request.max_forwards() == Some(0) {
            return self.refuse(hop, request, 483, "Too Many Hops", &[]);
        }
        let (request, rest) = self.own_routes_removed(request);
        if let Some(next) = rest {
            return self.relay_by_route(hop, &request, &next);
        }
        if self.is_ours(request.request_uri().unwrap_or_default()) {
            return self.for_us(hop, &request);
        }
        self.relay_by_uri(hop, &request);
    }

    /// RFC 3261 §18.2.1 and RFC 3581 §4: where the request really came from.
    fn stamped(&self, hop: Hop, request: &Message) -> Message {
        let Some(peer) = self.peer(hop) else { return request.clone() };
        let via = request.top_via();
        let mut edit = request.edit();
        if via.rport().is_some() {
            edit.set_top_via_param("rport", Some(&peer.port().to_string()));
        }
        if via.rport().is_some() || via.host_ip() != Some(peer.ip()) {
            edit.set_top_via_param("received", Some(&peer.ip().to_string()));
        }
        Message::parse(edit.finish()).unwrap_or_else(|_| request.clone())
    }

    /// RFC 3261 §16.4: takes off the Route values that name us; the next one, if any is left.
    fn own_routes_removed(&self, request: &Message) -> (Message, Option<String>) {
        let mut request = request.clone();
        loop {
            let Some(next) = request.routes().next().map(|route| route.uri.to_owned()) else {
                return (request, None);
            };
            if !self.is_our_address(&next) {
                return (request, Some(next));
            }
            let mut edit = request.edit();
            edit.pop_value(Name::Route);
            let popped = Message::parse(edit.finish());
            match popped {
                Ok(popped) => request = popped,
                Err(_) => return (request, Some(next)),
            }
        }
    }

    fn is_our_address(&self, uri: &str) -> bool {
        Uri::parse(uri).is_some_and(|uri| {
            uri.host_ip() == Some(self.address.ip()) && uri.port.unwrap_or(5060) == self.address.port()
        })
    }

    fn is_ours(&self, uri: &str) -> bool {
        let side = self.config.line_side.as_ref();
        let domain = Uri::parse(uri).is_some_and(|uri| {
            uri.host.eq_ignore_ascii_case(&self.config.domain) || side.is_some_and(|side| answers_for(side, uri.host))
        });
        domain || self.is_our_address(uri)
    }

    // ── requests for us ──────────────────────────────────────────────────────────────────────

    fn for_us(&mut self, hop: Hop, request: &Message) {
        let user = request.parsed_request_uri().and_then(|uri| uri.user).map(str::to_owned);
        match (request.method().unwrap_or_default(), user) {
            ("REGISTER", _) => self.register(hop, request),
            ("OPTIONS", None) => self.refuse(hop, request, 200, "OK", &["Accept: application/sdp".to_owned()]),
            (_, None) => self.refuse(hop, request, 404, "Not Found", &[]),
            (method, Some(user)) => {
                if method == "INVITE" && self.config.challenge_invite && !self.caller_is_known(hop, request) {
                    return;
                }
                self.relay_to_user(hop, request, &user);
            }
        }
    }

    fn register(&mut self, hop: Hop, request: &Message) {
        if let Some(side) = self.config.line_side.clone() {
            return self.register_station(hop, request, &side);
        }
        let now = Instant::now();
        match self.location.check(request, Name::Authorization, now) {
            Verdict::User(user) => match self.location.register(request, &user, hop, now) {
                Ok(lines) => self.refuse(hop, request, 200, "OK", &lines),
                Err((status, reason)) => self.refuse(hop, request, status, reason, &[]),
            },
            verdict @ (Verdict::Stale | Verdict::Nobody) => {
                let challenge = self.location.challenge(verdict == Verdict::Stale, &mut self.random, now);
                self.refuse(hop, request, 401, "Unauthorized", &[format!("WWW-Authenticate: {challenge}")]);
            }
        }
    }

    fn caller_is_known(&mut self, hop: Hop, request: &Message) -> bool {
        let now = Instant::now();
        let caller = request.from().parsed_uri().and_then(|uri| uri.user).unwrap_or_default().to_owned();
        match self.location.check(request, Name::ProxyAuthorization, now) {
            Verdict::User(user) if user == caller => true,
            Verdict::User(_) => {
                self.refuse(hop, request, 403, "Forbidden", &[]);
                false
            }
            verdict @ (Verdict::Stale | Verdict::Nobody) => {
                let challenge = self.location.challenge(verdict == Verdict::Stale, &mut self.random, now);
                let lines = [format!("Proxy-Authenticate: {challenge}")];
                self.refuse(hop, request, 407, "Proxy Authentication Required", &lines);
                false
            }
        }
    }

    fn relay_to_user(&mut self, hop: Hop, request: &Message, user: &str) {
        if !self.location.knows(user) && !self.lines.contains(user) {
            return self.refuse(hop, request, 404, "Not Found", &[]);
        }
        let contacts = self.location.contacts(user, Instant::now());
        let targets: Vec<Target> = contacts.iter().filter_map(|binding| self.target(binding)).collect();
        if targets.is_empty() {
            return self.refuse(hop, request, 480, "Temporarily Unavailable", &[]);
        }
        self.relay(hop, request, targets);
    }

    fn target(&mut self, binding: &Binding) -> Option<Target> {
        let hop = match (binding.path.first(), binding.hop) {
            (None, Some(hop)) => hop,
            (Some(first), _) => self.hop_of(NameAddr::parse(first.as_bytes())?.uri)?,
            (None, None) => self.hop_of(&binding.uri)?,
        };
        Some(Target { uri: binding.uri.clone(), routes: binding.path.clone(), hop })
    }

    // ── requests for others ──────────────────────────────────────────────────────────────────

    /// RFC 3261 §16.6 step 6 and 7: to the next Route, as it stands.
    fn relay_by_route(&mut self, hop: Hop, request: &Message, next: &str) {
        let Some(to) = self.hop_of(next) else {
            return self.refuse(hop, request, 503, "Next Hop Not Reachable", &[]);
        };
        let uri = wire::request_uri(request);
        self.relay(hop, request, vec![Target { uri, routes: Vec::new(), hop: to }]);
    }

    /// A request of a dialog without a route set: to the flow of the contact, or to its address.
    fn relay_by_uri(&mut self, hop: Hop, request: &Message) {
        let uri = wire::request_uri(request);
        let known = self.location.by_contact(&uri).and_then(|binding| binding.hop);
        if request.to_tag().is_none() && known.is_none() {
            return self.refuse(hop, request, 403, "No Relaying", &[]);
        }
        let Some(to) = known.or_else(|| self.hop_of(&uri)) else {
            return self.refuse(hop, request, 503, "Next Hop Not Reachable", &[]);
        };
        self.relay(hop, request, vec![Target { uri, routes: Vec::new(), hop: to }]);
    }

    /// The hop a URI names: numeric hosts only, TCP or UDP.
    fn hop_of(&mut self, uri: &str) -> Option<Hop> {
        let parsed = Uri::parse(uri)?;
        let peer = SocketAddr::new(parsed.host_ip()?, parsed.port.unwrap_or(5060));
        match parsed.param("transport").flatten().unwrap_or("udp").to_ascii_lowercase().as_str() {
            "udp" => Some(Hop::Datagram(peer)),
            "tcp" => self.link_to(peer),
            // TLS ends elsewhere; only a connection that stands already will do.
            _ => self.links.iter().find(|(_, link)| link.peer == peer).map(|(id, _)| Hop::Stream(*id)),
        }
    }

    fn relay(&mut self, from: Hop, request: &Message, targets: Vec<Target>) {
        if self.transactions.len() >= TRANSACTIONS_MAX {
            return self.refuse(from, request, 503, "Overloaded", &[]);
        }
        let now = Instant::now();
        let invite = request.method() == Some("INVITE");
        let branches: Vec<Branch> = targets.iter().filter_map(|target| self.branch(request, target, now)).collect();
        if branches.is_empty() {
            return self.refuse(from, request, 500, "Cannot Forward", &[]);
        }
        if invite {
            self.refuse(from, request, 100, "Trying", &[]);
        }
        let sends: Vec<(Hop, Bytes)> = branches.iter().map(|b| (b.hop, b.request.bytes().clone())).collect();
        let transaction = Transaction {
            request: request.clone(),
            from,
            branch: wire::branch(request),
            branches,
            last: invite.then(|| wire::response(request, 100, "Trying", None, &[], None)),
            finished: false,
            cancelled: false,
            best: None,
            again: None,
            until: now + 2 * RINGING_MAX,
        };
        self.next_transaction += 1;
        self.transactions.insert(self.next_transaction, transaction);
        sends.into_iter().for_each(|(hop, bytes)| self.send(hop, bytes));
    }

    fn branch(&mut self, request: &Message, target: &Target, now: Instant) -> Option<Branch> {
        let id = format!("z9hG4bK{}", wire::token(&mut self.random, 16));
        let bytes = self.forwarded(request, target, &id);
        let request = Message::parse(bytes).ok()?;
        Some(Branch {
            id,
            request,
            hop: target.hop,
            again: (!target.hop.reliable()).then_some((now + T1, 2 * T1)),
            deadline: now + TRANSACTION_LIFE,
            provisional: false,
            done: false,
            cancel_sent: false,
        })
    }

    /// RFC 3261 §16.6: the copy that goes on.
    fn forwarded(&self, request: &Message, target: &Target, branch: &str) -> Bytes {
        let transport = if target.hop.reliable() { "TCP" } else { "UDP" };
        let mut edit = request.edit();
        edit.set_request_uri(&target.uri);
        edit.push_via(&format!("SIP/2.0/{transport} {};branch={branch};rport", self.address));
        let hops = request.max_forwards().unwrap_or(70).saturating_sub(1);
        edit.set(Name::MaxForwards, &hops.to_string());
        for route in target.routes.iter().rev() {
            edit.push(Name::Route, route);
        }
        if self.config.record_route && request.method() == Some("INVITE") && request.to_tag().is_none() {
            edit.push(Name::RecordRoute, &format!("<sip:{};transport={};lr>", self.address, transport.to_lowercase()));
        }
        edit.finish()
    }

    fn acknowledged(&mut self, hop: Hop, ack: &Message) {
        let branch = wire::branch(ack);
        let refused = self.transactions.values_mut().find(|t| t.invite() && t.branch == branch);
        if let Some(transaction) = refused {
            (transaction.again, transaction.last) = (None, None);
            return;
        }
        // The ACK to a 2xx travels on its own (RFC 3261 §16.11: no transaction).
        let (ack, rest) = self.own_routes_removed(ack);
        let uri = wire::request_uri(&ack);
        let known = self.location.by_contact(&uri).and_then(|binding| binding.hop);
        let to = match rest {
            Some(next) => self.hop_of(&next),
            None => known.or_else(|| self.hop_of(&uri)),
        };
        let Some(to) = to.filter(|to| *to != hop || self.peer(*to).is_some()) else { return };
        let branch = format!("z9hG4bK{}", wire::token(&mut self.random, 16));
        let bytes = self.forwarded(&ack, &Target { uri, routes: Vec::new(), hop: to }, &branch);
        self.send(to, bytes);
    }

    fn cancel(&mut self, hop: Hop, cancel: &Message) {
        let branch = wire::branch(cancel);
        let found = self.transactions.iter_mut().find(|(_, t)| t.invite() && t.branch == branch);
        let Some((&id, transaction)) = found else {
            return self.refuse(hop, cancel, 481, "Call/Transaction Does Not Exist", &[]);
        };
        transaction.cancelled = true;
        self.refuse(hop, cancel, 200, "OK", &[]);
        self.cancel_branches(id);
    }

    /// CANCELs every branch that has answered provisionally and not finally.
    fn cancel_branches(&mut self, id: u64) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let mut sends = Vec::new();
        for branch in &mut transaction.branches {
            if branch.provisional && !branch.done && !branch.cancel_sent {
                branch.cancel_sent = true;
                // RFC 3261 §9.1: a cancelled INVITE that is never answered is given up.
                branch.deadline = Instant::now() + TRANSACTION_LIFE;
                sends.push((branch.hop, wire::cancel(&branch.request)));
            }
        }
        sends.into_iter().for_each(|(hop, bytes)| self.send(hop, bytes));
    }

    // ── responses ────────────────────────────────────────────────────────────────────────────

    pub(super) fn response(&mut self, response: &Message) {
        let branch = wire::branch(response);
        if response.cseq().1 == "CANCEL" {
            return;
        }
        let owner = self.transactions.iter().find_map(|(id, transaction)| {
            let index = transaction.branches.iter().position(|b| b.id == branch)?;
            Some((*id, index))
        });
        let Some((id, index)) = owner else { return };
        let mut edit = response.edit();
        edit.pop_via();
        let Ok(popped) = Message::parse(edit.finish()) else { return };
        match response.status().unwrap_or(0) {
            0..=199 => self.provisional(id, index, &popped),
            200..=299 => self.success(id, index, &popped),
            _ => self.refusal(id, index, response, popped),
        }
    }

    fn provisional(&mut self, id: u64, index: usize, response: &Message) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let invite = transaction.invite();
        let branch = &mut transaction.branches[index];
        branch.again = None;
        branch.provisional = true;
        if invite && !branch.cancel_sent {
            branch.deadline = Instant::now() + RINGING_MAX;
        }
        if transaction.cancelled || transaction.finished {
            return self.cancel_branches(id);
        }
        if response.status() != Some(100) {
            self.forward_response(id, response);
        }
    }

    fn success(&mut self, id: u64, index: usize, response: &Message) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let branch = &mut transaction.branches[index];
        (branch.done, branch.again) = (true, None);
        // RFC 3261 §16.7 step 5: every 2xx to an INVITE goes on, a second one too.
        if transaction.invite() || !transaction.finished {
            self.forward_response(id, response);
        }
        self.finish(id);
        self.cancel_branches(id);
    }

    fn refusal(&mut self, id: u64, index: usize, response: &Message, popped: Message) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let (invite, branch) = (transaction.invite(), &mut transaction.branches[index]);
        let first = !std::mem::replace(&mut branch.done, true);
        branch.again = None;
        let (to, ack) = (branch.hop, wire::ack_refused(&branch.request, response));
        if invite {
            self.send(to, ack);
        }
        if first {
            self.branch_failed(id, Some(popped));
        }
    }

    /// A branch has ended without success; the last one to do so decides.
    fn branch_failed(&mut self, id: u64, refusal: Option<Message>) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if let Some(refusal) = refusal {
            // RFC 3261 §16.7 step 6: 6xx first, else the lowest class.
            let rank = |message: &Message| match message.status().unwrap_or(999) {
                600.. => 0,
                status => status,
            };
            if transaction.best.as_ref().is_none_or(|best| rank(&refusal) < rank(best)) {
                transaction.best = Some(refusal);
            }
        }
        if transaction.finished || !transaction.branches.iter().all(|branch| branch.done) {
            return;
        }
        match transaction.best.take() {
            Some(best) => self.forward_response(id, &best),
            None => {
                let (status, reason) =
                    if transaction.cancelled { (487, "Request Terminated") } else { (408, "Request Timeout") };
                let bytes = wire::response(&transaction.request, status, reason, Some("proxy"), &[], None);
                if let Ok(message) = Message::parse(bytes) {
                    self.forward_response(id, &message);
                }
            }
        }
        self.finish(id);
    }

    fn forward_response(&mut self, id: u64, response: &Message) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let (from, request) = (transaction.from, transaction.request.clone());
        let refused_invite = transaction.invite() && response.status() >= Some(300);
        if refused_invite && !from.reliable() {
            transaction.again = Some((Instant::now() + T1, T1));
        }
        transaction.last = Some(response.bytes().clone());
        self.answer_bytes(from, &request, response.bytes().clone());
    }

    fn finish(&mut self, id: u64) {
        if let Some(transaction) = self.transactions.get_mut(&id) {
            transaction.finished = true;
            transaction.until = Instant::now() + TRANSACTION_LIFE;
        }
    }

    /// Answers by ourselves, statelessly; 100 to an INVITE goes the same way.
    pub(super) fn refuse(&mut self, hop: Hop, request: &Message, status: u16, reason: &str, lines: &[String]) {
        let tag = wire::token(&mut self.random, 10);
        let bytes = wire::response(request, status, reason, Some(&tag), lines, None);
        self.answer_bytes(hop, request, bytes);
    }

    /// RFC 3261 §18.2.2 and RFC 3581 §4: back the way the request came.
    fn answer_bytes(&mut self, hop: Hop, request: &Message, bytes: Bytes) {
        let via = request.top_via();
        let back = match hop {
            Hop::Datagram(peer) if via.rport().is_none() => {
                Hop::Datagram(SocketAddr::new(peer.ip(), via.port.unwrap_or(5060)))
            }
            Hop::Datagram(_) | Hop::Stream(_) => hop,
        };
        self.send(back, bytes);
    }

    // ── time and loss ────────────────────────────────────────────────────────────────────────

    pub(super) fn tick(&mut self, now: Instant) {
        let mut sends = Vec::new();
        let mut dead = Vec::new();
        let mut cancels = Vec::new();
        for (id, transaction) in &mut self.transactions {
            let invite = transaction.invite();
            let due = transaction.again.filter(|(at, _)| *at <= now);
            if let (Some((_, pause)), Some(last)) = (due, &transaction.last) {
                transaction.again = Some((now + (2 * pause).min(T2), (2 * pause).min(T2)));
                sends.push((transaction.from, last.clone()));
            }
            for branch in transaction.branches.iter_mut().filter(|branch| !branch.done) {
                if let Some((at, pause)) = branch.again.filter(|(at, _)| *at <= now) {
                    branch.again = Some((at + pause, if invite { 2 * pause } else { (2 * pause).min(T2) }));
                    sends.push((branch.hop, branch.request.bytes().clone()));
                }
                if branch.deadline <= now {
                    if invite && branch.provisional && !branch.cancel_sent {
                        cancels.push(*id);
                    } else {
                        branch.done = true;
                        dead.push(*id);
                    }
                }
            }
        }
        sends.into_iter().for_each(|(hop, bytes)| self.send(hop, bytes));
        cancels.into_iter().for_each(|id| self.cancel_branches(id));
        dead.into_iter().for_each(|id| self.branch_failed(id, None));
        self.transactions.retain(|_, transaction| transaction.until > now);
    }

    /// RFC 3261 §16.9: a transport error counts as 503 of that branch.
    pub(super) fn hop_lost(&mut self, hop: Hop) {
        let mut lost = Vec::new();
        for (id, transaction) in &mut self.transactions {
            for branch in transaction.branches.iter_mut().filter(|branch| branch.hop == hop && !branch.done) {
                branch.done = true;
                let bytes =
                    wire::response(&transaction.request, 503, "Next Hop Not Reachable", Some("proxy"), &[], None);
                lost.push((*id, Message::parse(bytes).ok()));
            }
        }
        lost.into_iter().for_each(|(id, refusal)| self.branch_failed(id, refusal));
    }
}
