//! A remote client's first minute, step by step, as strict as the pickiest of the real ones: it finds its edge by DNS,
//! asks how to sign in, gets its edge configuration and cookie, and fetches what its phone needs through the proxy.

pub mod cookie;
pub mod dns;
pub mod http;
pub mod xml;

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use cookie::Cookie;
use http::{Ask, Got, NoAnswer, Place};
use xml::Element;

/// Who signs in, and what it needs to find its edge.
#[derive(Clone, Debug)]
pub struct MraConfig {
    /// The domain of the user.
    pub domain: String,
    /// User id.
    pub user: String,
    /// Password.
    pub password: String,
    /// The DNS server to ask.
    pub dns: SocketAddr,
    /// The authorities to trust, PEM.
    pub ca_pem: String,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum MraError {
    /// A name cannot be resolved.
    #[error("DNS: {0}")]
    Dns(String),
    /// No answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// Another status than the one hoped for.
    #[error("{what}: {status} {reason}")]
    Status {
        /// What was asked.
        what: String,
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: String,
        /// The whole answer.
        got: Box<Got>,
    },
    /// The answer is not what a client can use.
    #[error("{what}: {why}")]
    Unusable {
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
}

/// The edge a client has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEdge {
    /// The target of the SRV record.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its address.
    pub address: IpAddr,
    /// The name sent as SNI.
    pub sni: String,
}

/// Hosts and their ports, best first.
pub type Servers = Vec<(String, u16)>;

/// What an edge configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// SIP edges, best first.
    pub sip: Servers,
    /// Routes to load, best first, as they stand.
    pub routes: Vec<String>,
    /// HTTPS edges, best first.
    pub http: Servers,
    /// Chat edges, best first.
    pub xmpp: Servers,
    /// The user's UDS servers, best first.
    pub uds: Servers,
    /// TFTP servers, best first.
    pub tftp: Vec<String>,
    /// Services: name, and their servers or the error in their stead.
    pub services: Vec<(String, Result<Servers, String>)>,
}

/// A device, as UDS lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its key, as told.
    pub id: String,
    /// `CSFALICE`.
    pub name: String,
}

/// What a phone needs of its configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneFile {
    /// Call managers, best first: name and SIP port.
    pub call_managers: Vec<(String, u16)>,
    /// Directory numbers, in the order of the buttons.
    pub numbers: Vec<String>,
    /// Whether signalling is to be secured.
    pub secure: bool,
}

/// A client on its way.
pub struct MraClient {
    config: MraConfig,
    edge: Option<FoundEdge>,
    cookie: Option<Cookie>,
}

impl MraClient {
    /// One that knows nothing yet.
    #[must_use]
    pub const fn new(config: MraConfig) -> Self {
        Self { config, edge: None, cookie: None }
    }

    /// The cookie, once there is one.
    #[must_use]
    pub const fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// Looks for the services of the inside, which must not be there, and for the edge.
    ///
    /// # Errors
    /// The inside is visible, there is no edge, or its record is of no use.
    pub async fn find(&mut self) -> Result<FoundEdge, MraError> {
        let Self { config: MraConfig { domain, dns, .. }, .. } = self;
        let failed = |error: std::io::Error| MraError::Dns(error.to_string());
        let name = format!("_collab-edge._tls.{domain}");
        let found = dns::services(*dns, &name).await.map_err(failed)?;
        let best = found.first().ok_or_else(|| MraError::Dns(format!("there is no {name}")))?;
        if best.target.parse::<IpAddr>().is_ok() || !best.target.contains('.') {
            return Err(MraError::Dns(format!("{name} leads to {}, which is no full name", best.target)));
        }
        let addresses = dns::addresses(*dns, &best.target).await.map_err(failed)?;
        let address = *addresses.first().ok_or_else(|| MraError::Dns(format!("{} has no address", best.target)))?;
        let sni = sni(&best.target, domain);
        let edge = FoundEdge { host: best.target.clone(), port: best.port, address, sni };
        self.edge = Some(edge.clone());
        Ok(edge)
    }

    /// One request to the edge, with the cookie once there is one.
    ///
    /// # Errors
    /// No edge yet, or no answer.
    pub async fn ask(&self, ask: Ask) -> Result<Got, MraError> {
        let edge = self.edge.as_ref().ok_or_else(|| MraError::Dns("no edge has been looked for".to_owned()))?;
        let place = Place {
            address: SocketAddr::new(edge.address, edge.port),
            tls: Some((edge.sni.clone(), self.config.ca_pem.clone())),
        };
        let mut ask = ask.with("user-agent", "Jabber-Lab-1.0");
        ask.host = format!("{}:{}", edge.host, edge.port);
        if let Some(cookie) = &self.cookie {
            ask = ask.with("cookie", &format!("X-Auth={}", cookie.value));
        }
        Ok(http::ask(&place, &ask).await?)
    }

    /// Whether single sign-on is to be used.
    ///
    /// # Errors
    /// No answer, or none that says so.
    pub async fn ask_sso(&self) -> Result<bool, MraError> {
        const WHAT: &str = "get_edge_sso";
        let MraConfig { domain, user, .. } = &self.config;
        let target = format!("/{}/get_edge_sso?email={user}@{domain}", b64(domain));
        let got = wanted(WHAT, self.ask(Ask::get("", &target)).await?)?;
        let tree = read(WHAT, &got)?;
        let status = tree.at("Response/SingleSignOn/Status").or_else(|| tree.at("SingleSignOn/Status"));
        match status.and_then(|status| status.attribute("enabled")) {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(unusable(WHAT, "it says neither true nor false")),
        }
    }

    /// Signs in: the edge configuration, and the cookie.
    ///
    /// # Errors
    /// A refusal, or a configuration or a cookie that is of no use.
    pub async fn edge_config(&mut self) -> Result<EdgeConfig, MraError> {
        const WHAT: &str = "get_edge_config";
        let MraConfig { domain, user, password, .. } = &self.config;
        let target = format!("/{}/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin", b64(domain));
        let got = wanted(WHAT, self.ask(Ask::get("", &target).basic(user, password)).await?)?;
        let kind = got.header("content-type").unwrap_or_default();
        if !kind.starts_with("text/xml") {
            return Err(unusable(WHAT, &format!("its content type is {kind}")));
        }
        let host = self.edge.as_ref().map(|edge| edge.host.clone()).unwrap_or_default();
        let line = got.header("set-cookie").ok_or_else(|| unusable(WHAT, "no cookie"))?;
        let cookie = Cookie::read(line, &host).map_err(|why| unusable(WHAT, &format!("the cookie: {why}")))?;
        let config = EdgeConfig::read(&read(WHAT, &got)?).map_err(|why| unusable(WHAT, &why))?;
        self.cookie = Some(cookie);
        Ok(config)
    }

    /// Something behind the edge, at `scheme`://`host`:`port``path`, with the user's own credentials.
    ///
    /// # Errors
    /// No answer, or none with status 200.
    pub async fn fetch(&self, scheme: &str, host: &str, port: u16, path: &str) -> Result<Got, MraError> {
        let MraConfig { domain, user, password, .. } = &self.config;
        let target = format!("/{}{path}", b64(&format!("{domain}/{scheme}/{host}/{port}")));
        wanted(path, self.ask(Ask::get("", &target).basic(user, password)).await?)
    }

    /// The user's devices.
    ///
    /// # Errors
    /// As [`MraClient::fetch`], or a list that cannot be read.
    pub async fn devices(&self, uds: &(String, u16)) -> Result<Vec<Device>, MraError> {
        let path = format!("/cucm-uds/user/{}/devices", self.config.user);
        let got = self.fetch("https", &uds.0, uds.1, &path).await?;
        let tree = read(&path, &got)?;
        let device = |element: &Element| {
            let text = |name| element.text_at(name).map(str::to_owned);
            Some(Device { id: text("id")?, name: text("name")? })
        };
        tree.all("device")
            .map(device)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| unusable(&path, "not a list of devices"))
    }

    /// The file of a phone.
    ///
    /// # Errors
    /// As [`MraClient::fetch`], or a file without what a phone needs.
    pub async fn phone_file(&self, tftp: &str, device: &str) -> Result<PhoneFile, MraError> {
        let path = format!("/{device}.cnf.xml");
        let got = self.fetch("http", tftp, crate::uc::HTTP_TFTP_PORT, &path).await?;
        PhoneFile::read(&read(&path, &got)?).ok_or_else(|| unusable(&path, "call managers or lines are missing"))
    }
}

/// The name a client sends as SNI: the target of its SRV record where that lies in the domain; else the first label of
/// it in front of the domain.
fn sni(target: &str, domain: &str) -> String {
    let (target, domain) = (target.to_ascii_lowercase(), domain.to_ascii_lowercase());
    match target.split_once('.') {
        Some((_, rest)) if rest == domain => target,
        Some((first, _)) => format!("{first}.{domain}"),
        None => target,
    }
}

/// Base64 without padding, as in the paths of clients.
#[must_use]
pub fn b64(text: &str) -> String {
    STANDARD_NO_PAD.encode(text)
}

fn wanted(what: &str, got: Got) -> Result<Got, MraError> {
    if got.status == 200 {
        return Ok(got);
    }
    let (what, status, reason) = (what.to_owned(), got.status, got.reason.clone());
    Err(MraError::Status { what, status, reason, got: Box::new(got) })
}

fn unusable(what: &str, why: &str) -> MraError {
    MraError::Unusable { what: what.to_owned(), why: why.to_owned() }
}

fn read(what: &str, got: &Got) -> Result<Element, MraError> {
    let text = std::str::from_utf8(&got.body).map_err(|error| unusable(what, &error.to_string()))?;
    Element::parse(text).map_err(|why| unusable(what, &why))
}

impl EdgeConfig {
    /// Reads the whole element tree; whatever is not as in the field is a fault.
    fn read(root: &Element) -> Result<Self, String> {
        if root.name != "getEdgeConfigResponse" || root.attribute("version") != Some("1.0") {
            return Err(format!("the root is {}", root.name));
        }
        if root.names() != ["serviceConfig", "edgeConfig"] {
            return Err(format!("it holds {:?}", root.names()));
        }
        let mut services = Vec::new();
        let mut tftp = Vec::new();
        for service in root.at("serviceConfig").into_iter().flat_map(|config| config.all("service")) {
            let name = service.text_at("name").ok_or("a service without a name")?.to_owned();
            let outcome = match service.text_at("error") {
                Some(error) => Err(error.to_owned()),
                None if name == "tftpServer" => {
                    tftp = service.all("address").map(|address| address.text.clone()).collect();
                    continue;
                }
                None => Ok(servers(service, "port")?),
            };
            services.push((name, outcome));
        }
        let edge = root.at("edgeConfig").ok_or("no edgeConfig")?;
        let expected =
            ["sipEdgeServer", "sipRequest", "xmppEdgeServer", "httpEdgeServer", "turnEdgeServer", "userUdsServer"];
        if edge.names() != expected {
            return Err(format!("edgeConfig holds {:?}", edge.names()));
        }
        let list = |name: &str| edge.at(name).map_or(Ok(Vec::new()), |element| servers(element, "tlsPort"));
        let routes: Vec<String> = edge
            .at("sipRequest")
            .into_iter()
            .flat_map(|request| request.all("route"))
            .map(|r| r.text.clone())
            .collect();
        let config = Self {
            sip: list("sipEdgeServer")?,
            http: list("httpEdgeServer")?,
            xmpp: list("xmppEdgeServer")?,
            uds: list("userUdsServer")?,
            routes,
            tftp,
            services,
        };
        for (what, missing) in [
            ("sipEdgeServer", config.sip.is_empty()),
            ("httpEdgeServer", config.http.is_empty()),
            ("route", config.routes.is_empty()),
        ] {
            if missing {
                return Err(format!("no {what}"));
            }
        }
        if config.uds.is_empty() {
            return Err("XML didn't contain UDS server address".to_owned());
        }
        let shape = |route: &&String| {
            route.starts_with("<sip:") && route.contains(";transport=tls") && route.ends_with(";directed;lr>")
        };
        if let Some(route) = config.routes.iter().find(|route| !shape(route)) {
            return Err(format!("the route {route} is not of the usual form"));
        }
        Ok(config)
    }
}

fn servers(element: &Element, port: &str) -> Result<Servers, String> {
    let server = |server: &Element| {
        let address = server.text_at("address").filter(|address| !address.is_empty())?;
        let port = server.text_at(port)?.parse().ok()?;
        Some((address.to_owned(), port))
    };
    let all: Option<Vec<_>> = element.all("server").map(server).collect();
    all.ok_or_else(|| format!("a server of {} without address or {port}", element.name))
}

impl PhoneFile {
    fn read(root: &Element) -> Option<Self> {
        let members = root.at("devicePool/callManagerGroup/members")?;
        let mut call_managers = Vec::new();
        for member in members.all("member") {
            let manager = member.at("callManager")?;
            let port = manager.text_at("ports/sipPort")?.parse().ok()?;
            let priority: u32 = member.attribute("priority")?.parse().ok()?;
            call_managers.push((priority, manager.text_at("processNodeName")?.to_owned(), port));
        }
        call_managers.sort();
        let lines = root.at("sipProfile/sipLines")?;
        let numbers: Vec<String> =
            lines.all("line").filter_map(|line| line.text_at("name")).map(str::to_owned).collect();
        let secure = root.text_at("transportLayerProtocol")? == "3";
        let call_managers: Vec<_> = call_managers.into_iter().map(|(_, name, port)| (name, port)).collect();
        (!call_managers.is_empty() && !numbers.is_empty()).then_some(Self { call_managers, numbers, secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_sent_as_sni_lies_in_the_domain() {
        for (target, expected) in [
            ("e1.example.com", "e1.example.com"),
            ("mra-host.sp.com", "mra-host.example.com"),
            ("e1.dmz.example.com", "e1.example.com"),
        ] {
            assert_eq!(sni(target, "example.com"), expected, "{target}");
        }
    }

    /// The document of a real deployment, names and addresses changed.
    const FIELD: &str = "<?xml version='1.0' encoding='UTF-8'?>
<getEdgeConfigResponse version=\"1.0\"><serviceConfig>
<service><name>_cisco-phone-tftp</name><error>NameError</error></service>
<service><name>_cuplogin</name><error>NameError</error></service>
<service><name>_cisco-uds</name><server><priority>1</priority><weight>1</weight><port>8443</port><address>cucm1.example.com</address></server></service>
<service><name>tftpServer</name><address>cucm1.example.com</address><address>cucm2.example.com</address></service>
</serviceConfig><edgeConfig>
<sipEdgeServer><server><address>e1.example.com</address><tlsPort>5061</tlsPort></server></sipEdgeServer>
<sipRequest><route>&lt;sip:192.0.2.100:5061;transport=tls;zone-id=3;directed;lr&gt;</route></sipRequest>
<xmppEdgeServer><server><address>e1.example.com</address><tlsPort>5222</tlsPort></server></xmppEdgeServer>
<httpEdgeServer><server><address>e1.example.com</address><tlsPort>8443</tlsPort></server></httpEdgeServer>
<turnEdgeServer/>
<userUdsServer><server><address>cucm1.example.com</address><tlsPort>8443</tlsPort></server></userUdsServer>
</edgeConfig></getEdgeConfigResponse>";

    #[test]
    fn an_edge_configuration_of_the_field_is_read_whole() {
        let config = EdgeConfig::read(&Element::parse(FIELD).expect("XML")).expect("usable");
        assert_eq!(config.routes, ["<sip:192.0.2.100:5061;transport=tls;zone-id=3;directed;lr>"]);
        assert_eq!(config.tftp, ["cucm1.example.com", "cucm2.example.com"]);
        assert_eq!(config.uds, [("cucm1.example.com".to_owned(), 8443)]);
        assert_eq!(config.services[0], ("_cisco-phone-tftp".to_owned(), Err("NameError".to_owned())));
        assert_eq!(config.services[2].1, Ok(vec![("cucm1.example.com".to_owned(), 8443)]));
    }

    #[test]
    fn a_configuration_a_client_would_give_up_over_is_refused() {
        for (change, to, why) in [
            (
                "<userUdsServer><server><address>cucm1.example.com</address><tlsPort>8443</tlsPort></server></userUdsServer>",
                "<userUdsServer/>",
                "UDS server address",
            ),
            ("<turnEdgeServer/>", "", "edgeConfig holds"),
            (";directed;lr", ";lr", "usual form"),
            ("<tlsPort>5061</tlsPort>", "<port>5061</port>", "tlsPort"),
            ("version=\"1.0\"", "version=\"2.0\"", "root"),
        ] {
            let error =
                EdgeConfig::read(&Element::parse(&FIELD.replace(change, to)).expect("XML")).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
