//! What nodes answer, as pages show it.
//!
//! An edge's answer may be hostile. What is missing is nothing, what is of the wrong kind makes the whole answer
//! unreadable, and lists are cut where a page would become unreadable.

use serde::{Deserialize, Deserializer};

use super::limits::PAGE_ROWS_MAX;

/// A list, cut; `null` is an empty one.
fn rows<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let mut rows = Option::<Vec<T>>::deserialize(from)?.unwrap_or_default();
    rows.truncate(PAGE_ROWS_MAX);
    Ok(rows)
}

/// Text; `null` is none.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

/// Now, and the most since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Gauge {
    pub(crate) current: u64,
    pub(crate) peak: u64,
}

impl Gauge {
    /// Of two nodes. Their peaks were not at one time: the sum is a bound.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { current: self.current.saturating_add(other.current), peak: self.peak.saturating_add(other.peak) }
    }
}

/// What a node uses of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) files_max: Option<u64>,
}

/// A row of the services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "text")]
    pub(crate) state: String,
    #[serde(deserialize_with = "rows")]
    pub(crate) parts: Vec<Part>,
    #[serde(deserialize_with = "rows")]
    pub(crate) notes: Vec<String>,
}

/// A part of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "text")]
    pub(crate) state: String,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Link {
    #[serde(deserialize_with = "text")]
    pub(crate) peer: String,
    #[serde(deserialize_with = "text")]
    pub(crate) state: String,
    pub(crate) round_trip_ms: Option<f64>,
    pub(crate) clock_skew_ms: Option<i64>,
    #[serde(deserialize_with = "text")]
    pub(crate) media_path: String,
    pub(crate) version: Option<u64>,
    #[serde(deserialize_with = "text")]
    pub(crate) trouble: String,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.state == "up"
    }
}

/// A registrar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Registrar {
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "text")]
    pub(crate) deployment: String,
    #[serde(deserialize_with = "text")]
    pub(crate) zone: String,
    #[serde(deserialize_with = "text")]
    pub(crate) address: String,
    #[serde(deserialize_with = "text")]
    pub(crate) transport: String,
    #[serde(deserialize_with = "text")]
    pub(crate) state: String,
    #[serde(deserialize_with = "text")]
    pub(crate) why: String,
}

/// An alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Alarm {
    #[serde(deserialize_with = "text")]
    pub(crate) severity: String,
    #[serde(deserialize_with = "text")]
    pub(crate) id: String,
    #[serde(deserialize_with = "text")]
    pub(crate) about: String,
    #[serde(deserialize_with = "text")]
    pub(crate) cause: String,
    #[serde(deserialize_with = "text")]
    pub(crate) action: String,
    pub(crate) since_ms: Option<u64>,
    #[serde(deserialize_with = "text")]
    pub(crate) node: String,
}

/// How far maintenance mode is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Maintenance {
    pub(crate) since_ms: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) remaining: Remaining,
    pub(crate) estimate_s: Option<u64>,
}

/// What is still served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Remaining {
    pub(crate) calls: u64,
    pub(crate) chats: u64,
    pub(crate) requests: u64,
    pub(crate) registrations: u64,
}

/// The `status` of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    #[serde(deserialize_with = "text")]
    pub(crate) node: String,
    #[serde(deserialize_with = "text")]
    pub(crate) role: String,
    #[serde(deserialize_with = "text")]
    pub(crate) version: String,
    pub(crate) registrations: Gauge,
    pub(crate) calls: Gauge,
    pub(crate) chats: Gauge,
    pub(crate) connections: Gauge,
    #[serde(deserialize_with = "rows")]
    pub(crate) services: Vec<Service>,
    #[serde(deserialize_with = "rows")]
    pub(crate) links: Vec<Link>,
    #[serde(deserialize_with = "rows")]
    pub(crate) registrars: Vec<Registrar>,
    #[serde(deserialize_with = "rows")]
    pub(crate) alarms: Vec<Alarm>,
    /// The domains served (cores).
    #[serde(deserialize_with = "rows")]
    pub(crate) domains: Vec<String>,
    pub(crate) resources: Option<Resources>,
    pub(crate) started_ms: Option<u64>,
    pub(crate) now_ms: Option<u64>,
    pub(crate) maintenance: Option<Maintenance>,
}

impl Status {
    pub(crate) fn is_core(&self) -> bool {
        self.role == "core"
    }
}

/// One UC server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    #[serde(deserialize_with = "text")]
    pub(crate) product: String,
    #[serde(deserialize_with = "text")]
    pub(crate) publisher: String,
    #[serde(deserialize_with = "text")]
    pub(crate) deployment: String,
    #[serde(deserialize_with = "text")]
    pub(crate) state: String,
    #[serde(deserialize_with = "text")]
    pub(crate) reason: String,
    #[serde(deserialize_with = "text")]
    pub(crate) action: String,
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) cluster: Option<Cluster>,
    #[serde(deserialize_with = "rows")]
    pub(crate) drift: Vec<Drift>,
}

/// What is known of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    #[serde(deserialize_with = "text")]
    pub(crate) version: String,
    #[serde(deserialize_with = "rows")]
    pub(crate) nodes: Vec<ClusterNode>,
}

/// A node of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterNode {
    #[serde(deserialize_with = "text")]
    pub(crate) name: String,
    pub(crate) publisher: bool,
}

/// What has changed there since it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Drift {
    #[serde(deserialize_with = "text")]
    pub(crate) text: String,
    #[serde(deserialize_with = "text")]
    pub(crate) meaning: String,
}

/// The answer to `servers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Servers {
    #[serde(deserialize_with = "rows")]
    pub(crate) servers: Vec<Server>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_nothing_and_what_is_wrong_is_no_status() {
        let status: Status = serde_json::from_value(json!({})).expect("a status");
        assert_eq!(status, Status::default());
        let nulls = json!({"node": null, "alarms": null, "links": [{"peer": "edge1", "round_trip_ms": null}]});
        let status: Status = serde_json::from_value(nulls).expect("a status");
        assert_eq!((status.node.as_str(), status.links[0].peer.as_str()), ("", "edge1"));
        for wrong in [json!({"node": 7}), json!({"links": "all"}), json!("status"), json!({"calls": {"current": -1}})] {
            assert!(serde_json::from_value::<Status>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let alarms: Vec<_> = (0..PAGE_ROWS_MAX + 10).map(|n| json!({"id": n.to_string()})).collect();
        let status: Status = serde_json::from_value(json!({ "alarms": alarms })).expect("a status");
        assert_eq!(status.alarms.len(), PAGE_ROWS_MAX);
    }
}
