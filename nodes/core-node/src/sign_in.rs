//! Who has signed in, as this core knows it: from its HTTP side, and from other cores.
//!
//! ```text
//!   HTTP side ──Keys, Revoked──► edges and cores          cores ──► HTTP side
//!   HTTP side ──SignedIn───────► cores only
//! ```
//! A link that has just come up is told everything again; sessions in portions, so that they hold up
//! nothing else. Everything here is in memory only.
//!
//! Invariant: a session is held no longer than it lasts, and none that was revoked since it began.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use edgeway_link::Frame;
use edgeway_model::sign_in::{
    CoreContact, Deployment, DigestSecret, EdgeContact, Revocation, Session, SignInFact, Subject, TokenKey, UserName,
};
use edgeway_model::{Deadline, Moment, NodeId, Output, Secret};
use edgeway_policy::routing::client_route;
use edgeway_sip::bearer::is_same;

use crate::CoreNode;
use crate::limits::{REPLAY_EVERY, REPLAY_PORTION, REVOCATIONS_MAX, SESSIONS_MAX};
use crate::vouched::Told;

/// What a core knows of sign-ins.
#[derive(Debug, Default)]
pub(crate) struct SignIns {
    /// The wall clock, and when it was read.
    wall: Option<(u64, Moment)>,
    keys: Vec<TokenKey>,
    sessions: BTreeMap<Subject, Arc<Session>>,
    ends: BTreeSet<(u64, Subject)>,
    /// Access tokens, by the first bytes of their hashes.
    tokens: BTreeMap<(Label, Deployment), UserName>,
    revoked: BTreeMap<Subject, u64>,
    revoked_order: VecDeque<Subject>,
    /// Cores that are being told of what they have missed.
    replays: BTreeMap<NodeId, Replay>,
    /// What the HTTP side was told last.
    told: Option<(Vec<EdgeContact>, Vec<CoreContact>)>,
}

/// The first bytes of the hash of an access token.
type Label = [u8; 8];

/// What a core that has just been linked is still to be told.
#[derive(Debug)]
struct Replay {
    /// Who is registered over which connection.
    identities: std::vec::IntoIter<Told>,
    /// The session behind which it goes on.
    behind: Option<Subject>,
    at: Moment,
}

impl SignIns {
    pub(crate) fn handle_wall_clock(&mut self, unix_ms: u64, now: Moment) {
        self.wall = Some((unix_ms, now));
    }

    /// Unix milliseconds; `None` as long as nobody has said.
    fn unix_ms(&self, now: Moment) -> Option<u64> {
        let (unix_ms, at) = self.wall?;
        Some(unix_ms.saturating_add(u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)))
    }

    /// The session of a user who is signed in now.
    pub(crate) fn session(&self, subject: &Subject, now: Moment) -> Option<&Arc<Session>> {
        let unix_ms = self.unix_ms(now)?;
        self.sessions.get(subject).filter(|session| unix_ms < session.ends_ms())
    }

    /// The hashes a digest of a user with this password may be made with, while the password holds.
    pub(crate) fn digests(&self, subject: &Subject, now: Moment) -> &[DigestSecret] {
        let session = self.unix_ms(now).zip(self.sessions.get(subject));
        session.filter(|(unix_ms, session)| *unix_ms < session.until_ms).map_or(&[], |(_, session)| &session.digests)
    }

    /// Whose an access token is: of a user of this deployment who has signed in with it, while it lasts.
    pub(crate) fn user_of(&self, deployment: &Deployment, token: &Secret<32>, now: Moment) -> Option<UserName> {
        let unix_ms = self.unix_ms(now)?;
        let user = self.tokens.get(&(label_of(token), deployment.clone()))?;
        let subject = Subject { deployment: deployment.clone(), user: user.clone() };
        let mut tokens = self.sessions.get(&subject)?.tokens.iter();
        tokens.any(|known| is_same(&known.hash, token) & known.holds(unix_ms)).then_some(subject.user)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Takes a session in, beside what is known of its user. Whether there is anything new in it that was not
    /// revoked.
    fn admit(&mut self, session: &Session) -> bool {
        let before = self.revoked.get(&session.subject).copied().unwrap_or(0);
        let Some(session) = session.revoked(before) else { return false };
        let session = match self.sessions.get(&session.subject) {
            Some(known) => {
                let joined = known.joined(&session);
                if joined == **known {
                    return false;
                }
                joined
            }
            None => session,
        };
        self.drop_session(&session.subject);
        while self.sessions.len() >= SESSIONS_MAX
            && let Some((_, first)) = self.ends.first().cloned()
        {
            self.drop_session(&first);
        }
        self.keep(session);
        true
    }

    fn keep(&mut self, session: Session) {
        let Subject { deployment, user } = &session.subject;
        for token in &session.tokens {
            self.tokens.insert((label_of(&token.hash), deployment.clone()), user.clone());
        }
        self.ends.insert((session.ends_ms(), session.subject.clone()));
        self.sessions.insert(session.subject.clone(), Arc::new(session));
    }

    fn drop_session(&mut self, subject: &Subject) {
        let Some(session) = self.sessions.remove(subject) else { return };
        for token in &session.tokens {
            let key = (label_of(&token.hash), subject.deployment.clone());
            if self.tokens.get(&key) == Some(&subject.user) {
                self.tokens.remove(&key);
            }
        }
        self.ends.remove(&(session.ends_ms(), session.subject.clone()));
    }

    /// Whether it is news.
    fn revoke(&mut self, revocation: &Revocation) -> bool {
        let Revocation { subject, before_ms } = revocation;
        if let Some(known) = self.sessions.get(subject) {
            let left = known.revoked(*before_ms);
            self.drop_session(subject);
            if let Some(left) = left {
                self.keep(left);
            }
        }
        match self.revoked.get_mut(subject) {
            Some(known) if *known >= *before_ms => return false,
            Some(known) => *known = *before_ms,
            None => {
                if self.revoked_order.len() >= REVOCATIONS_MAX
                    && let Some(oldest) = self.revoked_order.pop_front()
                {
                    self.revoked.remove(&oldest);
                }
                self.revoked.insert(subject.clone(), *before_ms);
                self.revoked_order.push_back(subject.clone());
            }
        }
        true
    }

    fn revocations(&self) -> impl Iterator<Item = Frame> {
        self.revoked
            .iter()
            .map(|(subject, before_ms)| Frame::Revoked(Revocation { subject: subject.clone(), before_ms: *before_ms }))
    }

    /// Forgets what has ended.
    fn expire(&mut self, now: Moment) {
        let Some(unix_ms) = self.unix_ms(now) else { return };
        while let Some((until_ms, _)) = self.ends.first()
            && *until_ms <= unix_ms
        {
            let Some((_, subject)) = self.ends.first().cloned() else { return };
            self.drop_session(&subject);
        }
    }

    /// The next connections a core is to be told of; none are left if it is empty.
    fn connections(&mut self, peer: &NodeId, now: Moment) -> Vec<Told> {
        let Some(replay) = self.replays.get_mut(peer) else { return Vec::new() };
        replay.at = now + REPLAY_EVERY;
        replay.identities.by_ref().take(REPLAY_PORTION).collect()
    }

    /// The next portion of sessions for a core that is being told.
    fn portion(&mut self, peer: &NodeId, now: Moment) -> Vec<Frame> {
        let Some(replay) = self.replays.get_mut(peer) else { return Vec::new() };
        replay.at = now + REPLAY_EVERY;
        let from = replay.behind.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let portion: Vec<_> =
            self.sessions.range((from, Bound::Unbounded)).take(REPLAY_PORTION).map(|(_, one)| one.clone()).collect();
        match portion.last().filter(|_| portion.len() == REPLAY_PORTION) {
            Some(last) => replay.behind = Some(last.subject.clone()),
            None => drop(self.replays.remove(peer)),
        }
        portion.into_iter().map(Frame::SignedIn).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.replays
            .values()
            .map(|replay| Some(Deadline { at: replay.at, why: "sessions for a core" }))
            .fold(None, Deadline::soonest)
    }
}

fn label_of(token: &Secret<32>) -> Label {
    std::array::from_fn(|at| token.expose()[at])
}

impl CoreNode {
    /// What this core's HTTP side has learnt or decided.
    pub(crate) fn handle_sign_in(&mut self, fact: SignInFact) {
        match fact {
            SignInFact::Keys(keys) => {
                self.sign_ins.keys.clone_from(&keys);
                self.tell_everybody(&Frame::TokenKeys(keys));
            }
            SignInFact::SignedIn(session) => {
                if self.sign_ins.admit(&session) {
                    self.guesses.signed_in(&session.subject);
                    self.tell_cores(&Frame::SignedIn(session));
                }
            }
            SignInFact::Revoked(revocation) => {
                if self.sign_ins.revoke(&revocation) {
                    self.identities.revoke(&revocation.subject);
                    self.tell_everybody(&Frame::Revoked(revocation));
                }
            }
            // What a node says is not said to it.
            SignInFact::PeerKeys { .. } | SignInFact::Contacts { .. } | SignInFact::Linked(_) => {}
        }
    }

    /// Another core said something about sign-in. It has told all other cores, but perhaps not all edges.
    pub(crate) fn sign_in_from_core(&mut self, peer: &NodeId, frame: Frame) -> bool {
        match frame {
            Frame::TokenKeys(keys) => self.told(SignInFact::PeerKeys { peer: peer.clone(), keys }),
            Frame::SignedIn(session) => {
                if self.sign_ins.admit(&session) {
                    self.guesses.signed_in(&session.subject);
                    self.told(SignInFact::SignedIn(session));
                }
            }
            Frame::Revoked(revocation) => {
                if self.sign_ins.revoke(&revocation) {
                    self.identities.revoke(&revocation.subject);
                    self.tell_edges(&Frame::Revoked(revocation.clone()));
                    self.told(SignInFact::Revoked(revocation));
                }
            }
            Frame::Identity(identity) => self.vouched.take(peer, identity),
            Frame::Hello(_)
            | Frame::Keepalive { .. }
            | Frame::KeepaliveAnswer { .. }
            | Frame::FromClient { .. }
            | Frame::ToClient { .. }
            | Frame::FlowClosed { .. }
            | Frame::FlowMoved { .. }
            | Frame::EdgeSettings { .. }
            | Frame::EdgeSettingsOutcome { .. }
            | Frame::GrantPorts { .. }
            | Frame::SetRelay(_)
            | Frame::CloseRelay { .. }
            | Frame::Synchronised
            | Frame::ClientSilent { .. }
            | Frame::Services { .. } => return false,
        }
        true
    }

    /// A link with an edge is up: it is told what it needs to know tokens by.
    pub(crate) fn tell_edge(&mut self, edge: &NodeId) {
        let frames = self.keys_and_revocations();
        for frame in &frames {
            self.send_frame(edge, frame);
        }
        self.tell_http();
    }

    /// A link with a core is up: it is told all there is, sessions a portion at a time.
    pub(crate) fn tell_core(&mut self, core: &NodeId, boot: u64, now: Moment) {
        let frames = self.keys_and_revocations();
        if let Some(link) = self.peers.get(core).copied() {
            for frame in &frames {
                self.links.send(link, frame);
            }
        }
        let identities = self.identities_for(core, boot).into_iter();
        self.sign_ins.replays.insert(core.clone(), Replay { identities, behind: None, at: now });
        self.tell_http();
    }

    /// A link with a core is gone.
    pub(crate) fn untell_core(&mut self, core: &NodeId) {
        self.sign_ins.replays.remove(core);
        self.tell_http();
    }

    fn keys_and_revocations(&self) -> Vec<Frame> {
        let keys = Some(&self.sign_ins.keys).filter(|keys| !keys.is_empty()).map(|keys| Frame::TokenKeys(keys.clone()));
        keys.into_iter().chain(self.sign_ins.revocations()).collect()
    }

    pub(crate) fn run_sign_ins(&mut self, now: Moment) {
        self.sign_ins.expire(now);
        let due = self.sign_ins.replays.iter().filter(|(_, replay)| replay.at <= now);
        let due: Vec<_> = due.map(|(peer, _)| peer.clone()).collect();
        for peer in due {
            let connections = self.sign_ins.connections(&peer, now);
            let frames = if connections.is_empty() {
                self.sign_ins.portion(&peer, now)
            } else {
                connections.iter().filter_map(|told| self.identity_told(told)).map(Frame::Identity).collect()
            };
            for frame in frames {
                if let Some(link) = self.peers.get(&peer).copied() {
                    self.links.send(link, &frame);
                }
            }
        }
    }

    /// The links have changed, or what an edge says of itself: the HTTP side is told.
    pub(crate) fn tell_http(&mut self) {
        let linked_edges = self.edges.iter().filter(|(_, edge)| edge.link.is_some());
        let linked = linked_edges.clone().map(|(name, _)| name).chain(self.peers.keys()).cloned().collect();
        let edges: Vec<_> = linked_edges
            .filter_map(|(name, edge)| {
                let (host, port) = edge.hello.contact.rsplit_once(':')?;
                Some(EdgeContact {
                    node: name.clone(),
                    host: host.to_owned(),
                    sip_port: port.parse().ok()?,
                    https_port: edge.services.0,
                    xmpp_port: edge.services.1,
                })
            })
            .collect();
        let own = (self.settings.node.clone(), self.agent());
        let others = self
            .peers
            .iter()
            .filter_map(|(name, link)| Some((name.clone(), self.links.get(*link)?.peer()?.contact.clone())));
        let cores: Vec<_> = std::iter::once(own)
            .chain(others)
            .filter_map(|(node, contact)| {
                let route = client_route(contact.rsplit_once(':')?.0, node.as_str());
                Some(CoreContact { node, route })
            })
            .collect();
        self.told(SignInFact::Linked(linked));
        if self.sign_ins.told.as_ref() != Some(&(edges.clone(), cores.clone())) {
            self.sign_ins.told = Some((edges.clone(), cores.clone()));
            self.told(SignInFact::Contacts { edges, cores });
        }
    }

    fn told(&mut self, fact: SignInFact) {
        self.outputs.push_back(Output::SignIn(fact));
    }

    fn tell_everybody(&mut self, frame: &Frame) {
        self.tell_edges(frame);
        self.tell_cores(frame);
    }

    fn tell_edges(&mut self, frame: &Frame) {
        for link in self.edges.values().filter_map(|edge| edge.link) {
            self.links.send(link, frame);
        }
    }

    pub(crate) fn tell_cores(&mut self, frame: &Frame) {
        for link in self.peers.values() {
            self.links.send(*link, frame);
        }
    }

    /// Users signed in, as far as this core knows, for tests of what it believes.
    #[must_use]
    pub fn signed_in(&self) -> usize {
        self.sign_ins.len()
    }
}
