//! The manual's page of settings, written from the table the reader itself uses.

use std::fmt::Write as _;

use crate::known::{self, Preset, Role, Scope, Setting};

/// `docs/manual/settings.md`, whole.
#[must_use]
pub fn manual_page() -> String {
    let mut page = String::from(HEAD);
    for role in [Role::Edge, Role::Core] {
        let service = format!("edgeway-{role}");
        // Writing into a String cannot fail.
        let _ = write!(page, "\n## {service}\n\n{}", if role == Role::Core { CORE_TABLE_HEAD } else { TABLE_HEAD });
        for setting in known::of(role) {
            let _ = write!(page, "{}", row(setting));
            page.push_str(match (role, setting.scope()) {
                (Role::Edge, _) => "\n",
                (Role::Core, Scope::Shared) => " shared |\n",
                (Role::Core, Scope::Local) => " node |\n",
            });
        }
    }
    page
}

fn row(setting: &Setting) -> String {
    let Setting { path, preset, unit, impact, doc, .. } = setting;
    let preset = match preset {
        Preset::Required => "**required**".to_owned(),
        Preset::Toml(value) => format!("`{value}`"),
        Preset::Derived(words) => (*words).to_owned(),
    };
    format!("| `{path}` | {preset} | {unit} | {doc} | {} |", impact.words())
}

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from config/src/known.rs. Change it there. -->

# Settings

Each service reads one TOML file, `/etc/edgeway/edge.toml` or `/etc/edgeway/core.toml`. What is not written has the
default below; what is written and not known is an error, with a guess at what was meant. `edgeway config check FILE`
reports every problem at once and changes nothing.

A name with dots stands in a table: `sip.listen` is `listen` under `[sip]`. A list may be written as a single value if
it has one entry. A duration is a whole number with a unit, `ms`, `s`, `m` or `h`, in quotes. An IPv6 address with a
port stands in brackets.

What a core's table calls *shared* is the configuration of all cores, kept with its revisions; what it calls *node* is
written in that node's file and nowhere else ([configuration](configuration.md)).
";

const TABLE_HEAD: &str = "\
| setting | default | value | what it does | a change takes |
|---|---|---|---|---|
";

const CORE_TABLE_HEAD: &str = "\
| setting | default | value | what it does | a change takes | kept |
|---|---|---|---|---|---|
";
