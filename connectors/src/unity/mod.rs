//! Unity Connection: CUPI, its REST interface, over HTTPS with Basic.
//!
//! | question | what is read of the answer |
//! |---|---|
//! | `GET /vmrest/version` | `VersionInformation/version` |
//! | `GET /vmrest/cluster` | every `VmsServer`: `HostName`, else `ServerName`, else `IpAddress`; `ClusterMemberId`, 0 is the publisher |
//! | `GET /ssosp/token/keys`, without credentials | as for Unified CM |

use bytes::Bytes;
use edgeway_config::sign_in::UcServerSettings;
use edgeway_policy::discovery::{Cluster, Product, UcNode};
use http::Method;

use crate::discovery::fault::AskFault;
use crate::discovery::token_keys;
use crate::discovery::web::{Credentials, Question, Web};
use crate::unified_cm::axl::{BOUNDS, ask_patiently, host, refused};
use crate::unified_cm::cluster::sort;
use crate::xml::Element;

/// Asks everything, and takes all of it or nothing.
pub(crate) async fn read(
    web: &dyn Web,
    settings: &UcServerSettings,
    credentials: &Credentials,
) -> Result<Cluster, AskFault> {
    let version = ask(web, credentials, "/vmrest/version").await?;
    let version = version.text_of("version").unwrap_or_default().to_owned();
    let servers = ask(web, credentials, "/vmrest/cluster").await?;
    let keys = token_keys::fetch(web).await?;
    let node = |server: &Element| UcNode {
        name: host(
            ["HostName", "ServerName", "IpAddress"].iter().find_map(|tag| server.text_of(tag)).unwrap_or_default(),
        ),
        publisher: server.text_of("ClusterMemberId") == Some("0"),
        sip_port: 0,
        sip_tls_port: 0,
        sip_oauth_port: 0,
        https_port: settings.address.port,
    };
    let mut nodes: Vec<UcNode> = servers.children("VmsServer").map(node).collect();
    sort(&mut nodes);
    let cluster = Cluster {
        product: Product::Unity,
        publisher: settings.address.host.clone(),
        deployment: settings.deployment.clone(),
        version,
        mixed_mode: false,
        nodes,
        tftp: Vec::new(),
        oauth: keys.is_some(),
        token_keys: keys.unwrap_or_default(),
    };
    cluster.check()?;
    Ok(cluster)
}

async fn ask(web: &dyn Web, credentials: &Credentials, path: &'static str) -> Result<Element, AskFault> {
    let credentials = Some(credentials.clone());
    let question = Question { method: Method::GET, path, action: None, credentials, body: Bytes::new() };
    let reply = ask_patiently(web, question, path).await?;
    if let Some(refusal) = refused(&reply, path) {
        return Err(refusal);
    }
    Element::parse(&reply.body, &BOUNDS)
        .map_err(|fault| AskFault::Unreadable { question: path, why: fault.to_string() })
}
