//! Scenarios of identities and pairing, over loopback sockets and real state directories.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use edgeway_model::NodeId;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::limits::{INVITE_FAILURES_MAX, INVITE_VALIDITY, NODE_VALIDITY};
use super::pairing::{CoreJoined, join, read_token};
use super::tests::Scratch;
use super::tls::{explain_io, link_client_config, link_server_config, media_client_config, media_server_config};
use super::{
    Authority, EdgeBook, Identity, Invites, JoinDesk, JoinError, Joined, NodeState, Role, Token, node_of, server_name,
    unix_now,
};

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

// --- certificates and TLS ---------------------------------------------------------------------

/// One handshake over loopback; what each side says.
async fn handshake(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> (Result<(), String>, Result<Option<(NodeId, Role)>, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = spawn_local(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(tcp).await.map_err(|error| explain_io(&error))?;
        stream.write_all(b"!").await.map_err(|error| explain_io(&error))?;
        let _ = stream.read_u8().await;
        Ok(node_of(stream.get_ref().1.peer_certificates().unwrap_or_default()))
    });
    let dial = async {
        let tcp = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(client).connect(name, tcp).await?;
        // With TLS 1.3 the server's verdict on our certificate arrives after our handshake.
        stream.read_u8().await?;
        stream.write_all(b"!").await
    };
    let dialled = dial.await.map_err(|error: io::Error| explain_io(&error));
    (dialled, serving.await.unwrap())
}

#[test]
fn a_link_stands_between_an_edge_and_a_core_of_one_authority() {
    let authority = Authority::ephemeral().unwrap();
    let edge = authority.issue(&node("edge1"), Role::Edge).unwrap();
    let core = authority.issue(&node("core1"), Role::Core).unwrap();
    run(async {
        let (dialled, served) = handshake(
            link_client_config(&core, edge.node(), Role::Edge).unwrap(),
            server_name(edge.node()),
            link_server_config(&edge).unwrap(),
        )
        .await;
        assert_eq!(dialled, Ok(()));
        assert_eq!(served, Ok(Some((node("core1"), Role::Core))));
    });
}

async fn refused(client: &Identity, expected: &str, server: &Identity, client_says: &str, server_says: &str) {
    let config = link_client_config(client, &node(expected), Role::Edge).unwrap();
    let (dialled, served) = handshake(config, server_name(&node(expected)), link_server_config(server).unwrap()).await;
    let (dialled, served) = (dialled.unwrap_err(), served.unwrap_err());
    assert!(dialled.contains(client_says), "the dialling side says: {dialled}");
    assert!(served.contains(server_says), "the listening side says: {served}");
}

#[test]
fn wrong_authority_wrong_role_and_wrong_name_are_refused_in_words() {
    let (ours, theirs) = (Authority::ephemeral().unwrap(), Authority::ephemeral().unwrap());
    let edge = ours.issue(&node("edge1"), Role::Edge).unwrap();
    let core = ours.issue(&node("core1"), Role::Core).unwrap();
    let foreign_edge = theirs.issue(&node("edge1"), Role::Edge).unwrap();
    let second_edge = ours.issue(&node("edge2"), Role::Edge).unwrap();
    let core_in_edge_place = ours.issue(&node("edge1"), Role::Core).unwrap();
    run(async {
        refused(&core, "edge1", &foreign_edge, "another CA than ours", "does not know our CA").await;
        refused(&core, "edge2", &edge, "another node answered", "refuse").await;
        refused(&core, "edge1", &core_in_edge_place, "where the role of edge belongs", "refuses our certificate").await;
        refused(&second_edge, "edge1", &edge, "refuses our certificate", "where the role of core belongs").await;
    });
}

#[test]
fn a_core_of_another_authority_is_refused_by_the_edge() {
    let (ours, theirs) = (Authority::ephemeral().unwrap(), Authority::ephemeral().unwrap());
    let edge = ours.issue(&node("edge1"), Role::Edge).unwrap();
    // It trusts our CA (a copied certificate), but its own identity is of another one.
    let stranger = theirs.issue(&node("core1"), Role::Core).unwrap().trusting(ours.certificate().clone());
    run(refused(&stranger, "edge1", &edge, "does not know our CA", "another CA than ours"));
}

#[test]
fn a_revoked_node_is_refused_by_both_sides() {
    let scratch = Scratch::new("revoked");
    let authority = Authority::create(scratch.path()).unwrap();
    let edge = authority.issue(&node("edge1"), Role::Edge).unwrap();
    let core = authority.issue(&node("core1"), Role::Core).unwrap();
    let other = authority.issue(&node("core2"), Role::Core).unwrap();
    authority.revoke_in(scratch.path(), core.certificate()).unwrap();
    let list = authority.revoke_in(scratch.path(), edge.certificate()).unwrap();
    run(async {
        let careful = edge.clone().with_revoked(list.clone());
        refused(&core, "edge1", &careful, "has been revoked", "has been revoked").await;
        let careful = other.clone().with_revoked(list.clone());
        refused(&careful, "edge1", &edge, "has been revoked", "has been revoked").await;
        let config = link_client_config(&other, edge.node(), Role::Edge).unwrap();
        let careful = edge.clone().with_revoked(list);
        let (dialled, _) = handshake(config, server_name(edge.node()), link_server_config(&careful).unwrap()).await;
        assert_eq!(dialled, Ok(()), "others are not touched");
    });
}

#[test]
fn media_configurations_serve_quic() {
    let authority = Authority::ephemeral().unwrap();
    let edge = authority.issue(&node("edge1"), Role::Edge).unwrap();
    let core = authority.issue(&node("core1"), Role::Core).unwrap();
    quinn_proto::crypto::rustls::QuicServerConfig::try_from(media_server_config(&edge).unwrap()).unwrap();
    quinn_proto::crypto::rustls::QuicClientConfig::try_from(media_client_config(&core, edge.node()).unwrap()).unwrap();
}

#[test]
fn identities_and_authority_survive_a_restart() {
    let scratch = Scratch::new("restart");
    let authority = Authority::load_or_create(scratch.path()).unwrap();
    assert!(Authority::create(scratch.path()).is_err(), "never overwritten");
    let again = Authority::load(scratch.path()).unwrap().unwrap();
    assert_eq!(again.certificate(), authority.certificate());
    let issued = again.issue_to(&node("core2"), Role::Core, &scratch.path().join("core2")).unwrap();
    assert!(again.issue_to(&node("core2"), Role::Core, &scratch.path().join("core2")).is_err());
    let state = NodeState::load(&scratch.path().join("core2")).unwrap().unwrap();
    let loaded = state.identity().unwrap();
    assert_eq!((loaded.node(), loaded.role()), (&node("core2"), Role::Core));
    assert_eq!(loaded.certificate(), issued.certificate());
    let left = i64::try_from(loaded.life().ends).unwrap() - i64::try_from(unix_now()).unwrap();
    assert!((left - i64::try_from(NODE_VALIDITY.as_secs()).unwrap()).abs() < 60, "{left}");
}

#[test]
fn an_identity_of_mismatched_parts_is_refused() {
    let (ours, theirs) = (Authority::ephemeral().unwrap(), Authority::ephemeral().unwrap());
    let edge = ours.issue(&node("edge1"), Role::Edge).unwrap();
    let other = ours.issue(&node("edge2"), Role::Edge).unwrap();
    let new = Identity::new;
    assert!(new(other.key().clone(), edge.certificate().clone(), ours.certificate().clone()).is_err(), "other key");
    assert!(new(edge.key().clone(), edge.certificate().clone(), theirs.certificate().clone()).is_err(), "other CA");
    assert!(new(edge.key().clone(), edge.certificate().clone(), other.certificate().clone()).is_err(), "no CA");
    assert!(new(edge.key().clone(), CertificateDer::from(vec![0x30, 0]), ours.certificate().clone()).is_err());
}

#[test]
fn a_lab_server_certificate_verifies_as_a_public_one_does() {
    let authority = Authority::named("Edgeway lab CA").unwrap();
    let server = authority.issue_server(&["edge.lab.example", "127.0.0.1"]).unwrap();
    assert!(authority.issue_server(&["not a name"]).is_err());
    assert_eq!(node_of(&server.chain), None, "it is no node");
    let config = |chain, key| {
        ServerConfig::builder_with_provider(super::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    };
    let config = Arc::new(config(server.chain.clone(), server.key.clone_key()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(super::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    run(async {
        for name in ["edge.lab.example", "127.0.0.1"] {
            let name = ServerName::try_from(name).unwrap();
            assert_eq!(handshake(client.clone(), name, config.clone()).await.0, Ok(()));
        }
        let wrong = ServerName::try_from("other.example").unwrap();
        assert!(handshake(client, wrong, config).await.0.is_err());
    });
}

// --- pairing ----------------------------------------------------------------------------------

struct Edge {
    desk: Rc<JoinDesk>,
    invites: Invites,
    address: String,
    scratch: Scratch,
    _serving: JoinHandle<()>,
}

impl Edge {
    async fn start(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let desk = Rc::new(JoinDesk::open(scratch.path(), node(name), Role::Edge).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = spawn_local(serve(listener, desk.clone()));
        Self { desk, invites: Invites::in_state(scratch.path()), address, scratch, _serving: serving }
    }

    fn invite(&self) -> Token {
        self.invites.create(&self.address, self.key().key(), INVITE_VALIDITY, unix_now()).unwrap()
    }

    fn key(&self) -> NodeState {
        NodeState::load(self.scratch.path()).unwrap().unwrap()
    }
}

async fn serve(listener: TcpListener, desk: Rc<JoinDesk>) {
    while let Ok((tcp, peer)) = listener.accept().await {
        let desk = desk.clone();
        spawn_local(async move {
            let stream = TlsAcceptor::from(desk.server_config()).accept(tcp).await.ok()?;
            desk.answer(stream, peer.to_string()).await.ok().map(|Joined { core, .. }| core)
        });
    }
}

async fn join_from(dir: &Path, name: &str, token: &Token) -> Result<CoreJoined, JoinError> {
    join(dir, &node(name), token).await
}

#[test]
fn an_edge_and_the_first_core_become_a_pair() {
    run(async {
        let edge = Edge::start("edge1").await;
        assert!(!edge.desk.is_open() && edge.desk.identity().is_none());
        let token = edge.invite();
        assert!(edge.desk.is_open());
        let inside = Scratch::new("core1");
        let joined = join_from(inside.path(), "core1", &token).await.unwrap();
        assert!(joined.authority_created);
        assert!(!edge.desk.is_open(), "used up");

        let edge_identity = edge.desk.identity().unwrap();
        assert_eq!((edge_identity.node(), edge_identity.role()), (&node("edge1"), Role::Edge));
        let book = EdgeBook::load(inside.path()).unwrap();
        assert_eq!(book.edges(), std::slice::from_ref(&joined.edge));
        assert_eq!((book.edges()[0].node.as_str(), &book.edges()[0].address), ("edge1", &edge.address));

        // What both have on disk makes a link.
        let edge_identity = edge.key().identity().unwrap().clone();
        let core = NodeState::load(inside.path()).unwrap().unwrap().identity().unwrap().clone();
        let config = link_client_config(&core, &node("edge1"), Role::Edge).unwrap();
        let (dialled, served) =
            handshake(config, server_name(&node("edge1")), link_server_config(&edge_identity).unwrap()).await;
        assert_eq!((dialled, served), (Ok(()), Ok(Some((node("core1"), Role::Core)))));
    });
}

#[test]
fn a_token_is_read_from_a_file_or_the_command_line() {
    let scratch = Scratch::new("token-file");
    let token = Token::new("edge1:7001", [1; 32], edgeway_model::Secret::new([2; 32])).unwrap();
    let path = scratch.path().join("token");
    std::fs::write(&path, format!("{}\n", token.reveal())).unwrap();
    assert_eq!(read_token(path.to_str().unwrap()).unwrap(), token);
    assert_eq!(read_token(&token.reveal()).unwrap(), token);
    std::fs::write(&path, "hello").unwrap();
    assert!(read_token(path.to_str().unwrap()).unwrap_err().to_string().contains("no join token"));
    let missing = read_token("/nonexistent/token").unwrap_err().to_string();
    assert!(missing.contains("neither a join token nor a file"), "{missing}");
}

#[test]
fn a_token_serves_once() {
    run(async {
        let edge = Edge::start("edge1").await;
        let token = edge.invite();
        let (first, second) = (Scratch::new("core1"), Scratch::new("core2"));
        join_from(first.path(), "core1", &token).await.unwrap();
        let error = join_from(second.path(), "core2", &token).await.unwrap_err();
        assert!(error.to_string().contains("used already"), "{error}");
        assert!(NodeState::load(second.path()).unwrap().is_none(), "the loser made nothing");
        assert!(EdgeBook::load(second.path()).unwrap().edges().is_empty());
    });
}

#[test]
fn of_two_joins_at_once_one_wins() {
    run(async {
        let edge = Edge::start("edge1").await;
        let token = edge.invite();
        let (first, second) = (Scratch::new("core1"), Scratch::new("core2"));
        let (a, b) = tokio::join!(join_from(first.path(), "core1", &token), join_from(second.path(), "core2", &token));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        let error = a.err().or(b.err()).unwrap();
        assert!(error.to_string().contains("used already"), "{error}");
    });
}

#[test]
fn expired_unknown_and_foreign_tokens_are_told_apart() {
    run(async {
        let edge = Edge::start("edge1").await;
        let inside = Scratch::new("core1");
        let old = unix_now() - INVITE_VALIDITY.as_secs();
        let expired = edge.invites.create(&edge.address, edge.key().key(), INVITE_VALIDITY, old).unwrap();
        assert!(!edge.desk.is_open());
        let error = join_from(inside.path(), "core1", &expired).await.unwrap_err();
        assert!(error.to_string().contains("has expired"), "{error}");

        let withdrawn = edge.invite();
        edge.invites.withdraw(withdrawn.invite_id());
        let error = join_from(inside.path(), "core1", &withdrawn).await.unwrap_err();
        assert!(error.to_string().contains("does not know this token"), "{error}");
        assert!(Authority::load(inside.path()).unwrap().is_none(), "no CA was made for nothing");
    });
}

#[test]
fn a_machine_in_the_middle_with_another_key_gets_nothing() {
    run(async {
        let edge = Edge::start("edge1").await;
        let mallory = Edge::start("edge1").await;
        let token = edge.invite();
        // The core is led to Mallory's address; the key hash is still the edge's.
        let secret = edgeway_model::Secret::new([0; 32]);
        let misled = Token::new(&mallory.address, token.key_hash(), secret).unwrap();
        let inside = Scratch::new("core1");
        let error = join_from(inside.path(), "core1", &misled).await.unwrap_err();
        assert!(error.to_string().contains("not the edge that made this token"), "{error}");
        assert!(edge.desk.is_open(), "the true invitation is untouched");
        join_from(inside.path(), "core1", &token).await.unwrap();
    });
}

#[test]
fn wrong_secrets_burn_the_invitation_after_five() {
    run(async {
        let edge = Edge::start("edge1").await;
        let token = edge.invite();
        for _ in 0..INVITE_FAILURES_MAX {
            let error = guess(&edge.address, &token).await;
            assert!(error.contains("does not fit"), "{error}");
        }
        assert!(!edge.desk.is_open());
        let inside = Scratch::new("core1");
        let error = join_from(inside.path(), "core1", &token).await.unwrap_err();
        assert!(error.to_string().contains("does not know this token"), "{error}");
    });
}

/// Knows the edge and the invitation's id, not its secret.
async fn guess(address: &str, token: &Token) -> String {
    let hello = super::join::Message::Hello { invite: token.invite_id(), core: node("core9"), proof: [0; 32] }.encode();
    match talk(address, token, &hello).await {
        Some(super::join::Message::Refused { why }) => why,
        other => format!("{other:?}"),
    }
}

/// Sends raw bytes on a join connection and reads the answer, if any.
async fn talk(address: &str, token: &Token, bytes: &[u8]) -> Option<super::join::Message> {
    let config = super::tls::join_client_config(token.key_hash()).unwrap();
    let name = ServerName::try_from(super::tls::JOIN_NAME).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    super::join::Message::decode(answer.get(2..)?).ok()
}

#[test]
fn hostile_bytes_end_the_dialogue_and_nothing_else() {
    run(async {
        let edge = Edge::start("edge1").await;
        let token = edge.invite();
        let garbage: [&[u8]; 6] =
            [b"", b"\0", b"\0\0", b"\xff\xff", b"\0\x01\x07", b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n"];
        for bytes in garbage {
            assert_eq!(talk(&edge.address, &token, bytes).await, None, "{bytes:?}");
        }
        let early = super::join::Message::Grant { authority: vec![1], certificate: Some(vec![2]) }.encode();
        assert!(matches!(talk(&edge.address, &token, &early).await, Some(super::join::Message::Refused { .. })));
        assert!(edge.desk.identity().is_none() && edge.desk.is_open());
        let inside = Scratch::new("core1");
        join_from(inside.path(), "core1", &token).await.unwrap();
    });
}

#[test]
fn further_cores_join_and_foreign_ones_are_refused() {
    run(async {
        let edge = Edge::start("edge1").await;
        let first = Scratch::new("core1");
        join_from(first.path(), "core1", &edge.invite()).await.unwrap();
        let before = edge.desk.identity().unwrap();

        // Another organisation's core, with a CA of its own.
        let foreign = Scratch::new("foreign");
        let other_edge = Edge::start("edge9").await;
        join_from(foreign.path(), "core1", &other_edge.invite()).await.unwrap();
        let error = join_from(foreign.path(), "core1", &edge.invite()).await.unwrap_err();
        assert!(error.to_string().contains("another CA"), "{error}");

        // A second core of ours, before and after `pki issue`.
        let second = Scratch::new("core2");
        let error = join_from(second.path(), "core2", &edge.invite()).await.unwrap_err();
        assert!(error.to_string().contains("edgeway pki issue"), "{error}");
        assert!(Authority::load(second.path()).unwrap().is_none());
        let authority = Authority::load(first.path()).unwrap().unwrap();
        authority.issue_to(&node("core2"), Role::Core, second.path()).unwrap();
        let joined = join_from(second.path(), "core2", &edge.invite()).await.unwrap();
        assert!(!joined.authority_created);
        assert_eq!(edge.desk.identity().unwrap().certificate(), before.certificate(), "the edge keeps its identity");

        // It holds no CA: it cannot take a new edge.
        let new_edge = Edge::start("edge2").await;
        let error = join_from(second.path(), "core2", &new_edge.invite()).await.unwrap_err();
        assert!(error.to_string().contains("not the CA"), "{error}");
        join_from(first.path(), "core1", &new_edge.invite()).await.unwrap();
        assert_eq!(EdgeBook::load(first.path()).unwrap().edges().len(), 2);
    });
}

#[test]
fn joining_again_renews_and_a_second_edge_of_the_same_name_is_refused() {
    run(async {
        let edge = Edge::start("edge1").await;
        let inside = Scratch::new("core1");
        join_from(inside.path(), "core1", &edge.invite()).await.unwrap();
        let before = edge.desk.identity().unwrap();
        join_from(inside.path(), "core1", &edge.invite()).await.unwrap();
        let after = edge.desk.identity().unwrap();
        assert_ne!(before.certificate(), after.certificate());
        assert_eq!(before.authority(), after.authority());
        assert_eq!(EdgeBook::load(inside.path()).unwrap().edges().len(), 1);

        let twin = Edge::start("edge1").await;
        let error = join_from(inside.path(), "core1", &twin.invite()).await.unwrap_err();
        assert!(error.to_string().contains("edgeway core forget edge1"), "{error}");
        assert!(twin.desk.identity().is_none());
        let namesake = Edge::start("core1").await;
        let error = join_from(inside.path(), "core1", &namesake.invite()).await.unwrap_err();
        assert!(error.to_string().contains("another name"), "{error}");
    });
}
