//! Edge, core, and who checks passwords behind them.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edgeway_connectors::users_file::edit::{Costs, hash};
use edgeway_interop::Host;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::free_port;
use edgeway_interop::product::{EDGE_NAME, HttpsSetup, Product, ProductSetup, Transport};
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{Role, UcCluster, UcConfig, UcUser};

use super::client::Client;
use super::{By, Kind};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The domain of everybody.
pub(super) const DOMAIN: &str = "uc.example";
/// Of every user; as long as the wrong one.
pub(super) const PASSWORD: &str = "the password";
/// Signs in until it works.
const PROBE: &str = "probe";
/// How long the first sign-in may take.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(super) struct World {
    pub(super) https: SocketAddr,
    /// The certificate of who issued the edge's.
    pub(super) ca: PathBuf,
    product: Product,
    // Held: asked all the time.
    _unified_cm: Option<(UcCluster, LabDns)>,
}

impl World {
    pub(super) fn start(by: By, directory: &Path, people: &[(Kind, String)]) -> Result<Self> {
        let authority = Authority::create(directory, "authority")?;
        let certificate = authority.issue(EDGE_NAME)?;
        let (core, unified_cm) = match by {
            By::Users => (users_file(directory, people)?, None),
            By::UnifiedCm => {
                let (core, cluster, dns) = unified_cm(directory, people)?;
                (core, Some((cluster, dns)))
            }
        };
        let https = free()?;
        let setup = ProductSetup {
            dmz: Host::Here,
            inside: Host::Here,
            edge: free()?,
            link: free()?,
            core: free()?,
            // Nobody calls: the address need not answer.
            registrar: (Transport::Tcp, free()?),
            core_sip: unified_cm.as_ref().map(|_| String::new()),
            https: Some(HttpsSetup { listen: https, core }),
            xmpp: None,
            path_headers: true,
            certificates: std::slice::from_ref(&certificate),
            domain: DOMAIN,
            public_host: EDGE_NAME,
            media_ports: ("10000-10099", "20000-20099"),
            log_level: "info",
            strangers_per_address: 50_000,
        };
        let product = Product::start(&setup, directory)?;
        Ok(Self { https, ca: authority.certificate(), product, _unified_cm: unified_cm })
    }

    /// The end of the logs, for error messages.
    pub(super) fn logs(&self) -> String {
        self.product.log_tails()
    }

    /// Waits until somebody can sign in.
    pub(super) async fn ready(&self, client: &mut Client) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = client.sign_in(PROBE, PASSWORD).await?.0;
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            if !answer.starts_with("HTTP/1.1 503") || start.elapsed() > READY_WITHIN {
                bail!("{answer}\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The core's part. All have the same hash: making thousands takes minutes, and looking at one costs what it costs.
fn users_file(directory: &Path, people: &[(Kind, String)]) -> Result<String> {
    let (file, hash) = (directory.join("users"), hash(PASSWORD.as_bytes(), Costs::USUAL)?);
    let mut text = format!("{PROBE}:{hash}\n");
    for (kind, user) in people {
        match kind {
            Kind::Unknown => {}
            Kind::Known | Kind::Remembered => writeln!(text, "{user}:{hash}")?,
            Kind::Locked => writeln!(text, "{user}:!{hash}")?,
        }
    }
    fs::write(&file, text)?;
    Ok(format!("[sign_in]\nauthority = \"users\"\nusers_file = \"{}\"\n", file.display()))
}

fn unified_cm(directory: &Path, people: &[(Kind, String)]) -> Result<(String, UcCluster, LabDns)> {
    let known = people.iter().filter(|(kind, _)| *kind != Kind::Unknown);
    let users = known.enumerate().map(|(number, (kind, user))| {
        let mut made = UcUser::new(user, PASSWORD, &(2_000_000 + number).to_string());
        made.locked = *kind == Kind::Locked;
        made
    });
    let mut config = UcConfig::new(DOMAIN, users.chain([UcUser::new(PROBE, PASSWORD, "1999999")]).collect());
    config.nodes.insert(1, ("cucm2".to_owned(), Role::CallManager, true));
    let (user, secret) = config.application_user.clone();
    let cluster = UcCluster::start(config, &LabCa::new("bench")?)?;
    let dns = LabDns::start()?;
    cluster.publish(&dns);
    let (password, ca) = (directory.join("axl.password"), directory.join("uc-ca.pem"));
    fs::write(&password, secret)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    fs::write(&ca, cluster.ca_pem())?;
    let core = format!(
        "[dns]\nservers = [\"{}\"]\n[sign_in]\nauthority = \"unified_cm\"\n[servers]\nlook_every = \"off\"\n\
         [[unified_cm]]\naddress = \"cucm1.{DOMAIN}\"\nuser = \"{user}\"\npassword_file = \"{}\"\nca = \"{}\"\n",
        dns.address(),
        password.display(),
        ca.display()
    );
    Ok((core, cluster, dns))
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}
