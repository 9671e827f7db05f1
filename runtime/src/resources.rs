//! What this process uses of its machine, as `/proc` tells.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use edgeway_model::world::Resources;

use crate::limits::RESOURCES_EVERY;

/// Looks at most once in [`RESOURCES_EVERY`], and says in between what it saw last.
#[derive(Debug)]
pub(crate) struct Meter {
    last: Cell<(Instant, Resources)>,
    seen: Cell<bool>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { last: Cell::new((Instant::now(), look())), seen: Cell::new(false) }
    }
}

impl Meter {
    /// What is used now. What of the processor is used is that since the look before; first, since the process started.
    pub(crate) fn read(&self) -> Resources {
        let (at, before) = self.last.get();
        let passed = at.elapsed();
        if passed < RESOURCES_EVERY && self.seen.get() {
            return before;
        }
        let mut now = look();
        let (used, over) = match self.seen.replace(true) {
            true => (now.cpu.saturating_sub(before.cpu), passed),
            false => (now.cpu, lived().unwrap_or(passed)),
        };
        now.cpu_permille = permille(used, over);
        self.last.set((Instant::now(), now));
        now
    }
}

fn permille(used: Duration, over: Duration) -> u64 {
    let over = over.as_micros().max(1);
    u64::try_from(used.as_micros().saturating_mul(1_000) / over).unwrap_or(u64::MAX)
}

fn look() -> Resources {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Resources {
        cpu_permille: 0,
        cpu: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_of(&text)).unwrap_or_default(),
        memory_bytes: fs::read_to_string("/proc/self/statm").ok().and_then(|text| pages_of(&text)).unwrap_or_default()
            * rustix::param::page_size() as u64,
        files: files(),
        files_max: limit.current.unwrap_or(u64::MAX),
    }
}

/// Since Linux 6.2 the size of the folder says it; before, it is counted.
fn files() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(count) if count > 0 => count,
        Ok(_) | Err(_) => fs::read_dir(FOLDER).map_or(0, |entries| entries.count() as u64),
    }
}

/// Ticks as a time.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1))
}

/// The fields of `/proc/self/stat` behind the name, which may hold anything: the first is the third of proc(5).
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

/// Fields 14 and 15: time of this process in user mode and in the kernel.
fn cpu_of(stat: &str) -> Option<Duration> {
    let mut fields = fields(stat).skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(ticks(next()?.saturating_add(next()?)))
}

/// Field 22: when it started, after boot.
fn lived() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let started = ticks(fields(&stat).nth(19)?.parse().ok()?);
    let up = fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = up.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(up).ok()?.checked_sub(started)
}

/// The second field of `/proc/self/statm`.
fn pages_of(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "1 (a ) b) S 2 3 4 5 6 7 8 9 10 11 250 150 0 0 20 0 1 0 777 0 0";
        assert_eq!(cpu_of(stat), Some(ticks(400)));
        assert_eq!(fields(stat).nth(19), Some("777"));
        assert_eq!(pages_of("100 42 7"), Some(42));
        for bad in ["", "1 (x) S", "x"] {
            assert_eq!(cpu_of(bad), None);
        }
        assert_eq!(permille(Duration::from_secs(3), Duration::from_secs(2)), 1_500);
        assert_eq!(permille(Duration::from_secs(1), Duration::ZERO), 1_000_000_000);
    }

    #[test]
    fn this_process_uses_something_and_is_not_looked_at_too_often() {
        let meter = Meter::default();
        let first = meter.read();
        assert!(first.memory_bytes > 1024 * 1024 && first.files >= 3 && first.files_max >= first.files, "{first:?}");
        let _open: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        assert_eq!(meter.read(), first, "within a second nothing is looked at again");
        meter.last.set((Instant::now() - RESOURCES_EVERY, first));
        assert!(meter.read().files >= first.files + 10);
    }
}
