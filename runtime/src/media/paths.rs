//! By which way each peer is reached: UDP, or TCP where UDP is blocked.
//!
//! A core dials both; TCP only once UDP has been silent for a moment, and it gives TCP up again when
//! UDP has been back for a while. Each side sends by the best way it has and takes in what comes by
//! either, so relays notice nothing of a change.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use edgeway_model::NodeId;
use edgeway_model::media::MediaPath;
use rustls::{ClientConfig, Connection};

use super::MediaFact;
use super::limits::{FALLBACK_AFTER, FALLBACK_KEPT, LINK_SILENT_AFTER, STREAM_HANDSHAKE_MAX};
use super::peers::{Dial, DialState, FallbackState};
use super::quic::{LineEvent, LineNumber};
use super::resolve::resolve;
use super::stream::{self, StreamEvent, StreamNumber};
use super::thread::Worker;

impl Worker {
    /// `true` if there was any.
    pub(super) fn take_line_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.quic.poll_event() {
            any = true;
            match event {
                LineEvent::Opened { line, peer } => self.line_opened(line, &peer, now),
                LineEvent::Lost { line, why } => self.line_lost(line, &why),
            }
        }
        any
    }

    /// What became of TCP connections.
    pub(super) fn take_stream_events(&mut self) {
        while let Some(event) = self.streams.poll_event() {
            match event {
                StreamEvent::Confirmed(stream) => self.stream_confirmed(stream),
                StreamEvent::Lost { stream, why } => self.stream_lost(stream, &why),
            }
        }
    }

    fn line_opened(&mut self, line: LineNumber, node: &NodeId, now: Instant) {
        if let Some(at) = self.peers.of_dialled_line(line)
            && let Some(dial) = self.peers.peer_mut(at).and_then(|peer| peer.dial.as_mut())
        {
            dial.state = DialState::Open { line, since: self.now };
            dial.said.clear();
        }
        let Some(at) = self.peers.know(node) else {
            tracing::warn!(peer = %node, "a media path was refused: too many peers are known already");
            return self.quic.close(line, now);
        };
        let old = self.peers.peer_mut(at).and_then(|peer| peer.line.replace(line));
        if let Some(old) = old {
            self.quic.close(old, now);
        }
        self.tell_path(at);
    }

    fn line_lost(&mut self, line: LineNumber, why: &str) {
        if let Some(at) = self.peers.of_dialled_line(line) {
            self.dial_failed(at, why);
        }
        if let Some(at) = self.peers.of_line(line) {
            if let Some(peer) = self.peers.peer_mut(at) {
                peer.line = None;
            }
            self.tell_path(at);
        }
    }

    fn dial_failed(&mut self, at: usize, why: &str) {
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = &mut peer.dial else { return };
        if dial.is_news(why) {
            tracing::warn!(peer = %peer.node, address = %dial.address, "no UDP path to this edge: {why}");
        }
        dial.retry(&mut self.random, self.now);
    }

    pub(super) fn dial_due(&mut self) {
        while let Some(at) = self.peers.due(self.now) {
            let Some(peer) = self.peers.peer_mut(at) else { return };
            let Some(dial) = &mut peer.dial else { return };
            dial.state = DialState::Resolving;
            let (node, address) = (peer.node.clone(), dial.address.clone());
            resolve(node, address, self.own_orders.clone(), Arc::clone(&self.board));
        }
    }

    pub(super) fn resolved(
        &mut self,
        node: &NodeId,
        address: &str,
        found: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) {
        let Some(at) = self.peers.find(node) else { return };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = peer.dial.as_mut().filter(|dial| dial.awaits(address)) else { return };
        let dialled = found.and_then(|found| {
            let found = dial.choose(&found).ok_or("the name has no address")?;
            self.quic.dial(node, found, &dial.config, &self.poller, now)
        });
        match dialled {
            Ok(line) => dial.state = DialState::Opening(line),
            Err(why) => self.dial_failed(at, &why),
        }
    }

    /// The same address again only changes the identity the next dial shows.
    pub(super) fn keep_dialling(&mut self, node: NodeId, address: String, config: Arc<ClientConfig>, now: Instant) {
        let known = self.peers.find(&node).and_then(|at| self.peers.peer_mut(at)?.dial.as_mut());
        if let Some(dial) = known.filter(|dial| dial.address == address) {
            dial.config = config;
            return;
        }
        self.stop_dialling(&node, now);
        match self.peers.know(&node).and_then(|at| self.peers.peer_mut(at)) {
            Some(entry) => entry.dial = Some(Dial::new(address, config, self.now)),
            None => tracing::error!(peer = %node, "not dialled for media: too many peers are known already"),
        }
    }

    pub(super) fn stop_dialling(&mut self, node: &NodeId, now: Instant) {
        let Some(at) = self.peers.find(node) else { return };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let dial = peer.dial.take();
        let lines = [dial.as_ref().and_then(Dial::line), peer.line.take()];
        let streams = [dial.and_then(|dial| dial.fallback.stream()), peer.stream.take()];
        lines.into_iter().flatten().for_each(|line| self.quic.close(line, now));
        streams.into_iter().flatten().for_each(|stream| self.streams.close(stream, &self.poller));
        self.tell_path(at);
    }

    /// Silent UDP is given up; TCP is dialled where UDP is not sound, and given up where it is.
    pub(super) fn watch_paths(&mut self, now: Instant) {
        for at in self.peers.numbers() {
            let Some(line) = self.peers.peer(at).map(|peer| peer.line) else { continue };
            let silent =
                line.and_then(|line| self.quic.heard_at(line)).map(|heard| now.saturating_duration_since(heard));
            if let (Some(line), Some(silent)) = (line, silent)
                && silent >= LINK_SILENT_AFTER
            {
                self.quic.close(line, now);
                self.line_lost(line, "UDP is silent");
            }
            self.watch_fallback(at, silent.is_some_and(|silent| silent < FALLBACK_AFTER));
        }
    }

    fn watch_fallback(&mut self, at: usize, sound: bool) {
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = &mut peer.dial else { return };
        if sound {
            dial.sound_at = self.now;
        }
        // An open line is unsound only once it has been silent for as long.
        let unsound = !sound && (peer.line.is_some() || self.now.since(dial.sound_at) >= FALLBACK_AFTER);
        match dial.fallback.state {
            FallbackState::Waiting { until } if unsound && until <= self.now => {
                dial.fallback.state = FallbackState::Dialling;
                let config = crate::pki::tls::to_media_stream(&dial.config);
                let (node, address) = (peer.node.clone(), dial.address.clone());
                stream::dial(node, address, config, self.own_orders.clone(), Arc::clone(&self.board));
            }
            FallbackState::Opening { stream, until } if until <= self.now => {
                self.streams.close(stream, &self.poller);
                self.fallback_failed(at, "the edge does not confirm the connection");
            }
            FallbackState::Open { stream, .. } => {
                let steady =
                    matches!(dial.state, DialState::Open { since, .. } if self.now.since(since) >= FALLBACK_KEPT);
                if sound && steady {
                    dial.fallback.rest(self.now);
                    peer.stream = None;
                    self.streams.close(stream, &self.poller);
                }
            }
            FallbackState::Waiting { .. } | FallbackState::Opening { .. } | FallbackState::Dialling => {}
        }
    }

    /// The dial over TCP has come to its end.
    pub(super) fn streamed(&mut self, node: &NodeId, opened: Result<(TcpStream, Box<Connection>), String>) {
        let Some(at) = self.peers.find(node) else { return };
        let wanted = |dial: &Dial| dial.fallback.state == FallbackState::Dialling;
        if !self.peers.peer(at).and_then(|peer| peer.dial.as_ref()).is_some_and(wanted) {
            return;
        }
        let added = opened
            .and_then(|(tcp, tls)| self.streams.add(tcp, *tls, false, &self.poller).map_err(|error| error.to_string()));
        match added {
            Ok(stream) => {
                if let Some(dial) = self.peers.peer_mut(at).and_then(|peer| peer.dial.as_mut()) {
                    dial.fallback.state = FallbackState::Opening { stream, until: self.now + STREAM_HANDSHAKE_MAX };
                }
            }
            Err(why) => self.fallback_failed(at, &why),
        }
    }

    /// Edge: a core has dialled over TCP.
    pub(super) fn adopt(&mut self, node: &NodeId, tcp: TcpStream, tls: Connection) {
        let Some(at) = self.peers.know(node) else {
            return tracing::warn!(peer = %node, "a media connection was refused: too many peers are known already");
        };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        if let Some(old) = peer.stream.take() {
            self.streams.close(old, &self.poller);
        }
        match self.streams.add(tcp, tls, true, &self.poller) {
            Ok(stream) => peer.stream = Some(stream),
            Err(error) => tracing::warn!(peer = %node, %error, "a media connection was refused"),
        }
        self.tell_path(at);
    }

    fn stream_confirmed(&mut self, stream: StreamNumber) {
        let Some(at) = self.peers.of_fallback(stream) else { return };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        peer.stream = Some(stream);
        if let Some(dial) = &mut peer.dial {
            dial.fallback.state = FallbackState::Open { stream, since: self.now };
            dial.fallback.said.clear();
        }
        self.tell_path(at);
    }

    fn stream_lost(&mut self, stream: StreamNumber, why: &str) {
        if let Some(at) = self.peers.of_fallback(stream) {
            self.fallback_failed(at, why);
        }
        if let Some(at) = self.peers.of_stream(stream) {
            if let Some(peer) = self.peers.peer_mut(at) {
                peer.stream = None;
            }
            self.tell_path(at);
        }
    }

    fn fallback_failed(&mut self, at: usize, why: &str) {
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = &mut peer.dial else { return };
        if dial.fallback.said != why {
            why.clone_into(&mut dial.fallback.said);
            tracing::warn!(peer = %peer.node, address = %dial.address, "no TCP path for media to this edge: {why}");
        }
        dial.fallback.retry(&mut self.random, self.now);
    }

    /// Tells the node by which way a peer is reached, if that has changed.
    fn tell_path(&mut self, at: usize) {
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let path = peer.path();
        if peer.told == path {
            return;
        }
        peer.told = path;
        let peer = peer.node.clone();
        tracing::info!(%peer, path = path.label(), "media path");
        {
            let mut paths = self.board.paths.lock().unwrap_or_else(PoisonError::into_inner);
            if path == MediaPath::None {
                paths.remove(&peer);
            } else {
                paths.insert(peer.clone(), path);
            }
        }
        let earlier = |fact: &MediaFact| matches!(fact, MediaFact::Path { peer: other, .. } if *other == peer);
        self.backlog.retain(|fact| !earlier(fact));
        self.tell(MediaFact::Path { peer, path });
    }
}
