//! The web pages of a core: what an operator sees and does in a browser.
//!
//! Pages are made here, whole, in the reader's language; scripts only put newer parts of the same pages in their place.
//! Without scripts everything works, and is refreshed by hand. All assets are part of the program, and nothing is fetched
//! from elsewhere. Who may see and do what is the door's business ([`api`](crate::api)); a page merely does not show what
//! its reader may not do.

mod accounts;
mod advanced;
mod alarms;
mod allow_list;
mod assets;
mod calls;
mod certificates;
mod chats;
mod door;
mod events;
mod fixes;
mod history;
mod ladder;
mod layout;
pub mod limits;
mod lists;
mod live;
mod maintenance;
mod nodes;
mod outcome;
mod overview;
mod plan;
mod preferences;
mod refused;
mod registrations;
mod samples;
mod servers;
mod services;
mod sign_in;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod views;
mod visible;
mod words;
#[cfg(test)]
mod words_used;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};

use self::door::Operator;
use self::layout::{Frame, Viewer};
use self::live::{Looked, Watchers};
use self::samples::Samples;
pub use self::words::{Language, Said, Words};
use crate::accounts::Role;
use crate::office::Office;

/// What all pages are made with.
#[derive(Clone)]
pub(crate) struct Pages(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) office: Arc<Office>,
    /// What all nodes said last.
    pub(crate) looked: Looked,
    pub(crate) samples: Samples,
    pub(crate) watchers: Watchers,
}

impl std::ops::Deref for Pages {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What a page takes: nothing, or a role.
type Needs = Option<Role>;
const NOTHING: Needs = None;
const LOOK: Needs = Some(Role::ReadOnly);
const OPERATE: Needs = Some(Role::Operator);
const ADMINISTER: Needs = Some(Role::Administrator);

/// A page, or what a form of one is sent to.
struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of roles asks by it; the handler has its own"))]
    method: &'static str,
    path: &'static str,
    needs: Needs,
    handler: MethodRouter<Pages>,
}

impl Route {
    const fn new(method: &'static str, path: &'static str, needs: Needs, handler: MethodRouter<Pages>) -> Self {
        Self { method, path, needs, handler }
    }
}

/// All pages. The router, its check of roles, and the test of that check are made from this one table.
fn routes() -> Vec<Route> {
    vec![
        Route::new("GET", "/", NOTHING, get(|| async { Redirect::to(layout::OVERVIEW.path) })),
        Route::new("GET", "/assets/{name}", NOTHING, get(assets::serve)),
        Route::new("GET", "/preferences", NOTHING, get(preferences::set)),
        Route::new("GET", "/sign-in", NOTHING, get(sign_in::show)),
        Route::new("POST", "/sign-in", NOTHING, post(sign_in::sign_in)),
        Route::new("GET", "/first-sign-in", NOTHING, get(sign_in::show_first)),
        Route::new("POST", "/first-sign-in", NOTHING, post(sign_in::sign_in_first)),
        Route::new("POST", "/sign-out", LOOK, post(sign_in::sign_out)),
        Route::new("GET", "/live", LOOK, get(live::stream)),
        Route::new("GET", layout::OVERVIEW.path, LOOK, get(overview::show)),
        Route::new("GET", "/status/overview/samples", LOOK, get(overview::samples)),
        Route::new("GET", layout::SERVICES.path, LOOK, get(services::show)),
        Route::new("GET", layout::REGISTRATIONS.path, LOOK, get(registrations::show)),
        Route::new("GET", layout::CALLS.path, LOOK, get(calls::show)),
        Route::new("POST", "/status/calls/end", OPERATE, post(calls::end)),
        Route::new("GET", layout::CHATS.path, LOOK, get(chats::show)),
        Route::new("POST", "/status/chats/disconnect", OPERATE, post(chats::disconnect)),
        Route::new("GET", layout::NODES.path, LOOK, get(nodes::show)),
        Route::new("GET", layout::ALARMS.path, LOOK, get(alarms::show)),
        Route::new("GET", layout::EVENTS.path, LOOK, get(events::show)),
        Route::new("GET", layout::REFUSED.path, LOOK, get(refused::show)),
        Route::new("GET", layout::LADDER.path, LOOK, get(ladder::show)),
        Route::new("GET", layout::CONFIGURATION.path, LOOK, get(advanced::show)),
        Route::new("POST", layout::CONFIGURATION.path, ADMINISTER, post(advanced::change)),
        Route::new("POST", "/configuration/unified-communications/domains", ADMINISTER, post(advanced::domains)),
        Route::new(
            "POST",
            "/configuration/unified-communications/deployments",
            ADMINISTER,
            post(advanced::add_deployment),
        ),
        Route::new("POST", "/configuration/apply", ADMINISTER, post(plan::apply)),
        Route::new("GET", layout::SERVERS.path, LOOK, get(servers::show)),
        Route::new("POST", layout::SERVERS.path, ADMINISTER, post(servers::add)),
        Route::new("POST", "/configuration/servers/refresh", OPERATE, post(servers::refresh)),
        Route::new("POST", "/configuration/servers/remove", ADMINISTER, post(servers::remove)),
        Route::new("GET", layout::ALLOW_LIST.path, LOOK, get(allow_list::show)),
        Route::new("POST", layout::ALLOW_LIST.path, ADMINISTER, post(allow_list::save)),
        Route::new("POST", "/configuration/allow-list/remove", ADMINISTER, post(allow_list::remove)),
        Route::new("POST", "/configuration/allow-list/upload", ADMINISTER, post(allow_list::upload)),
        Route::new("GET", "/configuration/allow-list/test", LOOK, get(allow_list::test)),
        Route::new("GET", "/configuration/allow-list/export", LOOK, get(allow_list::export)),
        Route::new("GET", layout::DOCUMENT.path, LOOK, get(history::document)),
        Route::new("POST", layout::DOCUMENT.path, ADMINISTER, post(history::propose)),
        Route::new("GET", "/configuration/document/export", LOOK, get(history::export)),
        Route::new("GET", layout::HISTORY.path, LOOK, get(history::show)),
        Route::new("POST", "/configuration/history/rollback", ADMINISTER, post(history::roll_back)),
        Route::new("POST", "/configuration/history/confirm", OPERATE, post(history::confirm)),
        Route::new("GET", layout::PEOPLE.path, LOOK, get(accounts::people)),
        Route::new("POST", "/users/people/purge", ADMINISTER, post(accounts::purge)),
        Route::new("POST", "/users/people/revoke", ADMINISTER, post(accounts::revoke)),
        Route::new("GET", layout::ACCOUNTS.path, ADMINISTER, get(accounts::show)),
        Route::new("POST", layout::ACCOUNTS.path, ADMINISTER, post(accounts::add)),
        Route::new("POST", "/users/administrators/change", ADMINISTER, post(accounts::change)),
        Route::new("GET", layout::TOKENS.path, ADMINISTER, get(accounts::tokens)),
        Route::new("POST", layout::TOKENS.path, ADMINISTER, post(accounts::add_token)),
        Route::new("POST", "/users/tokens/revoke", ADMINISTER, post(accounts::revoke_token)),
        Route::new("GET", layout::AUDIT.path, ADMINISTER, get(accounts::audit)),
        Route::new("GET", layout::MAINTENANCE.path, LOOK, get(maintenance::show)),
        Route::new("POST", "/maintenance/maintenance-mode/start", OPERATE, post(maintenance::start)),
        Route::new("POST", "/maintenance/maintenance-mode/cancel", OPERATE, post(maintenance::cancel)),
        Route::new("GET", layout::CERTIFICATES.path, LOOK, get(certificates::show)),
    ]
}

/// All pages.
pub fn router(office: &Arc<Office>) -> Router {
    let shared = Shared {
        office: Arc::clone(office),
        looked: Looked::default(),
        samples: Samples::default(),
        watchers: Watchers::default(),
    };
    let pages = Pages(Arc::new(shared));
    tokio::spawn(live::keep_sampling(Arc::downgrade(&pages.0)));
    let mut router = Router::new();
    for Route { path, needs, handler, .. } in routes() {
        router = router.route(path, handler.route_layer(middleware::from_fn_with_state(needs, door::may)));
    }
    router.with_state(pages)
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct Message {
    f: Frame,
    text: String,
}

/// A template as an answer. What it holds depends on who asked and how.
pub(crate) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
                (header::VARY, "HX-Request, Accept-Language, Cookie"),
            ];
            (status, headers, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
