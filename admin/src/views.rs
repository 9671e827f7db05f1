//! What the office answers with: the shapes that API and pages show.
//!
//! Nodes answer for themselves, and what an edge says is not to be trusted: what does not have the shape is left out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A node that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Silent {
    /// Its name.
    #[schema(example = "edge2")]
    pub node: String,
    /// Why.
    #[schema(example = "it did not answer within 2 s")]
    pub why: String,
}

/// What several nodes answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Everywhere {
    /// Node and answer, this core first, then by name.
    pub answers: Vec<(String, Value)>,
    /// Who did not.
    pub silent: Vec<Silent>,
}

/// A node, and what it says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    #[schema(example = "edge1")]
    pub node: String,
    /// `edge` or `core`; empty where it did not answer.
    #[schema(example = "edge")]
    pub role: String,
    /// Whether it is the core that answers.
    pub own: bool,
    /// Whether it answered.
    pub answers: bool,
    /// Its status, as `edgeway status -o json` shows it; null where it did not answer.
    #[schema(value_type = Object, nullable)]
    pub status: Value,
}

/// All nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodesView {
    /// This core first, then those it is linked with.
    pub nodes: Vec<NodeView>,
    /// Who did not answer.
    pub silent: Vec<Silent>,
}

/// A page of a list that several nodes answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// The entries; each has its `node`.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Map<String, Value>>,
    /// For the next page, as `after`; null at the end.
    pub next: Option<String>,
    /// How many there are in all nodes that answered.
    pub total: u64,
    /// Who did not answer.
    pub silent: Vec<Silent>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this node.
    pub node: Option<String>,
    /// After what an earlier page said was next.
    pub after: Option<String>,
    /// At most so many; 0: as many as is usual.
    pub limit: usize,
    /// Filters that the nodes know, by name.
    pub filters: Vec<(&'static str, String)>,
}
