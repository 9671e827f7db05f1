//! Whether an answer can be true. A call manager that is half down, half installed or somebody else's says
//! things that would cut off every user if they were taken; such an answer is refused whole.

use std::collections::BTreeSet;
use std::net::IpAddr;

use edgeway_model::sign_in::Deployment;

use super::zones::names_of;
use super::{Cluster, OauthKey, Product, Snapshot};
use crate::address::{carries_v4, is_special};
use crate::limits::{
    CLUSTER_NODES_MAX, TFTP_SERVERS_MAX, TOKEN_KEY_BYTES_MAX, TOKEN_KEY_ID_BYTES_MAX, TOKEN_KEYS_MAX, VERSION_BYTES_MAX,
};

/// Why what a server says is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// It names no node at all.
    #[error("it lists no nodes")]
    NoNodes,
    /// It names more than any cluster has.
    #[error("it lists {0} nodes, more than {CLUSTER_NODES_MAX}")]
    TooManyNodes(usize),
    /// None of its nodes is the publisher.
    #[error("none of its nodes is the publisher")]
    NoPublisher,
    /// More than one is.
    #[error("it says that {0} and {1} are both the publisher")]
    TwoPublishers(String, String),
    /// A node is there twice.
    #[error("it lists {0} twice")]
    Twice(String),
    /// What should be a host is none, or none that is to be dialled.
    #[error("it names {0}, which is no host of a UC server")]
    Host(String),
    /// A Unified CM cluster without a node that takes registrations.
    #[error("none of its nodes has a port for SIP")]
    NoSip,
    /// Mixed mode, and a call manager without TLS.
    #[error("it is in mixed mode, and {0} has no port for SIP over TLS")]
    NoTls(String),
    /// One port for two things.
    #[error("{0} has port {1} twice")]
    SamePort(String, u16),
    /// No HTTPS port.
    #[error("{0} has no port for HTTPS")]
    NoHttps(String),
    /// Its version is no version.
    #[error("it tells no version")]
    Version,
    /// More TFTP servers or keys than any cluster has, or keys that are none.
    #[error("it lists {0}")]
    Unlikely(&'static str),
    /// A host that the settings give to another deployment.
    #[error("it names {name}, which is configured for the deployment {deployment}")]
    Configured {
        /// The host.
        name: String,
        /// The other deployment.
        deployment: Deployment,
    },
    /// A name that is another cluster's.
    #[error("{node} also belongs to {other}")]
    Claimed {
        /// The name.
        node: String,
        /// The publisher of the other cluster.
        other: String,
    },
}

impl Cluster {
    /// Whether it can be true.
    ///
    /// # Errors
    /// The first [`Lie`].
    pub fn check(&self) -> Result<(), Lie> {
        if self.nodes.is_empty() {
            return Err(Lie::NoNodes);
        }
        if self.nodes.len() > CLUSTER_NODES_MAX {
            return Err(Lie::TooManyNodes(self.nodes.len()));
        }
        self.check_names()?;
        self.check_ports()?;
        let printable = self.version.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if self.version.is_empty() || self.version.len() > VERSION_BYTES_MAX || !printable {
            return Err(Lie::Version);
        }
        if self.tftp.len() > TFTP_SERVERS_MAX {
            return Err(Lie::Unlikely("more TFTP servers than any cluster has"));
        }
        if self.token_keys.len() > TOKEN_KEYS_MAX {
            return Err(Lie::Unlikely("more token keys than any cluster has"));
        }
        if !self.token_keys.iter().all(OauthKey::is_plausible) {
            return Err(Lie::Unlikely("a token key that is none"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), Lie> {
        let mut publisher: Option<&str> = None;
        let mut seen = BTreeSet::new();
        // A laboratory on one machine has its publisher there too; nobody else's nodes are this machine.
        let loopback = self.publisher.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let is_good = |name: &str| is_host(name) && (loopback || !is_this_machine(name));
        for node in &self.nodes {
            if !is_good(&node.name) {
                return Err(Lie::Host(shown(&node.name)));
            }
            if !seen.insert(node.name.as_str()) {
                return Err(Lie::Twice(node.name.clone()));
            }
            if node.publisher
                && let Some(first) = publisher.replace(&node.name)
            {
                return Err(Lie::TwoPublishers(first.to_owned(), node.name.clone()));
            }
        }
        if publisher.is_none() {
            return Err(Lie::NoPublisher);
        }
        match self.tftp.iter().find(|name| !is_good(name)) {
            Some(name) => Err(Lie::Host(shown(name))),
            None => Ok(()),
        }
    }

    fn check_ports(&self) -> Result<(), Lie> {
        for node in &self.nodes {
            if node.https_port == 0 {
                return Err(Lie::NoHttps(node.name.clone()));
            }
            if self.mixed_mode && node.sip_port != 0 && node.sip_tls_port == 0 {
                return Err(Lie::NoTls(node.name.clone()));
            }
            let mut ports = BTreeSet::new();
            let used = [node.sip_port, node.sip_tls_port, node.sip_oauth_port, node.https_port];
            if let Some(twice) = used.into_iter().filter(|port| *port != 0).find(|port| !ports.insert(*port)) {
                return Err(Lie::SamePort(node.name.clone(), twice));
            }
        }
        let does_sip = self.nodes.iter().any(|node| node.sip_port != 0 || node.sip_tls_port != 0);
        if self.product == Product::UnifiedCm && !does_sip {
            return Err(Lie::NoSip);
        }
        Ok(())
    }
}

/// A host that the settings give to a deployment: a UC server, a registrar, a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The deployment.
    pub deployment: Deployment,
    /// The host, as configured.
    pub host: String,
}

impl Cluster {
    /// What its nodes are called, in the one form of names: by the cluster, by clients, and its publisher by the
    /// settings.
    #[must_use]
    pub fn node_names(&self) -> BTreeSet<String> {
        let of_nodes =
            self.nodes.iter().flat_map(|node| std::iter::once(node.name.clone()).chain(names_of(self, node)));
        of_nodes.chain([self.publisher.clone()]).map(|name| one_form(&name)).collect()
    }

    /// Every name that is taken from the cluster: those of its nodes and of its TFTP servers.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = self.node_names();
        names.extend(self.tftp.iter().map(|name| one_form(name)));
        names
    }
}

impl Snapshot {
    /// The first cluster that claims what is another's. **Every name belongs to one deployment**: whatever a cluster
    /// yields (see [`Cluster::names`]) is neither a host of `configured` in another deployment nor a name of a
    /// cluster before it in another deployment. Within a deployment, no node is in two clusters of a product; TFTP
    /// servers are shared by some.
    ///
    /// Names are compared, not where they lead: who may answer for names inside is the name system's business.
    #[must_use]
    pub fn claimed(&self, configured: &[Configured]) -> Option<(&Cluster, Lie)> {
        let names: Vec<BTreeSet<String>> = self.clusters.iter().map(Cluster::names).collect();
        let nodes = |cluster: &Cluster| cluster.nodes.iter().map(|node| one_form(&node.name)).collect::<BTreeSet<_>>();
        for (at, (cluster, own)) in self.clusters.iter().zip(&names).enumerate() {
            let theirs =
                |host: &&Configured| host.deployment != cluster.deployment && own.contains(&one_form(&host.host));
            if let Some(host) = configured.iter().find(theirs) {
                let lie = Lie::Configured { name: one_form(&host.host), deployment: host.deployment.clone() };
                return Some((cluster, lie));
            }
            for (other, others) in self.clusters.iter().zip(&names).take(at) {
                let claimed = if other.deployment != cluster.deployment {
                    own.intersection(others).next().cloned()
                } else if other.product == cluster.product {
                    nodes(cluster).intersection(&nodes(other)).next().cloned()
                } else {
                    None
                };
                if let Some(node) = claimed {
                    return Some((cluster, Lie::Claimed { node, other: other.publisher.clone() }));
                }
            }
        }
        None
    }
}

/// A name as it is compared: an address has many spellings.
fn one_form(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

impl OauthKey {
    /// Whether it can be one: its id goes into files and messages, so it is short and printable.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let id = &self.id;
        let printable = id.bytes().all(|byte| byte.is_ascii_graphic());
        let sized = (1..=TOKEN_KEY_ID_BYTES_MAX).contains(&id.len());
        printable && sized && (1..=TOKEN_KEY_BYTES_MAX).contains(&self.public.len())
    }
}

/// Whether `name` is a host name in lower case (RFC 1123 §2.1; underscores are seen in the wild) or an address
/// that one host has, and can be put into a URI and a log as it is.
#[must_use]
pub fn is_host(name: &str) -> bool {
    match name.parse::<IpAddr>() {
        // This machine is for the caller to judge: in a laboratory all is there.
        Ok(IpAddr::V4(v4)) => return v4.is_loopback() || !is_special(v4.into()),
        Ok(IpAddr::V6(v6)) => return v6.is_loopback() || !(carries_v4(v6) || is_special(v6.into())),
        Err(_) => {}
    }
    let label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(legal) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name whose last label is a number would be read as an address by some (WHATWG URL §3.5).
    let is_number = |last: &str| match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let last_is_number = name.rsplit('.').next().is_none_or(is_number);
    name.len() <= 253 && name.split('.').all(label) && !last_is_number
}

fn is_this_machine(name: &str) -> bool {
    let loopback = |ip: IpAddr| ip.is_loopback();
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(loopback)
}

/// What somebody wrote in the place of a name, fit for a message.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}
