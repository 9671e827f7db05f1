//! Bodies of requests: read before anybody waits for them, within bounds of size, time and of what is held at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::door::{FORM, is_sign_in, token_in_form};
use super::{Peer, Problem};
use crate::accounts::Place;
use crate::limits::{
    BODIES_BYTES_MAX, BODIES_BYTES_OF_PLACE_MAX, BODY_BYTES_MAX, BODY_MAX, STRANGERS_BODIES_BYTES_MAX,
    STRANGERS_BODIES_BYTES_OF_PLACE_MAX, STRANGERS_BODY_BYTES_MAX,
};

/// What is held of bodies at once.
pub(super) struct Bodies {
    known: Arc<Room>,
    strangers: Arc<Room>,
}

/// Room for bodies, of which no place takes more than its share.
struct Room {
    free: Arc<Semaphore>,
    share: usize,
    taken: Mutex<HashMap<Place, usize>>,
}

/// So many bytes of it, until it is dropped.
pub(super) struct Held {
    room: Arc<Room>,
    place: Option<Place>,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    fn new(bytes: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(bytes)), share, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Place, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: there is no room, or this place has had its share. Whoever is at the socket is of no place.
    fn hold(self: &Arc<Self>, peer: Peer, bytes: usize) -> Option<Held> {
        let place = match peer {
            Peer::Address(address) => Some(Place::from(address)),
            Peer::Socket { .. } => None,
        };
        let permits = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(permits).ok()?;
        if let Some(place) = place {
            let mut taken = self.taken();
            let before = taken.get(&place).copied().unwrap_or(0);
            if before + bytes > self.share {
                return None;
            }
            taken.insert(place, before + bytes);
        }
        Some(Held { room: Arc::clone(self), place, bytes, _permit: permit })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut taken = self.room.taken();
        match taken.get_mut(&place) {
            Some(bytes) if *bytes > self.bytes => *bytes -= self.bytes,
            Some(_) | None => drop(taken.remove(&place)),
        }
    }
}

impl Bodies {
    pub(super) fn new() -> Self {
        Self {
            known: Room::new(BODIES_BYTES_MAX, BODIES_BYTES_OF_PLACE_MAX),
            strangers: Room::new(STRANGERS_BODIES_BYTES_MAX, STRANGERS_BODIES_BYTES_OF_PLACE_MAX),
        }
    }

    /// The body is read before anybody waits for it, within its bounds of size and time; what is held of it counts until
    /// the permit is dropped. Of strangers only what they sign in with is read: whatever else they send is refused by its
    /// route, which sees no body. What only asks for something has none.
    pub(super) async fn whole(
        &self,
        request: Request,
        peer: Peer,
        is_known: bool,
    ) -> Result<(Request, Option<String>, Option<Held>), Problem> {
        let (head, body) = request.into_parts();
        if head.method.is_safe() || !is_known && !is_sign_in(&head.method, head.uri.path()) {
            return Ok((Request::from_parts(head, Body::empty()), None, None));
        }
        let (most, room) = match is_known {
            true => (BODY_BYTES_MAX, &self.known),
            false => (STRANGERS_BODY_BYTES_MAX, &self.strangers),
        };
        // What does not say how long it is may be as long as it may be.
        let size = body.size_hint();
        if size.lower() > most as u64 {
            return Err(Problem::new("body_too_large", ""));
        }
        let bytes = size.upper().and_then(|upper| usize::try_from(upper).ok()).unwrap_or(most).min(most);
        let full =
            || Problem::new("unavailable", "Too much is being sent at once.").retry_after(Duration::from_secs(1));
        let held = room.hold(peer, bytes).ok_or_else(full)?;
        let read = tokio::time::timeout(BODY_MAX, Limited::new(body, most).collect());
        let bytes: Bytes = match read.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Problem::new("body_too_large", ""));
            }
            Ok(Err(_)) => return Err(Problem::new("bad_body", "The body broke off.")),
            Err(_) => return Err(Problem::new("bad_body", "The body took too long.")),
        };
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM);
        let token = if is_form { token_in_form(bytes.clone()).await } else { None };
        Ok((Request::from_parts(head, Body::from(bytes)), token, Some(held)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Method;

    use super::*;

    fn at(last: u8) -> Peer {
        Peer::Address([192, 0, 2, last].into())
    }

    const HERE: Peer = Peer::Socket { uid: None };

    /// A body of `pieces` of a KiB that notes how many of them were read.
    fn noted(pieces: usize, read: &Arc<AtomicUsize>) -> Body {
        let read = Arc::clone(read);
        struct Pieces(usize, Arc<AtomicUsize>);
        impl hyper::body::Body for Pieces {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                let Some(left) = self.0.checked_sub(1) else { return std::task::Poll::Ready(None) };
                self.0 = left;
                self.1.fetch_add(1, Ordering::SeqCst);
                std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; 1_024])))))
            }
        }
        Body::new(Pieces(pieces, read))
    }

    fn sent(method: Method, path: &str, body: Body) -> Request {
        Request::builder().method(method).uri(path).body(body).expect("a request")
    }

    #[tokio::test]
    async fn of_strangers_only_what_they_sign_in_with_is_read_and_no_more_than_that_takes() {
        let bodies = Bodies::new();
        let read = Arc::new(AtomicUsize::new(0));
        for (method, path, is_known) in [
            (Method::POST, "/configuration/apply", false),
            (Method::PUT, "/api/v1/session", false),
            (Method::POST, "/api/v1/session/", false),
            (Method::GET, "/sign-in", false),
            (Method::GET, "/api/v1/session", true),
        ] {
            let request = sent(method, path, noted(4, &read));
            let (request, ..) = bodies.whole(request, HERE, is_known).await.expect("its route refuses it");
            assert!(request.into_body().is_end_stream(), "{path}");
        }
        assert_eq!(read.load(Ordering::SeqCst), 0, "not a byte");
        for path in ["/api/v1/session", "/api/v1/session/first", "/sign-in", "/first-sign-in"] {
            let (request, ..) =
                bodies.whole(sent(Method::POST, path, noted(8, &read)), HERE, false).await.expect("short enough");
            assert_eq!(request.into_body().collect().await.expect("read").to_bytes().len(), 8 * 1_024);
        }
        read.store(0, Ordering::SeqCst);
        let long = bodies.whole(sent(Method::POST, "/sign-in", noted(1_000, &read)), HERE, false).await;
        assert_eq!(long.map(drop).expect_err("too long").name(), "body_too_large");
        assert_eq!(read.load(Ordering::SeqCst), 9);
    }

    #[tokio::test]
    async fn so_much_is_held_at_once_no_place_takes_all_of_it_and_strangers_keep_nobody_out() {
        let bodies = Bodies::new();
        let read = Arc::new(AtomicUsize::new(0));
        let mut held = Vec::new();
        let mut fill = async |path: &'static str, is_known: bool, most: usize, share: usize, all: usize| {
            let one =
                async |last: u8| bodies.whole(sent(Method::POST, path, noted(1, &read)), at(last), is_known).await;
            for last in 0..u8::try_from(all / share).expect("a few") {
                for _ in 0..share / most {
                    held.push(one(last).await.expect("room"));
                }
                let more = one(last).await.map(drop).expect_err("it has had its share");
                assert!(more.name() == "unavailable" && more.wait().is_some());
            }
            assert_eq!(one(250).await.map(drop).expect_err("full").name(), "unavailable");
        };
        let (most, share) = (STRANGERS_BODY_BYTES_MAX, STRANGERS_BODIES_BYTES_OF_PLACE_MAX);
        fill("/sign-in", false, most, share, STRANGERS_BODIES_BYTES_MAX).await;
        fill("/a", true, BODY_BYTES_MAX, BODIES_BYTES_OF_PLACE_MAX, BODIES_BYTES_MAX).await;
        held.clear();
        assert!(bodies.known.taken().is_empty() && bodies.strangers.taken().is_empty(), "nothing is left of it");
        bodies.whole(sent(Method::POST, "/a", Body::from("x")), at(0), true).await.expect("room again");
    }
}
