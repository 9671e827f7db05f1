//! The thread that moves packets.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgeway_model::Random;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Rules, Shared, packet};

/// Packets on their way at once; more are lost.
const UNDER_WAY_MAX: usize = 100_000;
/// Packets taken from one end before the other has its turn.
const BATCH: usize = 64;
/// Longest wait, so that the end is noticed.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Room for one packet, and one byte more.
const PACKET_BYTES: usize = 65_536;

/// A packet on its way.
struct UnderWay {
    due: Instant,
    /// Keeps the order of those due at the same time.
    number: u64,
    to: usize,
    bytes: Box<[u8]>,
}

/// Moves packets until told to stop.
pub(crate) fn run(devices: &[File; 2], shared: &Shared, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut path = Carry {
        devices,
        shared,
        rules: Rules::default(),
        random: Random::from_seed(bytes),
        free_at: [Instant::now(); 2],
        under_way: BinaryHeap::new(),
        number: 0,
    };
    let mut buffer = vec![0; PACKET_BYTES];
    while !shared.stop.load(Ordering::Acquire) {
        if shared.changed.swap(false, Ordering::AcqRel) {
            path.rules = *shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
        }
        path.wait();
        for from in [0, 1] {
            path.take(from, &mut buffer);
        }
        path.deliver();
    }
}

struct Carry<'a> {
    devices: &'a [File; 2],
    shared: &'a Shared,
    rules: Rules,
    random: Random,
    /// When the rate of each direction is free again.
    free_at: [Instant; 2],
    under_way: BinaryHeap<UnderWay>,
    number: u64,
}

impl Carry<'_> {
    fn wait(&self) {
        let due = self.under_way.peek().map(|next| next.due.saturating_duration_since(Instant::now()));
        let wait = due.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        // Lossless: a fraction of a second.
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ };
        let mut watched = self.devices.each_ref().map(|device| PollFd::new(device, PollFlags::IN));
        // Interrupted or not: the devices are looked at next.
        let _ = poll(&mut watched, Some(&timeout));
    }

    fn take(&mut self, from: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match (&self.devices[from]).read(buffer) {
                Ok(length) => self.admit(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Sends a packet on its way, or loses it and counts why.
    fn admit(&mut self, from: usize, bytes: &[u8]) {
        let Some(header) = packet::read(bytes) else { return };
        let (rules, counters, now) = (self.rules, &self.shared.counters[from], Instant::now());
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        count(&counters.came);
        counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if header.fragment {
            count(&counters.fragments);
        }
        if bytes.len() > rules.width {
            if !rules.silent_router
                && header.whole
                && let Some(message) = packet::too_large(bytes, rules.width)
            {
                self.send(now + rules.delay, from, &message);
            }
            return count(&counters.too_large);
        }
        let passes = rules.open[from] && (header.protocol != 17 || rules.udp) && (header.protocol != 6 || rules.tcp);
        if !passes {
            return count(&counters.blocked);
        }
        // Chance is asked alike whatever the rules say, so that one seed is one story.
        let (lost, late) = (self.random.below(1_000_000), self.random.below(1_000_000));
        if lost < rules.loss_ppm {
            return count(&counters.lost);
        }
        let mut leaves = now;
        if let Some(rate) = rules.rate {
            let starts = self.free_at[from].max(now);
            if starts - now > rules.queue {
                return count(&counters.overflow);
            }
            leaves = starts + Duration::from_nanos(bytes.len() as u64 * 8_000_000_000 / rate.max(1));
            self.free_at[from] = leaves;
        }
        if self.under_way.len() >= UNDER_WAY_MAX {
            return count(&counters.overflow);
        }
        let extra = if late < rules.late_ppm { rules.late_by } else { Duration::ZERO };
        self.send(leaves + rules.delay + extra, 1 - from, bytes);
    }

    fn send(&mut self, due: Instant, to: usize, bytes: &[u8]) {
        self.number += 1;
        self.under_way.push(UnderWay { due, number: self.number, to, bytes: bytes.into() });
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.under_way.peek().is_some_and(|next| next.due <= now) {
            let Some(next) = self.under_way.pop() else { return };
            if (&self.devices[next.to]).write(&next.bytes).is_err() {
                self.shared.counters[1 - next.to].overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    /// The heap has its greatest on top: that is what is due first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}
