//! A limit on what costs the peer nothing and us something: HTTP/2 frames that carry no bytes of ours.
//!
//! `h2` answers every PING and every SETTINGS, and takes any number of PRIORITY and WINDOW_UPDATE frames
//! (CVE-2019-9512, -9513, -9515 and their kin). An honest peer sends a handful of them. This reads along in
//! what arrives, frame heads only, and ends the connection of a peer that floods. How much is too much depends
//! on what the connection is for: [`Calmness`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::limits::{CONTROL_BURST_MAX, CONTROL_PER_SECOND_MAX, WINDOW_BURST_MAX, WINDOW_PER_SECOND_MAX};

/// So many frames of a kind at once, and so many a second from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// At once.
    pub(crate) burst: u32,
    /// Per second.
    pub(crate) per_second: u32,
}

/// What one connection may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calmness {
    /// PING, SETTINGS, PRIORITY, CONTINUATION, empty DATA and what is unknown.
    pub(crate) control: Rate,
    /// WINDOW_UPDATE.
    pub(crate) window: Rate,
    /// What opens or ends a stream: HEADERS, and empty DATA that ends one.
    pub(crate) streams: Rate,
    /// RST_STREAM.
    pub(crate) resets: Rate,
    /// Whether more resets than that slow the peer down, rather than end the connection.
    pub(crate) patient: bool,
}

impl Calmness {
    /// Of a link: two streams, for good.
    const LINK: Self = {
        let control = Rate { burst: CONTROL_BURST_MAX, per_second: CONTROL_PER_SECOND_MAX };
        let window = Rate { burst: WINDOW_BURST_MAX, per_second: WINDOW_PER_SECOND_MAX };
        Self { control, window, streams: control, resets: control, patient: false }
    };
}

/// The preface of an HTTP/2 client (RFC 9113 §3.4), before its first frame.
const PREFACE_BYTES: usize = 24;
/// The head of a frame (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// DATA (RFC 9113 §6.1).
const DATA: u8 = 0;
/// HEADERS (§6.2).
const HEADERS: u8 = 1;
/// RST_STREAM (§6.4).
const RST_STREAM: u8 = 3;
/// The flag of HEADERS and DATA that ends a stream.
const END_STREAM: u8 = 1;
/// WINDOW_UPDATE (§6.9): an honest peer sends some for what it takes off us.
const WINDOW_UPDATE: u8 = 8;

/// A stream that is read along.
#[derive(Debug)]
pub(crate) struct Calm<T> {
    inner: T,
    watch: Watch,
    /// Until when nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<T> Calm<T> {
    /// A stream whose peer is the client of HTTP/2, so that its preface comes first.
    pub(super) fn of_client(inner: T) -> Self {
        Self::watching(inner, PREFACE_BYTES, Calmness::LINK)
    }

    /// A stream whose peer is the server of HTTP/2.
    pub(super) fn of_server(inner: T) -> Self {
        Self::watching(inner, 0, Calmness::LINK)
    }

    /// As [`Self::of_client`], for a connection that is no link.
    pub(crate) fn client_with(inner: T, calmness: Calmness) -> Self {
        Self::watching(inner, PREFACE_BYTES, calmness)
    }

    /// As [`Self::of_server`], for a connection that is no link.
    pub(crate) fn server_with(inner: T, calmness: Calmness) -> Self {
        Self::watching(inner, 0, calmness)
    }

    fn watching(inner: T, preface: usize, calmness: Calmness) -> Self {
        Self { inner, watch: Watch::new(preface, calmness), pause: None }
    }
}

/// Where in the peer's frames we are, and how much it may still send.
#[derive(Debug)]
struct Watch {
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    control: Bucket,
    window: Bucket,
    streams: Bucket,
    resets: Bucket,
    patient: bool,
}

impl Watch {
    fn new(skip: usize, calmness: Calmness) -> Self {
        Self {
            skip,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            control: Bucket::new(calmness.control),
            window: Bucket::new(calmness.window),
            streams: Bucket::new(calmness.streams),
            resets: Bucket::new(calmness.resets),
            patient: calmness.patient,
        }
    }

    /// Reads along; an error names the flood.
    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut now = None;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes < HEAD_BYTES {
                return Ok(());
            }
            self.head_bytes = 0;
            self.skip = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
            let (kind, ends) = (self.head[3], self.head[4] & END_STREAM != 0);
            let bucket = match kind {
                // Small ones are bounded by h2 itself (`data_frame_budget`).
                DATA if self.skip > 0 => continue,
                DATA if ends => &mut self.streams,
                HEADERS => &mut self.streams,
                RST_STREAM => &mut self.resets,
                WINDOW_UPDATE => &mut self.window,
                _ => &mut self.control,
            };
            let patient = self.patient && kind == RST_STREAM;
            let now = *now.get_or_insert_with(Instant::now);
            if patient {
                bucket.owe(now);
            } else if !bucket.take(now) {
                let name = NAMES.get(usize::from(kind)).unwrap_or(&"unknown");
                return Err(io::Error::other(format!("the peer floods the connection with HTTP/2 frames ({name})")));
            }
        }
    }
}

/// The kinds of frames (RFC 9113 §6), by number.
const NAMES: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// So many at once, and so many a second.
#[derive(Debug)]
struct Bucket {
    /// Less than nothing: what is owed.
    left: i64,
    most: u32,
    per_second: u32,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { left: i64::from(rate.burst), most: rate.burst, per_second: rate.per_second, filled: None }
    }

    fn take(&mut self, now: Instant) -> bool {
        self.owe(now);
        let some = self.left >= 0;
        self.left = self.left.max(0);
        some
    }

    /// Takes one, whether it is there or not.
    fn owe(&mut self, now: Instant) {
        let filled = *self.filled.get_or_insert(now);
        let millis = u64::try_from(now.saturating_duration_since(filled).as_millis()).unwrap_or(u64::MAX);
        let more = u32::try_from(millis.saturating_mul(u64::from(self.per_second)) / 1_000).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(i64::from(more)).min(i64::from(self.most));
            self.filled = Some(now);
        }
        self.left -= 1;
    }

    /// How long it takes until nothing is owed.
    fn owed(&self) -> Option<Duration> {
        let owed = u64::try_from(self.left.checked_neg()?).ok().filter(|owed| *owed > 0)?;
        Some(Duration::from_millis(owed.saturating_mul(1_000) / u64::from(self.per_second.max(1))))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Calm<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = &read
            && let Err(flood) = self.watch.see(&buf.filled()[before..])
        {
            return Poll::Ready(Err(flood));
        }
        if self.watch.patient
            && let Some(owed) = self.watch.resets.owed()
        {
            self.pause = Some(Box::pin(sleep(owed)));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Calm<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        frame.resize(HEAD_BYTES + payload, 0xff);
        frame
    }

    #[test]
    fn data_is_free_and_floods_are_named_however_they_are_cut() {
        for piece in [1, 7, 9, 100, 65_536] {
            let mut watch = Watch::new(PREFACE_BYTES, Calmness::LINK);
            let mut honest = vec![b'P'; PREFACE_BYTES];
            for _ in 0..300 {
                honest.extend(frame(DATA, 1_000));
            }
            honest.extend(frame(4, 36));
            honest.extend(frame(1, 200));
            assert!(honest.chunks(piece).all(|bytes| watch.see(bytes).is_ok()), "cut into {piece}");
            for (kind, name) in [(6, "PING"), (4, "SETTINGS"), (3, "RST_STREAM"), (0, "DATA"), (77, "unknown")] {
                let mut watch = Watch::new(0, Calmness::LINK);
                let flood = frame(kind, if kind == DATA { 0 } else { 8 }).repeat(CONTROL_BURST_MAX as usize + 100);
                let ended = flood.chunks(piece).find_map(|bytes| watch.see(bytes).err()).expect("noticed");
                assert!(ended.to_string().contains(name), "{ended}");
            }
        }
    }

    #[test]
    fn resets_slow_a_peer_down_where_others_cause_them() {
        let rate = Rate { burst: 10, per_second: 100 };
        let calmness = Calmness { resets: rate, patient: true, ..Calmness::LINK };
        let mut watch = Watch::new(0, calmness);
        assert!(watch.see(&frame(RST_STREAM, 4).repeat(10)).is_ok() && watch.resets.owed().is_none());
        assert!(watch.see(&frame(RST_STREAM, 4).repeat(50)).is_ok());
        let owed = watch.resets.owed().expect("more than it may");
        assert!((Duration::from_millis(400)..=Duration::from_millis(500)).contains(&owed), "{owed:?}");
    }

    #[test]
    fn a_bucket_fills_again_and_never_over_its_brim() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 10, per_second: 5 });
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(start + Duration::from_secs(1))).count(), 5);
        assert_eq!((0..20).filter(|_| bucket.take(start + Duration::from_secs(3_600))).count(), 10);
    }
}
