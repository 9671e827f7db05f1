//! What this core, or a registrar behind it, has made of somebody's attempt, told to the operator. What this core refuses
//! by itself has a code that the client gets, too; what a registrar says is passed on as it is.

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::attempt::{Code, Kind, Reason};
use edgeway_model::notice::Notice;
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::{Hop, TransactionId};
use edgeway_sip::{Message, Name, ResponseBuilder, attempt, reason_phrase};

use crate::CoreNode;

impl CoreNode {
    /// Answers a transaction ourselves.
    pub(crate) fn answer(
        &mut self,
        id: TransactionId,
        status: u16,
        reason: &str,
        warning: Option<(u16, &str)>,
        now: Moment,
    ) {
        let (Some(request), Some(from)) = (self.proxy.request(id).cloned(), self.proxy.upstream(id).cloned()) else {
            return;
        };
        let bytes = self.response(&request, &from, status, reason, warning);
        self.attempts.remove(&id);
        self.respond(id, status, bytes, now);
    }

    /// An answer of our own to a request that came from there.
    pub(crate) fn response(
        &mut self,
        request: &Message,
        from: &Hop,
        status: u16,
        reason: &str,
        warning: Option<(u16, &str)>,
    ) -> Bytes {
        let mut response = request.respond(status, reason).to_tag(&format!("ew{:x}", self.random.next_u64()));
        if status < 400 {
            if let Some((code, text)) = warning {
                response = response.warning(code, &self.agent(), text);
            }
            return response.build();
        }
        response = self.refused(response, request, from, status, warning);
        if status == 503 {
            // Jittered, so that a crowd does not come back at one moment.
            let seconds = 5 + self.random.below(10);
            response = response.header(Name::RetryAfter, &seconds.to_string());
        }
        response.build()
    }

    /// Puts a code into a refusal, and tells of it.
    pub(crate) fn refused<'a>(
        &mut self,
        response: ResponseBuilder<'a>,
        request: &Message,
        from: &Hop,
        status: u16,
        warning: Option<(u16, &str)>,
    ) -> ResponseBuilder<'a> {
        let why = Reason::of_answer(status, warning);
        let code = Code::from_random(self.random.next_u64());
        let detail = match warning {
            Some((_, text)) => format!("{status} {}: {text}", reason_phrase(status)),
            None => format!("{status} {}", reason_phrase(status)),
        };
        self.tell_attempt(request, from, why, Some(code), detail);
        self.decided(|| format!("refused here: {} ({code})", why.words()));
        attempt::with_code(response, &self.agent(), warning, (&code.to_string(), why.words()))
    }

    /// A registrar, or whoever was called, has answered a client's request for good.
    pub(crate) fn answered_inside(&mut self, request: &Message, from: &Hop, response: &Message) {
        let status = response.status().unwrap_or(500);
        let kind = Kind::of_method(request.method().unwrap_or_default());
        // A challenge is no refusal yet, and what belongs to a dialog no attempt of its own.
        let is_over = status >= 200 && !matches!(status, 300..=399 | 401 | 407 | 423 | 487);
        if !is_over || kind == Kind::Request || is_keep_alive(request) || request.to_tag().is_some() {
            return;
        }
        let why = if status < 300 { Reason::Accepted } else { Reason::Refused };
        let detail = match response.reason() {
            Some(phrase) if status >= 300 => {
                format!(
                    "{status} {}",
                    String::from_utf8_lossy(phrase).chars().take(PHRASE_CHARACTERS_MAX).collect::<String>()
                )
            }
            Some(_) | None => String::new(),
        };
        self.tell_attempt(request, from, why, None, detail);
    }

    fn tell_attempt(&mut self, request: &Message, from: &Hop, why: Reason, code: Option<Code>, detail: String) {
        let (side, edge) = match from {
            Hop::Client { edge, .. } => (attempt::From::Client, Some(edge.clone())),
            Hop::Peer(_) | Hop::Flow(_) | Hop::Datagram { .. } => (attempt::From::Inside, None),
        };
        let client = edge.as_ref().and_then(|_| attempt::client_behind(request));
        let mut told = attempt::of(request, side, client, why);
        told.edge = edge;
        told.code = code;
        told.detail = detail;
        self.notice(Notice::Attempt(Box::new(told)));
    }
}

/// The longest reason phrase of a registrar that is kept.
const PHRASE_CHARACTERS_MAX: usize = 64;
