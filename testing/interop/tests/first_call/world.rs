//! A network with a registrar, something for phones to register at, and three phones.

use crate::Report;
use anyhow::Result;
use edgeway_interop::Network;
use edgeway_interop::baresip::{Phone, PhoneSetup};
use edgeway_interop::certificates::{Authority, Certificate};
use edgeway_interop::kamailio::{self, DOMAIN, Kamailio, PASSWORD};
use edgeway_interop::network::Outside;
use edgeway_interop::network::{CORE, EDGE_LINK, EDGE_PUBLIC, LINK_PORT, REGISTRAR};
use edgeway_interop::process::Scratch;
use edgeway_interop::product::{EDGE_NAME, Product, ProductSetup, SECOND_NAME, Transport};
use std::net::SocketAddr;

/// Phones do not register anew while a test runs, unless they lost something.
const REGISTRATION_SECONDS: u32 = 3600;

/// What phones outside talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Edgeway.
    Product { path_headers: bool, transport: Transport },
    /// A Kamailio that is reachable from outside: proves the harness.
    Kamailio,
}

/// Fields are dropped in this order: phones hang up first, the network goes last.
pub(crate) struct World {
    pub(crate) alice: Phone,
    pub(crate) bob: Phone,
    /// Inside, without encryption. None where there is no product to reach it through.
    pub(crate) carol: Option<Phone>,
    pub(crate) product: Option<Product>,
    _registrar: kamailio::Running,
    pub(crate) authority: Authority,
    pub(crate) stranger: Authority,
    pub(crate) scratch: Scratch,
    pub(crate) network: Network,
}

/// Where phones outside connect.
pub(crate) fn edge_address() -> SocketAddr {
    SocketAddr::new(EDGE_PUBLIC, 5061)
}

impl World {
    /// Builds everything and waits until the phones are registered.
    pub(crate) fn build(report: &Report, front: Front) -> Result<Self> {
        let scratch = Scratch::create(&report.world().replace([' ', ','], "-"))?;
        // Through Kamailio alone media goes from phone to phone.
        let outside = if front == Front::Kamailio { Outside::Together } else { Outside::Apart };
        let network = Network::create(outside)?;
        let authority = Authority::create(scratch.path(), "authority")?;
        let stranger = Authority::create(scratch.path(), "stranger")?;
        let certificates = [authority.issue(EDGE_NAME)?, authority.issue(SECOND_NAME)?];
        let registrar = start_registrar(&network, &scratch, front, &certificates[0])?;
        let product = match front {
            Front::Product { path_headers, transport } => {
                Some(start_product(&network, &scratch, path_headers, transport, &certificates)?)
            }
            Front::Kamailio => None,
        };
        let alice = outside_phone(&network, &scratch, "alice", 0, 440.0, true)?;
        let bob = outside_phone(&network, &scratch, "bob", 1, 660.0, true)?;
        let carol = product.is_some().then(|| inside_phone(&network, &scratch)).transpose()?;
        let world = Self { alice, bob, carol, product, _registrar: registrar, authority, stranger, scratch, network };
        report.scenario("phones register with digest", || world.wait_registered());
        Ok(world)
    }

    /// The firewall saw nothing new from the DMZ; keeps the logs where something failed.
    pub(crate) fn finish(mut self, report: &Report) -> Result<()> {
        report.scenario("no new flow from the DMZ to the inside", || {
            let flows = self.network.new_flows_from_dmz()?;
            anyhow::ensure!(flows == 0, "{flows} packets tried to open one");
            Ok(())
        });
        if report.totals().1 > 0 {
            self.scratch.keep();
            println!("logs:   {:<30} {}", report.world(), self.scratch.path().display());
        }
        Ok(())
    }

    /// The counter the judgement rests on does count: a flow from the DMZ to the inside is dropped and seen.
    pub(crate) fn firewall_counts(&self, report: &Report) -> Result<()> {
        let other = Network::create(Outside::Apart)?;
        report.scenario("the firewall drops and counts a flow from the DMZ", || {
            let inside = SocketAddr::new(REGISTRAR, 5060);
            anyhow::ensure!(!other.dmz().accepts_tcp(inside), "the DMZ reached the inside");
            anyhow::ensure!(other.new_flows_from_dmz()? > 0, "the attempt was not counted");
            Ok(())
        });
        Ok(())
    }

    fn wait_registered(&self) -> Result<()> {
        let phones = [Some(&self.alice), Some(&self.bob), self.carol.as_ref()];
        phones.into_iter().flatten().try_for_each(Phone::wait_registered)
    }
}

/// One more phone outside.
pub(crate) fn outside_phone(
    network: &Network,
    scratch: &Scratch,
    user: &str,
    index: u8,
    tone_hz: f64,
    encrypted: bool,
) -> Result<Phone> {
    outside_phone_with_password(network, scratch, user, index, tone_hz, encrypted, PASSWORD)
}

/// The same with a password of one's choice.
pub(crate) fn outside_phone_with_password(
    network: &Network,
    scratch: &Scratch,
    user: &str,
    index: u8,
    tone_hz: f64,
    encrypted: bool,
    password: &str,
) -> Result<Phone> {
    let outbound = format!("sip:{};transport=tls", edge_address());
    let setup = PhoneSetup {
        user,
        outbound: &outbound,
        password,
        encrypted,
        tone_hz,
        registration_seconds: REGISTRATION_SECONDS,
    };
    Phone::start(network.station_outside(index)?, &setup, scratch)
}

fn inside_phone(network: &Network, scratch: &Scratch) -> Result<Phone> {
    let outbound = format!("sip:{REGISTRAR}:5060;transport=udp");
    let setup = PhoneSetup {
        user: "carol",
        outbound: &outbound,
        password: PASSWORD,
        encrypted: false,
        tone_hz: 880.0,
        registration_seconds: REGISTRATION_SECONDS,
    };
    Phone::start(network.station_inside(0)?, &setup, scratch)
}

fn start_registrar(
    network: &Network,
    scratch: &Scratch,
    front: Front,
    certificate: &Certificate,
) -> Result<kamailio::Running> {
    let inside = SocketAddr::new(REGISTRAR, 5060);
    match front {
        Front::Product { .. } => Kamailio { udp: Some(inside), tcp: Some(inside), ..Kamailio::registrar("registrar") }
            .start(&network.inside(), scratch.path()),
        Front::Kamailio => Kamailio { tls: Some((edge_address(), certificate)), ..Kamailio::registrar("registrar") }
            .start(&network.dmz(), scratch.path()),
    }
}

fn start_product(
    network: &Network,
    scratch: &Scratch,
    path_headers: bool,
    transport: Transport,
    certificates: &[Certificate],
) -> Result<Product> {
    let public_host = EDGE_PUBLIC.to_string();
    let setup = ProductSetup {
        dmz: network.dmz(),
        inside: network.inside(),
        edge: edge_address(),
        link: SocketAddr::new(EDGE_LINK, LINK_PORT),
        core: SocketAddr::new(CORE, 5060),
        registrar: (transport, SocketAddr::new(REGISTRAR, 5060)),
        path_headers,
        certificates,
        domain: DOMAIN,
        // Phones in a namespace have no DNS: the edge's public address stands in its headers.
        public_host: &public_host,
        media_ports: ("36000-36999", "36000-36999"),
        log_level: "debug",
        strangers_per_address: 1000,
    };
    Product::start(&setup, scratch.path())
}
