//! What UDS answers, read. Lenient about order, namespaces and what nobody knows; what is no name of a device, a
//! number or a host is passed over. URIs in answers are never read: a server that lies leads nowhere.

use crate::authorities::limits::{
    UDS_ANSWER_BYTES_MAX, UDS_ATTRIBUTES_MAX, UDS_DEPTH_MAX, UDS_ELEMENTS_MAX, UDS_NAME_BYTES_MAX, UDS_NAMES_MAX,
};
use crate::xml::{Bounds, Element, XmlFault};

const BOUNDS: Bounds = Bounds {
    bytes: UDS_ANSWER_BYTES_MAX,
    depth: UDS_DEPTH_MAX,
    elements: UDS_ELEMENTS_MAX,
    attributes: UDS_ATTRIBUTES_MAX,
};

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdsXmlFault {
    /// It cannot be read.
    #[error(transparent)]
    Xml(#[from] XmlFault),
    /// It is an answer to something else.
    #[error("the XML is no answer to the question")]
    Other,
}

/// `clusterUser`: whether there is such a user, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterUser {
    /// There is none.
    Unknown,
    /// There is one.
    Found {
        /// A node of the home cluster, in lower case, as the answer names it.
        home: String,
    },
}

/// `user/<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAnswer {
    /// The name as the call manager writes it.
    pub name: Option<String>,
    /// IM and Presence nodes of the user, best first, in lower case.
    pub im_servers: Vec<String>,
}

/// Reads `clusterUser`.
///
/// # Errors
/// [`UdsXmlFault`]; also where a user is found and the home cluster is not named.
pub fn cluster_user(body: &[u8]) -> Result<ClusterUser, UdsXmlFault> {
    let root = root(body, &["clusterUser"])?;
    let found = root.child("result").and_then(|result| result.attribute("found")).ok_or(UdsXmlFault::Other)?;
    match found.trim() {
        "false" => Ok(ClusterUser::Unknown),
        "true" => {
            let home = root.text_of("homeCluster").and_then(host).ok_or(UdsXmlFault::Other)?;
            Ok(ClusterUser::Found { home })
        }
        _ => Err(UdsXmlFault::Other),
    }
}

/// Reads `user/<id>/devices`: the names of the devices.
///
/// # Errors
/// [`UdsXmlFault`].
pub fn devices(body: &[u8]) -> Result<Vec<String>, UdsXmlFault> {
    let root = root(body, &["devices"])?;
    let names = root.children("device").filter_map(|device| device.text_of("name"));
    Ok(take(names.filter(|name| is_device(name)).map(str::to_owned)))
}

/// Reads `servers`: the nodes that serve UDS, in lower case.
///
/// # Errors
/// [`UdsXmlFault`].
pub fn servers(body: &[u8]) -> Result<Vec<String>, UdsXmlFault> {
    let root = root(body, &["servers"])?;
    Ok(take(root.children("server").filter_map(|server| host(&server.text))))
}

/// Reads `user/<id>`.
///
/// # Errors
/// [`UdsXmlFault`].
pub fn user(body: &[u8]) -> Result<UserAnswer, UdsXmlFault> {
    let root = root(body, &["user"])?;
    let name = root.text_of("userName").or_else(|| root.text_of("id")).map(str::to_owned);
    let servers = root.children("imAndPresence").flat_map(|one| one.children("server"));
    Ok(UserAnswer { name, im_servers: take(servers.filter_map(|server| host(&server.text))) })
}

/// Reads `user/<id>/extensions`: the directory numbers.
///
/// # Errors
/// [`UdsXmlFault`].
pub fn extensions(body: &[u8]) -> Result<Vec<String>, UdsXmlFault> {
    let root = root(body, &["extensions"])?;
    let numbers = root.children("extension").filter_map(|extension| extension.text_of("directoryNumber"));
    // Unified CM writes the plus of a number with a backslash before it, as its dial plan does.
    let numbers = numbers.map(|number| number.strip_prefix('\\').unwrap_or(number));
    Ok(take(numbers.filter(|number| is_number(number)).map(str::to_owned)))
}

fn root(body: &[u8], names: &[&str]) -> Result<Element, UdsXmlFault> {
    let root = Element::parse(body, &BOUNDS)?;
    if names.contains(&root.name.as_str()) { Ok(root) } else { Err(UdsXmlFault::Other) }
}

/// The first of each, at most [`UDS_NAMES_MAX`].
fn take(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        if taken.len() == UDS_NAMES_MAX {
            break;
        }
        if !taken.contains(&name) {
            taken.push(name);
        }
    }
    taken
}

fn is_name(name: &str, others: &[u8]) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    (1..=UDS_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(legal)
}

fn is_device(name: &str) -> bool {
    is_name(name, b"._-")
}

fn is_number(number: &str) -> bool {
    is_name(number, b"+*#._-")
}

/// A host name or address, in lower case and without the dot of the root.
fn host(text: &str) -> Option<String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    is_name(&name, b"._-:").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<clusterUser version="10.0.0" uri="https://cucm1.example.com/cucm-uds/clusterUser?username=alice">
  <result found="true" uri="https://evil.example.net:8443/cucm-uds/user/alice" version="10.0.0"/>
  <homeCluster serversUri="https://evil.example.net:8443/cucm-uds/servers">CUCM1.example.com.</homeCluster>
  <homeClusterDetails><selfProvisioningSecureMode>true</selfProvisioningSecureMode></homeClusterDetails>
</clusterUser>"#;

    #[test]
    fn the_home_cluster_is_read_and_no_uri_is() {
        let home = "cucm1.example.com".to_owned();
        assert_eq!(cluster_user(FOUND.as_bytes()), Ok(ClusterUser::Found { home }));
        let unknown = br#"<u:clusterUser xmlns:u="urn:x" version="10"><u:result found="false"/></u:clusterUser>"#;
        assert_eq!(cluster_user(unknown), Ok(ClusterUser::Unknown));
    }

    #[test]
    fn lists_are_read_in_any_order_and_what_is_no_name_is_passed_over() {
        let body = br#"<devices uri="x" version="10.0.0">
            <new><name>NOT</name></new>
            <device uri="u"><protocol>SIP</protocol><name>CSFALICE</name><id>{1}</id></device>
            <device><name>SEP 001</name></device><device><name/></device><device/>
            <device><name>CSFALICE</name></device><device><name>TCTALICE</name></device></devices>"#;
        assert_eq!(devices(body).unwrap(), ["CSFALICE", "TCTALICE"]);
        let body =
            b"<servers><server>CUCM1.example.com</server><server>10.0.0.5</server><server>a/b</server></servers>";
        assert_eq!(servers(body).unwrap(), ["cucm1.example.com", "10.0.0.5"]);
        let body = br"<extensions><extension><directoryNumber>\+491234</directoryNumber></extension>
            <extension><directoryNumber>1001</directoryNumber></extension>
            <extension><directoryNumber>sip:x@y</directoryNumber></extension></extensions>";
        assert_eq!(extensions(body).unwrap(), ["+491234", "1001"]);
        let body = b"<user><id>{1}</id><imAndPresence><server>imp1.example.com</server></imAndPresence>\
                     <userName>Alice</userName><homeCluster enableImAndPresence='true'>true</homeCluster></user>";
        let read = user(body).unwrap();
        assert_eq!((read.name.as_deref(), read.im_servers.len()), (Some("Alice"), 1));
        assert_eq!(user(b"<user/>").unwrap(), UserAnswer::default());
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let bomb = b"<!DOCTYPE c [<!ENTITY a \"x\">]><clusterUser><result found=\"true\"/></clusterUser>";
        assert_eq!(cluster_user(bomb), Err(UdsXmlFault::Xml(XmlFault::DocumentType)));
        for body in [
            &b"<html><body>Apache Tomcat</body></html>"[..],
            b"<clusterUser/>",
            b"<clusterUser><result/></clusterUser>",
            b"<clusterUser><result found='maybe'/></clusterUser>",
            b"<clusterUser><result found='true'/></clusterUser>",
            b"<clusterUser><result found='true'/><homeCluster>a b</homeCluster></clusterUser>",
        ] {
            assert_eq!(cluster_user(body), Err(UdsXmlFault::Other), "{}", String::from_utf8_lossy(body));
        }
        for body in [&b""[..], b"\x00\x01", b"{\"found\":true}", b"<clusterUser>"] {
            assert!(cluster_user(body).is_err() && devices(body).is_err() && servers(body).is_err());
        }
        assert_eq!(devices(b"<servers/>"), Err(UdsXmlFault::Other));
    }

    #[test]
    fn lists_are_bounded() {
        let many: String = (0..UDS_NAMES_MAX + 9).map(|n| format!("<server>s{n}</server>")).collect();
        assert_eq!(servers(format!("<servers>{many}</servers>").as_bytes()).unwrap().len(), UDS_NAMES_MAX);
        let long = "x".repeat(UDS_NAME_BYTES_MAX + 1);
        assert!(servers(format!("<servers><server>{long}</server></servers>").as_bytes()).unwrap().is_empty());
    }
}
