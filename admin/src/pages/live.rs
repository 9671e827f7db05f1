//! What is new: the status of all nodes, shared by all who look at the same moment, and the stream that tells pages to
//! look again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame as BodyFrame};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use super::limits::{
    SAMPLE_EVERY, SHOWN_NODES_MAX, STATUS_AGE_MAX, TICK, WATCH_CHECK, WATCH_MAX, WATCHERS_MAX, WATCHERS_OF_ONE_MAX,
};
use super::views::Status;
use super::{Pages, Shared};
use crate::api::Actor;
use crate::office::Office;

/// What all nodes said, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Those that answered, this core first.
    pub(crate) nodes: Vec<Status>,
    /// Those that did not, and why.
    pub(crate) silent: Vec<(String, String)>,
    pub(crate) at_ms: u64,
}

impl Look {
    /// The nodes a page is about: the one that was chosen, or all.
    pub(crate) fn chosen<'l>(&'l self, node: Option<&'l str>) -> impl Iterator<Item = &'l Status> {
        self.nodes.iter().filter(move |status| node.is_none_or(|node| status.node == node))
    }
}

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<Option<(Instant, Arc<Look>)>>);

impl Shared {
    /// What all nodes say now; a look that is not old is shared.
    pub(crate) async fn look(&self) -> Arc<Look> {
        // Who comes while somebody asks waits for that answer, and does not ask again.
        let mut looked = self.looked.0.lock().await;
        if let Some((_, look)) = looked.as_ref().filter(|(at, _)| at.elapsed() < STATUS_AGE_MAX) {
            return Arc::clone(look);
        }
        let look = Arc::new(self.look_again().await);
        *looked = Some((Instant::now(), Arc::clone(&look)));
        look
    }

    /// The next look asks anew: something was ordered.
    pub(crate) async fn forget_look(&self) {
        *self.looked.0.lock().await = None;
    }

    async fn look_again(&self) -> Look {
        let all = self.office.nodes().await;
        let mut look = Look { at_ms: self.office.now_ms(), ..Look::default() };
        look.silent = all.silent.into_iter().map(|silent| (silent.node, silent.why)).collect();
        for node in all.nodes.into_iter().filter(|node| node.answers).take(SHOWN_NODES_MAX) {
            match serde_json::from_value::<Status>(node.status) {
                // Whose answer it is, is known by whom was asked, whatever it says.
                Ok(status) => look.nodes.push(Status { node: node.node, ..status }),
                Err(_) => look.silent.push((node.node, "its answer is no status".to_owned())),
            }
        }
        look
    }
}

/// Takes points for the charts for as long as there are pages.
pub(crate) async fn keep_sampling(pages: Weak<Shared>) {
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Some(pages) = pages.upgrade() else { return };
        let look = pages.look().await;
        pages.samples.take(&look.nodes, look.at_ms);
    }
}

/// Who is told to look again, each with how many pages.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Arc<std::sync::Mutex<BTreeMap<String, usize>>>);

impl Watchers {
    pub(super) fn enter(&self, author: &str) -> Option<Watching> {
        let mut who = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = who.get(author).copied().unwrap_or(0);
        if who.values().sum::<usize>() >= WATCHERS_MAX || of_one >= WATCHERS_OF_ONE_MAX {
            return None;
        }
        who.insert(author.to_owned(), of_one + 1);
        Some(Watching { who: Arc::clone(&self.0), author: author.to_owned() })
    }
}

/// One page that is told so.
pub(super) struct Watching {
    who: Arc<std::sync::Mutex<BTreeMap<String, usize>>>,
    author: String,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        match who.get_mut(&self.author) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(who.remove(&self.author)),
        }
    }
}

/// `GET /live`: an event a second, until the browser must prove anew who asks.
pub(crate) async fn stream(State(pages): State<Pages>, actor: Actor) -> Response {
    let Some(place) = pages.watchers.enter(&actor.author) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (tick, ticks) = mpsc::channel(1);
    tokio::spawn(keep_ticking(Arc::clone(&pages.office), actor, place, tick, WATCH_CHECK));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(Ticking(ticks).boxed_unsync())).into_response()
}

/// Ticks until the page is left, or whoever asked may look no more.
pub(super) async fn keep_ticking(
    office: Arc<Office>,
    actor: Actor,
    _place: Watching,
    tick: mpsc::Sender<()>,
    check: Duration,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut checks = tokio::time::interval_at(Instant::now() + check, check);
    let ends = tokio::time::sleep(WATCH_MAX);
    tokio::pin!(ends);
    loop {
        tokio::select! {
            () = tick.closed() => return,
            () = &mut ends => return,
            _ = checks.tick() => if !office.accounts.still_may(&actor).await {
                return;
            },
            // One that has not been fetched yet says the same.
            _ = ticks.tick() => drop(tick.try_send(())),
        }
    }
}

/// The body of the stream.
struct Ticking(mpsc::Receiver<()>);

impl HttpBody for Ticking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let event = || Ok(BodyFrame::data(Bytes::from_static(b"event: look\ndata: 1\n\n")));
        self.0.poll_recv(context).map(|tick| tick.map(|()| event()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_does_not_take_the_places_of_all() {
        let watchers = Watchers::default();
        let all: Vec<_> = (0..WATCHERS_OF_ONE_MAX).map(|_| watchers.enter("account alice").expect("room")).collect();
        assert!(watchers.enter("account alice").is_none() && watchers.enter("account bob").is_some());
        drop(all);
        assert!(watchers.enter("account alice").is_some());
        assert!(watchers.0.lock().expect("ours").is_empty());
    }
}
