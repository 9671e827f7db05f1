//! The router against a client and servers that do anything in any order.

use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::chat::ChatEnd;

use crate::condition::{Condition, StreamFault};
use crate::router::{Action, Beginning, Candidate, Input, Router, Verdict};
use crate::sasl::Mechanism;

const DOMAIN: &str = "example.com";
const OUR_HEADER: &str =
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const CLOSE: &str = "</stream:stream>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";

/// What a client may say, by one byte each.
const CLIENT_SAYS: [&str; 17] = [
    "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    "<stream:stream from='alice@example.com' to='EXAMPLE.COM' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p'>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9eA==</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1-PLUS'>cD10bHMtZXhwb3J0ZXIsLG49dXNlcixyPXg=</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNl</auth>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGFsaWNlAHNlY3JldA==</response>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    "<message><p:x/><body>",
    "</body></message>",
    "<presence/>",
    " ",
    CLOSE,
    "<!-- x -->",
];

/// What a server may say, by one byte each.
const SERVER_SAYS: [&str; 22] = [
    "<?xml version='1.0'?><stream:stream from='example.com' id='s1' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    "<stream:stream id='&lt;&apos;' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:xmpp:sm:3'>",
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>",
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>",
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><hostname xmlns='urn:xmpp:domain-based-name:0'>a&lt;mechanism&gt;</hostname></mechanisms></stream:features>",
    "<stream:features><compression xmlns='http://jabber.org/features/compress'/><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>",
    "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/><text>&lt;/stream:stream></text></failure>",
    "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>im2.inside</see-other-host></stream:error>",
    "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>elsewhere</see-other-host></stream:error>",
    "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    "<iq type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@example.com/x</jid></bind></iq>",
    "<enabled xmlns='urn:xmpp:sm:3' id='x' location='im1.inside'/>",
    "<p:resumed/>",
    "<message><body>",
    "</body></message>",
    " ",
    CLOSE,
    "<!-- x -->",
];

/// What must hold between the router and whoever drives it.
struct World {
    router: Router,
    now: Moment,
    /// A server was dialled and not left.
    dialled: Option<usize>,
    connected: bool,
    /// Between TLS begun and TLS there.
    securing: bool,
    secured: bool,
    asking: bool,
    asked: usize,
    /// Verdicts under which nothing was shown yet.
    passes: usize,
    shown: bool,
    signed_in: bool,
    ended: bool,
    client_said: Vec<u8>,
    server_heard: Vec<u8>,
    server_said: Vec<u8>,
    /// How far of that the client has heard what passed.
    client_heard: usize,
}

/// Takes the bytes for what happens: commands, each ended by a NUL, each a letter and what goes with it. Nothing is
/// sent before it may be, and to nobody to whom it may not.
pub fn xmpp_router(bytes: &[u8]) {
    let mut world = World::new();
    let (piece, commands) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    for command in commands.split(|byte| *byte == 0) {
        let Some((letter, with)) = command.split_first() else { continue };
        world.happen(*letter, with, piece);
    }
    // Whoever does nothing for a day is gone.
    for _ in 0..1_000 {
        let Some(deadline) = world.router.next_deadline() else { break };
        world.now = world.now.max(deadline);
        world.tell(Input::Tick);
        let next = world.router.next_deadline();
        assert!(next.is_none_or(|next| next > world.now), "a deadline that was dealt with does not come again");
    }
    assert_eq!(world.router.next_deadline(), None, "deadlines come to an end");
}

impl World {
    fn new() -> Self {
        let candidate = |host: &str, direct_tls| Candidate { host: host.to_owned(), port: 5222, direct_tls };
        let servers = vec![candidate("im1.inside", false), candidate("im2.inside", true)];
        let beginning = Beginning { domain: DOMAIN.to_owned(), servers, remembered: Vec::new(), id: [7; 16] };
        Self {
            router: Router::new(beginning, Moment::ZERO),
            now: Moment::ZERO,
            dialled: None,
            connected: false,
            securing: false,
            secured: false,
            asking: false,
            asked: 0,
            passes: 0,
            shown: false,
            signed_in: false,
            ended: false,
            client_said: Vec::new(),
            server_heard: Vec::new(),
            server_said: Vec::new(),
            client_heard: 0,
        }
    }

    fn happen(&mut self, letter: u8, with: &[u8], piece: usize) {
        match letter {
            b'c' => self.client(with, piece),
            b'C' => self.client(&said(&CLIENT_SAYS, with), piece),
            b's' => self.server(with, piece),
            b'S' => self.server(&said(&SERVER_SAYS, with), piece),
            b'o' if self.dialled.is_some() && !self.connected => {
                self.connected = true;
                self.secured = self.dialled == Some(1);
                self.tell(Input::Connected);
            }
            b't' if self.securing => {
                (self.securing, self.secured) = (false, true);
                self.tell(Input::Secured);
            }
            b'g' if self.dialled.is_some() => {
                self.left();
                self.tell(Input::ServerGone);
            }
            b'p' if self.asking => {
                self.asking = false;
                self.passes += 1;
                self.tell(Input::Verdict(Verdict::Pass {
                    homes: with.iter().map(|byte| usize::from(*byte)).collect(),
                }));
            }
            b'r' if self.asking => {
                self.asking = false;
                self.tell(Input::Verdict(Verdict::Refused { retry_after: Duration::from_secs(1), code: None }));
            }
            b'x' if self.asking => {
                self.asking = false;
                self.tell(Input::Verdict(Verdict::Wrong));
            }
            b'w' => {
                self.now = self.now + Duration::from_secs(with.first().copied().unwrap_or(1).into());
                self.tell(Input::Tick);
            }
            b'e' => self.tell(Input::ClientEnded(ChatEnd::Broken)),
            b'd' => self.tell(Input::Disconnect(StreamFault::new(Condition::PolicyViolation, "Out."))),
            _ => {}
        }
    }

    fn client(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.client_said.extend_from_slice(piece);
            self.tell(Input::Client(Bytes::copy_from_slice(piece)));
        }
    }

    fn server(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            if self.connected && !self.securing {
                self.server_said.extend_from_slice(piece);
                self.tell(Input::Server(Bytes::copy_from_slice(piece)));
            }
        }
    }

    fn left(&mut self) {
        self.dialled = None;
        (self.connected, self.securing, self.secured, self.shown) = (false, false, false, false);
    }

    fn tell(&mut self, input: Input) {
        self.router.handle(input, self.now);
        while let Some(action) = self.router.poll() {
            assert!(!self.ended, "nothing comes after the end: {action:?}");
            self.check(action);
        }
        assert_eq!(self.router.next_deadline().is_none(), self.ended || self.is_settled(), "the end has no deadline");
    }

    /// Signed in, with nothing to wait for: where there is no deadline, nothing may be due.
    fn is_settled(&self) -> bool {
        self.signed_in && self.router.next_deadline().is_none()
    }

    fn check(&mut self, action: Action) {
        match action {
            Action::ToClient(bytes) => self.client_hears(&bytes),
            Action::ToServer(bytes) => self.server_hears(&bytes),
            Action::Dial { server } => {
                assert!(self.dialled.is_none() && server < 2, "one server at a time");
                self.dialled = Some(server);
            }
            Action::StartTls => {
                assert!(self.connected && !self.securing && !self.secured, "TLS is begun once");
                self.securing = true;
            }
            Action::CloseServer => {
                assert!(self.dialled.is_some(), "what is closed was open");
                self.left();
            }
            Action::AskRate { .. } => {
                assert!(!self.asking && !self.signed_in, "one question at a time");
                self.asking = true;
                self.passes = 0;
                self.asked += 1;
                assert!(self.asked <= 5, "five attempts");
            }
            Action::SignedIn { server, .. } => {
                assert!(self.shown && self.secured && self.dialled == Some(server), "signed in by nobody");
                assert!(!std::mem::replace(&mut self.signed_in, true), "once");
                self.server_heard.clear();
            }
            Action::Bound { .. } | Action::Resumable => assert!(self.signed_in, "bound before sign-in"),
            Action::Homed { server } => assert!(server < 2 && self.shown, "a home that is known"),
            Action::ServerUp { server, mechanisms } => {
                assert!(self.secured && self.dialled == Some(server) && !mechanisms.is_empty());
            }
            Action::ServerDown { server, .. } | Action::ServerDoubted { server, .. } => assert!(server < 2),
            Action::Unseen => {
                assert_eq!(self.passes, 1, "something was let pass, and went nowhere");
                self.passes = 0;
            }
            Action::Offence(..) => {}
            Action::End(_) => {
                assert!(self.dialled.is_none(), "no connection is forgotten");
                self.ended = true;
            }
        }
    }

    fn client_hears(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let is_one_of = |beginnings: &[&str]| beginnings.iter().any(|beginning| text.starts_with(beginning));
        let is_ours = text == CLOSE || is_one_of(&[OUR_HEADER, "<stream:error>", "<stream:features"]);
        if self.signed_in {
            if is_ours || is_one_of(&[SUCCESS, "<enabled xmlns='urn:xmpp:sm:"]) {
                return;
            }
            // What passes does so in its order, and once.
            let rest = self.server_said.get(self.client_heard..).unwrap_or_default();
            let place = place_of(bytes, rest).unwrap_or_else(|| panic!("not said, or not now: {text}"));
            self.client_heard += place + bytes.len();
            return;
        }
        let is_sign_in = is_one_of(&[
            "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'",
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'",
        ]);
        assert!(is_ours || is_sign_in, "not ours: {text}");
        for offered in text.split("<mechanism>").skip(1) {
            let name = offered.split('<').next().unwrap_or_default();
            assert!(Mechanism::named(name).is_some(), "{name} is offered");
        }
    }

    fn server_hears(&mut self, bytes: &[u8]) {
        assert!(self.connected && !self.securing, "nobody is there to hear it");
        let text = String::from_utf8_lossy(bytes);
        if self.signed_in {
            self.server_heard.extend_from_slice(bytes);
            let heard = self.server_heard.strip_suffix(CLOSE.as_bytes()).unwrap_or(&self.server_heard);
            assert!(is_within(heard, &self.client_said), "not said: {text}");
        } else if text.starts_with("<auth ") {
            assert!(self.secured && self.passes == 1 && !self.asking, "shown without leave: {text}");
            (self.passes, self.shown) = (0, true);
        } else if text.starts_with("<response ") || text.starts_with("<abort ") {
            assert!(self.secured && self.shown, "nothing was begun: {text}");
        } else {
            let ours = text.starts_with(OUR_HEADER) && !text.contains("alice");
            assert!(ours || text == STARTTLS || text == CLOSE, "a server hears of a client: {text}");
        }
    }
}

fn said(words: &[&str], numbers: &[u8]) -> Vec<u8> {
    numbers
        .iter()
        .filter_map(|number| words.get(usize::from(*number) % words.len()))
        .flat_map(|word| word.bytes())
        .collect()
}

fn is_within(piece: &[u8], whole: &[u8]) -> bool {
    place_of(piece, whole).is_some()
}

fn place_of(piece: &[u8], whole: &[u8]) -> Option<usize> {
    if piece.is_empty() { Some(0) } else { whole.windows(piece.len()).position(|window| window == piece) }
}
