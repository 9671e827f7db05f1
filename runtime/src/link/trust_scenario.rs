//! Scenarios of trust on open links: renewal, revocation, expiry, and cores that dial each other.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeway_model::notice::Notice;
use edgeway_model::{NodeId, Random};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::scenario::{Recorder, node, run};
use super::{Dialler, Door, Listener, dial, listen};
use crate::pki::limits::INVITE_VALIDITY;
use crate::pki::tests::Scratch;
use crate::pki::{Authority, EdgeRecord, Invites, JoinDesk, NodeState, Role, Trust, pairing, unix_now};

/// Short, and long enough for a busy machine.
const LIFE: Duration = Duration::from_secs(9);

/// A node with a state directory, a link port and somebody who remembers.
struct Place {
    dir: Scratch,
    name: NodeId,
    role: Role,
    host: Rc<Recorder>,
    trust: Rc<Trust>,
    port: SocketAddr,
    notices: Rc<RefCell<Vec<Notice>>>,
    desk: Rc<JoinDesk>,
    _listener: Listener,
}

impl Place {
    async fn new(name: &str, role: Role) -> Self {
        let dir = Scratch::new(name);
        let desk = Rc::new(JoinDesk::open(dir.path(), node(name), role).unwrap());
        let (trust, host, notices) = (desk.trust(), Rc::<Recorder>::default(), Rc::<RefCell<Vec<_>>>::default());
        trust.set_validity(LIFE);
        let noted = Rc::clone(&notices);
        trust.on_notice(move |notice| noted.borrow_mut().push(notice.clone()));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap();
        let listener = listen(host.clone(), tcp, Door::Desk(Rc::clone(&desk))).unwrap();
        Self { dir, name: node(name), role, host, trust, port, notices, desk, _listener: listener }
    }

    /// The operator's two commands: this one is invited, `core` joins it.
    async fn joined_by(&self, core: &Self) {
        let invites = Invites::in_state(self.dir.path());
        let token = invites.create(&self.port.to_string(), self.desk.key(), INVITE_VALIDITY, unix_now()).unwrap();
        let joined = pairing::join_for(core.dir.path(), &core.name, &token, LIFE).await.unwrap();
        assert_eq!((joined.edge.role, &joined.edge.node), (self.role, &self.name));
        // As the running core does within half a second.
        core.trust.look().await;
    }

    fn record(&self) -> EdgeRecord {
        EdgeRecord { node: self.name.clone(), role: self.role, address: self.port.to_string(), key_hash: [0; 32] }
    }

    fn dial(&self, other: &Self) -> Dialler {
        dial(self.host.clone(), &self.trust, &other.record(), Random::from_seed([7; 32]))
    }

    fn look_after(&self) {
        spawn_local(Rc::clone(&self.trust).run());
    }

    fn ends(&self) -> u64 {
        self.trust.identity().unwrap().life().ends
    }

    fn links(&self) -> (usize, usize) {
        (self.host.opened.borrow().len(), self.host.open.borrow().len())
    }
}

#[test]
fn certificates_are_renewed_and_no_link_is_dropped() {
    run(async {
        let (edge, core, second) = tokio::join!(
            Place::new("edge1", Role::Edge),
            Place::new("core1", Role::Core),
            Place::new("core2", Role::Core)
        );
        edge.joined_by(&core).await;
        second.joined_by(&core).await;
        for place in [&edge, &core, &second] {
            place.look_after();
        }
        let first = [edge.ends(), core.ends(), second.ends()];
        let keys = [&edge, &core, &second].map(|place| place.trust.identity().unwrap().key().key_hash());
        let (_a, _b, _c) = (core.dial(&edge), core.dial(&second), second.dial(&edge));
        core.host.link_up(2).await;
        edge.host.link_up(2).await;
        // Two whole lives.
        sleep(LIFE * 2 + Duration::from_secs(1)).await;
        for (place, first) in [&edge, &core, &second].into_iter().zip(first) {
            assert!(place.ends() > first + LIFE.as_secs(), "{} was renewed twice", place.name);
            assert_eq!(place.host.reasons(), Vec::<String>::new(), "{} lost a link", place.name);
            assert_eq!(place.links(), (2, 2), "{}", place.name);
            let kept = NodeState::load(place.dir.path()).unwrap().unwrap();
            assert_eq!(kept.identity().unwrap().life().ends, place.ends(), "what is used is what is stored");
        }
        assert_eq!(keys, [&edge, &core, &second].map(|place| place.trust.identity().unwrap().key().key_hash()));
        let renewed = |name: &str| {
            let of =
                |notice: &Notice| matches!(notice, Notice::CertificateRenewed { node, .. } if node.as_str() == name);
            core.notices.borrow().iter().filter(|notice| of(notice)).count()
        };
        assert!(renewed("edge1") >= 2 && renewed("core1") >= 2 && renewed("core2") >= 2, "the holder tells");
        // The new ones are used for new links.
        let _d = core.dial(&edge);
        edge.host.link_up(3).await;
    });
}

#[test]
fn a_certificate_that_ends_unrenewed_is_told_of_and_ends_the_link() {
    run(async {
        let (edge, core) = tokio::join!(Place::new("edge1", Role::Edge), Place::new("core1", Role::Core));
        edge.joined_by(&core).await;
        // The core that holds the CA does not do its work: only the edge looks after its trust.
        edge.look_after();
        let _dialler = core.dial(&edge);
        edge.host.link_up(1).await;
        let since = Instant::now();
        edge.host.until("the link ended", |host| !host.closed.borrow().is_empty()).await;
        assert!(since.elapsed() > LIFE - Duration::from_secs(3), "not before its time: {:?}", since.elapsed());
        assert!(edge.host.reasons()[0].contains("has expired"), "{:?}", edge.host.reasons());
        let told = edge.notices.borrow().clone();
        let warned = told.iter().find(|notice| matches!(notice, Notice::CertificateExpiring { .. }));
        assert!(warned.is_some_and(|notice| notice.to_string().contains("only the core that holds the CA")));
        sleep(Duration::from_millis(500)).await;
        assert!(edge.host.open.borrow().is_empty(), "an expired peer is refused");
    });
}

#[test]
fn a_revoked_node_loses_its_links_within_two_seconds_everywhere() {
    run(async {
        let (edge, core, second) = tokio::join!(
            Place::new("edge1", Role::Edge),
            Place::new("core1", Role::Core),
            Place::new("core2", Role::Core)
        );
        edge.joined_by(&core).await;
        second.joined_by(&core).await;
        for place in [&edge, &core, &second] {
            place.look_after();
        }
        let (_a, _b, _c) = (core.dial(&edge), core.dial(&second), second.dial(&edge));
        core.host.link_up(2).await;
        second.host.link_up(2).await;
        edge.host.link_up(2).await;
        // The operator's command, in another process: files only.
        let authority = Authority::load(core.dir.path()).unwrap().unwrap();
        assert!(authority.revoke_node(core.dir.path(), &edge.name).unwrap() >= 1);
        let since = Instant::now();
        for place in [&core, &second] {
            place.host.until("the edge's link ended", |host| !host.closed.borrow().is_empty()).await;
            assert!(place.host.reasons()[0].contains("edge1 has been revoked"), "{:?}", place.host.reasons());
        }
        assert!(since.elapsed() < Duration::from_secs(2), "after {:?}", since.elapsed());
        assert!(core.trust.is_revoked(&edge.name) && second.trust.is_revoked(&edge.name));
        sleep(Duration::from_secs(1)).await;
        assert_eq!((core.links().1, second.links().1), (1, 1), "the cores' own link stays, the edge's is refused");
    });
}

#[test]
fn of_two_cores_that_both_dial_the_lower_names_link_stays() {
    run(async {
        let (first, second) = tokio::join!(Place::new("core1", Role::Core), Place::new("core2", Role::Core));
        second.joined_by(&first).await;
        for round in 0..4 {
            let (forth, back) = (first.dial(&second), second.dial(&first));
            let settled = |place: &Place| {
                place.trust.link_with(&node(if place.name.as_str() == "core1" { "core2" } else { "core1" }), true)
            };
            sleep(Duration::from_millis(1_500)).await;
            assert_eq!((first.links().1, second.links().1), (1, 1), "round {round}");
            assert!(settled(&first).is_some() && settled(&second).is_none(), "dialled by core1, round {round}");
            // The one that stays ends: the other takes over.
            drop(forth);
            second.host.until("core2 dials", |_| second.trust.link_with(&first.name, true).is_some()).await;
            drop(back);
            first.host.until("all is closed", |host| host.open.borrow().is_empty()).await;
            second.host.until("all is closed", |host| host.open.borrow().is_empty()).await;
        }
    });
}

#[test]
fn an_edge_gets_no_link_with_a_core_that_listens() {
    run(async {
        let (edge, core) = tokio::join!(Place::new("edge1", Role::Edge), Place::new("core1", Role::Core));
        edge.joined_by(&core).await;
        // No honest edge dials; a taken one may try, with its own certificate.
        let dialler = dial(edge.host.clone(), &edge.trust, &core.record(), Random::from_seed([9; 32]));
        let since = Instant::now();
        while dialler.trouble().is_none() && since.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(dialler.trouble().is_some(), "refused");
        assert!(core.host.opened.borrow().is_empty());
    });
}
