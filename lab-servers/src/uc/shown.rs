//! The certificates a node can show, and TLS that shows the one of the moment.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::UcError;
use super::world::{Shown, UcNode, World};
use crate::ca::{LabCa, Pems, self_signed};

struct Certificates {
    world: Arc<World>,
    node: usize,
    all: Vec<(Shown, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificates({})", self.node)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.world.state().nodes.get(self.node).map(|node| node.shown).unwrap_or_default();
        self.all.iter().find(|(kind, _)| *kind == shown).map(|(_, key)| key.clone())
    }
}

pub(super) fn tls(world: Arc<World>, index: usize, node: &UcNode, ca: &LabCa) -> Result<Arc<ServerConfig>, UcError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (name, address) = ([node.name.as_str()], [node.address]);
    let elsewhere = format!("other.{}", node.name);
    let all = [
        (Shown::Good, ca.issue(&name, &address)?),
        (Shown::SelfSigned, self_signed(&name, &address)?),
        (Shown::WrongName, ca.issue(&[elsewhere.as_str()], &[])?),
        (Shown::Expired, ca.issue_expired(&name, &address)?),
        (Shown::Untrusted, LabCa::new("Nobody's CA")?.issue(&name, &address)?),
    ];
    let mut keys = Vec::new();
    for (shown, pems) in all {
        keys.push((shown, Arc::new(certified(&pems, &provider)?)));
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| UcError::Keys(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates { world, node: index, all: keys }));
    Ok(Arc::new(config))
}

fn certified(pems: &Pems, provider: &CryptoProvider) -> Result<CertifiedKey, UcError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pems.chain.as_bytes()).collect();
    let chain = chain.map_err(|error| UcError::Keys(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(pems.key.as_bytes()).map_err(|error| UcError::Keys(error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| UcError::Keys(error.to_string()))
}
