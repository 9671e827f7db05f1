//! The connection of one client: TCP, and TLS on it. An idle one holds no buffer: all of them read into one scratch
//! buffer and encrypt into another, and only what could not be finished (half a record in, a full socket out) is kept.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::chat::limits::{PARTIAL_BYTES_MAX, READ_BYTES, WRITE_BYTES};
use crate::tls_layer::{Progress, TlsLayer};

/// Buffers all clients of this thread share.
struct Scratch {
    incoming: Box<[u8]>,
    plaintext: Vec<u8>,
    outgoing: Vec<u8>,
    /// Calls of the system so far, for tests of how many there are.
    reads: u64,
    writes: u64,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; PARTIAL_BYTES_MAX + READ_BYTES].into_boxed_slice(),
        plaintext: Vec::new(),
        outgoing: Vec::new(),
        reads: 0,
        writes: 0,
    });
}

/// Reads and writes of all clients of this thread so far that moved bytes.
#[cfg(test)]
pub(super) fn moves() -> (u64, u64) {
    SCRATCH.with_borrow(|scratch| (scratch.reads, scratch.writes))
}

/// Why nothing more comes from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It has closed its side: end of file, or close_notify.
    Closed,
    /// The connection is gone, or what came is no TLS.
    Broken(String),
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    tls: Option<Box<TlsLayer>>,
    /// Ciphertext after the last whole record; empty nearly always.
    partial: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
    /// How much of `unsent` has left since.
    sent: usize,
    /// It said close_notify.
    closed: bool,
}

impl Wire {
    /// A connection without TLS.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, tls: None, partial: Vec::new(), unsent: Vec::new(), sent: 0, closed: false }
    }

    /// From the next byte on, TLS is spoken.
    pub(super) fn secure(&mut self, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.tls = Some(Box::new(TlsLayer::new(config)?));
        Ok(())
    }

    /// Whether TLS is spoken, but does not stand yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Bytes the socket has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// The next plaintext, in one piece and never empty, or why there will be none. What TLS itself has to say
    /// meanwhile is left to [`Self::poll_unsent`].
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Over>> {
        if self.closed {
            return Poll::Ready(Err(Over::Closed));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                // A client that has TLS answer (key updates) and takes no answer is not read.
                if self.waiting() > WRITE_BYTES && self.poll_unsent_with(scratch, context).is_pending() {
                    return Poll::Pending;
                }
                let held = self.partial.len();
                let (front, room) = scratch.incoming.split_at_mut(held);
                front.copy_from_slice(&self.partial);
                let room = room.get_mut(..READ_BYTES).unwrap_or_default();
                let mut room = ReadBuf::new(room);
                match ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)) {
                    Err(error) => return Poll::Ready(Err(Over::Broken(error.to_string()))),
                    Ok(()) if room.filled().is_empty() => return Poll::Ready(Err(Over::Closed)),
                    Ok(()) => scratch.reads += 1,
                }
                let end = held + room.filled().len();
                if let Some(read) = self.decrypt(scratch, end).transpose() {
                    return Poll::Ready(read);
                }
            }
        })
    }

    /// What the first `end` bytes of the scratch buffer hold; `None` if that is no data yet.
    fn decrypt(&mut self, scratch: &mut Scratch, end: usize) -> Result<Option<Bytes>, Over> {
        let incoming = scratch.incoming.get_mut(..end).unwrap_or_default();
        let Some(tls) = &mut self.tls else {
            return Ok(Some(Bytes::copy_from_slice(incoming)));
        };
        scratch.plaintext.clear();
        // Handshake messages, alerts and answers to key updates are sent in order with everything else.
        let (consumed, progress) = tls.receive(incoming, &mut self.unsent, &mut scratch.plaintext);
        keep(&mut self.partial, incoming.get(consumed..).unwrap_or_default());
        let bytes = (!scratch.plaintext.is_empty()).then(|| Bytes::copy_from_slice(&scratch.plaintext));
        let progress = progress.map_err(|error| Over::Broken(format!("TLS: {error}")))?;
        if self.partial.len() > PARTIAL_BYTES_MAX {
            return Err(Over::Broken("TLS: a message larger than any client has reason to send".into()));
        }
        if progress == Progress::PeerClosed {
            self.closed = true;
            // What came with it is delivered first.
            return if bytes.is_some() { Ok(bytes) } else { Err(Over::Closed) };
        }
        Ok(bytes)
    }

    /// Puts `bytes` behind what waits to leave.
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                tls.send(&mut self.partial, std::iter::once(bytes), &mut self.unsent).map_err(io::Error::other)
            }
            None => {
                self.unsent.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Puts close_notify behind what waits to leave.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            // One whose handshake is not over, or whose keys are used up, ends without it.
            let _ = tls.close(&mut self.partial, &mut self.unsent);
        }
    }

    /// Writes all of `pieces` at once; nothing may be waiting. What the socket does not take waits then.
    pub(super) fn write(&mut self, context: &mut Context<'_>, pieces: &[Bytes]) -> io::Result<()> {
        debug_assert_eq!(self.waiting(), 0, "what came first leaves first");
        SCRATCH.with_borrow_mut(|scratch| {
            let plaintext = match pieces {
                [one] => one,
                many => {
                    scratch.plaintext.clear();
                    many.iter().for_each(|piece| scratch.plaintext.extend_from_slice(piece));
                    &scratch.plaintext[..]
                }
            };
            let outgoing = match &mut self.tls {
                Some(tls) => {
                    scratch.outgoing.clear();
                    tls.send(&mut self.partial, std::iter::once(plaintext), &mut scratch.outgoing)
                        .map_err(io::Error::other)?;
                    &scratch.outgoing[..]
                }
                None => plaintext,
            };
            let written = match Pin::new(&mut self.stream).poll_write(context, outgoing) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            scratch.writes += 1;
            self.unsent.extend_from_slice(outgoing.get(written..).unwrap_or_default());
            // A burst must not leave its buffers behind.
            for buffer in [&mut scratch.outgoing, &mut scratch.plaintext] {
                if buffer.capacity() > 4 * WRITE_BYTES {
                    *buffer = Vec::new();
                }
            }
            Ok(())
        })
    }

    /// Writes what waits. Ready when nothing waits any more.
    pub(super) fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| self.poll_unsent_with(scratch, context))
    }

    fn poll_unsent_with(&mut self, scratch: &mut Scratch, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let rest = self.unsent.get(self.sent..).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
            scratch.writes += 1;
        }
        if self.sent > 0 {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our side, once nothing waits any more.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// Waits for the client's end of the connection, and looks at nothing that comes until then.
    pub(super) fn poll_heard_out(&mut self, context: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            // A client that says very much is left waiting; the deadline ends it.
            loop {
                let mut room = ReadBuf::new(&mut scratch.incoming);
                match ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)) {
                    Ok(()) if !room.filled().is_empty() => {}
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
        })
    }
}

fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *partial = Vec::new();
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}
