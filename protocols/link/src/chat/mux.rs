//! One end of a carrier: which streams there are, what may be said on them, and what the other end may say.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use edgeway_model::chat::{ChatEnd, ChatOpening};
use edgeway_model::{Moment, Role};

use super::bucket::Bucket;
use super::fault::ChatFault;
use super::frame::{self, ChatDecoder, ChatFrame};
use super::window::{Inward, Outward, Pool};
use crate::limits::{
    CHAT_DATA_BYTES_MAX, CHAT_FRAME_COST_BYTES, CHAT_IDLE_FRAMES_BURST_MAX, CHAT_IDLE_FRAMES_PER_SECOND_MAX,
    CHAT_OPENS_BURST, CHAT_OPENS_BURST_MAX, CHAT_OPENS_PER_SECOND, CHAT_OPENS_PER_SECOND_MAX, CHAT_PING_AFTER,
    CHAT_REFUSALS_MAX, CHAT_SILENT_MAX, CHAT_STREAMS_MAX,
};

/// What has happened at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// A stream begins.
    Opened {
        /// Its number.
        stream: u32,
        /// What the edge says of it.
        opening: ChatOpening,
    },
    /// Bytes have come. Whoever reads them says so by [`ChatMux::read`].
    Data {
        /// The stream.
        stream: u32,
        /// One piece.
        bytes: Bytes,
        /// How much of what has come on the stream, costs included, may be read before [`ChatMux::read`] needs to be told.
        untold_max: u32,
    },
    /// The client has signed in.
    SignedIn {
        /// The stream.
        stream: u32,
    },
    /// What the client has shown was refused.
    SignInRefused {
        /// The stream.
        stream: u32,
    },
    /// The other side has ended. Once as closed, and once as broken, at most; after broken the stream is over.
    Ended {
        /// The stream.
        stream: u32,
        /// How.
        how: ChatEnd,
    },
    /// More may be sent on a stream.
    Room {
        /// The stream.
        stream: u32,
    },
    /// The other end opens nothing any more, and wants nothing opened.
    Leaving,
    /// The other end has broken the protocol, or is gone. The last event.
    Failed(ChatFault),
}

/// Why a stream was not opened. Nothing of it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// One of the two ends is leaving, or has failed.
    #[error("the connection to the core is ending")]
    Leaving,
    /// As many are open as may be.
    #[error("{CHAT_STREAMS_MAX} streams are open at the core")]
    Full,
    /// Too many were opened just now.
    #[error("too many streams were opened at the core just now")]
    TooFast,
}

/// One stream at this end.
#[derive(Clone, Debug)]
struct Stream {
    outward: Outward,
    inward: Inward,
    ours: Option<ChatEnd>,
    theirs: Option<ChatEnd>,
    signed_in: bool,
    refusals: u8,
}

impl Stream {
    const fn new() -> Self {
        Self { outward: Outward::new(), inward: Inward::new(), ours: None, theirs: None, signed_in: false, refusals: 0 }
    }
}

/// One end of a carrier. The rules are those of the [room](super).
#[derive(Clone, Debug)]
pub struct ChatMux {
    role: Role,
    streams: BTreeMap<u32, Stream>,
    /// The highest number a stream has had.
    last: u32,
    pool: Pool,
    decoder: ChatDecoder,
    events: VecDeque<ChatEvent>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` has left.
    left: usize,
    opens: Bucket,
    idle_frames: Bucket,
    heard: Moment,
    pinged: bool,
    we_leave: bool,
    they_leave: bool,
    failed: bool,
}

impl ChatMux {
    /// The end of a node of this role, on a connection that stands since now.
    #[must_use]
    pub fn new(role: Role, now: Moment) -> Self {
        let opens = match role {
            Role::Edge => Bucket::new(CHAT_OPENS_BURST, CHAT_OPENS_PER_SECOND, now),
            Role::Core => Bucket::new(CHAT_OPENS_BURST_MAX, CHAT_OPENS_PER_SECOND_MAX, now),
        };
        Self {
            role,
            streams: BTreeMap::new(),
            last: 0,
            pool: Pool::default(),
            decoder: ChatDecoder::default(),
            events: VecDeque::new(),
            outgoing: Vec::new(),
            left: 0,
            opens,
            idle_frames: Bucket::new(CHAT_IDLE_FRAMES_BURST_MAX, CHAT_IDLE_FRAMES_PER_SECOND_MAX, now),
            heard: now,
            pinged: false,
            we_leave: false,
            they_leave: false,
            failed: false,
        }
    }

    /// Streams that are not over.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether a stream is not over.
    #[must_use]
    pub fn is_open(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Whether streams may be opened.
    #[must_use]
    pub const fn opens(&self) -> bool {
        !self.we_leave && !self.they_leave && !self.failed
    }

    /// Whether one end is leaving, and nothing is left for which the connection should stay.
    #[must_use]
    pub fn is_over(&self) -> bool {
        (self.we_leave || self.they_leave) && self.streams.is_empty()
    }

    /// Bytes the other end has sent and nobody has read, with what they cost to hold.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.streams.values().map(|stream| u64::from(stream.inward.unread())).sum()
    }

    /// Takes what has arrived, cut anywhere.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Moment) {
        if bytes.is_empty() || self.failed {
            return;
        }
        (self.heard, self.pinged) = (now, false);
        loop {
            let fault = match self.decoder.poll_frame(&mut bytes) {
                Ok(None) => return,
                Ok(Some(frame)) => self.handle_frame(frame, now).err(),
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                return self.fail(fault);
            }
        }
    }

    fn handle_frame(&mut self, frame: ChatFrame, now: Moment) -> Result<(), ChatFault> {
        match frame {
            ChatFrame::Data { stream, bytes } => self.handle_data(stream, bytes),
            ChatFrame::Credit { stream, bytes } => self.handle_credit(stream, bytes, now),
            ChatFrame::Open { stream, opening } => self.handle_open(stream, opening, now),
            ChatFrame::SignedIn { stream } => self.handle_signed_in(stream),
            ChatFrame::SignInRefused { stream } => self.handle_sign_in_refused(stream),
            ChatFrame::End { stream, how } => self.handle_end(stream, how, now),
            ChatFrame::Ping => {
                self.idle_frame(now)?;
                ChatFrame::Pong.encode(&mut self.outgoing);
                Ok(())
            }
            ChatFrame::Pong => self.idle_frame(now),
            ChatFrame::Leaving => {
                self.idle_frame(now)?;
                if !self.they_leave {
                    self.they_leave = true;
                    self.events.push_back(ChatEvent::Leaving);
                }
                Ok(())
            }
        }
    }

    fn idle_frame(&mut self, now: Moment) -> Result<(), ChatFault> {
        if self.idle_frames.take(now) { Ok(()) } else { Err(ChatFault::Flood) }
    }

    fn handle_open(&mut self, stream: u32, opening: ChatOpening, now: Moment) -> Result<(), ChatFault> {
        if self.role != Role::Core {
            return Err(ChatFault::Role { kind: frame::OPEN, from: Role::Core });
        }
        if self.last.checked_add(1) != Some(stream) {
            return Err(ChatFault::Stream { kind: frame::OPEN, stream });
        }
        if self.they_leave {
            return Err(ChatFault::Leaving);
        }
        if self.streams.len() >= CHAT_STREAMS_MAX {
            return Err(ChatFault::Streams);
        }
        self.last = stream;
        self.streams.insert(stream, Stream::new());
        // Opened before it heard that we leave, or faster than an honest edge opens streams after a hole.
        if self.we_leave || !self.opens.take(now) {
            self.idle_frame(now)?;
            self.end(stream, ChatEnd::Broken);
        } else {
            self.events.push_back(ChatEvent::Opened { stream, opening });
        }
        Ok(())
    }

    fn handle_data(&mut self, number: u32, bytes: Bytes) -> Result<(), ChatFault> {
        let ended = ChatFault::Ended { kind: frame::DATA, stream: number };
        let Some(stream) = self.streams.get_mut(&number) else {
            return Err(self.not_there(frame::DATA, number));
        };
        if stream.theirs.is_some() {
            return Err(ended);
        }
        if !stream.inward.take(bytes.len()) {
            return Err(ChatFault::Window(number));
        }
        // Nobody reads what comes after our END broken, and the other end will hear of it.
        if stream.ours != Some(ChatEnd::Broken) {
            self.events.push_back(ChatEvent::Data { stream: number, bytes, untold_max: stream.inward.until_due() });
        }
        Ok(())
    }

    fn handle_credit(&mut self, number: u32, bytes: u32, now: Moment) -> Result<(), ChatFault> {
        let Some(stream) = self.streams.get_mut(&number) else {
            self.was_there(frame::CREDIT, number)?;
            return self.idle_frame(now);
        };
        if !stream.outward.give(bytes) {
            return Err(ChatFault::Credit { stream: number, bytes });
        }
        self.events.push_back(ChatEvent::Room { stream: number });
        Ok(())
    }

    fn handle_signed_in(&mut self, number: u32) -> Result<(), ChatFault> {
        if self.role != Role::Edge {
            return Err(ChatFault::Role { kind: frame::SIGNED_IN, from: Role::Edge });
        }
        let Some(stream) = self.streams.get_mut(&number) else {
            return Err(self.not_there(frame::SIGNED_IN, number));
        };
        if stream.theirs.is_some() || stream.signed_in {
            return Err(ChatFault::Ended { kind: frame::SIGNED_IN, stream: number });
        }
        stream.signed_in = true;
        if stream.ours != Some(ChatEnd::Broken) {
            self.events.push_back(ChatEvent::SignedIn { stream: number });
        }
        Ok(())
    }

    fn handle_sign_in_refused(&mut self, number: u32) -> Result<(), ChatFault> {
        if self.role != Role::Edge {
            return Err(ChatFault::Role { kind: frame::SIGN_IN_REFUSED, from: Role::Edge });
        }
        let Some(stream) = self.streams.get_mut(&number) else {
            return Err(self.not_there(frame::SIGN_IN_REFUSED, number));
        };
        if stream.theirs.is_some() || stream.signed_in || stream.refusals >= CHAT_REFUSALS_MAX {
            return Err(ChatFault::Ended { kind: frame::SIGN_IN_REFUSED, stream: number });
        }
        stream.refusals += 1;
        if stream.ours != Some(ChatEnd::Broken) {
            self.events.push_back(ChatEvent::SignInRefused { stream: number });
        }
        Ok(())
    }

    fn handle_end(&mut self, number: u32, how: ChatEnd, now: Moment) -> Result<(), ChatFault> {
        let Some(stream) = self.streams.get_mut(&number) else {
            self.was_there(frame::END, number)?;
            return self.idle_frame(now);
        };
        if stream.theirs == Some(ChatEnd::Closed) && how == ChatEnd::Closed {
            return Err(ChatFault::Ended { kind: frame::END, stream: number });
        }
        stream.theirs = Some(how);
        if stream.ours != Some(ChatEnd::Broken) {
            self.events.push_back(ChatEvent::Ended { stream: number, how });
        }
        if how == ChatEnd::Broken && stream.ours.is_none() {
            stream.ours = Some(ChatEnd::Broken);
            ChatFrame::End { stream: number, how }.encode(&mut self.outgoing);
        }
        self.settle(number);
        Ok(())
    }

    /// A stream that is not there is one that is over, or a breach.
    fn was_there(&self, kind: u8, stream: u32) -> Result<(), ChatFault> {
        if stream <= self.last { Ok(()) } else { Err(ChatFault::Stream { kind, stream }) }
    }

    fn not_there(&self, kind: u8, stream: u32) -> ChatFault {
        match self.was_there(kind, stream) {
            Ok(()) => ChatFault::Ended { kind, stream },
            Err(fault) => fault,
        }
    }

    /// Forgets a stream that is over.
    fn settle(&mut self, number: u32) {
        if let Some(stream) = self.streams.get(&number)
            && stream.ours.is_some()
            && stream.theirs.is_some()
        {
            self.pool.give_back(&stream.inward);
            self.streams.remove(&number);
        }
    }

    fn fail(&mut self, fault: ChatFault) {
        if !self.failed {
            self.failed = true;
            self.events.push_back(ChatEvent::Failed(fault));
        }
    }

    /// What is due by now.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.failed {
            return;
        }
        if now >= self.heard + CHAT_SILENT_MAX {
            self.fail(ChatFault::Silent);
        } else if !self.pinged && now >= self.heard + CHAT_PING_AFTER {
            self.pinged = true;
            ChatFrame::Ping.encode(&mut self.outgoing);
        }
    }

    /// When [`Self::handle_timeout`] is due, and why. To be asked again after [`Self::handle_bytes`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        if self.failed {
            None
        } else if self.pinged {
            Some((self.heard + CHAT_SILENT_MAX, "the other end must have been heard"))
        } else {
            Some((self.heard + CHAT_PING_AFTER, "the other end is asked whether it is there"))
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
    }

    /// What is to be sent.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.left..).unwrap_or_default()
    }

    /// So much of [`Self::outgoing`] was sent.
    pub fn handle_sent(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes);
        if self.left >= self.outgoing.len() {
            self.outgoing.clear();
            self.left = 0;
        } else if self.left >= CHAT_DATA_BYTES_MAX && self.left >= self.outgoing.len() / 2 {
            self.outgoing.drain(..self.left);
            self.left = 0;
        }
    }

    /// Asks the other end at once whether it is there: something says that it may be gone. If its system is there and it is not,
    /// that ends the connection; else it has the same time as ever, for a path that is gone for five seconds looks the same.
    pub fn check(&mut self) {
        if !self.failed && !self.pinged {
            self.pinged = true;
            ChatFrame::Ping.encode(&mut self.outgoing);
        }
    }

    /// Edge: opens a stream.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&mut self, opening: &ChatOpening, now: Moment) -> Result<u32, NotOpened> {
        debug_assert_eq!(self.role, Role::Edge, "streams are opened by the edge");
        let number = self.last.checked_add(1).filter(|_| self.opens()).ok_or(NotOpened::Leaving)?;
        if self.streams.len() >= CHAT_STREAMS_MAX {
            return Err(NotOpened::Full);
        }
        if !self.opens.take(now) {
            return Err(NotOpened::TooFast);
        }
        self.last = number;
        self.streams.insert(number, Stream::new());
        frame::encode_open(number, opening, &mut self.outgoing);
        Ok(number)
    }

    /// How many of so many bytes may be sent on a stream in one frame now: all, or a piece, or none. Of a stream that has ended all, into nothing.
    #[must_use]
    pub fn room(&self, stream: u32, bytes: usize) -> usize {
        match self.streams.get(&stream) {
            Some(there) if there.ours.is_none() => there.outward.room(bytes.min(CHAT_DATA_BYTES_MAX)),
            Some(_) | None => bytes,
        }
    }

    /// Sends as much as [`Self::room`] says; how much that was.
    pub fn send(&mut self, stream: u32, bytes: &[u8]) -> usize {
        let room = self.room(stream, bytes.len());
        if let Some(there) = self.streams.get_mut(&stream)
            && there.ours.is_none()
            && let Some(piece) = bytes.get(..room).filter(|piece| !piece.is_empty())
        {
            there.outward.sent(piece.len());
            frame::encode_data(stream, piece, &mut self.outgoing);
        }
        room
    }

    /// So many pieces, of so many bytes together, of what has come on a stream were read. As in [`ChatEvent::Data`], how much
    /// more may be read before this needs to be told.
    pub fn read(&mut self, stream: u32, pieces: usize, bytes: usize) -> u32 {
        let Some(there) = self.streams.get_mut(&stream) else { return u32::MAX };
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let cost = pieces.saturating_mul(CHAT_FRAME_COST_BYTES).saturating_add(bytes);
        // One that has ended needs no credit.
        if let Some(credit) = there.inward.read(cost, &mut self.pool)
            && there.theirs.is_none()
        {
            ChatFrame::Credit { stream, bytes: credit }.encode(&mut self.outgoing);
        }
        there.inward.until_due()
    }

    /// Core: the client of a stream has signed in. Once.
    pub fn sign_in(&mut self, stream: u32) {
        if let Some(there) = self.streams.get_mut(&stream)
            && there.ours.is_none()
            && !there.signed_in
        {
            there.signed_in = true;
            ChatFrame::SignedIn { stream }.encode(&mut self.outgoing);
        }
    }

    /// Core: what the client of a stream has shown was refused. As often as may be, and before it has signed in.
    pub fn refuse_sign_in(&mut self, stream: u32) {
        if let Some(there) = self.streams.get_mut(&stream)
            && there.ours.is_none()
            && !there.signed_in
            && there.refusals < CHAT_REFUSALS_MAX
        {
            there.refusals += 1;
            ChatFrame::SignInRefused { stream }.encode(&mut self.outgoing);
        }
    }

    /// Ends our side of a stream; what was closed may be broken later.
    pub fn end(&mut self, stream: u32, how: ChatEnd) {
        let Some(there) = self.streams.get_mut(&stream) else { return };
        let news = match there.ours {
            None => true,
            Some(ChatEnd::Closed) => how == ChatEnd::Broken,
            Some(ChatEnd::Broken) => false,
        };
        if news {
            there.ours = Some(how);
            ChatFrame::End { stream, how }.encode(&mut self.outgoing);
            self.settle(stream);
        }
    }

    /// Opens nothing, and has nothing opened, from now on.
    pub fn leave(&mut self) {
        if !self.we_leave {
            self.we_leave = true;
            ChatFrame::Leaving.encode(&mut self.outgoing);
        }
    }
}
