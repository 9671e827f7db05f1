//! An IM server of the tests: it speaks by the book, remembers what it heard, and can be told to be unwell.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio_rustls::TlsAcceptor;

/// Signs the certificates of the tests' servers.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(edgeway_runtime::pki::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], der).unwrap()))
    }
}

/// How a server takes what it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Well,
    /// It accepts connections and says nothing.
    Silent,
    /// It cannot ask whoever knows passwords.
    Helpless,
    /// All credentials are wrong.
    Refusing,
    /// It ends the stream of whoever shows credentials.
    Odd,
}

/// One server.
pub(super) struct ImServer {
    pub(super) address: SocketAddr,
    pub(super) mood: Cell<Mood>,
    /// The domains it has.
    pub(super) domains: RefCell<Vec<&'static str>>,
    /// Everything it heard, by connection.
    heard: RefCell<Vec<String>>,
    /// Connections that came, and those that ended.
    pub(super) came: Cell<usize>,
    pub(super) ended: Cell<usize>,
    /// Whether the last one ended as TLS and TCP should.
    pub(super) ended_well: Cell<bool>,
    /// What it says once a client is bound.
    pub(super) speech: RefCell<Vec<u8>>,
    /// How much of that is written.
    pub(super) spoken: Cell<usize>,
    /// Whom it takes its clients for, whatever they say.
    pub(super) knows_as: RefCell<Option<&'static str>>,
    /// Whether it reads once a client is bound.
    pub(super) deaf: Cell<bool>,
    direct_tls: bool,
    acceptor: TlsAcceptor,
    running: RefCell<Option<AbortHandle>>,
    connections: RefCell<Vec<AbortHandle>>,
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream id='s1' from='example.com' version='1.0' xml:lang='en' \
                      xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const HOST_UNKNOWN: &str =
    "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
const UNDEFINED: &str =
    "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
const STARTTLS: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
const MECHANISMS: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism>OAUTHBEARER</mechanism>\
                          <mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms></stream:features>";
const BIND: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";

impl ImServer {
    /// Listens on a free port; its certificate is for `name`.
    pub(super) async fn start(signer: &Signer, name: &str, direct_tls: bool) -> Rc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Rc::new(Self {
            address: listener.local_addr().unwrap(),
            mood: Cell::default(),
            domains: RefCell::new(vec!["example.com"]),
            heard: RefCell::default(),
            came: Cell::new(0),
            ended: Cell::new(0),
            ended_well: Cell::new(false),
            speech: RefCell::default(),
            spoken: Cell::new(0),
            knows_as: RefCell::default(),
            deaf: Cell::new(false),
            direct_tls,
            acceptor: signer.acceptor(name),
            running: RefCell::default(),
            connections: RefCell::default(),
        });
        server.listen(listener);
        server
    }

    fn listen(self: &Rc<Self>, listener: TcpListener) {
        let server = Rc::clone(self);
        let running = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = server.came.replace(server.came.get() + 1);
                server.heard.borrow_mut().push(String::new());
                let connections = &server.connections;
                let server = Rc::clone(&server);
                let connection = spawn_local(async move {
                    let ended = Rc::clone(&server).serve(number, stream).await;
                    server.ended_well.set(ended.is_ok());
                    server.ended.set(server.ended.get() + 1);
                });
                connections.borrow_mut().push(connection.abort_handle());
            }
        });
        *self.running.borrow_mut() = Some(running.abort_handle());
    }

    /// Takes no more connections.
    pub(super) fn stop(&self) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.abort();
        }
    }

    /// Ends all connections at once.
    pub(super) fn hang_up(&self) {
        self.connections.borrow_mut().drain(..).for_each(|connection| connection.abort());
    }

    /// Does again.
    pub(super) async fn come_back(self: &Rc<Self>) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }

    /// Everything it heard.
    pub(super) fn heard(&self) -> String {
        self.heard.borrow().concat()
    }

    /// What it heard on its connection of that number.
    pub(super) fn heard_on(&self, connection: usize) -> String {
        self.heard.borrow()[connection].clone()
    }

    async fn serve(self: Rc<Self>, number: usize, mut stream: TcpStream) -> std::io::Result<()> {
        if self.mood.get() == Mood::Silent {
            while stream.read(&mut [0; 64]).await? > 0 {}
            return Ok(());
        }
        if !self.direct_tls {
            let header = self.until(number, &mut stream, "<stream:stream", ">").await?;
            if !self.domains.borrow().iter().any(|domain| header.contains(&format!(" to='{domain}'"))) {
                stream.write_all([HEADER, HOST_UNKNOWN].concat().as_bytes()).await?;
                return stream.shutdown().await;
            }
            stream.write_all([HEADER, STARTTLS].concat().as_bytes()).await?;
            self.until(number, &mut stream, "<starttls", ">").await?;
            stream.write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        }
        let mut stream = self.acceptor.accept(stream).await?;
        self.until(number, &mut stream, "version='1.0'", ">").await?;
        stream.write_all([HEADER, MECHANISMS].concat().as_bytes()).await?;
        loop {
            self.until(number, &mut stream, "<auth", "</auth>").await?;
            let answer = match self.mood.get() {
                Mood::Helpless => {
                    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/></failure>"
                }
                Mood::Refusing => "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
                Mood::Odd => {
                    stream.write_all(UNDEFINED.as_bytes()).await?;
                    return stream.shutdown().await;
                }
                Mood::Well | Mood::Silent => break,
            };
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.write_all(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await?;
        self.until(number, &mut stream, "version='1.0'", ">").await?;
        stream.write_all([HEADER, BIND].concat().as_bytes()).await?;
        self.until(number, &mut stream, "<iq", "</iq>").await?;
        let known_as = self.knows_as.borrow().map(str::to_owned);
        let bound = format!(
            "<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{}@example.com/home</jid></bind></iq>",
            known_as.unwrap_or_else(|| user_of(&self.heard_on(number)))
        );
        stream.write_all(bound.as_bytes()).await?;
        self.talk(number, stream).await
    }

    /// Bound: it says its speech, and from the first message on whatever it hears it says back.
    async fn talk(&self, number: usize, stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let speech = self.speech.borrow().clone();
        for piece in speech.chunks(1024) {
            writer.write_all(piece).await?;
            self.spoken.set(self.spoken.get() + piece.len());
        }
        writer.flush().await?;
        let mut buffer = [0; 4096];
        let mut echoes = false;
        loop {
            while self.deaf.get() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let count = reader.read(&mut buffer).await?;
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.heard.borrow_mut()[number].push_str(&text);
            if count == 0 {
                return writer.shutdown().await;
            }
            if text.contains("</stream:stream>") {
                writer.write_all(b"</stream:stream>").await?;
                return writer.shutdown().await;
            }
            if text.contains("<enable") {
                let enabled = "<enabled xmlns='urn:xmpp:sm:3' id='x' location='10.0.0.1:5222' resume='true'/>";
                writer.write_all(enabled.as_bytes()).await?;
                writer.flush().await?;
            }
            echoes |= text.contains("<message");
            if echoes {
                writer.write_all(text.as_bytes()).await?;
                writer.flush().await?;
            }
        }
    }

    /// Reads until `begin` was there and then `end`.
    async fn until(
        &self,
        number: usize,
        stream: &mut (impl AsyncRead + Unpin),
        begin: &str,
        end: &str,
    ) -> std::io::Result<String> {
        let mut text = String::new();
        loop {
            if let Some((_, rest)) = text.split_once(begin)
                && rest.contains(end)
            {
                return Ok(text);
            }
            text.push(char::from(stream.read_u8().await?));
            self.heard.borrow_mut()[number].push(text.chars().next_back().unwrap());
        }
    }
}

/// The user that PLAIN names.
fn user_of(heard: &str) -> String {
    let payload = heard.rsplit("'PLAIN'>").next().and_then(|rest| rest.split('<').next()).unwrap();
    let decoded = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    String::from_utf8(decoded).unwrap().split('\0').nth(1).unwrap().to_owned()
}
