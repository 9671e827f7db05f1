//! What has changed between two snapshots, in words an operator reads.

use std::collections::BTreeSet;
use std::fmt;

use super::{Cluster, Product, Snapshot, UcNode};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind of server.
    pub product: Product,
    /// The publisher of the cluster.
    pub publisher: String,
    /// What has changed.
    pub what: What,
}

/// What has changed in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not there before.
    ClusterAdded {
        /// Its version.
        version: String,
        /// How many nodes it has.
        nodes: usize,
    },
    /// It is no longer there.
    ClusterRemoved,
    /// It belongs to another deployment.
    Deployment {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A node is new.
    NodeAdded(String),
    /// A node is gone.
    NodeRemoved(String),
    /// Another node is the publisher.
    Publisher {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// The cluster security mode: mixed, or not.
    MixedMode(bool),
    /// A port of a node. 0: none.
    Port {
        /// The node.
        node: String,
        /// Which: `SIP`, `SIP over TLS`, `SIP OAuth`, `HTTPS`.
        which: &'static str,
        /// Before.
        from: u16,
        /// Now.
        to: u16,
    },
    /// The TFTP servers.
    Tftp {
        /// Before.
        from: Vec<String>,
        /// Now.
        to: Vec<String>,
    },
    /// The version.
    Version {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// Whether it issues self-describing tokens.
    Oauth(bool),
    /// The keys of its tokens.
    TokenKeys {
        /// How many are new.
        added: usize,
        /// How many are gone.
        removed: usize,
    },
}

impl What {
    /// Which kind: a stable word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClusterAdded { .. } => "cluster_added",
            Self::ClusterRemoved => "cluster_removed",
            Self::Deployment { .. } => "deployment",
            Self::NodeAdded(_) => "node_added",
            Self::NodeRemoved(_) => "node_removed",
            Self::Publisher { .. } => "publisher",
            Self::MixedMode(_) => "security_mode",
            Self::Port { .. } => "port",
            Self::Tftp { .. } => "tftp",
            Self::Version { .. } => "version",
            Self::Oauth(_) => "oauth",
            Self::TokenKeys { .. } => "token_keys",
        }
    }

    /// What it means for users, once it is in use or as long as it is not.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::ClusterAdded { .. } => "its users can sign in",
            Self::ClusterRemoved => "its users can no longer sign in",
            Self::Deployment { .. } => "its users are those of the other deployment's domains",
            Self::NodeAdded(_) => "it gets a zone and rules of the allow list; until then clients sent to it fail",
            Self::NodeRemoved(_) => "its zones and rules go; until then it is asked in vain",
            Self::Publisher { .. } => "registrations prefer the other nodes",
            Self::MixedMode(true) => "its nodes get a TLS zone beside the TCP zone; until then secure phones fail",
            Self::MixedMode(false) => "the TLS zones of its nodes go",
            Self::Port { .. } => "requests go to the new port; until then they fail",
            Self::Tftp { .. } => "clients fetch their files there; until then some are refused",
            Self::Version { .. } => "nothing changes for clients",
            Self::Oauth(true) => "its tokens can be taken",
            Self::Oauth(false) => "its tokens are refused",
            Self::TokenKeys { .. } => "tokens signed with new keys are taken, with old ones refused",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterAdded { version, nodes } => write!(f, "new, version {version}, {nodes} node(s)"),
            Self::ClusterRemoved => f.write_str("no longer configured"),
            Self::Deployment { from, to } => write!(f, "deployment {from} is now {to}"),
            Self::NodeAdded(node) => write!(f, "node {node} is new"),
            Self::NodeRemoved(node) => write!(f, "node {node} is gone"),
            Self::Publisher { from, to } => write!(f, "the publisher was {from} and is now {to}"),
            Self::MixedMode(true) => f.write_str("the cluster security mode is now mixed"),
            Self::MixedMode(false) => f.write_str("the cluster security mode is no longer mixed"),
            Self::Port { node, which, from: 0, to } => write!(f, "{node} has {which} now, on port {to}"),
            Self::Port { node, which, from, to: 0 } => {
                write!(f, "{node} has no {which} any longer (it was port {from})")
            }
            Self::Port { node, which, from, to } => write!(f, "the {which} port of {node} was {from} and is now {to}"),
            Self::Tftp { from, to } => write!(f, "TFTP servers were {} and are now {}", list(from), list(to)),
            Self::Version { from, to } => write!(f, "version {from} is now {to}"),
            Self::Oauth(true) => f.write_str("it issues self-describing tokens now"),
            Self::Oauth(false) => f.write_str("it issues no self-describing tokens any longer"),
            Self::TokenKeys { added, removed } => write!(f, "token keys: {added} new, {removed} gone"),
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.product, self.publisher, self.what)
    }
}

impl Snapshot {
    /// What is different in `newer`. Nothing where only revision, time or an order without meaning differ.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for old in &self.clusters {
            let what = match newer.cluster(old.product, &old.publisher) {
                Some(new) => old.diff(new),
                None => vec![What::ClusterRemoved],
            };
            changes.extend(of(old, what));
        }
        for new in &newer.clusters {
            if self.cluster(new.product, &new.publisher).is_none() {
                let (version, nodes) = (new.version.clone(), new.nodes.len());
                changes.extend(of(new, vec![What::ClusterAdded { version, nodes }]));
            }
        }
        changes
    }
}

fn of(cluster: &Cluster, what: Vec<What>) -> impl Iterator<Item = Change> {
    let (product, publisher) = (cluster.product, cluster.publisher.clone());
    what.into_iter().map(move |what| Change { product, publisher: publisher.clone(), what })
}

impl Cluster {
    /// What is different in `newer`, the same cluster later.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> Vec<What> {
        let mut found = Vec::new();
        if self.deployment != newer.deployment {
            let (from, to) = (self.deployment.to_string(), newer.deployment.to_string());
            found.push(What::Deployment { from, to });
        }
        if self.mixed_mode != newer.mixed_mode {
            found.push(What::MixedMode(newer.mixed_mode));
        }
        self.diff_nodes(newer, &mut found);
        if self.tftp != newer.tftp {
            found.push(What::Tftp { from: self.tftp.clone(), to: newer.tftp.clone() });
        }
        if self.version != newer.version {
            found.push(What::Version { from: self.version.clone(), to: newer.version.clone() });
        }
        if self.oauth != newer.oauth {
            found.push(What::Oauth(newer.oauth));
        }
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (self.token_keys.iter().collect(), newer.token_keys.iter().collect());
        if old != new {
            let (added, removed) = (new.difference(&old).count(), old.difference(&new).count());
            found.push(What::TokenKeys { added, removed });
        }
        found
    }

    fn diff_nodes(&self, newer: &Self, found: &mut Vec<What>) {
        let node_of = |cluster: &Self, name: &str| cluster.nodes.iter().find(|node| node.name == name).cloned();
        for new in &newer.nodes {
            match node_of(self, &new.name) {
                Some(old) => diff_ports(&old, new, found),
                None => found.push(What::NodeAdded(new.name.clone())),
            }
        }
        let gone = self.nodes.iter().filter(|old| node_of(newer, &old.name).is_none());
        found.extend(gone.map(|old| What::NodeRemoved(old.name.clone())));
        let publisher = |cluster: &Self| cluster.nodes.iter().find(|node| node.publisher).map(|node| node.name.clone());
        if let (Some(from), Some(to)) = (publisher(self), publisher(newer))
            && from != to
        {
            found.push(What::Publisher { from, to });
        }
    }
}

fn diff_ports(old: &UcNode, new: &UcNode, found: &mut Vec<What>) {
    for (which, from, to) in [
        ("SIP", old.sip_port, new.sip_port),
        ("SIP over TLS", old.sip_tls_port, new.sip_tls_port),
        ("SIP OAuth", old.sip_oauth_port, new.sip_oauth_port),
        ("HTTPS", old.https_port, new.https_port),
    ] {
        if from != to {
            found.push(What::Port { node: new.name.clone(), which, from, to });
        }
    }
}
