//! One phone of the crowd: a connection that registers, calls and answers. TLS 1.3 outside, TCP inside.

use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::kamailio::{DOMAIN, uri};
use edgeway_interop::message::Message;
use edgeway_interop::wire_phone::{authorization, proxy_authorization, unique};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer that takes longer is lost.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// What is asked of the registrar, unless told otherwise.
const EXPIRES_SECONDS: u32 = 3600;

/// An SDP with SRTP keys (RFC 4568): an edge may insist on encryption.
pub(crate) const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 20000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";

/// TLS or TCP: two kinds of stream, one boxed type.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A phone.
pub(crate) struct Client {
    user: String,
    transport: &'static str,
    stream: Box<dyn Stream>,
    local: SocketAddr,
    received: Vec<u8>,
    /// The registration's own Call-ID, the same for every refresh (RFC 3261 §10.2.4).
    call_id: String,
    sequence: u32,
    expires_seconds: u32,
    /// The registrar's last challenge: its nonce is used until it is refused.
    challenge: String,
    credentials: String,
}

impl Client {
    /// Connects user number `index` over TLS.
    pub(crate) async fn connect(
        index: usize,
        edge: SocketAddr,
        tls: &TlsConnector,
        name: ServerName<'static>,
    ) -> Result<Self> {
        let socket = TcpStream::connect(edge).await?;
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        let stream = tls.connect(name, socket).await.context("TLS handshake")?;
        Ok(Self::new(index, "tls", Box::new(stream), local))
    }

    /// Connects user number `index` over TCP, straight to the registrar.
    pub(crate) async fn connect_inside(index: usize, registrar: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(registrar).await?;
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        Ok(Self::new(index, "tcp", Box::new(socket), local))
    }

    fn new(index: usize, transport: &'static str, stream: Box<dyn Stream>, local: SocketAddr) -> Self {
        Self {
            user: format!("u{index}"),
            transport,
            stream,
            local,
            received: Vec::new(),
            call_id: unique(),
            sequence: 0,
            expires_seconds: EXPIRES_SECONDS,
            challenge: String::new(),
            credentials: String::new(),
        }
    }

    /// Asks for registrations of this length from now on.
    pub(crate) fn set_expires(&mut self, seconds: u32) {
        self.expires_seconds = seconds;
    }

    /// Registers or refreshes; a challenge is answered once.
    pub(crate) async fn register(&mut self) -> Result<()> {
        for _ in 0..2 {
            let request = self.register_request();
            self.send(&request).await?;
            let answer = self.final_answer().await?;
            match answer.status() {
                Some(200) => return Ok(()),
                Some(401) => {
                    answer.header("WWW-Authenticate").context("a challenge")?.clone_into(&mut self.challenge);
                    self.credentials =
                        authorization(&self.user, &self.challenge, "REGISTER", &format!("sip:{DOMAIN}"))?;
                }
                _ => bail!("{}: {}", self.user, answer.first_line()),
            }
        }
        bail!("{}: challenged again", self.user)
    }

    /// Calls `callee`, who answers; then hangs up.
    pub(crate) async fn call(&mut self, callee: &mut Self) -> Result<()> {
        let call = self.establish(callee, SESSION, SESSION).await?;
        let bye = self.in_dialog("BYE", &call);
        self.send(&bye).await?;
        let request = callee.request("BYE").await?;
        let contact = callee.contact();
        callee.send(&request.response("200 OK", &contact, "")?).await?;
        let ended = self.final_answer().await?;
        ensure!(ended.status() == Some(200), "BYE: {}", ended.first_line());
        Ok(())
    }

    /// Calls `callee` with this offer; the callee gives this answer.
    pub(crate) async fn establish(&mut self, callee: &mut Self, offer: &str, answer: &str) -> Result<Call> {
        let call_id = unique();
        let (offered, accepted) = self.invite(callee, &call_id, offer, answer).await?;
        let call = Call::from_answer(call_id, offered, accepted)?;
        let ack = self.in_dialog("ACK", &call);
        self.send(&ack).await?;
        callee.request("ACK").await?;
        Ok(call)
    }

    /// The INVITE up to its 200: the offer as the callee saw it, and the 200. The registrar may challenge it.
    async fn invite(
        &mut self,
        callee: &mut Self,
        call_id: &str,
        offer: &str,
        answer: &str,
    ) -> Result<(String, Message)> {
        let target = uri(&callee.user);
        let mut credentials = match self.challenge.as_str() {
            "" => String::new(),
            challenge => proxy_authorization(&self.user, challenge, "INVITE", &target)?,
        };
        for _ in 0..2 {
            self.sequence += 1;
            let request = format!(
                "{}Contact: {}\r\n{credentials}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{offer}",
                self.head("INVITE", &target, &format!("<{target}>"), call_id),
                self.contact(),
                offer.len(),
            );
            self.send(&request).await?;
            // The callee hears of it unless it is refused; whoever speaks first says which.
            let refusal = tokio::select! {
                request = callee.request("INVITE") => {
                    let (request, contact) = (request?, callee.contact());
                    callee.send(&request.response("200 OK", &contact, answer)?).await?;
                    let accepted = self.final_answer().await?;
                    ensure!(accepted.status() == Some(200), "INVITE: {}", accepted.first_line());
                    return Ok((request.body, accepted));
                }
                refusal = self.final_answer() => refusal?,
            };
            ensure!(refusal.status() == Some(407), "INVITE: {}", refusal.first_line());
            let challenge = refusal.header("Proxy-Authenticate").context("a challenge")?;
            credentials = proxy_authorization(&self.user, challenge, "INVITE", &target)?;
            let ack = self.acknowledge_refusal(&refusal, &target, call_id)?;
            self.send(&ack).await?;
        }
        bail!("{}: challenged again", self.user)
    }

    /// RFC 3261 §17.1.1.3: the ACK of a refusal belongs to the INVITE's transaction.
    fn acknowledge_refusal(&self, answer: &Message, target: &str, call_id: &str) -> Result<String> {
        let (via, to) = (answer.header("Via").context("Via")?, answer.header("To").context("To")?);
        Ok(format!(
            "ACK {target} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <{}>;tag={call_id}\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
            uri(&self.user),
            self.sequence,
        ))
    }

    fn register_request(&mut self) -> String {
        self.sequence += 1;
        let own = uri(&self.user);
        format!(
            "{}Contact: {};+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-{:0>12}>\"\r\n\
             Expires: {}\r\nSupported: path\r\n{}Content-Length: 0\r\n\r\n",
            self.head("REGISTER", &format!("sip:{DOMAIN}"), &format!("<{own}>"), &self.call_id),
            self.contact(),
            &self.user[1..],
            self.expires_seconds,
            self.credentials,
        )
    }

    fn in_dialog(&mut self, method: &str, call: &Call) -> String {
        if method != "ACK" {
            self.sequence += 1;
        }
        let head = self.head(method, &call.target, &call.to, &call.id);
        format!("{head}{}Content-Length: 0\r\n\r\n", call.routes)
    }

    fn head(&self, method: &str, target: &str, to: &str, call_id: &str) -> String {
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <{}>;tag={call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {} {method}\r\n",
            self.transport.to_uppercase(),
            self.local,
            unique(),
            uri(&self.user),
            self.sequence,
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport={}>", self.user, self.local, self.transport)
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn final_answer(&mut self) -> Result<Message> {
        loop {
            let message = self.receive().await?;
            if message.status().is_some_and(|status| status >= 200) {
                return Ok(message);
            }
        }
    }

    async fn request(&mut self, method: &str) -> Result<Message> {
        loop {
            let message = self.receive().await?;
            if message.method() == Some(method) {
                return Ok(message);
            }
        }
    }

    /// The next message. Safe to give up on: what was read stays.
    async fn receive(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = Message::take(&mut self.received)? {
                return Ok(message);
            }
            let read = self.stream.read_buf(&mut self.received);
            let count = tokio::time::timeout(ANSWER_PATIENCE, read).await.context("no answer")??;
            ensure!(count > 0, "{}: the edge closed the connection", self.user);
        }
    }
}

/// A call that is up, and what requests inside it need (RFC 3261 §12.1.2).
#[derive(Debug)]
pub(crate) struct Call {
    id: String,
    target: String,
    to: String,
    routes: String,
    /// The session description the callee was offered.
    pub(crate) offered: String,
    /// The one the caller was answered with.
    pub(crate) answered: String,
}

impl Call {
    fn from_answer(id: String, offered: String, answer: Message) -> Result<Self> {
        let routes = answer.headers("Record-Route").into_iter().rev().flat_map(|value| value.split(',').rev());
        Ok(Self {
            id,
            target: answer.uri("Contact").context("Contact")?.to_owned(),
            to: answer.header("To").context("To")?.to_owned(),
            routes: routes.map(|route| format!("Route: {}\r\n", route.trim())).collect(),
            offered,
            answered: answer.body,
        })
    }
}
