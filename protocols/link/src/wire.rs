//! Fields of frames as bytes: integers, strings, addresses. Reading is bounded and cannot panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use edgeway_model::media::PortPair;

use crate::frame::FrameFault;
use crate::limits::{GRANT_PAIRS_MAX, STRING_BYTES_MAX};

pub(crate) fn write_string(text: &str, out: &mut BytesMut) {
    let mut end = text.len().min(STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(u16::try_from(end).unwrap_or(0));
    out.put_slice(&text.as_bytes()[..end]);
}

pub(crate) fn write_ip(ip: IpAddr, out: &mut BytesMut) {
    match ip {
        IpAddr::V4(v4) => {
            out.put_u8(4);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.put_u8(6);
            out.put_slice(&v6.octets());
        }
    }
}

pub(crate) fn write_address(address: SocketAddr, out: &mut BytesMut) {
    write_ip(address.ip(), out);
    out.put_u16(address.port());
}

/// Bounded reading of one frame's fields.
pub(crate) struct Reader {
    pub(crate) kind: u8,
    pub(crate) rest: Bytes,
}

impl Reader {
    fn need(&self, bytes: usize) -> Result<(), FrameFault> {
        if self.rest.len() < bytes { Err(FrameFault::Length(self.kind)) } else { Ok(()) }
    }

    /// Whether a field of a later version follows, or there is nothing more.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// So many bytes as they are.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameFault> {
        self.need(N)?;
        let mut out = [0; N];
        self.rest.copy_to_slice(&mut out);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameFault> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameFault> {
        self.need(2)?;
        Ok(self.rest.get_u16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameFault> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameFault> {
        self.need(8)?;
        Ok(self.rest.get_u64())
    }

    pub(crate) fn flag(&mut self) -> Result<bool, FrameFault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameFault::Field("flag")),
        }
    }

    pub(crate) fn string(&mut self) -> Result<String, FrameFault> {
        let length = usize::from(self.u16()?);
        if length > STRING_BYTES_MAX {
            return Err(FrameFault::Field("string length"));
        }
        self.need(length)?;
        let text = self.rest.split_to(length);
        String::from_utf8(text.to_vec()).map_err(|_| FrameFault::Field("string"))
    }

    pub(crate) fn ip(&mut self) -> Result<IpAddr, FrameFault> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.u32()?))),
            6 => {
                self.need(16)?;
                Ok(IpAddr::V6(Ipv6Addr::from(self.rest.get_u128())))
            }
            _ => Err(FrameFault::Field("address family")),
        }
    }

    pub(crate) fn address(&mut self) -> Result<SocketAddr, FrameFault> {
        Ok(SocketAddr::new(self.ip()?, self.u16()?))
    }

    pub(crate) fn pair(&mut self) -> Result<PortPair, FrameFault> {
        let rtp = self.u16()?;
        if rtp == 0 || rtp % 2 != 0 { Err(FrameFault::Field("port pair")) } else { Ok(PortPair { rtp }) }
    }

    pub(crate) fn pairs(&mut self) -> Result<Vec<PortPair>, FrameFault> {
        if self.rest.len() > GRANT_PAIRS_MAX * 2 || !self.rest.len().is_multiple_of(2) {
            return Err(FrameFault::Field("number of port pairs"));
        }
        let mut pairs = Vec::with_capacity(self.rest.len() / 2);
        while !self.rest.is_empty() {
            pairs.push(self.pair()?);
        }
        Ok(pairs)
    }

    /// All the rest, as text of at most so many bytes.
    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<String, FrameFault> {
        let rest = self.everything();
        if rest.len() > bytes_max {
            return Err(FrameFault::Field("length of a text"));
        }
        String::from_utf8(rest.into()).map_err(|_| FrameFault::Field("text"))
    }

    pub(crate) fn everything(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }
}
