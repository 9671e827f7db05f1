//! Our captures of signalling, read by Wireshark's own program: it must find the messages, between the addresses they went
//! between, with good checksums, and what was decided beside them.
//!
//! Runs with `EDGEWAY_INTEROP=1`; a missing tshark then fails with the Debian package that brings it. Otherwise it says so
//! and runs nothing.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use edgeway_interop::requirement;
use edgeway_runtime::trace::ladder;
use serde_json::{Value, json};

fn message(at_us: u64, node: &str, from: &str, to: &str, first: &str, decision: &str) -> Value {
    let text = format!(
        "{first}\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{at_us}\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: one@example.com\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    );
    json!({ "at_us": at_us, "node": node, "from": from, "to": to, "first_line": first, "text": text, "decision": decision })
}

fn main() -> Result<()> {
    if std::env::var_os("EDGEWAY_INTEROP").is_none() {
        println!("not run: set EDGEWAY_INTEROP=1 (cargo xtask test does)");
        return Ok(());
    }
    requirement::check(requirement::CAPTURE)?;
    let (client, wide, inside) = ("203.0.113.7:50412", "[2001:db8::7]:50413", "10.0.0.5:5060");
    let invite = "INVITE sip:bob@example.com SIP/2.0";
    let start = 1_795_543_200_000_000;
    let messages = [
        message(start, "edge1", client, "edge1", invite, ""),
        message(start + 1_000, "edge1", "edge1", "core1", invite, "to core1: by load"),
        message(start + 2_000, "core1", "core1", inside, invite, "to 10.0.0.5:5060 TCP: the registrar that holds it"),
        message(start + 3_500, "core1", inside, "core1", "SIP/2.0 486 Busy Here", ""),
        message(start + 4_000, "edge1", "edge1", wide, "SIP/2.0 486 Busy Here", ""),
    ];
    let folder = std::env::temp_dir().join(format!("edgeway-capture-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let file = folder.join("call.pcapng");
    fs::write(&file, ladder::capture(&messages))?;
    let told = Command::new("tshark")
        .arg("-r")
        .arg(&file)
        .args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-d", "udp.port==1-65535,sip"])
        .args(["-T", "fields", "-E", "separator=|", "-e", "frame.time_epoch", "-e", "_ws.col.Source"])
        .args(["-e", "_ws.col.Destination", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "sip.Call-ID"])
        .args(["-e", "udp.checksum.status", "-e", "frame.comment"])
        .output();
    let _ = fs::remove_dir_all(&folder);
    let told = told.context("tshark")?;
    ensure!(told.status.success(), "tshark: {}", String::from_utf8_lossy(&told.stderr));
    let text = String::from_utf8(told.stdout)?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    ensure!(lines.len() == messages.len(), "{} of {} messages:\n{text}", lines.len(), messages.len());
    let expected = [
        ("203.0.113.7", "198.18.0.1", "INVITE", "", "edge1"),
        ("198.18.0.1", "198.18.0.2", "INVITE", "", "edge1: to core1: by load"),
        ("198.18.0.2", "10.0.0.5", "INVITE", "", "core1: to 10.0.0.5:5060 TCP: the registrar that holds it"),
        ("10.0.0.5", "198.18.0.2", "", "486", "core1"),
        ("::ffff:198.18.0.1", "2001:db8::7", "", "486", "edge1"),
    ];
    for (at, (line, (from, to, method, status, comment))) in lines.iter().zip(expected).enumerate() {
        ensure!(line.len() == 8, "{line:?}");
        ensure!(line[1..5] == [from, to, method, status], "message {at}: {line:?}");
        ensure!(line[5] == "one@example.com" && line[6] == "1" && line[7] == comment, "message {at}: {line:?}");
    }
    ensure!(lines[3][0].starts_with("1795543200.003500"), "{}", lines[3][0]);
    println!("{} messages, as tshark reads them", lines.len());
    Ok(())
}
