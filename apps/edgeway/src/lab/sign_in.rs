//! A client's first minute, each step shown: from the SRV record to a phone that knows where to register.

use std::net::SocketAddr;
use std::time::Instant;

use edgeway_lab_servers::client::{EdgeConfig, MraClient, MraConfig, MraError, dns};
use edgeway_lab_servers::{PhoneConfig, PhoneTransport};

use super::inside::{CUCM, Inside, USERS};
use super::limits::{SIGN_IN_AGAIN, SIGN_IN_MAX, SIGN_IN_TRIES};
use super::screen::{Screen, short};
use super::story::{DOMAIN, Failure, Lab, Step, bounded};

const STEP: &str = "sign-in";

impl Lab {
    /// Signs `user` in and says how its phone is to register.
    pub(super) async fn sign_in(&self, screen: &mut Screen, user: &str) -> Result<PhoneConfig, Failure> {
        let Inside::Cluster(cluster, dns, _) = &self.inside else {
            return Err(Failure::new(STEP, "there is no call manager"));
        };
        let mut client = self.client(user, self.password(user))?;
        let edge = bounded("DNS", client.find()).await?.step("DNS")?;
        screen.done(&format!(
            "{user}: _collab-edge._tls.{DOMAIN} leads to {}:{}, TLS with SNI {}",
            edge.host, edge.port, edge.sni
        ));
        let sso = ask_sso(&client).await?;
        if sso {
            return Err(Failure::new("get_edge_sso", "single sign-on is announced, which the lab does not have"));
        }
        let begun = Instant::now();
        let config = edge_config(&mut client).await?;
        let checks = cluster.checks(user);
        if checks != 1 {
            return Err(Failure::new(STEP, format!("{CUCM} was asked {checks} times whether {user} is {user}")));
        }
        let route = config.routes.first().cloned().unwrap_or_default();
        screen.done(&format!(
            "{user}: signed in at {CUCM} through edge and core in {}; cookie and Route {route}",
            short(begun.elapsed())
        ));

        let uds = config.uds.first().ok_or_else(|| Failure::new(STEP, "no UDS server"))?;
        let devices = bounded("devices", client.devices(uds)).await?.step("devices")?;
        let device = devices.first().ok_or_else(|| Failure::new("devices", "none"))?;
        let tftp = config.tftp.first().unwrap_or(&uds.0);
        let jabber = client.fetch("http", tftp, edgeway_lab_servers::uc::HTTP_TFTP_PORT, "/jabber-config.xml");
        let jabber = bounded("jabber-config.xml", jabber).await?.step("jabber-config.xml")?;
        let phone = bounded("phone file", client.phone_file(tftp, &device.name)).await?.step("phone file")?;
        let (manager, number) = match (phone.call_managers.first(), phone.numbers.first()) {
            (Some((manager, _)), Some(number)) => (manager.clone(), number.clone()),
            _ => return Err(Failure::new("phone file", "no call manager, or no line")),
        };
        screen.done(&format!(
            "{user}: through the proxy: device {}, jabber-config.xml ({} bytes), line {number} at {manager}",
            device.name,
            jabber.body.len()
        ));

        let (host, port) = config.sip.first().cloned().ok_or_else(|| Failure::new(STEP, "no SIP edge"))?;
        let found = bounded("DNS", dns::addresses(dns.address(), &host)).await?.step("DNS")?;
        let address = *found.first().ok_or_else(|| Failure::new("DNS", format!("{host} has no address")))?;
        let server = SocketAddr::new(address, port);
        let transport = PhoneTransport::Tls { server, name: host, ca_pem: self.certificates.ca_pem.clone() };
        let mut register = PhoneConfig::new(&number, self.password(user), &manager, transport);
        register.digest_user = Some(user.to_owned());
        register.device = Some(device.name.clone());
        register.routes = vec![route];
        register.media_address = self.edge.ip();
        Ok(register)
    }

    /// A wrong password gets 401 and no cookie.
    pub(super) async fn refuse_a_guess(&self, screen: &mut Screen) -> Result<(), Failure> {
        const STEP: &str = "a guessed password";
        let mut client = self.client("alice", "guessed")?;
        bounded(STEP, client.find()).await?.step(STEP)?;
        match bounded(STEP, client.edge_config()).await? {
            Err(MraError::Status { status: 401, got, .. }) if client.cookie().is_none() => {
                let realm = got.header("www-authenticate").unwrap_or("no realm").to_owned();
                screen.done(&format!("a guessed password is refused over HTTPS (401, {realm})"));
                Ok(())
            }
            Err(other) => Err(Failure::new(STEP, format!("expected 401, got: {other}"))),
            Ok(_) => Err(Failure::new(STEP, "it was let in")),
        }
    }

    fn client(&self, user: &str, password: &str) -> Result<MraClient, Failure> {
        let Inside::Cluster(_, dns, _) = &self.inside else {
            return Err(Failure::new(STEP, "there is no call manager"));
        };
        Ok(MraClient::new(MraConfig {
            domain: DOMAIN.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            dns: dns.address(),
            ca_pem: self.certificates.ca_pem.clone(),
        }))
    }
}

/// How to sign in; asked again while no core has dialled the edge for HTTPS, as a client does.
async fn ask_sso(client: &MraClient) -> Result<bool, Failure> {
    let until = Instant::now() + SIGN_IN_MAX;
    loop {
        match bounded("get_edge_sso", client.ask_sso()).await? {
            Err(error) if is_away(&error) && Instant::now() < until => tokio::time::sleep(SIGN_IN_AGAIN).await,
            answered => return answered.step("get_edge_sso"),
        }
    }
}

/// The edge configuration; asked for again while the core still gets to know the call manager. Each attempt counts.
async fn edge_config(client: &mut MraClient) -> Result<EdgeConfig, Failure> {
    for _ in 1..SIGN_IN_TRIES {
        match bounded(STEP, client.edge_config()).await? {
            Err(error) if is_away(&error) => tokio::time::sleep(SIGN_IN_AGAIN).await,
            answered => return answered.step(STEP),
        }
    }
    bounded(STEP, client.edge_config()).await?.step(STEP)
}

fn is_away(error: &MraError) -> bool {
    matches!(error, MraError::Status { status: 503, .. })
}

/// The directory number of a user.
pub(super) fn number_of(user: &str) -> &'static str {
    USERS.into_iter().find(|(name, _)| *name == user).map_or("", |(_, number)| number)
}
