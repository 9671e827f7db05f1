//! The rules that discovery makes for each node, per kind of server: what clients are known to ask for,
//! and no more.

use edgeway_model::sign_in::Deployment;

use super::{MatchType, Origin, Rule, host};
use crate::discovery::Product;

/// The ports of a node that clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomaticPorts {
    /// UDS, SOAP of IM and Presence, or CUPI.
    pub https: u16,
    /// Files over HTTP; 0 where the node has none.
    pub tftp_http: u16,
    /// Files over HTTPS, one for phones with and one for those without certificates; 0 where it has none.
    pub tftp_https: [u16; 2],
}

impl AutomaticPorts {
    /// The usual ones of a kind of server.
    #[must_use]
    pub const fn usual(product: Product) -> Self {
        match product {
            Product::UnifiedCm => Self { https: 8443, tftp_http: 6970, tftp_https: [6971, 6972] },
            Product::ImAndPresence => Self { https: 8443, tftp_http: 0, tftp_https: [0; 2] },
            Product::Unity => Self { https: 443, tftp_http: 0, tftp_https: [0; 2] },
        }
    }
}

/// A path that clients ask for: how it is compared, methods, what it is.
type Path = (&'static str, MatchType, &'static [&'static str], &'static str);

const READ: &[&str] = &["GET", "HEAD"];
const READ_POST: &[&str] = &["GET", "HEAD", "POST"];
const ALL: &[&str] = &["GET", "HEAD", "PUT", "POST", "DELETE"];

const UDS: [Path; 7] = [
    ("/cucm-uds/version", MatchType::Exact, READ, "UDS: version"),
    ("/cucm-uds/clusterUser", MatchType::Exact, READ, "UDS: home cluster"),
    ("/cucm-uds/servers", MatchType::Exact, READ, "UDS: servers of the cluster"),
    ("/cucm-uds/users", MatchType::Exact, READ, "UDS: directory search"),
    ("/cucm-uds/private/users", MatchType::Exact, READ_POST, "UDS: contacts"),
    ("/cucm-uds/user/{user}", MatchType::Prefix, ALL, "UDS: the user's own"),
    ("/headset/config/user/{user}", MatchType::Prefix, READ, "Headset settings of the user"),
];
/// Files are open to who signs in, and their servers ask for no user: what is a device's is for its user only.
const FILES: [Path; 8] = [
    ("/{common}", MatchType::Exact, READ, "Files: settings that all share"),
    ("/{folder}/{common}", MatchType::Exact, READ, "Files: languages and tones"),
    ("/Desktops/{folder}/{common}", MatchType::Exact, READ, "Files: backgrounds"),
    ("/{device}.cnf.xml", MatchType::Exact, READ, "Files: settings of the user's device"),
    ("/{device}.cnf.xml.sgn", MatchType::Exact, READ, "Files: settings of the user's device, signed"),
    ("/{device}.cnf.xml.enc.sgn", MatchType::Exact, READ, "Files: settings of the user's device, encrypted"),
    ("/CTL{device}.tlv", MatchType::Exact, READ, "Files: whom the user's device trusts"),
    ("/ITL{device}.tlv", MatchType::Exact, READ, "Files: whom the user's device trusts at first"),
];
const PRESENCE: [Path; 1] = [("/EPASSoap/service", MatchType::Prefix, READ_POST, "IM and Presence: sign-in by SOAP")];
const MAILBOX: [Path; 1] = [("/vmrest", MatchType::Prefix, ALL, "Voice mail")];

/// The rules for one node. `host` is as discovery has read it; a name that is none has no rules, whatever a
/// server says of its neighbours.
#[must_use]
pub fn automatic_rules(product: Product, host: &str, deployment: &Deployment, ports: AutomaticPorts) -> Vec<Rule> {
    let Ok(host) = host::canonical(host) else { return Vec::new() };
    let paths: &[Path] = match product {
        Product::UnifiedCm => &UDS,
        Product::ImAndPresence => &PRESENCE,
        Product::Unity => &MAILBOX,
    };
    let [first, second] = ports.tftp_https;
    let servers =
        [(true, ports.https, paths), (false, ports.tftp_http, &FILES), (true, first, &FILES), (true, second, &FILES)];
    let mut rules = Vec::new();
    for (https, port, paths) in servers.into_iter().filter(|(_, port, _)| *port != 0) {
        rules.extend(paths.iter().map(|(path, match_type, methods, description)| Rule {
            deployment: deployment.clone(),
            https,
            host: host.clone().into_owned(),
            port,
            path: (*path).to_owned(),
            match_type: *match_type,
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            description: (*description).to_owned(),
            origin: Origin::Automatic(host.clone().into_owned()),
        }));
    }
    rules
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::UserName;

    use super::*;
    use crate::allow_list::{AllowList, Denial, Holder};

    fn list(product: Product) -> AllowList {
        let rules =
            automatic_rules(product, "CUCM1.example.com", &Deployment::default_one(), AutomaticPorts::usual(product));
        AllowList::new(rules).unwrap()
    }

    fn ask(list: &AllowList, method: &str, url: &str) -> Result<(), Denial> {
        let (alice, devices) = (UserName::new("alice"), ["CSFALICE".to_owned()]);
        let holder = Holder { user: alice.as_ref(), devices: &devices };
        list.decide_url(&Deployment::default_one(), holder, method, url).map(|_| ())
    }

    #[test]
    fn a_client_gets_what_it_asks_for() {
        let list = list(Product::UnifiedCm);
        let uds = "https://cucm1.example.com:8443";
        for (method, path) in [
            ("GET", "/cucm-uds/version"),
            ("GET", "/cucm-uds/clusterUser?username=alice"),
            ("GET", "/cucm-uds/servers"),
            ("GET", "/cucm-uds/user/alice"),
            ("GET", "/cucm-uds/user/Alice/devices"),
            ("GET", "/cucm-uds/user/alice/device/3c7d0b0a-0001"),
            ("PUT", "/cucm-uds/user/alice/credentials/password"),
            ("GET", "/cucm-uds/users?name=b&max=10&start=0"),
            ("POST", "/cucm-uds/private/users"),
            ("GET", "/headset/config/user/alice"),
        ] {
            assert_eq!(ask(&list, method, &format!("{uds}{path}")), Ok(()), "{method} {path}");
        }
        for server in
            ["http://cucm1.example.com:6970", "https://cucm1.example.com:6971", "https://cucm1.example.com:6972"]
        {
            for file in [
                "jabber-config.xml",
                "SPDefault.cnf.xml",
                "Autoupdate.xml",
                "English_United_States/mk-sip.jar",
                "Desktops/320x212x16/List.xml",
                "CSFALICE.cnf.xml",
                "CSFALICE.cnf.xml.sgn",
                "CSFALICE.cnf.xml.enc.sgn",
                "CTLCSFALICE.tlv",
                "ITLCSFALICE.tlv",
            ] {
                assert_eq!(ask(&list, "GET", &format!("{server}/{file}")), Ok(()), "{server} {file}");
            }
            for file in [
                "CSFBOB.cnf.xml",
                "CSFBOB.cnf.xml.sgn",
                "CSFBOB.cnf.xml.enc.sgn",
                "CTLCSFBOB.tlv",
                "ITLCSFBOB.tlv",
                "%43SFBOB.cnf.xml",
                "x/CSFBOB.cnf.xml",
                "ConfigFileCacheList.txt",
                "FileList.txt",
                "",
            ] {
                assert_eq!(ask(&list, "GET", &format!("{server}/{file}")), Err(Denial::NoRule), "{server} {file}");
            }
            assert_eq!(ask(&list, "PUT", &format!("{server}/x.xml")), Err(Denial::Method));
            let nobodys = format!("{server}/CSFALICE.cnf.xml");
            let asked = list.decide_url(&Deployment::default_one(), Holder::default(), "GET", &nobodys).map(|_| ());
            assert_eq!(asked, Err(Denial::NoRule), "no device is known");
        }
        for (method, path, denial) in [
            ("GET", "/cucm-uds/user/bob", Denial::NotOwn),
            ("GET", "/cucm-uds/user/bob/devices", Denial::NotOwn),
            ("DELETE", "/cucm-uds/servers", Denial::Method),
            ("POST", "/axl/", Denial::NoRule),
            ("GET", "/ccmadmin/", Denial::NoRule),
            ("GET", "/cucm-uds/users/", Denial::NoRule),
        ] {
            assert_eq!(ask(&list, method, &format!("{uds}{path}")), Err(denial), "{method} {path}");
        }
    }

    #[test]
    fn every_kind_has_its_own() {
        let (presence, unity) = (list(Product::ImAndPresence), list(Product::Unity));
        assert_eq!(ask(&presence, "POST", "https://cucm1.example.com:8443/EPASSoap/service/v105"), Ok(()));
        assert_eq!(ask(&presence, "POST", "https://cucm1.example.com:8443/EPASSoap/services"), Err(Denial::NoRule));
        assert_eq!(ask(&presence, "GET", "http://cucm1.example.com:6970/x"), Err(Denial::Server));
        assert_eq!(ask(&unity, "DELETE", "https://cucm1.example.com/vmrest/messages/1"), Ok(()));
        assert_eq!(ask(&unity, "GET", "https://cucm1.example.com/cuadmin"), Err(Denial::NoRule));
    }

    #[test]
    fn a_lying_server_makes_no_rules() {
        for host in ["", "a b", "127.1", "evil@example.com", "::ffff:7f00:1", "a/b"] {
            let ports = AutomaticPorts::usual(Product::UnifiedCm);
            let rules = automatic_rules(Product::UnifiedCm, host, &Deployment::default_one(), ports);
            assert_eq!(rules, [], "{host:?}");
        }
    }
}
