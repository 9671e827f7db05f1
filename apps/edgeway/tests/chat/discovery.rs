//! The nodes of a discovered IM and Presence cluster, the one a user is at home at among them, and one-time passwords.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::{Ask, Place, ask};
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{Role as UcRole, UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, Mechanism, XmppConfig, XmppNode, XmppServer};
use edgeway_model::NodeId;
use edgeway_runtime::pki::{Authority, Role};

use crate::house::{DOMAIN, EDGE_HOST, Folder, PATIENCE, certificates, core, edge, log, password, refusal};

#[tokio::test]
async fn a_user_who_has_signed_in_chats_at_the_node_that_is_home() {
    log();
    let folder = Folder::new("discovery");
    let (uc_ca, edge_ca) = (LabCa::new("UC CA").expect("a CA"), LabCa::new("Edge CA").expect("a CA"));
    let (imp1, imp2) = (format!("imp1.{DOMAIN}"), format!("imp2.{DOMAIN}"));
    let users = ["alice", "bob", "probe"];
    let homes = [("alice", &imp2), ("bob", &imp1), ("probe", &imp2)];
    let known = homes.iter().enumerate().map(|(number, (user, home))| {
        let known = UcUser::new(user, &password(user), &format!("100{number}"));
        UcUser { im_home: Some((*home).clone()), ..known }
    });
    let mut config = UcConfig::new(DOMAIN, known.collect());
    config.nodes.push(("imp2".to_owned(), UcRole::ImAndPresence, true));
    let one_time = config.one_time.clone();
    let cluster = UcCluster::start(config, &uc_ca).expect("a cluster");
    let dns = LabDns::start().expect("a DNS server");
    cluster.publish(&dns);

    // IM and Presence takes clients at its nodes, each user's at one of them only.
    let secrets: Vec<(&str, String)> = users.iter().map(|user| (*user, password(user))).collect();
    let secrets: Vec<(&str, &str)> = secrets.iter().map(|(user, secret)| (*user, secret.as_str())).collect();
    let mut config = XmppConfig::new(DOMAIN, &secrets);
    config.one_time = one_time;
    config.nodes = [&imp1, &imp2]
        .map(|name| XmppNode {
            listen: SocketAddr::new(cluster.address(name).expect("its address"), 5222),
            ..XmppNode::new(name, DOMAIN)
        })
        .to_vec();
    let chat = XmppServer::start(config, &uc_ca).expect("a chat service");
    for (user, home) in homes {
        chat.home(user, home);
    }

    let authority = Authority::ephemeral().expect("a CA");
    let (_edge, place, record) = edge("edge1", &folder.0, &authority, &certificates(&folder, &edge_ca));
    let (application, secret) = cluster.state().application_user;
    let (secret, ca) = (folder.write("axl", &secret), folder.write("uc-ca.pem", uc_ca.pem()));
    let server = |kind: &str, address: &str| {
        format!(
            "[[{kind}]]\naddress = \"{address}\"\nuser = \"{application}\"\npassword_file = \"{}\"\nca = \"{}\"\n",
            secret.display(),
            ca.display()
        )
    };
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[sign_in]\nauthority = \"unified_cm\"\n{}{}",
        dns.address(),
        server("unified_cm", &format!("cucm1.{DOMAIN}")),
        server("im_and_presence", &imp1)
    );
    let identity = authority.issue(&NodeId::new("core1").expect("a name"), Role::Core).expect("an identity");
    let _core = core("core1", &folder.0, (identity, vec![record]), "", &sections);

    let outside = Arc::new(Place { address: place.https, tls: Some((EDGE_HOST.to_owned(), edge_ca.pem().to_owned())) });
    let sign_in = async |user: &str| {
        let path = format!("/{}/get_edge_config?service_name=_cisco-uds", b64(DOMAIN));
        ask(&outside, &Ask::get(EDGE_HOST, &path).basic(user, &password(user))).await.map_or(0, |got| got.status)
    };
    let until = Instant::now() + PATIENCE;
    while sign_in("probe").await != 200 {
        assert!(Instant::now() < until, "the core does not get to know the call manager");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let client = |user: &str, mechanism| ChatConfig {
        mechanism,
        tls_name: EDGE_HOST.to_owned(),
        ..ChatConfig::new(place.xmpp, DOMAIN, user, &password(user), edge_ca.pem())
    };
    for (user, home) in [("alice", &imp2), ("bob", &imp1)] {
        assert_eq!(sign_in(user).await, 200);
        let mut session =
            ChatClient::start(&client(user, Mechanism::Plain)).await.unwrap_or_else(|e| panic!("{user}: {e}"));
        session.ping().await.expect("it is there");
        let sessions = chat.sessions();
        let node = sessions.iter().find(|one| one.jid.starts_with(user)).map(|one| &one.node);
        assert_eq!(node, Some(home), "{user}");
    }

    // A one-time password, as the client of a phone's maker fetches it, through the proxy: good once.
    let lane = b64(&format!("{DOMAIN}/https/{imp2}/8443"));
    let soap = async |inner: String, answer: &str| {
        let mut question = Ask::get(EDGE_HOST, &format!("/{lane}/EPASSoap/service/v80"));
        question = question.basic("alice", &password("alice")).with("content-type", "application/soap+xml");
        question.method = "POST".to_owned();
        question.body = format!(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns='urn:cisco:epas:soap'><s:Body>{inner}\
             </s:Body></s:Envelope>"
        )
        .into_bytes();
        let got = ask(&outside, &question).await.expect("an answer");
        assert_eq!(got.status, 200, "{}", got.text());
        let text = got.text();
        let value = text.split_once(&format!("<{answer}>")).and_then(|(_, rest)| rest.split_once('<'));
        value.map(|(value, _)| value.to_owned()).unwrap_or_else(|| panic!("no {answer} in {text}"))
    };
    let secret = password("alice");
    let login = format!("<login><username>alice</username><password>{secret}</password></login>");
    let key = soap(login, "session-key").await;
    let ask_for = format!("<get-onetime-password><session-key>{key}</session-key></get-onetime-password>");
    let once = soap(ask_for, "password").await;
    let once = ChatConfig { password: once, ..client("alice", Mechanism::CiscoVtgToken) };
    ChatClient::start(&once).await.expect("alice").ping().await.expect("it is there");
    assert_eq!(refusal(ChatClient::sign_in(&once).await), "not-authorized");
}
