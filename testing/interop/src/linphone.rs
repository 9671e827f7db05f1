//! Linphone, a real softphone of another make, as its console program `linphonec` driven over standard input.
//!
//! It checks the edge's certificate and name, as its users' phones do. It says a tone from a file and records what it
//! hears into another, call after call.

use crate::kamailio::{self, DOMAIN, PASSWORD};
use crate::network::Station;
use crate::process::{Daemon, Scratch, wait_for};
use crate::product::EDGE_NAME;
use crate::tone::{self, Heard};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

const TONE_SECONDS: u32 = 150;

/// Where a phone registers.
#[derive(Clone, Copy, Debug)]
pub enum Home<'a> {
    /// At the edge, whose certificate must come from this CA: TLS, and SRTP or nothing.
    Edge(&'a Path),
    /// At a registrar inside: UDP and RTP.
    Registrar(SocketAddr),
}

/// How a phone says keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// RFC 4733.
    Events,
    /// INFO with `application/dtmf-relay`.
    Info,
}

/// A running phone.
#[derive(Debug)]
pub struct Linphone {
    user: String,
    tone_hz: f64,
    station: Station,
    recording: PathBuf,
    input: ChildStdin,
    daemon: Daemon,
}

impl Linphone {
    /// Starts a phone, which registers by itself and answers calls by itself.
    pub fn start(
        station: Station,
        user: &str,
        home: Home<'_>,
        tone_hz: f64,
        keys: Keys,
        scratch: &Scratch,
    ) -> Result<Self> {
        let name = format!("linphone-{user}-{}", station.address());
        let directory = scratch.path().join(&name);
        // It keeps call logs and a database below its home, and cannot without these.
        fs::create_dir_all(directory.join(".local/share/linphone"))?;
        fs::create_dir_all(directory.join(".config/linphone"))?;
        let (tone, recording) = (directory.join("tone.wav"), directory.join("heard.wav"));
        tone::write_sine(&tone, tone_hz, TONE_SECONDS)?;
        let config = directory.join("linphonerc");
        fs::write(&config, settings(user, home, keys))?;
        let mut command = station.host().command("linphonec");
        command.args(["-a", "-c"]).arg(&config).env("HOME", &directory).current_dir(&directory);
        let (daemon, input) = Daemon::start_with_input(&name, &mut command, scratch.path())?;
        let mut phone = Self { user: user.to_owned(), tone_hz, station, recording, input, daemon };
        phone.say("soundcard use files")?;
        phone.say("play tone.wav")?;
        phone.record_anew()?;
        Ok(phone)
    }

    /// Waits until it is registered, which it says when asked.
    pub fn wait_registered(&mut self) -> Result<()> {
        const ASK_INTERVAL: Duration = Duration::from_millis(300);
        let start = Instant::now();
        loop {
            let mark = self.mark();
            self.say("status register")?;
            match self.wait_said(mark, "registered, identity", ASK_INTERVAL) {
                Err(error) if start.elapsed() > kamailio::PATIENCE => return Err(error),
                Err(_) => {}
                Ok(_) => return Ok(()),
            }
        }
    }

    /// The user it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The tone it says, in hertz.
    pub fn tone_hz(&self) -> f64 {
        self.tone_hz
    }

    /// Where it stands.
    pub fn station(&self) -> &Station {
        &self.station
    }

    /// How much it has printed: the mark later waits start from.
    pub fn mark(&self) -> usize {
        self.daemon.log().len()
    }

    /// Waits until it has printed `text` after `mark`; the line.
    pub fn wait_said(&self, mark: usize, text: &str, patience: Duration) -> Result<String> {
        let mut found = None;
        let result = wait_for(text, patience, || {
            let log = self.daemon.log();
            found = log.get(mark..).unwrap_or_default().lines().find(|line| line.contains(text)).map(str::to_owned);
            found.is_some()
        });
        result.with_context(|| format!("{}: it said {:?}", self.user, self.daemon.log().get(mark..)))?;
        found.context("found above")
    }

    /// Types a command; a digit alone is a key pressed.
    pub fn say(&mut self, command: &str) -> Result<()> {
        writeln!(self.input, "{command}").with_context(|| format!("{}: {command}", self.user))?;
        Ok(self.input.flush()?)
    }

    /// Calls someone.
    pub fn dial(&mut self, user: &str) -> Result<()> {
        self.say(&format!("call {}", kamailio::uri(user)))
    }

    /// Ends every call.
    pub fn hang_up(&mut self) -> Result<()> {
        self.say("terminate all")
    }

    /// The next call is recorded from its beginning.
    pub fn record_anew(&mut self) -> Result<()> {
        let _ = fs::remove_file(&self.recording);
        self.say("record heard.wav")
    }

    /// Keys it heard since `mark`.
    pub fn keys_since(&self, mark: usize) -> String {
        let log = self.daemon.log();
        let said = log.get(mark..).unwrap_or_default();
        said.split("Receiving tone ").skip(1).filter_map(|rest| rest.chars().next()).collect()
    }

    /// How much of `frequency_hz` it heard in this call; the recording grows while the call lasts.
    pub fn heard(&self, frequency_hz: f64) -> Result<Heard> {
        tone::listen(&self.recording, frequency_hz)
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }
}

/// Its settings file: what a user would choose, and G.711 alone, which tones survive.
fn settings(user: &str, home: Home<'_>, keys: Keys) -> String {
    let (proxy, security) = match home {
        Home::Edge(authority) => (
            format!("<sip:{EDGE_NAME}:5061;transport=tls>"),
            format!(
                "media_encryption=srtp\nmedia_encryption_mandatory=1\nverify_server_certs=1\nverify_server_cn=1\n\
                 root_ca={}\n",
                authority.display()
            ),
        ),
        Home::Registrar(address) => (format!("<sip:{address};transport=udp>"), "media_encryption=none\n".to_owned()),
    };
    let (events, info) = (u8::from(keys == Keys::Events), u8::from(keys == Keys::Info));
    format!(
        "[sip]\ndefault_proxy=0\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\nuse_rfc2833={events}\nuse_info={info}\n\
         {security}[proxy_0]\nreg_proxy={proxy}\nreg_route={proxy}\nreg_identity=sip:{user}@{DOMAIN}\nreg_expires=3600\n\
         reg_sendregister=1\n[auth_info_0]\nusername={user}\npasswd={PASSWORD}\nrealm={DOMAIN}\ndomain={DOMAIN}\n\
         [rtp]\naudio_rtp_port=20000\nvideo_rtp_port=20100\n[net]\ndns_srv_enabled=0\n\
         [audio_codec_0]\nmime=PCMU\nrate=8000\nchannels=1\nenabled=1\n"
    )
}
