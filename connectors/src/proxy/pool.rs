//! Servers as the client knows them: their health, and the connections to them that are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::client::Target;
use super::limits::{CONNECTION_AGE_MAX, CONNECTIONS_PER_SERVER_MAX, KEPT_CONNECTIONS_MAX, KEPT_FOR, SERVERS_MAX};
use super::wire::Wire;

/// A connection without a request on it, or with one.
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// When it was made.
    pub(super) born: Instant,
    /// Under which trust.
    pub(super) trust: u64,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

struct Server {
    breaker: Breaker,
    kept: Vec<Kept>,
    places: Arc<Semaphore>,
}

impl Server {
    fn new() -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_PER_SERVER_MAX));
        Self { breaker: Breaker::default(), kept: Vec::new(), places }
    }

    /// Whether there is nothing to remember.
    fn is_idle(&self) -> bool {
        let unused = self.places.available_permits() == CONNECTIONS_PER_SERVER_MAX;
        unused && self.kept.is_empty() && self.breaker.is_clean()
    }
}

/// All servers. One lock, held for a few instructions and never across an await.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Servers>>);

#[derive(Default)]
struct Servers {
    by_target: HashMap<Target, Server>,
    kept: usize,
}

/// Why a request may not go to a server now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// It has failed; it may be tried after this.
    Rests(Duration),
    /// Too many servers are in use.
    TooMany,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Servers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether a request may go to `target`; gives the places of that server.
    pub(super) fn admit(
        &self,
        target: &Target,
        now: Instant,
        try_within: Duration,
    ) -> Result<(Arc<Semaphore>, Try<'_>), NoPlace> {
        let mut servers = self.lock();
        if let Some(server) = servers.by_target.get_mut(target) {
            let tries = server.breaker.admit(now.into_std(), try_within).map_err(NoPlace::Rests)?;
            let places = Arc::clone(&server.places);
            return Ok((places, Try { pool: self, target: target.clone(), tries }));
        }
        if servers.by_target.len() >= SERVERS_MAX {
            servers.by_target.retain(|_, server| !server.is_idle());
            if servers.by_target.len() >= SERVERS_MAX {
                return Err(NoPlace::TooMany);
            }
        }
        let server = servers.by_target.entry(target.clone()).or_insert_with(Server::new);
        Ok((Arc::clone(&server.places), Try { pool: self, target: target.clone(), tries: false }))
    }

    /// The kept connection that was used last, if one is fit for use.
    pub(super) fn take(&self, target: &Target, trust: u64, now: Instant) -> Option<Connection> {
        let mut servers = self.lock();
        let Servers { by_target, kept } = &mut *servers;
        let server = by_target.get_mut(target)?;
        while let Some(Kept { mut connection, since }) = server.kept.pop() {
            *kept = kept.saturating_sub(1);
            let fit = connection.trust == trust && now < since + KEPT_FOR && !connection.wire.is_over();
            if fit {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, target: &Target, mut connection: Connection) {
        let now = Instant::now();
        // What is left unread is nobody's.
        if !connection.wire.read.is_empty() || now >= connection.born + CONNECTION_AGE_MAX {
            return;
        }
        connection.wire.rest();
        let mut servers = self.lock();
        let Servers { by_target, kept } = &mut *servers;
        if *kept < KEPT_CONNECTIONS_MAX
            && let Some(server) = by_target.get_mut(target)
        {
            *kept += 1;
            server.kept.push(Kept { connection, since: now });
        }
    }

    /// Ends what was kept for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let mut servers = self.lock();
        let mut left = 0;
        for server in servers.by_target.values_mut() {
            server.kept.retain_mut(|kept| now < kept.since + KEPT_FOR && !kept.connection.wire.is_over());
            left += server.kept.len();
        }
        servers.kept = left;
        servers.by_target.retain(|_, server| !server.is_idle());
    }

    pub(super) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + 'static {
        let weak = Arc::downgrade(&self.0);
        move || weak.upgrade().map(Self)
    }
}

/// A request that may go to a server: how it ends is told, or the next one may try where it was to.
pub(super) struct Try<'a> {
    pool: &'a Pool,
    target: Target,
    /// Whether others wait for its end.
    tries: bool,
}

impl Try<'_> {
    /// The server answered.
    pub(super) fn succeeded(mut self) {
        self.tries = false;
        if let Some(server) = self.pool.lock().by_target.get_mut(&self.target) {
            server.breaker.succeeded();
        }
    }

    /// The server could not be reached, or did not answer. How long it is left in peace, if it is.
    pub(super) fn failed(mut self, now: Instant) -> Option<Duration> {
        self.tries = false;
        self.pool.lock().by_target.get_mut(&self.target)?.breaker.failed(now.into_std())
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if self.tries
            && let Some(server) = self.pool.lock().by_target.get_mut(&self.target)
        {
            server.breaker.let_go();
        }
    }
}

/// A connection in use, and its place among those of its server.
pub(super) struct Lease {
    pub(super) pool: Pool,
    pub(super) target: Target,
    pub(super) connection: Connection,
    pub(super) place: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer is complete: the next request may have the connection.
    pub(super) fn give_back(self) {
        self.pool.keep(&self.target, self.connection);
        drop(self.place);
    }
}
