//! What a core's file says about sign-in, deployments, UC servers and the HTTP proxy.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeway_model::sign_in::Deployment;

use crate::core_file;
use crate::document::Hidden;
use crate::reader::{Complaint, Found, Reader};
use crate::settings::{HostPort, Registrar};
use crate::sign_in::{
    AllowListRuleSettings, AuthoritySettings, DeploymentSettings, HttpProxySettings, LdapSettings, PasswordSettings,
    SignInSettings, UcServerSettings, UcSettings,
};
use crate::values::{self, AuthorityKind};

const REFRESH: Duration = Duration::from_secs(480 * 60);
const CLEANUP: Duration = Duration::from_secs(720 * 60);
const AUTHORIZATIONS: u32 = 8;
const RATE_PERIOD: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Methods of rules of the allow list that name none, where `http.default_methods` is not written.
pub const DEFAULT_METHODS: [&str; 6] = ["OPTIONS", "GET", "HEAD", "PUT", "POST", "DELETE"];

/// What holds for every sign-in.
pub(crate) fn sign_in(reader: &mut Reader<'_>, state_dir: &str) -> SignInSettings {
    SignInSettings {
        credentials_refresh_interval: reader
            .read("sign_in.credentials_refresh_interval", values::credentials_interval)
            .or(REFRESH),
        credentials_cleanup_interval: reader
            .read("sign_in.credentials_cleanup_interval", values::credentials_interval)
            .or(CLEANUP),
        maximum_authorizations_per_period: reader
            .read("sign_in.maximum_authorizations_per_period", values::authorizations)
            .or(AUTHORIZATIONS),
        rate_control_period: reader.read("sign_in.rate_control_period", values::rate_period).or(RATE_PERIOD),
        key_file: reader
            .read("sign_in.key_file", values::path)
            .or(format!("{}/sign-in.key", state_dir.trim_end_matches('/'))),
    }
}

/// The deployments, the default one first. `None` after complaints.
pub(crate) fn deployments(
    reader: &mut Reader<'_>,
    domains: Option<&[String]>,
    registrars: &[Registrar],
) -> Option<Vec<DeploymentSettings>> {
    let (authority, oauth, oauth_audiences) = authority(reader, "sign_in.");
    let default = authority.zip(domains).map(|(authority, domains)| DeploymentSettings {
        name: Deployment::default_one(),
        domains: domains.to_vec(),
        registrars: registrars.to_vec(),
        authority,
        oauth,
        oauth_audiences,
    });
    let mut all: Vec<_> = default.into_iter().collect();
    let wanted = 1 + reader.entries("deployment");
    for index in 0..wanted - 1 {
        let prefix = format!("deployment[{index}].");
        let line = reader.line_of_entry("deployment", index);
        let name = reader.required(&format!("{prefix}name"), values::deployment);
        let domains = core_file::required_list(reader, &format!("{prefix}domains"), values::host);
        let registrars = core_file::registrars(reader, &format!("{prefix}registrars"), false);
        let (authority, oauth, oauth_audiences) = self::authority(reader, &prefix);
        if let Some(name) = &name
            && (*name == Deployment::default_one() || all.iter().any(|other| other.name == *name))
        {
            let complaint = Complaint::new(format!("{name} is there twice"), "Give each deployment its own name.");
            reader.complain(&format!("{prefix}name"), line, complaint);
            continue;
        }
        for domain in domains.iter().flatten() {
            if let Some(other) = all.iter().find(|other| other.domains.contains(domain)) {
                let reason = format!("{domain} belongs to {} already", other.name);
                let complaint = Complaint::new(reason, "A domain belongs to one deployment.");
                reader.complain(&format!("{prefix}domains"), line, complaint);
            }
        }
        for registrar in registrars.iter().flatten() {
            if let Some(other) =
                all.iter().find(|other| other.registrars.iter().any(|one| one.is_same_place(registrar)))
            {
                let reason = format!("{registrar} belongs to {} already", other.name);
                let complaint = Complaint::new(reason, "A registrar belongs to one deployment.");
                reader.complain(&format!("{prefix}registrars"), line, complaint);
            }
        }
        if let (Some(name), Some(domains), Some(registrars), Some(authority)) = (name, domains, registrars, authority) {
            all.push(DeploymentSettings { name, domains, registrars, authority, oauth, oauth_audiences });
        }
    }
    (all.len() == wanted).then_some(all)
}

/// Who checks credentials, whether tokens are taken, and whom those are for, at `prefix`.
fn authority(reader: &mut Reader<'_>, prefix: &str) -> (Option<AuthoritySettings>, bool, Vec<String>) {
    let path = |key: &str| format!("{prefix}{key}");
    let kind = reader.read(&path("authority"), values::authority).or(AuthorityKind::None);
    let oauth = reader.read(&path("oauth"), values::boolean).or(false);
    let audiences = reader.list(&path("oauth_audiences"), values::audience).or(Vec::new());
    let file = reader.read(&path("users_file"), values::path);
    let servers = reader.list(&path("ldap.servers"), values::host_port);
    let start_tls = reader.read(&path("ldap.start_tls"), values::boolean).or(false);
    let ca = reader.read(&path("ldap.ca"), values::path).good();
    let bind_dn = reader.read(&path("ldap.bind_dn"), values::bind_dn);
    let settings = match kind {
        AuthorityKind::None => Some(AuthoritySettings::None),
        AuthorityKind::UnifiedCm => Some(AuthoritySettings::UnifiedCm),
        AuthorityKind::Users => {
            needed(reader, &path("users_file"), &file);
            file.good().map(|file| AuthoritySettings::Users { file })
        }
        AuthorityKind::Ldap => {
            needed(reader, &path("ldap.servers"), &servers);
            needed(reader, &path("ldap.bind_dn"), &bind_dn);
            let ldap = servers.good().zip(bind_dn.good());
            ldap.map(|(servers, bind_dn)| AuthoritySettings::Ldap(LdapSettings { servers, start_tls, ca, bind_dn }))
        }
    };
    (settings, oauth, audiences)
}

fn needed<T>(reader: &mut Reader<'_>, path: &str, found: &Found<T>) {
    if matches!(found, Found::Absent) {
        reader.missing(path);
    }
}

/// The UC servers. `None` after complaints.
pub(crate) fn uc(reader: &mut Reader<'_>, deployments: Option<&[DeploymentSettings]>) -> Option<UcSettings> {
    let unified_cm = servers(reader, "unified_cm", 8_443, deployments);
    let im_and_presence = servers(reader, "im_and_presence", 8_443, deployments);
    let unity = servers(reader, "unity", 443, deployments);
    let look_every = reader.read("servers.look_every", values::look_every).or(Some(LOOK_EVERY));
    let uc = UcSettings { unified_cm: unified_cm?, im_and_presence: im_and_presence?, unity: unity?, look_every };
    for deployment in deployments? {
        let wants = deployment.authority == AuthoritySettings::UnifiedCm;
        if wants && !uc.unified_cm.iter().any(|server| server.deployment == deployment.name) {
            let reason = format!("the deployment {} has no Unified CM to ask", deployment.name);
            let complaint = Complaint::new(reason, "Add a [[unified_cm]] entry, or choose another authority.");
            reader.complain("sign_in.authority", None, complaint);
        }
    }
    Some(uc)
}

fn servers(
    reader: &mut Reader<'_>,
    list: &str,
    port: u16,
    deployments: Option<&[DeploymentSettings]>,
) -> Option<Vec<UcServerSettings>> {
    let wanted = reader.entries(list);
    let mut all: Vec<UcServerSettings> = Vec::with_capacity(wanted);
    for index in 0..wanted {
        let path = |key: &str| format!("{list}[{index}].{key}");
        let line = reader.line_of_entry(list, index);
        let address = reader.required(&path("address"), values::host_maybe_port);
        let deployment = reader.read(&path("deployment"), values::deployment).or(Deployment::default_one());
        let user = reader.required(&path("user"), values::user);
        let password = password(reader, &path);
        let tls_verify = reader.read(&path("tls_verify"), values::boolean).or(true);
        let ca = reader.read(&path("ca"), values::path).good();
        if deployments.is_some_and(|all| all.iter().all(|one| one.name != deployment)) {
            let complaint = Complaint::new(format!("there is no deployment {deployment}"), "Add it, or name another.");
            reader.complain(&path("deployment"), line, complaint);
            continue;
        }
        let address = address.map(|(host, written)| HostPort { host, port: written.unwrap_or(port) });
        if let Some(address) = &address
            && all.iter().any(|other| other.address == *address)
        {
            let complaint = Complaint::new(format!("{address} is there twice"), "Keep one entry for each cluster.");
            reader.complain(&path("address"), line, complaint);
            continue;
        }
        if let (Some(address), Some(user), Some(password)) = (address, user, password) {
            all.push(UcServerSettings { address, deployment, user, password, tls_verify, ca });
        }
    }
    (all.len() == wanted).then_some(all)
}

/// A password is in a file or sealed, and not both.
fn password(reader: &mut Reader<'_>, path: &dyn Fn(&str) -> String) -> Option<PasswordSettings> {
    let sealed = reader.read(&path("password"), values::sealed);
    let file = reader.read(&path("password_file"), values::path);
    match (&sealed, &file) {
        (Found::Absent, Found::Absent) => {
            reader.missing(&path("password_file"));
            None
        }
        (Found::Absent, _) => file.good().map(PasswordSettings::File),
        (_, Found::Absent) => sealed.good().map(|sealed| PasswordSettings::Sealed(Hidden::new(sealed))),
        (Found::Wrong | Found::Value(..), Found::Wrong | Found::Value(..)) => {
            let complaint = Complaint::new("stands beside `password_file`", "Keep one of the two.");
            reader.complain(&path("password"), sealed.line().or(file.line()), complaint);
            None
        }
    }
}

/// The HTTP proxy. `None` after complaints.
pub(crate) fn http(reader: &mut Reader<'_>, deployments: Option<&[DeploymentSettings]>) -> Option<HttpProxySettings> {
    let allow_list = reader.read("http.allow_list", values::path).good();
    let default_methods = reader
        .list("http.default_methods", values::method)
        .or(DEFAULT_METHODS.iter().map(|method| (*method).to_owned()).collect());
    let allow_list_rules = allow_list_rules(reader, deployments);
    let ca = reader.read("http.ca", values::path).good();
    Some(HttpProxySettings { allow_list, allow_list_rules: allow_list_rules?, default_methods, ca })
}

/// The rules of the allow list that stand in the text itself. `None` after complaints.
fn allow_list_rules(
    reader: &mut Reader<'_>,
    deployments: Option<&[DeploymentSettings]>,
) -> Option<Vec<AllowListRuleSettings>> {
    let wanted = reader.entries("http.allow_list_rule");
    let mut all: Vec<AllowListRuleSettings> = Vec::with_capacity(wanted);
    let mut names = BTreeSet::new();
    for index in 0..wanted {
        let path = |key: &str| format!("http.allow_list_rule[{index}].{key}");
        let line = reader.line_of_entry("http.allow_list_rule", index);
        let name = reader.required(&path("name"), values::rule_name);
        let url = reader.required(&path("url"), values::rule_url);
        let deployment = reader.read(&path("deployment"), values::deployment).or(Deployment::default_one());
        let exact = reader.read(&path("match_type"), values::match_type).or(false);
        let methods = reader.list(&path("methods"), values::method).good();
        let description = reader.read(&path("description"), values::rule_description).or(String::new());
        if deployments.is_some_and(|all| all.iter().all(|one| one.name != deployment)) {
            let complaint = Complaint::new(format!("there is no deployment {deployment}"), "Add it, or name another.");
            reader.complain(&path("deployment"), line, complaint);
            continue;
        }
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            let complaint = Complaint::new(format!("{name} is there twice"), "Give each rule its own name.");
            reader.complain(&path("name"), line, complaint);
            continue;
        }
        if let (Some(name), Some(url)) = (name, url) {
            all.push(AllowListRuleSettings { name, url, deployment, exact, methods, description });
        }
    }
    (all.len() == wanted).then_some(all)
}
