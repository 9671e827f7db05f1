//! STUN Binding on a SIP stream (RFC 8489; RFC 5626 §3.5.2 carried over to streams): the
//! keepalive of MRA clients.
//!
//! Only Binding, without credentials: the connection it rides on is authenticated. Unknown
//! attributes are tolerated, comprehension-required ones too, because the purpose is to answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::limits::{STUN_ATTRIBUTES_MAX, STUN_BYTES_MAX, STUN_TEXT_BYTES_MAX};

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const SOFTWARE: u16 = 0x8022;
const FINGERPRINT: u16 = 0x8028;
/// RFC 8489 §14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// The id of a transaction (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Binding request: to be answered.
    Request,
    /// Binding indication: traffic, no answer.
    Indication,
    /// Binding success response.
    Success,
    /// Binding error response.
    Error,
}

/// A Binding message, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun<'a> {
    /// What it is.
    pub class: Class,
    /// Its transaction.
    pub transaction: TransactionId,
    /// SOFTWARE, as sent.
    pub software: Option<&'a [u8]>,
    /// Whether it carried a FINGERPRINT (a wrong one does not parse).
    pub has_fingerprint: bool,
    mapped: Option<SocketAddr>,
    error: Option<u16>,
}

/// Why bytes are no Binding message to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunFault {
    /// Not STUN, or cut short.
    #[error("not a STUN message")]
    Malformed,
    /// A method other than Binding.
    #[error("a STUN method other than Binding")]
    Method,
    /// FINGERPRINT does not match the bytes.
    #[error("the STUN fingerprint does not match")]
    Fingerprint,
}

/// The whole length of the message that starts with these bytes; `None` if they are not STUN.
pub(crate) fn length(header: &[u8; 8]) -> Option<usize> {
    let [kind, _, high, low, cookie @ ..] = *header;
    let body = usize::from(u16::from_be_bytes([high, low]));
    (kind <= 1 && cookie == MAGIC_COOKIE && body.is_multiple_of(4)).then_some(HEADER_BYTES + body)
}

/// Whether the bytes are one whole STUN message by its header.
#[must_use]
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.first_chunk().and_then(length) == Some(bytes.len())
}

impl<'a> Stun<'a> {
    /// Parses one Binding message, as cut by [`crate::Framer`].
    ///
    /// # Errors
    ///
    /// [`StunFault`]; such a message is to be dropped and counted, not answered.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunFault> {
        if !is_stun(bytes) || bytes.len() > STUN_BYTES_MAX {
            return Err(StunFault::Malformed);
        }
        let class = match [bytes[0], bytes[1]] {
            [0x00, 0x01] => Class::Request,
            [0x00, 0x11] => Class::Indication,
            [0x01, 0x01] => Class::Success,
            [0x01, 0x11] => Class::Error,
            _ => return Err(StunFault::Method),
        };
        let transaction = *bytes[8..].first_chunk().ok_or(StunFault::Malformed)?;
        let mut stun = Self { class, transaction, software: None, has_fingerprint: false, mapped: None, error: None };
        let mut at = HEADER_BYTES;
        for _ in 0..STUN_ATTRIBUTES_MAX {
            if at == bytes.len() {
                return Ok(stun);
            }
            let (kind, value) = attribute(bytes, at).ok_or(StunFault::Malformed)?;
            stun.take(bytes, at, kind, value)?;
            at += 4 + value.len().next_multiple_of(4);
        }
        Err(StunFault::Malformed)
    }

    fn take(&mut self, bytes: &[u8], at: usize, kind: u16, value: &'a [u8]) -> Result<(), StunFault> {
        match kind {
            SOFTWARE => self.software = self.software.or(Some(value)),
            XOR_MAPPED_ADDRESS => self.mapped = self.mapped.or(unmask(value, &self.transaction)),
            ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return Err(StunFault::Malformed) };
                self.error = Some(u16::from(class & 7) * 100 + u16::from(number % 100));
            }
            FINGERPRINT => {
                if value != fingerprint(&bytes[..at]) || at + 8 != bytes.len() {
                    return Err(StunFault::Fingerprint);
                }
                self.has_fingerprint = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The XOR-MAPPED-ADDRESS of a success response.
    #[must_use]
    pub const fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// The code of an error response, 300 to 699.
    #[must_use]
    pub const fn error_code(&self) -> Option<u16> {
        self.error
    }

    /// The success response: where the request came from, as seen here. SOFTWARE is echoed, and a
    /// FINGERPRINT put on if the request had one.
    #[must_use]
    pub fn success(&self, seen: SocketAddr) -> Bytes {
        let mut writer = Writer::new([0x01, 0x01], self.transaction);
        writer.attribute(XOR_MAPPED_ADDRESS, &mask(seen, &self.transaction));
        self.finish(writer)
    }

    /// The error response, code 300 to 699.
    #[must_use]
    pub fn error(&self, code: u16, reason: &str) -> Bytes {
        debug_assert!((300..700).contains(&code));
        let mut writer = Writer::new([0x01, 0x11], self.transaction);
        let reason = cut(reason, STUN_TEXT_BYTES_MAX).as_bytes();
        let [class, number] = [code / 100 % 10, code % 100].map(|part| u8::try_from(part).unwrap_or(0));
        writer.attribute(ERROR_CODE, &[&[0, 0, class, number], reason].concat());
        self.finish(writer)
    }

    fn finish(&self, mut writer: Writer) -> Bytes {
        if let Some(software) = self.software.filter(|software| software.len() <= STUN_TEXT_BYTES_MAX) {
            writer.attribute(SOFTWARE, software);
        }
        writer.finish(self.has_fingerprint)
    }
}

/// A Binding request, as a client sends it to keep a flow alive.
#[must_use]
pub fn binding_request(transaction: TransactionId) -> Bytes {
    Writer::new([0x00, 0x01], transaction).finish(false)
}

/// The longest start of `text` that fits and does not cut a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    (0..=bytes_max.min(text.len())).rev().find_map(|at| text.get(..at)).unwrap_or_default()
}

fn attribute(bytes: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let [k0, k1, l0, l1] = *bytes.get(at..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let padded = bytes.get(at + 4..at + 4 + length.next_multiple_of(4))?;
    Some((u16::from_be_bytes([k0, k1]), &padded[..length]))
}

/// The bytes an address is XORed with: the cookie, then the transaction (RFC 8489 §14.2).
fn key(transaction: &TransactionId) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&MAGIC_COOKIE);
    key[4..].copy_from_slice(transaction);
    key
}

fn xor<const N: usize>(address: [u8; N], transaction: &TransactionId) -> [u8; N] {
    let key = key(transaction);
    std::array::from_fn(|at| address[at] ^ key[at % 16])
}

fn mask(address: SocketAddr, transaction: &TransactionId) -> Vec<u8> {
    let port = xor(address.port().to_be_bytes(), transaction);
    // RFC 5118 §5: a v4 client on a dual-stack socket must see its v4 address.
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => [&[0, 1], &port[..], &xor(ip.octets(), transaction)[..]].concat(),
        IpAddr::V6(ip) => [&[0, 2], &port[..], &xor(ip.octets(), transaction)[..]].concat(),
    }
}

fn unmask(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let [_, family, p0, p1, address @ ..] = value else { return None };
    let port = u16::from_be_bytes(xor([*p0, *p1], transaction));
    let ip = match family {
        1 => IpAddr::from(Ipv4Addr::from(xor::<4>(address.try_into().ok()?, transaction))),
        2 => IpAddr::from(Ipv6Addr::from(xor::<16>(address.try_into().ok()?, transaction))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The FINGERPRINT over the bytes before it. The length in the header already counts it
/// (RFC 8489 §14.7), as in every message that has it last.
fn fingerprint(before: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in before {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc ^ FINGERPRINT_XOR).to_be_bytes()
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn new(kind: [u8; 2], transaction: TransactionId) -> Self {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&kind);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE);
        out.extend_from_slice(&transaction);
        Self { out }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // All values are bounded by STUN_TEXT_BYTES_MAX plus a few.
        let length = u16::try_from(value.len()).unwrap_or(0);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&value[..usize::from(length)]);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn set_length(&mut self, length: usize) {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.out[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn finish(mut self, with_fingerprint: bool) -> Bytes {
        if with_fingerprint {
            self.set_length(self.out.len() + 8 - HEADER_BYTES);
            let value = fingerprint(&self.out);
            self.attribute(FINGERPRINT, &value);
        }
        self.set_length(self.out.len() - HEADER_BYTES);
        Bytes::from(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.1: sample request with long-running attributes.
    const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
        802200105354554e207465737420636c69656e74\
        002400046e0001ff\
        80290008932ff9b151263b36\
        000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
        80280004e57a3bcf";
    /// RFC 5769 §2.2: success response over IPv4.
    const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220\
        002000080001a147e112a643\
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7\
        80280004c07d4c96";
    /// RFC 5769 §2.3: success response over IPv6.
    const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220\
        002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9\
        00080014a382954e4be67bf11784c97c8292c275bfe3ed41\
        80280004c8fb0b4c";
    /// RFC 5769 §2.4: request with long-term authentication, no FINGERPRINT.
    const REQUEST_LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e\
        00060012e3839ee38388e383aae38383e382afe382b90000\
        0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f726700\
        00080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(|digit| digit.try_into().expect("a digit"))
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn the_vectors_of_rfc_5769() {
        let request = bytes(REQUEST);
        let stun = Stun::parse(&request).expect("the sample request");
        assert_eq!((stun.class, stun.has_fingerprint), (Class::Request, true));
        assert_eq!(stun.software, Some(&b"STUN test client"[..]));
        let response = bytes(RESPONSE_V4);
        let stun = Stun::parse(&response).expect("the IPv4 response");
        assert_eq!(stun.mapped(), "192.0.2.1:32853".parse().ok());
        assert!(stun.has_fingerprint);
        let response = bytes(RESPONSE_V6);
        let stun = Stun::parse(&response).expect("the IPv6 response");
        assert_eq!(stun.mapped(), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok());
        let request = bytes(REQUEST_LONG_TERM);
        let stun = Stun::parse(&request).expect("the long-term request");
        assert_eq!((stun.class, stun.has_fingerprint), (Class::Request, false));
    }

    #[test]
    fn a_changed_bit_fails_the_fingerprint() {
        let good = bytes(REQUEST);
        for at in 8..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(Stun::parse(&bad).is_err() || !Stun::parse(&bad).is_ok_and(|it| it.has_fingerprint), "byte {at}");
        }
    }

    #[test]
    fn answers_are_byte_exact() {
        let transaction = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab];
        let request = binding_request(transaction);
        assert_eq!(request, bytes("000100002112a442a0a1a2a3a4a5a6a7a8a9aaab"));
        let stun = Stun::parse(&request).expect("our own request");
        let success = stun.success("203.0.113.7:58980".parse().expect("an address"));
        assert_eq!(success, bytes("0101000c2112a442a0a1a2a3a4a5a6a7a8a9aaab002000080001c776ea12d545"));
        let mapped = stun.success("[::ffff:203.0.113.7]:58980".parse().expect("an address"));
        assert_eq!(mapped, success, "a mapped address is told as IPv4");
        let error = stun.error(500, "Path Failed");
        assert_eq!(error, bytes("011100142112a442a0a1a2a3a4a5a6a7a8a9aaab0009000f0000050050617468204661696c656400"));
        assert_eq!(Stun::parse(&error).expect("our own answer").error_code(), Some(500));
    }

    #[test]
    fn fingerprint_and_software_come_back() {
        let request = bytes(REQUEST);
        let seen = "[2001:db8::7]:5061".parse().expect("an address");
        let answer = Stun::parse(&request).expect("the sample request").success(seen);
        let answer = Stun::parse(&answer).expect("an answer with a right fingerprint");
        assert_eq!((answer.mapped(), answer.has_fingerprint), (Some(seen), true));
        assert_eq!(answer.software, Some(&b"STUN test client"[..]));
    }

    #[test]
    fn what_is_no_binding_is_told_apart() {
        assert_eq!(Stun::parse(b"OPTIONS sip:x SIP/2.0"), Err(StunFault::Malformed));
        let mut allocate = binding_request([7; 12]).to_vec();
        allocate[1] = 3;
        assert_eq!(Stun::parse(&allocate), Err(StunFault::Method));
        let mut long = bytes(REQUEST);
        long.truncate(60);
        assert_eq!(Stun::parse(&long), Err(StunFault::Malformed));
        assert_eq!(cut("a\u{20ac}", 3), "a");
    }
}
