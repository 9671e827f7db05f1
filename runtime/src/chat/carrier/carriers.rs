//! The edge's end: the carriers cores have dialled.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use edgeway_link::chat::NotOpened;
use edgeway_model::chat::ChatOpening;
use edgeway_model::limits::TLS_HANDSHAKE_MAX;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Role};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::super::limits::OLDER_CARRIERS_MAX;
use super::super::stream::ChatStream;
use super::chats::replaced_after;
use super::line::Line;
use super::pump::{Pump, Turn};
use crate::http::dialled::{Peer, Peers, Proven, prove};
use crate::http::{HttpFact, Teller};
use crate::link::CallerHello;
use crate::link::limits::CORES_MAX;
use crate::pki::tls::explain_io;

/// Every core that has a carrier to this edge.
pub struct Carriers {
    peers: Peers<Carrier>,
    teller: Teller,
}

/// One core, through one connection.
pub struct Carrier {
    node: NodeId,
    serial: Option<Vec<u8>>,
    line: Rc<Line>,
    /// Ends the connection at once, and why.
    end: Notify,
    why: Cell<&'static str>,
}

impl Carriers {
    /// None yet; what is counted goes to `teller`.
    #[must_use]
    pub fn new(teller: Teller) -> Self {
        Self { peers: Peers::default(), teller }
    }

    /// Cores in the order in which they should be asked for `key`: the same key comes to the same core, at every edge, for as long as that core is
    /// there. Those whose links stand come first. Empty while there is none.
    #[must_use]
    pub fn ranked(&self, key: &str) -> Vec<Rc<Carrier>> {
        self.peers.ranked(key)
    }

    /// A connection that only said hello.
    pub fn adopt(self: &Rc<Self>, hello: CallerHello) {
        let Some(stranger) = self.peers.stranger() else { return };
        let carriers = Rc::clone(self);
        spawn_local(async move {
            let proven = timeout(TLS_HANDSHAKE_MAX, prove(hello)).await;
            drop(stranger);
            match proven {
                Ok(Ok(proven)) => carriers.carry(proven).await,
                Ok(Err(error)) => tracing::info!("a chat connection was refused: {}", explain_io(&error)),
                Err(_) => tracing::info!("a chat connection was refused: it took too long"),
            }
        });
    }

    async fn carry(&self, Proven { tls, node, serial, lasts }: Proven) {
        let mut others = BTreeSet::new();
        let mut older = Vec::new();
        for other in self.peers.list() {
            if other.node == node {
                older.push(other);
            } else {
                others.insert(other.node.clone());
            }
        }
        if others.len() >= CORES_MAX {
            return tracing::warn!("{CORES_MAX} cores have chat connections already");
        }
        // What is under way stays where it is, if its connection lives; it is asked.
        for (number, other) in older.iter().rev().enumerate() {
            other.line.leave();
            other.check();
            if number >= OLDER_CARRIERS_MAX {
                other.end("newer ones have come");
            }
        }
        let line = Line::new(Role::Edge);
        let carrier = Carrier { node, serial, line: Rc::clone(&line), end: Notify::new(), why: Cell::new("") };
        let carrier = Rc::new(carrier);
        self.peers.add(Rc::clone(&carrier));
        self.teller.tell(HttpFact::Counted("chat_carrier_opened"));
        tracing::info!(event = "chat.carrier.opened", core = %carrier.node, "chat can go to the core {}", carrier.node);
        let mut pump = Pump::new(line, tls);
        let why = tokio::select! {
            why = self.pumped(&mut pump, &carrier, lasts) => why,
            () = carrier.end.notified() => carrier.why.get().to_owned(),
        };
        self.peers.remove(&carrier);
        self.teller.tell(HttpFact::Counted("chat_carrier_ended"));
        tracing::info!(
            event = "chat.carrier.ended", core = %carrier.node,
            "no more chat goes to the core {} this way: {why}", carrier.node
        );
        pump.close().await;
    }

    /// Carries until it ends; why.
    async fn pumped<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        pump: &mut Pump<T>,
        carrier: &Rc<Carrier>,
        lasts: Duration,
    ) -> String {
        let (leaves_at, ends_at) = (sleep(replaced_after(lasts)), sleep(lasts));
        tokio::pin!(leaves_at, ends_at);
        let (mut leaving, mut outlives) = (false, false);
        loop {
            tokio::select! {
                turn = pump.turn() => match turn {
                    Turn::Ended(why) => return why,
                    // The core dials again by itself. It opens no streams.
                    Turn::Leaving | Turn::Opened(..) => {}
                },
                () = &mut leaves_at, if !leaving => {
                    leaving = true;
                    carrier.line.leave();
                }
                () = &mut ends_at, if !outlives => {
                    // The same core has proven itself anew since, over the connection that took this one's place.
                    outlives = self.peers.list().iter().any(|other| other.node == carrier.node && other.takes());
                    if !outlives {
                        return "its certificate has ended".to_owned();
                    }
                }
            }
        }
    }

    /// Closes what leads to a core.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.peers.forget(node);
    }

    /// Closes connections that were proven by one of these certificates.
    pub(crate) fn revoked(&self, serials: &BTreeSet<Vec<u8>>) {
        self.peers.revoked(serials);
    }

    /// Closes all of them.
    pub(crate) fn close(&self) {
        self.peers.close();
    }

    /// Which cores are linked is a hint: one that is not may be about to go.
    pub(crate) fn told(&self, fact: &SignInFact) {
        self.peers.told(fact);
    }
}

impl Peer for Carrier {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }

    fn takes(&self) -> bool {
        self.line.opens()
    }

    fn check(&self) {
        self.line.check();
    }

    fn end(&self, why: &'static str) {
        self.why.set(why);
        // Whoever uses its streams need not wait until the last words have left.
        self.line.finish();
        self.end.notify_one();
    }
}

impl Carrier {
    /// Its name.
    #[must_use]
    pub const fn core(&self) -> &NodeId {
        &self.node
    }

    /// Opens a client's stream at this core.
    ///
    /// # Errors
    /// When it takes none; another core may.
    pub fn open(&self, opening: &ChatOpening) -> Result<ChatStream, NotOpened> {
        self.line.open(opening)
    }
}
