//! What HTTP counts: many times a second on one thread, read now and then by another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use edgeway_http_proxy::lane::is_small;

use super::limits::COUNTERS_MAX;

/// Counters by name, and what is being served now.
#[derive(Debug, Default)]
pub struct Counts {
    by_name: Mutex<BTreeMap<&'static str, u64>>,
    provisioning: AtomicU64,
    proxied: AtomicU64,
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
    /// Of a request for this path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if is_small(path) { Self::Provisioning } else { Self::Proxy }
    }
}

/// A request that is being served, until dropped.
#[derive(Debug)]
pub struct Serving(Arc<Counts>, Purpose);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.gauge(self.1).fetch_sub(1, Ordering::Relaxed);
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
        Serving(Arc::clone(self), what)
    }

    /// How many requests are being served.
    #[must_use]
    pub fn served(&self, what: Purpose) -> u64 {
        self.gauge(what).load(Ordering::Relaxed)
    }

    /// Whether any request is being served.
    pub(super) fn is_serving(&self) -> bool {
        self.served(Purpose::Provisioning) + self.served(Purpose::Proxy) > 0
    }

    const fn gauge(&self, what: Purpose) -> &AtomicU64 {
        match what {
            Purpose::Provisioning => &self.provisioning,
            Purpose::Proxy => &self.proxied,
        }
    }
}
