//! What happens, as it happens: server-sent events (HTML Living Standard §9.2).
//!
//! One look a second at all nodes is shared by all who follow. Whoever reads too slowly is let go, and connects again with
//! the id of the last event it has seen.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::{Actor, Problem};
use crate::limits::{
    CURSOR_BYTES_MAX, FOLLOWER_CHECK, FOLLOWER_QUEUE_MAX, FOLLOWERS_MAX, FOLLOWERS_OF_ONE_MAX, NODES_MAX, PAGE_MAX,
    TICK,
};
use crate::office::Office;
use crate::views::Everywhere;

/// What one look has found, as it is sent.
#[derive(Clone)]
struct Look {
    status: Bytes,
    /// Where the events of each node stand after it.
    seen: Seen,
    /// Node, event.
    events: Arc<Vec<(String, Value)>>,
    alarms: Option<Bytes>,
}

/// The last event of each node.
type Seen = BTreeMap<String, u64>;

/// Those who follow what happens.
pub struct Followers {
    looks: broadcast::Sender<Arc<Look>>,
    who: Arc<Mutex<BTreeMap<String, usize>>>,
    looking: Mutex<bool>,
}

impl Followers {
    pub(crate) fn new() -> Self {
        let (looks, _) = broadcast::channel(FOLLOWER_QUEUE_MAX);
        Self { looks, who: Arc::default(), looking: Mutex::new(false) }
    }

    fn enter(&self, actor: &Actor) -> Option<Following> {
        let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = who.get(&actor.author).copied().unwrap_or(0);
        if who.values().sum::<usize>() >= FOLLOWERS_MAX || of_one >= FOLLOWERS_OF_ONE_MAX {
            return None;
        }
        who.insert(actor.author.clone(), of_one + 1);
        Some(Following { who: Arc::clone(&self.who), author: actor.author.clone() })
    }
}

/// One who follows.
struct Following {
    who: Arc<Mutex<BTreeMap<String, usize>>>,
    author: String,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        match who.get_mut(&self.author) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(who.remove(&self.author)),
        }
    }
}

pub(super) async fn follow(
    State(office): State<Arc<Office>>,
    actor: Actor,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let seen = last.map(seen_of).transpose()?;
    let full = || Problem::new("too_many", "Too many follow already.").retry_after(FOLLOWER_CHECK);
    let following = office.followers.enter(&actor).ok_or_else(full)?;
    let looks = office.followers.looks.subscribe();
    begin_looking(&office);
    let (lines, body) = mpsc::channel(FOLLOWER_QUEUE_MAX);
    tokio::spawn(tell(Arc::clone(&office), actor, following, looks, seen, lines));
    let mut response = Body::new(Lines(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Sends to one follower until they go, may follow no more, or read too slowly.
async fn tell(
    office: Arc<Office>,
    actor: Actor,
    _following: Following,
    mut looks: broadcast::Receiver<Arc<Look>>,
    seen: Option<Seen>,
    lines: mpsc::Sender<Bytes>,
) {
    let mut seen = seen.unwrap_or_default();
    let mut first = true;
    let mut check = tokio::time::interval(FOLLOWER_CHECK);
    check.tick().await;
    loop {
        let look = tokio::select! {
            () = lines.closed() => return,
            _ = check.tick() => {
                if !office.accounts.still_may(&actor).await {
                    return;
                }
                continue;
            }
            look = looks.recv() => match look {
                Ok(look) => look,
                Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => return,
            },
        };
        let mut pieces = Vec::new();
        if first && !seen.is_empty() {
            pieces.extend(missed(&office, &mut seen).await);
        }
        first = false;
        pieces.push(look.status.clone());
        pieces.extend(look.alarms.clone());
        for (node, event) in look.events.iter() {
            let number = event.get("seq").and_then(Value::as_u64).unwrap_or(0);
            if seen.get(node).is_some_and(|last| *last >= number) {
                continue;
            }
            seen.insert(node.clone(), number);
            pieces.push(event_line(node, event, &seen));
        }
        for (node, number) in &look.seen {
            let last = seen.entry(node.clone()).or_insert(*number);
            *last = (*last).max(*number);
        }
        for piece in pieces {
            // Full: whoever does not read is let go.
            if lines.try_send(piece).is_err() {
                return;
            }
        }
    }
}

/// What has happened since the events that somebody saw last.
async fn missed(office: &Office, seen: &mut Seen) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    for (node, last) in seen.clone() {
        let Ok(id) = office.node(&node) else { continue };
        let body = json!({ "after": last, "limit": PAGE_MAX });
        let answer = office.ask(Some(&id), "events", body).await.unwrap_or_default();
        for event in answer.get("events").and_then(Value::as_array).into_iter().flatten().take(FOLLOWER_QUEUE_MAX / 2) {
            let Some(number) = event.get("seq").and_then(Value::as_u64).filter(|number| *number > last) else {
                continue;
            };
            seen.insert(node.clone(), number);
            pieces.push(event_line(&node, event, seen));
        }
    }
    pieces.truncate(FOLLOWER_QUEUE_MAX / 2);
    pieces
}

/// Looks for as long as somebody follows.
fn begin_looking(office: &Arc<Office>) {
    let mut looking = office.followers.looking.lock().unwrap_or_else(PoisonError::into_inner);
    if !*looking {
        *looking = true;
        tokio::spawn(look(Arc::downgrade(office)));
    }
}

async fn look(office: Weak<Office>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut alarms) = (Seen::new(), Value::Null);
    loop {
        tick.tick().await;
        let Some(office) = office.upgrade() else { return };
        {
            let mut looking = office.followers.looking.lock().unwrap_or_else(PoisonError::into_inner);
            if office.followers.looks.receiver_count() == 0 {
                *looking = false;
                return;
            }
        }
        let all = office.everywhere("status", json!({})).await;
        let events = Arc::new(new_events(&office, &all, &mut seen).await);
        let now = alarms_of(&all);
        let changed = (now != alarms).then(|| line("alarms", None, &now));
        alarms = now;
        let nodes: serde_json::Map<_, _> = all.answers.into_iter().collect();
        let status = line("status", None, &json!({ "nodes": nodes, "silent": all.silent }));
        let _ = office.followers.looks.send(Arc::new(Look { status, seen: seen.clone(), events, alarms: changed }));
    }
}

async fn new_events(office: &Office, all: &Everywhere, seen: &mut Seen) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for (node, _) in &all.answers {
        let Ok(id) = office.node(node) else { continue };
        let last = seen.get(node).copied();
        let body = json!({ "after": last, "limit": PAGE_MAX });
        let Ok(answer) = office.ask(Some(&id), "events", body).await else { continue };
        for event in answer.get("events").and_then(Value::as_array).into_iter().flatten().take(FOLLOWER_QUEUE_MAX / 2) {
            let Some(number) = event.get("seq").and_then(Value::as_u64) else { continue };
            if seen.get(node).is_none_or(|last| *last < number) {
                seen.insert(node.clone(), number);
            }
            // What was there before the first look is in the list of events.
            if last.is_some_and(|last| last < number) {
                events.push((node.clone(), event.clone()));
            }
        }
    }
    events
}

fn alarms_of(all: &Everywhere) -> Value {
    let mut alarms = Vec::new();
    for (node, status) in &all.answers {
        for alarm in status.get("alarms").and_then(Value::as_array).into_iter().flatten() {
            alarms.push(json!({ "node": node, "alarm": alarm }));
        }
    }
    Value::Array(alarms)
}

fn event_line(node: &str, event: &Value, seen: &Seen) -> Bytes {
    let id: Vec<_> = seen.iter().map(|(node, number)| format!("{node}={number}")).collect();
    line("event", Some(&id.join(",")), &json!({ "node": node, "event": event }))
}

/// JSON has no line breaks of its own, so that nothing in it can end the line.
fn line(name: &str, id: Option<&str>, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))
}

/// `core1=12,edge1=7`.
fn seen_of(text: &str) -> Result<Seen, Problem> {
    let bad = || Problem::new("bad_request", "Last-Event-ID is none of ours.");
    if text.len() > CURSOR_BYTES_MAX {
        return Err(bad());
    }
    let mut seen = Seen::new();
    for part in text.split(',') {
        let (node, number) = part.split_once('=').ok_or_else(bad)?;
        let node = edgeway_model::NodeId::new(node).ok_or_else(bad)?;
        seen.insert(node.as_str().to_owned(), number.parse().map_err(|_| bad())?);
    }
    if seen.len() > NODES_MAX { Err(bad()) } else { Ok(seen) }
}

/// A body out of a channel.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_node_says_ends_a_line() {
        let said = line("event", Some("a=1"), &json!({ "text": "x\n\ndata: y\r\nevent: z" }));
        let text = std::str::from_utf8(&said).unwrap();
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 3, "{text}");
    }

    #[test]
    fn only_ids_of_ours_are_taken_back() {
        assert_eq!(seen_of("core1=12,edge1=7").unwrap().len(), 2);
        for bad in ["", "core1", "core1=x", "CORE=1", "a=1,,b=2", &"a=1,".repeat(5_000)] {
            assert!(seen_of(bad).is_err(), "{bad:.20}");
        }
    }
}
