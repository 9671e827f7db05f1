//! A session: bind, stanzas to and fro, stream management with resumption (XEP-0198).

use std::collections::VecDeque;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::connection::{Over, Peer};
use super::read::{Element, Heard};
use super::world::{Managed, Order, Session, StreamEnding, stamped};
use crate::limits::CHAT_WAITING_MAX;
use crate::wire;

const MANAGEMENT: &str = "urn:xmpp:sm:3";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// A session on its connection.
struct Attached<'a, S> {
    peer: &'a mut Peer<S>,
    number: u64,
    jid: String,
    /// What others tell this connection with.
    tell: mpsc::Sender<Order>,
}

/// From the features after sign-in to the end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, user: &str) -> Over {
    let (mut session, orders) = match begin(peer, user).await {
        Ok(begun) => begun,
        Err(over) => return over,
    };
    let over = match session.serve(orders).await {
        Ok(never) => match never {},
        Err(over) => over,
    };
    session.leave(over.0);
    over
}

/// Binds a resource or resumes a session.
async fn begin<'a, S: AsyncRead + AsyncWrite + Unpin>(
    peer: &'a mut Peer<S>,
    user: &str,
) -> Result<(Attached<'a, S>, mpsc::Receiver<Order>), Over> {
    let (tell, orders) = mpsc::channel(CHAT_WAITING_MAX);
    loop {
        let (element, raw) = peer.element().await?;
        peer.node.shared.note(peer.log, |seen| seen.stanzas.push(raw));
        if element.is("resume", MANAGEMENT) {
            let previous = element.attribute("previd").unwrap_or_default().to_owned();
            let count = element.attribute("h").and_then(|count| count.parse().ok()).unwrap_or(u32::MAX);
            if let Some((number, jid, words)) = resume(peer, user, &previous, count, &tell) {
                peer.node.shared.note(peer.log, |seen| (seen.resumed, seen.jid) = (true, Some(jid.clone())));
                let attached = Attached { peer, number, jid, tell };
                attached.peer.write(&words).await.inspect_err(|over| attached.leave(over.0))?;
                return Ok((attached, orders));
            }
            peer.write(&format!("<failed xmlns='{MANAGEMENT}'><item-not-found xmlns='{STANZAS}'/></failed>")).await?;
            continue;
        }
        let bind = element.child("bind").filter(|bind| bind.namespace == "urn:ietf:params:xml:ns:xmpp-bind");
        let (Some(bind), "iq") = (bind, element.name.as_str()) else {
            return Err(peer.refuse("not-authorized").await);
        };
        let wished = bind.text_of("resource").filter(|resource| !resource.is_empty()).map(str::to_owned);
        let resource = wished.unwrap_or_else(|| wire::token(&mut wire::random(), 12));
        let (number, jid) = bound(peer, user, &resource, tell.clone());
        peer.node.shared.note(peer.log, |seen| seen.jid = Some(jid.clone()));
        let id = element.attribute("id").unwrap_or_default();
        let result = format!(
            "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>"
        );
        let attached = Attached { peer, number, jid, tell };
        attached.peer.write(&result).await.inspect_err(|over| attached.leave(over.0))?;
        return Ok((attached, orders));
    }
}

fn bound<S>(peer: &Peer<S>, user: &str, resource: &str, tell: mpsc::Sender<Order>) -> (u64, String) {
    let mut world = peer.node.shared.world();
    let jid = format!("{user}@{}/{resource}", world.domain);
    let others: Vec<u64> =
        world.sessions.iter().filter(|session| session.jid == jid).map(|session| session.number).collect();
    for other in others {
        // RFC 6120 §7.7.2.2: the new one is believed.
        if let Some(orders) = world.session(other).and_then(|session| session.orders.take()) {
            let _ = orders.try_send(Order::End("conflict"));
        }
        world.end(other);
    }
    let number = world.next_number();
    world.sessions.push(Session {
        number,
        node: peer.node.name.clone(),
        user: user.to_owned(),
        jid: jid.clone(),
        presence: None,
        orders: Some(tell),
        managed: None,
        until: None,
    });
    (number, jid)
}

/// Attaches a session that waits to be resumed, or takes it from a connection that is not known to be dead.
fn resume<S>(
    peer: &Peer<S>,
    user: &str,
    previous: &str,
    count: u32,
    tell: &mpsc::Sender<Order>,
) -> Option<(u64, String, String)> {
    let mut world = peer.node.shared.world();
    world.sweep();
    let found = world.sessions.iter().find(|session| {
        let managed = session.managed.as_ref();
        session.user == user
            && session.node == peer.node.name
            && managed.is_some_and(|managed| managed.resumable && managed.id == previous)
    });
    let number = found?.number;
    let waiting = world.acknowledged(number, count)?;
    let session = world.session(number)?;
    if let Some(old) = session.orders.replace(tell.clone()) {
        let _ = old.try_send(Order::End("conflict"));
    }
    session.until = None;
    let received = session.managed.as_ref()?.received;
    let words = format!("<resumed xmlns='{MANAGEMENT}' previd='{previous}' h='{received}'/>{}", waiting.concat());
    Some((number, session.jid.clone(), words))
}

enum Never {}

impl<S: AsyncRead + AsyncWrite + Unpin> Attached<'_, S> {
    async fn serve(&mut self, mut orders: mpsc::Receiver<Order>) -> Result<Never, Over> {
        loop {
            while let Some(heard) = self.peer.ready().await? {
                match heard {
                    Heard::Element(element, raw) => self.handle(&element, raw).await?,
                    Heard::Close => return Err(self.peer.close().await),
                    Heard::Header(_) => return Err(self.peer.refuse("bad-format").await),
                }
            }
            let order = tokio::select! {
                biased;
                order = orders.recv() => Some(order),
                read = self.peer.read() => {
                    read?;
                    None
                }
            };
            match order {
                None => {}
                Some(Some(Order::Write(text))) => self.peer.write(&text).await?,
                Some(Some(Order::End(condition))) => return Err(self.peer.refuse(condition).await),
                // It did not read what was sent to it.
                Some(None) => return Err(Over(StreamEnding::Broken)),
            }
        }
    }

    async fn handle(&mut self, element: &Element, raw: String) -> Result<(), Over> {
        let is_stanza =
            element.namespace == "jabber:client" && matches!(element.name.as_str(), "message" | "presence" | "iq");
        let shared = self.peer.node.shared.clone();
        shared.note(self.peer.log, |seen| seen.stanzas.push(raw.clone()));
        if is_stanza {
            if let Some(managed) = shared.world().session(self.number).and_then(|session| session.managed.as_mut()) {
                managed.received = managed.received.wrapping_add(1);
            }
            if element.attribute("from").is_some_and(|from| !self.jid.starts_with(from)) {
                return Err(self.peer.refuse("invalid-from").await);
            }
            let sent = stamped(&raw, element, &self.jid, &self.peer.incoming.prefixes());
            self.stanza(element, &sent);
            return Ok(());
        }
        if element.namespace == MANAGEMENT {
            return self.management(element).await;
        }
        match (element.name.as_str(), element.namespace.as_str()) {
            // XEP-0352: nothing to answer.
            ("active" | "inactive", "urn:xmpp:csi:0") => Ok(()),
            _ => Err(self.peer.refuse("unsupported-stanza-type").await),
        }
    }

    fn stanza(&self, element: &Element, sent: &str) {
        let shared = self.peer.node.shared.clone();
        let domain = shared.world().domain.clone();
        let to = element.attribute("to").unwrap_or_default();
        let kind = element.attribute("type").unwrap_or_default();
        match element.name.as_str() {
            "presence" if to.is_empty() => {
                shared.world().presence(self.number, sent, kind != "unavailable");
                return;
            }
            "iq" if to.is_empty() || to == domain => {
                self.answer(element, kind);
                return;
            }
            _ => {}
        }
        let reached = shared.world().route(to, sent, element.name == "message");
        if !reached && kind != "error" && element.name != "presence" && !(element.name == "iq" && kind == "result") {
            let (name, id) = (&element.name, element.attribute("id").unwrap_or_default());
            let bounced = format!(
                "<{name} type='error' id='{id}' from='{to}' to='{}'><error type='cancel'>\
                 <service-unavailable xmlns='{STANZAS}'/></error></{name}>",
                self.jid
            );
            self.reply(&bounced);
        }
    }

    /// Sends a stanza of the server's own: counted as any other.
    fn reply(&self, stanza: &str) {
        self.peer.node.shared.world().route(&self.jid, stanza, false);
    }

    /// What the server itself is asked.
    fn answer(&self, element: &Element, kind: &str) {
        let id = element.attribute("id").unwrap_or_default();
        let (question, domain) = (element.children.first(), self.peer.node.shared.world().domain.clone());
        let inner = match (kind, question.map(|question| (question.name.as_str(), question.namespace.as_str()))) {
            ("get", Some(("ping", "urn:xmpp:ping"))) | ("set", Some(("session", _))) => String::new(),
            ("get", Some(("query", "jabber:iq:roster"))) => self.roster(),
            ("get", Some(("query", "http://jabber.org/protocol/disco#info"))) => {
                "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'/>\
                 <feature var='urn:xmpp:ping'/><feature var='jabber:iq:roster'/></query>"
                    .to_owned()
            }
            ("get", Some(("query", "http://jabber.org/protocol/disco#items"))) => {
                "<query xmlns='http://jabber.org/protocol/disco#items'/>".to_owned()
            }
            ("result" | "error", _) => return,
            _ => {
                let error = format!(
                    "<iq type='error' id='{id}' from='{domain}' to='{}'><error type='cancel'>\
                     <service-unavailable xmlns='{STANZAS}'/></error></iq>",
                    self.jid
                );
                return self.reply(&error);
            }
        };
        self.reply(&format!("<iq type='result' id='{id}' from='{domain}' to='{}'>{inner}</iq>", self.jid));
    }

    /// Everybody is everybody's contact.
    fn roster(&self) -> String {
        let world = self.peer.node.shared.world();
        let items: String = world
            .users
            .keys()
            .filter(|user| !self.jid.starts_with(&format!("{user}@")))
            .map(|user| format!("<item jid='{user}@{}' subscription='both'/>", world.domain))
            .collect();
        format!("<query xmlns='jabber:iq:roster' ver='1'>{items}</query>")
    }

    async fn management(&mut self, element: &Element) -> Result<(), Over> {
        let shared = self.peer.node.shared.clone();
        match element.name.as_str() {
            "enable" => {
                let resumable = matches!(element.attribute("resume"), Some("true" | "1"));
                let id = wire::token(&mut wire::random(), 24);
                let seconds = shared.world().resume_within.as_secs();
                let more = if resumable {
                    // A place inside that nobody outside can reach: whoever stands in between takes it out.
                    format!(" id='{id}' resume='true' max='{seconds}' location='{}'", self.peer.node.address)
                } else {
                    String::new()
                };
                let enabled = format!("<enabled xmlns='{MANAGEMENT}'{more}/>");
                if let Some(session) = shared.world().session(self.number) {
                    // In line with what was sent before and is not counted.
                    let _ = self.tell.try_send(Order::Write(enabled));
                    let unacknowledged = VecDeque::new();
                    session.managed = Some(Managed { id, resumable, received: 0, sent: 0, unacknowledged });
                }
                Ok(())
            }
            "r" => {
                let received =
                    shared.world().session(self.number).and_then(|session| Some(session.managed.as_ref()?.received));
                match received {
                    Some(received) => self.peer.write(&format!("<a xmlns='{MANAGEMENT}' h='{received}'/>")).await,
                    None => Err(self.peer.refuse("policy-violation").await),
                }
            }
            "a" => {
                let count = element.attribute("h").and_then(|count| count.parse().ok());
                let right = count.is_some_and(|count| shared.world().acknowledged(self.number, count).is_some());
                if right { Ok(()) } else { Err(self.peer.refuse("undefined-condition").await) }
            }
            _ => Err(self.peer.refuse("unsupported-stanza-type").await),
        }
    }
}

impl<S> Attached<'_, S> {
    /// The connection is gone: the session waits, or is over.
    fn leave(&self, ending: StreamEnding) {
        let mut world = self.peer.node.shared.world();
        let until = Instant::now() + world.resume_within;
        let Some(session) = world.session(self.number) else { return };
        if session.orders.as_ref().is_some_and(|orders| !orders.same_channel(&self.tell)) {
            // It goes on at another connection.
            return;
        }
        match ending {
            StreamEnding::Broken if session.managed.as_ref().is_some_and(|managed| managed.resumable) => {
                session.orders = None;
                session.until = Some(until);
            }
            StreamEnding::Broken | StreamEnding::Closed | StreamEnding::ByServer => world.end(self.number),
        }
    }
}
