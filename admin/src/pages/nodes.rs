//! *Status > Nodes and links*: who there is, how they reach each other, and how the load is shared.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;

use super::layout::{Frame, NODES, Wish};
use super::overview::role_key;
use super::state::Badge;
use super::time::Moment;
use super::views::Status;
use super::words::{Said, number};
use super::{Pages, Viewer, page};

#[derive(Template)]
#[template(path = "nodes.html")]
struct Nodes {
    f: Frame,
    updated: Moment,
    nodes: Vec<NodeRow>,
    links: Vec<LinkRow>,
    silent: Vec<(String, Said)>,
    say: String,
}

struct NodeRow {
    node: String,
    role: &'static str,
    version: String,
    registrations: String,
    calls: String,
    /// Of the registrations at all nodes of its role.
    share: Option<u64>,
}

struct LinkRow {
    from: String,
    to: String,
    state: Badge,
    is_up: bool,
    round_trip: Option<String>,
    skew: Option<String>,
    media: Badge,
    protocol: Option<u64>,
    trouble: Option<Said>,
}

/// `GET /status/nodes`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let node = wish.node.clone();
    let f = Frame::new(wish, NODES, viewer, &look.nodes);
    let nodes = look.chosen(node.as_deref()).map(|status| node_row(status, &look.nodes)).collect();
    let links: Vec<_> = look.chosen(node.as_deref()).flat_map(|status| link_rows(&f, status)).collect();
    let down = links.iter().filter(|link| !link.is_up).count() as u64;
    let say = f.count("nodes.say_down", &down);
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    page(&Nodes { updated: Moment::of_ms(look.at_ms), nodes, links, silent, say, f })
}

fn node_row(status: &Status, all: &[Status]) -> NodeRow {
    let alike = all.iter().filter(|other| other.role == status.role);
    let together: u64 = alike.map(|other| other.registrations.current).fold(0, u64::saturating_add);
    NodeRow {
        node: status.node.clone(),
        role: role_key(&status.role),
        version: status.version.clone(),
        registrations: number(status.registrations.current),
        calls: number(status.calls.current),
        share: (together > 0).then(|| share(status.registrations.current, together)),
    }
}

fn share(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(100)
}

fn link_rows(f: &Frame, status: &Status) -> Vec<LinkRow> {
    let row = |link: &super::views::Link| LinkRow {
        from: status.node.clone(),
        to: link.peer.clone(),
        state: f.badge(&link.state),
        is_up: link.is_up(),
        // What was measured before says nothing about now.
        round_trip: link.round_trip_ms.filter(|_| link.is_up()).map(|ms| format!("{ms:.1} ms")),
        skew: link.clock_skew_ms.filter(|_| link.is_up()).map(|ms| format!("{ms:+} ms")),
        media: Badge::of(f.said(&link.media_path), if link.media_path == "UDP" { "up" } else { "warning" }),
        protocol: link.version,
        trouble: (!link.trouble.is_empty()).then(|| f.said(&link.trouble)),
    };
    status.links.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_percents() {
        assert_eq!([share(1, 3), share(0, 0), share(5, 5), share(u64::MAX, u64::MAX)], [33, 0, 100, 100]);
    }
}
