//! A phone of our own: TLS with certificate checks, registration with digest, one call answered.
//!
//! It does what baresip cannot: verify the edge's certificate, choose the SNI name, reset its connection, offer
//! what it likes, ring without answering, send any method. Inside it speaks UDP. It is a probe, not a SIP stack: it
//! knows one transaction at a time and reads only while it waits for something.

use crate::Host;
use crate::dialog::Dialog;
use crate::kamailio::{DOMAIN, PASSWORD, uri};
use crate::message::Message;
use anyhow::{Context, Result, bail, ensure};
use md5::{Digest, Md5};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the TCP connection, the handshake and each answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages nobody waited for; older ones are forgotten.
const WAITING_MAX: usize = 64;
const SDP_TYPE: &str = "Content-Type: application/sdp\r\n";

/// A phone of ours, on one connection.
#[derive(Debug)]
pub struct WirePhone {
    user: String,
    wire: Wire,
    local: SocketAddr,
    received: Vec<u8>,
    /// Messages that came while another was waited for, oldest first.
    waiting: VecDeque<Message>,
    sequence: u32,
}

/// What carries its messages.
#[derive(Debug)]
enum Wire {
    /// A TLS connection to the edge whose certificate was checked.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// A socket that sends to one proxy.
    Udp { socket: UdpSocket, proxy: SocketAddr },
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
        Ok(Self::new(user, Wire::Tls(Box::new(stream)), local))
    }

    /// A phone at `own` that sends everything to `proxy`, over UDP.
    pub fn bind(host: &Host, user: &str, own: SocketAddr, proxy: SocketAddr) -> Result<Self> {
        let socket = host.enter(|| UdpSocket::bind(own).with_context(|| format!("bind {own}")))?;
        Ok(Self::new(user, Wire::Udp { socket, proxy }, own))
    }

    fn new(user: &str, wire: Wire, local: SocketAddr) -> Self {
        Self { user: user.to_owned(), wire, local, received: Vec::new(), waiting: VecDeque::new(), sequence: 0 }
    }

    /// The certificate the edge showed.
    pub fn shown_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.wire {
            Wire::Tls(stream) => stream.conn.peer_certificates().and_then(<[_]>::first),
            Wire::Udp { .. } => None,
        }
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
        self.wait_response(request, 200, PATIENCE)
    }

    /// Waits for an answer to `request`, sent before, whose status is `at_least` this.
    pub fn wait_response(&mut self, request: &str, at_least: u16, patience: Duration) -> Result<Message> {
        let request = Message::take(&mut request.as_bytes().to_vec())?.context("a whole request")?;
        let what = format!("answer to {}", request.first_line());
        let answer = self.wait(&what, patience, |message| {
            message.status().is_some_and(|status| status >= at_least)
                && message.header("Call-ID") == request.header("Call-ID")
                && message.sequence() == request.sequence()
        })?;
        if request.method() == Some("INVITE") && answer.status() >= Some(300) {
            let ack = request.acknowledgement(&answer)?;
            self.send(&ack)?;
        }
        Ok(answer)
    }

    /// Waits for a request with this method. Others stay for later waits, but OPTIONS is answered at once.
    pub fn wait_request(&mut self, method: &str, patience: Duration) -> Result<Message> {
        let start = Instant::now();
        loop {
            let left = patience.saturating_sub(start.elapsed());
            let found = self.wait(method, left, |message| {
                message.method().is_some_and(|found| found == method || found == "OPTIONS")
            })?;
            if found.method() == Some(method) {
                return Ok(found);
            }
            self.answer(&found, "200 OK")?;
        }
    }

    /// Whether a request with this method came, or comes within this time.
    pub fn gets_request(&mut self, method: &str, patience: Duration) -> bool {
        self.wait(method, patience, |message| message.method() == Some(method)).is_ok()
    }

    /// Answers a request without a body.
    pub fn answer(&mut self, request: &Message, status: &str) -> Result<()> {
        let answer = request.reply(status, &self.tag(), &format!("Contact: {}\r\n", self.contact()), "")?;
        self.send(&answer)
    }

    /// Answers a request with header lines and a body; an SDP if `lines` names no other type.
    pub fn answer_with(&mut self, request: &Message, status: &str, lines: &str, body: &str) -> Result<()> {
        let kind = if body.is_empty() || lines.contains("Content-Type:") { "" } else { SDP_TYPE };
        let lines = format!("Contact: {}\r\n{lines}{kind}", self.contact());
        let answer = request.reply(status, &self.tag(), &lines, body)?;
        self.send(&answer)
    }

    /// Ends the connection with a TCP reset: what a phone's network does when it drops state.
    pub fn reset(self) -> Result<()> {
        if let Wire::Tls(stream) = &self.wire {
            rustix::net::sockopt::set_socket_linger(&stream.sock, Some(Duration::ZERO))?;
        }
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

    /// A request to `user` outside a dialog, with header lines and a body whose type `lines` names.
    pub fn request(&mut self, method: &str, user: &str, lines: &str, body: &str) -> String {
        let target = uri(user);
        let contact = format!("Contact: {}\r\n", self.contact());
        let head = self.request_head(method, &target, &target, &unique());
        format!("{head}{contact}{lines}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Calls `user`, answering the registrar's challenge, with header lines of one's choice; sends the INVITE that
    /// counts and gives it back, its answers still to come.
    pub fn invite(&mut self, user: &str, lines: &str, offer: &str) -> Result<String> {
        let call_id = unique();
        let first = self.invite_request(&call_id, user, offer, lines);
        self.send(&first)?;
        let answer = self.wait_response(&first, 101, PATIENCE)?;
        let challenge = answer.header("Proxy-Authenticate").with_context(|| format!("a 407: {answer:?}"))?;
        let credentials = proxy_authorization(&self.user, challenge, "INVITE", &uri(user))?;
        let second = self.invite_request(&call_id, user, offer, &(credentials + lines));
        self.send(&second)?;
        Ok(second)
    }

    /// Calls `user` and waits for the answer, which must be 200; acknowledges it.
    pub fn call(&mut self, user: &str, offer: &str) -> Result<(Dialog, Message)> {
        let invite = self.invite(user, "", offer)?;
        self.wait_answered(&invite)
    }

    /// Gives up an INVITE sent before; its final answer.
    pub fn cancel(&mut self, invite: &str) -> Result<Message> {
        let request = Message::take(&mut invite.as_bytes().to_vec())?.context("a whole request")?;
        let cancel = request.cancel()?;
        self.send(&cancel)?;
        self.wait_response(&cancel, 200, PATIENCE)?;
        self.wait_response(invite, 200, PATIENCE)
    }

    /// Waits until an INVITE sent before is answered with 200, and acknowledges.
    pub fn wait_answered(&mut self, invite: &str) -> Result<(Dialog, Message)> {
        let answer = self.wait_response(invite, 200, PATIENCE)?;
        ensure!(answer.status() == Some(200), "{}: {}", self.user, answer.first_line());
        let mut dialog = Dialog::of_caller(&answer)?;
        self.send_in(&mut dialog, "ACK", "", "")?;
        Ok((dialog, answer))
    }

    /// Answers an INVITE with 200 and `answer`, and waits for its ACK.
    pub fn accept(&mut self, invite: &Message, answer: &str) -> Result<Dialog> {
        self.answer_with(invite, "200 OK", "", answer)?;
        self.wait_request("ACK", PATIENCE)?;
        self.dialog_of(invite)
    }

    /// The dialog that answering `request` makes.
    pub fn dialog_of(&self, request: &Message) -> Result<Dialog> {
        Dialog::of_callee(request, &self.tag())
    }

    /// Sends a request in a dialog; what was sent.
    pub fn send_in(&mut self, dialog: &mut Dialog, method: &str, lines: &str, body: &str) -> Result<String> {
        let request = dialog.request(method, self.protocol(), self.local, &self.contact(), lines, body);
        self.send(&request)?;
        Ok(request)
    }

    /// Sends a request in a dialog and waits for its final answer.
    pub fn exchange_in(&mut self, dialog: &mut Dialog, method: &str, lines: &str, body: &str) -> Result<Message> {
        let request = self.send_in(dialog, method, lines, body)?;
        self.wait_response(&request, 200, PATIENCE)
    }

    /// Ends a call.
    pub fn hang_up(&mut self, dialog: &mut Dialog) -> Result<()> {
        let answer = self.exchange_in(dialog, "BYE", "", "")?;
        ensure!(answer.status() == Some(200), "{}: BYE: {}", self.user, answer.first_line());
        Ok(())
    }

    /// The user it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where this phone's connection ends, for SDP.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The tag it answers with.
    pub fn tag(&self) -> String {
        format!("wire{}", self.local.port())
    }

    /// Its Contact, angle brackets included.
    pub fn contact(&self) -> String {
        let transport = self.protocol().to_ascii_lowercase();
        format!("<sip:{}@{};transport={transport}>", self.user, self.local)
    }

    /// Sends a message built by the caller.
    pub fn send(&mut self, text: &str) -> Result<()> {
        match &mut self.wire {
            Wire::Tls(stream) => {
                stream.write_all(text.as_bytes())?;
                stream.flush()?;
            }
            Wire::Udp { socket, proxy } => {
                socket.send_to(text.as_bytes(), *proxy)?;
            }
        }
        Ok(())
    }

    fn protocol(&self) -> &'static str {
        match &self.wire {
            Wire::Tls(_) => "TLS",
            Wire::Udp { .. } => "UDP",
        }
    }

    fn register_request(&mut self, call_id: &str, expires_seconds: u32, credentials: &str) -> String {
        let contact = self.contact();
        // The registrar asks for an outbound-capable first hop where there is an instance; inside there is none.
        let (instance, supported) = match self.wire {
            Wire::Tls(_) => {
                (";+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-000000000001>\";reg-id=1", "path, outbound")
            }
            Wire::Udp { .. } => ("", "path"),
        };
        let own = uri(&self.user);
        let head = self.request_head("REGISTER", &format!("sip:{DOMAIN}"), &own, call_id);
        format!(
            "{head}Contact: {contact}{instance}\r\nExpires: {expires_seconds}\r\nSupported: {supported}\r\n\
             {credentials}Content-Length: 0\r\n\r\n"
        )
    }

    fn request_head(&mut self, method: &str, target: &str, to: &str, call_id: &str) -> String {
        self.sequence += 1;
        let (local, own, protocol) = (self.local, uri(&self.user), self.protocol());
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{protocol} {local};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <{own}>;tag={call_id}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\nCSeq: {} {method}\r\n",
            unique(),
            self.sequence,
        )
    }

    /// The first message for which `fits` holds, waiting or yet to come.
    fn wait(&mut self, what: &str, patience: Duration, fits: impl Fn(&Message) -> bool) -> Result<Message> {
        let start = Instant::now();
        loop {
            if let Some(index) = self.waiting.iter().position(&fits) {
                return self.waiting.remove(index).context("found above");
            }
            let left = patience.saturating_sub(start.elapsed());
            if !self.receive(left)? {
                let seen: Vec<&str> = self.waiting.iter().map(Message::first_line).collect();
                bail!("{}: no {what} within {patience:?}; what came: {seen:?}", self.user);
            }
        }
    }

    /// Reads until one more message waits. False when none came in time.
    fn receive(&mut self, patience: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            if let Some(message) = Message::take(&mut self.received)? {
                if self.waiting.len() == WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(message);
                return Ok(true);
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let mut chunk = [0; 16 * 1024];
            let count = match self.wire.read(&mut chunk, left) {
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

impl Wire {
    fn read(&mut self, chunk: &mut [u8], patience: Duration) -> std::io::Result<usize> {
        match self {
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(Some(patience))?;
                stream.read(chunk)
            }
            Self::Udp { socket, .. } => {
                socket.set_read_timeout(Some(patience))?;
                socket.recv(chunk)
            }
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
