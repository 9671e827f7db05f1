//! The task of one client: through the door, to a core, and to the end of its stream.
//!
//! Per wake-up it writes all that has come for the client at once, then reads what the client has said and hands it on.
//! What the client does not take stays in its [`ChatStream`], and so does what the core does not take: the client is
//! not read meanwhile.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use edgeway_model::attempt::Reason;
use edgeway_model::chat::ChatOffence;
use edgeway_xmpp::door::{Door, Opening, Wish};
use edgeway_xmpp::{Condition, StreamFault};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::carried::{Carried, Outcome};
use super::vitals::{Order, Stage, Vitals};
use super::wire::{Over, Wire};
use super::{ChatFront, Kind, Places};
use crate::chat::limits::LINGER_MAX;

/// What an address hears that has tried too often.
const TOO_MANY: StreamFault =
    StreamFault::new(Condition::PolicyViolation, "Too many streams from this address: try again later.");
/// What the words behind a missing core are.
const NO_CORE: StreamFault = StreamFault::new(Condition::RemoteConnectionFailed, "No server can be reached from here.");

/// One client.
pub(super) struct ClientTask {
    front: Rc<ChatFront>,
    vitals: Rc<Vitals>,
    wire: Wire,
    phase: Phase,
    kind: Kind,
    places: Places,
}

#[expect(clippy::large_enum_variant, reason = "nearly all of them are carried nearly all of the time")]
enum Phase {
    /// No core has it yet.
    Door(Box<Door>),
    /// A core has it.
    Carried(Carried),
    /// The last has been said.
    Closing { step: Step, deadline: Pin<Box<Sleep>> },
}

#[derive(Clone, Copy)]
enum Step {
    /// What waits leaves, then close_notify and FIN.
    Parting,
    /// Then the client is given time to read it all.
    Lingering,
}

/// What comes after a phase.
enum Next {
    /// Another.
    Phase,
    /// Nothing: the connection is to be dropped.
    Gone,
}

impl ClientTask {
    pub(super) fn new(
        front: &Rc<ChatFront>,
        vitals: Rc<Vitals>,
        tcp: TcpStream,
        kind: Kind,
        places: Places,
    ) -> io::Result<Self> {
        let mut wire = Wire::new(tcp);
        let random = random()?;
        let door = match kind {
            Kind::StartTls => Door::outside(random),
            Kind::Direct => {
                wire.secure(front.tls(kind)).map_err(io::Error::other)?;
                Door::inside(random)
            }
        };
        let phase = Phase::Door(Box::new(door));
        Ok(Self { front: Rc::clone(front), vitals, wire, phase, kind, places })
    }

    fn poll_door(&mut self, order: Option<Order>, context: &mut Context<'_>) -> Poll<Next> {
        let Phase::Door(door) = &mut self.phase else { return Poll::Ready(Next::Phase) };
        if let Some(Order::Leave(fault)) = order {
            let words = door.refuse(fault);
            return self.part(&words);
        }
        if order == Some(Order::Part) {
            return self.part("");
        }
        let read = self.wire.poll_read(context);
        if self.vitals.stage() == Stage::Handshake && !self.wire.is_handshaking() && !is_over(&read) {
            self.vitals.reach(Stage::Inside, self.front.now());
        }
        let bytes = match read {
            Poll::Ready(Ok(bytes)) => bytes,
            Poll::Ready(Err(over)) => {
                self.gone_early(&over);
                // An alert says what was wrong.
                let _ = self.wire.poll_unsent(context);
                return Poll::Ready(Next::Gone);
            }
            Poll::Pending => {
                let left = self.wire.poll_unsent(context);
                let waits = self.wire.waiting() > 0;
                self.vitals.waits(waits, false, self.front.now());
                return match left {
                    Poll::Ready(Err(_)) => Poll::Ready(Next::Gone),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            }
        };
        match door.hear(&bytes, self.front.refuses_new().then_some(super::STOPPING)) {
            Wish::More => Poll::Ready(Next::Phase),
            Wish::Say(words) => self.say(&words),
            Wish::Secure(words) => {
                let said = self.say(&words);
                if self.wire.secure(self.front.tls(self.kind)).is_err() {
                    return Poll::Ready(Next::Gone);
                }
                self.vitals.reach(Stage::Handshake, self.front.now());
                said
            }
            Wish::Open(opening) => self.open(opening),
            Wish::Part(words) => self.part(&words),
            Wish::Refuse(fault, words) => {
                self.offended(fault);
                // They end with the fault, which is said again with its code.
                let head = words.strip_suffix(&fault.to_xml()).unwrap_or_default();
                let words = format!("{head}{}", self.front.refused_with(&self.vitals, fault).to_xml());
                self.part(&words)
            }
        }
    }

    /// Counts what ended before there was a stream.
    fn gone_early(&self, over: &Over) {
        if self.wire.is_handshaking() {
            self.front.count("chat_handshake_failed");
        }
        if let Over::Broken(why) = over {
            tracing::debug!(client = %self.vitals.client, "a chat client is gone before it had a stream: {why}");
        }
    }

    /// Finds a core for a stream.
    fn open(&mut self, opening: Opening) -> Poll<Next> {
        let Phase::Door(door) = &mut self.phase else { return Poll::Ready(Next::Phase) };
        if !self.front.may_open(&self.vitals, self.front.now()) {
            let words = door.refuse(self.front.refused_as(&self.vitals, TOO_MANY, Reason::AddressLimit));
            return self.part(&words);
        }
        let Some((core, stream)) = self.front.choose(&self.vitals, &opening) else {
            self.front.turned_away(&self.vitals);
            self.front.count("chat_no_core");
            let words = door.refuse(self.front.refused_as(&self.vitals, NO_CORE, Reason::NoCore));
            return self.part(&words);
        };
        self.front.count("chat_stream");
        *self.vitals.at.borrow_mut() = Some((core, opening.domain.into_boxed_str()));
        self.vitals.reach(Stage::SignIn, self.front.now());
        let Phase::Door(door) = std::mem::replace(&mut self.phase, closing()) else {
            return Poll::Ready(Next::Gone);
        };
        let mut carried = Carried::new(stream, door.into_scanner(), opening.greeting);
        let outcome = carried.hand_over(Bytes::from(opening.bytes), opening.scanned, &self.vitals);
        self.phase = Phase::Carried(carried);
        match outcome {
            Ok(()) => Poll::Ready(Next::Phase),
            Err(fault) => self.refuse(fault),
        }
    }

    fn poll_carried(&mut self, order: Option<Order>, context: &mut Context<'_>) -> Poll<Next> {
        let Phase::Carried(carried) = &mut self.phase else { return Poll::Ready(Next::Phase) };
        let now = self.front.now();
        let was_signed_in = self.vitals.signed_in.get();
        let outcome = carried.poll(&mut self.wire, &self.vitals, now, context);
        if !was_signed_in && self.vitals.signed_in.get() {
            self.places.stranger = None;
            self.front.signed_in(&self.vitals);
        }
        self.settle();
        match outcome {
            Poll::Pending => {}
            Poll::Ready(Outcome::Ended) => {
                // Whatever it was, the core has told of a refusal before: this was none.
                if !self.vitals.signed_in.get() {
                    self.front.turned_away(&self.vitals);
                }
                return self.part("");
            }
            Poll::Ready(Outcome::Left) => return self.part(""),
            Poll::Ready(Outcome::Gone) => return Poll::Ready(Next::Gone),
            Poll::Ready(Outcome::Fault(fault)) => return self.refuse(fault),
        }
        if order == Some(Order::Part) {
            return self.part("");
        }
        if let (Some(Order::Leave(fault)), Phase::Carried(carried)) = (order, &mut self.phase) {
            if let Some(words) = carried.last_words(fault) {
                return self.part(&words);
            }
            // In the middle of an element: its rest comes first, if it comes soon.
            self.vitals.reach(Stage::Farewell, now);
        }
        Poll::Pending
    }

    /// Ends a stream that the client has broken.
    fn refuse(&mut self, fault: StreamFault) -> Poll<Next> {
        self.offended(fault);
        let Phase::Carried(carried) = &mut self.phase else { return Poll::Ready(Next::Gone) };
        // In the middle of an element there is no place for them.
        let words = carried.last_words(self.front.refused_with(&self.vitals, fault)).unwrap_or_default();
        self.part(&words)
    }

    fn offended(&self, fault: StreamFault) {
        // What follows from a setting, an old client or a wrong name is no attack.
        let honest = matches!(fault.condition, Condition::HostUnknown | Condition::UnsupportedVersion);
        if fault.condition == Condition::SystemShutdown {
            self.front.count("chat_refused_new");
        } else if !honest {
            self.front.offence(&self.vitals, ChatOffence::Protocol, fault.text);
        }
    }

    /// Charges its address for what the core has said of its sign-ins.
    fn settle(&self) {
        for _ in 0..self.vitals.refusals.take() {
            if !self.front.refused(&self.vitals) {
                self.vitals.order(Order::Leave(TOO_MANY));
            }
        }
        if self.vitals.turned_away.take() {
            self.front.turned_away(&self.vitals);
        }
    }

    fn say(&mut self, words: &str) -> Poll<Next> {
        Poll::Ready(if self.wire.say(words.as_bytes()).is_ok() { Next::Phase } else { Next::Gone })
    }

    /// Says the last words, and goes.
    fn part(&mut self, words: &str) -> Poll<Next> {
        if !words.is_empty() && self.wire.say(words.as_bytes()).is_err() {
            // TLS does not stand yet: nothing can be said.
            return Poll::Ready(Next::Gone);
        }
        self.wire.say_goodbye();
        self.vitals.reach(Stage::Parted, self.front.now());
        // Whatever was carried ends here: as broken, unless it has ended already.
        self.phase = closing();
        Poll::Ready(Next::Phase)
    }

    fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let Phase::Closing { step, deadline } = &mut self.phase else { return Poll::Ready(Next::Phase) };
        if deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Gone);
        }
        if let Step::Parting = step {
            if ready!(self.wire.poll_shutdown(context)).is_err() {
                return Poll::Ready(Next::Gone);
            }
            *step = Step::Lingering;
        }
        ready!(self.wire.poll_heard_out(context));
        Poll::Ready(Next::Gone)
    }
}

/// For the ids of two streams.
fn random() -> io::Result<[u128; 2]> {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    let filled = aws_lc_rs::rand::fill(&mut first).and_then(|()| aws_lc_rs::rand::fill(&mut second));
    filled.map_err(|_| io::Error::other("no random numbers"))?;
    Ok([u128::from_ne_bytes(first), u128::from_ne_bytes(second)])
}

fn closing() -> Phase {
    Phase::Closing { step: Step::Parting, deadline: Box::pin(tokio::time::sleep(LINGER_MAX)) }
}

const fn is_over(read: &Poll<Result<Bytes, Over>>) -> bool {
    matches!(read, Poll::Ready(Err(_)))
}

impl Future for ClientTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = &mut *self;
        loop {
            let order = task.vitals.attend(context);
            if order == Some(Order::Cut) {
                return Poll::Ready(());
            }
            let next = match &task.phase {
                Phase::Door(_) => task.poll_door(order, context),
                Phase::Carried(_) => task.poll_carried(order, context),
                Phase::Closing { .. } => task.poll_closing(context),
            };
            match ready!(next) {
                Next::Phase => {}
                Next::Gone => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for ClientTask {
    fn drop(&mut self) {
        self.front.gone(&self.vitals);
    }
}
