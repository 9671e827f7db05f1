//! One connection to a node, up to the session: headers, STARTTLS, SASL.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::read::{Element, Heard, Incoming};
use super::sasl::{self, Mechanism, ScramServer, Shown, decoded, encoded};
use super::serve::Node;
use super::session;
use super::world::{ChatFault, StreamEnding, keep};
use crate::wire;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Sign-ins that fail before the stream does (RFC 6120 §6.4.5).
const ATTEMPTS_MAX: u32 = 5;

/// A stream to a client.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    pub(super) incoming: Incoming,
    pub(super) node: Arc<Node>,
    /// Its number in the log.
    pub(super) log: usize,
    inside_tls: bool,
}

/// The connection is over.
pub(super) struct Over(pub(super) StreamEnding);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) async fn write(&mut self, text: &str) -> Result<(), Over> {
        let written = self.stream.write_all(text.as_bytes()).await;
        let flushed = self.stream.flush().await;
        written.and(flushed).map_err(|_| Over(StreamEnding::Broken))
    }

    /// More bytes; may be dropped while it waits.
    pub(super) async fn read(&mut self) -> Result<(), Over> {
        let slow = match self.node.shared.world().faults.get(&self.node.name) {
            Some(ChatFault::SlowReader(bytes, pause)) => Some((*bytes, *pause)),
            Some(_) | None => None,
        };
        if let Some((_, pause)) = slow {
            tokio::time::sleep(pause).await;
        }
        let mut buffer = vec![0; slow.map_or(READ_BYTES, |(bytes, _)| bytes.clamp(1, READ_BYTES))];
        let count = self.stream.read(&mut buffer).await.map_err(|_| Over(StreamEnding::Broken))?;
        if count == 0 {
            return Err(Over(StreamEnding::Broken));
        }
        let bytes = &buffer[..count];
        let inside = self.inside_tls;
        self.node.shared.note(self.log, |seen| {
            keep(if inside { &mut seen.received } else { &mut seen.before_tls }, bytes);
        });
        self.incoming.push(bytes);
        Ok(())
    }

    /// The next whole thing that is there already; an error of the stream if it is none.
    pub(super) async fn ready(&mut self) -> Result<Option<Heard>, Over> {
        match self.incoming.next() {
            Ok(heard) => Ok(heard),
            Err(fault) => {
                self.node.shared.note(self.log, |seen| seen.fault = Some(fault));
                Err(self.refuse("not-well-formed").await)
            }
        }
    }

    async fn next(&mut self) -> Result<Heard, Over> {
        loop {
            if let Some(heard) = self.ready().await? {
                return Ok(heard);
            }
            self.read().await?;
        }
    }

    /// Ends the stream with an error.
    pub(super) async fn refuse(&mut self, condition: &str) -> Over {
        self.refuse_with(&format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")).await
    }

    async fn refuse_with(&mut self, inner: &str) -> Over {
        let _ = self.write(&format!("<stream:error>{inner}</stream:error></stream:stream>")).await;
        let _ = self.stream.shutdown().await;
        Over(StreamEnding::ByServer)
    }

    /// The next element; `</stream:stream>` is answered.
    pub(super) async fn element(&mut self) -> Result<(Element, String), Over> {
        match self.next().await? {
            Heard::Element(element, raw) => Ok((element, raw)),
            Heard::Close => Err(self.close().await),
            Heard::Header(_) => Err(self.refuse("bad-format").await),
        }
    }

    pub(super) async fn close(&mut self) -> Over {
        let _ = self.write("</stream:stream>").await;
        let _ = self.stream.shutdown().await;
        Over(StreamEnding::Closed)
    }

    /// Takes the client's header and answers it with one and with features.
    async fn greet(&mut self, features: &str) -> Result<(), Over> {
        let Heard::Header(header) = self.next().await? else { return Err(self.refuse("bad-format").await) };
        let (id, domain) = (wire::token(&mut wire::random(), 20), self.node.shared.world().domain.clone());
        self.write(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
             id='{id}' from='{domain}' version='1.0' xml:lang='en'>"
        ))
        .await?;
        if header.attribute("to") != Some(domain.as_str()) {
            return Err(self.refuse("host-unknown").await);
        }
        self.write(features).await
    }

    fn fault(&self) -> Option<ChatFault> {
        self.node.shared.world().faults.get(&self.node.name).cloned()
    }
}

/// One connection, from its first byte to its last.
pub(super) async fn converse(tcp: TcpStream, node: Arc<Node>) {
    let fault = node.shared.world().faults.get(&node.name).cloned();
    if matches!(fault, Some(ChatFault::SlowReader(..))) {
        let _ = socket2::SockRef::from(&tcp).set_recv_buffer_size(4_096);
    }
    let log = node.shared.world().open(&node.name);
    let shared = node.shared.clone();
    let Over(ending) = match upto_tls(tcp, node, log, fault == Some(ChatFault::Hang)).await {
        Ok(over) | Err(over) => over,
    };
    shared.note(log, |seen| seen.ended = Some(ending));
}

async fn upto_tls(tcp: TcpStream, node: Arc<Node>, log: usize, hangs: bool) -> Result<Over, Over> {
    let acceptor = TlsAcceptor::from(node.tls.clone());
    let mut peer = Peer { stream: tcp, incoming: Incoming::default(), node, log, inside_tls: false };
    if hangs {
        loop {
            peer.read().await?;
        }
    }
    if !peer.node.direct_tls {
        peer.greet(&format!("<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"))
            .await?;
        let (element, _) = peer.element().await?;
        if !element.is("starttls", TLS) {
            return Err(peer.refuse("policy-violation").await);
        }
        if !peer.incoming.is_empty() {
            // Bytes that came before TLS must never be taken for some that came inside it.
            return Err(peer.refuse("policy-violation").await);
        }
        peer.write(&format!("<proceed xmlns='{TLS}'/>")).await?;
    }
    let Peer { stream, node, .. } = peer;
    let Ok(stream) = acceptor.accept(stream).await else { return Err(Over(StreamEnding::Broken)) };
    let mut peer = Peer { stream, incoming: Incoming::default(), node, log, inside_tls: true };
    let user = sign_in(&mut peer).await?;
    peer.incoming.restart();
    peer.greet(
        "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
         <session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>\
         <sm xmlns='urn:xmpp:sm:3'/><ver xmlns='urn:xmpp:features:rosterver'/>\
         <compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression></stream:features>",
    )
    .await?;
    Err(session::run(&mut peer, &user).await)
}

/// What is offered before sign-in: what a node in between must take out is there, too.
fn offer(node: &Node) -> String {
    let mechanisms: String =
        node.mechanisms.iter().map(|one| format!("<mechanism>{}</mechanism>", one.name())).collect();
    format!(
        "<stream:features><mechanisms xmlns='{SASL}'><mechanism>SCRAM-SHA-256-PLUS</mechanism>{mechanisms}\
         <mechanism>EXTERNAL</mechanism><mechanism>ANONYMOUS</mechanism>\
         <hostname xmlns='urn:xmpp:domain-based-name:0'>{name}</hostname></mechanisms>\
         <authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-256-PLUS</mechanism></authentication>\
         <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>\
         <register xmlns='http://jabber.org/features/iq-register'/>\
         <compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression></stream:features>",
        name = node.name
    )
}

/// Until somebody has signed in.
async fn sign_in<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) -> Result<String, Over> {
    if let Some(ChatFault::SeeOtherHost(host)) = peer.fault() {
        peer.greet("").await?;
        let inner = format!("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host>");
        return Err(peer.refuse_with(&inner).await);
    }
    let features = offer(&peer.node);
    peer.greet(&features).await?;
    let mut failures = 0;
    loop {
        let (element, _) = peer.element().await?;
        if !element.is("auth", SASL) {
            return Err(peer.refuse("not-authorized").await);
        }
        let name = element.attribute("mechanism").unwrap_or_default().to_owned();
        peer.node.shared.note(peer.log, |seen| {
            seen.attempts += 1;
            seen.mechanism = Some(name.clone());
        });
        let outcome = match peer.fault() {
            Some(ChatFault::DieInAuth) => return Err(Over(StreamEnding::ByServer)),
            Some(ChatFault::TemporaryAuthFailure) => Err("temporary-auth-failure"),
            _ => match Mechanism::named(&name).filter(|known| peer.node.mechanisms.contains(known)) {
                Some(mechanism) => prove(peer, mechanism, &element.text).await?,
                None => Err("invalid-mechanism"),
            },
        };
        match outcome {
            Ok((user, last)) => {
                let text = if last.is_empty() { String::new() } else { encoded(last) };
                let jid = format!("{user}@{}", peer.node.shared.world().domain);
                peer.node.shared.note(peer.log, |seen| seen.jid = Some(jid));
                peer.write(&format!("<success xmlns='{SASL}'>{text}</success>")).await?;
                return Ok(user);
            }
            Err(condition) => {
                peer.write(&format!("<failure xmlns='{SASL}'><{condition}/></failure>")).await?;
                failures += 1;
                if failures >= ATTEMPTS_MAX {
                    return Err(peer.refuse("policy-violation").await);
                }
            }
        }
    }
}

type Outcome = Result<(String, String), &'static str>;

/// One attempt: who it is, and the server's last word.
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    mechanism: Mechanism,
    first: &str,
) -> Result<Outcome, Over> {
    let first = if first.is_empty() {
        // RFC 6120 §6.4.2: without an initial response the server's empty challenge comes first.
        peer.write(&format!("<challenge xmlns='{SASL}'/>")).await?;
        let (element, _) = peer.element().await?;
        if !element.is("response", SASL) {
            return Ok(Err("aborted"));
        }
        element.text
    } else {
        first.to_owned()
    };
    let Some(message) = decoded(&first) else { return Ok(Err("incorrect-encoding")) };
    if let Some(shown) = sasl::shown(mechanism, &message) {
        return Ok(peer.check(&shown).map(|user| (user, String::new())).ok_or("not-authorized"));
    }
    let nonce = wire::token(&mut wire::random(), 16);
    let Some(scram) = ScramServer::new(mechanism, &message, &nonce) else { return Ok(Err("malformed-request")) };
    peer.write(&format!("<challenge xmlns='{SASL}'>{}</challenge>", encoded(&scram.challenge))).await?;
    let (element, _) = peer.element().await?;
    if !element.is("response", SASL) {
        return Ok(Err("aborted"));
    }
    let password = peer.password(&scram.user);
    let last = decoded(&element.text).zip(password).and_then(|(last, password)| scram.verdict(&last, &password));
    Ok(last.map(|last| (scram.user, last)).ok_or("not-authorized"))
}

impl<S> Peer<S> {
    /// The password of a user who may sign in here.
    fn password(&self, user: &str) -> Option<String> {
        let world = self.node.shared.world();
        let at_home = world.homes.get(user).is_none_or(|home| *home == self.node.name);
        world.users.get(user).filter(|_| at_home).cloned()
    }

    /// The user whose credentials are right.
    fn check(&self, shown: &Shown) -> Option<String> {
        let (Shown::Password(name, _) | Shown::Token(name, _) | Shown::OneTime(name, _)) = shown;
        let user = name.split('@').next()?.to_owned();
        let password = self.password(&user)?;
        let right = match shown {
            Shown::Password(_, secret) => *secret == password,
            Shown::Token(_, token) => self.node.shared.world().tokens.get(token) == Some(&user),
            Shown::OneTime(_, once) => self.node.shared.one_time.take(&user, once),
        };
        right.then_some(user)
    }
}
