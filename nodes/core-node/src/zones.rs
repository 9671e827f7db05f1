//! Deployments: which one a client's connection belongs to, and what it may reach.
//!
//! A connection belongs to the deployment it has registered in, for as long as anything is registered over
//! it; before that, a request belongs to the one whose domain or node it names. Nothing it asks for leads
//! to registrars of another.

use edgeway_model::sign_in::Deployment;
use edgeway_model::zones::{Challenge, Zones};
use edgeway_model::{FlowId, Moment};
use edgeway_policy::deployments::Served;
use edgeway_sip::Message;
use edgeway_sip::uri::Uri;

use crate::CoreNode;

impl CoreNode {
    /// These are the zones from now on; who belongs to a deployment that is gone has to prove itself anew.
    pub(crate) fn take_zones(&mut self, zones: &Zones, now: Moment) {
        self.zones.replace(zones, now);
        self.identities.deployments_changed(|one| self.zones.get(one).is_some());
        self.vouched.deployments_changed(|one| self.zones.get(one).is_some());
        self.report(Vec::new());
    }

    /// All domains, of all deployments.
    pub(crate) fn domains(&self) -> Vec<String> {
        self.zones.all().iter().flat_map(Served::domains).cloned().collect()
    }

    /// Whether the users of some deployment may show access tokens.
    pub(crate) fn takes_tokens(&self) -> bool {
        self.zones.all().iter().any(|served| matches!(served.challenge, Challenge::Core { bearer: true, .. }))
    }

    /// The deployment a client's request belongs to. `None`: to none that there is.
    pub(crate) fn deployment_of(&self, flow: FlowId, request: &Message) -> Option<Deployment> {
        if let Some(deployment) = self.identities.deployment(flow).or_else(|| self.vouched_deployment(flow)) {
            return Some(deployment.clone());
        }
        let host = |uri: &str| Uri::parse(uri).map(|uri| uri.host.to_owned());
        let named = self.named_by(request).or_else(|| request.request_uri().and_then(host))?;
        let served = match self.zones.of_host(&named) {
            None if self.is_own_host(&named) => host(request.to().uri).and_then(|host| self.zones.of_host(&host)),
            served => served,
        };
        served.map(|served| served.deployment.clone())
    }

    pub(crate) fn is_own_host(&self, host: &str) -> bool {
        host.trim_matches(['[', ']']).eq_ignore_ascii_case(self.settings.host.trim_matches(['[', ']']))
    }

    /// Whether a host belongs to a deployment, or is this core itself.
    pub(crate) fn serves(&self, deployment: &Deployment, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        self.is_own_host(host) || self.zones.get(deployment).is_some_and(|served| served.serves(host))
    }
}
