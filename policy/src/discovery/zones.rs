//! Where SIP goes inside, as it follows from the settings and a snapshot.
//!
//! Every node of a Unified CM cluster is a zone of its own for each way it is spoken to: `CEtcp-NODE`, in mixed
//! mode `CEtls-NODE` beside it, with SIP OAuth `CEOAuth-NODE`; each has a search rule for the names of the node.

use edgeway_model::world::Transport;
use edgeway_model::zones::{DeploymentZones, Zone, Zones};

use super::{Cluster, Product, Snapshot, UcNode};

/// Discovered zones come after all registrars that an operator wrote down.
const PRIORITY: u16 = 1_000;

impl Snapshot {
    /// The zones: those of `settings` (one entry for each deployment, with its domains, the registrars an operator
    /// wrote down, and who challenges), and those of the clusters of each deployment. A cluster of a deployment
    /// that is not in `settings` has none.
    #[must_use]
    pub fn zones(&self, settings: &[DeploymentZones]) -> Zones {
        let mut deployments = settings.to_vec();
        for deployment in &mut deployments {
            let clusters = self
                .clusters
                .iter()
                .filter(|cluster| cluster.product == Product::UnifiedCm && cluster.deployment == deployment.deployment);
            for cluster in clusters {
                deployment.zones.extend(cluster.nodes.iter().flat_map(|node| zones_of(cluster, node)));
            }
        }
        Zones { revision: self.revision, deployments }
    }
}

fn zones_of(cluster: &Cluster, node: &UcNode) -> Vec<Zone> {
    let ways = [
        ("CEtcp", node.sip_port, Transport::Tcp),
        ("CEtls", if cluster.mixed_mode { node.sip_tls_port } else { 0 }, Transport::Tls),
        ("CEOAuth", node.sip_oauth_port, Transport::Tls),
    ];
    let mut zones = Vec::new();
    for (kind, port, transport) in ways {
        if port != 0 {
            zones.push(Zone {
                name: format!("{kind}-{}", node.name),
                host: node.name.clone(),
                port: Some(port),
                transport: Some(transport),
                secure: transport == Transport::Tls,
                // The publisher is the cluster's database; registrations are the business of its subscribers.
                // All ways to a node have the same: which one it is, is for the request to say.
                priority: PRIORITY + u16::from(node.publisher),
                weight: 1,
                names: names_of(cluster, node),
            });
        }
    }
    zones
}

/// What else clients call a node: a cluster that knows its nodes by their first label alone is asked for by whole
/// names all the same, and a publisher by the name an operator gave us.
pub(super) fn names_of(cluster: &Cluster, node: &UcNode) -> Vec<String> {
    let mut names = Vec::new();
    let is_name = |host: &str| host.parse::<std::net::IpAddr>().is_err();
    if is_name(&node.name)
        && is_name(&cluster.publisher)
        && !node.name.contains('.')
        && let Some((_, domain)) = cluster.publisher.split_once('.')
    {
        names.push(format!("{}.{domain}", node.name));
    }
    if node.publisher && cluster.publisher != node.name && !names.contains(&cluster.publisher) {
        names.push(cluster.publisher.clone());
    }
    names
}
