//! Ports of the lab: the usual one where it is free, any other where it is taken.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

/// Media ports of the lab's edge. Below what Linux hands out as free ports, so that a free choice for
/// another listener does not fall into them.
pub(super) const EDGE_MEDIA: RangeInclusive<u16> = 10_000..=20_999;
/// Media ports of the lab's core.
pub(super) const CORE_MEDIA: RangeInclusive<u16> = 21_000..=31_999;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// In words, for the message.
    pub(super) what: &'static str,
    /// The usual number; 0 takes any.
    pub(super) port: u16,
}

/// Why there is no port at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPort {
    /// The address is not ours.
    #[error("{0} is no address of this machine: `ip address` lists those it has")]
    NotOurs(IpAddr),
    /// Anything else the system says.
    #[error("no port for {what} on {address}: {source}")]
    Refused {
        what: &'static str,
        address: IpAddr,
        #[source]
        source: io::Error,
    },
}

/// A port that was free a moment ago, and a message if it is not the usual one.
pub(super) fn choose(address: IpAddr, wish: Wish) -> Result<(SocketAddr, Option<String>), NoPort> {
    let Wish { what, port } = wish;
    match is_free(SocketAddr::new(address, port)) {
        Ok(found) => Ok((found, None)),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Err(NoPort::NotOurs(address)),
        Err(why) => {
            let refused = |source| NoPort::Refused { what, address, source };
            let free = any_free(address).map_err(refused)?;
            let message =
                format!("port {port} ({what}) cannot be had here ({}): taking {} instead", reason(&why), free.port());
            Ok((free, Some(message)))
        }
    }
}

fn reason(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        "another program has it"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "it needs more rights"
    } else {
        "the system refuses it"
    }
}

/// Both TCP and UDP, since SIP and the link want both.
fn is_free(address: SocketAddr) -> io::Result<SocketAddr> {
    let tcp = TcpListener::bind(address)?;
    let bound = tcp.local_addr()?;
    UdpSocket::bind(bound)?;
    Ok(bound)
}

fn any_free(address: IpAddr) -> io::Result<SocketAddr> {
    const TRIES: usize = 16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        match is_free(SocketAddr::new(address, 0)) {
            // A system may hand out other ports than usual.
            Ok(free) if EDGE_MEDIA.contains(&free.port()) || CORE_MEDIA.contains(&free.port()) => {}
            Ok(free) => return Ok(free),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_that_is_taken_is_named_and_another_one_found() {
        let holder = TcpListener::bind((HERE, 0)).expect("a port");
        let taken = holder.local_addr().expect("bound").port();
        let wish = Wish { what: "SIP over TLS", port: taken };
        let (found, message) = choose(HERE, wish).expect("another port");
        assert_ne!(found.port(), taken);
        let message = message.expect("a message");
        assert!(message.contains(&format!("port {taken} (SIP over TLS)")), "{message}");
        assert!(message.contains(&format!("taking {} instead", found.port())), "{message}");
        assert!(message.contains("another program has it"), "{message}");
    }

    #[test]
    fn a_free_port_is_taken_as_it_is() {
        let free = any_free(HERE).expect("a port");
        let (found, message) = choose(HERE, Wish { what: "link", port: free.port() }).expect("free");
        assert_eq!((found, message), (free, None));
    }

    #[test]
    fn an_address_of_another_machine_is_said_to_be_one() {
        let elsewhere: IpAddr = [192, 0, 2, 1].into();
        let refused = choose(elsewhere, Wish { what: "SIP over TLS", port: 5061 });
        assert!(matches!(refused, Err(NoPort::NotOurs(address)) if address == elsewhere));
    }
}
