//! What must be installed, and which Debian package brings it.

use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A program or module a test needs.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// A program searched in PATH, or an absolute path.
    pub what: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

/// What the namespaces and phones need.
pub const INTEROP: &[Requirement] = &[
    Requirement { what: "ip", package: "iproute2" },
    Requirement { what: "ss", package: "iproute2" },
    Requirement { what: "nft", package: "nftables" },
    Requirement { what: "setpriv", package: "util-linux" },
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "kamailio", package: "kamailio" },
    Requirement { what: "/usr/lib/x86_64-linux-gnu/kamailio/modules/tls.so", package: "kamailio-tls-modules" },
    Requirement { what: "baresip", package: "baresip-core" },
];

/// What the stories need beyond that.
pub const STORIES: &[Requirement] = &[Requirement { what: "linphonec", package: "linphone-cli" }];

/// What chat needs.
pub const CHAT: &[Requirement] = &[
    Requirement { what: "ip", package: "iproute2" },
    Requirement { what: "ss", package: "iproute2" },
    Requirement { what: "nft", package: "nftables" },
    Requirement { what: "setpriv", package: "util-linux" },
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "curl", package: "curl" },
    Requirement { what: "prosody", package: "prosody" },
    Requirement { what: "erl", package: "ejabberd" },
    Requirement { what: "ejabberdctl", package: "ejabberd" },
    Requirement { what: "profanity", package: "profanity" },
    Requirement { what: "/usr/bin/python3", package: "python3-slixmpp" },
    Requirement { what: "/usr/lib/python3/dist-packages/slixmpp", package: "python3-slixmpp" },
];

/// What reads captures.
pub const CAPTURE: &[Requirement] = &[Requirement { what: "tshark", package: "tshark" }];

/// What the directory's test needs.
pub const DIRECTORY: &[Requirement] =
    &[Requirement { what: "slapd", package: "slapd" }, Requirement { what: "slapadd", package: "slapd" }];

/// What disks need that are full, broken or read-only.
pub const STORE: &[Requirement] = &[
    Requirement { what: "/usr/sbin/mkfs.ext4", package: "e2fsprogs" },
    Requirement { what: "mount", package: "mount" },
];

/// What the life of the Debian package needs.
pub const PACKAGE: &[Requirement] = &[
    Requirement { what: "dpkg-deb", package: "dpkg" },
    Requirement { what: "lintian", package: "lintian" },
    Requirement { what: "systemd-analyze", package: "systemd" },
    Requirement { what: "ip", package: "iproute2" },
    Requirement { what: "setpriv", package: "util-linux" },
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "/usr/sbin/adduser", package: "adduser" },
];

/// What the comparison with the parser of chat servers needs.
pub const SERVER_PARSER: &[Requirement] = &[Requirement { what: "python3", package: "python3" }];

/// What the benches need.
pub const BENCH: &[Requirement] = &[
    Requirement { what: "setpriv", package: "util-linux" },
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "kamailio", package: "kamailio" },
    Requirement { what: "/usr/lib/x86_64-linux-gnu/kamailio/modules/tls.so", package: "kamailio-tls-modules" },
    Requirement { what: "rtpengine", package: "rtpengine-daemon" },
];

/// What the bench of HTTP needs.
pub const BENCH_HTTP: &[Requirement] = &[
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "/usr/sbin/nginx", package: "nginx-light" },
];

/// What the bench of chat needs.
pub const BENCH_XMPP: &[Requirement] = &[
    Requirement { what: "openssl", package: "openssl" },
    Requirement { what: "prosody", package: "prosody" },
    Requirement { what: "/usr/sbin/haproxy", package: "haproxy" },
];

/// One line that names every Debian package missing, if any is.
pub fn check(requirements: &[Requirement]) -> Result<()> {
    let mut packages: Vec<&str> = requirements.iter().filter(|one| !one.is_there()).map(|one| one.package).collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        bail!("not installed: apt-get install {}", packages.join(" "));
    }
    Ok(())
}

/// Whether we may create network namespaces.
pub fn check_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    Ok(())
}

impl Requirement {
    fn is_there(self) -> bool {
        if self.what.starts_with('/') {
            return Path::new(&self.what.replace("x86_64", std::env::consts::ARCH)).exists();
        }
        Command::new("sh")
            .args(["-c", &format!("command -v {} >/dev/null", self.what)])
            .status()
            .is_ok_and(|s| s.success())
    }
}
