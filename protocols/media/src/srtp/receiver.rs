//! Opening what a client sends.

use edgeway_model::media::SrtpKey;

use super::keys::{SessionKeys, Stream};
use super::{Freshness, ReplayWindow, SrtpFault};
use crate::limits::RECEIVE_SOURCES_MAX;
use crate::rtcp;
use crate::rtp::RtpHeader;

/// The receiving contexts of one key: one per synchronisation source, RTP and RTCP apart.
///
/// Only authenticated packets leave a trace, so nobody without the key can use the table up.
pub struct SrtpReceiver {
    rtp: Sources,
    rtcp: Sources,
}

/// An authenticated packet, now in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its length.
    pub len: usize,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Its index: 48 bits for RTP, 31 for RTCP.
    pub index: u64,
    /// Whether that is higher than any index seen from this source: only such a packet proves
    /// that its sender holds the key now.
    pub newest: bool,
    /// Whether it is the first packet of this source. Nothing orders the sources of one key, so it
    /// may be an old packet that was held back.
    pub first: bool,
}

/// Highest index RTP can carry (RFC 3711 §9.2: 2⁴⁸ packets under one key).
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

struct Sources {
    keys: SessionKeys,
    windows: Vec<(u32, ReplayWindow)>,
    recent: usize,
}

impl SrtpReceiver {
    /// Contexts for packets protected with `key`.
    #[must_use]
    pub fn new(key: &SrtpKey) -> Self {
        Self { rtp: Sources::new(key, Stream::Rtp), rtcp: Sources::new(key, Stream::Rtcp) }
    }

    /// Authenticates and decrypts an SRTP packet (RFC 3711 §3.3).
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet is then unchanged and must be dropped.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, SrtpFault> {
        let header = RtpHeader::parse(packet).ok_or(SrtpFault::Malformed)?;
        let known = self.rtp.find(header.ssrc);
        let index = match known {
            Some(at) => self.rtp.windows[at].1.estimate(header.sequence).ok_or(SrtpFault::Replayed)?,
            None => u64::from(header.sequence),
        };
        let newest = self.rtp.admit(known, index)?;
        if index > RTP_INDEX_MAX {
            return Err(SrtpFault::Exhausted);
        }
        let len = self.rtp.keys.open_rtp(packet, header.bytes, header.ssrc, index)?;
        self.rtp.remember(known, header.ssrc, index);
        Ok(Opened { len, ssrc: header.ssrc, index, newest, first: known.is_none() })
    }

    /// Authenticates and decrypts an SRTCP packet (RFC 3711 §3.4).
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet is then unchanged and must be dropped.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<Opened, SrtpFault> {
        let ssrc = rtcp::first_ssrc(packet).ok_or(SrtpFault::Malformed)?;
        let trailer = self.rtcp.keys.rtcp_trailer(packet).ok_or(SrtpFault::Malformed)?;
        let index = u64::from(trailer.index);
        let known = self.rtcp.find(ssrc);
        let newest = self.rtcp.admit(known, index)?;
        self.rtcp.keys.open_rtcp(packet, &trailer, ssrc)?;
        self.rtcp.remember(known, ssrc, index);
        Ok(Opened { len: trailer.len, ssrc, index, newest, first: known.is_none() })
    }
}

impl Sources {
    fn new(key: &SrtpKey, stream: Stream) -> Self {
        Self { keys: SessionKeys::derive(key, stream), windows: Vec::new(), recent: 0 }
    }

    fn find(&mut self, ssrc: u32) -> Option<usize> {
        if self.windows.get(self.recent).is_some_and(|(known, _)| *known == ssrc) {
            return Some(self.recent);
        }
        let at = self.windows.iter().position(|(known, _)| *known == ssrc)?;
        self.recent = at;
        Some(at)
    }

    /// Whether the index is the newest of its source; a replay is turned away before any
    /// cryptography is spent on it.
    fn admit(&self, known: Option<usize>, index: u64) -> Result<bool, SrtpFault> {
        match known.map(|at| self.windows[at].1.judge(index)) {
            Some(Freshness::Newest) => Ok(true),
            Some(Freshness::Late) => Ok(false),
            Some(Freshness::Duplicate | Freshness::TooOld) => Err(SrtpFault::Replayed),
            None if self.windows.len() < RECEIVE_SOURCES_MAX => Ok(true),
            None => Err(SrtpFault::TooManySources),
        }
    }

    fn remember(&mut self, known: Option<usize>, ssrc: u32, index: u64) {
        match known {
            Some(at) => self.windows[at].1.accept(index),
            None => self.windows.push((ssrc, ReplayWindow::starting_at(index))),
        }
        debug_assert!(self.windows.len() <= RECEIVE_SOURCES_MAX);
    }
}
