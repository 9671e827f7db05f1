//! *Status > Unified Communications*: the services that users have through each node, in the rows and words that operators
//! of such systems know, and what they stand on: domains, zones, servers.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::json;

use super::alarms::FixLink;
use super::fixes;
use super::layout::{Frame, SERVICES, Wish};
use super::live::Look;
use super::state::Badge;
use super::time::Moment;
use super::views::{Registrar, Server, Servers, Service, Status};
use super::words::Said;
use super::{Pages, Viewer, page};

/// The part that the source's figure does not have, and that is shown beside it.
const SIP: &str = "SIP";

#[derive(Template)]
#[template(path = "services.html")]
struct Services {
    f: Frame,
    updated: Moment,
    nodes: Vec<Node>,
    silent: Vec<(String, Said)>,
    say: String,
}

/// One node's part of the page.
struct Node {
    name: String,
    role: &'static str,
    rows: Vec<Row>,
    /// What the figure does not have.
    beside: Vec<Line>,
    domains: Vec<String>,
    zones: Vec<Zone>,
    products: Vec<Product>,
    is_core: bool,
}

/// A service.
struct Row {
    name: Said,
    state: Badge,
    /// A note that stands in the same line, in brackets.
    bracket: Option<(Said, Option<FixLink>)>,
    lines: Vec<Line>,
    fix: Option<FixLink>,
}

/// A line below it: a part and its state, or a sentence.
struct Line {
    name: Said,
    state: Option<Badge>,
    fix: Option<FixLink>,
}

/// Where SIP goes inside.
struct Zone {
    name: String,
    deployment: String,
    address: String,
    transport: String,
    state: Badge,
    why: Option<Said>,
    fix: Option<FixLink>,
}

/// Servers of one kind.
struct Product {
    name: Said,
    servers: Vec<ServerRow>,
}

/// A server.
struct ServerRow {
    name: String,
    deployment: String,
    version: String,
    nodes: Vec<String>,
    state: Badge,
    reason: Option<Said>,
    action: Option<Said>,
    drift: Vec<Said>,
    seen: Option<Moment>,
    fix: Option<FixLink>,
}

/// `GET /status/unified-communications`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let (look, servers) = tokio::join!(pages.look(), pages.office.everywhere("servers", json!({})));
    let servers: BTreeMap<String, Servers> = servers
        .answers
        .into_iter()
        .filter_map(|(node, answer)| Some((node, serde_json::from_value(answer).ok()?)))
        .collect();
    let node = wish.node.clone();
    let f = Frame::new(wish, SERVICES, viewer, &look.nodes);
    let nodes: Vec<_> =
        look.chosen(node.as_deref()).map(|status| shown(&f, status, servers.get(&status.node))).collect();
    let say = announced(&f, &look, node.as_deref());
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    page(&Services { updated: Moment::of_ms(look.at_ms), nodes, silent, say, f })
}

/// What a screen reader is told when it changes.
fn announced(f: &Frame, look: &Look, node: Option<&str>) -> String {
    let rows = look.chosen(node).flat_map(|status| {
        let service = |service: &Service| {
            format!("{}: {}: {}", status.node, f.said(&service.name).text, f.said(&service.state).text)
        };
        status.services.iter().map(service).collect::<Vec<_>>()
    });
    rows.collect::<Vec<_>>().join(". ")
}

fn shown(f: &Frame, status: &Status, servers: Option<&Servers>) -> Node {
    let beside = status.services.iter().flat_map(|service| &service.parts).filter(|part| part.name == SIP);
    Node {
        name: status.node.clone(),
        role: super::overview::role_key(&status.role),
        rows: status.services.iter().map(|service| row(f, service)).collect(),
        beside: beside.map(|part| line(f, &part.name, &part.state)).collect(),
        domains: status.domains.clone(),
        zones: status.registrars.iter().map(|registrar| zone(f, registrar)).collect(),
        products: servers.map(|servers| products(f, servers)).unwrap_or_default(),
        is_core: status.is_core(),
    }
}

fn row(f: &Frame, service: &Service) -> Row {
    let link = |fix: Option<fixes::Fix>| fix.map(|fix| FixLink::of(f, fix));
    let mut lines: Vec<_> =
        service.parts.iter().filter(|part| part.name != SIP).map(|part| line(f, &part.name, &part.state)).collect();
    // As in the figure: why something is not configured stands in its line, what is wrong in lines of its own.
    let mut bracket = None;
    let notes = service.notes.iter().map(|note| (f.said(note), link(fixes::of_note(note))));
    if service.state == "Not configured" {
        for note in notes {
            bracket.get_or_insert(note);
        }
        lines.clear();
    } else {
        lines.extend(notes.map(|(name, fix)| Line { name, state: None, fix }));
    }
    let troubled = service.state.contains("errors") && lines.iter().all(|line| line.fix.is_none());
    Row {
        name: f.said(&service.name),
        state: f.badge(&service.state),
        bracket,
        lines,
        fix: link(troubled.then_some(fixes::Fix { path: fixes::CONFIGURATION, key: "fix.configuration" })),
    }
}

fn line(f: &Frame, name: &str, state: &str) -> Line {
    let fix = fixes::of_part(state).map(|fix| FixLink::of(f, fix));
    Line { name: f.said(name), state: Some(f.badge(state)), fix }
}

fn zone(f: &Frame, registrar: &Registrar) -> Zone {
    let failed = registrar.state != "alive";
    Zone {
        name: registrar.zone.clone(),
        deployment: registrar.deployment.clone(),
        address: registrar.address.clone(),
        transport: registrar.transport.to_ascii_uppercase(),
        state: f.badge(&registrar.state),
        why: (!registrar.why.is_empty()).then(|| f.said(&registrar.why)),
        fix: failed.then(|| FixLink::of(f, fixes::Fix { path: fixes::SERVERS, key: "fix.servers" })),
    }
}

fn products(f: &Frame, servers: &Servers) -> Vec<Product> {
    let mut products: Vec<Product> = Vec::new();
    for server in &servers.servers {
        let name = product(f, &server.product);
        let row = server_row(f, server);
        match products.iter_mut().find(|product| product.name == name) {
            Some(product) => product.servers.push(row),
            None => products.push(Product { name, servers: vec![row] }),
        }
    }
    products
}

fn product(f: &Frame, product: &str) -> Said {
    let key = match product {
        "unified_cm" => "products.unified_cm",
        "im_and_presence" => "products.im_and_presence",
        "unity" => "products.unity",
        other => return f.said(other),
    };
    Said { text: f.say(key).to_owned(), is_foreign: false }
}

fn server_row(f: &Frame, server: &Server) -> ServerRow {
    let said = |text: &str| (!text.is_empty()).then(|| f.said(text));
    let cluster = server.cluster.clone().unwrap_or_default();
    let troubled = server.state != "Active" || !server.drift.is_empty();
    ServerRow {
        name: server.publisher.clone(),
        deployment: server.deployment.clone(),
        version: cluster.version,
        nodes: cluster.nodes.into_iter().filter(|node| !node.publisher).map(|node| node.name).collect(),
        state: f.badge(&server.state),
        reason: said(&server.reason),
        action: said(&server.action),
        drift: server.drift.iter().flat_map(|drift| [f.said(&drift.text), f.said(&drift.meaning)]).collect(),
        seen: server.last_seen_ms.map(Moment::of_ms),
        fix: troubled.then(|| FixLink::of(f, fixes::Fix { path: fixes::SERVERS, key: "fix.servers" })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Theme;
    use super::super::views::Part;
    use super::super::words::Language;
    use super::*;

    fn frame(language: Language) -> Frame {
        let here = "/status/unified-communications".to_owned();
        Frame::outside(Wish { language, theme: Theme::System, node: None, bare: false, here }, "menu.overview")
    }

    fn service(state: &str, notes: &[&str]) -> Service {
        let parts = ["SIP", "HTTP proxy service"].map(|name| Part { name: name.into(), state: "Active".into() });
        Service {
            name: "Unified CM registrations".into(),
            state: state.into(),
            parts: parts.into(),
            notes: notes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn rows_are_those_of_the_figure_and_every_error_has_a_link() {
        let f = frame(Language::English);
        let good = row(&f, &service("Configured", &[]));
        assert_eq!((good.lines.len(), good.lines[0].name.text.as_str()), (1, "HTTP proxy service"));
        let bad = row(&f, &service("Configured but with errors", &["No edge is linked"]));
        assert_eq!(bad.lines[1].fix.as_ref().map(|fix| fix.href.as_str()), Some("/status/nodes"));
        let unknown = row(&f, &service("Configured but with errors", &["something else"]));
        assert!(unknown.fix.is_some());
        let none = row(&f, &service("Not configured", &["Enable on the Unified Communications page"]));
        assert!(none.lines.is_empty() && none.bracket.is_some_and(|(_, fix)| fix.is_some()));
    }
}
