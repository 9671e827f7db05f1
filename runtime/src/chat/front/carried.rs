//! A client's stream that a core has: bytes both ways, each scanned.
//!
//! What the client says must be a stream within bounds, or none of it goes on. What comes from the core goes to the
//! client whatever it is; it is scanned only to know where something of ours may be said between.

use std::cell::RefCell;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use edgeway_model::chat::ChatEnd;
use edgeway_xmpp::scan::{Boundary, Bounds, Scanner};
use edgeway_xmpp::{Condition, StreamFault};

use super::vitals::{Stage, Vitals};
use super::wire::{Over, Wire};
use crate::chat::limits::{STRANGER_BYTES_MAX, TURNS_MAX, WRITE_BYTES};
use crate::chat::{ChatStream, Item};

thread_local! {
    /// What leaves for one client in one write; shared by all.
    static PIECES: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// How a stream goes on that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The core has ended it.
    Ended,
    /// The client has.
    Left,
    /// The connection is gone.
    Gone,
    /// The client has broken it.
    Fault(StreamFault),
}

/// One stream.
pub(super) struct Carried {
    stream: ChatStream,
    /// What the client says.
    inwards: Scanner,
    /// What the core says.
    outwards: Scanner,
    /// Our own header, for as long as the core may not have said one: until that of the stream behind sign-in.
    greeting: Option<Box<str>>,
    /// The core has said something in the stream at hand.
    spoken: bool,
    /// The core's stream begins anew behind its next element (RFC 6120 §6.4.6).
    begins_anew: bool,
    /// What the core says is no stream: nothing of ours fits in.
    lost: bool,
    /// The client has ended its stream.
    said_goodbye: bool,
    /// The core has refused what the client has shown, and the client hears of it next.
    refused: bool,
}

impl Carried {
    pub(super) fn new(stream: ChatStream, inwards: Scanner, greeting: String) -> Self {
        Self {
            stream,
            inwards,
            outwards: Scanner::new(Bounds::SERVER),
            greeting: Some(greeting.into_boxed_str()),
            spoken: false,
            begins_anew: false,
            lost: false,
            said_goodbye: false,
            refused: false,
        }
    }

    /// Writes what has come for the client, then reads what it has said.
    pub(super) fn poll(
        &mut self,
        wire: &mut Wire,
        vitals: &Vitals,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Outcome> {
        // In this order: that the client has signed in must be known before the header it then sends.
        if let Poll::Ready(outcome) = self.poll_write(wire, vitals, now, context) {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(outcome) = self.poll_read(wire, vitals, now, context) {
            return Poll::Ready(outcome);
        }
        // What TLS had to say about what was read.
        match wire.poll_unsent(context) {
            Poll::Ready(Err(_)) => Poll::Ready(Outcome::Gone),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write(
        &mut self,
        wire: &mut Wire,
        vitals: &Vitals,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Outcome> {
        for _ in 0..TURNS_MAX {
            let waited = wire.waiting();
            let left = wire.poll_unsent(context);
            vitals.waits(wire.waiting() > 0, wire.waiting() < waited, now);
            match left {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Outcome::Gone),
                Poll::Ready(Ok(())) => {}
            }
            let taken = PIECES.with_borrow_mut(|pieces| {
                pieces.clear();
                let (bytes, ended) = self.take(pieces, vitals, context);
                let written = if pieces.is_empty() { Ok(()) } else { wire.write(context, pieces) };
                pieces.clear();
                written.map(|()| (bytes, ended))
            });
            match taken {
                Err(_) => return Poll::Ready(Outcome::Gone),
                Ok((_, Some(outcome))) => return Poll::Ready(outcome),
                Ok((0, None)) => return Poll::Pending,
                Ok((bytes, None)) => {
                    vitals.sent.set(vitals.sent.get() + bytes as u64);
                    vitals.speak(now);
                }
            }
        }
        // There may be more: the others come first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what has come for the client, as much as may leave at once; how much, and whether that was the last.
    fn take(&mut self, pieces: &mut Vec<Bytes>, vitals: &Vitals, context: &Context<'_>) -> (usize, Option<Outcome>) {
        let mut taken = 0;
        while taken < WRITE_BYTES {
            match self.stream.poll_receive(context) {
                Poll::Pending => break,
                Poll::Ready(Item::Bytes(bytes)) => {
                    self.judge(&bytes, vitals);
                    self.follow(&bytes, vitals.signed_in.get());
                    taken += bytes.len();
                    pieces.push(bytes);
                }
                Poll::Ready(Item::SignedIn) => {
                    if let Err(fault) = self.signed_in(vitals) {
                        return (taken, Some(Outcome::Fault(fault)));
                    }
                }
                Poll::Ready(Item::SignInRefused) if vitals.signed_in.get() => {}
                Poll::Ready(Item::SignInRefused) => {
                    self.refused = true;
                    vitals.refusals.set(vitals.refusals.get().saturating_add(1));
                }
                Poll::Ready(Item::End(_)) => {
                    let outcome = if self.said_goodbye { Outcome::Left } else { Outcome::Ended };
                    return (taken, Some(outcome));
                }
            }
        }
        if taken == 0 && vitals.wants_ping() && self.fits() {
            pieces.push(Bytes::from_static(b" "));
            taken = 1;
        }
        (taken, None)
    }

    /// A sign-in that fails without a refusal has failed for a reason of ours: a server that is down, or a user who was
    /// attacked. The core says `<failure/>` in a piece of its own; one that is not seen here costs what a stream costs.
    fn judge(&mut self, bytes: &[u8], vitals: &Vitals) {
        if !vitals.signed_in.get() && bytes.starts_with(b"<failure") && !std::mem::take(&mut self.refused) {
            vitals.turned_away.set(true);
        }
    }

    /// The client has signed in; `<success/>` is what comes next.
    fn signed_in(&mut self, vitals: &Vitals) -> Result<(), StreamFault> {
        if vitals.signed_in.replace(true) {
            return Ok(());
        }
        if !self.inwards.between() {
            return Err(StreamFault::new(Condition::NotAuthorized, "Nothing may come before sign-in has succeeded."));
        }
        self.inwards.widen(Bounds::SIGNED_IN);
        self.inwards.restart();
        self.begins_anew = true;
        Ok(())
    }

    /// Where the core's stream is after these bytes.
    fn follow(&mut self, mut bytes: &[u8], signed_in: bool) {
        while !bytes.is_empty() && !self.lost {
            let between = self.outwards.between();
            self.spoken = true;
            match self.outwards.step(bytes) {
                Ok(step) => {
                    bytes = bytes.get(step.consumed..).unwrap_or_default();
                    if step.event == Some(Boundary::Stanza) && std::mem::take(&mut self.begins_anew) {
                        self.outwards.restart();
                        self.spoken = false;
                    }
                    if step.event == Some(Boundary::Header) && signed_in {
                        // No other stream comes behind this one.
                        self.greeting = None;
                    }
                }
                // `<success/>` came first, and these bytes are the new header.
                Err(_) if between && std::mem::take(&mut self.begins_anew) => {
                    self.outwards = Scanner::new(Bounds::SERVER);
                }
                Err(_) => self.lost = true,
            }
        }
    }

    /// Whether something of ours may be said to the client now.
    fn fits(&self) -> bool {
        !self.lost && self.outwards.between()
    }

    fn poll_read(
        &mut self,
        wire: &mut Wire,
        vitals: &Vitals,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Outcome> {
        for _ in 0..TURNS_MAX {
            // Whoever has ended, or does not read any more, says so where it writes.
            if self.said_goodbye || !matches!(self.stream.poll_room(context), Poll::Ready(Ok(()))) {
                return Poll::Pending;
            }
            let bytes = match wire.poll_read(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(Over::Closed)) => return Poll::Ready(Outcome::Left),
                Poll::Ready(Err(Over::Broken(why))) => {
                    // An alert says what was wrong.
                    let _ = wire.poll_unsent(context);
                    tracing::debug!(client = %vitals.client, "a chat client is gone: {why}");
                    return Poll::Ready(Outcome::Gone);
                }
            };
            if let Err(fault) = self.hand_over(bytes, 0, vitals) {
                return Poll::Ready(Outcome::Fault(fault));
            }
            if self.said_goodbye {
                vitals.reach(Stage::Farewell, now);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands to the core what the client has said; the first `scanned` bytes have been scanned already.
    pub(super) fn hand_over(&mut self, mut bytes: Bytes, scanned: usize, vitals: &Vitals) -> Result<(), StreamFault> {
        let mut at = scanned;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let step = self.inwards.step(rest)?;
            at += step.consumed;
            if step.event == Some(Boundary::Close) {
                // Nothing can come behind it.
                bytes.truncate(at);
                self.said_goodbye = true;
            }
        }
        let received = vitals.received.get() + bytes.len() as u64;
        vitals.received.set(received);
        if received > STRANGER_BYTES_MAX && !vitals.signed_in.get() {
            return Err(StreamFault::new(Condition::PolicyViolation, "Too many bytes before sign-in."));
        }
        self.stream.send(bytes);
        if self.said_goodbye {
            self.stream.end(ChatEnd::Closed);
        }
        Ok(())
    }

    /// The words that end the stream; `None` while there is no place for them.
    pub(super) fn last_words(&self, fault: StreamFault) -> Option<String> {
        match &self.greeting {
            Some(greeting) if !self.spoken => Some(format!("{greeting}{}", fault.to_xml())),
            Some(_) | None => self.fits().then(|| fault.to_xml()),
        }
    }
}
