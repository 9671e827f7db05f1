//! One step of a test run, what it counted, and the summary.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, IsTerminal as _, stdin};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::root;

/// A command that must succeed.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    words: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// The step without which this one makes no sense.
    pub(crate) after: Option<&'static str>,
    /// Seconds after which it has failed, building included, where nobody watches.
    seconds_max: Option<u32>,
}

impl Step {
    /// A step that is a cargo command.
    pub(crate) fn cargo(name: &'static str, arguments: &[&'static str]) -> Self {
        Self::program(name, ["cargo"].iter().chain(arguments).map(OsString::from).collect())
    }

    /// A step that is any command: its program and its arguments.
    pub(crate) fn program(name: &'static str, words: Vec<OsString>) -> Self {
        Self { name, words, environment: Vec::new(), after: None, seconds_max: None }
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Only if that step went well.
    pub(crate) fn after(mut self, name: &'static str) -> Self {
        self.after = Some(name);
        self
    }

    /// With a limit in seconds.
    pub(crate) fn within(mut self, seconds: u32) -> Self {
        self.seconds_max = Some(seconds);
        self
    }

    /// Runs it, shows what it says, and counts the tests it reports.
    pub(crate) fn run(&self) -> Tally {
        let mut command = self.command();
        command.current_dir(root()).envs(self.environment.iter().cloned()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Tally::failed(format!("{} cannot be run: {error}", self.words[0].display())),
        };
        let mut tally = Tally::default();
        if let Some(output) = child.stdout.take() {
            // Bytes, because a test may print what is no text.
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                tally.count(&line);
            }
        }
        match child.wait() {
            Ok(status) if status.success() && tally.failed == 0 => tally.at_least_one(),
            Ok(status) if status.code() == Some(TIMED_OUT) => tally.and_failed("took too long and was ended"),
            Ok(status) => tally.and_failed(status.to_string()),
            Err(error) => tally.and_failed(error.to_string()),
        }
    }

    /// A terminal's Ctrl-C must reach the step, so a limit, which needs a process group of its own,
    /// is set only where nobody watches.
    fn command(&self) -> Command {
        let limit = self.seconds_max.filter(|_| !stdin().is_terminal());
        let seconds = limit.map(|seconds| seconds.to_string());
        let timeout = seconds.iter().flat_map(|seconds| ["timeout", "--kill-after=10", seconds]).map(OsString::from);
        let mut words = timeout.chain(self.words.iter().cloned());
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

/// The status by which timeout(1) says that it ended the command.
const TIMED_OUT: i32 = 124;

/// What a step counted. A step that reports no tests counts as one itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Why it failed, in a line.
    pub(crate) why: String,
}

impl Tally {
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::default().and_failed(why)
    }

    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0
    }

    fn at_least_one(mut self) -> Self {
        self.passed = self.passed.max(1);
        self
    }

    pub(crate) fn and_failed(mut self, why: impl Into<String>) -> Self {
        self.failed = self.failed.max(1);
        self.why = why.into();
        self
    }

    /// Adds what a line like `test result: ok. 12 passed; 0 failed; …` says, or the last one of a
    /// program of ours, `first_call: 30 passed, 0 failed, 95 s`.
    fn count(&mut self, line: &str) {
        const STARTS: [&str; 6] = ["test result: ", "first_call: ", "stories: ", "chat: ", "path: ", "browser: "];
        let Some(counts) = STARTS.iter().find_map(|start| line.trim_start().strip_prefix(start)) else { return };
        let number_before = |word: &str| -> Option<u64> {
            let before = &counts[..counts.find(word)?];
            before.split_whitespace().last()?.parse().ok()
        };
        self.passed += number_before(" passed").unwrap_or(0);
        self.failed += number_before(" failed").unwrap_or(0);
    }
}

/// A step that was run.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) tally: Tally,
    took: Duration,
}

impl Outcome {
    /// Runs a step and looks at the clock.
    pub(crate) fn of(name: &'static str, step: impl FnOnce() -> Tally) -> Self {
        println!("\n=== {name}");
        let start = Instant::now();
        let tally = step();
        if !tally.why.is_empty() {
            println!("{name}: {}", tally.why);
        }
        Self { name, tally, took: start.elapsed() }
    }
}

/// Prints a line for each step and, last, the sum. Whether nothing failed.
pub(crate) fn print_summary(outcomes: &[Outcome]) -> bool {
    println!("\n{:<10} {:>7} {:>7} {:>7}", "step", "seconds", "passed", "failed");
    for Outcome { name, tally, took } in outcomes {
        let seconds = took.as_secs_f64();
        println!("{name:<10} {seconds:>7.1} {:>7} {:>7}  {}", tally.passed, tally.failed, tally.why);
    }
    let passed: u64 = outcomes.iter().map(|outcome| outcome.tally.passed).sum();
    let failed: u64 = outcomes.iter().map(|outcome| outcome.tally.failed).sum();
    println!("{passed} passed, {failed} failed");
    failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "12 passed; 7 failed",
            "first_call: 30 passed, 1 failed, 95 s",
            "stories: 5 passed, 0 failed, 95 s",
            "path: 0 tests; EDGEWAY_PATH=1 runs them",
            "first_call: FAILED: network namespaces need root",
        ] {
            tally.count(line);
        }
        assert_eq!((tally.passed, tally.failed), (50, 3));
    }

    #[test]
    fn a_step_without_tests_counts_as_one() {
        assert_eq!(Tally::default().at_least_one().passed, 1);
        assert!(!Tally::default().and_failed("status 1").is_good());
    }

    #[test]
    fn a_command_that_fails_is_a_failed_step() {
        let tally = Step::cargo("none", &["no-such-command-of-cargo"]).run();
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert!(Step::cargo("version", &["--version"]).run().is_good());
    }
}
