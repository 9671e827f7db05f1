//! The core's side: one task per recorded edge, or other core, that dials, holds the link, and dials again.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use edgeway_model::limits::{LINK_QUEUE_BYTES_MAX, TLS_HANDSHAKE_MAX};
use edgeway_model::{NodeId, Random, Role};
use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client};

use super::back_off::BackOff;
use super::limits::{ADDRESSES_MAX, CONNECT_MAX, LINKED_CHECK_EVERY, UNACKNOWLEDGED_MAX};
use super::listener::REPLACED;
use super::pipe::{End, Held, Pipe};
use super::{Asks, LinkHost};
use crate::outbox::Outbox;
use crate::pki::tls::{explain_io, link_client_config};
use crate::pki::{EdgeRecord, Trust, server_name};

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
            Some(outbox) => outbox.close("the core stops dialling this node".to_owned()),
            None => self.task.abort(),
        }
    }
}

/// Keeps a link to `edge` (or another core) up, for as long as the [`Dialler`] lives. Runs on the current
/// `LocalSet`. Each dial uses the identity that `trust` has then.
pub fn dial<H: LinkHost + 'static>(host: H, trust: &Rc<Trust>, edge: &EdgeRecord, random: Random) -> Dialler {
    let standing = Rc::new(RefCell::new(Standing::default()));
    let task = spawn_local(keep_up(host, Rc::clone(trust), edge.clone(), random, Rc::clone(&standing)));
    Dialler { task, standing }
}

/// Why one of two links between two cores is closed: the one that the lower name dialled stays.
pub(super) const KEPT: &str = "the other of the two links between these cores is kept";

/// Whether the link that `dialler` has dialled to `other` is the one that stays.
pub(super) fn stays(dialler: &NodeId, other: &NodeId) -> bool {
    dialler < other
}

async fn keep_up<H: LinkHost>(
    host: H,
    trust: Rc<Trust>,
    edge: EdgeRecord,
    mut random: Random,
    standing: Rc<RefCell<Standing>>,
) {
    let mut back_off = BackOff::default();
    while !standing.borrow().stopped {
        // The other core has dialled us: that link will do, until it ends.
        if edge.role == Role::Core && trust.link_with(&edge.node, false).is_some() {
            standing.borrow_mut().trouble = None;
            sleep(LINKED_CHECK_EVERY).await;
            continue;
        }
        let wait = match open(&trust, &edge).await {
            Err(why) => {
                report(&edge, &why, &standing);
                back_off.handle_failure(&mut random)
            }
            Ok(opened) => {
                let since = Instant::now();
                let end = carry(&host, opened, &edge, &trust, &standing).await;
                if !standing.borrow().stopped {
                    report(&edge, &end.why(), &standing);
                }
                match &end {
                    End::Peer(why) if why == REPLACED || why == KEPT => back_off.handle_replaced(),
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
    Opened { mut pipe, address, certificate }: Opened,
    edge: &EdgeRecord,
    trust: &Rc<Trust>,
    standing: &Rc<RefCell<Standing>>,
) -> End {
    let outbox = Outbox::new(LINK_QUEUE_BYTES_MAX);
    let Some(trusted) = trust.open(certificate, true, Rc::clone(&outbox)) else {
        return End::Broken("the peer's certificate names no node".to_owned());
    };
    let ours = trust.identity();
    if edge.role == Role::Core
        && let Some(other) = trust.link_with(&edge.node, false)
    {
        // Both dialled at the same moment.
        if ours.is_some_and(|ours| stays(ours.node(), &edge.node)) {
            other.end(KEPT);
        } else {
            trust.close(&trusted);
            spawn_local(pipe.close(End::Ours(KEPT.to_owned()), outbox));
            return End::Peer(KEPT.to_owned());
        }
    }
    let link = host.next_link();
    {
        let mut standing = standing.borrow_mut();
        standing.outbox = Some(Rc::clone(&outbox));
        standing.trouble = None;
    }
    host.link_opened(link, edge.node.clone(), edge.role, address, Rc::clone(&outbox));
    // Only cores dial.
    let asks = Asks::new(edge.node.clone(), edge.role, Role::Core, host.operator());
    host.link_asks(link, Rc::clone(&asks));
    let end = pipe.run(host, link, &outbox, &Held { trust, link: &trusted, asks: &asks }).await;
    asks.end();
    trust.close(&trusted);
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
        tracing::debug!(peer = %edge.node, "still no link: {why}");
    } else {
        let (node, role) = (&edge.node, edge.role);
        tracing::warn!(peer = %node, "no link to the {role} {node} at {}: {why}", edge.address);
        standing.trouble = Some(why.to_owned());
    }
}

/// A link that stands, and by which certificate.
struct Opened {
    pipe: Pipe,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
}

async fn open(trust: &Trust, edge: &EdgeRecord) -> Result<Opened, String> {
    let identity = trust.identity().ok_or("this core has no identity")?;
    let config = link_client_config(&identity, &edge.node, edge.role).map_err(|error| error.to_string())?;
    let (tcp, address) = connect(&edge.address).await?;
    let tls = handshake(&TlsConnector::from(config), &edge.node, tcp).await?;
    let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    let certificate = certificate.ok_or("the peer showed no certificate")?;
    Ok(Opened { pipe: Pipe::open_as_core(tls).await?, address, certificate })
}

pub(crate) async fn connect(address: &str) -> Result<(TcpStream, SocketAddr), String> {
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

pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    edge: &NodeId,
    tcp: S,
) -> Result<client::TlsStream<S>, String> {
    match timeout(TLS_HANDSHAKE_MAX, connector.connect(server_name(edge), tcp)).await {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => Err(explain_io(&error)),
        Err(_) => Err("the peer did not finish the TLS handshake in time".to_owned()),
    }
}

/// Small writes go out at once, and a silent path is given up by the system as well.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Keepalives are few and small: a lost one is sent again after the same time, not after twice as long.
    let _ = SockRef::from(tcp).set_tcp_thin_linear_timeouts(true);
    SockRef::from(tcp).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}
