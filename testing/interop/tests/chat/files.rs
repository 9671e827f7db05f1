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

/// A request from there for a file of the server's; the status. Through the edge it shows `user`'s credentials, or,
/// where the server wants something else in their place, the token of a sign-in beside it.
fn curl(site: &Site, station: &Station, user: &str, url: &str, lines: &str) -> Result<String> {
    let server = format!("https://{SERVER}:{UPLOAD_PORT}");
    let Some(path) = url.strip_prefix(&server).filter(|_| site.product.is_some()) else {
        return ask(site, station, &format!("url = \"{url}\"\n{lines}"));
    };
    let url = |lane: &str, path: &str| format!("url = \"https://{EDGE_NAME}:{HTTPS_PORT}/{}{path}\"\n", b64(lane));
    let basic = format!("user = \"{user}:{PASSWORD}\"\n");
    let mut shown = basic.clone();
    if lines.contains("Authorization") {
        let jar = site.scratch.path().join(format!("{user}.cookies"));
        let sign_in = url(DOMAIN, "/get_edge_config") + &basic + &format!("cookie-jar = \"{}\"\n", jar.display());
        let status = ask(site, station, &sign_in)?;
        ensure!(status == "200", "{user}'s sign-in was answered with {status}");
        shown = format!("cookie = \"{}\"\n", jar.display());
    }
    let descriptor = format!("{DOMAIN}/https/{SERVER}/{UPLOAD_PORT}");
    ask(site, station, &(url(&descriptor, path) + &shown + lines))
}

/// What curl says to these lines of its own settings, which it gets by its standard input: credentials are no arguments.
fn ask(site: &Site, station: &Station, lines: &str) -> Result<String> {
    let mut settings = format!("silent\nshow-error\nmax-time = 60\nwrite-out = \"%{{http_code}}\"\n{lines}");
    settings += &format!("cacert = \"{}\"\n", site.authority.certificate().display());
    if !lines.contains("output") {
        settings += "output = \"/dev/null\"\n";
    }
    let mut command = station.host().command("curl");
    command.args(["--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("curl")?;
    child.stdin.take().context("standard input is piped")?.write_all(settings.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "curl: {}; {}", String::from_utf8_lossy(&output.stderr), site.logs());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
