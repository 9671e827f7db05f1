//! `edgeway allow-list` with files, as an operator runs it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

const RULES: &str = "Url,Deployment,HttpMethods,MatchType,Description\n\
    https://files.example.com/updates,,GET,,Updates\n\
    https://cucm1.example.com:8443/cucm-uds/user/{user},,,,The user's own\n";
const TESTS: &str = "Url,ExpectedResult,Deployment,Description,HttpMethod\n\
    https://files.example.com/updates/a.zip,allow,,,\n\
    https://files.example.com/updates/../a.zip,block,,,GET\n\
    https://cucm1.example.com:8443/cucm-uds/user/alice/devices,allow,,,\n";

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("edgeway-allow-list-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, text).expect("a writable folder");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output, standard error.
fn run(arguments: &[&str], files: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    let output = command.arg("allow-list").args(arguments).args(files).output().expect("the tool runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_mistake_of_a_file_is_reported() {
    let folder = Folder::new("check");
    let good = folder.file("good.csv", RULES);
    let (code, out, _) = run(&["check"], &[&good]);
    assert_eq!((code, out), (Some(0), format!("{}: 2 good rules\n", good.display())));

    let bad = folder.file("bad.csv", &format!("{RULES}ftp://a,,,,\nhttps://0177.0.0.1/,,,,\nhttps://a,other,,,\n"));
    let (code, _, err) = run(&["check", "--deployment", "default"], &[&bad]);
    let lines: Vec<String> = ["4", "5", "6"].map(|line| format!("{}: line {line}: ", bad.display())).to_vec();
    assert_eq!(code, Some(78), "{err}");
    assert_eq!(err.lines().count(), 3, "{err}");
    assert!(err.lines().zip(&lines).all(|(line, start)| line.starts_with(start.as_str())), "{err}");

    let (code, _, err) = run(&["check"], &[&folder.0.join("none.csv")]);
    assert_eq!(code, Some(78));
    assert!(err.contains("cannot read"), "{err}");
    assert_eq!(run(&["check", "--deployment", "a b"], &[&good]).0, Some(2));
}

#[test]
fn tests_pass_or_fail_as_a_whole() {
    let folder = Folder::new("test");
    let (rules, tests) = (folder.file("rules.csv", RULES), folder.file("tests.csv", TESTS));
    let (code, out, err) = run(&["test", "--user", "Alice"], &[&rules, &tests]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.ends_with("3 passed, 0 failed\n") && out.contains("dot segments"), "{out}");

    // Without a user nobody owns anything.
    let (code, out, _) = run(&["test"], &[&rules, &tests]);
    assert_eq!(code, Some(1));
    assert!(out.ends_with("2 passed, 1 failed\n") && out.contains("FAIL    allow     block"), "{out}");

    let (code, out, _) = run(&["test", "--user", "alice", "--output", "json"], &[&rules, &tests]);
    let results: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, Some(0));
    assert_eq!(results[1]["reason"], "dot-segments");
    assert_eq!(results[1]["passed"], true);
    assert_eq!(results[2]["rule"], "The user's own");

    let broken = folder.file("broken.csv", "Url\n");
    assert_eq!(run(&["test"], &[&rules, &broken]).0, Some(78));
    assert_eq!(run(&["test", "--user", "a:b"], &[&rules, &tests]).0, Some(2));
}

/// Answers one question on a control socket as a core does, and says what was asked.
fn core(socket: &Path, status: &str, body: &str) -> JoinHandle<String> {
    let listener = UnixListener::bind(socket).expect("a socket of our own");
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the tool dials");
        let mut asked = Vec::new();
        // The question ends with its body, `null`.
        while !asked.ends_with(b"null") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).expect("the tool asks");
            assert_ne!(count, 0, "a whole question");
            asked.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
        stream.write_all(answer.as_bytes()).expect("the tool waits");
        String::from_utf8_lossy(&asked).into_owned()
    })
}

#[test]
fn rules_in_force_are_shown_as_a_table_json_or_a_file() {
    let folder = Folder::new("show");
    let socket = folder.0.join("core.sock");
    let settings = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\ncontrol_socket = {socket:?}\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
         registrars = [\"tcp:10.0.0.5:5060\"]\n"
    );
    let settings = folder.file("core.toml", &settings);
    let shown = |output: &str, status: &str, body: &str| {
        let _ = std::fs::remove_file(&socket);
        let core = core(&socket, status, body);
        let outcome = run(&["show", "--output", output, "--config"], &[&settings]);
        let asked = core.join().expect("one question");
        assert!(asked.starts_with("POST /ask/allow-list HTTP/1.1\r\n"), "{asked}");
        outcome
    };
    let body = r#"{"rules":[
        {"url":"https://cucm1.example.com:8443/cucm-uds/user/{user}","deployment":"default","methods":["GET","PUT"],
         "match_type":"prefix","description":"UDS: the user's own","automatic":"cucm1.example.com"},
        {"url":"http://192.0.2.1/x","deployment":"default","methods":["GET"],"match_type":"exact","description":"","automatic":null}]}"#;
    let (code, out, err) = shown("table", "200 OK", body);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("automatic  default") && lines[1].ends_with("GET,PUT"), "{out}");
    assert!(lines[2].starts_with("editable   default") && lines[3] == "2 rules", "{out}");

    let (code, out, _) = shown("csv", "200 OK", body);
    let wanted = "Url,Deployment,HttpMethods,MatchType,Description\n\
                  https://cucm1.example.com:8443/cucm-uds/user/{user},default,\"GET,PUT\",prefix,UDS: the user's own\n\
                  http://192.0.2.1/x,default,GET,exact,\n";
    assert_eq!((code, out.as_str()), (Some(0), wanted));
    assert_eq!(run(&["check"], &[&folder.file("shown.csv", &out)]).0, Some(0));

    let (code, out, _) = shown("json", "200 OK", body);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, json["rules"][1]["match_type"].as_str()), (Some(0), Some("exact")));

    let (code, _, err) = shown("table", "422 Unprocessable Content", r#"{"error":"there is no allow-list"}"#);
    assert_eq!((code, err.as_str()), (Some(1), "there is no allow-list\n"));

    std::fs::remove_file(&socket).expect("the last one");
    assert_eq!(run(&["show", "--config"], &[&settings]).0, Some(3), "nobody listens");
}
