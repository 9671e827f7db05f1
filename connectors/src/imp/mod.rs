//! IM and Presence Service: AXL of its publisher. It shares the database of its Unified CM cluster, so the list of
//! nodes has those of both; the presence ones are its own.

use edgeway_config::sign_in::UcServerSettings;
use edgeway_policy::discovery::{Cluster, Lie, Product, UcNode};

use crate::discovery::fault::AskFault;
use crate::discovery::web::{Credentials, Web};
use crate::unified_cm::axl::{Axl, host};
use crate::unified_cm::cluster::sort;

/// Asks everything, and takes all of it or nothing.
pub(crate) async fn read(
    web: &dyn Web,
    settings: &UcServerSettings,
    credentials: &Credentials,
) -> Result<Cluster, AskFault> {
    let (axl, version) = Axl::begin(web, credentials).await?;
    let listed = axl.process_nodes().await?;
    let node = |name: String, publisher| UcNode {
        name,
        publisher,
        sip_port: 0,
        sip_tls_port: 0,
        sip_oauth_port: 0,
        https_port: settings.address.port,
    };
    let mut nodes: Vec<UcNode> =
        listed.into_iter().filter(|listed| listed.presence).map(|listed| node(listed.name, listed.publisher)).collect();
    // The database knows one publisher, that of Unified CM. Ours is the one an operator told us to ask.
    if !nodes.iter().any(|node| node.publisher) {
        let asked = settings.address.host.as_str();
        let first = |name: &str| host(name).split('.').next().map(str::to_owned);
        let exact = nodes.iter().position(|node| node.name == asked);
        let by_label = || nodes.iter().position(|node| first(&node.name) == first(asked));
        let only = || (nodes.len() == 1).then_some(0);
        let own = exact.or_else(by_label).or_else(only).ok_or(if nodes.is_empty() {
            Lie::NoNodes
        } else {
            Lie::NoPublisher
        })?;
        if let Some(own) = nodes.get_mut(own) {
            own.publisher = true;
        }
    }
    sort(&mut nodes);
    let cluster = Cluster {
        product: Product::ImAndPresence,
        publisher: settings.address.host.clone(),
        deployment: settings.deployment.clone(),
        version,
        mixed_mode: false,
        nodes,
        tftp: Vec::new(),
        oauth: false,
        token_keys: Vec::new(),
    };
    cluster.check()?;
    Ok(cluster)
}
