//! Requests a node makes by itself, other than INVITE: client transactions (RFC 3261 §17.1.2) to which no server
//! transaction belongs.
//!
//! The engine repeats a request over UDP (timer E), gives up in time (timer F), and knows its answers again, late ones
//! and repeated ones, so that nobody takes them for strays. It makes no message and chooses no hop.
//!
//! ```text
//!  open ─► send ─► Trying ─1xx─► Proceeding ─final answer─► Answered
//!                    └─────────────┴───── timer F ────────► Silent
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::{Deadline, Moment};

use crate::limits::OWN_REQUESTS_MAX;
use crate::message::Message;
use crate::proxy::{Hop, LINGER, T1, T2};

/// One request of [`Requests`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u64);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A final answer has come.
    Answered {
        /// The request.
        id: RequestId,
        /// The status of the answer.
        status: u16,
    },
    /// None has come within RFC 3261's timer F.
    Silent(RequestId),
}

#[derive(Debug)]
struct Pending {
    hop: Hop,
    bytes: Bytes,
    /// Over UDP: when it is repeated, and how long after the last time.
    again: Option<(Moment, Duration)>,
    expires: Moment,
}

impl Pending {
    fn due(&self) -> Moment {
        self.again.map_or(self.expires, |(at, _)| at.min(self.expires))
    }
}

/// The requests of one node, until they are answered.
#[derive(Debug)]
pub struct Requests {
    prefix: String,
    next: u64,
    pending: BTreeMap<RequestId, Pending>,
    timers: BTreeSet<(Moment, RequestId)>,
    transmits: VecDeque<(Hop, Bytes)>,
    outcomes: VecDeque<Outcome>,
}

impl Requests {
    /// An engine whose branches start with a number that is different after each restart.
    #[must_use]
    pub fn new(boot: u64) -> Self {
        Self {
            prefix: format!("z9hG4bKewown{boot:x}."),
            next: 0,
            pending: BTreeMap::new(),
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A request that is about to be made, and the branch for its Via. `None`: too many wait for an answer.
    pub fn open(&mut self) -> Option<(RequestId, String)> {
        if self.pending.len() >= OWN_REQUESTS_MAX {
            return None;
        }
        self.next += 1;
        Some((RequestId(self.next), format!("{}{:x}", self.prefix, self.next)))
    }

    /// Sends it. Called again, it goes once more, to another hop perhaps, and keeps the time it has left.
    pub fn send(&mut self, id: RequestId, hop: Hop, bytes: Bytes, now: Moment) {
        let expires = match self.pending.remove(&id) {
            Some(before) => {
                self.timers.remove(&(before.due(), id));
                before.expires
            }
            None => now + LINGER,
        };
        let again = (!hop.is_reliable()).then(|| (now + T1, T1));
        self.transmits.push_back((hop.clone(), bytes.clone()));
        let pending = Pending { hop, bytes, again, expires };
        self.timers.insert((pending.due(), id));
        self.pending.insert(id, pending);
    }

    /// Sends what waits for an answer from `hop` once more: the link that carried it broke.
    pub fn resend(&mut self, hop: &Hop) {
        let waiting = self.pending.values().filter(|pending| pending.hop == *hop);
        self.transmits.extend(waiting.map(|pending| (pending.hop.clone(), pending.bytes.clone())));
    }

    /// What waits for an answer from `hop`.
    #[must_use]
    pub fn waiting_for(&self, hop: &Hop) -> Vec<RequestId> {
        self.pending.iter().filter(|(_, pending)| pending.hop == *hop).map(|(id, _)| *id).collect()
    }

    /// The request as it was sent.
    #[must_use]
    pub fn sent(&self, id: RequestId) -> Option<&Bytes> {
        self.pending.get(&id).map(|pending| &pending.bytes)
    }

    /// Whether a response is to a request of ours, whatever has become of that; if so it is dealt with. What comes from
    /// elsewhere than where the request went changes nothing.
    pub fn receive_response(&mut self, response: &Message, from: &Hop, now: Moment) -> bool {
        let Some(digits) = response.top_via().branch().and_then(|branch| branch.strip_prefix(self.prefix.as_str()))
        else {
            return false;
        };
        let Ok(id) = u64::from_str_radix(digits, 16).map(RequestId) else { return true };
        let (Some(status), Some(pending)) = (response.status(), self.pending.get_mut(&id)) else { return true };
        if pending.hop != *from {
            return true;
        }
        self.timers.remove(&(pending.due(), id));
        if status < 200 {
            // RFC 3261 §17.1.2.2: in Proceeding timer E fires every T2.
            if let Some(again) = &mut pending.again {
                *again = (now + T2, T2);
            }
            self.timers.insert((pending.due(), id));
        } else {
            self.pending.remove(&id);
            self.outcomes.push_back(Outcome::Answered { id, status });
        }
        true
    }

    /// The moment asked for by [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            if pending.expires <= now {
                self.pending.remove(&id);
                self.outcomes.push_back(Outcome::Silent(id));
                continue;
            }
            if let Some((at, interval)) = &mut pending.again {
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
            }
            self.transmits.push_back((pending.hop.clone(), pending.bytes.clone()));
            self.timers.insert((pending.due(), id));
        }
    }

    /// When [`Self::handle_timeout`] should next be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timers.first().map(|(at, _)| Deadline { at: *at, why: "a request of our own" })
    }

    /// The next message to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(Hop, Bytes)> {
        self.transmits.pop_front()
    }

    /// The next thing that became of a request.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use edgeway_model::FlowId;

    use super::*;

    fn request(branch: &str) -> Bytes {
        Bytes::from(format!(
            "BYE sip:bob@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }

    fn answer(branch: &str, status: u16) -> Message {
        let request = Message::parse(request(branch)).expect("legal");
        Message::parse(request.respond(status, "x").build()).expect("legal")
    }

    fn udp() -> Hop {
        let address = |text: &str| text.parse().expect("an address");
        Hop::Datagram { local: address("10.0.0.1:5060"), peer: address("10.0.0.9:5060") }
    }

    fn drained(requests: &mut Requests) -> usize {
        std::iter::from_fn(|| requests.poll_transmit()).count()
    }

    #[test]
    fn over_udp_it_is_repeated_with_growing_pauses_and_given_up_in_time() {
        let mut requests = Requests::new(7);
        let (id, branch) = requests.open().expect("room");
        requests.send(id, udp(), request(&branch), Moment::ZERO);
        assert_eq!(drained(&mut requests), 1, "at once");
        let mut at = Vec::new();
        while let Some(deadline) = requests.next_deadline() {
            requests.handle_timeout(deadline.at);
            at.extend((0..drained(&mut requests)).map(|_| deadline.at.since(Moment::ZERO).as_millis()));
        }
        // RFC 3261 §17.1.2.2: after 500 ms, 1 s, 2 s, then every 4 s.
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!((requests.poll_outcome(), requests.len()), (Some(Outcome::Silent(id)), 0));
        assert!(requests.receive_response(&answer(&branch, 200), &udp(), Moment::from_secs(40)), "late, and ours");
        assert_eq!(requests.poll_outcome(), None);
    }

    #[test]
    fn an_answer_ends_it_where_it_comes_from_there() {
        let mut requests = Requests::new(7);
        let (id, branch) = requests.open().expect("room");
        let (hop, other) = (Hop::Flow(FlowId(1)), Hop::Flow(FlowId(2)));
        requests.send(id, hop.clone(), request(&branch), Moment::ZERO);
        assert_eq!((drained(&mut requests), requests.waiting_for(&hop)), (1, vec![id]));
        requests.handle_timeout(Moment::from_secs(31));
        assert_eq!(drained(&mut requests), 0, "a reliable transport repeats by itself");
        assert!(requests.receive_response(&answer(&branch, 200), &other, Moment::from_secs(31)));
        assert!(requests.receive_response(&answer(&branch, 100), &hop, Moment::from_secs(31)));
        assert_eq!((requests.poll_outcome(), requests.len()), (None, 1));
        assert!(requests.receive_response(&answer(&branch, 481), &hop, Moment::from_secs(31)));
        assert_eq!((requests.poll_outcome(), requests.len()), (Some(Outcome::Answered { id, status: 481 }), 0));
        assert_eq!(requests.next_deadline(), None);
        assert!(!requests.receive_response(&answer("z9hG4bKew7.1", 200), &hop, Moment::from_secs(31)), "a proxy's");
    }

    #[test]
    fn what_is_sent_again_keeps_the_time_it_has_left_and_there_is_a_bound() {
        let mut requests = Requests::new(7);
        let (id, branch) = requests.open().expect("room");
        requests.send(id, Hop::Flow(FlowId(1)), request(&branch), Moment::ZERO);
        requests.send(id, Hop::Flow(FlowId(2)), request(&branch), Moment::from_secs(20));
        requests.resend(&Hop::Flow(FlowId(1)));
        assert_eq!(drained(&mut requests), 2, "nothing waits at the first any more");
        requests.resend(&Hop::Flow(FlowId(2)));
        assert_eq!(drained(&mut requests), 1);
        requests.handle_timeout(Moment::from_secs(32));
        assert_eq!(requests.poll_outcome(), Some(Outcome::Silent(id)));
        for _ in 0..OWN_REQUESTS_MAX {
            let (id, branch) = requests.open().expect("room");
            requests.send(id, udp(), request(&branch), Moment::ZERO);
        }
        assert_eq!(requests.open(), None);
    }
}
