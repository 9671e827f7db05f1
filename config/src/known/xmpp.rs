//! The settings of chat, of both services.

use super::{Impact, NEXT_CHAT, Preset, Setting};

/// The edge's, in the order of the manual.
pub(super) const EDGE: &[Setting] = &[
    Setting {
        path: "xmpp.listen",
        preset: Preset::Toml("[\"0.0.0.0:5222\"]"),
        unit: "list of addresses with port (TCP), or off",
        example: "[\"0.0.0.0:5222\"]",
        impact: Impact::Restart("restart; chats end and are resumed where client and server can"),
        doc: "Where clients chat: XMPP with mandatory STARTTLS (RFC 6120), with the certificates of `sip`. `\"off\"` where no client does.",
    },
    Setting {
        path: "xmpp.direct_tls_listen",
        preset: Preset::Derived("none: there is STARTTLS only"),
        unit: "list of addresses with port (TCP)",
        example: "[\"0.0.0.0:5223\"]",
        impact: Impact::Restart("restart; chats end and are resumed where client and server can"),
        doc: "Where clients chat with TLS from the first byte (XEP-0368, ALPN `xmpp-client`). SRV records `_xmpps-client._tcp` name its port.",
    },
    Setting {
        path: "xmpp.public_port",
        preset: Preset::Derived("port of the first `xmpp.listen`"),
        unit: "port",
        example: "5222",
        impact: Impact::Restart("restart; clients learn it at their next sign-in"),
        doc: "The port clients connect to for `xmpp.listen`, where a port mapping makes it differ from the one listened on. Clients are told it when they sign in (`xmppEdgeServer`).",
    },
];

/// The core's, in the order of the manual.
pub(super) const CORE: &[Setting] = &[
    Setting {
        path: "xmpp_server.address",
        preset: Preset::Derived("there are the discovered ones only"),
        unit: "host, with a port or without",
        example: "\"im1.example.com\"",
        impact: NEXT_CHAT,
        doc: "For each IM server one `[[xmpp_server]]`: where it takes clients, port 5222 where none is written, 5223 with `direct_tls`. The nodes of an `[[im_and_presence]]` cluster of the deployment need no entry; they come after those that have one.",
    },
    Setting {
        path: "xmpp_server.deployment",
        preset: Preset::Derived("default"),
        unit: "name of a deployment",
        example: "\"staging\"",
        impact: NEXT_CHAT,
        doc: "The deployment whose users it serves, under every domain of that deployment. A server belongs to one deployment.",
    },
    Setting {
        path: "xmpp_server.priority",
        preset: Preset::Derived("0"),
        unit: "number, 0 to 65535",
        example: "1",
        impact: NEXT_CHAT,
        doc: "Lower goes first; the next one is tried where all of a lower priority are down.",
    },
    Setting {
        path: "xmpp_server.weight",
        preset: Preset::Derived("1"),
        unit: "number, 0 to 65535",
        example: "3",
        impact: NEXT_CHAT,
        doc: "Its share of the chats among those of one priority; 0 where it is to have some only when the others are down.",
    },
    Setting {
        path: "xmpp_server.tls_name",
        preset: Preset::Derived("the domain of the chat or the host of `address`"),
        unit: "host name or IP address",
        example: "\"im.example.com\"",
        impact: NEXT_CHAT,
        doc: "The one name that its certificate must carry. There is no way not to check it.",
    },
    Setting {
        path: "xmpp_server.ca",
        preset: Preset::Derived("the certificate authorities of the system"),
        unit: "PEM file",
        example: "\"/etc/edgeway/inside-ca.pem\"",
        impact: NEXT_CHAT,
        doc: "Certificates that may sign its own, or its self-signed one itself.",
    },
    Setting {
        path: "xmpp_server.direct_tls",
        preset: Preset::Derived("false"),
        unit: "true or false",
        example: "true",
        impact: NEXT_CHAT,
        doc: "Whether TLS begins with the first byte (XEP-0368) rather than with STARTTLS.",
    },
];
