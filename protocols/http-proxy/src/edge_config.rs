//! The answers of the small lane: the edge configuration, and whether there is single sign-on.
//!
//! Elements, their order and the XML declaration are those that clients in the field have been given; there
//! is no white space between elements, because not every client skips it.

/// The edge configuration of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeConfig {
    /// What the services of the domain are, in the order asked for; see [`SERVICES`].
    pub services: Vec<Service>,
    /// Edges, SIP over TLS. Best first, as everywhere here.
    pub sip: Vec<Server>,
    /// Pre-loaded Routes, one for each core, with their angle brackets.
    pub routes: Vec<String>,
    /// Edges, XMPP.
    pub xmpp: Vec<Server>,
    /// Edges, HTTPS.
    pub http: Vec<Server>,
    /// Relays for ICE; empty where there is none.
    pub turn: Vec<Server>,
    /// UDS servers of the user's home cluster.
    pub user_uds: Vec<Server>,
}

/// A server and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub address: String,
    /// TLS.
    pub tls_port: u16,
}

/// One service of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: one of [`SERVICES`], or another that a client asked for.
    pub name: String,
    /// What is known of it.
    pub found: Found,
}

/// What is known of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Servers, as SRV records name them. None at all is the same as [`Found::NameError`].
    Servers(Vec<SrvServer>),
    /// Addresses (`tftpServer`).
    Addresses(Vec<String>),
    /// There is no such service.
    NameError,
}

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvServer {
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// Host name or address.
    pub address: String,
}

/// The SRV name of the TFTP servers.
pub const CISCO_PHONE_TFTP: &str = "_cisco-phone-tftp";
/// The SRV name of IM and Presence, as clients of old asked for it.
pub const CUPLOGIN: &str = "_cuplogin";
/// The SRV name of UDS: clients go no further without it.
pub const CISCO_UDS: &str = "_cisco-uds";
/// Not an SRV name: the TFTP servers by address.
pub const TFTP_SERVER: &str = "tftpServer";

/// What a client gets that names no service, in this order.
pub const SERVICES: [&str; 4] = [CISCO_PHONE_TFTP, CUPLOGIN, CISCO_UDS, TFTP_SERVER];

/// The services to answer with: those `asked` for, or all. Names that nobody knows are among them: they
/// get [`Found::NameError`], like a name without records.
#[must_use]
pub fn services_asked(asked: &[String]) -> Vec<&str> {
    if asked.is_empty() { SERVICES.to_vec() } else { asked.iter().map(String::as_str).collect() }
}

/// What both answers are served as.
pub const CONTENT_TYPE: &str = "text/xml";

const DECLARATION: &str = "<?xml version='1.0' encoding='UTF-8'?>\n";

impl EdgeConfig {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = Xml(String::with_capacity(2_048));
        xml.raw(DECLARATION);
        xml.raw("<getEdgeConfigResponse version=\"1.0\">");
        xml.within("serviceConfig", |xml| self.services.iter().for_each(|service| service.write(xml)));
        xml.within("edgeConfig", |xml| {
            xml.servers("sipEdgeServer", &self.sip);
            xml.list("sipRequest", &self.routes, |xml, route| xml.element("route", route));
            xml.servers("xmppEdgeServer", &self.xmpp);
            xml.servers("httpEdgeServer", &self.http);
            xml.servers("turnEdgeServer", &self.turn);
            xml.servers("userUdsServer", &self.user_uds);
        });
        xml.raw("</getEdgeConfigResponse>");
        xml.0
    }
}

impl Service {
    fn write(&self, xml: &mut Xml) {
        xml.within("service", |xml| {
            xml.element("name", &self.name);
            match &self.found {
                Found::Servers(servers) if !servers.is_empty() => servers.iter().for_each(|server| server.write(xml)),
                Found::Addresses(addresses) if !addresses.is_empty() => {
                    addresses.iter().for_each(|address| xml.element("address", address));
                }
                Found::Servers(_) | Found::Addresses(_) | Found::NameError => xml.element("error", "NameError"),
            }
        });
    }
}

impl SrvServer {
    fn write(&self, xml: &mut Xml) {
        xml.within("server", |xml| {
            xml.element("priority", &self.priority.to_string());
            xml.element("weight", &self.weight.to_string());
            xml.element("port", &self.port.to_string());
            xml.element("address", &self.address);
        });
    }
}

/// The answer to `get_edge_sso`: whether the client is to sign in by single sign-on.
#[must_use]
pub fn sso_xml(enabled: bool) -> String {
    let enabled = if enabled { "true" } else { "false" };
    format!(
        "{DECLARATION}<SSOResult version=\"1.0\"><Response><SingleSignOn><Status enabled=\"{enabled}\"/>\
         </SingleSignOn></Response></SSOResult>"
    )
}

/// A document in the making.
struct Xml(String);

impl Xml {
    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn within(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, ">"]);
        content(self);
        self.0.extend(["</", name, ">"]);
    }

    fn element(&mut self, name: &str, text: &str) {
        self.within(name, |xml| xml.escaped(text));
    }

    fn servers(&mut self, name: &str, servers: &[Server]) {
        self.list(name, servers, |xml, server| {
            xml.within("server", |xml| {
                xml.element("address", &server.address);
                xml.element("tlsPort", &server.tls_port.to_string());
            });
        });
    }

    fn list<T>(&mut self, name: &str, items: &[T], write: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            self.0.extend(["<", name, "/>"]);
        } else {
            self.within(name, |xml| items.iter().for_each(|item| write(xml, item)));
        }
    }

    /// Text of an element; what XML 1.0 cannot say (§2.2) becomes the replacement character.
    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '&' => self.raw("&amp;"),
                '\r' => self.raw("&#13;"),
                '\t' | '\n' => self.0.push(c),
                '\u{fffe}' | '\u{ffff}' => self.0.push(char::REPLACEMENT_CHARACTER),
                _ if c < ' ' => self.0.push(char::REPLACEMENT_CHARACTER),
                _ => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(of: &[(&str, u16)]) -> Vec<Server> {
        of.iter().map(|(address, tls_port)| Server { address: (*address).into(), tls_port: *tls_port }).collect()
    }

    fn service(name: &str, found: Found) -> Service {
        Service { name: name.into(), found }
    }

    fn one_of_each() -> EdgeConfig {
        let uds = SrvServer { priority: 1, weight: 1, port: 8443, address: "cucm1.example.com".into() };
        let tftp = vec!["cucm1.example.com".into(), "cucm2.example.com".into()];
        EdgeConfig {
            services: vec![
                service(CISCO_PHONE_TFTP, Found::NameError),
                service(CUPLOGIN, Found::Servers(vec![])),
                service(CISCO_UDS, Found::Servers(vec![uds])),
                service(TFTP_SERVER, Found::Addresses(tftp)),
            ],
            sip: servers(&[("e1.example.com", 5061)]),
            routes: vec!["<sip:192.0.2.100:5061;transport=tls;zone-id=3;directed;lr>".into()],
            xmpp: servers(&[("e1.example.com", 5222)]),
            http: servers(&[("e1.example.com", 8443)]),
            turn: vec![],
            user_uds: servers(&[("cucm1.example.com", 8443)]),
        }
    }

    /// The sample of the field, its indentation taken out.
    const SAMPLE: &str = r#"
        <getEdgeConfigResponse version="1.0">
          <serviceConfig>
            <service><name>_cisco-phone-tftp</name><error>NameError</error></service>
            <service><name>_cuplogin</name><error>NameError</error></service>
            <service>
              <name>_cisco-uds</name>
              <server><priority>1</priority><weight>1</weight><port>8443</port><address>cucm1.example.com</address></server>
            </service>
            <service><name>tftpServer</name><address>cucm1.example.com</address><address>cucm2.example.com</address></service>
          </serviceConfig>
          <edgeConfig>
            <sipEdgeServer><server><address>e1.example.com</address><tlsPort>5061</tlsPort></server></sipEdgeServer>
            <sipRequest><route>&lt;sip:192.0.2.100:5061;transport=tls;zone-id=3;directed;lr&gt;</route></sipRequest>
            <xmppEdgeServer><server><address>e1.example.com</address><tlsPort>5222</tlsPort></server></xmppEdgeServer>
            <httpEdgeServer><server><address>e1.example.com</address><tlsPort>8443</tlsPort></server></httpEdgeServer>
            <turnEdgeServer/>
            <userUdsServer><server><address>cucm1.example.com</address><tlsPort>8443</tlsPort></server></userUdsServer>
          </edgeConfig>
        </getEdgeConfigResponse>"#;

    fn sample() -> String {
        let compact: String = SAMPLE.lines().map(str::trim).collect();
        format!("<?xml version='1.0' encoding='UTF-8'?>\n{compact}")
    }

    #[test]
    fn it_is_the_sample_byte_for_byte() {
        assert_eq!(one_of_each().to_xml(), sample());
    }

    #[test]
    fn clusters_repeat_servers_and_routes() {
        let mut config = one_of_each();
        config.sip = servers(&[("e1.example.com", 5061), ("e2.example.com", 5071)]);
        config.routes.push("<sip:192.0.2.101:5061;transport=tls;zone-id=1;directed;lr>".into());
        let xml = config.to_xml();
        let edges = "<sipEdgeServer><server><address>e1.example.com</address><tlsPort>5061</tlsPort></server>\
                     <server><address>e2.example.com</address><tlsPort>5071</tlsPort></server></sipEdgeServer>";
        let routes = "directed;lr&gt;</route><route>&lt;sip:192.0.2.101:5061;";
        assert!(xml.contains(edges) && xml.contains(routes), "{xml}");
    }

    #[test]
    fn nothing_known_is_empty_elements() {
        let wanted = "<?xml version='1.0' encoding='UTF-8'?>\n<getEdgeConfigResponse version=\"1.0\"><serviceConfig>\
                      </serviceConfig><edgeConfig><sipEdgeServer/><sipRequest/><xmppEdgeServer/><httpEdgeServer/>\
                      <turnEdgeServer/><userUdsServer/></edgeConfig></getEdgeConfigResponse>";
        assert_eq!(EdgeConfig::default().to_xml(), wanted);
    }

    #[test]
    fn text_is_escaped() {
        let odd = service("a<b>&\"'\u{0}\u{fc}\r", Found::NameError);
        let xml = EdgeConfig { services: vec![odd], ..EdgeConfig::default() }.to_xml();
        assert!(xml.contains("<name>a&lt;b&gt;&amp;\"'\u{fffd}\u{fc}&#13;</name>"), "{xml}");
    }

    #[test]
    fn filters_keep_their_order_and_nobody_is_left_out() {
        assert_eq!(services_asked(&[]), SERVICES);
        let asked = ["_cisco-uds".to_owned(), "_other".to_owned()];
        assert_eq!(services_asked(&asked), ["_cisco-uds", "_other"]);
    }

    #[test]
    fn single_sign_on_is_true_or_false() {
        let wanted = "<?xml version='1.0' encoding='UTF-8'?>\n<SSOResult version=\"1.0\"><Response><SingleSignOn>\
                      <Status enabled=\"false\"/></SingleSignOn></Response></SSOResult>";
        assert_eq!(sso_xml(false), wanted);
        assert_eq!(sso_xml(true), wanted.replace("false", "true"));
    }
}
