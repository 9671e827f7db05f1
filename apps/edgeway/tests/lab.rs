//! `edgeway lab --check`, as a person or a build machine runs it.

use std::process::Command;
use std::time::{Duration, Instant};

fn lab(arguments: &[&str]) -> String {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_edgeway")).arg("lab").args(arguments).output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{shown}");
    assert!(!shown.contains('✗'), "{shown}");
    shown
}

fn assert_steps(shown: &str, steps: &[&str]) {
    let mut rest = shown;
    for step in steps {
        let Some(at) = rest.find(step) else { panic!("{step} is missing, or not in its place, in:\n{shown}") };
        rest = &rest[at..];
    }
}

#[test]
fn phones_sign_in_from_the_srv_record_to_the_call_and_chat() {
    let shown = lab(&["--check", "--ladder"]);
    assert_steps(
        &shown,
        &[
            "Unified CM cucm1.lab.example",
            "DNS for lab.example",
            "(HTTPS)",
            "link up: core1 dialled edge1",
            "alice: _collab-edge._tls.lab.example leads to edge.lab.example:",
            "TLS with SNI edge.lab.example",
            "alice: signed in at cucm1.lab.example through edge and core",
            "Route <sip:",
            "alice: through the proxy: device CSFALICE, jabber-config.xml",
            "line 1001 at cucm1.lab.example",
            "alice registered over TLS with digest",
            "bob registered over TLS with digest",
            "a guessed password is refused over HTTPS (401, Basic realm=\"Cisco-Edge\")",
            "a phone with a wrong password is refused (401)",
            "bob answered: SRTP",
            "tone of 450 Hz heard",
            "tone of 700 Hz heard",
            "bob hung up",
            "signed in to chat at imp1.lab.example through edge and core",
            "alice wrote to bob and bob to alice",
            "bob's connection was cut; he resumed his session",
            "alice → edge       REGISTER sip:cucm1.lab.example",
            "401 Unauthorized (REGISTER)",
            "core → cucm1       REGISTER sip:cucm1.lab.example",
            "core → cucm1       INVITE sip:1002@cucm1.lab.example",
            "steps passed in",
        ],
    );
}

#[test]
fn a_plain_registrar_inside_challenges_by_itself() {
    let shown = lab(&["--check", "--registrar"]);
    assert_steps(&shown, &["registrar for lab.example", "alice registered", "refused (401)", "bob hung up"]);
    assert!(!shown.contains("Unified CM"), "{shown}");
}
