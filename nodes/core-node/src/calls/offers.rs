//! Offers and answers (RFC 3264) of a call, in whatever messages they come (RFC 6337 §2.2).
//!
//! An offer is a [`Proposal`] of one dialog until its answer: nothing a relay does changes before
//! (RFC 3264 §5.1), so that a failed re-INVITE leaves everything as it was (RFC 3261 §14.1). Two
//! proposals may stand at once where both sides offer in the same moment (glare); the parties refuse
//! one or both of them, not we.

use edgeway_media::sdp::{self, Offered};
use edgeway_sip::proxy::TransactionId;

use super::{Dialog, MediaRefusal, Side};
use crate::CoreNode;
use crate::limits::PROPOSALS_MAX;

/// An offer.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    /// The transaction it came in.
    exchange: TransactionId,
    pub(super) offered: Offered,
    /// It came in a response, so that PRACK or ACK brings the answer.
    in_response: bool,
    answered: bool,
    /// Answered, and something else was agreed on since: an answer that is repeated is passed on, and
    /// changes nothing.
    stale: bool,
}

impl Proposal {
    pub(super) fn carries(&self, section: usize) -> bool {
        self.offered.offerer(section).is_some()
    }

    /// Whether its answer may yet ask for a section.
    pub(super) fn is_open_for(&self, section: usize) -> bool {
        !self.answered && self.carries(section)
    }

    /// Whether PRACK or ACK from `side` answers it.
    fn awaits_request(&self, side: Side) -> bool {
        self.in_response && self.offered.from() != side
    }
}

/// Which offer an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerTo {
    /// The one in the request of this transaction.
    Request(TransactionId),
    /// The last one in a response.
    Response,
}

impl Dialog {
    fn propose(&mut self, proposal: Proposal) -> Result<(), MediaRefusal> {
        self.proposals.retain(|known| known.exchange != proposal.exchange || known.in_response != proposal.in_response);
        if self.proposals.len() >= PROPOSALS_MAX {
            // Those answered are kept for repetitions only.
            let Some(done) = self.proposals.iter().position(|known| known.answered) else {
                return Err(MediaRefusal::overload("too many offers at once"));
            };
            self.proposals.remove(done);
        }
        self.proposals.push(proposal);
        Ok(())
    }

    fn answerable(&self, to: AnswerTo, side: Side) -> Option<usize> {
        self.proposals.iter().rposition(|proposal| match to {
            AnswerTo::Request(id) => {
                proposal.exchange == id && !proposal.in_response && proposal.offered.from() != side
            }
            AnswerTo::Response => proposal.awaits_request(side),
        })
    }

    /// Whether `side` owes an answer to an offer that came in a response.
    pub(super) fn owes_answer(&self, side: Side) -> bool {
        self.proposals.iter().any(|proposal| proposal.awaits_request(side) && !proposal.answered)
    }
}

impl CoreNode {
    /// An offer, for the other side. Without a dialog it is that of a client's INVITE, for whoever
    /// answers.
    pub(super) fn media_offer(
        &mut self,
        key: u32,
        dialog: Option<u32>,
        from: Side,
        (exchange, in_response): (TransactionId, bool),
        body: &[u8],
    ) -> Result<Vec<u8>, MediaRefusal> {
        let passed = self.pass_offer(key, from, body);
        let noted = passed.and_then(|(body, offered)| {
            let proposal = Proposal { exchange, offered, in_response, answered: false, stale: false };
            let call = self.call_mut(key).ok_or_else(MediaRefusal::no_call)?;
            match dialog {
                None => call.first_offer = Some(proposal),
                Some(number) => {
                    call.dialog_mut(number).ok_or_else(MediaRefusal::no_call)?.propose(proposal)?;
                }
            }
            Ok(body)
        });
        // Whether it is refused or not: relays opened for nothing go again.
        self.settle_relays(key);
        noted
    }

    fn pass_offer(&mut self, key: u32, from: Side, body: &[u8]) -> Result<(Vec<u8>, Offered), MediaRefusal> {
        let wanted = sdp::survey(body, from, &self.rules(key))?;
        self.open_relays(key, &wanted)?;
        let passed = sdp::pass_offer(body, from, &self.rules(key), &self.anchors(key))?;
        Ok((passed.body, passed.offered))
    }

    /// An answer, for the other side; what both have agreed on holds from now on.
    pub(super) fn media_answer(
        &mut self,
        key: u32,
        dialog: u32,
        from: Side,
        to: AnswerTo,
        body: &[u8],
    ) -> Result<Vec<u8>, MediaRefusal> {
        let (rules, anchors) = (self.rules(key), self.anchors(key));
        let call = self.call_mut(key).ok_or_else(MediaRefusal::no_call)?;
        let dialog = call.dialog_mut(dialog).ok_or_else(MediaRefusal::no_call)?;
        let Some(at) = dialog.answerable(to, from) else {
            return Err(MediaRefusal::unexpected("an answer to no offer"));
        };
        let passed = sdp::pass_answer(body, &dialog.proposals[at].offered, &rules, &anchors)?;
        if !dialog.proposals[at].stale {
            dialog.sections = passed.sections;
            for (other, proposal) in dialog.proposals.iter_mut().enumerate() {
                proposal.answered |= other == at;
                proposal.stale |= other != at && proposal.answered;
            }
        }
        self.settle_relays(key);
        Ok(passed.body)
    }

    /// The request of a transaction was refused, or answered without a description: what it offered is
    /// void.
    pub(super) fn void_offers(&mut self, key: u32, exchange: TransactionId) {
        let Some(call) = self.call_mut(key) else { return };
        for dialog in &mut call.dialogs {
            dialog.proposals.retain(|proposal| proposal.exchange != exchange || proposal.answered);
        }
        self.settle_relays(key);
    }
}
