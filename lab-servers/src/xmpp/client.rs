//! A chat client: what a person's program does, step by step, and no step by itself.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::read::{Element, Heard, Incoming};
use super::sasl::{self, Mechanism, decoded, encoded};
use crate::limits::CHAT_ANSWER_MAX;
use crate::wire;

const MANAGEMENT: &str = "urn:xmpp:sm:3";

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatTls {
    /// On demand (RFC 6120 §5).
    StartTls,
    /// At once, with ALPN `xmpp-client` (XEP-0368).
    Direct,
}

/// Who, and where.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// Where to connect.
    pub server: SocketAddr,
    /// The address to connect from.
    pub from: Option<IpAddr>,
    /// The domain.
    pub domain: String,
    /// The user, without the domain.
    pub user: String,
    /// The password; with OAUTHBEARER the token, with CISCO-VTG-TOKEN the one-time password.
    pub password: String,
    /// How to prove it.
    pub mechanism: Mechanism,
    /// How TLS begins.
    pub tls: ChatTls,
    /// The name the certificate must have, and that is asked for.
    pub tls_name: String,
    /// Who must have signed it, PEM.
    pub ca_pem: String,
    /// The resource to ask for.
    pub resource: Option<String>,
}

impl ChatConfig {
    /// SCRAM-SHA-256 after STARTTLS; the certificate must be for the domain.
    #[must_use]
    pub fn new(server: SocketAddr, domain: &str, user: &str, password: &str, ca_pem: &str) -> Self {
        Self {
            server,
            from: None,
            domain: domain.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            mechanism: Mechanism::ScramSha256,
            tls: ChatTls::StartTls,
            tls_name: domain.to_owned(),
            ca_pem: ca_pem.to_owned(),
            resource: None,
        }
    }

    fn header(&self, inside_tls: bool) -> String {
        // RFC 6120 §4.7.1: who it is from is said under TLS only.
        let from = if inside_tls { format!(" from='{}@{}'", self.user, self.domain) } else { String::new() };
        format!(
            "<?xml version='1.0'?><stream:stream to='{}'{from} version='1.0' xml:lang='en' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        )
    }
}

/// Why a step was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// No connection.
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, String),
    /// No TLS.
    #[error("no TLS: {0}")]
    Tls(String),
    /// Sign-in was refused: the condition, and the text.
    #[error("refused: {0} {1}")]
    Refused(String, String),
    /// The stream ended with an error: the condition, and the text.
    #[error("stream error: {0} {1}")]
    Stream(String, String),
    /// The other side said `</stream:stream>`.
    #[error("the stream was closed")]
    Closed,
    /// The connection ended without a word.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// What came is none of what may come.
    #[error("not understood: {0}")]
    Strange(String),
    /// The session cannot be resumed.
    #[error("it cannot be resumed: {0}")]
    NotResumed(String),
    /// Nothing came in time.
    #[error("no answer")]
    Silent,
}

/// What a client keeps of a session that can be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The server's name for it.
    pub id: String,
    /// Its full JID.
    pub jid: String,
    /// A place the server would like to be resumed at.
    pub location: Option<String>,
    /// Stanzas received since it was enabled.
    pub received: u32,
    /// Stanzas sent since then.
    pub sent: u32,
    /// Those sent that the server has not said to have.
    pub unacknowledged: VecDeque<String>,
    /// Stanzas received that nobody has asked for yet.
    pub unread: VecDeque<Element>,
}

/// A stream to a server.
pub struct ChatClient {
    config: ChatConfig,
    stream: TlsStream<TcpStream>,
    incoming: Incoming,
    /// The header of the server.
    pub header: Element,
    /// The features it offers.
    pub features: Element,
    /// The full JID, once there is one.
    pub jid: Option<String>,
    kept: Option<Kept>,
    unread: VecDeque<Element>,
    identifiers: u32,
}

impl ChatClient {
    /// Connects and goes as far as the features under TLS.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn open(config: &ChatConfig) -> Result<Self, ChatError> {
        within(Self::open_unbounded(config)).await
    }

    async fn open_unbounded(config: &ChatConfig) -> Result<Self, ChatError> {
        let refused = |error: io::Error| ChatError::Connect(config.server, error.to_string());
        let socket =
            if config.server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(refused)?;
        if let Some(from) = config.from {
            socket.bind(SocketAddr::new(from, 0)).map_err(refused)?;
        }
        let mut tcp = socket.connect(config.server).await.map_err(refused)?;
        let _ = tcp.set_nodelay(true);
        if config.tls == ChatTls::StartTls {
            let mut incoming = Incoming::default();
            let (_, features) = greeted(&mut tcp, &mut incoming, &config.header(false)).await?;
            if features.child("starttls").is_none() {
                return Err(ChatError::Strange("no STARTTLS is offered".to_owned()));
            }
            written(&mut tcp, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
            let answer = element(&mut tcp, &mut incoming).await?;
            if answer.name != "proceed" {
                return Err(ChatError::Tls(answer.name));
            }
        }
        let trust = trust(&config.ca_pem, config.tls).map_err(|error| ChatError::Tls(error.to_string()))?;
        let name = ServerName::try_from(config.tls_name.clone()).map_err(|error| ChatError::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(trust));
        let mut stream = connector.connect(name, tcp).await.map_err(|error| ChatError::Tls(error.to_string()))?;
        let mut incoming = Incoming::default();
        let (header, features) = greeted(&mut stream, &mut incoming, &config.header(true)).await?;
        Ok(Self {
            config: config.clone(),
            stream,
            incoming,
            header,
            features,
            jid: None,
            kept: None,
            unread: VecDeque::new(),
            identifiers: 0,
        })
    }

    /// The mechanisms that are offered.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<String> {
        let offered = self.features.child("mechanisms");
        let all = offered.iter().flat_map(|mechanisms| &mechanisms.children);
        all.filter(|one| one.name == "mechanism").map(|one| one.text.clone()).collect()
    }

    /// Signs in and goes as far as the features after that. May be tried again after [`ChatError::Refused`].
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn authenticate(&mut self, mechanism: Mechanism, password: &str) -> Result<(), ChatError> {
        within(self.authenticate_unbounded(mechanism, password)).await
    }

    async fn authenticate_unbounded(&mut self, mechanism: Mechanism, password: &str) -> Result<(), ChatError> {
        const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
        let nonce = wire::token(&mut wire::random(), 16);
        let ChatConfig { user, domain, .. } = &self.config;
        let first = sasl::first_word(mechanism, user, domain, password, &nonce);
        let auth = format!("<auth xmlns='{SASL}' mechanism='{}'>{}</auth>", mechanism.name(), encoded(&first));
        self.send_raw(auth.as_bytes()).await?;
        let mut signature = None;
        loop {
            let said = element(&mut self.stream, &mut self.incoming).await?;
            match said.name.as_str() {
                "challenge" => {
                    let challenge = decoded(&said.text).unwrap_or_default();
                    let (last, expected) = sasl::answer(mechanism, &first, &challenge, password)
                        .ok_or_else(|| ChatError::Strange(format!("challenge {challenge}")))?;
                    signature = Some(expected);
                    let response = format!("<response xmlns='{SASL}'>{}</response>", encoded(last));
                    self.send_raw(response.as_bytes()).await?;
                }
                "success" if signature.is_none() || decoded(&said.text) == signature => break,
                "success" => return Err(ChatError::Strange("the server does not know the password".to_owned())),
                "failure" => {
                    let condition = said.children.iter().find(|child| child.name != "text");
                    let condition = condition.map(|child| child.name.clone()).unwrap_or_default();
                    return Err(ChatError::Refused(condition, said.text_of("text").unwrap_or_default().to_owned()));
                }
                _ => return Err(ChatError::Strange(said.name)),
            }
        }
        self.incoming.restart();
        let header = self.config.header(true);
        (self.header, self.features) = greeted(&mut self.stream, &mut self.incoming, &header).await?;
        Ok(())
    }

    /// Connects and signs in as the configuration says.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn sign_in(config: &ChatConfig) -> Result<Self, ChatError> {
        let mut client = Self::open(config).await?;
        client.authenticate(config.mechanism, &config.password).await?;
        Ok(client)
    }

    /// As [`Self::sign_in`], then binds a resource, enables stream management and sends presence; when it returns, the
    /// server knows that.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn start(config: &ChatConfig) -> Result<Self, ChatError> {
        let mut client = Self::sign_in(config).await?;
        client.bind().await?;
        client.enable().await?;
        client.send("<presence/>").await?;
        client.ping().await?;
        Ok(client)
    }

    /// Connects, signs in and resumes a session: sends again what the server does not have.
    ///
    /// # Errors
    /// [`ChatError::NotResumed`], and as [`ChatError`] says.
    pub async fn resume(config: &ChatConfig, kept: Kept) -> Result<Self, ChatError> {
        let mut client = Self::sign_in(config).await?;
        within(client.resume_unbounded(kept)).await?;
        Ok(client)
    }

    async fn resume_unbounded(&mut self, mut kept: Kept) -> Result<(), ChatError> {
        let resume = format!("<resume xmlns='{MANAGEMENT}' previd='{}' h='{}'/>", kept.id, kept.received);
        self.send_raw(resume.as_bytes()).await?;
        let answer = element(&mut self.stream, &mut self.incoming).await?;
        if answer.name != "resumed" {
            let why = answer.children.first().map(|child| child.name.clone());
            return Err(ChatError::NotResumed(why.unwrap_or(answer.name)));
        }
        self.unread = std::mem::take(&mut kept.unread);
        self.jid = Some(kept.jid.clone());
        acknowledge(&mut kept, &answer)?;
        let again: String = kept.unacknowledged.iter().map(String::as_str).collect();
        self.kept = Some(kept);
        self.send_raw(again.as_bytes()).await
    }

    /// Binds the resource asked for, or one of the server's choice; the full JID.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn bind(&mut self) -> Result<String, ChatError> {
        let resource = self.config.resource.iter().map(|resource| format!("<resource>{resource}</resource>"));
        let resource: String = resource.collect();
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind>");
        let answer = self.request(None, "set", &bind).await?;
        let jid = answer.child("bind").and_then(|bind| bind.text_of("jid"));
        let jid = jid.ok_or_else(|| ChatError::Strange("no JID".to_owned()))?.to_owned();
        self.jid = Some(jid.clone());
        Ok(jid)
    }

    /// Enables stream management with resumption.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn enable(&mut self) -> Result<(), ChatError> {
        self.send_raw(format!("<enable xmlns='{MANAGEMENT}' resume='true'/>").as_bytes()).await?;
        let enabled = self.wait_for(|element| element.is("enabled", MANAGEMENT)).await?;
        let own = |name| enabled.attribute(name).map(str::to_owned);
        self.kept = Some(Kept {
            id: own("id").ok_or_else(|| ChatError::Strange("it cannot be resumed".to_owned()))?,
            jid: self.jid.clone().unwrap_or_default(),
            location: own("location"),
            received: 0,
            sent: 0,
            unacknowledged: VecDeque::new(),
            unread: VecDeque::new(),
        });
        Ok(())
    }

    /// What can be resumed, if anything can.
    #[must_use]
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Sends bytes as they are, uncounted.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ChatError> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within(async { writing.await.map_err(|error| ChatError::Cut(error.to_string())) }).await
    }

    /// Sends one stanza; what is not acknowledged is sent again when the session is resumed.
    ///
    /// # Errors
    /// As [`ChatError`] says. The stanza is kept for resumption all the same.
    pub async fn send(&mut self, stanza: &str) -> Result<(), ChatError> {
        if let Some(kept) = &mut self.kept {
            kept.sent = kept.sent.wrapping_add(1);
            kept.unacknowledged.push_back(stanza.to_owned());
        }
        self.send_raw(stanza.as_bytes()).await
    }

    /// Sends a message of that text.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn message(&mut self, to: &str, text: &str) -> Result<(), ChatError> {
        self.identifiers += 1;
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let id = self.identifiers;
        self.send(&format!("<message to='{to}' type='chat' id='m{id}'><body>{text}</body></message>")).await
    }

    /// Asks, and waits for the answer; other stanzas wait to be read.
    ///
    /// # Errors
    /// [`ChatError::Refused`] for an answer of type `error`; as [`ChatError`] says.
    pub async fn request(&mut self, to: Option<&str>, kind: &str, inner: &str) -> Result<Element, ChatError> {
        self.identifiers += 1;
        let id = format!("q{}", self.identifiers);
        let to = to.map_or_else(String::new, |to| format!(" to='{to}'"));
        self.send(&format!("<iq type='{kind}' id='{id}'{to}>{inner}</iq>")).await?;
        let answer =
            self.wait_for(|element| element.name == "iq" && element.attribute("id") == Some(id.as_str())).await?;
        if answer.attribute("type") == Some("error") {
            let condition = answer.child("error").and_then(|error| error.children.first());
            let condition = condition.map(|condition| condition.name.clone()).unwrap_or_default();
            return Err(ChatError::Refused(condition, String::new()));
        }
        Ok(answer)
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn ping(&mut self) -> Result<(), ChatError> {
        self.request(None, "get", "<ping xmlns='urn:xmpp:ping'/>").await.map(drop)
    }

    /// The JIDs of the roster.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn roster(&mut self) -> Result<Vec<String>, ChatError> {
        let answer = self.request(None, "get", "<query xmlns='jabber:iq:roster'/>").await?;
        let items = answer.child("query").map(|query| query.children.clone()).unwrap_or_default();
        Ok(items.iter().filter_map(|item| item.attribute("jid")).map(str::to_owned).collect())
    }

    /// The next stanza; acknowledgements are dealt with on the way.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn next(&mut self) -> Result<Element, ChatError> {
        if let Some(stanza) = self.unread.pop_front() {
            return Ok(stanza);
        }
        within(self.next_unbounded()).await
    }

    /// The next stanza if one comes within that time.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn next_within(&mut self, time: Duration) -> Result<Option<Element>, ChatError> {
        if let Some(stanza) = self.unread.pop_front() {
            return Ok(Some(stanza));
        }
        timeout(time, self.next_unbounded()).await.map_or(Ok(None), |stanza| stanza.map(Some))
    }

    /// The next message's sender and text; other stanzas are passed over.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn next_message(&mut self) -> Result<(String, String), ChatError> {
        loop {
            let stanza = self.next().await?;
            if stanza.name == "message" && stanza.attribute("type") != Some("error") {
                let from = stanza.attribute("from").unwrap_or_default().to_owned();
                return Ok((from, stanza.text_of("body").unwrap_or_default().to_owned()));
            }
        }
    }

    async fn next_unbounded(&mut self) -> Result<Element, ChatError> {
        loop {
            let heard = self.counted().await?;
            if heard.namespace != MANAGEMENT {
                return Ok(heard);
            }
        }
    }

    /// The next element of any kind, its effect on the counts done.
    async fn counted(&mut self) -> Result<Element, ChatError> {
        let heard = element(&mut self.stream, &mut self.incoming).await?;
        let Some(kept) = &mut self.kept else { return Ok(heard) };
        if heard.namespace == "jabber:client" {
            kept.received = kept.received.wrapping_add(1);
        } else if heard.is("r", MANAGEMENT) {
            let answer = format!("<a xmlns='{MANAGEMENT}' h='{}'/>", kept.received);
            self.send_raw(answer.as_bytes()).await?;
        } else if heard.is("a", MANAGEMENT) {
            acknowledge(kept, &heard)?;
        }
        Ok(heard)
    }

    /// The next element like that; stanzas before it wait to be read.
    async fn wait_for(&mut self, wanted: impl Fn(&Element) -> bool) -> Result<Element, ChatError> {
        let waiting = async {
            loop {
                let heard = self.counted().await?;
                if wanted(&heard) {
                    return Ok(heard);
                }
                if heard.namespace != MANAGEMENT {
                    self.unread.push_back(heard);
                }
            }
        };
        within(waiting).await
    }

    /// Asks the server how many stanzas it has, and waits for the answer: the count.
    ///
    /// # Errors
    /// As [`ChatError`] says.
    pub async fn acknowledged(&mut self) -> Result<u32, ChatError> {
        self.send_raw(format!("<r xmlns='{MANAGEMENT}'/>").as_bytes()).await?;
        let answer = self.wait_for(|element| element.is("a", MANAGEMENT)).await?;
        answer
            .attribute("h")
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| ChatError::Strange("no count".to_owned()))
    }

    /// Reads until the stream ends: how it does. Stanzas on the way are kept for [`Kept::unread`].
    pub async fn ended(&mut self) -> ChatError {
        let waiting = async {
            loop {
                match self.counted().await {
                    Ok(heard) if heard.namespace != MANAGEMENT => self.unread.push_back(heard),
                    Ok(_) => {}
                    Err(ended) => return Ok(ended),
                }
            }
        };
        within(waiting).await.unwrap_or_else(|silent| silent)
    }

    /// Ends the stream, and waits for the other side to end it, too.
    ///
    /// # Errors
    /// The other side ended it otherwise.
    pub async fn close(mut self) -> Result<(), ChatError> {
        self.send_raw(b"</stream:stream>").await?;
        let ended = self.ended().await;
        if ended == ChatError::Closed { Ok(()) } else { Err(ended) }
    }

    /// Cuts the connection with a TCP reset, as a network that is lost does in the end; what can be resumed.
    pub fn cut(self) -> Option<Kept> {
        let (tcp, _) = self.stream.get_ref();
        let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        self.into_kept()
    }

    /// What can be resumed of a stream that is over.
    #[must_use]
    pub fn into_kept(self) -> Option<Kept> {
        let unread = self.unread;
        self.kept.map(|kept| Kept { unread, ..kept })
    }
}

fn acknowledge(kept: &mut Kept, answer: &Element) -> Result<(), ChatError> {
    let count: Option<u32> = answer.attribute("h").and_then(|count| count.parse().ok());
    let left = count.map(|count| kept.sent.wrapping_sub(count) as usize);
    let waiting = kept.unacknowledged.len();
    let Some(done) = left.and_then(|left| waiting.checked_sub(left)) else {
        return Err(ChatError::Strange(format!("{count:?} of {} stanzas are acknowledged", kept.sent)));
    };
    kept.unacknowledged.drain(..done);
    Ok(())
}

async fn within<T>(waiting: impl Future<Output = Result<T, ChatError>>) -> Result<T, ChatError> {
    timeout(CHAT_ANSWER_MAX, waiting).await.unwrap_or(Err(ChatError::Silent))
}

async fn written<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Result<(), ChatError> {
    let cut = |error: io::Error| ChatError::Cut(error.to_string());
    stream.write_all(text.as_bytes()).await.map_err(cut)?;
    stream.flush().await.map_err(cut)
}

async fn heard<S: AsyncRead + Unpin>(stream: &mut S, incoming: &mut Incoming) -> Result<Heard, ChatError> {
    loop {
        if let Some(heard) = incoming.next().map_err(ChatError::Strange)? {
            return Ok(heard);
        }
        let mut buffer = vec![0; 16 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) => return Err(ChatError::Cut("closed by the other side".to_owned())),
            Ok(count) => incoming.push(&buffer[..count]),
            Err(error) => return Err(ChatError::Cut(error.to_string())),
        }
    }
}

async fn element<S: AsyncRead + Unpin>(stream: &mut S, incoming: &mut Incoming) -> Result<Element, ChatError> {
    match heard(stream, incoming).await? {
        Heard::Element(element, _) if element.is("error", "http://etherx.jabber.org/streams") => {
            let condition = element.children.iter().find(|child| child.name != "text");
            let condition = condition.map(|child| child.name.clone()).unwrap_or_default();
            Err(ChatError::Stream(condition, element.text_of("text").unwrap_or_default().to_owned()))
        }
        Heard::Element(element, _) => Ok(element),
        Heard::Close => Err(ChatError::Closed),
        Heard::Header(_) => Err(ChatError::Strange("a second header".to_owned())),
    }
}

/// Says the header and takes the other one, and the features.
async fn greeted<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    incoming: &mut Incoming,
    header: &str,
) -> Result<(Element, Element), ChatError> {
    written(stream, header).await?;
    let Heard::Header(header) = heard(stream, incoming).await? else {
        return Err(ChatError::Strange("no header".to_owned()));
    };
    let features = element(stream, incoming).await?;
    if features.name != "features" {
        return Err(ChatError::Strange(features.name));
    }
    Ok((header, features))
}

fn trust(ca_pem: &str, tls: ChatTls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if tls == ChatTls::Direct {
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    Ok(config)
}
