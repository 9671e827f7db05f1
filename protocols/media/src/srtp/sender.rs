//! Protecting what goes to a client, under SSRCs that are ours to choose.

use edgeway_model::Random;
use edgeway_model::media::SrtpKey;

use super::keys::{SessionKeys, Stream};
use super::{Freshness, ReplayWindow, SrtpFault};
use crate::limits::{RESTART_DUPLICATES, SEND_SOURCES_MAX, SEND_SSRCS_MAX};
use crate::rtcp::{self, Role};
use crate::rtp::{self, RtpHeader};

/// Tells the parties apart that send under one key (forks): their SSRCs may be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(pub u16);

/// The sending context of one key.
///
/// Sources inside come and go under one key: hold music, a transfer, a restarted phone. Keystream
/// is a function of (key, SSRC, index), so this machine owns the outgoing SSRC space: a source
/// keeps its SSRC while that SSRC is new to the key, and gets a fresh random one when its
/// sequence starts again or its SSRC was used before. It owns the sequence numbers too, as far as
/// the half they start in. Invariant: no (SSRC, index) is ever
/// protected twice; a property test holds it.
pub struct SrtpSender {
    rtp: SessionKeys,
    rtcp: SessionKeys,
    sources: Vec<Source>,
    /// Every SSRC this key has sent under.
    used: Vec<u32>,
    clock: u64,
    rtcp_index: u32,
    random: Random,
}

/// One source inside, and the SSRC it goes out under.
struct Source {
    inside: (Party, u32),
    outside: u32,
    window: ReplayWindow,
    /// What is subtracted from its sequence numbers, so that they start in the lower half. RFC 3711
    /// §3.3.1: a receiver that misses the start and the first roll-over could never follow, and
    /// before the latch the start of every stream is missed.
    shift: u16,
    /// Duplicates since the last new packet.
    duplicates: u8,
    /// The sequence number that would confirm a restart (RFC 3550 appendix A.1).
    restart_at: Option<u16>,
    last_used: u64,
}

/// Highest index RTP can carry (RFC 3711 §9.2: 2⁴⁸ packets under one key).
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;
/// Highest index RTCP can carry.
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

impl SrtpSender {
    /// A context that protects with `key`, which must never have been used before.
    #[must_use]
    pub fn new(key: &SrtpKey, random: Random) -> Self {
        Self {
            rtp: SessionKeys::derive(key, Stream::Rtp),
            rtcp: SessionKeys::derive(key, Stream::Rtcp),
            sources: Vec::new(),
            used: Vec::new(),
            clock: 0,
            rtcp_index: 0,
            random,
        }
    }

    /// Protects the RTP packet in `buffer[..len]`, giving it the SSRC chosen for its source.
    /// `buffer`
    /// must have [`crate::limits::SRTP_OVERHEAD_BYTES`] of room at most. Returns the new length.
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet must be dropped.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpFault> {
        self.protect_rtp_of(Party::default(), buffer, len)
    }

    /// The same for a packet of one of several parties.
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet must be dropped.
    pub fn protect_rtp_of(&mut self, party: Party, buffer: &mut [u8], len: usize) -> Result<usize, SrtpFault> {
        let header = buffer.get(..len).and_then(RtpHeader::parse).ok_or(SrtpFault::Malformed)?;
        let protected = len + self.rtp.rtp_overhead();
        let buffer = buffer.get_mut(..protected).ok_or(SrtpFault::Malformed)?;
        let (ssrc, index) = self.take_index(party, header.ssrc, header.sequence)?;
        rtp::set_identity(buffer, ssrc, (index & 0xffff) as u16);
        self.rtp.seal_rtp(buffer, header.bytes, len, ssrc, index);
        Ok(protected)
    }

    /// Protects the compound RTCP packet in `buffer[..len]`, its SSRCs rewritten to ours. `buffer`
    /// must have [`crate::limits::SRTCP_OVERHEAD_BYTES`] of room at most. Returns the new length.
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet must be dropped.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpFault> {
        self.protect_rtcp_of(Party::default(), buffer, len)
    }

    /// The same for a packet of one of several parties.
    ///
    /// # Errors
    /// [`SrtpFault`]; the packet must be dropped.
    pub fn protect_rtcp_of(&mut self, party: Party, buffer: &mut [u8], len: usize) -> Result<usize, SrtpFault> {
        let protected = len + self.rtcp.rtcp_overhead();
        let buffer = buffer.get_mut(..protected).filter(|_| len >= rtcp::PACKET_BYTES_MIN);
        let buffer = buffer.ok_or(SrtpFault::Malformed)?;
        if self.rtcp_index > RTCP_INDEX_MAX {
            return Err(SrtpFault::Exhausted);
        }
        let rewritten = rtcp::rewrite_ssrcs(&mut buffer[..len], |role, ssrc| match role {
            Role::Speaker => self.outside_of(party, ssrc),
            Role::Subject => ssrc,
        });
        rewritten.map_err(|_| SrtpFault::Malformed)?;
        let ssrc = rtcp::first_ssrc(buffer).ok_or(SrtpFault::Malformed)?;
        // One index for all sources: it rises strictly, so no (SSRC, index) can come again.
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(buffer, len, ssrc, index);
        Ok(protected)
    }

    /// In clear RTCP from the client: what it says about our SSRCs and sequence numbers is said
    /// about those of the sources inside.
    ///
    /// # Errors
    /// [`rtcp::Malformed`]: drop the packet.
    pub fn rewrite_reports(&self, compound: &mut [u8]) -> Result<(), rtcp::Malformed> {
        if self.sources.iter().any(|source| source.shift != 0) {
            rtcp::shift_sequences(compound, |ssrc| self.shift_of(ssrc))?;
        }
        rtcp::rewrite_ssrcs(compound, |role, ssrc| match role {
            Role::Speaker => ssrc,
            Role::Subject => self.inside_of(ssrc),
        })
    }

    fn outside_of(&self, party: Party, inside: u32) -> u32 {
        self.sources.iter().find(|source| source.inside == (party, inside)).map_or(inside, |source| source.outside)
    }

    fn inside_of(&self, outside: u32) -> u32 {
        self.sources.iter().find(|source| source.outside == outside).map_or(outside, |source| source.inside.1)
    }

    fn shift_of(&self, outside: u32) -> u16 {
        self.sources.iter().find(|source| source.outside == outside).map_or(0, |source| source.shift)
    }

    /// The outgoing SSRC and the index for a packet, marked as used.
    fn take_index(&mut self, party: Party, inside: u32, sequence: u16) -> Result<(u32, u64), SrtpFault> {
        self.clock += 1;
        let Some(at) = self.sources.iter().position(|source| source.inside == (party, inside)) else {
            let outside = self.fresh_ssrc(Some(inside))?;
            self.make_room();
            let source = Source::new((party, inside), outside, sequence, self.clock);
            let index = source.window.highest();
            self.sources.push(source);
            return Ok((outside, index));
        };
        let source = &mut self.sources[at];
        source.last_used = self.clock;
        match source.place(sequence) {
            Placement::Index(index) if index > RTP_INDEX_MAX => Err(SrtpFault::Exhausted),
            Placement::Index(index) => {
                source.window.accept(index);
                Ok((source.outside, index))
            }
            Placement::Drop => Err(SrtpFault::Replayed),
            Placement::Restarted => {
                let outside = self.fresh_ssrc(None)?;
                self.sources[at] = Source::new((party, inside), outside, sequence, self.clock);
                Ok((outside, self.sources[at].window.highest()))
            }
        }
    }

    /// An SSRC never used under this key: `wanted` if that is one.
    fn fresh_ssrc(&mut self, wanted: Option<u32>) -> Result<u32, SrtpFault> {
        if self.used.len() == SEND_SSRCS_MAX {
            return Err(SrtpFault::Exhausted);
        }
        let mut candidate = wanted.unwrap_or_else(|| u32::from_be_bytes(self.random.bytes()));
        while self.used.contains(&candidate) {
            candidate = u32::from_be_bytes(self.random.bytes());
        }
        self.used.push(candidate);
        Ok(candidate)
    }

    fn make_room(&mut self) {
        if self.sources.len() < SEND_SOURCES_MAX {
            return;
        }
        let idlest = self.sources.iter().enumerate().min_by_key(|(_, source)| source.last_used).map(|(at, _)| at);
        if let Some(at) = idlest {
            self.sources.swap_remove(at);
        }
    }
}

/// What becomes of a packet of a known source.
enum Placement {
    Index(u64),
    Drop,
    Restarted,
}

impl Source {
    fn new(inside: (Party, u32), outside: u32, sequence: u16, last_used: u64) -> Self {
        let shift = sequence & 0x8000;
        let window = ReplayWindow::starting_at(u64::from(sequence - shift));
        Self { inside, outside, window, shift, duplicates: 0, restart_at: None, last_used }
    }

    fn place(&mut self, sequence: u16) -> Placement {
        // Before the first index ever sent there is nothing to be late for: treat it as too old.
        let outside = sequence.wrapping_sub(self.shift);
        let judged = self.window.estimate(outside).map(|index| (index, self.window.judge(index)));
        match judged {
            Some((index, Freshness::Newest | Freshness::Late)) => {
                self.duplicates = 0;
                self.restart_at = None;
                Placement::Index(index)
            }
            Some((_, Freshness::Duplicate)) => {
                self.duplicates += 1;
                if self.duplicates >= RESTART_DUPLICATES { Placement::Restarted } else { Placement::Drop }
            }
            Some((_, Freshness::TooOld)) | None => {
                // RFC 3550 appendix A.1: one stray packet is no restart, two in sequence are.
                let confirmed = self.restart_at == Some(sequence);
                self.restart_at = Some(sequence.wrapping_add(1));
                if confirmed { Placement::Restarted } else { Placement::Drop }
            }
        }
    }
}

#[cfg(test)]
impl SrtpSender {
    pub(super) fn set_rtcp_index(&mut self, index: u32) {
        self.rtcp_index = index;
    }

    /// The outgoing SSRC and index of the next packet of a source, without protecting one.
    pub(super) fn take_index_for_test(&mut self, inside: u32, sequence: u16) -> Result<(u32, u64), SrtpFault> {
        self.take_index(Party::default(), inside, sequence)
    }
}
