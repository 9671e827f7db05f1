//! What the manual says of each setting of a core is what becomes of it while the core runs: two files that differ in
//! every setting there is, of which one setting after the other is changed alone.

use std::collections::BTreeSet;

use edgeway_config::document::{Change, Content, Document, Path, apply, diff, merge, split};
use edgeway_config::{Impact, Role, Setting, known_settings, parse_core};

use super::*;

/// `AUTHORITY` stands for one of the ways in which users sign in; what belongs to another is read and not used.
const BEFORE: &str = r#"
node = "core1"
state_dir = "/var/lib/edgeway"
control_socket = "/run/edgeway/core.sock"
metrics = "127.0.0.1:9464"
domains = ["example.com"]
[drain]
timeout = "20s"
[log]
level = "info"
format = "human"
[hep]
collector = "udp:10.0.0.9:9060"
capture_id = 2001
[sip]
listen = ["10.0.0.4:5060"]
advertise = "10.0.0.4:5060"
path_headers = true
registrars = ["tcp:10.0.0.5:5060"]
options_interval = "10s"
request_timeout = "32s"
stun_keepalive = true
standby_keepalive = "answered"
[sip.tls]
listen = ["10.0.0.4:5061"]
ca = "/etc/a/ca.pem"
certificate = "/etc/a/core.pem"
key = "/etc/a/core.key"
verify_clients = true
[dns]
servers = ["10.0.0.2"]
[media]
address = "10.0.0.4"
ports = "36000-59999"
dscp_audio = 46
dscp_video = 34
allow_unencrypted = false
inside_encryption = "off"
silence_notice = "5m"
[link]
listen = "10.0.0.4:7002"
public_address = "10.0.0.4:7002"
certificate_lifetime = "365d"
[[link.peer]]
node = "core2"
address = "10.0.0.6:7002"
[[link.edge]]
node = "edge1"
address = "192.0.2.10:7001"
[edge.limits]
flows_max = 1000
strangers_per_address = 100
[edge.media]
dscp_audio = 46
dscp_video = 34
[edge.log]
level = "info"
[sign_in]
authority = "AUTHORITY"
users_file = "/etc/a/users"
oauth = false
oauth_audiences = ["UnifiedCommunications:readwrite"]
credentials_refresh_interval = "480m"
credentials_cleanup_interval = "720m"
maximum_authorizations_per_period = 8
rate_control_period = "300s"
key_file = "/etc/a/sign-in.key"
[sign_in.ldap]
servers = ["ldap.example.com:636"]
start_tls = false
ca = "/etc/a/ca.pem"
bind_dn = "uid={user},dc=a"
[servers]
look_every = "5m"
[http]
allow_list = "/etc/a/allow.csv"
default_methods = ["GET"]
ca = "/etc/a/ca.pem"
[admin]
listen = "127.0.0.1:9443"
certificate = "/etc/a/admin.crt"
key = "/etc/a/admin.key"
names = ["a.example.com"]
[[deployment]]
name = "staging"
domains = ["staging.example.com"]
registrars = ["tcp:10.0.1.5:5060"]
authority = "AUTHORITY"
users_file = "/etc/a/users"
oauth = false
oauth_audiences = ["UnifiedCommunications:readwrite"]
[deployment.ldap]
servers = ["ldap.example.com:636"]
start_tls = false
ca = "/etc/a/ca.pem"
bind_dn = "uid={user},dc=a"
[[unified_cm]]
address = "cucm1.example.com"
deployment = "default"
user = "a"
password_file = "/etc/a/password"
tls_verify = true
ca = "/etc/a/ca.pem"
[[unified_cm]]
address = "cucm2.example.com"
user = "a"
password = "sealed:v1:AAAA"
[[im_and_presence]]
address = "imp1.example.com"
deployment = "default"
user = "a"
password_file = "/etc/a/password"
tls_verify = true
ca = "/etc/a/ca.pem"
[[im_and_presence]]
address = "imp2.example.com"
user = "a"
password = "sealed:v1:AAAA"
[[unity]]
address = "cuc1.example.com"
deployment = "default"
user = "a"
password_file = "/etc/a/password"
tls_verify = true
ca = "/etc/a/ca.pem"
[[unity]]
address = "cuc2.example.com"
user = "a"
password = "sealed:v1:AAAA"
[[xmpp_server]]
address = "im1.example.com"
deployment = "default"
priority = 0
weight = 1
tls_name = "a.example.com"
ca = "/etc/a/ca.pem"
direct_tls = false
"#;

/// What comes with the other file: entries of every list that the first has not.
const MORE: &str = r#"
[[link.peer]]
node = "core3"
address = "10.0.0.7:7002"
[[link.edge]]
node = "edge2"
address = "192.0.2.11:7001"
[[deployment]]
name = "lab"
domains = ["lab.example.com"]
registrars = ["tcp:10.0.2.5:5060"]
[[unified_cm]]
address = "cucm3.example.com"
user = "a"
password_file = "/etc/a/password"
[[im_and_presence]]
address = "imp3.example.com"
user = "a"
password_file = "/etc/a/password"
[[unity]]
address = "cuc3.example.com"
user = "a"
password_file = "/etc/a/password"
[[xmpp_server]]
address = "im2.example.com"
"#;

/// What stands in the other file, for what stands in the first.
const OTHERWISE: [(&str, &str); 60] = [
    ("node = \"core1\"", "node = \"core9\""),
    ("/var/lib/edgeway", "/var/lib/other"),
    ("/run/edgeway/core.sock", "/run/other.sock"),
    ("127.0.0.1:9464", "127.0.0.1:9465"),
    ("domains = [\"example.com\"]", "domains = [\"example.org\"]"),
    ("timeout = \"20s\"", "timeout = \"30s\""),
    ("level = \"info\"", "level = \"warn\""),
    ("format = \"human\"", "format = \"json\""),
    ("udp:10.0.0.9:9060", "udp:10.0.0.9:9061"),
    ("capture_id = 2001", "capture_id = 2002"),
    ("listen = [\"10.0.0.4:5060\"]", "listen = [\"10.0.0.4:5070\"]"),
    ("advertise = \"10.0.0.4:5060\"", "advertise = \"10.0.0.4:5070\""),
    ("path_headers = true", "path_headers = false"),
    ("tcp:10.0.0.5:5060", "tcp:10.0.0.6:5060"),
    ("options_interval = \"10s\"", "options_interval = \"20s\""),
    ("request_timeout = \"32s\"", "request_timeout = \"16s\""),
    ("stun_keepalive = true", "stun_keepalive = false"),
    ("\"answered\"", "\"relayed\""),
    ("10.0.0.4:5061", "10.0.0.4:5071"),
    ("/etc/a/ca.pem", "/etc/b/ca.pem"),
    ("/etc/a/core.pem", "/etc/b/core.pem"),
    ("/etc/a/core.key", "/etc/b/core.key"),
    ("verify_clients = true", "verify_clients = false"),
    ("servers = [\"10.0.0.2\"]", "servers = [\"10.0.0.3\"]"),
    ("address = \"10.0.0.4\"", "address = \"10.0.0.5\""),
    ("36000-59999", "36000-39999"),
    ("dscp_audio = 46", "dscp_audio = 0"),
    ("dscp_video = 34", "dscp_video = 0"),
    ("allow_unencrypted = false", "allow_unencrypted = true"),
    ("inside_encryption = \"off\"", "inside_encryption = \"required\""),
    ("silence_notice = \"5m\"", "silence_notice = \"off\""),
    ("listen = \"10.0.0.4:7002\"", "listen = \"10.0.0.4:7003\""),
    ("public_address = \"10.0.0.4:7002\"", "public_address = \"core.example.com:7002\""),
    ("365d", "90d"),
    ("10.0.0.6:7002", "10.0.0.8:7002"),
    ("192.0.2.10:7001", "192.0.2.12:7001"),
    ("flows_max = 1000", "flows_max = 2000"),
    ("strangers_per_address = 100", "strangers_per_address = 200"),
    ("/etc/a/users", "/etc/b/users"),
    ("oauth = false", "oauth = true"),
    ("[\"UnifiedCommunications:readwrite\"]", "[\"cucm1.example.com\"]"),
    ("480m", "240m"),
    ("720m", "360m"),
    ("maximum_authorizations_per_period = 8", "maximum_authorizations_per_period = 9"),
    ("300s", "200s"),
    ("/etc/a/sign-in.key", "/etc/b/sign-in.key"),
    ("ldap.example.com:636", "ldap.example.com:637"),
    ("start_tls = false", "start_tls = true"),
    ("uid={user},dc=a", "uid={user},dc=b"),
    ("look_every = \"5m\"", "look_every = \"off\""),
    ("/etc/a/allow.csv", "/etc/b/allow.csv"),
    ("default_methods = [\"GET\"]", "default_methods = [\"HEAD\"]"),
    ("127.0.0.1:9443", "127.0.0.1:9444"),
    ("/etc/a/admin", "/etc/b/admin"),
    ("a.example.com", "b.example.com"),
    ("[\"staging.example.com\"]", "[\"test.example.com\"]"),
    ("tcp:10.0.1.5:5060", "tcp:10.0.1.6:5060"),
    ("user = \"a\"\npassword_file = \"/etc/a/password\"", "user = \"b\"\npassword_file = \"/etc/b/password\""),
    ("sealed:v1:AAAA", "sealed:v1:BBBB"),
    ("deployment = \"default\"", "deployment = \"staging\""),
];

fn otherwise(text: &str) -> String {
    let mut other = text.to_owned();
    for (from, to) in OTHERWISE {
        assert!(other.contains(from), "{from}");
        other = other.replace(from, to);
    }
    // What is a switch of each server, and no name.
    other
        .replace("tls_verify = true", "tls_verify = false")
        .replace("priority = 0\nweight = 1", "priority = 1\nweight = 2")
        .replace("direct_tls = false", "direct_tls = true")
        + MORE
}

fn settings(text: &str) -> CoreSettings {
    parse_core(text, "test").unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn taken_apart(text: &str) -> (Document, Document) {
    split(text, "test").unwrap_or_else(|problems| panic!("{problems}"))
}

/// The settings a change changes: its own, or all of its entry.
fn concerned(change: &Change, known: &[Setting]) -> Vec<Setting> {
    let of = |path: &str| known.iter().copied().filter(|setting| setting.path == path).collect::<Vec<_>>();
    match (&change.path, change.after.as_ref().or(change.before.as_ref())) {
        (Path::Entry { list, .. }, Some(Content::Entry(entry))) => {
            entry.iter().flat_map(|(key, _)| of(&format!("{list}.{key}"))).collect()
        }
        (path, _) => path.setting().into_iter().flat_map(|setting| of(setting.path)).collect(),
    }
}

/// Changes one setting after the other from `before` to `after`; which of them have made a difference.
fn one_by_one(before: &str, after: &str, known: &[Setting], differ: &mut BTreeSet<&'static str>) {
    let started = settings(before);
    let ((local, shared), (new_local, new_shared)) = (taken_apart(before), taken_apart(after));
    let of_file = diff(&local, &new_local).into_iter().map(|change| (true, change));
    for (is_local, change) in of_file.chain(diff(&shared, &new_shared).into_iter().map(|change| (false, change))) {
        if matches!(change.path, Path::List(_)) {
            continue;
        }
        let changed =
            apply(std::slice::from_ref(&change), if is_local { &local } else { &shared }).expect("it is as it was");
        let text = if is_local { merge(&changed, &shared) } else { merge(&local, &changed) };
        // What cannot be changed alone is changed with another in some other of the files.
        let Ok(wanted) = parse_core(&text, "test") else { continue };
        let (usable, restart) = usable(&started, &wanted);
        let concerned = concerned(&change, known);
        assert!(!concerned.is_empty(), "{}", change.path);
        let waits = concerned.iter().any(|setting| matches!(setting.impact, Impact::Restart(_)));
        let shown = change.path.to_string();
        if wanted == started {
            assert!(restart.is_empty(), "{shown} changes nothing");
        } else if waits {
            assert_eq!(restart, [shown.as_str()], "its manual says that it wants a restart");
            assert!(usable == started, "{shown} is not used before");
        } else {
            assert!(restart.is_empty(), "the manual of {shown} says that it wants no restart: {restart:?}");
            assert!(usable == wanted, "{shown} is used at once");
        }
        if wanted != started {
            differ.extend(concerned.iter().map(|setting| setting.path));
        }
    }
}

#[test]
fn what_the_manual_says_of_a_restart_is_what_is_told_of_it() {
    let known = known_settings(Role::Core);
    let mut differ = BTreeSet::new();
    for authority in ["ldap", "users"] {
        let before = BEFORE.replace("AUTHORITY", authority);
        let after = otherwise(&BEFORE.replace("AUTHORITY", authority));
        settings(&after);
        one_by_one(&before, &after, &known, &mut differ);
        one_by_one(&after, &before, &known, &mut differ);
    }
    one_by_one(&BEFORE.replace("AUTHORITY", "ldap"), &BEFORE.replace("AUTHORITY", "users"), &known, &mut differ);
    let missing: Vec<_> = known.iter().map(|setting| setting.path).filter(|path| !differ.contains(path)).collect();
    assert!(missing.is_empty(), "nothing here changes {missing:?}: add it to BEFORE and OTHERWISE");
}
