//! Plays a script against a router: what happens, and what is to come of it.

use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::chat::ChatEnd;

use crate::router::{Action, Beginning, Candidate, Input, Router, Verdict};
use crate::sasl::Mechanism;

pub(super) const CLIENT_HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub(super) const TO_SERVER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0' xml:lang='en'>";
pub(super) const SERVER_HEADER: &str = "<?xml version='1.0'?><stream:stream from='example.com' id='s1' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub(super) const TO_CLIENT: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='example.com' id='s1' version='1.0' xml:lang='en'>";
/// Where no server has given an id.
pub(super) const OWN_TO_CLIENT: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='example.com' id='000102030405060708090a0b0c0d0e0f' version='1.0' xml:lang='en'>";
pub(super) const TLS_FEATURES: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const SASL_FEATURES: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>EXTERNAL</mechanism><mechanism>PLAIN</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding></stream:features>";
pub(super) const OFFERED: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
/// Where no server was ever seen.
pub(super) const UNSEEN: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-512</mechanism><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
/// Alice, whose password is `secret`.
pub(super) const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>";
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
pub(super) const BIND_FEATURES: &str =
    "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
pub(super) const BIND: &str =
    "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>desk</resource></bind></iq>";
pub(super) const BOUND: &str = "<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@example.com/desk</jid></bind></iq>";
pub(super) const DOWN: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/><text xml:lang='en'>The server cannot be reached. Try again later.</text></failure>";
pub(super) const NOT_AUTHORIZED: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
pub(super) const CLOSE: &str = "</stream:stream>";

/// One thing that happens, and what is to come of it: `C` what the client hears, `S` what the server hears, and the
/// router's other wishes in a word.
pub(super) type Step = (What, Vec<String>);

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    Client(String),
    Server(String),
    Other(Input),
    /// Time passes.
    Wait(u64),
}

pub(super) fn client(text: &str) -> What {
    What::Client(text.to_owned())
}

pub(super) fn server(text: &str) -> What {
    What::Server(text.to_owned())
}

pub(super) fn pass() -> What {
    at_home(&[])
}

pub(super) fn at_home(homes: &[usize]) -> What {
    What::Other(Input::Verdict(Verdict::Pass { homes: homes.to_vec() }))
}

pub(super) fn too_often() -> What {
    What::Other(Input::Verdict(Verdict::Refused { retry_after: Duration::from_millis(6_001), code: None }))
}

pub(super) fn nobodys() -> What {
    What::Other(Input::Verdict(Verdict::Wrong))
}

pub(super) const CONNECTED: What = What::Other(Input::Connected);
pub(super) const SECURED: What = What::Other(Input::Secured);
pub(super) const GONE: What = What::Other(Input::ServerGone);

pub(super) fn c(text: &str) -> String {
    format!("C {text}")
}

pub(super) fn s(text: &str) -> String {
    format!("S {text}")
}

pub(super) fn w(word: &str) -> String {
    word.to_owned()
}

/// A router and what came of what was told to it.
pub(super) struct Stage {
    pub(super) router: Router,
    pub(super) now: Moment,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::remembering(&[])
    }

    /// With three servers, of which the third has TLS first.
    pub(super) fn remembering(mechanisms: &[Mechanism]) -> Self {
        let candidate = |host: &str, direct_tls| Candidate { host: host.to_owned(), port: 5222, direct_tls };
        let servers = vec![candidate("im1.inside", false), candidate("im2.inside", false), candidate("10.0.0.3", true)];
        let id = std::array::from_fn(|place| u8::try_from(place).expect("small"));
        let remembered = mechanisms.to_vec();
        let beginning = Beginning { domain: "example.com".to_owned(), servers, remembered, id };
        Self { router: Router::new(beginning, Moment::ZERO), now: Moment::ZERO }
    }

    /// Tells it, in pieces of `piece` bytes, and says what came of it.
    pub(super) fn tell(&mut self, what: &What, piece: usize) -> Vec<String> {
        let inputs: Vec<Input> = match what {
            What::Client(text) => pieces(text, piece).map(Input::Client).collect(),
            What::Server(text) => pieces(text, piece).map(Input::Server).collect(),
            What::Other(input) => vec![input.clone()],
            What::Wait(secs) => {
                self.now = self.now + Duration::from_secs(*secs);
                let due = self.router.next_deadline().is_some_and(|deadline| deadline <= self.now);
                if due { vec![Input::Tick] } else { Vec::new() }
            }
        };
        let mut heard = Vec::new();
        for input in inputs {
            // What a server says whose connection was closed is told to nobody.
            let is_closed = heard.iter().any(|heard| heard == "close server");
            if is_closed && matches!(input, Input::Server(_)) {
                break;
            }
            self.router.handle(input, self.now);
            while let Some(action) = self.router.poll() {
                note(&mut heard, &action);
            }
        }
        heard
    }
}

fn pieces(text: &str, piece: usize) -> impl Iterator<Item = Bytes> {
    text.as_bytes().chunks(piece).map(Bytes::copy_from_slice)
}

fn note(heard: &mut Vec<String>, action: &Action) {
    let (side, bytes) = if let Action::ToClient(bytes) = action {
        ("C ", bytes)
    } else if let Action::ToServer(bytes) = action {
        ("S ", bytes)
    } else {
        return heard.push(word(action));
    };
    let text = std::str::from_utf8(bytes).expect("text");
    // Whether something comes in one piece or in two is all the same.
    match heard.last_mut().filter(|last| last.starts_with(side)) {
        Some(last) => last.push_str(text),
        None => heard.push(format!("{side}{text}")),
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::ToClient(_) | Action::ToServer(_) => String::new(),
        Action::Dial { server } => format!("dial {server}"),
        Action::StartTls => w("tls"),
        Action::CloseServer => w("close server"),
        Action::ServerDown { server, why } => format!("down {server}: {why}"),
        Action::ServerDoubted { server, why } => format!("doubt {server}: {why}"),
        Action::Unseen => w("unseen"),
        Action::ServerUp { server, .. } => format!("up {server}"),
        Action::AskRate { user, mechanism } => {
            format!("ask {} {}", user.as_ref().map_or("?", |user| user.reveal()), mechanism.name())
        }
        Action::SignedIn { user, server, .. } => {
            format!("signed in {} at {server}", user.as_ref().map_or("?", |user| user.reveal()))
        }
        Action::Homed { server } => format!("homed {server}"),
        Action::Bound { jid, resumed } => {
            format!("bound {} {resumed}", jid.as_ref().map_or("?", |jid| jid.reveal()))
        }
        Action::Resumable => w("resumable"),
        Action::Offence(offence, detail) => format!("offence {}: {detail}", offence.label()),
        Action::End(ChatEnd::Closed) => w("end closed"),
        Action::End(ChatEnd::Broken) => w("end broken"),
    }
}

/// Plays a script several times, with the bytes cut differently each time.
pub(super) fn play(script: &[Step]) {
    for piece in [usize::MAX, 1, 2, 3, 7, 16, 61, 200] {
        let mut stage = Stage::new();
        for (number, (what, expected)) in script.iter().enumerate() {
            let heard = stage.tell(what, piece);
            assert_eq!(&heard, expected, "step {number} in pieces of {piece}: {what:?}");
        }
    }
}

/// From the client's header to the features it hears.
pub(super) fn met() -> Vec<Step> {
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.extend(reached(0));
    script.pop();
    script.push((server(SASL_FEATURES), vec![w("up 0"), c(&[TO_CLIENT, OFFERED].concat())]));
    script
}

/// From a server being dialled to its features, of which the last step says nothing more than that.
pub(super) fn reached(place: usize) -> Vec<Step> {
    vec![
        (CONNECTED, vec![s(TO_SERVER)]),
        (server(SERVER_HEADER), vec![]),
        (server(TLS_FEATURES), vec![s(STARTTLS)]),
        (server(PROCEED), vec![w("tls")]),
        (SECURED, vec![s(TO_SERVER)]),
        (server(SERVER_HEADER), vec![]),
        (server(SASL_FEATURES), vec![format!("up {place}")]),
    ]
}

/// From the features to sign-in.
pub(super) fn signed_in() -> Vec<Step> {
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS)]));
    script
}

/// And to a resource.
pub(super) fn bound() -> Vec<Step> {
    let mut script = signed_in();
    script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
    script.push((server(SERVER_HEADER), vec![c(SERVER_HEADER)]));
    script.push((server(BIND_FEATURES), vec![c(BIND_FEATURES)]));
    script.push((client(BIND), vec![s(BIND)]));
    script.push((server(BOUND), vec![w("bound alice@example.com/desk false"), c(BOUND)]));
    script
}
