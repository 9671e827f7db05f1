//! SIP over a stream: one task reads and frames, one writes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeway_sip::{Element, Framer, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::limits::WRITES_QUEUE_MAX;

/// What a stream brought.
pub(crate) enum Arrival {
    /// A SIP message.
    Message(Message),
    /// RFC 5626 §4.4.1: a double CRLF, to be answered with a single one.
    Ping,
    /// The answer to our double CRLF.
    Pong,
    /// A STUN message (RFC 8489 §6.2.2).
    Stun(Bytes),
    /// The stream is gone.
    Closed(String),
}

/// A running stream; both tasks end when it is dropped.
pub(crate) struct Stream {
    writes: mpsc::Sender<Bytes>,
    tasks: [AbortHandle; 2],
    socket: Option<std::net::TcpStream>,
}

impl Stream {
    /// Starts both tasks; arrivals go to `events`, wrapped by `wrap`.
    pub(crate) fn start<S, E>(
        stream: S,
        socket: Option<std::net::TcpStream>,
        framer: Framer,
        events: mpsc::Sender<E>,
        wrap: impl Fn(Arrival) -> E + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        E: Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (writes, queue) = mpsc::channel(WRITES_QUEUE_MAX);
        let reading = tokio::spawn(async move {
            let why = read(reader, framer, &events, &wrap).await;
            let _ = events.send(wrap(Arrival::Closed(why))).await;
        });
        let writing = tokio::spawn(write(writer, queue));
        Self { writes, tasks: [reading.abort_handle(), writing.abort_handle()], socket }
    }

    /// Queues bytes; `false` if the peer does not read or the stream is gone.
    pub(crate) fn send(&self, bytes: Bytes) -> bool {
        self.writes.try_send(bytes).is_ok()
    }

    /// Makes the close that follows a TCP reset, as a rebooting NAT or phone does.
    pub(crate) fn reset_on_close(&self) {
        if let Some(socket) = &self.socket {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A second handle to the socket under a stream, for [`Stream::reset_on_close`].
pub(crate) fn twin(stream: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, twin))
}

async fn read<R: AsyncRead + Unpin, E>(
    mut reader: R,
    mut framer: Framer,
    events: &mpsc::Sender<E>,
    wrap: &impl Fn(Arrival) -> E,
) -> String {
    loop {
        let mut chunk = BytesMut::with_capacity(8 * 1024);
        match reader.read_buf(&mut chunk).await {
            Ok(0) => return "closed by the other side".to_owned(),
            Ok(_) => framer.push(chunk.freeze()),
            Err(error) => return error.to_string(),
        }
        loop {
            let arrival = match framer.next() {
                Ok(Some(Element::Message(bytes))) => match Message::parse(bytes) {
                    Ok(message) => Arrival::Message(message),
                    // A simulated peer is as strict as it likes: what it cannot read it does not answer.
                    Err(_) => continue,
                },
                Ok(Some(Element::Ping)) => Arrival::Ping,
                Ok(Some(Element::Pong)) => Arrival::Pong,
                Ok(Some(Element::Stun(bytes))) => Arrival::Stun(bytes),
                Ok(None) => break,
                Err(fault) => return format!("framing lost: {fault}"),
            };
            if events.send(wrap(arrival)).await.is_err() {
                return "no longer wanted".to_owned();
            }
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = queue.recv().await {
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
