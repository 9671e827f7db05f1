//! What a node is told to be, as types. Whatever stands here has been checked.
//!
//! Every field's comment says what it does, its default, its unit where it has one, and what a
//! change of it costs (in this version: a restart of the service, always). The operator's manual
//! prints the same from [`crate::known_settings`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_model::NodeId;
use edgeway_model::world::Transport;
use edgeway_model::zones::{Challenge, DeploymentZones, Zone};

use crate::document::Hidden;
use crate::sign_in::{
    DeploymentSettings, EdgeHttpsSettings, HttpProxySettings, PasswordSettings, SignInSettings, UcSettings,
};
use crate::xmpp::{EdgeXmppSettings, XmppServerSettings};

/// Everything an edge is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The node's name, also in its certificate. Required.
    pub node: NodeId,
    /// Folder for the node's key and certificate, and for who is paired. Default `/var/lib/edgeway`.
    pub state_dir: String,
    /// Unix socket the `edgeway` command talks to. Default `/run/edgeway/edge.sock`.
    pub control_socket: String,
    /// How long the service waits for its calls, chats and requests once SIGTERM has told it to end; zero: not at all.
    /// Default 20 s.
    pub drain_timeout: Duration,
    /// Loopback address that serves Prometheus text at `/metrics`. Default: none is served.
    pub metrics: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The side that faces the clients.
    pub sip: EdgeSipSettings,
    /// The side that faces browsers and provisioning.
    pub https: EdgeHttpsSettings,
    /// The side that chat clients connect to.
    pub xmpp: EdgeXmppSettings,
    /// The side the cores dial.
    pub link: EdgeLinkSettings,
    /// Client-side media.
    pub media: EdgeMediaSettings,
    /// What strangers may cost.
    pub limits: EdgeLimits,
}

/// Everything a core is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSettings {
    /// The node's name, also in its certificate. Required.
    pub node: NodeId,
    /// Folder for the private CA, the node's key and certificate, and the edges it joined.
    /// Default `/var/lib/edgeway`.
    pub state_dir: String,
    /// Unix socket the `edgeway` command talks to. Default `/run/edgeway/core.sock`.
    pub control_socket: String,
    /// How long the service waits for its calls, chats and requests once SIGTERM has told it to end; zero: not at all.
    /// Default 20 s.
    pub drain_timeout: Duration,
    /// Loopback address that serves Prometheus text at `/metrics`. Default: none is served.
    pub metrics: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The SIP domains served, in lower case; host names or IP addresses (IPv6 without brackets).
    /// Required, at least one.
    pub domains: Vec<String>,
    /// The side that faces the registrars.
    pub sip: CoreSipSettings,
    /// Inside media.
    pub media: CoreMediaSettings,
    /// The edges it dials.
    pub link: CoreLinkSettings,
    /// What holds for every sign-in.
    pub sign_in: SignInSettings,
    /// The deployments, the default one first.
    pub deployments: Vec<DeploymentSettings>,
    /// The UC servers that are asked for what they know.
    pub uc: UcSettings,
    /// The IM servers that are written down, in the order of the file.
    pub xmpp_servers: Vec<XmppServerSettings>,
    /// The HTTP proxy.
    pub http: HttpProxySettings,
    /// Where administrators sign in.
    pub admin: AdminSettings,
}

/// Where administrators sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The listener of pages and REST API; `None`: off. Default `127.0.0.1:9443`.
    pub listen: Option<SocketAddr>,
    /// The certificate shown there. Default: one made by the core itself.
    pub certificate: Option<CertificateFiles>,
    /// Names by which it is reached, besides addresses, `localhost` and the node's name. Default: none.
    pub names: Vec<String>,
}

impl CoreSettings {
    /// Opens what is sealed. `open` is given each sealed text; what it has nothing for stays sealed.
    pub fn open_secrets(&mut self, mut open: impl FnMut(&Hidden) -> Option<Hidden>) {
        let UcSettings { unified_cm, im_and_presence, unity, .. } = &mut self.uc;
        for server in unified_cm.iter_mut().chain(im_and_presence).chain(unity) {
            if let PasswordSettings::Sealed(sealed) = &server.password
                && let Some(opened) = open(sealed)
            {
                server.password = PasswordSettings::Open(opened);
            }
        }
    }

    /// The deployments with the registrars an operator wrote down, before anything is discovered, and who asks
    /// their users to prove themselves: this core does where there is a Unified CM, which takes its word; any
    /// other registrar does it itself.
    #[must_use]
    pub fn deployment_zones(&self) -> Vec<DeploymentZones> {
        let of = |deployment: &DeploymentSettings| {
            let trusts_us = self.uc.unified_cm.iter().any(|server| server.deployment == deployment.name);
            let challenge = match deployment.domains.first().filter(|_| trusts_us) {
                Some(domain) => Challenge::Core { realm: domain.clone(), bearer: deployment.oauth },
                None => Challenge::Registrar,
            };
            DeploymentZones {
                deployment: deployment.name.clone(),
                domains: deployment.domains.clone(),
                zones: deployment.registrars.iter().map(Registrar::zone).collect(),
                challenge,
            }
        };
        self.deployments.iter().map(of).collect()
    }
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least severe line that is written. Default `info`.
    pub level: LogLevel,
    /// One line for people or one JSON object per line. Default `human`.
    pub format: LogFormat,
    /// Where signalling is sent, too. Default: nowhere.
    pub hep: Option<HepSettings>,
}

/// A collector of signalling, such as Homer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HepSettings {
    /// Where it takes HEP version 3, over UDP.
    pub collector: SocketAddr,
    /// The number by which it tells this node's packets from others'. Default 2001.
    pub capture_id: u32,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// We are broken.
    Error,
    /// Would wake someone if repeated.
    Warn,
    /// State an operator cares about.
    Info,
    /// Branches, and lines that name a person or an address.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// As written in the file, and as `tracing` calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For programs: one JSON object per line.
    Json,
}

/// The edge's side that faces the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSipSettings {
    /// TCP addresses that accept SIP over TLS. Default `0.0.0.0:5061`.
    pub listen: Vec<SocketAddr>,
    /// The name (or IP address) clients connect to, lower case; used in Path and Record-Route. Required.
    pub public_host: String,
    /// The port clients connect to; used in Path and Record-Route. Default: port of the first `listen`.
    pub public_port: u16,
    /// Certificate chains with their keys; the client's SNI chooses, the first is the fallback.
    /// Required, at least one.
    pub certificates: Vec<CertificateFiles>,
    /// Whether STUN keepalives on the SIP connection are answered (RFC 5626 §3.5.2). Default `true`.
    pub stun_keepalive: bool,
}

/// One certificate, as two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the certificate, then its intermediates.
    pub chain: String,
    /// PEM file with the private key.
    pub key: String,
}

/// The edge's side the cores dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLinkSettings {
    /// Address for links from cores: TCP for signalling, UDP for media. Default `0.0.0.0:7001`.
    pub listen: SocketAddr,
    /// Where cores reach `listen`; written into invites. Default: told on the command line of
    /// `edgeway edge invite`, or `listen` if that names an address.
    pub public_address: Option<HostPort>,
}

/// Media on the clients' side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeMediaSettings {
    /// Address the client-side UDP ports are bound on. Default: address of the first `sip.listen`.
    pub address: IpAddr,
    /// Address clients are told in session descriptions; differs from `address` behind a NAT.
    /// Default: `address`; required where that is unspecified (`0.0.0.0`, `::`).
    pub public_address: IpAddr,
    /// UDP ports for client-side media. Default `36000-59999`.
    pub ports: PortRange,
    /// How media packets to clients are marked.
    pub dscp: MediaDscp,
}

/// Differentiated services code points of media packets (RFC 2474), 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaDscp {
    /// Of audio. Default 46 (EF, RFC 4594 §4.1).
    pub audio: u8,
    /// Of video. Default 34 (AF41, RFC 4594 §4.2).
    pub video: u8,
}

/// What strangers may cost an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Client connections held at once. Default 50000.
    pub flows_max: usize,
    /// Handshakes and unregistered connections one address may hold at once. Default 1000.
    pub strangers_per_address: usize,
}

/// The core's side that faces the registrars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSipSettings {
    /// Addresses for SIP from inside, each over TCP and UDP. Default `0.0.0.0:5060`.
    pub listen: Vec<SocketAddr>,
    /// How the inside reaches this core: used in Path, Record-Route and Via. Default: the first
    /// `listen`; required where that is unspecified (`0.0.0.0`, `::`).
    pub advertise: HostPort,
    /// SIP Path headers: On adds Path to REGISTER (RFC 3327), Off rewrites Contact. Default `true`.
    pub path_headers: bool,
    /// The registrars. Required, at least one.
    pub registrars: Vec<Registrar>,
    /// TLS inside.
    pub tls: CoreTlsSettings,
    /// Name servers for the registrars' names. Default: those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Time between two OPTIONS probes of a registrar. Default 10 s.
    pub options_interval: Duration,
    /// How long a registrar may take to answer a request other than INVITE. Default 32 s.
    pub request_timeout: Duration,
    /// STUN keepalive, as the edges have it: the two must agree before a link is used. Default `true`.
    pub stun_keepalive: bool,
    /// Who answers keepalives of standby paths. Default [`StandbyKeepalive::Answered`].
    pub standby_keepalive: StandbyKeepalive,
}

/// What becomes of a REGISTER that only asks whether a server is there (`cisco-keep-alive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyKeepalive {
    /// The core answers it out of what OPTIONS say about the registrar: for registrars that would take
    /// it for a de-registration, which are all but Unified CM.
    Answered,
    /// It goes to the registrar it names.
    Relayed,
}

/// TLS between the core and the inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreTlsSettings {
    /// TCP addresses that accept SIP over TLS from inside. Default: none.
    pub listen: Vec<SocketAddr>,
    /// PEM file with the certificates that may sign those of the inside. Default: the system's.
    pub ca: Option<String>,
    /// The core's own certificate: shown to registrars that ask, and by `listen`. Default: none.
    pub certificate: Option<CertificateFiles>,
    /// Whether whoever connects to `listen` must show a certificate signed by `ca`. Default `true`.
    pub verify_clients: bool,
}

impl CoreTlsSettings {
    /// As where nothing is written.
    #[must_use]
    pub const fn unset() -> Self {
        Self { listen: Vec::new(), ca: None, certificate: None, verify_clients: true }
    }
}

/// One registrar inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registrar {
    /// Host name in lower case, or an IP address without brackets.
    pub host: String,
    /// The port. Default: as its name says (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport. Default: as its name says (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// Written as `sips:`: nothing but TLS will do.
    pub secure: bool,
    /// Lower goes first. Default: its place in the list.
    pub priority: u16,
    /// Share among those of one priority. Default 1.
    pub weight: u16,
}

impl Registrar {
    /// One at a fixed address, first of its list.
    #[must_use]
    pub fn at(address: SocketAddr, transport: Transport) -> Self {
        let (host, port) = (address.ip().to_string(), Some(address.port()));
        Self { host, port, transport: Some(transport), secure: false, priority: 0, weight: 1 }
    }

    /// As a zone; its name is what the operator wrote.
    fn zone(&self) -> Zone {
        Zone {
            name: self.to_string(),
            host: self.host.clone(),
            port: self.port,
            transport: self.transport,
            secure: self.secure,
            priority: self.priority,
            weight: self.weight,
            names: Vec::new(),
        }
    }

    /// Whether both lead to the same place.
    #[must_use]
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        (&self.host, self.port, self.transport, self.secure) == (&other.host, other.port, other.transport, other.secure)
    }
}

impl fmt::Display for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}:{host}", if self.secure { "sips" } else { "sip" })?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(transport) = self.transport {
            write!(f, ";transport={}", transport.param())?;
        }
        Ok(())
    }
}

/// Media inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreMediaSettings {
    /// Address the inside UDP ports are bound on and that session descriptions inside carry.
    /// Default: address of the first `sip.listen`, else of `sip.advertise`; required where neither is an
    /// address.
    pub address: IpAddr,
    /// UDP ports for inside media. Default `36000-59999`.
    pub ports: PortRange,
    /// How media packets to the inside are marked.
    pub dscp: MediaDscp,
    /// Whether a client that offers no encryption is served (else 488). Default `false`.
    pub allow_unencrypted: bool,
    /// What inside parties are offered: RTP, SRTP if they can, or SRTP. Default RTP.
    pub inside_encryption: InsideEncryption,
    /// After how long without media in either direction the operator is told. Default 5 minutes.
    pub silence_notice: Option<Duration>,
}

/// How media is offered to parties inside. What they offer is always taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsideEncryption {
    /// RTP.
    Off,
    /// SRTP (SDES) for those that can, RTP for the others.
    Optional,
    /// SRTP (SDES); a party that cannot is not called.
    Required,
}

/// The links of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreLinkSettings {
    /// Where other cores dial this one (TCP). Default: nowhere.
    pub listen: Option<SocketAddr>,
    /// Where other cores reach it; `None` where that must be told to `edgeway core invite`. Default:
    /// `listen`, if it names an address.
    pub public_address: Option<HostPort>,
    /// Other cores to dial, besides those that were joined. Default: none.
    pub peers: Vec<FixedEdge>,
    /// How long the certificates hold that this core signs. Default one year.
    pub certificate_lifetime: Duration,
    /// Edges at other addresses than their invite said; a joined edge needs no entry. Default: none.
    pub edges: Vec<FixedEdge>,
}

/// An edge, or another core, whose address the operator fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedEdge {
    /// Its name.
    pub node: NodeId,
    /// Where this core dials it.
    pub address: HostPort,
}

/// A host (lower case; an IPv6 address without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// The address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The socket address, if the host is an address (else it must be looked up).
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.ip().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A range of UDP ports, both ends included; holds at least one pair (even port for RTP, the next
/// one for RTCP, RFC 3550 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl PortRange {
    /// How many pairs the range holds.
    #[must_use]
    pub const fn pairs(self) -> u16 {
        // In u32, because 0-65535 has one port more than u16 can count.
        let first = self.first as u32 + (self.first as u32 & 1);
        let end = self.last as u32 + 1;
        if end <= first { 0 } else { ((end - first) / 2) as u16 }
    }

    /// Whether `port` is one of the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_start_even_and_end_inside() {
        for (first, last, pairs) in [
            (36_000, 59_999, 12_000),
            (36_001, 36_004, 1),
            (36_001, 36_002, 0),
            (1, 65_535, 32_767),
            (65_534, 65_535, 1),
        ] {
            let range = PortRange { first, last };
            assert_eq!(range.pairs(), pairs, "{range}");
        }
    }

    #[test]
    fn host_and_port_brackets_ipv6_only() {
        let of = |host: &str| HostPort { host: host.into(), port: 7001 }.to_string();
        assert_eq!(of("edge.example.com"), "edge.example.com:7001");
        assert_eq!(of("192.0.2.1"), "192.0.2.1:7001");
        assert_eq!(of("2001:db8::1"), "[2001:db8::1]:7001");
    }
}
