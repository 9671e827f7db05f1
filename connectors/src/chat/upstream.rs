//! The connection to an IM server, as its stream wants it: dialled, secured, written to and read from.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::dial::{Dialler, secure};
use super::limits::{DIAL_WITHIN, FAREWELL_WITHIN, TO_SERVER_BYTES_MAX};
use super::server::Server;

/// Pieces that leave in one write.
const PIECES_PER_WRITE: usize = 16;

/// What happens at a server.
#[derive(Debug)]
pub(super) enum Event {
    /// It is reached, and secured where TLS comes first.
    Connected,
    /// TLS stands.
    Secured,
    /// It has said this.
    Said(Bytes),
    /// There is no connection, or none any more: why, for the operator.
    Gone(String),
}

/// TCP, or TLS on it.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Wire {
    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

/// A connection that is being made.
type Making = Pin<Box<dyn Future<Output = Result<Wire, String>>>>;

enum State {
    None,
    Dialling(Making),
    Securing(Making),
    Open(Wire),
}

/// At most one connection, and what is to be written to it.
pub(super) struct Upstream {
    dialler: Dialler,
    domain: Rc<str>,
    state: State,
    server: Option<Rc<Server>>,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    /// Whether something was written and may still be in TLS' buffer.
    unflushed: bool,
}

impl Upstream {
    /// For a stream of `domain`. There is no connection yet.
    pub(super) fn new(dialler: Dialler, domain: Rc<str>) -> Self {
        let (state, out) = (State::None, VecDeque::new());
        Self { dialler, domain, state, server: None, out, out_bytes: 0, unflushed: false }
    }

    /// Dials; a connection that was there is dropped.
    pub(super) fn dial(&mut self, server: Rc<Server>) {
        self.forget();
        self.server = Some(Rc::clone(&server));
        let (dialler, domain) = (self.dialler.clone(), Rc::clone(&self.domain));
        self.state = State::Dialling(Box::pin(in_time(async move {
            let stream = dialler.connect(&server).await?;
            if !server.direct_tls {
                return Ok(Wire::Plain(stream));
            }
            secure(&server, &domain, stream).await.map(|stream| Wire::Tls(Box::new(stream)))
        })));
    }

    /// Begins TLS. What was not written goes nowhere: it was meant for a connection without TLS.
    pub(super) fn start_tls(&mut self) {
        self.clear();
        let (state, server) = (std::mem::replace(&mut self.state, State::None), self.server.clone());
        let (State::Open(Wire::Plain(stream)), Some(server)) = (state, server) else { return };
        let domain = Rc::clone(&self.domain);
        self.state = State::Securing(Box::pin(in_time(async move {
            secure(&server, &domain, stream).await.map(|stream| Wire::Tls(Box::new(stream)))
        })));
    }

    /// To be written. It goes nowhere where there is no connection.
    pub(super) fn send(&mut self, bytes: Bytes) {
        if matches!(self.state, State::Open(_)) && !bytes.is_empty() {
            self.out_bytes += bytes.len();
            self.out.push_back(bytes);
        }
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.out_bytes < TO_SERVER_BYTES_MAX
    }

    /// Ends the connection; what was sent still arrives. The future does it.
    pub(super) fn close(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        let (state, out) = (std::mem::replace(&mut self.state, State::None), std::mem::take(&mut self.out));
        self.forget();
        let State::Open(wire) = state else { return None };
        Some(farewell(wire, out))
    }

    /// Writes what is to be written, then waits for what happens. `may_read`: whether there is room for what it says.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, may_read: bool, scratch: &mut [u8]) -> Poll<Event> {
        let (made, event) = match &mut self.state {
            State::None => return Poll::Pending,
            State::Dialling(making) => (ready!(making.as_mut().poll(context)), Event::Connected),
            State::Securing(making) => (ready!(making.as_mut().poll(context)), Event::Secured),
            State::Open(wire) => {
                let written = write(wire, context, &mut self.out, &mut self.out_bytes, &mut self.unflushed);
                let said = match written {
                    Err(error) => Err(error),
                    Ok(()) if !may_read => return Poll::Pending,
                    Ok(()) => ready!(read(wire, context, scratch)),
                };
                return Poll::Ready(said.map_or_else(|error| self.gone(&error), Event::Said));
            }
        };
        Poll::Ready(match made {
            Ok(wire) => {
                self.state = State::Open(wire);
                event
            }
            Err(why) => {
                self.forget();
                Event::Gone(why)
            }
        })
    }

    fn gone(&mut self, error: &io::Error) -> Event {
        self.forget();
        let ended = error.kind() == io::ErrorKind::UnexpectedEof;
        Event::Gone(if ended { "it has ended the connection".to_owned() } else { error.to_string() })
    }

    fn clear(&mut self) {
        self.out.clear();
        (self.out_bytes, self.unflushed) = (0, false);
    }

    fn forget(&mut self) {
        self.clear();
        (self.state, self.server) = (State::None, None);
    }
}

async fn in_time(making: impl Future<Output = Result<Wire, String>>) -> Result<Wire, String> {
    timeout(DIAL_WITHIN, making).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
}

/// Writes as much as goes; several pieces at once, so that they are one record and one packet.
fn write(
    wire: &mut Wire,
    context: &mut Context<'_>,
    out: &mut VecDeque<Bytes>,
    out_bytes: &mut usize,
    unflushed: &mut bool,
) -> io::Result<()> {
    let mut stream = wire.stream();
    while !out.is_empty() {
        let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let count = out.len().min(PIECES_PER_WRITE);
        for (slice, piece) in pieces.iter_mut().zip(&*out) {
            *slice = IoSlice::new(piece);
        }
        let written = stream.as_mut().poll_write_vectored(context, pieces.get(..count).unwrap_or(&[]));
        match written {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => take(out, out_bytes, count),
            Poll::Ready(Err(error)) => return Err(error),
        }
        *unflushed = true;
    }
    if *unflushed && let Poll::Ready(flushed) = stream.poll_flush(context) {
        flushed?;
        *unflushed = false;
    }
    Ok(())
}

/// Takes what was written off the front.
fn take(out: &mut VecDeque<Bytes>, out_bytes: &mut usize, mut written: usize) {
    *out_bytes = out_bytes.saturating_sub(written);
    while let Some(first) = out.front_mut() {
        if first.len() > written {
            return first.advance(written);
        }
        written -= first.len();
        out.pop_front();
    }
}

fn read(wire: &mut Wire, context: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<Bytes>> {
    let mut buffer = ReadBuf::new(scratch);
    ready!(wire.stream().poll_read(context, &mut buffer))?;
    Poll::Ready(match buffer.filled() {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        said => Ok(Bytes::copy_from_slice(said)),
    })
}

/// Says what is still to be said, ends the connection, and waits for the other side to do the same: an end with
/// something unread in it would take what was said last away from the server (RFC 1122 §4.2.2.13).
async fn farewell(mut wire: Wire, mut out: VecDeque<Bytes>) {
    let said = async {
        let mut stream = wire.stream();
        while let Some(mut piece) = out.pop_front() {
            stream.write_all_buf(&mut piece).await?;
        }
        stream.flush().await?;
        stream.shutdown().await?;
        let mut unheard = [0; 1024];
        while stream.read(&mut unheard).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    // Whoever does not hear us out within that time is cut off.
    let _ = timeout(FAREWELL_WITHIN, said).await;
}
