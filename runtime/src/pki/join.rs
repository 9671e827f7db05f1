//! Joining: how an edge and a core, or two cores, become a pair. Pure: messages, proofs, and one machine per
//! side. The one that was invited into the cluster, called the edge here, may be a further core: it says so
//! in its welcome, under the same proof.
//!
//! ```text
//!   core                          TLS 1.3, ALPN edgeway-join/1, edge's key pinned        edge
//!    │ Hello   {invite, core, HMAC(key, "core" ‖ exporter ‖ …)} ──────────────────────▶ │ finds the invitation,
//!    │                                                                                  │ checks, uses it up
//!    │ ◀────────────── Welcome {edge, its CA if paired, HMAC(key, "edge" ‖ exporter ‖ …)} │
//!    │ Grant   {CA certificate, node certificate for the edge's key} ─────────────────▶ │ checks, stores
//!    │ ◀─────────────────────────────────────────────────────────────────────────── Done │
//!    records the edge                       (either side, at any time: Refused {text})
//! ```
//! The exporter (RFC 5705, RFC 8446 §7.5) ties each proof to this one TLS connection: whoever sits
//! in the middle ends a different connection on each side, and what it sees proves nothing
//! elsewhere. The edge's possession of its key is proven by TLS itself.

use std::fmt;

use edgeway_model::{NodeId, Role};
use hmac::Mac;

use super::limits::{CERTIFICATE_BYTES_MAX, JOIN_MESSAGE_BYTES_MAX, REFUSAL_BYTES_MAX};
use super::token::{InviteId, InviteKey, Token, mac};

/// The label of the TLS exporter.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-edgeway-join-1";

/// What the TLS exporter yields on both sides of one connection.
pub type Exporter = [u8; 32];

/// One message of the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Core to edge: this invitation, and proof that I hold its token.
    Hello {
        /// Which invitation.
        invite: InviteId,
        /// Who is joining.
        core: NodeId,
        /// HMAC over the exporter.
        proof: [u8; 32],
    },
    /// Edge to core: and this is the edge that made it.
    Welcome {
        /// The edge's name.
        edge: NodeId,
        /// Edge, or further core.
        role: Role,
        /// SHA-256 of the CA the edge belongs to, if it is paired.
        authority: Option<[u8; 32]>,
        /// HMAC over the exporter.
        proof: [u8; 32],
    },
    /// Core to edge: our CA, and your certificate (absent: keep the one you have).
    Grant {
        /// The CA certificate, DER.
        authority: Vec<u8>,
        /// The node certificate for the edge's key, DER.
        certificate: Option<Vec<u8>>,
    },
    /// Edge to core: stored.
    Done,
    /// Either way: no, and why. Ends the dialogue.
    Refused {
        /// For the operator at the other end.
        why: String,
    },
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not follow the join protocol")]
pub struct Malformed;

impl Message {
    /// The message on the wire: two bytes of length, a type, its fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0, 0];
        match self {
            Self::Hello { invite, core, proof } => {
                out.push(1);
                out.extend_from_slice(&invite.0);
                out.extend_from_slice(proof);
                out.extend_from_slice(core.as_str().as_bytes());
            }
            Self::Welcome { edge, role, authority, proof } => {
                out.push(2);
                out.extend_from_slice(proof);
                out.extend_from_slice(&standing_field(*role, authority.as_ref()));
                out.extend_from_slice(edge.as_str().as_bytes());
            }
            Self::Grant { authority, certificate } => {
                out.push(3);
                put_blob(&mut out, authority);
                put_blob(&mut out, certificate.as_deref().unwrap_or_default());
            }
            Self::Done => out.push(4),
            Self::Refused { why } => {
                out.push(5);
                out.extend_from_slice(cut(why).as_bytes());
            }
        }
        let length = u16::try_from(out.len() - 2).expect("the fields are bounded far below 64 KiB");
        out[..2].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// The length announced by the first two bytes.
    ///
    /// # Errors
    /// If it is zero or above [`JOIN_MESSAGE_BYTES_MAX`].
    pub fn length(head: [u8; 2]) -> Result<usize, Malformed> {
        let length = usize::from(u16::from_be_bytes(head));
        if length == 0 || length > JOIN_MESSAGE_BYTES_MAX { Err(Malformed) } else { Ok(length) }
    }

    /// Reads what follows the two bytes of length.
    ///
    /// # Errors
    /// If it is no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, body) = bytes.split_first().ok_or(Malformed)?;
        match kind {
            1 => {
                let (invite, body) = body.split_first_chunk::<8>().ok_or(Malformed)?;
                let (proof, name) = body.split_first_chunk::<32>().ok_or(Malformed)?;
                Ok(Self::Hello { invite: InviteId(*invite), core: node(name)?, proof: *proof })
            }
            2 => {
                let (proof, body) = body.split_first_chunk::<32>().ok_or(Malformed)?;
                let (authority, name) = body.split_first_chunk::<33>().ok_or(Malformed)?;
                let (paired, hash) = authority.split_first_chunk::<1>().ok_or(Malformed)?;
                let hash = <[u8; 32]>::try_from(hash).map_err(|_| Malformed)?;
                let (role, authority) = match paired {
                    [0] if hash == [0; 32] => (Role::Edge, None),
                    [1] => (Role::Edge, Some(hash)),
                    [2] if hash == [0; 32] => (Role::Core, None),
                    [3] => (Role::Core, Some(hash)),
                    _ => return Err(Malformed),
                };
                Ok(Self::Welcome { edge: node(name)?, role, authority, proof: *proof })
            }
            3 => {
                let (authority, body) = take_blob(body)?;
                let (certificate, body) = take_blob(body)?;
                if authority.is_empty() || !body.is_empty() {
                    return Err(Malformed);
                }
                let certificate = (!certificate.is_empty()).then(|| certificate.to_vec());
                Ok(Self::Grant { authority: authority.to_vec(), certificate })
            }
            4 if body.is_empty() => Ok(Self::Done),
            5 if body.len() <= REFUSAL_BYTES_MAX => {
                let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
                // It is shown on a terminal: nothing in it may steer one.
                Ok(Self::Refused { why: text.chars().filter(|c| !c.is_control()).collect() })
            }
            _ => Err(Malformed),
        }
    }
}

/// Why a side says no. `Display` is what the operator at the other end reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such invitation.
    UnknownToken,
    /// The proof does not fit the invitation.
    WrongSecret,
    /// The invitation is over.
    Expired,
    /// Somebody has used the token already.
    Used,
    /// The edge belongs to another CA.
    ForeignAuthority,
    /// The core has an identity but not the CA, so it cannot sign for a new edge.
    NotHolder,
    /// The edge is paired, and the core has no identity yet.
    NoIdentity,
    /// What was granted does not fit.
    Grant(String),
    /// A message that does not belong here.
    Protocol,
    /// The edge has another name or key recorded.
    Conflict(String),
    /// The disk or the system failed.
    Internal(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::UnknownToken => {
                "the edge does not know this token (it may have been withdrawn): make a new one with `edgeway edge \
                 invite`"
            }
            Self::WrongSecret => {
                "the token does not fit this edge's invitation: make a new one with `edgeway edge invite`"
            }
            Self::Expired => "the token has expired: make a new one with `edgeway edge invite`",
            Self::Used => {
                "the token has been used already: make a new one with `edgeway edge invite`; if nobody of yours used \
                 it, find out who did"
            }
            Self::ForeignAuthority => {
                "the edge belongs to another CA than this core: to take it over, remove identity.pem from the edge's \
                 state directory, restart it and invite again"
            }
            Self::NotHolder => {
                "this core has an identity but not the CA, so it cannot sign for a new edge: join from the core that \
                 holds the CA first, then from here"
            }
            Self::NoIdentity => {
                "the edge is paired already and this core has no identity: issue one with `edgeway pki issue` on the \
                 core that holds the CA, copy it here, then join again"
            }
            Self::Protocol => "the peer does not follow the join protocol: bring both nodes to the same version",
            Self::Grant(why) | Self::Conflict(why) | Self::Internal(why) => why,
        };
        f.write_str(text)
    }
}

impl std::error::Error for Refusal {}

/// An invitation as the edge keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRecord {
    /// Derived from the secret.
    pub key: InviteKey,
    /// Unix seconds.
    pub expires_unix: u64,
    /// Whether a core has used it.
    pub used: bool,
}

/// What the edge's driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeStep {
    /// Look it up and call [`EdgeJoin::handle_invite`].
    FindInvite(InviteId),
    /// Use it up, so that exactly one caller succeeds, and call [`EdgeJoin::handle_consumed`].
    ConsumeInvite(InviteId),
    /// Send it and read the next message.
    Send(Message),
    /// Check and store what was granted, then call [`EdgeJoin::handle_stored`].
    Store {
        /// Who granted it.
        core: NodeId,
        /// The CA certificate, DER.
        authority: Vec<u8>,
        /// The node certificate, DER; `None`: keep the one there is.
        certificate: Option<Vec<u8>>,
    },
    /// Send `Done`; the join is complete.
    Finish,
    /// Send the refusal and close. A wrong secret counts against the invitation.
    Refuse(Refusal),
    /// The core said no, and why; close.
    PeerRefused(String),
}

/// The edge's side of a join.
#[derive(Debug)]
pub struct EdgeJoin {
    exporter: Exporter,
    edge: NodeId,
    role: Role,
    authority: Option<[u8; 32]>,
    state: EdgeState,
}

#[derive(Debug)]
enum EdgeState {
    AwaitingHello,
    Finding { invite: InviteId, core: NodeId, proof: [u8; 32] },
    Consuming { invite: InviteId, core: NodeId, key: InviteKey },
    AwaitingGrant { core: NodeId },
    Storing,
    Over,
}

impl EdgeJoin {
    /// `authority` is the hash of the CA this edge belongs to, if it is paired.
    #[must_use]
    pub const fn new(exporter: Exporter, edge: NodeId, role: Role, authority: Option<[u8; 32]>) -> Self {
        Self { exporter, edge, role, authority, state: EdgeState::AwaitingHello }
    }

    /// A message from the core.
    pub fn handle_message(&mut self, message: Message) -> EdgeStep {
        match (self.take(), message) {
            (_, Message::Refused { why }) => EdgeStep::PeerRefused(why),
            (EdgeState::AwaitingHello, Message::Hello { invite, core, proof }) => {
                self.state = EdgeState::Finding { invite, core, proof };
                EdgeStep::FindInvite(invite)
            }
            (EdgeState::AwaitingGrant { core }, Message::Grant { authority, certificate }) => {
                if certificate.is_none() && self.authority.is_none() {
                    return EdgeStep::Refuse(Refusal::Protocol);
                }
                self.state = EdgeState::Storing;
                EdgeStep::Store { core, authority, certificate }
            }
            _ => EdgeStep::Refuse(Refusal::Protocol),
        }
    }

    /// The invitation asked for, if there is one.
    pub fn handle_invite(&mut self, record: Option<InviteRecord>, now_unix: u64) -> EdgeStep {
        let EdgeState::Finding { invite, core, proof } = self.take() else {
            return EdgeStep::Refuse(Refusal::Protocol);
        };
        let Some(record) = record else { return EdgeStep::Refuse(Refusal::UnknownToken) };
        // The proof comes first: only the holder of the token learns what became of it.
        if core_proof(&record.key, &self.exporter, invite, &core).verify_slice(&proof).is_err() {
            return EdgeStep::Refuse(Refusal::WrongSecret);
        }
        if record.used {
            return EdgeStep::Refuse(Refusal::Used);
        }
        if now_unix >= record.expires_unix {
            return EdgeStep::Refuse(Refusal::Expired);
        }
        self.state = EdgeState::Consuming { invite, core, key: record.key };
        EdgeStep::ConsumeInvite(invite)
    }

    /// Whether it was we who used the invitation up.
    pub fn handle_consumed(&mut self, ours: bool) -> EdgeStep {
        let EdgeState::Consuming { invite, core, key } = self.take() else {
            return EdgeStep::Refuse(Refusal::Protocol);
        };
        if !ours {
            return EdgeStep::Refuse(Refusal::Used);
        }
        let proof = edge_proof(&key, &self.exporter, invite, &self.edge, self.role, self.authority.as_ref());
        self.state = EdgeState::AwaitingGrant { core };
        EdgeStep::Send(Message::Welcome {
            edge: self.edge.clone(),
            role: self.role,
            authority: self.authority,
            proof: proof.finalize().into_bytes().into(),
        })
    }

    /// What became of the grant.
    pub fn handle_stored(&mut self, outcome: Result<(), Refusal>) -> EdgeStep {
        match (self.take(), outcome) {
            (EdgeState::Storing, Ok(())) => EdgeStep::Finish,
            (EdgeState::Storing, Err(refusal)) => EdgeStep::Refuse(refusal),
            _ => EdgeStep::Refuse(Refusal::Protocol),
        }
    }

    const fn take(&mut self) -> EdgeState {
        std::mem::replace(&mut self.state, EdgeState::Over)
    }
}

/// What the core holds when it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither CA nor identity: its first start.
    Nothing,
    /// An identity of the CA with this hash, but not the CA.
    Member([u8; 32]),
    /// The CA with this hash.
    Holder([u8; 32]),
}

/// What the core grants an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make a CA, then sign for the edge.
    CreateAndSign,
    /// Sign for the edge.
    Sign,
    /// The edge keeps its certificate; the core only records it.
    Record,
}

impl Standing {
    /// What to grant an edge that belongs to the CA `paired`, or to none.
    ///
    /// # Errors
    /// Why the two cannot become a pair.
    pub fn plan(self, paired: Option<[u8; 32]>) -> Result<Plan, Refusal> {
        match (self, paired) {
            (Self::Nothing, None) => Ok(Plan::CreateAndSign),
            (Self::Nothing, Some(_)) => Err(Refusal::NoIdentity),
            (Self::Member(_), None) => Err(Refusal::NotHolder),
            (Self::Holder(_), None) => Ok(Plan::Sign),
            (Self::Member(ours) | Self::Holder(ours), Some(theirs)) if ours != theirs => Err(Refusal::ForeignAuthority),
            (Self::Member(_), Some(_)) => Ok(Plan::Record),
            // A fresh certificate: joining again renews.
            (Self::Holder(_), Some(_)) => Ok(Plan::Sign),
        }
    }
}

/// What the core's driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreStep {
    /// Decide by [`Standing::plan`], send a `Grant`, read the next message.
    Grant {
        /// The edge's name, proven.
        edge: NodeId,
        /// Edge, or further core; proven.
        role: Role,
        /// The CA it belongs to.
        authority: Option<[u8; 32]>,
    },
    /// The edge has stored it: record the edge.
    Record(NodeId, Role),
    /// The edge said no, and why.
    PeerRefused(String),
    /// Send the refusal and close.
    Refuse(Refusal),
}

/// The core's side of a join.
#[derive(Debug)]
pub struct CoreJoin {
    exporter: Exporter,
    invite: InviteId,
    key: InviteKey,
    edge: Option<(NodeId, Role)>,
}

impl CoreJoin {
    /// Begins: the machine, and the message to send.
    #[must_use]
    pub fn new(token: &Token, exporter: Exporter, core: &NodeId) -> (Self, Message) {
        let (invite, key) = (token.invite_id(), token.invite_key());
        let proof = core_proof(&key, &exporter, invite, core).finalize().into_bytes().into();
        (Self { exporter, invite, key, edge: None }, Message::Hello { invite, core: core.clone(), proof })
    }

    /// A message from the edge.
    pub fn handle_message(&mut self, message: Message) -> CoreStep {
        match (self.edge.take(), message) {
            (_, Message::Refused { why }) => CoreStep::PeerRefused(why),
            (None, Message::Welcome { edge, role, authority, proof }) => {
                let expected = edge_proof(&self.key, &self.exporter, self.invite, &edge, role, authority.as_ref());
                if expected.verify_slice(&proof).is_err() {
                    return CoreStep::Refuse(Refusal::WrongSecret);
                }
                self.edge = Some((edge.clone(), role));
                CoreStep::Grant { edge, role, authority }
            }
            (Some((edge, role)), Message::Done) => CoreStep::Record(edge, role),
            _ => CoreStep::Refuse(Refusal::Protocol),
        }
    }
}

fn core_proof(key: &InviteKey, exporter: &Exporter, invite: InviteId, core: &NodeId) -> hmac::Hmac<sha2::Sha256> {
    mac(key.expose(), &[b"edgeway-join/1 core", exporter, &invite.0, core.as_str().as_bytes()])
}

fn edge_proof(
    key: &InviteKey,
    exporter: &Exporter,
    invite: InviteId,
    edge: &NodeId,
    role: Role,
    authority: Option<&[u8; 32]>,
) -> hmac::Hmac<sha2::Sha256> {
    let authority = standing_field(role, authority);
    mac(key.expose(), &[b"edgeway-join/1 edge", exporter, &invite.0, &authority, edge.as_str().as_bytes()])
}

/// One byte (1: paired, 2: a core), then the hash or zeros: fixed length, so that the name after it is
/// unambiguous.
fn standing_field(role: Role, authority: Option<&[u8; 32]>) -> [u8; 33] {
    let mut field = [0; 33];
    field[0] = if role == Role::Core { 2 } else { 0 };
    if let Some(hash) = authority {
        field[0] |= 1;
        field[1..].copy_from_slice(hash);
    }
    field
}

fn node(bytes: &[u8]) -> Result<NodeId, Malformed> {
    std::str::from_utf8(bytes).ok().and_then(NodeId::new).ok_or(Malformed)
}

fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    let length = u16::try_from(blob.len()).expect("certificates are bounded by CERTIFICATE_BYTES_MAX");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(blob);
}

fn take_blob(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length > CERTIFICATE_BYTES_MAX {
        return Err(Malformed);
    }
    rest.split_at_checked(length).ok_or(Malformed)
}

/// At most [`REFUSAL_BYTES_MAX`] bytes, whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(REFUSAL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use edgeway_model::Secret;
    use proptest::prelude::*;

    use super::*;

    fn token(secret: u8) -> Token {
        Token::new("edge1:7001", [7; 32], Secret::new([secret; 32])).unwrap()
    }

    fn node_id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn record(token: &Token) -> InviteRecord {
        InviteRecord { key: token.invite_key(), expires_unix: 1_000, used: false }
    }

    fn edge(exporter: Exporter) -> EdgeJoin {
        EdgeJoin::new(exporter, node_id("edge1"), Role::Edge, None)
    }

    #[test]
    fn the_happy_path() {
        let token = token(1);
        let (mut core, hello) = CoreJoin::new(&token, [3; 32], &node_id("core1"));
        let mut edge = edge([3; 32]);
        assert_eq!(edge.handle_message(hello), EdgeStep::FindInvite(token.invite_id()));
        assert_eq!(edge.handle_invite(Some(record(&token)), 999), EdgeStep::ConsumeInvite(token.invite_id()));
        let EdgeStep::Send(welcome) = edge.handle_consumed(true) else { panic!() };
        assert_eq!(
            core.handle_message(welcome),
            CoreStep::Grant { edge: node_id("edge1"), role: Role::Edge, authority: None }
        );
        let step = edge.handle_message(Message::Grant { authority: vec![1], certificate: Some(vec![2]) });
        assert!(matches!(step, EdgeStep::Store { .. }));
        assert_eq!(edge.handle_stored(Ok(())), EdgeStep::Finish);
        assert_eq!(core.handle_message(Message::Done), CoreStep::Record(node_id("edge1"), Role::Edge));
    }

    #[test]
    fn a_proof_for_one_connection_is_worth_nothing_on_another() {
        let token = token(1);
        let (mut core, hello) = CoreJoin::new(&token, [3; 32], &node_id("core1"));
        let mut relayed = edge([4; 32]);
        relayed.handle_message(hello);
        assert_eq!(relayed.handle_invite(Some(record(&token)), 0), EdgeStep::Refuse(Refusal::WrongSecret));
        let proof = edge_proof(&token.invite_key(), &[4; 32], token.invite_id(), &node_id("edge1"), Role::Edge, None);
        let proof = proof.finalize().into_bytes().into();
        let step =
            core.handle_message(Message::Welcome { edge: node_id("edge1"), role: Role::Edge, authority: None, proof });
        assert_eq!(step, CoreStep::Refuse(Refusal::WrongSecret));
    }

    #[test]
    fn a_core_proof_does_not_serve_as_an_edge_proof() {
        let token = token(1);
        let (mut core, hello) = CoreJoin::new(&token, [3; 32], &node_id("edge1"));
        let Message::Hello { proof, .. } = hello else { panic!() };
        let step =
            core.handle_message(Message::Welcome { edge: node_id("edge1"), role: Role::Edge, authority: None, proof });
        assert_eq!(step, CoreStep::Refuse(Refusal::WrongSecret));
    }

    #[test]
    fn unknown_wrong_expired_used_and_raced() {
        let token = token(1);
        let refused = |record: Option<InviteRecord>, now: u64| {
            let mut edge = edge([3; 32]);
            edge.handle_message(CoreJoin::new(&token, [3; 32], &node_id("core1")).1);
            edge.handle_invite(record, now)
        };
        assert_eq!(refused(None, 0), EdgeStep::Refuse(Refusal::UnknownToken));
        let mut wrong = record(&token);
        wrong.key = Secret::new([8; 32]);
        wrong.used = true;
        assert_eq!(refused(Some(wrong), 0), EdgeStep::Refuse(Refusal::WrongSecret), "no oracle without the secret");
        assert_eq!(refused(Some(record(&token)), 1_000), EdgeStep::Refuse(Refusal::Expired));
        let used = InviteRecord { used: true, ..record(&token) };
        assert_eq!(refused(Some(used), 0), EdgeStep::Refuse(Refusal::Used));

        let mut edge = edge([3; 32]);
        edge.handle_message(CoreJoin::new(&token, [3; 32], &node_id("core1")).1);
        edge.handle_invite(Some(record(&token)), 0);
        assert_eq!(edge.handle_consumed(false), EdgeStep::Refuse(Refusal::Used));
    }

    #[test]
    fn messages_out_of_turn_end_it() {
        let mut edge = edge([3; 32]);
        let grant = Message::Grant { authority: vec![1], certificate: None };
        assert_eq!(edge.handle_message(grant), EdgeStep::Refuse(Refusal::Protocol));
        let (_, hello) = CoreJoin::new(&token(1), [3; 32], &node_id("core1"));
        assert_eq!(edge.handle_message(hello), EdgeStep::Refuse(Refusal::Protocol), "over is over");
        let (mut core, _) = CoreJoin::new(&token(1), [3; 32], &node_id("core1"));
        assert_eq!(core.handle_message(Message::Done), CoreStep::Refuse(Refusal::Protocol));
    }

    #[test]
    fn who_may_pair_with_whom() {
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(Standing::Nothing.plan(None), Ok(Plan::CreateAndSign));
        assert_eq!(Standing::Nothing.plan(Some(a)), Err(Refusal::NoIdentity));
        assert_eq!(Standing::Member(a).plan(None), Err(Refusal::NotHolder));
        assert_eq!(Standing::Member(a).plan(Some(a)), Ok(Plan::Record));
        assert_eq!(Standing::Member(a).plan(Some(b)), Err(Refusal::ForeignAuthority));
        assert_eq!(Standing::Holder(a).plan(None), Ok(Plan::Sign));
        assert_eq!(Standing::Holder(a).plan(Some(a)), Ok(Plan::Sign));
        assert_eq!(Standing::Holder(a).plan(Some(b)), Err(Refusal::ForeignAuthority));
    }

    #[test]
    fn a_refusal_cannot_steer_a_terminal_and_is_bounded() {
        let why = format!("\x1b[2J{}é", "x".repeat(2_000));
        let bytes = Message::Refused { why }.encode();
        let Ok(Message::Refused { why }) = Message::decode(&bytes[2..]) else { panic!() };
        assert!(why.len() <= REFUSAL_BYTES_MAX && why.starts_with("[2Jx"));
    }

    fn any_node() -> impl Strategy<Value = NodeId> {
        "[a-z0-9][a-z0-9-]{0,62}".prop_map(|name| NodeId::new(&name).unwrap())
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            (any::<[u8; 8]>(), any_node(), any::<[u8; 32]>()).prop_map(|(invite, core, proof)| Message::Hello {
                invite: InviteId(invite),
                core,
                proof
            }),
            (any_node(), any::<Option<[u8; 32]>>(), any::<[u8; 32]>())
                .prop_map(|(edge, authority, proof)| Message::Welcome { edge, role: Role::Edge, authority, proof }),
            (prop::collection::vec(any::<u8>(), 1..900), prop::option::of(prop::collection::vec(any::<u8>(), 1..900)))
                .prop_map(|(authority, certificate)| Message::Grant { authority, certificate }),
            Just(Message::Done),
            "[ -~é]{0,200}".prop_map(|why| Message::Refused { why }),
        ]
    }

    proptest! {
        #[test]
        fn every_message_reads_back(message in any_message()) {
            let bytes = message.encode();
            prop_assert_eq!(Message::length([bytes[0], bytes[1]]), Ok(bytes.len() - 2));
            prop_assert_eq!(Message::decode(&bytes[2..]), Ok(message));
        }

        #[test]
        fn no_bytes_panic_and_what_reads_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::decode(&bytes) && !matches!(message, Message::Refused { .. }) {
                prop_assert_eq!(&message.encode()[2..], &bytes[..]);
            }
        }

        #[test]
        fn no_order_of_messages_panics_or_stores_without_proof(messages in prop::collection::vec(any_message(), 0..6)) {
            let mut edge = edge([3; 32]);
            let (mut core, _) = CoreJoin::new(&token(1), [3; 32], &node_id("core1"));
            for message in messages {
                let step = edge.handle_message(message.clone());
                let stored = matches!(step, EdgeStep::Store { .. } | EdgeStep::Finish);
                prop_assert!(!stored);
                let step = core.handle_message(message);
                let granted = matches!(step, CoreStep::Grant { .. } | CoreStep::Record(..));
                prop_assert!(!granted);
            }
        }
    }
}
