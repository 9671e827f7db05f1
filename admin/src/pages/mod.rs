//! The web pages of a core: what an operator sees and does in a browser.
//!
//! Pages are made here, whole, in the reader's language; scripts only put newer parts of the same pages in their place.
//! Without scripts everything works, and is refreshed by hand. All assets are part of the program, and nothing is fetched
//! from elsewhere. Who may see and do what is the door's business ([`api`](crate::api)); a page merely does not show what
//! its reader may not do.

mod alarms;
mod assets;
mod calls;
mod chats;
mod door;
mod events;
mod fixes;
mod ladder;
mod layout;
pub mod limits;
mod lists;
mod live;
mod nodes;
mod overview;
mod preferences;
mod refused;
mod registrations;
mod samples;
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
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use self::door::Operator;
use self::layout::{Frame, Viewer, Wish};
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
    let mut router = Router::new();
    for (path, _) in BY_COMMAND {
        router = router.route(path, get(by_command));
    }
    router
        .route("/", get(|| async { Redirect::to(layout::OVERVIEW.path) }))
        .route("/assets/{name}", get(assets::serve))
        .route("/preferences", get(preferences::set))
        .route("/sign-in", get(sign_in::show))
        .route("/first-sign-in", get(sign_in::show_first))
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

/// What has no page yet, with the command that does it. A page that comes takes its line away.
const BY_COMMAND: &[(&str, &str)] = &[
    (fixes::CONFIGURATION, "edgeway config show"),
    (fixes::SERVERS, "edgeway servers list"),
    (fixes::ALLOW_LIST, "edgeway allow-list show"),
    (fixes::HISTORY, "edgeway config history"),
    (fixes::MAINTENANCE, "edgeway maintenance status"),
    (fixes::CERTIFICATES, "edgeway certificates list"),
];

async fn by_command(_viewer: Viewer, parts: Parts) -> Response {
    let f = Frame::outside(Wish::of(&parts), "message.by_command_title");
    let found = BY_COMMAND.iter().find(|(path, _)| *path == parts.uri.path());
    let text = f.say("message.by_command").to_owned();
    page(&Message { text, command: found.map_or("", |(_, command)| *command), f })
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
