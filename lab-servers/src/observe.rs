//! What crosses the wire, told to whoever draws the ladder.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

/// One SIP message, seen at one end of a wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Who saw it, as named in its configuration.
    pub who: String,
    /// Whether `who` sent it (else: received it).
    pub sent: bool,
    /// The address at the other end of the wire.
    pub peer: SocketAddr,
    /// `INVITE sip:bob@lab.example`, or `180 Ringing (INVITE)`.
    pub what: String,
    /// Its Call-ID.
    pub call_id: String,
    /// The whole message.
    pub message: Bytes,
}

/// Called for every message sent or received; must not block.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Seen) + Send + Sync>>);

impl Observer {
    /// An observer that calls `tell`.
    pub fn new(tell: impl Fn(Seen) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Nobody looks.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn tell(&self, who: &str, sent: bool, peer: SocketAddr, message: &edgeway_sip::Message) {
        let Some(tell) = &self.0 else { return };
        tell(Seen {
            at: Instant::now(),
            who: who.to_owned(),
            sent,
            peer,
            what: crate::wire::title(message),
            call_id: message.call_id().to_owned(),
            message: message.bytes().clone(),
        });
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "no Observer" })
    }
}
