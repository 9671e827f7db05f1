//! A body on its way through a connection to a server: bounded in bytes and in time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use edgeway_runtime::http::BodyFault;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;

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

/// A body under bounds.
pub(super) struct Bounded<B> {
    /// `None` once it has failed, and with it the connection it came on: nothing more comes.
    inner: Option<B>,
    left: u64,
    bounds: BodyBounds,
    pace: Pace,
    /// Set while we wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Bounded<B> {
    pub(super) fn new(inner: B, bounds: BodyBounds) -> Self {
        Self { inner: Some(inner), left: bounds.bytes_max, bounds, pace: Pace::start(), timer: None }
    }

    fn fail(&mut self, why: &str) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.inner = None;
        self.timer = None;
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
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            let wake_at = this.bounds.until.min(Instant::now() + this.bounds.pause);
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(wake_at)));
            ready!(timer.as_mut().poll(cx));
            return this.fail("it took too long");
        };
        this.timer = None;
        match frame {
            None => Poll::Ready(None),
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
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// What is said of a body with too many bytes.
pub(super) const TOO_LARGE: &str = "it is too large";
