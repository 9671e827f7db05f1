//! What is under way inside for each user: one who asks for everything at once, and reads none of it, takes places
//! from all.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use edgeway_model::sign_in::Subject;
use edgeway_runtime::http::{Body, BodyFault};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::proxy::limits::REQUESTS_PER_USER_MAX;

/// Requests under way, by user. It holds as many users as requests.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Mutex<BTreeMap<Subject, usize>>>);

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of this user's; `None` if that is too many.
    pub(crate) fn enter(&self, subject: &Subject) -> Option<Entered> {
        let mut users = self.lock();
        match users.get_mut(subject) {
            Some(count) if *count >= REQUESTS_PER_USER_MAX => return None,
            Some(count) => *count += 1,
            None => _ = users.insert(subject.clone(), 1),
        }
        Some(Entered { users: self.clone(), subject: subject.clone() })
    }
}

/// A request under way, until dropped.
pub(crate) struct Entered {
    users: UnderWay,
    subject: Subject,
}

impl Entered {
    /// The request is under way until this body of its answer has ended.
    pub(crate) fn until_the_end_of(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        UnsyncBoxBody::new(Counted { body, entered: Some(self) })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        match users.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => _ = users.remove(&self.subject),
            None => {}
        }
    }
}

/// A body that counts.
struct Counted {
    body: Body,
    entered: Option<Entered>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        let over = match &frame {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if over {
            this.entered = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::{Deployment, UserName};
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn subject(name: &str) -> Subject {
        Subject { deployment: Deployment::default_one(), user: UserName::new(name).unwrap() }
    }

    fn body() -> Body {
        UnsyncBoxBody::new(Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}))
    }

    #[tokio::test]
    async fn one_users_requests_are_bounded_until_their_answers_are_read() {
        let users = UnderWay::default();
        let mut entered: Vec<_> = (0..REQUESTS_PER_USER_MAX).map(|_| users.enter(&subject("alice")).unwrap()).collect();
        assert!(users.enter(&subject("alice")).is_none());
        assert!(users.enter(&subject("bob")).is_some(), "another user is untouched");
        let unread = entered.pop().unwrap().until_the_end_of(body());
        assert!(users.enter(&subject("alice")).is_none(), "the answer is not read");
        assert_eq!(unread.collect().await.unwrap().to_bytes(), "hello");
        let again = users.enter(&subject("alice")).unwrap();
        assert!(users.enter(&subject("alice")).is_none());
        // A client that goes away.
        drop(again.until_the_end_of(body()));
        assert!(users.enter(&subject("alice")).is_some());
        entered.clear();
        assert!(users.lock().is_empty());
    }
}
