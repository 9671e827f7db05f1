//! Who is at the other ends of links, and the dialling of edges.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeway_media::split::Joiner;
use edgeway_model::media::MediaPath;
use edgeway_model::{Moment, NodeId, Random, RelayId};

use super::limits::{CONTROL_PER_SECOND_MAX, PEERS_MAX, REDIAL_FIRST, REDIAL_FORGIVEN_AFTER, REDIAL_MAX};
use super::quic::LineNumber;
use super::stream::StreamNumber;

/// All peers; the number of one stays while it has a relay, a connection or a dial.
#[derive(Default)]
pub(super) struct Peers(Vec<Option<Peer>>);

/// One other node.
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// The connection datagrams go by, once it is open.
    pub(super) line: Option<LineNumber>,
    /// The TCP connection they go by where UDP is blocked, once it is open.
    pub(super) stream: Option<StreamNumber>,
    /// What the node was last told about these.
    pub(super) told: MediaPath,
    /// Its relays, by the number both sides know.
    pub(super) relays: HashMap<RelayId, usize>,
    pub(super) dial: Option<Dial>,
    /// Halves of packets that came by the link.
    pub(super) joiner: Joiner,
    /// The number of the next packet that is split.
    pub(super) split: u32,
    /// Control datagrams of the current second, and when it ends.
    control: (u32, Moment),
}

/// The wish to be connected to an edge.
pub(super) struct Dial {
    pub(super) address: String,
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) state: DialState,
    failures: u32,
    /// When UDP was last well, or wanted for the first time.
    pub(super) sound_at: Moment,
    /// The way around blocked UDP.
    pub(super) fallback: Fallback,
    /// What was last said about why it does not work, so that it is said once.
    pub(super) said: String,
}

/// The TCP connection for where UDP is blocked.
pub(super) struct Fallback {
    pub(super) state: FallbackState,
    failures: u32,
    /// As in [`Dial`].
    pub(super) said: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FallbackState {
    /// There is none, and none is dialled before this.
    Waiting { until: Moment },
    /// Connecting, on a thread of its own.
    Dialling,
    /// Connected; the edge has not said yet that it accepts us.
    Opening { stream: StreamNumber, until: Moment },
    /// Usable.
    Open { stream: StreamNumber, since: Moment },
}

/// The way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp(LineNumber),
    Tcp(StreamNumber),
}

/// How far a dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialState {
    /// The name is being looked up.
    Resolving,
    /// Handshake under way.
    Opening(LineNumber),
    /// Connected.
    Open { line: LineNumber, since: Moment },
    /// Later.
    Waiting { until: Moment },
}

impl Peers {
    /// The number of a node, made known if it is not. `None` if the table is full.
    pub(super) fn know(&mut self, node: &NodeId) -> Option<usize> {
        if let Some(at) = self.find(node) {
            return Some(at);
        }
        let unused = |peer: &Option<Peer>| peer.as_ref().is_none_or(Peer::is_unused);
        let at = self.0.iter().position(unused).or_else(|| (self.0.len() < PEERS_MAX).then_some(self.0.len()))?;
        if at == self.0.len() {
            self.0.push(None);
        }
        self.0[at] = Some(Peer {
            node: node.clone(),
            line: None,
            stream: None,
            told: MediaPath::None,
            relays: HashMap::new(),
            dial: None,
            joiner: Joiner::default(),
            split: 0,
            control: (0, Moment::ZERO),
        });
        Some(at)
    }

    /// The number of a known node.
    pub(super) fn find(&self, node: &NodeId) -> Option<usize> {
        self.0.iter().position(|peer| peer.as_ref().is_some_and(|peer| peer.node == *node))
    }

    pub(super) fn peer(&self, at: usize) -> Option<&Peer> {
        self.0.get(at)?.as_ref()
    }

    pub(super) fn peer_mut(&mut self, at: usize) -> Option<&mut Peer> {
        self.0.get_mut(at)?.as_mut()
    }

    /// The peer whose open connection this is.
    pub(super) fn of_line(&self, line: LineNumber) -> Option<usize> {
        self.0.iter().position(|peer| peer.as_ref().is_some_and(|peer| peer.line == Some(line)))
    }

    /// The peer whose dial has this connection, open or not.
    pub(super) fn of_dialled_line(&self, line: LineNumber) -> Option<usize> {
        let dialled = |peer: &Peer| peer.dial.as_ref().is_some_and(|dial| dial.line() == Some(line));
        self.0.iter().position(|peer| peer.as_ref().is_some_and(dialled))
    }

    /// The peer whose TCP connection this is.
    pub(super) fn of_stream(&self, stream: StreamNumber) -> Option<usize> {
        self.0.iter().position(|peer| peer.as_ref().is_some_and(|peer| peer.stream == Some(stream)))
    }

    /// The peer that was dialled over TCP with this connection, confirmed or not.
    pub(super) fn of_fallback(&self, stream: StreamNumber) -> Option<usize> {
        let dialled = |peer: &Peer| peer.dial.as_ref().is_some_and(|dial| dial.fallback.stream() == Some(stream));
        self.0.iter().position(|peer| peer.as_ref().is_some_and(dialled))
    }

    /// The numbers there may be.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.0.len()
    }

    /// Whether any has a UDP path, or wants one.
    pub(super) fn any_watched(&self) -> bool {
        self.0.iter().flatten().any(|peer| peer.line.is_some() || peer.dial.is_some())
    }

    /// Peers whose dial is due.
    pub(super) fn due(&self, now: Moment) -> Option<usize> {
        let due = |dial: &Dial| matches!(dial.state, DialState::Waiting { until } if until <= now);
        self.0.iter().position(|peer| peer.as_ref().is_some_and(|peer| peer.dial.as_ref().is_some_and(due)))
    }

    /// When the next dial is due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let dials = self.0.iter().flatten().filter_map(|peer| peer.dial.as_ref());
        dials.filter_map(|dial| if let DialState::Waiting { until } = dial.state { Some(until) } else { None }).min()
    }
}

impl Peer {
    /// Whether one more control datagram may pass to the node.
    pub(super) fn admit_control(&mut self, now: Moment) -> bool {
        let (taken, until) = &mut self.control;
        if *until <= now {
            (*taken, *until) = (0, now + Duration::from_secs(1));
        }
        *taken += 1;
        *taken <= CONTROL_PER_SECOND_MAX
    }

    /// The best way there is to it.
    pub(super) fn way(&self) -> Option<Way> {
        self.line.map(Way::Udp).or(self.stream.map(Way::Tcp))
    }

    /// The same, as the node is told.
    pub(super) fn path(&self) -> MediaPath {
        match self.way() {
            Some(Way::Udp(_)) => MediaPath::Udp,
            Some(Way::Tcp(_)) => MediaPath::Tcp,
            None => MediaPath::None,
        }
    }

    fn is_unused(&self) -> bool {
        self.line.is_none() && self.stream.is_none() && self.relays.is_empty() && self.dial.is_none()
    }
}

impl Dial {
    /// A dial that is due at once.
    pub(super) fn new(address: String, config: Arc<rustls::ClientConfig>, now: Moment) -> Self {
        Self {
            address,
            config,
            state: DialState::Waiting { until: now },
            failures: 0,
            sound_at: now,
            fallback: Fallback::new(now),
            said: String::new(),
        }
    }

    /// Its connection.
    pub(super) const fn line(&self) -> Option<LineNumber> {
        match self.state {
            DialState::Opening(line) | DialState::Open { line, .. } => Some(line),
            DialState::Resolving | DialState::Waiting { .. } => None,
        }
    }

    /// It failed, or what it led to was lost: again after a delay that grows, with jitter.
    pub(super) fn retry(&mut self, random: &mut Random, now: Moment) {
        if let DialState::Open { since, .. } = self.state
            && now.since(since) >= REDIAL_FORGIVEN_AFTER
        {
            self.failures = 0;
        }
        self.state = DialState::Waiting { until: now + delay(self.failures, random) };
        self.failures = self.failures.saturating_add(1);
    }

    /// The address to try now: each one of a name in turn.
    pub(super) fn choose(&self, found: &[SocketAddr]) -> Option<SocketAddr> {
        found.iter().cycle().nth(self.failures as usize % found.len().max(1)).copied()
    }

    /// Whether `reason` is news.
    pub(super) fn is_news(&mut self, reason: &str) -> bool {
        let news = self.said != reason;
        if news {
            reason.clone_into(&mut self.said);
        }
        news
    }

    /// Whether this answer of the resolver is the one waited for.
    pub(super) fn awaits(&self, address: &str) -> bool {
        self.state == DialState::Resolving && self.address == address
    }
}

impl Fallback {
    const fn new(now: Moment) -> Self {
        Self { state: FallbackState::Waiting { until: now }, failures: 0, said: String::new() }
    }

    /// Its connection.
    pub(super) const fn stream(&self) -> Option<StreamNumber> {
        match self.state {
            FallbackState::Opening { stream, .. } | FallbackState::Open { stream, .. } => Some(stream),
            FallbackState::Waiting { .. } | FallbackState::Dialling => None,
        }
    }

    /// It is not needed any more.
    pub(super) const fn rest(&mut self, now: Moment) {
        (self.state, self.failures) = (FallbackState::Waiting { until: now }, 0);
    }

    /// As [`Dial::retry`].
    pub(super) fn retry(&mut self, random: &mut Random, now: Moment) {
        if let FallbackState::Open { since, .. } = self.state
            && now.since(since) >= REDIAL_FORGIVEN_AFTER
        {
            self.failures = 0;
        }
        self.state = FallbackState::Waiting { until: now + delay(self.failures, random) };
        self.failures = self.failures.saturating_add(1);
    }
}

/// Half of it is sure, the other half is chance: nodes that lost the same edge come back apart.
fn delay(failures: u32, random: &mut Random) -> Duration {
    let doubled = REDIAL_FIRST.saturating_mul(2u32.saturating_pow(failures.min(16)));
    let full = u64::try_from(doubled.min(REDIAL_MAX).as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(full / 2 + random.below(full / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_differ() {
        let mut random = Random::from_seed([1; 32]);
        for failures in 0..40 {
            let waited = delay(failures, &mut random);
            let full = (REDIAL_FIRST * 2u32.pow(failures.min(10))).min(REDIAL_MAX);
            assert!(waited >= full / 2 && waited <= full, "{failures}: {waited:?}");
        }
        assert_ne!(delay(9, &mut random), delay(9, &mut random));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_gone() {
        let node = |n: usize| NodeId::new(&format!("core{n}")).unwrap();
        let mut peers = Peers::default();
        for n in 0..PEERS_MAX {
            let at = peers.know(&node(n)).unwrap();
            peers.peer_mut(at).unwrap().line = Some(n);
        }
        assert_eq!(peers.know(&node(1_000)), None);
        peers.peer_mut(5).unwrap().line = None;
        assert_eq!(peers.know(&node(1_000)), Some(5));
        assert_eq!(peers.find(&node(5)), None);
    }
}
