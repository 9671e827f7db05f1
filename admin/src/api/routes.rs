//! The table of routes. Router, description and the test of roles are made of it, so that none of them can forget one.

use std::sync::Arc;

use axum::routing::{MethodRouter, delete, get, put};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::nodes;
use crate::accounts::Role;
use crate::office::Office;
use crate::views::{NodesView, Page};

/// One method of one path.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// As axum and OpenAPI both write it: `/api/v1/nodes/{node}`.
    pub path: &'static str,
    /// Who may.
    pub needs: Needs,
    /// In a few words.
    pub title: &'static str,
    /// What does it.
    pub handler: fn() -> MethodRouter<Arc<Office>>,
    /// Parameters after `?`.
    pub query: &'static [Parameter],
    /// What must be sent.
    pub body: Option<Body>,
    /// What comes back.
    pub answer: Answer,
    /// Whether `If-Match` must be sent.
    pub if_match: bool,
    /// Refusals besides those that any route may give, by their code.
    pub refusals: &'static [&'static str],
}

/// Who may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody who reaches the listener.
    Nothing,
    /// Whoever has at least this role.
    Role(Role),
}

/// A parameter after `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// What it does.
    pub doc: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many bytes.
    Text(usize),
    /// A number from, to.
    Number(u64, u64),
    /// true or false.
    Flag,
}

/// Makes one.
pub type Shape = fn() -> Shaped;

/// Name, schema and the schemas it refers to.
pub type Shaped = (String, RefOr<Schema>, Vec<(String, RefOr<Schema>)>);

/// What must be sent.
#[derive(Clone, Copy)]
pub enum Body {
    /// JSON of this shape.
    Json(Shape),
    /// Text of this media type.
    Text(&'static str),
}

/// What comes back.
#[derive(Clone, Copy)]
pub enum Answer {
    /// 200 with JSON of this shape.
    Json(Shape),
    /// 201 with JSON of this shape.
    Created(Shape),
    /// 200 with text of this media type.
    Text(&'static str),
    /// 204.
    Nothing,
}

/// The shape of a type.
fn shape<T: ToSchema>() -> Shaped {
    let mut others = Vec::new();
    T::schemas(&mut others);
    (T::name().into_owned(), T::schema(), others)
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        needs: Needs,
        title: &'static str,
        handler: fn() -> MethodRouter<Arc<Office>>,
    ) -> Self {
        let answer = Answer::Json(shape::<Value>);
        Self { method, path, needs, title, handler, query: &[], body: None, answer, if_match: false, refusals: &[] }
    }

    const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    const fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body::Json(shape::<T>));
        self
    }

    const fn gives<T: ToSchema>(mut self) -> Self {
        self.answer = Answer::Json(shape::<T>);
        self
    }
}

const READ: Needs = Needs::Role(Role::ReadOnly);
const OPERATE: Needs = Needs::Role(Role::Operator);

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    NODES.iter()
}

const fn text(name: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text(crate::limits::FILTER_BYTES_MAX), doc }
}

const NODE: Parameter = Parameter { name: "node", kind: Kind::Text(63), doc: "Only what this node knows." };
const AFTER: Parameter = Parameter {
    name: "after",
    kind: Kind::Text(crate::limits::CURSOR_BYTES_MAX),
    doc: "`next` of the page before; without it the first page.",
};
const LIMIT: Parameter =
    Parameter { name: "limit", kind: Kind::Number(1, crate::limits::PAGE_MAX as u64), doc: "Entries of a page." };
const USER: Parameter = text("user", "Only where the user's name contains this.");

const NODES: &[Route] = &[
    Route::new("GET", "/api/v1/nodes", READ, "All nodes with their status", || get(nodes::all)).gives::<NodesView>(),
    Route::new("GET", "/api/v1/nodes/{node}", READ, "The status of one node", || get(nodes::one)),
    Route::new("GET", "/api/v1/registrations", READ, "Registrations", || get(nodes::registrations))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>(),
    Route::new("GET", "/api/v1/calls", READ, "Calls", || get(nodes::calls))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>(),
    Route::new("GET", "/api/v1/chats", READ, "Chat sessions", || get(nodes::chats))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>(),
    Route::new("GET", "/api/v1/events", READ, "What has happened last", || get(nodes::events))
        .query(&[NODE, AFTER, LIMIT, text("level", "Only of this level."), text("id", "Only events of this id.")])
        .gives::<Page>(),
    Route::new("GET", "/api/v1/attempts", READ, "The last attempts of users, and why they were refused", || {
        get(nodes::attempts)
    })
    .query(&[
        NODE,
        AFTER,
        LIMIT,
        USER,
        text("code", "Only of this code, as the client shows it."),
        text("client", "Only of this client."),
    ])
    .gives::<Page>(),
    Route::new("GET", "/api/v1/maintenance/{node}", READ, "How maintenance mode stands", || get(nodes::maintenance)),
    Route::new(
        "PUT",
        "/api/v1/maintenance/{node}",
        OPERATE,
        "Begins maintenance mode, or changes its deadline",
        || put(nodes::begin_maintenance),
    )
    .takes::<nodes::MaintenanceOrder>(),
    Route::new("DELETE", "/api/v1/maintenance/{node}", OPERATE, "Ends maintenance mode", || {
        delete(nodes::end_maintenance)
    }),
];
