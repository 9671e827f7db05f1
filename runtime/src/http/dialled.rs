//! An edge's connections that cores have dialled, whatever they carry: who is at the other end, and which of them is asked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Role};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::limits::{BULK_STRANGERS_MAX, GATHERED_BYTES_MAX};
use crate::link::{CallerHello, tune};
use crate::pki::identity::{Life, serial_of};
use crate::pki::{node_of, unix_now};

/// TLS reads in small pieces: they are taken from the socket in large ones.
pub(crate) type Tls = TlsStream<BufReader<TcpStream>>;

/// A core, through one connection.
pub(crate) trait Peer {
    /// Its name.
    fn node(&self) -> &NodeId;
    /// Of the certificate that has proven it.
    fn serial(&self) -> Option<&[u8]>;
    /// Whether anything new may be given to it.
    fn takes(&self) -> bool;
    /// It may be gone: it is to be asked.
    fn check(&self);
    /// Ends the connection at once.
    fn end(&self, why: &'static str);
}

/// Every core that has a connection of one kind to this edge.
pub(crate) struct Peers<P> {
    list: RefCell<Vec<Rc<P>>>,
    /// The cores whose links stand, if the node says so: the others come last.
    linked: RefCell<Option<BTreeSet<NodeId>>>,
    strangers: Rc<Cell<usize>>,
    /// Certificates that hold no longer.
    revoked: RefCell<BTreeSet<Vec<u8>>>,
}

impl<P> Default for Peers<P> {
    fn default() -> Self {
        Self {
            list: RefCell::default(),
            linked: RefCell::default(),
            strangers: Rc::default(),
            revoked: RefCell::default(),
        }
    }
}

/// A connection that has proven nothing yet; counted until dropped.
pub(crate) struct Stranger(Rc<Cell<usize>>);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl<P: Peer> Peers<P> {
    /// Room for one that has proven nothing yet.
    pub(crate) fn stranger(&self) -> Option<Stranger> {
        if self.strangers.get() >= BULK_STRANGERS_MAX {
            tracing::debug!("a connection of a core was closed: too many are unproven already");
            return None;
        }
        self.strangers.set(self.strangers.get() + 1);
        Some(Stranger(Rc::clone(&self.strangers)))
    }

    /// Cores in the order in which they should be asked for `key`: the same key comes to the same core, at every
    /// edge, for as long as that core is there (rendezvous hashing).
    pub(crate) fn ranked(&self, key: &str) -> Vec<Rc<P>> {
        let mut cores: Vec<_> = self.list.borrow().iter().filter(|core| core.takes()).cloned().collect();
        if cores.len() > 1 {
            let linked = self.linked.borrow();
            let unlinked = |core: &P| linked.as_ref().is_some_and(|linked| !linked.contains(core.node()));
            cores.sort_by_cached_key(|core| (unlinked(core), std::cmp::Reverse(weight(key, core.node().as_str()))));
        }
        cores
    }

    /// All connections, the newest last.
    pub(crate) fn list(&self) -> Vec<Rc<P>> {
        self.list.borrow().clone()
    }

    /// One more connection. It ends at once if its certificate was revoked while it was being proven: then it stood
    /// in no list.
    pub(crate) fn add(&self, peer: Rc<P>) {
        if peer.serial().is_some_and(|serial| self.revoked.borrow().contains(serial)) {
            return peer.end(NO_LONGER);
        }
        self.list.borrow_mut().push(peer);
    }

    /// One less.
    pub(crate) fn remove(&self, peer: &Rc<P>) {
        self.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, peer));
    }

    /// Ends connections, and knows them no longer.
    pub(crate) fn end_where(&self, why: &'static str, which: impl Fn(&P) -> bool) {
        self.list.borrow_mut().retain(|core| {
            let ends = which(core);
            if ends {
                core.end(why);
            }
            !ends
        });
    }

    /// Closes what leads to a core.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.end_where(NO_LONGER, |core| core.node() == node);
    }

    /// Closes connections that were proven by one of these certificates.
    pub(crate) fn revoked(&self, serials: &BTreeSet<Vec<u8>>) {
        self.revoked.borrow_mut().clone_from(serials);
        self.end_where(NO_LONGER, |core| core.serial().is_none_or(|serial| serials.contains(serial)));
    }

    /// Closes all of them.
    pub(crate) fn close(&self) {
        self.end_where("this edge stops", |_| true);
    }

    /// Which cores are linked is a hint: one that is not may be about to go.
    pub(crate) fn told(&self, fact: &SignInFact) {
        if let SignInFact::Linked(peers) = fact {
            let linked: BTreeSet<_> = peers.iter().cloned().collect();
            let before = self.linked.replace(Some(linked.clone())).unwrap_or_default();
            for core in &*self.list.borrow() {
                // What is told again is told because a link came anew.
                if before == linked || before.contains(core.node()) != linked.contains(core.node()) {
                    core.check();
                }
            }
        }
    }
}

const NO_LONGER: &str = "its identity holds no longer";

/// A connection whose core is proven.
pub(crate) struct Proven {
    /// The connection.
    pub(crate) tls: Tls,
    /// Whose it is.
    pub(crate) node: NodeId,
    /// By which certificate.
    pub(crate) serial: Option<Vec<u8>>,
    /// For how long that holds.
    pub(crate) lasts: Duration,
}

/// Has a core prove itself.
pub(crate) async fn prove(hello: CallerHello) -> io::Result<Proven> {
    hello.tcp.set_nonblocking(true)?;
    let tcp = TcpStream::from_std(hello.tcp)?;
    tune(&tcp)?;
    let tcp = BufReader::with_capacity(GATHERED_BYTES_MAX, tcp);
    let tls = StartHandshake::from_parts(*hello.accepted, tcp).into_stream(hello.config).await?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    // The TLS configuration has checked both already.
    let (node, role) = node_of(chain).ok_or_else(|| io::Error::other("the peer's certificate names no node"))?;
    if role != Role::Core {
        return Err(io::Error::other("the peer is no core"));
    }
    let certificate = chain.first().cloned();
    let ends_unix = certificate.as_ref().and_then(Life::of).map_or(0, |life| life.ends);
    let serial = certificate.as_ref().and_then(serial_of);
    Ok(Proven { tls, node, serial, lasts: Duration::from_secs(ends_unix.saturating_sub(unix_now())) })
}

/// FNV-1a over both names, mixed (the last lines of SplitMix64): the same at every edge and in every version.
fn weight(key: &str, core: &str) -> u64 {
    let bytes = core.bytes().chain([0]).chain(key.bytes());
    let mut mixed = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One {
        node: NodeId,
        serial: Vec<u8>,
        ended: Cell<bool>,
    }

    impl Peer for One {
        fn node(&self) -> &NodeId {
            &self.node
        }

        fn serial(&self) -> Option<&[u8]> {
            Some(&self.serial)
        }

        fn takes(&self) -> bool {
            true
        }

        fn check(&self) {}

        fn end(&self, _: &'static str) {
            self.ended.set(true);
        }
    }

    #[test]
    fn one_that_is_revoked_while_it_proves_itself_gets_nothing() {
        let peers = Peers::default();
        let one = |serial| {
            let node = NodeId::new("core1").expect("a name");
            Rc::new(One { node, serial: vec![serial], ended: Cell::new(false) })
        };
        peers.revoked(&BTreeSet::from([vec![7]]));
        let (late, good) = (one(7), one(8));
        peers.add(Rc::clone(&late));
        peers.add(Rc::clone(&good));
        assert_eq!((late.ended.get(), good.ended.get()), (true, false));
        assert_eq!(peers.ranked("alice").len(), 1);
    }

    #[test]
    fn users_are_spread_and_stay_when_another_core_goes() {
        let cores = ["core1", "core2", "core3"];
        let first = |user: &str, cores: &[&str]| {
            *cores.iter().max_by_key(|core| weight(user, core)).expect("there is one") == "core1"
        };
        let users: Vec<_> = (0..3_000).map(|n| format!("user{n}")).collect();
        let at_first = users.iter().filter(|user| first(user, &cores)).count();
        assert!((900..1_100).contains(&at_first), "{at_first} of 3,000 users at one core of three");
        let stay = users.iter().filter(|user| first(user, &cores)).all(|user| first(user, &cores[..2]));
        assert!(stay, "who was at core1 with three cores is there with two");
    }
}
