//! A Unified CM cluster, as its publisher describes it.

use edgeway_config::sign_in::UcServerSettings;
use edgeway_policy::discovery::{Cluster, Product, UcNode};

use super::axl::{Axl, oauth_port};
use crate::discovery::fault::AskFault;
use crate::discovery::token_keys;
use crate::discovery::web::{Credentials, Web};

/// Asks everything, and takes all of it or nothing. With `own`, the cluster is told of this core by that name first.
pub(crate) async fn read(
    web: &dyn Web,
    settings: &UcServerSettings,
    credentials: &Credentials,
    own: Option<&str>,
) -> Result<Cluster, AskFault> {
    let (axl, version) = Axl::begin(web, credentials).await?;
    let listed = axl.process_nodes().await?;
    let managers = axl.call_managers().await?;
    let modes = axl.modes().await?;
    let mut tftp = axl.tftp().await?;
    let keys = token_keys::fetch(web).await?;
    let mut nodes: Vec<UcNode> = Vec::new();
    for node in listed.into_iter().filter(|node| !node.presence) {
        let manager = managers.iter().find(|manager| manager.node == node.name);
        nodes.push(UcNode {
            name: node.name,
            publisher: node.publisher,
            sip_port: manager.map_or(0, |manager| manager.sip),
            sip_tls_port: if modes.mixed { manager.map_or(0, |manager| manager.sip_tls) } else { 0 },
            sip_oauth_port: manager.map_or(0, |manager| oauth_port(modes, manager)),
            https_port: settings.address.port,
        });
    }
    sort(&mut nodes);
    let is_publisher = |name: &String| nodes.iter().any(|node| node.publisher && node.name == *name);
    // Which is best is nobody's to say but the cluster's; the publisher has other work.
    tftp.sort_by_key(|name| (is_publisher(name), name.clone()));
    tftp.dedup();
    let cluster = Cluster {
        product: Product::UnifiedCm,
        publisher: settings.address.host.clone(),
        deployment: settings.deployment.clone(),
        version,
        mixed_mode: modes.mixed,
        nodes,
        tftp,
        oauth: keys.is_some(),
        token_keys: keys.unwrap_or_default(),
    };
    cluster.check()?;
    if let Some(own) = own {
        axl.add_core(own).await?;
    }
    Ok(cluster)
}

/// The publisher first, then by name: what the database's order means, nobody knows, and a change of it is none.
pub(crate) fn sort(nodes: &mut [UcNode]) {
    nodes.sort_by(|one, other| (!one.publisher, &one.name).cmp(&(!other.publisher, &other.name)));
}
