//! The core's file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::admin_file;
use crate::known::Role;
use crate::node_file::{self, Claim, MEDIA_PORTS, STATE_DIR};
use crate::problem::Problems;
use crate::reader::{Complaint, Found, Reader};
use crate::settings::{
    CertificateFiles, CoreLinkSettings, CoreMediaSettings, CoreSettings, CoreSipSettings, CoreTlsSettings, FixedEdge,
    HostPort, InsideEncryption, Registrar, StandbyKeepalive,
};
use crate::sign_in_file;
use crate::told::{Committed, EdgeTold};
use crate::values::{self, WrittenRegistrar};
use crate::xmpp_file;

/// Where the inside reaches the core.
const SIP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5060);
const CONTROL_SOCKET: &str = "/run/edgeway/core.sock";
/// A node that is away for four months finds its certificate still good.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
const OPTIONS_INTERVAL: Duration = Duration::from_secs(10);
/// 64 × T1, after which a client gives up by itself (RFC 3261 §17.1.2.2).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(32);
/// Longer than anybody listens to nothing, shorter than most session timers (RFC 4028).
const SILENCE_NOTICE: Duration = Duration::from_secs(300);

/// Reads a core's file. `origin` is its name, for the problems.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn parse_core(text: &str, origin: &str) -> Result<CoreSettings, Problems> {
    let mut reader = Reader::new(text, origin, Role::Core);
    let node = reader.required("node", values::node);
    let domains = required_list(&mut reader, "domains", values::host);
    let state_dir = reader.read("state_dir", values::path).or(STATE_DIR.to_owned());
    let drain_timeout = node_file::drain_timeout(&mut reader);
    let control_socket = reader.read("control_socket", values::socket_path).or(CONTROL_SOCKET.to_owned());
    let metrics = reader.read("metrics", values::loopback);
    let log = node_file::log(&mut reader);
    let listen = reader.list("sip.listen", values::socket_addr);
    let link_listen = reader.read("link.listen", values::socket_addr);
    let advertise = advertise(&mut reader, &listen);
    let ports = reader.read("media.ports", values::port_range);
    let dscp = node_file::media_dscp(&mut reader);
    let media_address = media_address(&mut reader, &listen, advertise.as_ref());
    let allow_unencrypted = reader.read("media.allow_unencrypted", values::boolean).or(false);
    let inside_encryption = reader.read("media.inside_encryption", values::inside_encryption).or(InsideEncryption::Off);
    let silence_notice = reader.read("media.silence_notice", values::silence_notice).or(Some(SILENCE_NOTICE));

    let tls_listen = reader.list("sip.tls.listen", values::socket_addr);
    let mut claims = Vec::new();
    claims.extend(Claim::tcp_and_udp("sip.listen", &listen, SIP_LISTEN));
    if !matches!(tls_listen, Found::Absent) {
        claims.extend(Claim::tcp("sip.tls.listen", &tls_listen, SIP_LISTEN));
    }
    claims.extend(Claim::loopback(&metrics));
    let admin = admin_file::Listener::read(&mut reader);
    claims.extend(admin.claim());
    claims.extend(Claim::tcp_if_set("link.listen", &link_listen));
    node_file::check_claims(&mut reader, &claims);
    // Where the address is not known yet, the first listener's stands in for it.
    let bound = media_address.unwrap_or(first(&listen).ip());
    node_file::check_media_ports(&mut reader, &claims, bound, &ports);

    let tls = tls(&mut reader, tls_listen);
    let sip = sip(&mut reader, listen, tls, advertise);
    let link = link(&mut reader, link_listen);
    let ports = ports.or(MEDIA_PORTS);
    let sign_in = sign_in_file::sign_in(&mut reader, &state_dir);
    let registrars = sip.as_ref().map_or(&[][..], |sip| &sip.registrars);
    let deployments = sign_in_file::deployments(&mut reader, domains.as_deref(), registrars);
    let uc = sign_in_file::uc(&mut reader, deployments.as_deref());
    let xmpp_servers = xmpp_file::servers(&mut reader, deployments.as_deref());
    let http = sign_in_file::http(&mut reader, deployments.as_deref());
    let edge = EdgeTold::of_core(&mut reader, sip.as_ref().is_none_or(|sip| sip.stun_keepalive));
    let admin = admin.settings(&mut reader);
    let settings = || {
        Some(CoreSettings {
            node: node?,
            state_dir,
            control_socket,
            drain_timeout,
            metrics: metrics.good(),
            log,
            domains: domains?,
            sip: sip?,
            media: CoreMediaSettings {
                address: media_address?,
                ports,
                dscp,
                allow_unencrypted,
                inside_encryption,
                silence_notice,
            },
            link,
            sign_in,
            deployments: deployments?,
            uc: uc?,
            xmpp_servers: xmpp_servers?,
            http: http?,
            edge,
            committed: Committed::default(),
            admin,
        })
    };
    let settings = settings();
    reader.finish(settings)
}

fn sip(
    reader: &mut Reader<'_>,
    listen: Found<Vec<SocketAddr>>,
    tls: CoreTlsSettings,
    advertise: Option<HostPort>,
) -> Option<CoreSipSettings> {
    let path_headers = reader.read("sip.path_headers", values::boolean).or(true);
    // Where discovery or another deployment brings registrars, the default one may have none of its own.
    let required = reader.entries("unified_cm") == 0 && reader.entries("deployment") == 0;
    let registrars = registrars(reader, "sip.registrars", required);
    let dns_servers = reader.list("dns.servers", values::dns_server).or(Vec::new());
    let options_interval = reader.read("sip.options_interval", values::options_interval).or(OPTIONS_INTERVAL);
    let request_timeout = reader.read("sip.request_timeout", values::request_timeout).or(REQUEST_TIMEOUT);
    let stun_keepalive = reader.read("sip.stun_keepalive", values::boolean).or(true);
    let standby_keepalive =
        reader.read("sip.standby_keepalive", values::standby_keepalive).or(StandbyKeepalive::Answered);
    Some(CoreSipSettings {
        listen: listen.or(vec![SIP_LISTEN]),
        advertise: advertise?,
        path_headers,
        registrars: registrars?,
        tls,
        dns_servers,
        options_interval,
        request_timeout,
        stun_keepalive,
        standby_keepalive,
    })
}

/// A list of registrars. Where no entry says its priority, the order of the list does.
pub(crate) fn registrars(reader: &mut Reader<'_>, path: &str, required: bool) -> Option<Vec<Registrar>> {
    let found = reader.list(path, values::registrar);
    if matches!(found, Found::Absent) {
        if !required {
            return Some(Vec::new());
        }
        reader.missing(path);
    }
    let line = found.line();
    let entries = found.good()?;
    let said = entries.iter().filter(|entry| entry.priority.is_some()).count();
    if said != 0 && said != entries.len() {
        let complaint = Complaint::new("some say their priority and some do not", "Say it for all, or for none.");
        reader.complain(path, line, complaint);
    }
    for (index, WrittenRegistrar { registrar, .. }) in entries.iter().enumerate() {
        if entries[..index].iter().any(|earlier| earlier.registrar.is_same_place(registrar)) {
            let complaint = Complaint::new(format!("{registrar} is there twice"), "Remove one of the two.");
            reader.complain(&format!("{path}[{index}]"), line, complaint);
        }
    }
    let place = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
    let ranked = entries.into_iter().enumerate().map(|(index, WrittenRegistrar { registrar, priority })| Registrar {
        priority: priority.unwrap_or(place(index)),
        ..registrar
    });
    Some(ranked.collect())
}

/// TLS inside. A listener without a certificate cannot be.
fn tls(reader: &mut Reader<'_>, listen: Found<Vec<SocketAddr>>) -> CoreTlsSettings {
    let ca = reader.read("sip.tls.ca", values::path).good();
    let chain = reader.read("sip.tls.certificate", values::path);
    let key = reader.read("sip.tls.key", values::path);
    let verify_clients = reader.read("sip.tls.verify_clients", values::boolean).or(true);
    let wanted = !matches!(listen, Found::Absent);
    let (has_chain, has_key) = (!matches!(chain, Found::Absent), !matches!(key, Found::Absent));
    if !has_chain && (wanted || has_key) {
        reader.missing("sip.tls.certificate");
    }
    if !has_key && (wanted || has_chain) {
        reader.missing("sip.tls.key");
    }
    let certificate = chain.good().zip(key.good()).map(|(chain, key)| CertificateFiles { chain, key });
    CoreTlsSettings { listen: listen.or(Vec::new()), ca, certificate, verify_clients }
}

/// A list without a default and without repetitions.
pub(crate) fn required_list<T: PartialEq + std::fmt::Display>(
    reader: &mut Reader<'_>,
    path: &str,
    parse: crate::reader::Parse<T>,
) -> Option<Vec<T>> {
    let found = reader.list(path, parse);
    if matches!(found, Found::Absent) {
        reader.missing(path);
    }
    let line = found.line();
    let entries = found.good()?;
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].contains(entry) {
            let complaint = Complaint::new(format!("{entry} is there twice"), "Remove one of the two.");
            reader.complain(&format!("{path}[{index}]"), line, complaint);
        }
    }
    Some(entries)
}

fn advertise(reader: &mut Reader<'_>, listen: &Found<Vec<SocketAddr>>) -> Option<HostPort> {
    let written = reader.read("sip.advertise", values::concrete_host_port);
    let first = first(listen);
    if matches!(written, Found::Absent) && first.ip().is_unspecified() && !listen.is_wrong() {
        reader.missing("sip.advertise");
        return None;
    }
    Some(written.or(first.into()))
}

/// The first address the inside reaches us on.
fn first(listen: &Found<Vec<SocketAddr>>) -> SocketAddr {
    listen.clone().or(vec![SIP_LISTEN])[0]
}

fn media_address(
    reader: &mut Reader<'_>,
    listen: &Found<Vec<SocketAddr>>,
    advertise: Option<&HostPort>,
) -> Option<IpAddr> {
    let written = reader.read("media.address", values::concrete_ip);
    let own = Some(first(listen).ip()).filter(|ip| !ip.is_unspecified()).or(advertise.and_then(HostPort::ip));
    // Where `sip.advertise` is missing, that is the problem to report: it will often settle this one too.
    if matches!(written, Found::Absent) && own.is_none() && advertise.is_some() && !listen.is_wrong() {
        reader.missing("media.address");
    }
    written.good().or(own)
}

fn link(reader: &mut Reader<'_>, listen: Found<SocketAddr>) -> CoreLinkSettings {
    let listen = listen.good();
    let public_address = reader.read("link.public_address", values::host_port).good();
    let own = listen.filter(|listen| !listen.ip().is_unspecified()).map(Into::into);
    CoreLinkSettings {
        listen,
        public_address: public_address.or(own),
        peers: fixed(reader, "link.peer", "core"),
        certificate_lifetime: reader
            .read("link.certificate_lifetime", values::certificate_lifetime)
            .or(CERTIFICATE_LIFETIME),
        edges: fixed(reader, "link.edge", "edge"),
    }
}

fn fixed(reader: &mut Reader<'_>, path: &str, what: &str) -> Vec<FixedEdge> {
    let listed = reader.pairs(path, ("node", values::node), ("address", values::host_port)).or(Vec::new());
    for (index, (node, _, line)) in listed.iter().enumerate() {
        if listed[..index].iter().any(|(other, _, _)| other == node) {
            let complaint =
                Complaint::new(format!("{node} is there twice"), format!("Keep one entry for each {what}."));
            reader.complain(&format!("{path}[{index}].node"), Some(*line), complaint);
        }
    }
    listed.into_iter().map(|(node, address, _)| FixedEdge { node, address }).collect()
}
