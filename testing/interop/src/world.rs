//! What every test stands on: a network with a registrar and something for phones to register at ([`Site`]), and
//! three phones on it ([`World`]).

use crate::Network;
use crate::baresip::{Phone, PhoneSetup};
use crate::certificates::{Authority, Certificate};
use crate::kamailio::{self, DOMAIN, Kamailio, PASSWORD};
use crate::network::{CORE, EDGE_LINK, EDGE_PUBLIC, LINK_PORT, Outside, REGISTRAR};
use crate::process::Scratch;
use crate::product::{EDGE_NAME, Product, ProductSetup, SECOND_NAME, Transport};
use crate::report::Report;
use crate::wire_phone::WirePhone;
use anyhow::{Result, ensure};
use std::net::SocketAddr;

/// Phones do not register anew while a test runs, unless they lost something.
const REGISTRATION_SECONDS: u32 = 3600;

/// What phones outside talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Edgeway.
    Product {
        /// SIP Path headers On or Off.
        path_headers: bool,
        /// How the core reaches the registrar.
        transport: Transport,
    },
    /// A Kamailio that is reachable from outside: proves the harness.
    Kamailio,
}

/// A network with its servers, without phones. Fields are dropped in this order: the network goes last.
#[derive(Debug)]
pub struct Site {
    /// Edge and core, if they are what phones register at.
    pub product: Option<Product>,
    registrar: kamailio::Running,
    /// The CA phones trust.
    pub authority: Authority,
    /// A CA nobody trusts.
    pub stranger: Authority,
    /// Where logs and recordings lie.
    pub scratch: Scratch,
    /// The namespaces.
    pub network: Network,
}

/// A site and three phones, which are dropped first: they hang up.
#[derive(Debug)]
pub struct World {
    /// Outside.
    pub alice: Phone,
    /// Outside.
    pub bob: Phone,
    /// Inside, without encryption. None where there is no product to reach it through.
    pub carol: Option<Phone>,
    /// What they stand on.
    pub site: Site,
}

/// Where phones outside connect.
pub fn edge_address() -> SocketAddr {
    SocketAddr::new(EDGE_PUBLIC, 5061)
}

/// Where the registrar listens inside.
pub fn registrar_address() -> SocketAddr {
    SocketAddr::new(REGISTRAR, 5060)
}

impl Site {
    /// Starts registrar and front; `defines` switch on parts of the registrar's configuration.
    pub fn build(report: &Report, front: Front, defines: &[String]) -> Result<Self> {
        let scratch = Scratch::create(&report.world().replace([' ', ','], "-"))?;
        // Through Kamailio alone media goes from phone to phone.
        let outside = if front == Front::Kamailio { Outside::Together } else { Outside::Apart };
        let network = Network::create(outside)?;
        let authority = Authority::create(scratch.path(), "authority")?;
        let stranger = Authority::create(scratch.path(), "stranger")?;
        let certificates = [authority.issue(EDGE_NAME)?, authority.issue(SECOND_NAME)?];
        let registrar = start_registrar(&network, &scratch, front, &certificates[0], defines)?;
        let product = match front {
            Front::Product { path_headers, transport } => {
                Some(start_product(&network, &scratch, path_headers, transport, &certificates, None)?)
            }
            Front::Kamailio => None,
        };
        Ok(Self { product, registrar, authority, stranger, scratch, network })
    }

    /// With two registrars inside that are spoken to over TLS, both ways with certificates, and with a third
    /// that a stranger has certified. They share no bindings.
    pub fn build_tls(report: &Report) -> Result<(Self, [kamailio::Running; 2])> {
        let scratch = Scratch::create(&report.world().replace([' ', ','], "-"))?;
        let network = Network::create(Outside::Apart)?;
        let authority = Authority::create(scratch.path(), "authority")?;
        let stranger = Authority::create(scratch.path(), "stranger")?;
        let certificates = [authority.issue(EDGE_NAME)?, authority.issue(SECOND_NAME)?];
        let [core, good] = [authority.issue(&CORE.to_string())?, authority.issue(&REGISTRAR.to_string())?];
        let bad = stranger.issue(&REGISTRAR.to_string())?;
        let start = |name, port, certificate| {
            let tls = Some((SocketAddr::new(REGISTRAR, port), certificate));
            Kamailio { tls, ..Kamailio::registrar(name) }.start(&network.inside(), scratch.path())
        };
        let [registrar, second] = [start("registrar", 5061, &good)?, start("second", 5071, &good)?];
        let impostor = start("impostor", 5081, &bad)?;
        let core_sip = format!(
            "registrars = [\"tls:{REGISTRAR}:5061\", \"tls:{REGISTRAR}:5071\", \"tls:{REGISTRAR}:5081\"]\n\
             options_interval = \"2s\"\n[sip.tls]\nlisten = [\"{CORE}:5061\"]\nca = \"{}\"\n\
             certificate = \"{}\"\nkey = \"{}\"",
            authority.certificate().display(),
            core.certificate.display(),
            core.key.display(),
        );
        let product = start_product(&network, &scratch, true, Transport::Tcp, &certificates, Some(core_sip))?;
        let site = Self { product: Some(product), registrar, authority, stranger, scratch, network };
        Ok((site, [second, impostor]))
    }

    /// The first registrar ends.
    pub fn stop_registrar(&mut self) {
        self.registrar.stop();
    }

    /// A phone outside, registering with encryption and its right password.
    pub fn outside(&self, user: &str, index: u8, tone_hz: f64) -> Result<Phone> {
        self.outside_with(user, index, tone_hz, |_| ())
    }

    /// The same with something changed first.
    pub fn outside_with(
        &self,
        user: &str,
        index: u8,
        tone_hz: f64,
        change: impl FnOnce(&mut PhoneSetup<'_>),
    ) -> Result<Phone> {
        let outbound = format!("sip:{};transport=tls", edge_address());
        let mut setup = phone_setup(user, &outbound, tone_hz);
        setup.encrypted = true;
        change(&mut setup);
        Phone::start(self.network.station_outside(index)?, &setup, &self.scratch)
    }

    /// A phone inside, registering at the registrar itself over UDP, without encryption.
    pub fn inside(&self, user: &str, index: u8, tone_hz: f64) -> Result<Phone> {
        self.inside_with(user, index, tone_hz, |_| ())
    }

    /// The same with something changed first.
    pub fn inside_with(
        &self,
        user: &str,
        index: u8,
        tone_hz: f64,
        change: impl FnOnce(&mut PhoneSetup<'_>),
    ) -> Result<Phone> {
        let outbound = format!("sip:{};transport=udp", registrar_address());
        let mut setup = phone_setup(user, &outbound, tone_hz);
        change(&mut setup);
        Phone::start(self.network.station_inside(index)?, &setup, &self.scratch)
    }

    /// A phone of our own outside, registered.
    pub fn wire_outside(&self, user: &str) -> Result<WirePhone> {
        self.wire_outside_with(user, "")
    }

    /// The same with parameters of its Contact, such as `;q=0.5`.
    pub fn wire_outside_with(&self, user: &str, contact_parameters: &str) -> Result<WirePhone> {
        let (internet, authority) = (self.network.internet(), self.authority.certificate());
        let mut phone = WirePhone::connect(&internet, user, edge_address(), EDGE_NAME, &authority)?;
        phone.set_contact_parameters(contact_parameters);
        let status = phone.register(600)?;
        ensure!(status == 200, "{user} registers: status {status}");
        Ok(phone)
    }

    /// A phone of our own inside on `port` of the registrar's machine, registered there over UDP.
    pub fn wire_inside(&self, user: &str, port: u16) -> Result<WirePhone> {
        let own = SocketAddr::new(REGISTRAR, port);
        let mut phone = WirePhone::bind(&self.network.inside(), user, own, registrar_address())?;
        let status = phone.register(600)?;
        ensure!(status == 200, "{user} registers: status {status}");
        Ok(phone)
    }

    /// What the registrar logged.
    pub fn registrar_log(&self) -> String {
        self.registrar.log()
    }

    /// The firewall saw nothing new from the DMZ; keeps the logs where something failed.
    pub fn finish(mut self, report: &Report) -> Result<()> {
        report.scenario("no new flow from the DMZ to the inside", || {
            let flows = self.network.new_flows_from_dmz()?;
            ensure!(flows == 0, "{flows} packets tried to open one");
            Ok(())
        });
        if report.totals().1 > 0 {
            self.scratch.keep();
            println!("logs:   {:<30} {}", report.world(), self.scratch.path().display());
        }
        Ok(())
    }
}

impl World {
    /// Builds everything and waits until the phones are registered.
    pub fn build(report: &Report, front: Front) -> Result<Self> {
        let site = Site::build(report, front, &[])?;
        let alice = site.outside("alice", 0, 440.0)?;
        let bob = site.outside("bob", 1, 660.0)?;
        let carol = site.product.is_some().then(|| site.inside("carol", 0, 880.0)).transpose()?;
        let world = Self { alice, bob, carol, site };
        report.scenario("phones register with digest", || world.wait_registered());
        Ok(world)
    }

    /// See [`Site::finish`].
    pub fn finish(self, report: &Report) -> Result<()> {
        let Self { alice, bob, carol, site } = self;
        drop((alice, bob, carol));
        site.finish(report)
    }

    /// The counter the judgement rests on does count: a flow from the DMZ to the inside is dropped and seen.
    pub fn firewall_counts(&self, report: &Report) -> Result<()> {
        let other = Network::create(Outside::Apart)?;
        report.scenario("the firewall drops and counts a flow from the DMZ", || {
            ensure!(!other.dmz().accepts_tcp(registrar_address()), "the DMZ reached the inside");
            ensure!(other.new_flows_from_dmz()? > 0, "the attempt was not counted");
            Ok(())
        });
        Ok(())
    }

    fn wait_registered(&self) -> Result<()> {
        let phones = [Some(&self.alice), Some(&self.bob), self.carol.as_ref()];
        phones.into_iter().flatten().try_for_each(Phone::wait_registered)
    }
}

fn phone_setup<'a>(user: &'a str, outbound: &'a str, tone_hz: f64) -> PhoneSetup<'a> {
    PhoneSetup {
        user,
        outbound,
        password: PASSWORD,
        encrypted: false,
        tone_hz,
        registration_seconds: REGISTRATION_SECONDS,
        answers: true,
        video: false,
        message_waiting: false,
    }
}

fn start_registrar(
    network: &Network,
    scratch: &Scratch,
    front: Front,
    certificate: &Certificate,
    defines: &[String],
) -> Result<kamailio::Running> {
    let inside = registrar_address();
    let mut defines = defines.to_vec();
    if front == Front::Kamailio {
        defines.push("WITH_PHONES".to_owned());
    }
    let registrar = Kamailio { defines: &defines, ..Kamailio::registrar("registrar") };
    match front {
        Front::Product { .. } => {
            Kamailio { udp: Some(inside), tcp: Some(inside), ..registrar }.start(&network.inside(), scratch.path())
        }
        Front::Kamailio => {
            Kamailio { tls: Some((edge_address(), certificate)), ..registrar }.start(&network.dmz(), scratch.path())
        }
    }
}

fn start_product(
    network: &Network,
    scratch: &Scratch,
    path_headers: bool,
    transport: Transport,
    certificates: &[Certificate],
    core_sip: Option<String>,
) -> Result<Product> {
    let public_host = EDGE_PUBLIC.to_string();
    let setup = ProductSetup {
        dmz: network.dmz(),
        inside: network.inside(),
        edge: edge_address(),
        link: SocketAddr::new(EDGE_LINK, LINK_PORT),
        core: SocketAddr::new(CORE, 5060),
        registrar: (transport, registrar_address()),
        core_sip,
        https: None,
        xmpp: None,
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
