//! Addresses that no UC server has, in one table: for rules, for what discovery is told, and for what the name
//! system answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds tell their machines secrets without asking who they are, beside the link-local address.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [u16; 8] = [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];

/// Whether an address is this machine, its link, many at once, nobody's, or the service that tells a cloud's
/// machines their secrets; in IPv6 also where it is only another way to write or to reach such an IPv4 address.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_special_v4(four),
        IpAddr::V6(six) => {
            let meant = six.is_loopback() || six.is_unspecified() || six.is_multicast() || six.is_unicast_link_local();
            // RFC 3879 §4: site-local, gone, but some stacks still route it. RFC 6666: discard only.
            let odd = matches!(six.segments(), [0xfec0..=0xfeff, ..] | [0x100, 0, 0, 0, ..]);
            meant || odd || six.segments() == METADATA_V6 || leads_to_special_v4(six)
        }
    }
}

fn is_special_v4(four: Ipv4Addr) -> bool {
    // 0.0.0.0/8 means this network (RFC 1122 §3.2.1.3), 240.0.0.0/4 is nobody's (RFC 1112 §4).
    let nobody = matches!(four.octets(), [0 | 240..=255, ..]);
    nobody || four.is_loopback() || four.is_link_local() || four.is_multicast() || METADATA_V4.contains(&four)
}

/// Whether an IPv6 address is another way to write, or to reach, an IPv4 address: mapped and compatible (RFC 4291
/// §2.5.5), translated (RFC 6052, 8215, 2765), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
#[must_use]
pub fn carries_v4(six: Ipv6Addr) -> bool {
    let is_own = six.is_loopback() || six.is_unspecified();
    match six.segments() {
        _ if is_own => false,
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, ..]
        | [0x2001, 0, ..]
        | [0x2002, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => true,
        _ => false,
    }
}

/// Whether what an address carries is special, or cannot be told: where the place of the IPv4 address depends on a
/// prefix that only the network knows (RFC 8215), or on a relay (Teredo), nobody means a UC server.
fn leads_to_special_v4(six: Ipv6Addr) -> bool {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_special_v4(Ipv4Addr::new(a, b, c, d))
    };
    match six.segments() {
        // ::1 and :: are no IPv4 addresses; they are special by themselves.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => matches!(six.segments(), [0x64, 0xff9b, ..] | [0x2001, 0, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_has_these() {
        let special = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "250.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:100.100.100.200",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1::a00:1",
            "2001:0:7f00:1::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:db8::200:5efe:7f00:1",
        ];
        for text in special {
            assert!(is_special(text.parse().unwrap()), "{text}");
        }
        let servers = [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "203.0.113.1",
            "100.64.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
        ];
        for text in servers {
            assert!(!is_special(text.parse().unwrap()), "{text}");
        }
    }
}
