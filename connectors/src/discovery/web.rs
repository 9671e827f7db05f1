//! One UC server, as discovery asks it: a question, an answer, within bounds.

use bytes::Bytes;
use edgeway_runtime::http::LocalFuture;
use zeroize::Zeroizing;

/// A question.
#[derive(Clone)]
pub struct Question {
    /// `GET` or `POST`.
    pub method: http::Method,
    /// Path and query.
    pub path: &'static str,
    /// For `SOAPAction`, quotes included.
    pub action: Option<String>,
    /// User and password.
    pub credentials: Option<Credentials>,
    /// An XML document; empty with `GET`.
    pub body: Bytes,
}

/// User and password of an application user.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
    /// Its body: at most [`super::limits::ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebFault {
    /// Nobody there: no name, no route, no listener.
    #[error("{0}")]
    Unreachable(String),
    /// TLS failed; most often, the certificate is not one to trust.
    #[error("{0}")]
    Tls(String),
    /// It took too long.
    #[error("{0}")]
    Slow(&'static str),
    /// What came is no HTTP, or broke off.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than any may be.
    #[error("its answer is too long")]
    TooLong,
}

/// A UC server.
pub trait Web {
    /// Asks, and reads the whole answer.
    fn ask(&self, question: Question) -> LocalFuture<'_, Result<Reply, WebFault>>;
}
