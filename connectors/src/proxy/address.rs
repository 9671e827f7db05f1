//! Which addresses may be connected to for a host.
//!
//! A host that is a name may be given any address by whoever runs its zone: one that means this machine, this
//! link, or the machine's own management is refused, so that no answer of the name system leads a client's request
//! to what trusts the core because it is the core. A host that is an address was allowed as such.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a *name* may lead there.
pub(super) fn may_lead_to(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => may_lead_to_v4(v4),
        IpAddr::V6(v6) => match v4_inside(v6) {
            Some(v4) => may_lead_to_v4(v4),
            None => {
                let meant = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
                // RFC 3879 §4: site-local, gone, but some stacks still route it. RFC 6666: discard only.
                let odd = matches!(v6.segments(), [0xfec0..=0xfeff, ..] | [0x100, 0, 0, 0, ..]);
                !meant && !odd
            }
        },
    }
}

fn may_lead_to_v4(v4: Ipv4Addr) -> bool {
    // 0.0.0.0/8 means this network (RFC 1122 §3.2.1.3), 240.0.0.0/4 is nobody's (RFC 1112 §4).
    let nobody = matches!(v4.octets(), [0 | 240..=255, ..]);
    !(nobody || v4.is_loopback() || v4.is_link_local() || v4.is_multicast())
}

/// The IPv4 address inside an IPv6 one: mapped (RFC 4291 §2.5.5), translated (RFC 6052), 6to4 (RFC 3056).
fn v4_inside(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        // ::1 and :: are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_this_machine_or_this_link() {
        let refused = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "250.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
        ];
        for text in refused {
            assert!(!may_lead_to(text.parse().expect("an address")), "{text}");
        }
        for text in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "203.0.113.1", "2001:db8::1", "fd00::1", "64:ff9b::a00:1"]
        {
            assert!(may_lead_to(text.parse().expect("an address")), "{text}");
        }
    }
}
