//! A body of a request on its way inwards.
//!
//! It is gathered: what a client sends in pieces of one byte goes inside in pieces of [`UPLOAD_PIECE_BYTES`], for a
//! core counts small frames, and ends the connection of all clients when there are too many. And it waits at the
//! edge, where its sender has shown nothing yet that holds, until the core asks for it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::super::bulk::send_all;
use super::super::limits::{
    ANSWER_WITHIN, BODY_BYTES_MAX, BODY_BYTES_PER_SECOND_MIN, BODY_WAIT_MAX, UPLOAD_PIECE_BYTES,
};

/// A body on its way inwards; ends when dropped.
pub(super) struct Upload {
    task: JoinHandle<()>,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How the client is told that its body is refused.
    fault: Cell<Option<StatusCode>>,
    /// The core wants the body.
    wanted: Notify,
    /// All that will be sent of it has been sent.
    over: Notify,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upload {
    /// Begins at once, or when the core wants it.
    pub(super) fn start(body: Incoming, outgoing: SendStream<Bytes>, at_once: bool) -> Self {
        let shared = Rc::<Shared>::default();
        if at_once {
            shared.wanted.notify_one();
        }
        Self { task: spawn_local(upload(body, outgoing, Rc::clone(&shared))), shared }
    }

    /// The core wants it.
    pub(super) fn go_on(&self) {
        self.shared.wanted.notify_one();
    }

    /// Why the body was refused, if it was.
    pub(super) fn fault(&self) -> Option<StatusCode> {
        self.shared.fault.get()
    }
}

/// Ends when a core has had long enough for its answer: `within` from the end of the body.
pub(super) async fn late(upload: Option<&Upload>, within: Duration) {
    if let Some(upload) = upload {
        upload.shared.over.notified().await;
    }
    sleep(within).await;
}

async fn upload(body: Incoming, mut outgoing: SendStream<Bytes>, shared: Rc<Shared>) {
    let wanted = poll_reset_or(&mut outgoing, shared.wanted.notified());
    if matches!(timeout(ANSWER_WITHIN, wanted).await, Ok(Some(())))
        && let Err(status) = send(body, &mut outgoing).await
    {
        shared.fault.set(Some(status));
        outgoing.send_reset(Reason::CANCEL);
    }
    shared.over.notify_one();
}

/// `None`: the core has ended the stream first.
async fn poll_reset_or<T>(outgoing: &mut SendStream<Bytes>, wait: impl Future<Output = T>) -> Option<T> {
    let mut wait = std::pin::pin!(wait);
    poll_fn(|context| {
        if outgoing.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        wait.as_mut().poll(context).map(Some)
    })
    .await
}

async fn send(mut body: Incoming, outgoing: &mut SendStream<Bytes>) -> Result<(), StatusCode> {
    let (mut waited, mut taken, mut gathered) = (Duration::ZERO, 0_u64, BytesMut::new());
    loop {
        let patience = BODY_WAIT_MAX + Duration::from_secs(taken / BODY_BYTES_PER_SECOND_MIN);
        let since = Instant::now();
        let frame = poll_reset_or(outgoing, poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
        let frame = match timeout(patience.saturating_sub(waited), frame).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
        };
        waited += since.elapsed();
        let ended = frame.is_none();
        let bytes = match frame {
            None => Bytes::new(),
            Some(Err(_)) => return Err(StatusCode::BAD_REQUEST),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => bytes,
                // Trailers are for nobody inside.
                Err(_) => continue,
            },
        };
        taken += bytes.len() as u64;
        if taken > BODY_BYTES_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let last = ended || body.is_end_stream();
        let piece = if gathered.is_empty() && (last || bytes.len() >= UPLOAD_PIECE_BYTES) {
            bytes
        } else {
            gathered.extend_from_slice(&bytes);
            if !last && gathered.len() < UPLOAD_PIECE_BYTES {
                continue;
            }
            gathered.split().freeze()
        };
        // Backpressure of the core is no fault of the client, and has a bound of its own.
        if send_all(outgoing, piece, last, ANSWER_WITHIN).await.is_err() || last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_core_has_its_time_from_the_end_of_the_body() {
        let within = Duration::from_millis(5);
        assert!(timeout(Duration::from_secs(5), late(None, within)).await.is_ok());
        let one = async {
            let shared = Rc::<Shared>::default();
            let upload = Upload { task: spawn_local(std::future::pending()), shared: Rc::clone(&shared) };
            let mut late = std::pin::pin!(late(Some(&upload), within));
            assert!(timeout(within * 20, late.as_mut()).await.is_err(), "the client is still sending");
            shared.over.notify_one();
            assert!(timeout(Duration::from_secs(5), late).await.is_ok());
        };
        LocalSet::new().run_until(one).await;
    }
}
