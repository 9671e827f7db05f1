//! What the files say about chat.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use edgeway_model::sign_in::Deployment;

use crate::edge_file;
use crate::node_file::Claim;
use crate::reader::{Complaint, Found, Reader};
use crate::settings::HostPort;
use crate::sign_in::DeploymentSettings;
use crate::values;
use crate::xmpp::{EdgeXmppSettings, XmppServerSettings};

/// Where clients chat.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5222);
/// Ports of an IM server where none is written (RFC 6120 §14.7; XEP-0368 leaves it to SRV records, and servers ship
/// with this one).
const STARTTLS_PORT: u16 = 5222;
const DIRECT_TLS_PORT: u16 = 5223;

/// Where an edge listens for chat, as written: who wants which port is asked before the rest is read.
pub(crate) struct Listeners {
    listen: Found<Vec<Option<SocketAddr>>>,
    direct_tls: Found<Vec<SocketAddr>>,
}

impl Listeners {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.list("xmpp.listen", values::socket_addr_or_off),
            direct_tls: reader.list("xmpp.direct_tls_listen", values::socket_addr),
        }
    }

    pub(crate) fn claims(&self) -> Vec<Claim> {
        let mut claims = edge_file::claims_unless_off("xmpp.listen", &self.listen, LISTEN);
        if !matches!(self.direct_tls, Found::Absent) {
            claims.extend(Claim::tcp("xmpp.direct_tls_listen", &self.direct_tls, LISTEN));
        }
        claims
    }

    pub(crate) fn settings(self, reader: &mut Reader<'_>) -> EdgeXmppSettings {
        let listen = edge_file::unless_off(self.listen, LISTEN);
        let own = listen.first().map_or(LISTEN.port(), SocketAddr::port);
        EdgeXmppSettings {
            listen,
            direct_tls_listen: self.direct_tls.or(Vec::new()),
            public_port: reader.read("xmpp.public_port", values::port).or(own),
        }
    }
}

/// The IM servers of a core. `None` after complaints.
pub(crate) fn servers(
    reader: &mut Reader<'_>,
    deployments: Option<&[DeploymentSettings]>,
) -> Option<Vec<XmppServerSettings>> {
    let wanted = reader.entries("xmpp_server");
    let mut all: Vec<XmppServerSettings> = Vec::with_capacity(wanted);
    for index in 0..wanted {
        let path = |key: &str| format!("xmpp_server[{index}].{key}");
        let line = reader.line_of_entry("xmpp_server", index);
        let address = reader.required(&path("address"), values::im_server);
        let deployment = reader.read(&path("deployment"), values::deployment).or(Deployment::default_one());
        let priority = reader.read(&path("priority"), values::rank).or(0);
        let weight = reader.read(&path("weight"), values::rank).or(1);
        let tls_name = reader.read(&path("tls_name"), values::host).good();
        let ca = reader.read(&path("ca"), values::path).good();
        let direct_tls = reader.read(&path("direct_tls"), values::boolean).or(false);
        if deployments.is_some_and(|all| all.iter().all(|one| one.name != deployment)) {
            let complaint = Complaint::new(format!("there is no deployment {deployment}"), "Add it, or name another.");
            reader.complain(&path("deployment"), line, complaint);
            continue;
        }
        let usual = if direct_tls { DIRECT_TLS_PORT } else { STARTTLS_PORT };
        let Some((host, port)) = address else { continue };
        let address = HostPort { host, port: port.unwrap_or(usual) };
        if let Some(other) = all.iter().find(|other| other.address == address) {
            let complaint = if other.deployment == deployment {
                Complaint::new(format!("{address} is there twice"), "Keep one entry for each server.")
            } else {
                let reason = format!("{address} belongs to {} already", other.deployment);
                Complaint::new(reason, "A server belongs to one deployment.")
            };
            reader.complain(&path("address"), line, complaint);
            continue;
        }
        all.push(XmppServerSettings { address, deployment, priority, weight, tls_name, ca, direct_tls });
    }
    (all.len() == wanted).then_some(all)
}
