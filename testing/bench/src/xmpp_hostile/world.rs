//! Edge, core and a small server behind them; and how much the edge has grown.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeway_interop::Host;
use edgeway_interop::certificates::Authority;
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::process::{Usage, free_port};
use edgeway_interop::product::{EDGE_NAME, Product, ProductSetup, Transport, XmppSetup};
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::xmpp::{StreamSeen, XmppConfig, XmppServer};
use tokio_rustls::TlsConnector;

use crate::http::crowd::connector;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Of every user.
pub(super) const PASSWORD: &str = "secret";
/// How long the server may take to notice that a stream has ended: it reads half a stanza again with each piece that comes.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// A user's name.
pub(super) fn user(number: usize) -> String {
    format!("user{number}")
}

/// Everything that runs.
pub(super) struct World {
    /// Where TLS comes on demand.
    pub(super) start_tls: SocketAddr,
    /// Where it comes first.
    pub(super) direct_tls: SocketAddr,
    pub(super) tls: TlsConnector,
    server: XmppServer,
    product: Product,
}

impl World {
    /// Starts it, with so many users.
    pub(super) fn start(directory: &Path, users: usize) -> Result<Self> {
        let ca = LabCa::new("bench")?;
        let file = directory.join("server-ca.pem");
        fs::write(&file, ca.pem())?;
        let mut config = XmppConfig::new(DOMAIN, &[]);
        config.users = (0..users).map(|number| (user(number), PASSWORD.to_owned())).collect();
        let server = XmppServer::start(config, &ca)?;
        let authority = Authority::create(directory, "authority")?;
        let certificate = authority.issue_for(&[DOMAIN, EDGE_NAME])?;
        let core = format!("[[xmpp_server]]\naddress = \"{}\"\nca = \"{}\"\n", server.first_address(), file.display());
        let (start_tls, direct_tls) = (free()?, free()?);
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
            xmpp: Some(XmppSetup { listen: start_tls, direct_tls: Some(direct_tls), core }),
            path_headers: true,
            certificates: std::slice::from_ref(&certificate),
            domain: DOMAIN,
            public_host: EDGE_NAME,
            media_ports: ("10000-10099", "20000-20099"),
            log_level: "warn",
            strangers_per_address: 50_000,
        };
        let product = Product::start(&setup, directory)?;
        let tls = connector(&authority.certificate(), b"xmpp-client")?;
        Ok(Self { start_tls, direct_tls, tls, server, product })
    }

    /// The end of the logs, for error messages.
    pub(super) fn logs(&self) -> String {
        self.product.log_tails()
    }

    /// Lets the server forget what it has heard.
    pub(super) fn forget(&self) {
        self.server.forget();
    }

    /// What the server has heard since it was told to forget.
    pub(super) fn heard(&self) -> Vec<StreamSeen> {
        self.server.streams()
    }

    /// Waits until it has heard so many bytes since then.
    pub(super) async fn has_heard(&self, goal: usize) {
        while self.heard().iter().map(|stream| stream.received.len()).sum::<usize>() < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What it has heard, once it knows that all of it has ended.
    pub(super) async fn heard_out(&self) -> Result<Vec<StreamSeen>> {
        let begun = Instant::now();
        loop {
            let streams = self.server.streams();
            if streams.iter().all(|stream| stream.ended.is_some()) {
                return Ok(streams);
            }
            ensure!(begun.elapsed() < NOTICED_WITHIN, "the server still has the stream of somebody who was cut off");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn edge(&self) -> Result<u32> {
        self.product.pids().first().copied().context("the edge runs")
    }

    /// Memory of edge and core.
    pub(super) fn usage(&self) -> Result<(Usage, Usage)> {
        Ok((self.product.edge_usage()?, self.product.core_usage()?))
    }

    /// KiB of the edge that are resident now.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(self.edge()?, "VmRSS:")
    }

    /// Begins to watch how far the edge grows.
    pub(super) fn watch(&self) -> Result<Watch> {
        let edge = self.edge()?;
        // proc(5): the peak of what is resident begins anew.
        fs::write(format!("/proc/{edge}/clear_refs"), "5").context("watch the edge's memory")?;
        Ok(Watch { edge, before: resident(edge, "VmRSS:")? })
    }
}

/// How far the edge grows.
pub(super) struct Watch {
    edge: u32,
    before: u64,
}

impl Watch {
    /// KiB that were resident beyond what was when the watch began, at their peak.
    pub(super) fn grown(&self) -> Result<u64> {
        Ok(resident(self.edge, "VmHWM:")?.saturating_sub(self.before))
    }
}

/// KiB, as `/proc` has them.
fn resident(pid: u32, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the edge is gone")?;
    let figure = status.lines().find_map(|line| line.strip_prefix(what)?.split_whitespace().next()?.parse().ok());
    figure.with_context(|| format!("no {what} in /proc"))
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}
