//! Which addresses may be connected to for a host.
//!
//! A host that is a name may be given any address by whoever runs its zone: one that means this machine, this
//! link, or the machine's own management is refused, so that no answer of the name system leads a client's request
//! to what trusts the core because it is the core. A host that is an address was allowed as such. The table is the
//! one that rules and discovery go by.

use std::net::IpAddr;

use edgeway_policy::address::is_special;

/// Whether a *name* may lead there.
pub(crate) fn may_lead_to(address: IpAddr) -> bool {
    !is_special(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_this_machine_this_link_or_a_clouds_secrets() {
        let refused = [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2001:0:7f00:1::",
            "2002:7f00:1::1",
        ];
        for text in refused {
            assert!(!may_lead_to(text.parse().expect("an address")), "{text}");
        }
        for text in ["10.0.0.1", "203.0.113.1", "2001:db8::1", "fd00::1", "64:ff9b::a00:1"] {
            assert!(may_lead_to(text.parse().expect("an address")), "{text}");
        }
    }
}
