//! The configuration of a real core, changed with the real command line: it is kept, it goes back, and it shows no secret.
//! That it holds for clients at once is shown with a whole fleet, in `maintenance/settings.rs`.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    dir: PathBuf,
    sip: SocketAddr,
    registrar: SocketAddr,
    core: Option<Child>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// The service, built beside the command line by `cargo test` of the workspace; built here if it is not there.
fn service() -> PathBuf {
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_edgeway"));
    let built = Command::new(env!("CARGO")).args(["build", "-q", "-p", "edgeway-core"]).status().expect("cargo");
    assert!(built.success());
    tool.with_file_name("edgeway-core")
}

impl House {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("edgeway-configuration-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder");
        let mut house = Self { dir, sip: port(), registrar: port(), core: None };
        house.write_file("domains = [\"example.com\"]\n");
        house.start();
        house
    }

    fn write_file(&self, more: &str) {
        let (at, sip, registrar) = (self.dir.display(), self.sip, self.registrar);
        let text = format!(
            "node = \"core1\"\nstate_dir = \"{at}/state\"\ncontrol_socket = \"{at}/sock\"\n{more}\
             [sip]\nlisten = [\"{sip}\"]\nregistrars = [\"tcp:{registrar}\"]\n\
             [media]\nports = \"12000-12099\"\n[admin]\nlisten = \"off\"\n"
        );
        fs::write(self.dir.join("core.toml"), text).expect("written");
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let mut command = Command::new(service());
        command.arg("--config").arg(self.dir.join("core.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.core = Some(command.spawn().expect("it starts"));
        let until = Instant::now() + PATIENCE;
        while !self.run(&["config", "show"]).status.success() {
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let ended = self.core.as_mut().expect("started").try_wait().expect("asked");
            assert!(Instant::now() < until && ended.is_none(), "the core does not answer: {}", log());
            sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) {
        if let Some(mut core) = self.core.take() {
            let _ = core.kill();
            let _ = core.wait();
        }
    }

    fn hang_up(&self) {
        let pid = self.core.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        command.args(arguments).arg("--config").arg(self.dir.join("core.toml"));
        command.output().expect("the tool runs")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out.into_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["-o", "json"]].concat())).expect("JSON")
    }

    fn apply(&self, text: &str, more: &[&str]) -> Output {
        let file = self.dir.join("new.toml");
        fs::write(&file, text).expect("written");
        self.run(&[&["config", "apply", file.to_str().expect("a path")], more].concat())
    }

    fn revision(&self) -> u64 {
        self.json(&["config", "show"])["revision"].as_u64().expect("a number")
    }
}

#[test]
fn a_running_core_takes_changes_keeps_them_and_goes_back() {
    let mut house = House::new("changes");
    assert_eq!(house.revision(), 1);
    let exported = house.says(&["config", "export"]);
    assert!(exported.starts_with("# The configuration of Edgeway, as core1 has it: revision 1"), "{exported}");

    // What is wrong is said with its line, and nothing has changed.
    let wrong = house.apply("domains = [\"a..b\"]\nsip.registrarz = 1\n", &[]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(78), "{said}");
    assert!(said.contains("line 2: sip.registrarz") && said.contains("Did you mean"), "{said}");

    // Other domains and another rate limit.
    let mut new = exported.replace("[\"example.com\"]", "[\"example.com\", \"example.org\"]");
    new.push_str("\n[sign_in]\nmaximum_authorizations_per_period = 3\n");
    let planned = house.apply(&new, &["--dry-run"]);
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.contains("domains\n  - [\"example.com\"]\n  + [\"example.com\", \"example.org\"]"), "{planned}");
    assert!(planned.contains("nothing was changed"), "{planned}");
    assert_eq!(house.revision(), 1);
    let done = house.apply(&new, &["--comment", "second domain"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(house.revision(), 2);
    let origins = house.says(&["config", "show", "--origin"]);
    assert!(
        origins.lines().any(|line| line.starts_with("sign_in.maximum_authorizations_per_period")
            && line.contains('3')
            && line.ends_with("configuration")),
        "{origins}"
    );
    let status = house.json(&["status"]);
    assert_eq!(
        (&status["configuration"]["revision"], &status["configuration"]["source"]),
        (&2.into(), &"store".into())
    );
    let domains = house.json(&["config", "diff", "1", "2"]);
    assert_eq!(domains["changes"].as_array().map(Vec::len), Some(2), "{domains}");

    assert!(!fs::read_to_string(house.dir.join("log")).expect("the log").contains("DEBUG"));

    // A restart keeps it.
    house.stop();
    house.start();
    assert_eq!(house.revision(), 2);
    assert!(house.says(&["config", "show"]).contains("example.org"));

    // An edit of the file is a change by the file.
    house.write_file("domains = [\"example.com\", \"example.net\"]\nlog.level = \"debug\"\n");
    house.hang_up();
    let until = Instant::now() + PATIENCE;
    while house.revision() == 2 && Instant::now() < until {
        sleep(Duration::from_millis(100));
    }
    let history = house.json(&["config", "history"]);
    assert_eq!(history["revisions"][0]["author"], "file", "{history}");
    let log = || fs::read_to_string(house.dir.join("log")).expect("the log");
    let until = Instant::now() + PATIENCE;
    while !log().contains("DEBUG") {
        assert!(Instant::now() < until, "the log says no more than before: {}", log());
        sleep(Duration::from_millis(100));
    }
    assert!(history["revisions"][1]["author"].as_str().is_some_and(|who| who.starts_with("socket")), "{history}");
    assert_eq!(history["revisions"][1]["comment"], "second domain");

    // Back to the first, and a change that nobody confirms.
    house.says(&["config", "rollback", "1", "--comment", "enough"]);
    assert!(!house.says(&["config", "show"]).contains("example.org"));
    let unconfirmed = house.apply(&new, &["--confirm", "5s"]);
    assert!(String::from_utf8_lossy(&unconfirmed.stdout).contains("config confirm"), "{unconfirmed:?}");
    let waiting = house.revision();
    let busy = house.apply(&exported, &[]);
    assert!(!busy.status.success() && String::from_utf8_lossy(&busy.stderr).contains("waits for its confirmation"));
    let until = Instant::now() + PATIENCE;
    while house.revision() == waiting && Instant::now() < until {
        sleep(Duration::from_millis(200));
    }
    assert!(!house.says(&["config", "show"]).contains("example.org"), "it has gone back by itself");
    let kept = house.apply(&new, &["--confirm", "10m"]);
    assert!(kept.status.success());
    assert!(house.says(&["config", "confirm"]).contains("stays"));
    assert!(house.says(&["config", "show"]).contains("example.org"));

    // A password is sealed, and stays as it is where it is not given again.
    let with = format!(
        "{new}\n[[unity]]\naddress = \"cuc1.example.com\"\nuser = \"edgeway\"\npassword = \"hunter2-hunter2\"\n"
    );
    let done = house.apply(&with, &["-o", "json"]);
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && out.contains("sealed") && !out.contains("hunter2"), "{done:?}");
    let exported = house.says(&["config", "export"]);
    assert!(exported.contains("password = \"sealed\""), "{exported}");
    let again = house.apply(&exported, &[]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing changes"), "{again:?}");
    for entry in fs::read_dir(house.dir.join("state")).expect("the state") {
        let bytes = fs::read(entry.expect("an entry").path()).unwrap_or_default();
        assert!(!bytes.windows(7).any(|seven| seven == b"hunter2"), "no file has it in plain");
    }
    let log = fs::read_to_string(house.dir.join("log")).expect("the log");
    assert!(!log.contains("hunter2"));
}

/// How `edgeway allow-list test` decides about a URL.
fn decided(house: &House, url: &str) -> (bool, Value) {
    let output = house.run(&["allow-list", "test", url, "-o", "json"]);
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.success(), all[0]["passed"] == true, "{all}");
    (output.status.success(), all[0].clone())
}

#[test]
fn rules_of_the_allow_list_are_added_imported_tested_and_removed_while_it_runs() {
    let mut house = House::new("allow-list");
    let rules = house.dir.join("rules.csv");
    fs::write(&rules, "Url,Deployment,HttpMethods,MatchType,Description\nhttps://of-file.example.com/,,GET,,File\n")
        .expect("written");
    house.write_file(&format!("domains = [\"example.com\"]\nhttp.allow_list = {rules:?}\n"));
    house.stop();
    house.start();
    let updates = "https://files.example.com/updates/a.zip";
    assert!(decided(&house, "https://of-file.example.com/x").0, "the file holds");
    assert!(!decided(&house, updates).0);

    // Shown first, and then done.
    let add =
        ["allow-list", "add", "https://FILES.example.com:443/updates", "--name", "updates", "--description", "Updates"];
    let planned = house.says(&[&add[..], &["--dry-run"]].concat());
    assert!(
        planned.contains("http.allow_list_rule[\"updates\"]") && planned.contains("nothing was changed"),
        "{planned}"
    );
    assert!(!decided(&house, updates).0, "a plan changes nothing");
    let before = house.revision();
    house.says(&[&add[..], &["--comment", "for the clients & more"]].concat());
    assert_eq!(house.revision(), before + 1);
    assert_eq!(house.json(&["config", "history"])["revisions"][0]["comment"], "for the clients & more");
    let (allowed, said) = decided(&house, updates);
    assert!(
        allowed && said["origin"] == "configuration" && said["why"].as_str().is_some_and(|why| why.contains("updates")),
        "{said}"
    );
    assert_eq!(decided(&house, "https://of-file.example.com/x").1["origin"], "file", "both hold");
    let listed = house.json(&["allow-list", "list", "--origin", "configuration"]);
    assert_eq!(listed["rules"][0]["url"], "https://files.example.com/updates", "{listed}");

    // What is wrong is refused with its reason, and nothing has changed.
    let revision = house.revision();
    for (wrong, word) in [
        (&["allow-list", "add", "https://a/../b"][..], "dot segments"),
        (&["allow-list", "add", "https://files.example.com/updates/"], "allow_list_rule"),
        (&["allow-list", "add", "https://b/", "--deployment", "none"], "no deployment none"),
        (&["allow-list", "add", "https://b/", "--name", "a/b"], "no name of a rule"),
        (&["allow-list", "remove", "nobody"], "no rule"),
    ] {
        let output = house.run(wrong);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        if word == "allow_list_rule" {
            // With the slash it is about something else.
            assert!(output.status.success(), "{err}");
            house.says(&["allow-list", "remove", "files.example.com"]);
            continue;
        }
        assert!(!output.status.success() && err.contains(word), "{wrong:?}: {err}");
    }
    assert_eq!(house.revision(), revision + 2, "one was added and removed again");

    // A file is judged line by line, and taken as a whole.
    let file = house.dir.join("import.csv");
    let import = |text: &str, more: &[&str]| {
        fs::write(&file, text).expect("written");
        house.run(&[&["allow-list", "import", file.to_str().expect("a path")], more].concat())
    };
    let head = "Url,Deployment,HttpMethods,MatchType,Description\n";
    let bad = import(&format!("{head}https://c.example.com/,,,,\nftp://d,,,,\n"), &[]);
    let err = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(bad.status.code() == Some(78) && err.contains("line 3"), "{err}");
    let good = import(&format!("{head}https://c.example.com/,,\"GET,HEAD\",exact,C\n"), &["--replace"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(decided(&house, "https://c.example.com/").0 && !decided(&house, updates).0, "replaced");
    let exported = house.says(&["allow-list", "export", "--origin", "configuration"]);
    assert_eq!(exported, format!("{head}https://c.example.com/,default,\"GET,HEAD\",exact,C\n"));
    // What is exported can be imported, and changes nothing then.
    let again = import(&exported, &["--replace"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing changes"), "{again:?}");

    // A restart keeps them, a rollback brings back what was before, removing removes.
    house.stop();
    house.start();
    assert!(decided(&house, "https://c.example.com/").0);
    house.says(&["config", "rollback", &revision.to_string()]);
    assert!(decided(&house, updates).0 && !decided(&house, "https://c.example.com/").0);
    house.says(&["allow-list", "remove", "updates"]);
    assert!(!decided(&house, updates).0);
}
