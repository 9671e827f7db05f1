//! What is new: the status of all nodes, shared by all who look at the same moment, and the stream that tells pages to
//! look again.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame as BodyFrame};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::{Interval, MissedTickBehavior, Sleep};

use super::limits::{SAMPLE_EVERY, SHOWN_NODES_MAX, STATUS_AGE_MAX, TICK, WATCH_MAX};
use super::views::Status;
use super::{Pages, Shared};

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

/// `GET /live`: an event a second, until the browser must prove anew who asks.
pub(crate) async fn stream(State(pages): State<Pages>) -> Response {
    let Ok(place) = Arc::clone(&pages.watchers).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let ends = Box::pin(tokio::time::sleep(WATCH_MAX));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(Ticking { ticks, ends, _place: place }.boxed_unsync())).into_response()
}

/// The body of the stream.
struct Ticking {
    ticks: Interval,
    ends: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Ticking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.ticks
            .poll_tick(context)
            .map(|_| Some(Ok(BodyFrame::data(Bytes::from_static(b"event: look\ndata: 1\n\n")))))
    }
}
