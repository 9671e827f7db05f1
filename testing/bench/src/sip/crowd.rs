//! Many phones at once, on one thread: so many requests in flight, or so many a second.

use super::client::Client;
use crate::report::Latencies;
use anyhow::{Context, Result, ensure};
use edgeway_interop::product::EDGE_NAME;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// What the crowd does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Refreshes: as fast as answers come, or so many a second.
    Registers { rate: Option<f64> },
    /// Calls between two of the crowd, as fast as they end.
    Calls,
}

/// What a phase did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// One for each operation that succeeded.
    pub(crate) latencies: Latencies,
    /// Operations that did not; their phones take no further part.
    pub(crate) failed: usize,
    /// Why the first of them did not.
    why: Option<String>,
}

/// The phones, in groups: each group has one operation in flight.
pub(crate) struct Crowd {
    runtime: Runtime,
    edge: SocketAddr,
    tls: TlsConnector,
    groups: Vec<Vec<Client>>,
    groups_max: usize,
    /// What phones ask for, if not the usual.
    expires_seconds: Option<u32>,
}

impl Crowd {
    /// A crowd that will connect to `edge` and trust `authority`.
    pub(crate) fn new(edge: SocketAddr, authority: &Path, in_flight: usize) -> Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            edge,
            tls: connector(authority)?,
            groups: Vec::new(),
            groups_max: in_flight.max(1),
            expires_seconds: None,
        })
    }

    /// As [`Self::new`], with registrations of this length.
    pub(crate) fn expiring(self, seconds: u32) -> Self {
        Self { expires_seconds: Some(seconds), ..self }
    }

    /// Connects and registers so many phones, one after the other: Debian's Kamailio 5.6.3 shares OpenSSL's error
    /// state between its workers and corrupts its memory when two of them shake hands at once (kamailio issue 3695).
    pub(crate) fn gather(&mut self, connections: usize) -> Result<()> {
        let groups = self.groups_max.min(connections);
        self.groups = (0..groups).map(|_| Vec::new()).collect();
        let name = ServerName::try_from(EDGE_NAME)?;
        let (edge, tls, expires) = (self.edge, &self.tls, self.expires_seconds);
        self.runtime.block_on(async {
            for index in 0..connections {
                let mut client = Client::connect(index, edge, tls, name.clone()).await?;
                if let Some(seconds) = expires {
                    client.set_expires(seconds);
                }
                client.register().await?;
                self.groups[index % groups].push(client);
            }
            Ok(())
        })
    }

    /// Keeps the load up for `duration`.
    pub(crate) fn run(&mut self, load: Load, duration: Duration) -> Result<Done> {
        let groups = std::mem::take(&mut self.groups);
        let (count, start) = (groups.len(), Instant::now());
        let tasks: Vec<_> = groups
            .into_iter()
            .enumerate()
            .map(|(number, clients)| {
                let pace = match load {
                    Load::Registers { rate: Some(rate) } => {
                        Some(Pace { first: number as f64 / rate, step: count as f64 / rate })
                    }
                    Load::Registers { rate: None } | Load::Calls => None,
                };
                self.runtime.spawn(Group { clients, pace, start, end: start + duration }.work(load))
            })
            .collect();
        let mut done = Done::default();
        for task in tasks {
            let (clients, latencies, failure) = self.runtime.block_on(task)?;
            self.groups.push(clients);
            done.latencies.append(latencies);
            if let Some(error) = failure {
                done.failed += 1;
                done.why.get_or_insert_with(|| format!("{error:#}"));
            }
        }
        if let Some(why) = &done.why {
            eprintln!("{} of {count} groups gave up, the first because: {why}", done.failed);
        }
        ensure!(done.latencies.count() > 0, "nothing succeeded");
        Ok(done)
    }
}

/// TLS 1.3 and nothing else: equal terms for both sides.
pub(crate) fn connector(authority: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).context("read the CA certificate")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// When a group's operations are due, in seconds since the start.
#[derive(Clone, Copy)]
struct Pace {
    first: f64,
    step: f64,
}

/// One group at work.
struct Group {
    clients: Vec<Client>,
    pace: Option<Pace>,
    start: Instant,
    end: Instant,
}

impl Group {
    /// Works until the end or the first failure.
    async fn work(mut self, load: Load) -> (Vec<Client>, Latencies, Option<anyhow::Error>) {
        let mut latencies = Latencies::default();
        let mut turn = 0_usize;
        loop {
            if let Some(pace) = self.pace {
                let due = self.start + Duration::from_secs_f64(pace.first + pace.step * turn as f64);
                tokio::time::sleep_until(due.min(self.end).into()).await;
            }
            if Instant::now() >= self.end {
                return (self.clients, latencies, None);
            }
            let began = Instant::now();
            match self.operate(load, turn).await {
                Ok(()) => latencies.record_since(began),
                Err(error) => return (self.clients, latencies, Some(error)),
            }
            turn += 1;
        }
    }

    async fn operate(&mut self, load: Load, turn: usize) -> Result<()> {
        let count = self.clients.len();
        let index = turn % count;
        match load {
            Load::Registers { .. } => self.clients[index].register().await,
            Load::Calls => {
                ensure!(count > 1, "a call takes two phones in each group: use more connections");
                // Neighbours, each in turn the caller.
                let (first, second) = self.clients.split_at_mut(index.max(1));
                if index == 0 {
                    first[0].call(&mut second[0]).await
                } else {
                    second[0].call(&mut first[index - 1]).await
                }
            }
        }
    }
}
