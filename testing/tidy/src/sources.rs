//! Length, names, open ends, unsafe code, size, and traces of the machine it was written on.

use crate::TextFile;

/// Lines of one source file. Longer ones hold two ideas.
pub const SOURCE_LINES_MAX: usize = 800;

/// Bytes of one file of the repository. Larger ones are products, not sources.
pub const FILE_BYTES_MAX: u64 = 200 * 1024;

/// The folders where `unsafe` may stand: one in the product, one in a tool of the tests.
const UNSAFE_FOLDERS: [&str; 2] = ["runtime/src/sys/", "testing/path/src/sys/"];

/// Source files are at most [`SOURCE_LINES_MAX`] lines long. `excused` is the text of `excused.txt`:
/// a file name and a length on each line, and it may only shrink.
#[must_use]
pub fn check_lengths(files: &[TextFile], excused: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut debts: Vec<(&str, usize)> = Vec::new();
    for line in excused.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ').map(|(path, length)| (path, length.trim().parse())) {
            Some((path, Ok(length))) => debts.push((path, length)),
            _ => complaints.push(format!("excused.txt: \"{line}\" is not a file name and a length")),
        }
    }
    for file in files.iter().filter(|file| file.is(".rs")) {
        let length = file.text.lines().count();
        match debts.iter().find(|(path, _)| *path == file.path) {
            None if length > SOURCE_LINES_MAX => {
                complaints.push(format!("{}: {length} lines; at most {SOURCE_LINES_MAX}", file.path));
            }
            Some((_, allowed)) if length > *allowed => {
                complaints.push(format!("{}: grew from {allowed} to {length} lines", file.path));
            }
            Some((_, allowed)) if length < *allowed => {
                complaints
                    .push(format!("excused.txt: {} has {length} lines now: lower or remove its entry", file.path));
            }
            None | Some(_) => {}
        }
    }
    for (path, _) in debts.iter().filter(|(path, _)| files.iter().all(|file| file.path != *path)) {
        complaints.push(format!("excused.txt: {path} is gone: remove its entry"));
    }
    complaints
}

/// An open end names who will close it, as in `TODO(ada)`; and nothing is left unwritten.
#[must_use]
pub fn check_open_ends(files: &[TextFile]) -> Vec<String> {
    // Written so that this file passes its own check.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let macros = [concat!("to", "do!("), concat!("unimpl", "emented!(")];
    let mut complaints = Vec::new();
    for (file, number, line) in lines(files, &[".rs", ".toml", ".sh", ".yml"]) {
        for word in words {
            for (at, _) in line.match_indices(word) {
                let whole = !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word);
                let owned = line[at + word.len()..].starts_with('(') && line[at..].contains(')');
                if whole && !owned {
                    complaints.push(format!("{file}:{number}: {word} without an owner"));
                }
            }
        }
        if let Some(open) = macros.iter().find(|open| line.contains(**open)) {
            complaints.push(format!("{file}:{number}: {open}) stands for code that is not there"));
        }
    }
    complaints
}

/// `unsafe` stands in few folders, so that one can read all of it.
#[must_use]
pub fn check_unsafe(files: &[TextFile]) -> Vec<String> {
    let word = concat!("un", "safe");
    let lint = concat!("allow(un", "safe_code)");
    let mut complaints = Vec::new();
    for (file, number, line) in
        lines(files, &[".rs"]).filter(|(file, _, _)| !UNSAFE_FOLDERS.iter().any(|room| file.starts_with(room)))
    {
        let code = line.split("//").next().unwrap_or_default();
        let opens = code.match_indices(word).any(|(at, _)| {
            let rest = code[at + word.len()..].trim_start();
            let whole = !code[..at].ends_with(is_word);
            whole && ["{", "fn ", "impl ", "extern ", "trait "].iter().any(|next| rest.starts_with(next))
        });
        if opens || code.contains(lint) {
            complaints.push(format!("{file}:{number}: {word} outside {}", UNSAFE_FOLDERS.join(" and ")));
        }
    }
    complaints
}

/// The edge's node makes no connection and looks up no name: `Output` has a dial command and a question to
/// the name system for the core, and nothing in the edge's folder may name them. Unit tests of the edge may not either; they have no reason to.
#[must_use]
pub fn check_edge_never_dials(files: &[TextFile]) -> Vec<String> {
    let edge = |(file, _, _): &(&str, usize, &str)| file.starts_with("nodes/edge-node/src/");
    let names = ["Dial", "dialled(", "Output::Resolve("];
    let dials = |line: &str| line.split("//").next().is_some_and(|code| names.iter().any(|name| code.contains(name)));
    let found = lines(files, &[".rs"]).filter(edge).filter(|(_, _, line)| dials(line));
    found.map(|(file, number, _)| format!("{file}:{number}: the edge never dials")).collect()
}

/// Names that say nothing: what a thing is called must tell what it does.
#[must_use]
pub fn check_names(files: &[TextFile]) -> Vec<String> {
    let empty = ["manager", "helper", "util", "utils"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is(".rs")) {
        let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if empty.contains(&stem) {
            complaints.push(format!("{}: the file's name says nothing", file.path));
        }
    }
    for (file, number, line) in lines(files, &[".rs"]) {
        let Some(name) = declared(line) else { continue };
        let words = split_words(name);
        if words.iter().any(|word| empty.contains(&word.as_str())) || name.starts_with("get_") {
            complaints.push(format!("{file}:{number}: the name {name} says nothing"));
        }
    }
    complaints
}

/// The name a line declares, if it declares a function, a type or a module.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "fn" | "struct" | "enum" | "trait" | "mod" | "type" => {
                let name = words.next()?;
                return Some(name.split(|c: char| !is_word(c)).next().unwrap_or(name));
            }
            "pub" | "pub(crate)" | "pub(super)" | "async" | "const" => {}
            _ => return None,
        }
    }
    None
}

/// `RelayTable` and `relay_table` are both relay, table.
fn split_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().expect("never empty").extend(letter.to_lowercase());
        }
    }
    words
}

/// Nothing in the repository knows the machine it was written on. An example may live with a user `me`.
#[must_use]
pub fn check_machine_paths(files: &[TextFile]) -> Vec<String> {
    let traces = [concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let mut complaints = Vec::new();
    for (file, number, line) in lines(files, &[""]) {
        for trace in traces {
            let starts = |(at, _): (usize, &str)| {
                let own = line[at..].starts_with(concat!("/ho", "me/me/"));
                !own && !line[..at].ends_with(|c: char| is_word(c) || ".-~}".contains(c))
            };
            if line.match_indices(trace).any(starts) {
                complaints.push(format!("{file}:{number}: {trace} is a path of somebody's machine"));
            }
        }
    }
    complaints
}

/// No file is larger than [`FILE_BYTES_MAX`]. The lock file is written by Cargo and may be.
#[must_use]
pub fn check_sizes(sizes: &[(String, u64)]) -> Vec<String> {
    let large = sizes.iter().filter(|(path, bytes)| *bytes > FILE_BYTES_MAX && !path.ends_with("Cargo.lock"));
    large.map(|(path, bytes)| format!("{path}: {bytes} bytes; at most {FILE_BYTES_MAX}")).collect()
}

/// Every named event of the log is in the manual's page, and nothing else is.
#[must_use]
pub fn check_events(files: &[TextFile], page: &str) -> Vec<String> {
    let pattern = concat!("event ", "= \"");
    let mut named: Vec<&str> = Vec::new();
    for (_, _, line) in lines(files, &[".rs"]).filter(|(file, _, _)| !file.starts_with("testing/")) {
        let names = line.split(pattern).skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name);
        named.extend(names.filter(|name| name.chars().all(|one| one.is_ascii_lowercase() || "._".contains(one))));
    }
    // Facts that nodes tell have their names in one place.
    let facts = files.iter().filter(|file| file.path == "model/src/notice.rs").map(|file| file.text.as_str());
    let facts = facts.filter_map(|text| text.split_once("fn id(")).filter_map(|(_, rest)| rest.split_once("\n    }\n"));
    for (facts, _) in facts {
        named.extend(facts.split("=> \"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name));
    }
    named.sort_unstable();
    named.dedup();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let told: Vec<&str> = rows.map(|(name, _)| name).collect();
    let missing = named.iter().filter(|name| !told.contains(name));
    let missing = missing.map(|name| format!("docs/manual/events.md: {name} is not there"));
    let gone = told.iter().filter(|name| !named.contains(name));
    let gone = gone.map(|name| format!("docs/manual/events.md: no line of the log is called {name}"));
    missing.chain(gone).collect()
}

fn lines<'f>(files: &'f [TextFile], endings: &'f [&str]) -> impl Iterator<Item = (&'f str, usize, &'f str)> {
    files
        .iter()
        .filter(|file| endings.iter().any(|ending| file.is(ending)))
        .flat_map(|file| file.text.lines().enumerate().map(|(index, line)| (file.path.as_str(), index + 1, line)))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Vec<TextFile> {
        vec![TextFile::new(path, text)]
    }

    #[test]
    fn long_files_are_found_and_debts_only_shrink() {
        let of = |length: usize| file("a/b.rs", &"x\n".repeat(length));
        assert_eq!(check_lengths(&of(800), ""), Vec::<String>::new());
        assert_eq!(check_lengths(&of(801), "").len(), 1);
        assert_eq!(check_lengths(&of(900), "# debts\na/b.rs 900\n"), Vec::<String>::new());
        for (length, excused) in [(901, "a/b.rs 900"), (899, "a/b.rs 900"), (800, "c.rs 900"), (800, "a/b.rs many")] {
            assert_eq!(check_lengths(&of(length), excused).len(), 1, "{length} {excused}");
        }
    }

    #[test]
    fn open_ends_need_an_owner() {
        let (first, second) = (concat!("TO", "DO"), concat!("FIX", "ME"));
        for bad in [format!("// {first}: later"), format!("# {second}"), format!("// {first} (ada)")] {
            assert_eq!(check_open_ends(&file("a.rs", &bad)).len(), 1, "{bad}");
        }
        for good in [format!("// {first}(ada): later"), format!("let {first}S = 1;"), "// to do".into()] {
            assert_eq!(check_open_ends(&file("a.rs", &good)), Vec::<String>::new(), "{good}");
        }
        assert_eq!(check_open_ends(&file("a.rs", concat!("to", "do!()"))).len(), 1);
    }

    #[test]
    fn unsafe_has_one_folder() {
        for rest in [" { }", "{ }", " fn f() {}", " impl Send for X {}", " extern \"C\" {}"] {
            let text = format!("let x = 1; {}{rest}", concat!("un", "safe"));
            assert_eq!(check_unsafe(&file("model/src/a.rs", &text)).len(), 1, "{text}");
            assert_eq!(check_unsafe(&file("runtime/src/a.rs", &text)).len(), 1, "{text}");
            assert_eq!(check_unsafe(&file("runtime/src/sys/a.rs", &text)), Vec::<String>::new(), "{text}");
        }
        assert_eq!(check_unsafe(&file("model/src/a.rs", concat!("#[allow(un", "safe_code)]"))).len(), 1);
        let harmless = concat!("#![forbid(un", "safe_code)] // un", "safe { }");
        assert_eq!(check_unsafe(&file("model/src/a.rs", harmless)), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_dials_is_found() {
        for bad in ["FlowCommand::Dial { peer, transport }", "FlowId::dialled(0, 1)", "Output::Resolve(query)"] {
            assert_eq!(check_edge_never_dials(&file("nodes/edge-node/src/a.rs", bad)).len(), 1, "{bad}");
            assert_eq!(check_edge_never_dials(&file("nodes/core-node/src/a.rs", bad)), Vec::<String>::new());
        }
        let comment = "//! It never dials; Dial is the core's.";
        assert_eq!(check_edge_never_dials(&file("nodes/edge-node/src/a.rs", comment)), Vec::<String>::new());
    }

    #[test]
    fn empty_names_are_found() {
        for bad in ["pub struct FlowManager {", "pub(crate) fn get_flow() {", "mod util;", "enum LinkHelper<T> {"] {
            assert_eq!(check_names(&file("a.rs", bad)).len(), 1, "{bad}");
        }
        for good in ["fn target() {}", "let x = get_ref();", "struct Utility;", "// fn get_x", "fn utilisation() {}"] {
            assert_eq!(check_names(&file("a.rs", good)), Vec::<String>::new(), "{good}");
        }
        assert_eq!(check_names(&file("a/utils.rs", "")).len(), 1);
    }

    #[test]
    fn machine_paths_are_found() {
        for bad in [concat!("cd /ho", "me/ada"), concat!("\"/wo", "rk/x\""), concat!("=/ro", "ot/.cargo")] {
            assert_eq!(check_machine_paths(&file("README.md", bad)).len(), 1, "{bad}");
        }
        for good in [
            concat!("https://example.com/wo", "rk/x"),
            concat!("$here/ho", "me/"),
            concat!("/ho", "me/me/ca.pem"),
            "/var/lib/edgeway",
        ] {
            assert_eq!(check_machine_paths(&file("README.md", good)), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn large_files_are_found() {
        let sizes = [("a.bin".to_owned(), FILE_BYTES_MAX + 1), ("Cargo.lock".to_owned(), FILE_BYTES_MAX + 1)];
        assert_eq!(check_sizes(&sizes).len(), 1);
    }
}
