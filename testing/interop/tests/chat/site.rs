//! What every story stands on: a network with an IM server inside and something for clients to connect to.

use anyhow::{Context as _, Result, ensure};
use edgeway_connectors::users_file::edit::{Costs, hash};
use edgeway_interop::Network;
use edgeway_interop::certificates::{Authority, Certificate};
use edgeway_interop::chat_party::{Party, PartySetup};
use edgeway_interop::chat_server::{CHAT_PORT, ChatServer, Make, UPLOAD_PORT, USERS};
use edgeway_interop::kamailio::{DOMAIN, PASSWORD};
use edgeway_interop::network::{CORE, EDGE_LINK, EDGE_PUBLIC, LINK_PORT, Outside, REGISTRAR, Station};
use edgeway_interop::process::Scratch;
use edgeway_interop::product::{EDGE_NAME, HttpsSetup, Product, ProductSetup, Transport, XmppSetup};
use edgeway_interop::report::Report;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Where clients inside and the core find the server.
pub(crate) const SERVER: IpAddr = REGISTRAR;
/// The edge's HTTPS port.
pub(crate) const HTTPS_PORT: u16 = 8443;

/// What clients outside talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Edgeway.
    Product,
    /// The server, reachable from outside: proves the scripts.
    Server,
}

/// A network with its servers, without clients. Fields are dropped in this order: the network goes last.
pub(crate) struct Site {
    pub(crate) product: Option<Product>,
    make: Make,
    pub(crate) server: ChatServer,
    pub(crate) authority: Authority,
    pub(crate) scratch: Scratch,
    pub(crate) network: Network,
}

/// Where clients outside connect.
pub(crate) fn door() -> SocketAddr {
    SocketAddr::new(EDGE_PUBLIC, CHAT_PORT)
}

/// Where clients outside connect with TLS from the first byte.
pub(crate) fn direct_door() -> SocketAddr {
    SocketAddr::new(EDGE_PUBLIC, 5223)
}

impl Site {
    pub(crate) fn build(report: &Report, make: Make, front: Front) -> Result<Self> {
        let (scratch, network) = ground(report)?;
        let authority = Authority::create(scratch.path(), "authority")?;
        let server = match front {
            Front::Product => start_server(make, &network, &authority, &scratch)?,
            Front::Server => {
                let certificate = server_certificate(&authority, EDGE_PUBLIC)?;
                make.start(&network.dmz(), EDGE_PUBLIC, &certificate, scratch.path())?
            }
        };
        let product = match front {
            Front::Product => {
                let certificates = edge_certificates(&authority)?;
                let core = core_lines(scratch.path(), &authority.certificate())?;
                Some(Product::start(
                    &product_setup(&network, &certificates, core, &authority.certificate()),
                    scratch.path(),
                )?)
            }
            Front::Server => None,
        };
        Ok(Self { product, make, server, authority, scratch, network })
    }

    /// Starts the server inside that was stopped, with what it had kept.
    pub(crate) fn start_server_again(&mut self) -> Result<()> {
        self.server = start_server(self.make, &self.network, &self.authority, &self.scratch)?;
        Ok(())
    }

    /// Somebody outside, signing in as most clients do.
    pub(crate) fn party(&self, user: &str, resource: &str, station: &Station) -> Result<Party> {
        self.party_with(user, resource, station, |_| ())
    }

    /// The same with something changed first.
    pub(crate) fn party_with(
        &self,
        user: &str,
        resource: &str,
        station: &Station,
        change: impl FnOnce(&mut PartySetup<'_>),
    ) -> Result<Party> {
        let ca = self.authority.certificate();
        let mut setup = PartySetup::new(user, resource, door(), &ca);
        change(&mut setup);
        Party::start(station.host(), &setup, &self.scratch)
    }

    /// The end of the product's logs, for error messages.
    pub(crate) fn logs(&self) -> String {
        self.product.as_ref().map(Product::log_tails).unwrap_or_default()
    }

    pub(crate) fn finish(self, report: &Report) -> Result<()> {
        let Self { product, make: _, server, authority: _, scratch, network } = self;
        // They write into the folder until they have ended.
        drop((product, server));
        finish(report, &network, scratch);
        Ok(())
    }
}

/// A folder and a network for a story.
pub(crate) fn ground(report: &Report) -> Result<(Scratch, Network)> {
    Ok((Scratch::create(&report.world().replace([' ', ','], "-"))?, Network::create(Outside::Apart)?))
}

/// The firewall saw nothing new from the DMZ; keeps the logs where something failed.
pub(crate) fn finish(report: &Report, network: &Network, mut scratch: Scratch) {
    report.scenario("no new flow from the DMZ to the inside", || {
        let flows = network.new_flows_from_dmz()?;
        ensure!(flows == 0, "{flows} packets tried to open one");
        Ok(())
    });
    if report.totals().1 > 0 {
        scratch.keep();
        println!("logs:   {:<30} {}", report.world(), scratch.path().display());
    }
}

/// Starts an IM server inside.
pub(crate) fn start_server(
    make: Make,
    network: &Network,
    authority: &Authority,
    scratch: &Scratch,
) -> Result<ChatServer> {
    make.start(&network.inside(), SERVER, &server_certificate(authority, SERVER)?, scratch.path())
}

/// What a server shows: for the domain's clients, and over HTTPS, where it is known by its address.
pub(crate) fn server_certificate(authority: &Authority, address: IpAddr) -> Result<Certificate> {
    let (rooms, upload, address) = (format!("rooms.{DOMAIN}"), format!("upload.{DOMAIN}"), address.to_string());
    authority.issue_for(&[DOMAIN, &rooms, &upload, &address])
}

/// What an edge shows: clients of chat look for the domain, browsers for the edge.
pub(crate) fn edge_certificates(authority: &Authority) -> Result<[Certificate; 2]> {
    Ok([authority.issue(EDGE_NAME)?, authority.issue_for(&["chat.example.test", DOMAIN])?])
}

/// An edge and a core as everybody has them.
pub(crate) fn product_setup<'a>(
    network: &Network,
    certificates: &'a [Certificate],
    core: String,
    ca: &Path,
) -> ProductSetup<'a> {
    ProductSetup {
        dmz: network.dmz(),
        inside: network.inside(),
        edge: SocketAddr::new(EDGE_PUBLIC, 5061),
        link: SocketAddr::new(EDGE_LINK, LINK_PORT),
        core: SocketAddr::new(CORE, 5060),
        // Nobody calls: the address need not answer.
        registrar: (Transport::Tcp, SocketAddr::new(SERVER, 5060)),
        core_sip: None,
        https: Some(HttpsSetup { listen: SocketAddr::new(EDGE_PUBLIC, HTTPS_PORT), core }),
        xmpp: Some(XmppSetup { listen: door(), direct_tls: Some(direct_door()), core: chat_lines(ca) }),
        path_headers: true,
        certificates,
        domain: DOMAIN,
        public_host: EDGE_NAME,
        media_ports: ("36000-36999", "36000-36999"),
        log_level: "debug",
        strangers_per_address: 1000,
    }
}

/// The core's tables for HTTP: the same people as the IM server has, whose certificate comes from `ca`, and a rule for
/// its files.
pub(crate) fn core_lines(directory: &Path, ca: &Path) -> Result<String> {
    let (users, list) = (directory.join("users"), directory.join("allow-list.csv"));
    let hash = hash(PASSWORD.as_bytes(), Costs::USUAL)?;
    let people: String = USERS.iter().map(|user| format!("{user}:{hash}\n")).collect();
    fs::write(&users, people).context("users")?;
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600))?;
    let rule = format!("https://{SERVER}:{UPLOAD_PORT}/,,\"GET,PUT\",prefix,files\n");
    fs::write(&list, format!("Url,Deployment,HttpMethods,MatchType,Description\n{rule}"))?;
    let mut lines = String::new();
    writeln!(lines, "[sign_in]\nauthority = \"users\"\nusers_file = \"{}\"", users.display())?;
    // A story signs in more often than people do, and every resumption is a sign-in.
    writeln!(lines, "maximum_authorizations_per_period = 1000")?;
    writeln!(lines, "[http]\nallow_list = \"{}\"\nca = \"{}\"", list.display(), ca.display())?;
    Ok(lines)
}

/// The core's table of the IM server, whose certificate comes from `ca`.
pub(crate) fn chat_lines(ca: &Path) -> String {
    format!("[[xmpp_server]]\naddress = \"{SERVER}:{CHAT_PORT}\"\nca = \"{}\"\n", ca.display())
}
