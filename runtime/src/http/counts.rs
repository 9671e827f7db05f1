//! What HTTP counts: many times a second on one thread, read now and then by another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edgeway_http_proxy::lane::is_small;
use edgeway_model::world::Times;

use super::limits::{COUNTERS_MAX, REQUEST_TIMES};

/// Counters by name, and what is being served now.
#[derive(Debug, Default)]
pub struct Counts {
    by_name: Mutex<BTreeMap<&'static str, u64>>,
    provisioning: AtomicU64,
    proxied: AtomicU64,
    provisioning_times: Clocked,
    proxied_times: Clocked,
}

/// How long requests took: how many ended within each bound of [`REQUEST_TIMES`] but within none before, then those that
/// took longer than all of them.
#[derive(Debug, Default)]
struct Clocked {
    within: [AtomicU64; REQUEST_TIMES.len() + 1],
    micros: AtomicU64,
}

impl Clocked {
    fn add(&self, took: Duration) {
        let at = REQUEST_TIMES.iter().position(|bound| took <= *bound).unwrap_or(REQUEST_TIMES.len());
        self.within[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// As a histogram: each bound with all that took no longer.
    fn read(&self) -> Times {
        let mut count = 0;
        let mut within = Vec::with_capacity(REQUEST_TIMES.len());
        for (at, ended) in self.within.iter().enumerate() {
            count += ended.load(Ordering::Relaxed);
            within.extend(REQUEST_TIMES.get(at).map(|bound| (*bound, count)));
        }
        Times { within, count, sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)) }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sign-in and the edge configuration.
    Provisioning,
    /// An HTTP server inside.
    Proxy,
}

impl Purpose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Provisioning, Self::Proxy];

    /// As metrics name it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Proxy => "proxy",
        }
    }

    /// Of a request for this path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if is_small(path) { Self::Provisioning } else { Self::Proxy }
    }
}

/// A request that is being served, until dropped.
#[derive(Debug)]
pub struct Serving(Arc<Counts>, Purpose, Instant);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.gauge(self.1).fetch_sub(1, Ordering::Relaxed);
        self.0.clocked(self.1).add(self.2.elapsed());
    }
}

impl Counts {
    /// One more.
    pub fn add(&self, what: &'static str) {
        let mut counts = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < COUNTERS_MAX || counts.contains_key(what) {
            *counts.entry(what).or_default() += 1;
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        self.by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(what, count)| (*what, *count))
            .collect()
    }

    /// Counts a request for as long as it is served.
    #[must_use]
    pub fn serve(self: &Arc<Self>, what: Purpose) -> Serving {
        self.gauge(what).fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(self), what, Instant::now())
    }

    /// How many requests are being served.
    #[must_use]
    pub fn served(&self, what: Purpose) -> u64 {
        self.gauge(what).load(Ordering::Relaxed)
    }

    /// How long requests took that have ended.
    #[must_use]
    pub fn times(&self) -> Vec<(&'static str, Times)> {
        Purpose::ALL.map(|what| (what.label(), self.clocked(what).read())).to_vec()
    }

    /// Whether any request is being served.
    pub(super) fn is_serving(&self) -> bool {
        self.served(Purpose::Provisioning) + self.served(Purpose::Proxy) > 0
    }

    const fn clocked(&self, what: Purpose) -> &Clocked {
        match what {
            Purpose::Provisioning => &self.provisioning_times,
            Purpose::Proxy => &self.proxied_times,
        }
    }

    const fn gauge(&self, what: Purpose) -> &AtomicU64 {
        match what {
            Purpose::Provisioning => &self.provisioning,
            Purpose::Proxy => &self.proxied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_under_way_until_it_ends_and_then_has_taken_its_time() {
        let counts = Arc::<Counts>::default();
        let serving = counts.serve(Purpose::Proxy);
        assert_eq!((counts.served(Purpose::Proxy), counts.served(Purpose::Provisioning)), (1, 0));
        assert!(counts.times().iter().all(|(_, times)| times.count == 0));
        drop(serving);
        assert_eq!(counts.served(Purpose::Proxy), 0);
        let ended = counts.times().into_iter().map(|(purpose, times)| (purpose, times.count)).collect::<Vec<_>>();
        assert_eq!(ended, [("provisioning", 0), ("proxy", 1)]);
    }

    #[test]
    fn each_bound_has_all_that_took_no_longer() {
        assert!(REQUEST_TIMES.is_sorted_by(|one, next| one < next));
        let clocked = Clocked::default();
        let longest = REQUEST_TIMES[REQUEST_TIMES.len() - 1];
        for took in [Duration::ZERO, REQUEST_TIMES[0], REQUEST_TIMES[1], longest, longest * 2] {
            clocked.add(took);
        }
        let times = clocked.read();
        assert_eq!(times.within.len(), REQUEST_TIMES.len());
        assert_eq!((times.within[0], times.within[1]), ((REQUEST_TIMES[0], 2), (REQUEST_TIMES[1], 3)));
        assert_eq!(times.within.last(), Some(&(longest, 4)));
        assert_eq!((times.count, times.sum), (5, REQUEST_TIMES[0] + REQUEST_TIMES[1] + longest * 3));
    }
}
