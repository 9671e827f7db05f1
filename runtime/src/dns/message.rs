//! DNS messages (RFC 1035 §4), as little as a stub resolver needs: one question out, records of five
//! types in. Parsing bounds everything, follows compression backwards only, and never panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{DNS_NAME_BYTES_MAX, DNS_RECORDS_MAX};

/// A record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Type {
    A = 1,
    Cname = 5,
    Aaaa = 28,
    Srv = 33,
    Naptr = 35,
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Cname(String),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Naptr { order: u16, preference: u16, flags: String, service: String, replacement: String },
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) truncated: bool,
    /// RFC 1035 §4.1.1: 0 no error, 3 no such name.
    pub(super) code: u8,
    pub(super) records: Vec<Record>,
}

/// A query for one name and type: recursion desired, EDNS with the size we take over UDP. `None` for
/// what is no name.
pub(super) fn query(id: u16, name: &str, kind: Type) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    write_name(&mut out, name)?;
    out.extend_from_slice(&(kind as u16).to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    // RFC 6891 §6.1: root name, OPT, 1232 bytes, no flags, no options.
    out.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    Some(out)
}

fn write_name(out: &mut Vec<u8>, name: &str) -> Option<()> {
    if name.is_empty() || name.len() > DNS_NAME_BYTES_MAX - 2 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    Some(())
}

/// The answer to the query `id`, `name`, `kind`; `None` if it is malformed or answers another.
pub(super) fn parse(bytes: &[u8], id: u16, name: &str, kind: Type) -> Option<Response> {
    let mut reader = Reader { bytes, at: 0 };
    let (answered, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    // A response, to a query, to ours (RFC 5452 §9.1).
    if answered != id || flags & 0xf800 != 0x8000 || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    if !asked.eq_ignore_ascii_case(name) || reader.u16()? != kind as u16 || reader.u16()? != 1 {
        return None;
    }
    let mut response = Response {
        truncated: flags & 0x0200 != 0,
        code: u8::try_from(flags & 0x000f).unwrap_or(0),
        records: Vec::new(),
    };
    for _ in 0..usize::from(answers).min(DNS_RECORDS_MAX) {
        match reader.record() {
            Some(record) => response.records.extend(record),
            // What was cut off is asked for again over TCP.
            None if response.truncated => break,
            None => return None,
        }
    }
    Some(response)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// RFC 1035 §4.1.4. Each pointer must lead further back than the last, so there is an end.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let (mut at, mut first_after, mut limit) = (self.at, None, self.at);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => {
                    self.at = first_after.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                    at += 1 + length;
                }
                0xc0..=0xff => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    first_after = first_after.or(Some(at + 2));
                    let target = (length & 0x3f) << 8 | low;
                    if target >= limit {
                        return None;
                    }
                    (at, limit) = (target, target);
                }
                _ => return None,
            }
            if name.len() > DNS_NAME_BYTES_MAX {
                return None;
            }
        }
    }

    /// RFC 1035 §3.3: a length and so many characters.
    fn text(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    /// The next record; `Some(None)` for one of no use.
    fn record(&mut self) -> Option<Option<Record>> {
        let name = self.name()?;
        let (kind, class, ttl, length) = (self.u16()?, self.u16()?, self.u32()?, self.u16()?);
        let end = self.at.checked_add(usize::from(length)).filter(|end| *end <= self.bytes.len())?;
        let data = if class == 1 { self.data(kind, usize::from(length))? } else { None };
        if self.at > end {
            return None;
        }
        self.at = end;
        // RFC 2181 §8: a time to live with its top bit set is zero.
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        Some(data.map(|data| Record { name, ttl, data }))
    }

    fn data(&mut self, kind: u16, length: usize) -> Option<Option<Data>> {
        Some(Some(match kind {
            kind if kind == Type::A as u16 && length == 4 => Data::Address(IpAddr::V4(Ipv4Addr::from(self.u32()?))),
            kind if kind == Type::Aaaa as u16 && length == 16 => {
                let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
                Data::Address(IpAddr::V6(Ipv6Addr::from(octets)))
            }
            kind if kind == Type::Cname as u16 => Data::Cname(self.name()?),
            kind if kind == Type::Srv as u16 => {
                Data::Srv { priority: self.u16()?, weight: self.u16()?, port: self.u16()?, target: self.name()? }
            }
            kind if kind == Type::Naptr as u16 => {
                let (order, preference) = (self.u16()?, self.u16()?);
                let (flags, service, _regexp) = (self.text()?, self.text()?, self.text()?);
                Data::Naptr { order, preference, flags, service, replacement: self.name()? }
            }
            _ => return Some(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer section for `pbx.example`, whose name stands at offset 12.
    fn response(kind: Type, flags: u16, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let mut out = query(7, "pbx.example", kind).expect("a name");
        out.truncate(out.len() - 11);
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[6..8].copy_from_slice(&u16::try_from(records.len()).expect("few").to_be_bytes());
        out[10..12].copy_from_slice(&[0, 0]);
        for (kind, ttl, data) in records {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&ttl.to_be_bytes());
            out.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn records_of_every_kind_are_read() {
        let bytes =
            response(Type::A, 0x8180, &[(1, 300, &[192, 0, 2, 1]), (99, 5, b"what"), (5, 60, &[1, b'x', 0xc0, 16])]);
        let read = parse(&bytes, 7, "PBX.example", Type::A).expect("sound");
        assert_eq!(read.records[0].data, Data::Address("192.0.2.1".parse().expect("v4")));
        assert_eq!((read.records[0].ttl, read.records[0].name.as_str()), (300, "pbx.example"));
        assert_eq!(read.records[1].data, Data::Cname("x.example".into()));
        assert_eq!(read.records.len(), 2, "others are skipped");

        let srv = [&[0, 1, 0, 2, 0x13, 0xc4, 1, b'a'][..], &[0xc0, 12]].concat();
        let read = parse(&response(Type::Srv, 0x8180, &[(33, 9, &srv)]), 7, "pbx.example", Type::Srv).expect("sound");
        let expected = Data::Srv { priority: 1, weight: 2, port: 5060, target: "a.pbx.example".into() };
        assert_eq!(read.records[0].data, expected);

        let naptr = [&[0, 10, 0, 20, 1, b's', 8][..], b"SIPS+D2T", &[0, 1, b'n', 0xc0, 12]].concat();
        let read =
            parse(&response(Type::Naptr, 0x8180, &[(35, 9, &naptr)]), 7, "pbx.example", Type::Naptr).expect("sound");
        let Data::Naptr { order, preference, flags, service, replacement } = &read.records[0].data else { panic!() };
        assert_eq!((*order, *preference, flags.as_str()), (10, 20, "s"));
        assert_eq!((service.as_str(), replacement.as_str()), ("SIPS+D2T", "n.pbx.example"));
    }

    #[test]
    fn answers_to_others_and_loops_are_refused() {
        let good = response(Type::A, 0x8183, &[]);
        assert_eq!(parse(&good, 7, "pbx.example", Type::A).expect("sound").code, 3);
        assert_eq!(parse(&good, 8, "pbx.example", Type::A), None, "another id");
        assert_eq!(parse(&good, 7, "abx.example", Type::A), None, "another name");
        assert_eq!(parse(&good, 7, "pbx.example", Type::Aaaa), None, "another type");
        let at = u8::try_from(good.len() + 12).expect("short");
        let looped = response(Type::A, 0x8180, &[(5, 60, &[0xc0, at])]);
        assert_eq!(parse(&looped, 7, "pbx.example", Type::A), None, "a name that leads to itself");
        assert_eq!(query(1, "a..b", Type::A), None);
        assert_eq!(query(1, &"x".repeat(64), Type::A), None);
    }

    proptest::proptest! {
        #[test]
        fn damaged_answers_never_panic(
            at in 0_usize..80, with in proptest::num::u8::ANY, cut in 0_usize..90,
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let srv = [0, 1, 0, 2, 0x13, 0xc4, 1, b'a', 0xc0, 12];
            let mut bytes = response(Type::Srv, 0x8180, &[(33, 9, &srv), (1, 1, &[1, 2, 3, 4])]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
            bytes.truncate(cut);
            let _ = parse(&bytes, 7, "pbx.example", Type::Srv);
            let _ = parse(&noise, 7, "pbx.example", Type::Srv);
            let headed = [&good_head()[..], &noise].concat();
            let _ = parse(&headed, 7, "pbx.example", Type::Srv);
        }
    }

    fn good_head() -> Vec<u8> {
        let mut head = response(Type::Srv, 0x8180, &[]);
        head[7] = 9;
        head
    }
}
