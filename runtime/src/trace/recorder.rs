//! Messages of those who are traced: off unless asked for, with an end, and bounded. What is kept is redacted before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeway_model::NodeId;
use edgeway_model::signal::{Party, Signal};
use edgeway_sip::bindings::aor_of;
use edgeway_sip::{Message, attempt};
use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::hep::Exporter;
use super::limits::{CALLS_FOLLOWED_MAX, KEPT_BYTES_MAX, KEPT_MAX, LADDER_MAX, TRACES_MAX};
use super::redact::redact;

/// Switches telling on and off at the node.
type Switch = Box<dyn Fn(bool)>;

/// What a node remembers of messages.
#[derive(Default)]
pub(crate) struct Recorder {
    node: RefCell<Option<NodeId>>,
    switch: RefCell<Option<Switch>>,
    wanted: RefCell<Vec<Wanted>>,
    followed: RefCell<VecDeque<String>>,
    kept: RefCell<Kept>,
    exporter: RefCell<Option<Exporter>>,
    next: Cell<u64>,
}

#[derive(Clone, Debug)]
struct Wanted {
    number: u64,
    whom: Whom,
    until: Instant,
}

/// Who is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Part of the name of a user, in lower case.
    User(String),
    /// A client's address.
    Address(IpAddr),
}

/// Which messages of those that were kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) user: Option<String>,
    pub(crate) call_id: Option<String>,
    pub(crate) trace: Option<String>,
}

#[derive(Default)]
struct Kept {
    messages: VecDeque<Seen>,
    bytes: usize,
    dropped: u64,
}

struct Seen {
    at_us: u64,
    from: String,
    to: String,
    first_line: String,
    text: String,
    decision: Option<String>,
    /// Whether it is between a core and a party inside.
    inside: bool,
    call_id: String,
    trace: String,
    /// From, To and whom the request is for, in lower case.
    users: String,
}

impl Recorder {
    /// Says whose it is, and how the node is told whether anybody wants to see messages.
    pub(crate) fn belongs_to(&self, node: NodeId, switch: Switch) {
        *self.node.borrow_mut() = Some(node);
        *self.switch.borrow_mut() = Some(switch);
        self.tell_node();
    }

    /// All messages go to a collector, too, from now on.
    pub(crate) fn export(&self, exporter: Exporter) {
        *self.exporter.borrow_mut() = Some(exporter);
        self.tell_node();
    }

    /// What the exporter could not send.
    pub(crate) fn export_dropped(&self) -> Option<u64> {
        self.exporter.borrow().as_ref().map(Exporter::dropped)
    }

    /// Traces somebody for a while. `false`: as many are traced as may be.
    pub(crate) fn start(self: &Rc<Self>, whom: Whom, within: Duration) -> bool {
        let number = self.next.get();
        self.next.set(number + 1);
        {
            let mut wanted = self.wanted.borrow_mut();
            wanted.retain(|one| one.whom != whom);
            if wanted.len() >= TRACES_MAX {
                return false;
            }
            wanted.push(Wanted { number, whom, until: Instant::now() + within });
        }
        self.tell_node();
        let recorder = Rc::clone(self);
        spawn_local(async move {
            tokio::time::sleep(within).await;
            recorder.wanted.borrow_mut().retain(|one| one.number != number);
            recorder.tell_node();
        });
        true
    }

    /// Traces nobody any more, or this one not; says how many traces have ended.
    pub(crate) fn stop(&self, whom: Option<&Whom>) -> usize {
        let before = self.wanted.borrow().len();
        self.wanted.borrow_mut().retain(|one| whom.is_some_and(|whom| one.whom != *whom));
        self.tell_node();
        before - self.wanted.borrow().len()
    }

    fn tell_node(&self) {
        let on = !self.wanted.borrow().is_empty() || self.exporter.borrow().is_some();
        if self.wanted.borrow().is_empty() {
            self.followed.borrow_mut().clear();
        }
        if let Some(switch) = &*self.switch.borrow() {
            switch(on);
        }
    }

    /// A message has passed.
    pub(crate) fn take(&self, signal: Signal, at_us: u64) {
        // What is no message is counted elsewhere, and whose it is nobody knows.
        let Ok(message) = Message::parse(signal.bytes) else { return };
        let trace = attempt::trace_id(&message);
        if let Some(exporter) = &mut *self.exporter.borrow_mut() {
            exporter.send(&message, &signal.peer, signal.received, at_us, &trace);
        }
        let users = users_of(&message);
        if !self.is_wanted(&message, &signal.peer, &users) {
            return;
        }
        let redacted = redact(&message);
        let own = self.node.borrow().as_ref().map(ToString::to_string).unwrap_or_default();
        let peer = match &signal.peer {
            Party::Client(address) | Party::Inside(address) => address.to_string(),
            Party::Node(node) => node.to_string(),
        };
        let (from, to) = if signal.received { (peer, own) } else { (own, peer) };
        let call_id = message.call_id().to_owned();
        let seen = Seen {
            at_us,
            from,
            to,
            first_line: redacted.first_line,
            text: redacted.text,
            decision: signal.decision,
            inside: matches!(signal.peer, Party::Inside(_)),
            call_id,
            trace,
            users,
        };
        self.kept.borrow_mut().push(seen);
    }

    fn is_wanted(&self, message: &Message, peer: &Party, users: &str) -> bool {
        let wanted = self.wanted.borrow();
        if wanted.is_empty() {
            return false;
        }
        let mut followed = self.followed.borrow_mut();
        if followed.iter().any(|known| known == message.call_id()) {
            return true;
        }
        let address = match peer {
            Party::Client(address) => Some(address.ip().to_canonical()),
            Party::Node(_) | Party::Inside(_) => attempt::client_behind(message),
        };
        let now = Instant::now();
        let is_it = wanted.iter().filter(|one| now < one.until).any(|one| match &one.whom {
            Whom::User(name) => users.contains(name.as_str()),
            Whom::Address(wanted) => address == Some(*wanted),
        });
        if is_it {
            if followed.len() >= CALLS_FOLLOWED_MAX {
                followed.pop_front();
            }
            followed.push_back(message.call_id().to_owned());
        }
        is_it
    }

    /// What was kept, oldest first.
    pub(crate) fn ladder(&self, which: &Which) -> Value {
        let (kept, node) = (self.kept.borrow(), self.node.borrow());
        let fits = |seen: &&Seen| {
            which.user.as_ref().is_none_or(|user| seen.users.contains(user))
                && which.call_id.as_ref().is_none_or(|call_id| seen.call_id == *call_id)
                && which.trace.as_ref().is_none_or(|trace| seen.trace == *trace)
        };
        let found: Vec<_> = kept.messages.iter().filter(fits).collect();
        let total = found.len();
        let json = |seen: &&Seen| {
            json!({
                "at_ms": seen.at_us / 1_000,
                "at_us": seen.at_us,
                "node": node.as_ref().map(NodeId::as_str),
                "from": seen.from,
                "to": seen.to,
                "first_line": seen.first_line,
                "text": seen.text,
                "decision": seen.decision,
                "inside": seen.inside,
                "call_id": seen.call_id,
                "trace": seen.trace,
            })
        };
        let messages: Vec<_> = found.iter().skip(total.saturating_sub(LADDER_MAX)).map(json).collect();
        json!({ "messages": messages, "total": total, "dropped": kept.dropped, "tracing": self.wanted.borrow().len() })
    }
}

impl Kept {
    fn push(&mut self, seen: Seen) {
        self.bytes += seen.size();
        self.messages.push_back(seen);
        while self.messages.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.size();
            self.dropped += 1;
        }
    }
}

impl Seen {
    fn size(&self) -> usize {
        self.text.len() + self.users.len() + self.call_id.len() + self.first_line.len()
    }
}

fn users_of(message: &Message) -> String {
    let mut users = aor_of(message.from().uri);
    users.push(' ');
    users.push_str(&aor_of(message.to().uri));
    if let Some(uri) = message.request_uri() {
        users.push(' ');
        users.push_str(&aor_of(uri));
    }
    users.to_lowercase()
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    fn message(user: &str, call: &str, first: &str) -> bytes::Bytes {
        format!(
            "{first}\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:{user}@example.com>;tag=a\r\n\
             To: <sip:bob@example.com>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
             Authorization: Digest response=\"S3CRET\"\r\nContent-Length: 0\r\n\r\n"
        )
        .into()
    }

    fn passes(recorder: &Recorder, user: &str, call: &str, peer: &str) {
        let bytes = message(user, call, "INVITE sip:bob@example.com SIP/2.0");
        let peer = Party::Client(peer.parse().expect("an address"));
        recorder.take(Signal { received: true, peer, bytes, decision: Some("to core1".to_owned()) }, 7_000);
    }

    fn total(recorder: &Recorder, which: &Which) -> u64 {
        recorder.ladder(which)["total"].as_u64().expect("a number")
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn only_whom_somebody_traces_is_kept_and_only_for_so_long() {
        run(async {
            let recorder = Rc::new(Recorder::default());
            let told = Rc::new(RefCell::new(Vec::new()));
            let tells = Rc::clone(&told);
            let node = NodeId::new("edge1").expect("a name");
            recorder.belongs_to(node, Box::new(move |on| tells.borrow_mut().push(on)));
            passes(&recorder, "sato", "zero", "203.0.113.7:5061");
            assert!(recorder.start(Whom::User("sato".into()), Duration::from_millis(300)));
            assert!(
                recorder.start(Whom::Address("198.51.100.9".parse().expect("an address")), Duration::from_millis(300))
            );
            passes(&recorder, "Sato", "one", "203.0.113.7:5061");
            passes(&recorder, "suzuki", "two", "203.0.113.7:5061");
            passes(&recorder, "suzuki", "three", "[::ffff:198.51.100.9]:5061");
            // What belongs to a call that was wanted once is wanted, whoever speaks.
            passes(&recorder, "tanaka", "one", "192.0.2.1:5061");
            let of = |user: &str| Which { user: Some(user.to_owned()), ..Which::default() };
            assert_eq!(total(&recorder, &Which::default()), 3);
            assert_eq!((total(&recorder, &of("sato")), total(&recorder, &of("suzuki"))), (1, 1));
            assert_eq!(total(&recorder, &Which { call_id: Some("one".into()), ..Which::default() }), 2);
            let answer = recorder.ladder(&of("sato"));
            let first = &answer["messages"][0];
            assert_eq!((first["from"].as_str(), first["to"].as_str()), (Some("203.0.113.7:5061"), Some("edge1")));
            assert_eq!((first["at_ms"].as_u64(), first["decision"].as_str()), (Some(7), Some("to core1")));
            assert!(!answer.to_string().contains("S3CRET"), "{answer}");
            let until = Instant::now() + Duration::from_secs(20);
            while told.borrow().last() != Some(&false) {
                assert!(Instant::now() < until, "it ends by itself");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            passes(&recorder, "sato", "four", "203.0.113.7:5061");
            assert_eq!(total(&recorder, &Which::default()), 3, "what was kept stays, and no more comes");
            assert!(recorder.start(Whom::User("x".into()), Duration::from_secs(600)));
            assert_eq!((recorder.stop(Some(&Whom::User("y".into()))), recorder.stop(None)), (0, 1));
            assert_eq!(told.borrow().last(), Some(&false));
        });
    }

    #[test]
    fn what_is_kept_is_bounded() {
        run(async {
            let recorder = Rc::new(Recorder::default());
            assert!(recorder.start(Whom::User("s".into()), Duration::from_secs(600)));
            for number in 0..KEPT_MAX + 500 {
                passes(&recorder, "sato", &format!("call{number}"), "203.0.113.7:5061");
            }
            let answer = recorder.ladder(&Which::default());
            assert_eq!((answer["total"].as_u64(), answer["dropped"].as_u64()), (Some(KEPT_MAX as u64), Some(500)));
            assert_eq!(answer["messages"].as_array().map(Vec::len), Some(LADDER_MAX));
            assert_eq!(recorder.followed.borrow().len(), CALLS_FOLLOWED_MAX);
            for number in 0..TRACES_MAX + 1 {
                let more = recorder.start(Whom::User(format!("u{number}")), Duration::from_secs(600));
                assert_eq!(more, number + 1 < TRACES_MAX);
            }
        });
    }
}
