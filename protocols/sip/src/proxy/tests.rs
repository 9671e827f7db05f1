use std::net::SocketAddr;

use super::*;

const UP: Hop = Hop::Flow(FlowId::accepted(0, 1));
const OTHER: Hop = Hop::Flow(FlowId::accepted(0, 2));
const DOWN: Hop = Hop::Flow(FlowId::dialled(0, 1));

fn udp(host: u8) -> Hop {
    Hop::Datagram { local: SocketAddr::from(([10, 0, 0, 1], 5_060)), peer: SocketAddr::from(([10, 0, 0, host], 5_060)) }
}

fn edge() -> Hop {
    Hop::Peer(NodeId::new("edge1").expect("legal"))
}

fn text(method: &str, branch: Option<&str>, seq: u32) -> Message {
    let branch = branch.map_or_else(String::new, |branch| format!(";branch={branch}"));
    let text = format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1:5061{branch}\r\nMax-Forwards: 70\r\n\
         Route: <sip:10.0.0.9;lr>\r\nFrom: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: one\r\nCSeq: {seq} {method}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text)).expect("legal")
}

fn request(method: &str) -> Message {
    text(method, Some("z9hG4bK1"), 1)
}

/// A proxy, its clock, and what it sent last.
struct Rig {
    proxy: Proxy,
    now: Moment,
}

impl Rig {
    fn new() -> Self {
        let patience = Patience { answer: Duration::from_secs(32), route: Duration::from_secs(4) };
        Self { proxy: Proxy::new(patience, 7), now: Moment::from_secs(100) }
    }

    fn receive(&mut self, request: &Message, from: &Hop) -> Received {
        self.proxy.receive_request(request, from.clone(), self.now)
    }

    fn open(&mut self, request: &Message, from: &Hop) -> TransactionId {
        match self.receive(request, from) {
            Received::New(id) => id,
            other @ (Received::Absorbed | Received::Acknowledgement | Received::StrayCancel | Received::Full) => {
                panic!("not new: {other:?}")
            }
        }
    }

    /// Sends it on with our Via on top, and returns what went out.
    fn forward(&mut self, id: TransactionId, to: &Hop) -> Message {
        let mut edit = self.proxy.request(id).expect("known").edit();
        edit.push_via(&format!("SIP/2.0/TCP 10.0.0.1:5060;branch={}", self.proxy.branch(id)));
        let bytes = edit.finish();
        self.proxy.forward(id, to.clone(), bytes, self.now);
        self.sent_to(to).pop().expect("sent")
    }

    fn started(&mut self, method: &str, from: &Hop, to: &Hop) -> (TransactionId, Message) {
        let id = self.open(&request(method), from);
        let sent = self.forward(id, to);
        (id, sent)
    }

    /// A response to what was sent downstream; passed upstream if the proxy says so.
    fn answer(&mut self, sent: &Message, status: u16, from: &Hop) -> Result<bool, Stray> {
        let response = sent.respond(status, "Any").to_tag("b").build();
        let response = Message::parse(response).expect("legal");
        let Some(matched) = self.proxy.receive_response(&response, from, self.now)? else { return Ok(false) };
        let mut edit = response.edit();
        edit.pop_via();
        let bytes = edit.finish();
        self.proxy.respond(matched.id, status, bytes, self.now);
        Ok(true)
    }

    /// Everything sent since, as (hop, first word or status).
    fn sent(&mut self) -> Vec<(Hop, String)> {
        let transmits = std::iter::from_fn(|| self.proxy.poll_transmit());
        transmits
            .map(|transmit| {
                let message = Message::parse(transmit.bytes).expect("we send what can be read");
                let word = message.status().map_or_else(
                    || message.method().unwrap_or_default().to_owned(),
                    |status| format!("{status} {}", message.cseq().1),
                );
                (transmit.hop, word)
            })
            .collect()
    }

    fn words_to(&mut self, hop: &Hop) -> Vec<String> {
        self.sent().into_iter().filter(|(to, _)| to == hop).map(|(_, word)| word).collect()
    }

    fn sent_to(&mut self, hop: &Hop) -> Vec<Message> {
        let transmits = std::iter::from_fn(|| self.proxy.poll_transmit()).filter(|transmit| transmit.hop == *hop);
        transmits.map(|transmit| Message::parse(transmit.bytes).expect("legal")).collect()
    }

    /// Lets time pass; answers 408 or 503 like a node does. Returns when something was sent, in
    /// milliseconds from the start of the wait.
    fn wait(&mut self, span: Duration) -> Vec<(u64, String)> {
        let (start, end) = (self.now, self.now + span);
        let mut log = Vec::new();
        while let Some(deadline) = self.proxy.next_deadline().filter(|deadline| deadline.at <= end) {
            assert!(deadline.at >= self.now, "a deadline in the past");
            self.now = deadline.at;
            self.proxy.handle_timeout(self.now);
            while let Some(event) = self.proxy.poll_event() {
                let (id, status) = match event {
                    Event::TimedOut(id) => (id, 408),
                    Event::Unroutable(id) => (id, 503),
                };
                let bytes = self.proxy.request(id).expect("known").respond(status, "Any").to_tag("p").build();
                self.proxy.respond(id, status, bytes, self.now);
            }
            let at = u64::try_from(self.now.since(start).as_millis()).expect("short");
            log.extend(self.sent().into_iter().map(|(_, word)| (at, word)));
        }
        self.now = end;
        log
    }

    fn ends_empty(mut self) {
        self.wait(Duration::from_secs(400));
        assert!(self.proxy.is_empty(), "{} left", self.proxy.len());
        assert_eq!(self.proxy.next_deadline(), None);
        assert!(self.proxy.per_hop.is_empty() && self.proxy.by_key.is_empty() && self.proxy.timers.is_empty());
    }
}

fn times(log: &[(u64, String)], word: &str) -> Vec<u64> {
    log.iter().filter(|(_, sent)| sent == word).map(|(at, _)| *at).collect()
}

#[test]
fn an_invite_is_forwarded_answered_and_forgotten() {
    for (status, absorbed) in [(200, Received::Acknowledgement), (486, Received::Absorbed)] {
        let mut rig = Rig::new();
        let (_, sent) = rig.started("INVITE", &UP, &DOWN);
        assert_eq!(rig.answer(&sent, 100, &DOWN), Ok(false), "100 is for one hop");
        assert_eq!(rig.answer(&sent, 180, &DOWN), Ok(true));
        assert_eq!(rig.answer(&sent, status, &DOWN), Ok(true));
        let acks = usize::from(status >= 300);
        let log = rig.sent();
        assert_eq!(log.iter().filter(|(hop, word)| *hop == DOWN && word == "ACK").count(), acks, "{status}");
        assert_eq!(log.iter().filter(|(hop, _)| *hop == UP).count(), 2);
        assert_eq!(rig.receive(&request("ACK"), &UP), absorbed, "{status}");
        assert_eq!(rig.proxy.is_empty(), status >= 300, "an acknowledged failure is over, a 2xx lingers");
        rig.ends_empty();
    }
}

#[test]
fn the_ack_of_a_failure_is_made_of_the_request_and_the_answer() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    rig.answer(&sent, 486, &DOWN).expect("ours");
    let ack = rig.sent_to(&DOWN).pop().expect("an ACK");
    assert_eq!((ack.method(), ack.request_uri()), (Some("ACK"), Some("sip:bob@example.com")));
    assert_eq!(ack.top_via().branch(), sent.top_via().branch());
    assert_eq!((ack.via_count(), ack.to_tag(), ack.cseq()), (1, Some("b"), (1, "ACK")));
    assert_eq!(ack.routes().count(), 1, "RFC 3261 §17.1.1.3: the Routes of the request");
}

#[test]
fn a_2xx_is_passed_on_each_time_and_never_repeated_by_us() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &udp(5), &DOWN);
    for _ in 0..3 {
        assert_eq!(rig.answer(&sent, 200, &DOWN), Ok(true));
    }
    assert_eq!(rig.words_to(&udp(5)), ["200 INVITE"; 3]);
    assert_eq!(rig.receive(&request("INVITE"), &udp(5)), Received::Absorbed);
    assert_eq!(rig.sent(), [], "RFC 6026: the UAS repeats it");
    assert_eq!(rig.answer(&sent, 486, &DOWN), Ok(false), "no failure after success");
    rig.sent();
    assert_eq!(rig.wait(Duration::from_secs(31)), []);
    rig.ends_empty();
}

#[test]
fn a_cancel_waits_for_a_provisional_answer() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::Absorbed);
    assert_eq!(rig.sent(), [(UP, "200 CANCEL".to_owned())], "nothing downstream yet");
    assert_eq!(rig.answer(&sent, 180, &DOWN), Ok(true));
    let cancel = rig.sent_to(&DOWN).pop().expect("now");
    assert_eq!((cancel.method(), cancel.cseq(), cancel.to_tag()), (Some("CANCEL"), (1, "CANCEL"), None));
    assert_eq!(cancel.top_via().branch(), sent.top_via().branch());
    assert_eq!(rig.answer(&cancel, 200, &DOWN), Ok(false), "the answer to our CANCEL is ours");
    assert_eq!(rig.answer(&sent, 487, &DOWN), Ok(true));
    assert_eq!(rig.words_to(&UP), ["487 INVITE"]);
    assert_eq!(rig.receive(&request("ACK"), &UP), Received::Absorbed);
    rig.ends_empty();
}

#[test]
fn a_cancel_of_a_ringing_invite_goes_on_at_once() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    rig.answer(&sent, 180, &DOWN).expect("ours");
    rig.sent();
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::Absorbed);
    assert_eq!(rig.sent(), [(UP, "200 CANCEL".to_owned()), (DOWN, "CANCEL".to_owned())]);
    // It crossed the answer: the call stands, and the caller will hang up.
    assert_eq!(rig.answer(&sent, 200, &DOWN), Ok(true));
    assert_eq!(rig.words_to(&UP), ["200 INVITE"]);
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::Absorbed, "answered, and nothing else");
    assert_eq!(rig.sent(), [(UP, "200 CANCEL".to_owned())]);
    rig.ends_empty();
}

#[test]
fn a_cancel_before_a_route_is_known_ends_the_invite_here() {
    let mut rig = Rig::new();
    rig.open(&request("INVITE"), &UP);
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::Absorbed);
    assert_eq!(rig.words_to(&UP), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(rig.receive(&request("ACK"), &UP), Received::Absorbed);
    rig.ends_empty();
}

#[test]
fn a_cancel_of_nothing_is_stray() {
    let mut rig = Rig::new();
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::StrayCancel);
    rig.started("INVITE", &UP, &DOWN);
    let elsewhere = text("CANCEL", Some("z9hG4bK2"), 1);
    assert_eq!(rig.receive(&elsewhere, &UP), Received::StrayCancel);
}

#[test]
fn timer_a_doubles_until_timer_b() {
    let mut rig = Rig::new();
    rig.started("INVITE", &UP, &udp(9));
    let log = rig.wait(Duration::from_secs(33));
    assert_eq!(times(&log, "INVITE"), [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(times(&log, "408 INVITE"), [32_000]);
    rig.ends_empty();
}

#[test]
fn timer_e_doubles_up_to_t2() {
    let mut rig = Rig::new();
    rig.started("BYE", &UP, &udp(9));
    let log = rig.wait(Duration::from_secs(33));
    assert_eq!(times(&log, "BYE"), [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(times(&log, "408 BYE"), [32_000]);
    rig.ends_empty();
}

#[test]
fn a_provisional_answer_stops_timer_a_but_not_timer_e() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &udp(9));
    rig.answer(&sent, 100, &udp(9)).expect("ours");
    assert_eq!(times(&rig.wait(Duration::from_secs(30)), "INVITE"), []);
    let mut rig = Rig::new();
    let (_, sent) = rig.started("BYE", &UP, &udp(9));
    rig.answer(&sent, 100, &udp(9)).expect("ours");
    assert!(!times(&rig.wait(Duration::from_secs(30)), "BYE").is_empty());
}

#[test]
fn timer_g_repeats_a_failure_until_its_ack_or_timer_h() {
    let failed = || {
        let mut rig = Rig::new();
        let (_, sent) = rig.started("INVITE", &udp(5), &DOWN);
        rig.answer(&sent, 486, &DOWN).expect("ours");
        rig.sent();
        rig
    };
    let mut silent = failed();
    let log = silent.wait(Duration::from_secs(40));
    assert_eq!(times(&log, "486 INVITE"), [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    silent.ends_empty();

    let mut acknowledged = failed();
    acknowledged.wait(Duration::from_secs(1));
    assert_eq!(acknowledged.receive(&request("ACK"), &udp(5)), Received::Absorbed);
    // Timer I: a repeated ACK is still this one's.
    acknowledged.wait(Duration::from_secs(4));
    assert_eq!(acknowledged.receive(&request("ACK"), &udp(5)), Received::Absorbed);
    assert_eq!(times(&acknowledged.wait(Duration::from_secs(40)), "486 INVITE"), []);
    acknowledged.ends_empty();
}

#[test]
fn nothing_is_repeated_on_reliable_hops() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    assert_eq!(times(&rig.wait(Duration::from_secs(30)), "INVITE"), []);
    rig.answer(&sent, 486, &DOWN).expect("ours");
    rig.sent();
    assert_eq!(rig.wait(Duration::from_secs(60)), []);
    rig.ends_empty();
}

#[test]
fn timer_j_answers_retransmissions_over_udp_alone() {
    for (hop, seconds, again) in [(udp(5), 31, true), (udp(5), 33, false), (edge(), 7, true), (edge(), 9, false)] {
        let mut rig = Rig::new();
        let (_, sent) = rig.started("REGISTER", &hop, &DOWN);
        rig.answer(&sent, 200, &DOWN).expect("ours");
        rig.sent();
        rig.wait(Duration::from_secs(seconds));
        let received = rig.receive(&request("REGISTER"), &hop);
        assert_eq!(received == Received::Absorbed, again, "{hop:?} after {seconds} s");
        assert_eq!(rig.words_to(&hop).len(), usize::from(again));
    }
    let mut rig = Rig::new();
    let (_, sent) = rig.started("REGISTER", &UP, &DOWN);
    rig.answer(&sent, 200, &DOWN).expect("ours");
    assert!(rig.proxy.is_empty(), "on a stream nothing comes twice");
}

#[test]
fn a_retransmission_hears_what_was_said_last() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &udp(5), &DOWN);
    assert_eq!(rig.receive(&request("INVITE"), &udp(5)), Received::Absorbed);
    assert_eq!(rig.sent(), [], "nothing was said");
    rig.answer(&sent, 180, &DOWN).expect("ours");
    rig.sent();
    assert_eq!(rig.receive(&request("INVITE"), &udp(5)), Received::Absorbed);
    assert_eq!(rig.words_to(&udp(5)), ["180 INVITE"]);
}

#[test]
fn timer_c_gives_up_a_callee_that_rings_for_ever() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    rig.answer(&sent, 180, &DOWN).expect("ours");
    rig.wait(Duration::from_secs(100));
    rig.answer(&sent, 180, &DOWN).expect("ours");
    let log = rig.wait(Duration::from_secs(182));
    assert_eq!(times(&log, "CANCEL"), [181_000], "each word of the callee starts it anew");
    assert_eq!(times(&log, "408 INVITE"), [181_000]);
    // The answer to our CANCEL comes after all: acknowledged, and told to nobody.
    assert_eq!(rig.receive(&request("ACK"), &UP), Received::Absorbed);
    assert_eq!(rig.answer(&sent, 487, &DOWN), Ok(false));
    assert_eq!(rig.sent(), [(DOWN, "ACK".to_owned())]);
    rig.ends_empty();
}

#[test]
fn an_unroutable_request_gets_503() {
    let mut rig = Rig::new();
    rig.open(&request("OPTIONS"), &UP);
    let log = rig.wait(Duration::from_secs(5));
    assert_eq!(log, [(4_000, "503 OPTIONS".to_owned())]);
    rig.ends_empty();
}

#[test]
fn a_request_can_move_to_another_hop() {
    let mut rig = Rig::new();
    let (id, sent) = rig.started("INVITE", &UP, &DOWN);
    let moved = rig.forward(id, &OTHER);
    assert_eq!(moved.top_via().branch(), sent.top_via().branch());
    assert_eq!(rig.answer(&sent, 200, &DOWN), Err(Stray), "the old hop has no say any more");
    assert!(!rig.proxy.is_busy(FlowId::dialled(0, 1)) && rig.proxy.is_busy(FlowId::accepted(0, 2)));
    assert_eq!(rig.answer(&moved, 200, &OTHER), Ok(true));
    rig.proxy.forward(id, DOWN, Bytes::new(), rig.now);
    assert!(rig.words_to(&DOWN).is_empty(), "what is answered moves no more");
    rig.ends_empty();
}

#[test]
fn parked_requests_wait_for_a_route_and_hurried_ones_not_long() {
    let mut rig = Rig::new();
    let (id, _) = rig.started("BYE", &UP, &DOWN);
    rig.proxy.park(id, rig.now);
    assert_eq!((rig.proxy.unrouted(), rig.proxy.waiting_for(&DOWN)), (vec![id], vec![]));
    rig.wait(Duration::from_secs(3));
    rig.forward(id, &OTHER);
    assert_eq!(rig.proxy.waiting_for(&OTHER), [id]);
    rig.proxy.hurry(id, rig.now);
    assert_eq!(rig.wait(Duration::from_secs(5)), [(4_000, "408 BYE".to_owned())]);

    let mut rig = Rig::new();
    let (id, sent) = rig.started("INVITE", &UP, &DOWN);
    rig.answer(&sent, 180, &DOWN).expect("ours");
    rig.proxy.park(id, rig.now);
    assert_eq!(rig.proxy.waiting_for(&DOWN), [id], "what rings cannot be taken back");
}

#[test]
fn what_a_broken_link_lost_is_sent_again() {
    let mut rig = Rig::new();
    let (id, sent) = rig.started("INVITE", &UP, &edge());
    rig.proxy.resend(id);
    assert_eq!(rig.words_to(&edge()), ["INVITE"]);
    rig.answer(&sent, 486, &edge()).expect("ours");
    rig.sent();
    rig.proxy.resend(id);
    assert_eq!(rig.sent(), []);
    // The other side of it: the same request again, over a node, hears even a 2xx again.
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &edge(), &DOWN);
    rig.answer(&sent, 200, &DOWN).expect("ours");
    rig.sent();
    assert_eq!(rig.receive(&request("INVITE"), &edge()), Received::Absorbed);
    assert_eq!(rig.words_to(&edge()), ["200 INVITE"]);
}

#[test]
fn a_100_passes_between_nodes_and_no_further() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &edge(), &DOWN);
    assert_eq!(rig.answer(&sent, 100, &DOWN), Ok(true));
    assert_eq!(rig.words_to(&edge()), ["100 INVITE"]);
}

#[test]
fn a_lost_downstream_is_reported() {
    let mut rig = Rig::new();
    let (id, _) = rig.started("INVITE", &UP, &DOWN);
    assert_eq!(rig.proxy.hop_lost(&OTHER, rig.now), []);
    assert_eq!(rig.proxy.hop_lost(&DOWN, rig.now), [id]);
}

#[test]
fn a_lost_upstream_cancels_what_it_asked_for_and_hears_nothing() {
    for rings_first in [true, false] {
        let mut rig = Rig::new();
        let (_, sent) = rig.started("INVITE", &UP, &DOWN);
        if rings_first {
            rig.answer(&sent, 180, &DOWN).expect("ours");
            rig.sent();
        }
        assert_eq!(rig.proxy.hop_lost(&UP, rig.now), []);
        if !rings_first {
            assert_eq!(rig.sent(), [], "no CANCEL before a provisional answer");
            rig.answer(&sent, 180, &DOWN).expect("ours");
        }
        assert_eq!(rig.sent(), [(DOWN, "CANCEL".to_owned())]);
        let gone = sent.respond(487, "Request Terminated").to_tag("b").build();
        let gone = Message::parse(gone).expect("legal");
        let matched = rig.proxy.receive_response(&gone, &DOWN, rig.now).expect("ours").expect("the node must know");
        assert!(matched.orphaned);
        rig.proxy.respond(matched.id, 487, gone.bytes().clone(), rig.now);
        assert_eq!(rig.sent(), [(DOWN, "ACK".to_owned())], "nothing to a hop that is gone");
        assert!(rig.proxy.is_empty());
    }
}

#[test]
fn a_lost_upstream_leaves_nothing_behind_even_if_nobody_answers() {
    for method in ["INVITE", "BYE"] {
        let mut rig = Rig::new();
        rig.started(method, &UP, &DOWN);
        rig.proxy.hop_lost(&UP, rig.now);
        let log = rig.wait(Duration::from_secs(40));
        assert_eq!(log, [], "{method}");
        rig.ends_empty();
        let mut waiting = Rig::new();
        waiting.open(&request(method), &UP);
        waiting.proxy.hop_lost(&UP, waiting.now);
        waiting.ends_empty();
    }
}

#[test]
fn foreign_branches_and_hops_are_stray() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &DOWN);
    assert_eq!(rig.answer(&sent, 200, &OTHER), Err(Stray), "the right branch from the wrong hop");
    for branch in ["z9hG4bKew7.ff", "z9hG4bKew8.1", "z9hG4bKew7.", "z9hG4bKew7.xyz", "other"] {
        let mut edit = request("INVITE").edit().finish();
        edit = Message::parse(edit).expect("legal").edit().push_via(&format!("SIP/2.0/TCP h;branch={branch}")).finish();
        let foreign = Message::parse(edit).expect("legal");
        assert_eq!(rig.answer(&foreign, 200, &DOWN), Err(Stray), "{branch}");
    }
    assert_eq!(rig.sent(), []);
}

#[test]
fn no_client_touches_the_transaction_of_another() {
    let client = |flow| Hop::Client { edge: NodeId::new("edge1").expect("legal"), flow: FlowId::accepted(0, flow) };
    let mut rig = Rig::new();
    let (first, sent) = rig.started("INVITE", &client(1), &DOWN);
    rig.answer(&sent, 180, &DOWN).expect("ours");
    rig.sent();
    assert_eq!(rig.receive(&request("CANCEL"), &client(2)), Received::StrayCancel);
    assert_eq!(rig.receive(&request("ACK"), &client(2)), Received::Acknowledgement);
    let second = rig.open(&request("INVITE"), &client(2));
    assert_ne!(first, second);
    assert_eq!(rig.sent(), []);
    assert_ne!(rig.proxy.branch(first), rig.proxy.branch(second));
}

#[test]
fn elements_of_rfc_2543_are_told_apart_without_a_cookie() {
    for branch in [None, Some("1"), Some("old")] {
        let mut rig = Rig::new();
        let id = rig.open(&text("INVITE", branch, 1), &UP);
        assert_eq!(rig.receive(&text("INVITE", branch, 1), &UP), Received::Absorbed, "{branch:?}");
        let sent = rig.forward(id, &DOWN);
        rig.answer(&sent, 180, &DOWN).expect("ours");
        assert_eq!(rig.receive(&text("CANCEL", branch, 1), &UP), Received::Absorbed, "{branch:?}");
        rig.answer(&sent, 487, &DOWN).expect("ours");
        assert_eq!(rig.receive(&text("ACK", branch, 1), &UP), Received::Absorbed, "{branch:?}");
        assert!(matches!(rig.receive(&text("INVITE", branch, 2), &UP), Received::New(_)), "another CSeq");
        assert!(matches!(rig.receive(&text("BYE", branch, 2), &UP), Received::New(_)), "another method");
    }
}

#[test]
fn one_final_answer_and_no_other() {
    for (first, second) in [(486, 503), (408, 200), (200, 486)] {
        let mut rig = Rig::new();
        let (id, _) = rig.started("INVITE", &UP, &DOWN);
        for status in [first, second] {
            let bytes = request("INVITE").respond(status, "Any").to_tag("p").build();
            rig.proxy.respond(id, status, bytes, rig.now);
        }
        assert_eq!(rig.words_to(&UP), [format!("{first} INVITE")]);
    }
}

#[test]
fn a_full_table_says_so() {
    let mut rig = Rig::new();
    let any = request("OPTIONS");
    for n in 0..TRANSACTIONS_MAX {
        let key = Key { hop: UP, text: n.to_string().into(), invite: false };
        assert!(matches!(rig.proxy.open(key, &any, false, rig.now), Received::New(_)));
    }
    assert_eq!(rig.receive(&request("INVITE"), &UP), Received::Full);
}

#[test]
fn a_cancel_over_udp_is_repeated_until_it_is_answered() {
    let mut rig = Rig::new();
    let (_, sent) = rig.started("INVITE", &UP, &udp(9));
    rig.answer(&sent, 180, &udp(9)).expect("ours");
    assert_eq!(rig.receive(&request("CANCEL"), &UP), Received::Absorbed);
    let cancel = rig.sent_to(&udp(9)).pop().expect("a CANCEL");
    let log = rig.wait(Duration::from_secs(4));
    assert_eq!(times(&log, "CANCEL"), [500, 1_500, 3_500]);
    assert_eq!(times(&log, "INVITE"), []);
    assert_eq!(rig.answer(&cancel, 200, &udp(9)), Ok(false));
    assert_eq!(rig.wait(Duration::from_secs(30)), []);
    assert_eq!(rig.answer(&sent, 487, &udp(9)), Ok(true));
    assert_eq!(rig.receive(&request("ACK"), &UP), Received::Absorbed);
    rig.ends_empty();
}
