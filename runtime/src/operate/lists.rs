//! Registrations and calls of a node, as JSON.

use edgeway_model::limits::LISTED_MAX;
use edgeway_model::listing::{CallRow, Page, RegistrationRow, Wish};
use edgeway_model::world::Transport;
use edgeway_model::{Moment, NodeId, Pii};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, read};

/// The wall clock and the node's, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) unix_ms: u64,
    pub(super) moment: Moment,
}

impl Now {
    fn of(self, past: Moment) -> u64 {
        let ago = u64::try_from(self.moment.since(past).as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.saturating_sub(ago)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    after: Option<String>,
    limit: Option<usize>,
    user: Option<String>,
}

/// What a list's question wants.
pub(super) fn wish(question: &Value) -> Result<Wish, Refusal> {
    let Asked { after, limit, user } = read(question)?;
    let after = after.map(|after| after.parse()).transpose();
    let after = after.map_err(|()| Refusal::invalid("`after` is what `next` of the page before said"))?;
    Ok(Wish { after, limit: limit.unwrap_or(LISTED_MAX), user })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Named {
    id: Option<u32>,
}

/// The call that an order or a question is about.
pub(super) fn call(question: &Value) -> Result<u32, Refusal> {
    let Named { id } = read(question)?;
    id.ok_or_else(|| Refusal::invalid("name the call by the `id` that the list of calls has"))
}

pub(super) fn registrations(page: Page<RegistrationRow>, now: Now) -> Value {
    answer("registrations", page, |row| {
        json!({
            "aor": row.aor.reveal(),
            "device": row.device.reveal(),
            "user_agent": row.user_agent,
            "client": row.client.map(|client| client.reveal().to_string()),
            "transport": row.transport.map(Transport::param),
            "edge": name(row.edge.as_ref()),
            "core": name(row.core.as_ref()),
            "registrar": row.registrar.map(|(address, transport)| format!("{};{}", address, transport.param())),
            "since_ms": now.of(row.since),
            "expires_in_s": row.expires.since(now.moment).as_secs(),
        })
    })
}

pub(super) fn calls(page: Page<CallRow>, now: Now) -> Value {
    let words = |words: Option<Pii<String>>| words.map(|words| words.reveal().clone());
    answer("calls", page, |row| {
        json!({
            "id": row.id,
            "call_id": words(row.call_id),
            "from": words(row.from),
            "to": words(row.to),
            "state": row.state.map(edgeway_model::listing::CallState::label),
            "since_ms": now.of(row.since),
            "edge": name(row.edge.as_ref()),
            "core": name(row.core.as_ref()),
            "registrar": row.inside,
            "media": row.media,
        })
    })
}

fn name(node: Option<&NodeId>) -> Option<&str> {
    node.map(NodeId::as_str)
}

fn answer<T>(what: &str, page: Page<T>, row: impl Fn(T) -> Value) -> Value {
    let next = page.next.map(|next| next.to_string());
    json!({ what: page.rows.into_iter().map(row).collect::<Vec<_>>(), "next": next, "total": page.total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeway_model::listing::Cursor;

    #[test]
    fn a_question_is_read_or_refused() {
        assert_eq!(wish(&Value::Null).unwrap(), Wish { limit: LISTED_MAX, ..Wish::default() });
        let asked = wish(&json!({ "after": "a.2", "limit": 7, "user": "x" })).unwrap();
        assert_eq!(asked, Wish { after: Some(Cursor(10, 2)), limit: 7, user: Some("x".into()) });
        for bad in [json!({ "after": "x" }), json!({ "limit": -1 }), json!({ "users": "x" }), json!("x")] {
            assert!(wish(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_those_of_the_wall() {
        let now = Now { unix_ms: 100_000, moment: Moment::from_secs(60) };
        let row = RegistrationRow {
            aor: Pii::new("alice@example.com".into()),
            device: Pii::new("SEP1".into()),
            user_agent: None,
            client: "192.0.2.1:5".parse().ok().map(Pii::new),
            transport: Some(Transport::Tls),
            edge: NodeId::new("edge1"),
            core: None,
            registrar: "10.0.0.1:5060".parse().ok().map(|address| (address, Transport::Tcp)),
            since: Moment::from_secs(50),
            expires: Moment::from_secs(75),
        };
        let page = Page { rows: vec![row], next: Some(Cursor(1, 0)), total: 9 };
        let expected = json!({
            "registrations": [{
                "aor": "alice@example.com", "device": "SEP1", "user_agent": null, "client": "192.0.2.1:5",
                "transport": "tls", "edge": "edge1", "core": null, "registrar": "10.0.0.1:5060;tcp",
                "since_ms": 90_000, "expires_in_s": 15,
            }],
            "next": "1.0", "total": 9,
        });
        assert_eq!(registrations(page, now), expected);
    }
}
