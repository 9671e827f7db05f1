//! Waiting for sockets: a level-triggered epoll, so that one receive call per ready socket and
//! look is enough.

use std::io;
use std::time::Duration;

use edgeway_model::media::Component;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};

use super::limits::EVENTS_MAX;

/// What can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A media socket.
    Media {
        /// The pair.
        pair: usize,
        /// Which of the two.
        component: Component,
    },
    /// A socket of the link.
    Carrier(usize),
    /// A TCP connection media takes where UDP is blocked.
    Stream(usize),
    /// Somebody has an order.
    Wake,
}

const WAKE: u64 = u64::MAX;
const CARRIER: u64 = 1 << 63;
const STREAM: u64 = 1 << 62;

impl Token {
    fn encode(self) -> u64 {
        match self {
            Self::Media { pair, component } => ((pair as u64) << 1) | u64::from(component == Component::Rtcp),
            Self::Carrier(number) => CARRIER | (number as u64),
            Self::Stream(number) => STREAM | (number as u64),
            Self::Wake => WAKE,
        }
    }

    fn decode(number: u64) -> Self {
        if number == WAKE {
            return Self::Wake;
        }
        // Lossless: both were a usize.
        if number & CARRIER != 0 {
            return Self::Carrier((number & !CARRIER) as usize);
        }
        if number & STREAM != 0 {
            return Self::Stream((number & !STREAM) as usize);
        }
        let component = if number & 1 == 1 { Component::Rtcp } else { Component::Rtp };
        Self::Media { pair: (number >> 1) as usize, component }
    }
}

/// One epoll and room for what it reports.
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// Room for what is ready.
pub(super) struct Ready(Vec<epoll::Event>);

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Reports `source` as `token` whenever it can be read.
    pub(super) fn watch(&self, source: impl AsFd, token: Token) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.encode());
        Ok(epoll::add(&self.epoll, source, data, epoll::EventFlags::IN)?)
    }

    /// Reports a watched `source` also when it can be written, or no longer.
    pub(super) fn watch_writable(&self, source: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.encode());
        let flags = if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, source, data, flags)?)
    }

    /// Reports `source` no more.
    pub(super) fn forget(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for at most `timeout` (for ever without one). The system counts in whole
    /// milliseconds; they are rounded up.
    pub(super) fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| {
            let millis = timeout.as_micros().div_ceil(1_000).min(60_000);
            // Lossless: below a minute.
            Timespec { tv_sec: (millis / 1_000) as i64, tv_nsec: ((millis % 1_000) * 1_000_000) as _ }
        });
        ready.0.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut ready.0), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Ready {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is ready, and whether for reading.
    pub(super) fn get(&self, at: usize) -> (Token, epoll::EventFlags) {
        let event = self.0[at];
        (Token::decode({ event.data }.u64()), event.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Media { pair: 0, component: Component::Rtp },
            Token::Media { pair: 4_000, component: Component::Rtcp },
            Token::Carrier(0),
            Token::Carrier(7),
            Token::Stream(3),
            Token::Wake,
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
