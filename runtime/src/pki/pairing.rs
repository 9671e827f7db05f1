//! Joining over sockets and files: the desk of an edge (or of a further core) that answers, and the core's
//! one command.
//!
//! The decisions are in [`super::join`]; here they meet TLS, the clock and the state directories.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeway_model::NodeId;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ConnectionCommon, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client, server};

use super::identity::is_authority;
use super::join::{
    CoreJoin, CoreStep, EXPORTER_LABEL, EdgeJoin, EdgeStep, Exporter, Malformed, Message, Plan, Refusal, Standing,
};
use super::limits::{
    INVITE_FAILURES_MAX, JOIN_FAILURES_MAX, JOIN_PAUSE, JOIN_TIME_MAX, JOINS_AT_ONCE_MAX, NODE_VALIDITY,
    TOKEN_TEXT_BYTES_MAX,
};
use super::token::{InviteId, Token, TokenError};
use super::trust::{Trust, on_disk_thread};
use super::{Authority, EdgeBook, EdgeRecord, Identity, Invites, NodeKey, NodeState, PkiError, Role, tls, unix_now};

/// Why a join came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The connection failed or broke.
    #[error("cannot join {address}: {}", tls::explain_io(source))]
    Connection {
        /// The other end.
        address: String,
        /// What the system or TLS said.
        source: io::Error,
    },
    /// The edge has no invitation outstanding.
    #[error(
        "{0} has no open invitation: the token was used, withdrawn or has expired; make a new one with `edgeway edge \
         invite` there (and check that the address is the link port of that edge)"
    )]
    NoInvitation(String),
    /// It took too long.
    #[error("joining {0} took longer than 15 s: check the address, the firewall and the load of both machines")]
    TimedOut(String),
    /// The other end broke the protocol.
    #[error(transparent)]
    Protocol(#[from] Malformed),
    /// We said no.
    #[error("join refused: {0}")]
    Refused(Refusal),
    /// The other end said no.
    #[error("the peer refused the join: {0}")]
    PeerRefused(String),
    /// Files or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A completed join, as the edge sees it.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The core that joined.
    pub core: NodeId,
    /// What the edge is from now on.
    pub identity: Identity,
}

/// The edge's side: answers cores that hold a token. Lives on the thread of the link listener.
pub struct JoinDesk {
    state_dir: PathBuf,
    node: NodeId,
    role: Role,
    key: NodeKey,
    trust: Rc<Trust>,
    invites: Invites,
    config: Arc<ServerConfig>,
    wrong_proofs: RefCell<BTreeMap<InviteId, u8>>,
    failures_in_a_row: Cell<u32>,
    paused_since: Cell<Option<Instant>>,
    answering: Cell<usize>,
}

impl JoinDesk {
    /// The desk of the edge or further core `node` with what its state directory holds; a new one gets its
    /// key now.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or holds the identity of another node.
    pub fn open(state_dir: &Path, node: NodeId, role: Role) -> Result<Self, PkiError> {
        let state = NodeState::load_or_create(state_dir)?;
        if let Some(identity) = state.identity() {
            check_owner(identity, &node, role)?;
        }
        Ok(Self {
            state_dir: state_dir.to_owned(),
            node,
            role,
            config: tls::join_server_config(state.key())?,
            key: state.key().clone(),
            trust: Trust::in_state(state_dir, state.identity().cloned()),
            invites: Invites::in_state(state_dir),
            wrong_proofs: RefCell::default(),
            failures_in_a_row: Cell::new(0),
            paused_since: Cell::new(None),
            answering: Cell::new(0),
        })
    }

    /// What the edge is now; `None` while unpaired.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.trust.identity()
    }

    /// Whom this node trusts, and by what it is trusted.
    #[must_use]
    pub fn trust(&self) -> Rc<Trust> {
        Rc::clone(&self.trust)
    }

    /// The edge's key, paired or not.
    #[must_use]
    pub const fn key(&self) -> &NodeKey {
        &self.key
    }

    /// Whether a join would be answered now: an invitation is outstanding, and neither too many
    /// joins are in progress nor have too many failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let paused = self.paused_since.get().is_some_and(|since| since.elapsed() < JOIN_PAUSE);
        !paused && self.answering.get() < JOINS_AT_ONCE_MAX && self.invites.outstanding(unix_now()) > 0
    }

    /// The TLS configuration of joining.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Answers one core, within [`JOIN_TIME_MAX`].
    ///
    /// # Errors
    /// Why nothing came of it; the core has been told where possible.
    pub async fn answer<S>(&self, stream: server::TlsStream<S>, peer: String) -> Result<Joined, JoinError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let _place = Place::take(&self.answering);
        let outcome = timeout(JOIN_TIME_MAX, self.converse(stream, &peer)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(JoinError::TimedOut(peer)));
        self.count(outcome.is_ok());
        outcome
    }

    async fn converse<S>(&self, mut stream: server::TlsStream<S>, peer: &str) -> Result<Joined, JoinError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let authority = self.identity().as_ref().map(Identity::authority_hash);
        let mut join = EdgeJoin::new(exporter(stream.get_ref().1, peer)?, self.node.clone(), self.role, authority);
        let mut joined = None;
        let mut current = None;
        let mut step = join.handle_message(receive(&mut stream, peer).await?);
        loop {
            step = match step {
                EdgeStep::FindInvite(invite) => {
                    current = Some(invite);
                    join.handle_invite(self.invites.find(invite), unix_now())
                }
                EdgeStep::ConsumeInvite(invite) => {
                    let invites = self.invites.clone();
                    join.handle_consumed(on_disk_thread(move || invites.consume(invite)).await?)
                }
                EdgeStep::Send(message) => {
                    send(&mut stream, &message, peer).await?;
                    join.handle_message(receive(&mut stream, peer).await?)
                }
                EdgeStep::Store { core, authority, certificate } => {
                    let outcome = self.accept(authority, certificate).await;
                    let refusal = outcome.as_ref().err().cloned();
                    joined = outcome.ok().map(|identity| Joined { core, identity });
                    join.handle_stored(refusal.map_or(Ok(()), Err))
                }
                EdgeStep::Finish => {
                    // The pair stands even if `Done` gets lost: a new join then finds it so.
                    let _ = send(&mut stream, &Message::Done, peer).await;
                    let _ = stream.shutdown().await;
                    return joined.ok_or(JoinError::Refused(Refusal::Protocol));
                }
                EdgeStep::Refuse(refusal) => {
                    if let (Refusal::WrongSecret, Some(invite)) = (&refusal, current) {
                        self.count_wrong_proof(invite);
                    }
                    return Err(refuse(stream, refusal, peer).await);
                }
                EdgeStep::PeerRefused(why) => return Err(JoinError::PeerRefused(why)),
            };
        }
    }

    /// Checks what a core granted, and makes it ours.
    async fn accept(&self, authority: Vec<u8>, certificate: Option<Vec<u8>>) -> Result<Identity, Refusal> {
        let authority = CertificateDer::from(authority);
        // Read again: two cores may be joining at the same time.
        let present = self.identity();
        if let Some(present) = &present
            && present.authority() != &authority
        {
            return Err(Refusal::ForeignAuthority);
        }
        let Some(certificate) = certificate else { return present.ok_or(Refusal::Protocol) };
        let identity = Identity::new(self.key.clone(), CertificateDer::from(certificate), authority)
            .map_err(|error| Refusal::Grant(error.to_string()))?;
        check_owner(&identity, &self.node, self.role).map_err(|error| Refusal::Grant(error.to_string()))?;
        let identity = match present.as_ref().and_then(Identity::revoked) {
            Some(list) => identity.with_revoked(list.clone()),
            None => identity,
        };
        let (stored, dir) = (identity.clone(), self.state_dir.clone());
        on_disk_thread(move || stored.store(&dir))
            .await
            .map_err(|error| Refusal::Internal(format!("the edge could not store its identity: {error}")))?;
        self.trust.replace(identity.clone());
        Ok(identity)
    }

    fn count_wrong_proof(&self, invite: InviteId) {
        let mut wrong = self.wrong_proofs.borrow_mut();
        // Only invitations that exist are counted, so this cannot grow past a handful.
        wrong.retain(|known, _| self.invites.find(*known).is_some_and(|record| !record.used));
        let count = wrong.entry(invite).or_insert(0);
        *count += 1;
        if *count >= INVITE_FAILURES_MAX {
            self.invites.withdraw(invite);
            tracing::warn!("an invitation was withdrawn after {count} joins with a wrong secret");
        }
    }

    fn count(&self, success: bool) {
        let failures = if success { 0 } else { self.failures_in_a_row.get() + 1 };
        self.failures_in_a_row.set(failures);
        if failures >= JOIN_FAILURES_MAX {
            self.failures_in_a_row.set(0);
            self.paused_since.set(Some(Instant::now()));
            tracing::warn!("{failures} joins failed in a row: joining pauses for {} s", JOIN_PAUSE.as_secs());
        }
    }
}

/// One join in progress; counted down even if its task is dropped.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn take(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The token an operator means by `argument`: the token itself, `-` for standard input, or the path
/// of a file, so that the secret need not stand in the list of processes or the shell's history.
///
/// # Errors
/// If it cannot be read, or is no token.
pub fn read_token(argument: &str) -> Result<Token, TokenSourceError> {
    if argument.starts_with("edgewayj") {
        return Ok(Token::parse(argument)?);
    }
    let unreadable = |source| TokenSourceError::Unreadable { from: argument.to_owned(), source };
    let mut text = String::new();
    if argument == "-" {
        // One line is enough: an operator who pastes it into a terminal sends no end of file.
        io::stdin().lock().take(TOKEN_TEXT_BYTES_MAX).read_line(&mut text).map_err(unreadable)?;
    } else {
        let file = File::open(argument).map_err(unreadable)?;
        io::Read::read_to_string(&mut file.take(TOKEN_TEXT_BYTES_MAX), &mut text).map_err(unreadable)?;
    }
    Ok(Token::parse(&text)?)
}

/// Why there is no token to join with.
#[derive(Debug, thiserror::Error)]
pub enum TokenSourceError {
    /// Neither a token nor a file that can be read.
    #[error("`{from}` is neither a join token nor a file that can be read ({source}); `-` reads standard input")]
    Unreadable {
        /// What was given.
        from: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was read is no token.
    #[error(transparent)]
    NoToken(#[from] TokenError),
}

/// What a core's join led to.
#[derive(Clone, Debug)]
pub struct CoreJoined {
    /// The edge, now in `edges.json`.
    pub edge: EdgeRecord,
    /// What this core is.
    pub identity: Identity,
    /// Whether the CA was made by this join.
    pub authority_created: bool,
}

/// Joins the edge that made `token`: the core's one command. Makes the CA and this core's own
/// identity if this is the first start of the first core.
///
/// # Errors
/// Why the two are no pair; nothing has been recorded then.
pub async fn join(state_dir: &Path, node: &NodeId, token: &Token) -> Result<CoreJoined, JoinError> {
    join_for(state_dir, node, token, NODE_VALIDITY).await
}

/// As [`join`], with the life of the certificates that this core signs.
///
/// # Errors
/// As [`join`].
pub async fn join_for(
    state_dir: &Path,
    node: &NodeId,
    token: &Token,
    validity: Duration,
) -> Result<CoreJoined, JoinError> {
    let address = token.address().to_owned();
    timeout(JOIN_TIME_MAX, join_edge(state_dir, node, token, validity))
        .await
        .unwrap_or_else(|_| Err(JoinError::TimedOut(address)))
}

async fn join_edge(
    state_dir: &Path,
    node: &NodeId,
    token: &Token,
    validity: Duration,
) -> Result<CoreJoined, JoinError> {
    let address = token.address();
    // What is wrong on our side is found out before the token is used up.
    let standing = standing(state_dir, node)?;
    let mut stream = dial(token).await?;
    let (mut join, hello) = CoreJoin::new(token, exporter(stream.get_ref().1, address)?, node);
    send(&mut stream, &hello, address).await?;
    let mut made = None;
    loop {
        match join.handle_message(receive(&mut stream, address).await?) {
            CoreStep::Grant { edge, role, authority } => {
                let certificate = peer_certificate(&stream).ok_or(JoinError::Refused(Refusal::Protocol))?;
                let granted = grant(
                    state_dir,
                    node,
                    (&edge, role),
                    standing.plan(authority),
                    &certificate,
                    token.key_hash(),
                    validity,
                );
                match granted {
                    Ok((message, identity, created)) => {
                        send(&mut stream, &message, address).await?;
                        made = Some((identity, created));
                    }
                    Err(JoinError::Refused(refusal)) => return Err(refuse(stream, refusal, address).await),
                    Err(error) => {
                        let refusal = Refusal::Internal("the core failed: its own output says how".to_owned());
                        let _ = refuse(stream, refusal, address).await;
                        return Err(error);
                    }
                }
            }
            CoreStep::Record(edge, role) => {
                let (identity, authority_created) = made.ok_or(JoinError::Refused(Refusal::Protocol))?;
                let edge = EdgeRecord { node: edge, role, address: address.to_owned(), key_hash: token.key_hash() };
                let mut book = EdgeBook::load(state_dir)?;
                book.record(edge.clone())?;
                book.store(state_dir)?;
                return Ok(CoreJoined { edge, identity, authority_created });
            }
            CoreStep::PeerRefused(why) => return Err(JoinError::PeerRefused(why)),
            CoreStep::Refuse(refusal) => return Err(refuse(stream, refusal, address).await),
        }
    }
}

/// What this core holds, by its state directory.
fn standing(state_dir: &Path, node: &NodeId) -> Result<Standing, PkiError> {
    let state = NodeState::load(state_dir)?;
    let identity = state.as_ref().and_then(NodeState::identity);
    if let Some(identity) = identity {
        check_owner(identity, node, Role::Core)?;
    }
    EdgeBook::load(state_dir)?;
    Ok(match (Authority::load(state_dir)?, identity) {
        (Some(authority), _) => Standing::Holder(Sha256::digest(authority.certificate()).into()),
        (None, Some(identity)) => Standing::Member(identity.authority_hash()),
        (None, None) => Standing::Nothing,
    })
}

fn grant(
    state_dir: &Path,
    node: &NodeId,
    (edge, role): (&NodeId, Role),
    plan: Result<Plan, Refusal>,
    certificate: &CertificateDer<'_>,
    key_hash: [u8; 32],
    validity: Duration,
) -> Result<(Message, Identity, bool), JoinError> {
    let plan = plan.map_err(JoinError::Refused)?;
    check_name(state_dir, node, edge, key_hash)?;
    if plan == Plan::Record {
        let state = NodeState::load(state_dir)?;
        let identity = state.as_ref().and_then(NodeState::identity).cloned();
        let identity = identity.ok_or(JoinError::Refused(Refusal::NoIdentity))?;
        return Ok((Message::Grant { authority: identity.authority().to_vec(), certificate: None }, identity, false));
    }
    let authority = Authority::load_or_create(state_dir)?.with_validity(validity);
    let identity = own_identity(state_dir, node, &authority)?;
    let public_key = super::identity::public_key_of(certificate).ok_or(JoinError::Refused(Refusal::Protocol))?;
    let signed = authority.sign_node(&public_key, edge, role)?;
    let message = Message::Grant { authority: authority.certificate().to_vec(), certificate: Some(signed.to_vec()) };
    Ok((message, identity, plan == Plan::CreateAndSign))
}

/// One name, one key.
fn check_name(state_dir: &Path, node: &NodeId, edge: &NodeId, key_hash: [u8; 32]) -> Result<(), JoinError> {
    if edge == node {
        let why = format!("the edge calls itself {edge}, as this core does: give one of them another name");
        return Err(JoinError::Refused(Refusal::Conflict(why)));
    }
    match EdgeBook::load(state_dir)?.find(edge) {
        Some(known) if known.key_hash != key_hash => {
            let why = format!(
                "an edge named {edge} with another key is recorded at {}: give the new one another name, or, if it \
                 replaces the old one, forget that first (`edgeway core forget {edge}`)",
                known.address
            );
            Err(JoinError::Refused(Refusal::Conflict(why)))
        }
        _ => Ok(()),
    }
}

/// The identity of the core that holds the CA; made now if this is its first start.
fn own_identity(state_dir: &Path, node: &NodeId, authority: &Authority) -> Result<Identity, PkiError> {
    let state = NodeState::load_or_create(state_dir)?;
    if let Some(identity) = state.identity()
        && identity.authority() == authority.certificate()
    {
        return Ok(identity.clone());
    }
    let certificate = authority.sign_node(&state.key().public_key(), node, Role::Core)?;
    let identity = Identity::new(state.key().clone(), certificate, authority.certificate().clone())?;
    debug_assert!(is_authority(identity.authority()));
    identity.store(state_dir)?;
    Ok(identity)
}

fn check_owner(identity: &Identity, node: &NodeId, role: Role) -> Result<(), PkiError> {
    if identity.node() == node && identity.role() == role {
        return Ok(());
    }
    Err(PkiError::Certificate(format!(
        "it is of the {} {}, but this is the {role} {node}: use the name the certificate carries, or another state \
         directory",
        identity.role(),
        identity.node()
    )))
}

async fn dial(token: &Token) -> Result<client::TlsStream<TcpStream>, JoinError> {
    let address = token.address();
    let failed = |source| JoinError::Connection { address: address.to_owned(), source };
    let config = tls::join_client_config(token.key_hash())?;
    let name = ServerName::try_from(tls::JOIN_NAME).expect("the constant is a legal DNS name");
    let tcp = TcpStream::connect(address).await.map_err(failed)?;
    TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) = tls {
            return JoinError::NoInvitation(address.to_owned());
        }
        failed(error)
    })
}

fn peer_certificate(stream: &client::TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates()?.first().cloned()
}

fn exporter<D>(connection: &ConnectionCommon<D>, peer: &str) -> Result<Exporter, JoinError> {
    connection
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(|error| JoinError::Connection { address: peer.to_owned(), source: io::Error::other(error) })
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &Message, peer: &str) -> Result<(), JoinError> {
    let failed = |source| JoinError::Connection { address: peer.to_owned(), source };
    stream.write_all(&message.encode()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, peer: &str) -> Result<Message, JoinError> {
    let failed = |source| JoinError::Connection { address: peer.to_owned(), source };
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let mut body = vec![0; Message::length(head)?];
    stream.read_exact(&mut body).await.map_err(failed)?;
    Ok(Message::decode(&body)?)
}

/// Tells the other end, closes, and gives back the error for our own operator.
async fn refuse<S: AsyncWrite + Unpin>(mut stream: S, refusal: Refusal, peer: &str) -> JoinError {
    let _ = send(&mut stream, &Message::Refused { why: refusal.to_string() }, peer).await;
    let _ = stream.shutdown().await;
    JoinError::Refused(refusal)
}
