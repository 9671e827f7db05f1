//! The two chains: edge and core of each kind, and the same registrar behind both.

use anyhow::Result;
use edgeway_interop::Host;
use edgeway_interop::certificates::Certificate;
use edgeway_interop::kamailio::{DOMAIN, Kamailio, Running};
use edgeway_interop::process::{Usage, free_port};
use edgeway_interop::product::{EDGE_NAME, Product, ProductSetup, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EDGE_CONFIG: &str = include_str!("../../peers/edge.cfg");
const CORE_CONFIG: &str = include_str!("../../peers/core.cfg");
/// The registrar's workers, the same in both chains.
const REGISTRAR_WORKERS: u8 = 2;
/// Shared memory of a Kamailio: transactions linger for 5 s, at 10,000 a second. Untouched pages cost nothing.
const SHARED_MIB: u32 = 2048;

/// Which chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Edgeway,
    /// The peer, with so many TCP workers in each tier.
    Kamailio { workers: u8 },
}

impl Kind {
    /// A word for tables and files.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Edgeway => "edgeway".to_owned(),
            Self::Kamailio { workers } => format!("kamailio-{workers}"),
        }
    }
}

/// A running chain.
#[derive(Debug)]
pub(crate) struct Chain {
    edge_address: SocketAddr,
    registrar_address: SocketAddr,
    tiers: Tiers,
    registrar: Running,
}

#[derive(Debug)]
enum Tiers {
    Edgeway(Box<Product>),
    Kamailio { edge: Running, core: Running },
}

/// What each tier has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainUsage {
    /// The edge.
    pub(crate) edge: Usage,
    /// The core.
    pub(crate) core: Usage,
    /// The registrar.
    pub(crate) registrar: Usage,
}

impl Chain {
    /// Starts a chain.
    pub(crate) fn start(kind: Kind, certificate: &Certificate, directory: &Path) -> Result<Self> {
        let registrar_address = free()?;
        let registrar = Kamailio {
            tcp: Some(registrar_address),
            workers: REGISTRAR_WORKERS,
            shared_mib: SHARED_MIB,
            ..Kamailio::registrar("registrar")
        };
        let registrar = registrar.start(&Host::Here, directory)?;
        let edge_address = free()?;
        let tiers = match kind {
            Kind::Edgeway => start_edgeway(edge_address, registrar_address, certificate, directory)?,
            Kind::Kamailio { workers } => {
                let peer = Peer { edge_address, registrar_address, certificate, directory, workers };
                peer.start()?
            }
        };
        Ok(Self { edge_address, registrar_address, tiers, registrar })
    }

    /// Where clients connect.
    pub(crate) fn edge_address(&self) -> SocketAddr {
        self.edge_address
    }

    /// Where phones inside connect.
    pub(crate) fn registrar_address(&self) -> SocketAddr {
        self.registrar_address
    }

    /// What each tier has used so far.
    pub(crate) fn usage(&self) -> Result<ChainUsage> {
        let (edge, core) = match &self.tiers {
            Tiers::Edgeway(product) => (product.edge_usage()?, product.core_usage()?),
            Tiers::Kamailio { edge, core } => (edge.usage()?, core.usage()?),
        };
        Ok(ChainUsage { edge, core, registrar: self.registrar.usage()? })
    }

    /// Registrations our core counts now, and our edge; none of Kamailio.
    pub(crate) fn registrations(&self) -> Result<Option<(u64, u64)>> {
        match &self.tiers {
            Tiers::Edgeway(product) => {
                Ok(Some((product.registrations()?.current, product.edge_registrations()?.current)))
            }
            Tiers::Kamailio { .. } => Ok(None),
        }
    }

    /// Our own processes, for profilers.
    pub(crate) fn our_pids(&self) -> Vec<u32> {
        match &self.tiers {
            Tiers::Edgeway(product) => product.pids(),
            Tiers::Kamailio { .. } => Vec::new(),
        }
    }
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}

fn start_edgeway(
    edge: SocketAddr,
    registrar: SocketAddr,
    certificate: &Certificate,
    directory: &Path,
) -> Result<Tiers> {
    let setup = ProductSetup {
        dmz: Host::Here,
        inside: Host::Here,
        edge,
        link: free()?,
        core: free()?,
        registrar: (Transport::Tcp, registrar),
        core_sip: None,
        https: None,
        xmpp: None,
        path_headers: true,
        certificates: std::slice::from_ref(certificate),
        domain: DOMAIN,
        public_host: EDGE_NAME,
        // Below the ports the system gives to connections.
        media_ports: ("10000-19999", "20000-29999"),
        log_level: "warn",
        strangers_per_address: 50_000,
    };
    Product::start(&setup, directory).map(Box::new).map(Tiers::Edgeway)
}

/// How to start the Kamailio chain.
struct Peer<'a> {
    edge_address: SocketAddr,
    registrar_address: SocketAddr,
    certificate: &'a Certificate,
    directory: &'a Path,
    workers: u8,
}

impl Peer<'_> {
    fn start(&self) -> Result<Tiers> {
        let (core_address, core_inside) = (free()?, free()?);
        let core_defines = [
            format!("REGISTRAR_URI=\"sip:{};transport=tcp\"", self.registrar_address),
            format!("INSIDE_SOCKET=\"tcp:{core_inside}\""),
        ];
        let core = Kamailio {
            name: "kamailio-core",
            config: CORE_CONFIG,
            defines: &core_defines,
            udp: None,
            tcp: Some(core_inside),
            tls: Some((core_address, self.certificate)),
            workers: self.workers,
            shared_mib: SHARED_MIB,
        };
        let core = core.start(&Host::Here, self.directory)?;
        let edge = Kamailio {
            name: "kamailio-edge",
            config: EDGE_CONFIG,
            defines: &[format!("CORE_URI=\"sip:{core_address};transport=tls\"")],
            udp: None,
            tcp: None,
            tls: Some((self.edge_address, self.certificate)),
            workers: self.workers,
            shared_mib: SHARED_MIB,
        };
        Ok(Tiers::Kamailio { edge: edge.start(&Host::Here, self.directory)?, core })
    }
}
