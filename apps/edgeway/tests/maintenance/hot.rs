//! Every setting of which the manual says that it needs no restart, and where it is shown that it holds while the core
//! runs. A new one has to be entered here.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgeway_config::{Impact, Role, known_settings};
use edgeway_lab_servers::{MediaSecurity, Observer, Phone, PhoneError, Registrar, RegistrarConfig};
use serde_json::{Value, json};

use crate::fleet::{DOMAIN, Fleet, Node, PATIENCE, wait};
use crate::settings::replaced;

/// Where it is shown.
enum Shown {
    /// In a test of this file.
    Here,
    /// In that test of that text.
    By(&'static str, &'static str),
    /// It is one of many out of which something is made anew, as a whole, by the code that makes it at a start. That each of
    /// them gets there is held for all of them in `runtime/src/service/live/tests.rs`; that what is made is used, by that test.
    MadeAnew(&'static str, &'static str),
}

const SETTINGS: &str = include_str!("settings.rs");
const CHANGED: &str = include_str!("../configuration.rs");
const RULES: &str = "rules_of_the_allow_list_are_added_imported_tested_and_removed_while_it_runs";
const EVERY: &str = "ten_changes_end_nothing_and_hold_at_once";
const TOLD: &str = "edges_are_told_by_their_cores_and_remember";

/// Settings, or whole tables that end with a dot; the first that fits counts.
const HOT: &[(&str, Shown)] = &[
    ("domains", Shown::By(EVERY, SETTINGS)),
    ("drain.timeout", Shown::Here),
    ("log.level", Shown::By("a_running_core_takes_changes_keeps_them_and_goes_back", CHANGED)),
    ("sip.path_headers", Shown::Here),
    ("sip.registrars", Shown::Here),
    ("sip.options_interval", Shown::Here),
    ("sip.request_timeout", Shown::MadeAnew(EVERY, SETTINGS)),
    ("sip.stun_keepalive", Shown::MadeAnew(TOLD, SETTINGS)),
    ("sip.standby_keepalive", Shown::MadeAnew(EVERY, SETTINGS)),
    ("sip.tls.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("dns.servers", Shown::By(EVERY, SETTINGS)),
    ("media.allow_unencrypted", Shown::Here),
    ("media.inside_encryption", Shown::Here),
    ("media.silence_notice", Shown::MadeAnew(EVERY, SETTINGS)),
    ("media.dscp_audio", Shown::MadeAnew(EVERY, SETTINGS)),
    ("media.dscp_video", Shown::MadeAnew(EVERY, SETTINGS)),
    ("link.peer.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("link.edge.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("link.certificate_lifetime", Shown::MadeAnew(EVERY, SETTINGS)),
    ("edge.limits.", Shown::By(TOLD, SETTINGS)),
    ("edge.", Shown::MadeAnew(TOLD, SETTINGS)),
    ("sign_in.authority", Shown::Here),
    ("sign_in.users_file", Shown::Here),
    ("sign_in.maximum_authorizations_per_period", Shown::By(EVERY, SETTINGS)),
    ("sign_in.rate_control_period", Shown::Here),
    ("sign_in.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("deployment.name", Shown::Here),
    ("deployment.domains", Shown::Here),
    ("deployment.registrars", Shown::Here),
    ("deployment.authority", Shown::Here),
    ("deployment.users_file", Shown::Here),
    ("deployment.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("unified_cm.tls_verify", Shown::Here),
    ("unified_cm.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("im_and_presence.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("unity.address", Shown::By(EVERY, SETTINGS)),
    ("unity.", Shown::MadeAnew(EVERY, SETTINGS)),
    ("servers.look_every", Shown::MadeAnew(EVERY, SETTINGS)),
    ("http.allow_list", Shown::By(EVERY, SETTINGS)),
    ("http.default_methods", Shown::Here),
    ("http.allow_list_rule.", Shown::By(RULES, CHANGED)),
    ("http.ca", Shown::MadeAnew(EVERY, SETTINGS)),
    ("xmpp_server.", Shown::MadeAnew(EVERY, SETTINGS)),
];

#[test]
fn every_setting_that_needs_no_restart_is_shown_to_hold() {
    let (mut unused, mut missing) = (BTreeSet::from_iter(HOT.iter().map(|(name, _)| *name)), Vec::new());
    for setting in known_settings(Role::Core).iter().filter(|one| !matches!(one.impact, Impact::Restart(_))) {
        let fits = |name: &str| name == setting.path || name.ends_with('.') && setting.path.starts_with(name);
        match HOT.iter().find(|(name, _)| fits(name)) {
            Some((name, _)) => _ = unused.remove(name),
            None => missing.push(setting.path),
        }
    }
    assert!(missing.is_empty(), "where is it shown that these hold without a restart? {missing:?}");
    assert!(unused.is_empty(), "no such settings, or they need a restart: {unused:?}");
    for (name, shown) in HOT {
        match shown {
            Shown::By(test, text) | Shown::MadeAnew(test, text) => {
                assert!(text.contains(&format!("fn {test}(")), "{name}: there is no {test}");
            }
            Shown::Here => {}
        }
    }
}

/// A file of users with one of them.
fn users_file(fleet: &Fleet, name: &str, user: &str) -> String {
    let path = format!("{}/{name}", fleet.folder());
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    command.args(["users", "add", user, "--file", &path]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("the tool runs");
    writeln!(child.stdin.take().expect("piped"), "secret of {user}").expect("written");
    assert!(child.wait().expect("it ends").success());
    path
}

async fn applied(core: &Node, text: &str) {
    assert_eq!(core.apply(text).await, [""; 0], "no restart");
}

#[tokio::test]
async fn sign_in_and_servers_are_as_they_are_told() {
    let fleet = Fleet::start("hot-in", 1, 19_600).await;
    let core = &fleet.cores[0];
    let base = replaced(&core.written(), "key_file", "maximum_authorizations_per_period = 1000\nkey_file");
    applied(core, &base).await;

    // Who says whose credentials are right.
    let (zoe, yuri) = (users_file(&fleet, "zoe", "zoe"), users_file(&fleet, "yuri", "yuri"));
    assert_eq!((fleet.sign_in("alice").await.status, fleet.sign_in("zoe").await.status), (200, 401));
    let by_file = |file: &str| {
        replaced(&base, "authority = \"unified_cm\"", &format!("authority = \"users\"\nusers_file = \"{file}\""))
    };
    // Who was right once stays so for a while; who was wrong a moment ago does not.
    for (file, known, unknown) in [(&zoe, "zoe", "yuri"), (&yuri, "yuri", "xena")] {
        applied(core, &by_file(file)).await;
        assert_eq!((fleet.sign_in(known).await.status, fleet.sign_in(unknown).await.status), (200, 401), "{known}");
    }
    applied(core, &base).await;
    assert_eq!((fleet.sign_in("alice").await.status, fleet.sign_in("xena").await.status), (200, 401));

    // A deployment comes, has other users, and goes.
    let registrar = Registrar::start(RegistrarConfig::new("staging.example", &[])).await.expect("a registrar");
    let staging = |domain: &str, file: &str| {
        format!(
            "{base}[[deployment]]\nname = \"staging\"\ndomains = [\"{domain}\"]\nregistrars = [\"tcp:{}\"]\nauthority = \"users\"\nusers_file = \"{file}\"\n",
            registrar.address()
        )
    };
    assert_eq!(fleet.sign_in_at("staging.example", "zoe").await.status, 403);
    applied(core, &staging("staging.example", &zoe)).await;
    assert_eq!(fleet.sign_in_at("staging.example", "zoe").await.status, 200);
    wait("its registrar is asked", || {
        let registrars = core.status().registrars;
        registrars.iter().any(|one| one.deployment == "staging" && one.alive)
    })
    .await;
    applied(core, &staging("other.example", &yuri)).await;
    assert_eq!(fleet.sign_in_at("staging.example", "zoe").await.status, 403);
    assert_eq!(fleet.sign_in_at("other.example", "xena").await.status, 401);
    assert_eq!(fleet.sign_in_at("other.example", "yuri").await.status, 200);
    applied(core, &base).await;
    assert!(core.status().registrars.iter().all(|one| one.deployment != "staging"));

    // How far back is counted.
    let period =
        |seconds: u32| replaced(&base, "period = 1000", &format!("period = 1\nrate_control_period = \"{seconds}s\""));
    applied(core, &period(3_600)).await;
    assert_eq!(
        (fleet.wrong_password("mallory").await.status, fleet.wrong_password("mallory").await.status),
        (401, 429)
    );
    applied(core, &period(1)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(fleet.wrong_password("mallory").await.status, 401, "a second is over");
    applied(core, &base).await;

    // Methods of rules that name none.
    let rules = replaced(&fleet.allow_list(), ",GET,", ",,");
    let unnamed = fleet.write("unnamed.csv", &rules);
    for (methods, status) in [("HEAD", 403), ("GET", 200), ("POST", 403)] {
        let list = format!("/unnamed.csv\"\ndefault_methods = [\"{methods}\"]");
        applied(core, &replaced(&base, "/allow.csv\"", &list)).await;
        assert_eq!(fleet.fetch("alice", "/quick").await.status, status, "{methods} of {}", unnamed.display());
    }
    applied(core, &base).await;

    // A certificate that nobody checks is an alarm, for as long as it is so.
    let alarmed = || core.status().alarms.iter().any(|alarm| alarm.id == "tls_verify_off");
    applied(core, &replaced(&base, "[[unified_cm]]\n", "[[unified_cm]]\ntls_verify = false\n")).await;
    wait("the alarm stands", alarmed).await;
    applied(core, &base).await;
    wait("the alarm is over", || !alarmed()).await;
}

/// Frank's number, by which his phone registers and calls.
const FRANK: &str = "1006";

/// The messages that the core has sent inside, of whoever is traced: those whose first line begins so.
async fn sent_inside(core: &Node, user: &str, first: &str) -> Vec<String> {
    let ladder = core.port().ask(None, "ladder", json!({ "user": user })).await.expect("a ladder");
    let messages = ladder["messages"].as_array().cloned().expect("messages");
    let of = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let inside = messages.iter().filter(|one| of(one, "from") == "core1" && of(one, "to") != "edge1");
    inside.filter(|one| of(one, "first_line").starts_with(first)).map(|one| of(one, "text")).collect()
}

#[tokio::test]
async fn calls_and_registrations_are_as_they_are_told() {
    let fleet = Fleet::start("hot-sip", 1, 19_200).await;
    let core = &fleet.cores[0];
    let base = replaced(&core.written(), "key_file", "maximum_authorizations_per_period = 1000\nkey_file");
    let trace = || core.port().ask(None, "trace/start", json!({ "user": FRANK, "seconds": 600 }));
    trace().await.expect("traced");

    // How clients are registered inside.
    for (path, seen) in [("true", true), ("false", false), ("true", true)] {
        applied(core, &replaced(&base, "[sip]\n", &format!("[sip]\npath_headers = {path}\n"))).await;
        let before = sent_inside(core, FRANK, "REGISTER").await.len();
        let frank = fleet.phone("frank").await;
        let registers = sent_inside(core, FRANK, "REGISTER").await;
        assert!(registers.len() > before, "the registration was traced");
        let with_path = registers.last().is_some_and(|text| text.contains("\r\nPath: "));
        assert_eq!(with_path, seen, "path_headers = {path}: {registers:?}");
        frank.unregister().await.expect("gone");
    }

    // What inside parties are offered.
    let bob = fleet.phone("bob").await;
    for (offered, seen) in [("off", false), ("optional", true), ("off", false)] {
        applied(core, &replaced(&base, "[media]\n", &format!("[media]\ninside_encryption = \"{offered}\"\n"))).await;
        let frank = fleet.phone("frank").await;
        let answering = bob.answer_next(PATIENCE, Duration::ZERO);
        let (out, mut inward) = tokio::try_join!(frank.call(bob.aor()), answering).expect("a call");
        let invites = sent_inside(core, FRANK, "INVITE").await;
        let encrypted = invites.last().expect("one went inside").contains("a=crypto:");
        assert_eq!(encrypted, seen, "inside_encryption = {offered}");
        out.hang_up().await.expect("it ends");
        inward.ended(PATIENCE).await.expect("it ends");
        frank.unregister().await.expect("gone");
    }

    // Whether a client may call in clear.
    let mut plain = fleet.phone_of("erin").await;
    plain.security = MediaSecurity::Plain;
    let erin = Phone::register(plain).await.expect("registered");
    for allowed in [false, true, false] {
        applied(core, &replaced(&base, "[media]\n", &format!("[media]\nallow_unencrypted = {allowed}\n"))).await;
        match erin.dial(bob.aor()).await {
            Ok(mut call) => match call.ringing(PATIENCE).await {
                Ok(()) => assert!(allowed, "it rings"),
                Err(PhoneError::Refused { status: 488, .. }) => assert!(!allowed, "it is refused"),
                Err(other) => panic!("{other}"),
            },
            Err(PhoneError::Refused { status: 488, .. }) => assert!(!allowed, "it is refused"),
            Err(other) => panic!("{other}"),
        }
    }
    drop((erin, bob));

    // A registrar comes, and is asked as often as is said.
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let observer = Observer::new(move |seen| {
        if !seen.sent && seen.what.contains("OPTIONS") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let registrar = Registrar::start(RegistrarConfig { observer, ..RegistrarConfig::new(DOMAIN, &[]) }).await;
    let registrar = registrar.expect("a registrar");
    let often = |every: &str| {
        let lines = format!("[sip]\nregistrars = [\"tcp:{}\"]\noptions_interval = \"{every}\"\n", registrar.address());
        replaced(&base, "[sip]\n", &lines)
    };
    applied(core, &often("1s")).await;
    let knows = || core.status().registrars.iter().any(|one| one.address == Some(registrar.address()) && one.alive);
    wait("it is known", knows).await;
    wait("it is asked often", || asked.load(Ordering::SeqCst) >= 4).await;
    applied(core, &often("1h")).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(asked.load(Ordering::SeqCst) <= before + 1, "it is asked seldom");
    applied(core, &base).await;
    assert!(!knows(), "it is gone");

    // How long calls are waited for at the end: a second, as the file says, or longer.
    applied(core, &replaced(&base, "timeout = \"1s\"", "timeout = \"8s\"")).await;
    let (alice, carol) = (fleet.phone("alice").await, fleet.phone("carol").await);
    let answering = carol.answer_next(PATIENCE, Duration::ZERO);
    let (out, mut inward) = tokio::try_join!(alice.call(carol.aor()), answering).expect("a call");
    core.ease();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(core.runs(), "somebody talks");
    out.hang_up().await.expect("a BYE passes");
    inward.ended(PATIENCE).await.expect("it ends");
}
