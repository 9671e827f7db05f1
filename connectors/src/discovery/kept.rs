//! The last good snapshot on disk (`servers.json` in the state directory), so that a core that starts while its call
//! manager is down serves as before. It holds no secrets; it is private all the same, because whoever writes it says
//! where calls go.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Cluster, OauthKey, Product, Snapshot, UcNode};
use edgeway_runtime::pki;
use serde::{Deserialize, Serialize};

/// The form of the file. Another one is not read, but discovered anew.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    form: u32,
    revision: u64,
    taken_ms: u64,
    clusters: Vec<KeptCluster>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptCluster {
    product: String,
    publisher: String,
    deployment: String,
    version: String,
    mixed_mode: bool,
    nodes: Vec<KeptNode>,
    tftp: Vec<String>,
    oauth: bool,
    token_keys: Vec<KeptKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptNode {
    name: String,
    publisher: bool,
    sip_port: u16,
    sip_tls_port: u16,
    sip_oauth_port: u16,
    https_port: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptKey {
    id: String,
    public: String,
}

/// Writes it, in one step.
pub(super) fn store(path: &Path, snapshot: &Snapshot) -> Result<(), String> {
    let file = File {
        form: FORM,
        revision: snapshot.revision,
        taken_ms: snapshot.taken_ms,
        clusters: snapshot.clusters.iter().map(kept).collect(),
    };
    let text = serde_json::to_vec_pretty(&file).map_err(|error| error.to_string())?;
    pki::replace(path, &text).map_err(|error| error.to_string())
}

/// Reads it; `None` where there is none. All of it is checked as an answer of a server is.
pub(super) fn load(path: &Path) -> Result<Option<Snapshot>, String> {
    match pki::read_private(path) {
        Ok(Some(bytes)) => parse(&bytes).map(Some).map_err(|why| format!("{}: {why}", path.display())),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| format!("damaged: {error}"))?;
    if file.form != FORM {
        return Err(format!("it has the form {}, not {FORM}", file.form));
    }
    let clusters = file.clusters.into_iter().map(cluster).collect::<Result<_, String>>()?;
    let snapshot = Snapshot { revision: file.revision, taken_ms: file.taken_ms, clusters };
    match snapshot.claimed(&[]) {
        Some((cluster, lie)) => Err(format!("{}: {lie}", cluster.publisher)),
        None => Ok(snapshot),
    }
}

fn kept(cluster: &Cluster) -> KeptCluster {
    let node = |node: &UcNode| KeptNode {
        name: node.name.clone(),
        publisher: node.publisher,
        sip_port: node.sip_port,
        sip_tls_port: node.sip_tls_port,
        sip_oauth_port: node.sip_oauth_port,
        https_port: node.https_port,
    };
    let key = |key: &OauthKey| KeptKey { id: key.id.clone(), public: STANDARD.encode(&key.public) };
    KeptCluster {
        product: cluster.product.as_str().to_owned(),
        publisher: cluster.publisher.clone(),
        deployment: cluster.deployment.to_string(),
        version: cluster.version.clone(),
        mixed_mode: cluster.mixed_mode,
        nodes: cluster.nodes.iter().map(node).collect(),
        tftp: cluster.tftp.clone(),
        oauth: cluster.oauth,
        token_keys: cluster.token_keys.iter().map(key).collect(),
    }
}

fn cluster(kept: KeptCluster) -> Result<Cluster, String> {
    let node = |node: KeptNode| UcNode {
        name: node.name,
        publisher: node.publisher,
        sip_port: node.sip_port,
        sip_tls_port: node.sip_tls_port,
        sip_oauth_port: node.sip_oauth_port,
        https_port: node.https_port,
    };
    let key = |key: KeptKey| {
        let public = STANDARD.decode(&key.public).map_err(|_| format!("the key {:?} is damaged", key.id))?;
        Ok(OauthKey { id: key.id, public })
    };
    let cluster = Cluster {
        product: Product::parse(&kept.product).ok_or_else(|| format!("{:?} is no product", kept.product))?,
        publisher: kept.publisher,
        deployment: Deployment::new(&kept.deployment).ok_or("a deployment has no name")?,
        version: kept.version,
        mixed_mode: kept.mixed_mode,
        nodes: kept.nodes.into_iter().map(node).collect(),
        tftp: kept.tftp,
        oauth: kept.oauth,
        token_keys: kept.token_keys.into_iter().map(key).collect::<Result<_, String>>()?,
    };
    match cluster.check() {
        Ok(()) => Ok(cluster),
        Err(lie) => Err(format!("{}: {lie}", cluster.publisher)),
    }
}
