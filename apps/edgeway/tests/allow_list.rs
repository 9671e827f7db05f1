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
    let ask = |more: &[&str]| {
        let files = [Path::new("--rules"), &rules, Path::new("--tests"), &tests];
        run(&[&["test"], more].concat(), &files)
    };
    let (code, out, err) = ask(&["--user", "Alice"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.ends_with("3 passed, 0 failed\n") && out.contains("dot segments"), "{out}");

    // Without a user nobody owns anything.
    let (code, out, _) = ask(&[]);
    assert_eq!(code, Some(1));
    assert!(out.ends_with("2 passed, 1 failed\n") && out.contains("FAIL    allow     block"), "{out}");

    let (code, out, _) = ask(&["--user", "alice", "--output", "json"]);
    let results: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, Some(0));
    assert_eq!(results[1]["reason"], "dot-segments");
    assert_eq!(results[1]["passed"], true);
    assert_eq!(results[2]["rule"], "The user's own");

    let broken = folder.file("broken.csv", "Url\n");
    assert_eq!(run(&["test", "--rules"], &[&rules, Path::new("--tests"), &broken]).0, Some(78));
    assert_eq!(ask(&["--user", "a:b"]).0, Some(2));
    // Without tests the URLs that are named are asked for, and all must be let through.
    let (code, out, _) = run(&["test", "https://files.example.com/updates/x", "--rules"], &[&rules]);
    assert!(code == Some(0) && out.lines().count() == 2 && out.contains("allow") && out.contains("Updates"), "{out}");
    let (code, out, _) = run(&["test", "https://files.example.com/other", "--rules"], &[&rules]);
    assert!(code == Some(1) && out.contains("block") && out.contains("no rule for this path"), "{out}");
    assert_eq!(run(&["test"], &[]).0, Some(2), "either URLs or tests");
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
fn rules_in_force_are_listed_and_exported() {
    let folder = Folder::new("list");
    let socket = folder.0.join("core.sock");
    let settings = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\ncontrol_socket = {socket:?}\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
         registrars = [\"tcp:10.0.0.5:5060\"]\n"
    );
    let settings = folder.file("core.toml", &settings);
    let shown = |arguments: &[&str], status: &str, body: &str| {
        let _ = std::fs::remove_file(&socket);
        let core = core(&socket, status, body);
        let outcome = run(&[arguments, &["--config"]].concat(), &[&settings]);
        let asked = core.join().expect("one question");
        assert!(asked.starts_with("POST /ask/allow-list HTTP/1.1\r\n"), "{asked}");
        outcome
    };
    let body = r#"{"rules":[
        {"url":"https://cucm1.example.com:8443/cucm-uds/user/{user}","deployment":"default","methods":["GET","PUT"],
         "match_type":"prefix","description":"UDS: the user's own","origin":"automatic","name":null,"automatic":"cucm1.example.com"},
        {"url":"http://192.0.2.1/x","deployment":"default","methods":["GET"],"match_type":"exact","description":"","origin":"file",
         "name":null,"automatic":null},
        {"url":"http://192.0.2.1/y","deployment":"default","methods":["GET"],"match_type":"prefix","description":"\u001b[2J","origin":
         "configuration","name":"y","automatic":null}]}"#;
    let (code, out, err) = shown(&["list"], "200 OK", body);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("automatic") && lines[1].contains("GET,PUT"), "{out}");
    assert!(lines[2].starts_with("file") && lines[3].starts_with("configuration  y") && lines[4] == "3 rules", "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
    let (_, out, _) = shown(&["show", "--origin", "configuration"], "200 OK", body);
    assert!(out.ends_with("1 rules\n") && out.contains("192.0.2.1/y"), "{out}");

    let (code, out, _) = shown(&["export", "--origin", "automatic"], "200 OK", body);
    let wanted = "Url,Deployment,HttpMethods,MatchType,Description\n\
                  https://cucm1.example.com:8443/cucm-uds/user/{user},default,\"GET,PUT\",prefix,UDS: the user's own\n";
    assert_eq!((code, out.as_str()), (Some(0), wanted));
    assert_eq!(run(&["check"], &[&folder.file("shown.csv", &out)]).0, Some(0));

    let (code, out, _) = shown(&["list", "--output", "json"], "200 OK", body);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, json["rules"][1]["match_type"].as_str()), (Some(0), Some("exact")));

    let (code, _, err) = shown(&["list"], "422 Unprocessable Content", r#"{"error":"there is no allow-list"}"#);
    assert_eq!((code, err.as_str()), (Some(1), "there is no allow-list\n"));

    std::fs::remove_file(&socket).expect("the last one");
    assert_eq!(run(&["list", "--config"], &[&settings]).0, Some(3), "nobody listens");
}
