//! One connection to a server: the addresses of its name, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};

use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind};
use edgeway_runtime::dns::Resolver;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::may_lead_to;
use super::client::{ClientFault, Target};
use super::limits::{ADDRESSES_MAX, NEXT_ADDRESS_AFTER};
use super::trust::{TlsFault, Trust};
use super::wire::Wire;

/// What a connection is made with.
pub(super) struct Dialler {
    pub(super) resolver: Resolver,
    /// Names may lead to loopback: in the lab and in tests.
    pub(super) allow_loopback: bool,
}

impl Dialler {
    /// Connects. The name is looked up once; the connection goes to an address of that answer or nowhere.
    pub(super) async fn dial(&self, target: &Target, trust: &Trust, until: Instant) -> Result<Wire, ClientFault> {
        let late = |_| ClientFault::Timeout("it did not accept a connection in time");
        let addresses = timeout_at(until, self.addresses(&target.host)).await.map_err(late)??;
        let last = addresses.len().saturating_sub(1);
        let mut fault = ClientFault::CouldNotConnect("its name has no address".to_owned());
        for (index, address) in addresses.into_iter().enumerate() {
            let patience = if index == last { until } else { until.min(Instant::now() + NEXT_ADDRESS_AFTER) };
            let address = SocketAddr::new(address, target.port);
            match timeout_at(patience, connect(target, trust, address)).await {
                Ok(Ok(wire)) => return Ok(wire),
                // Whoever answers there is not the one we were to meet; another address does not change that.
                Ok(Err(fault @ ClientFault::Tls(_))) => return Err(fault),
                Ok(Err(other)) => fault = other,
                Err(elapsed) => fault = late(elapsed),
            }
        }
        Err(fault)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ClientFault> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let query = DnsQuery { name, kind: RecordKind::Addresses };
        let addresses = match self.resolver.answer(&query).await {
            DnsAnswer::Addresses { addresses, .. } => addresses,
            DnsAnswer::Failed { why } => return Err(ClientFault::CouldNotConnect(why)),
            DnsAnswer::Nothing | DnsAnswer::Naptr { .. } | DnsAnswer::Srv { .. } => {
                return Err(ClientFault::CouldNotConnect("its name has no address".to_owned()));
            }
        };
        let allowed = |address: &IpAddr| may_lead_to(*address) || (self.allow_loopback && address.is_loopback());
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(allowed);
        match (good.is_empty(), bad.first()) {
            (true, Some(bad)) => {
                Err(ClientFault::CouldNotConnect(format!("its name leads to {bad}, where no server may be")))
            }
            _ => Ok(good.into_iter().take(ADDRESSES_MAX).collect()),
        }
    }
}

/// The address a host is, if it is none by name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    inner.parse().ok()
}

async fn connect(target: &Target, trust: &Trust, address: SocketAddr) -> Result<Wire, ClientFault> {
    let refused = |error: io::Error| ClientFault::CouldNotConnect(format!("{address}: {error}"));
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    if !target.https {
        return Ok(Wire::new(stream));
    }
    let name = match literal(&target.host) {
        Some(ip) => ServerName::IpAddress(ip.into()),
        None => ServerName::try_from(target.host.trim_end_matches('.').to_owned())
            .map_err(|_| ClientFault::CouldNotConnect("its name is none".to_owned()))?,
    };
    let stream = TlsConnector::from(trust.config()).connect(name, stream).await.map_err(|error| {
        let fault = TlsFault::of(&error);
        fault.map_or_else(|| refused(io::Error::new(error.kind(), format!("TLS: {error}"))), ClientFault::Tls)
    })?;
    Ok(Wire::new(stream))
}
