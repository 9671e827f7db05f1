//! Long lists: searched, and turned over page by page, each node by itself.

use edgeway_model::NodeId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Shared;
use super::layout::{Frame, percent_encoded};
use super::limits::{LIST_ROWS, PAGE_ROWS_MAX};
use super::words::Said;

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// Filters that nodes know, by name; empty ones are none.
    pub(crate) filters: Vec<(&'static str, String)>,
    /// After what an earlier page said was next: JSON.
    pub(crate) after: Option<String>,
}

impl Search {
    /// Out of a query.
    pub(crate) fn of(query: Option<&str>, names: &[&'static str]) -> Self {
        let value = |name: &&'static str| {
            let text = super::layout::query(query, name)?.trim().to_owned();
            (!text.is_empty()).then_some((*name, text))
        };
        Self { filters: names.iter().filter_map(value).collect(), after: super::layout::query(query, "after") }
    }

    pub(crate) fn filter(&self, name: &str) -> &str {
        self.filters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    fn body(&self, limit: usize) -> Value {
        let mut body = Map::new();
        body.insert("limit".to_owned(), limit.into());
        if let Some(after) = self.after.as_deref().and_then(|after| serde_json::from_str(after).ok()) {
            body.insert("after".to_owned(), after);
        }
        body.extend(self.filters.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))));
        Value::Object(body)
    }
}

/// One node's part of a list.
#[derive(Debug)]
pub(crate) struct Part<T> {
    pub(crate) node: String,
    pub(crate) rows: Vec<T>,
    /// How many there are in all, where the node says so.
    pub(crate) total: Option<u64>,
    /// Where the rest is.
    pub(crate) next: Option<String>,
    /// It does not answer.
    pub(crate) silent: Option<Said>,
}

/// Which nodes are asked: the one that was chosen, else all cores, for everything that an edge carries is at a core, too.
pub(crate) async fn parts<T: DeserializeOwned>(
    shared: &Shared,
    f: &Frame,
    path: &str,
    name: &str,
    search: &Search,
    cursor: impl Fn(&Value) -> Option<Value> + Copy,
) -> Vec<Part<T>> {
    let look = shared.look().await;
    let chosen = |node: &&super::views::Status| match &f.wish.node {
        Some(wanted) => node.node == *wanted,
        None => node.is_core(),
    };
    let mut parts = Vec::new();
    for status in look.nodes.iter().filter(chosen) {
        let Some(node) = NodeId::new(&status.node) else { continue };
        let answer = shared.office.ask(Some(&node), path, search.body(LIST_ROWS)).await;
        let part = match answer {
            Ok(answer) => {
                let next = next(&answer, name, cursor).map(|next| href(f, search, &status.node, &next));
                let total = answer.get("total").and_then(Value::as_u64);
                Part { node: status.node.clone(), rows: read(answer, name), total, next, silent: None }
            }
            Err(refusal) => Part {
                node: status.node.clone(),
                rows: Vec::new(),
                total: None,
                next: None,
                silent: Some(f.said(&refusal.why)),
            },
        };
        parts.push(part);
    }
    parts
}

/// The rows of an answer; one that has not the shape is left out.
pub(crate) fn read<T: DeserializeOwned>(mut answer: Value, name: &str) -> Vec<T> {
    let Some(Value::Array(rows)) = answer.get_mut(name).map(Value::take) else { return Vec::new() };
    rows.into_iter().take(PAGE_ROWS_MAX).filter_map(|row| serde_json::from_value(row).ok()).collect()
}

/// Lists say what is next, or how many more there are: then it is what their last row is called.
fn next(answer: &Value, name: &str, cursor: impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    match answer.get("next") {
        Some(Value::Null) => return None,
        Some(next) => return Some(next.clone()),
        None => {}
    }
    let more = answer.get("more").and_then(Value::as_u64)?;
    let last = answer.get(name)?.as_array()?.last()?;
    (more > 0).then(|| cursor(last)).flatten()
}

fn href(f: &Frame, search: &Search, node: &str, next: &Value) -> String {
    let mut href = format!("{}?node={}", f.path(), percent_encoded(node));
    for (name, value) in &search.filters {
        href.push_str(&format!("&{name}={}", percent_encoded(value)));
    }
    href.push_str(&format!("&after={}", percent_encoded(&next.to_string())));
    href
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_search_is_what_was_typed_and_where_one_is() {
        let search = Search::of(Some("user=+al%20ice+&code=&after=%5B1%2C%22x%22%5D"), &["user", "code"]);
        assert_eq!(search.filters, [("user", "al ice".to_owned())]);
        assert_eq!(search.body(7), json!({"limit": 7, "user": "al ice", "after": [1, "x"]}));
        assert_eq!(Search::of(None, &["user"]).body(1), json!({"limit": 1}));
    }

    #[test]
    fn what_is_next_is_said_in_two_ways() {
        let id = |row: &Value| row.get("id").cloned();
        assert_eq!(next(&json!({"next": "c", "rows": []}), "rows", id), Some(json!("c")));
        assert_eq!(next(&json!({"next": null, "more": 3, "rows": [{"id": 1}]}), "rows", id), None);
        assert_eq!(next(&json!({"more": 3, "rows": [{"id": 1}, {"id": 2}]}), "rows", id), Some(json!(2)));
        assert_eq!(next(&json!({"more": 0, "rows": [{"id": 1}]}), "rows", id), None);
        assert_eq!(next(&json!({"rows": []}), "rows", id), None);
    }

    #[test]
    fn rows_without_the_shape_are_left_out() {
        let rows: Vec<u64> = read(json!({"rows": [1, "x", 2, {}, null]}), "rows");
        assert_eq!(rows, [1, 2]);
        assert_eq!(read::<u64>(json!([]), "rows"), Vec::<u64>::new());
    }
}
