//! The deadlines of one connection. They are coarse: a sweep looks at all connections once a second, so that a
//! request costs no timer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::limits::{HEAD_WITHIN, IDLE_MAX, READ_BYTES_PER_SECOND_MIN, STALLED_MAX};

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Vitals {
    opened: Instant,
    /// When the client was heard last.
    heard: Cell<Instant>,
    /// Since when a request's head is incomplete.
    head_since: Cell<Option<Instant>>,
    /// Requests being answered.
    answering: Cell<usize>,
    /// When the last of them was answered.
    idle_since: Cell<Instant>,
    /// Whether there has been a request at all.
    spoke: Cell<bool>,
    /// Since when the client takes nothing.
    blocked: Cell<Option<Instant>>,
    /// For how long it has kept us waiting all in all, and what it took.
    waited: Cell<Duration>,
    taken: Cell<u64>,
    /// Answers on their way, and when each has moved last.
    moving: RefCell<Vec<Rc<Cell<Instant>>>>,
    cut: Cell<bool>,
    leaving: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

/// A request being answered, until dropped.
pub(super) struct Answering(Rc<Vitals>);

impl Drop for Answering {
    fn drop(&mut self) {
        let left = self.0.answering.get().saturating_sub(1);
        self.0.answering.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// A body on its way to the client, until dropped.
pub(super) struct Moving {
    vitals: Rc<Vitals>,
    moved: Rc<Cell<Instant>>,
}

impl Moving {
    /// Some of it was taken.
    pub(super) fn moved(&self) {
        self.moved.set(Instant::now());
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.vitals.moving.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.moved));
    }
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            heard: Cell::new(now),
            head_since: Cell::new(None),
            answering: Cell::new(0),
            idle_since: Cell::new(now),
            spoke: Cell::new(false),
            blocked: Cell::new(None),
            waited: Cell::default(),
            taken: Cell::new(0),
            moving: RefCell::default(),
            cut: Cell::new(false),
            leaving: Cell::new(false),
            task: RefCell::default(),
        }
    }

    /// A request is being answered.
    pub(super) fn answering(self: &Rc<Self>) -> Answering {
        self.spoke.set(true);
        self.answering.set(self.answering.get() + 1);
        Answering(Rc::clone(self))
    }

    /// A body of an answer is on its way.
    pub(super) fn moving(self: &Rc<Self>) -> Moving {
        let moved = Rc::new(Cell::new(Instant::now()));
        self.moving.borrow_mut().push(Rc::clone(&moved));
        Moving { vitals: Rc::clone(self), moved }
    }

    /// The head of a request has begun, or is whole.
    #[expect(dead_code, reason = "the strict reader of HTTP/1.1 is the next step")]
    pub(super) fn head(&self, incomplete: bool) {
        match (incomplete, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(Instant::now())),
            (false, Some(_)) => self.head_since.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Which deadline has passed.
    pub(super) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let since = |moment: Instant| now.saturating_duration_since(moment);
        if self.head_since.get().is_some_and(|begun| since(begun) >= HEAD_WITHIN) {
            return Some("https_cut_slow_head");
        }
        if self.answering.get() == 0 && self.blocked.get().is_none() {
            if !self.spoke.get() && since(self.opened) >= HEAD_WITHIN {
                return Some("https_cut_silent");
            }
            if since(self.idle_since.get()) >= IDLE_MAX {
                return Some("https_cut_idle");
            }
        }
        if let Some(blocked) = self.blocked.get() {
            let allowed = STALLED_MAX + Duration::from_secs(self.taken.get() / READ_BYTES_PER_SECOND_MIN);
            if since(blocked) >= STALLED_MAX || self.waited.get() + since(blocked) >= allowed {
                return Some("https_cut_slow_read");
            }
        }
        let stalled = self.moving.borrow().iter().any(|moved| since(moved.get()) >= STALLED_MAX * 2);
        stalled.then_some("https_cut_stalled")
    }

    /// Ends the connection.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.wake();
    }

    /// Lets the connection end when what is under way has ended.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        self.wake();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether it must end now; the task is woken if that changes.
    pub(super) fn poll_cut(&self, context: &Context<'_>) -> bool {
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        self.cut.get()
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(Ok(count)) => {
                self.taken.set(self.taken.get() + *count as u64);
                self.flowed();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.block(),
        }
    }

    fn block(&self) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(Instant::now()));
        }
    }

    fn flowed(&self) {
        if let Some(blocked) = self.blocked.take() {
            self.waited.set(self.waited.get() + blocked.elapsed());
        }
    }
}

/// A connection whose reading and writing is noted.
pub(super) struct Guarded<T> {
    inner: T,
    vitals: Rc<Vitals>,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T, vitals: Rc<Vitals>) -> Self {
        Self { inner, vitals }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buf);
        if read.is_ready() {
            self.vitals.heard.set(Instant::now());
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.vitals.wrote(&wrote);
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        match &flushed {
            Poll::Ready(Ok(())) => self.vitals.flowed(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.vitals.block(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.vitals.wrote(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
