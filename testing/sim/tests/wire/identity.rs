//! Who a client is: digest of users who have signed in, and that nobody is anybody else, whatever is
//! claimed, in whatever request, over whatever connection or edge.

use std::sync::Arc;
use std::time::Duration;

use edgeway_model::sign_in::{
    Deployment, DigestSecret, Profile, Revocation, Session, SignInFact, Subject, TokenProof, UserName,
};
use edgeway_model::world::{Observable as _, Transport};
use edgeway_model::zones::{Challenge, DeploymentZones, Zone, Zones};
use edgeway_model::{FlowId, Input};
use edgeway_sip::bearer;
use edgeway_sip::digest::{self, Asked};
use edgeway_sip::{Message, Name};

use crate::rig::{At, REGISTRAR, Rig};
use crate::sign_in::START_MS;

const HOUR: u64 = 3_600_000;
pub(crate) const NODE: &str = "cucm1.example.com";
pub(crate) const PASSWORD: &str = "s3cret";
/// How long access tokens last here.
pub(crate) const TOKEN_MS: u64 = 250_000;
/// The line side of a call manager of another deployment.
const OTHER: &str = "10.9.0.5:5060";

fn zone(address: &str, name: &str) -> Zone {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    Zone {
        name: format!("CEtcp-{name}"),
        host: address.ip().to_string(),
        port: Some(address.port()),
        transport: Some(Transport::Tcp),
        secure: false,
        priority: 1,
        weight: 1,
        names: vec![name.to_owned()],
    }
}

/// Two deployments, each with a call manager.
pub(crate) fn zones(is_core: bool) -> Zones {
    let of = |name: &str, domain: &str, zone: Zone| DeploymentZones {
        deployment: Deployment::new(name).expect("legal"),
        domains: vec![domain.to_owned()],
        zones: vec![zone],
        challenge: if is_core {
            Challenge::Core { realm: domain.to_owned(), bearer: true }
        } else {
            Challenge::Registrar
        },
    };
    let default = of(Deployment::DEFAULT, "example.com", zone(REGISTRAR, NODE));
    Zones { revision: 1, deployments: vec![default, of("other", "example.net", zone(OTHER, "cucm1.example.net"))] }
}

pub(crate) fn session(deployment: &str, user: &str, number: &str, since_ms: u64) -> Session {
    let realm = if deployment == "other" { "example.net" } else { "example.com" };
    let (md5, sha256) = digest::hashes(user, realm, PASSWORD);
    Session {
        subject: Subject {
            deployment: Deployment::new(deployment).expect("legal"),
            user: UserName::new(user).expect("legal"),
        },
        until_ms: since_ms + HOUR,
        since_ms,
        verifier: None,
        digests: vec![DigestSecret { user: user.into(), realm: realm.into(), md5, sha256 }],
        tokens: vec![proof(user, since_ms)],
        devices: Some(vec![format!("CSF{}", user.to_uppercase())]),
        numbers: vec![number.to_owned()],
        profile: Profile::default(),
    }
}

/// The access token of a user, and what is kept of it.
fn token(user: &str) -> String {
    format!("e30.{user}.c2ln")
}

pub(crate) fn proof(user: &str, since_ms: u64) -> TokenProof {
    TokenProof { hash: bearer::hash(&token(user)), since_ms, until_ms: since_ms + TOKEN_MS }
}

pub(crate) fn signs_in(rig: &mut Rig, session: Session) {
    rig.says(At::Core(0), Input::SignIn(SignInFact::SignedIn(Arc::new(session))));
}

/// A core that challenges for its call manager (or does not), at which alice (10001) and bob (10002) have
/// signed in, and carol (10001 as well) in the other deployment.
pub(crate) fn rig(is_core: bool) -> Rig {
    let mut rig = Rig::with(1, "", "");
    rig.says(At::Core(0), Input::Zones(Arc::new(zones(is_core))));
    rig.advance(Duration::from_millis(50));
    for session in [
        session("default", "alice", "10001", START_MS),
        session("default", "bob", "10002", START_MS),
        session("other", "carol", "10001", START_MS),
    ] {
        signs_in(&mut rig, session);
    }
    rig
}

/// The Contact parameter by which the device of whoever has a number says its name.
fn device(number: &str) -> String {
    let name = match number {
        "10001" => "ALICE".to_owned(),
        BOB => "BOB".to_owned(),
        "10004" => "DORA".to_owned(),
        other => other.to_uppercase(),
    };
    format!(";+u.sip!devicename.ccm.cisco.com=\"CSF{name}\"")
}

/// A request on paper.
#[derive(Clone)]
pub(crate) struct Words {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) contact: String,
    pub(crate) lines: String,
    pub(crate) cseq: u32,
    /// The dialog it belongs to: Call-ID, and the tag of the other party.
    pub(crate) dialog: Option<(String, &'static str)>,
}

impl Words {
    pub(crate) fn new(method: &'static str, user: &str, cseq: u32) -> Self {
        let own = format!("sip:{user}@{NODE}");
        let register = method == "REGISTER";
        let other = if method == "PUBLISH" { own.clone() } else { format!("sip:10003@{NODE}") };
        Self {
            method,
            uri: if register { format!("sip:{NODE}") } else { other.clone() },
            to: if register { own.clone() } else { other },
            from: own,
            contact: if register { device(user) } else { String::new() },
            lines: String::new(),
            cseq,
            dialog: None,
        }
    }

    pub(crate) fn write(&self) -> String {
        let Self { method, uri, from, to, contact, lines, cseq, dialog } = self;
        let (call_id, tag) = match dialog {
            Some((call_id, tag)) => (call_id.clone(), format!(";tag={tag}")),
            None => (format!("id-{method}-{cseq}"), String::new()),
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.1.2:5061;branch=z9hG4bK{method}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <{from}>;tag=f\r\nTo: <{to}>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:7514c56a@192.168.1.2:5061;transport=tls>{contact}\r\nExpires: 600\r\n{lines}\
             Content-Length: 0\r\n\r\n"
        )
    }

    pub(crate) fn with(&self, lines: &str) -> Self {
        Self { lines: format!("{}{lines}", self.lines), cseq: self.cseq + 1, ..self.clone() }
    }

    /// Within a dialog, to where that leads.
    pub(crate) fn within(method: &'static str, call_id: &str, tag: &'static str, target: &str, cseq: u32) -> Self {
        let dialog = Some((call_id.to_owned(), tag));
        Self { uri: target.to_owned(), dialog, ..Self::new(method, "10001", cseq) }
    }

    /// With the access token of a user.
    pub(crate) fn bearing(&self, user: &str) -> Self {
        self.with(&format!("Authorization: Bearer {}\r\n", token(user)))
    }

    /// With the answer to a challenge.
    pub(crate) fn answering(&self, challenge: &Message, user: &str, password: &str, nc: u32) -> Self {
        let value = challenge.header(Name::WwwAuthenticate).expect("a challenge");
        let challenge = digest::Challenge::parse(value).expect("legal");
        let asked = Asked { method: self.method, uri: &self.uri, cnonce: "c0ffee", nc };
        let value = challenge.answer(&asked, user, password).to_value();
        self.with(&format!("Authorization: {value}\r\n"))
    }
}

/// What a client is told, and what reaches the inside.
pub(crate) fn outcome(rig: &mut Rig, flow: FlowId, words: &Words) -> (Option<Message>, Vec<Message>) {
    rig.client_writes(flow, words.write());
    let inside = rig.inside_reads().into_iter().map(|(_, _, message)| message).collect();
    let last = rig.client_reads(flow).into_iter().rfind(|message| message.status() != Some(100));
    (last, inside)
}

pub(crate) fn status(message: Option<&Message>) -> Option<u16> {
    message.and_then(Message::status)
}

/// The registrar takes what has reached it.
pub(crate) fn accept(rig: &mut Rig, flow: FlowId, asked: &Message) {
    let contact = String::from_utf8_lossy(asked.header(Name::Contact).expect("a Contact")).into_owned();
    rig.registrar_writes(asked.respond(200, "OK").to_tag("r").header(Name::Contact, &contact).build());
    assert_eq!(rig.client_reads_one(flow).status(), Some(200));
}

/// Registers a user over a new connection. With a challenge: the connection, the challenge, and the request
/// that answered it.
pub(crate) fn registered(rig: &mut Rig, user: &str, number: &str, is_core: bool) -> (FlowId, Option<(Message, Words)>) {
    let flow = rig.client();
    let words = Words::new("REGISTER", number, 1);
    let (told, inside) = outcome(rig, flow, &words);
    if !is_core {
        accept(rig, flow, &inside[0]);
        return (flow, None);
    }
    assert!(inside.is_empty());
    let challenge = told.expect("told");
    assert_eq!(challenge.status(), Some(401));
    let answer = words.answering(&challenge, user, PASSWORD, 1);
    let (told, inside) = outcome(rig, flow, &answer);
    assert!(told.is_none());
    accept(rig, flow, &inside[0]);
    (flow, Some((challenge, answer)))
}

#[test]
fn a_user_who_has_signed_in_registers_by_digest_and_the_registrar_sees_none_of_it() {
    let mut rig = rig(true);
    let flow = rig.client();
    let words =
        Words { contact: ";+u.sip!devicename.ccm.cisco.com=\"CSFALICE\"".into(), ..Words::new("REGISTER", "10001", 1) };
    let (told, inside) = outcome(&mut rig, flow, &words);
    let challenge = told.expect("told");
    assert_eq!((challenge.status(), inside.len()), (Some(401), 0));
    let values: Vec<_> = challenge.values(Name::WwwAuthenticate).collect();
    let value = String::from_utf8_lossy(challenge.header(Name::WwwAuthenticate).expect("one")).into_owned();
    assert!(!values.is_empty() && value.starts_with("Digest realm=\"example.com\", nonce=\""), "{value}");
    assert!(value.ends_with("algorithm=MD5, qop=\"auth\""), "{value}");
    let other = words
        .with("Authorization: Digest username=\"x\", realm=\"elsewhere\", nonce=\"n\", uri=\"u\", response=\"r\"\r\n");
    let (told, inside) = outcome(&mut rig, flow, &other.answering(&challenge, "alice", PASSWORD, 1));
    assert!(told.is_none());
    let got = &inside[0];
    let left: Vec<_> = got.lines(Name::Authorization).map(String::from_utf8_lossy).collect();
    assert!(left.len() == 1 && left[0].contains("elsewhere"), "ours is taken off, another's stays: {left:?}");
    accept(&mut rig, flow, got);
    // Known from now on: not asked again on this connection, until the session ends.
    let (told, inside) = outcome(&mut rig, flow, &words.with(""));
    assert!(told.is_none());
    accept(&mut rig, flow, &inside[0]);
    let (_, inside) = outcome(&mut rig, flow, &Words::new("INVITE", "10001", 9));
    assert_eq!(inside.len(), 1);
    // Her session ends while she is registered.
    signs_in(&mut rig, Session { until_ms: START_MS + 300_000, ..session("default", "alice", "10001", START_MS + 1) });
    rig.advance(Duration::from_secs(301));
    rig.client_reads(flow);
    rig.inside_reads();
    let later = Words { cseq: 20, ..words };
    let (told, inside) = outcome(&mut rig, flow, &later);
    assert_eq!((status(told.as_ref()), inside.len()), (Some(401), 0));
    let again = later.answering(&told.expect("told"), "alice", PASSWORD, 1);
    assert_eq!(status(outcome(&mut rig, flow, &again).0.as_ref()), Some(401), "who is not signed in stays outside");
    signs_in(&mut rig, session("default", "alice", "10001", START_MS + 301_000));
    let (told, _) = outcome(&mut rig, flow, &Words { cseq: 30, ..later.clone() });
    let again = Words { cseq: 31, ..later }.answering(&told.expect("told"), "alice", PASSWORD, 1);
    let (told, inside) = outcome(&mut rig, flow, &again);
    assert!(told.is_none() && inside.len() == 1);
}

#[test]
fn a_registration_by_sha_256_is_taken_too() {
    let mut rig = rig(true);
    let flow = rig.client();
    let words = Words::new("REGISTER", "10001", 1);
    let challenge = outcome(&mut rig, flow, &words).0.expect("told");
    let value = challenge.header(Name::WwwAuthenticate).expect("a challenge");
    let challenge = digest::Challenge::parse(value).expect("legal");
    let challenge = digest::Challenge { algorithm: digest::Algorithm::Sha256, ..challenge };
    let asked = Asked { method: "REGISTER", uri: &words.uri, cnonce: "c", nc: 1 };
    let answer = challenge.answer(&asked, "alice", PASSWORD).to_value();
    let (told, inside) = outcome(&mut rig, flow, &words.with(&format!("Authorization: {answer}\r\n")));
    assert!(told.is_none() && inside.len() == 1);
}

#[test]
fn whoever_is_not_let_in_hears_the_same() {
    let mut rig = rig(true);
    let flow = rig.client();
    let words = Words::new("REGISTER", "10001", 1);
    let mut told = Vec::new();
    for (index, (user, password)) in
        [("alice", "wrong"), ("nobody", PASSWORD), ("carol", PASSWORD), ("", ""), ("alice", "")].into_iter().enumerate()
    {
        let cseq = 10 * u32::try_from(index).expect("few") + 10;
        let challenge = outcome(&mut rig, flow, &Words { cseq, ..words.clone() }).0.expect("told");
        let answer = Words { cseq: cseq + 1, ..words.clone() }.answering(&challenge, user, password, 1);
        let (answer, inside) = outcome(&mut rig, flow, &answer);
        assert!(inside.is_empty());
        let answer = answer.expect("told");
        let nonce = |value: &str| value.split("nonce=\"").nth(1).map(|rest| rest[..32].to_owned()).expect("a nonce");
        let value = String::from_utf8_lossy(answer.header(Name::WwwAuthenticate).expect("one")).into_owned();
        told.push((answer.status(), answer.all_lines().count(), value.replace(&nonce(&value), "")));
        if rig.is_closed(flow) {
            break;
        }
    }
    assert!(told.len() >= 4, "{told:?}");
    assert!(told.iter().all(|one| *one == told[0] && one.0 == Some(401)), "{told:?}");
    assert!(!told[0].2.contains("stale"));
}

#[test]
fn a_nonce_is_used_once_per_count_on_its_own_connection_and_grows_old() {
    let mut rig = rig(true);
    let (flow, proven) = registered(&mut rig, "alice", "10001", true);
    let (challenge, first) = proven.expect("challenged");
    let stale = |message: &Message| {
        let value = message.header(Name::WwwAuthenticate).expect("a challenge");
        digest::Challenge::parse(value).expect("legal").stale
    };
    let words = Words::new("REGISTER", "10001", 40);
    for (nc, good) in [(2, true), (2, false), (1, false), (5, true), (4, false)] {
        let again = Words { cseq: 40 + 10 * nc + u32::from(good), ..words.clone() };
        let (told, inside) = outcome(&mut rig, flow, &again.answering(&challenge, "alice", PASSWORD, nc));
        assert_eq!((told.is_none(), inside.len() == 1), (good, good), "count {nc}");
        if let Some(told) = told {
            assert!(stale(&told), "the password was right: nobody has to be asked for it");
        } else {
            accept(&mut rig, flow, &inside[0]);
        }
    }
    // Verbatim on another connection.
    let other = rig.client();
    let (told, inside) = outcome(&mut rig, other, &first);
    assert!(inside.is_empty() && told.is_some_and(|told| told.status() == Some(401)));
    // After its time.
    for (cseq, minutes) in (200..).zip((8..=64).step_by(8)) {
        rig.advance(Duration::from_secs(480));
        signs_in(&mut rig, session("default", "alice", "10001", START_MS + 60_000 * minutes));
        let (_, inside) = outcome(&mut rig, flow, &Words { cseq, ..words.clone() });
        accept(&mut rig, flow, &inside[0]);
    }
    let late = Words { cseq: 300, ..words }.answering(&challenge, "alice", PASSWORD, 9);
    let (told, inside) = outcome(&mut rig, flow, &late);
    assert!(inside.is_empty() && stale(&told.expect("told")));
}

#[test]
fn who_is_revoked_is_out_at_once_and_a_call_goes_on() {
    let mut rig = rig(true);
    let (flow, _) = registered(&mut rig, "alice", "10001", true);
    let (_, inside) = outcome(&mut rig, flow, &Words::new("SUBSCRIBE", "10001", 5));
    let ok =
        inside[0].respond(200, "OK").to_tag("lamp").header(Name::Contact, "<sip:lamp@10.0.0.5:5060;transport=tcp>");
    rig.registrar_writes(ok.header(Name::Expires, "600").record_route().build());
    rig.client_reads(flow);
    let subject = session("default", "alice", "10001", START_MS).subject;
    let revocation = Revocation { subject, before_ms: START_MS + 1 };
    rig.says(At::Core(0), Input::SignIn(SignInFact::Revoked(revocation)));
    for method in ["INVITE", "MESSAGE", "REGISTER"] {
        let (told, inside) = outcome(&mut rig, flow, &Words::new(method, "10001", 60));
        assert_eq!((status(told.as_ref()), inside.len()), (Some(401), 0), "{method}");
    }
    let within = Words::within("SUBSCRIBE", "id-SUBSCRIBE-5", "lamp", "sip:lamp@10.0.0.5:5060;transport=tcp", 70);
    rig.client_writes(flow, within.write());
    let (told, inside) = (rig.client_reads(flow), rig.inside_reads());
    assert_eq!(inside.len(), 1, "a dialog goes on: {told:?}");
}

/// What somebody who is alice claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    From,
    FromEscaped,
    FromByName,
    FromOfOtherDeployment,
    To,
    Device,
    Header(&'static str),
    /// The answer of alice's to a challenge, with From of bob's.
    HerDigestHisName,
    /// Credentials of bob's with a password that is not his.
    Guess,
    /// Alice's own credentials, said again.
    Replay,
    /// A stranger's connection to the same edge, with what alice's has proven.
    OtherFlow,
    /// A taken edge, in bob's name.
    SecondEdge,
    /// A taken edge, with what alice's connection has proven.
    SecondEdgeReplay,
    /// Alice's access token, with From of bob's.
    HerTokenHisName,
    /// A token of bob's that has ended.
    EndedToken,
    /// A token of carol's, who has the same number in the other deployment.
    ForeignToken,
    /// A token nobody has signed in with.
    StrangeToken,
    /// A taken edge, with alice's token and From of bob's.
    SecondEdgeToken,
}

const METHODS: [&str; 11] = [
    "REGISTER",
    "INVITE",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
    "REFER",
    "OPTIONS",
    "NOTIFY",
    "INFO",
    "UPDATE",
    "FROBNICATE",
];

const CLAIMS: [Claim; 26] = [
    Claim::From,
    Claim::FromEscaped,
    Claim::FromByName,
    Claim::FromOfOtherDeployment,
    Claim::To,
    Claim::Device,
    Claim::Header("P-Asserted-Identity"),
    Claim::Header("P-Preferred-Identity"),
    Claim::Header("Remote-Party-ID"),
    Claim::Header("Diversion"),
    Claim::Header("History-Info"),
    Claim::Header("Referred-By"),
    Claim::Header("P-Served-User"),
    Claim::Header("P-Profile-Key"),
    Claim::Header("P-Charge-Info"),
    Claim::HerDigestHisName,
    Claim::Guess,
    Claim::Replay,
    Claim::OtherFlow,
    Claim::SecondEdge,
    Claim::SecondEdgeReplay,
    Claim::HerTokenHisName,
    Claim::EndedToken,
    Claim::ForeignToken,
    Claim::StrangeToken,
    Claim::SecondEdgeToken,
];

impl Claim {
    /// Whether there is such a thing.
    fn applies(self, method: &str, is_core: bool) -> bool {
        match self {
            Self::To => is_core && method == "REGISTER",
            // A registrar that challenges by itself knows what it has been shown, and about devices.
            Self::Device | Self::HerDigestHisName | Self::Guess | Self::Replay | Self::SecondEdgeReplay => is_core,
            // So are tokens: elsewhere they are the registrar's.
            Self::HerTokenHisName | Self::EndedToken | Self::ForeignToken | Self::StrangeToken => is_core,
            Self::SecondEdgeToken => is_core,
            // There a REGISTER of somebody new is for the registrar to challenge.
            Self::From | Self::FromEscaped | Self::FromByName | Self::FromOfOtherDeployment | Self::Header(_) => true,
            Self::OtherFlow | Self::SecondEdge => is_core || method != "REGISTER",
        }
    }
}

const BOB: &str = "10002";

/// One cell: a rig of its own, alice and bob registered, and the claim. What went wrong, if anything did.
fn cell(method: &'static str, claim: Claim, is_core: bool) -> Result<(), String> {
    let mut rig = rig(is_core);
    let (flow, proven) = registered(&mut rig, "alice", "10001", is_core);
    let (_, _) = registered(&mut rig, "bob", BOB, is_core);
    let bob = format!("sip:{BOB}@{NODE}");
    let own = Words::new(method, "10001", 70);
    let challenge = |rig: &mut Rig| {
        // A connection that has proven nothing is asked.
        let flow = rig.client();
        let told = outcome(rig, flow, &Words::new("REGISTER", "10001", 50)).0;
        (flow, told.expect("told"))
    };
    let replayed = || {
        let (_, said) = proven.as_ref().expect("challenged");
        let line = said.lines.clone();
        Words { lines: line, ..own.clone() }
    };
    let (flow, words) = match claim {
        Claim::From => (flow, Words { from: bob.clone(), ..own }),
        Claim::FromEscaped => (flow, Words { from: format!("sip:1000%32@{NODE}"), ..own }),
        Claim::FromByName => (flow, Words { from: format!("sip:bob@{NODE}"), ..own }),
        Claim::FromOfOtherDeployment => (flow, Words { from: "sip:10001@cucm1.example.net".into(), ..own }),
        Claim::To => (flow, Words { to: bob.clone(), ..own }),
        Claim::Device => (flow, Words { contact: ";+u.sip!devicename.ccm.cisco.com=\"CSFBOB\"".into(), ..own }),
        Claim::Header(name) => (flow, own.with(&format!("{name}: <{bob}>\r\n"))),
        Claim::HerDigestHisName => {
            let (flow, challenge) = challenge(&mut rig);
            (flow, Words { from: bob.clone(), ..own }.answering(&challenge, "alice", PASSWORD, 1))
        }
        Claim::Guess => {
            let (flow, challenge) = challenge(&mut rig);
            (flow, Words { from: bob.clone(), ..own }.answering(&challenge, "bob", "guess", 1))
        }
        Claim::Replay => (flow, replayed()),
        Claim::OtherFlow => {
            let flow = rig.client();
            (flow, if is_core { replayed() } else { own })
        }
        Claim::HerTokenHisName => (rig.client(), Words { from: bob.clone(), ..own }.bearing("alice")),
        Claim::EndedToken => {
            rig.advance(Duration::from_millis(TOKEN_MS));
            rig.inside_reads();
            (rig.client(), Words::new(method, BOB, 70).bearing("bob"))
        }
        Claim::ForeignToken => (rig.client(), own.bearing("carol")),
        Claim::StrangeToken => (rig.client(), own.bearing("nobody")),
        Claim::SecondEdge | Claim::SecondEdgeReplay | Claim::SecondEdgeToken => {
            rig.connect_second_edge();
            let words = if claim == Claim::SecondEdge {
                Words { from: bob.clone(), to: own.to.clone(), ..own }
            } else if claim == Claim::SecondEdgeToken {
                Words { from: bob.clone(), ..own }.bearing("alice")
            } else {
                replayed()
            };
            // The very number of alice's connection, and another.
            for flow in [flow, FlowId::accepted(0, 77)] {
                rig.second_edge_writes(flow, words.write());
                let (inside, told) = (rig.inside_reads(), rig.second_edge_reads());
                let last = told.last().and_then(Message::status);
                if !inside.is_empty() || !matches!(last, Some(401 | 403)) {
                    return Err(format!("told {last:?}, inside {inside:?}"));
                }
            }
            return Ok(());
        }
    };
    let (told, inside) = outcome(&mut rig, flow, &words);
    let status = status(told.as_ref());
    if let Claim::Header(name) = claim {
        // The request is alice's own and goes on, without what she claims.
        return match inside.as_slice() {
            [got] if got.other(name).is_none() && !holds(got, BOB) => Ok(()),
            _ => Err(format!("told {status:?}, inside {inside:?}")),
        };
    }
    if inside.is_empty() && matches!(status, Some(401 | 403)) {
        Ok(())
    } else {
        Err(format!("told {status:?}, inside {inside:?}"))
    }
}

pub(crate) fn holds(message: &Message, text: &str) -> bool {
    message.bytes().windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn nobody_is_anybody_else() {
    let (mut refused, mut let_through) = (0, Vec::new());
    for is_core in [true, false] {
        for method in METHODS {
            for claim in CLAIMS {
                if !claim.applies(method, is_core) {
                    continue;
                }
                match cell(method, claim, is_core) {
                    Ok(()) => refused += 1,
                    Err(what) => let_through.push(format!("{method} × {claim:?}, core challenges: {is_core}: {what}")),
                }
            }
        }
    }
    println!("impersonation matrix: {refused} cells refused, {} let through", let_through.len());
    assert!(let_through.is_empty(), "{}", let_through.join("\n"));
    assert_eq!(refused, 439);
}

#[test]
fn what_is_true_is_left_as_it_is() {
    for is_core in [true, false] {
        let mut rig = rig(is_core);
        let (flow, _) = registered(&mut rig, "alice", "10001", is_core);
        for (index, name) in
            ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "Referred-By", "b"]
                .into_iter()
                .enumerate()
        {
            let line = format!("{name}: \"Alice\" <sip:10001@{NODE};user=phone>;party=calling\r\n");
            let cseq = 100 + u32::try_from(index).expect("few");
            let (_, inside) = outcome(&mut rig, flow, &Words::new("INVITE", "10001", cseq).with(&line));
            assert!(inside.len() == 1 && holds(&inside[0], line.trim_end()), "{name}");
        }
        // Nobody in particular, as one may say who is registered.
        let words = Words { from: "sip:anonymous@anonymous.invalid".into(), ..Words::new("INVITE", "10001", 200) };
        assert_eq!(outcome(&mut rig, flow, &words).1.len(), 1);
        let nobody = rig.client();
        assert!(outcome(&mut rig, nobody, &words).1.is_empty());
    }
}

#[test]
fn an_answer_says_who_answers_and_nobody_else() {
    let mut rig = rig(true);
    let flow = rig.client();
    let words = Words::new("REGISTER", "10001", 1);
    let challenge = outcome(&mut rig, flow, &words).0.expect("told");
    let (_, inside) = outcome(&mut rig, flow, &words.answering(&challenge, "alice", PASSWORD, 1));
    let path: String =
        inside[0].lines(Name::Path).map(|path| format!("Route: {}\r\n", String::from_utf8_lossy(path))).collect();
    accept(&mut rig, flow, &inside[0]);
    for (index, (line, stays)) in [
        (format!("Remote-Party-ID: <sip:10001@{NODE}>;party=called\r\n"), true),
        (format!("Remote-Party-ID: <sip:{BOB}@{NODE}>;party=called\r\n"), false),
        (format!("P-Asserted-Identity: <sip:10001@{NODE}>, <tel:{BOB}>\r\n"), false),
        ("P-Asserted-Identity: <sip:hunt@example.com>\r\n".to_owned(), true),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = format!(
            "MESSAGE sip:7514c56a@192.168.1.2:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.5:5060;branch=z9hG4bKin{index}\r\n\
             {path}Max-Forwards: 70\r\nFrom: <sip:10003@{NODE}>;tag=x\r\nTo: <sip:hunt@example.com>\r\nCall-ID: in{index}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        rig.registrar_writes(asked);
        let got = rig.client_reads_one(flow);
        let answer = String::from_utf8_lossy(&got.respond(200, "OK").to_tag("c").build()).into_owned();
        rig.client_writes(flow, answer.replace("Content-Length", &format!("{line}Content-Length")));
        let got = rig.registrar_reads_one();
        assert_eq!(holds(&got, line.trim_end()), stays, "{line}");
    }
}

#[test]
fn users_of_one_deployment_reach_no_node_of_another() {
    for is_core in [true, false] {
        let mut rig = rig(is_core);
        let (flow, _) = registered(&mut rig, "alice", "10001", is_core);
        for method in METHODS {
            for uri in [
                "sip:10001@example.net",
                "sip:cucm1.example.net",
                "sip:10001@10.9.0.5",
                "sip:10001@10.9.0.5:5060;transport=tcp",
            ] {
                for route in ["", "Route: <sip:cucm1.example.net;lr>\r\n", "Route: <sip:10.9.0.5:5060;lr>\r\n"] {
                    let cseq = 400 + u32::try_from(uri.len() + 50 * route.len()).expect("small");
                    for uri in [uri, "sip:10003@example.com"].into_iter().take(if route.is_empty() { 1 } else { 2 }) {
                        let words = Words {
                            uri: uri.to_owned(),
                            cseq: cseq + 7 * u32::from(uri.contains("10003")),
                            ..Words::new(method, "10001", 1)
                        }
                        .with(route);
                        let (told, inside) = outcome(&mut rig, flow, &words);
                        let status = status(told.as_ref());
                        assert!(
                            inside.is_empty() && matches!(status, Some(401 | 403 | 404)),
                            "{method} {uri} {route}: {status:?} {inside:?}"
                        );
                    }
                }
            }
        }
        let rows = rig.core(0).status().registrars;
        let names: Vec<_> = rows.iter().map(|row| (row.deployment.as_str(), row.zone.as_str())).collect();
        assert_eq!(names, [("default", "CEtcp-cucm1.example.com"), ("other", "CEtcp-cucm1.example.net")]);
    }
}

#[test]
fn the_same_number_in_two_deployments_is_two_people() {
    let mut rig = rig(true);
    let flow = rig.client();
    let words = Words {
        uri: "sip:cucm1.example.net".into(),
        from: "sip:10001@cucm1.example.net".into(),
        contact: device("carol"),
        to: "sip:10001@cucm1.example.net".into(),
        ..Words::new("REGISTER", "10001", 1)
    };
    let challenge = outcome(&mut rig, flow, &words).0.expect("told");
    let value = String::from_utf8_lossy(challenge.header(Name::WwwAuthenticate).expect("one")).into_owned();
    assert!(value.contains("realm=\"example.net\""), "{value}");
    let hers = words.answering(&challenge, "alice", PASSWORD, 1);
    assert_eq!(status(outcome(&mut rig, flow, &hers).0.as_ref()), Some(401), "alice is unknown there");
    let (told, _) = outcome(&mut rig, flow, &Words { cseq: 10, ..words.clone() });
    let carols = Words { cseq: 11, ..words }.answering(&told.expect("told"), "carol", PASSWORD, 1);
    rig.client_writes(flow, carols.write());
    let inside = rig.inside_reads();
    assert_eq!(inside.len(), 1);
    assert_eq!(inside[0].1.to_string(), OTHER);
}

#[test]
fn zones_are_swapped_under_a_registration_and_a_call() {
    let mut rig = rig(false);
    let (flow, _) = registered(&mut rig, "alice", "10001", false);
    let (_, inside) = outcome(&mut rig, flow, &Words::new("SUBSCRIBE", "10001", 5));
    let ok =
        inside[0].respond(200, "OK").to_tag("lamp").header(Name::Contact, &format!("<sip:lamp@{NODE};transport=tcp>"));
    rig.registrar_writes(ok.header(Name::Expires, "600").record_route().build());
    let ok = rig.client_reads_one(flow);
    let routes: Vec<_> = ok.addresses(Name::RecordRoute).map(|route| route.uri.to_owned()).collect();
    // A request is under way while its registrar is taken away.
    let waiting = Words::new("MESSAGE", "10001", 8);
    rig.client_writes(flow, waiting.write());
    let asked = rig.registrar_reads_one();
    let mut new = zones(false);
    new.revision = 2;
    new.deployments[0].zones = vec![zone("10.0.0.6:5060", "cucm2.example.com")];
    rig.says(At::Core(0), Input::Zones(Arc::new(new)));
    rig.advance(Duration::from_millis(50));
    rig.registrar_writes(asked.respond(200, "OK").to_tag("r").build());
    assert_eq!(rig.client_reads_one(flow).status(), Some(200), "what was asked is answered");
    assert_eq!(rig.core(0).registrations(), 1, "nobody is signed off");
    // Within the dialog as before; new requests and refreshes to the new one; the old name leads nowhere.
    let routes: String = routes.iter().rev().map(|route| format!("Route: <{route}>\r\n")).collect();
    let target = format!("sip:lamp@{NODE};transport=tcp");
    let within = Words::within("SUBSCRIBE", "id-SUBSCRIBE-5", "lamp", &target, 6).with(&routes);
    rig.client_writes(flow, within.write());
    assert_eq!(rig.inside_reads().first().map(|(_, to, _)| to.to_string()).as_deref(), Some(REGISTRAR));
    let there = Words { uri: "sip:example.com".into(), ..Words::new("REGISTER", "10001", 90) };
    rig.client_writes(flow, there.write());
    assert_eq!(rig.inside_reads().first().map(|(_, to, _)| to.to_string()).as_deref(), Some("10.0.0.6:5060"));
    let (told, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10001", 95));
    assert_eq!((status(told.as_ref()), inside.len()), (Some(404), 0));
}

#[test]
fn a_core_that_stands_in_knows_whom_another_has_seen_register() {
    for linked_before in [true, false] {
        let mut rig = Rig::with(2, "", "");
        let link = |rig: &mut Rig| rig.connect_cores(0, 1);
        if linked_before {
            link(&mut rig);
        }
        let flow = rig.client();
        let words = |method, user: &str, cseq| {
            let uri = |user: &str| format!("sip:{user}@example.com");
            let to = if method == "REGISTER" { uri(user) } else { uri("lamp") };
            Words { from: uri(user), to, uri: "sip:example.com".into(), ..Words::new(method, user, cseq) }
        };
        rig.client_writes(flow, words("REGISTER", "alice", 1).write());
        let (core, _, asked) = rig.inside_reads().remove(0);
        let other = 1 - core;
        let contact = String::from_utf8_lossy(asked.header(Name::Contact).expect("one")).into_owned();
        let ok = asked.respond(200, "OK").to_tag("r").header(Name::Contact, &contact).build();
        rig.inside_writes(core, REGISTRAR, ok);
        assert_eq!(rig.client_reads_one(flow).status(), Some(200));
        if !linked_before {
            link(&mut rig);
        }
        rig.disconnect(core);
        for (user, cseq, good) in [("alice", 10, true), ("bob", 11, false)] {
            rig.client_writes(flow, words("MESSAGE", user, cseq).write());
            let inside = rig.inside_reads();
            assert_eq!(inside.len(), usize::from(good), "{user}");
            assert!(inside.iter().all(|(at, _, _)| *at == other));
            rig.client_reads(flow);
        }
        // A connection that is gone takes it along, and a new one has nothing of it.
        rig.client_closes(flow);
        let new = rig.client();
        rig.client_writes(new, words("MESSAGE", "alice", 20).write());
        assert!(rig.inside_reads().is_empty());
    }
}
