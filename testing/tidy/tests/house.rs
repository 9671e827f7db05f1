//! The real tree against every rule.

use std::sync::LazyLock;

use edgeway_tidy::house::House;
use edgeway_tidy::{crates, links, sources};

static HOUSE: LazyLock<House> = LazyLock::new(|| House::read().expect("the repository can be read"));

fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

#[test]
fn the_house_was_really_read() {
    assert!(HOUSE.crates.len() >= 15 && HOUSE.texts.len() > HOUSE.crates.len(), "{HOUSE:?}");
    assert!(!HOUSE.text("README.md").is_empty() && !HOUSE.text("testing/tidy/excused.txt").is_empty());
    let node = HOUSE.crates.iter().find(|one| one.name == "edgeway-core-node").expect("the core's node");
    assert!(node.built_with.contains("edgeway-model") && node.built_with.contains("bytes"), "{node:?}");
}

#[test]
fn ranks_decrease_along_every_dependency() {
    none(crates::check_ranks(&HOUSE.crates));
}

#[test]
fn the_edge_contains_nothing_of_the_inside() {
    none(crates::check_edge(&HOUSE.crates));
}

#[test]
fn the_edge_never_dials() {
    none(sources::check_edge_never_dials(&HOUSE.texts));
}

#[test]
fn pure_crates_reach_nothing() {
    none(crates::check_purity(&HOUSE.crates));
}

#[test]
fn manifests_say_what_they_must() {
    none(crates::check_manifests(&HOUSE.crates));
}

#[test]
fn clippy_bans_the_world_in_pure_rooms() {
    none(crates::check_clippy_scopes(&HOUSE.names));
    assert!(HOUSE.text("clippy.toml").contains("std::time::Instant::now"));
}

#[test]
fn the_manual_has_every_event_of_the_log() {
    none(sources::check_events(&HOUSE.texts, HOUSE.text("docs/manual/events.md")));
    assert!(HOUSE.text("docs/manual/events.md").matches("| `").count() > 20);
}

#[test]
fn source_files_are_short() {
    none(sources::check_lengths(&HOUSE.texts, HOUSE.text("testing/tidy/excused.txt")));
}

#[test]
fn open_ends_have_owners() {
    none(sources::check_open_ends(&HOUSE.texts));
}

#[test]
fn unsafe_code_has_one_folder() {
    none(sources::check_unsafe(&HOUSE.texts));
}

#[test]
fn names_say_something() {
    none(sources::check_names(&HOUSE.texts));
}

#[test]
fn no_file_knows_its_machine() {
    none(sources::check_machine_paths(&HOUSE.texts));
}

#[test]
fn no_file_is_large() {
    none(sources::check_sizes(&HOUSE.sizes));
}

#[test]
fn links_of_documents_resolve() {
    none(links::check_links(&HOUSE.texts, &HOUSE.names));
}
