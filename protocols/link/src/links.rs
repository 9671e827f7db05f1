//! All links of one node: what an edge and a core do alike.

use std::collections::BTreeMap;

use edgeway_model::world::{LinkCommand, LinkEvent as Happened, LinkStatus};
use edgeway_model::{Deadline, LinkId, Moment, NodeId, Output};

use crate::engine::{Link, LinkEvent, Transmit};
use crate::frame::{Frame, Hello, Load};

/// The links of a node, by number, each with the name its certificate proved.
///
/// Contract: after every `handle_*`, drain [`Links::poll_event`] and [`Links::poll_output`] until
/// both have nothing more.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<LinkId, (NodeId, Link)>,
    wall: Option<(u64, Moment)>,
}

impl Links {
    /// A link stands. `ours` is what we say first.
    pub fn open(&mut self, link: LinkId, peer: NodeId, ours: Hello, now: Moment) {
        let conversation = Link::new(ours, peer.clone(), self.wall, now);
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
            up: conversation.is_up(),
            round_trip: conversation.round_trip(),
            skew_ms: conversation.skew_ms(),
            media_path: conversation.media_path(),
        };
        self.links.values().map(status).collect()
    }
}
