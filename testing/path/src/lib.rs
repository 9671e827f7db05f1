//! A network path between two namespaces, with the faults a test asks for.
//!
//! ```text
//!   namespace a                                       namespace b
//!   10.90.0.1  ── TUN ── delay, loss, rate, … ── TUN ──  10.90.0.2
//!   fd90::1                                              fd90::2
//! ```
//! The kernel of a test machine may have no netem; this is one thread that moves whole IP packets from
//! one TUN device to the other, by [`Rules`] that may change at any time and chance that comes from a
//! seed. Needs root and `/dev/net/tun`; traffic never leaves the two namespaces.

#![warn(missing_docs)]

mod carry;
mod packet;
mod sys;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use edgeway_interop::Host;
use edgeway_interop::host::Namespace;

/// IPv4 addresses of the two ends.
pub const IPV4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 90, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 90, 0, 2))];
/// IPv6 addresses of the two ends.
pub const IPV6: [IpAddr; 2] =
    [IpAddr::V6(Ipv6Addr::new(0xfd90, 0, 0, 0, 0, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd90, 0, 0, 0, 0, 0, 0, 2))];

/// What a path does to packets, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How long each packet takes.
    pub delay: Duration,
    /// How many of a million packets are lost.
    pub loss_ppm: u64,
    /// How many of a million packets take [`Self::late_by`] longer, and are overtaken.
    pub late_ppm: u64,
    /// See [`Self::late_ppm`].
    pub late_by: Duration,
    /// Bits a second; `None`: as many as come.
    pub rate: Option<u64>,
    /// How long a packet may wait for the rate before it is lost.
    pub queue: Duration,
    /// Largest packet, bytes, IP header included. Larger ones are lost; over IPv4 with the message a
    /// router owes its sender (RFC 792), unless [`Self::silent_router`].
    pub width: usize,
    /// Says nothing about packets that are too large: a black hole for path MTU discovery.
    pub silent_router: bool,
    /// Whether UDP passes.
    pub udp: bool,
    /// Whether TCP passes.
    pub tcp: bool,
    /// Which of the two directions pass anything: from end 0, from end 1.
    pub open: [bool; 2],
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            loss_ppm: 0,
            late_ppm: 0,
            late_by: Duration::from_millis(5),
            rate: None,
            queue: Duration::from_millis(100),
            width: 1_500,
            silent_router: false,
            udp: true,
            tcp: true,
            open: [true; 2],
        }
    }
}

/// What happened to the packets of one direction so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets that came.
    pub came: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Lost by chance.
    pub lost: AtomicU64,
    /// Lost because of what they are, or because the direction is closed.
    pub blocked: AtomicU64,
    /// Lost because they are larger than the path is wide.
    pub too_large: AtomicU64,
    /// Lost because the rate was used up, or a device had no room.
    pub overflow: AtomicU64,
    /// Fragments of IP packets.
    pub fragments: AtomicU64,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    /// Raised with each change of the rules.
    changed: AtomicBool,
    counters: [Counters; 2],
    stop: AtomicBool,
}

/// A path. It ends, with its two namespaces, when it is dropped.
#[derive(Debug)]
pub struct Path {
    shared: Arc<Shared>,
    hosts: [Host; 2],
    thread: Option<JoinHandle<()>>,
}

impl Path {
    /// Makes two namespaces and joins them. `number` tells several paths of one process apart.
    ///
    /// # Errors
    /// Without root or `/dev/net/tun`, or if the system refuses.
    pub fn create(number: usize, rules: Rules, seed: u64) -> Result<Self> {
        let names = ["path-a", "path-b"];
        let [a, b] = names.map(|name| Namespace::create(number, name).map(Arc::new));
        let namespaces = [a?, b?];
        let mut devices = Vec::new();
        for (end, namespace) in namespaces.iter().enumerate() {
            let host = Host::Namespace(Arc::clone(namespace));
            let device = host.enter(|| Ok(sys::open_tun("path0")?));
            devices.push(device.context("a TUN device: it needs root and /dev/net/tun")?);
            let far = 1 - end;
            let address = |addresses: [IpAddr; 2]| [addresses[end].to_string(), addresses[far].to_string()];
            let ([v4, far_v4], [v6, _]) = (address(IPV4), address(IPV6));
            namespace.ip(&["addr", "add", &v4, "peer", &far_v4, "dev", "path0"])?;
            namespace.ip(&["link", "set", "path0", "mtu", "1500", "txqueuelen", "10000", "up"])?;
            namespace.ip(&["-6", "addr", "add", &format!("{v6}/64"), "dev", "path0", "nodad"])?;
        }
        let devices: [_; 2] = devices.try_into().ok().context("two devices")?;
        let shared = Arc::new(Shared {
            rules: Mutex::new(rules),
            changed: AtomicBool::new(true),
            counters: Default::default(),
            stop: AtomicBool::new(false),
        });
        let carried = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("path".into())
            .spawn(move || carry::run(&devices, &carried, seed))
            .context("starting a thread")?;
        Ok(Self { shared, hosts: namespaces.map(Host::Namespace), thread: Some(thread) })
    }

    /// One end: 0 or 1.
    pub fn host(&self, end: usize) -> &Host {
        &self.hosts[end]
    }

    /// Changes the rules, for packets that come from now on.
    pub fn set(&self, rules: Rules) {
        *self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
        self.shared.changed.store(true, Ordering::Release);
    }

    /// What happened to packets that came from an end.
    pub fn counters(&self, end: usize) -> &Counters {
        &self.shared.counters[end]
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
