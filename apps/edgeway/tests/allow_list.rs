//! `edgeway allow-list` with files, as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

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
