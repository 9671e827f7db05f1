//! One side of a dialog (RFC 3261 §12).

use bytes::Bytes;
use edgeway_sip::{Message, Name};

use crate::wire::{self, Head};

/// What this phone remembers of a dialog.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) call_id: String,
    /// From of our requests, tag included.
    pub(super) local: String,
    pub(super) local_tag: String,
    /// To of our requests; with the tag, once there is one.
    pub(super) remote: String,
    pub(super) remote_tag: Option<String>,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: Option<u32>,
    /// Route set, in the order of our Route headers.
    pub(super) routes: Vec<String>,
    /// Remote target: the Request-URI of our requests.
    pub(super) target: String,
}

impl Leg {
    /// RFC 3261 §12.1.1: the callee's side, from the INVITE.
    pub(super) fn answering(invite: &Message, local_tag: String) -> Self {
        Self {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={local_tag}", wire::text(invite, Name::To)),
            local_tag,
            remote: wire::text(invite, Name::From),
            remote_tag: wire::from_tag(invite),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq().0),
            routes: wire::values(invite, Name::RecordRoute),
            target: wire::contact_uri(invite).unwrap_or_default(),
        }
    }

    /// RFC 3261 §12.1.2: the caller's side becomes whole with the 2xx.
    pub(super) fn established(&mut self, ok: &Message) {
        self.remote = wire::text(ok, Name::To);
        self.remote_tag = wire::to_tag(ok);
        self.routes = wire::values(ok, Name::RecordRoute);
        self.routes.reverse();
        self.refresh_target(ok);
    }

    /// RFC 3261 §12.2.1.2 and §12.2.2: a re-INVITE or its 2xx may move the target.
    pub(super) fn refresh_target(&mut self, message: &Message) {
        if let Some(uri) = wire::contact_uri(message) {
            self.target = uri;
        }
    }

    /// Whether a request belongs to this dialog.
    pub(super) fn owns(&self, request: &Message) -> bool {
        request.call_id() == self.call_id
            && wire::to_tag(request).as_deref() == Some(&self.local_tag)
            && (self.remote_tag.is_none() || wire::from_tag(request) == self.remote_tag)
    }

    /// The next request of this dialog, with a new CSeq (RFC 3261 §12.2.1.1).
    pub(super) fn next(&mut self, method: &str) -> Head {
        self.local_cseq += 1;
        self.head(method, self.local_cseq)
    }

    /// A request of this dialog with a given CSeq: the ACK to a 2xx carries that of its INVITE.
    pub(super) fn head(&self, method: &str, cseq: u32) -> Head {
        Head {
            method: method.to_owned(),
            uri: self.target.clone(),
            routes: self.routes.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
        }
    }
}

/// The final answer to an INVITE, sent again until its ACK comes (RFC 3261 §13.3.1.4, §17.2.1).
pub(super) struct Unacknowledged {
    pub(super) call: Option<u64>,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) bytes: Bytes,
    pub(super) next: tokio::time::Instant,
    pub(super) pause: std::time::Duration,
    pub(super) until: tokio::time::Instant,
}
