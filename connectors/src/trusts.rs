//! Whom the reverse proxy trusts: what holds for all servers, and what the operator says of single UC servers, whose
//! nodes discovery knows.
//!
//! What a server says of itself must not loosen what holds for others. So a trust holds for one deployment only; a
//! host in the settings has the trust that stands there, whatever is discovered; and where two clusters name one host
//! and are not trusted alike, what holds for all servers holds for it.

use std::cell::Cell;
use std::collections::BTreeMap;

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::UcServerSettings;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Product, Snapshot};
use edgeway_runtime::tls::CertificateStore;

use crate::proxy::{HttpClient, Trust};

/// A configured UC server.
struct Own {
    product: Product,
    deployment: Deployment,
    host: String,
    /// `None`: what holds for all servers.
    trust: Option<Trust>,
}

/// The trusts of a core.
pub(crate) struct Trusts {
    pub(crate) default: Trust,
    own: Vec<Own>,
    followed: Cell<Option<u64>>,
}

/// What is said of hosts of a deployment.
type Said<'a> = BTreeMap<(Deployment, String), Option<&'a Trust>>;

impl Trusts {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// In the operator's words.
    pub(crate) fn load(settings: &CoreSettings) -> Result<Self, String> {
        // TFTP servers ask for a certificate (6971, 6972), even where the cluster is not in mixed mode.
        let shown = settings.sip.tls.certificate.as_ref().map(|files| {
            CertificateStore::load(std::slice::from_ref(files))
                .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        let shown = shown.transpose()?;
        let shown = shown.as_ref();
        let default = Trust::load(settings.http.ca.as_deref(), "http.ca", shown).map_err(|fault| fault.to_string())?;
        let uc = &settings.uc;
        let kinds = [
            (Product::UnifiedCm, &uc.unified_cm),
            (Product::ImAndPresence, &uc.im_and_presence),
            (Product::Unity, &uc.unity),
        ];
        let mut own = Vec::new();
        for (product, server) in kinds.iter().flat_map(|(product, servers)| servers.iter().map(|one| (*product, one))) {
            let UcServerSettings { tls_verify, ca, deployment, address, .. } = server;
            let trust = match (tls_verify, ca) {
                (false, _) => Some(Trust::anybody(shown)),
                (true, Some(ca)) => Some(Trust::load(Some(ca), "ca", shown)),
                (true, None) => None,
            };
            let trust = trust.transpose().map_err(|fault| fault.to_string())?;
            own.push(Own { product, deployment: deployment.clone(), host: address.host.to_lowercase(), trust });
        }
        Ok(Self { default, own, followed: Cell::new(None) })
    }

    /// Nodes of a cluster, by each of their names, and its TFTP servers are trusted as its publisher is.
    pub(crate) fn follow(&self, snapshot: &Snapshot, clients: &[HttpClient]) {
        if self.followed.replace(Some(snapshot.revision)) != Some(snapshot.revision) {
            for client in clients {
                client.set_trusts(self.of(snapshot));
            }
        }
    }

    fn of(&self, snapshot: &Snapshot) -> Vec<((Deployment, String), Trust)> {
        let (mut configured, mut nodes, mut files) = (Said::new(), Said::new(), Said::new());
        for own in &self.own {
            say(&mut configured, &own.deployment, own.host.clone(), own.trust.as_ref());
        }
        for cluster in &snapshot.clusters {
            let its = |own: &&Own| {
                own.product == cluster.product
                    && own.deployment == cluster.deployment
                    && own.host == cluster.publisher.to_lowercase()
            };
            let trust = self.own.iter().find(its).and_then(|own| own.trust.as_ref());
            for name in cluster.node_names() {
                say(&mut nodes, &cluster.deployment, name, trust);
            }
            for name in &cluster.tftp {
                say(&mut files, &cluster.deployment, name.clone(), trust);
            }
        }
        // The better word comes last.
        files.extend(nodes);
        files.extend(configured);
        files.into_iter().filter_map(|(of, trust)| Some((of, trust?.clone()))).collect()
    }
}

impl Trusts {
    /// The same trust everywhere.
    #[cfg(test)]
    pub(crate) fn only(default: Trust) -> Self {
        Self { default, own: Vec::new(), followed: Cell::new(None) }
    }

    /// Whom we trust at a host of a deployment, by what is known now.
    pub(crate) fn at(&self, snapshot: &Snapshot, deployment: &Deployment, host: &str) -> Trust {
        let host = host.to_lowercase();
        let all = self.of(snapshot);
        let found = all.into_iter().find(|((of, name), _)| of == deployment && *name == host);
        found.map_or_else(|| self.default.clone(), |(_, trust)| trust)
    }
}

fn say<'a>(said: &mut Said<'a>, deployment: &Deployment, host: String, trust: Option<&'a Trust>) {
    let before = said.entry((deployment.clone(), host)).or_insert(trust);
    if before.map(Trust::id) != trust.map(Trust::id) {
        *before = None;
    }
}

#[cfg(test)]
mod tests {
    use edgeway_policy::discovery::{Cluster, UcNode};

    use super::*;

    fn cluster(deployment: &Deployment, publisher: &str, nodes: &[&str], tftp: &[&str]) -> Cluster {
        let node = |name: &&str| UcNode {
            name: (*name).to_owned(),
            publisher: false,
            sip_port: 5060,
            sip_tls_port: 0,
            sip_oauth_port: 0,
            https_port: 8443,
        };
        Cluster {
            product: Product::UnifiedCm,
            publisher: publisher.to_owned(),
            deployment: deployment.clone(),
            version: "12.5".to_owned(),
            mixed_mode: false,
            nodes: nodes.iter().map(node).collect(),
            tftp: tftp.iter().map(|name| (*name).to_owned()).collect(),
            oauth: false,
            token_keys: Vec::new(),
        }
    }

    #[test]
    fn no_cluster_loosens_what_holds_for_others() {
        let (west, east) = (Deployment::default_one(), Deployment::new("east").unwrap());
        let own = |deployment: &Deployment, host: &str, trust: Option<&Trust>| Own {
            product: Product::UnifiedCm,
            deployment: deployment.clone(),
            host: host.to_owned(),
            trust: trust.cloned(),
        };
        let (default, anybody, strict) = ([(); 3]).map(|()| Trust::anybody(None).unwrap()).into();
        let trusts = Trusts {
            default,
            own: vec![
                own(&west, "cucm1.example.com", Some(&strict)),
                own(&west, "plain.example.com", None),
                own(&west, "loose.example.com", Some(&anybody)),
                own(&east, "loose.example.net", Some(&anybody)),
            ],
            followed: Cell::new(None),
        };
        // The loose ones claim everybody's hosts, in their deployment and (were it let through) in another.
        let claims = ["cucm1.example.com", "plain.example.com", "cucm2.example.com", "sub.example.com", "files"];
        let snapshot = Snapshot {
            revision: 1,
            taken_ms: 1,
            clusters: vec![
                cluster(&west, "loose.example.com", &["own"], &claims),
                cluster(&east, "loose.example.net", &[], &claims),
                cluster(&west, "cucm1.example.com", &["cucm1", "cucm2"], &["cucm2"]),
                cluster(&west, "plain.example.com", &["sub.example.com"], &[]),
            ],
        };
        let found: BTreeMap<_, _> = trusts.of(&snapshot).into_iter().map(|(of, trust)| (of, trust.id())).collect();
        for (deployment, host, expected) in [
            (&west, "loose.example.com", Some(&anybody)),
            (&west, "own", Some(&anybody)),
            (&west, "own.example.com", Some(&anybody)),
            (&west, "files", Some(&anybody)),
            (&west, "cucm1.example.com", Some(&strict)),
            (&west, "cucm1", Some(&strict)),
            (&west, "cucm2", Some(&strict)),
            // By what clients call it, too.
            (&west, "cucm2.example.com", Some(&strict)),
            (&west, "plain.example.com", None),
            (&west, "sub.example.com", None),
            (&east, "cucm2", None),
            (&east, "cucm2.example.com", Some(&anybody)),
        ] {
            let of = (deployment.clone(), host.to_owned());
            assert_eq!(found.get(&of).copied(), expected.map(Trust::id), "{deployment} {host}");
        }
    }
}
