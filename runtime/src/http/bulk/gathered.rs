//! Gathers what HTTP/2 writes while it is polled once: it flushes after each DATA frame of some size, and each flush
//! would be a TLS record and a system call of its own. What is gathered leaves when whoever polls HTTP/2 says so:
//! [`Outlet::poll_leave`].

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that writes in large pieces. A flush is a promise: it is kept by the [`Outlet`].
pub(in super::super) struct Gathered<T>(Rc<RefCell<Inner<T>>>);

/// Where what was gathered leaves.
pub(in super::super) struct Outlet<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    stream: T,
    waiting: Vec<u8>,
    /// How much of `waiting` has left.
    left: usize,
    bytes_max: usize,
    /// The memory stays while nothing waits: for connections that are few.
    keeps: bool,
    /// The other end takes nothing: a flush is no promise then.
    stuck: bool,
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// For one of many connections: at most `bytes_max` wait.
    pub(in super::super) fn new(stream: T, bytes_max: usize) -> (Self, Outlet<T>) {
        Self::with(stream, bytes_max, false)
    }

    /// For one of few connections, whose memory stays.
    pub(in super::super) fn keeping(stream: T, bytes_max: usize) -> (Self, Outlet<T>) {
        Self::with(stream, bytes_max, true)
    }

    fn with(stream: T, bytes_max: usize, keeps: bool) -> (Self, Outlet<T>) {
        let inner = Inner { stream, waiting: Vec::new(), left: 0, bytes_max, keeps, stuck: false };
        let inner = Rc::new(RefCell::new(inner));
        (Self(Rc::clone(&inner)), Outlet(inner))
    }
}

impl<T: AsyncWrite + Unpin> Outlet<T> {
    /// Sends what waits. To be called whenever HTTP/2 was polled and has nothing more to do; ready once all has left.
    pub(in super::super) fn poll_leave(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_leave(context)
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.waiting.len())
    }

    /// Ready when nothing waits any more.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.left..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left += count;
        }
        self.left = 0;
        self.waiting.clear();
        if !self.keeps {
            self.waiting = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_empty() && !self.stuck {
            return Poll::Ready(Ok(()));
        }
        self.stuck = true;
        ready!(self.poll_drain(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.stuck = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.room() == 0 {
            ready!(inner.poll_drain(context))?;
        }
        let mut taken = 0;
        for slice in slices {
            let piece = slice.get(..slice.len().min(inner.room())).unwrap_or_default();
            inner.waiting.extend_from_slice(piece);
            taken += piece.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.stuck { inner.poll_leave(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_drain(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const MAX: usize = 4096;

    /// Counts how often it is written to.
    struct Counted {
        writes: usize,
        bytes: Vec<u8>,
        /// Takes this much at a time.
        step: usize,
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.step);
            self.writes += 1;
            self.bytes.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn many_small_writes_are_one_and_none_is_lost() {
        for (step, writes) in [(usize::MAX, 1), (10, 30)] {
            let (mut gathered, outlet) = Gathered::new(Counted { writes: 0, bytes: Vec::new(), step }, 1024);
            for number in 0..100_u8 {
                gathered.write_all(&[number; 3]).await.unwrap();
                gathered.flush().await.unwrap();
            }
            assert_eq!(outlet.0.borrow().stream.writes, 0, "nothing leaves before it is told to");
            poll_fn(|context| outlet.poll_leave(context)).await.unwrap();
            assert_eq!(outlet.0.borrow().stream.writes, writes);
            let wanted: Vec<u8> = (0..100_u8).flat_map(|number| [number; 3]).collect();
            assert_eq!(outlet.0.borrow().stream.bytes, wanted);
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_for_the_other_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut gathered, outlet) = Gathered::keeping(near, MAX);
        let sent: Vec<u8> = (0..3 * MAX).map(|index| index.to_le_bytes()[0]).collect();
        let wanted = sent.clone();
        let writer = async move {
            gathered.write_all(&sent).await.unwrap();
            assert!(outlet.0.borrow().waiting.len() <= MAX);
            gathered.shutdown().await.unwrap();
            // The other end sees the end only once this is gone.
            drop((gathered, outlet));
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(far.read_to_end(&mut got), writer);
        read.unwrap();
        assert!(got == wanted, "{} bytes of {}", got.len(), wanted.len());
    }

    #[tokio::test]
    async fn a_flush_waits_once_the_other_end_takes_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut gathered, outlet) = Gathered::new(near, MAX);
        gathered.write_all(&[1; 100]).await.unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut gathered).poll_flush(&mut context).is_ready(), "a promise");
        assert!(outlet.poll_leave(&mut context).is_pending());
        assert!(Pin::new(&mut gathered).poll_flush(&mut context).is_pending(), "it cannot be kept");
        far.read_exact(&mut [0; 64]).await.unwrap();
        assert!(Pin::new(&mut gathered).poll_flush(&mut context).is_ready());
        far.read_exact(&mut [0; 36]).await.unwrap();
    }
}
