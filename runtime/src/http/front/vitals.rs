//! The deadlines of one connection. They are coarse: a sweep looks at all connections once a second, so that a
//! request costs no timer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::super::Serving;
use super::super::limits::{HEAD_WITHIN, IDLE_MAX, LINGER_BYTES_MAX, LINGER_MAX, READ_BYTES_PER_SECOND_MIN};

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Vitals {
    opened: Instant,
    /// How long the client may take nothing.
    stalled_max: Duration,
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
    /// The status of what was refused before it was a request.
    refused: Cell<Option<u16>>,
    /// Whether the client may still be sending when we close.
    lingers: Cell<bool>,
    cut: Cell<bool>,
    leaving: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

/// A request being answered, until dropped.
pub(super) struct Answering(Rc<Vitals>, #[expect(dead_code, reason = "counted until dropped")] Option<Serving>);

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
    pub(super) fn new(now: Instant, stalled_max: Duration) -> Self {
        Self {
            opened: now,
            stalled_max,
            head_since: Cell::new(None),
            answering: Cell::new(0),
            idle_since: Cell::new(now),
            spoke: Cell::new(false),
            blocked: Cell::new(None),
            waited: Cell::default(),
            taken: Cell::new(0),
            moving: RefCell::default(),
            refused: Cell::new(None),
            lingers: Cell::new(false),
            cut: Cell::new(false),
            leaving: Cell::new(false),
            task: RefCell::default(),
        }
    }

    /// A request is being answered.
    pub(super) fn answering(self: &Rc<Self>, serving: Option<Serving>) -> Answering {
        self.spoke.set(true);
        self.answering.set(self.answering.get() + 1);
        Answering(Rc::clone(self), serving)
    }

    /// A body of an answer is on its way.
    pub(super) fn moving(self: &Rc<Self>) -> Moving {
        let moved = Rc::new(Cell::new(Instant::now()));
        self.moving.borrow_mut().push(Rc::clone(&moved));
        Moving { vitals: Rc::clone(self), moved }
    }

    /// The head of a request has begun, or is whole.
    pub(super) fn head(&self, incomplete: bool) {
        match (incomplete, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(Instant::now())),
            (false, Some(_)) => self.head_since.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// What came is no request.
    pub(super) fn refuse(&self, status: u16) {
        self.refused.set(Some(status));
    }

    /// The connection ends, and the client may still be sending.
    pub(super) fn will_linger(&self) {
        self.lingers.set(true);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.get()
    }

    /// With what it is answered.
    pub(super) fn refused(&self) -> Option<u16> {
        self.refused.get()
    }

    /// Which deadline has passed.
    pub(super) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let since = |moment: Instant| now.saturating_duration_since(moment);
        if self.head_since.get().is_some_and(|begun| since(begun) >= HEAD_WITHIN) {
            return Some("https_cut_slow_head");
        }
        if self.answering.get() == 0 && self.blocked.get().is_none() {
            if !self.spoke.get() && self.head_since.get().is_none() && since(self.opened) >= HEAD_WITHIN {
                return Some("https_cut_silent");
            }
            if since(self.idle_since.get()) >= IDLE_MAX {
                return Some("https_cut_idle");
            }
        }
        if let Some(blocked) = self.blocked.get() {
            let allowed = self.stalled_max + Duration::from_secs(self.taken.get() / READ_BYTES_PER_SECOND_MIN);
            if since(blocked) >= self.stalled_max || self.waited.get() + since(blocked) >= allowed {
                return Some("https_cut_slow_read");
            }
        }
        let stalled = self.moving.borrow().iter().any(|moved| since(moved.get()) >= self.stalled_max * 2);
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

    /// What was written has left, or has not.
    pub(super) fn flushed(&self, outcome: &Poll<io::Result<()>>) {
        match outcome {
            Poll::Ready(Ok(())) => self.flowed(),
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

/// A connection whose writing is noted. It outlives whoever serves it, for the sake of [`Guarded::linger`].
pub(super) struct Guarded<T> {
    inner: Rc<RefCell<T>>,
    vitals: Rc<Vitals>,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T, vitals: Rc<Vitals>) -> Self {
        Self { inner: Rc::new(RefCell::new(inner)), vitals }
    }

    /// The same connection once more.
    pub(super) fn again(&self) -> Self {
        Self { inner: Rc::clone(&self.inner), vitals: Rc::clone(&self.vitals) }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Guarded<T> {
    /// A client that was refused in the middle of what it sends is heard out for a moment: a socket that is closed
    /// with unread bytes is reset, and the reset overtakes the answer (RFC 9112 §9.6).
    pub(super) async fn linger(mut self) {
        let heard = async {
            let mut piece = vec![0; 16 * 1024];
            let mut left = LINGER_BYTES_MAX;
            while left > 0 {
                match self.read(&mut piece).await {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINGER_MAX, heard).await;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner.borrow_mut()).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.inner.borrow_mut()).poll_write(context, bytes);
        self.vitals.wrote(&wrote);
        wrote
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.inner.borrow_mut()).poll_flush(context);
        self.vitals.flushed(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner.borrow_mut()).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.inner.borrow_mut()).poll_write_vectored(context, bytes);
        self.vitals.wrote(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.borrow().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::STALLED_MAX;
    use super::*;

    fn after(vitals: &Vitals, seconds: u64) -> Option<&'static str> {
        vitals.overdue(vitals.opened + Duration::from_secs(seconds))
    }

    #[test]
    fn a_client_that_says_nothing_or_half_a_head_is_cut() {
        let vitals = Rc::new(Vitals::new(Instant::now(), STALLED_MAX));
        assert_eq!((after(&vitals, 9), after(&vitals, 10)), (None, Some("https_cut_silent")));
        drop(vitals.answering(None));
        assert_eq!((after(&vitals, 59), after(&vitals, 61)), (None, Some("https_cut_idle")));
        vitals.head(true);
        assert_eq!((after(&vitals, 9), after(&vitals, 11)), (None, Some("https_cut_slow_head")));
        vitals.head(false);
        assert_eq!(after(&vitals, 11), None);
    }

    #[test]
    fn an_answer_that_takes_its_time_is_waited_for() {
        let vitals = Rc::new(Vitals::new(Instant::now(), STALLED_MAX));
        let _answering = vitals.answering(None);
        assert_eq!(after(&vitals, 3_600), None);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_and_one_that_takes_a_little_a_little_later() {
        let vitals = Rc::new(Vitals::new(Instant::now(), STALLED_MAX));
        let _answering = vitals.answering(None);
        vitals.wrote(&Poll::Pending);
        assert_eq!((after(&vitals, 29), after(&vitals, 31)), (None, Some("https_cut_slow_read")));
        // It has kept us waiting for 25 s, took 2 KB, and does so again.
        vitals.wrote(&Poll::Ready(Ok(2_000)));
        vitals.waited.set(Duration::from_secs(25));
        assert_eq!(after(&vitals, 31), None);
        vitals.wrote(&Poll::Pending);
        assert_eq!((after(&vitals, 5), after(&vitals, 9)), (None, Some("https_cut_slow_read")));
    }

    #[test]
    fn an_answer_that_does_not_move_is_noticed_among_others() {
        let vitals = Rc::new(Vitals::new(Instant::now(), STALLED_MAX));
        let (_answering, still) = (vitals.answering(None), vitals.moving());
        let moving = vitals.moving();
        assert_eq!(after(&vitals, 50), None);
        moving.moved();
        assert_eq!(after(&vitals, 61), Some("https_cut_stalled"));
        drop(still);
        moving.moved.set(vitals.opened + Duration::from_secs(30));
        assert_eq!(after(&vitals, 61), None);
    }
}
