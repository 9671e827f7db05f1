//! A core's connections to its edges, whatever they carry: one is kept to each edge, dialled again for ever, with both identities
//! proven.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Random};
use rustls::ClientConfig;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client};

use super::limits::{DRAIN_MAX, GATHERED_BYTES_MAX};
use crate::link::back_off::BackOff;
use crate::link::{connect, handshake};
use crate::pki::identity::{Life, serial_of};
use crate::pki::unix_now;

/// TLS reads in small pieces: they are taken from the socket in large ones.
pub(crate) type Tls = client::TlsStream<BufReader<TcpStream>>;

/// What connections of one kind carry.
pub(crate) trait Carried: 'static {
    /// In words, for the log: these come from an edge.
    const WHAT: &'static str;

    /// What TLS has become.
    type Connection;

    /// Makes a connection of what TLS has opened.
    fn open(&self, opened: Opened) -> impl Future<Output = Result<Self::Connection, String>>;

    /// Serves it until it ends, or until another one should be dialled; why.
    fn serve(
        &self,
        edge: &NodeId,
        connection: Self::Connection,
        standing: &Rc<Standing>,
    ) -> impl Future<Output = Served>;
}

/// Why a connection is not served any more.
pub(crate) enum Served {
    /// It has ended.
    Ended(String),
    /// It goes on without us, and another one takes its place.
    Replaced,
}

/// A connection that has proven its edge.
pub(crate) struct Opened {
    /// The connection.
    pub(crate) tls: Tls,
    /// For how long its certificate holds.
    pub(crate) lasts: Duration,
    /// To be held for as long as the connection.
    pub(crate) proof: Proof,
}

/// By which certificate an edge has proven itself; known to its dial until dropped.
pub(crate) struct Proof {
    standing: Rc<Standing>,
    serial: Vec<u8>,
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut serials = self.standing.serials.borrow_mut();
        if let Some(at) = serials.iter().position(|serial| *serial == self.serial) {
            serials.swap_remove(at);
        }
    }
}

/// Every edge this core dials.
pub(crate) struct Dials<C> {
    carried: Rc<C>,
    dials: BTreeMap<NodeId, Dial>,
    /// The edges whose links stand, as the node says.
    linked: BTreeSet<NodeId>,
}

struct Dial {
    address: String,
    standing: Rc<Standing>,
    task: JoinHandle<()>,
}

/// What a dial and whoever has asked for it share.
pub(crate) struct Standing {
    config: RefCell<Arc<ClientConfig>>,
    serials: RefCell<Vec<Vec<u8>>>,
    /// Ends the connection in good order.
    drain: Notify,
    draining: Cell<bool>,
    check: Notify,
    /// Connections that were replaced, and carry on what they carry.
    older: RefCell<JoinSet<()>>,
    /// Whether there is one that is not.
    connected: Cell<bool>,
}

impl Standing {
    /// The connection is to end in good order.
    pub(crate) async fn drained(&self) {
        self.drain.notified().await;
    }

    /// The edge may be gone: it is to be asked.
    pub(crate) async fn checked(&self) {
        self.check.notified().await;
    }

    /// Whether a connection stands that was not replaced.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// Carries on a connection that is replaced, for as long as this edge is dialled.
    pub(crate) fn carry_on(&self, connection: impl Future<Output = ()> + 'static) {
        let mut older = self.older.borrow_mut();
        while older.try_join_next().is_some() {}
        older.spawn_local(connection);
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.task.abort();
        // Each of these holds what holds them.
        self.standing.older.borrow_mut().abort_all();
    }
}

impl<C: Carried> Dials<C> {
    pub(crate) fn new(carried: C) -> Self {
        Self { carried: Rc::new(carried), dials: BTreeMap::new(), linked: BTreeSet::new() }
    }

    /// What they carry.
    pub(crate) fn carried(&self) -> &C {
        &self.carried
    }

    /// Keeps a connection to an edge from now on.
    pub(crate) fn dial(&mut self, edge: NodeId, address: String, config: Arc<ClientConfig>) {
        if let Some(dial) = self.dials.get(&edge).filter(|dial| dial.address == address) {
            *dial.standing.config.borrow_mut() = config;
            return;
        }
        let random = match crate::service::seed() {
            Ok(seed) => Random::from_seed(seed),
            Err(error) => return tracing::error!(%error, "no {} come from {edge}", C::WHAT),
        };
        let standing = Rc::new(Standing {
            config: RefCell::new(config),
            serials: RefCell::default(),
            drain: Notify::new(),
            draining: Cell::new(false),
            check: Notify::new(),
            older: RefCell::default(),
            connected: Cell::new(false),
        });
        let keeper = Keeper {
            edge: edge.clone(),
            address: address.clone(),
            standing: Rc::clone(&standing),
            carried: Rc::clone(&self.carried),
        };
        let task = spawn_local(keeper.run(random));
        self.dials.insert(edge, Dial { address, standing, task });
    }

    /// Closes what leads to an edge.
    pub(crate) fn forget(&mut self, edge: &NodeId) {
        self.dials.remove(edge);
    }

    /// The node's own link to an edge came or went: then the edge is asked here, too, whether it is still there, and
    /// dialled at once where it is not connected.
    pub(crate) fn told(&mut self, fact: &SignInFact) {
        let SignInFact::Linked(peers) = fact else { return };
        let linked: BTreeSet<_> = peers.iter().cloned().collect();
        let unchanged = linked == self.linked;
        for (edge, dial) in &self.dials {
            // What is told again is told because a link came anew.
            if unchanged || linked.contains(edge) != self.linked.contains(edge) {
                dial.standing.check.notify_one();
            }
        }
        self.linked = linked;
    }

    /// Closes connections to edges that were proven by one of these certificates. They are dialled again, and
    /// whoever is revoked does not get through TLS.
    pub(crate) fn revoked(&mut self, serials: &BTreeSet<Vec<u8>>) {
        let hit = |dial: &Dial| dial.standing.serials.borrow().iter().any(|serial| serials.contains(serial));
        let hit: Vec<_> = self.dials.iter().filter(|(_, dial)| hit(dial)).map(|(edge, _)| edge.clone()).collect();
        for edge in hit {
            let Some(dial) = self.dials.remove(&edge) else { continue };
            let config = Arc::clone(&dial.standing.config.borrow());
            let address = dial.address.clone();
            drop(dial);
            self.dial(edge, address, config);
        }
    }

    /// Takes nothing new, and lets what is under way end for a moment.
    pub(crate) async fn drain(mut self) {
        let dials = std::mem::take(&mut self.dials);
        for dial in dials.values() {
            dial.standing.draining.set(true);
            dial.standing.drain.notify_one();
        }
        let done = async {
            for (_, mut dial) in dials {
                let _ = (&mut dial.task).await;
            }
        };
        let _ = timeout(DRAIN_MAX, done).await;
    }
}

struct Keeper<C> {
    edge: NodeId,
    address: String,
    standing: Rc<Standing>,
    carried: Rc<C>,
}

impl<C: Carried> Keeper<C> {
    async fn run(self, mut random: Random) {
        let (mut back_off, mut said) = (BackOff::default(), None);
        while !self.standing.draining.get() {
            let (why, wait) = match self.open().await {
                Err(why) => (Some(why), back_off.handle_failure(&mut random)),
                Ok(connection) => {
                    let since = Instant::now();
                    said = None;
                    tracing::info!(edge = %self.edge, "{} come from the edge {}", C::WHAT, self.edge);
                    self.standing.connected.set(true);
                    let served = self.carried.serve(&self.edge, connection, &self.standing).await;
                    self.standing.connected.set(false);
                    let why = match served {
                        Served::Ended(why) => Some(why),
                        Served::Replaced => None,
                    };
                    (why, back_off.handle_closed(since.elapsed(), &mut random))
                }
            };
            if let Some(why) = why
                && said.as_ref() != Some(&why)
                && !self.standing.draining.get()
            {
                tracing::warn!(edge = %self.edge, "no {} come from the edge {} now: {why}", C::WHAT, self.edge);
                said = Some(why);
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.standing.drained() => {}
                () = self.standing.checked() => {}
            }
        }
    }

    async fn open(&self) -> Result<C::Connection, String> {
        let config = Arc::clone(&self.standing.config.borrow());
        let (tcp, _) = connect(&self.address).await?;
        let tcp = BufReader::with_capacity(GATHERED_BYTES_MAX, tcp);
        let tls = handshake(&TlsConnector::from(config), &self.edge, tcp).await?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let ends_unix = certificate.as_ref().and_then(Life::of).map_or(0, |life| life.ends);
        let serial = certificate.as_ref().and_then(serial_of).unwrap_or_default();
        self.standing.serials.borrow_mut().push(serial.clone());
        let proof = Proof { standing: Rc::clone(&self.standing), serial };
        let lasts = Duration::from_secs(ends_unix.saturating_sub(unix_now()));
        self.carried.open(Opened { tls, lasts, proof }).await
    }
}
