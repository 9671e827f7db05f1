//! What the operator asks through the control socket: `edgeway servers …`.
//!
//! | path | question | answer |
//! |---|---|---|
//! | `servers` | | what is known, how it stands, and how far a refresh is |
//! | `servers/refresh` | `name`, `dry_run` | what has changed, and who could not be read |
//! | `servers/discover` | `name` | the same, for servers nothing is known of yet |

use std::rc::Rc;

use edgeway_policy::discovery::{Change, Cluster};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::LocalFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Discovery;
use super::fault::AskFault;
use super::refresh::Reading;
use super::server::Server;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    /// The publisher; all, without one.
    name: Option<String>,
    /// Show what would change, and change nothing.
    dry_run: bool,
}

impl Discovery {
    /// Answers a question whose path is `servers` or begins with `servers/`.
    pub fn operate(self: Rc<Self>, path: String, question: Value) -> LocalFuture<'static, Result<Value, String>> {
        Box::pin(async move {
            match path.as_str() {
                "servers" => Ok(self.list()),
                "servers/refresh" => self.refresh(&wish(question)?, false).await,
                "servers/discover" => self.refresh(&wish(question)?, true).await,
                _ => Err(format!("there is no {path}")),
            }
        })
    }

    fn list(&self) -> Value {
        let snapshot = self.current.snapshot();
        let now = unix_ms();
        let age = (snapshot.taken_ms != 0).then(|| now.saturating_sub(snapshot.taken_ms) / 1000);
        let server = |server: &Rc<Server>| {
            let cluster = snapshot.cluster(server.product, server.name());
            let state = server.state.borrow();
            json!({
                "product": server.product.as_str(),
                "publisher": server.name(),
                "port": server.settings.address.port,
                "deployment": server.settings.deployment.as_str(),
                "tls_verify": server.settings.tls_verify,
                "state": match (&state.fault, cluster) {
                    (Some(_), _) => "Failed",
                    (None, Some(_)) => "Active",
                    (None, None) => "Not asked yet",
                },
                "reason": state.fault.as_ref().map(ToString::to_string),
                "action": state.fault.as_ref().map(AskFault::action),
                "last_seen_ms": state.seen_ms,
                "last_seen_seconds_ago": state.seen_ms.map(|seen| now.saturating_sub(seen) / 1000),
                "drift": state.drift.iter().map(|what| json!({
                    "kind": what.kind(), "text": what.to_string(), "meaning": what.meaning(),
                })).collect::<Vec<_>>(),
                "cluster": cluster.map(cluster_json),
            })
        };
        json!({
            "revision": snapshot.revision,
            "taken_ms": snapshot.taken_ms,
            "age_seconds": age,
            "refreshing": self.under_way.get().map(|Reading { since_ms, servers, read }| json!({
                "since_ms": since_ms, "servers": servers, "read": read,
            })),
            "servers": self.servers.iter().map(server).collect::<Vec<_>>(),
        })
    }

    async fn refresh(self: &Rc<Self>, wish: &Wish, unknown_only: bool) -> Result<Value, String> {
        let Ok(_one_at_a_time) = self.refreshing.try_lock() else {
            return Err("a refresh is under way: see what comes of it with `edgeway servers list`".to_owned());
        };
        let start = Instant::now();
        let servers = self.chosen(wish.name.as_deref(), unknown_only)?;
        let mut read = self.read(servers.clone(), !wish.dry_run).await;
        let changes = if wish.dry_run {
            let composed = self.compose(&mut read);
            self.note(&read);
            self.current.snapshot().diff(&composed)
        } else {
            self.take(&mut read)
        };
        let snapshot = self.current.snapshot();
        let of = |server: &Rc<Server>| {
            let outcome = read.iter().find(|one| Rc::ptr_eq(&one.server, server)).map(|one| &one.outcome);
            let fault = outcome.and_then(|outcome| outcome.as_ref().err());
            let kept = fault.is_some() && snapshot.cluster(server.product, server.name()).is_some();
            json!({
                "product": server.product.as_str(),
                "publisher": server.name(),
                "ok": matches!(outcome, Some(Ok(_))),
                "error": fault.map(ToString::to_string),
                "action": fault.map(AskFault::action),
                "kept": kept,
            })
        };
        Ok(json!({
            "dry_run": wish.dry_run,
            "ok": read.len() == servers.len() && read.iter().all(|one| one.outcome.is_ok()),
            "swapped": !wish.dry_run && !changes.is_empty(),
            "revision": snapshot.revision,
            "took_ms": u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            "changes": changes.iter().map(change_json).collect::<Vec<_>>(),
            "servers": servers.iter().map(of).collect::<Vec<_>>(),
        }))
    }

    fn chosen(&self, name: Option<&str>, unknown_only: bool) -> Result<Vec<Rc<Server>>, String> {
        if self.servers.is_empty() {
            return Err("no UC server is configured: [[unified_cm]], [[im_and_presence]], [[unity]]".to_owned());
        }
        let named: Vec<_> = self
            .servers
            .iter()
            .filter(|server| name.is_none_or(|name| server.name().eq_ignore_ascii_case(name)))
            .collect();
        if named.is_empty() {
            let names: Vec<_> = self.servers.iter().map(|server| server.name()).collect();
            return Err(format!("no such UC server; there are: {}", names.join(", ")));
        }
        let snapshot = self.current.snapshot();
        let wanted = |server: &&&Rc<Server>| !unknown_only || snapshot.cluster(server.product, server.name()).is_none();
        Ok(named.iter().filter(wanted).map(|server| Rc::clone(server)).collect())
    }
}

fn wish(question: Value) -> Result<Wish, String> {
    if question.is_null() {
        return Ok(Wish::default());
    }
    serde_json::from_value(question).map_err(|error| error.to_string())
}

fn change_json(change: &Change) -> Value {
    json!({
        "product": change.product.as_str(),
        "publisher": change.publisher,
        "kind": change.what.kind(),
        "text": change.to_string(),
        "meaning": change.what.meaning(),
    })
}

fn cluster_json(cluster: &Cluster) -> Value {
    json!({
        "version": cluster.version,
        "mixed_mode": cluster.mixed_mode,
        "oauth": cluster.oauth,
        "token_keys": cluster.token_keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
        "tftp": cluster.tftp,
        "nodes": cluster.nodes.iter().map(|node| json!({
            "name": node.name,
            "publisher": node.publisher,
            "sip_port": node.sip_port,
            "sip_tls_port": node.sip_tls_port,
            "sip_oauth_port": node.sip_oauth_port,
            "https_port": node.https_port,
        })).collect::<Vec<_>>(),
    })
}
