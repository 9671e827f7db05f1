use super::*;
use crate::limits::PATH_BYTES_MAX;
use crate::parse_core;

const FILE: &str = r#"
node = "core1"
domains = ["example.com"]   # ours
[sip]
listen = ["10.0.0.4:5060"]
registrars = ["tcp:10.0.0.5:5060"]
[sip.tls]
ca = "/etc/edgeway/ca.pem"
[[deployment]]
name = "staging"
domains = ["staging.example.com"]
registrars = ["tcp:10.0.1.5:5060"]
[deployment.ldap]
start_tls = true
[[unified_cm]]
address = "cucm1.example.com"
user = "axl"
password = "sealed:v1:AAAA"
[[link.edge]]
node = "edge1"
address = "192.0.2.1:7001"
"#;

fn document(text: &str) -> Document {
    Document::parse(text, "test").unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_file_is_taken_apart_and_put_together_again() {
    let (local, shared) = split(FILE, "core.toml").expect("a good file");
    assert_eq!(
        local.to_toml(),
        "node = \"core1\"\n\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\n[[link.edge]]\nnode = \"edge1\"\naddress = \"192.0.2.1:7001\"\n"
    );
    assert_eq!(
        shared.to_toml_shown(),
        "domains = [\"example.com\"]\n\n[sip]\nregistrars = [\"tcp:10.0.0.5:5060\"]\n\n[sip.tls]\nca = \"/etc/edgeway/ca.pem\"\n\n\
         [[deployment]]\nname = \"staging\"\ndomains = [\"staging.example.com\"]\nregistrars = [\"tcp:10.0.1.5:5060\"]\nldap.start_tls = true\n\n\
         [[unified_cm]]\naddress = \"cucm1.example.com\"\nuser = \"axl\"\npassword = \"sealed\"\n"
    );
    let merged = merge(&local, &shared);
    assert_eq!(parse_core(&merged, "merged"), parse_core(FILE, "file"));
    assert!(parse_core(&merged, "merged").is_ok());
    assert_eq!(document(&shared.to_toml()), shared, "the canonical text is the document");
}

#[test]
fn what_is_one_nodes_alone_is_refused_in_what_all_share() {
    let problems = Document::parse("node = \"core1\"\ndomains = [\"a\"]\ndomain = 1\nlog.level = 1.5\n", "new")
        .expect_err("wrong");
    let lines: Vec<_> = problems.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "new:1: node: belongs to one node, and this configuration to all cores. Write it into that node's file, and remove it here.",
            "new:3: domain: unknown setting. Did you mean \"domains\"?",
            "new:4: log.level: no setting is a fraction. Use a whole number.",
        ]
    );
}

#[test]
fn entries_need_what_tells_them_apart() {
    let text = "[[unified_cm]]\nuser = \"a\"\n[[unified_cm]]\naddress = \"c\"\n[[unified_cm]]\naddress = \"c\"\n";
    let problems = Document::parse(text, "new").expect_err("wrong").to_string();
    assert!(problems.contains("unified_cm[0].address: is missing"), "{problems}");
    assert!(problems.contains("new:5: unified_cm[2].address: c is there twice"), "{problems}");
}

#[test]
fn paths_are_what_they_print() {
    for text in ["domains", "unified_cm", "unified_cm[\"cucm1.example.com\"]", "deployment[\"a\\\"]b\"].ldap.start_tls"]
    {
        assert_eq!(text.parse::<Path>().expect(text).to_string(), text);
    }
    for text in [
        "",
        "domain",
        "unified_cm.user",
        "unified_cm[1]",
        "unified_cm[\"a\"].x",
        "unified_cm[\"a\\nx = 1\"",
        "domains[\"a\"]",
    ] {
        assert_eq!(text.parse::<Path>(), Err(PathFault), "{text}");
    }
}

#[test]
fn a_change_of_an_entry_is_a_change_of_it_and_not_another_entry() {
    let two = "[[unity]]\naddress = \"a\"\nuser = \"x\"\n[[unity]]\naddress = \"b\"\nuser = \"x\"\n";
    let (a, b) = (document(two), document(&two.replace("user = \"x\"\n[", "user = \"y\"\n[")));
    let shown: Vec<_> = diff(&a, &b).iter().map(|change| change.path.to_string()).collect();
    assert_eq!(shown, ["unity[\"a\"].user"]);
    let turned = document("[[unity]]\naddress = \"b\"\nuser = \"x\"\n[[unity]]\naddress = \"a\"\nuser = \"x\"\n");
    let changes = diff(&a, &turned);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].after.as_ref().map(Content::shown).as_deref(), Some("[\"b\", \"a\"]"));
    assert_eq!(apply(&changes, &a), Ok(turned.clone()));
    assert_eq!(
        apply(&changes, &b).as_ref().map(|b| b.entries("unity").len()),
        Ok(2),
        "another setting does not matter"
    );
}

#[test]
fn who_comes_second_is_told_and_a_later_hand_may_insist() {
    let (a, b, c) = (document("domains = [\"a\"]"), document("domains = [\"b\"]"), document("domains = [\"c\"]"));
    let changes = diff(&a, &b);
    let conflict = apply(&changes, &c).expect_err("changed meanwhile");
    assert_eq!(conflict.to_string(), "domains has been changed meanwhile");
    assert_eq!(overlay(&changes, &c), b);
    let user = diff(
        &document("[[unity]]\naddress = \"a\"\nuser = \"x\"\n"),
        &document("[[unity]]\naddress = \"a\"\nuser = \"y\"\n"),
    );
    assert_eq!(overlay(&user, &c), c, "its entry is gone");
}

#[test]
fn a_plan_says_what_a_change_takes() {
    let settings =
        |text: &str| parse_core(&format!("node = \"c\"\n{text}"), "t").unwrap_or_else(|problems| panic!("{problems}"));
    let base = "domains = [\"a\"]\n[sip]\nadvertise = \"10.0.0.1:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n";
    let with = |more: &str| format!("{base}{more}");
    let shared = |text: &str| split(text, "t").expect("good").1;
    let of = |before: &str, after: &str| {
        plan(&settings(before), &settings(after), &diff(&shared(before), &shared(after))).steps
    };
    let steps = of(base, &with("path_headers = false\n"));
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].before.as_deref(), steps[0].after.as_deref()), (None, Some("false")));
    assert_eq!(steps[0].impact, known::find(known::Role::Core, "sip.path_headers").expect("known").impact);
    assert_eq!(of(base, &with("path_headers = true\n"))[0].impact.as_str(), "none", "that is the default");
    assert_eq!(of(base, &base.replace("[\"a\"]", "\"a\""))[0].impact.as_str(), "none", "written in another way");
}

#[test]
fn secrets_are_not_shown() {
    let with = |secret: &str| document(&format!("[[unity]]\naddress = \"a\"\npassword = \"{secret}\"\n"));
    let (a, b) = (with("hunter2"), with("hunter3"));
    let shown = format!("{a:?} {:?} {}", diff(&a, &b), a.to_toml_shown());
    assert!(!shown.contains("hunter"), "{shown}");
    let content = a.at(&"unity[\"a\"]".parse().expect("a path")).expect("there").shown();
    assert_eq!(content, "{ address = \"a\", password = \"sealed\" }");
    let secrets = a.secrets();
    assert_eq!(secrets[0].0.to_string(), "unity[\"a\"].password");
    assert!(!secrets[0].1.is_sealed() && secrets[0].1.expose() == "hunter2");
    let mut sealed = a.clone();
    sealed.replace_secret(&secrets[0].0, format!("{SEALED_PREFIX}x"));
    assert!(sealed.to_toml().contains("sealed:v1:x"));
}

#[test]
fn long_values_are_refused() {
    let long = "x".repeat(PATH_BYTES_MAX + 1);
    for text in [
        format!("http.ca = \"{long}\""),
        format!("domains = [\"{long}\"]"),
        format!("[[unity]]\naddress = \"a\"\npassword = \"{long}\""),
    ] {
        let problems = Document::parse(&text, "t").expect_err("too long").to_string();
        assert!(problems.contains("too long"), "{problems}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    #[test]
    fn differences_make_the_one_of_the_other(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        crate::fuzzing::documents(&bytes);
    }

    #[test]
    fn a_file_and_a_desk_change_the_same_in_any_order(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..450)) {
        crate::fuzzing::interleaved(&bytes);
    }

    #[test]
    fn no_text_breaks_it(text in "([a-z_.\\[\\]\"=\n 0-9]|domains = |unity|address|\n\\[\\[unity\\]\\]\n){0,60}") {
        crate::fuzzing::document_text(text.as_bytes());
    }
}
