//! People who sign in, and people who talk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeway_interop::product::EDGE_NAME;
use edgeway_lab_servers::client::http::ask;
use edgeway_lab_servers::client::xml::Element;
use edgeway_lab_servers::{Call, CallState, Phone, PhoneConfig, PhoneTransport};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::world::{PASSWORD, World, caller, caller_number, person, sign_in};

/// A user may sign in eight times within five minutes; we stay below.
const SIGN_INS_PER_PERSON: usize = 6;
/// The longest a run of this bench takes.
const LONGEST: usize = 240;
/// Sign-ins under way at once, at most: more means that the rate is not kept.
const UNDER_WAY_MAX: usize = 500;
/// How long a call may take to be set up.
const SET_UP_WITHIN: Duration = Duration::from_secs(15);

/// People who sign in at a steady rate.
pub(super) struct SignIns {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<SignedIn>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct SignedIn {
    good: usize,
    pub(super) failed: usize,
    pub(super) first_failure: String,
    seconds: f64,
    times: Vec<Duration>,
}

impl SignIns {
    /// How many people a rate needs.
    pub(super) fn people(rate: u32) -> usize {
        (rate as usize * LONGEST).div_ceil(SIGN_INS_PER_PERSON)
    }

    pub(super) fn start(world: &World, rate: u32, people: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (its_over, place) = (Arc::clone(&over), world.https.clone());
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let done = Arc::new(Mutex::new(SignedIn::default()));
            let under_way = Arc::new(AtomicUsize::new(0));
            let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rate)));
            let mut all = JoinSet::new();
            let mut next = 0;
            while !its_over.load(Ordering::Relaxed) {
                every.tick().await;
                while all.try_join_next().is_some() {}
                if under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
                    continue;
                }
                under_way.fetch_add(1, Ordering::Relaxed);
                let (place, done, under_way) = (place.clone(), Arc::clone(&done), Arc::clone(&under_way));
                let user = person(next % people);
                next += 1;
                all.spawn(async move {
                    let begun = Instant::now();
                    let got = ask(&place, &sign_in(&user)).await;
                    under_way.fetch_sub(1, Ordering::Relaxed);
                    let verdict = got.map_err(|error| error.to_string()).and_then(|got| match got.status {
                        200 if got.header("set-cookie").is_some() => usable(&got.text()),
                        other => Err(format!("{other} {}", got.reason)),
                    });
                    let mut done = done.lock().await;
                    done.times.push(begun.elapsed());
                    match verdict {
                        Ok(()) => done.good += 1,
                        Err(why) => {
                            done.failed += 1;
                            if done.first_failure.is_empty() {
                                done.first_failure = why;
                            }
                        }
                    }
                });
            }
            while all.join_next().await.is_some() {}
            let mut done = std::mem::take(&mut *done.lock().await);
            done.seconds = start.elapsed().as_secs_f64();
            done.times.sort_unstable();
            done
        });
        Self { over, task }
    }

    /// Ends it; gives what became of all.
    pub(super) async fn stop(self) -> SignedIn {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

/// Whether an edge configuration names a UDS server.
fn usable(text: &str) -> Result<(), String> {
    let tree = Element::parse(text)?;
    let uds = tree.text_at("edgeConfig/userUdsServer/server/address").is_some_and(|address| !address.is_empty());
    if uds { Ok(()) } else { Err("an edge configuration without a UDS server".to_owned()) }
}

impl fmt::Display for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            let index = (self.times.len() as f64 * share) as usize;
            self.times.get(index.min(self.times.len().saturating_sub(1))).copied().unwrap_or_default().as_millis()
        };
        write!(
            f,
            "{} sign-ins in {:.0} s ({:.0} a second), {} failed; p50 {} ms, p99 {} ms, longest {} ms",
            self.good + self.failed,
            self.seconds,
            (self.good + self.failed) as f64 / self.seconds.max(0.001),
            self.failed,
            at(0.5),
            at(0.99),
            at(1.0),
        )
    }
}

/// Pairs of phones outside that talk to each other.
pub(super) struct Calls {
    calls: Vec<(Call, Call)>,
    // Held: a phone that is dropped is switched off.
    _phones: Vec<Phone>,
    since: Instant,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Talked {
    calls: usize,
    pub(super) dropped: usize,
    packets: u64,
    lost: u64,
    seconds: f64,
}

impl Calls {
    /// Signs everybody in, registers the phones and connects them in pairs.
    pub(super) async fn set_up(world: &World, wanted: usize) -> Result<Self> {
        let mut phones = Vec::new();
        for n in 0..wanted * 2 {
            let got = world.ready(&caller(n)).await?;
            let tree = Element::parse(&got.text()).map_err(anyhow::Error::msg)?;
            let route = tree.text_at("edgeConfig/sipRequest/route").context("a route")?.to_owned();
            let transport =
                PhoneTransport::Tls { server: world.sip, name: EDGE_NAME.to_owned(), ca_pem: world.ca_pem.clone() };
            let mut config = PhoneConfig::new(&caller_number(n), PASSWORD, &world.publisher, transport);
            config.digest_user = Some(caller(n));
            config.device = Some(format!("CSF{}", caller(n).to_ascii_uppercase()));
            config.routes = vec![route];
            phones.push(Phone::register(config).await.with_context(|| format!("phone {n} registers"))?);
        }
        let mut calls = Vec::new();
        for (index, pair) in phones.chunks_exact(2).enumerate() {
            let [from, to] = pair else { continue };
            let uri = format!("sip:{}@{}", caller_number(index * 2 + 1), world.publisher);
            let (there, here) = tokio::join!(to.answer_next(SET_UP_WITHIN, Duration::ZERO), from.call(&uri));
            calls.push((here.with_context(|| format!("call {index}"))?, there.context("answered")?));
        }
        ensure!(calls.len() == wanted, "only {} calls", calls.len());
        Ok(Self { calls, _phones: phones, since: Instant::now() })
    }

    /// Looks at all calls, then hangs up.
    pub(super) async fn end(self) -> Result<Talked> {
        let mut talked = Talked { seconds: self.since.elapsed().as_secs_f64(), ..Talked::default() };
        for (here, there) in &self.calls {
            talked.calls += 1;
            let up = [here, there].into_iter().all(|call| call.view().state == CallState::Established);
            talked.dropped += usize::from(!up);
            for call in [here, there] {
                let stats = call.stats();
                talked.packets += stats.received;
                talked.lost += stats.lost;
            }
        }
        for (here, _) in &self.calls {
            if here.view().state == CallState::Established {
                here.hang_up().await?;
            }
        }
        Ok(talked)
    }
}

impl fmt::Display for Talked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls over {:.0} s, {} dropped; {} packets heard, {} lost",
            self.calls, self.seconds, self.dropped, self.packets, self.lost
        )
    }
}
