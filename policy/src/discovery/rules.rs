//! The rules of the HTTP server allow list that follow from a snapshot.

use super::zones::names_of;
use super::{Cluster, Product, Snapshot};
use crate::allow_list::{AutomaticPorts, Rule, automatic_rules};

impl Snapshot {
    /// For every node, by each of its names, what clients ask of its kind; files of TFTP servers only, or of every
    /// node where a Unified CM names none.
    #[must_use]
    pub fn allow_rules(&self) -> Vec<Rule> {
        self.clusters.iter().flat_map(Cluster::allow_rules).collect()
    }
}

impl Cluster {
    /// The rules of one cluster.
    #[must_use]
    pub fn allow_rules(&self) -> Vec<Rule> {
        rules_of(self)
    }
}

fn rules_of(cluster: &Cluster) -> Vec<Rule> {
    let usual = AutomaticPorts::usual(cluster.product);
    let without_files = AutomaticPorts { tftp_http: 0, tftp_https: [0; 2], ..usual };
    let mut rules = Vec::new();
    for node in &cluster.nodes {
        let serves = cluster.tftp.is_empty() || cluster.tftp.contains(&node.name);
        let files = cluster.product == Product::UnifiedCm && serves;
        let ports = AutomaticPorts { https: node.https_port, ..if files { usual } else { without_files } };
        for name in std::iter::once(node.name.clone()).chain(names_of(cluster, node)) {
            rules.extend(automatic_rules(cluster.product, &name, &cluster.deployment, ports));
        }
    }
    // TFTP servers that are no nodes of the list.
    for server in cluster.tftp.iter().filter(|server| cluster.nodes.iter().all(|node| node.name != **server)) {
        let ports = AutomaticPorts { https: 0, ..usual };
        rules.extend(automatic_rules(cluster.product, server, &cluster.deployment, ports));
    }
    rules
}
