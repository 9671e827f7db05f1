//! Gathers what is written between two flushes: HTTP/2 writes frame by frame, and each write would be a TLS record
//! and a system call of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that writes in large pieces.
#[derive(Debug)]
pub(in super::super) struct Gathered<T> {
    inner: T,
    waiting: Vec<u8>,
    /// How much of `waiting` has left.
    left: usize,
    bytes_max: usize,
    /// The memory stays while nothing waits: for connections that are few.
    keeps: bool,
}

impl<T> Gathered<T> {
    /// For one of many connections: at most `bytes_max` wait.
    pub(in super::super) fn new(inner: T, bytes_max: usize) -> Self {
        Self { inner, waiting: Vec::new(), left: 0, bytes_max, keeps: false }
    }

    /// For one of few connections, whose memory stays.
    pub(in super::super) fn keeping(inner: T, bytes_max: usize) -> Self {
        Self { keeps: true, ..Self::new(inner, bytes_max) }
    }

    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.waiting.len())
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// Ready when nothing waits any more.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.left..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
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
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.room() == 0 {
            ready!(self.poll_drain(context))?;
        }
        let mut taken = 0;
        for slice in slices {
            let piece = slice.get(..slice.len().min(self.room())).unwrap_or_default();
            self.waiting.extend_from_slice(piece);
            taken += piece.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
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
            let mut gathered = Gathered::new(Counted { writes: 0, bytes: Vec::new(), step }, 1024);
            for number in 0..100_u8 {
                gathered.write_all(&[number; 3]).await.unwrap();
            }
            assert_eq!(gathered.inner.writes, 0, "nothing leaves before it is flushed");
            gathered.flush().await.unwrap();
            assert_eq!(gathered.inner.writes, writes);
            let wanted: Vec<u8> = (0..100_u8).flat_map(|number| [number; 3]).collect();
            assert_eq!(gathered.inner.bytes, wanted);
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_for_the_other_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut gathered = Gathered::keeping(near, MAX);
        let sent: Vec<u8> = (0..3 * MAX).map(|index| index.to_le_bytes()[0]).collect();
        let wanted = sent.clone();
        let writer = async move {
            gathered.write_all(&sent).await.unwrap();
            assert!(gathered.waiting.len() <= MAX);
            gathered.shutdown().await.unwrap();
            // The other end sees the end only once this is gone.
            drop(gathered);
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(far.read_to_end(&mut got), writer);
        read.unwrap();
        assert!(got == wanted, "{} bytes of {}", got.len(), wanted.len());
    }
}
