//! First call: real phones outside register and call through an edge and a core to a real registrar.
//!
//! Runs as root with `EDGEWAY_INTEROP=1` and `EDGEWAY_BIN_DIR` naming the built programs; a missing tool then
//! fails with the Debian package that brings it. `EDGEWAY_INTEROP=direct` needs no Edgeway: the phones register
//! at Kamailio over TLS, which proves the harness. Otherwise it says so and runs nothing. Arguments without a
//! dash choose worlds by part of their name.
//!
//! Every world has its own namespaces, so worlds run side by side; inside a world scenarios run one after the
//! other, because a phone holds one call at a time.

mod calls;
mod faults;
mod trust;
mod world;

use anyhow::Result;
use edgeway_interop::host::Namespace;
use edgeway_interop::product::Transport;
use edgeway_interop::{product, requirement};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use world::{Front, World};

/// The variable that lets this program run, and says against what.
const SWITCH: &str = "EDGEWAY_INTEROP";

/// A world: its name and what happens in it.
type Story = (&'static str, fn(&Report) -> Result<()>);

/// Through the product: Path headers On and Off, the registrar over TCP and UDP.
const PRODUCT_STORIES: &[Story] = &[
    ("path on, registrar over tcp", |report| short_story(report, product_front(true, Transport::Tcp))),
    ("path off, registrar over udp", |report| short_story(report, product_front(false, Transport::Udp))),
    ("path on, registrar over udp", |report| short_story(report, product_front(true, Transport::Udp))),
    ("path off, registrar over tcp", |report| short_story(report, product_front(false, Transport::Tcp))),
    ("a minute", minute_story),
    ("trust and faults", fault_story),
];

/// Without the product.
const DIRECT_STORIES: &[Story] = &[("harness", direct_story)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let stories = match std::env::var(SWITCH).unwrap_or_default().as_str() {
        "1" => PRODUCT_STORIES,
        "direct" => DIRECT_STORIES,
        _ => {
            println!("first_call: 0 tests; {SWITCH}=1 runs them in network namespaces, as root");
            return ExitCode::SUCCESS;
        }
    };
    if let Err(error) = prepare(stories) {
        println!("first_call: FAILED: {error:#}");
        return ExitCode::FAILURE;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    run(stories.iter().filter(|(name, _)| chosen(name)).copied().collect())
}

fn prepare(stories: &[Story]) -> Result<()> {
    requirement::check(requirement::INTEROP)?;
    requirement::check_root()?;
    if std::ptr::eq(stories, PRODUCT_STORIES) {
        product::binaries()?;
    }
    Namespace::sweep()
}

fn run(stories: Vec<Story>) -> ExitCode {
    let start = Instant::now();
    let reports: Vec<Report> = stories.iter().map(|(name, _)| Report::new(name)).collect();
    std::thread::scope(|scope| {
        for (report, (_, story)) in reports.iter().zip(&stories) {
            scope.spawn(move || {
                if let Err(error) = story(report) {
                    report.record("set-up", Err(error), start);
                }
            });
        }
    });
    let (passed, failed) = reports.iter().map(Report::totals).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("first_call: {passed} passed, {failed} failed, {:.0} s", start.elapsed().as_secs_f64());
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What happened in one world.
pub(crate) struct Report {
    world: &'static str,
    totals: Mutex<(usize, usize)>,
}

impl Report {
    fn new(world: &'static str) -> Self {
        Self { world, totals: Mutex::new((0, 0)) }
    }

    /// Runs one scenario and prints how it went. The story goes on after a failure: the next scenario may say why.
    pub(crate) fn scenario(&self, name: &str, work: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let result = work();
        self.record(name, result, start);
    }

    fn record(&self, name: &str, result: Result<()>, start: Instant) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                totals.0 += 1;
                println!("ok      {:<30} {name} ({seconds:.1} s)", self.world);
            }
            Err(error) => {
                totals.1 += 1;
                println!("FAILED  {:<30} {name} ({seconds:.1} s): {error:#}", self.world);
            }
        }
    }

    /// Passed and failed so far.
    pub(crate) fn totals(&self) -> (usize, usize) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn world(&self) -> &'static str {
        self.world
    }
}

fn product_front(path_headers: bool, transport: Transport) -> Front {
    Front::Product { path_headers, transport }
}

/// Calls in every direction, with hold, and nothing that came in through the firewall.
fn short_story(report: &Report, front: Front) -> Result<()> {
    let mut world = World::build(report, front)?;
    calls::every_direction(report, &mut world)?;
    calls::status_counts(report, &world);
    world.finish(report)
}

/// A call of a minute outside and one to the inside, at the same time.
fn minute_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, product_front(true, Transport::Tcp))?;
    calls::a_minute(report, &mut world)?;
    world.finish(report)
}

/// Certificates, cuts, resets and refusals.
fn fault_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, product_front(true, Transport::Tcp))?;
    trust::certificates(report, &world)?;
    faults::no_encryption(report, &world)?;
    faults::wrong_password(report, &world)?;
    faults::link_cut(report, &mut world);
    faults::connection_reset(report, &mut world);
    world.finish(report)
}

/// The harness itself: phones, tones, hold and hang-up, with Kamailio in the edge's place.
fn direct_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, Front::Kamailio)?;
    calls::between_outside_phones(report, &mut world);
    trust::kamailio_certificate(report, &world)?;
    faults::wrong_password(report, &world)?;
    faults::phone_connection_reset(report, &mut world);
    faults::own_phone_reset(report, &mut world);
    world.firewall_counts(report)?;
    world.finish(report)
}
