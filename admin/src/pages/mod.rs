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
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use self::door::Operator;
use self::layout::{Frame, Viewer};
use self::live::Looked;
use self::samples::Samples;
pub use self::words::{Language, Said, Words};
use crate::office::Office;

/// What all pages are made with.
#[derive(Clone)]
pub(crate) struct Pages(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) office: Arc<Office>,
    /// What all nodes said last.
    pub(crate) looked: Looked,
    pub(crate) samples: Samples,
    pub(crate) watchers: Arc<Semaphore>,
}

impl std::ops::Deref for Pages {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// All pages.
pub fn router(office: &Arc<Office>) -> Router {
    let watchers = Arc::new(Semaphore::new(limits::WATCHERS_MAX));
    let shared =
        Shared { office: Arc::clone(office), looked: Looked::default(), samples: Samples::default(), watchers };
    let pages = Pages(Arc::new(shared));
    tokio::spawn(live::keep_sampling(Arc::downgrade(&pages.0)));
    Router::new()
        .route("/", get(|| async { Redirect::to(layout::OVERVIEW.path) }))
        .route("/assets/{name}", get(assets::serve))
        .route("/preferences", get(preferences::set))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/first-sign-in", get(sign_in::show_first).post(sign_in::sign_in_first))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/live", get(live::stream))
        .route(layout::OVERVIEW.path, get(overview::show))
        .route("/status/overview/samples", get(overview::samples))
        .route(layout::SERVICES.path, get(services::show))
        .route(layout::REGISTRATIONS.path, get(registrations::show))
        .route(layout::CALLS.path, get(calls::show))
        .route("/status/calls/end", post(calls::end))
        .route(layout::CHATS.path, get(chats::show))
        .route("/status/chats/disconnect", post(chats::disconnect))
        .route(layout::NODES.path, get(nodes::show))
        .route(layout::ALARMS.path, get(alarms::show))
        .route(layout::EVENTS.path, get(events::show))
        .route(layout::REFUSED.path, get(refused::show))
        .route(layout::LADDER.path, get(ladder::show))
        .route(layout::CONFIGURATION.path, get(advanced::show).post(advanced::change))
        .route("/configuration/unified-communications/domains", post(advanced::domains))
        .route("/configuration/unified-communications/deployments", post(advanced::add_deployment))
        .route("/configuration/apply", post(plan::apply))
        .route(layout::SERVERS.path, get(servers::show).post(servers::add))
        .route("/configuration/servers/refresh", post(servers::refresh))
        .route("/configuration/servers/remove", post(servers::remove))
        .route(layout::ALLOW_LIST.path, get(allow_list::show))
        .route("/configuration/allow-list/export", get(allow_list::export))
        .route(layout::DOCUMENT.path, get(history::document).post(history::propose))
        .route("/configuration/document/export", get(history::export))
        .route(layout::HISTORY.path, get(history::show))
        .route("/configuration/history/rollback", post(history::roll_back))
        .route("/configuration/history/confirm", post(history::confirm))
        .route(layout::PEOPLE.path, get(accounts::people))
        .route("/users/people/purge", post(accounts::purge))
        .route("/users/people/revoke", post(accounts::revoke))
        .route(layout::ACCOUNTS.path, get(accounts::show).post(accounts::add))
        .route("/users/administrators/change", post(accounts::change))
        .route(layout::TOKENS.path, get(accounts::tokens).post(accounts::add_token))
        .route("/users/tokens/revoke", post(accounts::revoke_token))
        .route(layout::AUDIT.path, get(accounts::audit))
        .route(layout::MAINTENANCE.path, get(maintenance::show))
        .route("/maintenance/maintenance-mode/start", post(maintenance::start))
        .route("/maintenance/maintenance-mode/cancel", post(maintenance::cancel))
        .route(layout::CERTIFICATES.path, get(certificates::show))
        .with_state(pages)
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct Message {
    f: Frame,
    text: String,
    /// To be typed.
    command: &'static str,
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
