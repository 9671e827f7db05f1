//! What must hold for any file whatever, as a function that panics where it does not. Not for production.

use crate::limits::PROBLEMS_MAX;
use crate::{Problems, parse_core, parse_edge};

/// Reads a file as an edge's and as a core's. What is refused is refused with reasons that a person
/// can read, on lines that exist.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check(text, parse_edge(text, "fuzz.toml").err());
    check(text, parse_core(text, "fuzz.toml").err());
}

fn check(text: &str, problems: Option<Problems>) {
    let Some(problems) = problems else { return };
    assert!(!problems.problems.is_empty() && problems.problems.len() <= PROBLEMS_MAX, "between one and the bound");
    let lines = text.split('\n').count();
    for problem in &problems.problems {
        assert!(!problem.reason.is_empty(), "every problem has its reason");
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} is on a line that exists");
    }
    assert!(!problems.to_string().chars().any(|one| one.is_control() && one != '\n'), "nothing plays with a terminal");
}
