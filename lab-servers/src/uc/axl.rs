//! AXL, as far as a discovery asks: SOAP 1.1 with Basic credentials of an application user.

use std::fmt::Write as _;

use super::http::{Answer, Question, escaped};
use super::soap::{Call, envelope, fault, leaf, method};
use super::world::{Role, State};

/// The oldest schema a call manager still takes.
const OLDEST_SCHEMA: (u32, u32) = (8, 0);

pub(super) fn answer(state: &mut State, question: &Question, empty: bool) -> Answer {
    if question.method != "POST" {
        return Answer::text(405, "AXL takes POST");
    }
    let (user, password) = &state.application_user;
    if question.basic().is_none_or(|(shown, secret)| shown != *user || secret != *password) {
        return Answer::unauthorized();
    }
    let Some(call) = method(&question.body) else {
        return fault("", "soapenv:Client", "5000", "The request is no SOAP envelope");
    };
    let Some(schema) = call.namespace.strip_prefix("http://www.cisco.com/AXL/API/").and_then(schema_of) else {
        return fault("", "soapenv:Client", "5001", &format!("Unknown namespace {}", call.namespace));
    };
    let newest = schema_of(&state.version).unwrap_or(OLDEST_SCHEMA);
    if schema < OLDEST_SCHEMA || schema > newest {
        return fault(&call.namespace, "soapenv:Client", "599", "The specified AXL version is not supported");
    }
    let wanted = leaf(&question.body, "name").or_else(|| leaf(&question.body, "processNodeName")).unwrap_or_default();
    let body = match call.name.as_str() {
        "getCCMVersion" => {
            format!("<componentVersion><version>{}</version></componentVersion>", escaped(&state.version))
        }
        "listProcessNode" | "listCallManager" | "listProcessNodeService" if empty => String::new(),
        "listProcessNode" => process_nodes(state, &wanted),
        "listCallManager" => call_managers(state, &wanted),
        "listProcessNodeService" => services(state, &wanted),
        "executeSQLQuery" => match query(state, &leaf(&question.body, "sql").unwrap_or_default()) {
            Some(rows) => rows,
            None => return fault(&call.namespace, "soapenv:Client", "-201", "A syntax error has occurred."),
        },
        "addExpresswayCConfiguration" => match add_expressway(state, &question.body) {
            Ok(id) => id,
            Err(words) => return fault(&call.namespace, "soapenv:Client", "-239", words),
        },
        other => {
            let words = format!("Operation {other} is not available");
            return fault(&call.namespace, "soapenv:Client", "5002", &words);
        }
    };
    respond(&call, &body)
}

fn respond(call: &Call, body: &str) -> Answer {
    envelope(
        200,
        &format!(
            "<ns:{name}Response xmlns:ns=\"{namespace}\"><return>{body}</return></ns:{name}Response>",
            name = call.name,
            namespace = escaped(&call.namespace)
        ),
    )
}

/// Major and minor: `12.5` of `12.5.1.10000(22)`.
fn schema_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `%` at either end of a pattern, as in SQL.
fn like(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => text.contains(rest.trim_end_matches('%')),
        (Some(rest), None) => text.ends_with(rest),
        (None, Some(rest)) => text.starts_with(rest),
        (None, None) => text.eq_ignore_ascii_case(pattern),
    }
}

fn process_nodes(state: &State, wanted: &str) -> String {
    // The database has one entry that is no node.
    let mut out = "<processNode uuid=\"{00000000-1111-0000-0000-000000000000}\"><name>EnterpriseWideData</name>\
                   <nodeUsage>Subscriber</nodeUsage><processNodeRole>CUCM Voice/Video</processNodeRole></processNode>"
        .to_owned();
    for (role, words) in [(Role::CallManager, "CUCM Voice/Video"), (Role::ImAndPresence, "CUCM IM and Presence")] {
        for node in state.listed(role).filter(|node| like(wanted, &node.name)) {
            let usage = if node.publisher { "Publisher" } else { "Subscriber" };
            // Some versions put nodeUsage last, whatever the schema says.
            let _ = write!(
                out,
                "<processNode uuid=\"{{{}}}\"><name>{}</name><processNodeRole>{words}</processNodeRole>\
                 <nodeUsage>{usage}</nodeUsage></processNode>",
                escaped(&node.address.to_string()),
                escaped(&node.name)
            );
        }
    }
    out
}

fn call_managers(state: &State, wanted: &str) -> String {
    let mut out = String::new();
    for node in state.listed(Role::CallManager) {
        let name = format!("CM_{}", node.name);
        if !like(wanted, &name) {
            continue;
        }
        let _ = write!(
            out,
            "<callManager><name>{}</name><processNodeName>{}</processNodeName><ports><ethernetPhonePort>2000\
             </ethernetPhonePort><sipPorts><sipPhonePort>{}</sipPhonePort><sipPhoneSecurePort>{}\
             </sipPhoneSecurePort></sipPorts></ports></callManager>",
            escaped(&name),
            escaped(&node.name),
            node.sip_port,
            node.sip_tls_port
        );
    }
    out
}

fn services(state: &State, wanted: &str) -> String {
    let mut out = String::new();
    for node in state.listed(Role::CallManager).filter(|node| like(wanted, &node.name)) {
        let _ = write!(
            out,
            "<processNodeService><processNodeName>{}</processNodeName><service>Cisco Tftp</service>\
             <isActive>{}</isActive></processNodeService>",
            escaped(&node.name),
            node.tftp
        );
    }
    out
}

/// The few tables a discovery looks at; `None` for SQL this server does not understand.
fn query(state: &State, sql: &str) -> Option<String> {
    let sql = sql.to_ascii_lowercase();
    let mut out = String::new();
    if sql.contains("from processconfig") {
        let parameters =
            [("ClusterSecurityMode", state.mixed_mode), ("ClusterSIPOAuthMode", state.oauth && state.mixed_mode)];
        for (name, on) in parameters {
            if sql.contains(&name.to_ascii_lowercase()) {
                let _ =
                    write!(out, "<row><paramname>{name}</paramname><paramvalue>{}</paramvalue></row>", u8::from(on));
            }
        }
        return Some(out);
    }
    if sql.contains("from processnode") {
        let role = if sql.contains("tkprocessnoderole=2") { Role::ImAndPresence } else { Role::CallManager };
        for node in state.listed(role) {
            let _ = write!(out, "<row><name>{}</name></row>", escaped(&node.name));
        }
        return Some(out);
    }
    None
}

fn add_expressway(state: &mut State, body: &[u8]) -> Result<String, &'static str> {
    let host = leaf(body, "HostNameOrIP").ok_or("HostNameOrIP is missing")?;
    let subject = leaf(body, "X509SubjectNameorSubjectAlternateName").unwrap_or_default();
    if state.expressways.iter().any(|(known, _)| *known == host) {
        return Err("Could not insert new row - duplicate value in a UNIQUE INDEX column (Unique Index:).");
    }
    state.expressways.push((host, subject));
    Ok(format!("{{{:08}-0000-0000-0000-000000000000}}", state.expressways.len()))
}
