//! Whether an answer can be true. A call manager that is half down, half installed or somebody else's says
//! things that would cut off every user if they were taken; such an answer is refused whole.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Cluster, Product, Snapshot};
use crate::limits::{CLUSTER_NODES_MAX, TFTP_SERVERS_MAX, TOKEN_KEY_BYTES_MAX, TOKEN_KEYS_MAX, VERSION_BYTES_MAX};

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
    /// A node that is another cluster's.
    #[error("{node} is also a node of {other}")]
    Claimed {
        /// The node.
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
        let good = |size: usize| (1..=TOKEN_KEY_BYTES_MAX).contains(&size);
        if !self.token_keys.iter().all(|key| good(key.id.len()) && good(key.public.len())) {
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

impl Snapshot {
    /// The first cluster that claims a node of one before it: within a product, or, so that no deployment reaches
    /// into another, in another deployment.
    #[must_use]
    pub fn claimed(&self) -> Option<(&Cluster, Lie)> {
        self.clusters.iter().enumerate().find_map(|(at, cluster)| {
            let rivals = self.clusters.iter().take(at);
            let mut rivals =
                rivals.filter(|other| other.product == cluster.product || other.deployment != cluster.deployment);
            rivals.find_map(|other| {
                let node =
                    cluster.nodes.iter().find(|node| other.nodes.iter().any(|theirs| theirs.name == node.name))?;
                Some((cluster, Lie::Claimed { node: node.name.clone(), other: other.publisher.clone() }))
            })
        })
    }
}

/// Whether `name` is a host name in lower case (RFC 1123 §2.1; underscores are seen in the wild) or an address
/// that one host has, and can be put into a URI and a log as it is.
#[must_use]
pub fn is_host(name: &str) -> bool {
    if let Ok(ip) = name.parse::<IpAddr>() {
        let odd = |v4: std::net::Ipv4Addr| v4.is_broadcast() || v4.is_link_local() || v4.is_unspecified();
        let odd = match ip {
            IpAddr::V4(v4) => odd(v4),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some_and(odd),
        };
        return !odd && !ip.is_multicast();
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
    let loopback = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(loopback)
}

/// What somebody wrote in the place of a name, fit for a message.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}
