//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz targets, the
//! property tests and the replay of the committed corpora all run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use std::net::IpAddr;

use edgeway_model::sign_in::{Deployment, UserName};

use crate::allow_list::{
    AllowList, Allowed, AutomaticPorts, Holder, MatchType, Rule, RulesContext, automatic_rules, read_cases, read_rules,
    run_cases, write_rules,
};
use crate::discovery::Product;

/// Takes the bytes for a URL and asks a list for it; then for a file of rules and one of tests.
pub fn allow_list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    thread_local!(static SAMPLE: AllowList = sample());
    SAMPLE.with(|list| {
        ["alice", "bob"].iter().for_each(|user| check_decision(list, text, user));
        if let Ok(cases) = read_cases(text, &[]) {
            assert_eq!(run_cases(list, &cases, Holder::default()).len(), cases.len(), "every test has an outcome");
        }
    });
    let context = RulesContext { deployments: &[], default_methods: &["GET".to_owned()] };
    if let Ok(rules) = read_rules(text, context) {
        let list = AllowList::new(rules).expect("what was read has been checked");
        let again = read_rules(&write_rules(list.rules()), context).expect("what is written can be read");
        assert_eq!(again, list.rules(), "a file of rules comes back as it was");
    }
}

/// A list with a rule of every sort.
fn sample() -> AllowList {
    let ports = AutomaticPorts::usual(Product::UnifiedCm);
    let mut rules = automatic_rules(Product::UnifiedCm, "cucm1.example.com", &Deployment::default_one(), ports);
    let by_hand = "Url,Deployment,HttpMethods,MatchType,Description\nhttps://a/b,,GET,,\nhttp://192.0.2.1:80/c,,GET,exact,\n\
                   http://[2001:db8::1]/,,GET,,\nhttps://u/,,GET,,\n";
    let context = RulesContext { deployments: &[], default_methods: &[] };
    rules.extend(read_rules(by_hand, context).unwrap_or_default());
    AllowList::new(rules).unwrap_or_default()
}

/// Asks for a URL. What is allowed can be read in one way only, is covered by the rule it names, by a reading of
/// rules that is not the list's own, and is allowed again as it is sent.
pub fn check_decision(list: &AllowList, url: &str, user: &str) {
    let (deployment, user) = (Deployment::default_one(), UserName::new(user));
    let devices = user.iter().map(|user| format!("CSF{}", user.as_str())).collect::<Vec<_>>();
    let holder = Holder { user: user.as_ref(), devices: &devices };
    let Ok(allowed) = list.decide_url(&deployment, holder, "GET", url) else { return };
    assert!(covered(allowed.rule, &allowed, user.as_ref()), "{url:?} is not what {:?} says", allowed.rule);
    assert!(is_plain(&allowed), "{url:?} may be read in two ways: {allowed:?}");
    let sent = format!("{}{}", allowed.rule.origin_url(), allowed.path);
    let again = list.decide_url(&deployment, holder, "GET", &sent);
    assert_eq!(again.as_ref(), Ok(&allowed), "what is sent means the same when it is read again");
    let nobody = Deployment::new("nobody").expect("a plain word");
    assert!(list.decide_url(&nobody, holder, "GET", url).is_err(), "rules are for their deployment only");
    assert!(list.decide_url(&deployment, holder, "BREW", url).is_err(), "rules are for their methods only");
}

/// The model: a rule read word for word.
fn covered(rule: &Rule, allowed: &Allowed<'_, '_>, user: Option<&UserName>) -> bool {
    let path = allowed.path.split('?').next().unwrap_or_default();
    let wanted = match user {
        // The user's own spelling, whatever its case: the segment is taken from the path where it means the user.
        Some(user) => rule.path.split('/').zip(path.split('/')).map(|(rule, given)| {
            let is = |one: &str| given.eq_ignore_ascii_case(one);
            let device = rule.replace("{device}", &format!("csf{}", user.as_str()));
            let lower = given.to_ascii_lowercase();
            let defaults =
                ["spdefault.cnf.xml", "xmldefault.cnf.xml", "spdefault.cnf.xml.sgn", "xmldefault.cnf.xml.sgn"];
            let common = !lower.contains(".cnf") && !lower.contains("list.txt") || defaults.contains(&lower.as_str());
            let fits = match rule {
                "{user}" => is(user.as_str()),
                "{common}" => common && !given.contains('%'),
                "{folder}" => !given.contains(['.', '%']),
                _ => rule.contains("{device}") && is(&device),
            };
            if fits { given.to_owned() } else { rule.to_owned() }
        }),
        None => return false,
    };
    let wanted: Vec<String> = wanted.collect();
    let whole = rule.path.split('/').count() == wanted.len();
    let wanted = wanted.join("/");
    let same_server = allowed.host == rule.host && allowed.port == rule.port && allowed.https == rule.https;
    let covers = match rule.match_type {
        MatchType::Exact => path == wanted,
        MatchType::Prefix => {
            let wanted = wanted.trim_end_matches('/');
            path == wanted || path.starts_with(&format!("{wanted}/"))
        }
    };
    let mut segments = path.split('/').skip(1).map(str::to_ascii_lowercase);
    let lead = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let others = lead == ("cucm-uds".into(), "user".into()) && segments.next().as_deref() != user.map(UserName::as_str);
    same_server && covers && !others && (whole || rule.match_type == MatchType::Prefix)
}

/// Nothing in it that some server, proxy or resolver is known to read otherwise.
fn is_plain(allowed: &Allowed<'_, '_>) -> bool {
    let path = allowed.path.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%2e", "%00", "%25", "%3b", "\\", ";", "//", "/./", "/../", "#", " "];
    let dots = path.ends_with("/.") || path.ends_with("/..");
    let visible = allowed.path.bytes().all(|byte| byte.is_ascii_graphic());
    let host = match allowed.host.parse::<IpAddr>() {
        Ok(address) => address.to_string() == allowed.host,
        Err(_) => allowed.host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_')),
    };
    path.starts_with('/') && visible && host && !dots && !hidden.iter().any(|sign| path.contains(sign))
}
