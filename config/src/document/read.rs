//! Makes documents of texts.

use toml::de::{DeTable, DeValue};

use super::{Document, Entry, Value, identity_key};
use crate::known::{self, Role, Scope, Setting};
use crate::problem::Problems;
use crate::reader::{Complaint, Reader};

/// What a node's file says: what is this node's alone, and what is shared. `origin` is its name, for the problems.
///
/// # Errors
/// What is no TOML or unknown. Whether values are right is for [`parse_core`](crate::parse_core) to say.
pub fn split(text: &str, origin: &str) -> Result<(Document, Document), Problems> {
    let mut reader = Reader::new(text, origin, Role::Core);
    let mut wanted = Wanted { local: Some(Document::default()), ..Wanted::default() };
    wanted.read(&mut reader);
    let halves = (wanted.local.unwrap_or_default(), wanted.shared);
    reader.finish(Some(halves))
}

/// The text of shared settings.
pub(super) fn shared(text: &str, origin: &str) -> Result<Document, Problems> {
    let mut reader = Reader::new(text, origin, Role::Core);
    let mut wanted = Wanted::default();
    wanted.read(&mut reader);
    reader.finish(Some(wanted.shared))
}

/// The same problems with the lines they have in `text`: for those of a merged text, which nobody has seen.
#[must_use]
pub fn placed(mut problems: Problems, text: &str, origin: &str) -> Problems {
    let reader = Reader::new(text, origin, Role::Core);
    for problem in &mut problems.problems {
        problem.line = reader.line_at(&problem.path);
    }
    problems.problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    origin.clone_into(&mut problems.origin);
    problems
}

#[derive(Default)]
struct Wanted {
    shared: Document,
    /// `None` where settings of one node may not be written.
    local: Option<Document>,
}

/// One thing that was found in a text.
enum Found {
    Plain(&'static Setting, usize, Result<Value, Complaint>),
    Entries(&'static str, Vec<(usize, FoundEntry)>, usize),
}

type FoundEntry = Vec<(&'static Setting, &'static str, usize, Result<Value, Complaint>)>;

impl Wanted {
    fn read(&mut self, reader: &mut Reader<'_>) {
        let mut found = Vec::new();
        walk(reader, reader.table(), "", &mut found);
        for one in found {
            match one {
                Found::Plain(setting, line, value) => {
                    let Some(value) = take(reader, setting.path, line, value) else { continue };
                    if let Some(document) = self.of(reader, setting, setting.path, line) {
                        document.plain.insert(setting.path, value);
                    }
                }
                Found::Entries(list, entries, line) => self.entries(reader, list, entries, line),
            }
        }
    }

    fn entries(&mut self, reader: &mut Reader<'_>, list: &'static str, found: Vec<(usize, FoundEntry)>, line: usize) {
        let key = identity_key(list);
        let Some(setting) = known::find(Role::Core, &format!("{list}.{key}")) else { return };
        if self.of(reader, setting, list, line).is_none() || found.is_empty() {
            return;
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(found.len());
        for (index, (line, settings)) in found.into_iter().enumerate() {
            let mut entry = Entry::new();
            for (setting, key, line, value) in settings {
                let path = format!("{list}[{index}].{}", &setting.path[list.len() + 1..]);
                if let Some(value) = take(reader, &path, line, value) {
                    entry.put(key, value);
                }
            }
            let path = format!("{list}[{index}].{key}");
            match entry.get(key) {
                None => reader.missing(&path),
                Some(Value::Text(identity)) if !identity.is_empty() => {
                    if entries.iter().any(|earlier| earlier.identity(list) == identity) {
                        let reason = format!("{} is there twice", crate::values::shown(identity));
                        reader.complain(&path, Some(line), Complaint::new(reason, "Keep one entry for each."));
                    }
                }
                Some(_) => {
                    let complaint = Complaint::new("tells this entry from the others, so it must be a text", "");
                    reader.complain(&path, Some(line), complaint);
                }
            }
            entries.push(entry);
        }
        if let Some(document) = self.of(reader, setting, list, line) {
            document.lists.insert(list, entries);
        }
    }

    /// The document that a setting belongs to.
    fn of(&mut self, reader: &mut Reader<'_>, setting: &Setting, path: &str, line: usize) -> Option<&mut Document> {
        match (setting.scope(), &mut self.local) {
            (Scope::Shared, _) => Some(&mut self.shared),
            (Scope::Local, Some(local)) => Some(local),
            (Scope::Local, None) => {
                let complaint = Complaint::new(
                    "belongs to one node, and this configuration to all cores",
                    "Write it into that node's file, and remove it here.",
                );
                reader.complain(path, Some(line), complaint);
                None
            }
        }
    }
}

fn take(reader: &mut Reader<'_>, path: &str, line: usize, value: Result<Value, Complaint>) -> Option<Value> {
    value.map_err(|complaint| reader.complain(path, Some(line), complaint)).ok()
}

/// Everything that is a setting. What is none was complained about when the reader was made.
fn walk(reader: &Reader<'_>, table: &DeTable<'_>, prefix: &str, found: &mut Vec<Found>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let line = reader.line_of_byte(key.span().start);
        if let Some(setting) = known::find(Role::Core, &path) {
            found.push(Found::Plain(setting, line, converted(setting, value.get_ref())));
        } else if let Some(list) = known::list_of_tables(&path) {
            let DeValue::Array(entries) = value.get_ref() else { continue };
            let mut all = Vec::new();
            for entry in entries.iter().take(crate::limits::entries_max(list) + 1) {
                let DeValue::Table(inner) = entry.get_ref() else { continue };
                let mut settings = FoundEntry::new();
                walk_entry(reader, inner, list, list, &mut settings);
                all.push((reader.line_of_byte(entry.span().start), settings));
            }
            found.push(Found::Entries(list, all, line));
        } else if let DeValue::Table(inner) = value.get_ref() {
            walk(reader, inner, &path, found);
        }
    }
}

fn walk_entry(reader: &Reader<'_>, table: &DeTable<'_>, list: &'static str, prefix: &str, settings: &mut FoundEntry) {
    for (key, value) in table {
        let path = format!("{prefix}.{}", key.get_ref());
        let line = reader.line_of_byte(key.span().start);
        if let Some(setting) = known::find(Role::Core, &path) {
            let key = &setting.path[list.len() + 1..];
            settings.push((setting, key, line, converted(setting, value.get_ref())));
        } else if let DeValue::Table(inner) = value.get_ref() {
            walk_entry(reader, inner, list, &path, settings);
        }
    }
}

fn converted(setting: &Setting, value: &DeValue<'_>) -> Result<Value, Complaint> {
    let value = plain(value)?;
    value.kept(setting.is_secret()).map_err(|why| Complaint::new(why, ""))
}

fn plain(value: &DeValue<'_>) -> Result<Value, Complaint> {
    Ok(match value {
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(number.map_err(|_| Complaint::new("the number is out of range", ""))?)
        }
        DeValue::Array(all) => {
            let taken = all.iter().take(crate::limits::LIST_ENTRIES_MAX + 1);
            let scalar = |one: &DeValue<'_>| match one {
                DeValue::Array(_) => Err(Complaint::new("is a list within a list", "")),
                DeValue::Boolean(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Datetime(_)
                | DeValue::Table(_) => plain(one),
            };
            Value::List(taken.map(|one| scalar(one.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Float(_) => return Err(Complaint::new("no setting is a fraction", "Use a whole number.")),
        DeValue::Datetime(_) => return Err(Complaint::new("no setting is a date", "Is it a text? Put it in quotes.")),
        DeValue::Table(_) => return Err(Complaint::new("is a value, not a table", "")),
    })
}
