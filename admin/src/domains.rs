//! The domains of a configuration: which deployment each belongs to, and what is changed for one to come or go.

use serde_json::json;
use toml::{Table, Value};

use crate::configuration::ChangeOrder;

/// The deployment that stands outside all others.
pub const DEFAULT: &str = "default";

/// A deployment, and the domains that are written for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// As they are written.
    pub domains: Vec<String>,
}

/// All deployments of a document; the default one first.
#[must_use]
pub fn deployments(document: &Table) -> Vec<Deployment> {
    let texts = |value: Option<&Value>| {
        let all = value.and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let default = Deployment { name: DEFAULT.to_owned(), domains: texts(document.get("domains")) };
    let other = |one: &Value| {
        Some(Deployment { name: one.get("name")?.as_str()?.to_owned(), domains: texts(one.get("domains")) })
    };
    std::iter::once(default).chain(entries(document, "deployment").filter_map(other)).collect()
}

/// The entries of a list of tables.
pub fn entries<'a>(document: &'a Table, name: &str) -> impl Iterator<Item = &'a Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The changes by which a domain belongs to that deployment and to no other; `None`: there is no such deployment.
#[must_use]
pub fn put(known: &[Deployment], domain: &str, deployment: &str) -> Option<Vec<ChangeOrder>> {
    let to = known.iter().find(|one| one.name == deployment)?;
    let mut changes = removed(known.iter().filter(|one| one.name != deployment), domain);
    if !to.domains.iter().any(|one| one.eq_ignore_ascii_case(domain)) {
        let mut domains = to.domains.clone();
        domains.push(domain.to_ascii_lowercase());
        changes.push(written(deployment, &domains));
    }
    Some(changes)
}

/// The changes by which a domain belongs to no deployment; `None`: it belongs to none.
#[must_use]
pub fn without(known: &[Deployment], domain: &str) -> Option<Vec<ChangeOrder>> {
    let changes = removed(known.iter(), domain);
    (!changes.is_empty()).then_some(changes)
}

fn removed<'a>(from: impl Iterator<Item = &'a Deployment>, domain: &str) -> Vec<ChangeOrder> {
    let is_it = |one: &String| one.eq_ignore_ascii_case(domain);
    let with_it = from.filter(|one| one.domains.iter().any(is_it));
    let left = |one: &Deployment| {
        let domains: Vec<_> = one.domains.iter().filter(|known| !is_it(known)).cloned().collect();
        written(&one.name, &domains)
    };
    with_it.map(left).collect()
}

fn written(deployment: &str, domains: &[String]) -> ChangeOrder {
    let path = match deployment {
        DEFAULT => "domains".to_owned(),
        name => format!("deployment[{}].domains", json!(name)),
    };
    ChangeOrder { path, value: json!(domains) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Deployment> {
        let text =
            "domains = [\"a.example\", \"b.example\"]\n[[deployment]]\nname = \"lab\"\ndomains = [\"c.example\"]\n";
        deployments(&text.parse().expect("TOML"))
    }

    fn said(changes: Option<Vec<ChangeOrder>>) -> Option<Vec<String>> {
        Some(changes?.iter().map(|one| format!("{} = {}", one.path, one.value)).collect())
    }

    #[test]
    fn a_domain_comes_moves_and_goes() {
        let known = known();
        assert_eq!(known.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["default", "lab"]);
        let changes = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        let comes = said(put(&known, "D.example", "lab"));
        assert_eq!(comes, changes(&["deployment[\"lab\"].domains = [\"c.example\",\"d.example\"]"]));
        let moves = said(put(&known, "b.example", "lab"));
        let both = ["domains = [\"a.example\"]", "deployment[\"lab\"].domains = [\"c.example\",\"b.example\"]"];
        assert_eq!(moves, changes(&both));
        assert_eq!(said(put(&known, "A.EXAMPLE", "default")), changes(&[]), "it is there");
        assert_eq!(said(put(&known, "a.example", "nowhere")), None);
        assert_eq!(said(without(&known, "a.example")), changes(&["domains = [\"b.example\"]"]));
        assert_eq!(said(without(&known, "x.example")), None);
    }
}
