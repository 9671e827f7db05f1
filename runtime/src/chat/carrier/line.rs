//! One connection: its protocol, and the near ends of its streams.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use edgeway_link::chat::{ChatEvent, ChatFault, ChatMux, NotOpened};
use edgeway_link::limits::CHAT_WINDOW_BYTES_MAX;
use edgeway_model::Role;
use edgeway_model::chat::{ChatEnd, ChatOpening};

use super::super::changes::Changes;
use super::super::limits::{GATHERED_BYTES_MAX, OUTWARD_BYTES_MAX};
use super::super::stream::{ChatStream, Item, Together};
use crate::clock::Clock;

/// A connection, as those who use it see it.
pub(super) struct Line {
    pub(super) state: RefCell<State>,
    pub(super) changes: Rc<Changes>,
    pub(super) clock: Clock,
    over: Cell<bool>,
}

/// What is behind a [`Line`]. Nothing in it waits for anything.
pub(super) struct State {
    pub(super) mux: ChatMux,
    ends: BTreeMap<u32, End>,
    together: Rc<Together>,
    /// Streams that were on the list, on their way through [`Line::gather`].
    listed: Vec<u32>,
}

/// The near end of a stream: the far one is the client's, or the core's.
struct End {
    stream: ChatStream,
    /// What was taken out of it and did not fit the window.
    rest: Bytes,
}

/// What the pump of a line must know of what has arrived.
pub(super) enum News {
    /// A stream was opened.
    Opened(ChatOpening, ChatStream),
    /// The other end is leaving.
    Leaving,
    /// It is over.
    Failed(ChatFault),
}

impl Line {
    pub(super) fn new(role: Role) -> Rc<Self> {
        let clock = Clock::start();
        let state = State {
            mux: ChatMux::new(role, clock.now()),
            ends: BTreeMap::new(),
            together: Together::new(OUTWARD_BYTES_MAX),
            listed: Vec::new(),
        };
        Rc::new(Self { state: RefCell::new(state), changes: Rc::default(), clock, over: Cell::new(false) })
    }

    /// Opens a stream; what is said on it arrives at the core behind this.
    pub(super) fn open(&self, opening: &ChatOpening) -> Result<ChatStream, NotOpened> {
        if self.over.get() {
            return Err(NotOpened::Leaving);
        }
        let state = &mut *self.state.borrow_mut();
        let number = state.mux.open(opening, self.clock.now())?;
        let far = state.begin(number, &self.changes);
        self.changes.wake();
        Ok(far)
    }

    /// Whether streams may be opened.
    pub(super) fn opens(&self) -> bool {
        !self.over.get() && self.state.borrow().mux.opens()
    }

    /// The other end may be gone: it is asked.
    pub(super) fn check(&self) {
        self.state.borrow_mut().mux.check();
        self.changes.wake();
    }

    /// Opens nothing more, and has nothing opened.
    pub(super) fn leave(&self) {
        self.state.borrow_mut().mux.leave();
        self.changes.wake();
    }

    /// The connection is gone, and with it all streams.
    pub(super) fn finish(&self) {
        self.over.set(true);
        let ends = std::mem::take(&mut self.state.borrow_mut().ends);
        drop(ends);
    }

    /// What has arrived; the next thing the pump must know.
    pub(super) fn poll_news(&self) -> Option<News> {
        let state = &mut *self.state.borrow_mut();
        while let Some(event) = state.mux.poll_event() {
            match event {
                ChatEvent::Data { stream, bytes, untold_max } => state.deliver(stream, bytes, untold_max),
                ChatEvent::Room { stream } => {
                    if let Some(end) = state.ends.get(&stream) {
                        end.stream.mark_own();
                    }
                }
                ChatEvent::SignedIn { stream } => {
                    if let Some(end) = state.ends.get(&stream) {
                        end.stream.signed_in();
                    }
                }
                ChatEvent::SignInRefused { stream } => {
                    if let Some(end) = state.ends.get(&stream) {
                        end.stream.sign_in_refused();
                    }
                }
                ChatEvent::Ended { stream, how: ChatEnd::Closed } => {
                    if let Some(end) = state.ends.get(&stream) {
                        end.stream.end(ChatEnd::Closed);
                    }
                    state.forget_if_over(stream);
                }
                // Dropped, it has ended as broken.
                ChatEvent::Ended { stream, how: ChatEnd::Broken } => drop(state.ends.remove(&stream)),
                ChatEvent::Opened { stream, opening } => {
                    let far = state.begin(stream, &self.changes);
                    return Some(News::Opened(opening, far));
                }
                ChatEvent::Leaving => return Some(News::Leaving),
                ChatEvent::Failed(fault) => return Some(News::Failed(fault)),
            }
        }
        None
    }

    /// Moves what streams have to say to the protocol, up to the bound of what leaves together; whether there is more.
    pub(super) fn gather(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        let mut listed = std::mem::take(&mut state.listed);
        self.changes.take(&mut listed);
        let mut streams = listed.drain(..);
        let mut full = false;
        for stream in streams.by_ref() {
            state.settle(stream);
            full = state.mux.outgoing().len() >= GATHERED_BYTES_MAX;
            if full {
                break;
            }
        }
        state.listed = streams.collect();
        full && !(state.listed.is_empty() && self.changes.is_empty())
    }

    /// Whether streams have something to say, or something waits to leave.
    pub(super) fn has_something(&self) -> bool {
        let state = self.state.borrow();
        !state.mux.outgoing().is_empty() || !state.listed.is_empty() || !self.changes.is_empty()
    }
}

impl State {
    /// Both ends of a stream; the near one is kept here.
    fn begin(&mut self, number: u32, changes: &Rc<Changes>) -> ChatStream {
        let (near, far) = ChatStream::pair_together(CHAT_WINDOW_BYTES_MAX as usize, Rc::clone(&self.together));
        near.tie(Rc::clone(changes), number);
        self.ends.insert(number, End { stream: near, rest: Bytes::new() });
        far
    }

    fn deliver(&mut self, number: u32, bytes: Bytes, untold_max: u32) {
        match self.ends.get(&number) {
            Some(end) if !end.stream.is_unread() => {
                end.stream.set_untold_max(untold_max);
                end.stream.send(bytes);
            }
            // Nobody reads it; the other end may go on until it hears of that.
            Some(_) | None => {
                self.mux.read(number, 1, bytes.len());
            }
        }
    }

    fn forget_if_over(&mut self, number: u32) {
        if !self.mux.is_open(number) {
            self.ends.remove(&number);
        }
    }

    /// A stream has changed: what was read of it gives credit, and what it has to say is said as far as there is room.
    fn settle(&mut self, number: u32) {
        let Some(end) = self.ends.get_mut(&number) else { return };
        end.stream.unmark();
        let (pieces, bytes) = end.stream.take_taken();
        if pieces > 0 {
            end.stream.set_untold_max(self.mux.read(number, pieces, bytes));
        }
        loop {
            if !end.rest.is_empty() {
                let sent = self.mux.send(number, &end.rest);
                end.rest.advance(sent);
                if !end.rest.is_empty() {
                    if sent == 0 {
                        break;
                    }
                    continue;
                }
            }
            if self.mux.outgoing().len() >= GATHERED_BYTES_MAX {
                end.stream.mark_own();
                break;
            }
            // What does not fit stays where it is counted.
            if end.stream.next_bytes().is_some_and(|bytes| self.mux.room(number, bytes) == 0) {
                break;
            }
            match end.stream.take() {
                Some(Item::Bytes(bytes)) => end.rest = bytes,
                Some(Item::SignedIn) => self.mux.sign_in(number),
                Some(Item::SignInRefused) => self.mux.refuse_sign_in(number),
                Some(Item::End(how)) => {
                    self.mux.end(number, how);
                    if end.stream.is_unread() {
                        self.mux.end(number, ChatEnd::Broken);
                    }
                    break;
                }
                None => break,
            }
        }
        self.forget_if_over(number);
    }
}
