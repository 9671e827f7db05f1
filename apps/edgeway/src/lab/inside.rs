//! What stands inside: a Unified CM cluster that users sign in at, or a plain registrar that challenges by itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::dns::{DnsRecord, LabDns};
use edgeway_lab_servers::uc::{HTTPS_PORT, OneTimePasswords, UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{XmppConfig, XmppNode, XmppServer};
use edgeway_lab_servers::{Observer, Registrar, RegistrarConfig, secret};

use super::ports::Wish;
use super::screen::Screen;
use super::story::{DOMAIN, EDGE_HOST, Failure, Step, port};
use super::{InsidePlan, UcPlan};

/// The publisher of the lab's cluster.
pub(super) const CUCM: &str = "cucm1.lab.example";

/// Its node of IM and Presence.
pub(super) const IM: &str = "imp1.lab.example";

/// Where chat servers take clients.
const CHAT_PORT: u16 = 5222;

/// The users of the cluster, and their directory numbers.
pub(super) const USERS: [(&str, &str); 2] = [("alice", "1001"), ("bob", "1002")];

/// What the lab's nodes talk to.
pub(super) enum Inside {
    /// A registrar.
    Registrar(Registrar),
    /// A cluster, the DNS server that names it and the edge, and the chat service of its IM and Presence.
    Cluster(Box<UcCluster>, LabDns, XmppServer),
}

impl Inside {
    /// Starts a registrar for `users`.
    pub(super) async fn registrar(
        screen: &mut Screen,
        users: &[(String, String)],
        observer: Observer,
    ) -> Result<Self, Failure> {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut config = RegistrarConfig::new(DOMAIN, &[]);
        (config.users, config.observer) = (users.to_vec(), observer);
        config.listen = port(screen, here, Wish { what: "registrar", port: 5070 })?;
        let registrar = match Registrar::start(config.clone()).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // Someone was quicker; a port of the system's choice cannot be lost that way.
                config.listen.set_port(0);
                Registrar::start(config).await.step("registrar")?
            }
            started => started.step("registrar")?,
        };
        screen.done(&format!("registrar for {DOMAIN} on {} (TCP and UDP)", registrar.address()));
        Ok(Self::Registrar(registrar))
    }

    /// Starts a cluster for those of [`USERS`] whose passwords are given, and a DNS server.
    pub(super) fn cluster(
        screen: &mut Screen,
        users: &[(String, String)],
        observer: Observer,
    ) -> Result<Self, Failure> {
        const STEP: &str = "Unified CM";
        let ca = LabCa::new("Edgeway lab UC CA").step(STEP)?;
        let password = |name: &str| users.iter().find(|(user, _)| user == name).map_or("", |(_, password)| password);
        let people = USERS.map(|(name, _)| (name, password(name)));
        let users = USERS.map(|(name, number)| UcUser::new(name, password(name), number));
        let mut config = UcConfig::new(DOMAIN, users.to_vec());
        (config.application_user, config.observer) = (("edgeway".to_owned(), secret(20)), observer);
        let one_time = config.one_time.clone();
        let cluster = UcCluster::start(config, &ca).step(STEP)?;
        let dns = LabDns::start().step("DNS")?;
        cluster.publish(&dns);
        let place = cluster.address(CUCM).map_or_else(String::new, |address| address.to_string());
        screen.done(&format!("Unified CM {CUCM} on {place}: AXL and UDS on {HTTPS_PORT}, files on 6970, SIP on 5060"));
        screen.done(&format!("DNS for {DOMAIN} on {}", dns.address()));
        let chat = chat(&cluster, &people, one_time, &ca).step("chat")?;
        screen.done(&format!("chat for {DOMAIN} at {IM} on {}", chat.first_address()));
        Ok(Self::Cluster(Box::new(cluster), dns, chat))
    }

    /// What the nodes are told of it. `https` and `xmpp` are where the edge will serve clients.
    pub(super) fn plan(&self, https: SocketAddr, xmpp: SocketAddr) -> InsidePlan {
        match self {
            Self::Registrar(registrar) => InsidePlan::Registrar(registrar.address()),
            Self::Cluster(cluster, dns, chat) => {
                let (user, password) = cluster.state().application_user;
                InsidePlan::UnifiedCm(Box::new(UcPlan {
                    publisher: CUCM.to_owned(),
                    user,
                    password,
                    ca_pem: cluster.ca_pem().to_owned(),
                    dns: dns.address(),
                    edge_host: EDGE_HOST.to_owned(),
                    edge_https: https,
                    edge_xmpp: xmpp,
                    im: (IM.to_owned(), chat.first_address().port()),
                }))
            }
        }
    }

    /// Publishes the edge for clients: its SRV record and its address.
    pub(super) fn publish_edge(&self, https: SocketAddr) {
        if let Self::Cluster(_, dns, _) = self {
            dns.set_addresses(EDGE_HOST, &[https.ip()]);
            let record =
                DnsRecord::Service { priority: 10, weight: 10, port: https.port(), target: EDGE_HOST.to_owned() };
            dns.set(&format!("_collab-edge._tls.{DOMAIN}"), &[record]);
        }
    }

    /// The lanes of the ladder; edge and core share one, since the link between them carries no SIP of its own.
    pub(super) const fn lanes(&self) -> [&'static str; 4] {
        match self {
            Self::Registrar(_) => ["alice", "bob", "edge core", "registrar"],
            Self::Cluster(..) => ["alice", "bob", "edge core", "cucm1"],
        }
    }

    /// How many Path values the contact of a user has; `None` if the user has none.
    pub(super) async fn path_length(&self, user: &str) -> Option<usize> {
        let bindings = match self {
            Self::Registrar(registrar) => registrar.bindings(user).await,
            Self::Cluster(cluster, ..) => {
                let (_, number) = USERS.into_iter().find(|(name, _)| *name == user)?;
                cluster.bindings(CUCM, number).await
            }
        };
        bindings.first().map(|binding| binding.path.len())
    }
}

/// The chat service of a cluster, on the address of its node.
fn chat(cluster: &UcCluster, users: &[(&str, &str)], one_time: OneTimePasswords, ca: &LabCa) -> io::Result<XmppServer> {
    let address = cluster.address(IM).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let start = |port| {
        let node = XmppNode { listen: SocketAddr::new(address, port), ..XmppNode::new(IM, DOMAIN) };
        let one_time = one_time.clone();
        XmppServer::start(XmppConfig { nodes: vec![node], one_time, ..XmppConfig::new(DOMAIN, users) }, ca)
    };
    match start(CHAT_PORT) {
        // Another program has that port on every address: any other does.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => start(0),
        started => started,
    }
}
