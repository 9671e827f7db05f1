//! The one flow of a phone to its proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_sip::{Framer, Message};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{PhoneError, PhoneTransport};
use crate::limits::{CONNECT_MAX, DATAGRAM_BYTES_MAX};
use crate::transport::{Arrival, Stream, twin};

/// What a connection brought, and which one: an old one's last words are not the new one's.
pub(super) type Event = (u64, Arrival);

/// A connection that stands.
pub(super) struct Connection {
    pub(super) generation: u64,
    pub(super) local: SocketAddr,
    pub(super) reliable: bool,
    wire: Wire,
}

enum Wire {
    Stream(Stream),
    /// The socket, who reads it, and where requests outside of dialogs go.
    Datagrams(Arc<UdpSocket>, AbortHandle, SocketAddr),
}

impl Connection {
    pub(super) async fn open(
        transport: &PhoneTransport,
        local_port: u16,
        generation: u64,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, PhoneError> {
        let server = transport.server();
        let opening = Self::open_unbounded(transport, local_port, generation, events);
        match timeout(CONNECT_MAX, opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(refusal(server, &error)),
            Err(_) => Err(PhoneError::Connect { server, why: "no answer in time".to_owned() }),
        }
    }

    async fn open_unbounded(
        transport: &PhoneTransport,
        local_port: u16,
        generation: u64,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let wrap = move |arrival| (generation, arrival);
        let server = transport.server();
        match transport {
            PhoneTransport::Udp { .. } => {
                let any: SocketAddr =
                    if server.is_ipv4() { ([0, 0, 0, 0], local_port).into() } else { ([0_u16; 8], local_port).into() };
                // The address the server sees; the socket itself hears everybody, for requests of a dialog
                // come straight from the other side.
                let probe = UdpSocket::bind(any).await?;
                probe.connect(server).await?;
                let local = probe.local_addr()?;
                drop(probe);
                let socket = Arc::new(UdpSocket::bind(local).await?);
                let reader = tokio::spawn(read_datagrams(socket.clone(), generation, events));
                let wire = Wire::Datagrams(socket, reader.abort_handle(), server);
                Ok(Self { generation, local, reliable: false, wire })
            }
            PhoneTransport::Tcp { .. } => {
                let (stream, socket) = twin(connect(server, local_port).await?)?;
                let local = stream.local_addr()?;
                let wire = Wire::Stream(Stream::start(stream, Some(socket), framer(), events, wrap));
                Ok(Self { generation, local, reliable: true, wire })
            }
            PhoneTransport::Tls { name, ca_pem, .. } => {
                let (stream, socket) = twin(connect(server, local_port).await?)?;
                let local = stream.local_addr()?;
                let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                let tls = TlsConnector::from(Arc::new(trust(ca_pem)?)).connect(name, stream).await?;
                let wire = Wire::Stream(Stream::start(tls, Some(socket), framer(), events, wrap));
                Ok(Self { generation, local, reliable: true, wire })
            }
        }
    }

    /// `false` if the connection must be given up.
    pub(super) fn send(&self, bytes: Bytes) -> bool {
        match &self.wire {
            Wire::Stream(stream) => stream.send(bytes),
            Wire::Datagrams(socket, _, server) => {
                // A datagram the system refuses is lost like any other; retransmission repairs it.
                let _ = socket.try_send_to(&bytes, destination(&bytes).unwrap_or(*server));
                true
            }
        }
    }

    /// Closes it with a TCP reset.
    pub(super) fn reset(self) {
        if let Wire::Stream(stream) = &self.wire {
            stream.reset_on_close();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Self::Datagrams(_, reader, _) = self {
            reader.abort();
        }
    }
}

fn framer() -> Framer {
    Framer::dialled(SIP_MESSAGE_BYTES_MAX)
}

async fn connect(server: SocketAddr, local_port: u16) -> io::Result<TcpStream> {
    let stream = if local_port == 0 {
        TcpStream::connect(server).await?
    } else {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        let any: SocketAddr =
            if server.is_ipv4() { ([0, 0, 0, 0], local_port).into() } else { ([0_u16; 8], local_port).into() };
        socket.bind(any)?;
        socket.connect(server).await?
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn trust(ca_pem: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn refusal(server: SocketAddr, error: &io::Error) -> PhoneError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => PhoneError::Certificate { server, why: why.to_string() },
        Some(_) | None => PhoneError::Connect { server, why: error.to_string() },
    }
}

/// Where a datagram goes that is not for the registrar: a response back along its Via (RFC 3261
/// §18.2.2), a request of a dialog along its Route or to its target.
fn destination(bytes: &Bytes) -> Option<SocketAddr> {
    let message = Message::parse(bytes.clone()).ok()?;
    if !message.is_request() {
        let via = message.top_via();
        let port = via.port.unwrap_or(5_060);
        return via.host.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, port));
    }
    message.to_tag()?;
    let route = message.routes().next().map(|route| route.uri);
    let uri = route.or_else(|| message.request_uri()).and_then(edgeway_sip::Uri::parse)?;
    Some(SocketAddr::new(uri.host_ip()?, uri.port.unwrap_or(5_060)))
}

async fn read_datagrams(socket: Arc<UdpSocket>, generation: u64, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else {
            // ICMP "port unreachable" of an earlier datagram; the socket itself is fine.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&buffer[..length])) else { continue };
        if events.send((generation, Arrival::Message(message))).await.is_err() {
            return;
        }
    }
}
