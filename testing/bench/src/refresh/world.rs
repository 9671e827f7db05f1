//! Edge, core, and the call manager they are in front of.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::Host;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::free_port;
use edgeway_interop::product::{EDGE_NAME, HttpsSetup, Product, ProductSetup, Transport};
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::{Ask, Got, Place, ask};
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{HTTPS_PORT, Role, UcCluster, UcConfig, UcUser};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The domain of everybody.
pub(super) const DOMAIN: &str = "uc.example";
/// Of every user.
pub(super) const PASSWORD: &str = "wonderland";
/// How long the first sign-in may take: discovery and the bulk connection come after the link.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(super) struct World {
    pub(super) cluster: UcCluster,
    pub(super) publisher: String,
    pub(super) new_node: String,
    pub(super) https: Place,
    pub(super) sip: SocketAddr,
    pub(super) ca_pem: String,
    /// A session token of one of the callers.
    cookie: RefCell<Option<String>>,
    product: Product,
    // Held: names are asked for all the time.
    _dns: LabDns,
}

impl World {
    /// Starts it, with so many people who sign in and so many calls to come.
    pub(super) fn start(directory: &Path, people: usize, calls: usize) -> Result<Self> {
        let authority = Authority::create(directory, "authority")?;
        let certificate = authority.issue(EDGE_NAME)?;
        let ca_pem = fs::read_to_string(authority.certificate())?;
        let users = (0..people).map(|n| UcUser::new(&person(n), PASSWORD, &number(n)));
        let users = users.chain((0..calls * 2).map(|n| UcUser::new(&caller(n), PASSWORD, &caller_number(n))));
        let mut config = UcConfig::new(DOMAIN, users.collect());
        config.nodes.insert(1, ("cucm2".to_owned(), Role::CallManager, true));
        config.nodes.push(("cucm3".to_owned(), Role::CallManager, false));
        let (axl_user, axl_password) = config.application_user.clone();
        let cluster = UcCluster::start(config, &LabCa::new("bench")?)?;
        let dns = LabDns::start()?;
        cluster.publish(&dns);

        let (password, ca) = (directory.join("axl.password"), directory.join("uc-ca.pem"));
        fs::write(&password, axl_password)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        fs::write(&ca, cluster.ca_pem())?;
        let publisher = format!("cucm1.{DOMAIN}");
        let mut core = String::new();
        writeln!(core, "[dns]\nservers = [\"{}\"]\n[sign_in]\nauthority = \"unified_cm\"", dns.address())?;
        writeln!(core, "[servers]\nlook_every = \"off\"\n[http]\nca = \"{}\"", ca.display())?;
        writeln!(core, "[[unified_cm]]\naddress = \"{publisher}\"\nuser = \"{axl_user}\"\nca = \"{}\"", ca.display())?;
        writeln!(core, "password_file = \"{}\"", password.display())?;
        let https = free()?;
        let sip = free()?;
        let setup = ProductSetup {
            dmz: Host::Here,
            inside: Host::Here,
            edge: sip,
            link: free()?,
            core: free()?,
            registrar: (Transport::Tcp, free()?),
            // Discovery brings the registrars.
            core_sip: Some(String::new()),
            https: Some(HttpsSetup { listen: https, core }),
            xmpp: None,
            path_headers: true,
            certificates: std::slice::from_ref(&certificate),
            domain: DOMAIN,
            public_host: EDGE_NAME,
            media_ports: ("10000-11999", "20000-21999"),
            log_level: "info",
            strangers_per_address: 50_000,
        };
        let product = Product::start(&setup, directory)?;
        let https = Place { address: https, tls: Some((EDGE_NAME.to_owned(), ca_pem.clone())) };
        Ok(Self {
            cluster,
            publisher,
            new_node: format!("cucm3.{DOMAIN}"),
            https,
            sip,
            ca_pem,
            cookie: RefCell::default(),
            product,
            _dns: dns,
        })
    }

    /// The end of the logs, for error messages.
    pub(super) fn logs(&self) -> String {
        self.product.log_tails()
    }

    /// Signs in, again and again until all parts are up.
    pub(super) async fn ready(&self, user: &str) -> Result<Got> {
        let start = Instant::now();
        loop {
            let got = ask(&self.https, &sign_in(user)).await;
            match got {
                Ok(got) if got.status == 200 => return Ok(got),
                Ok(got) if start.elapsed() > READY_WITHIN => bail!("{}: {}\n{}", got.status, got.reason, self.logs()),
                Err(error) if start.elapsed() > READY_WITHIN => bail!("{error}\n{}", self.logs()),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Whether a client reaches the node that was added.
    pub(super) async fn reaches_new_node(&self) -> Result<bool> {
        let descriptor = b64(&format!("{DOMAIN}/https/{}/{HTTPS_PORT}", self.new_node));
        let path = format!("/{descriptor}/cucm-uds/version");
        let kept = self.cookie.borrow().clone();
        let cookie = match kept {
            Some(cookie) => cookie,
            None => {
                let signed_in = self.ready(&caller(0)).await?;
                let cookie = signed_in.header("set-cookie").and_then(|line| line.split(';').next());
                let cookie = cookie.context("a cookie")?.to_owned();
                self.cookie.replace(Some(cookie.clone()));
                cookie
            }
        };
        let got = ask(&self.https, &Ask::get(EDGE_NAME, &path).with("cookie", &cookie)).await?;
        match got.status {
            200 => Ok(true),
            403 => Ok(false),
            other => bail!("a request to the new node: {other} {}", got.reason),
        }
    }

    /// Refreshes, as an operator does; it must work. Gives what it printed and how long it took.
    pub(super) async fn refresh(&self, within: Duration) -> Result<String> {
        let start = Instant::now();
        let (good, told) = self.run_refresh().await?;
        ensure!(good, "the refresh failed: {told}\n{}", self.logs());
        ensure!(start.elapsed() < within, "the refresh took {:?}", start.elapsed());
        Ok(format!("{told} ({} ms)", start.elapsed().as_millis()))
    }

    /// Refreshes; it must fail, with a reason. Gives the reason.
    pub(super) async fn refresh_refused(&self) -> Result<String> {
        let (good, told) = self.run_refresh().await?;
        ensure!(!good, "the refresh worked: {told}");
        ensure!(!told.is_empty(), "a failure without a word");
        Ok(told)
    }

    async fn run_refresh(&self) -> Result<(bool, String)> {
        let mut command = self.product.core_command(&["servers", "refresh"])?;
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }
}

/// The request that signs a user in.
pub(super) fn sign_in(user: &str) -> Ask {
    let path = format!("/{}/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin", b64(DOMAIN));
    Ask::get(EDGE_NAME, &path).basic(user, PASSWORD)
}

/// One of those who sign in.
pub(super) fn person(n: usize) -> String {
    format!("person{n}")
}

/// One of those who call.
pub(super) fn caller(n: usize) -> String {
    format!("caller{n}")
}

fn number(n: usize) -> String {
    format!("{}", 2_000_000 + n)
}

/// The directory number of a caller.
pub(super) fn caller_number(n: usize) -> String {
    format!("{}", 10_000 + n)
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?))
}
