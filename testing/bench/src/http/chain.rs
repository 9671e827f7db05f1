//! The two chains: a tier outside and a tier inside, and the same nginx with the file behind both.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use edgeway_connectors::users_file::edit::{Costs, hash};
use edgeway_interop::Host;
use edgeway_interop::certificates::Authority;
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::process::{Usage, free_port};
use edgeway_interop::product::{EDGE_NAME, HttpsSetup, Product, ProductSetup, Transport};

use super::crowd::{Asked, Crowd};
use super::nginx::{FILE, FILE_BYTES, Nginx};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Users that sign in, in turn: more sign-ins of one user in a second than the settings can allow are refused.
const USERS: usize = 16;
const PASSWORD: &str = "wonderland";
/// How long the first sign-in may take: the bulk connection is up some time after the link.
const SIGN_IN_PATIENCE: Duration = Duration::from_secs(10);

/// Which chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Edgeway,
    Nginx { workers: u8 },
}

impl Kind {
    /// As tables and files have it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Edgeway => "edgeway".to_owned(),
            Self::Nginx { workers } => format!("nginx-{workers}"),
        }
    }
}

/// A running chain.
pub(crate) struct Chain {
    edge_address: SocketAddr,
    server_address: SocketAddr,
    tiers: Tiers,
    server: Nginx,
}

enum Tiers {
    Edgeway(Box<Product>),
    Nginx { edge: Nginx, core: Nginx },
}

/// What each tier has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainUsage {
    pub(crate) edge: Usage,
    pub(crate) core: Usage,
    pub(crate) server: Usage,
}

impl Chain {
    /// Starts everything and waits until it is ready.
    pub(crate) fn start(kind: Kind, authority: &Authority, directory: &Path) -> Result<Self> {
        let certificate = authority.issue(EDGE_NAME)?;
        let (edge_address, server_address) = (free()?, free()?);
        let server = Nginx::server(directory, server_address)?;
        let tiers = match kind {
            Kind::Nginx { workers } => {
                let core_address = free()?;
                let core = Nginx::core(directory, core_address, &certificate, server_address, workers)?;
                let trusted = authority.certificate();
                let edge =
                    Nginx::edge(directory, edge_address, &certificate, &trusted, EDGE_NAME, core_address, workers)?;
                Tiers::Nginx { edge, core }
            }
            Kind::Edgeway => {
                let https = HttpsSetup { listen: edge_address, core: core_lines(directory, server_address)? };
                let setup = ProductSetup {
                    dmz: Host::Here,
                    inside: Host::Here,
                    edge: free()?,
                    link: free()?,
                    core: free()?,
                    // Nobody calls: the address need not answer.
                    registrar: (Transport::Tcp, free()?),
                    core_sip: None,
                    https: Some(https),
                    xmpp: None,
                    path_headers: true,
                    certificates: std::slice::from_ref(&certificate),
                    domain: DOMAIN,
                    public_host: EDGE_NAME,
                    media_ports: ("10000-10099", "20000-20099"),
                    log_level: "warn",
                    strangers_per_address: 50_000,
                };
                Tiers::Edgeway(Box::new(Product::start(&setup, directory)?))
            }
        };
        Ok(Self { edge_address, server_address, tiers, server })
    }

    /// Where clients connect.
    pub(crate) fn edge_address(&self) -> SocketAddr {
        self.edge_address
    }

    /// What each tier has used so far.
    pub(crate) fn usage(&self) -> Result<ChainUsage> {
        let (edge, core) = match &self.tiers {
            Tiers::Edgeway(product) => (product.edge_usage()?, product.core_usage()?),
            Tiers::Nginx { edge, core } => (edge.usage()?, core.usage()?),
        };
        Ok(ChainUsage { edge, core, server: self.server.usage()? })
    }

    /// Our own processes, for profilers.
    pub(crate) fn our_pids(&self) -> Vec<u32> {
        match &self.tiers {
            Tiers::Edgeway(product) => product.pids(),
            Tiers::Nginx { .. } => Vec::new(),
        }
    }

    /// The end of our logs, for error messages.
    pub(crate) fn logs(&self) -> String {
        match &self.tiers {
            Tiers::Edgeway(product) => product.log_tails(),
            Tiers::Nginx { .. } => String::new(),
        }
    }

    /// The request for the file: with a session token, which nginx gets too and looks at as little as at any cookie.
    pub(crate) fn file(&self, crowd: &Crowd) -> Result<Vec<Asked>> {
        let cookie = match &self.tiers {
            Tiers::Edgeway(_) => sign_in(crowd).with_context(|| self.logs())?,
            // As long as ours.
            Tiers::Nginx { .. } => format!("X-Auth={}", "t".repeat(TOKEN_CHARS)),
        };
        let descriptor = format!("{DOMAIN}/http/{}/{}", self.server_address.ip(), self.server_address.port());
        let path = format!("/{}/{FILE}", STANDARD_NO_PAD.encode(descriptor));
        Ok(vec![Asked { path, headers: vec![("Cookie", cookie)], bytes_min: FILE_BYTES }])
    }

    /// The requests that sign in; with nginx, the file, which costs it what any answer costs.
    pub(crate) fn signing_in(&self, crowd: &Crowd) -> Result<Vec<Asked>> {
        match &self.tiers {
            Tiers::Edgeway(_) => Ok((0..USERS).map(small_lane).collect()),
            Tiers::Nginx { .. } => self.file(crowd),
        }
    }
}

/// About what a session token has.
const TOKEN_CHARS: usize = 180;

fn user(number: usize) -> String {
    format!("user{number}")
}

fn small_lane(number: usize) -> Asked {
    let credentials = STANDARD.encode(format!("{}:{PASSWORD}", user(number)));
    let path = format!("/{}/get_edge_config", STANDARD_NO_PAD.encode(DOMAIN));
    Asked { path, headers: vec![("Authorization", format!("Basic {credentials}"))], bytes_min: 1 }
}

/// Signs in; gives the cookie.
fn sign_in(crowd: &Crowd) -> Result<String> {
    let start = Instant::now();
    loop {
        let (status, head, _) = crowd.once(&small_lane(0))?;
        let field = head.lines().filter_map(|line| line.split_once(':'));
        let mut cookies = field.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let cookie = cookies.find_map(|(_, value)| value.trim().split(';').next()).map(str::to_owned);
        match (status, cookie) {
            (200, Some(cookie)) => return Ok(cookie),
            (503, _) if start.elapsed() < SIGN_IN_PATIENCE => std::thread::sleep(Duration::from_millis(100)),
            _ => bail!("the sign-in was answered with {status}:\n{head}"),
        }
    }
}

/// The core's part: a user, as many sign-ins as we like, and a rule for the server.
fn core_lines(directory: &Path, server: SocketAddr) -> Result<String> {
    let (users, list) = (directory.join("users"), directory.join("allow-list.csv"));
    let hash = hash(PASSWORD.as_bytes(), Costs::USUAL)?;
    let text: String = (0..USERS).map(|number| format!("{}:{hash}\n", user(number))).collect();
    fs::write(&users, text)?;
    fs::write(
        &list,
        format!("Url,Deployment,HttpMethods,MatchType,Description\nhttp://{server}/,,GET,Prefix,bench\n"),
    )?;
    let mut lines = String::new();
    writeln!(lines, "[sign_in]\nauthority = \"users\"\nusers_file = \"{}\"", users.display())?;
    writeln!(
        lines,
        "maximum_authorizations_per_period = 1000\nrate_control_period = \"1s\"\n[http]\nallow_list = \"{}\"",
        list.display()
    )?;
    Ok(lines)
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}
