//! The REST API, `/api/v1`: one table of routes, from which the router, the description and the test of roles are made.

pub mod accounts;
mod actor;
pub mod allow_list;
pub mod audit;
mod audited;
mod bodies;
pub mod configuration;
pub mod domains;
mod door;
mod named;
pub mod nodes;
pub mod openapi;
pub mod orders;
mod problem;
pub mod routes;
pub mod servers;
pub mod session;
mod stream;
mod taken;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts as _, Query, RawPathParams, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

pub use self::actor::{Actor, Peer, Via};
pub(crate) use self::audited::Audited;
pub use self::door::local_path;
pub use self::door::surrounded;
pub use self::problem::{CODES, Code, Problem};
use self::routes::{Needs, Route};
pub use self::stream::Followers;
use crate::accounts::Role;
use crate::office::Office;

/// The routes of the table, each with its check of the role.
pub fn router(office: &Arc<Office>) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let check = middleware::from_fn_with_state(route, may);
        router = router.route(route.path, (route.handler)().route_layer(check));
    }
    router.method_not_allowed_fallback(no_such_method).with_state(Arc::clone(office))
}

/// Lets those through who may, and who ask for nothing that is unknown: what is misspelt is not left out in silence.
async fn may(State(route): State<&'static Route>, request: Request, next: Next) -> Response {
    let needs = route.needs;
    let role = match needs {
        Needs::Nothing => return understood(route, request, next).await,
        Needs::Role(role) => role,
        Needs::Socket => Role::Administrator,
    };
    match request.extensions().get::<Actor>() {
        None => Problem::new("not_signed_in", "Sign in, or send an API token as Bearer.").into_response(),
        Some(actor) if actor.role < role => {
            let detail = format!("This takes the role {}; {} is {}.", role.as_str(), actor.name, actor.role.as_str());
            Problem::new("not_permitted", detail).into_response()
        }
        Some(actor) if needs == Needs::Socket && actor.via != Via::Socket => {
            Problem::new("not_permitted", "This is done on the machine itself, at the control socket.").into_response()
        }
        Some(_) => understood(route, request, next).await,
    }
}

async fn understood(route: &Route, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    // What cannot be read is refused by the route, as what is not there.
    if let Ok(names) = RawPathParams::from_request_parts(&mut head, &()).await
        && names.iter().any(|(name, value)| value.chars().nth(openapi::longest(route.path, name)).is_some())
    {
        return Problem::new("not_found", "That is the name of nothing: it is too long.").into_response();
    }
    let request = Request::from_parts(head, body);
    let Ok(Query(parameters)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
        return Problem::new("bad_query", "The parameters cannot be read.").into_response();
    };
    for (name, value) in &parameters {
        let Some(known) = route.query.iter().find(|known| known.name == name) else {
            return Problem::new("bad_query", unknown(route)).into_response();
        };
        if let Some(wrong) = known.kind.refuses(value) {
            return Problem::new("bad_query", format!("{name}: {wrong}")).into_response();
        }
    }
    next.run(request).await
}

fn unknown(route: &Route) -> String {
    let known: Vec<_> = route.query.iter().map(|known| known.name).collect();
    match known.is_empty() {
        true => "There are no parameters here.".to_owned(),
        false => format!("There is a parameter that is unknown here; there are: {}.", known.join(", ")),
    }
}

async fn no_such_method() -> Problem {
    Problem::new("no_such_method", "This is no method of this path.")
}

/// The entry of a path and a method.
#[must_use]
pub fn route(method: &http::Method, path: &str) -> Option<&'static Route> {
    routes::all().find(|route| route.method == method.as_str() && route.path == path)
}
