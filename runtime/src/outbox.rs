//! What waits to be written to one flow or one link.
//!
//! Single-threaded: the reactor pushes, the task of the connection takes what is there and writes it
//! in one go. An outbox is bounded; one that overflows belongs to a peer that does not read, and its
//! owner closes it. An empty one holds no memory of its own.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The bound of an outbox is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not read: the bound of {0} queued bytes is reached")]
pub struct Full(pub usize);

/// What [`Outbox::poll_take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes were moved out; write them.
    Bytes,
    /// Nothing is left and the owner wants the connection closed, for this reason.
    Close(String),
}

#[derive(Debug, Default)]
struct State {
    /// The oldest push. Most turns queue one message, and that one needs no allocation.
    first: Option<Bytes>,
    /// What was pushed after it; gives its memory back when it runs empty.
    rest: VecDeque<Bytes>,
    queued: usize,
    closed: Option<Box<str>>,
    waker: Option<Waker>,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    bound: usize,
    state: RefCell<State>,
}

impl Outbox {
    /// An empty outbox that holds at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self { bound, state: RefCell::default() })
    }

    /// Queues bytes and wakes the writer. Without effect once closed.
    ///
    /// # Errors
    /// [`Full`] when the bound would be passed; nothing is queued then.
    pub fn push(&self, bytes: Bytes) -> Result<(), Full> {
        let mut state = self.state.borrow_mut();
        if bytes.is_empty() || state.closed.is_some() {
            return Ok(());
        }
        if state.queued.saturating_add(bytes.len()) > self.bound {
            return Err(Full(self.bound));
        }
        state.queued += bytes.len();
        if state.first.is_none() {
            state.first = Some(bytes);
        } else {
            state.rest.push_back(bytes);
        }
        wake(state);
        Ok(())
    }

    /// Asks the writer to close once what is queued has been written. The first reason counts.
    pub fn close(&self, why: String) {
        let mut state = self.state.borrow_mut();
        state.closed.get_or_insert_with(|| why.into());
        wake(state);
    }

    /// Throws away what is queued and asks for the connection to be closed at once.
    pub fn abandon(&self, why: String) {
        let mut state = self.state.borrow_mut();
        state.first = None;
        state.rest = VecDeque::new();
        state.queued = 0;
        drop(state);
        self.close(why);
    }

    /// Moves everything queued to the end of `into`. When nothing is: `Close` if closed, else
    /// `Pending` until that changes.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<Bytes>) -> Poll<Taken> {
        self.poll_take_some(cx, into, usize::MAX)
    }

    /// As [`Self::poll_take`], but whole pushes that fit into `bytes_max` together; at least one.
    pub(crate) fn poll_take_some(&self, cx: &Context<'_>, into: &mut Vec<Bytes>, bytes_max: usize) -> Poll<Taken> {
        let mut state = self.state.borrow_mut();
        if state.first.is_none() {
            if let Some(why) = &state.closed {
                return Poll::Ready(Taken::Close(why.to_string()));
            }
            note(&mut state, cx);
            return Poll::Pending;
        }
        let mut taken = 0_usize;
        while let Some(next) = &state.first {
            if taken > 0 && taken.saturating_add(next.len()) > bytes_max {
                break;
            }
            taken += next.len();
            let following = state.rest.pop_front();
            into.extend(std::mem::replace(&mut state.first, following));
        }
        state.queued -= taken;
        if state.rest.is_empty() && state.rest.capacity() > 0 {
            state.rest = VecDeque::new();
        }
        Poll::Ready(Taken::Bytes)
    }

    /// For a writer that waits for room at the peer and takes nothing meanwhile: the reason, once
    /// the owner wants the connection closed, whatever is still queued.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<String> {
        let mut state = self.state.borrow_mut();
        if let Some(why) = &state.closed {
            return Poll::Ready(why.to_string());
        }
        note(&mut state, cx);
        Poll::Pending
    }

    /// Forgets the waker: the writer is running and will come to [`Self::poll_take`] by itself, so a
    /// push meanwhile need not schedule it again.
    pub(crate) fn disarm(&self) {
        self.state.borrow_mut().waker = None;
    }

    /// Bytes queued now.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.state.borrow().queued
    }
}

fn note(state: &mut State, cx: &Context<'_>) {
    match &mut state.waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// Wakes outside the borrow: a waker may do anything.
fn wake(mut state: RefMut<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

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
        outbox.push(Bytes::from_static(b"x")).expect("ignored");
        assert_eq!(outbox.poll_closing(&mut cx), Poll::Ready("done".into()), "known before the rest is taken");
        assert_eq!(outbox.poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Bytes));
        assert_eq!(taken.concat(), b"12345678");
        assert_eq!(outbox.poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Close("done".into())));
    }

    #[test]
    fn takes_in_order_and_in_measure() {
        let outbox = Outbox::new(100);
        let cx = Context::from_waker(Waker::noop());
        for bytes in [&b"one"[..], b"two", b"three", b"four"] {
            outbox.push(Bytes::from_static(bytes)).expect("room");
        }
        for (bytes_max, expected, left) in [(6, &b"onetwo"[..], 9), (1, b"three", 4), (100, b"four", 0)] {
            let mut taken = Vec::new();
            assert_eq!(outbox.poll_take_some(&cx, &mut taken, bytes_max), Poll::Ready(Taken::Bytes));
            assert_eq!((taken.concat().as_slice(), outbox.queued_bytes()), (expected, left));
        }
        assert_eq!(outbox.state.borrow().rest.capacity(), 0, "an empty outbox holds nothing");
    }

    #[test]
    fn an_abandoned_outbox_forgets_what_it_held() {
        let outbox = Outbox::new(10);
        outbox.push(Bytes::from_static(b"12345")).expect("room");
        outbox.push(Bytes::from_static(b"678")).expect("room");
        outbox.abandon("stalled".into());
        assert_eq!(outbox.queued_bytes(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll_closing(&mut cx), Poll::Ready("stalled".into()));
        assert_eq!(outbox.poll_take(&mut cx, &mut Vec::new()), Poll::Ready(Taken::Close("stalled".into())));
    }

    #[test]
    fn many_pushes_wake_once_and_none_while_disarmed() {
        let count = Arc::new(Counted::default());
        let waker = Waker::from(count.clone());
        let outbox = Outbox::new(100);
        let mut cx = Context::from_waker(&waker);
        assert!(outbox.poll_take(&mut cx, &mut Vec::new()).is_pending());
        for _ in 0..5 {
            outbox.push(Bytes::from_static(b"x")).expect("room");
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(outbox.poll_take(&mut cx, &mut Vec::new()).is_ready());
        assert!(outbox.poll_take(&mut cx, &mut Vec::new()).is_pending());
        outbox.disarm();
        outbox.push(Bytes::from_static(b"x")).expect("room");
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
