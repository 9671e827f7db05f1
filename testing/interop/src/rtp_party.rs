//! The media of a party inside: plain RTP with G.711 µ-law and telephone events (RFC 4733), a tone said and a tone
//! listened to.

use crate::Host;
use crate::tone::{self, Heard};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A packet carries this much speech.
const FRAME: Duration = Duration::from_millis(20);
const FRAME_SAMPLES: u32 = 160;
/// The payload type of telephone events we offer and answer with.
const EVENT_TYPE: u8 = 101;
/// How many samples are kept: two minutes.
const SAMPLES_MAX: usize = 120 * 8000;
/// Packets an event lasts, and how often its end is said.
const EVENT_PACKETS: u16 = 8;
const EVENT_ENDS: u16 = 3;
const DIGITS: &[u8] = b"0123456789*#ABCD";

/// A socket that says a tone and listens. Dropping it ends it.
#[derive(Debug)]
pub struct RtpParty {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    target: Option<SocketAddr>,
    tone_hz: f64,
    to_press: VecDeque<u8>,
    heard: Vec<f64>,
    digits: String,
    /// The RTP timestamp of the last event, which tells a repeated packet from a new event.
    last_event: Option<u32>,
    packets: u64,
}

impl RtpParty {
    /// Opens it at `address`. It listens at once and says nothing until told whom to talk to.
    pub fn open(host: &Host, address: SocketAddr, tone_hz: f64) -> Result<Self> {
        let socket = host.enter(|| UdpSocket::bind(address).with_context(|| format!("bind {address}")))?;
        socket.set_read_timeout(Some(FRAME))?;
        let state = Arc::new(Mutex::new(State { tone_hz, ..State::default() }));
        let over = Arc::new(AtomicBool::new(false));
        let (ear, mouth) = (socket.try_clone()?, socket);
        let threads = vec![
            std::thread::spawn({
                let (state, over) = (Arc::clone(&state), Arc::clone(&over));
                move || listen(&ear, &state, &over)
            }),
            std::thread::spawn({
                let (state, over) = (Arc::clone(&state), Arc::clone(&over));
                move || talk(&mouth, &state, &over)
            }),
        ];
        Ok(Self { address, state, over, threads })
    }

    /// Its session description, with a direction such as `sendrecv`.
    pub fn sdp(&self, direction: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no=- {port} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 {EVENT_TYPE}\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:{EVENT_TYPE} telephone-event/8000\r\na=fmtp:{EVENT_TYPE} 0-15\r\na=ptime:20\r\na={direction}\r\n",
            crate::wire_phone::unique().bytes().map(u64::from).sum::<u64>(),
        )
    }

    /// Talks to the audio address of a session description.
    pub fn talk_to(&self, sdp: &str) -> Result<()> {
        self.state().target = Some(audio_address(sdp).with_context(|| format!("an audio address in {sdp}"))?);
        Ok(())
    }

    /// Says nothing any more.
    pub fn fall_silent(&self) {
        self.state().target = None;
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &str) {
        let codes = keys.bytes().filter_map(|key| DIGITS.iter().position(|digit| *digit == key));
        self.state().to_press.extend(codes.filter_map(|code| u8::try_from(code).ok()));
    }

    /// Keys it heard.
    pub fn digits(&self) -> String {
        self.state().digits.clone()
    }

    /// Packets that came so far.
    pub fn packets(&self) -> u64 {
        self.state().packets
    }

    /// How much of a tone it heard since it was opened or [`Self::forget`].
    pub fn heard(&self, frequency_hz: f64) -> Heard {
        tone::judge(&self.state().heard, frequency_hz)
    }

    /// Forgets what it heard.
    pub fn forget(&self) {
        let mut state = self.state();
        state.heard.clear();
        state.digits.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for RtpParty {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Where the first audio stream of a description is received.
pub fn audio_address(sdp: &str) -> Option<SocketAddr> {
    let mut ip: Option<IpAddr> = None;
    let mut port = None;
    for line in sdp.lines() {
        if let Some(rest) = line.strip_prefix("m=") {
            if port.is_some() {
                break;
            }
            port = rest.strip_prefix("audio ").and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        } else if let Some(rest) = line.strip_prefix("c=IN IP") {
            ip = rest.split_whitespace().nth(1).and_then(|text| text.parse().ok()).or(ip);
        }
    }
    Some(SocketAddr::new(ip?, port.filter(|port| *port != 0)?))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(socket: &UdpSocket, state: &Mutex<State>, over: &AtomicBool) {
    let mut packet = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        let Ok(size) = socket.recv(&mut packet) else { continue };
        lock(state).take(&packet[..size]);
    }
}

impl State {
    /// One packet: RTP version 2, no extension; anything else is not ours to judge.
    fn take(&mut self, packet: &[u8]) {
        let Some((head, payload)) = packet.split_at_checked(12) else { return };
        if head[0] & 0xf0 != 0x80 {
            return;
        }
        self.packets += 1;
        let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        match head[1] & 0x7f {
            0 if self.heard.len() < SAMPLES_MAX => self.heard.extend(payload.iter().map(|byte| from_mu_law(*byte))),
            EVENT_TYPE if self.last_event != Some(timestamp) => {
                self.last_event = Some(timestamp);
                let digit = payload.first().and_then(|code| DIGITS.get(usize::from(*code)));
                self.digits.extend(digit.map(|digit| char::from(*digit)));
            }
            _ => {}
        }
    }
}

fn talk(socket: &UdpSocket, state: &Mutex<State>, over: &AtomicBool) {
    let mut sequence = 1_u16;
    let mut timestamp = 160_u32;
    let mut event: Option<(u8, u32, u16)> = None;
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        due += FRAME;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        timestamp = timestamp.wrapping_add(FRAME_SAMPLES);
        let (target, tone_hz) = {
            let mut state = lock(state);
            if event.is_none() && state.target.is_some() {
                event = state.to_press.pop_front().map(|code| (code, timestamp, 0));
            }
            (state.target, state.tone_hz)
        };
        let Some(target) = target else { continue };
        let packet = match &mut event {
            Some((code, start, count)) => {
                *count += 1;
                event_packet(sequence, *start, *code, *count)
            }
            None => speech_packet(sequence, timestamp, tone_hz),
        };
        // The end is said several times, then a pause makes the next key another event.
        if event.is_some_and(|(_, _, count)| count >= EVENT_PACKETS + EVENT_ENDS) {
            event = None;
        }
        let _ = socket.send_to(&packet, target);
        sequence = sequence.wrapping_add(1);
    }
}

fn head(kind: u8, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, kind];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(b"edge");
    packet
}

fn speech_packet(sequence: u16, timestamp: u32, tone_hz: f64) -> Vec<u8> {
    let mut packet = head(0, sequence, timestamp);
    packet.extend((0..FRAME_SAMPLES).map(|index| {
        let at = f64::from(timestamp.wrapping_add(index) % 8000);
        to_mu_law(8000.0 * (TAU * tone_hz * at / 8000.0).sin())
    }));
    packet
}

fn event_packet(sequence: u16, start: u32, code: u8, count: u16) -> Vec<u8> {
    let marker = if count == 1 { 0x80 } else { 0 };
    let mut packet = head(marker | EVENT_TYPE, sequence, start);
    let end = if count > EVENT_PACKETS { 0x80 } else { 0 };
    packet.extend_from_slice(&[code, end | 10]);
    packet.extend_from_slice(&(count.min(EVENT_PACKETS) * 160).to_be_bytes());
    packet
}

/// G.711 µ-law.
fn to_mu_law(sample: f64) -> u8 {
    let sign = if sample < 0.0 { 0x80 } else { 0 };
    let magnitude = (sample.abs().min(32_635.0) as u32) + 132;
    let exponent = (24 - magnitude.leading_zeros()).min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

fn from_mu_law(byte: u8) -> f64 {
    let bits = !byte;
    let magnitude = (((u32::from(bits) & 0x0f) << 3) + 132) << ((bits >> 4) & 7);
    let value = f64::from(magnitude) - 132.0;
    if bits & 0x80 != 0 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_there_and_back_is_close() {
        for sample in [0.0, 5.0, -5.0, 100.0, -1000.0, 8000.0, -30_000.0] {
            let back = from_mu_law(to_mu_law(sample));
            assert!((back - sample).abs() <= 8.0 + sample.abs() / 16.0, "{sample} became {back}");
        }
    }

    #[test]
    fn a_party_hears_tones_and_keys() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ports =
            [crate::process::free_port(address(0).ip()).unwrap(), crate::process::free_port(address(0).ip()).unwrap()];
        let one = RtpParty::open(&Host::Here, address(ports[0]), 440.0).unwrap();
        let other = RtpParty::open(&Host::Here, address(ports[1]), 660.0).unwrap();
        one.talk_to(&other.sdp("sendrecv")).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let heard = other.heard(440.0);
        assert!(heard.tone_seconds > 0.4, "{heard:?}");
        one.press("19#");
        crate::process::wait_for("keys", Duration::from_secs(3), || other.digits() == "19#").unwrap();
    }

    #[test]
    fn the_audio_address_is_found() {
        let sdp =
            "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.2\r\nm=video 5000 RTP/AVP 96\r\n";
        assert_eq!(audio_address(sdp), "192.0.2.2:4000".parse().ok());
        assert_eq!(audio_address("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\n"), None);
    }
}
