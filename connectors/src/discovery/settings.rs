//! What the settings say of where SIP goes, before anything is discovered.

use edgeway_config::settings::{CoreSettings, Registrar};
use edgeway_model::zones::{Challenge, DeploymentZones, Zone};

/// The deployments, with the registrars an operator wrote down, and who asks their users to prove themselves: this
/// core does where there is a Unified CM, which takes its word; any other registrar does it itself.
#[must_use]
pub fn deployments(settings: &CoreSettings) -> Vec<DeploymentZones> {
    let mut deployments = Vec::new();
    for deployment in &settings.deployments {
        let trusts_us = settings.uc.unified_cm.iter().any(|server| server.deployment == deployment.name);
        let challenge = match deployment.domains.first().filter(|_| trusts_us) {
            Some(domain) => Challenge::Core { realm: domain.clone(), bearer: deployment.oauth },
            None => Challenge::Registrar,
        };
        deployments.push(DeploymentZones {
            deployment: deployment.name.clone(),
            domains: deployment.domains.clone(),
            zones: deployment.registrars.iter().map(zone).collect(),
            challenge,
        });
    }
    deployments
}

fn zone(registrar: &Registrar) -> Zone {
    Zone {
        name: registrar.to_string(),
        host: registrar.host.clone(),
        port: registrar.port,
        transport: registrar.transport,
        secure: registrar.secure,
        priority: registrar.priority,
        weight: registrar.weight,
        names: Vec::new(),
    }
}

/// What this core calls itself towards a Unified CM: a whole name that its nodes can look up, or nothing.
#[must_use]
pub fn own_name(settings: &CoreSettings) -> Option<String> {
    let host = &settings.sip.advertise.host;
    (host.contains('.') && host.parse::<std::net::IpAddr>().is_err()).then(|| host.clone())
}
