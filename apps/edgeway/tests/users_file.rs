//! `edgeway users` with a file, as an operator runs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("edgeway-users-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output, standard error; `input` is what is typed.
fn run(file: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    command.arg("users").args(arguments).arg("--file").arg(file);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the tool runs");
    // It may be done before it reads.
    let _ = child.stdin.take().expect("standard input is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn users_come_and_go() {
    let folder = Folder::new("come");
    let file = folder.0.join("users");
    let arguments = ["add", "Alice", "--number", "1001", "--number", "+491234", "--device", "CSFALICE"];
    let (code, out, err) = run(&file, &arguments, "correct horse\n");
    assert_eq!((code, out), (Some(0), format!("{}: Alice added\n", file.display())), "{err}");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(
        text.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$") && text.ends_with(":1001,+491234:CSFALICE\n"),
        "{text}"
    );
    assert!(!text.contains("horse"));

    let secret = folder.0.join("bob.password");
    std::fs::write(&secret, "battery\r\nstaple\n").expect("a writable folder");
    let secret = secret.to_str().expect("UTF-8");
    assert_eq!(run(&file, &["add", "bob", "--password-file", secret], "").0, Some(0));
    assert_eq!(run(&file, &["lock", "bob"], "").0, Some(0));
    let (_, out, _) = run(&file, &["list", "--output", "json"], "");
    let listed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&listed[0]["user"], &listed[1]["locked"]), (&"alice".into(), &true.into()), "{out}");
    assert!(!out.contains("argon2"), "hashes are for the file alone");

    assert_eq!(run(&file, &["passwd", "alice"], "another\n").0, Some(0));
    let changed = std::fs::read_to_string(&file).expect("it is there");
    assert!(changed != text && changed.contains(":1001,+491234:CSFALICE\n"));
    assert_eq!(run(&file, &["unlock", "bob"], "").0, Some(0));
    assert_eq!(run(&file, &["remove", "BOB"], "").0, Some(0));
    let (_, out, _) = run(&file, &["list"], "");
    assert!(out.contains("alice") && !out.contains("bob"), "{out}");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let folder = Folder::new("refused");
    let file = folder.0.join("users");
    assert_eq!(run(&file, &["add", "alice"], "one\n").0, Some(0));
    let before = std::fs::read_to_string(&file).expect("it is there");
    let long = "x".repeat(1_025);
    // 2: what the command line says; 1: what could not be done.
    for (arguments, input, exit) in [
        (vec!["add", "ALICE"], "two\n", 1),
        (vec!["add", "a:b"], "two\n", 2),
        (vec!["add", "bob"], "\n", 2),
        (vec!["add", "bob"], "", 2),
        (vec!["add", "bob"], long.as_str(), 2),
        (vec!["add", "bob", "--number", "1 2"], "two\n", 2),
        (vec!["add", "bob", "--nobody"], "two\n", 2),
        (vec!["add", "#bob"], "two\n", 2),
        (vec!["add", "bob", "--password-file", "/nonexistent"], "", 1),
        (vec!["remove", "bob"], "", 2),
        (vec!["lock", "bob"], "", 2),
        (vec!["unlock", "a:b"], "", 2),
        (vec!["passwd", "bob"], "two\n", 2),
    ] {
        let (code, out, err) = run(&file, &arguments, input);
        assert!(code == Some(exit) && out.is_empty() && !err.is_empty(), "{arguments:?}: {code:?} {out} {err}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), before, "{arguments:?}");
    }
    // 78: what the file says.
    std::fs::write(&file, "nonsense\n").expect("a writable folder");
    for arguments in [vec!["list"], vec!["add", "bob"], vec!["passwd", "bob"], vec!["remove", "bob"]] {
        let (code, _, err) = run(&file, &arguments, "two\n");
        assert!(code == Some(78) && err.contains("line 1"), "{arguments:?}: {code:?} {err}");
    }
    assert_eq!(run(&folder.0.join("none"), &["list"], "").0, Some(78));
}

#[test]
fn names_that_are_not_there_are_usage_and_a_core_that_is_not_there_is_not_running() {
    let folder = Folder::new("names");
    let (settings, secret) = (folder.0.join("core.toml"), folder.0.join("secret"));
    std::fs::write(&secret, "secret\n").expect("a writable folder");
    let socket = folder.0.join("core.sock");
    let text = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\ncontrol_socket = {socket:?}\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
         [[unified_cm]]\naddress = \"cucm1.example.com\"\nuser = \"axl\"\npassword_file = {secret:?}\n"
    );
    std::fs::write(&settings, text).expect("a writable folder");
    let run = |arguments: &[&str], settings: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        let output = command.args(arguments).arg("--config").arg(settings).output().expect("the tool runs");
        let err = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.stdout.is_empty() && !err.is_empty(), "{arguments:?}: {err}");
        output.status.code()
    };
    let none = folder.0.join("none.toml");
    for (arguments, exit) in [
        (&["users", "revoke", "alice"][..], 3),
        (&["users", "revoke", "a:b"], 2),
        (&["users", "revoke"], 2),
        (&["users", "revoke", "alice", "--deployment", "nowhere"], 2),
        (&["users", "purge", "alice"], 3),
        (&["users", "purge", "alice", "--deployment", "nowhere"], 2),
        (&["servers", "list"], 3),
        (&["servers", "refresh"], 3),
        (&["servers", "refresh", "CUCM1.example.com"], 3),
        (&["servers", "refresh", "cucm2.example.com"], 2),
        (&["servers", "discover", "cucm2.example.com"], 2),
        (&["servers", "forget"], 2),
        (&["allow-list", "list"], 3),
    ] {
        assert_eq!(run(arguments, &settings), Some(exit), "{arguments:?}");
        if exit == 3 {
            assert_eq!(run(arguments, &none), Some(78), "{arguments:?} without settings");
        }
    }
}
