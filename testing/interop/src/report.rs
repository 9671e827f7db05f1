//! What happened, a line for each scenario, and the frame of a test program that runs worlds side by side.

use crate::host::Namespace;
use crate::product;
use crate::requirement::{self, Requirement};
use anyhow::Result;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The variable that lets a program with namespaces run, and says against what.
pub const SWITCH: &str = "EDGEWAY_INTEROP";

/// A world: its name and what happens in it.
pub type Story = (&'static str, fn(&Report) -> Result<()>);

/// What a test program is called, needs and runs.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, which begins its last line.
    pub name: &'static str,
    /// What must be installed.
    pub requirements: &'static [&'static [Requirement]],
    /// With `EDGEWAY_INTEROP=1`: through the product.
    pub product: &'static [Story],
    /// With `EDGEWAY_INTEROP=direct`: without the product.
    pub direct: &'static [Story],
}

impl Program {
    /// Runs what the environment and the arguments choose. Arguments without a dash choose worlds by part of their
    /// name.
    pub fn main(&self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.iter().any(|argument| argument == "--list") {
            return ExitCode::SUCCESS;
        }
        let (stories, needs_product) = match std::env::var(SWITCH).unwrap_or_default().as_str() {
            "1" => (self.product, true),
            "direct" => (self.direct, false),
            _ => {
                println!("{}: 0 tests; {SWITCH}=1 runs them in network namespaces, as root", self.name);
                return ExitCode::SUCCESS;
            }
        };
        if let Err(error) = self.prepare(needs_product) {
            println!("{}: FAILED: {error:#}", self.name);
            return ExitCode::FAILURE;
        }
        let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
        let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
        self.run(stories.iter().filter(|(name, _)| chosen(name)).copied().collect())
    }

    fn prepare(&self, needs_product: bool) -> Result<()> {
        self.requirements.iter().try_for_each(|list| requirement::check(list))?;
        requirement::check_root()?;
        if needs_product {
            product::binaries()?;
        }
        Namespace::sweep()
    }

    fn run(&self, stories: Vec<Story>) -> ExitCode {
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
        let totals = reports.iter().map(Report::totals);
        let (passed, failed) = totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        println!("{}: {passed} passed, {failed} failed, {:.0} s", self.name, start.elapsed().as_secs_f64());
        if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What happened in one world.
#[derive(Debug)]
pub struct Report {
    world: &'static str,
    totals: Mutex<(usize, usize)>,
}

impl Report {
    fn new(world: &'static str) -> Self {
        Self { world, totals: Mutex::new((0, 0)) }
    }

    /// Runs one scenario and prints how it went. The story goes on after a failure: the next scenario may say why.
    pub fn scenario(&self, name: &str, work: impl FnOnce() -> Result<()>) {
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
    pub fn totals(&self) -> (usize, usize) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the world.
    pub fn world(&self) -> &'static str {
        self.world
    }
}
