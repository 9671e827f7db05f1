//! The cryptography of one leg.

use edgeway_model::media::{Component, LegSecurity, SrtpKey};
use edgeway_model::{Moment, Random};

use super::DropReason;
use crate::limits::{KEY_CHANGE_GRACE, KEY_CHANGE_PACKETS, RECEIVE_KEYS_MAX, SEND_KEYS_MAX};
use crate::rtcp;
use crate::rtp::RtpHeader;
use crate::srtp::{Opened, Party, SrtpReceiver, SrtpSender};

/// Every key the relay has ever sent with, and its context.
///
/// Invariant: one context per key, from its first use to the end of the relay. So a key that is
/// given up and comes back, or is given to both legs by mistake, repeats no keystream.
pub(super) struct Senders {
    known: Vec<(SrtpKey, SrtpSender)>,
    random: Random,
}

/// The number of a key's context.
#[derive(Clone, Copy)]
pub(super) struct SenderNumber(usize);

impl Senders {
    pub(super) const fn new(random: Random) -> Self {
        Self { known: Vec::new(), random }
    }

    /// The context of a key. `None`: the relay has used up its keys.
    fn of(&mut self, key: &SrtpKey) -> Option<SenderNumber> {
        if let Some(at) = self.known.iter().position(|(known, _)| known == key) {
            return Some(SenderNumber(at));
        }
        if self.known.len() == SEND_KEYS_MAX {
            return None;
        }
        self.known.push((key.clone(), SrtpSender::new(key, self.random.split())));
        Some(SenderNumber(self.known.len() - 1))
    }

    fn get(&mut self, number: SenderNumber) -> &mut SrtpSender {
        &mut self.known[number.0].1
    }
}

/// One leg.
pub(super) struct Leg {
    mode: Mode,
    receivers: Receivers,
}

#[derive(Clone, Copy)]
enum Mode {
    Plain,
    Awaited,
    Srtp { sender: Option<SenderNumber> },
}

/// The contexts of what the party sends; the last is the current one.
#[derive(Default)]
struct Receivers {
    known: Vec<(SrtpKey, SrtpReceiver)>,
    grace: Option<Grace>,
}

/// How long the key before the current one still opens packets.
#[derive(Clone, Copy)]
struct Grace {
    until: Moment,
    packets: u32,
}

/// What a packet proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: it was late, under an old key, or in clear.
    Nothing,
    /// That its sender holds the key; but it may have been held back.
    Key,
    /// That its sender holds the key now.
    KeyNow,
}

/// A packet in clear.
#[derive(Clone, Copy)]
pub(super) struct Clear {
    pub(super) len: usize,
    /// What it proves about whoever sent it.
    pub(super) proof: Proof,
}

impl Leg {
    pub(super) fn new(security: &LegSecurity, senders: &mut Senders, now: Moment) -> Self {
        let mut leg = Self { mode: Mode::Awaited, receivers: Receivers::default() };
        leg.update(security, senders, now);
        leg
    }

    /// A key that did not change keeps its context; one that did still opens for a moment.
    pub(super) fn update(&mut self, security: &LegSecurity, senders: &mut Senders, now: Moment) {
        self.mode = match security {
            LegSecurity::Plain => Mode::Plain,
            LegSecurity::Awaited => Mode::Awaited,
            LegSecurity::Srtp { receive, send } => {
                self.receivers.set(receive, now);
                Mode::Srtp { sender: senders.of(send) }
            }
        };
    }

    /// Brings a packet of the party into clear; what it reports about our sources is said about
    /// those on the other side.
    pub(super) fn open(
        &mut self,
        senders: &mut Senders,
        component: Component,
        packet: &mut [u8],
        now: Moment,
    ) -> Result<Clear, DropReason> {
        let sender = match self.mode {
            Mode::Plain => {
                check_clear(component, packet)?;
                return Ok(Clear { len: packet.len(), proof: Proof::Nothing });
            }
            Mode::Awaited => return Err(DropReason::TooEarly),
            Mode::Srtp { sender } => sender,
        };
        let clear = self.receivers.open(component, packet, now)?;
        if let (Component::Rtcp, Some(sender)) = (component, sender) {
            let report = &mut packet[..clear.len];
            senders.get(sender).rewrite_reports(report).map_err(|_| DropReason::Malformed)?;
        }
        Ok(clear)
    }

    /// Protects a packet for the party; it was sent by `from`.
    pub(super) fn protect(
        &self,
        senders: &mut Senders,
        component: Component,
        from: Party,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, DropReason> {
        let sender = match self.mode {
            Mode::Plain => {
                check_clear(component, buffer.get(..len).ok_or(DropReason::Malformed)?)?;
                return Ok(len);
            }
            Mode::Awaited => return Err(DropReason::TooEarly),
            Mode::Srtp { sender } => senders.get(sender.ok_or(DropReason::OverBound)?),
        };
        Ok(match component {
            Component::Rtp => sender.protect_rtp_of(from, buffer, len)?,
            Component::Rtcp => sender.protect_rtcp_of(from, buffer, len)?,
        })
    }
}

impl Proof {
    const fn of(opened: Opened) -> Self {
        match opened {
            Opened { newest: false, .. } => Self::Nothing,
            Opened { first: true, .. } => Self::Key,
            Opened { .. } => Self::KeyNow,
        }
    }
}

impl Receivers {
    fn set(&mut self, key: &SrtpKey, now: Moment) {
        if self.known.last().is_some_and(|(current, _)| current == key) {
            return;
        }
        let entry = match self.known.iter().position(|(known, _)| known == key) {
            Some(at) => self.known.remove(at),
            None => (key.clone(), SrtpReceiver::new(key)),
        };
        if self.known.len() == RECEIVE_KEYS_MAX {
            self.known.remove(0);
        }
        self.known.push(entry);
        self.grace = Some(Grace { until: now + KEY_CHANGE_GRACE, packets: KEY_CHANGE_PACKETS });
        debug_assert!(self.known.len() <= RECEIVE_KEYS_MAX);
    }

    fn open(&mut self, component: Component, packet: &mut [u8], now: Moment) -> Result<Clear, DropReason> {
        let Some(((_, current), before)) = self.known.split_last_mut() else { return Err(DropReason::TooEarly) };
        let reason = match unprotect(current, component, packet) {
            Ok(opened) => return Ok(Clear { len: opened.len, proof: Proof::of(opened) }),
            Err(reason) => reason,
        };
        let grace = self.grace.as_mut().filter(|grace| now < grace.until && grace.packets > 0);
        match (reason, before.last_mut(), grace) {
            (DropReason::Unauthenticated | DropReason::Replayed, Some((_, previous)), Some(grace)) => {
                let opened = unprotect(previous, component, packet).map_err(|_| reason)?;
                grace.packets -= 1;
                // An old key proves nothing about now.
                Ok(Clear { len: opened.len, proof: Proof::Nothing })
            }
            _ => Err(reason),
        }
    }
}

fn unprotect(receiver: &mut SrtpReceiver, component: Component, packet: &mut [u8]) -> Result<Opened, DropReason> {
    let opened = match component {
        Component::Rtp => receiver.unprotect_rtp(packet),
        Component::Rtcp => receiver.unprotect_rtcp(packet),
    };
    Ok(opened?)
}

fn check_clear(component: Component, packet: &[u8]) -> Result<(), DropReason> {
    let sound = match component {
        Component::Rtp => RtpHeader::parse(packet).is_some(),
        Component::Rtcp => rtcp::first_ssrc(packet).is_some(),
    };
    if sound { Ok(()) } else { Err(DropReason::Malformed) }
}
