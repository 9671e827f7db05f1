//! The thread the nodes of a chat service run on: listeners that can be switched off and on, and TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection;
use super::sasl::Mechanism;
use super::world::Shared;
use crate::ca::LabCa;
use crate::limits::{BIND_TRIES_MAX, CONNECTIONS_MAX};

const SHORTLY: Duration = Duration::from_millis(5);

/// Switches a node on or off.
pub(super) struct Command {
    pub(super) node: usize,
    pub(super) on: bool,
    pub(super) done: std::sync::mpsc::Sender<std::io::Result<()>>,
}

/// A node and what it needs to serve.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// The port, until it is served.
    pub(super) listener: Option<std::net::TcpListener>,
    pub(super) direct_tls: bool,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) mechanisms: Vec<Mechanism>,
    pub(super) shared: Arc<Shared>,
}

pub(super) fn tls(ca: &LabCa, names: &[&str]) -> Result<Arc<ServerConfig>, String> {
    let pems = ca.issue(names, &[]).map_err(|error| error.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pems.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pems.key.as_bytes()).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(|error| error.to_string())?, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Ok(Arc::new(config))
}

/// Runs until the commands end.
pub(super) async fn run(nodes: Vec<Node>, mut commands: mpsc::Receiver<Command>) {
    let mut running: Vec<JoinSet<()>> = nodes.iter().map(|_| JoinSet::new()).collect();
    let mut listeners = Vec::new();
    let nodes: Vec<Arc<Node>> = nodes
        .into_iter()
        .map(|mut node| {
            listeners.push(node.listener.take());
            Arc::new(node)
        })
        .collect();
    for ((node, listener), tasks) in nodes.iter().zip(listeners).zip(&mut running) {
        let Some(listener) = listener else { continue };
        if listener.set_nonblocking(true).is_ok()
            && let Ok(listener) = TcpListener::from_std(listener)
        {
            tasks.spawn(accept(listener, node.clone()));
        }
    }
    while let Some(Command { node, on, done }) = commands.recv().await {
        let (Some(node), Some(tasks)) = (nodes.get(node), running.get_mut(node)) else { continue };
        tasks.shutdown().await;
        let outcome = if on {
            bind(node.address).await.map(|listener| _ = tasks.spawn(accept(listener, node.clone())))
        } else {
            node.shared.world().sessions.retain(|session| session.node != node.name);
            Ok(())
        };
        let _ = done.send(outcome);
    }
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..BIND_TRIES_MAX {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
        tokio::time::sleep(SHORTLY).await;
    }
    Err(last)
}

async fn accept(listener: TcpListener, node: Arc<Node>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give the others a moment to close.
            tokio::time::sleep(SHORTLY).await;
            continue;
        };
        if connections.len() < CONNECTIONS_MAX {
            let _ = stream.set_nodelay(true);
            connections.spawn(connection::converse(stream, node.clone()));
        }
    }
}
