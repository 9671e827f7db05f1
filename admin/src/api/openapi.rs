//! The description of the API, OpenAPI 3.1, out of the table of routes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::CODES;
use super::routes::{self, Answer, Body, IfMatch, Kind, Needs, Route, Shape};

/// The whole description.
#[must_use]
pub fn description() -> Value {
    let mut schemas = Map::new();
    schemas.insert("Problem".to_owned(), problem_schema());
    let mut paths = Map::new();
    for route in routes::all() {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation;
    }
    let parameters = shared_parameters(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Edgeway administration",
            "version": "1",
            "description": "What the pages and the command line do, and more. Refusals are problems (RFC 9457); what they \
                            mean is at /api/v1/problems/{code}. Times are Unix milliseconds.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/", "description": "admin.listen, or the control socket" }],
        "security": [{ "token": [] }, { "cookie": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters,
            "responses": refused(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "edgeway_<id>_<secret>" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": crate::accounts::COOKIE },
            },
        },
    })
}

/// The description as it is served, printed and committed.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", description())
}

fn problem_schema() -> Value {
    let codes: Vec<_> = CODES.iter().map(|code| code.name).collect();
    json!({
        "type": "object",
        "description": "A refusal (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "trace_id"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "example": "/api/v1/problems/not_found" },
            "title": { "type": "string", "description": "In a few words, in the language of Accept-Language." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What is said of this one case." },
            "code": { "type": "string", "enum": codes },
            "trace_id": { "type": "string", "description": "To be looked for in the log of the core." },
            "retry_after": { "type": "integer", "minimum": 0, "description": "Seconds." },
            "errors": {
                "type": "array",
                "description": "Of a configuration: all that is wrong.",
                "items": {
                    "type": "object",
                    "properties": {
                        "path": { "type": "string", "description": "The setting." },
                        "line": { "type": ["integer", "null"], "description": "Of the document that was sent." },
                        "message": { "type": "string" },
                        "remedy": { "type": "string" },
                    },
                },
            },
            "reasons": {
                "type": "array", "items": { "type": "string" },
                "description": "Why the node cannot use the configuration.",
            },
            "revision": { "type": "integer", "minimum": 0, "description": "The newest one, or the one that waits." },
        },
    })
}

fn operation(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let place = |name| json!({ "name": name, "in": "path", "required": true, "schema": named(route.path, name) });
    let mut parameters: Vec<Value> = names_in(route.path).map(place).collect();
    parameters.extend(route.query.iter().map(|one| {
        let schema = match one.kind {
            Kind::Text(chars) => json!({ "type": "string", "maxLength": chars }),
            Kind::Like(pattern, chars) => json!({ "type": "string", "pattern": pattern, "maxLength": chars }),
            Kind::Number(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        };
        json!({ "name": one.name, "in": "query", "required": one.required, "description": one.doc, "schema": schema })
    }));
    if route.if_match != IfMatch::No {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": route.if_match == IfMatch::Must,
            "schema": {
                "anyOf": [
                    { "type": "string", "pattern": "^(W/)?\"[!#-~]{0,60}\"$" },
                    { "type": "string", "enum": ["*"] },
                ],
                "example": "\"7\"",
            },
            "description": "The ETag of what was read; `*` for whatever there is.",
        }));
    }
    let mut responses = Map::new();
    let (status, mut answer) = answer(route, schemas);
    if route.tagged {
        answer["headers"] = json!({ "ETag": {
            "required": true, "schema": { "type": "string" }, "description": "For `If-Match` of a change.",
        } });
    }
    responses.insert(status.to_owned(), answer);
    for status in refusals(route).into_iter().chain([HEAD_TOO_LARGE]) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{}", reason(status)) }));
    }
    let mut role = match route.needs {
        Needs::Nothing => "Anybody.".to_owned(),
        Needs::Socket => "On the control socket only.".to_owned(),
        Needs::Role(role) => format!("Role: {}.", role.as_str()),
    };
    if !route.refusals.is_empty() {
        role.push_str(&format!(" Refuses with {} where that is so.", route.refusals.join(", ")));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route.path)],
        "summary": route.title,
        "description": role,
        "parameters": parameters,
        "responses": responses,
    });
    if route.needs == Needs::Nothing {
        operation["security"] = json!([{}]);
    }
    match route.body {
        None => {}
        Some(Body::Json(shape)) => {
            let schema = reference(shape, schemas);
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
    }
    operation
}

fn answer(route: &Route, schemas: &mut Map<String, Value>) -> (&'static str, Value) {
    let json_of = |shape: Shape, schemas: &mut Map<String, Value>| json!({ "description": route.title, "content": { "application/json": { "schema": reference(shape, schemas) } } });
    match route.answer {
        Answer::Json(shape) => ("200", json_of(shape, schemas)),
        Answer::Created(shape) => ("201", json_of(shape, schemas)),
        Answer::Text("text/event-stream") => (
            "200",
            json!({ "description": route.title, "content": {
            "text/event-stream": { "schema": event() },
        } }),
        ),
        Answer::Text(kind) => {
            ("200", json!({ "description": route.title, "content": { kind: { "schema": { "type": "string" } } } }))
        }
        Answer::JsonOr(shape, other) => {
            let schema = reference(shape, schemas);
            (
                "200",
                json!({ "description": route.title, "content": {
                "application/json": { "schema": schema },
                other: { "schema": { "type": "string" } },
            } }),
            )
        }
        Answer::Nothing => ("204", json!({ "description": "It is done." })),
    }
}

/// RFC 6585 §5, from the HTTP library itself: such a head is not read, so nothing is known of whoever sends it.
const HEAD_TOO_LARGE: u16 = 431;

/// All refusals there are, by their names among the components.
fn refused() -> Map<String, Value> {
    let mut all = Map::new();
    for status in CODES.iter().map(|code| code.status).collect::<BTreeSet<_>>() {
        let codes = CODES.iter().filter(|code| code.status == status);
        let said: Vec<_> = codes.map(|code| format!("`{}`: {}. {}", code.name, code.title.0, code.doc)).collect();
        let mut answer = json!({
            "description": said.join(" "),
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
        let field = match status {
            401 => Some(("WWW-Authenticate", true, json!({ "type": "string" }))),
            405 => Some(("Allow", true, json!({ "type": "string" }))),
            429 => Some(("Retry-After", true, json!({ "type": "integer", "minimum": 0 }))),
            503 => Some(("Retry-After", false, json!({ "type": "integer", "minimum": 0 }))),
            _ => None,
        };
        if let Some((name, required, schema)) = field {
            answer["headers"] = json!({ name: { "required": required, "schema": schema } });
        }
        all.insert(reason(status), answer);
    }
    let most = crate::limits::HEAD_BYTES_MAX / 1_024;
    all.insert(
        reason(HEAD_TOO_LARGE),
        json!({ "description": format!("The head of the request has more than {most} KiB. Without a body.") }),
    );
    all
}

/// `NotFound` of 404.
fn reason(status: u16) -> String {
    let status = http::StatusCode::from_u16(status).ok();
    let words = status.and_then(|status| status.canonical_reason()).unwrap_or("Refused");
    words.split_whitespace().collect()
}

/// Parameters that more than one operation has, by their names; where they were, references are left.
fn shared_parameters(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut all: Vec<&mut Value> = paths
        .values_mut()
        .filter_map(Value::as_object_mut)
        .flat_map(|path| path.values_mut())
        .filter_map(|operation| operation.get_mut("parameters")?.as_array_mut())
        .flatten()
        .collect();
    let mut shared: Map<String, Value> = Map::new();
    for index in 0..all.len() {
        let parameter = all[index].clone();
        if !all[index + 1..].iter().any(|other| **other == parameter) || parameter.get("$ref").is_some() {
            continue;
        }
        let name = parameter["name"].as_str().unwrap_or_default();
        let of_path = if parameter["in"] == "path" { "-of-path" } else { "" };
        let mut key = format!("{name}{of_path}");
        while shared.contains_key(&key) {
            key.push_str("-too");
        }
        let reference = json!({ "$ref": format!("#/components/parameters/{key}") });
        for other in all.iter_mut().filter(|other| ***other == parameter) {
            **other = reference.clone();
        }
        shared.insert(key, parameter);
    }
    shared
}

/// One event of a stream, of which there is no end.
fn event() -> Value {
    json!({
        "type": "object",
        "description": "Each event.",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string", "enum": ["status", "event", "alarms"] },
            "id": { "type": "string", "description": "For Last-Event-ID." },
            "data": { "type": "string", "description": "JSON, in one line." },
        },
    })
}

/// The statuses a route may refuse with.
fn refusals(route: &Route) -> BTreeSet<u16> {
    let mut names = vec!["bad_request", "two_credentials", "not_signed_in", "wrong_host", "broken", "unavailable"];
    if matches!(route.needs, Needs::Role(_) | Needs::Socket) {
        names.push("not_permitted");
    }
    if !route.query.is_empty() {
        names.push("bad_query");
    }
    if route.method != "GET" {
        names.extend(["cross_site", "body_too_large"]);
    }
    if route.body.is_some() {
        names.extend(["bad_body", "wrong_media_type", "invalid"]);
    }
    match route.if_match {
        IfMatch::No => {}
        IfMatch::May => names.push("changed_meanwhile"),
        IfMatch::Must => names.extend(["changed_meanwhile", "not_understood"]),
    }
    if route.path.contains('{') {
        names.push("not_found");
    }
    names.extend(route.refusals);
    CODES.iter().filter(|code| names.contains(&code.name)).map(|code| code.status).collect()
}

/// A reference to a schema, which is put where references lead, with those it refers to.
fn reference(shape: Shape, schemas: &mut Map<String, Value>) -> Value {
    let (name, schema, others) = shape();
    let value = serde_json::to_value(&schema).unwrap_or_default();
    if name == "Value" {
        return json!({ "type": "object" });
    }
    schemas.entry(name.clone()).or_insert(value);
    for (name, schema) in others {
        schemas.entry(name).or_insert(serde_json::to_value(&schema).unwrap_or_default());
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What a part of a path may be.
fn named(path: &str, name: &str) -> Value {
    let chars = longest(path, name);
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern, "maxLength": chars });
    match name {
        "node" => text("^[a-z0-9][a-z0-9-]*$"),
        "name" if path.starts_with("/api/v1/accounts/") => text(super::accounts::NAME),
        "domain" => text(super::domains::DOMAIN),
        "number" => json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
        _ => json!({ "type": "string", "minLength": 1, "maxLength": chars }),
    }
}

/// How long a part of a path may be, characters. What is longer is the name of nothing.
pub(super) fn longest(path: &str, name: &str) -> usize {
    match name {
        "node" => 63,
        "name" if path.starts_with("/api/v1/accounts/") => crate::limits::NAME_BYTES_MAX,
        "domain" => super::domains::DOMAIN_BYTES_MAX,
        _ => crate::limits::PATH_NAME_CHARS_MAX,
    }
}

/// `node` and `id` of `/api/v1/calls/{node}/{id}`.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn tag(path: &str) -> &str {
    path.split('/').nth(3).unwrap_or_default()
}

/// `put_maintenance_node`.
fn operation_id(route: &Route) -> String {
    let rest = route.path.trim_start_matches("/api/v1/");
    let words: String = rest
        .chars()
        .filter(|char| !"{}".contains(*char))
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '_' })
        .collect();
    format!("{}_{words}", route.method.to_ascii_lowercase())
}
