//! A client's HTTP/1.1 connection, followed byte by byte before the parser reads it: see
//! [`edgeway_http_proxy::stream`]. What is refused is replaced by a request no client can make, which is answered
//! with the status of the refusal; the connection ends with it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use edgeway_http_proxy::stream::{Requests, StreamFault};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::vitals::Vitals;

/// What the parser reads instead of a request that is refused; its target is none a client can write.
const REFUSED: &[u8] = b"OPTIONS * HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What it reads instead of a chunk that is refused: no chunk either.
const REFUSED_CHUNK: &[u8] = b"X";
/// Read at once, where what came before is incomplete.
const PIECE_BYTES: usize = 4 * 1024;

/// A followed connection.
pub(super) struct Strict<T> {
    inner: T,
    vitals: Rc<Vitals>,
    requests: Requests,
    /// The beginning of a head, or of a line, that is incomplete.
    held: BytesMut,
    /// Good bytes the parser had no room for.
    ready: BytesMut,
    /// Nothing more is read.
    refused: bool,
}

impl<T> Strict<T> {
    pub(super) fn new(inner: T, vitals: Rc<Vitals>) -> Self {
        let (held, ready) = (BytesMut::new(), BytesMut::new());
        Self { inner, vitals, requests: Requests::default(), held, ready, refused: false }
    }

    fn refuse(&mut self, fault: StreamFault) {
        tracing::debug!("a request was refused: {fault}");
        self.refused = true;
        self.held.clear();
        self.vitals.refuse(fault.status());
        self.ready.extend_from_slice(if fault.is_in_body() { REFUSED_CHUNK } else { REFUSED });
    }

    /// `passed` bytes went on; what is left is the beginning of a head, or none.
    fn settle(&self, passed: usize) {
        if passed > 0 {
            self.vitals.head(false);
        }
        self.vitals.head(!self.held.is_empty() && !self.requests.is_in_body());
    }
}

impl<T: AsyncRead + Unpin> Strict<T> {
    /// Nothing is held: what is good stays where it was read to.
    fn poll_direct(&mut self, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buf))?;
        let arrived = buf.filled().get(before..).unwrap_or_default();
        if arrived.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let (passed, fault) = match self.requests.follow(arrived) {
            Ok(passed) => (passed, None),
            Err((passed, fault)) => (passed, Some(fault)),
        };
        match fault {
            Some(fault) => self.refuse(fault),
            None => self.held.extend_from_slice(arrived.get(passed..).unwrap_or_default()),
        }
        buf.set_filled(before + passed);
        self.settle(passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Something is held: more is read behind it. Whether there is an end.
    fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [0; PIECE_BYTES];
        let mut buf = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.held.extend_from_slice(buf.filled());
        let (passed, fault) = match self.requests.follow(&self.held) {
            Ok(passed) => (passed, None),
            Err((passed, fault)) => (passed, Some(fault)),
        };
        self.ready.unsplit(self.held.split_to(passed));
        if let Some(fault) = fault {
            self.refuse(fault);
        }
        self.settle(passed);
        Poll::Ready(Ok(false))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let length = buf.remaining().min(this.ready.len());
                buf.put_slice(this.ready.get(..length).unwrap_or_default());
                this.ready.advance(length);
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // Not the end: the parser would take it for a client that has left before its answer. The answer
                // ends the connection.
                return Poll::Pending;
            }
            let done = if this.held.is_empty() {
                ready!(this.poll_direct(context, buf))?
            } else {
                ready!(this.poll_behind(context))?
            };
            if done {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
