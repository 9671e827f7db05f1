//! What the settings say of this core.

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::AuthoritySettings;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::Configured;

/// The hosts that the settings give to each deployment: UC servers, IM servers,
/// registrars and directories.
pub(super) fn configured(settings: &CoreSettings) -> Vec<Configured> {
    let uc = &settings.uc;
    let of = |deployment: &Deployment, host: &str| Configured { deployment: deployment.clone(), host: host.to_owned() };
    let servers = uc.unified_cm.iter().chain(&uc.im_and_presence).chain(&uc.unity);
    let mut all: Vec<_> = servers.map(|server| of(&server.deployment, &server.address.host)).collect();
    all.extend(settings.xmpp_servers.iter().map(|server| of(&server.deployment, &server.address.host)));
    for deployment in &settings.deployments {
        all.extend(deployment.registrars.iter().map(|registrar| of(&deployment.name, &registrar.host)));
        if let AuthoritySettings::Ldap(ldap) = &deployment.authority {
            all.extend(ldap.servers.iter().map(|server| of(&deployment.name, &server.host)));
        }
    }
    all
}

/// What this core calls itself towards a Unified CM: a whole name that its nodes can look up, or nothing.
#[must_use]
pub fn own_name(settings: &CoreSettings) -> Option<String> {
    let host = &settings.sip.advertise.host;
    (host.contains('.') && host.parse::<std::net::IpAddr>().is_err()).then(|| host.clone())
}
