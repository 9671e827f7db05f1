//! The edge's file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use edgeway_model::limits::{FLOWS_MAX, STRANGER_FLOWS_PER_ADDRESS_MAX};

use crate::known::Role;
use crate::node_file::{self, Claim, MEDIA_PORTS, STATE_DIR};
use crate::problem::Problems;
use crate::reader::{Complaint, Found, Reader};
use crate::settings::{
    CertificateFiles, EdgeLimits, EdgeLinkSettings, EdgeMediaSettings, EdgeSettings, EdgeSipSettings,
};
use crate::sign_in::EdgeHttpsSettings;
use crate::values;
use crate::xmpp_file;

/// Where clients are accepted.
const SIP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5061);
/// Where clients sign in.
const HTTPS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
/// Where cores are accepted.
const LINK_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7001);
const CONTROL_SOCKET: &str = "/run/edgeway/edge.sock";

/// Reads an edge's file. `origin` is its name, for the problems.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn parse_edge(text: &str, origin: &str) -> Result<EdgeSettings, Problems> {
    let mut reader = Reader::new(text, origin, Role::Edge);
    let node = reader.required("node", values::node);
    let state_dir = reader.read("state_dir", values::path).or(STATE_DIR.to_owned());
    let drain_timeout = node_file::drain_timeout(&mut reader);
    let control_socket = reader.read("control_socket", values::socket_path).or(CONTROL_SOCKET.to_owned());
    let metrics = reader.read("metrics", values::loopback);
    let log = node_file::log(&mut reader);
    let listen = reader.list("sip.listen", values::socket_addr);
    let https_listen = reader.list("https.listen", values::socket_addr_or_off);
    let xmpp_listeners = xmpp_file::Listeners::read(&mut reader);
    let link_listen = reader.read("link.listen", values::socket_addr);
    let ports = reader.read("media.ports", values::port_range);
    let dscp = node_file::media_dscp(&mut reader);
    let media_address = reader.read("media.address", values::ip);
    let public_address = public_address(&mut reader, &listen, &media_address);

    let mut claims = Vec::new();
    claims.extend(Claim::tcp("sip.listen", &listen, SIP_LISTEN));
    claims.extend(claims_unless_off("https.listen", &https_listen, HTTPS_LISTEN));
    claims.extend(xmpp_listeners.claims());
    claims.push(Claim::both("link.listen", &link_listen, LINK_LISTEN));
    claims.extend(Claim::loopback(&metrics));
    node_file::check_claims(&mut reader, &claims);
    let address = media_address.or(first(&listen).ip());
    node_file::check_media_ports(&mut reader, &claims, address, &ports);

    let sip = sip(&mut reader, listen);
    let https = https(&mut reader, https_listen);
    let xmpp = xmpp_listeners.settings(&mut reader);
    let link = link(&mut reader, link_listen.or(LINK_LISTEN));
    let limits = limits(&mut reader);
    let ports = ports.or(MEDIA_PORTS);
    let settings = || {
        Some(EdgeSettings {
            node: node?,
            state_dir,
            control_socket,
            drain_timeout,
            metrics: metrics.good(),
            log,
            https,
            xmpp,
            sip: sip?,
            link,
            media: EdgeMediaSettings { address, public_address: public_address?, ports, dscp },
            limits,
        })
    };
    let settings = settings();
    reader.finish(settings)
}

fn sip(reader: &mut Reader<'_>, listen: Found<Vec<SocketAddr>>) -> Option<EdgeSipSettings> {
    let listen = listen.or(vec![SIP_LISTEN]);
    let public_host = reader.required("sip.public_host", values::host);
    let public_port = reader.read("sip.public_port", values::port).or(listen[0].port());
    let certificates = certificates(reader);
    let stun_keepalive = reader.read("sip.stun_keepalive", values::boolean).or(true);
    Some(EdgeSipSettings {
        listen,
        public_host: public_host?,
        public_port,
        certificates: certificates?,
        stun_keepalive,
    })
}

/// Either `certificate` and `key`, or a list of `certificates`.
fn certificates(reader: &mut Reader<'_>) -> Option<Vec<CertificateFiles>> {
    let listed = reader.pairs("sip.certificates", ("chain", values::path), ("key", values::path));
    let chain = reader.read("sip.certificate", values::path);
    let key = reader.read("sip.key", values::path);
    if !matches!(listed, Found::Absent) {
        if let Some(line) = chain.line().or(key.line()) {
            let reason = "stands beside a single certificate and key";
            let complaint = Complaint::new(reason, "Keep one of the two forms.");
            reader.complain("sip.certificates", Some(line), complaint);
        }
        let files = |(chain, key, _): (String, String, usize)| CertificateFiles { chain, key };
        return Some(listed.good()?.into_iter().map(files).collect());
    }
    if matches!(chain, Found::Absent) {
        reader.missing("sip.certificate");
    }
    if matches!(key, Found::Absent) {
        reader.missing("sip.key");
    }
    Some(vec![CertificateFiles { chain: chain.good()?, key: key.good()? }])
}

fn https(reader: &mut Reader<'_>, listen: Found<Vec<Option<SocketAddr>>>) -> EdgeHttpsSettings {
    let listen = unless_off(listen, HTTPS_LISTEN);
    let own = listen.first().map_or(HTTPS_LISTEN.port(), SocketAddr::port);
    EdgeHttpsSettings { listen, public_port: reader.read("https.public_port", values::port).or(own) }
}

/// The addresses of a list, or the default; "off" anywhere in the list leaves none.
pub(crate) fn unless_off(listen: Found<Vec<Option<SocketAddr>>>, default: SocketAddr) -> Vec<SocketAddr> {
    let all: Option<Vec<_>> = listen.or(vec![Some(default)]).into_iter().collect();
    all.unwrap_or_default()
}

/// What such a list wants to listen on.
pub(crate) fn claims_unless_off(
    path: &str,
    listen: &Found<Vec<Option<SocketAddr>>>,
    default: SocketAddr,
) -> Vec<Claim> {
    match listen {
        Found::Absent => Claim::tcp(path, &Found::Absent, default),
        Found::Wrong => Vec::new(),
        Found::Value(listed, line) => {
            let all: Option<Vec<_>> = listed.iter().copied().collect();
            all.map_or_else(Vec::new, |all| Claim::tcp(path, &Found::Value(all, *line), default))
        }
    }
}

fn link(reader: &mut Reader<'_>, listen: SocketAddr) -> EdgeLinkSettings {
    let public_address = reader.read("link.public_address", values::host_port).good();
    let own = (!listen.ip().is_unspecified()).then(|| listen.into());
    EdgeLinkSettings { listen, public_address: public_address.or(own) }
}

/// The first address clients are accepted on.
fn first(listen: &Found<Vec<SocketAddr>>) -> SocketAddr {
    listen.clone().or(vec![SIP_LISTEN])[0]
}

/// What clients are told to send media to: another address of the same NAT, or `media.address`.
fn public_address(
    reader: &mut Reader<'_>,
    listen: &Found<Vec<SocketAddr>>,
    media_address: &Found<IpAddr>,
) -> Option<IpAddr> {
    let public = reader.read("media.public_address", values::concrete_ip);
    // A wrong address is one problem, not two: what it would have been is not asked for.
    let doubtful = media_address.is_wrong() || (matches!(media_address, Found::Absent) && listen.is_wrong());
    let address = media_address.clone().or(first(listen).ip());
    if matches!(public, Found::Absent) && address.is_unspecified() && !doubtful {
        reader.missing("media.public_address");
        return None;
    }
    Some(public.or(address))
}

fn limits(reader: &mut Reader<'_>) -> EdgeLimits {
    EdgeLimits {
        flows_max: reader.read("limits.flows_max", values::flows).or(FLOWS_MAX),
        strangers_per_address: reader
            .read("limits.strangers_per_address", values::flows)
            .or(STRANGER_FLOWS_PER_ADDRESS_MAX),
    }
}
