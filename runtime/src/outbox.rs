//! What waits to be written to one flow or one link.
//!
//! Single-threaded: the reactor pushes, the task of the connection takes everything at once and
//! writes it in one go. An outbox is bounded; one that overflows belongs to a peer that does not
//! read, and its owner closes it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The bound of an outbox is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not read: the bound of {0} queued bytes is reached")]
pub struct Full(pub usize);

/// What [`Outbox::poll_take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes were moved out; write them.
    Bytes,
    /// Nothing is left and the owner wants the connection closed, for this reason.
    Close(String),
}

#[derive(Debug, Default)]
struct Inner {
    queue: Vec<Bytes>,
    queued: usize,
    close: Option<String>,
    waker: Option<Waker>,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    bound: usize,
    inner: RefCell<Inner>,
}

impl Outbox {
    /// An empty outbox that holds at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self { bound, inner: RefCell::default() })
    }

    /// Queues bytes and wakes the writer.
    ///
    /// # Errors
    /// [`Full`] when the bound would be passed; nothing is queued then.
    pub fn push(&self, bytes: Bytes) -> Result<(), Full> {
        let mut inner = self.inner.borrow_mut();
        if inner.queued + bytes.len() > self.bound {
            return Err(Full(self.bound));
        }
        if inner.close.is_none() {
            inner.queued += bytes.len();
            inner.queue.push(bytes);
            if let Some(waker) = inner.waker.take() {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Asks the writer to close once what is queued has been written. The first reason counts.
    pub fn close(&self, why: String) {
        let mut inner = self.inner.borrow_mut();
        inner.close.get_or_insert(why);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Throws away what is queued and asks for the connection to be closed at once.
    pub fn abandon(&self, why: String) {
        let mut inner = self.inner.borrow_mut();
        inner.queue = Vec::new();
        inner.queued = 0;
        drop(inner);
        self.close(why);
    }

    /// Moves everything queued to the end of `into`.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<Bytes>) -> Poll<Taken> {
        let mut inner = self.inner.borrow_mut();
        if !inner.queue.is_empty() {
            // The allocation goes along: an idle connection keeps none.
            if into.is_empty() {
                *into = std::mem::take(&mut inner.queue);
            } else {
                into.append(&mut inner.queue);
            }
            inner.queued = 0;
            return Poll::Ready(Taken::Bytes);
        }
        if let Some(why) = &inner.close {
            return Poll::Ready(Taken::Close(why.clone()));
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// For a writer that waits for room at the peer and takes nothing meanwhile: the reason, once
    /// the owner wants the connection closed, whatever is still queued.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<String> {
        let mut inner = self.inner.borrow_mut();
        if let Some(why) = &inner.close {
            return Poll::Ready(why.clone());
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Bytes queued now.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.inner.borrow().queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_taken_at_once_and_closing_comes_last() {
        let outbox = Outbox::new(10);
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        assert!(outbox.poll_take(&mut cx, &mut taken).is_pending());
        outbox.push(Bytes::from_static(b"12345")).expect("room");
        outbox.push(Bytes::from_static(b"678")).expect("room");
        assert_eq!(outbox.push(Bytes::from_static(b"9ab")), Err(Full(10)));
        outbox.close("done".into());
        outbox.close("second reason".into());
        assert_eq!(outbox.poll_closing(&mut cx), Poll::Ready("done".into()), "known before the rest is taken");
        assert_eq!(outbox.poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Bytes));
        assert_eq!(taken.concat(), b"12345678");
        assert_eq!(outbox.poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Close("done".into())));
    }

    #[test]
    fn an_abandoned_outbox_forgets_what_it_held() {
        let outbox = Outbox::new(10);
        outbox.push(Bytes::from_static(b"12345")).expect("room");
        outbox.abandon("stalled".into());
        assert_eq!(outbox.queued_bytes(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll_closing(&mut cx), Poll::Ready("stalled".into()));
        assert_eq!(outbox.poll_take(&mut cx, &mut Vec::new()), Poll::Ready(Taken::Close("stalled".into())));
    }
}
