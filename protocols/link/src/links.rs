//! All links of one node: what an edge and a core do alike.

use std::collections::BTreeMap;

use edgeway_model::world::{LinkCommand, LinkEvent as Happened, LinkStatus};
use edgeway_model::{Deadline, LinkId, Moment, NodeId, Output, Role};

use crate::engine::{Link, LinkEvent, Transmit};
use crate::frame::{Frame, Hello, Load};
use crate::limits::TROUBLES_MAX;

/// The links of a node, by number, each with the name its certificate proved.
///
/// Contract: after every `handle_*`, drain [`Links::poll_event`] and [`Links::poll_output`] until
/// both have nothing more.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<LinkId, (NodeId, Link)>,
    wall: Option<(u64, Moment)>,
    /// Why there is no link with a peer that could be reached, until there is one.
    troubles: BTreeMap<NodeId, String>,
}

impl Links {
    /// A link stands. `ours` is what we say first.
    pub fn open(&mut self, link: LinkId, peer: NodeId, role: Role, ours: Hello, now: Moment) {
        let conversation = Link::new(ours, peer.clone(), role, self.wall, now);
        self.links.insert(link, (peer, conversation));
    }

    /// Forgets a link.
    pub fn remove(&mut self, link: LinkId) -> Option<(NodeId, Link)> {
        self.links.remove(&link)
    }

    /// A link's conversation.
    #[must_use]
    pub fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link).map(|(_, conversation)| conversation)
    }

    /// There is no link with this peer, for this reason. Returns whether that is news.
    pub fn trouble(&mut self, peer: &NodeId, why: &str) -> bool {
        if self.troubles.get(peer).is_some_and(|known| known == why) {
            return false;
        }
        if self.troubles.len() < TROUBLES_MAX || self.troubles.contains_key(peer) {
            self.troubles.insert(peer.clone(), why.to_owned());
        }
        true
    }

    /// There is a link with this peer.
    pub fn settled(&mut self, peer: &NodeId) {
        self.troubles.remove(peer);
    }

    /// The peer broke the protocol in a way only the node can see.
    pub fn refuse(&mut self, link: LinkId, why: &str) {
        if let Some((_, conversation)) = self.links.get_mut(&link) {
            conversation.refuse(why.to_owned());
        }
    }

    /// Queues a frame. A link that is gone loses it.
    pub fn send(&mut self, link: LinkId, frame: &Frame) {
        if let Some((_, conversation)) = self.links.get_mut(&link) {
            conversation.send(frame);
        }
    }

    /// Sets the load all keepalives carry.
    pub fn set_load(&mut self, load: Load) {
        for (_, conversation) in self.links.values_mut() {
            conversation.set_load(load);
        }
    }

    /// Something arrived on a link. That it opened or closed is the node's to deal with.
    pub fn handle_event(&mut self, link: LinkId, event: Happened, now: Moment) {
        let Some((_, conversation)) = self.links.get_mut(&link) else { return };
        match event {
            Happened::Received { bytes } => conversation.handle_bytes(bytes, now),
            Happened::Datagram { bytes } => conversation.handle_datagram(&bytes, now),
            Happened::DatagramPath { path } => conversation.handle_datagram_path(path, now),
            Happened::Opened { .. } | Happened::Closed { .. } => {}
        }
    }

    /// The wall clock was read: Unix milliseconds.
    pub fn handle_wall_clock(&mut self, unix_ms: u64, now: Moment) {
        self.wall = Some((unix_ms, now));
        for (_, conversation) in self.links.values_mut() {
            conversation.handle_wall_clock(unix_ms, now);
        }
    }

    /// The moment asked for by [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        for (_, conversation) in self.links.values_mut() {
            if conversation.next_deadline().is_some_and(|deadline| deadline.at <= now) {
                conversation.handle_timeout(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] should next be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.links.values().map(|(_, conversation)| conversation.next_deadline()).fold(None, Deadline::soonest)
    }

    /// The next thing a peer said or did.
    pub fn poll_event(&mut self) -> Option<(LinkId, NodeId, LinkEvent)> {
        self.links.iter_mut().find_map(|(link, (peer, conversation))| {
            conversation.poll_event().map(|event| (*link, peer.clone(), event))
        })
    }

    /// The next thing to send.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.links.iter_mut().find_map(|(link, (_, conversation))| {
            let command = match conversation.poll_transmit()? {
                Transmit::Stream(bytes) => LinkCommand::Send { bytes },
                Transmit::Datagram(bytes) => LinkCommand::SendDatagram { bytes },
            };
            Some(Output::Link { link: *link, command })
        })
    }

    /// What an operator sees.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let status = |(peer, conversation): &(NodeId, Link)| LinkStatus {
            peer: peer.as_str().to_owned(),
            role: Some(conversation.role()),
            up: conversation.is_up(),
            round_trip: conversation.round_trip(),
            skew_ms: conversation.skew_ms(),
            media_path: conversation.media_path(),
            version: conversation.version().unwrap_or_default(),
            unknown_frames: conversation.unknown_frames(),
            trouble: self.troubles.get(peer).cloned(),
        };
        let linked = |peer: &NodeId| self.links.values().any(|(linked, _)| linked == peer);
        let without = self.troubles.iter().filter(|(peer, _)| !linked(peer)).map(|(peer, why)| LinkStatus {
            peer: peer.as_str().to_owned(),
            trouble: Some(why.clone()),
            ..LinkStatus::default()
        });
        self.links.values().map(status).chain(without).collect()
    }
}
