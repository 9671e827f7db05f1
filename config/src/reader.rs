//! Walks a TOML document by hand, so that one mistake never hides another.
//!
//! A reader hands out one setting at a time. What it cannot take it writes down as a [`Problem`] and
//! goes on; in the end the list decides whether there are settings.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::known::{self, Role, Setting};
use crate::limits::{CONFIG_TEXT_BYTES_MAX, LIST_ENTRIES_MAX, entries_max};
use crate::problem::{Problem, Problems};
use crate::suggest::nearest;
use crate::values::shown;

/// Why a value cannot be taken.
pub(crate) struct Complaint {
    /// What is wrong with it.
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) remedy: String,
    /// The word that was probably meant.
    pub(crate) did_you_mean: Option<String>,
}

impl Complaint {
    pub(crate) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into(), did_you_mean: None }
    }
}

/// Makes a typed value of a TOML value.
pub(crate) type Parse<T> = fn(&DeValue<'_>) -> Result<T, Complaint>;

/// What became of one setting.
#[derive(Clone, Debug)]
pub(crate) enum Found<T> {
    /// It is not in the file.
    Absent,
    /// It is, and was complained about.
    Wrong,
    /// It is, in this line.
    Value(T, usize),
}

impl<T> Found<T> {
    /// The value, if there is a good one.
    pub(crate) fn good(self) -> Option<T> {
        match self {
            Self::Value(value, _) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// The value, or the default.
    pub(crate) fn or(self, default: T) -> T {
        self.good().unwrap_or(default)
    }

    /// Whether it is in the file and was complained about.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    /// The line it stands in.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::Value(_, line) => Some(*line),
            Self::Absent | Self::Wrong => None,
        }
    }
}

/// One file being read.
pub(crate) struct Reader<'t> {
    origin: &'t str,
    document: Spanned<DeTable<'t>>,
    lines: Lines,
    role: Role,
    /// The text is no TOML: what is missing may only have been lost.
    damaged: bool,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    /// Parses `text` and complains about bad syntax and unknown settings.
    pub(crate) fn new(text: &'t str, origin: &'t str, role: Role) -> Self {
        let too_long = text.len() > CONFIG_TEXT_BYTES_MAX;
        let text = if too_long { "" } else { text };
        let (document, errors) = DeTable::parse_recoverable(text);
        let damaged = too_long || !errors.is_empty();
        let mut reader = Self { origin, document, lines: Lines::new(text), role, damaged, problems: Vec::new() };
        if too_long {
            let reason = format!("the file is larger than {} KiB", CONFIG_TEXT_BYTES_MAX / 1024);
            reader.complain("", None, Complaint::new(reason, "Is it the right file? A working one has some 10 lines."));
        }
        for error in errors {
            let line = error.span().map(|span| reader.lines.of(span.start));
            let reason = format!("this is not TOML: {}", error.message());
            reader.complain("", line, Complaint::new(reason, ""));
        }
        let mut unknown = Vec::new();
        find_unknown(reader.document.get_ref(), "", &reader.lines, role, &mut unknown);
        reader.problems.extend(unknown);
        reader
    }

    /// The setting at `path`.
    pub(crate) fn read<T>(&mut self, path: &str, parse: Parse<T>) -> Found<T> {
        let Some((value, line)) = self.look_up(path) else { return Found::Absent };
        let result = parse(value);
        self.keep(path, line, result)
    }

    /// The setting at `path`, which must be there.
    pub(crate) fn required<T>(&mut self, path: &str, parse: Parse<T>) -> Option<T> {
        let found = self.read(path, parse);
        if matches!(found, Found::Absent) {
            self.missing(path);
        }
        found.good()
    }

    /// The list at `path`; a single value is a list of one.
    pub(crate) fn list<T>(&mut self, path: &str, parse: Parse<T>) -> Found<Vec<T>> {
        let Some((value, line)) = self.look_up(path) else { return Found::Absent };
        let DeValue::Array(entries) = value else {
            let result = parse(value).map(|one| vec![one]);
            return self.keep(path, line, result);
        };
        let length = entries.len();
        let results: Vec<_> = entries
            .iter()
            .take(LIST_ENTRIES_MAX)
            .map(|entry| (self.lines.of(entry.span().start), parse(entry.get_ref())))
            .collect();
        if !self.check_length(path, line, length) {
            return Found::Wrong;
        }
        let mut values = Vec::with_capacity(length);
        for (index, (line, result)) in results.into_iter().enumerate() {
            values.extend(self.keep(&format!("{path}[{index}]"), line, result).good());
        }
        if values.len() == length { Found::Value(values, line) } else { Found::Wrong }
    }

    /// The array of tables at `path`, each with two required keys.
    pub(crate) fn pairs<A, B>(
        &mut self,
        path: &str,
        (first, parse_first): (&str, Parse<A>),
        (second, parse_second): (&str, Parse<B>),
    ) -> Found<Vec<(A, B, usize)>> {
        let Some((value, line)) = self.look_up(path) else { return Found::Absent };
        let DeValue::Array(entries) = value else {
            // `find_unknown` has complained already.
            return Found::Wrong;
        };
        let length = entries.len();
        let mut results = Vec::new();
        for entry in entries.iter().take(LIST_ENTRIES_MAX) {
            let DeValue::Table(table) = entry.get_ref() else { continue };
            let line = self.lines.of(entry.span().start);
            let one = self.find_in(table, first).map(|(value, line)| (parse_first(value), line));
            let two = self.find_in(table, second).map(|(value, line)| (parse_second(value), line));
            results.push((line, one, two));
        }
        if !self.check_length(path, line, length) {
            return Found::Wrong;
        }
        let mut values = Vec::with_capacity(length);
        for (index, (line, one, two)) in results.into_iter().enumerate() {
            let one = self.keep_required(&format!("{path}[{index}].{first}"), line, one);
            let two = self.keep_required(&format!("{path}[{index}].{second}"), line, two);
            values.extend(one.zip(two).map(|(one, two)| (one, two, line)));
        }
        if values.len() == length { Found::Value(values, line) } else { Found::Wrong }
    }

    /// Writes down that a required setting is not there.
    pub(crate) fn missing(&mut self, path: &str) {
        if self.damaged {
            return;
        }
        let key = path.rsplit(']').next().unwrap_or(path);
        let key = if key == path { path } else { key.trim_start_matches('.') };
        let remedy = match known::find(self.role, &without_indices(path)) {
            Some(setting) => format!("Add it, for example: {key} = {}", setting.example),
            None => String::new(),
        };
        let line = path.split_once('[').and_then(|(list, rest)| {
            let index = rest.split_once(']')?.0.parse().ok()?;
            self.line_of_entry(list, index)
        });
        self.complain(path, line, Complaint::new("is missing and has no default", remedy));
    }

    /// Writes down a problem.
    pub(crate) fn complain(&mut self, path: &str, line: Option<usize>, complaint: Complaint) {
        let Complaint { reason, remedy, did_you_mean } = complaint;
        self.problems.push(Problem { path: path.to_owned(), line, reason, remedy, did_you_mean });
    }

    /// The settings, unless there was a problem.
    ///
    /// `None` without a problem cannot be: every value that is not good was complained about, and
    /// only damage silences the complaint of a missing one, which is a problem itself.
    pub(crate) fn finish<S>(self, settings: Option<S>) -> Result<S, Problems> {
        match (Problems::new(self.origin, self.problems), settings) {
            (None, Some(settings)) => Ok(settings),
            (Some(problems), _) => Err(problems),
            (None, None) => unreachable!("a setting that is not good was complained about"),
        }
    }

    /// The whole document.
    pub(crate) fn table(&self) -> &DeTable<'t> {
        self.document.get_ref()
    }

    /// The line that byte `offset` is in.
    pub(crate) fn line_of_byte(&self, offset: usize) -> usize {
        self.lines.of(offset)
    }

    /// The line of what a problem's path names: a setting, an entry of a list, or the table it would stand in.
    pub(crate) fn line_at(&self, path: &str) -> Option<usize> {
        if let Some((_, line)) = self.look_up(path) {
            return Some(line);
        }
        let (list, rest) = path.rsplit_once('[')?;
        let (index, key) = rest.split_once(']')?;
        match self.line_of_entry(list, index.parse().ok()?) {
            Some(line) => Some(line),
            None if key.is_empty() => self.look_up(list).map(|(_, line)| line),
            None => None,
        }
    }

    /// How many tables the list of tables at `path` has; each is read as `path[0].key` and so on.
    pub(crate) fn entries(&mut self, path: &str) -> usize {
        let Some((DeValue::Array(entries), line)) = self.look_up(path) else { return 0 };
        let length = entries.len();
        if self.check_length(path, line, length) { length } else { 0 }
    }

    /// The line the entry `path[index]` begins in.
    pub(crate) fn line_of_entry(&self, path: &str, index: usize) -> Option<usize> {
        let (DeValue::Array(entries), _) = self.look_up(path)? else { return None };
        entries.get(index).map(|entry| self.lines.of(entry.span().start))
    }

    fn look_up(&self, path: &str) -> Option<(&DeValue<'t>, usize)> {
        let mut table = self.document.get_ref();
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                return self.find_in(table, key);
            }
            let inner = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
                Some((list, index)) => {
                    let DeValue::Array(entries) = table.get(list)?.get_ref() else { return None };
                    entries.get(index.parse::<usize>().ok()?)?
                }
                None => table.get(key)?,
            };
            let DeValue::Table(inner) = inner.get_ref() else { return None };
            table = inner;
        }
        None
    }

    fn find_in<'d>(&self, table: &'d DeTable<'t>, key: &str) -> Option<(&'d DeValue<'t>, usize)> {
        let (key, value) = table.get_key_value(key)?;
        Some((value.get_ref(), self.lines.of(key.span().start)))
    }

    fn keep<T>(&mut self, path: &str, line: usize, result: Result<T, Complaint>) -> Found<T> {
        match result {
            Ok(value) => Found::Value(value, line),
            Err(complaint) => {
                self.complain(path, Some(line), complaint);
                Found::Wrong
            }
        }
    }

    fn keep_required<T>(
        &mut self,
        path: &str,
        line: usize,
        result: Option<(Result<T, Complaint>, usize)>,
    ) -> Option<T> {
        match result {
            Some((result, line)) => self.keep(path, line, result).good(),
            None => {
                self.complain(path, Some(line), Complaint::new("is missing", "Each entry needs it."));
                None
            }
        }
    }

    fn check_length(&mut self, path: &str, line: usize, length: usize) -> bool {
        let most = entries_max(path);
        let complaint = match length {
            0 => Complaint::new("the list is empty", "Name at least one, or leave the setting out."),
            _ if length <= most => return true,
            _ => Complaint::new(format!("{length} entries"), format!("At most {most} are taken.")),
        };
        self.complain(path, Some(line), complaint);
        false
    }
}

/// `a[0].b` as the manual has it: `a.b`.
fn without_indices(path: &str) -> String {
    let plain = |key: &str| key.split_once('[').map_or(key, |(list, _)| list).to_owned();
    path.split('.').map(plain).collect::<Vec<_>>().join(".")
}

/// Where lines start.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let after_newline = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_newline).collect() }
    }

    /// The line that byte `offset` is in, counted from 1.
    fn of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

/// Complains about every key that is no setting, and about tables and values in each other's place.
fn find_unknown(table: &DeTable<'_>, prefix: &str, lines: &Lines, role: Role, problems: &mut Vec<Problem>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { shown(key.get_ref()) } else { format!("{prefix}.{}", shown(key.get_ref())) };
        let line = Some(lines.of(key.span().start));
        let mut complain = |complaint: Complaint| {
            let Complaint { reason, remedy, did_you_mean } = complaint;
            problems.push(Problem { path: path.clone(), line, reason, remedy, did_you_mean });
        };
        if known::find(role, &path).is_some() {
            continue;
        }
        if !known::is_table(role, &path) {
            complain(unknown(role, prefix, key.get_ref(), &path));
            continue;
        }
        match (known::is_list_of_tables(role, &path), value.get_ref()) {
            (false, DeValue::Table(inner)) => find_unknown(inner, &path, lines, role, problems),
            (true, DeValue::Array(entries)) if entries.iter().all(|entry| entry.get_ref().is_table()) => {
                for entry in entries.iter().take(entries_max(&path)) {
                    if let DeValue::Table(inner) = entry.get_ref() {
                        find_unknown(inner, &path, lines, role, problems);
                    }
                }
            }
            (false, _) => {
                complain(Complaint::new("is a table, not a value", format!("Write [{path}] on a line of its own.")))
            }
            (true, _) => complain(Complaint::new("is a list of tables", format!("Write [[{path}]] for each entry."))),
        }
    }
}

fn unknown(role: Role, prefix: &str, key: &str, path: &str) -> Complaint {
    let mut complaint = Complaint::new("unknown setting", "");
    if known::find(role.other(), path).is_some() || known::is_table(role.other(), path) {
        complaint.reason = format!("is a setting of the {}, and this is the file of the {}", role.other(), role);
        complaint.remedy = "Remove it here.".into();
        return complaint;
    }
    let here: Vec<&str> = known::keys_of(role, prefix).collect();
    let joined = |meant: &str| if prefix.is_empty() { meant.to_owned() } else { format!("{prefix}.{meant}") };
    complaint.did_you_mean = nearest(key, here.iter().copied()).map(joined).or_else(|| elsewhere(role, key));
    if complaint.did_you_mean.is_none() {
        complaint.remedy = format!("Known here: {}.", here.join(", "));
    }
    complaint
}

/// The setting of that very name in another table.
fn elsewhere(role: Role, key: &str) -> Option<String> {
    let is_it = |setting: &&Setting| setting.path.rsplit('.').next() == Some(key);
    known::of(role).find(is_it).map(|setting| setting.path.to_owned())
}
