//! Where everybody is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The registrar.
pub(crate) const REGISTRAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), 5_060);
/// The registrar's second address, where it has one.
pub(crate) const STANDBY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 51)), 5_060);
pub(crate) const INSIDE_PHONE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99)), 5_060);

pub(crate) const SECOND_INSIDE_PHONE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 98)), 5_060);

pub(crate) fn core_address(core: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 11 + u8::try_from(core).unwrap_or(0)], 5_060))
}

pub(crate) fn edge_address(edge: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1 + u8::try_from(edge).unwrap_or(0)], 5_061))
}
