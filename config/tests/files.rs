//! Whole files: what works, what does not, and in which words.

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_config::{
    AuthoritySettings, CoreSettings, EdgeSettings, LogFormat, LogLevel, MediaDscp, PortRange, Preset, Problems, Role,
    known_settings, manual_page, parse_core, parse_edge,
};
use edgeway_model::world::Transport;
use proptest::prelude::*;

const EDGE: &str = include_str!("../../docs/howto/edge.toml");
const CORE: &str = include_str!("../../docs/howto/core.toml");

const SMALL_EDGE: &str = r#"
node = "edge1"
[sip]
public_host = "edge.example.com"
certificate = "a.crt"
key = "a.key"
[media]
public_address = "198.51.100.10"
"#;

const SMALL_CORE: &str = r#"
node = "core1"
domains = ["example.com"]
[sip]
listen = ["10.0.0.4:5060"]
registrars = ["tcp:10.0.0.5:5060"]
"#;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a test address")
}

fn edge(text: &str) -> EdgeSettings {
    parse_edge(text, "edge.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn core(text: &str) -> CoreSettings {
    parse_core(text, "core.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn edge_problems(text: &str) -> Problems {
    parse_edge(text, "edge.toml").expect_err("a wrong file")
}

fn core_problems(text: &str) -> Problems {
    parse_core(text, "core.toml").expect_err("a wrong file")
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_files_of_the_howto_work_and_are_short() {
    for text in [EDGE, CORE] {
        assert!(text.lines().count() <= 15, "{text}");
    }
    let edge = edge(EDGE);
    assert_eq!(edge.node.as_str(), "edge1");
    assert_eq!(edge.sip.listen, [addr("0.0.0.0:5061")]);
    assert_eq!((edge.sip.public_host.as_str(), edge.sip.public_port), ("edge.example.com", 5061));
    assert_eq!(edge.sip.certificates.len(), 1);
    assert_eq!(edge.sip.certificates[0].key, "/etc/edgeway/tls/edge.key");
    assert!(edge.sip.stun_keepalive);
    assert_eq!(edge.link.public_address.map(|at| at.to_string()).as_deref(), Some("192.0.2.10:7001"));
    assert_eq!(edge.media.public_address.to_string(), "198.51.100.10");
    assert_eq!(edge.media.ports, PortRange { first: 36_000, last: 59_999 });
    assert_eq!(edge.media.dscp, MediaDscp { audio: 46, video: 34 });
    assert_eq!((edge.log.level, edge.log.format), (LogLevel::Info, LogFormat::Human));
    assert_eq!((edge.limits.flows_max, edge.limits.strangers_per_address), (50_000, 1_000));

    let core = core(CORE);
    assert_eq!(core.domains, ["example.com"]);
    assert_eq!(core.sip.advertise.to_string(), "10.0.0.4:5060");
    assert_eq!(core.sip.registrars[0].to_string(), "sip:10.0.0.5:5060;transport=tcp");
    assert!(core.sip.path_headers && core.sip.stun_keepalive && !core.media.allow_unencrypted);
    assert_eq!(core.sip.options_interval, Duration::from_secs(10));
    assert_eq!(core.sip.request_timeout, Duration::from_secs(32));
    assert_eq!(core.media.address.to_string(), "10.0.0.4");
    assert_eq!(core.control_socket, "/run/edgeway/core.sock");
}

#[test]
fn everything_can_be_said() {
    let edge = edge(
        r#"
node = "edge-2"
state_dir = "/srv/edge"
control_socket = "/run/e.sock"
metrics = "[::1]:9464"
[log]
level = "debug"
format = "json"
[sip]
listen = ["192.0.2.1:5061", "[2001:db8::1]:443"]
public_host = "2001:DB8::1"
public_port = 443
stun_keepalive = false
certificates = [{ chain = "a.crt", key = "a.key" }, { chain = "b.crt", key = "b.key" }]
[link]
listen = "192.0.2.1:7001"
[media]
address = "192.0.2.1"
ports = "40000-40099"
[limits]
flows_max = 10_000
strangers_per_address = 50
"#,
    );
    assert_eq!(edge.sip.listen, [addr("192.0.2.1:5061"), addr("[2001:db8::1]:443")]);
    assert_eq!((edge.sip.public_host.as_str(), edge.sip.public_port), ("2001:db8::1", 443));
    assert_eq!(edge.sip.certificates[1].chain, "b.crt");
    assert_eq!(edge.metrics, Some(addr("[::1]:9464")));
    assert_eq!(edge.link.public_address.map(|at| at.to_string()).as_deref(), Some("192.0.2.1:7001"));
    assert_eq!((edge.media.address, edge.media.public_address), (addr("192.0.2.1:1").ip(), addr("192.0.2.1:1").ip()));
    assert_eq!(edge.limits.flows_max, 10_000);

    let core = core(
        r#"
node = "core-2"
domains = ["Example.com", "10.0.0.5"]
[sip]
advertise = "core.example.com:5070"
path_headers = false
registrars = ["udp:[2001:db8::5]:5060", "tcp:10.0.0.5:5060"]
options_interval = "1m"
request_timeout = "5s"
[media]
address = "10.0.0.4"
allow_unencrypted = true
[[link.edge]]
node = "edge1"
address = "192.0.2.10:7001"
"#,
    );
    assert_eq!(core.domains, ["example.com", "10.0.0.5"]);
    assert_eq!(core.sip.listen, [addr("0.0.0.0:5060")]);
    assert_eq!(core.sip.registrars[0].transport, Some(Transport::Udp));
    assert_eq!((core.sip.registrars[0].host.as_str(), core.sip.registrars[0].priority), ("2001:db8::5", 0));
    assert_eq!((core.sip.registrars[1].host.as_str(), core.sip.registrars[1].priority), ("10.0.0.5", 1));
    assert_eq!(core.sip.options_interval, Duration::from_secs(60));
    assert_eq!(core.link.edges[0].address.socket_addr(), Some(addr("192.0.2.10:7001")));
}

#[test]
fn every_problem_is_reported_at_once() {
    let problems = edge_problems(
        r#"
node = "Edge 1"
colour = "blue"
[sip]
lisen = "0.0.0.0:5061"
public_port = 70000
certificate = "a.crt"
stun_keepalive = "yes"
[link]
listen = "0.0.0.0"
[media]
ports = "100-200"
"#,
    );
    assert_eq!(
        lines(&problems),
        [
            "edge.toml:2: node: \"Edge 1\" is no node name. Use 1 to 63 of a-z, 0-9 and -, starting with a letter or \
             digit.",
            "edge.toml:3: colour: unknown setting. Known here: node, state_dir, control_socket, drain, metrics, log, hep, \
             sip, https, link, media, limits, xmpp.",
            "edge.toml:5: sip.lisen: unknown setting. Did you mean \"sip.listen\"?",
            "edge.toml:6: sip.public_port: 70000 is out of range. Use 1 to 65535.",
            "edge.toml:8: sip.stun_keepalive: wants true or false and got text.",
            "edge.toml:10: link.listen: \"0.0.0.0\" is no address with port. Add the port, for example \
             192.0.2.10:5060 or [2001:db8::10]:5060.",
            "edge.toml:12: media.ports: port 100 is privileged. Start at 1024 or above.",
            "edge.toml: media.public_address: is missing and has no default. Add it, for example: \
             media.public_address = \"198.51.100.10\"",
            "edge.toml: sip.public_host: is missing and has no default. Add it, for example: sip.public_host = \
             \"edge.example.com\"",
            "edge.toml: sip.key: is missing and has no default. Add it, for example: sip.key = \
             \"/etc/edgeway/tls/edge.key\"",
        ]
    );
}

/// One slip each, the setting it is blamed on, its line, and words that must be in the message.
#[test]
fn slips_of_an_edge() {
    let cases: &[(&str, &str, Option<usize>, &[&str])] = &[
        ("", "sip.public_host", None, &["missing", "sip.public_host = \"edge.example.com\""]),
        ("sip = 5", "sip", Some(1), &["is a table", "[sip]"]),
        ("sip.certificates = 5", "sip.certificates", Some(1), &["[[sip.certificates]]"]),
        ("node = 5", "node", Some(1), &["wants a name in quotes", "a number"]),
        ("public_host = \"a.b\"", "public_host", Some(1), &["Did you mean \"sip.public_host\""]),
        ("domains = [\"a.b\"]", "domains", Some(1), &["setting of the core", "file of the edge"]),
        ("[sip]\nregistrars = \"tcp:1.2.3.4:5\"", "sip.registrars", Some(2), &["setting of the core"]),
        ("[log]\nlevel = \"wran\"", "log.level", Some(2), &["Did you mean \"warn\"", "error, warn, info"]),
        ("[log]\nformat = \"xml\"", "log.format", Some(2), &["human, json"]),
        ("metrics = \"0.0.0.0:9464\"", "metrics", Some(1), &["no sign-in", "127.0.0.1"]),
        ("metrics = \"127.0.0.1:5061\"", "metrics", Some(1), &["taken by sip.listen (0.0.0.0:5061)"]),
        ("[sip]\nlisten = []", "sip.listen", Some(2), &["empty"]),
        ("[sip]\nlisten = [\n\"1.2.3.4:5\",\n\"edge:6\"]", "sip.listen[1]", Some(4), &["\"edge:6\" is no address"]),
        ("[sip]\nlisten = [\"1.2.3.4:5\", \"1.2.3.4:5\"]", "sip.listen[1]", Some(2), &["taken by sip.listen[0]"]),
        ("[sip]\nlisten = [\"0.0.0.0:5\", \"1.2.3.4:5\"]", "sip.listen[1]", Some(2), &["taken by sip.listen[0]"]),
        ("[sip]\nlisten = \"0.0.0.0:0\"", "sip.listen", Some(2), &["any port"]),
        ("[sip]\nlisten = \"1.2.3.4:7001\"", "sip.listen[0]", Some(2), &["taken by link.listen"]),
        ("[sip]\npublic_host = \"sip:a.b\"", "sip.public_host", Some(2), &["without sip:"]),
        ("[sip]\npublic_host = \"a.b:5061\"", "sip.public_host", Some(2), &["without a port"]),
        ("[sip]\npublic_host = \"1.2.3\"", "sip.public_host", Some(2), &["no host name"]),
        ("[sip]\npublic_port = 0", "sip.public_port", Some(2), &["1 to 65535"]),
        ("[sip]\npublic_port = 5061.0", "sip.public_port", Some(2), &["a fraction"]),
        ("[sip]\nkey = \"\"", "sip.key", Some(2), &["no file"]),
        ("[[sip.certificates]]\nchain = \"a\"", "sip.certificates[0].key", Some(1), &["missing"]),
        ("[[sip.certificates]]\nchian = \"a\"", "sip.certificates.chian", Some(2), &["\"sip.certificates.chain\""]),
        ("[link]\nlisten = \"0.0.0.0:40000\"", "media.ports", Some(2), &["overlaps link.listen (0.0.0.0:40000)"]),
        ("[media]\nports = \"7000-7010\"", "media.ports", Some(2), &["overlaps link.listen"]),
        ("[link]\npublic_address = \"a.b\"", "link.public_address", Some(2), &["a.b", "host with port"]),
        ("[link]\npublic_address = \"::1:7001\"", "link.public_address", Some(2), &["brackets"]),
        ("[media]\naddress = \"eth0\"", "media.address", Some(2), &["no IP address"]),
        ("[media]\npublic_address = \"::\"", "media.public_address", Some(2), &["any address", "Say which"]),
        ("[media]\ndscp_audio = 64", "media.dscp_audio", Some(2), &["0 to 63"]),
        ("[media]\nports = \"5000\"", "media.ports", Some(2), &["36000-59999"]),
        ("[media]\nports = \"5001-5000\"", "media.ports", Some(2), &["5000-5001"]),
        ("[media]\nports = \"5001-5002\"", "media.ports", Some(2), &["no pair"]),
        ("[https]\nlisten = \"0.0.0.0:5061\"", "https.listen[0]", Some(2), &["taken by sip.listen"]),
        ("[https]\nlisten = \"of\"", "https.listen", Some(2), &["no address"]),
        ("[xmpp]\nlisten = \"0.0.0.0:5061\"", "xmpp.listen[0]", Some(2), &["taken by sip.listen"]),
        ("[https]\nlisten = \"0.0.0.0:5222\"", "https.listen[0]", Some(2), &["taken by xmpp.listen"]),
        (
            "[xmpp]\ndirect_tls_listen = \"0.0.0.0:5222\"",
            "xmpp.direct_tls_listen[0]",
            Some(2),
            &["taken by xmpp.listen"],
        ),
        ("[xmpp]\nlisten = \"none\"", "xmpp.listen", Some(2), &["no address"]),
        ("[xmpp]\npublic_port = 0", "xmpp.public_port", Some(2), &["1 to 65535"]),
        ("[[xmpp_server]]\naddress = \"im1\"", "xmpp_server", Some(1), &["setting of the core"]),
        ("[limits]\nflows_max = 0", "limits.flows_max", Some(2), &["1 to 50000"]),
        ("[limits]\nflows_max = 50001", "limits.flows_max", Some(2), &["1 to 50000"]),
        ("state_dir = \"/x\"\nstate_dir = \"/y\"", "", Some(2), &["not TOML", "duplicate"]),
        ("node = edge1", "", Some(1), &["not TOML"]),
        ("\"a\\u001bb\" = 1", "a?b", Some(1), &["unknown setting"]),
    ];
    check(cases, edge_problems);
    let long = format!("control_socket = \"/{}\"", "x".repeat(107));
    check(&[(&long, "control_socket", Some(1), &["108 bytes", "107"])], edge_problems);
}

#[test]
fn slips_of_a_core() {
    let cases: &[(&str, &str, Option<usize>, &[&str])] = &[
        ("", "sip.registrars", None, &["missing", "tcp:10.0.0.5:5060"]),
        ("", "sip.advertise", None, &["missing"]),
        ("domains = [\"a.b\", \"c.d\", \"A.B\"]", "domains[2]", Some(1), &["twice"]),
        ("domains = [\"sip:a.b\"]", "domains[0]", Some(1), &["without sip:"]),
        ("[sip]\nadvertise = \"0.0.0.0:5060\"", "sip.advertise", Some(2), &["any address"]),
        ("[sip]\nadvertise = \"core.a.b:5060\"", "media.address", None, &["missing"]),
        ("[sip]\nregistrars = [\"10.0.0.5:5060\"]", "sip.registrars[0]", Some(2), &["transport", "tcp:10.0.0.5:5060"]),
        ("[sip]\nregistrars = [\"sips:a.example;transport=udp\"]", "sip.registrars[0]", Some(2), &["exclude"]),
        ("[sip]\nregistrars = [\"sip:bob@a.example\"]", "sip.registrars[0]", Some(2), &["no user"]),
        ("[sip]\nregistrars = [\"sip:a.example;lr\"]", "sip.registrars[0]", Some(2), &["no parameter"]),
        ("[sip]\nregistrars = [\"tcp:a.example;priority=x\"]", "sip.registrars[0]", Some(2), &["no number"]),
        ("[sip]\nregistrars = [\"tcp:a.b;priority=1\", \"tcp:b.b\"]", "sip.registrars", Some(2), &["for all"]),
        ("[sip.tls]\nlisten = [\"10.0.0.4:5061\"]", "sip.tls.certificate", None, &["missing"]),
        ("[sip.tls]\ncertificate = \"/c.pem\"", "sip.tls.key", None, &["missing"]),
        ("[dns]\nservers = [\"ns.example\"]", "dns.servers[0]", Some(2), &["names are not looked up"]),
        ("[sip]\nregistrars = [\"tpc:1.2.3.4:5\"]", "sip.registrars[0]", Some(2), &["mean \"tcp:1.2.3.4:5\""]),
        ("[sip]\nregistrars = [\"udp:pbx.a.b:x\"]", "sip.registrars[0]", Some(2), &["no host with port"]),
        ("[sip]\nregistrars = [\"udp:0.0.0.0:5060\"]", "sip.registrars[0]", Some(2), &["any address"]),
        ("[sip]\nregistrars = [\"tcp:1.2.3.4:5\",\"tcp:1.2.3.4:5\"]", "sip.registrars[1]", Some(2), &["twice"]),
        ("[sip]\noptions_interval = 10", "sip.options_interval", Some(2), &["a duration in quotes", "a number"]),
        ("[sip]\noptions_interval = \"10\"", "sip.options_interval", Some(2), &["no duration", "\"30s\""]),
        ("[sip]\noptions_interval = \"10ms\"", "sip.options_interval", Some(2), &["out of range", "1 s to 3600 s"]),
        ("[sip]\nrequest_timeout = \"33s\"", "sip.request_timeout", Some(2), &["1 s to 32 s"]),
        ("[sip]\npath_header = true", "sip.path_header", Some(2), &["Did you mean \"sip.path_headers\""]),
        ("[sip]\nlisten = \"10.0.0.4:36000\"", "media.ports", Some(2), &["overlaps sip.listen[0]"]),
        ("[sip]\npublic_host = \"a.b\"", "sip.public_host", Some(2), &["setting of the edge"]),
        ("[[link.peer]]\nnode = \"e\"", "link.peer[0].address", Some(1), &["missing"]),
        ("[sign_in]\nauthority = \"ldpa\"", "sign_in.authority", Some(2), &["Did you mean \"ldap\""]),
        ("[sign_in]\nauthority = \"users\"", "sign_in.users_file", None, &["missing", "users_file = "]),
        ("[sign_in]\nauthority = \"ldap\"", "sign_in.ldap.bind_dn", None, &["missing", "{user}"]),
        ("[sign_in.ldap]\nbind_dn = \"uid=x\"", "sign_in.ldap.bind_dn", Some(2), &["where the user's name goes"]),
        (
            "[sign_in]\nmaximum_authorizations_per_period = 0",
            "sign_in.maximum_authorizations_per_period",
            Some(2),
            &["1 to 1000"],
        ),
        (
            "[sign_in]\ncredentials_refresh_interval = \"30s\"",
            "sign_in.credentials_refresh_interval",
            Some(2),
            &["out of range"],
        ),
        ("[[deployment]]\nname = \"a b\"", "deployment[0].name", Some(2), &["no name of a deployment"]),
        ("[[deployment]]\ndomains = [\"b.example\"]", "deployment[0].name", Some(1), &["missing"]),
        ("[[deployment]]\nname = \"default\"\ndomains = [\"b.example\"]", "deployment[0].name", Some(1), &["twice"]),
        ("[[deployment]]\nname = \"x\"\nnmae = 1", "deployment.nmae", Some(3), &["\"deployment.name\""]),
        (
            "domains = [\"a.example\"]\n[[deployment]]\nname = \"x\"\ndomains = [\"a.example\"]",
            "deployment[0].domains",
            Some(2),
            &["belongs to default"],
        ),
        ("[[unified_cm]]\naddress = \"cucm1\"", "unified_cm[0].user", Some(1), &["missing", "user = "]),
        ("[[unity]]\naddress = \"cuc1:0\"", "unity[0].address", Some(2), &["port 0"]),
        ("[[xmpp_server]]\npriority = 1", "xmpp_server[0].address", Some(1), &["missing", "address = "]),
        ("[[xmpp_server]]\naddress = \"0.0.0.0\"", "xmpp_server[0].address", Some(2), &["any address"]),
        ("[[xmpp_server]]\naddress = \"a.b\"\nweight = 65536", "xmpp_server[0].weight", Some(3), &["0 to 65535"]),
        ("[[xmpp_server]]\naddress = \"a.b\"\ntls_verify = false", "xmpp_server.tls_verify", Some(3), &["unknown"]),
        (
            "[[xmpp_server]]\naddress = \"a.b\"\n[[xmpp_server]]\naddress = \"A.b:5222\"",
            "xmpp_server[1].address",
            Some(3),
            &["twice"],
        ),
        ("[xmpp]\nlisten = \"off\"", "xmpp", Some(1), &["setting of the edge"]),
        ("[[unified_cm]]\nuser = \"a:b\"", "unified_cm[0].user", Some(2), &["no user's name", "colon"]),
        ("[servers]\nlook_every = \"1s\"", "servers.look_every", Some(2), &["out of range"]),
        ("[http]\ndefault_methods = [\"CONNECT\"]", "http.default_methods[0]", Some(2), &["no method"]),
        ("[[link.edge]]\nnode = \"e\"", "link.edge[0].address", Some(1), &["missing"]),
        (
            "[[link.edge]]\nnode = \"e\"\naddress = \"a:1\"\n[[link.edge]]\nnode = \"e\"\naddress = \"b:1\"",
            "link.edge[1].node",
            Some(4),
            &["twice"],
        ),
        ("[link.edge]\nnode = \"e\"", "link.edge", Some(1), &["[[link.edge]]"]),
    ];
    check(cases, core_problems);
}

fn check(cases: &[(&str, &str, Option<usize>, &[&str])], problems: fn(&str) -> Problems) {
    for (text, path, line, words) in cases {
        let problems = problems(text);
        let hit = problems
            .problems
            .iter()
            .find(|problem| problem.path == *path && words.iter().all(|word| problem.to_string().contains(word)));
        let hit = hit.unwrap_or_else(|| panic!("{text}\nwants {path}: {words:?}\ngot:\n{problems}"));
        assert_eq!(hit.line, *line, "{text}\n{problems}");
    }
}

#[test]
fn one_mistake_makes_one_problem() {
    for (setting, wrong) in [
        ("[sip]", "[sip]\nlisten = \"nowhere\""),
        ("[media]", "[media]\naddress = \"nowhere\""),
        ("node = \"edge1\"", "node = \"Edge\""),
        ("key = \"a.key\"", "key = 5"),
        ("public_address = \"198.51.100.10\"", "public_address = 5"),
    ] {
        let text = SMALL_EDGE.replace(setting, wrong);
        assert_eq!(edge_problems(&text).problems.len(), 1, "{text}\n{}", edge_problems(&text));
    }
    for (setting, wrong) in [
        ("listen = [\"10.0.0.4:5060\"]", "listen = 5"),
        ("listen = [\"10.0.0.4:5060\"]", ""),
        ("tcp:10.0.0.5:5060", "10.0.0.5"),
        ("domains = [\"example.com\"]", "domains = []"),
    ] {
        let text = SMALL_CORE.replace(setting, wrong);
        assert_eq!(core_problems(&text).problems.len(), 1, "{text}\n{}", core_problems(&text));
    }
}

#[test]
fn text_that_is_no_toml_is_not_also_blamed_for_what_it_lacks() {
    let problems = edge_problems("node = \"edge1\"\n[sip\npublic_host = 5\n");
    assert!(problems.problems.iter().all(|problem| !problem.reason.contains("missing")), "{problems}");
    assert_eq!(problems.problems[0].line, Some(2), "{problems}");
}

#[test]
fn floods_are_bounded() {
    let many: String = (0..500).map(|n| format!("zz{n} = 1\n")).collect();
    let problems = edge_problems(&many);
    assert_eq!(problems.problems.len(), edgeway_config::limits::PROBLEMS_MAX);
    assert!(problems.omitted >= 400 && problems.to_string().ends_with("more"), "{problems}");
    let huge = "#".repeat(edgeway_config::limits::CONFIG_TEXT_BYTES_MAX + 1);
    assert_eq!(
        lines(&edge_problems(&huge)),
        ["edge.toml: the file is larger than 256 KiB. Is it the right file? A \
        working one has some 10 lines."]
    );
    let list = format!("domains = [{}]", "\"a.b\",".repeat(65));
    assert!(core_problems(&list).to_string().contains("domains: 65 entries. At most 64"));
}

/// The example with one more setting, wherever it belongs.
fn with(small: &str, path: &str, value: &str) -> String {
    let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
    if table.is_empty() {
        return format!("{key} = {value}\n{small}");
    }
    let header = format!("[{table}]\n");
    if small.contains(&header) {
        small.replace(&header, &format!("{header}{key} = {value}\n"))
    } else {
        format!("{small}{header}{key} = {value}\n")
    }
}

#[test]
fn the_manual_tells_the_defaults_the_code_uses() {
    for setting in known_settings(Role::Edge) {
        let Preset::Toml(value) = setting.preset else { continue };
        assert_eq!(edge(&with(SMALL_EDGE, setting.path, value)), edge(SMALL_EDGE), "{}", setting.path);
    }
    let unset = SMALL_CORE.replace("listen = [\"10.0.0.4:5060\"]", "advertise = \"10.0.0.4:5060\"");
    for setting in known_settings(Role::Core) {
        let Preset::Toml(value) = setting.preset else { continue };
        assert_eq!(core(&with(&unset, setting.path, value)), core(&unset), "{}", setting.path);
    }
}

#[test]
fn the_manuals_examples_are_good_values() {
    for (role, small) in [(Role::Edge, SMALL_EDGE), (Role::Core, SMALL_CORE)] {
        for setting in known_settings(role) {
            let (_, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
            let lists = ["deployment.", "unified_cm.", "im_and_presence.", "unity.", "xmpp_server."];
            let in_list =
                setting.path.matches('.').count() > 1 || lists.iter().any(|list| setting.path.starts_with(list));
            // Of these there is none without the other.
            let pair = ["admin.certificate", "admin.key"].contains(&setting.path);
            if in_list || pair || small.lines().any(|line| line.starts_with(&format!("{key} ="))) {
                continue;
            }
            let text = with(small, setting.path, setting.example);
            let problems = match role {
                Role::Edge => parse_edge(&text, "edge.toml").err(),
                Role::Core => parse_core(&text, "core.toml").err(),
            };
            assert_eq!(problems, None, "{text}");
        }
    }
}

#[test]
fn where_administrators_sign_in() {
    let written = "[admin]\nlisten = \"192.0.2.30:9443\"\ncertificate = \"/a.crt\"\nkey = \"/a.key\"\nnames = [\"Admin.Example.com\"]\n";
    let admin = core(&format!("{SMALL_CORE}{written}")).admin;
    assert_eq!(admin.listen, Some("192.0.2.30:9443".parse().unwrap()));
    assert_eq!(
        (admin.certificate.unwrap().key, admin.names),
        ("/a.key".to_owned(), vec!["admin.example.com".to_owned()])
    );
    let of = |written: &str| core(&format!("{SMALL_CORE}[admin]\n{written}\n")).admin;
    assert_eq!(of("listen = \"off\"").listen, None);
    assert_eq!(core(SMALL_CORE).admin.listen, Some("127.0.0.1:9443".parse().unwrap()));
    for (written, path) in [
        ("certificate = \"/a.crt\"", "admin.key"),
        ("key = \"/a.key\"", "admin.certificate"),
        ("listen = \"10.0.0.4:5060\"", "admin.listen"),
        ("names = [\"a b\"]", "admin.names[0]"),
    ] {
        let problems = core_problems(&format!("{SMALL_CORE}[admin]\n{written}\n"));
        assert!(problems.problems.len() == 1 && problems.problems[0].path == path, "{problems}");
    }
}

#[test]
fn the_manuals_page_is_up_to_date() {
    let written = include_str!("../../docs/manual/settings.md");
    assert!(written == manual_page(), "docs/manual/settings.md is out of date: run `cargo xtask docs`");
}

#[test]
fn every_setting_is_described() {
    for role in [Role::Edge, Role::Core] {
        for setting in known_settings(role) {
            assert!(setting.doc.ends_with('.') && setting.doc.len() > 20, "{}", setting.path);
            assert!(!setting.unit.is_empty() && !setting.impact.words().is_empty(), "{}", setting.path);
            for text in [setting.doc, setting.unit, setting.impact.words()] {
                assert!(!text.contains('|'), "{}: a bar breaks the table", setting.path);
            }
        }
    }
}

proptest! {
    /// Whatever the text: an answer, never a panic, and never an empty list of problems.
    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        for problems in [parse_edge(&text, "f").err(), parse_core(&text, "f").err()] {
            prop_assert!(problems.is_some_and(|problems| !problems.problems.is_empty()));
        }
    }

    /// Whatever stands for a value, in any setting.
    #[test]
    fn any_value_is_answered(
        index in 0_usize..40,
        value in prop_oneof![
            "\"[a-z0-9.:\\[\\]-]{0,24}\"", "-?[0-9]{1,20}", "\\[[0-9]{1,3}\\]", "\\{a=[0-9]\\}", "[0-9]\\.[0-9]",
            Just("true".to_owned()), Just("[]".to_owned()), Just("[[]]".to_owned()), Just("[{}]".to_owned()),
        ],
    ) {
        for role in [Role::Edge, Role::Core] {
            let settings = known_settings(role);
            let path = settings[index % settings.len()].path;
            let text = format!("{path} = {value}\n");
            let problems = match role {
                Role::Edge => parse_edge(&text, "f").err(),
                Role::Core => parse_core(&text, "f").err(),
            };
            prop_assert!(problems.is_some_and(|problems| !problems.problems.is_empty()), "{}", text);
        }
    }

    /// A letter dropped from any setting of the edge leads back to it.
    #[test]
    fn a_dropped_letter_is_found_again(index in 0_usize..40, at in 0_usize..40) {
        let settings = known_settings(Role::Edge);
        let setting = settings[index % settings.len()];
        let (table, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
        let mut slip = key.to_owned();
        slip.remove(at % key.len());
        let path = if table.is_empty() { slip } else { format!("{table}.{slip}") };
        prop_assume!(settings.iter().all(|known| known.path != path) && key.len() > 3);
        prop_assume!(setting.path.matches('.').count() < 2);
        let problems = edge_problems(&format!("{path} = 1\n"));
        let meant = problems.problems.iter().find(|problem| problem.path == path).and_then(|p| p.did_you_mean.as_deref());
        prop_assert_eq!(meant, Some(setting.path), "{}", path);
    }
}

/// Registrars in every form there is: scheme, host, port, transport, priority, weight.
#[test]
fn registrars_are_addresses_names_or_uris() {
    let read = |list: &str| {
        let text = format!(
            "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"10.0.0.4:5060\"]\nregistrars = [{list}]\n"
        );
        parse_core(&text, "core.toml").unwrap().sip.registrars
    };
    let told = |list: &str| {
        let registrars = read(list);
        registrars.iter().map(|one| format!("{one} {}/{}", one.priority, one.weight)).collect::<Vec<_>>()
    };
    for (written, read) in [
        ("tcp:10.0.0.5:5060", "sip:10.0.0.5:5060;transport=tcp 0/1"),
        ("udp:[2001:DB8::5]:5060", "sip:[2001:db8::5]:5060;transport=udp 0/1"),
        ("tls:PBX.example.com:5061", "sip:pbx.example.com:5061;transport=tls 0/1"),
        ("tls:pbx.example.com", "sip:pbx.example.com;transport=tls 0/1"),
        ("sip:example.com", "sip:example.com 0/1"),
        ("sips:example.com", "sips:example.com 0/1"),
        ("sips:example.com;transport=tcp", "sips:example.com;transport=tls 0/1"),
        ("sip:[2001:db8::5];transport=TCP;weight=30", "sip:[2001:db8::5];transport=tcp 0/30"),
        ("sip:example.com;transport=tls;priority=7", "sip:example.com;transport=tls 7/1"),
    ] {
        assert_eq!(told(&format!("\"{written}\"")), [read], "{written}");
    }
    assert_eq!(
        told("\"tcp:a.example\", \"tcp:b.example;weight=2\""),
        ["sip:a.example;transport=tcp 0/1", "sip:b.example;transport=tcp 1/2"]
    );
    assert_eq!(
        told("\"tcp:a.example;priority=5;weight=3\", \"tcp:b.example;priority=5\""),
        ["sip:a.example;transport=tcp 5/3", "sip:b.example;transport=tcp 5/1"]
    );
}

#[test]
fn tls_inside_and_name_servers() {
    let text = "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
                registrars = [\"sips:example.com\"]\n[sip.tls]\nlisten = [\"[::1]:5061\"]\nca = \"/ca.pem\"\n\
                certificate = \"/core.pem\"\nkey = \"/core.key\"\nverify_clients = false\n[dns]\n\
                servers = [\"10.0.0.2\", \"[2001:db8::2]:5353\"]\n";
    let sip = parse_core(text, "core.toml").unwrap().sip;
    assert_eq!(sip.tls.listen, [addr("[::1]:5061")]);
    assert_eq!(sip.tls.ca.as_deref(), Some("/ca.pem"));
    assert_eq!(
        sip.tls.certificate.map(|files| (files.chain, files.key)),
        Some(("/core.pem".into(), "/core.key".into()))
    );
    assert!(!sip.tls.verify_clients);
    assert_eq!(sip.dns_servers, [addr("10.0.0.2:53"), addr("[2001:db8::2]:5353")]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus is files beside the source")]
fn the_corpus_of_the_fuzzer_passes() {
    let mut count = 0;
    for name in ["config", "config_document"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
            let bytes = std::fs::read(entry.expect("a readable folder").path()).expect("a readable file");
            edgeway_config::fuzzing::settings(&bytes);
            edgeway_config::fuzzing::documents(&bytes);
            edgeway_config::fuzzing::document_text(&bytes);
            count += 1;
        }
    }
    assert!(count > 6);
}

#[test]
fn an_authority_that_is_not_there_is_missed() {
    let problems = core_problems(&format!("{SMALL_CORE}[sign_in]\nauthority = \"unified_cm\"\n"));
    let told = problems.to_string();
    assert!(told.contains("no Unified CM to ask") && told.contains("[[unified_cm]]"), "{told}");
    assert_eq!(problems.problems.len(), 1, "{told}");
    let cluster = "[[unified_cm]]\naddress = \"c\"\nuser = \"a\"\npassword_file = \"/p\"\ndeployment = \"x\"\n";
    let problems = core_problems(&format!("{SMALL_CORE}{cluster}"));
    assert_eq!(problems.problems.len(), 1, "{problems}");
    assert_eq!(problems.problems[0].path, "unified_cm[0].deployment");
}

#[test]
fn https_is_on_unless_it_is_off() {
    assert_eq!(edge(SMALL_EDGE).https.listen, [addr("0.0.0.0:8443")]);
    let off = edge(&format!("{SMALL_EDGE}[https]\nlisten = \"off\"\n"));
    assert_eq!(off.https.listen, []);
    let moved = edge(&format!("{SMALL_EDGE}[https]\nlisten = [\"192.0.2.1:443\", \"[::]:443\"]\n"));
    assert_eq!((moved.https.listen.len(), moved.https.public_port), (2, 443));
}

#[test]
fn chat_is_on_unless_it_is_off() {
    let usual = edge(SMALL_EDGE).xmpp;
    assert_eq!((usual.listen.as_slice(), usual.direct_tls_listen.as_slice()), (&[addr("0.0.0.0:5222")][..], &[][..]));
    assert_eq!((usual.is_on(), usual.announced_port()), (true, 5222));
    let off = edge(&format!("{SMALL_EDGE}[xmpp]\nlisten = \"off\"\n")).xmpp;
    assert_eq!((off.listen.as_slice(), off.is_on(), off.announced_port()), (&[][..], false, 0));
    let mapped = edge(&format!("{SMALL_EDGE}[xmpp]\nlisten = \"192.0.2.1:15222\"\npublic_port = 5222\n")).xmpp;
    assert_eq!((mapped.listen.as_slice(), mapped.announced_port()), (&[addr("192.0.2.1:15222")][..], 5222));
    // Clients that are told a port begin with STARTTLS there.
    let direct = edge(&format!("{SMALL_EDGE}[xmpp]\nlisten = \"off\"\ndirect_tls_listen = \"[::]:5223\"\n")).xmpp;
    assert_eq!((direct.direct_tls_listen.as_slice(), direct.is_on()), (&[addr("[::]:5223")][..], true));
    assert_eq!(direct.announced_port(), 0);
}

#[test]
fn a_core_says_where_im_servers_are() {
    assert_eq!(core(SMALL_CORE).xmpp_servers, []);
    let text = r#"
[[deployment]]
name = "staging"
domains = ["staging.example.com"]
[[xmpp_server]]
address = "IM1.example.com"
[[xmpp_server]]
address = "[2001:db8::7]"
priority = 1
weight = 3
direct_tls = true
tls_name = "im.example.com"
ca = "/etc/edgeway/inside-ca.pem"
[[xmpp_server]]
address = "im2.example.com:5222"
deployment = "staging"
"#;
    let servers = core(&format!("{SMALL_CORE}{text}")).xmpp_servers;
    let shown: Vec<_> = servers
        .iter()
        .map(|one| (one.address.to_string(), one.deployment.as_str(), one.priority, one.weight, one.direct_tls))
        .collect();
    assert_eq!(
        shown,
        [
            ("im1.example.com:5222".to_owned(), "default", 0, 1, false),
            ("[2001:db8::7]:5223".to_owned(), "default", 1, 3, true),
            ("im2.example.com:5222".to_owned(), "staging", 0, 1, false),
        ]
    );
    assert_eq!(servers[0].tls_name, None);
    assert_eq!(servers[1].tls_name.as_deref(), Some("im.example.com"));
    assert_eq!(servers[1].ca.as_deref(), Some("/etc/edgeway/inside-ca.pem"));
    let twice = text.replace("im2.", "im1.");
    assert_eq!(
        lines(&core_problems(&format!("{SMALL_CORE}{twice}"))),
        ["core.toml:20: xmpp_server[2].address: im1.example.com:5222 belongs to default already. A server belongs to \
          one deployment."]
    );
    let text = "[[xmpp_server]]\naddress = \"im1\"\ndeployment = \"nowhere\"\n";
    assert_eq!(
        lines(&core_problems(&format!("{SMALL_CORE}{text}"))),
        ["core.toml:7: xmpp_server[0].deployment: there is no deployment nowhere. Add it, or name another."]
    );
}

#[test]
fn a_core_says_who_signs_in_where() {
    let text = r#"
node = "core1"
domains = ["example.com", "example.org"]
[sip]
listen = ["10.0.0.4:5060"]
[sign_in]
authority = "unified_cm"
oauth = true
oauth_audiences = ["UnifiedCommunications:readwrite"]
credentials_refresh_interval = "2h"
[[unified_cm]]
address = "CUCM1.example.com"
user = "axl"
password_file = "/etc/edgeway/axl"
[[unity]]
address = "cuc1.example.com:8443"
user = "cupi"
password_file = "/etc/edgeway/cupi"
tls_verify = false
[[deployment]]
name = "staging"
domains = ["staging.example.com"]
registrars = ["tcp:10.0.1.5:5060"]
authority = "ldap"
ldap.servers = ["ldap.example.com:636"]
ldap.bind_dn = "uid={user},dc=example"
[[deployment]]
name = "lab"
domains = ["lab.example.com"]
authority = "users"
users_file = "/etc/edgeway/users"
[http]
allow_list = "/etc/edgeway/allow.csv"
"#;
    let core = core(text);
    assert!(core.sip.registrars.is_empty());
    assert_eq!(core.sign_in.credentials_refresh_interval, Duration::from_secs(7_200));
    assert_eq!(core.sign_in.credentials_cleanup_interval, Duration::from_secs(720 * 60));
    assert_eq!((core.sign_in.maximum_authorizations_per_period, core.sign_in.rate_control_period.as_secs()), (8, 300));
    assert_eq!(core.sign_in.key_file, "/var/lib/edgeway/sign-in.key");
    let names: Vec<_> = core.deployments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["default", "staging", "lab"]);
    assert_eq!(core.deployments[0].domains, ["example.com", "example.org"]);
    assert_eq!((&core.deployments[0].authority, core.deployments[0].oauth), (&AuthoritySettings::UnifiedCm, true));
    assert_eq!(core.deployments[0].oauth_audiences, ["UnifiedCommunications:readwrite"]);
    assert!(core.deployments[1].oauth_audiences.is_empty());
    let AuthoritySettings::Ldap(ldap) = &core.deployments[1].authority else { panic!("a directory") };
    assert_eq!((ldap.servers[0].to_string().as_str(), ldap.start_tls), ("ldap.example.com:636", false));
    assert_eq!(core.deployments[2].authority, AuthoritySettings::Users { file: "/etc/edgeway/users".into() });
    assert_eq!(core.uc.unified_cm[0].address.to_string(), "cucm1.example.com:8443");
    assert!(core.uc.unified_cm[0].tls_verify && !core.uc.unity[0].tls_verify);
    assert_eq!(core.uc.unity[0].address.to_string(), "cuc1.example.com:8443");
    assert_eq!(core.uc.look_every, Some(Duration::from_secs(300)));
    assert_eq!(core.http.allow_list.as_deref(), Some("/etc/edgeway/allow.csv"));
    assert_eq!(core.http.default_methods.len(), 6);
}

#[test]
fn rules_of_the_allow_list_stand_in_the_text_and_are_judged_with_their_lines() {
    let rules = "\n[[http.allow_list_rule]]\nname = \"updates\"\nurl = \"https://files.example.com/updates\"\nmatch_type = \"exact\"\n\
                 methods = [\"get\"]\ndescription = \"Updates\"\n[[http.allow_list_rule]]\nname = \"all\"\nurl = \"http://a\"\n";
    let read = core(&format!("{SMALL_CORE}{rules}")).http.allow_list_rules;
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].exact, read[0].methods.as_deref()), (true, Some(&["GET".to_owned()][..])));
    assert_eq!((read[1].exact, read[1].methods.as_deref(), read[1].description.as_str()), (false, None, ""));

    let wrong = "\n[[http.allow_list_rule]]\nname = \"a b\"\nurl = \"ftp://a\"\n[[http.allow_list_rule]]\nname = \"one\"\n\
                 url = \"http://a\"\ndeployment = \"none\"\n[[http.allow_list_rule]]\nname = \"two\"\nurl = \"http://a\"\n\
                 match_type = \"regex\"\n[[http.allow_list_rule]]\nname = \"two\"\nurl = \"http://a\"\n[[http.allow_list_rule]]\nname = \"none\"\n";
    let found = core_problems(&format!("{SMALL_CORE}{wrong}"));
    let paths: Vec<&str> = found.problems.iter().map(|one| one.path.as_str()).collect();
    let expected = ["[0].name", "[0].url", "[1].deployment", "[2].match_type", "[3].name", "[4].url"];
    assert_eq!(paths, expected.map(|one| format!("http.allow_list_rule{one}")));

    let many = |count: usize| {
        let rule = |at: usize| format!("[[http.allow_list_rule]]\nname = \"r{at}\"\nurl = \"http://a/{at}\"\n");
        format!("{SMALL_CORE}{}", (0..count).map(rule).collect::<String>())
    };
    assert_eq!(core(&many(500)).http.allow_list_rules.len(), 500);
    assert!(core_problems(&many(501)).to_string().contains("At most 500"), "{}", core_problems(&many(501)));
}
