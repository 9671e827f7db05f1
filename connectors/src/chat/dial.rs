//! A connection to an IM server: the addresses of its name, TCP, and TLS when it is time for it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::flow::tune;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::limits::{ADDRESSES_MAX, NEXT_ADDRESS_AFTER};
use super::server::Server;
use crate::proxy::{TlsFault, may_lead_to};

/// What a connection is made with.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) resolver: Resolver,
    /// Names may lead to loopback: in the lab and in tests. An address may in any case: an operator wrote it.
    pub(super) allow_loopback: bool,
}

impl Dialler {
    /// Connects. The caller keeps the time for all of it.
    ///
    /// # Errors
    /// In the operator's words.
    pub(super) async fn connect(&self, server: &Server) -> Result<TcpStream, String> {
        let addresses = self.addresses(&server.host).await?;
        let last = addresses.len().saturating_sub(1);
        let mut fault = "its name has no address".to_owned();
        for (index, address) in addresses.into_iter().enumerate() {
            let address = SocketAddr::new(address, server.port);
            let connected = if index == last {
                TcpStream::connect(address).await
            } else {
                let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
                timeout(NEXT_ADDRESS_AFTER, TcpStream::connect(address)).await.unwrap_or_else(late)
            };
            match connected {
                Ok(stream) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Err(error) => fault = format!("{address}: {error}"),
            }
        }
        Err(fault)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = host.trim_end_matches('.').to_owned();
        let addresses = match self.resolver.answer(&DnsQuery { name, kind: RecordKind::Addresses }).await {
            DnsAnswer::Addresses { addresses, .. } => addresses,
            DnsAnswer::Failed { why } => return Err(why),
            DnsAnswer::Nothing | DnsAnswer::Naptr { .. } | DnsAnswer::Srv { .. } => {
                return Err("its name has no address".to_owned());
            }
        };
        let allowed = |address: &IpAddr| may_lead_to(*address) || (self.allow_loopback && address.is_loopback());
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(allowed);
        match (good.is_empty(), bad.first()) {
            (true, Some(bad)) => Err(format!("its name leads to {bad}, where no server may be")),
            _ => Ok(good.into_iter().take(ADDRESSES_MAX).collect()),
        }
    }
}

/// TLS on a connection, for a stream of `domain`.
///
/// # Errors
/// In the operator's words.
pub(super) async fn secure(server: &Server, domain: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let (config, name) = server.tls(domain).ok_or("the domain of the stream is none")?;
    let made = TlsConnector::from(config).connect(name, stream).await;
    made.map_err(|error| TlsFault::of(&error).map_or_else(|| format!("TLS: {error}"), |fault| fault.to_string()))
}
