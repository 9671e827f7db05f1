//! A phone of our own: TLS with certificate checks, registration with digest, one call answered.
//!
//! It does what baresip cannot: verify the edge's certificate, choose the SNI name, reset its connection, offer
//! what it likes. It is a probe, not a SIP stack: it knows one transaction at a time and reads requests only
//! while it waits for something.

use crate::Host;
use crate::kamailio::{DOMAIN, PASSWORD, uri};
use crate::message::Message;
use anyhow::{Context, Result, bail};
use md5::{Digest, Md5};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the TCP connection, the handshake and each answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A TLS connection to the edge whose certificate was checked.
#[derive(Debug)]
pub struct WirePhone {
    user: String,
    stream: StreamOwned<ClientConnection, TcpStream>,
    local: SocketAddr,
    received: Vec<u8>,
    sequence: u32,
}

impl WirePhone {
    /// Connects to `edge`, asks for `server_name` by SNI and checks the certificate against `authority`.
    pub fn connect(host: &Host, user: &str, edge: SocketAddr, server_name: &str, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).context("read the CA certificate")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = host.connect(edge, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(server_name.to_owned())?)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("TLS handshake")?;
        }
        Ok(Self { user: user.to_owned(), stream, local, received: Vec::new(), sequence: 0 })
    }

    /// The certificate the edge showed.
    pub fn shown_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.stream.conn.peer_certificates().and_then(<[_]>::first)
    }

    /// Registers; answers a challenge. The final status code.
    pub fn register(&mut self, expires_seconds: u32) -> Result<u16> {
        let call_id = unique();
        let first = self.register_request(&call_id, expires_seconds, "");
        let answer = self.exchange(&first)?;
        if answer.status() != Some(401) {
            return answer.status().context("a status code");
        }
        let challenge = answer.header("WWW-Authenticate").context("a challenge in the 401")?;
        let credentials = authorization(&self.user, challenge, "REGISTER", &format!("sip:{DOMAIN}"))?;
        let second = self.register_request(&call_id, expires_seconds, &credentials);
        self.exchange(&second)?.status().context("a status code")
    }

    /// Sends a request built by the caller and waits for its final answer.
    pub fn exchange(&mut self, request: &str) -> Result<Message> {
        self.send(request)?;
        loop {
            let message = self.receive(PATIENCE)?;
            if message.status().is_some_and(|status| status >= 200) {
                return Ok(message);
            }
        }
    }

    /// Waits for a request with this method; answers others with 200.
    pub fn wait_request(&mut self, method: &str, patience: Duration) -> Result<Message> {
        let start = Instant::now();
        loop {
            let message = self.receive(patience.saturating_sub(start.elapsed()))?;
            match message.method() {
                Some(found) if found == method => return Ok(message),
                Some("ACK") | None => {}
                Some(_) => self.answer(&message, "200 OK")?,
            }
        }
    }

    /// Answers a request without a body.
    pub fn answer(&mut self, request: &Message, status: &str) -> Result<()> {
        let answer = request.response(status, &self.contact(), "")?;
        self.send(&answer)
    }

    /// Ends the connection with a TCP reset: what a phone's network does when it drops state.
    pub fn reset(self) -> Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream.sock, Some(Duration::ZERO))?;
        Ok(())
    }

    /// An INVITE to `user` with `offer` as its SDP; `credentials` is empty or a whole header line.
    pub fn invite_request(&mut self, call_id: &str, user: &str, offer: &str, credentials: &str) -> String {
        let target = uri(user);
        let contact = format!("Contact: {}\r\n", self.contact());
        let head = self.request_head("INVITE", &target, &target, call_id);
        let length = offer.len();
        format!("{head}{contact}{credentials}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{offer}")
    }

    /// Where this phone's connection ends, for SDP.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn register_request(&mut self, call_id: &str, expires_seconds: u32, credentials: &str) -> String {
        let contact = self.contact();
        let instance = "+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-000000000001>\";reg-id=1";
        let own = uri(&self.user);
        let head = self.request_head("REGISTER", &format!("sip:{DOMAIN}"), &own, call_id);
        format!(
            "{head}Contact: {contact};{instance}\r\nExpires: {expires_seconds}\r\nSupported: path, outbound\r\n\
             {credentials}Content-Length: 0\r\n\r\n"
        )
    }

    fn request_head(&mut self, method: &str, target: &str, to: &str, call_id: &str) -> String {
        self.sequence += 1;
        let (local, own) = (self.local, uri(&self.user));
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS {local};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <{own}>;tag={call_id}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\nCSeq: {} {method}\r\n",
            unique(),
            self.sequence,
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport=tls>", self.user, self.local)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes())?;
        Ok(self.stream.flush()?)
    }

    fn receive(&mut self, patience: Duration) -> Result<Message> {
        let start = Instant::now();
        loop {
            if let Some(message) = Message::take(&mut self.received)? {
                return Ok(message);
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                bail!("{}: no message within {patience:?}", self.user);
            }
            self.stream.sock.set_read_timeout(Some(left))?;
            let mut chunk = [0; 4096];
            let count = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                other => other.with_context(|| format!("{}: read", self.user))?,
            };
            if count == 0 {
                bail!("{}: the edge closed the connection", self.user);
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }
}

/// The Authorization header line that answers `challenge` (RFC 7616 with MD5; qop auth or none).
pub fn authorization(user: &str, challenge: &str, method: &str, target: &str) -> Result<String> {
    answer_challenge("Authorization", user, challenge, method, target)
}

/// The same for a proxy's challenge.
pub fn proxy_authorization(user: &str, challenge: &str, method: &str, target: &str) -> Result<String> {
    answer_challenge("Proxy-Authorization", user, challenge, method, target)
}

fn answer_challenge(header: &str, user: &str, challenge: &str, method: &str, target: &str) -> Result<String> {
    let realm = parameter(challenge, "realm").context("a realm")?;
    let nonce = parameter(challenge, "nonce").context("a nonce")?;
    let secret = md5_hex(&format!("{user}:{realm}:{PASSWORD}"));
    let request = md5_hex(&format!("{method}:{target}"));
    let common = format!("{header}: Digest username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{target}\"");
    if parameter(challenge, "qop").is_none() {
        let response = md5_hex(&format!("{secret}:{nonce}:{request}"));
        return Ok(format!("{common},response=\"{response}\",algorithm=MD5\r\n"));
    }
    let response = md5_hex(&format!("{secret}:{nonce}:00000001:edgeway:auth:{request}"));
    Ok(format!("{common},response=\"{response}\",algorithm=MD5,qop=auth,nc=00000001,cnonce=\"edgeway\"\r\n"))
}

/// The value of `name="…"` in a challenge.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let at = challenge.find(&format!("{name}=\""))?;
    challenge[at + name.len() + 2..].split('"').next()
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A word no other request of this process uses.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("w{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5, with this module's own cnonce and user.
    #[test]
    fn answers_a_challenge_with_qop() {
        let challenge = "Digest realm=\"example.test\", nonce=\"n1\", qop=\"auth\"";
        let line = authorization("alice", challenge, "REGISTER", "sip:example.test").unwrap();
        let secret = md5_hex("alice:example.test:secret");
        let request = md5_hex("REGISTER:sip:example.test");
        let expected = md5_hex(&format!("{secret}:n1:00000001:edgeway:auth:{request}"));
        assert!(line.contains(&format!("response=\"{expected}\"")), "{line}");
        assert_eq!(md5_hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }
}
