//! The IM servers of each deployment, and which of them a user comes to.
//!
//! Those an operator wrote down, and after them the nodes of discovered IM and Presence clusters. A refresh counts for
//! the next stream; streams that are there stay where they are. No SRV records are asked: an operator who has several
//! servers writes them down, with priority and weight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use edgeway_config::settings::CoreSettings;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Product, Snapshot};

use super::homes::Home;
use super::server::Server;
use crate::discovery::Current;
use crate::proxy::Trust;
use crate::trusts::Trusts;

/// All IM servers.
pub(super) struct Servers {
    written: Vec<Rc<Server>>,
    discovered: RefCell<Vec<Rc<Server>>>,
    followed: Cell<Option<u64>>,
    current: Current,
    trusts: Option<Rc<Trusts>>,
}

impl Servers {
    /// Reads the files of the settings. Of the servers of `old`, those that are the same are kept, with all that is known
    /// of them.
    ///
    /// # Errors
    /// In the operator's words.
    pub(super) fn load(
        settings: &CoreSettings,
        current: Current,
        trusts: Option<Rc<Trusts>>,
        old: Option<&Self>,
    ) -> Result<Self, String> {
        let known = old.map(|old| old.written.as_slice()).unwrap_or_default();
        let written = settings.xmpp_servers.iter().map(|one| {
            let trust = Trust::load(one.ca.as_deref(), "xmpp_server.ca", None).map_err(|fault| fault.to_string())?;
            Ok(kept(known, Server::written(one, trust)))
        });
        let written = written.collect::<Result<_, String>>()?;
        let discovered = old.map(|old| old.discovered.borrow().clone()).unwrap_or_default();
        Ok(Self { written, discovered: RefCell::new(discovered), followed: Cell::new(None), current, trusts })
    }

    /// All that are known now.
    pub(super) fn all(&self) -> Vec<Rc<Server>> {
        self.follow();
        self.written.iter().chain(&*self.discovered.borrow()).cloned().collect()
    }

    /// Those of a deployment, best first for a stream of `domain`: whoever answers before whoever does not; then the user's
    /// own, as `home` has them; then by priority; and among equals by `key` and weight, so that one key
    /// finds one server, at whatever core: a stream can be resumed where it was.
    pub(super) fn ranked(&self, deployment: &Deployment, domain: &str, key: &str, home: &Home) -> Vec<Rc<Server>> {
        let mut all = self.all();
        all.retain(|server| server.deployment == *deployment);
        all.sort_by(|one, other| {
            let of = |server: &Server| (server.is_down(domain), home.rank(server), server.priority);
            of(one).cmp(&of(other)).then_with(|| distance(key, one).total_cmp(&distance(key, other)))
        });
        all
    }

    /// Takes what is known now. A server that stays keeps what is known of its health.
    fn follow(&self) {
        let Some(trusts) = &self.trusts else { return self.discovered.borrow_mut().clear() };
        if self.followed.replace(Some(self.current.revision())) == Some(self.current.revision()) {
            return;
        }
        let fresh = discovered(&self.current.snapshot(), trusts);
        let mut known = self.discovered.borrow_mut();
        let is_written = |server: &Server| {
            self.written.iter().any(|one| one.deployment == server.deployment && one.host == server.host)
        };
        let fresh = fresh.into_iter().filter(|server| !is_written(server));
        *known = fresh.map(|server| kept(&known, server)).collect();
    }
}

/// The server as it was known, if it is the same.
fn kept(known: &[Rc<Server>], server: Server) -> Rc<Server> {
    known.iter().find(|old| old.is_same(&server)).map_or_else(|| Rc::new(server), Rc::clone)
}

fn discovered(snapshot: &Snapshot, trusts: &Trusts) -> Vec<Server> {
    let clusters = snapshot.clusters.iter().filter(|cluster| cluster.product == Product::ImAndPresence);
    let nodes = clusters.flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster, node)));
    let server = |(cluster, node): (&edgeway_policy::discovery::Cluster, &edgeway_policy::discovery::UcNode)| {
        let trust = trusts.at(snapshot, &cluster.deployment, &node.name);
        Server::discovered(&cluster.deployment, &node.name, &cluster.publisher, trust)
    };
    nodes.map(server).collect()
}

/// How far a server is from a key: weighted rendezvous hashing. The nearest gets the key; of all keys a server gets its
/// weight's share; and a server that goes or comes moves no key between others.
fn distance(key: &str, server: &Server) -> f64 {
    // FNV-1a, then the last steps of MurmurHash3: names that differ in one letter are far apart. The same at every core.
    let parts = key.bytes().chain([0]).chain(server.host.bytes()).chain(server.port.to_be_bytes());
    let mut hash =
        parts.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    #[expect(clippy::cast_precision_loss, reason = "53 bits of a hash are as good as 64")]
    let share = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    // An exponential variable whose rate is the weight: the least of several is each one's in that share.
    -share.ln() / f64::from(server.weight)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use edgeway_config::settings::HostPort;
    use edgeway_config::xmpp::XmppServerSettings;
    use edgeway_policy::discovery::{Cluster, UcNode};

    use edgeway_model::sign_in::{Subject, UserName};

    use super::super::homes::Homes;
    use super::super::server::Down;
    use super::*;

    pub(in super::super) fn server(host: &str, priority: u16, weight: u16) -> Rc<Server> {
        let settings = XmppServerSettings {
            address: HostPort { host: host.to_owned(), port: 5222 },
            deployment: Deployment::default_one(),
            priority,
            weight,
            tls_name: None,
            ca: None,
            direct_tls: false,
        };
        Rc::new(Server::written(&settings, Trust::anybody(None).unwrap()))
    }

    fn servers(written: Vec<Rc<Server>>) -> Servers {
        let (discovered, followed) = (RefCell::default(), Cell::new(None));
        Servers { written, discovered, followed, current: Current::default(), trusts: None }
    }

    fn hosts(ranked: &[Rc<Server>]) -> Vec<&str> {
        ranked.iter().map(|server| server.host.as_str()).collect()
    }

    #[test]
    fn a_user_stays_where_the_weights_put_them() {
        let all = servers(vec![server("a", 0, 1), server("b", 0, 3), server("c", 1, 9)]);
        let mut counts = BTreeMap::<String, usize>::new();
        let mut moved = 0;
        let fewer = servers(vec![server("b", 0, 3), server("c", 1, 9)]);
        for number in 0..4_000 {
            let key = format!("user{number}");
            let ranked = all.ranked(&Deployment::default_one(), "example.com", &key, &Home::default());
            assert_eq!(
                hosts(&ranked),
                hosts(&all.ranked(&Deployment::default_one(), "example.com", &key, &Home::default()))
            );
            assert_eq!(ranked[2].host, "c", "the later priority is last");
            let first = ranked[0].host.clone();
            let without =
                fewer.ranked(&Deployment::default_one(), "example.com", &key, &Home::default())[0].host.clone();
            moved += usize::from(first == "b" && without != "b");
            *counts.entry(first).or_default() += 1;
        }
        assert!((800..1_200).contains(&counts["a"]) && (2_800..3_200).contains(&counts["b"]), "{counts:?}");
        assert_eq!(moved, 0, "a server that goes moves nobody between others");
    }

    #[test]
    fn health_then_home_then_priority() {
        let all = servers(vec![server("a", 0, 1), server("b", 1, 1), server("c", 2, 1)]);
        let ranked = |homes: &[&str]| {
            let user = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
            let home = Homes::default().of(&user, homes.iter().map(|home| (*home).to_owned()).collect());
            let ranked = all.ranked(&Deployment::default_one(), "example.com", "alice", &home);
            hosts(&ranked).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(ranked(&[]), ["a", "b", "c"]);
        assert_eq!(ranked(&["C", "b"]), ["c", "b", "a"]);
        let down = |doubted| Down { why: String::new(), told: false, doubted };
        let mark = |domain: &str, down| all.written[2].down.borrow_mut().insert(domain.to_owned(), down);
        mark("example.org", down(false));
        mark("example.com", down(true));
        assert_eq!(ranked(&["c", "b"]), ["c", "b", "a"], "for another domain, and not known for sure");
        mark("example.com", down(false));
        assert_eq!(ranked(&["c", "b"]), ["b", "a", "c"]);
        let other = Deployment::new("other").unwrap();
        assert!(all.ranked(&other, "example.com", "alice", &Home::default()).is_empty());
    }

    #[test]
    fn a_refresh_counts_at_once_and_keeps_what_is_known() {
        let node = |name: &str| UcNode {
            name: name.to_owned(),
            publisher: name == "imp1",
            sip_port: 0,
            sip_tls_port: 0,
            sip_oauth_port: 0,
            https_port: 8443,
        };
        let snapshot = |revision: u64, names: &[&str]| Snapshot {
            revision,
            taken_ms: 1,
            clusters: vec![Cluster {
                product: Product::ImAndPresence,
                publisher: "imp1.example.com".to_owned(),
                deployment: Deployment::default_one(),
                version: "12.5".to_owned(),
                mixed_mode: false,
                nodes: names.iter().map(|name| node(name)).collect(),
                tftp: Vec::new(),
                oauth: false,
                token_keys: Vec::new(),
            }],
        };
        let mut all = servers(vec![server("imp2", 7, 1)]);
        all.trusts = Some(Rc::new(Trusts::only(Trust::anybody(None).unwrap())));
        all.current.swap(snapshot(1, &["imp1", "imp2"]));
        let first = all.all();
        assert_eq!(hosts(&first), ["imp2", "imp1"], "what is written down is not there twice");
        assert!(first[1].is_called("imp1.example.com") && !first[1].is_called("imp2.example.com"));
        assert_eq!((first[1].port, first[1].priority > first[0].priority), (5222, true));
        all.current.swap(snapshot(2, &["imp1", "imp3"]));
        let second = all.all();
        assert_eq!(hosts(&second), ["imp2", "imp1", "imp3"]);
        assert!(Rc::ptr_eq(&first[1], &second[1]));
    }
}
