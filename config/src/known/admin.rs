//! Where administrators sign in.

use super::{Impact, Preset, RESTART, Setting};

pub(super) const CORE: &[Setting] = &[
    Setting {
        path: "admin.listen",
        preset: Preset::Toml("\"127.0.0.1:9443\""),
        unit: "address with port (TCP), or off",
        example: "\"192.0.2.30:9443\"",
        impact: RESTART,
        doc: "Where administrators reach the pages and the REST API, over TLS. On loopback unless written otherwise. \
              `\"off\"`: nowhere but on the control socket.",
    },
    Setting {
        path: "admin.certificate",
        preset: Preset::Derived("one that the core signs itself and keeps in `state_dir`"),
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/admin.crt\"",
        impact: Impact::Restart("restart for other files; the files themselves are read again when they change"),
        doc: "Certificate shown to administrators, followed by its intermediates. The fingerprint of a self-signed one \
              is in the log of each start.",
    },
    Setting {
        path: "admin.key",
        preset: Preset::Derived("the key of that one"),
        unit: "PEM file",
        example: "\"/etc/edgeway/tls/admin.key\"",
        impact: Impact::Restart("restart for other files; the files themselves are read again when they change"),
        doc: "Private key of `admin.certificate`.",
    },
    Setting {
        path: "admin.names",
        preset: Preset::Derived("none"),
        unit: "list of host names",
        example: "[\"edgeway-admin.example.com\"]",
        impact: RESTART,
        doc: "Names by which administrators reach the listener, besides addresses, `localhost` and the node's name. \
              A request for any other name is refused, so that no foreign page can reach the API by a name of its own \
              that leads here.",
    },
];
