//! *Maintenance > Certificates*: what each node shows to whom, and until when.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;

use super::layout::{CERTIFICATES, Frame, Wish};
use super::state::{Badge, Icon};
use super::time::Moment;
use super::views::Certificate;
use super::words::Said;
use super::{Pages, Viewer, page};

/// From so few days on it is late.
const LATE_DAYS: u64 = 7;
/// From so few days on it is time.
const SOON_DAYS: u64 = 21;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Template)]
#[template(path = "certificates.html")]
struct Certificates {
    f: Frame,
    updated: Moment,
    rows: Vec<Row>,
    silent: Vec<(String, Said)>,
}

struct Row {
    node: String,
    used_for: &'static str,
    names: Vec<String>,
    issuer: String,
    ends: Moment,
    left: Badge,
    fingerprint: String,
}

fn row(f: &Frame, node: &str, certificate: &Certificate, now_ms: u64) -> Row {
    let end_ms = certificate.not_after_unix.saturating_mul(1000);
    let days = end_ms.saturating_sub(now_ms) / DAY_MS;
    let icon = if days <= LATE_DAYS {
        Icon::Bad
    } else if days <= SOON_DAYS {
        Icon::Warning
    } else {
        Icon::Good
    };
    let text = if end_ms <= now_ms { f.say("certificates.ended").to_owned() } else { f.count("time.days", &days) };
    Row {
        node: node.to_owned(),
        used_for: match certificate.used_for.as_str() {
            "clients" => "certificates.clients",
            "link" => "certificates.link",
            "authority" => "certificates.authority",
            "inside" => "certificates.inside",
            "admin" => "certificates.admin",
            _ => "certificates.elsewhere",
        },
        names: certificate.names.clone(),
        issuer: certificate.issuer.clone(),
        ends: Moment::of_ms(end_ms),
        left: Badge { icon, said: Said { text, is_foreign: false } },
        fingerprint: certificate.fingerprint.clone(),
    }
}

/// `GET /maintenance/certificates`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let f = Frame::new(Wish::of(&parts), CERTIFICATES, viewer, &look.nodes);
    let chosen = look.chosen(f.wish.node.as_deref());
    let rows = chosen
        .flat_map(|status| status.certificates.iter().map(|one| row(&f, &status.node, one, look.at_ms)))
        .collect();
    page(&Certificates {
        updated: Moment::of_ms(look.at_ms),
        rows,
        silent: look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect(),
        f,
    })
}
