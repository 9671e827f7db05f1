//! The way media takes where UDP is blocked: one TCP connection for each pair of nodes, dialled by
//! the core to the link port, TLS 1.3 with the same identities on both sides.
//!
//! Each datagram of the link goes as two bytes of length, big endian, and its bytes; the edge says an
//! empty one first, so that the core knows its certificate is accepted. What the system does not take
//! waits here, and what has waited too long gives way: late media is lost media. Nothing here knows a
//! relay.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use edgeway_model::NodeId;
use rustls::{ClientConnection, Connection};
use socket2::SockRef;

use super::limits::{
    STREAM_ADDRESSES_MAX, STREAM_DATAGRAM_BYTES_MAX, STREAM_HANDSHAKE_MAX, STREAM_QUEUE_BYTES, STREAM_READS_PER_PASS,
    STREAM_RECORD_BYTES, STREAM_STALE_AFTER, STREAM_UNACKNOWLEDGED_MAX, STREAM_UNSENT_BYTES, STREAMS_MAX,
};
use super::poller::{Poller, Token};
use super::{Board, Order};
use crate::pki::server_name;
use crate::pki::tls::{explain, explain_io};

/// All such connections of a node.
#[derive(Default)]
pub(super) struct Streams {
    entries: Vec<Option<Stream>>,
    touched: Vec<StreamNumber>,
    events: VecDeque<StreamEvent>,
    late: u64,
}

/// The number of a connection. It may be given again once the connection is gone.
pub(super) type StreamNumber = usize;

/// What happened to a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamEvent {
    /// The other end has spoken.
    Confirmed(StreamNumber),
    /// It is gone, and its number must not be used any more.
    Lost { stream: StreamNumber, why: String },
}

struct Stream {
    tcp: TcpStream,
    tls: Connection,
    /// Datagrams on their way, oldest first, and since when.
    queue: VecDeque<(Instant, Bytes)>,
    queued: usize,
    /// What came and is no whole datagram yet.
    incoming: BytesMut,
    confirmed: bool,
    touched: bool,
    /// The system has no room.
    blocked: bool,
}

impl Streams {
    /// Carries datagrams over a connection whose handshake is done. `greet`: say so to the other end.
    pub(super) fn add(
        &mut self,
        tcp: TcpStream,
        tls: Connection,
        greet: bool,
        poller: &Poller,
    ) -> io::Result<StreamNumber> {
        if self.entries.iter().flatten().count() >= STREAMS_MAX {
            return Err(io::Error::other("too many media connections"));
        }
        tcp.set_nonblocking(true)?;
        tune(&tcp)?;
        let number = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        poller.watch(&tcp, Token::Stream(number))?;
        let mut stream = Stream {
            tcp,
            tls,
            queue: VecDeque::new(),
            queued: 0,
            incoming: BytesMut::new(),
            confirmed: false,
            touched: false,
            blocked: false,
        };
        if greet {
            stream.queue.push_back((Instant::now(), Bytes::new()));
        }
        if number == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[number] = Some(stream);
        self.touch(number);
        // With the handshake, data may have come that no socket will report any more.
        self.handle_readable(number, poller);
        if self.entries[number].is_some() {
            return Ok(number);
        }
        // It has ended before anybody knew its number, which the next one may get.
        let lost = self.events.iter().position(|event| event.stream() == number);
        match lost.and_then(|at| self.events.remove(at)) {
            Some(StreamEvent::Lost { why, .. }) => Err(io::Error::other(why)),
            Some(_) | None => Err(io::Error::other("it ended at once")),
        }
    }

    /// Closes a connection; no event follows.
    pub(super) fn close(&mut self, number: StreamNumber, poller: &Poller) {
        if let Some(mut stream) = self.entries.get_mut(number).and_then(Option::take) {
            stream.tls.send_close_notify();
            let _ = stream.tls.write_tls(&mut stream.tcp);
            let _ = poller.forget(&stream.tcp);
            tracing::debug!(late = self.late, "a media connection over TCP has ended; so much was too late so far");
        }
        self.touched.retain(|touched| *touched != number);
        self.events.retain(|event| event.stream() != number);
    }

    /// Queues a datagram; the oldest give way.
    pub(super) fn send(&mut self, number: StreamNumber, datagram: Bytes, now: Instant) -> bool {
        let Some(stream) = self.entries.get_mut(number).and_then(Option::as_mut) else { return false };
        if datagram.len() > STREAM_DATAGRAM_BYTES_MAX {
            return false;
        }
        while stream.queued + datagram.len() > STREAM_QUEUE_BYTES {
            self.late += stream.drop_oldest();
        }
        stream.queued += datagram.len();
        stream.queue.push_back((now, datagram));
        self.touch(number);
        true
    }

    /// The next datagram of a connection.
    pub(super) fn receive(&mut self, number: StreamNumber) -> Option<Bytes> {
        self.entries.get_mut(number)?.as_mut()?.take_datagram()
    }

    /// A socket can be read.
    pub(super) fn handle_readable(&mut self, number: StreamNumber, poller: &Poller) {
        let Some(stream) = self.entries.get_mut(number).and_then(Option::as_mut) else { return };
        let outcome = stream.read();
        if !stream.confirmed && !stream.incoming.is_empty() {
            stream.confirmed = true;
            self.events.push_back(StreamEvent::Confirmed(number));
        }
        if let Err(why) = outcome {
            self.lose(number, why, poller);
        }
    }

    /// A socket that had no room has some.
    pub(super) fn handle_writable(&mut self, number: StreamNumber) {
        self.touch(number);
    }

    /// Writes what touched connections have to write.
    pub(super) fn flush(&mut self, poller: &Poller, now: Instant) {
        while let Some(number) = self.touched.pop() {
            let Some(stream) = self.entries.get_mut(number).and_then(Option::as_mut) else { continue };
            stream.touched = false;
            let was_blocked = stream.blocked;
            match stream.write(now) {
                Ok(late) => {
                    self.late += late;
                    if stream.blocked != was_blocked
                        && let Err(error) = poller.watch_writable(&stream.tcp, Token::Stream(number), stream.blocked)
                    {
                        tracing::error!(%error, "a media connection cannot be watched");
                    }
                }
                Err(error) => self.lose(number, explain_io(&error), poller),
            }
        }
    }

    /// What happened to connections.
    pub(super) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Datagrams given up because they were late.
    #[cfg(test)]
    pub(super) const fn late(&self) -> u64 {
        self.late
    }

    /// Bytes waiting for one connection.
    #[cfg(test)]
    pub(super) fn queued_bytes(&self, number: StreamNumber) -> usize {
        self.entries[number].as_ref().map_or(0, |stream| stream.queued)
    }

    /// Closes everything.
    pub(super) fn shut_down(&mut self, poller: &Poller) {
        for number in 0..self.entries.len() {
            self.close(number, poller);
        }
    }

    fn lose(&mut self, number: StreamNumber, why: String, poller: &Poller) {
        self.close(number, poller);
        self.events.push_back(StreamEvent::Lost { stream: number, why });
    }

    fn touch(&mut self, number: StreamNumber) {
        if let Some(stream) = self.entries.get_mut(number).and_then(Option::as_mut)
            && !stream.touched
        {
            stream.touched = true;
            self.touched.push(number);
        }
    }
}

impl StreamEvent {
    const fn stream(&self) -> StreamNumber {
        match self {
            Self::Confirmed(stream) | Self::Lost { stream, .. } => *stream,
        }
    }
}

impl Stream {
    /// Takes in what is there; `Err` if the connection is over.
    fn read(&mut self) -> Result<(), String> {
        for _ in 0..STREAM_READS_PER_PASS {
            let more = match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => return Err("closed by the peer".into()),
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => return Err(explain_io(&error)),
            };
            let state = self.tls.process_new_packets().map_err(|error| explain(&error))?;
            let ready = state.plaintext_bytes_to_read();
            let start = self.incoming.len();
            self.incoming.resize(start + ready, 0);
            self.tls.reader().read_exact(&mut self.incoming[start..]).map_err(|error| explain_io(&error))?;
            if state.peer_has_closed() {
                return Err("closed by the peer".into());
            }
            // The reader of what came takes whole datagrams out; without them there is a fault.
            if self.length().is_some_and(|length| length > STREAM_DATAGRAM_BYTES_MAX) {
                return Err("the peer sent what is no datagram".into());
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn length(&self) -> Option<usize> {
        let length = self.incoming.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*length)))
    }

    /// The next whole datagram; empty ones only say that the peer is there.
    fn take_datagram(&mut self) -> Option<Bytes> {
        loop {
            let length = self.length()?;
            if self.incoming.len() < 2 + length {
                return None;
            }
            self.incoming.advance(2);
            let datagram = self.incoming.split_to(length).freeze();
            if !datagram.is_empty() {
                return Some(datagram);
            }
        }
    }

    /// Writes until the system has no room; how many datagrams were too late.
    fn write(&mut self, now: Instant) -> io::Result<u64> {
        let mut late = 0;
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.tcp) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.blocked = true;
                        return Ok(late);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.blocked = false;
            while self.queue.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > STREAM_STALE_AFTER) {
                late += self.drop_oldest();
            }
            let mut record = Vec::with_capacity(STREAM_RECORD_BYTES);
            while let Some((_, datagram)) = self.queue.front()
                && (record.is_empty() || record.len() + 2 + datagram.len() <= STREAM_RECORD_BYTES)
            {
                // Lossless: what is larger was refused.
                record.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
                record.extend_from_slice(datagram);
                self.queued -= datagram.len();
                self.queue.pop_front();
            }
            if record.is_empty() {
                return Ok(late);
            }
            self.tls.writer().write_all(&record)?;
        }
    }

    fn drop_oldest(&mut self) -> u64 {
        let oldest = self.queue.pop_front();
        self.queued -= oldest.as_ref().map_or(0, |(_, datagram)| datagram.len());
        u64::from(oldest.is_some())
    }
}

/// Small writes go out at once, little waits in the system, and a silent path is given up.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_user_timeout(Some(STREAM_UNACKNOWLEDGED_MAX))?;
    // What the system does not offer only makes media later.
    let _ = socket.set_tcp_notsent_lowat(STREAM_UNSENT_BYTES);
    let _ = socket.set_tcp_thin_linear_timeouts(true);
    Ok(())
}

/// Dials an edge's link port for media, off the media thread; the answer comes as [`Order::Streamed`].
pub(super) fn dial(
    peer: NodeId,
    address: String,
    config: Arc<rustls::ClientConfig>,
    orders: mpsc::Sender<Order>,
    board: Arc<Board>,
) {
    let answer = move |peer, opened| {
        // The thread that asked may have ended; then nobody wants to know.
        let _ = orders.send(Order::Streamed { peer, opened });
        board.wake();
    };
    let (again, name) = (answer.clone(), peer.clone());
    let started = std::thread::Builder::new().name("media dial".into()).spawn(move || {
        let opened = open(&peer, &address, config);
        answer(peer, opened);
    });
    if let Err(error) = started {
        again(name, Err(error.to_string()));
    }
}

fn open(
    peer: &NodeId,
    address: &str,
    config: Arc<rustls::ClientConfig>,
) -> Result<(TcpStream, Box<Connection>), String> {
    let found = address.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut why = "the name has no address".to_owned();
    for address in found.take(STREAM_ADDRESSES_MAX) {
        match connect(peer, address, Arc::clone(&config)) {
            Ok(opened) => return Ok(opened),
            Err(error) => why = explain_io(&error),
        }
    }
    Err(why)
}

fn connect(
    peer: &NodeId,
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
) -> io::Result<(TcpStream, Box<Connection>)> {
    let until = Instant::now() + STREAM_HANDSHAKE_MAX;
    let mut tcp = TcpStream::connect_timeout(&address, STREAM_HANDSHAKE_MAX)?;
    tcp.set_nodelay(true)?;
    let mut tls = ClientConnection::new(config, server_name(peer)).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tcp.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        tcp.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        if tls.wants_write() {
            tls.write_tls(&mut tcp)?;
        } else if tls.read_tls(&mut tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else {
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
    Ok((tcp, Box::new(Connection::Client(tls))))
}
