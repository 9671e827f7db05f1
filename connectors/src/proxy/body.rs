//! A body on its way through a connection to a server: bounded in bytes and in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use edgeway_runtime::http::BodyFault;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;
use super::pool::Lease;

/// What holds for one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyBounds {
    /// Its size, bytes.
    pub(super) bytes_max: u64,
    /// How long it may pause.
    pub(super) pause: Duration,
    /// When it must have ended.
    pub(super) until: Instant,
}

/// A body under bounds. Where it ends as it should, the connection it came on is given back.
pub(super) struct Bounded<B> {
    inner: B,
    left: u64,
    bounds: BodyBounds,
    pace: Pace,
    /// Set while we wait.
    timer: Option<Pin<Box<Sleep>>>,
    lease: Option<Lease>,
    progress: Option<Progress>,
    /// It has failed: nothing more comes.
    failed: bool,
}

/// Counts frames that have passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn frames(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Bounded<B> {
    /// A body that goes out.
    pub(super) fn outgoing(inner: B, bounds: BodyBounds, progress: Progress) -> Self {
        Self {
            inner,
            left: bounds.bytes_max,
            bounds,
            pace: Pace::start(),
            timer: None,
            lease: None,
            progress: Some(progress),
            failed: false,
        }
    }

    /// The body of an answer, and the connection it comes on.
    pub(super) fn incoming(inner: B, bounds: BodyBounds, lease: Lease) -> Self {
        let mut body = Self {
            inner,
            left: bounds.bytes_max,
            bounds,
            pace: Pace::start(),
            timer: None,
            lease: Some(lease),
            progress: None,
            failed: false,
        };
        if body.inner.is_end_stream() {
            body.ended();
        }
        body
    }

    fn ended(&mut self) {
        self.timer = None;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self, why: &str) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.failed = true;
        self.timer = None;
        // The connection ends with its lease: whatever still comes on it is nobody's.
        self.lease = None;
        Poll::Ready(Some(Err(BodyFault(why.to_owned()))))
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let wake_at = this.bounds.until.min(Instant::now() + this.bounds.pause);
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(wake_at)));
            ready!(timer.as_mut().poll(cx));
            return this.fail("it took too long");
        };
        this.timer = None;
        match frame {
            None => {
                this.ended();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                let why = error.to_string();
                this.fail(&why)
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = this.left.checked_sub(bytes) else { return this.fail(TOO_LARGE) };
                this.left = left;
                if !this.pace.may_go_on(bytes, Instant::now(), &this.bounds) {
                    return this.fail("it took too long");
                }
                if let Some(progress) = &this.progress {
                    progress.0.fetch_add(1, Ordering::Relaxed);
                }
                if this.inner.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What is said of a body with too many bytes.
pub(super) const TOO_LARGE: &str = "it is too large";
