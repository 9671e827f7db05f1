//! The edge's side, and that of a core that others dial: the link port. Cores that prove an identity get a link; cores that hold a token
//! may join; everybody else gets a TLS alert and costs one bounded handshake.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::limits::{LINK_QUEUE_BYTES_MAX, TLS_HANDSHAKE_MAX};
use edgeway_model::{NodeId, Role};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::{LazyConfigAcceptor, server};

use super::dialler::{KEPT, stays, tune};
use super::limits::{CORES_MAX, STRANGERS_MAX, STRANGERS_PER_ADDRESS_MAX};
use super::pipe::{End, Held, Pipe};
use super::{Asks, CallerHello, Carries, LinkHost};
use crate::outbox::Outbox;
use crate::pki::tls::{
    BULK_ALPN, CHAT_ALPN, JOIN_ALPN, MEDIA_STREAM_ALPN, explain_io, for_bulk, for_chat, for_media_stream,
    link_server_config,
};
use crate::pki::{JoinDesk, NodeKey, PkiError, Trust, node_of, tls};

/// Why the older of two links from one core is closed.
pub(super) const REPLACED: &str = "replaced by a newer link from the same core";

/// Who this edge is on its link port.
pub enum Door {
    /// A node with an identity that nobody can join: for labs.
    Paired(Rc<Trust>),
    /// A node with a state directory: paired or not, it can be joined while invited.
    Desk(Rc<JoinDesk>),
}

impl Door {
    fn trust(&self) -> Rc<Trust> {
        match self {
            Self::Paired(trust) => Rc::clone(trust),
            Self::Desk(desk) => desk.trust(),
        }
    }
}

/// A running listener. Dropping it closes the port and every link that came through it.
pub struct Listener {
    task: JoinHandle<()>,
    cores: Cores,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        for outbox in self.cores.borrow().values() {
            outbox.close("this node closes its link port".to_owned());
        }
    }
}

/// The newest link of each core.
type Cores = Rc<RefCell<BTreeMap<NodeId, Rc<Outbox>>>>;

/// Serves the link port `tcp` on the current `LocalSet`, for as long as the [`Listener`] lives.
///
/// # Errors
/// If the identity cannot be used for TLS.
pub fn listen<H: LinkHost + Clone + 'static>(host: H, tcp: TcpListener, door: Door) -> Result<Listener, PkiError> {
    let cores = Cores::default();
    let port = Rc::new(Port {
        host,
        configs: RefCell::new(Configs::new(&door)?),
        door,
        cores: Rc::clone(&cores),
        strangers: Strangers::default(),
    });
    Ok(Listener { task: spawn_local(accept(tcp, port)), cores })
}

struct Port<H> {
    host: H,
    door: Door,
    configs: RefCell<Configs>,
    cores: Cores,
    strangers: Strangers,
}

/// The TLS configurations of the port as of one identity and one revocation list.
struct Configs {
    generation: u64,
    link: Option<Arc<ServerConfig>>,
    media: Option<Arc<ServerConfig>>,
    bulk: Option<Arc<ServerConfig>>,
    chat: Option<Arc<ServerConfig>>,
    /// Speaks no protocol at all: whoever comes gets the right alert.
    closed: Arc<ServerConfig>,
}

impl Configs {
    fn new(door: &Door) -> Result<Self, PkiError> {
        let trust = door.trust();
        let (generation, identity) = (trust.generation(), trust.identity());
        let key = match door {
            Door::Paired(_) => None,
            Door::Desk(desk) => Some(desk.key().clone()),
        };
        let key = key.or_else(|| identity.as_ref().map(|identity| identity.key().clone()));
        let key = key.map_or_else(NodeKey::generate, Ok)?;
        let link = identity.as_ref().map(link_server_config).transpose()?;
        let media = link.as_deref().map(for_media_stream);
        let bulk = link.as_deref().map(for_bulk);
        let chat = link.as_deref().map(for_chat);
        Ok(Self { generation, link, media, bulk, chat, closed: closed_config(&key)? })
    }
}

fn closed_config(key: &NodeKey) -> Result<Arc<ServerConfig>, PkiError> {
    let mut config = tls::join_server_config(key)?.as_ref().clone();
    config.alpn_protocols = vec![b"edgeway-closed".to_vec()];
    Ok(Arc::new(config))
}

/// Links outlive the accept loop (they are told to close), handshakes do not.
async fn accept<H: LinkHost + Clone + 'static>(listener: TcpListener, port: Rc<Port<H>>) {
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while handshakes.try_join_next().is_some() {}
        match accepted {
            Ok((tcp, peer)) => {
                if let Some(place) = port.strangers.take(peer.ip()) {
                    handshakes.spawn_local(Rc::clone(&port).serve(tcp, peer, place));
                } else {
                    tracing::debug!("a connection to the link port was closed: too many are unproven already");
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: it must not become a busy loop.
                tracing::warn!(%error, "the link port cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl<H: LinkHost + Clone + 'static> Port<H> {
    async fn serve(self: Rc<Self>, tcp: TcpStream, peer: SocketAddr, place: Place) {
        let refused = match timeout(TLS_HANDSHAKE_MAX, self.greet(tcp)).await {
            Ok(Ok(Caller::Link(stream))) => self.open_link(*stream, peer, place).await.err(),
            Ok(Ok(Caller::Media(stream))) => self.hand_over(*stream).err(),
            Ok(Ok(Caller::Beside(hello))) => {
                self.host.beside(hello);
                None
            }
            Ok(Ok(Caller::Join(stream, desk))) => self.answer_join(*stream, desk, peer).await.err(),
            Ok(Err(error)) => Some(explain_io(&error)),
            Err(_) => Some("the TLS handshake took too long".to_owned()),
        };
        if let Some(why) = refused {
            tracing::info!("a connection to the link port was refused: {why}");
            tracing::debug!(%peer, "it came from there");
        }
    }

    /// TLS, with the configuration the caller's ALPN asks for.
    async fn greet(&self, tcp: TcpStream) -> io::Result<Caller> {
        tune(&tcp)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let offers =
            |wanted: &[u8]| start.client_hello().alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == wanted));
        let (joins, wanted) = (offers(JOIN_ALPN), Wanted::of(offers));
        match &self.door {
            Door::Desk(desk) if joins && desk.is_open() => {
                let stream = start.into_stream(desk.server_config()).await?;
                Ok(Caller::Join(Box::new(stream), Rc::clone(desk)))
            }
            Door::Desk(_) | Door::Paired(_) => {
                let config = self.config(wanted).map_err(io::Error::other)?;
                if let Wanted::Beside(carries) = wanted {
                    // The thread that will carry it shakes hands, too: those of links come first here.
                    let tcp = start.io.into_std()?;
                    return Ok(Caller::Beside(CallerHello {
                        carries,
                        accepted: Box::new(start.accepted),
                        tcp,
                        config,
                    }));
                }
                let stream = Box::new(start.into_stream(config).await?);
                Ok(if wanted == Wanted::Media { Caller::Media(stream) } else { Caller::Link(stream) })
            }
        }
    }

    /// The configuration for what is wanted, as of the identity the edge has now.
    fn config(&self, wanted: Wanted) -> Result<Arc<ServerConfig>, PkiError> {
        let mut configs = self.configs.borrow_mut();
        if configs.generation != self.door.trust().generation() {
            *configs = Configs::new(&self.door)?;
        }
        let wanted = match wanted {
            Wanted::Link => &configs.link,
            Wanted::Media => &configs.media,
            Wanted::Beside(Carries::Requests) => &configs.bulk,
            Wanted::Beside(Carries::Chat) => &configs.chat,
        };
        Ok(Arc::clone(wanted.as_ref().unwrap_or(&configs.closed)))
    }

    async fn open_link(
        &self,
        stream: server::TlsStream<TcpStream>,
        peer: SocketAddr,
        place: Place,
    ) -> Result<(), String> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // The TLS configuration has checked both already.
        let (core, _) = node_of(chain).ok_or("the peer's certificate names no node")?;
        let certificate = chain.first().cloned().ok_or("the peer showed no certificate")?;
        if self.cores.borrow().len() >= CORES_MAX && !self.cores.borrow().contains_key(&core) {
            return Err(format!("{CORES_MAX} cores are linked already"));
        }
        let pipe = Pipe::open_as_edge(stream).await?;
        drop(place);
        let (trust, cores) = (self.door.trust(), Rc::clone(&self.cores));
        spawn_local(carry(self.host.clone(), pipe, certificate, core, peer, cores, trust));
        Ok(())
    }

    /// The media thread carries it from now on.
    fn hand_over(&self, stream: server::TlsStream<TcpStream>) -> Result<(), String> {
        let (tcp, tls) = stream.into_inner();
        let (core, _) = tls.peer_certificates().and_then(node_of).ok_or("the peer's certificate names no node")?;
        let tcp = tcp.into_std().map_err(|error| error.to_string())?;
        self.host.media_stream(core, tcp, tls);
        Ok(())
    }

    async fn answer_join(
        &self,
        stream: server::TlsStream<TcpStream>,
        desk: Rc<JoinDesk>,
        peer: SocketAddr,
    ) -> Result<(), String> {
        let joined = desk.answer(stream, peer.to_string()).await.map_err(|error| error.to_string())?;
        tracing::info!(core = %joined.core, "paired with the core {}", joined.core);
        self.host.joined(&joined);
        Ok(())
    }
}

/// What a connection to the link port is for, by its ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Link,
    Media,
    Beside(Carries),
}

impl Wanted {
    fn of(offers: impl Fn(&[u8]) -> bool) -> Self {
        let known = [
            (MEDIA_STREAM_ALPN, Self::Media),
            (BULK_ALPN, Self::Beside(Carries::Requests)),
            (CHAT_ALPN, Self::Beside(Carries::Chat)),
        ];
        known.into_iter().find(|(alpn, _)| offers(alpn)).map_or(Self::Link, |(_, wanted)| wanted)
    }
}

enum Caller {
    Beside(CallerHello),
    Link(Box<server::TlsStream<TcpStream>>),
    Media(Box<server::TlsStream<TcpStream>>),
    Join(Box<server::TlsStream<TcpStream>>, Rc<JoinDesk>),
}

async fn carry<H: LinkHost>(
    host: H,
    mut pipe: Pipe,
    certificate: CertificateDer<'static>,
    core: NodeId,
    peer: SocketAddr,
    cores: Cores,
    trust: Rc<Trust>,
) {
    let outbox = Outbox::new(LINK_QUEUE_BYTES_MAX);
    if let Some(ours) = trust.link_with(&core, true) {
        // Two cores that both dial keep one link.
        if !trust.identity().is_some_and(|identity| stays(&core, identity.node())) {
            return pipe.close(End::Ours(KEPT.to_owned()), outbox).await;
        }
        ours.end(KEPT);
    }
    let Some(trusted) = trust.open(certificate, false, Rc::clone(&outbox)) else { return };
    let link = host.next_link();
    let older = cores.borrow_mut().insert(core.clone(), Rc::clone(&outbox));
    host.link_opened(link, core.clone(), Role::Core, peer, Rc::clone(&outbox));
    let ours = trust.identity().map_or(Role::Edge, |identity| identity.role());
    let asks = Asks::new(core.clone(), Role::Core, ours, host.operator());
    host.link_asks(link, Rc::clone(&asks));
    if let Some(older) = older {
        older.close(REPLACED.to_owned());
    }
    let end = pipe.run(&host, link, &outbox, &Held { trust: &trust, link: &trusted, asks: &asks }).await;
    asks.end();
    trust.close(&trusted);
    {
        let mut cores = cores.borrow_mut();
        if cores.get(&core).is_some_and(|newest| Rc::ptr_eq(newest, &outbox)) {
            cores.remove(&core);
        }
    }
    host.link_closed(link, end.why());
    pipe.close(end, outbox).await;
}

/// Connections that have proven nothing yet, by address.
#[derive(Clone, Default)]
struct Strangers(Rc<RefCell<HashMap<IpAddr, usize>>>);

/// One of them; leaves when dropped.
struct Place(Strangers, IpAddr);

impl Strangers {
    fn take(&self, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.borrow_mut();
        let total: usize = counts.values().sum();
        let here = counts.get(&address).copied().unwrap_or_default();
        if total >= STRANGERS_MAX || here >= STRANGERS_PER_ADDRESS_MAX {
            return None;
        }
        counts.insert(address, here + 1);
        Some(Place(self.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}
