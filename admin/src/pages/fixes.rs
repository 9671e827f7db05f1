//! Which page puts something right.

use super::layout;

/// A link: where to, and its words in the catalogues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    pub(crate) path: &'static str,
    pub(crate) key: &'static str,
}

/// The pages of other sections that put things right. A path that is no page yet leads to the page that says by which
/// command it is done.
pub(crate) const CONFIGURATION: &str = "/configuration/unified-communications";
pub(crate) const SERVERS: &str = "/configuration/servers";
pub(crate) const ALLOW_LIST: &str = "/configuration/allow-list";
pub(crate) const MAINTENANCE: &str = "/maintenance/maintenance-mode";
pub(crate) const CERTIFICATES: &str = "/maintenance/certificates";
pub(crate) const HISTORY: &str = "/configuration/history";

const fn fix(path: &'static str, key: &'static str) -> Option<Fix> {
    Some(Fix { path, key })
}

/// For an alarm, by its id.
pub(crate) fn of_alarm(id: &str) -> Option<Fix> {
    match id {
        "maintenance_mode" => fix(MAINTENANCE, "fix.maintenance"),
        "server_drift"
        | "server_unreachable"
        | "server_refused"
        | "discovery_failed"
        | "servers_not_kept"
        | "tls_verify_off"
        | "password_file_open"
        | "chat_server_down"
        | "user_home_unknown"
        | "authority_troubled"
        | "authority_unavailable" => fix(SERVERS, "fix.servers"),
        "allow_list_full" => fix(ALLOW_LIST, "fix.allow_list"),
        "users_file" => fix(CONFIGURATION, "fix.configuration"),
        _ if id.starts_with("certificate") => fix(CERTIFICATES, "fix.certificates"),
        _ if id.starts_with("configuration") || id.starts_with("store") => fix(HISTORY, "fix.history"),
        _ if id.starts_with("link") => fix(layout::NODES.path, "fix.nodes"),
        _ => None,
    }
}

/// For what a service says about itself, by the phrase it is in the catalogues.
pub(crate) fn of_note(note: &str) -> Option<Fix> {
    if note.contains("is linked") {
        return fix(layout::NODES.path, "fix.nodes");
    }
    if note.contains("(Maintenance mode)") {
        return fix(MAINTENANCE, "fix.maintenance");
    }
    if note.contains("registrar") || note.contains("IM and Presence server") || note.contains("IM & Presence server") {
        return fix(SERVERS, "fix.servers");
    }
    if note.contains("[[im_and_presence]]") || note.contains("xmpp.listen") {
        return fix(SERVERS, "fix.servers");
    }
    if note.contains("Unified Communications page") {
        return fix(CONFIGURATION, "fix.configuration");
    }
    None
}

/// For a state of a part of a service.
pub(crate) fn of_part(state: &str) -> Option<Fix> {
    (state.starts_with("Draining") || state.contains("Maintenance mode"))
        .then_some(Fix { path: MAINTENANCE, key: "fix.maintenance" })
}
