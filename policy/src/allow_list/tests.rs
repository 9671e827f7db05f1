//! What no client gets, in every spelling known; and for anything whatever, that what is allowed is what a
//! rule says.

use proptest::prelude::*;

use edgeway_model::sign_in::UserName;

use super::*;
use crate::discovery::Product;

const RULES: &str = "Url,Deployment,HttpMethods,MatchType,Description\n\
    https://files.example.com/updates,default,GET,prefix,Updates\n\
    https://files.example.com:8443/exact,default,\"GET,POST\",exact,One document\n\
    http://192.0.2.10:8080/photos/,default,GET,prefix,Photos\n\
    http://[2001:db8::10]:8080/photos,default,GET,prefix,Photos\n\
    http://127.0.0.1:6970/lab,default,GET,prefix,On this machine\n\
    https://xn--bcher-kva.example/,default,GET,prefix,Books\n\
    https://other.example.com/,other,GET,prefix,Of another deployment\n\
    https://cucm1.example.com:8443/cucm-uds/,wide,GET,prefix,All of UDS\n";

fn list() -> AllowList {
    let deployments = ["default", "other", "wide"].map(|name| Deployment::new(name).unwrap());
    let context = RulesContext { deployments: &deployments, default_methods: &[] };
    let mut rules = read_rules(RULES, context).unwrap();
    for product in [Product::UnifiedCm, Product::ImAndPresence] {
        let ports = AutomaticPorts::usual(product);
        rules.extend(automatic_rules(product, "cucm1.example.com", &Deployment::default_one(), ports));
    }
    AllowList::new(rules).unwrap()
}

fn ask<'l>(list: &'l AllowList, method: &str, url: &str) -> Result<(&'l str, u16, String), Denial> {
    let (deployment, alice) = (Deployment::default_one(), UserName::new("alice"));
    let allowed = list.decide_url(&deployment, Holder { user: alice.as_ref(), devices: &[] }, method, url)?;
    Ok((allowed.host, allowed.port, allowed.path.into_owned()))
}

#[test]
fn what_is_allowed_goes_where_the_rule_says() {
    let list = list();
    for (url, host, port, path) in [
        ("https://files.example.com/updates", "files.example.com", 443, "/updates"),
        ("https://files.example.com/updates/", "files.example.com", 443, "/updates/"),
        ("https://files.example.com/updates/a.zip?x=../y", "files.example.com", 443, "/updates/a.zip?x=../y"),
        ("HTTPS://Files.Example.com.:443/%75pdates/%7Ea", "files.example.com", 443, "/updates/~a"),
        ("https://files.example.com:8443/exact?a", "files.example.com", 8443, "/exact?a"),
        ("http://192.0.2.10:8080/photos/a%20b.jpg", "192.0.2.10", 8080, "/photos/a%20b.jpg"),
        ("http://[2001:DB8:0::0010]:8080/photos/a", "2001:db8::10", 8080, "/photos/a"),
        ("http://127.0.0.1:6970/lab/x", "127.0.0.1", 6970, "/lab/x"),
        ("https://XN--BCHER-KVA.example/x", "xn--bcher-kva.example", 443, "/x"),
        ("https://cucm1.example.com:8443/cucm-uds/version", "cucm1.example.com", 8443, "/cucm-uds/version"),
        (
            "https://cucm1.example.com:8443/cucm-uds/user/%61LICE/devices",
            "cucm1.example.com",
            8443,
            "/cucm-uds/user/aLICE/devices",
        ),
    ] {
        assert_eq!(ask(&list, "GET", url), Ok((host, port, path.to_owned())), "{url}");
    }
}

/// URLs that are nobody's: 150 or so, in the families that have opened proxies elsewhere.
#[rustfmt::skip]
const DENIED: &[&str] = &[
    // No URL, or of another kind.
    "", "/", "files.example.com/updates", "//files.example.com/updates", "https:/files.example.com/updates",
    "https:files.example.com/updates", "ftp://files.example.com/updates", "file:///etc/passwd", "gopher://files.example.com/updates",
    "javascript://files.example.com/updates", "https:///updates", "https://", "https://:443/updates", " https://files.example.com/updates",
    "https ://files.example.com/updates", "wss://files.example.com/updates", "unix:/run/x.sock",
    // Other schemes, hosts, ports.
    "http://files.example.com/updates", "http://files.example.com:443/updates", "https://files.example.com:444/updates",
    "https://files.example.com:0/updates", "https://files.example.com:/updates", "https://files.example.com:0443/updates",
    "https://files.example.com:+443/updates", "https://files.example.com:443x/updates", "https://files.example.com:65979/updates",
    "https://files.example.com:4 43/updates", "https://files.example.com:443:443/updates", "https://files.example.com:-1/updates",
    "https://example.com/updates", "https://com/updates", "https://xfiles.example.com/updates", "https://files.example.com.evil.net/updates",
    "https://files.example.comx/updates", "https://evil.net/files.example.com/updates", "https://other.example.com/", "https://files/updates",
    "https://localhost/updates", "https://files.example.com../updates", "https://.files.example.com/updates", "https://files..example.com/updates",
    // User information and its tricks.
    "https://user@files.example.com/updates", "https://files.example.com@evil.net/updates", "https://files.example.com:443@evil.net/updates",
    "https://files.example.com%40evil.net/updates", "https://evil.net#@files.example.com/updates", "https://evil.net?@files.example.com/updates",
    "https://evil.net\\@files.example.com/updates", "https://evil.net;@files.example.com/updates", "https://@files.example.com/updates",
    "https://:@files.example.com/updates", "https://evil.net&@files.example.com/updates", "https://files.example.com\\.evil.net/updates",
    // Encodings and alphabets in hosts.
    "https://files%2eexample.com/updates", "https://%66iles.example.com/updates", "https://files.example.com%00.evil.net/updates",
    "https://files.example.com\u{0}/updates", "https://files.example.com%0d%0a/updates", "https://files.example.com\r\n/updates",
    "https://files.example.com\t/updates", "https://files.example.com /updates", "https://files\u{3002}example.com/updates",
    "https://files.ex\u{430}mple.com/updates", "https://f\u{ff49}les.example.com/updates", "https://b\u{fc}cher.example/x",
    "https://files.example.com%2f@evil.net/updates", "https://files.example.com,evil.net/updates", "https://files.example.com|evil.net/updates",
    "https://\u{24d5}iles.example.com/updates", "https://files.example.com\u{ad}/updates", "https://xn--files.example.com/updates",
    "https://[files.example.com]/updates", "https://files.example.com]/updates", "https://*.example.com/updates",
    // Addresses, in all their forms.
    "http://192.0.2.11:8080/photos/", "http://192.000.002.010:8080/photos/", "http://0300.0.2.10:8080/photos/", "http://0xc0.0.2.10:8080/photos/",
    "http://0xC000020A:8080/photos/", "http://3221225994:8080/photos/", "http://030000001012:8080/photos/", "http://192.0.522:8080/photos/",
    "http://192.522:8080/photos/", "http://192.0.2.10.:8080/photos/", "http://192.0.2.266:8080/photos/", "http://192.0.2.10.0:8080/photos/",
    "http://[::ffff:192.0.2.10]:8080/photos/", "http://[::ffff:c000:20a]:8080/photos/", "http://[::192.0.2.10]:8080/photos/",
    "http://[64:ff9b::192.0.2.10]:8080/photos/", "http://[2002:c000:20a::]:8080/photos/", "http://[2001:0:c000:20a::]:8080/photos/",
    "http://[::ffff:0:192.0.2.10]:8080/photos/", "http://[192.0.2.10]:8080/photos/", "http://192.0.2.10%00:8080/photos/",
    "http://2001:db8::10:8080/photos", "http://[2001:db8::10%25eth0]:8080/photos", "http://[2001:db8::10%eth0]:8080/photos",
    "http://[2001:db8::10:8080/photos", "http://2001:db8::10]:8080/photos", "http://[[2001:db8::10]]:8080/photos", "http://[2001:db8::10]x:8080/photos",
    "http://[2001:db8::11]:8080/photos", "http://[2001:db8::00010]:8080/photos", "http://[]:8080/photos", "http://[v1.a]:8080/photos",
    // This machine, its link, everybody, the cloud.
    "http://127.0.0.1/lab", "http://127.0.0.1:6971/lab", "http://127.0.0.2:6970/lab", "http://127.1:6970/lab", "http://0:6970/lab",
    "http://0.0.0.0:6970/lab", "http://2130706433:6970/lab", "http://0x7f000001:6970/lab", "http://0177.0.0.1:6970/lab",
    "http://[::1]:6970/lab", "http://[::]:6970/lab", "http://[::ffff:127.0.0.1]:6970/lab", "http://localhost:6970/lab",
    "http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/latest", "http://[fe80::1]/", "http://224.0.0.1/", "http://[ff02::1]/",
    "http://255.255.255.255/", "http://100.100.100.200/latest", "http://metadata.google.internal/", "http://169.254.169.254.nip.io/",
    // Paths.
    "https://files.example.com", "https://files.example.com/", "https://files.example.com/update", "https://files.example.com/updates2",
    "https://files.example.com/Updates", "https://files.example.com/updates.bak", "https://files.example.com/x/updates",
    "https://files.example.com/updates/../admin", "https://files.example.com/updates/..", "https://files.example.com/./updates",
    "https://files.example.com/updates/%2e%2e/admin", "https://files.example.com/updates/.%2E/admin", "https://files.example.com/updates/%252e%252e/admin",
    "https://files.example.com/updates/..%2fadmin", "https://files.example.com/updates%2f..%2fadmin", "https://files.example.com/updates/..%5cadmin",
    "https://files.example.com/updates/..\\admin", "https://files.example.com\\updates", "https://files.example.com/updates\\x",
    "https://files.example.com//updates", "https://files.example.com/updates//x", "https://files.example.com/updates/x//",
    "https://files.example.com/updates/..;/admin", "https://files.example.com/updates;x=1", "https://files.example.com/updates/;/x",
    "https://files.example.com/updates%3bx", "https://files.example.com/updates/%00", "https://files.example.com/updates/\u{0}",
    "https://files.example.com/updates/%0d%0aHost:%20evil.net", "https://files.example.com/updates/x\r\nHost: evil.net",
    "https://files.example.com/updates/a b", "https://files.example.com/updates/\ta", "https://files.example.com/updates#x",
    "https://files.example.com/updates/%c0%ae%c0%ae/admin", "https://files.example.com/updates/%c0%afadmin", "https://files.example.com/updates/%e0%80%af",
    "https://files.example.com/updates/%ef%bc%8f..", "https://files.example.com/updates/%ef%bc%8e%ef%bc%8e/x", "https://files.example.com/updates/%u002e%u002e/x",
    "https://files.example.com/updates/%", "https://files.example.com/updates/%2", "https://files.example.com/updates/%gg",
    "https://files.example.com/updates/\u{fc}", "https://files.example.com/updates/{user}", "https://files.example.com/updates/<x>",
    "https://files.example.com/updates/%3fx", "https://files.example.com/updates/%23x", "https://files.example.com/updates/%25",
    "https://files.example.com?/updates", "https://files.example.com/?/updates", "https://files.example.com/updates?x=%0d%0aHost:evil.net",
    "https://files.example.com/updates?x y", "https://files.example.com/updates?x#y", "https://files.example.com/updates?\u{fc}",
    "https://files.example.com:8443/exact/", "https://files.example.com:8443/exact/x", "https://files.example.com:8443/exac",
    // Other users, and the inside of UC servers.
    "https://cucm1.example.com:8443/cucm-uds/user/bob", "https://cucm1.example.com:8443/cucm-uds/user/bob/devices",
    "https://cucm1.example.com:8443/cucm-uds/user/alice/../bob", "https://cucm1.example.com:8443/cucm-uds/user/%62ob",
    "https://cucm1.example.com:8443/cucm-uds/user/alice%2f..%2fbob", "https://cucm1.example.com:8443/cucm-uds/user/alice;/../bob",
    "https://cucm1.example.com:8443/cucm-uds/user//bob", "https://cucm1.example.com:8443/cucm-uds/user", "https://cucm1.example.com:8443/cucm-uds/user/",
    "https://cucm1.example.com:8443/cucm-uds/user/alice%00bob", "https://cucm1.example.com:8443/cucm-uds/user/alice%20", "https://cucm1.example.com:8443/cucm-uds/user/alic",
    "https://cucm1.example.com:8443/CUCM-UDS/user/bob", "https://cucm1.example.com:8443/cucm-uds/User/bob", "https://cucm1.example.com:8443/headset/config/user/bob",
    "https://cucm1.example.com:6972/cucm-uds/user/bob", "https://cucm1.example.com:8443/axl/", "https://cucm1.example.com:8443/ccmadmin/",
    "https://cucm1.example.com:8443/", "https://cucm1.example.com/cucm-uds/version", "http://cucm1.example.com:8443/cucm-uds/version",
    "https://cucm2.example.com:8443/cucm-uds/version", "https://cucm1.example.com:8443/EPASSoap/services",
];

#[test]
fn no_spelling_gets_past_the_rules() {
    let list = list();
    assert!(DENIED.len() >= 180, "{}", DENIED.len());
    let mut seen = std::collections::BTreeSet::new();
    for url in DENIED {
        assert!(ask(&list, "GET", url).is_err(), "{url:?} is let through");
        assert!(seen.insert(url), "{url:?} stands here twice");
    }
}

#[test]
fn methods_are_those_of_the_rule() {
    let list = list();
    for method in ["PUT", "DELETE", "get", "GET ", "", "GET\0", "HEAD", "OPTIONS", "PROPFIND"] {
        assert_eq!(ask(&list, method, "https://files.example.com:8443/exact"), Err(Denial::Method), "{method:?}");
    }
    assert!(ask(&list, "POST", "https://files.example.com:8443/exact").is_ok());
}

#[test]
fn deployments_do_not_meet() {
    let list = list();
    let alice = UserName::new("alice");
    let of = |deployment: &str, url| {
        list.decide_url(
            &Deployment::new(deployment).unwrap(),
            Holder { user: alice.as_ref(), devices: &[] },
            "GET",
            url,
        )
        .map(|_| ())
    };
    assert_eq!(of("other", "https://other.example.com/x"), Ok(()));
    assert_eq!(of("default", "https://other.example.com/x"), Err(Denial::Server));
    assert_eq!(of("other", "https://files.example.com/updates"), Err(Denial::Server));
    assert_eq!(of("nobody", "https://files.example.com/updates"), Err(Denial::Server));
}

/// A rule that covers all of UDS opens nobody's own data to anybody else.
#[test]
fn wide_rules_open_no_other_users_data() {
    let list = list();
    let (wide, alice) = (Deployment::new("wide").unwrap(), UserName::new("alice"));
    let of = |user: Option<&UserName>, path: &str| {
        let url = format!("https://cucm1.example.com:8443{path}");
        list.decide_url(&wide, Holder { user, devices: &[] }, "GET", &url).map(|_| ())
    };
    assert_eq!(of(alice.as_ref(), "/cucm-uds/user/alice/devices"), Ok(()));
    assert_eq!(of(alice.as_ref(), "/cucm-uds/anything"), Ok(()));
    assert_eq!(of(None, "/cucm-uds/user/alice/devices"), Err(Denial::NotOwn));
    for path in [
        "/cucm-uds/user/bob",
        "/cucm-uds/user/",
        "/cucm-uds/user",
        "/cucm-uds/USER/bob",
        "/cucm-uds/user/alice%40example.com",
    ] {
        assert_eq!(of(alice.as_ref(), path), Err(Denial::NotOwn), "{path}");
    }
}

#[test]
fn rules_are_checked_when_they_are_made() {
    let good = list().rules().first().cloned().unwrap();
    let normal = |change: fn(&mut Rule)| {
        let mut rule = good.clone();
        change(&mut rule);
        rule.normal().map(|rule| rule.path)
    };
    assert_eq!(normal(|rule| rule.path = String::new()), Ok("/".into()));
    assert_eq!(normal(|rule| rule.path = "/%61/{user}/%2d".into()), Ok("/a/{user}/-".into()));
    for path in ["x", "/../", "//", "/a?b", "/{host}", "/x{user}", "/a;b", "{user}", "/a/{user}//b"] {
        let rule = Rule { path: path.into(), ..good.clone() };
        assert!(matches!(rule.normal(), Err(RuleFault::Url(_))), "{path}");
    }
    assert_eq!(normal(|rule| rule.host = "127.1".into()), Err(RuleFault::Url(Denial::Host)));
    assert_eq!(normal(|rule| rule.port = 0), Err(RuleFault::Url(Denial::Port)));
    assert_eq!(normal(|rule| rule.methods.clear()), Err(RuleFault::Methods));
    assert_eq!(normal(|rule| rule.methods.push("GET,PUT".into())), Err(RuleFault::Methods));
    assert_eq!(normal(|rule| rule.description = "a\nb".into()), Err(RuleFault::Description));
    assert_eq!(
        normal(|rule| rule.description = "x".repeat(ALLOW_DESCRIPTION_BYTES_MAX + 1)),
        Err(RuleFault::Description)
    );
    let many = std::iter::repeat_n(good.clone(), ALLOW_RULES_MAX + 1);
    assert!(matches!(AllowList::new(many), Err(RuleFault::TooMany)));
}

/// Pieces that URLs are made of in the property below: real ones, so that something is allowed, and odd ones.
fn piece() -> impl Strategy<Value = String> {
    let real = [
        "https://",
        "http://",
        "files.example.com",
        "cucm1.example.com",
        "192.0.2.10",
        "[2001:db8::10]",
        "127.0.0.1",
        ":8443",
        ":8080",
        ":6970",
        "/updates",
        "/exact",
        "/photos",
        "/lab",
        "/cucm-uds",
        "/user",
        "/alice",
        "/bob",
        "/version",
        "/users",
        "?x=y",
    ];
    let odd = [
        "/", "//", "..", ".", "%2e", "%2f", "%25", "%00", ";", "\\", "@", "#", "?", ":", "%61", "%", " ", "\u{ff0f}",
        "[", "]", "0x7f", "1", "A", "{user}", "%c3%bc", "\r\n",
    ];
    let of = |words: &[&str]| proptest::sample::select(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    prop_oneof![5 => of(&real), 2 => of(&odd), 1 => "[ -~]{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn what_is_allowed_is_what_a_rule_says(pieces in proptest::collection::vec(piece(), 0..9), bob in any::<bool>()) {
        crate::fuzzing::check_decision(&list(), &pieces.concat(), if bob { "bob" } else { "alice" });
    }

    #[test]
    fn the_beginning_is_real(base in 0..4_usize, pieces in proptest::collection::vec(piece(), 0..5)) {
        let bases = ["https://files.example.com/updates", "https://cucm1.example.com:8443/cucm-uds/user", "http://192.0.2.10:8080/photos", "http://"];
        let url = format!("{}{}", bases.get(base).unwrap_or(&""), pieces.concat());
        crate::fuzzing::check_decision(&list(), &url, "alice");
    }
}
