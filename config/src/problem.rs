//! What is wrong with a file: everything at once, each with its place, its reason and its remedy.

use std::fmt;

use crate::limits::PROBLEMS_MAX;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as `sip.listen` or `sip.registrars[2]`; empty where the file itself is wrong.
    pub path: String,
    /// Line in the file, counted from 1; `None` where something is missing.
    pub line: Option<usize>,
    /// What is wrong with it. No full stop at the end.
    pub reason: String,
    /// What to do about it: a whole sentence, or empty where `did_you_mean` says it all.
    pub remedy: String,
    /// The setting or value that was probably meant.
    pub did_you_mean: Option<String>,
}

/// What stands in a file is shown to people: control characters as escapes, so
/// that a file cannot play with a terminal or start a line of its own.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(char::is_control) {
            match piece.chars().next_back().filter(|last| last.is_control()) {
                Some(last) => write!(f, "{}{}", &piece[..piece.len() - last.len_utf8()], last.escape_default())?,
                None => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", Visible(&self.path))?;
        }
        write!(f, "{}.", Visible(&self.reason))?;
        if let Some(meant) = &self.did_you_mean {
            write!(f, " Did you mean \"{}\"?", Visible(meant))?;
        }
        if !self.remedy.is_empty() {
            write!(f, " {}", Visible(&self.remedy))?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one file, in the order of its lines; what is missing comes last.
///
/// Displays as one line per problem: `edge.toml:4: sip.lisen: unknown setting. Did you mean "sip.listen"?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The name of the file, as the caller gave it.
    pub origin: String,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
    /// Further problems that were found and not kept ([`PROBLEMS_MAX`]).
    pub omitted: usize,
}

impl Problems {
    /// `None` where nothing is wrong.
    pub(crate) fn new(origin: &str, mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        let omitted = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        (!problems.is_empty()).then(|| Self { origin: origin.to_owned(), problems, omitted })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.origin)?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n{}: and {} more", self.origin, self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
