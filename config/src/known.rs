//! Every setting there is: the manual's source, and what "did you mean" chooses from.

mod admin;
mod change;
mod sign_in;
mod xmpp;

use std::fmt;

pub(crate) use self::change::identity_of;
pub use self::change::{Impact, Scope};

/// Which of the two services a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `edgeway-edge`.
    Edge,
    /// `edgeway-core`.
    Core,
}

impl Role {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Edge => Self::Core,
            Self::Core => Self::Edge,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Core => "core",
        })
    }
}

/// What holds where a setting is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: it must be written.
    Required,
    /// This value, in TOML.
    Toml(&'static str),
    /// Something that depends on other settings, in words.
    Derived(&'static str),
}

/// What the manual says about one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name with its tables, as `sip.listen`. Inside a list of tables the index is left out.
    pub path: &'static str,
    /// What holds where it is not written.
    pub preset: Preset,
    /// Kind of value, with the unit where there is one.
    pub unit: &'static str,
    /// A good value, in TOML.
    pub example: &'static str,
    /// What a change of it takes.
    pub impact: Impact,
    /// What it does.
    pub doc: &'static str,
}

/// All settings of one service, in the order of the manual.
pub fn of(role: Role) -> impl Iterator<Item = &'static Setting> {
    match role {
        Role::Edge => EDGE.iter().chain(xmpp::EDGE).chain(&[]).chain(&[]),
        Role::Core => CORE.iter().chain(sign_in::SIGN_IN).chain(xmpp::CORE).chain(admin::CORE),
    }
}

pub(crate) fn find(role: Role, path: &str) -> Option<&'static Setting> {
    of(role).find(|setting| setting.path == path)
}

pub(crate) fn is_table(role: Role, path: &str) -> bool {
    of(role).any(|setting| setting.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The list of tables of the core that is called `name`.
pub(crate) fn list_of_tables(name: &str) -> Option<&'static str> {
    LISTS_OF_TABLES.into_iter().find(|list| *list == name && is_table(Role::Core, list))
}

pub(crate) fn is_list_of_tables(role: Role, path: &str) -> bool {
    LISTS_OF_TABLES.contains(&path) && is_table(role, path)
}

/// The keys and tables that may stand in the table `prefix`, each once.
pub(crate) fn keys_of(role: Role, prefix: &str) -> impl Iterator<Item = &'static str> {
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
    let mut last = "";
    of(role).filter_map(move |setting| {
        let key = setting.path.strip_prefix(prefix.as_str())?.split('.').next()?;
        let new = key != last;
        last = key;
        new.then_some(key)
    })
}

/// The tables written as `[[…]]`.
const LISTS_OF_TABLES: [&str; 9] = [
    "sip.certificates",
    "link.edge",
    "link.peer",
    "deployment",
    "unified_cm",
    "im_and_presence",
    "unity",
    "http.allow_list_rule",
    "xmpp_server",
];

const RESTART: Impact = Impact::Restart("restart");
const AT_ONCE: Impact = Impact::AtOnce("none: it holds at once");
const NEXT_REQUEST: Impact = Impact::NewFlows("none: it holds from the next request on, and downloads go on");
const NEXT_SIGN_IN: Impact =
    Impact::NewFlows("none: it holds from the next sign-in on, and who has signed in stays so");
const NEXT_CHAT: Impact = Impact::NewFlows("none: it holds from the next chat on");
const NEXT_HANDSHAKE: Impact = Impact::NewFlows("none: it holds from the next handshake on, and connections stay");
const NEXT_LINK: Impact = Impact::NewFlows(
    "none: another core is dialled at once, or no longer; an edge that has moved when the connection there ends",
);
const TOLD: Impact = Impact::AtOnce("none: edges are told at once, and connections and calls stay");
const OTHER_SERVERS: Impact = Impact::NewFlows(
    "none: servers that are new are asked at once; dialogs and requests under way stay where they are",
);

const NODE: Setting = Setting {
    path: "node",
    preset: Preset::Required,
    unit: "1 to 63 of a-z, 0-9, -",
    example: "\"edge1\"",
    impact: Impact::Restart("restart, and the nodes must be paired again"),
    doc: "Name of this node, unique in the deployment. Its certificate for the link carries it, and so do logs.",
};

const STATE_DIR: Setting = Setting {
    path: "state_dir",
    preset: Preset::Toml("\"/var/lib/edgeway\""),
    unit: "folder",
    example: "\"/var/lib/edgeway\"",
    impact: RESTART,
    doc: "Where the node keeps its private key, its certificate and whom it is paired with. Only the service's user \
          may read it.",
};

const METRICS: Setting = Setting {
    path: "metrics",
    preset: Preset::Derived("not served"),
    unit: "loopback address with port (TCP)",
    example: "\"127.0.0.1:9464\"",
    impact: RESTART,
    doc: "Where Prometheus text is served, at `/metrics`. Loopback only, because the page has no sign-in.",
};

const LOG_LEVEL: Setting = Setting {
    path: "log.level",
    preset: Preset::Toml("\"info\""),
    unit: "error, warn, info, debug or trace",
    example: "\"debug\"",
    impact: RESTART,
    doc: "The least severe line that is written. Lines that name a person or an address are `debug` or below.",
};

const DRAIN_TIMEOUT: Setting = Setting {
    path: "drain.timeout",
    preset: Preset::Toml("\"20s\""),
    unit: "duration, 0 s to 3600 s",
    example: "\"60s\"",
    impact: RESTART,
    doc: "SIGTERM (`systemctl stop`, `restart`) begins maintenance mode, and the service ends as soon as no call, chat or \
          request is left, but at the latest after this time. A second SIGTERM ends it at once. Keep it below the unit's \
          `TimeoutStopSec` (90 s). `0s`: ends at once.",
};

const HEP_COLLECTOR: Setting = Setting {
    path: "hep.collector",
    preset: Preset::Derived("none"),
    unit: "udp: and an address with port",
    example: "\"udp:10.0.0.9:9060\"",
    impact: RESTART,
    doc: "Where all SIP messages are sent as HEP version 3, without keys, credentials and tokens: a collector such as \
          Homer, on a network of your own, because who calls whom stands in them and nothing is encrypted.",
};

const HEP_CAPTURE_ID: Setting = Setting {
    path: "hep.capture_id",
    preset: Preset::Toml("2001"),
    unit: "number",
    example: "2002",
    impact: RESTART,
    doc: "The number by which the collector tells this node's packets from others'.",
};

const LOG_FORMAT: Setting = Setting {
    path: "log.format",
    preset: Preset::Toml("\"human\""),
    unit: "human or json",
    example: "\"json\"",
    impact: RESTART,
    doc: "One line for people, or one JSON object per line. Logs go to standard error, so to the journal.",
};

const MEDIA_PORTS_DOC: &str = "UDP ports for media, both ends included. A call takes a pair, an even port for RTP and \
                               the next one for RTCP. The firewall must let the whole range through.";

const DSCP_AUDIO: Setting = Setting {
    path: "media.dscp_audio",
    preset: Preset::Toml("46"),
    unit: "DSCP, 0 to 63",
    example: "46",
    impact: Impact::Restart("restart; at once where cores tell it (`edge.media.dscp_audio`)"),
    doc: "How audio packets are marked for the network's quality of service (RFC 2474): 46 is EF.",
};

const DSCP_VIDEO: Setting = Setting {
    path: "media.dscp_video",
    preset: Preset::Toml("34"),
    unit: "DSCP, 0 to 63",
    example: "34",
    impact: Impact::Restart("restart; at once where cores tell it (`edge.media.dscp_video`)"),
    doc: "How video packets are marked for the network's quality of service (RFC 2474): 34 is AF41.",
};

/// The edge's settings.
const EDGE: &[Setting] = &[
    NODE,
    STATE_DIR,
    Setting {
        path: "control_socket",
        preset: Preset::Toml("\"/run/edgeway/edge.sock\""),
        unit: "Unix socket, at most 107 bytes",
        example: "\"/run/edgeway/edge.sock\"",
        impact: RESTART,
        doc: "Socket that `edgeway status` and `edgeway edge invite` talk to.",
    },
    DRAIN_TIMEOUT,
    METRICS,
    LOG_LEVEL,
    LOG_FORMAT,
    HEP_COLLECTOR,
    HEP_CAPTURE_ID,
    Setting {
        path: "sip.listen",
        preset: Preset::Toml("[\"0.0.0.0:5061\"]"),
        unit: "list of addresses with port (TCP)",
        example: "[\"0.0.0.0:5061\", \"[::]:5061\"]",
        impact: Impact::Restart("restart; every client connects again"),
        doc: "Where clients are accepted: SIP over TLS 1.2 or 1.3.",
    },
    Setting {
        path: "sip.public_host",
        preset: Preset::Required,
        unit: "host name or IP address",
        example: "\"edge.example.com\"",
        impact: Impact::Restart("restart; every client must register again"),
        doc: "The name clients connect to. It stands in the Path and Record-Route headers the edge adds, so it must \
              lead to this edge from the internet.",
    },
    Setting {
        path: "sip.public_port",
        preset: Preset::Derived("port of the first `sip.listen`"),
        unit: "port",
        example: "5061",
        impact: Impact::Restart("restart; every client must register again"),
        doc: "The port clients connect to, where a port mapping makes it differ from the one listened on.",
    },
    Setting {
        path: "sip.certificate",
        preset: Preset::Required,
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/edge.crt\"",
        impact: RESTART,
        doc: "Certificate shown to clients, followed by its intermediates. It must name `sip.public_host`. Give this \
              and `sip.key`, or `sip.certificates`.",
    },
    Setting {
        path: "sip.key",
        preset: Preset::Required,
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/edge.key\"",
        impact: RESTART,
        doc: "Private key of `sip.certificate`. Only the service's user may read it.",
    },
    Setting {
        path: "sip.certificates.chain",
        preset: Preset::Derived("`sip.certificate` is the only one"),
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/edge.crt\"",
        impact: RESTART,
        doc: "For several certificates: one `[[sip.certificates]]` each, with `chain` and `key`. The name the client \
              asks for (SNI) chooses; the first one serves everybody else.",
    },
    Setting {
        path: "sip.certificates.key",
        preset: Preset::Derived("`sip.key` is the only one"),
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/edge.key\"",
        impact: RESTART,
        doc: "Private key of that `chain`.",
    },
    Setting {
        path: "sip.stun_keepalive",
        preset: Preset::Toml("true"),
        unit: "true or false",
        example: "true",
        impact: RESTART,
        doc: "STUN keepalive: whether STUN binding requests on the SIP connection are answered (RFC 5626). Clients \
              send one every 30 s and give the connection up after 3 s without answer. Cores must have the same.",
    },
    Setting {
        path: "https.listen",
        preset: Preset::Toml("[\"0.0.0.0:8443\"]"),
        unit: "list of addresses with port (TCP), or off",
        example: "[\"0.0.0.0:8443\"]",
        impact: Impact::Restart("restart; downloads under way end"),
        doc: "Where clients sign in and fetch their settings: HTTPS, HTTP/1.1 and HTTP/2, with the certificates of \
              `sip`. `\"off\"` where no client does.",
    },
    Setting {
        path: "https.public_port",
        preset: Preset::Derived("port of the first `https.listen`"),
        unit: "port",
        example: "8443",
        impact: Impact::Restart("restart; clients learn it at their next sign-in"),
        doc: "The port clients connect to, where a port mapping makes it differ from the one listened on. SRV records \
              `_collab-edge._tls` name it.",
    },
    Setting {
        path: "link.listen",
        preset: Preset::Toml("\"0.0.0.0:7001\""),
        unit: "address with port (TCP and UDP)",
        example: "\"0.0.0.0:7001\"",
        impact: Impact::Restart("restart; calls go on when the cores are back"),
        doc: "Where cores dial this edge: TCP for signalling, UDP for media.",
    },
    Setting {
        path: "link.public_address",
        preset: Preset::Derived("`link.listen` if that names an address"),
        unit: "host with port",
        example: "\"192.0.2.10:7001\"",
        impact: Impact::Restart("restart; invites made before keep the old one"),
        doc: "Where cores reach `link.listen`. `edgeway edge invite` writes it into the invite.",
    },
    Setting {
        path: "media.address",
        preset: Preset::Derived("address of the first `sip.listen`"),
        unit: "IP address",
        example: "\"192.0.2.10\"",
        impact: Impact::Restart("restart; calls end"),
        doc: "Address the client-side media ports are bound on.",
    },
    Setting {
        path: "media.public_address",
        preset: Preset::Derived("`media.address`; required where that is 0.0.0.0 or ::"),
        unit: "IP address",
        example: "\"198.51.100.10\"",
        impact: Impact::Restart("restart; calls end"),
        doc: "Address clients are told to send media to. Behind a NAT it is the outer one.",
    },
    Setting {
        path: "media.ports",
        preset: Preset::Toml("\"36000-59999\""),
        unit: "range of ports (UDP), 1024 and above",
        example: "\"36000-59999\"",
        impact: Impact::Restart("restart; calls end"),
        doc: MEDIA_PORTS_DOC,
    },
    DSCP_AUDIO,
    DSCP_VIDEO,
    Setting {
        path: "limits.flows_max",
        preset: Preset::Toml("50000"),
        unit: "connections, 1 to 50000",
        example: "20000",
        impact: RESTART,
        doc: "Client connections held at once. Each takes a file descriptor.",
    },
    Setting {
        path: "limits.strangers_per_address",
        preset: Preset::Toml("1000"),
        unit: "connections, 1 to 50000",
        example: "200",
        impact: RESTART,
        doc: "Handshakes and connections without a registration that one address may hold at once. An office behind \
              one NAT needs as many as phones may start at the same time.",
    },
];

/// The core's settings.
const CORE: &[Setting] = &[
    NODE,
    Setting {
        path: "domains",
        preset: Preset::Required,
        unit: "list of host names or IP addresses",
        example: "[\"example.com\"]",
        impact: Impact::NewFlows("none: calls and registrations of a domain that goes end when their parties end them"),
        doc: "SIP domains served: the right-hand side of the addresses clients register. Requests for others are \
              refused.",
    },
    STATE_DIR,
    Setting {
        path: "control_socket",
        preset: Preset::Toml("\"/run/edgeway/core.sock\""),
        unit: "Unix socket, at most 107 bytes",
        example: "\"/run/edgeway/core.sock\"",
        impact: RESTART,
        doc: "Socket that `edgeway status` and `edgeway core join` talk to.",
    },
    Setting { impact: AT_ONCE, ..DRAIN_TIMEOUT },
    METRICS,
    Setting { impact: AT_ONCE, ..LOG_LEVEL },
    LOG_FORMAT,
    HEP_COLLECTOR,
    HEP_CAPTURE_ID,
    Setting {
        path: "sip.listen",
        preset: Preset::Toml("[\"0.0.0.0:5060\"]"),
        unit: "list of addresses with port (TCP and UDP)",
        example: "[\"10.0.0.4:5060\"]",
        impact: Impact::Restart("restart; registrations come back with the clients' next refresh"),
        doc: "Where registrars and phones inside reach this core.",
    },
    Setting {
        path: "sip.advertise",
        preset: Preset::Derived("the first `sip.listen`; required where that is 0.0.0.0 or ::"),
        unit: "host with port",
        example: "\"10.0.0.4:5060\"",
        impact: Impact::Restart("restart; every client must register again"),
        doc: "How the inside reaches this core. It stands in Via, Path and Record-Route.",
    },
    Setting {
        path: "sip.path_headers",
        preset: Preset::Toml("true"),
        unit: "true or false",
        example: "false",
        impact: Impact::NewFlows("none: it holds for a client from its next registration on"),
        doc: "SIP Path headers. On: REGISTER goes inside with a Path header (RFC 3327), and the registrar must keep \
              it. Off: the core writes its own address into Contact, for registrars that do not know Path.",
    },
    Setting {
        path: "sip.registrars",
        preset: Preset::Derived("required, unless a `[[unified_cm]]` or `[[deployment]]` brings some"),
        unit: "list of tcp:, udp: or tls: with host and port, or of SIP URIs",
        example: "[\"tcp:10.0.0.5:5060\"]",
        impact: OTHER_SERVERS,
        doc: "The registrars inside, all serving the same users: `tcp:10.0.0.5:5060`, `tls:pbx.example.com:5061`, \
              `sip:example.com;transport=tls`. Names are looked up as RFC 3263 says (NAPTR, SRV, A and AAAA; with a \
              port only A and AAAA). They are tried in this order, or by `;priority=` (lower first) and `;weight=` \
              (share among equals), written behind each. A device stays at the node that holds its registration \
              as long as that answers. Nothing else inside is dialled for a registration.",
    },
    Setting {
        path: "sip.tls.listen",
        preset: Preset::Derived("none: TLS is only dialled"),
        unit: "list of addresses with port (TCP)",
        example: "[\"10.0.0.4:5061\"]",
        impact: Impact::Restart("restart; registrations come back with the clients' next refresh"),
        doc: "Where registrars reach this core by TLS. Path, Record-Route and Via towards TLS registrars carry the \
              port of the first; without one they carry 5061, and the registrar must use the connection we dialled \
              (RFC 5923).",
    },
    Setting {
        path: "sip.tls.ca",
        preset: Preset::Derived("the certificate authorities of the system"),
        unit: "PEM file",
        example: "\"/etc/edgeway/inside-ca.pem\"",
        impact: NEXT_HANDSHAKE,
        doc: "Certificates that may sign those of registrars and, with `sip.tls.verify_clients`, of whoever connects \
              to `sip.tls.listen`. A registrar's certificate must name the host of its entry in `sip.registrars` \
              (dNSName, iPAddress or `sip:` URI, without wildcards, RFC 5922). There is no way to switch this off.",
    },
    Setting {
        path: "sip.tls.certificate",
        preset: Preset::Derived("none is shown; required with `sip.tls.listen`"),
        unit: "PEM file",
        example: "\"/etc/edgeway/core.pem\"",
        impact: NEXT_HANDSHAKE,
        doc: "The core's certificate and its intermediates: shown to registrars that ask for one, and by \
              `sip.tls.listen`.",
    },
    Setting {
        path: "sip.tls.key",
        preset: Preset::Derived("none; required with `sip.tls.certificate`"),
        unit: "PEM file",
        example: "\"/etc/edgeway/core.key\"",
        impact: NEXT_HANDSHAKE,
        doc: "The private key of `sip.tls.certificate`.",
    },
    Setting {
        path: "sip.tls.verify_clients",
        preset: Preset::Toml("true"),
        unit: "true or false",
        example: "true",
        impact: NEXT_HANDSHAKE,
        doc: "Whether whoever connects to `sip.tls.listen` must show a certificate signed by `sip.tls.ca`.",
    },
    Setting {
        path: "dns.servers",
        preset: Preset::Derived("those of /etc/resolv.conf"),
        unit: "list of addresses, with or without port",
        example: "[\"10.0.0.2\"]",
        impact: AT_ONCE,
        doc: "Name servers asked for the registrars' names. When none answers, the last good addresses stay in use.",
    },
    Setting {
        path: "sip.options_interval",
        preset: Preset::Toml("\"10s\""),
        unit: "duration, 1 s to 1 h",
        example: "\"10s\"",
        impact: AT_ONCE,
        doc: "Time between two OPTIONS probes of a registrar. Shorter finds a dead one sooner.",
    },
    Setting {
        path: "sip.request_timeout",
        preset: Preset::Toml("\"32s\""),
        unit: "duration, 1 s to 32 s",
        example: "\"32s\"",
        impact: Impact::NewFlows("none: it holds from the next request on"),
        doc: "How long a registrar may take over a request other than INVITE before the client gets 408.",
    },
    Setting {
        path: "sip.stun_keepalive",
        preset: Preset::Toml("true"),
        unit: "true or false",
        example: "true",
        impact: Impact::AtOnce("none: edges are told at once; another core must say the same before it is linked anew"),
        doc: "STUN keepalive: whether edges answer STUN binding requests on the SIP connection (RFC 5626). Edges are told, \
              whatever their own files say; two cores that differ here are not linked.",
    },
    Setting {
        path: "sip.standby_keepalive",
        preset: Preset::Toml("\"answered\""),
        unit: "answered or relayed",
        example: "\"relayed\"",
        impact: AT_ONCE,
        doc: "Who answers keepalives of standby paths: REGISTERs with `cisco-keep-alive`, by which clients ask \
              whether a server they are not registered with is there. `answered`: the core, out of what OPTIONS say \
              about the registrar; for all registrars but Unified CM, which would take them for de-registrations. \
              `relayed`: the registrar they name.",
    },
    Setting {
        path: "media.address",
        preset: Preset::Derived(
            "address of the first `sip.listen`, else of `sip.advertise`; required where neither is one",
        ),
        unit: "IP address",
        example: "\"10.0.0.4\"",
        impact: Impact::Restart("restart; calls end"),
        doc: "Address the inside media ports are bound on, and that phones inside are told to send media to.",
    },
    Setting {
        path: "media.ports",
        preset: Preset::Toml("\"36000-59999\""),
        unit: "range of ports (UDP), 1024 and above",
        example: "\"36000-59999\"",
        impact: Impact::Restart("restart; calls end"),
        doc: MEDIA_PORTS_DOC,
    },
    Setting { impact: Impact::AtOnce("none: calls that are up are marked so, too"), ..DSCP_AUDIO },
    Setting { impact: Impact::AtOnce("none: calls that are up are marked so, too"), ..DSCP_VIDEO },
    Setting {
        path: "media.allow_unencrypted",
        preset: Preset::Toml("false"),
        unit: "true or false",
        example: "true",
        impact: Impact::NewFlows("none: it holds from the next call on"),
        doc: "Whether a client outside may call without SRTP. If not, its call is refused with 488 and a reason. With \
              it, such a call crosses the internet in clear.",
    },
    Setting {
        path: "media.inside_encryption",
        preset: Preset::Toml("\"off\""),
        unit: "off, optional or required",
        example: "\"optional\"",
        impact: Impact::NewFlows("none: it holds from the next call on"),
        doc: "What inside parties are offered: RTP; SRTP for those that can (keys in an RTP/AVP section); or SRTP and \
              nothing else. SRTP that they offer themselves is always taken.",
    },
    Setting {
        path: "media.silence_notice",
        preset: Preset::Toml("\"5m\""),
        unit: "duration, 10 s to 24 h, or off",
        example: "\"2m\"",
        impact: AT_ONCE,
        doc: "After how long without a packet in either direction of a call `media.none` is logged, and without one \
              from a client that is to send, that the call is one-way; once per silence. \
              Nothing is ended by it: a call on hold may be silent, and the parties have session timers (RFC 4028).",
    },
    Setting {
        path: "link.listen",
        preset: Preset::Derived("other cores cannot dial this one"),
        unit: "address with port (TCP)",
        example: "\"10.0.0.4:7002\"",
        impact: Impact::Restart("restart; other cores dial again"),
        doc: "Where other cores dial this one, by custom port 7002. Needed on the core that runs `edgeway core invite`, \
              and on one of any two cores that are to be linked. Never to be reached from the DMZ.",
    },
    Setting {
        path: "link.public_address",
        preset: Preset::Derived("`link.listen` if that names an address"),
        unit: "host with port",
        example: "\"10.0.0.4:7002\"",
        impact: Impact::Restart("restart; invites made before keep the old one"),
        doc: "Where other cores reach `link.listen`. `edgeway core invite` writes it into the invite.",
    },
    Setting {
        path: "link.peer.node",
        preset: Preset::Derived("only cores that were joined are dialled"),
        unit: "1 to 63 of a-z, 0-9, -",
        example: "\"core2\"",
        impact: NEXT_LINK,
        doc: "For another core of the same authority: one `[[link.peer]]` each, with `node` and `address`. Where two \
              cores both dial, the link dialled by the one with the lower name stays.",
    },
    Setting {
        path: "link.peer.address",
        preset: Preset::Derived("only cores that were joined are dialled"),
        unit: "host with port",
        example: "\"10.0.0.6:7002\"",
        impact: NEXT_LINK,
        doc: "Where this core dials that core.",
    },
    Setting {
        path: "link.certificate_lifetime",
        preset: Preset::Toml("\"365d\""),
        unit: "duration, 20 s to 3650 d",
        example: "\"90d\"",
        impact: Impact::NewFlows("none: it holds from the next certificate on"),
        doc: "How long the certificates hold that this core signs for nodes, where it holds the authority. They are \
              renewed over the links when two thirds of it are over; a node that is away for longer than the last \
              third must be paired again.",
    },
    Setting {
        path: "link.edge.node",
        preset: Preset::Derived("no edge is fixed"),
        unit: "1 to 63 of a-z, 0-9, -",
        example: "\"edge1\"",
        impact: NEXT_LINK,
        doc: "For an edge that is reached at another address than its invite said: one `[[link.edge]]` each, with \
              `node` and `address`. The edge must be joined all the same.",
    },
    Setting {
        path: "link.edge.address",
        preset: Preset::Derived("as the invite said"),
        unit: "host with port",
        example: "\"192.0.2.10:7001\"",
        impact: NEXT_LINK,
        doc: "Where this core dials that edge.",
    },
    Setting {
        path: "edge.limits.flows_max",
        preset: Preset::Derived("as the edge's own file says"),
        unit: "connections, 1 to 50000",
        example: "20000",
        impact: TOLD,
        doc: "Client connections an edge holds at once. Those there are stay, if there are more.",
    },
    Setting {
        path: "edge.limits.strangers_per_address",
        preset: Preset::Derived("as the edge's own file says"),
        unit: "connections, 1 to 50000",
        example: "200",
        impact: TOLD,
        doc: "Handshakes and connections without a registration that one address may hold at once at an edge: SIP, HTTPS and chat each.",
    },
    Setting {
        path: "edge.media.dscp_audio",
        preset: Preset::Derived("as the edge's own file says"),
        unit: "DSCP, 0 to 63",
        example: "46",
        impact: TOLD,
        doc: "How edges mark audio packets to clients (RFC 2474).",
    },
    Setting {
        path: "edge.media.dscp_video",
        preset: Preset::Derived("as the edge's own file says"),
        unit: "DSCP, 0 to 63",
        example: "34",
        impact: TOLD,
        doc: "How edges mark video packets to clients (RFC 2474).",
    },
    Setting {
        path: "edge.log.level",
        preset: Preset::Derived("as the edge's own file says"),
        unit: "error, warn, info, debug or trace",
        example: "\"debug\"",
        impact: TOLD,
        doc: "The least severe line that edges write.",
    },
];
