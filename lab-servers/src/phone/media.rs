//! The media of one call: sockets, a 20 ms clock, SRTP, and what was heard.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use edgeway_model::Random;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::guard::Guard;
use super::rtp;
use super::sdp::Key;
use super::tone::{SAMPLES, SILENT_PACKET, Tone, dominant_hz};
use crate::limits::{DELAY_SAMPLES_MAX, ECHO_PACKETS_MAX, PORT_TRIES_MAX, SOURCES_MAX};

/// Time between two packets.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// Time between two sender reports: RFC 3550 §6.2 asks for 5 s on average; a lab call is short.
const REPORT_TIME: Duration = Duration::from_secs(1);

/// When the first report follows the first packet.
const FIRST_REPORT: Duration = Duration::from_millis(200);

/// Every how many packets the ear listens.
const LISTEN_EVERY: u64 = 4;

/// Share of the packets listened to that must carry the expected tone.
const TONE_SHARE_MIN: f32 = 0.9;

/// What a phone plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// A sine wave of this frequency, rounded to a multiple of 50 Hz.
    Tone {
        /// Hertz, 300 to 3400.
        hz: u32,
    },
    /// What it hears, about 200 ms later.
    Echo,
}

/// Bytes of a video packet's payload: what codecs fill packets up to.
pub(crate) const VIDEO_BYTES: usize = 1_200;

/// What a stream is fed from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Sound(Sound),
    /// Packets of [`VIDEO_BYTES`], each filled with the last byte of its sequence number.
    Camera,
}

/// What one phone knows of the media of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MediaStats {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets received and authenticated.
    pub received: u64,
    /// Packets missing between the first and the last sequence number received.
    pub lost: u64,
    /// Median one-way delay; `None` unless the other side is a lab phone of this process.
    pub delay_p50: Option<Duration>,
    /// Longest one-way delay.
    pub delay_max: Option<Duration>,
    /// Whether the tone expected (or, if none is named, any steady tone) was heard throughout.
    pub tone_ok: bool,
    /// The tone heard last, hertz.
    pub heard_hz: Option<u32>,
    /// RTCP packets sent.
    pub reports_sent: u64,
    /// RTCP packets received and authenticated.
    pub reports_received: u64,
    /// Packets that failed authentication, were replayed or were no RTP.
    pub refused: u64,
    /// The longest gap since gaps were last counted anew.
    pub gap: MediaGap,
}

/// How long nothing was heard that should have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MediaGap {
    /// Packets missing in a row.
    pub packets: u64,
    /// The longest time between two packets.
    pub time: Duration,
}

impl MediaGap {
    /// The worse of both, each for itself.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        Self { packets: self.packets.max(other.packets), time: self.time.max(other.time) }
    }
}

/// Microseconds on a clock all phones of this process share.
pub(crate) fn process_micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// An even port for RTP and the next one for RTCP.
pub(crate) struct MediaPorts {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The even port.
    pub(crate) port: u16,
}

impl MediaPorts {
    /// Finds a free pair on `address`.
    pub(crate) async fn bind(address: IpAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        // Odd finds are kept until the end, or the system would offer the same one again.
        let mut odd = Vec::new();
        for _ in 0..PORT_TRIES_MAX {
            let rtp = UdpSocket::bind((address, 0)).await?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 1 || port == u16::MAX - 1 {
                odd.push(rtp);
                continue;
            }
            match UdpSocket::bind((address, port + 1)).await {
                Ok(rtcp) => return Ok(Self { rtp, rtcp, port }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What a call may change while its media runs.
#[derive(Clone)]
pub(crate) struct Course {
    /// Where the other side receives; `None` until its description is known.
    pub(crate) remote: Option<(SocketAddr, SocketAddr)>,
    /// Our key and theirs; `None` on plain RTP.
    pub(crate) keys: Option<(Key, Key)>,
    /// Whether we send.
    pub(crate) sending: bool,
    /// RTCP goes by the RTP port.
    pub(crate) mux: bool,
}

/// Running media; ends when dropped.
pub(crate) struct MediaStream {
    courses: mpsc::Sender<Course>,
    tally: SharedTally,
    task: AbortHandle,
}

/// A view of the counters that outlives the stream.
#[derive(Clone)]
pub(crate) struct SharedTally(Arc<Mutex<Tally>>);

impl SharedTally {
    pub(crate) fn stats(&self) -> MediaStats {
        self.lock().stats()
    }

    pub(crate) fn count_gaps_anew(&self) {
        self.lock().count_gaps_anew();
    }
}

impl MediaStream {
    /// Starts with nothing to send and nobody to send to.
    pub(crate) fn start(
        ports: MediaPorts,
        source: Source,
        expected_hz: Option<u32>,
        probe: bool,
        random: &mut Random,
    ) -> Self {
        let tally = SharedTally(Arc::new(Mutex::new(Tally { expected_hz, ..Tally::default() })));
        let (courses, inbox) = mpsc::channel(8);
        let speaker = Speaker {
            tone: match source {
                Source::Sound(Sound::Tone { hz }) => Some(Tone::new(hz)),
                Source::Sound(Sound::Echo) | Source::Camera => None,
            },
            camera: matches!(source, Source::Camera),
            echo: std::collections::VecDeque::new(),
            probe,
            ssrc: random.next_u64() as u32,
            // RFC 3711 §3.3.1: a first sequence number below 2^15 keeps an early loss from
            // confusing the roll-over count.
            sequence: random.below(1 << 15) as u16,
            timestamp: random.next_u64() as u32,
            marker: true,
            packets: 0,
        };
        let task = tokio::spawn(run(ports, inbox, speaker, tally.clone())).abort_handle();
        Self { courses, tally, task }
    }

    /// Changes remote address, keys or direction.
    pub(crate) fn set(&self, course: Course) {
        // Eight changes unread within one turn of the task would be a bug of the caller.
        let _ = self.courses.try_send(course);
    }

    pub(crate) fn tally(&self) -> SharedTally {
        self.tally.clone()
    }
}

impl Drop for MediaStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(ports: MediaPorts, mut inbox: mpsc::Receiver<Course>, mut speaker: Speaker, tally: SharedTally) {
    let mut course = Course { remote: None, keys: None, sending: false, mux: false };
    let mut guard = Guard::plain();
    let (mut rtp_buffer, mut rtcp_buffer) = (vec![0; 2_048], vec![0; 2_048]);
    let mut clock = interval(PACKET_TIME);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut reports = interval(REPORT_TIME);
    loop {
        tokio::select! {
            changed = inbox.recv() => {
                let Some(next) = changed else { return };
                guard.rekey(next.keys.as_ref());
                if next.sending && speaker.packets == 0 {
                    reports.reset_after(FIRST_REPORT);
                }
                course = next;
            }
            Ok((length, _)) = ports.rtp.recv_from(&mut rtp_buffer) => {
                // RFC 5761 §4: what would be RTP of payload types 64 to 95 is RTCP.
                if course.mux && (192..224).contains(&rtp_buffer[1]) {
                    let opened = guard.open_rtcp(&rtp_buffer[..length]);
                    tally.lock().report(opened.as_deref());
                } else {
                    let opened = guard.open_rtp(&rtp_buffer[..length]);
                    hear(opened.as_deref(), &mut speaker, &tally);
                }
            }
            Ok((length, _)) = ports.rtcp.recv_from(&mut rtcp_buffer) => {
                let opened = guard.open_rtcp(&rtcp_buffer[..length]);
                tally.lock().report(opened.as_deref());
            }
            _ = clock.tick() => {
                if let (true, Some((rtp, _))) = (course.sending, course.remote)
                    && let Some(sealed) = guard.seal_rtp(&speaker.packet())
                {
                    // A refused datagram (nobody listens there yet) is loss, not failure.
                    let _ = ports.rtp.try_send_to(&sealed, rtp);
                    tally.lock().sent += 1;
                }
            }
            _ = reports.tick() => {
                if let (true, Some((_, rtcp))) = (speaker.packets > 0, course.remote)
                    && let Some(sealed) = guard.seal_rtcp(&speaker.report())
                {
                    let socket = if course.mux { &ports.rtp } else { &ports.rtcp };
                    let _ = socket.try_send_to(&sealed, rtcp);
                    tally.lock().reports_sent += 1;
                }
            }
        }
    }
}

fn hear(packet: Option<&[u8]>, speaker: &mut Speaker, tally: &SharedTally) {
    let now = process_micros();
    let mut tally = tally.lock();
    let Some(read) = packet.and_then(rtp::read) else {
        tally.refused += 1;
        return;
    };
    if read.payload_type == rtp::VIDEO
        && (read.payload.len() != VIDEO_BYTES || read.payload.iter().any(|byte| *byte != read.sequence as u8))
    {
        tally.refused += 1;
        return;
    }
    tally.packet(&read, now);
    if speaker.tone.is_none()
        && read.payload_type == rtp::PCMU
        && let Ok(payload) = read.payload.try_into()
    {
        if speaker.echo.len() == ECHO_PACKETS_MAX {
            speaker.echo.pop_front();
        }
        speaker.echo.push_back(payload);
    }
}

/// What the clock of video (90 kHz) counts between two packets.
const VIDEO_STEP: u32 = 1_800;

/// The sending half.
struct Speaker {
    tone: Option<Tone>,
    camera: bool,
    echo: std::collections::VecDeque<[u8; SAMPLES]>,
    probe: bool,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    packets: u32,
}

impl Speaker {
    /// Packets an echo lags behind, to ride out jitter: 200 ms.
    const ECHO_LAG: usize = 10;

    fn packet(&mut self) -> Vec<u8> {
        if self.camera {
            let payload = [self.sequence as u8; VIDEO_BYTES];
            return self.write(rtp::VIDEO, &payload, VIDEO_STEP);
        }
        let payload = match &mut self.tone {
            Some(tone) => tone.next_packet(),
            None if self.echo.len() > Self::ECHO_LAG => self.echo.pop_front().unwrap_or(SILENT_PACKET),
            None => SILENT_PACKET,
        };
        self.write(rtp::PCMU, &payload, SAMPLES as u32)
    }

    fn write(&mut self, payload_type: u8, payload: &[u8], step: u32) -> Vec<u8> {
        let packet = rtp::Packet {
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            marker: self.marker,
            sent_at: self.probe.then(process_micros),
            payload,
        };
        let bytes = packet.write();
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(step);
        self.marker = false;
        self.packets = self.packets.wrapping_add(1);
        bytes
    }

    fn report(&self) -> Vec<u8> {
        let octets = self.packets.wrapping_mul(SAMPLES as u32);
        rtp::sender_report(self.ssrc, self.timestamp, self.packets, octets, process_micros())
    }
}

impl SharedTally {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters behind [`MediaStats`].
#[derive(Default)]
struct Tally {
    sent: u64,
    received: u64,
    refused: u64,
    reports_sent: u64,
    reports_received: u64,
    expected_hz: Option<u32>,
    heard_hz: Option<u32>,
    listened: u64,
    heard_right: u64,
    delays_us: Vec<u32>,
    streams: Vec<Reception>,
    gap: MediaGap,
    /// When a packet was heard last, on the clock of the process.
    heard_us: Option<u64>,
}

/// Sequence numbers of one source.
struct Reception {
    ssrc: u32,
    first: i64,
    highest: i64,
    received: u64,
}

impl Tally {
    fn packet(&mut self, read: &rtp::Received<'_>, now: u64) {
        self.received += 1;
        self.sequence(read.ssrc, read.sequence);
        if let Some(before) = self.heard_us.replace(now) {
            self.gap.time = self.gap.time.max(Duration::from_micros(now.saturating_sub(before)));
        }
        if let (Some(sent_at), true) = (read.sent_at, self.delays_us.len() < DELAY_SAMPLES_MAX) {
            self.delays_us.push(u32::try_from(now.saturating_sub(sent_at)).unwrap_or(u32::MAX));
        }
        if read.payload_type == rtp::PCMU && self.received.is_multiple_of(LISTEN_EVERY) {
            self.heard_hz = dominant_hz(read.payload);
            self.listened += 1;
            let right = self.heard_hz.is_some() && (self.expected_hz.is_none() || self.expected_hz == self.heard_hz);
            self.heard_right += u64::from(right);
        }
    }

    fn sequence(&mut self, ssrc: u32, sequence: u16) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) else {
            if self.streams.len() < SOURCES_MAX {
                let first = i64::from(sequence);
                self.streams.push(Reception { ssrc, first, highest: first, received: 1 });
            }
            return;
        };
        // The number nearest to the highest one seen, over roll-overs (RFC 3550 appendix A.1).
        let step = sequence.wrapping_sub(stream.highest as u16) as i16;
        let extended = stream.highest + i64::from(step);
        self.gap.packets = self.gap.packets.max(u64::try_from(i64::from(step) - 1).unwrap_or(0));
        stream.highest = stream.highest.max(extended);
        stream.first = stream.first.min(extended);
        stream.received += 1;
    }

    fn report(&mut self, packet: Option<&[u8]>) {
        if packet.is_some_and(rtp::is_rtcp) {
            self.reports_received += 1;
        } else {
            self.refused += 1;
        }
    }

    fn stats(&self) -> MediaStats {
        let mut delays = self.delays_us.clone();
        delays.sort_unstable();
        let micros = |us: &u32| Duration::from_micros(u64::from(*us));
        let expected = |s: &Reception| u64::try_from(s.highest - s.first + 1).unwrap_or(0);
        MediaStats {
            sent: self.sent,
            received: self.received,
            lost: self.streams.iter().map(|s| expected(s).saturating_sub(s.received)).sum(),
            delay_p50: delays.get(delays.len() / 2).map(micros),
            delay_max: delays.last().map(micros),
            tone_ok: self.listened > 0 && self.heard_right as f32 >= TONE_SHARE_MIN * self.listened as f32,
            heard_hz: self.heard_hz,
            reports_sent: self.reports_sent,
            reports_received: self.reports_received,
            refused: self.refused,
            gap: self.gap,
        }
    }

    /// Gaps count from now on. What has been missing up to now counts with what comes.
    fn count_gaps_anew(&mut self) {
        self.gap = MediaGap::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_over_a_roll_over_and_reordering_is_no_loss() {
        let mut tally = Tally::default();
        for sequence in [65_533_u16, 65_535, 65_534, 1, 2] {
            tally.received += 1;
            tally.sequence(7, sequence);
        }
        assert_eq!(tally.stats().lost, 1, "only number 0 is missing");
    }

    #[test]
    fn a_gap_is_counted_in_packets_and_in_time_and_anew() {
        let mut tally = Tally::default();
        let hear = |tally: &mut Tally, sequence: u16, at_ms: u64| {
            let read = rtp::Received { payload_type: 0, sequence, ssrc: 1, sent_at: None, payload: &[] };
            tally.packet(&read, 1_000 * at_ms);
        };
        for (sequence, at_ms) in [(1, 0), (2, 20), (6, 100), (7, 120), (5, 121)] {
            hear(&mut tally, sequence, at_ms);
        }
        assert_eq!(tally.stats().gap, MediaGap { packets: 3, time: Duration::from_millis(80) });
        tally.count_gaps_anew();
        hear(&mut tally, 8, 151);
        assert_eq!(tally.stats().gap, MediaGap { packets: 0, time: Duration::from_millis(30) });
    }

    fn hear_600(expected_hz: Option<u32>) -> MediaStats {
        let mut tally = Tally { expected_hz, ..Tally::default() };
        let mut tone = Tone::new(600);
        for sequence in 0..40 {
            let payload = tone.next_packet();
            let read = rtp::Received { payload_type: 0, sequence, ssrc: 1, sent_at: Some(10), payload: &payload };
            tally.packet(&read, 2_010);
        }
        tally.stats()
    }

    #[test]
    fn the_tone_of_someone_else_is_not_the_tone_expected() {
        let wrong = hear_600(Some(450));
        assert!(!wrong.tone_ok);
        assert_eq!(wrong.heard_hz, Some(600));
        assert_eq!(wrong.delay_p50, Some(Duration::from_millis(2)));
        assert!(hear_600(None).tone_ok && hear_600(Some(600)).tone_ok);
    }
}
