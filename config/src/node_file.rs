//! What both files share: the log, and who wants which port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::reader::{Complaint, Found, Reader};
use crate::settings::{HepSettings, LogFormat, LogLevel, LogSettings, MediaDscp, PortRange};
use crate::values;

pub(crate) const STATE_DIR: &str = "/var/lib/edgeway";
pub(crate) const MEDIA_PORTS: PortRange = PortRange { first: 36_000, last: 59_999 };

/// Fits into the time systemd gives a service to end (90 s, unless its unit says otherwise), with room for saying
/// goodbye, and is short enough for whoever restarts a service and looks on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a service that is told to end waits for what it serves.
pub(crate) fn drain_timeout(reader: &mut Reader<'_>) -> Duration {
    reader.read("drain.timeout", values::drain_timeout).or(DRAIN_TIMEOUT)
}

pub(crate) fn log(reader: &mut Reader<'_>) -> LogSettings {
    LogSettings {
        level: reader.read("log.level", values::log_level).or(LogLevel::Info),
        format: reader.read("log.format", values::log_format).or(LogFormat::Human),
        hep: hep(reader),
    }
}

fn hep(reader: &mut Reader<'_>) -> Option<HepSettings> {
    let collector = reader.read("hep.collector", values::hep_collector).good();
    let capture_id = reader.read("hep.capture_id", values::capture_id).or(HEP_CAPTURE_ID);
    collector.map(|collector| HepSettings { collector, capture_id })
}

/// The capture id of a node that is given none.
const HEP_CAPTURE_ID: u32 = 2_001;

/// One address a setting wants to listen on.
pub(crate) struct Claim {
    path: String,
    line: Option<usize>,
    address: SocketAddr,
    tcp: bool,
    udp: bool,
}

impl Claim {
    /// A list of TCP addresses, or its default.
    pub(crate) fn tcp(path: &str, found: &Found<Vec<SocketAddr>>, default: SocketAddr) -> Vec<Self> {
        Self::list(path, found, default, false)
    }

    /// A list of addresses for TCP and UDP, or its default.
    pub(crate) fn tcp_and_udp(path: &str, found: &Found<Vec<SocketAddr>>, default: SocketAddr) -> Vec<Self> {
        Self::list(path, found, default, true)
    }

    /// One address for TCP and UDP, or its default.
    pub(crate) fn both(path: &str, found: &Found<SocketAddr>, default: SocketAddr) -> Self {
        Self { path: path.to_owned(), line: found.line(), address: found.clone().or(default), tcp: true, udp: true }
    }

    /// The metrics page, if it is served.
    pub(crate) fn loopback(found: &Found<SocketAddr>) -> Option<Self> {
        Self::tcp_if_set("metrics", found)
    }

    /// One TCP address that need not be there.
    pub(crate) fn tcp_if_set(path: &str, found: &Found<SocketAddr>) -> Option<Self> {
        let address = found.clone().good()?;
        Some(Self { path: path.to_owned(), line: found.line(), address, tcp: true, udp: false })
    }

    /// One TCP address that is written in a line.
    pub(crate) fn written_tcp(path: &str, line: usize, address: SocketAddr) -> Self {
        Self { path: path.to_owned(), line: Some(line), address, tcp: true, udp: false }
    }

    fn list(path: &str, found: &Found<Vec<SocketAddr>>, default: SocketAddr, udp: bool) -> Vec<Self> {
        let line = found.line();
        let claim = |(index, address): (usize, SocketAddr)| Self {
            path: if line.is_some() { format!("{path}[{index}]") } else { path.to_owned() },
            line,
            address,
            tcp: true,
            udp,
        };
        found.clone().or(vec![default]).into_iter().enumerate().map(claim).collect()
    }

    fn meets(&self, other: &Self) -> bool {
        let protocol = (self.tcp && other.tcp) || (self.udp && other.udp);
        protocol && self.address.port() == other.address.port() && same_host(self.address.ip(), other.address.ip())
    }
}

/// Complains where two settings want the same port of the same address.
pub(crate) fn check_claims(reader: &mut Reader<'_>, claims: &[Claim]) {
    for (index, claim) in claims.iter().enumerate() {
        for earlier in &claims[..index] {
            if !claim.meets(earlier) {
                continue;
            }
            // The complaint goes to the one that is written; a default gives way.
            let (blamed, other) = if claim.line.is_some() { (claim, earlier) } else { (earlier, claim) };
            let reason = format!("{} is taken by {} ({})", blamed.address, other.path, other.address);
            let complaint = Complaint::new(reason, "Give each its own port or address.");
            reader.complain(&blamed.path, blamed.line, complaint);
        }
    }
}

/// How media packets are marked.
pub(crate) fn media_dscp(reader: &mut Reader<'_>) -> MediaDscp {
    MediaDscp {
        audio: reader.read("media.dscp_audio", values::dscp).or(46),
        video: reader.read("media.dscp_video", values::dscp).or(34),
    }
}

/// Complains where a UDP listener sits inside the range of media ports.
pub(crate) fn check_media_ports(reader: &mut Reader<'_>, claims: &[Claim], address: IpAddr, ports: &Found<PortRange>) {
    let range = ports.clone().or(MEDIA_PORTS);
    for claim in claims.iter().filter(|claim| claim.udp) {
        if range.contains(claim.address.port()) && same_host(claim.address.ip(), address) {
            let reason = format!("{range} overlaps {} ({})", claim.path, claim.address);
            let complaint = Complaint::new(reason, "Move one of the two.");
            reader.complain("media.ports", ports.line().or(claim.line), complaint);
        }
    }
}

/// Whether a listener on the one address takes ports of the other. `::` takes IPv4 ports too, unless
/// the socket says otherwise; ours do not share, so the two families are apart.
fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}
