//! baresip, a real softphone, driven over its control socket.
//!
//! Each phone plays its own tone and records what it hears, up to the first hold: version 1.0.0 of Debian 12 stops
//! recording there, so media after it is seen by the packets that arrive. It listens for commands on loopback, inside
//! its namespace, where netstrings of JSON carry commands and events.

use crate::network::{PHONE_MEDIA_PORTS, Station};
use crate::process::{Daemon, Scratch};
use crate::{kamailio, tone};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The control port, of each phone in its own namespace.
const CONTROL_PORT: u16 = 4440;
/// How long a phone may take to start and open its control port.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Tones outlast every call.
const TONE_SECONDS: u32 = 150;
/// Larger messages on the control socket are none.
const NETSTRING_BYTES_MAX: usize = 1 << 20;

/// A phone to start.
#[derive(Clone, Debug)]
pub struct PhoneSetup<'a> {
    /// The user it registers as, in [`kamailio::DOMAIN`].
    pub user: &'a str,
    /// The proxy it sends everything through, as a URI: `sip:198.51.100.1:5061;transport=tls`.
    pub outbound: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Whether media is SRTP with keys in the SDP (RFC 4568), and nothing else; else RTP.
    pub encrypted: bool,
    /// The tone it says.
    pub tone_hz: f64,
    /// How often it registers anew, in seconds.
    pub registration_seconds: u32,
    /// Whether it answers by itself; else it rings until [`Phone::accept`].
    pub answers: bool,
    /// Whether it sends and takes video: VP8 of a drawn picture.
    pub video: bool,
    /// Whether it subscribes to its message summary (RFC 3842).
    pub message_waiting: bool,
}

/// A running phone.
#[derive(Debug)]
pub struct Phone {
    user: String,
    station: Station,
    tone_hz: f64,
    recordings: PathBuf,
    control: TcpStream,
    events: Arc<Events>,
    daemon: Daemon,
}

/// A fact a phone reported.
#[derive(Clone, Debug)]
pub struct PhoneEvent {
    /// baresip's word for it: `REGISTER_OK`, `CALL_ESTABLISHED`, ….
    pub kind: String,
    /// What it adds, such as the reason a call ended.
    pub detail: String,
}

/// What a phone reported so far, oldest first.
#[derive(Debug, Default)]
struct Events {
    list: Mutex<Vec<PhoneEvent>>,
    news: Condvar,
}

impl Phone {
    /// Starts a phone; it registers by itself.
    pub fn start(station: Station, setup: &PhoneSetup<'_>, scratch: &Scratch) -> Result<Self> {
        let host = station.host();
        // Two devices may have one user.
        let name = format!("baresip-{}-{}", setup.user, station.address());
        let directory = scratch.path().join(&name);
        let recordings = directory.join("recordings");
        fs::create_dir_all(&recordings)?;
        let tone = directory.join("tone.wav");
        tone::write_sine(&tone, setup.tone_hz, TONE_SECONDS)?;
        fs::write(directory.join("config"), setup.config(&station, &tone, &recordings))?;
        fs::write(directory.join("accounts"), setup.account())?;
        fs::write(directory.join("contacts"), "")?;
        let mut daemon = Daemon::start(&name, host.command("baresip").arg("-f").arg(&directory), scratch.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PORT));
        let mut control = None;
        daemon.wait_until("control port", START_PATIENCE, |_| {
            control = host.connect(address, Duration::from_secs(1)).ok();
            control.is_some()
        })?;
        let control = control.context("connected above")?;
        let events = Arc::new(Events::default());
        let (reader, sink) = (control.try_clone()?, Arc::clone(&events));
        // Ends with the connection, that is with the phone.
        std::thread::spawn(move || sink.collect(BufReader::new(reader)));
        Ok(Self { user: setup.user.to_owned(), station, tone_hz: setup.tone_hz, recordings, control, events, daemon })
    }

    /// The user it registers as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The tone it says, in hertz.
    pub fn tone_hz(&self) -> f64 {
        self.tone_hz
    }

    /// How many events were reported so far: the mark later waits start from.
    pub fn mark(&self) -> usize {
        self.events.lock().len()
    }

    /// Waits for an event after `mark` whose kind is one of `kinds`.
    pub fn wait_event(&self, mark: usize, kinds: &[&str], patience: Duration) -> Result<PhoneEvent> {
        let start = Instant::now();
        let mut list = self.events.lock();
        loop {
            let fresh = list.get(mark..).unwrap_or_default();
            if let Some(found) = fresh.iter().find(|event| kinds.contains(&event.kind.as_str())) {
                return Ok(found.clone());
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                let seen: Vec<String> = fresh.iter().map(|event| format!("{} {}", event.kind, event.detail)).collect();
                bail!("{}: no {} within {patience:?}; it reported {seen:?}", self.user, kinds.join(" or "));
            }
            list = self.events.news.wait_timeout(list, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it is registered. The first registration may have happened before its control port was read, so
    /// its log counts too.
    pub fn wait_registered(&self) -> Result<()> {
        kamailio::wait(&format!("{} registered", self.user), || {
            let reported = self.events.lock().iter().any(|event| event.kind == "REGISTER_OK");
            reported || self.daemon.log().lines().any(|line| line.contains(" 200 OK ") && line.contains("binding"))
        })
        .with_context(|| self.daemon.log_tail())
    }

    /// Waits until its registration is refused with this status: it says so in its log only.
    pub fn wait_refused(&self, status: u16) -> Result<()> {
        let text = format!(": {status} ");
        kamailio::wait(&format!("{} refused with {status}", self.user), || {
            self.daemon.log().lines().any(|line| line.contains("reg: ") && line.contains(&text))
        })
        .with_context(|| self.daemon.log_tail())
    }

    /// How many registrations it reported since `mark`.
    pub fn registrations_since(&self, mark: usize) -> usize {
        self.events.lock().iter().skip(mark).filter(|event| event.kind == "REGISTER_OK").count()
    }

    /// Calls someone.
    pub fn dial(&mut self, user: &str) -> Result<()> {
        self.command("dial", &kamailio::uri(user))
    }

    /// Puts the current call on hold.
    pub fn hold(&mut self) -> Result<()> {
        self.command("hold", "")
    }

    /// Takes the current call off hold.
    pub fn resume(&mut self) -> Result<()> {
        self.command("resume", "")
    }

    /// Answers the call that rings, holding the one there is.
    pub fn accept(&mut self) -> Result<()> {
        self.command("accept", "")
    }

    /// Makes call number `line` the current one.
    pub fn choose(&mut self, line: u8) -> Result<()> {
        self.command("line", &line.to_string())
    }

    /// Sends keys as telephone events (RFC 4733).
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.command("sndcode", keys)
    }

    /// Keys heard since `mark`, by whatever means they came.
    pub fn keys_since(&self, mark: usize) -> String {
        let events = self.events.lock();
        events.iter().skip(mark).filter(|event| event.kind == "CALL_DTMF_START").map(|event| &*event.detail).collect()
    }

    /// Sends the other side of the current call to `user`.
    pub fn transfer(&mut self, user: &str) -> Result<()> {
        self.command("transfer", &kamailio::uri(user))
    }

    /// Ends the current call.
    pub fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "")
    }

    /// Forgets older recordings, so that the next call's are the only ones.
    pub fn clear_recordings(&self) -> Result<()> {
        for file in fs::read_dir(&self.recordings)? {
            fs::remove_file(file?.path())?;
        }
        Ok(())
    }

    /// Where it stands.
    pub fn station(&self) -> &Station {
        &self.station
    }

    /// Media packets it could not decrypt so far.
    pub fn undecryptable(&self) -> usize {
        self.daemon.log().matches("failed to decrypt RTP packet").count()
    }

    /// How much of `frequency_hz` it heard since [`Self::clear_recordings`].
    pub fn heard(&self, frequency_hz: f64) -> Result<tone::Heard> {
        let mut heard = tone::Heard::default();
        for file in self.heard_files()? {
            let one = tone::listen(&file, frequency_hz)?;
            heard.recorded_seconds += one.recorded_seconds;
            heard.tone_seconds += one.tone_seconds;
        }
        Ok(heard)
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }

    /// Everything it printed.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Recordings of what arrived; what it sent lies beside them as `…-enc.wav`.
    fn heard_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for file in fs::read_dir(&self.recordings)? {
            let path = file?.path();
            if path.to_string_lossy().ends_with("-dec.wav") {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn command(&mut self, command: &str, parameters: &str) -> Result<()> {
        let body = json!({ "command": command, "params": parameters, "token": command }).to_string();
        write!(self.control, "{}:{body},", body.len()).with_context(|| format!("{}: {command}", self.user))
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Vec<PhoneEvent>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, mut reader: impl BufRead) {
        while let Ok(message) = read_netstring(&mut reader) {
            let text = |field: &str| message.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            if message.get("event").is_some() {
                self.lock().push(PhoneEvent { kind: text("type"), detail: text("param") });
                self.news.notify_all();
            }
        }
    }
}

/// `<length>:<JSON>,`
fn read_netstring(reader: &mut impl BufRead) -> Result<Value> {
    let mut length = Vec::new();
    reader.take(8).read_until(b':', &mut length)?;
    let digits = length.strip_suffix(b":").context("a length and a colon")?;
    let length: usize = std::str::from_utf8(digits)?.trim().parse()?;
    if length > NETSTRING_BYTES_MAX {
        bail!("a message of {length} bytes");
    }
    let mut body = vec![0; length + 1];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body[..length])?)
}

impl PhoneSetup<'_> {
    fn account(&self) -> String {
        let encryption = if self.encrypted { ";mediaenc=srtp-mand" } else { "" };
        let answer = if self.answers { "auto" } else { "manual" };
        let waiting = if self.message_waiting { "yes" } else { "no" };
        format!(
            "<{}>;auth_pass={};outbound=\"{}\";sipnat=outbound{encryption};answermode={answer};mwi={waiting};\
             regint={}\n",
            kamailio::uri(self.user),
            self.password,
            self.outbound,
            self.registration_seconds,
        )
    }

    /// The player takes what arrives and plays nothing: what a phone hears is judged from its recording.
    fn config(&self, station: &Station, tone: &Path, recordings: &Path) -> String {
        let address = station.address();
        let (tone, recordings) = (tone.display(), recordings.display());
        let video = if self.video {
            "module vp8.so\nmodule fakevideo.so\nvideo_source fakevideo,\nvideo_display fakevideo,\n\
             video_size 176x144\nvideo_fps 10\nvideo_bitrate 200000\n"
        } else {
            ""
        };
        let waiting = if self.message_waiting { "module_app mwi.so\n" } else { "" };
        format!(
            "poll_method epoll\nsip_listen {address}:0\ncall_local_timeout 60\ncall_max_calls 4\n\
             audio_player aubridge,sink\naudio_source aufile,{tone}\naudio_alert aubridge,alert\n\
             audio_buffer 20-160\nrtp_ports {PHONE_MEDIA_PORTS}\nmodule_path /usr/lib/baresip/modules\n\
             module g711.so\nmodule srtp.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
             module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{CONTROL_PORT}\nsnd_path {recordings}\nnet_interface {address}\n\
             dns_server 127.0.0.1:53\n{video}{waiting}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstrings_are_read_one_by_one() {
        let mut wire = BufReader::new(&b"14:{\"event\":true},7:{\"a\":1},"[..]);
        assert!(read_netstring(&mut wire).unwrap().get("event").is_some());
        assert_eq!(read_netstring(&mut wire).unwrap()["a"], 1);
        assert!(read_netstring(&mut wire).is_err());
    }

    #[test]
    fn a_broken_netstring_is_an_error() {
        for wire in ["", ":", "x:{}", "99999999999:{}", "2:{", "2:{x,"] {
            assert!(read_netstring(&mut BufReader::new(wire.as_bytes())).is_err(), "{wire}");
        }
    }
}
