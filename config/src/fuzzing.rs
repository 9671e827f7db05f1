//! What must hold for any file whatever, as a function that panics where it does not. Not for production.

use crate::document::{Change, Content, Document, Entry, Hidden, Path, Value, apply, diff, merge, overlay, split};
use crate::known::{self, Role, Scope};
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

/// Makes two documents of the bytes, and asks that the one comes of the other by its differences, that texts are
/// documents, and that paths are what they print.
pub fn documents(bytes: &[u8]) {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    let (a, b) = (document_of(a), document_of(b));
    for (from, to) in [(&a, &b), (&b, &a), (&a, &a)] {
        let changes = diff(from, to);
        assert_eq!(apply(&changes, from).as_ref(), Ok(to), "it converges");
        assert_eq!(overlay(&changes, from), *to, "so does the later hand");
        assert_eq!(changes.is_empty(), from == to, "no difference, no change");
        for change in &changes {
            assert_eq!(change.path.to_string().parse::<Path>().as_ref(), Ok(&change.path), "a path is what it prints");
            let is_order = matches!(change.path, Path::List(_));
            assert!(is_order || from.at(&change.path) == change.before, "before is before");
        }
    }
    for document in [&a, &b] {
        let text = document.to_toml();
        let again = Document::parse(&text, "fuzz.toml").unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(again, *document, "a text is its document");
        assert_eq!(again.to_toml(), text, "and the text is canonical");
    }
    assert_eq!(a.to_toml() == b.to_toml(), a == b, "equal texts are equal documents");
}

/// A file that is edited and read, and a desk where the same is changed, in any order the bytes say: what either has changed
/// holds, the later hand wins, and where only the file is edited all is as the file says.
pub fn interleaved(bytes: &[u8]) {
    let (mut file, mut read, mut head) = (Document::default(), Document::default(), Document::default());
    let mut desk_was_used = false;
    for piece in bytes.chunks(37).take(12) {
        let Some((order, rest)) = piece.split_first() else { continue };
        let some = document_of(rest);
        let changed = |document: &Document| match order & 1 {
            0 => overlay(&diff(&Document::default(), &some), document),
            _ => some.clone(),
        };
        if order & 2 == 0 {
            file = changed(&file);
        } else {
            let next = changed(&head);
            assert_eq!(apply(&diff(&head, &next), &head).as_ref(), Ok(&next), "the desk changes what it has read");
            head = next;
            desk_was_used = true;
        }
        if order & 4 == 0 {
            head = imported(&read, &file, &head);
            read = file.clone();
            assert!(desk_was_used || head == file, "nobody else has changed anything");
        }
    }
}

/// The head, with what was changed in the file since it was read last.
fn imported(read: &Document, file: &Document, before: &Document) -> Document {
    let changes = diff(read, file);
    let head = overlay(&changes, before);
    assert_eq!(overlay(&changes, &head), head, "read twice is read once");
    for change in &changes {
        let is_there = match &change.path {
            // Entries of others stand between.
            Path::List(_) => continue,
            Path::Key { list, identity, .. } => head.entries(list).iter().any(|one| one.identity(list) == identity),
            Path::Setting(_) | Path::Entry { .. } => true,
        };
        assert!(!is_there || head.at(&change.path) == change.after, "{} is as the file says", change.path);
    }
    let of_list = |path: &Path| match path {
        Path::Setting(_) => None,
        Path::List(list) | Path::Entry { list, .. } | Path::Key { list, .. } => Some(*list),
    };
    for made in diff(before, &head) {
        let meant = changes.iter().any(|change| match of_list(&made.path) {
            None => change.path == made.path,
            Some(list) => of_list(&change.path) == Some(list),
        });
        assert!(meant, "{} is changed, and the file has not changed it", made.path);
    }
    head
}

/// Any text at all: what is taken as shared settings is written and read again as the same.
pub fn document_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((local, shared)) = split(text, "fuzz.toml") {
        let merged = merge(&local, &shared);
        assert_eq!(split(&merged, "merged.toml").as_ref(), Ok(&(local, shared)), "nothing is lost");
        assert_eq!(parse_core(&merged, "").is_ok(), parse_core(text, "").is_ok(), "as good as it was: {text}");
    }
}

/// A document out of bytes, three for each setting: which, in which entry, and its value.
fn document_of(bytes: &[u8]) -> Document {
    let shared: Vec<_> = known::of(Role::Core).filter(|setting| setting.scope() == Scope::Shared).collect();
    let mut changes = Vec::new();
    for three in bytes.chunks_exact(3).take(256) {
        let setting = shared[usize::from(three[0]) % shared.len()];
        let text = format!("{}\u{1f}\"]{}", char::from(three[2]), three[2] / 16);
        let value = match (setting.is_secret(), three[2] % 4) {
            (true, _) => Value::Secret(Hidden::new(text)),
            (false, 0) => Value::Boolean(three[2] > 127),
            (false, 1) => Value::Integer(i64::from(three[2]) - 128),
            (false, 2) => Value::Text(text),
            (false, _) => Value::List(vec![Value::Text(text); usize::from(three[1] % 5)]),
        };
        let Some(list) = setting.list() else {
            changes.push((setting.path.parse::<Path>(), Content::Value(value)));
            continue;
        };
        let identity = format!("e{}.\"]\\", three[1] % 6);
        let key = known::identity_of(list).unwrap_or_default();
        let of = |key: &str| {
            known::find(Role::Core, &format!("{list}.{key}")).map(|setting| &setting.path[list.len() + 1..])
        };
        let mut entry = Entry::new();
        let Some((own, key)) = of(&setting.path[list.len() + 1..]).zip(of(key)) else { continue };
        entry.put(own, value);
        entry.put(key, Value::Text(identity.clone()));
        changes.push((Ok(Path::Entry { list, identity }), Content::Entry(entry)));
    }
    let changes: Vec<_> = changes
        .into_iter()
        .filter_map(|(path, after)| Some(Change { path: path.ok()?, before: None, after: Some(after) }))
        .collect();
    overlay(&changes, &Document::default())
}
