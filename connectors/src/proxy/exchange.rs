//! One request and its answer on one connection. All of it happens inside whoever waits for the answer: there is
//! no task and no channel between a request and its connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use edgeway_runtime::http::{Body, BodyFault};
use http::{Method, StatusCode};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::body::TOO_LARGE;
use super::client::ClientFault;
use super::framing::{Framing, Step};
use super::head::{self, Head, HeadFault, Sent};
use super::limits::{ANSWER_HEAD_BYTES_MAX, INTERIM_ANSWERS_MAX};
use super::pool::Lease;
use super::wire::Wire;

/// Largest body that is copied out of what was read, bytes.
const COPIED_BYTES_MAX: usize = 1024;

/// The body of a request on its way out.
pub(super) struct Upload {
    /// `None` once all of it has been handed on.
    body: Option<Body>,
    framing: Sent,
    /// Pieces that have been handed on.
    pieces: u64,
}

/// Why a request or its body did not leave.
enum UploadFault {
    /// The connection.
    Connection(std::io::Error),
    /// Whoever gave it.
    Request(ClientFault),
}

impl Upload {
    /// `length`: what was announced of it.
    pub(super) fn new(body: Option<Body>, length: Option<u64>) -> Self {
        let framing = match &body {
            None => Sent::Nothing,
            Some(body) => length.or(body.size_hint().exact()).map_or(Sent::Chunked, Sent::Length),
        };
        Self { body, framing, pieces: 0 }
    }

    /// How it is framed, before any of it has left.
    pub(super) const fn framing(&self) -> Sent {
        self.framing
    }

    /// Whether all has been handed on.
    fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// Writes on. Ready once all has left.
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        loop {
            ready!(wire.poll_drain(cx)).map_err(UploadFault::Connection)?;
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            let piece = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => Some(bytes),
                    // Trailers are for nobody inside.
                    Err(_) => continue,
                },
                Some(Err(fault)) if fault.0 == TOO_LARGE => {
                    return Poll::Ready(Err(UploadFault::Request(ClientFault::RequestTooLarge)));
                }
                Some(Err(fault)) => return Poll::Ready(Err(UploadFault::Request(ClientFault::Request(fault.0)))),
            };
            let ends = piece.is_none() || body.is_end_stream();
            self.pieces += 1;
            if let Err(why) = self.queue(wire, piece, ends) {
                return Poll::Ready(Err(UploadFault::Request(ClientFault::Request(why.to_owned()))));
            }
            if ends {
                self.body = None;
            }
        }
    }

    fn queue(&mut self, wire: &mut Wire, piece: Option<Bytes>, ends: bool) -> Result<(), &'static str> {
        const OTHER_LENGTH: &str = "it has another length than was announced";
        match &mut self.framing {
            Sent::Nothing => {}
            Sent::Length(left) => {
                let length = piece.as_ref().map_or(0, Bytes::len) as u64;
                *left = left.checked_sub(length).ok_or(OTHER_LENGTH)?;
                if ends && *left > 0 {
                    return Err(OTHER_LENGTH);
                }
                if let Some(piece) = piece {
                    wire.then(piece, b"");
                }
            }
            Sent::Chunked => match piece {
                Some(piece) => {
                    wire.out().extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    wire.then(piece, if ends { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                }
                None => wire.out().extend_from_slice(b"0\r\n\r\n"),
            },
        }
        Ok(())
    }
}

/// No answer came.
pub(super) struct Unanswered {
    /// The connection ended before a byte of one.
    pub(super) ended: bool,
    pub(super) fault: ClientFault,
}

impl From<ClientFault> for Unanswered {
    fn from(fault: ClientFault) -> Self {
        Self { ended: false, fault }
    }
}

/// Sends what `wire` holds of the request, and the body behind it, and waits for the head of the answer: at most
/// `within` from the last piece that left.
pub(super) async fn answer(
    wire: &mut Wire,
    upload: &mut Upload,
    method: &Method,
    within: Duration,
    until: Instant,
) -> Result<Head, Unanswered> {
    let mut interim = 0;
    loop {
        let (pieces, patience) = (upload.pieces, until.min(Instant::now() + within));
        let answered = timeout_at(patience, poll_fn(|cx| poll_answer(wire, upload, method, &mut interim, cx)));
        match answered.await {
            Ok(answered) => return answered,
            Err(_) if patience < until && upload.pieces > pieces => {}
            Err(_) => return Err(ClientFault::Timeout("it did not answer in time").into()),
        }
    }
}

fn poll_answer(
    wire: &mut Wire,
    upload: &mut Upload,
    method: &Method,
    interim: &mut u32,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, Unanswered>> {
    // A server may answer before it has heard all, and stop listening.
    let mut unheard = None;
    match upload.poll(wire, cx) {
        Poll::Ready(Err(UploadFault::Request(fault))) => return Poll::Ready(Err(fault.into())),
        Poll::Ready(Err(UploadFault::Connection(error))) => unheard = Some(error),
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    loop {
        match ready!(wire.poll_fill(cx, 0)) {
            Ok(count) if count > 0 => {
                let news = wire.read.get(wire.read.len().saturating_sub(count)..).unwrap_or_default();
                // Nothing has ended with them: that is seen again when something has.
                if !news.contains(&b'\n') && wire.read.len() < ANSWER_HEAD_BYTES_MAX {
                    continue;
                }
            }
            ended => {
                let fault = ClientFault::Broken(match (unheard, ended) {
                    (Some(error), _) | (None, Err(error)) => words(&error),
                    (None, Ok(_)) => "the connection was closed in the middle".to_owned(),
                });
                return Poll::Ready(Err(Unanswered { ended: wire.read.is_empty() && *interim == 0, fault }));
            }
        }
        loop {
            match head::read(&mut wire.read, method) {
                Ok(None) => break,
                // Nobody asked for another protocol.
                Ok(Some(head)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                    return Poll::Ready(Err(ClientFault::Broken("it switches protocols unasked".to_owned()).into()));
                }
                Ok(Some(head)) if head.status.is_informational() => {
                    *interim += 1;
                    if *interim > INTERIM_ANSWERS_MAX {
                        return Poll::Ready(Err(ClientFault::TooLarge.into()));
                    }
                    if wire.read.is_empty() {
                        break;
                    }
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(HeadFault::TooLarge) => return Poll::Ready(Err(ClientFault::TooLarge.into())),
                Err(HeadFault::Broken(why)) => return Poll::Ready(Err(ClientFault::Broken(why.to_owned()).into())),
            }
        }
    }
}

/// The body of an answer, and the connection it comes on, which is given back where the body ends as it should.
pub(super) struct Incoming {
    /// `None` once all is here.
    lease: Option<Lease>,
    framing: Framing,
    keeps: bool,
    upload: Upload,
}

impl Incoming {
    /// What comes behind `head`; or all of it, where it has come already.
    pub(super) fn new(head: &Head, lease: Lease, upload: Upload) -> Self {
        let mut body = Self { lease: Some(lease), framing: head.framing, keeps: head.keeps, upload };
        if body.framing.is_done() {
            body.ended();
        }
        body
    }

    /// All of the body, if it is here in one piece.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.framing.length()?).ok()?;
        let Some(lease) = &mut self.lease else { return Some(Bytes::new()) };
        let read = &mut lease.connection.wire.read;
        if read.len() < length {
            return None;
        }
        // A small one is copied, so that the connection's memory is its own again.
        let bytes = if length <= COPIED_BYTES_MAX {
            let copy = read.get(..length).map(Bytes::copy_from_slice).unwrap_or_default();
            read.advance(length);
            copy
        } else {
            read.split_to(length).freeze()
        };
        self.framing = Framing::Length(0);
        self.ended();
        Some(bytes)
    }

    fn ended(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.keeps
            && self.upload.is_over()
            && lease.connection.wire.is_written()
        {
            lease.give_back();
        }
    }

    fn fail(&mut self, why: impl Into<String>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.lease = None;
        Poll::Ready(Some(Err(BodyFault(why.into()))))
    }
}

impl hyper::body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let Some(lease) = &mut this.lease else { return Poll::Ready(None) };
        let wire = &mut lease.connection.wire;
        // It answers while it is being asked. Where it does not hear the question out, the answer counts.
        let over = this.upload.is_over() && wire.is_written();
        if !over && matches!(this.upload.poll(wire, cx), Poll::Ready(Err(_))) {
            this.upload.body = None;
            this.keeps = false;
        }
        loop {
            match this.framing.step(&mut wire.read) {
                Step::Piece(bytes) => {
                    if this.framing.is_done() {
                        this.ended();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::End => {
                    this.ended();
                    return Poll::Ready(None);
                }
                Step::Broken(why) => return this.fail(why),
                Step::More(wanted) => match ready!(wire.poll_fill(cx, wanted)) {
                    Ok(0) if this.framing == Framing::UntilEnd => {
                        this.ended();
                        return Poll::Ready(None);
                    }
                    Ok(0) => return this.fail("the connection was closed in the middle"),
                    Ok(_) => {}
                    Err(error) => return this.fail(words(&error)),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.framing.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn words(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        // The TLS library adds a page of its manual to this one.
        return "the connection was closed in the middle".to_owned();
    }
    error.to_string()
}
