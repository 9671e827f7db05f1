//! The chains: TLS outside, and the same Prosody behind them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edgeway_interop::Host;
use edgeway_interop::certificates::{Authority, Certificate};
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::process::{Daemon, Usage, free_port};
use edgeway_interop::product::{EDGE_NAME, Product, ProductSetup, Transport, XmppSetup};

use super::crowd::{PASSWORD, user};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const START_PATIENCE: Duration = Duration::from_secs(20);
const PROSODY: &str = include_str!("../../peers/prosody.cfg.lua");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");

/// Which chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Edge and core: TLS outside, between them, and to the server.
    Edgeway,
    /// One HAProxy that ends TLS, and speaks plainly to the server.
    HaProxy,
    /// One HAProxy with TLS to the server, verified: what our core does.
    HaProxyTls,
}

impl Kind {
    /// As tables and files have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Edgeway => "edgeway",
            Self::HaProxy => "haproxy",
            Self::HaProxyTls => "haproxy-tls",
        }
    }
}

/// A running chain.
pub(crate) struct Chain {
    listens: SocketAddr,
    tiers: Tiers,
    server: Daemon,
}

enum Tiers {
    Edgeway(Box<Product>),
    HaProxy(Daemon),
}

/// What each part has used. A peer is an edge alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainUsage {
    pub(crate) edge: Usage,
    pub(crate) core: Usage,
    pub(crate) server: Usage,
}

impl Chain {
    /// Starts everything, with so many accounts.
    pub(crate) fn start(kind: Kind, users: usize, authority: &Authority, directory: &Path) -> Result<Self> {
        let certificate = authority.issue_for(&[DOMAIN, EDGE_NAME])?;
        let (plain, tls) = (free()?, free()?);
        let server = prosody(users, &certificate, directory, plain, tls)?;
        let listens = free()?;
        let tiers = match kind {
            Kind::HaProxy => Tiers::HaProxy(haproxy(&certificate, directory, listens, plain, "")?),
            Kind::HaProxyTls => {
                let ca = authority.certificate();
                let how = format!("ssl verify required ca-file {} sni str({DOMAIN}) alpn xmpp-client", ca.display());
                Tiers::HaProxy(haproxy(&certificate, directory, listens, tls, &how)?)
            }
            Kind::Edgeway => {
                let ca = authority.certificate();
                let core = format!("[[xmpp_server]]\naddress = \"{plain}\"\nca = \"{}\"\n", ca.display());
                let setup = ProductSetup {
                    dmz: Host::Here,
                    inside: Host::Here,
                    edge: free()?,
                    link: free()?,
                    core: free()?,
                    // Nobody calls: the address need not answer.
                    registrar: (Transport::Tcp, free()?),
                    core_sip: None,
                    https: None,
                    xmpp: Some(XmppSetup { listen: free()?, direct_tls: Some(listens), core }),
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
        Ok(Self { listens, tiers, server })
    }

    /// Where clients connect, with TLS from the first byte.
    pub(crate) const fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// What each part has used so far.
    pub(crate) fn usage(&self) -> Result<ChainUsage> {
        let (edge, core) = match &self.tiers {
            Tiers::Edgeway(product) => (product.edge_usage()?, product.core_usage()?),
            Tiers::HaProxy(haproxy) => (haproxy.usage()?, Usage::default()),
        };
        Ok(ChainUsage { edge, core, server: self.server.usage()? })
    }

    /// Our own processes, for profilers.
    pub(crate) fn our_pids(&self) -> Vec<u32> {
        match &self.tiers {
            Tiers::Edgeway(product) => product.pids(),
            Tiers::HaProxy(_) => Vec::new(),
        }
    }

    /// The end of the logs, for error messages.
    pub(crate) fn logs(&self) -> String {
        let tiers = match &self.tiers {
            Tiers::Edgeway(product) => product.log_tails(),
            Tiers::HaProxy(haproxy) => haproxy.log_tail(),
        };
        format!("{tiers}\n{}", self.server.log_tail())
    }
}

fn prosody(
    users: usize,
    certificate: &Certificate,
    directory: &Path,
    plain: SocketAddr,
    tls: SocketAddr,
) -> Result<Daemon> {
    let folder = directory.join("prosody");
    // Prosody escapes what is no letter or digit in the name of a folder.
    let accounts = folder.join("data").join(DOMAIN.replace('.', "%2e")).join("accounts");
    fs::create_dir_all(&accounts)?;
    for number in 0..users {
        let file = accounts.join(format!("{}.dat", user(number)));
        fs::write(file, format!("return {{ [\"password\"] = \"{PASSWORD}\" }};\n"))?;
    }
    let words = [
        ("@FOLDER@", folder.display().to_string()),
        ("@PORT@", plain.port().to_string()),
        ("@TLS_PORT@", tls.port().to_string()),
        ("@CHAIN@", certificate.certificate.display().to_string()),
        ("@KEY@", certificate.key.display().to_string()),
        ("@DOMAIN@", DOMAIN.to_owned()),
    ];
    let config = write(&folder.join("prosody.cfg.lua"), PROSODY, &words)?;
    let mut command = Host::Here.command("prosody");
    command.arg("-F").arg("--config").arg(config);
    let mut daemon = Daemon::start("prosody", &mut command, directory)?;
    daemon.wait_until("listening", START_PATIENCE, |_| Host::Here.listens_tcp(plain) && Host::Here.listens_tcp(tls))?;
    Ok(daemon)
}

fn haproxy(
    certificate: &Certificate,
    directory: &Path,
    listens: SocketAddr,
    server: SocketAddr,
    tls: &str,
) -> Result<Daemon> {
    let both = directory.join("chain-and-key.pem");
    fs::write(&both, [fs::read(&certificate.certificate)?, fs::read(&certificate.key)?].concat())?;
    let words = [
        ("@LISTEN@", listens.to_string()),
        ("@BOTH@", both.display().to_string()),
        ("@SERVER@", server.to_string()),
        ("@TLS@", tls.to_owned()),
    ];
    let config = write(&directory.join("haproxy.cfg"), HAPROXY, &words)?;
    let mut command = Host::Here.command("haproxy");
    command.arg("-db").arg("-f").arg(config);
    let mut daemon = Daemon::start("haproxy", &mut command, directory)?;
    daemon.wait_until("listening", START_PATIENCE, |_| Host::Here.listens_tcp(listens))?;
    Ok(daemon)
}

fn write(file: &Path, text: &str, words: &[(&str, String)]) -> Result<std::path::PathBuf> {
    let text = words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
    fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file.to_owned())
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}
