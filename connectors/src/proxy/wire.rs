//! One connection to a server: the bytes of it, and what has been read of them and not taken yet.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::limits::{CONNECTION_BUFFER_BYTES_MAX, CONNECTION_KEEPS_BYTES_MAX, READ_BYTES};

/// TCP, or TLS on it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection. Nobody works on it but whoever has a request on it.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    /// What has been read and not taken.
    pub(super) read: BytesMut,
    /// What is written next; its memory stays.
    out: Vec<u8>,
    written: usize,
    /// What is written after it, as it is.
    piece: Bytes,
    /// And after that.
    tail: &'static [u8],
}

impl Wire {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            read: BytesMut::new(),
            out: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: &[],
        }
    }

    /// Whether a connection without a request on it is of no more use: the server has ended it, or has said
    /// something unasked.
    pub(super) fn is_over(&mut self) -> bool {
        !self.read.is_empty() || self.poll_fill(&mut Context::from_waker(Waker::noop()), 1).is_ready()
    }

    /// Gives back memory before the connection waits for its next request.
    pub(super) fn rest(&mut self) {
        if self.out.capacity() > CONNECTION_KEEPS_BYTES_MAX {
            self.out = Vec::new();
        }
        if self.read.capacity() > CONNECTION_KEEPS_BYTES_MAX {
            self.read = BytesMut::new();
        }
    }

    /// Reads more behind what is there, some `wanted` bytes; how many came. None: the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        // Memory that nobody holds any more is used again.
        self.read.reserve(wanted.clamp(READ_BYTES, CONNECTION_BUFFER_BYTES_MAX));
        let filled = self.stream.read_buf(&mut self.read);
        pin!(filled).poll(cx)
    }

    /// Writes and flushes all of what is to be written.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_written() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            self.written += some(ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?)?;
        }
        while !self.piece.is_empty() {
            let count = some(ready!(Pin::new(&mut self.stream).poll_write(cx, &self.piece))?)?;
            self.piece.advance(count.min(self.piece.len()));
        }
        while !self.tail.is_empty() {
            let count = some(ready!(Pin::new(&mut self.stream).poll_write(cx, self.tail))?)?;
            self.tail = self.tail.get(count..).unwrap_or_default();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// What is written next is added here. Only while nothing is being written.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether nothing is to be written.
    pub(super) fn is_written(&self) -> bool {
        self.out.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Has `piece` written behind that, and then `tail`.
    pub(super) fn then(&mut self, piece: Bytes, tail: &'static [u8]) {
        if piece.len() <= READ_BYTES {
            // A write more costs more than a copy.
            self.out.extend_from_slice(&piece);
            self.out.extend_from_slice(tail);
        } else {
            self.piece = piece;
            self.tail = tail;
        }
    }
}

fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}
