//! Sign-in through a real edge and a real core: by hand with curl and openssl, and at its limits.

mod certificates;
mod interval;
mod rates;
mod system;

use std::process::Command;

use system::{AWAY, CUCM, CUCM_TWO, DOMAIN, EDGE_HOST, EDGE_OTHER_HOST, HERE, System, password};

/// Whether the programs of the script are there; a machine without them says so.
fn programs() {
    for program in ["curl", "openssl", "base64"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        assert!(found.is_ok_and(|output| output.status.success()), "{program} is missing: apt-get install {program}");
    }
}

#[tokio::test]
async fn curl_and_openssl_sign_in_and_get_every_status_on_purpose() {
    programs();
    let system = System::start("by-hand", "").await;
    system.cluster.power(CUCM_TWO, false).expect("off");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sign_in/by-hand.sh");
    let mut command = Command::new("sh");
    command.arg(script);
    for (name, value) in [
        ("EDGE_HOST", EDGE_HOST.to_owned()),
        ("EDGE_PORT", system.https.port().to_string()),
        ("EDGE_ADDRESS", HERE.to_string()),
        ("EDGE_CA", system.ca_file.display().to_string()),
        ("EDGE_OTHER_HOST", EDGE_OTHER_HOST.to_owned()),
        ("ALONE_PORT", system.alone.port().to_string()),
        ("DOMAIN", DOMAIN.to_owned()),
        ("DOMAIN_AWAY", AWAY.to_owned()),
        ("EDGE_USER", "alice".to_owned()),
        ("EDGE_PASSWORD", password("alice")),
        ("OTHER_USER", "bob".to_owned()),
        ("OTHER_PASSWORD", password("bob")),
        ("BUSY_USER", "carol".to_owned()),
        ("BUSY_PASSWORD", password("carol")),
        ("DEVICE", "CSFALICE".to_owned()),
        ("CUCM", CUCM.to_owned()),
        ("CUCM_DOWN", CUCM_TWO.to_owned()),
        ("ATTEMPTS", "8".to_owned()),
    ] {
        command.env(name, value);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(output.status.success(), "{failed:#?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("PASS ").count() >= 80, "few checks: {said}");
}
