//! Whether the other end of a bulk connection is still there.
//!
//! A node that loses its power, or a firewall that forgets a connection, closes nothing: both ends would wait for
//! each other for ever, and no request of a client would pass. Each end therefore asks with PING (RFC 9113 §6.7).

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use std::rc::Rc;

use super::super::limits::{BULK_CHECKED_WITHIN, BULK_PING_EVERY, BULK_PONG_WITHIN};

/// The life of a connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Counts what was read: whoever sends is there, even if its answer to a PING stands behind much else.
    heard: Cell<u64>,
    check: Notify,
}

impl Pulse {
    /// The other end may be gone: it is asked now.
    pub(super) fn check(&self) {
        self.check.notify_one();
    }

    /// Ends when the other end is silent for too long.
    pub(super) async fn stops(&self, pings: Option<PingPong>) {
        let Some(mut pings) = pings else { return pending().await };
        loop {
            let mut within = tokio::select! {
                () = sleep(BULK_PING_EVERY) => BULK_PONG_WITHIN,
                () = self.check.notified() => BULK_CHECKED_WITHIN,
            };
            let pong = pings.ping(Ping::opaque());
            tokio::pin!(pong);
            loop {
                let before = self.heard.get();
                tokio::select! {
                    biased;
                    answered = &mut pong => match answered {
                        Ok(_) => break,
                        // The connection has ended, and says so itself.
                        Err(_) => return pending().await,
                    },
                    () = self.check.notified() => within = BULK_CHECKED_WITHIN,
                    () = sleep(within) => if self.heard.get() == before {
                        return;
                    },
                }
            }
        }
    }
}

/// A connection whose pulse is felt.
#[derive(Debug)]
pub(super) struct Pulsing<T> {
    inner: T,
    pulse: Rc<Pulse>,
}

impl<T> Pulsing<T> {
    pub(super) const fn new(inner: T, pulse: Rc<Pulse>) -> Self {
        Self { inner, pulse }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pulsing<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buf);
        if read.is_ready() {
            self.pulse.heard.set(self.pulse.heard.get().wrapping_add(1));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pulsing<T> {
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
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
