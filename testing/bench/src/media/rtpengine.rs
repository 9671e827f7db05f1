//! The peer: one rtpengine in user space, told what to do over its ng protocol (bencode over UDP).

use super::streams::{Endpoint, Streams};
use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::Host;
use edgeway_interop::process::{Daemon, Usage, free_port};
use edgeway_interop::wire_phone::unique;
use edgeway_model::Random;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const START_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Nesting beyond this is no answer of rtpengine's.
const DEPTH_MAX: usize = 16;

/// A running rtpengine.
#[derive(Debug)]
pub(crate) struct Rtpengine {
    daemon: Daemon,
    control: UdpSocket,
}

impl Rtpengine {
    /// Starts one with so many worker threads.
    pub(crate) fn start(threads: u8, directory: &Path) -> Result<Self> {
        let address = SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?);
        let mut command = Host::Here.command("rtpengine");
        // Table -1: in user space, without the kernel module. Level 4: warnings.
        command.args(["--foreground", "--log-stderr", "--log-level=4", "--table=-1", "--interface=127.0.0.1"]);
        command.args(["--port-min=10000", "--port-max=29999"]);
        command.arg(format!("--num-threads={threads}")).arg(format!("--listen-ng={address}"));
        let mut daemon = Daemon::start("rtpengine", &mut command, directory)?;
        daemon.wait_until("control port", START_PATIENCE, |_| Host::Here.listens_udp(address))?;
        let control = UdpSocket::bind((LOOPBACK, 0))?;
        control.connect(address)?;
        control.set_read_timeout(Some(ANSWER_PATIENCE))?;
        Ok(Self { daemon, control })
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.daemon.usage()
    }

    /// Sets up a call between an encrypted end outside and a plain one inside.
    pub(crate) fn add_call(&self, streams: &mut Streams, random: &mut Random) -> Result<()> {
        let (outside, inside) = (Endpoint::open(true, random)?, Endpoint::open(false, random)?);
        let call = unique();
        let (offer, answer) = (outside.description()?, inside.description()?);
        let mut fields = vec![("call-id", call.as_str()), ("from-tag", "outside"), ("ICE", "remove")];
        let mut offered = fields.clone();
        offered.extend([("command", "offer"), ("sdp", &offer), ("transport-protocol", "RTP/AVP")]);
        let offered = self.ask(offered)?;
        fields.extend([("command", "answer"), ("sdp", &answer), ("to-tag", "inside")]);
        let answered = self.ask(fields)?;
        streams.add([(outside, &answered), (inside, &offered)], random)
    }

    /// Sends a command; the session description of the answer. Every command has a cookie of its own, or the answer
    /// to an earlier one comes from rtpengine's cache.
    fn ask(&self, fields: Vec<(&str, &str)>) -> Result<String> {
        // Bencode wants the keys of a dictionary sorted.
        let sorted: BTreeMap<&str, &str> = fields.into_iter().collect();
        let body: String = sorted.iter().map(|(key, value)| string(key) + &string(value)).collect();
        let cookie = unique();
        self.control.send(format!("{cookie} d{body}e").as_bytes())?;
        let mut reply = vec![0; 64 * 1024];
        loop {
            let len = self.control.recv(&mut reply).context("rtpengine does not answer")?;
            let Some(body) = reply[..len].strip_prefix(format!("{cookie} ").as_bytes()) else { continue };
            let fields = dictionary(body)?;
            let result = fields.get("result").map(String::as_str);
            ensure!(result == Some("ok"), "rtpengine: {fields:?}");
            return fields.get("sdp").cloned().context("no sdp in rtpengine's answer");
        }
    }
}

fn string(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// The strings of a bencoded dictionary; other values are skipped.
fn dictionary(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut rest = bytes.strip_prefix(b"d").context("no dictionary")?;
    let mut fields = BTreeMap::new();
    while !rest.starts_with(b"e") {
        let (key, after) = take(rest, 0)?;
        let (value, after) = take(after, 0)?;
        if let (Some(key), Some(value)) = (key, value) {
            fields.insert(key, value);
        }
        rest = after;
    }
    Ok(fields)
}

/// Takes one value off the front: its text if it is a string, and what follows.
fn take(bytes: &[u8], depth: usize) -> Result<(Option<String>, &[u8])> {
    ensure!(depth < DEPTH_MAX, "nested too deep");
    match bytes.first() {
        Some(b'd' | b'l') => {
            let mut rest = &bytes[1..];
            while !rest.starts_with(b"e") {
                rest = take(rest, depth + 1)?.1;
            }
            Ok((None, &rest[1..]))
        }
        Some(b'i') => {
            let end = bytes.iter().position(|byte| *byte == b'e').context("an integer without end")?;
            Ok((None, &bytes[end + 1..]))
        }
        Some(b'0'..=b'9') => {
            let colon = bytes.iter().position(|byte| *byte == b':').context("a string without length")?;
            let len: usize = std::str::from_utf8(&bytes[..colon])?.parse()?;
            let text = bytes.get(colon + 1..colon + 1 + len).context("a string cut short")?;
            Ok((Some(String::from_utf8_lossy(text).into_owned()), &bytes[colon + 1 + len..]))
        }
        Some(_) | None => bail!("no bencode"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let fields = dictionary(b"d4:listli1ei2ee6:numberi42e6:result2:ok3:sdp5:v=0\r\ne").unwrap();
        assert_eq!(fields.get("result").map(String::as_str), Some("ok"));
        assert_eq!(fields.get("sdp").map(String::as_str), Some("v=0\r\n"));
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn broken_answers_are_errors() {
        for bytes in [&b""[..], b"d", b"d3:ab", b"d1:a9:be", b"dx", b"d1:ai1"] {
            assert!(dictionary(bytes).is_err(), "{bytes:?}");
        }
        assert!(dictionary(&[b"d1:a".as_slice(), &[b'l'; 100]].concat()).is_err());
    }
}
