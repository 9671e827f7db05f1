//! Settings that change while everything is under way.

use std::time::{Duration, Instant};

use edgeway_admin::configuration::{By, ChangeOrder, ConfigurationDesk, Proposal, boot};
use edgeway_lab_servers::Ending;
use serde_json::json;

use crate::fleet::{DOMAIN, Fleet, PATIENCE, PIECE, PIECES, wait};
use crate::{INACTIVE, Sessions};

/// A change: what it is called, what is written, and what stands in its place.
type Change<'a> = (&'a str, &'a str, String);

/// A text in the place of another, which must be there once.
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in:\n{text}");
    text.replacen(from, to, 1)
}

#[tokio::test]
async fn ten_changes_end_nothing_and_hold_at_once() {
    let fleet = Fleet::start("settings", 1, 17_000).await;
    let core = &fleet.cores[0];
    let mut sessions = Sessions::begin(&fleet).await;
    let mut text = core.written();
    let other = "other.example";
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 403, "nobody serves that domain");
    assert_eq!(fleet.fetch("frank", "/quick").await.status, 200, "it is on the list");
    let fewer = fleet.write("fewer.csv", "Url,Deployment,HttpMethods,MatchType,Description\n");
    let folder = fleet.folder();
    let changes: [Change<'_>; 11] = [
        ("domains", "domains = [\"lab.example\"]", format!("domains = [\"{DOMAIN}\", \"{other}\"]")),
        ("allow list", "/allow.csv", format!("/{}", fewer.file_name().and_then(|name| name.to_str()).expect("a name"))),
        ("limits", "key_file", "maximum_authorizations_per_period = 3\nkey_file".to_owned()),
        ("credentials", "key_file", "credentials_refresh_interval = \"10m\"\nkey_file".to_owned()),
        ("registrars' health", "[sip]\n", "[sip]\noptions_interval = \"1s\"\nrequest_timeout = \"8s\"\n".to_owned()),
        ("path headers", "[sip]\n", "[sip]\npath_headers = false\n".to_owned()),
        (
            "media",
            "[media]\n",
            "[media]\ndscp_audio = 0\ninside_encryption = \"optional\"\nsilence_notice = \"10s\"\n".to_owned(),
        ),
        ("UC servers", "[[xmpp_server]]", unity(&folder)),
        ("chat", "tls_name", "priority = 3\nweight = 2\ntls_name".to_owned()),
        (
            "logs, certificates",
            "[drain]\ntimeout = \"1s\"\n",
            "[log]\nlevel = \"warn\"\n[drain]\ntimeout = \"2s\"\n".to_owned(),
        ),
        ("name servers", "[dns]\nservers = [", format!("[dns]\nservers = [\"{}\", ", fleet.another_dns())),
    ];
    for (what, from, to) in changes {
        text = replaced(&text, from, &to);
        let begun = Instant::now();
        assert_eq!(core.apply(&text).await, [""; 0], "{what} wants no restart");
        eprintln!("{what}: {:?}", begun.elapsed());
        sessions.go_on().await;
        let status = core.status();
        assert_eq!((status.proxied, status.chats.current, status.calls.current), (1, 1, 1), "{what}");
        assert_eq!(status.registrations.current, 3, "{what}");
    }

    // What begins from now on has them.
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 200, "the domain is served");
    assert_eq!(fleet.fetch("frank", "/quick").await.status, 403, "it is on the list no longer");
    for _ in 0..3 {
        assert_eq!(fleet.wrong_password("zoe").await.status, 401);
    }
    assert_eq!(fleet.wrong_password("zoe").await.status, 429, "three in a period");
    text = replaced(&text, "maximum_authorizations_per_period = 3", "maximum_authorizations_per_period = 1000");
    assert_eq!(core.apply(&text).await, [""; 0]);
    assert_eq!(fleet.wrong_password("zoe").await.status, 401, "what was counted is judged anew");
    let servers = core.port().ask(None, "servers", serde_json::Value::Null).await.expect("servers").to_string();
    assert!(servers.contains("unity1.lab.example"), "{servers}");
    wait("the new name server is asked", || fleet.another_dns_was_asked()).await;
    let (erin, frank) = (fleet.phone("erin").await, fleet.phone("frank").await);
    let answering = frank.answer_next(PATIENCE, Duration::ZERO);
    let (second, mut second_inward) = tokio::try_join!(erin.call(frank.aor()), answering).expect("a call");
    second.hang_up().await.expect("a call like any other");
    assert_eq!(second_inward.ended(PATIENCE).await, Ok(Ending::HungUpThere));
    fleet.chat("frank").await.ping().await.expect("chat");

    // What was there ends when its parties end it.
    let Sessions { alice, bob, carol, out, mut inward, chat, download } = sessions;
    for _ in 1..PIECES {
        fleet.piece.send(()).expect("the server runs");
    }
    let got = download.await.expect("it ends");
    assert!(got.status == 200 && got.body == PIECE.repeat(PIECES));
    out.hang_up().await.expect("a BYE passes");
    assert_eq!(inward.ended(PATIENCE).await, Ok(Ending::HungUpThere));
    assert!(carol.refresh().await.is_ok_and(|granted| granted > 0), "a registration that began with Path headers");
    for phone in [alice, bob, carol, erin, frank] {
        phone.unregister().await.expect("whoever goes may go");
    }
    chat.close().await.expect("it ends");
    assert_ne!(core.part("SIP"), INACTIVE);
}

fn unity(folder: &str) -> String {
    format!(
        "[[unity]]\naddress = \"unity1.lab.example\"\nuser = \"admin\"\npassword_file = \"{folder}/axl\"\n[[xmpp_server]]"
    )
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_what_wants_a_restart_is_said() {
    let fleet = Fleet::start("refused", 1, 17_400).await;
    let (core, written) = (&fleet.cores[0], fleet.cores[0].written());
    let missing = replaced(&written, "/allow.csv", "/nowhere.csv");
    let why = core.prepare(&missing).await.expect_err("there is no such file");
    assert!(why.iter().any(|line| line.contains("nowhere.csv")), "{why:?}");
    core.port().apply().await.expect_err("nothing was prepared");
    assert_eq!(fleet.fetch("alice", "/quick").await.status, 200);

    // Prepared is not applied, and what is put off is forgotten.
    let other = replaced(&written, "domains = [\"lab.example\"]", "domains = [\"lab.example\", \"other.example\"]");
    core.prepare(&other).await.expect("good settings");
    assert_eq!(fleet.sign_in_at("other.example", "alice").await.status, 403);
    core.port().abort().await;
    core.port().apply().await.expect_err("nothing is prepared any more");
    assert_eq!(fleet.sign_in_at("other.example", "alice").await.status, 403);

    let both = format!("metrics = \"127.0.0.1:17799\"\n{other}");
    // It is asked often from here on.
    let both = replaced(&both, "key_file", "maximum_authorizations_per_period = 1000\nkey_file");
    let both = replaced(&both, "ports = \"17500-17599\"", "ports = \"17500-17589\"");
    assert_eq!(core.apply(&both).await, ["metrics", "media.ports"], "these hold after a restart");
    assert_eq!(fleet.sign_in_at("other.example", "alice").await.status, 200, "the rest holds now");

    // An allow list that changes on the disk is read again, and a damaged one is not taken.
    let rules = fleet.allow_list();
    fleet.write("allow.csv", "Url,Deployment,HttpMethods,MatchType,Description\n");
    fleet.until("the list is empty", "/quick", 403).await;
    fleet.write("allow.csv", &rules);
    fleet.until("the list is back", "/quick", 200).await;
    fleet.write("allow.csv", "nonsense");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fleet.fetch("alice", "/quick").await.status, 200, "the last good one");
}

#[tokio::test]
async fn the_desk_changes_what_runs_and_takes_it_back() {
    let fleet = Fleet::start("desk", 1, 18_400).await;
    let core = &fleet.cores[0];
    let desk = ConfigurationDesk::new(boot(core.file()).expect("its file and its store").parts, core.port().clone());
    let by = || By { author: "account test".to_owned(), comment: String::new() };
    let order = |path: &str, value| ChangeOrder { path: path.to_owned(), value };
    let other = "other.example";
    let alice = fleet.phone("alice").await;
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 403, "nobody serves that domain");
    let changes = Proposal::Changes(vec![
        order("domains", json!([DOMAIN, other])),
        order("sign_in.maximum_authorizations_per_period", json!(3)),
    ]);
    let plan = desk.propose(changes.clone()).await.expect("a plan");
    assert_eq!(plan.steps.len(), 2, "{plan:?}");
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 403, "a plan changes nothing");
    let done = desk.commit(plan.revision, changes, by(), None).await.expect("committed");
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 200, "the domain is served");
    for _ in 0..3 {
        assert_eq!(fleet.wrong_password("zoe").await.status, 401);
    }
    assert_eq!(fleet.wrong_password("zoe").await.status, 429, "three in a period");
    let missing = Proposal::Changes(vec![order("http.allow_list", json!("/nowhere.csv"))]);
    let refused = desk.commit(done.revision, missing, by(), None).await.expect_err("there is no such file");
    assert!(refused.to_string().contains("nowhere.csv"), "{refused}");
    assert!(desk.current().restart.is_empty(), "the node wants no restart for it");
    desk.rollback(plan.revision, None, by()).await.expect("rolled back");
    assert_eq!(fleet.sign_in_at(other, "frank").await.status, 403, "it is served no longer");
    assert_eq!(fleet.wrong_password("zoe").await.status, 401, "and the bound is as it was");
    assert!(alice.refresh().await.is_ok_and(|granted| granted > 0), "whoever was registered is");
    alice.unregister().await.expect("whoever goes may go");
}

/// What an edge says of where its settings come from.
fn told(fleet: &Fleet) -> Option<String> {
    fleet.edge.status().configuration.source
}

#[tokio::test]
async fn edges_are_told_by_their_cores_and_remember() {
    let mut fleet = Fleet::start("told", 2, 18_000).await;
    let of = |core: usize, flows: usize| format!("{}[edge.limits]\nflows_max = {flows}\n", fleet.cores[core].written());
    let mut sessions = Sessions::begin_at(&fleet, false).await;
    assert_eq!(fleet.cores[0].apply(&of(0, 3)).await, [""; 0]);
    wait("the edge has heard it", || told(&fleet).as_deref() == Some("core1")).await;
    // Three phones are there and stay; a fourth finds no room.
    sessions.go_on().await;
    let fourth = fleet.phone_of("erin").await;
    assert!(edgeway_lab_servers::Phone::register(fourth.clone()).await.is_err(), "three, and no more");
    // The other core says something else, later.
    assert_eq!(fleet.cores[1].apply(&of(1, 50)).await, [""; 0]);
    wait("the later word counts", || told(&fleet).as_deref() == Some("core2")).await;
    edgeway_lab_servers::Phone::register(fourth).await.expect("there is room");
    sessions.go_on().await;

    // How many strangers an address may be: one that only connects is one.
    let one =
        format!("{}[edge.limits]\nstrangers_per_address = 1\n[edge.media]\ndscp_audio = 0\n", fleet.cores[0].written());
    fleet.cores[0].apply(&one).await;
    wait("it is heard", || told(&fleet).as_deref() == Some("core1")).await;
    assert!(fleet.turned_away_at_sip(2), "the second is closed at once");
    sessions.go_on().await;
    drop(sessions);

    // With no core in sight it is what it was told to be.
    let kept = std::fs::read_to_string(fleet.edge.state_dir().join("configuration.toml")).expect("kept");
    assert!(kept.starts_with("# told by core1 0 ") && kept.contains("strangers_per_address = 1"), "{kept}");
    fleet.cores.iter_mut().for_each(crate::fleet::Node::end);
    fleet.edge.end();
    fleet.edge.begin();
    assert_eq!(told(&fleet).as_deref(), Some("core1"));
    assert!(fleet.turned_away_at_sip(2));
    // A file that is damaged is no reason not to start, and no reason to be anything else than its own file says.
    fleet.edge.end();
    std::fs::write(fleet.edge.state_dir().join("configuration.toml"), "# told by core1 0 1\n[limits]\nflows_max = 0")
        .expect("written");
    fleet.edge.begin();
    assert_eq!(told(&fleet), None);
    assert!(!fleet.turned_away_at_sip(2), "as its own file says");
}
