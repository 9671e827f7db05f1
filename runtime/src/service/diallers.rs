//! Whom a core dials, for as long as it runs.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use edgeway_config::{CoreLinkSettings, CoreSettings, FixedEdge};
use edgeway_model::world::Observable;
use edgeway_model::{NodeId, Random, Role};

use super::{EDGES_EVERY, seed};
use crate::http::HttpHandle;
use crate::link;
use crate::media::MediaHandle;
use crate::pki::{EdgeBook, EdgeRecord, Identity, PkiError, Trust};
use crate::reactor::Reactor;

/// The edges and other cores that a core dials.
pub(super) struct Diallers<N> {
    reactor: Rc<Reactor<N>>,
    media: MediaHandle,
    http: Option<HttpHandle>,
    trust: Rc<Trust>,
    dialled: Vec<(EdgeRecord, link::Dialler)>,
    /// The trust the media paths were last dialled with.
    generation: u64,
}

impl<N: Observable + 'static> Diallers<N> {
    pub(super) fn new(reactor: Rc<Reactor<N>>, media: MediaHandle, http: Option<HttpHandle>, trust: Rc<Trust>) -> Self {
        Self { reactor, media, http, trust, dialled: Vec::new(), generation: 0 }
    }

    fn dial(&mut self, identity: &Identity, edge: EdgeRecord) {
        self.dial_besides(identity, &edge);
        let random = match seed() {
            Ok(seed) => Random::from_seed(seed),
            Err(error) => return tracing::error!(%error, "no link to {}", edge.node),
        };
        let dialler = link::dial(Rc::clone(&self.reactor), &self.trust, &edge, random);
        self.dialled.push((edge, dialler));
    }

    /// Media and requests of clients go between a core and an edge only. An address that is dialled already is
    /// dialled with this identity from the next time on.
    fn dial_besides(&self, identity: &Identity, edge: &EdgeRecord) {
        if edge.role == Role::Core {
            return;
        }
        match crate::pki::tls::media_client_config(identity, &edge.node) {
            Ok(config) => self.media.dial(edge.node.clone(), edge.address.clone(), config),
            Err(error) => tracing::error!(%error, "no media path to {}", edge.node),
        }
        let Some(http) = &self.http else { return };
        match crate::pki::tls::bulk_client_config(identity, &edge.node) {
            Ok(config) => http.dial(edge.node.clone(), edge.address.clone(), config),
            Err(error) => tracing::error!(%error, "no bulk connection to {}", edge.node),
        }
    }

    /// Dials what is new, forgets what is gone or revoked.
    fn follow(&mut self, identity: &Identity, edges: &[EdgeRecord]) {
        let (media, http, trust) = (&self.media, &self.http, &self.trust);
        let reactor = &self.reactor;
        self.dialled.retain(|(edge, _)| {
            // Who has moved is dialled there when the connection here has ended: what goes over it is not cut off.
            let is_it = |one: &EdgeRecord| *one == EdgeRecord { address: one.address.clone(), ..edge.clone() };
            let known = edges.contains(edge) || (edges.iter().any(is_it) && reactor.is_linked(&edge.node));
            let stays = known && !trust.is_revoked(&edge.node);
            if !stays {
                media.forget(&edge.node);
                if let Some(http) = http {
                    http.forget(&edge.node);
                }
            }
            stays
        });
        if self.generation != self.trust.generation() {
            self.generation = self.trust.generation();
            if let Some(http) = &self.http {
                http.revoked(self.trust.revoked_serials());
            }
            for (edge, _) in &self.dialled {
                self.dial_besides(identity, edge);
            }
        }
        let trust = Rc::clone(&self.trust);
        for edge in edges.iter().filter(|edge| !trust.is_revoked(&edge.node)) {
            if !self.dialled.iter().any(|(known, _)| known.node == edge.node) {
                self.dial(identity, edge.clone());
            }
        }
    }
}

/// Whom a core dials: whom it has joined, at the addresses its file says, and the cores its file names.
pub(super) struct CoreEdges {
    state_dir: PathBuf,
    node: NodeId,
    fixed: RefCell<Vec<FixedEdge>>,
    peers: RefCell<Vec<FixedEdge>>,
    /// In memory, for labs.
    given: Option<Vec<EdgeRecord>>,
}

impl CoreEdges {
    pub(super) fn new(settings: &CoreSettings, given: Option<Vec<EdgeRecord>>) -> Self {
        Self {
            state_dir: PathBuf::from(&settings.state_dir),
            node: settings.node.clone(),
            fixed: RefCell::new(settings.link.edges.clone()),
            peers: RefCell::new(settings.link.peers.clone()),
            given,
        }
    }

    /// What the settings say from now on.
    pub(super) fn set(&self, link: &CoreLinkSettings) {
        self.fixed.borrow_mut().clone_from(&link.edges);
        self.peers.borrow_mut().clone_from(&link.peers);
    }

    fn read(&self) -> Result<Vec<EdgeRecord>, PkiError> {
        let mut edges = match &self.given {
            Some(given) => given.clone(),
            None => EdgeBook::load(&self.state_dir)?.edges().to_vec(),
        };
        for edge in &mut edges {
            if let Some(fixed) = self.fixed.borrow().iter().find(|fixed| fixed.node == edge.node) {
                edge.address = fixed.address.to_string();
            }
        }
        for peer in self.peers.borrow().iter().filter(|peer| peer.node != self.node) {
            edges.retain(|edge| edge.node != peer.node);
            let (node, address) = (peer.node.clone(), peer.address.to_string());
            edges.push(EdgeRecord { node, role: Role::Core, address, key_hash: [0; 32] });
        }
        Ok(edges)
    }
}

/// Joining is another process writing into the state directory; this one follows.
pub(super) async fn follow_edges<N: Observable + 'static>(
    mut diallers: Diallers<N>,
    edges: Rc<CoreEdges>,
    look_again: Rc<tokio::sync::Notify>,
) {
    let mut said = String::new();
    loop {
        match (diallers.trust.identity(), edges.read()) {
            (Some(identity), Ok(edges)) => diallers.follow(&identity, &edges),
            (None, Ok(_)) if said.is_empty() => {
                said = format!(
                    "{} has joined no edge yet: run `edgeway edge invite` on the edge, then `edgeway core join` here",
                    edges.node
                );
                tracing::warn!("{said}");
            }
            (None, Ok(_)) => {}
            (_, Err(error)) => {
                let error = error.to_string();
                if said != error {
                    tracing::error!("{error}");
                    said = error;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EDGES_EVERY) => {}
            () = look_again.notified() => {}
        }
    }
}
