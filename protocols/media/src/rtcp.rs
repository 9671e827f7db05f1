//! Walking compound RTCP packets to rewrite the SSRCs in them (RFC 3550 §6, RFC 3611, RFC 4585,
//! RFC 5104). What is not understood is left as it is.

/// Smallest RTCP packet: header and one SSRC.
pub const PACKET_BYTES_MIN: usize = 8;

/// The packet breaks the grammar of RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed RTCP packet")]
pub struct Malformed;

/// Whose SSRC a field carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The party that sent the packet, or one it speaks for.
    Speaker,
    /// The party the packet speaks about: a source the speaker receives.
    Subject,
}

/// Hands every SSRC in the compound packet to `rewrite` and writes back what it returns.
///
/// # Errors
/// [`Malformed`]: lengths do not add up. Some fields may have been rewritten by then.
pub fn rewrite_ssrcs(compound: &mut [u8], mut rewrite: impl FnMut(Role, u32) -> u32) -> Result<(), Malformed> {
    each_packet(compound, |packet, count, kind| one(packet, count, kind, &mut rewrite))
}

/// Adds `shift_of(ssrc)` to every sequence number said about a source: the highest one of report
/// blocks (RFC 3550 §6.4.1), the first one lost of negative acknowledgements (RFC 4585 §6.2.1).
///
/// # Errors
/// [`Malformed`]: lengths do not add up. Some fields may have been rewritten by then.
pub fn shift_sequences(compound: &mut [u8], shift_of: impl Fn(u32) -> u16) -> Result<(), Malformed> {
    each_packet(compound, |packet, count, kind| match kind {
        SENDER_REPORT | RECEIVER_REPORT => {
            let first = if kind == SENDER_REPORT { 28 } else { 8 };
            (0..usize::from(count)).map(|block| first + 24 * block).try_for_each(|block| {
                let mut shift = 0;
                field(packet, block, |ssrc| {
                    shift = shift_of(ssrc);
                    ssrc
                })?;
                // 32 bits: sequence number and its cycles, so a carry belongs there.
                field(packet, block + 8, |highest| highest.wrapping_add(u32::from(shift)))
            })
        }
        TRANSPORT_FEEDBACK if count == 1 => {
            let mut shift = 0;
            field(packet, 8, |ssrc| {
                shift = shift_of(ssrc);
                ssrc
            })?;
            let shift = u32::from(shift) << 16;
            (12..packet.len()).step_by(4).try_for_each(|entry| field(packet, entry, |lost| lost.wrapping_add(shift)))
        }
        _ => Ok(()),
    })
}

fn each_packet(
    compound: &mut [u8],
    mut visit: impl FnMut(&mut [u8], u8, u8) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if compound.len() < PACKET_BYTES_MIN {
        return Err(Malformed);
    }
    let mut rest = compound;
    while !rest.is_empty() {
        let header: [u8; 4] = rest.first_chunk().copied().ok_or(Malformed)?;
        let bytes = 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 6 != 2 || bytes > rest.len() {
            return Err(Malformed);
        }
        let (packet, tail) = rest.split_at_mut(bytes);
        visit(packet, header[0] & 0x1f, header[1])?;
        rest = tail;
    }
    Ok(())
}

fn one(packet: &mut [u8], count: u8, kind: u8, rewrite: &mut impl FnMut(Role, u32) -> u32) -> Result<(), Malformed> {
    let count = usize::from(count);
    let mut apply = |packet: &mut [u8], at: usize, role| field(packet, at, |ssrc| rewrite(role, ssrc));
    match kind {
        SENDER_REPORT | RECEIVER_REPORT => {
            apply(packet, 4, Role::Speaker)?;
            let first = if kind == SENDER_REPORT { 28 } else { 8 };
            (0..count).try_for_each(|block| apply(packet, first + 24 * block, Role::Subject))
        }
        SOURCE_DESCRIPTION => source_description(packet, count, &mut apply),
        GOODBYE => (0..count).try_for_each(|source| apply(packet, 4 + 4 * source, Role::Speaker)),
        APPLICATION => apply(packet, 4, Role::Speaker),
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            apply(packet, 4, Role::Speaker)?;
            apply(packet, 8, Role::Subject)?;
            // RFC 5104 §4: entries of eight bytes, each led by the SSRC it is about.
            let entries = match kind {
                TRANSPORT_FEEDBACK => matches!(count, 3 | 4),
                _ => matches!(count, 4..=6),
            };
            let entries = if entries { (packet.len() - 12) / 8 } else { 0 };
            (0..entries).try_for_each(|entry| apply(packet, 12 + 8 * entry, Role::Subject))
        }
        EXTENDED_REPORT => extended_report(packet, &mut apply),
        _ => Ok(()),
    }
}

fn field(packet: &mut [u8], at: usize, rewrite: impl FnOnce(u32) -> u32) -> Result<(), Malformed> {
    let bytes: &mut [u8; 4] = packet.get_mut(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Malformed)?;
    *bytes = rewrite(u32::from_be_bytes(*bytes)).to_be_bytes();
    Ok(())
}

type Apply<'a> = dyn FnMut(&mut [u8], usize, Role) -> Result<(), Malformed> + 'a;

/// RFC 3550 §6.5: chunks of an SSRC and items, each chunk ended by a zero and padded to a word.
fn source_description(packet: &mut [u8], chunks: usize, apply: &mut Apply<'_>) -> Result<(), Malformed> {
    let mut at = 4;
    for _ in 0..chunks {
        apply(packet, at, Role::Speaker)?;
        at += 4;
        while *packet.get(at).ok_or(Malformed)? != 0 {
            at += 2 + usize::from(*packet.get(at + 1).ok_or(Malformed)?);
        }
        at = (at / 4 + 1) * 4;
    }
    Ok(())
}

/// RFC 3611 §3, §4.
fn extended_report(packet: &mut [u8], apply: &mut Apply<'_>) -> Result<(), Malformed> {
    apply(packet, 4, Role::Speaker)?;
    let mut at = 8;
    while at < packet.len() {
        let header: [u8; 4] = packet.get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or(Malformed)?;
        let end = at + 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        if end > packet.len() {
            return Err(Malformed);
        }
        match header[0] {
            // Loss and duplicate RLE, receipt times, statistics summary, VoIP metrics.
            1..=3 | 6 | 7 if end > at + 4 => apply(packet, at + 4, Role::Subject)?,
            // DLRR: sub-blocks of three words.
            5 => (at + 4..end).step_by(12).try_for_each(|sub| apply(packet, sub, Role::Subject))?,
            _ => {}
        }
        at = end;
    }
    Ok(())
}

/// Whether a packet on a port that RTP and RTCP share is RTCP (RFC 5761 §4).
#[must_use]
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// The first SSRC of a packet at least [`PACKET_BYTES_MIN`] long; `None` unless it looks like RTCP.
pub(crate) fn first_ssrc(packet: &[u8]) -> Option<u32> {
    let head: &[u8; 8] = packet.first_chunk()?;
    let looks_right = head[0] >> 6 == 2 && is_rtcp(head);
    looks_right.then(|| u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const APPLICATION: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(count: u8, kind: u8, body: &[u32]) -> Vec<u8> {
        let mut out = vec![0x80 | count, kind, 0, u8::try_from(body.len()).unwrap()];
        body.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out
    }

    fn seen(compound: &mut [u8]) -> Result<Vec<(Role, u32)>, Malformed> {
        let mut seen = Vec::new();
        rewrite_ssrcs(compound, |role, ssrc| {
            seen.push((role, ssrc));
            ssrc + 0x1000
        })?;
        Ok(seen)
    }

    #[test]
    fn every_ssrc_is_found_in_its_role() {
        use Role::{Speaker, Subject};
        let mut compound = packet(1, 200, &[1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0]);
        // Two chunks: one with a CNAME of 2 bytes (6 bytes with its end: padded to 8), one empty.
        compound.extend(packet(2, 202, &[3, 0x0102_6162, 0, 4, 0]));
        compound.extend(packet(2, 203, &[5, 6]));
        compound.extend(packet(1, 205, &[7, 8, 0xffff_ffff]));
        compound.extend(packet(4, 206, &[9, 10, 11, 0]));
        compound.extend(packet(0, 207, &[12, 0x0600_0001, 13, 0x0500_0003, 14, 0, 0, 0x0400_0002, 0, 0]));
        compound.extend(packet(1, 201, &[15, 16, 0, 0, 0, 0, 0]));
        let expected = [
            (Speaker, 1),
            (Subject, 2),
            (Speaker, 3),
            (Speaker, 4),
            (Speaker, 5),
            (Speaker, 6),
            (Speaker, 7),
            (Subject, 8),
            (Speaker, 9),
            (Subject, 10),
            (Subject, 11),
            (Speaker, 12),
            (Subject, 13),
            (Subject, 14),
            (Speaker, 15),
            (Subject, 16),
        ];
        assert_eq!(seen(&mut compound).unwrap(), expected);
        let moved: Vec<_> = expected.iter().map(|&(role, ssrc)| (role, ssrc + 0x1000)).collect();
        assert_eq!(seen(&mut compound).unwrap(), moved, "what is returned is written back");
    }

    #[test]
    fn sequence_numbers_are_shifted_with_their_carry() {
        let mut compound = packet(2, 201, &[1, 2, 0, 0x8001, 0, 0, 0, 3, 0, 0x8001, 0, 0, 0]);
        compound.extend(packet(1, 205, &[1, 2, 0x8001_ffff]));
        shift_sequences(&mut compound, |ssrc| if ssrc == 2 { 0x8000 } else { 0 }).unwrap();
        let mut expected = packet(2, 201, &[1, 2, 0, 0x1_0001, 0, 0, 0, 3, 0, 0x8001, 0, 0, 0]);
        expected.extend(packet(1, 205, &[1, 2, 0x0001_ffff]));
        assert_eq!(compound, expected);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for mut bad in [
            packet(2, 201, &[1, 2, 0, 0, 0, 0, 0]),
            packet(0, 200, &[]),
            packet(1, 202, &[1, 0x01ff_6162]),
            packet(3, 203, &[1]),
            packet(0, 207, &[1, 0x0500_0009]),
            packet(0, 207, &[1, 0x0500_0000 | 4, 1, 2, 3, 4])[..24].to_vec(),
        ] {
            let outcome = seen(&mut bad);
            assert!(outcome.is_err() || bad[1] == 207, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120), kind in 199u8..209) {
            if bytes.len() > 4 {
                bytes[0] = 0x80 | (bytes[0] & 0x1f);
                bytes[1] = kind;
                bytes[2] = 0;
                bytes[3] %= 32;
            }
            let _ = shift_sequences(&mut bytes, |ssrc| ssrc as u16);
            let _ = rewrite_ssrcs(&mut bytes, |_, ssrc| !ssrc);
        }
    }
}
