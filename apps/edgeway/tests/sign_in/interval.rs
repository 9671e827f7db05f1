//! The credentials refresh interval, with the wall clock moved on by libfaketime: this program runs itself again under
//! it, and the child moves its own clock.

use std::path::{Path, PathBuf};
use std::process::Command;

use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::{Ask, Got};
use edgeway_lab_servers::uc::HTTPS_PORT;

use crate::system::{CUCM, DOMAIN, EDGE_HOST, System, password};

/// Set in the child: the file libfaketime reads the offset from.
const OFFSET: &str = "FAKETIME_TIMESTAMP_FILE";

/// 480 minutes.
const INTERVAL_SECS: u64 = 480 * 60;

/// The name of this test, as the child is asked for it.
const NAME: &str = "interval::after_480_minutes_unified_cm_is_asked_again";

fn library() -> PathBuf {
    let arch = std::env::consts::ARCH;
    let path = PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketimeMT.so.1"));
    assert!(path.exists(), "{} is missing: apt-get install libfaketime", path.display());
    path
}

#[test]
fn after_480_minutes_unified_cm_is_asked_again() {
    if let Some(file) = std::env::var_os(OFFSET) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(sped_up(Path::new(&file)));
    }
    let file = std::env::temp_dir().join(format!("edgeway-faketime-{}", std::process::id()));
    set(&file, 0);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([NAME, "--exact", "--nocapture"])
        .env("LD_PRELOAD", library())
        .env(OFFSET, &file)
        .env("FAKETIME_NO_CACHE", "1")
        // Timers go on as they are; it is the wall clock that sessions end by.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .expect("it runs");
    let _ = std::fs::remove_file(&file);
    let said = String::from_utf8_lossy(&child.stdout);
    let why = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

/// Moves the clock, in one step.
fn set(file: &Path, seconds: u64) {
    let next = file.with_extension("next");
    std::fs::write(&next, format!("+{seconds}\n")).expect("written");
    std::fs::rename(next, file).expect("in its place");
}

fn cookie(got: &Got) -> String {
    let line = got.header("set-cookie").expect("a cookie");
    line.split(';').next().expect("its value").to_owned()
}

async fn sped_up(file: &Path) {
    let system = System::start("interval", "").await;
    let first = system.sign_in("alice", &password("alice")).await;
    assert_eq!(first.status, 200);
    let cookie = cookie(&first);
    let asked = |credentials: bool| {
        let lane = b64(&format!("{DOMAIN}/https/{CUCM}/{HTTPS_PORT}"));
        let ask = Ask::get(EDGE_HOST, &format!("/{lane}/cucm-uds/user/alice/devices")).with("cookie", &cookie);
        if credentials { ask.basic("alice", &password("alice")) } else { ask }
    };
    assert_eq!(system.sign_in("alice", &password("alice")).await.status, 200);
    assert_eq!(system.cluster.checks("alice"), 1);

    // A minute before the end everything is as it was.
    set(file, INTERVAL_SECS - 60);
    assert_eq!(system.sign_in("alice", &password("alice")).await.status, 200);
    assert_eq!(system.ask(&asked(true)).await.expect("an answer").status, 200);
    assert_eq!(system.cluster.checks("alice"), 1);

    set(file, INTERVAL_SECS + 1);
    let old = system.ask(&asked(false)).await.expect("an answer");
    assert_eq!(old.status, 401, "the token has ended");
    assert_eq!(system.sign_in("alice", &password("alice")).await.status, 200);
    assert_eq!(system.cluster.checks("alice"), 2, "asked again, once");
    assert_eq!(system.sign_in("alice", &password("alice")).await.status, 200);
    assert_eq!(system.cluster.checks("alice"), 2);
}
