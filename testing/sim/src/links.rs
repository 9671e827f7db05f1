//! Links between cores and edges, and between cores: latency, stalls, cuts, datagram paths, and frames that overtake.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeway_model::media::MediaPath;
use edgeway_model::world::LinkEvent;
use edgeway_model::{Input, LinkId, Moment, Role};

use crate::addresses::{core_address, edge_address};
use crate::conns::State;
use crate::version1;
use crate::world::{Happening, World};

/// One side of a link. Side 0 is the core, which dialled.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) state: State,
    inbox: VecDeque<(Moment, Option<Bytes>)>,
    last: Moment,
    path: bool,
}

/// One link.
#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) id: LinkId,
    pub(crate) ends: [LinkEnd; 2],
    pub(crate) latency: Duration,
    /// When it was dialled.
    pub(crate) since: Moment,
    /// Bytes arrive no sooner than this.
    pub(crate) stalled_until: Moment,
    /// Nothing gets through any more.
    pub(crate) cut: bool,
}

impl SimLink {
    pub(crate) fn is_live(&self) -> bool {
        !self.cut && self.ends.iter().all(|end| end.state == State::Open)
    }
}

impl World {
    pub(crate) fn dial_link(&mut self, core: usize, life: u32, edge: usize, tries: u32) {
        if self.slots[core].life != life || self.slots[core].node.is_none() {
            return;
        }
        let parted = self.parted.get(&(core, edge)).is_some_and(|until| *until > self.now);
        if parted || self.slots[edge].node.is_none() {
            return self.redial(core, life, edge, tries + 1);
        }
        let id = LinkId(u32::try_from(self.links.len()).unwrap_or(u32::MAX));
        let end = |node: usize, life| LinkEnd {
            node,
            life,
            state: State::Pending,
            inbox: VecDeque::new(),
            last: Moment::ZERO,
            path: false,
        };
        let ends = [end(core, life), end(edge, self.slots[edge].life)];
        let latency = self.chance.millis(1, 30);
        let index = self.links.len();
        self.links.push(SimLink { id, ends, latency, since: self.now, stalled_until: Moment::ZERO, cut: false });
        self.by_link.insert((core, id), index);
        self.by_link.insert((edge, id), index);
        self.enqueue_link(index, 1, None);
        self.enqueue_link(index, 0, None);
        if self.datagrams_wanted {
            let after = latency * 2 + self.chance.millis(5, 300);
            self.schedule(after, Happening::DatagramPath { link: index, end: 0, open: true });
            let after = after + self.chance.millis(0, 50);
            self.schedule(after, Happening::DatagramPath { link: index, end: 1, open: true });
        }
    }

    fn redial(&mut self, core: usize, life: u32, edge: usize, tries: u32) {
        let most = 200 << tries.min(3);
        let after = self.chance.millis(most / 2, most);
        self.schedule(after, Happening::Dial { core, life, edge, tries });
    }

    /// `None` is the end of the handshake.
    fn enqueue_link(&mut self, link: usize, end: usize, bytes: Option<Bytes>) {
        let at = (self.now + self.links[link].latency).max(self.links[link].ends[end].last);
        let side = &mut self.links[link].ends[end];
        side.last = at;
        side.inbox.push_back((at, bytes));
        self.schedule_at(at, Happening::Link { link, end });
    }

    pub(crate) fn send_link(&mut self, node: usize, id: LinkId, bytes: Bytes) {
        let Some((link, end)) = self.link_side(node, id) else { return };
        if self.links[link].cut {
            return;
        }
        let between_cores = self.links[link].ends.iter().all(|end| end.node >= self.edges);
        let bytes = if self.version1 && !between_cores {
            match version1::carried(&bytes) {
                Ok(bytes) => bytes,
                Err(fault) => return self.fail(format!("a peer of version 1 would not understand {id}: {fault}")),
            }
        } else {
            bytes
        };
        for bytes in self.shuffled(bytes) {
            self.enqueue_link(link, 1 - end, Some(bytes));
        }
    }

    /// SIP travels on streams of its own, several of them: its frames may overtake one another,
    /// though nothing else.
    fn shuffled(&mut self, bytes: Bytes) -> Vec<Bytes> {
        if !self.chaotic || self.overtaking == 0 {
            return vec![bytes];
        }
        let mut frames = Vec::new();
        let mut rest = bytes;
        while rest.len() >= 5 {
            let length = 4 + u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            frames.push(rest.split_to(length.min(rest.len())));
        }
        let is_sip = |frame: &Bytes| matches!(frame.get(4), Some(4 | 5));
        for at in 1..frames.len() {
            if is_sip(&frames[at]) && is_sip(&frames[at - 1]) && self.chance.percent(self.overtaking * 5) {
                frames.swap(at, at - 1);
            }
        }
        frames
    }

    fn link_side(&mut self, node: usize, id: LinkId) -> Option<(usize, usize)> {
        let name = self.slots[node].name.clone();
        let Some(link) = self.by_link.get(&(node, id)).copied() else {
            self.fail(format!("{name} used {id}, which never was"));
            return None;
        };
        let end = usize::from(self.links[link].ends[0].node != node);
        if self.links[link].ends[end].state == State::Closed {
            self.fail(format!("{name} used {id}, which is closed"));
            return None;
        }
        Some((link, end))
    }

    fn is_mine(&self, link: usize, end: usize) -> bool {
        let side = &self.links[link].ends[end];
        self.slots[side.node].life == side.life && self.slots[side.node].node.is_some()
    }

    pub(crate) fn deliver_link(&mut self, link: usize, end: usize) {
        let now = self.now;
        let stalled = self.links[link].stalled_until;
        if self.links[link].cut || !self.is_mine(link, end) || self.links[link].ends[end].state == State::Closed {
            return;
        }
        let Some((at, _)) = self.links[link].ends[end].inbox.front() else { return };
        if *at > now {
            return;
        }
        if stalled > now {
            return self.schedule_at(stalled, Happening::Link { link, end });
        }
        let mut bytes = BytesMut::new();
        let id = self.links[link].id;
        let (node, other) = (self.links[link].ends[end].node, self.links[link].ends[1 - end].node);
        while let Some((at, item)) = self.links[link].ends[end].inbox.front()
            && *at <= now
        {
            match item {
                Some(more) => bytes.extend_from_slice(more),
                None => {
                    self.links[link].ends[end].state = State::Open;
                    let edge = other < self.edges;
                    let address = if edge { edge_address(other) } else { core_address(other - self.edges) };
                    let role = if edge { Role::Edge } else { Role::Core };
                    let event = LinkEvent::Opened { peer: self.slots[other].name.clone(), role, address };
                    self.links[link].ends[end].inbox.pop_front();
                    let name = self.slots[node].name.clone();
                    self.trace(format_args!("{name} {id} opened"));
                    self.feed(node, Input::Link { link: id, event });
                    continue;
                }
            }
            self.links[link].ends[end].inbox.pop_front();
        }
        if !bytes.is_empty() && self.links[link].ends[end].state == State::Open {
            self.trace(format_args!("{id} ► {node} [{}]", bytes.len()));
            self.feed(node, Input::Link { link: id, event: LinkEvent::Received { bytes: bytes.freeze() } });
        }
    }

    pub(crate) fn node_closes_link(&mut self, node: usize, id: LinkId, why: &str) {
        let Some((link, end)) = self.link_side(node, id) else { return };
        let name = self.slots[node].name.clone();
        self.trace(format_args!("{name} closes {id}: {why}"));
        self.links[link].ends[end].state = State::Closed;
        if !self.links[link].cut {
            let after = self.links[link].latency;
            self.schedule(after, Happening::LinkClosed { link, end: 1 - end, why: "closed by the peer" });
        }
        if end == 0 {
            self.redial_after(link);
        }
    }

    fn redial_after(&mut self, link: usize) {
        let (core, edge) = (&self.links[link].ends[0], &self.links[link].ends[1]);
        let (core, life, edge) = (core.node, core.life, edge.node);
        if self.slots[core].life == life {
            self.redial(core, life, edge, 0);
        }
    }

    /// One side learns that the link is gone.
    pub(crate) fn close_link_end(&mut self, link: usize, end: usize, why: &'static str) {
        if self.links[link].ends[end].state == State::Closed || !self.is_mine(link, end) {
            return;
        }
        let was_pending = self.links[link].ends[end].state == State::Pending;
        self.links[link].ends[end].state = State::Closed;
        let (node, id) = (self.links[link].ends[end].node, self.links[link].id);
        let name = self.slots[node].name.clone();
        self.trace(format_args!("{name} {id} gone: {why}"));
        if !was_pending {
            self.feed(node, Input::Link { link: id, event: LinkEvent::Closed { why: why.to_owned() } });
        }
        if end == 0 {
            self.redial_after(link);
        }
    }

    /// Everything on its way is lost; each side learns of it at its own time, or not at all.
    pub(crate) fn cut_link(&mut self, link: usize) {
        self.links[link].cut = true;
        let id = self.links[link].id;
        self.trace(format_args!("{id} is cut"));
        for end in 0..2 {
            self.links[link].ends[end].inbox.clear();
            let pending = self.links[link].ends[end].state == State::Pending;
            if pending || self.gentle || self.chance.percent(60) {
                let after = self.chance.millis(0, if self.gentle { 600 } else { 2_000 });
                self.schedule(after, Happening::LinkClosed { link, end, why: "reset" });
            }
        }
    }

    pub(crate) fn drop_links_of(&mut self, node: usize) {
        for link in 0..self.links.len() {
            if self.links[link].cut || self.links[link].ends.iter().all(|end| end.node != node) {
                continue;
            }
            self.links[link].cut = true;
            for end in 0..2 {
                self.links[link].ends[end].inbox.clear();
                let side = &self.links[link].ends[end];
                if side.node == node {
                    self.links[link].ends[end].state = State::Closed;
                } else if side.state == State::Pending || self.chance.percent(70) {
                    let after = self.chance.millis(0, 500);
                    self.schedule(after, Happening::LinkClosed { link, end, why: "the peer died" });
                }
            }
        }
    }

    pub(crate) fn send_link_datagram(&mut self, node: usize, id: LinkId, bytes: Bytes) {
        let Some((link, end)) = self.link_side(node, id) else { return };
        let lost = self.chaotic && self.chance.percent(5);
        if self.links[link].cut || !self.links[link].ends[1 - end].path || lost {
            return;
        }
        let after = self.links[link].latency;
        self.schedule(after, Happening::LinkDatagram { link, end: 1 - end, bytes });
    }

    pub(crate) fn deliver_link_datagram(&mut self, link: usize, end: usize, bytes: Bytes) {
        let side = &self.links[link].ends[end];
        if self.links[link].cut || side.state != State::Open || !side.path || !self.is_mine(link, end) {
            return;
        }
        let (node, id) = (side.node, self.links[link].id);
        self.feed(node, Input::Link { link: id, event: LinkEvent::Datagram { bytes } });
    }

    pub(crate) fn datagram_path(&mut self, link: usize, end: usize, open: bool) {
        let side = &mut self.links[link].ends[end];
        if side.state != State::Open || side.path == open {
            return;
        }
        side.path = open;
        let path = if open { MediaPath::Udp } else { MediaPath::None };
        let (node, id) = (side.node, self.links[link].id);
        if self.is_mine(link, end) {
            self.feed(node, Input::Link { link: id, event: LinkEvent::DatagramPath { path } });
        }
    }
}
