//! The core's side: one task per recorded edge that dials, holds the link, and dials again.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use edgeway_model::limits::{LINK_QUEUE_BYTES_MAX, TLS_HANDSHAKE_MAX};
use edgeway_model::{NodeId, Random, Role};
use socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client};

use super::LinkHost;
use super::back_off::BackOff;
use super::limits::{ADDRESSES_MAX, CONNECT_MAX, UNACKNOWLEDGED_MAX};
use super::listener::REPLACED;
use super::pipe::{End, Pipe};
use crate::outbox::Outbox;
use crate::pki::tls::{explain_io, link_client_config};
use crate::pki::{EdgeRecord, Identity, PkiError, server_name};

/// A running dialler. Dropping it stops dialling; a link that stands is then closed.
pub struct Dialler {
    task: JoinHandle<()>,
    standing: Rc<RefCell<Standing>>,
}

#[derive(Default)]
struct Standing {
    outbox: Option<Rc<Outbox>>,
    trouble: Option<String>,
    stopped: bool,
}

impl Dialler {
    /// Why there is no link now; `None` while there is one, or before the first dial has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.standing.borrow().trouble.clone()
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        let mut standing = self.standing.borrow_mut();
        standing.stopped = true;
        // A standing link ends in its own time and tells its host; nothing else is worth waiting for.
        match standing.outbox.take() {
            Some(outbox) => outbox.close("the core stops dialling this edge".to_owned()),
            None => self.task.abort(),
        }
    }
}

/// Keeps a link to `edge` up, for as long as the [`Dialler`] lives. Runs on the current `LocalSet`.
///
/// # Errors
/// If the identity cannot be used for TLS.
pub fn dial<H: LinkHost + 'static>(
    host: H,
    identity: &Identity,
    edge: &EdgeRecord,
    random: Random,
) -> Result<Dialler, PkiError> {
    let connector = TlsConnector::from(link_client_config(identity, &edge.node)?);
    let standing = Rc::new(RefCell::new(Standing::default()));
    let edge = edge.clone();
    let task = spawn_local(keep_up(host, connector, edge, random, Rc::clone(&standing)));
    Ok(Dialler { task, standing })
}

async fn keep_up<H: LinkHost>(
    host: H,
    connector: TlsConnector,
    edge: EdgeRecord,
    mut random: Random,
    standing: Rc<RefCell<Standing>>,
) {
    let mut back_off = BackOff::default();
    while !standing.borrow().stopped {
        let wait = match open(&connector, &edge).await {
            Err(why) => {
                report(&edge, &why, &standing);
                back_off.handle_failure(&mut random)
            }
            Ok((pipe, address)) => {
                let since = Instant::now();
                let end = carry(&host, pipe, edge.node.clone(), address, &standing).await;
                if !standing.borrow().stopped {
                    report(&edge, &end.why(), &standing);
                }
                match &end {
                    End::Peer(why) if why == REPLACED => back_off.handle_replaced(),
                    End::Ours(_) | End::Peer(_) | End::Broken(_) => {
                        back_off.handle_closed(since.elapsed(), &mut random)
                    }
                }
            }
        };
        if !standing.borrow().stopped {
            sleep(wait).await;
        }
    }
}

async fn carry<H: LinkHost>(
    host: &H,
    mut pipe: Pipe,
    edge: NodeId,
    address: SocketAddr,
    standing: &Rc<RefCell<Standing>>,
) -> End {
    let (link, outbox) = (host.next_link(), Outbox::new(LINK_QUEUE_BYTES_MAX));
    {
        let mut standing = standing.borrow_mut();
        standing.outbox = Some(Rc::clone(&outbox));
        standing.trouble = None;
    }
    host.link_opened(link, edge, Role::Edge, address, Rc::clone(&outbox));
    let end = pipe.run(host, link, &outbox).await;
    standing.borrow_mut().outbox = None;
    host.link_closed(link, end.why());
    let why = end.clone();
    // The next dial need not wait until this peer has read its last bytes.
    spawn_local(pipe.close(end, outbox));
    why
}

/// Says it once: the same trouble again is no news.
fn report(edge: &EdgeRecord, why: &str, standing: &RefCell<Standing>) {
    let mut standing = standing.borrow_mut();
    if standing.trouble.as_deref() == Some(why) {
        tracing::debug!(edge = %edge.node, "still no link: {why}");
    } else {
        tracing::warn!(edge = %edge.node, "no link to the edge {} at {}: {why}", edge.node, edge.address);
        standing.trouble = Some(why.to_owned());
    }
}

async fn open(connector: &TlsConnector, edge: &EdgeRecord) -> Result<(Pipe, SocketAddr), String> {
    let (tcp, address) = connect(&edge.address).await?;
    let tls = handshake(connector, &edge.node, tcp).await?;
    Ok((Pipe::open_as_core(tls).await?, address))
}

async fn connect(address: &str) -> Result<(TcpStream, SocketAddr), String> {
    let resolved = timeout(CONNECT_MAX, lookup_host(address)).await;
    let resolved = resolved.map_err(|_| format!("the name of {address} was not resolved in time"))?;
    let mut why = format!("{address} has no address in DNS");
    for address in resolved.map_err(|error| format!("{address}: {error}"))?.take(ADDRESSES_MAX) {
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tune(&tcp).map_err(|error| error.to_string())?;
                return Ok((tcp, address));
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address} does not answer: a firewall may drop what goes there"),
        }
    }
    Err(why)
}

async fn handshake(
    connector: &TlsConnector,
    edge: &NodeId,
    tcp: TcpStream,
) -> Result<client::TlsStream<TcpStream>, String> {
    match timeout(TLS_HANDSHAKE_MAX, connector.connect(server_name(edge), tcp)).await {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => Err(explain_io(&error)),
        Err(_) => Err("the edge did not finish the TLS handshake in time".to_owned()),
    }
}

/// Small writes go out at once, and a silent path is given up by the system as well.
pub(super) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Keepalives are few and small: a lost one is sent again after the same time, not after twice as long.
    let _ = SockRef::from(tcp).set_tcp_thin_linear_timeouts(true);
    SockRef::from(tcp).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}
