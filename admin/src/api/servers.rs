//! What this core knows of the servers inside, of its rules, domains and certificates.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use edgeway_config::{Role, known_settings};
use edgeway_runtime::operate::RefusalKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::taken::Json;
use super::{Audited, Problem};
use crate::office::Office;
use crate::views::Silent;

type Asked<T> = Result<Answer<T>, Problem>;

/// Which servers are asked again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshOrder {
    /// The publisher; null: all.
    #[serde(default)]
    #[schema(example = "cucm1.example.com", max_length = 253)]
    name: Option<String>,
    /// Whether it is only shown what would change.
    #[serde(default)]
    dry_run: bool,
}

/// Whose credentials are meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserOrder {
    /// The user.
    #[schema(example = "alice", min_length = 1, max_length = 320)]
    user: String,
    /// Their deployment; null: the default one.
    #[serde(default)]
    #[schema(max_length = 64)]
    deployment: Option<String>,
}

/// One setting there is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its name with its tables.
    #[schema(example = "sip.options_interval")]
    path: String,
    /// What may be written, with its unit.
    unit: String,
    /// What holds where it is not written, in the words of the manual.
    preset: String,
    /// A good value, in TOML.
    example: String,
    /// What a change takes: `none`, `new_flows`, `drains` or `restart`.
    impact: String,
    /// The same in words.
    words: String,
    /// `shared`, or `local`: in the node's own file only.
    scope: String,
    /// What it does.
    doc: String,
}

/// All settings of a core.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SettingsView {
    /// In the order of the manual.
    settings: Vec<SettingView>,
}

/// An alarm, and where it is up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmsView {
    /// The alarms of all nodes, as their status has them, each with `node`.
    #[schema(value_type = Vec<Object>)]
    alarms: Vec<Value>,
    /// Who did not answer.
    silent: Vec<Silent>,
}

pub(super) async fn list(State(office): State<Arc<Office>>) -> Asked<Value> {
    Ok(Answer(office.ask(None, "servers", json!({})).await?))
}

pub(super) async fn refresh(State(office): State<Arc<Office>>, Json(order): Json<RefreshOrder>) -> Asked<Value> {
    asked_again(&office, "servers/refresh", &order).await
}

pub(super) async fn discover(State(office): State<Arc<Office>>, Json(order): Json<RefreshOrder>) -> Asked<Value> {
    asked_again(&office, "servers/discover", &order).await
}

/// The order is well formed: what is refused now stands against what is configured, or what is under way.
async fn asked_again(office: &Office, path: &str, order: &RefreshOrder) -> Asked<Value> {
    if let Some(name) = &order.name {
        let known = office.ask(None, "servers", json!({})).await?;
        let mut servers = known.get("servers").and_then(Value::as_array).into_iter().flatten();
        let is = |server: &Value| {
            server.get("publisher").and_then(Value::as_str).is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        if !servers.any(is) {
            return Err(Problem::new("not_found", "There is no such UC server among those of the configuration."));
        }
    }
    let body = json!({ "name": order.name, "dry_run": order.dry_run });
    office.order(None, path, body).await.map(Answer).map_err(|refusal| match refusal.kind {
        RefusalKind::Invalid => Problem::new("conflict", refusal.why),
        RefusalKind::NotFound | RefusalKind::Conflict | RefusalKind::Unavailable => refusal.into(),
    })
}

pub(super) async fn revoke(State(office): State<Arc<Office>>, Json(order): Json<UserOrder>) -> Asked<Value> {
    of_user(&office, "users/revoke", &order).await
}

pub(super) async fn purge(State(office): State<Arc<Office>>, Json(order): Json<UserOrder>) -> Asked<Value> {
    of_user(&office, "users/purge", &order).await
}

/// What cannot be the name of a user, or is that of no deployment, is there no more than one that is not.
async fn of_user(office: &Office, path: &str, order: &UserOrder) -> Asked<Value> {
    let body = match &order.deployment {
        Some(deployment) => json!({ "user": order.user, "deployment": deployment }),
        None => json!({ "user": order.user }),
    };
    office.order(None, path, body).await.map(Answer).map_err(|refusal| match refusal.kind {
        RefusalKind::Invalid => Problem::new("not_found", refusal.why),
        RefusalKind::NotFound | RefusalKind::Conflict | RefusalKind::Unavailable => refusal.into(),
    })
}

pub(super) async fn end_chat(
    State(office): State<Arc<Office>>,
    Path((node, id)): Path<(String, String)>,
) -> Asked<Value> {
    let node = office.node(&node)?;
    let id: u64 = id.parse().map_err(|_| Problem::new("not_found", "Chats have numbers."))?;
    Ok(Answer(office.order(Some(&node), "chats/disconnect", json!({ "id": id })).await?))
}

pub(super) async fn one_call(
    State(office): State<Arc<Office>>,
    Path((node, id)): Path<(String, String)>,
) -> Asked<Value> {
    let node = office.node(&node)?;
    let id: u32 = id.parse().map_err(|_| Problem::new("not_found", "Calls have numbers."))?;
    Ok(Answer(office.ask(Some(&node), "calls/show", json!({ "id": id })).await?))
}

pub(super) async fn end_call(
    State(office): State<Arc<Office>>,
    Path((node, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let node = office.node(&node)?;
    let id: u32 = id.parse().map_err(|_| Problem::new("not_found", "Calls have numbers."))?;
    let ended = office.order(Some(&node), "calls/end", json!({ "id": id })).await?;
    // Numbers are soon forgotten: the audit log has the call's own name.
    let call_id = ended.get("call_id").and_then(Value::as_str).unwrap_or_default();
    let subject = format!("call {node}/{id} {call_id}");
    Ok(Audited { subject, done: true }.on(Answer(ended).into_response()))
}

pub(super) async fn alarms(State(office): State<Arc<Office>>) -> Answer<AlarmsView> {
    let all = office.everywhere("status", json!({})).await;
    let mut alarms = Vec::new();
    for (node, status) in &all.answers {
        for alarm in status.get("alarms").and_then(Value::as_array).into_iter().flatten().filter(|one| one.is_object())
        {
            let mut alarm = alarm.clone();
            alarm["node"] = node.as_str().into();
            alarms.push(alarm);
        }
    }
    Answer(AlarmsView { alarms, silent: all.silent })
}

pub(super) async fn certificates(State(office): State<Arc<Office>>) -> Answer<Value> {
    let all = office.everywhere("status", json!({})).await;
    let of = |(node, status): &(String, Value)| json!({ "node": node, "certificates": status.get("certificates") });
    let nodes: Vec<_> = all.answers.iter().map(of).collect();
    Answer(json!({ "nodes": nodes, "silent": all.silent }))
}

pub(super) async fn settings() -> Answer<SettingsView> {
    let view = |setting: &edgeway_config::Setting| SettingView {
        path: setting.path.to_owned(),
        unit: setting.unit.to_owned(),
        preset: match setting.preset {
            edgeway_config::Preset::Required => "required".to_owned(),
            edgeway_config::Preset::Toml(words) | edgeway_config::Preset::Derived(words) => words.to_owned(),
        },
        example: setting.example.to_owned(),
        impact: setting.impact.as_str().to_owned(),
        words: setting.impact.words().to_owned(),
        scope: setting.scope().as_str().to_owned(),
        doc: setting.doc.to_owned(),
    };
    Answer(SettingsView { settings: known_settings(Role::Core).iter().map(view).collect() })
}
