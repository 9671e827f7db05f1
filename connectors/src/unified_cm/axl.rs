//! AXL: the administrative interface of Unified CM and of IM and Presence, as far as discovery asks it. SOAP 1.1
//! over HTTPS. What is asked, and what is read of the answers, is in the table of [`super`].

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;

use crate::discovery::fault::{AskFault, told};
use crate::discovery::limits::{
    ANSWER_ATTRIBUTES_MAX, ANSWER_BYTES_MAX, ANSWER_DEPTH_MAX, ANSWER_ELEMENTS_MAX, THROTTLED_PAUSE,
    THROTTLED_PAUSE_MAX, THROTTLED_TRIES_MAX,
};
use crate::discovery::web::{Credentials, Question, Reply, Web};
use crate::xml::{Bounds, Element};

/// The SIP OAuth port of clients outside, where a cluster in that mode names none.
const SIP_OAUTH_PORT: u16 = 5091;
/// Schemas the version is asked in: servers know some years of them. The oldest first, for all servers that are new
/// know it.
const SCHEMAS: [&str; 3] = ["10.0", "12.5", "14.0"];
/// The name that stands for all nodes and is none.
const NO_NODE: &str = "enterprisewidedata";

pub(crate) const BOUNDS: Bounds = Bounds {
    bytes: ANSWER_BYTES_MAX,
    depth: ANSWER_DEPTH_MAX,
    elements: ANSWER_ELEMENTS_MAX,
    attributes: ANSWER_ATTRIBUTES_MAX,
};

/// One node of the database's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessNode {
    pub(crate) name: String,
    pub(crate) publisher: bool,
    pub(crate) presence: bool,
}

/// The SIP ports of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SipNode {
    pub(crate) node: String,
    pub(crate) sip: u16,
    pub(crate) sip_tls: u16,
    /// `None`: it names none.
    pub(crate) sip_oauth: Option<u16>,
}

/// The cluster's modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) mixed: bool,
    pub(crate) sip_oauth: bool,
}

/// A conversation with one publisher.
pub(crate) struct Axl<'a> {
    web: &'a dyn Web,
    credentials: &'a Credentials,
    schema: String,
}

impl<'a> Axl<'a> {
    /// Begins it: asks for the version, and goes on in its schema.
    pub(crate) async fn begin(web: &'a dyn Web, credentials: &'a Credentials) -> Result<(Self, String), AskFault> {
        let mut axl = Self { web, credentials, schema: String::new() };
        let mut outcome = None;
        for schema in SCHEMAS {
            schema.clone_into(&mut axl.schema);
            let answer = axl.call("getCCMVersion", String::new()).await;
            // Only "I do not know this schema" is a reason to try another.
            let again = matches!(answer, Err(AskFault::Fault { .. }));
            outcome = Some(answer);
            if !again {
                break;
            }
        }
        let question = "getCCMVersion";
        let nothing = || Err(AskFault::Unreadable { question, why: "there is nothing in it".to_owned() });
        let version = version(&outcome.unwrap_or_else(nothing)?)?;
        axl.schema = schema_of(&version);
        Ok((axl, version))
    }

    /// The nodes of the database.
    pub(crate) async fn process_nodes(&self) -> Result<Vec<ProcessNode>, AskFault> {
        let tags = "<name/><nodeUsage/><processNodeRole/>";
        let inner = format!("<searchCriteria><name>%</name></searchCriteria><returnedTags>{tags}</returnedTags>");
        Ok(process_nodes(&self.call("listProcessNode", inner).await?))
    }

    /// The SIP ports of the nodes that do SIP.
    pub(crate) async fn call_managers(&self) -> Result<Vec<SipNode>, AskFault> {
        let tags = "<name/><processNodeName/><ports/>";
        let inner = format!("<searchCriteria><name>%</name></searchCriteria><returnedTags>{tags}</returnedTags>");
        call_managers(&self.call("listCallManager", inner).await?)
    }

    /// The cluster's modes.
    pub(crate) async fn modes(&self) -> Result<Modes, AskFault> {
        let sql = "select paramname,paramvalue from processconfig where paramname in \
                   ('ClusterSecurityMode','ClusterSIPOAuthMode')";
        Ok(modes(&self.call("executeSQLQuery", format!("<sql>{}</sql>", escaped(sql))).await?))
    }

    /// The nodes that serve files.
    pub(crate) async fn tftp(&self) -> Result<Vec<String>, AskFault> {
        let inner = "<searchCriteria><processNodeName>%</processNodeName><service>Cisco Tftp</service></searchCriteria>\
                     <returnedTags><processNodeName/><service/><isActive/></returnedTags>";
        Ok(tftp(&self.call("listProcessNodeService", inner.to_owned()).await?))
    }

    /// Tells the cluster of this core, so that it answers what comes from it. Being known already is fine.
    pub(crate) async fn add_core(&self, host: &str) -> Result<(), AskFault> {
        let host = escaped(host);
        let inner = format!(
            "<expresswayCConfiguration><HostNameOrIP>{host}</HostNameOrIP><description>Edgeway</description>\
             <X509SubjectNameorSubjectAlternateName>{host}</X509SubjectNameorSubjectAlternateName>\
             </expresswayCConfiguration>"
        );
        match self.call("addExpresswayCConfiguration", inner).await {
            Err(AskFault::Fault { text, .. }) if says_it_is_there(&text) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn call(&self, method: &'static str, inner: String) -> Result<Element, AskFault> {
        let schema = &self.schema;
        let body = format!(
            "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:ns=\"http://www.cisco.com/AXL/API/{schema}\"><soapenv:Header/><soapenv:Body>\
             <ns:{method}>{inner}</ns:{method}></soapenv:Body></soapenv:Envelope>"
        );
        let question = Question {
            method: Method::POST,
            path: "/axl/",
            action: Some(format!("\"CUCM:DB ver={schema} {method}\"")),
            credentials: Some(self.credentials.clone()),
            body: Bytes::from(body),
        };
        let reply = ask_patiently(self.web, question, method).await?;
        returned(&reply, method)
    }
}

/// Asks, and asks again where the server says that it is asked too often.
pub(crate) async fn ask_patiently(web: &dyn Web, question: Question, what: &'static str) -> Result<Reply, AskFault> {
    let mut pause = THROTTLED_PAUSE;
    for _ in 1..THROTTLED_TRIES_MAX {
        let reply = web.ask(question.clone()).await.map_err(|fault| AskFault::of_web(fault, what))?;
        if !is_throttled(reply.status) {
            return Ok(reply);
        }
        let told = reply.retry_after.map(std::time::Duration::from_secs).unwrap_or_default();
        if told > THROTTLED_PAUSE_MAX {
            return Ok(reply);
        }
        tokio::time::sleep(pause.max(told)).await;
        pause = (pause * 2).min(THROTTLED_PAUSE_MAX);
    }
    web.ask(question).await.map_err(|fault| AskFault::of_web(fault, what))
}

/// Real servers say 599 where AXL's own limit is reached, and 503 where the servlet container's is.
const fn is_throttled(status: u16) -> bool {
    matches!(status, 503 | 599)
}

/// What a status that is not 200 means; 500 may carry a fault, and is for the caller.
pub(crate) fn refused(reply: &Reply, question: &'static str) -> Option<AskFault> {
    match reply.status {
        200 => None,
        401 => Some(AskFault::Credentials),
        403 => Some(AskFault::Role),
        status if is_throttled(status) => Some(AskFault::Throttled { status, retry_after: reply.retry_after }),
        status => Some(AskFault::Status { question, status }),
    }
}

/// The `return` of an answer, or why there is none.
pub(crate) fn returned(reply: &Reply, method: &'static str) -> Result<Element, AskFault> {
    let refusal = refused(reply, method);
    if reply.status != 200 && reply.status != 500 {
        return Err(refusal.unwrap_or(AskFault::Status { question: method, status: reply.status }));
    }
    let unreadable = |why: String| AskFault::Unreadable { question: method, why };
    let envelope = match Element::parse(&reply.body, &BOUNDS) {
        Ok(envelope) => envelope,
        // The page of a servlet container tells less than its status.
        Err(fault) => return Err(refusal.unwrap_or_else(|| unreadable(fault.to_string()))),
    };
    let body = (envelope.name == "Envelope").then(|| envelope.child("Body")).flatten();
    let Some(body) = body else { return Err(refusal.unwrap_or_else(|| unreadable("it is no SOAP".to_owned()))) };
    if let Some(fault) = body.child("Fault") {
        return Err(AskFault::Fault { question: method, text: fault_text(fault) });
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let response = body.children.iter().find(|child| child.name.strip_suffix("Response") == Some(method));
    let response = response.ok_or_else(|| unreadable("it answers something else".to_owned()))?;
    // A list without entries may have no `return` at all.
    Ok(response.child("return").cloned().unwrap_or_default())
}

fn fault_text(fault: &Element) -> String {
    let detail = fault.child("detail").and_then(|detail| {
        let error = detail.child("axlError").or_else(|| detail.child("Error")).unwrap_or(detail);
        error.text_of("axlmessage").or_else(|| error.text_of("message"))
    });
    let text = detail.or_else(|| fault.text_of("faultstring")).unwrap_or("it does not say which");
    told(text)
}

fn says_it_is_there(text: &str) -> bool {
    let text = text.to_lowercase();
    ["already exists", "duplicate", "uniqueness", "unique constraint"].iter().any(|words| text.contains(words))
}

/// `12.5` of `12.5.1.10000(22)`.
fn schema_of(version: &str) -> String {
    let mut numbers = version.split(['.', '(']).map(|number| number.trim().parse::<u16>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => format!("{major}.{minor}"),
        _ => SCHEMAS[0].to_owned(),
    }
}

fn version(answer: &Element) -> Result<String, AskFault> {
    let version = answer.child("componentVersion").and_then(|component| component.text_of("version"));
    let why = || AskFault::Unreadable { question: "getCCMVersion", why: "there is no version in it".to_owned() };
    version.map(str::to_owned).ok_or_else(why)
}

/// Names are compared, and names know no case.
pub(crate) fn host(text: &str) -> String {
    text.trim().trim_end_matches('.').to_lowercase()
}

fn process_nodes(answer: &Element) -> Vec<ProcessNode> {
    let node = |entry: &Element| {
        let name = host(entry.text_of("name").unwrap_or_default());
        let publisher = entry.text_of("nodeUsage").is_some_and(|usage| usage.eq_ignore_ascii_case("publisher"));
        let presence = entry.text_of("processNodeRole").is_some_and(|role| role.to_lowercase().contains("presence"));
        ProcessNode { name, publisher, presence }
    };
    answer.children("processNode").map(node).filter(|node| node.name != NO_NODE).collect()
}

fn call_managers(answer: &Element) -> Result<Vec<SipNode>, AskFault> {
    let manager = |entry: &Element| {
        let node = host(entry.text_of("processNodeName").unwrap_or_default());
        let ports = entry.child("ports").and_then(|ports| ports.child("sipPorts"));
        let port = |names: &[&str]| {
            let found = ports.and_then(|ports| {
                let is = |child: &&Element| names.iter().any(|name| child.name.eq_ignore_ascii_case(name));
                ports.children.iter().find(is).filter(|port| !port.text.is_empty())
            });
            found.map(|found| port_of(&node, &found.text)).transpose()
        };
        let sip_oauth = match port(&["sipMRAOAuthPort"])? {
            Some(port) => Some(port),
            None => port(&["sipOAuthPort", "sipPhoneOAuthPort"])?,
        };
        let (sip, sip_tls) = (port(&["sipPhonePort"])?, port(&["sipPhoneSecurePort"])?);
        Ok(SipNode { sip: sip.unwrap_or(0), sip_tls: sip_tls.unwrap_or(0), sip_oauth, node: node.clone() })
    };
    answer.children("callManager").map(manager).collect()
}

/// A port that is told is one: 0 and what is too large are refused, not taken for "none".
fn port_of(node: &str, text: &str) -> Result<u16, AskFault> {
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    let why = || format!("{:?} of {} is no port", told(text), told(node));
    port.ok_or_else(|| AskFault::Unreadable { question: "listCallManager", why: why() })
}

fn modes(answer: &Element) -> Modes {
    let rows: BTreeMap<&str, &str> = answer
        .children("row")
        .filter_map(|row| Some((row.text_of("paramname")?, row.text_of("paramvalue").unwrap_or("0"))))
        .collect();
    let is_on = |name: &str| rows.get(name).is_some_and(|value| *value == "1");
    Modes { mixed: is_on("ClusterSecurityMode"), sip_oauth: is_on("ClusterSIPOAuthMode") }
}

fn tftp(answer: &Element) -> Vec<String> {
    let serves = |entry: &&Element| {
        let service = entry.text_of("service").is_some_and(|service| service.eq_ignore_ascii_case("Cisco Tftp"));
        service && entry.text_of("isActive").is_some_and(|active| matches!(active, "true" | "t" | "1"))
    };
    let names = answer.children("processNodeService").filter(serves);
    names.map(|entry| host(entry.text_of("processNodeName").unwrap_or_default())).collect()
}

/// The SIP OAuth port of a node, in a cluster of these modes; 0 for none.
pub(crate) fn oauth_port(modes: Modes, manager: &SipNode) -> u16 {
    if modes.sip_oauth { manager.sip_oauth.unwrap_or(SIP_OAUTH_PORT) } else { 0 }
}

/// Text as it stands in an element (XML 1.0 §2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Reads an answer as each of the questions would: what fuzzing calls.
pub(crate) fn read_anything(bytes: &[u8]) {
    let reply = Reply { status: 200, retry_after: None, body: bytes.to_vec() };
    for method in ["getCCMVersion", "listProcessNode", "listCallManager", "executeSQLQuery", "listProcessNodeService"] {
        if let Ok(answer) = returned(&reply, method) {
            let _ = (version(&answer), process_nodes(&answer), call_managers(&answer), modes(&answer), tftp(&answer));
        }
    }
}

#[cfg(test)]
mod tests;
