//! Ranks, purity, and what the program in the DMZ must not contain.

use std::collections::{BTreeMap, BTreeSet};

/// One crate of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Crate {
    /// Package name.
    pub name: String,
    /// Its folder, from the root of the repository.
    pub folder: String,
    /// Description in its manifest.
    pub description: String,
    /// Its manifest.
    pub manifest: String,
    /// The text of `src/lib.rs`, empty for a program.
    pub lib: String,
    /// The workspace crates it depends on: name, and whether for tests only.
    pub depends_on: Vec<(String, bool)>,
    /// Everything it is built with, workspace and registry, tests left out. Filled for crates that
    /// must be pure.
    pub built_with: BTreeSet<String>,
}

/// Every folder that may hold crates, and its rank. A crate depends on lower ranks only, so
/// siblings never depend on each other.
const RANKS: [(&str, u8); 15] = [
    ("model", 0),
    ("config", 1),
    ("protocols/", 2),
    ("policy", 2),
    ("cluster", 2),
    ("nodes/", 3),
    ("runtime", 3),
    ("connectors", 4),
    ("admin", 4),
    ("lab-servers", 4),
    ("apps/", 5),
    // Runs the product with the harness of the interop tests.
    ("testing/bench", 7),
    ("testing/path", 7),
    ("testing/", 6),
    ("xtask", 8),
];

/// Folders whose crates are pure: no socket, clock, thread, file, environment, OS randomness or async.
const PURE: [&str; 6] = ["model", "config", "protocols/", "policy", "cluster", "nodes/"];

/// What no pure crate may be built with, and why.
const IMPURE: [(&str, &str); 25] = [
    ("tokio", "async, sockets and clocks"),
    ("async-std", "async, sockets and clocks"),
    ("smol", "async, sockets and clocks"),
    ("futures-util", "async"),
    ("mio", "sockets"),
    ("polling", "sockets"),
    ("socket2", "sockets"),
    ("hyper", "sockets"),
    ("h2", "async"),
    ("quinn", "sockets"),
    ("quinn-udp", "sockets"),
    ("quinn-proto", "clocks"),
    ("rustls", "OS randomness and clocks"),
    ("aws-lc-rs", "OS randomness"),
    ("ring", "OS randomness"),
    ("getrandom", "OS randomness"),
    ("rand", "OS randomness"),
    ("libc", "all of the system"),
    ("nix", "all of the system"),
    ("rustix", "all of the system"),
    ("chrono", "a clock"),
    ("time", "a clock"),
    ("parking_lot", "threads"),
    ("rayon", "threads"),
    ("moka", "threads and clocks"),
];

/// What a pure crate may be built with all the same, and why.
const EXCEPTIONS: [(&str, &str); 1] =
    [("libc", "cpufeatures asks it on Arm Linux whether the processor has AES instructions, and nothing else")];

/// What the program in the DMZ must not contain, however indirectly.
const NEVER_IN_THE_EDGE: [&str; 4] = ["edgeway-core-node", "edgeway-core", "edgeway-connectors", "edgeway-lab-servers"];

/// The rank of a folder; `None` where the house has no such room.
#[must_use]
pub fn rank(folder: &str) -> Option<u8> {
    RANKS.iter().find(|(room, _)| is_in(folder, room)).map(|(_, rank)| *rank)
}

/// Whether a folder's crate is pure.
#[must_use]
pub fn is_pure(folder: &str) -> bool {
    PURE.iter().any(|room| is_in(folder, room))
}

fn is_in(folder: &str, room: &str) -> bool {
    if room.ends_with('/') { folder.starts_with(room) } else { folder == room }
}

/// Ranks strictly decrease along every dependency, tests included.
#[must_use]
pub fn check_ranks(crates: &[Crate]) -> Vec<String> {
    let folders: BTreeMap<&str, &str> = crates.iter().map(|c| (c.name.as_str(), c.folder.as_str())).collect();
    let mut complaints = Vec::new();
    for from in crates {
        let Some(own) = rank(&from.folder) else {
            complaints.push(format!("{}: the house has no room for it; give {} a rank", from.folder, from.name));
            continue;
        };
        for (to, _) in &from.depends_on {
            let Some(folder) = folders.get(to.as_str()) else { continue };
            if rank(folder).is_some_and(|other| other >= own) {
                complaints.push(format!("{} (rank {own}) depends on {to}, which is not below it", from.name));
            }
            // A protocol knows the vocabulary and nothing of the settings.
            if from.folder.starts_with("protocols/") && *folder != "model" {
                complaints.push(format!("{} depends on {to}; a protocol depends on the model only", from.name));
            }
        }
    }
    complaints
}

/// The DMZ's program contains nothing of the inside.
#[must_use]
pub fn check_edge(crates: &[Crate]) -> Vec<String> {
    let contains = closure(crates, "edgeway-edge");
    let forbidden = |name: &&String| {
        NEVER_IN_THE_EDGE.contains(&name.as_str())
            || crates.iter().any(|c| c.name == **name && c.folder.starts_with("connectors/"))
    };
    contains.iter().filter(forbidden).map(|name| format!("edgeway-edge contains {name}")).collect()
}

/// The workspace crates `root` is built with, itself left out, tests left out.
fn closure(crates: &[Crate], root: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(name) = open.pop() {
        let Some(found) = crates.iter().find(|c| c.name == name) else { continue };
        for (to, _) in found.depends_on.iter().filter(|(_, tests_only)| !tests_only) {
            if reached.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    reached
}

/// No pure crate is built with anything that reaches the world.
#[must_use]
pub fn check_purity(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for pure in crates.iter().filter(|c| is_pure(&c.folder)) {
        for (name, why) in IMPURE {
            let excepted = EXCEPTIONS.iter().any(|(allowed, _)| *allowed == name);
            if pure.built_with.contains(name) && !excepted {
                complaints.push(format!("{} is pure and is built with {name} ({why})", pure.name));
            }
        }
        for line in ["#![forbid(unsafe_code)]", "#![warn(missing_docs)]"] {
            if !pure.lib.lines().any(|found| found.trim() == line) {
                complaints.push(format!("{}/src/lib.rs: a pure crate says {line}", pure.folder));
            }
        }
    }
    complaints
}

/// Every crate says what it is and obeys the workspace's lints.
#[must_use]
pub fn check_manifests(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for one in crates {
        if one.description.len() < 20 {
            complaints.push(format!("{}/Cargo.toml: the description says nothing", one.folder));
        }
        let mut lines = one.manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
        if lines.nth(1) != Some("workspace = true") {
            complaints.push(format!("{}/Cargo.toml: [lints] workspace = true is missing", one.folder));
        }
    }
    complaints
}

/// Pure is the default: the root's clippy.toml bans the world, and only the impure rooms lift the ban.
#[must_use]
pub fn check_clippy_scopes(files: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let rooms = RANKS.iter().map(|(room, _)| room.trim_end_matches('/'));
    for room in rooms.filter(|room| files.iter().any(|file| file.starts_with(&format!("{room}/")))) {
        let pure = is_pure(room) || is_pure(&format!("{room}/"));
        let own = format!("{room}/clippy.toml");
        if pure == files.contains(&own) {
            let verb = if pure { "a pure room lifts no ban" } else { "an impure room carries its own" };
            complaints.push(format!("{own}: {verb}"));
        }
    }
    for file in files.iter().filter(|file| file.ends_with("/clippy.toml")) {
        let folder = file.trim_end_matches("/clippy.toml");
        if is_pure(folder) && !complaints.iter().any(|told| told.starts_with(file.as_str())) {
            complaints.push(format!("{file}: a pure room lifts no ban"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, folder: &str, depends_on: &[&str]) -> Crate {
        Crate {
            name: name.into(),
            folder: folder.into(),
            description: "says what it is for, in words".into(),
            manifest: "[package]\n\n[lints]\nworkspace = true\n".into(),
            lib: "#![forbid(unsafe_code)]\n#![warn(missing_docs)]\n".into(),
            depends_on: depends_on.iter().map(|name| ((*name).to_owned(), false)).collect(),
            built_with: BTreeSet::new(),
        }
    }

    fn house() -> Vec<Crate> {
        vec![
            made("edgeway-model", "model", &[]),
            made("edgeway-config", "config", &["edgeway-model"]),
            made("edgeway-sip", "protocols/sip", &["edgeway-model"]),
            made("edgeway-media", "protocols/media", &["edgeway-model"]),
            made("edgeway-edge-node", "nodes/edge-node", &["edgeway-sip", "edgeway-config"]),
            made("edgeway-core-node", "nodes/core-node", &["edgeway-sip", "edgeway-config"]),
            made("edgeway-edge", "apps/edgeway-edge", &["edgeway-edge-node"]),
        ]
    }

    #[test]
    fn a_good_house_has_no_complaints() {
        let house = house();
        for check in [check_ranks, check_edge, check_purity, check_manifests] {
            assert_eq!(check(&house), Vec::<String>::new());
        }
    }

    #[test]
    fn a_dependency_upwards_or_sideways_is_found() {
        for (from, to) in [(0, "edgeway-sip"), (2, "edgeway-media"), (4, "edgeway-core-node"), (1, "edgeway-config")] {
            let mut house = house();
            house[from].depends_on.push((to.into(), false));
            assert!(!check_ranks(&house).is_empty(), "{from} -> {to}");
        }
        let mut house = house();
        house[2].depends_on.push(("edgeway-media".into(), true));
        assert!(!check_ranks(&house).is_empty(), "a dependency of tests counts");
    }

    #[test]
    fn a_protocol_that_knows_settings_is_found() {
        let mut house = house();
        house[2].depends_on.push(("edgeway-config".into(), false));
        assert_eq!(
            check_ranks(&house),
            ["edgeway-sip depends on edgeway-config; a protocol depends on the model only"]
        );
    }

    #[test]
    fn a_folder_without_a_rank_is_found() {
        let complaints = check_ranks(&[made("edgeway-misc", "misc", &[])]);
        assert!(complaints[0].contains("no room"), "{complaints:?}");
    }

    #[test]
    fn the_inside_in_the_edge_is_found_however_deep() {
        let mut house = house();
        house.push(made("edgeway-unified-cm", "connectors/unified_cm", &[]));
        house[4].depends_on.push(("edgeway-unified-cm".into(), false));
        assert_eq!(check_edge(&house), ["edgeway-edge contains edgeway-unified-cm"]);
        house[1].depends_on.push(("edgeway-core-node".into(), false));
        assert_eq!(check_edge(&house).len(), 2);
    }

    #[test]
    fn the_inside_in_the_edges_tests_is_no_matter() {
        let mut house = house();
        house[6].depends_on.push(("edgeway-core-node".into(), true));
        assert_eq!(check_edge(&house), Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_that_reaches_the_world_is_found() {
        for (name, _) in IMPURE.iter().filter(|(name, _)| EXCEPTIONS.iter().all(|(allowed, _)| allowed != name)) {
            let mut house = house();
            house[2].built_with.insert((*name).into());
            house[6].built_with.insert((*name).into());
            assert_eq!(check_purity(&house).len(), 1, "{name}");
        }
    }

    #[test]
    fn a_pure_crate_without_its_two_lines_is_found() {
        let mut house = house();
        house[0].lib = "//! no promise".into();
        assert_eq!(check_purity(&house).len(), 2);
    }

    #[test]
    fn an_empty_description_and_missing_lints_are_found() {
        let mut house = house();
        house[0].description = String::new();
        house[1].manifest = "[package]\n[lints]\nworkspace = false\n".into();
        house[2].manifest = "[package]\n".into();
        assert_eq!(check_manifests(&house).len(), 3);
    }

    #[test]
    fn clippy_scopes_are_held_both_ways() {
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let good = files(&["model/src/lib.rs", "runtime/clippy.toml", "runtime/src/lib.rs", "apps/clippy.toml"]);
        assert_eq!(check_clippy_scopes(&good), Vec::<String>::new());
        assert_eq!(check_clippy_scopes(&files(&["runtime/src/lib.rs"])).len(), 1);
        assert_eq!(check_clippy_scopes(&files(&["model/src/lib.rs", "model/clippy.toml"])).len(), 1);
        assert_eq!(check_clippy_scopes(&files(&["protocols/sip/src/lib.rs", "protocols/clippy.toml"])).len(), 1);
        assert_eq!(check_clippy_scopes(&files(&["protocols/sip/clippy.toml"])).len(), 1);
    }
}
