//! Refusals of this edge's own, told to the operator with a code that the client gets, too.

use std::net::IpAddr;

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::attempt::{Code, Reason};
use edgeway_model::notice::Notice;
use edgeway_sip::proxy::{Hop, TransactionId};
use edgeway_sip::{Message, attempt};

use crate::EdgeNode;

impl EdgeNode {
    /// An answer of our own. What refuses is told, and carries the code it is found by.
    pub(crate) fn answer_to(
        &mut self,
        request: &Message,
        from: &Hop,
        status: u16,
        reason: &str,
        warning: Option<(u16, &str)>,
    ) -> Bytes {
        let agent = self.agent();
        let mut response = request.respond(status, reason).to_tag(&format!("ew{:x}", self.random.next_u64()));
        if status < 400 {
            if let Some((code, text)) = warning {
                response = response.warning(code, &agent, text);
            }
            return response.build();
        }
        let why = Reason::of_answer(status, warning);
        let code = Code::from_random(self.random.next_u64());
        response = attempt::with_code(response, &agent, warning, (&code.to_string(), why.words()));
        if status == 503 {
            // Jittered, so that a crowd does not come back at one moment.
            let seconds = 5 + self.random.below(10);
            response = response.header(edgeway_sip::Name::RetryAfter, &seconds.to_string());
        }
        let (side, client) = match from {
            Hop::Flow(flow) => (attempt::From::Client, self.address_of(*flow)),
            Hop::Peer(_) | Hop::Client { .. } | Hop::Datagram { .. } => (attempt::From::Inside, None),
        };
        let mut told = attempt::of(request, side, client, why);
        told.code = Some(code);
        told.detail = detail(status, reason, warning);
        self.notice(Notice::Attempt(Box::new(told)));
        self.decided(|| format!("refused here: {} ({code})", why.words()));
        response.build()
    }

    fn address_of(&self, flow: edgeway_model::FlowId) -> Option<IpAddr> {
        self.flows.get(&flow).map(|flow| flow.peer.ip().to_canonical())
    }

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
        let bytes = self.answer_to(&request, &from, status, reason, warning);
        self.respond(id, status, bytes, now);
    }
}

fn detail(status: u16, reason: &str, warning: Option<(u16, &str)>) -> String {
    match warning {
        Some((_, text)) => format!("{status} {reason}: {text}"),
        None => format!("{status} {reason}"),
    }
}
