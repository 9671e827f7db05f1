//! Discovery over real sockets, against a simulated cluster and everything that can be wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeway_config::parse_core;
use edgeway_connectors::discovery::Discovery;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{Asked, Fault, Role, Service, Shown, UcCluster, UcConfig};
use edgeway_model::alarm::Alarm;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{HttpFact, Teller};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;

const CUCM1: &str = "cucm1.example.com";
const CUCM2: &str = "cucm2.example.com";
const IMP1: &str = "imp1.example.com";
const CUC1: &str = "cuc1.example.com";

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("edgeway-discovery-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Rig {
    cluster: UcCluster,
    discovery: Rc<Discovery>,
    told: UnboundedReceiver<HttpFact>,
    alarms: BTreeMap<(&'static str, String), Alarm>,
    zones: Vec<String>,
    scratch: Scratch,
    _dns: LabDns,
}

impl Rig {
    fn new(name: &str, servers: &[(&str, &str)]) -> Self {
        let (ca, dns) = (LabCa::new("Lab").expect("a CA can be made"), LabDns::start().expect("a port is free"));
        let mut config = UcConfig::new("example.com", Vec::new());
        config.nodes = vec![
            ("cucm1".to_owned(), Role::CallManager, true),
            ("cucm2".to_owned(), Role::CallManager, false),
            ("imp1".to_owned(), Role::ImAndPresence, true),
            ("cuc1".to_owned(), Role::Unity, true),
        ];
        let password = config.application_user.1.clone();
        let cluster = UcCluster::start(config, &ca).expect("the cluster starts");
        cluster.publish(&dns);
        let scratch = Scratch::new(name);
        scratch.write("password", &password);
        scratch.write("ca.pem", ca.pem());
        let settings = settings(&scratch.0, servers);
        let (teller, told) = Teller::new();
        let discovery = Discovery::new(&settings, teller, Resolver::new(vec![dns.address()]), true);
        let (alarms, zones) = (BTreeMap::new(), Vec::new());
        Self { cluster, discovery, told, alarms, zones, scratch, _dns: dns }
    }

    async fn ask(&self, path: &str, question: Value) -> Value {
        Rc::clone(&self.discovery).operate(path.to_owned(), question).await.expect("an answer")
    }

    fn hear(&mut self) {
        while let Ok(fact) = self.told.try_recv() {
            match fact {
                HttpFact::Alarm(alarm) => _ = self.alarms.insert((alarm.id, alarm.about.clone()), alarm),
                HttpFact::AlarmOver { id, about } => _ = self.alarms.remove(&(id, about)),
                HttpFact::Zones(zones) => {
                    let zones = zones.deployments.iter().flat_map(|one| &one.zones);
                    self.zones = zones.map(|zone| zone.name.clone()).collect();
                }
                HttpFact::SignIn(_)
                | HttpFact::Counted(_)
                | HttpFact::Chats(_)
                | HttpFact::Notice(_)
                | HttpFact::Ended => {}
            }
        }
    }

    fn alarms(&mut self) -> Vec<(&'static str, String)> {
        self.hear();
        self.alarms.keys().cloned().collect()
    }

    async fn until(&mut self, within: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            self.hear();
            if holds(self) {
                return start.elapsed();
            }
            assert!(start.elapsed() < within, "{what}: {:?}", self.alarms);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn settings(dir: &Path, servers: &[(&str, &str)]) -> edgeway_config::CoreSettings {
    let mut text = format!(
        "node = \"core1\"\nstate_dir = \"{dir}\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"127.0.0.1:5060\"]\n\
         registrars = [\"tcp:pbx.example.com:5060\"]\nadvertise = \"core1.example.com:5060\"\n",
        dir = dir.display()
    );
    for (kind, address) in servers {
        let dir = dir.display();
        text.push_str(&format!(
            "[[{kind}]]\naddress = \"{address}\"\nuser = \"edgeway\"\npassword_file = \"{dir}/password\"\nca = \"{dir}/ca.pem\"\n"
        ));
    }
    let mut settings = parse_core(&text, "core.toml").unwrap_or_else(|problems| panic!("{problems}"));
    settings.uc.look_every = Some(Duration::from_secs(5));
    settings
}

async fn local<F: Future<Output = ()>>(test: F) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn all_products_are_read_and_the_cluster_is_told_of_this_core_once() {
    let servers = [("unified_cm", CUCM1), ("im_and_presence", IMP1), ("unity", "cuc1.example.com:8443")];
    local(async {
        let mut rig = Rig::new("products", &servers);
        rig.cluster.change(|state| (state.mixed_mode, state.oauth) = (true, true));
        let answer = rig.ask("servers/refresh", Value::Null).await;
        assert_eq!(answer["ok"], json!(true), "{answer:#}");
        rig.hear();
        assert_eq!(
            rig.zones,
            [
                "sip:pbx.example.com:5060;transport=tcp",
                "CEtcp-cucm1.example.com",
                "CEtls-cucm1.example.com",
                "CEOAuth-cucm1.example.com"
            ]
        );
        let list = rig.ask("servers", Value::Null).await;
        let of = |at: usize| &list["servers"][at]["cluster"];
        assert_eq!((&of(0)["version"], &of(0)["tftp"]), (&json!("12.5.1.10000(22)"), &json!([CUCM1])));
        assert_eq!((&of(1)["nodes"][0]["name"], &of(2)["nodes"][0]["name"]), (&json!(IMP1), &json!(CUC1)));
        let (id, public) = rig.cluster.signing_key();
        let key = &rig.discovery.current().snapshot().clusters[0].token_keys[0];
        assert_eq!((&key.id, &key.public), (&id, &public));
        // Again: nothing new, and the core is there once.
        assert_eq!(rig.ask("servers/refresh", Value::Null).await["changes"], json!([]));
        let names = ("core1.example.com".to_owned(), "core1.example.com".to_owned());
        assert_eq!(rig.cluster.state().expressways, [names]);
        assert_eq!(rig.alarms(), []);
        // Nothing was asked that the cluster did not understand.
        let refused: Vec<Asked> = rig.cluster.asked().into_iter().filter(|asked| asked.status != 200).collect();
        let duplicates = |asked: &Asked| asked.status == 500 && asked.body.windows(5).any(|piece| piece == b"addEx");
        assert!(refused.iter().all(duplicates), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn whatever_is_wrong_with_axl_the_old_snapshot_stays_and_an_alarm_says_why() {
    let cases: [(Fault, &str, &str); 10] = [
        (Fault::Status(500), "discovery_failed", "status 500"),
        (Fault::Status(403), "server_refused", "(403)"),
        (Fault::Throttled, "server_unreachable", "asked too often (503)"),
        (Fault::Garbage, "discovery_failed", "cannot be read"),
        (Fault::CutShort, "discovery_failed", "broke off"),
        (Fault::Silent, "discovery_failed", "broke off"),
        (Fault::StrangeHosts, "discovery_failed", "169.254.169.254"),
        (Fault::Empty, "discovery_failed", "lists no nodes"),
        (Fault::Redirect("https://elsewhere.example/axl/".to_owned()), "discovery_failed", "status 302"),
        (Fault::Slow(Duration::from_secs(30)), "server_unreachable", "takes too long"),
    ];
    local(async {
        let mut rig = Rig::new("wrong", &[("unified_cm", CUCM1)]);
        assert_eq!(rig.ask("servers/refresh", Value::Null).await["ok"], json!(true));
        rig.cluster.list(CUCM2, true);
        for (fault, id, text) in cases {
            rig.cluster.fault(CUCM1, Service::Axl, Some(fault.clone()));
            kept(&mut rig, id, text, &format!("{fault:?}")).await;
        }
        rig.cluster.fault(CUCM1, Service::Axl, Some(Fault::Endless));
        kept(&mut rig, "discovery_failed", "too l", "endless").await;
        rig.cluster.fault(CUCM1, Service::Axl, None);
        // Half down: AXL is there, the keys are not.
        rig.cluster.fault(CUCM1, Service::OAuth, Some(Fault::Status(500)));
        kept(&mut rig, "discovery_failed", "the keys of its tokens", "half down").await;
        rig.cluster.fault(CUCM1, Service::OAuth, None);
        for (shown, text) in [
            (Shown::SelfSigned, "signed by nobody we trust"),
            (Shown::Untrusted, "signed by nobody we trust"),
            (Shown::WrongName, "not for cucm1.example.com"),
            (Shown::Expired, "expired"),
        ] {
            rig.cluster.show(CUCM1, shown);
            let before = rig.cluster.asked().len();
            kept(&mut rig, "server_refused", text, &format!("{shown:?}")).await;
            assert_eq!(rig.cluster.asked().len(), before, "a server that is not who it should be gets no password");
        }
        rig.cluster.show(CUCM1, Shown::Good);
        let password = fs::read_to_string(rig.scratch.0.join("password")).expect("it is ours");
        rig.scratch.write("password", "another");
        kept(&mut rig, "server_refused", "(401)", "wrong password").await;
        rig.scratch.write("password", &password);
        rig.cluster.power(CUCM1, false).expect("it goes off");
        kept(&mut rig, "server_unreachable", "cannot be reached", "off").await;
        rig.cluster.power(CUCM1, true).expect("it goes on");
        // And once nothing is wrong, what was new all the time is taken.
        let answer = rig.ask("servers/refresh", Value::Null).await;
        assert_eq!((&answer["ok"], &answer["changes"][0]["kind"]), (&json!(true), &json!("node_added")), "{answer:#}");
        assert_eq!(rig.alarms(), []);
        assert!(rig.zones.contains(&format!("CEtcp-{CUCM2}")), "{:?}", rig.zones);
    })
    .await;
}

/// Refreshes, and what is known stays to the letter.
async fn kept(rig: &mut Rig, id: &'static str, text: &str, what: &str) {
    let before = rig.discovery.current().snapshot();
    let answer = rig.ask("servers/refresh", Value::Null).await;
    assert_eq!((&answer["ok"], &answer["servers"][0]["kept"]), (&json!(false), &json!(true)), "{what}: {answer:#}");
    let error = answer["servers"][0]["error"].as_str().expect("it says why");
    assert!(error.contains(text), "{what}: {error}");
    let after = rig.discovery.current().snapshot();
    assert!(Rc::ptr_eq(&before, &after), "{what}");
    assert_eq!(rig.alarms(), [(id, CUCM1.to_owned())], "{what}: {error}");
    let alarm = rig.alarms.values().next().expect("it stands");
    assert!(alarm.cause.contains(text) && !alarm.action.is_empty(), "{what}: {alarm:?}");
}

#[tokio::test]
async fn a_look_notices_what_has_changed_and_says_how_to_take_it() {
    local(async {
        let mut rig = Rig::new("drift", &[("unified_cm", CUCM1)]);
        rig.discovery.start();
        let within = Duration::from_secs(20);
        rig.until(within, "discovered", |rig| rig.discovery.current().revision() == 1).await;
        rig.cluster.list(CUCM2, true);
        let is = |rig: &Rig| rig.alarms.contains_key(&("server_drift", CUCM1.to_owned()));
        rig.until(within, "drift", is).await;
        let alarm = rig.alarms.values().next().expect("it stands").clone();
        assert!(alarm.cause.contains("node cucm2.example.com is new"), "{}", alarm.cause);
        assert!(alarm.action.starts_with("edgeway servers refresh cucm1.example.com"), "{}", alarm.action);
        assert_eq!(rig.discovery.current().revision(), 1);
        rig.cluster.list(CUCM2, false);
        rig.until(within, "it went back", |rig| rig.alarms.is_empty()).await;
        rig.cluster.change(|state| state.mixed_mode = true);
        rig.until(within, "drift", is).await;
        let answer = rig.ask("servers/refresh", json!({"name": CUCM1})).await;
        assert_eq!(answer["changes"][0]["kind"], json!("security_mode"), "{answer:#}");
        assert_eq!(rig.alarms(), []);
    })
    .await;
}

#[tokio::test]
async fn what_was_down_at_the_start_is_in_use_five_seconds_after_its_return() {
    local(async {
        let mut rig = Rig::new("boot", &[("unified_cm", CUCM1)]);
        rig.cluster.power(CUCM1, false).expect("it goes off");
        rig.discovery.start();
        let within = Duration::from_secs(5);
        let stands = |rig: &Rig| rig.alarms.contains_key(&("server_unreachable", CUCM1.to_owned()));
        rig.until(within, "an alarm", stands).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        rig.cluster.power(CUCM1, true).expect("it goes on");
        let took = rig.until(within, "discovered", |rig| rig.discovery.current().revision() == 1).await;
        rig.until(within, "the alarm is over", |rig| rig.alarms.is_empty()).await;
        assert!(took < within, "{took:?}");
    })
    .await;
}
