//! How many TLS handshakes one address may have in progress. What it may hold once they are done is
//! the node's to say.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Handshakes in progress, by address. An IPv6 client owns a /64, so that counts as one address.
#[derive(Debug)]
pub(crate) struct Strangers {
    per_address_max: AtomicUsize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One handshake that has been let in; counted until dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    strangers: Arc<Strangers>,
    key: IpAddr,
}

impl Strangers {
    pub(crate) fn new(per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { per_address_max: AtomicUsize::new(per_address_max), counts: Mutex::default() })
    }

    /// So many from now on; those that are there stay.
    pub(crate) fn set_max(&self, per_address_max: usize) {
        self.per_address_max.store(per_address_max, Ordering::Relaxed);
    }

    /// `None` when `address` has all it may have.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let key = key_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= self.per_address_max.load(Ordering::Relaxed) {
            return None;
        }
        *count += 1;
        Some(Admitted { strangers: Arc::clone(self), key })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What counts as one address.
pub(crate) fn key_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_bound_and_gets_room_back() {
        let strangers = Strangers::new(2);
        let office: IpAddr = "192.0.2.1".parse().expect("address");
        let held = [strangers.admit(office), strangers.admit(office)];
        assert!(held.iter().all(Option::is_some));
        assert!(strangers.admit(office).is_none());
        assert!(strangers.admit("::ffff:192.0.2.1".parse().expect("address")).is_none(), "the same address");
        assert!(strangers.admit("192.0.2.2".parse().expect("address")).is_some());
        drop(held);
        assert!(strangers.admit(office).is_some());
        assert!(strangers.counts.lock().expect("lock").len() <= 1, "nothing is kept of those who left");
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let strangers = Strangers::new(1);
        let _held = strangers.admit("2001:db8::1".parse().expect("address")).expect("room");
        assert!(strangers.admit("2001:db8::2".parse().expect("address")).is_none());
        assert!(strangers.admit("2001:db8:0:1::1".parse().expect("address")).is_some());
    }
}
