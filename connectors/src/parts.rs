//! What of the inside of a core follows from its settings, and is made anew when they change.
//!
//! New parts are made aside ([`Prepared`]): files are read, and nothing is changed. Then they are swapped in whole. A
//! request keeps the parts it began with; what must outlive settings (credentials in memory, attempts, revocations, keys,
//! chats, what is known of the UC servers) is not among them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::AuthoritySettings;
use edgeway_model::Secret;
use edgeway_model::sign_in::{Deployment, Revocation};
use edgeway_model::zones::{Challenge, DeploymentZones};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::Teller;
use edgeway_runtime::pki::shared_secret;
use edgeway_runtime::service;

use crate::allowed::InForce;
use crate::authorities::{Authorities, Needs};
use crate::chat;
use crate::discovery::{Discovery, MadeOf};
use crate::proxy::{HttpClient, Proxy};
use crate::sign_in::desk::{Desk, Place};
use crate::sign_in::keys::Keys;
use crate::sign_in::services::{Services, srv_by};
use crate::sign_in::small::{Contacts, Small};
use crate::trusts::Trusts;

/// What follows from the settings.
pub(crate) struct Parts {
    pub(crate) small: Small,
    pub(crate) allowed: InForce,
    /// By the deployment whose users ask; none where nobody can sign in: then nothing is carried anywhere.
    pub(crate) proxies: BTreeMap<Deployment, Proxy>,
    /// What carries requests, and what asks authorities: each has connections of its own, so that no request of a user's
    /// stands in the way of anybody's sign-in.
    pub(crate) clients: Vec<HttpClient>,
    pub(crate) trusts: Option<Rc<Trusts>>,
    pub(crate) discovery: Rc<Discovery>,
    pub(crate) deployments: Vec<Deployment>,
    /// How often what has expired is taken out of memory.
    pub(crate) cleanup_every: Duration,
    /// What was asked for.
    pub(crate) settings: CoreSettings,
    made_of: MadeOf,
}

/// Parts in the making: all but what needs the desk.
pub(crate) struct Made {
    pub(crate) places: Vec<Place>,
    pub(crate) trusts: Option<Rc<Trusts>>,
    pub(crate) discovery: Rc<Discovery>,
    pub(crate) resolver: Resolver,
    carrying: Option<HttpClient>,
    asking: Option<HttpClient>,
}

/// New parts that wait to be swapped in.
pub(crate) struct Prepared {
    pub(crate) parts: Parts,
    pub(crate) places: Vec<Place>,
    pub(crate) chat: chat::Renewed,
    /// Where nobody could sign in until now: the keys of tokens, and what is revoked.
    pub(crate) keys: Option<(Keys, Vec<Revocation>)>,
}

impl Made {
    /// Reads the files of the settings. `old`: what is in use now.
    pub(crate) fn new(
        settings: &CoreSettings,
        teller: &Teller,
        lab: bool,
        old: Option<&Parts>,
    ) -> Result<Self, String> {
        let resolver = Resolver::new(settings.sip.dns_servers.clone());
        let discovery = match old {
            None => Discovery::new(settings, teller.clone(), resolver.clone(), lab),
            Some(old) if old.made_of == MadeOf::these(settings) => Rc::clone(&old.discovery),
            Some(old) => old.discovery.renewed(settings, resolver.clone(), lab),
        };
        let trusts = if signs_in(settings) { Some(Rc::new(Trusts::load(settings)?)) } else { None };
        let client = || {
            let trust = trusts.as_ref().map(|trusts| trusts.default.clone());
            trust.map(|trust| HttpClient::new(resolver.clone(), trust, lab))
        };
        let (carrying, asking) = (client(), client());
        let asked_again = Rc::clone(&discovery);
        let needs = Needs {
            servers: discovery.current(),
            fetch_keys: Rc::new(move |deployment| Box::pin(Rc::clone(&asked_again).fetch_keys(deployment))),
            http: asking.clone(),
            resolver: resolver.clone(),
            teller: teller.clone(),
        };
        let authorities = Authorities::new(settings, &needs).map_err(|fault| fault.to_string())?;
        let places = settings.deployment_zones().iter().filter_map(|one| place(one, &authorities)).collect();
        Ok(Self { places, trusts, discovery, resolver, carrying, asking })
    }

    /// The parts, and the places where users sign in.
    pub(crate) fn finish(
        self,
        settings: &CoreSettings,
        desk: &Rc<Desk>,
        contacts: &Rc<Contacts>,
        teller: &Teller,
    ) -> Result<(Parts, Vec<Place>), String> {
        let Self { places, trusts, discovery, resolver, carrying, asking } = self;
        let services = Services::new(discovery.current(), srv_by(resolver));
        let names = settings.deployments.iter().map(|one| &one.name);
        let proxies = carrying.iter().flat_map(|client| {
            let proxy = |name: &Deployment| Proxy::new(client.of(name.clone()), settings.node.clone());
            names.clone().map(move |name| (name.clone(), proxy(name)))
        });
        let parts = Parts {
            small: Small::new(Rc::clone(desk), services, &settings.deployments, Rc::clone(contacts)),
            allowed: InForce::new(settings, discovery.current(), teller.clone())?,
            proxies: proxies.collect(),
            clients: carrying.iter().chain(&asking).cloned().collect(),
            trusts,
            discovery,
            deployments: settings.deployments.iter().map(|deployment| deployment.name.clone()).collect(),
            cleanup_every: settings.sign_in.credentials_cleanup_interval,
            made_of: MadeOf::these(settings),
            settings: settings.clone(),
        };
        Ok((parts, places))
    }
}

impl Parts {
    /// Whether a deployment's users are checked by the same servers in the same way with other settings.
    pub(crate) fn same_authority(&self, deployment: &Deployment, other: &CoreSettings) -> bool {
        let of = |settings: &CoreSettings| {
            let one = settings.deployments.iter().find(|one| one.name == *deployment);
            let one = one.map(|one| (one.authority.clone(), one.oauth, one.oauth_audiences.clone()));
            let servers = settings.uc.unified_cm.iter().filter(|server| server.deployment == *deployment);
            (one, servers.cloned().collect::<Vec<_>>(), settings.sip.dns_servers.clone())
        };
        of(&self.settings) == of(other)
    }
}

/// Parts that can be swapped.
pub(crate) struct Swapped(RefCell<Rc<Parts>>);

impl Swapped {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(RefCell::new(Rc::new(parts)))
    }

    /// Those of now: whoever has them keeps them.
    pub(crate) fn now(&self) -> Rc<Parts> {
        Rc::clone(&self.0.borrow())
    }

    pub(crate) fn swap(&self, parts: Parts) {
        *self.0.borrow_mut() = Rc::new(parts);
    }
}

/// Whether there is anything to sign in to, or to carry requests to.
pub(crate) fn signs_in(settings: &CoreSettings) -> bool {
    let uc = &settings.uc;
    let servers = !(uc.unified_cm.is_empty() && uc.im_and_presence.is_empty() && uc.unity.is_empty());
    servers || settings.deployments.iter().any(|one| one.oauth || one.authority != AuthoritySettings::None)
}

/// The secret of the key file; where nobody signs in there is no file, and the secret is as good as none.
pub(crate) fn secret(settings: &CoreSettings) -> Result<Secret<32>, String> {
    if signs_in(settings) {
        return shared_secret(Path::new(&settings.sign_in.key_file)).map_err(|error| error.to_string());
    }
    service::seed().map(Secret::new).map_err(|fault| fault.to_string())
}

fn place(zones: &DeploymentZones, authorities: &Authorities) -> Option<Place> {
    let (realm, tokens) = match &zones.challenge {
        Challenge::Core { realm, bearer } => (Some(realm.clone()), *bearer),
        Challenge::Registrar => (None, false),
    };
    let authority = authorities.of(&zones.deployment)?;
    Some(Place::new(zones.deployment.clone(), authority, realm).taking_tokens(tokens))
}

/// Whether all of this core's SIP is on this machine: in a lab, where servers inside are here, too. Elsewhere no name
/// leads to this machine.
pub(crate) fn on_this_machine(settings: &CoreSettings) -> bool {
    !settings.sip.listen.is_empty() && settings.sip.listen.iter().all(|address| address.ip().is_loopback())
}
