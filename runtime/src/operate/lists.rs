//! Registrations and calls of a node, as JSON.

use edgeway_model::limits::LISTED_MAX;
use edgeway_model::listing::{CallDetail, CallRow, MediaLeg, Page, RegistrationRow, Wish};
use edgeway_model::media::RelayCounters;
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
    call_id: Option<String>,
}

/// The call that an order or a question is about: its number and, of whoever wants to be sure, its Call-ID.
pub(super) fn call(question: &Value) -> Result<(u32, Option<String>), Refusal> {
    let Named { id, call_id } = read(question)?;
    match id {
        Some(id) => Ok((id, call_id)),
        None => Err(Refusal::invalid("name the call by the `id` that the list of calls has")),
    }
}

/// A call, if it is the one that was meant.
pub(super) fn meant(call: Option<CallDetail>, (id, call_id): &(u32, Option<String>)) -> Result<CallDetail, Refusal> {
    let is_it = |call: &CallDetail| {
        call_id.as_ref().is_none_or(|meant| call.call.call_id.as_ref().is_some_and(|known| known.reveal() == meant))
    };
    call.filter(is_it).ok_or_else(|| no_call(*id))
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

fn no_call(id: u32) -> Refusal {
    Refusal::not_found(format!("there is no call {id} here: it may be over already"))
}

pub(super) fn calls(page: Page<CallRow>, now: Now) -> Value {
    answer("calls", page, |row| call_row(row, now))
}

fn call_row(row: CallRow, now: Now) -> Value {
    let words = |words: Option<Pii<String>>| words.map(|words| words.reveal().clone());
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
}

/// A call with all that is known of it.
pub(super) fn call_detail(call: CallDetail, now: Now) -> Value {
    let CallDetail { call, device, user_agent, client, parties, heard, media } = call;
    let mut out = call_row(call, now);
    let leg = |leg: &MediaLeg| {
        json!({
            "port": leg.port,
            "described": leg.described.as_ref().map(|place| place.reveal().to_string()),
            "protection": leg.protection,
        })
    };
    let sections = media.iter().map(|media| {
        let RelayCounters {
            inward,
            outward,
            unauthenticated,
            replayed,
            too_early,
            wrong_source,
            other_drops,
            lost_inward,
            lost_outward,
        } = media.counters;
        json!({
            "kind": media.kind,
            "codecs": media.codecs,
            "direction": media.direction,
            "client": leg(&media.client),
            "inside": leg(&media.inside),
            "edge": media.edge.as_str(),
            "path": media.path.label(),
            "packets": { "inward": inward, "outward": outward },
            "lost": { "inward": lost_inward, "outward": lost_outward },
            "dropped": {
                "unauthenticated": unauthenticated, "replayed": replayed, "too_early": too_early,
                "wrong_source": wrong_source, "other": other_drops,
            },
        })
    });
    out["sections"] = sections.collect();
    out["device"] = json!(device.map(|device| device.reveal().clone()));
    out["user_agent"] = json!(user_agent);
    out["client"] = json!(client.map(|client| client.reveal().to_string()));
    out["parties"] = json!(parties);
    out["heard_ms"] = json!(now.of(heard));
    out
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

    #[test]
    fn a_number_with_the_call_id_of_another_call_names_none() {
        let call = || CallDetail {
            call: CallRow {
                id: 17,
                call_id: Some(Pii::new("talk".into())),
                from: None,
                to: None,
                state: None,
                since: Moment::from_secs(1),
                edge: None,
                core: None,
                inside: None,
                media: Vec::new(),
            },
            device: None,
            user_agent: None,
            client: None,
            parties: 1,
            heard: Moment::from_secs(1),
            media: Vec::new(),
        };
        for (question, is_it) in [
            (json!({ "id": 17 }), true),
            (json!({ "id": 17, "call_id": "talk" }), true),
            (json!({ "id": 17, "call_id": "other" }), false),
            (json!({ "id": 17, "call_id": "" }), false),
        ] {
            let named = super::call(&question).expect("a good question");
            let outcome = meant(Some(call()), &named).map(|call| call.call.id).map_err(|refusal| refusal.kind);
            assert_eq!(outcome, if is_it { Ok(17) } else { Err(super::super::RefusalKind::NotFound) }, "{question}");
        }
    }
}
