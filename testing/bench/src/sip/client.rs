//! One phone of the crowd: a TLS 1.3 connection that registers and calls.

use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::kamailio::{DOMAIN, uri};
use edgeway_interop::message::Message;
use edgeway_interop::wire_phone::{authorization, proxy_authorization, unique};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An answer that takes longer is lost.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// What is asked of the registrar.
const EXPIRES_SECONDS: u32 = 3600;

/// An SDP with SRTP keys (RFC 4568): an edge may insist on encryption.
const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 20000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";

/// A phone.
#[derive(Debug)]
pub(crate) struct Client {
    user: String,
    stream: TlsStream<TcpStream>,
    local: SocketAddr,
    received: Vec<u8>,
    /// The registration's own Call-ID, the same for every refresh (RFC 3261 §10.2.4).
    call_id: String,
    sequence: u32,
    /// The registrar's last challenge: its nonce is used until it is refused.
    challenge: String,
    credentials: String,
}

impl Client {
    /// Connects user number `index`.
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
        Ok(Self {
            user: format!("u{index}"),
            stream,
            local,
            received: Vec::new(),
            call_id: unique(),
            sequence: 0,
            challenge: String::new(),
            credentials: String::new(),
        })
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

    /// Calls `callee`, who answers; then hangs up. Both are outside.
    pub(crate) async fn call(&mut self, callee: &mut Self) -> Result<()> {
        let call_id = unique();
        let answer = self.invite(callee, &call_id).await?;
        let dialog = Dialog::from_answer(&answer)?;
        let ack = self.in_dialog("ACK", &call_id, &dialog);
        self.send(&ack).await?;
        callee.request("ACK").await?;
        let bye = self.in_dialog("BYE", &call_id, &dialog);
        self.send(&bye).await?;
        let request = callee.request("BYE").await?;
        let contact = callee.contact();
        callee.send(&request.response("200 OK", &contact, "")?).await?;
        let ended = self.final_answer().await?;
        ensure!(ended.status() == Some(200), "BYE: {}", ended.first_line());
        Ok(())
    }

    /// The INVITE up to its 200. The registrar may challenge it.
    async fn invite(&mut self, callee: &mut Self, call_id: &str) -> Result<Message> {
        let target = uri(&callee.user);
        let mut credentials = match self.challenge.as_str() {
            "" => String::new(),
            challenge => proxy_authorization(&self.user, challenge, "INVITE", &target)?,
        };
        for _ in 0..2 {
            self.sequence += 1;
            let request = format!(
                "{}Contact: {}\r\n{credentials}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SESSION}",
                self.head("INVITE", &target, &format!("<{target}>"), call_id),
                self.contact(),
                SESSION.len(),
            );
            self.send(&request).await?;
            // The callee hears of it unless it is challenged; whoever speaks first says which.
            let answer = tokio::select! {
                request = callee.request("INVITE") => {
                    let contact = callee.contact();
                    callee.send(&request?.response("200 OK", &contact, SESSION)?).await?;
                    self.final_answer().await?
                }
                answer = self.final_answer() => answer?,
            };
            match answer.status() {
                Some(200) => return Ok(answer),
                Some(407) => {
                    let challenge = answer.header("Proxy-Authenticate").context("a challenge")?;
                    credentials = proxy_authorization(&self.user, challenge, "INVITE", &target)?;
                    let ack = self.acknowledge_refusal(&answer, &target, call_id)?;
                    self.send(&ack).await?;
                }
                _ => bail!("INVITE: {}", answer.first_line()),
            }
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
             Expires: {EXPIRES_SECONDS}\r\nSupported: path\r\n{}Content-Length: 0\r\n\r\n",
            self.head("REGISTER", &format!("sip:{DOMAIN}"), &format!("<{own}>"), &self.call_id),
            self.contact(),
            &self.user[1..],
            self.credentials,
        )
    }

    fn in_dialog(&mut self, method: &str, call_id: &str, dialog: &Dialog) -> String {
        if method != "ACK" {
            self.sequence += 1;
        }
        let head = self.head(method, &dialog.target, &dialog.to, call_id);
        format!("{head}{}Content-Length: 0\r\n\r\n", dialog.routes)
    }

    fn head(&self, method: &str, target: &str, to: &str, call_id: &str) -> String {
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS {};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <{}>;tag={call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {} {method}\r\n",
            self.local,
            unique(),
            uri(&self.user),
            self.sequence,
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport=tls>", self.user, self.local)
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

/// What requests inside a call need (RFC 3261 §12.1.2).
struct Dialog {
    target: String,
    to: String,
    routes: String,
}

impl Dialog {
    fn from_answer(answer: &Message) -> Result<Self> {
        let routes = answer.headers("Record-Route").into_iter().rev().flat_map(|value| value.split(',').rev());
        Ok(Self {
            target: answer.uri("Contact").context("Contact")?.to_owned(),
            to: answer.header("To").context("To")?.to_owned(),
            routes: routes.map(|route| format!("Route: {}\r\n", route.trim())).collect(),
        })
    }
}
