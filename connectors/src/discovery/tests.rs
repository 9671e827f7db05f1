//! Discovery on virtual time, against clusters that are values.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use edgeway_config::parse_core;
use edgeway_model::alarm::Alarm;
use edgeway_model::sign_in::Deployment;
use edgeway_model::zones::{Challenge, Zones};
use edgeway_policy::discovery::{Cluster, OauthKey, UcNode};
use edgeway_runtime::http::LocalFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::fault::{ALARM_FAILED, ALARM_REFUSED, ALARM_UNREACHABLE};
use super::limits::{CONVERSATION_WITHIN, FIRST_AGAIN_MAX, KEYS_AGAIN, KEYS_AGAIN_FAILED};
use super::web::{Question, Reply, WebFault};
use super::*;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Down,
    BadCertificate,
    Status(u16),
    Garbage,
    /// It accepts, and says nothing.
    Silent,
}

/// The UC servers there are: what each says, and what is wrong with it.
#[derive(Default)]
struct World {
    clusters: RefCell<BTreeMap<String, Cluster>>,
    wrong: RefCell<BTreeMap<String, Wrong>>,
    /// Who was asked what, and when.
    asked: RefCell<Vec<(String, String, Instant)>>,
    passwords: RefCell<Vec<String>>,
}

struct Door(Rc<World>, String);

impl Web for Door {
    fn ask(&self, question: Question) -> LocalFuture<'_, Result<Reply, WebFault>> {
        let what = question.action.as_deref().map_or(question.path, |action| action.rsplit(' ').next().unwrap());
        let what = what.trim_matches('"').to_owned();
        self.0.asked.borrow_mut().push((self.1.clone(), what.clone(), Instant::now()));
        if let Some(credentials) = &question.credentials {
            self.0.passwords.borrow_mut().push(credentials.password.to_string());
        }
        let reply = |status, body: String| Ok(Reply { status, retry_after: None, body: body.into_bytes() });
        let wrong = self.0.wrong.borrow().get(&self.1).copied();
        let cluster = self.0.clusters.borrow().get(&self.1).cloned();
        Box::pin(async move {
            match (wrong, cluster) {
                (Some(Wrong::Down), _) | (_, None) => Err(WebFault::Unreachable("connection refused".into())),
                (Some(Wrong::BadCertificate), _) => Err(WebFault::Tls("its certificate has expired".into())),
                (Some(Wrong::Status(status)), _) => reply(status, String::new()),
                (Some(Wrong::Garbage), _) => reply(200, "garbage".into()),
                (Some(Wrong::Silent), _) => std::future::pending().await,
                (None, Some(cluster)) if what == TOKEN_KEYS => keys(&cluster),
                (None, Some(cluster)) => reply(200, soap(&cluster, &what)),
            }
        })
    }
}

const TOKEN_KEYS: &str = crate::unified_cm::TOKEN_KEYS_PATH;

fn keys(cluster: &Cluster) -> Result<Reply, WebFault> {
    let key = |key: &OauthKey| {
        // Any odd number of the right size will do: here its one byte is repeated.
        let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![key.public[0] | 0x81; 256]);
        format!(r#"{{"kty":"RSA","kid":"{}","n":"{n}","e":"AQAB"}}"#, key.id)
    };
    let keys: Vec<_> = cluster.token_keys.iter().map(key).collect();
    let body = format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes();
    Ok(Reply { status: if cluster.oauth { 200 } else { 404 }, retry_after: None, body })
}

fn soap(cluster: &Cluster, method: &str) -> String {
    let mut inner = String::new();
    match method {
        "getCCMVersion" => {
            let _ = write!(inner, "<componentVersion><version>{}</version></componentVersion>", cluster.version);
        }
        "listProcessNode" => {
            for node in &cluster.nodes {
                let usage = if node.publisher { "Publisher" } else { "Subscriber" };
                let role =
                    if cluster.product == Product::UnifiedCm { "CUCM Voice/Video" } else { "CUCM IM and Presence" };
                let _ = write!(
                    inner,
                    "<processNode><name>{}</name><nodeUsage>{usage}</nodeUsage><processNodeRole>{role}</processNodeRole></processNode>",
                    node.name
                );
            }
        }
        "listCallManager" => {
            for node in &cluster.nodes {
                let _ = write!(
                    inner,
                    "<callManager><processNodeName>{}</processNodeName><ports><sipPorts><sipPhonePort>{}</sipPhonePort>\
                     <sipPhoneSecurePort>5061</sipPhoneSecurePort></sipPorts></ports></callManager>",
                    node.name, node.sip_port
                );
            }
        }
        "executeSQLQuery" => {
            let mode = u8::from(cluster.mixed_mode);
            let _ =
                write!(inner, "<row><paramname>ClusterSecurityMode</paramname><paramvalue>{mode}</paramvalue></row>");
        }
        "listProcessNodeService" => {
            for name in &cluster.tftp {
                let _ = write!(
                    inner,
                    "<processNodeService><processNodeName>{name}</processNodeName><service>Cisco Tftp</service><isActive>true</isActive></processNodeService>"
                );
            }
        }
        _ => {}
    }
    format!(
        "<e:Envelope xmlns:e='e'><e:Body><{method}Response><return>{inner}</return></{method}Response></e:Body></e:Envelope>"
    )
}

fn node(name: &str, publisher: bool) -> UcNode {
    UcNode { name: name.into(), publisher, sip_port: 5060, sip_tls_port: 0, sip_oauth_port: 0, https_port: 8443 }
}

fn cluster(publisher: &str) -> Cluster {
    Cluster {
        product: Product::UnifiedCm,
        publisher: publisher.into(),
        deployment: Deployment::default_one(),
        version: "12.5.1.10000(22)".into(),
        mixed_mode: false,
        nodes: vec![node(publisher, true), node(&format!("sub.{publisher}"), false)],
        tftp: vec![publisher.into()],
        oauth: false,
        token_keys: Vec::new(),
    }
}

/// A folder of its own that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut name = [0; 8];
        aws_lc_rs::rand::fill(&mut name).unwrap();
        let path = std::env::temp_dir().join(format!("edgeway-discovery-{:016x}", u64::from_be_bytes(name)));
        fs::create_dir(&path).unwrap();
        let scratch = Self(path);
        scratch.password("secret\n", 0o600);
        scratch
    }

    fn password(&self, text: &str, mode: u32) {
        let path = self.0.join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn kept(&self) -> PathBuf {
        self.0.join("servers.json")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(dir: &Path, publishers: &[&str]) -> CoreSettings {
    let password = dir.join("password");
    let mut text = format!(
        "node = \"core1\"\nstate_dir = \"{}\"\ndomains = [\"example.com\"]\n\
         [sip]\nregistrars = [\"tcp:pbx.example.com:5060\"]\nlisten = [\"127.0.0.1:5060\"]\nadvertise = \"core1.example.com:5060\"\n[media]\naddress = \"127.0.0.1\"\n",
        dir.display()
    );
    for publisher in publishers {
        let _ = write!(
            text,
            "[[unified_cm]]\naddress = \"{publisher}\"\nuser = \"axl\"\npassword_file = \"{}\"\n",
            password.display()
        );
    }
    parse_core(&text, "core.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// Discovery, and what it has told.
struct Rig {
    discovery: Rc<Discovery>,
    told: RefCell<UnboundedReceiver<HttpFact>>,
    alarms: RefCell<BTreeMap<(&'static str, String), Alarm>>,
    zones: RefCell<Option<Arc<Zones>>>,
    raised: Cell<usize>,
}

impl Rig {
    fn new(world: &Rc<World>, settings: &CoreSettings) -> Self {
        let (teller, told) = Teller::new();
        let world = Rc::clone(world);
        let connect: Connect = Rc::new(move |settings: &UcServerSettings| {
            Ok(Box::new(Door(Rc::clone(&world), settings.address.host.clone())) as Box<dyn Web>)
        });
        let discovery = Discovery::with(settings, teller, &connect);
        Self {
            discovery,
            told: RefCell::new(told),
            alarms: RefCell::default(),
            zones: RefCell::default(),
            raised: Cell::new(0),
        }
    }

    fn hear(&self) {
        while let Ok(fact) = self.told.borrow_mut().try_recv() {
            match fact {
                HttpFact::Alarm(alarm) => {
                    self.raised.set(self.raised.get() + 1);
                    self.alarms.borrow_mut().insert((alarm.id, alarm.about.clone()), alarm);
                }
                HttpFact::AlarmOver { id, about } => assert!(self.alarms.borrow_mut().remove(&(id, about)).is_some()),
                HttpFact::Zones(zones) => *self.zones.borrow_mut() = Some(zones),
                HttpFact::SignIn(_)
                | HttpFact::Counted(_)
                | HttpFact::Chats(_)
                | HttpFact::Notice(_)
                | HttpFact::Ended => {}
            }
        }
    }

    /// The alarms that stand.
    fn alarms(&self) -> Vec<(&'static str, String)> {
        self.hear();
        self.alarms.borrow().keys().cloned().collect()
    }

    fn cause(&self, id: &'static str, about: &str) -> String {
        self.hear();
        self.alarms.borrow().get(&(id, about.to_owned())).map(|alarm| alarm.cause.clone()).unwrap_or_default()
    }

    fn zones(&self) -> Vec<String> {
        self.hear();
        let zones = self.zones.borrow();
        zones.iter().flat_map(|zones| &zones.deployments).flat_map(|d| &d.zones).map(|zone| zone.name.clone()).collect()
    }

    async fn ask(&self, path: &str, question: Value) -> Result<Value, String> {
        Rc::clone(&self.discovery).operate(path.to_owned(), question).await
    }

    async fn refresh(&self) -> Value {
        self.ask("servers/refresh", Value::Null).await.unwrap()
    }

    async fn kinds(&self, path: &str, question: Value) -> Vec<String> {
        let answer = self.ask(path, question).await.unwrap();
        answer["changes"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap().to_owned()).collect()
    }
}

fn world(clusters: Vec<Cluster>) -> Rc<World> {
    let world = World::default();
    world.clusters.borrow_mut().extend(clusters.into_iter().map(|cluster| (cluster.publisher.clone(), cluster)));
    Rc::new(world)
}

impl World {
    fn change(&self, publisher: &str, change: impl FnOnce(&mut Cluster)) {
        change(self.clusters.borrow_mut().get_mut(publisher).unwrap());
    }

    fn wrong(&self, publisher: &str, wrong: Option<Wrong>) {
        let mut all = self.wrong.borrow_mut();
        match wrong {
            Some(wrong) => _ = all.insert(publisher.to_owned(), wrong),
            None => _ = all.remove(publisher),
        }
    }

    fn count(&self, what: &str) -> usize {
        self.asked.borrow().iter().filter(|(_, asked, _)| asked == what).count()
    }
}

const A: &str = "a.example.com";
const B: &str = "b.example.com";
const LONG: Duration = Duration::from_secs(3_600);

/// Runs a test on the thread's own set of tasks.
async fn local<F: Future<Output = ()>>(test: F) {
    LocalSet::new().run_until(test).await;
}

/// Waits, in real time as far as the disk is concerned, until the file says `text`.
async fn until_kept(scratch: &Scratch, text: &str) {
    while !fs::read_to_string(scratch.kept()).is_ok_and(|kept| kept.contains(text)) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_at_the_start_is_asked_until_it_is_back_and_never_flooded() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
        world.wrong(A, Some(Wrong::Down));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A]));
        rig.discovery.start();
        sleep(Duration::from_secs(600)).await;
        // One question each time, no more often than it takes to be back within 5 s.
        let asked = world.asked.borrow().len();
        assert!((350..=460).contains(&asked), "{asked}");
        assert_eq!(rig.alarms(), [(ALARM_UNREACHABLE, A.to_owned())]);
        assert_eq!(rig.raised.get(), 1, "an alarm is told once");
        assert!(rig.cause(ALARM_UNREACHABLE, A).ends_with("nothing is known of it yet: its users cannot sign in"));
        assert_eq!(
            rig.zones(),
            ["sip:pbx.example.com:5060;transport=tcp"],
            "what an operator wrote down needs no discovery"
        );
        world.wrong(A, None);
        sleep(FIRST_AGAIN_MAX * 2).await;
        assert_eq!(rig.alarms(), []);
        assert_eq!(
            rig.zones(),
            ["sip:pbx.example.com:5060;transport=tcp", "CEtcp-a.example.com", "CEtcp-sub.a.example.com"]
        );
        assert_eq!(rig.discovery.current().revision(), 1);
        assert_eq!(world.count("addExpresswayCConfiguration"), 1);
        until_kept(&scratch, "\"revision\": 1").await;
        assert_eq!(fs::metadata(scratch.kept()).unwrap().permissions().mode() & 0o777, 0o600);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_refused_is_not_shown_every_second() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
        world.wrong(A, Some(Wrong::Status(401)));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A]));
        rig.discovery.start();
        sleep(LONG).await;
        assert!((55..=70).contains(&world.asked.borrow().len()), "{}", world.asked.borrow().len());
        assert_eq!(rig.alarms(), [(ALARM_REFUSED, A.to_owned())]);
        assert!(world.passwords.borrow().iter().all(|password| password == "secret"));
        assert!(!rig.cause(ALARM_REFUSED, A).contains("secret"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_known_serves_while_the_servers_are_down() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A), cluster(B)]));
        let first = Rig::new(&world, &settings(&scratch.0, &[A, B]));
        first.refresh().await;
        until_kept(&scratch, B).await;
        world.wrong(A, Some(Wrong::Down));
        // The next start has another deployment for it, and no B.
        let mut settings = settings(&scratch.0, &[A]);
        settings.uc.unified_cm[0].deployment = Deployment::new("east").unwrap();
        let rig = Rig::new(&world, &settings);
        let known = rig.discovery.current().snapshot();
        assert_eq!((known.revision, known.clusters.len()), (1, 1));
        assert_eq!(known.clusters[0].deployment.as_str(), "east");
        rig.discovery.start();
        sleep(LONG).await;
        let cause = rig.cause(ALARM_UNREACHABLE, A);
        assert!(
            cause.ends_with("cannot be reached: connection refused; what was known of it goes on being used"),
            "{cause}"
        );
        let list = rig.ask("servers", Value::Null).await.unwrap();
        assert_eq!(
            (&list["servers"][0]["state"], &list["servers"][0]["cluster"]["version"]),
            (&json!("Failed"), &json!("12.5.1.10000(22)"))
        );
        world.wrong(A, None);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(rig.alarms(), []);
        assert_eq!(rig.ask("servers", Value::Null).await.unwrap()["servers"][0]["state"], json!("Active"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_damaged_or_hostile_is_not_taken() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
        let settings = settings(&scratch.0, &[A]);
        Rig::new(&world, &settings).refresh().await;
        until_kept(&scratch, A).await;
        let good = fs::read_to_string(scratch.kept()).unwrap();
        for (bad, mode) in [
            (String::new(), 0o600),
            ("{}".to_owned(), 0o600),
            (good[..good.len() / 2].to_owned(), 0o600),
            (good.replace("\"form\": 1", "\"form\": 2"), 0o600),
            (good.replace("5060", "70000"), 0o600),
            (good.replace("sub.a.example.com", "127.0.0.1"), 0o600),
            (good.replace("sub.a.example.com", "a.example.com"), 0o600),
            (good.replace("\"publisher\": true", "\"publisher\": false"), 0o600),
            (good.replace("unified_cm", "toaster"), 0o600),
            (good.replace("\"oauth\"", "\"oauth2\""), 0o600),
            (good.clone(), 0o644),
        ] {
            fs::write(scratch.kept(), &bad).unwrap();
            fs::set_permissions(scratch.kept(), fs::Permissions::from_mode(mode)).unwrap();
            let rig = Rig::new(&world, &settings);
            assert_eq!(rig.discovery.current().revision(), 0, "{bad}");
            assert_eq!(rig.alarms(), [(ALARM_NOT_KEPT, scratch.kept().display().to_string())], "{bad}");
            rig.discovery.start();
            until_kept(&scratch, "\"revision\": 1").await;
            sleep(Duration::from_millis(10)).await;
            assert_eq!(rig.alarms(), []);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_named_and_nothing_changes_until_the_refresh() {
    type Make = fn(&mut Cluster);
    let table: [(Make, &str, &str); 8] = [
        (|c| c.nodes.push(node("new.example.com", false)), "node_added", "node new.example.com is new"),
        (|c| c.nodes.truncate(1), "node_removed", "node sub.a.example.com is gone"),
        (|c| c.mixed_mode = true, "security_mode", "the cluster security mode is now mixed"),
        (|c| c.nodes[1].sip_port = 5070, "port", "the SIP port of sub.a.example.com was 5060 and is now 5070"),
        (
            |c| c.tftp = vec!["sub.a.example.com".into()],
            "tftp",
            "TFTP servers were a.example.com and are now sub.a.example.com",
        ),
        (|c| c.version = "14.0.1".into(), "version", "version 12.5.1.10000(22) is now 14.0.1"),
        (|c| c.oauth = true, "oauth", "it issues self-describing tokens now"),
        (
            |c| (c.oauth, c.token_keys) = (true, vec![OauthKey { id: "k".into(), public: vec![1] }]),
            "oauth",
            "token keys: 1 new, 0 gone",
        ),
    ];
    local(async {
        for (make, kind, text) in table {
            let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
            let rig = Rig::new(&world, &settings(&scratch.0, &[A]));
            rig.discovery.start();
            sleep(Duration::from_secs(400)).await;
            assert_eq!(rig.alarms(), []);
            let (told, before) = (world.count("addExpresswayCConfiguration"), rig.discovery.current().snapshot());
            world.change(A, make);
            sleep(Duration::from_secs(400)).await;
            assert!(rig.cause(ALARM_DRIFT, A).contains(text), "{}", rig.cause(ALARM_DRIFT, A));
            assert!(
                rig.alarms
                    .borrow()
                    .values()
                    .all(|alarm| alarm.action.contains("edgeway servers refresh a.example.com"))
            );
            assert!(Rc::ptr_eq(&before, &rig.discovery.current().snapshot()), "a look changes nothing");
            assert_eq!(world.count("addExpresswayCConfiguration"), told, "a look writes nothing");
            // It goes back: over. And again.
            world.change(A, |found| *found = cluster(A));
            sleep(Duration::from_secs(400)).await;
            assert_eq!(rig.alarms(), []);
            world.change(A, make);
            sleep(Duration::from_secs(400)).await;
            assert_eq!(rig.alarms(), [(ALARM_DRIFT, A.to_owned())]);
            // A dry run shows it, and the refresh takes it.
            assert_eq!(rig.kinds("servers/refresh", json!({"name": A, "dry_run": true})).await[0], kind);
            assert!(Rc::ptr_eq(&before, &rig.discovery.current().snapshot()));
            assert_eq!(world.count("addExpresswayCConfiguration"), told, "a dry run writes nothing");
            assert_eq!(rig.kinds("servers/refresh", json!({"name": "A.example.com"})).await[0], kind);
            assert_eq!((rig.alarms(), rig.discovery.current().revision()), (vec![], 2));
            assert_eq!(rig.kinds("servers/refresh", Value::Null).await, Vec::<String>::new());
            assert_eq!(rig.discovery.current().revision(), 2, "nothing new is nothing new");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn looks_are_as_rare_as_they_should_be() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A]));
        rig.discovery.start();
        sleep(LONG * 10).await;
        let looks = world.count("getCCMVersion");
        assert!((110..=135).contains(&looks), "one in five minutes or so: {looks}");
        assert_eq!(rig.alarms(), []);
        // Switched off, they are: what nothing is known of is asked, and then no more.
        let (scratch, world) = (Scratch::new(), self::world(vec![cluster(A)]));
        let mut settings = settings(&scratch.0, &[A]);
        settings.uc.look_every = None;
        let rig = Rig::new(&world, &settings);
        rig.discovery.start();
        sleep(LONG * 10).await;
        assert_eq!((world.count("getCCMVersion"), rig.discovery.current().revision()), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_a_refresh_each_cluster_is_taken_whole_or_not_at_all() {
    local(async {
        for (wrong, id, text) in [
            (Wrong::Down, ALARM_UNREACHABLE, "cannot be reached"),
            (Wrong::BadCertificate, ALARM_REFUSED, "its certificate has expired"),
            (Wrong::Status(401), ALARM_REFUSED, "(401)"),
            (Wrong::Status(403), ALARM_REFUSED, "(403)"),
            (Wrong::Status(500), ALARM_FAILED, "status 500"),
            (Wrong::Status(503), ALARM_UNREACHABLE, "asked too often (503)"),
            (Wrong::Status(599), ALARM_UNREACHABLE, "asked too often (599)"),
            (Wrong::Garbage, ALARM_FAILED, "cannot be read"),
            (Wrong::Silent, ALARM_UNREACHABLE, "all of it together took too long"),
        ] {
            let (scratch, world) = (Scratch::new(), world(vec![cluster(A), cluster(B)]));
            let rig = Rig::new(&world, &settings(&scratch.0, &[A, B]));
            assert_eq!(rig.refresh().await["ok"], json!(true));
            let old = rig.discovery.current().snapshot();
            for publisher in [A, B] {
                world.change(publisher, |cluster| cluster.nodes[1].sip_port = 5070);
            }
            world.wrong(A, Some(wrong));
            let start = Instant::now();
            let answer = rig.refresh().await;
            assert!(start.elapsed() <= CONVERSATION_WITHIN);
            assert_eq!((&answer["ok"], &answer["swapped"]), (&json!(false), &json!(true)));
            assert_eq!(answer["servers"][0]["kept"], json!(true));
            assert!(answer["servers"][0]["error"].as_str().unwrap().contains(text), "{answer}");
            assert_eq!(answer["servers"][1]["ok"], json!(true));
            let new = rig.discovery.current().snapshot();
            assert_eq!((new.clusters[0] == old.clusters[0], new.clusters[1].nodes[1].sip_port), (true, 5070));
            assert_eq!(rig.alarms(), [(id, A.to_owned())]);
            assert!(
                rig.cause(id, A).contains(text)
                    && rig.cause(id, A).ends_with("what was known of it goes on being used")
            );
            // Mended, the next refresh takes it, and the alarm is over.
            world.wrong(A, None);
            assert_eq!(rig.refresh().await["ok"], json!(true));
            assert_eq!(
                (rig.alarms(), rig.discovery.current().snapshot().clusters[0].nodes[1].sip_port),
                (vec![], 5070)
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_claims_the_node_of_another_is_refused() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A), cluster(B)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A, B]));
        rig.refresh().await;
        world.change(B, |cluster| cluster.nodes.push(node("sub.a.example.com", false)));
        let answer = rig.refresh().await;
        assert_eq!((&answer["swapped"], &answer["servers"][1]["kept"]), (&json!(false), &json!(true)));
        assert!(rig.cause(ALARM_FAILED, B).contains("sub.a.example.com also belongs to a.example.com"));
        assert_eq!(rig.discovery.current().snapshot().clusters[1], cluster(B));
        // A node that moves from one to the other is no lie.
        world.change(A, |cluster| cluster.nodes.truncate(1));
        let answer = rig.refresh().await;
        assert_eq!((&answer["ok"], rig.alarms()), (&json!(true), vec![]), "{answer}");
        assert_eq!(rig.discovery.current().snapshot().clusters[1].nodes.len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_hangs_stops_nobody() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A), cluster(B)]));
        let rig = Rc::new(Rig::new(&world, &settings(&scratch.0, &[A, B])));
        rig.refresh().await;
        world.wrong(A, Some(Wrong::Silent));
        let other = Rc::clone(&rig);
        let hanging = tokio::task::spawn_local(async move { other.refresh().await });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.discovery.current().snapshot().clusters.len(), 2);
        let under_way = rig.ask("servers", Value::Null).await.unwrap()["refreshing"].clone();
        assert_eq!((&under_way["servers"], &under_way["read"]), (&json!(2), &json!(1)), "one of two has answered");
        let refused = rig.ask("servers/refresh", Value::Null).await.unwrap_err();
        assert!(refused.starts_with("a refresh is under way"), "{refused}");
        assert!(!hanging.is_finished());
        assert_eq!(hanging.await.unwrap()["ok"], json!(false));
        assert_eq!(rig.ask("servers", Value::Null).await.unwrap()["refreshing"], Value::Null);
        for (path, question, text) in [
            (
                "servers/refresh",
                json!({"name": "nobody"}),
                "no such UC server; there are: a.example.com, b.example.com",
            ),
            ("servers/refresh", json!({"nome": "x"}), "unknown field"),
            ("servers/other", Value::Null, "there is no servers/other"),
        ] {
            assert!(rig.ask(path, question).await.unwrap_err().contains(text));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn discover_asks_those_nothing_is_known_of() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A), cluster(B)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A, B]));
        world.wrong(B, Some(Wrong::Down));
        assert_eq!(rig.kinds("servers/discover", Value::Null).await, ["cluster_added"]);
        world.wrong(B, None);
        world.asked.borrow_mut().clear();
        assert_eq!(rig.kinds("servers/discover", Value::Null).await, ["cluster_added"]);
        assert!(world.asked.borrow().iter().all(|(server, ..)| server == B), "what is known stays as it is");
        assert_eq!(rig.kinds("servers/discover", Value::Null).await, Vec::<String>::new());
        assert_eq!(rig.discovery.current().snapshot().clusters.len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_by_themselves_but_not_at_a_strangers_pace() {
    local(async {
        let mut issuer = cluster(A);
        (issuer.oauth, issuer.token_keys) = (true, vec![OauthKey { id: "old".into(), public: vec![1] }]);
        let (scratch, world) = (Scratch::new(), world(vec![issuer, cluster(B)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A, B]));
        rig.refresh().await;
        world.asked.borrow_mut().clear();
        world.change(A, |cluster| cluster.token_keys[0].id = "new".into());
        let ids = || {
            rig.discovery.current().snapshot().clusters[0]
                .token_keys
                .iter()
                .map(|key| key.id.clone())
                .collect::<Vec<_>>()
        };
        for _ in 0..100 {
            Rc::clone(&rig.discovery).fetch_keys(Deployment::default_one()).await;
            assert_eq!(ids(), ["new"]);
        }
        Rc::clone(&rig.discovery).fetch_keys(Deployment::new("other").unwrap()).await;
        assert_eq!(world.asked.borrow().len(), 1, "once, and nobody who issues no tokens");
        sleep(KEYS_AGAIN).await;
        // Who is broken for a moment keeps the keys that are known.
        world.wrong(A, Some(Wrong::Garbage));
        assert!(!Rc::clone(&rig.discovery).fetch_keys(Deployment::default_one()).await);
        assert_eq!((ids(), world.asked.borrow().len()), (vec!["new".to_owned()], 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whether_all_have_told_their_keys_is_said_and_one_that_is_down_holds_up_no_other() {
    local(async {
        let issuer = |name: &str| {
            let mut issuer = cluster(name);
            (issuer.oauth, issuer.token_keys) = (true, vec![OauthKey { id: "old".into(), public: vec![1] }]);
            issuer
        };
        let (scratch, world) = (Scratch::new(), world(vec![issuer(A), issuer(B)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A, B]));
        let fetch = || Rc::clone(&rig.discovery).fetch_keys(Deployment::default_one());
        assert!(!fetch().await, "nothing is known of either");
        rig.refresh().await;
        world.wrong(A, Some(Wrong::Down));
        world.change(B, |cluster| cluster.token_keys[0].id = "new".into());
        assert!(!fetch().await);
        assert_eq!(rig.discovery.current().snapshot().clusters[1].token_keys[0].id, "new");
        // It is not asked again at once, and nobody forgets that it has not answered.
        let asked = world.asked.borrow().len();
        assert!(!fetch().await);
        assert_eq!(world.asked.borrow().len(), asked);
        world.wrong(A, None);
        sleep(KEYS_AGAIN_FAILED).await;
        assert!(fetch().await);
        assert!(fetch().await, "asked a moment ago");
        assert_eq!(world.asked.borrow().len(), asked + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_password_is_what_the_file_says_when_it_is_used() {
    local(async {
        let (scratch, world) = (Scratch::new(), world(vec![cluster(A)]));
        let rig = Rig::new(&world, &settings(&scratch.0, &[A]));
        for (text, expected) in [
            ("one", Ok("one")),
            ("two\r\n", Ok("two")),
            (" three \n", Ok(" three ")),
            ("", Err("it is empty")),
            ("\n", Err("it is empty")),
            ("a\nb\n", Err("more than one line")),
            (&"x".repeat(1_025), Err("more than 1024 bytes")),
        ] {
            scratch.password(text, 0o600);
            world.passwords.borrow_mut().clear();
            let answer = rig.refresh().await;
            match expected {
                Ok(password) => assert_eq!(world.passwords.borrow()[0], password),
                Err(why) => {
                    assert!(answer["servers"][0]["error"].as_str().unwrap().contains(why), "{answer}");
                    assert!(world.passwords.borrow().is_empty());
                }
            }
        }
        scratch.password("one", 0o644);
        rig.refresh().await;
        assert_eq!(rig.alarms(), [(ALARM_PASSWORD_OPEN, scratch.0.join("password").display().to_string())]);
        scratch.password("one", 0o600);
        rig.refresh().await;
        assert_eq!(rig.alarms(), []);
        fs::remove_file(scratch.0.join("password")).unwrap();
        assert!(rig.refresh().await["servers"][0]["error"].as_str().unwrap().contains("No such file"));
    })
    .await;
}

#[test]
fn a_server_whose_certificate_is_not_checked_is_an_alarm_that_stays() {
    let (scratch, world) = (Scratch::new(), world(vec![]));
    let mut settings = settings(&scratch.0, &[A, B]);
    settings.uc.unified_cm[1].tls_verify = false;
    let rig = Rig::new(&world, &settings);
    assert_eq!(rig.alarms(), [(ALARM_TLS_VERIFY_OFF, B.to_owned())]);
}

#[test]
fn who_challenges_follows_from_the_settings() {
    let scratch = Scratch::new();
    let challenge = |publishers: &[&str]| settings(&scratch.0, publishers).deployment_zones()[0].challenge.clone();
    assert_eq!(challenge(&[]), Challenge::Registrar);
    assert_eq!(challenge(&[A]), Challenge::Core { realm: "example.com".into(), bearer: false });
    let named = |host: &str| {
        let mut settings = settings(&scratch.0, &[A]);
        settings.sip.advertise.host = host.into();
        own_name(&settings)
    };
    assert_eq!(named("core1.example.com").as_deref(), Some("core1.example.com"));
    assert_eq!((named("core1"), named("10.0.0.1"), named("2001:db8::1")), (None, None, None));
}
