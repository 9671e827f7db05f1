//! A file, sent to the server and fetched from it over HTTPS: through the edge by a descriptor of the server.

use crate::site::{HTTPS_PORT, SERVER, Site};
use anyhow::{Context as _, Result, ensure};
use edgeway_interop::chat_party::Party;
use edgeway_interop::chat_server::UPLOAD_PORT;
use edgeway_interop::kamailio::{DOMAIN, PASSWORD};
use edgeway_interop::network::Station;
use edgeway_interop::product::EDGE_NAME;
use edgeway_lab_servers::client::b64;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

/// More than a buffer or two hold.
const FILE_BYTES: usize = 300_000;

/// Alice asks for a place, puts the file there and tells Bob, who fetches it.
pub(crate) fn story(site: &Site, here: &Station, there: &Station, alice: &mut Party, bob: &Party) -> Result<()> {
    let content: Vec<u8> = (0..FILE_BYTES).map(|number| (number * 31 % 251) as u8).collect();
    let (sent, fetched) = (site.scratch.path().join("sent.bin"), site.scratch.path().join("fetched.bin"));
    fs::write(&sent, &content)?;
    let service = format!("upload.{DOMAIN}");
    let slot = alice.tell("slot", json!({ "service": service, "name": "picture.txt", "size": FILE_BYTES }))?;
    let url = |name: &str| slot[name].as_str().map(str::to_owned).with_context(|| format!("{name} in {slot}"));
    let mut lines = format!("upload-file = \"{}\"\nheader = \"Content-Type: text/plain\"\n", sent.display());
    for (name, value) in slot["headers"].as_object().into_iter().flatten() {
        lines += &format!("header = \"{name}: {}\"\n", value.as_str().unwrap_or_default());
    }
    let status = curl(site, here, "alice", &url("put")?, &lines)?;
    ensure!(status == "201", "PUT was answered with {status}; {}", site.logs());
    let mark = bob.mark();
    alice.say(bob.bare(), &url("get")?)?;
    let told = bob.wait_message(mark, &url("get")?)?;
    let address = told["body"].as_str().context("an address")?;
    let status = curl(site, there, "bob", address, &format!("output = \"{}\"\n", fetched.display()))?;
    ensure!(status == "200", "GET was answered with {status}; {}", site.logs());
    ensure!(fs::read(&fetched)? == content, "what was fetched is not what was sent");
    Ok(())
}

/// A request from there; the status. Credentials go to curl by its standard input, as everything does.
fn curl(site: &Site, station: &Station, user: &str, url: &str, lines: &str) -> Result<String> {
    let mut settings = format!("silent\nshow-error\nwrite-out = \"%{{http_code}}\"\n{lines}");
    settings += &format!("cacert = \"{}\"\n", site.authority.certificate().display());
    let server = format!("https://{SERVER}:{UPLOAD_PORT}");
    match url.strip_prefix(&server) {
        Some(path) if site.product.is_some() => {
            let descriptor = b64(&format!("{DOMAIN}/https/{SERVER}/{UPLOAD_PORT}"));
            settings += &format!("url = \"https://{EDGE_NAME}:{HTTPS_PORT}/{descriptor}{path}\"\n");
            if !lines.contains("Authorization") {
                settings += &format!("user = \"{user}:{PASSWORD}\"\n");
            }
        }
        _ => settings += &format!("url = \"{url}\"\n"),
    }
    if !lines.contains("output") {
        settings += "output = \"/dev/null\"\n";
    }
    let mut command = station.host().command("curl");
    command.args(["--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("curl")?;
    child.stdin.take().context("standard input is piped")?.write_all(settings.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "curl {url}: {}; {}", String::from_utf8_lossy(&output.stderr), site.logs());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
