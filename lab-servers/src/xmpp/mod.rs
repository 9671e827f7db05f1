//! A simulated chat service: the IM and Presence nodes of a cluster, or one XMPP server, and clients of it.
//!
//! [`XmppServer`] speaks RFC 6120 and 6121 as far as two people need it who chat: STARTTLS or direct TLS, SASL, one
//! resource per session, presence, messages, a small roster, and stream management with resumption (XEP-0198) at the
//! node that holds the session. It knows nothing of push, archives or rooms. It offers things that a node in between
//! must take out, and can be broken in many ways while it runs. [`ChatClient`] is the other side. Both read with a
//! parser of their own; neither shares a line with the nodes.

mod client;
mod connection;
mod read;
mod sasl;
mod serve;
mod session;
mod world;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use client::{ChatClient, ChatConfig, ChatError, ChatTls, Kept};
pub use read::Element;
pub use sasl::Mechanism;
pub use world::{ChatFault, SessionView, StreamEnding, StreamSeen};

use crate::ca::LabCa;
use crate::uc::OneTimePasswords;
use serve::{Command, Node};
use world::{Order, Shared};

/// What a chat service is to be like.
#[derive(Clone, Debug)]
pub struct XmppConfig {
    /// The domain of its users.
    pub domain: String,
    /// Users and their passwords.
    pub users: Vec<(String, String)>,
    /// Its nodes.
    pub nodes: Vec<XmppNode>,
    /// The mechanisms it offers, besides some that nobody in between may pass on.
    pub mechanisms: Vec<Mechanism>,
    /// How long a session whose connection broke may be resumed.
    pub resume_within: Duration,
    /// Where its one-time passwords are from.
    pub one_time: OneTimePasswords,
}

/// A node.
#[derive(Clone, Debug)]
pub struct XmppNode {
    /// Its name, also in its certificate.
    pub name: String,
    /// Where it listens; port 0 for one of the system's choice.
    pub listen: SocketAddr,
    /// Whether TLS begins with the first byte.
    pub direct_tls: bool,
    /// The names in its certificate.
    pub certificate: Vec<String>,
}

impl XmppNode {
    /// A node on loopback with STARTTLS, and a certificate for its name and the domain.
    #[must_use]
    pub fn new(name: &str, domain: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            direct_tls: false,
            certificate: vec![name.to_owned(), domain.to_owned()],
        }
    }
}

impl XmppConfig {
    /// One node, `im1`.
    #[must_use]
    pub fn new(domain: &str, users: &[(&str, &str)]) -> Self {
        Self {
            domain: domain.to_owned(),
            users: users.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned())).collect(),
            nodes: vec![XmppNode::new(&format!("im1.{domain}"), domain)],
            mechanisms: Mechanism::ALL.to_vec(),
            resume_within: Duration::from_secs(60),
            one_time: OneTimePasswords::default(),
        }
    }
}

/// A running chat service; it stops when dropped.
pub struct XmppServer {
    shared: Arc<Shared>,
    nodes: Vec<(String, SocketAddr)>,
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl XmppServer {
    /// Starts all nodes, with certificates of `ca`.
    ///
    /// # Errors
    /// A port that is taken, a certificate that cannot be made.
    pub fn start(config: XmppConfig, ca: &LabCa) -> io::Result<Self> {
        let users: BTreeMap<String, String> = config.users.into_iter().collect();
        let shared = Arc::new(Shared::new(&config.domain, users, config.resume_within, config.one_time));
        let mut nodes = Vec::new();
        for node in config.nodes {
            let listener = std::net::TcpListener::bind(node.listen)?;
            let names: Vec<&str> = node.certificate.iter().map(String::as_str).collect();
            nodes.push(Node {
                address: listener.local_addr()?,
                listener: Some(listener),
                tls: serve::tls(ca, &names).map_err(io::Error::other)?,
                name: node.name,
                direct_tls: node.direct_tls,
                mechanisms: config.mechanisms.clone(),
                shared: shared.clone(),
            });
        }
        let named = nodes.iter().map(|node| (node.name.clone(), node.address)).collect();
        let (commands, asked) = mpsc::channel(crate::limits::EVENTS_QUEUE_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("lab-xmpp".to_owned())
            .spawn(move || runtime.block_on(serve::run(nodes, asked)))?;
        Ok(Self { shared, nodes: named, commands: Some(commands), thread: Some(thread) })
    }

    /// Where a node listens.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn address(&self, node: &str) -> SocketAddr {
        let found = self.nodes.iter().find(|(name, _)| name == node);
        found.map(|(_, address)| *address).expect("a node of this service")
    }

    /// Where its first node listens.
    ///
    /// # Panics
    /// If it has no nodes.
    #[must_use]
    pub fn first_address(&self) -> SocketAddr {
        self.nodes.first().map(|(_, address)| *address).expect("a service has a node")
    }

    /// Switches a node off, so that its port refuses connections, those it had are closed and its sessions are lost; or
    /// on again. Returns when it is done.
    ///
    /// # Errors
    /// The port has been lost meanwhile.
    pub fn power(&self, node: &str, on: bool) -> io::Result<()> {
        let Some(commands) = &self.commands else { return Ok(()) };
        let Some(node) = self.nodes.iter().position(|(name, _)| name == node) else { return Ok(()) };
        let (done, waiting) = std::sync::mpsc::channel();
        let stopped = || io::Error::other("the service has stopped");
        commands.try_send(Command { node, on, done }).map_err(|_| stopped())?;
        waiting.recv().map_err(|_| stopped())?
    }

    /// Breaks a node from the next step on, or mends it.
    pub fn fault(&self, node: &str, fault: Option<ChatFault>) {
        let mut world = self.shared.world();
        match fault {
            Some(fault) => _ = world.faults.insert(node.to_owned(), fault),
            None => _ = world.faults.remove(node),
        }
    }

    /// Lets a user sign in at that node only.
    pub fn home(&self, user: &str, node: &str) {
        self.shared.world().homes.insert(user.to_owned(), node.to_owned());
    }

    /// A token a user may show in OAUTHBEARER.
    pub fn accept_token(&self, token: &str, user: &str) {
        self.shared.world().tokens.insert(token.to_owned(), user.to_owned());
    }

    /// Every connection there was, oldest first.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamSeen> {
        self.shared.world().streams.iter().cloned().collect()
    }

    /// Forgets the streams.
    pub fn forget(&self) {
        self.shared.world().forget();
    }

    /// The sessions there are.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut world = self.shared.world();
        world.sweep();
        let views = world.sessions.iter().map(|session| SessionView {
            jid: session.jid.clone(),
            node: session.node.clone(),
            attached: session.orders.is_some(),
            available: session.presence.is_some(),
            received: session.managed.as_ref().map(|managed| managed.received),
            sent: session.managed.as_ref().map(|managed| managed.sent),
        });
        views.collect()
    }

    /// Sends a stanza, as it is, to the session of that full JID; whether there is one.
    #[must_use]
    pub fn push(&self, jid: &str, stanza: &str) -> bool {
        self.shared.world().route(jid, stanza, false)
    }

    /// Ends the streams of that full JID with a stream error.
    pub fn kick(&self, jid: &str) {
        let mut world = self.shared.world();
        let found = world.sessions.iter_mut().find(|session| session.jid == jid);
        if let Some(orders) = found.and_then(|session| session.orders.take()) {
            let _ = orders.try_send(Order::End("policy-violation"));
        }
    }
}

impl Drop for XmppServer {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
