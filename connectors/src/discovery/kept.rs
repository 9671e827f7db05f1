//! The last good snapshot on disk (`servers.json` in the state directory), so that a core that starts while its call
//! manager is down serves as before. It holds no secrets; it is private all the same, because whoever writes it says
//! where calls go.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Cluster, OauthKey, Product, Snapshot, UcNode};
use edgeway_runtime::pki;
use edgeway_runtime::pki::limits::STATE_FILE_BYTES_MAX;
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
    // What is longer would not be read again, and in its place there would be nothing.
    if text.len() as u64 > STATE_FILE_BYTES_MAX {
        return Err(format!("it would have {} bytes, more than {STATE_FILE_BYTES_MAX}", text.len()));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let scratch = Scratch::new("kept-long");
        let path = scratch.path().join("servers.json");
        let node = |at: usize| UcNode {
            name: format!("{at}.example.com"),
            publisher: at == 0,
            sip_port: 5060,
            sip_tls_port: 0,
            sip_oauth_port: 0,
            https_port: 8443,
        };
        let cluster = |at: usize| Cluster {
            product: Product::UnifiedCm,
            publisher: format!("{at}.example.com"),
            deployment: Deployment::default_one(),
            version: "12.5".to_owned(),
            mixed_mode: false,
            nodes: (at * 64..(at + 1) * 64).map(node).collect(),
            tftp: Vec::new(),
            oauth: false,
            token_keys: Vec::new(),
        };
        let snapshot = |clusters| Snapshot { revision: 1, taken_ms: 1, clusters };
        let short = snapshot(vec![cluster(0)]);
        store(&path, &short).unwrap();
        let long = store(&path, &snapshot((0..200).map(cluster).collect()));
        assert!(long.is_err_and(|why| why.contains("1048576")));
        assert_eq!(load(&path), Ok(Some(short)), "the last good one stays");
    }
}
