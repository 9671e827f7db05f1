//! Starts an edge and a core in this process, for the lab: real sockets, keys in memory.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use edgeway_config::{CoreSettings, EdgeSettings, parse_core, parse_edge};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_model::notice::Notice;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::pki::{Authority, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, StatusPort, Stop, Stopped};
use edgeway_runtime::tls::CertificateStore;

use crate::lab::{NodePlan, RunningNode, RunningNodes};

/// Notices the lab has not read yet.
const NOTICES_MAX: usize = 1_024;
/// How long a node may take to bind its sockets.
const START_WITHIN: Duration = Duration::from_secs(5);

/// A node on its thread; ends with it.
struct Guard {
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts both nodes and returns when their sockets are bound.
pub(crate) fn start(plan: NodePlan) -> anyhow::Result<RunningNodes> {
    let (edge_settings, core_settings) = (edge_settings(&plan)?, core_settings(&plan)?);
    let authority = Authority::ephemeral()?;
    let name = |name: &str| NodeId::new(name).with_context(|| format!("{name:?} is no node name"));
    let edge_identity = authority.issue(&name(plan.edge)?, Role::Edge)?;
    let core_identity = authority.issue(&name(plan.core)?, Role::Core)?;
    let certificates = Arc::new(CertificateStore::from_pem(&plan.chain_pem, &plan.key_pem)?);
    let record = EdgeRecord {
        node: name(plan.edge)?,
        address: plan.edge_link.to_string(),
        key_hash: edge_identity.key().key_hash(),
    };

    let keys = EdgeKeys::Memory { identity: Box::new(edge_identity), certificates };
    let metrics = edge_settings.metrics;
    let edge = launch("edge", metrics, move |hooks, stopped| {
        let node = EdgeNode::new((&edge_settings).into(), Random::from_seed(service::seed()?));
        service::run_edge(&edge_settings, node, keys, hooks, stopped)
    })?;
    let keys = CoreKeys::Memory { identity: Box::new(core_identity), edges: vec![record] };
    let metrics = core_settings.metrics;
    let core = launch("core", metrics, move |hooks, stopped| {
        let node = CoreNode::new((&core_settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
        service::run_core(&core_settings, node, keys, hooks, stopped)
    })?;
    Ok(RunningNodes { edge, core })
}

fn launch(
    name: &'static str,
    metrics: Option<SocketAddr>,
    serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static,
) -> anyhow::Result<RunningNode> {
    let (notice, notices) = tokio::sync::mpsc::channel::<Notice>(NOTICES_MAX);
    let (ready, started) = sync_channel::<Result<StatusPort, ServiceFault>>(2);
    let (stop, stopped) = service::stop();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        let bound = ready.clone();
        let hooks = Hooks {
            notice: Some(service::notices_to(notice)),
            message: None,
            ready: Some(Box::new(move |port| drop(bound.send(Ok(port))))),
        };
        if let Err(fault) = serve(hooks, stopped) {
            let _ = ready.send(Err(fault));
        }
    })?;
    let guard = Guard { stop: Some(stop), thread: Some(thread) };
    let port = match started.recv_timeout(START_WITHIN) {
        Ok(outcome) => outcome?,
        Err(RecvTimeoutError::Timeout) => anyhow::bail!("the {name} did not start within {START_WITHIN:?}"),
        Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the {name} ended while starting"),
    };
    Ok(RunningNode { notices, status: Box::new(move || port.ask()), metrics, guard: Box::new(guard) })
}

fn edge_settings(plan: &NodePlan) -> anyhow::Result<EdgeSettings> {
    let text = format!(
        "node = \"{}\"\nmetrics = \"{}\"\n[sip]\nlisten = [\"{}\"]\npublic_host = \"{}\"\ncertificate = \"memory\"\nkey = \"memory\"\n\
         [link]\nlisten = \"{}\"\n[media]\naddress = \"{}\"\nports = \"{}\"\n",
        plan.edge,
        free_port()?,
        plan.edge_sip,
        plan.edge_sip.ip(),
        plan.edge_link,
        plan.edge_sip.ip(),
        range(&plan.edge_media),
    );
    Ok(parse_edge(&text, "the lab's edge")?)
}

fn core_settings(plan: &NodePlan) -> anyhow::Result<CoreSettings> {
    let text = format!(
        "node = \"{}\"\nmetrics = \"{}\"\ndomains = [\"{}\"]\n[sip]\nlisten = [\"{}\"]\nregistrars = [\"tcp:{}\"]\n\
         [media]\naddress = \"{}\"\nports = \"{}\"\n",
        plan.core,
        free_port()?,
        plan.domain,
        plan.core_sip,
        plan.registrar,
        plan.core_sip.ip(),
        range(&plan.core_media),
    );
    Ok(parse_core(&text, "the lab's core")?)
}

/// A loopback port nobody uses now, for metrics.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn range(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}
