//! The deployments of a core: which domains they serve, and the registrars of each.
//!
//! Each has registrars of its own, so that whoever belongs to one cannot be sent to those of another. All
//! of it can be replaced at any time ([`Deployments::replace`]): what is the same keeps its health.

use edgeway_model::dns::{DnsAnswer, DnsQuery};
use edgeway_model::sign_in::Deployment;
use edgeway_model::world::{RegistrarStatus, Transport};
use edgeway_model::zones::{Challenge, DeploymentZones, Zones};
use edgeway_model::{Deadline, Moment};
use std::net::SocketAddr;
use std::time::Duration;

use crate::location::Place;
use crate::registrars::{Event, Families, RegistrarNode, Registrars};

/// One deployment, as SIP sees it.
#[derive(Debug)]
pub struct Served {
    /// Which.
    pub deployment: Deployment,
    /// Who proves its users.
    pub challenge: Challenge,
    /// Its registrars.
    pub registrars: Registrars,
    domains: Vec<String>,
}

impl Served {
    /// Its domains.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Whether it serves a domain.
    #[must_use]
    pub fn has_domain(&self, host: &str) -> bool {
        self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host))
    }

    /// Whether a host is a domain of it, or the name of a registrar of it.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.has_domain(host) || self.registrars.is_named(host)
    }
}

/// All deployments of a core.
#[derive(Debug)]
pub struct Deployments {
    served: Vec<Served>,
    families: Families,
    every: Duration,
    /// Deployments that were taken away whole: dialogs may still lead to their registrars.
    former: Vec<Served>,
}

/// Deployments that were taken away whole and are remembered for their dialogs: nobody takes away more in
/// the life of a process.
const FORMER_MAX: usize = 16;

impl Deployments {
    /// Begins to look up all registrars; each node found is probed `every` so often.
    #[must_use]
    pub fn new(zones: &Zones, families: Families, every: Duration, now: Moment) -> Self {
        let mut deployments = Self { served: Vec::new(), families, every, former: Vec::new() };
        deployments.replace(zones, now);
        deployments
    }

    /// Probes every node `every` so often from now on.
    pub fn set_every(&mut self, every: Duration, now: Moment) {
        self.every = every;
        for served in &mut self.served {
            served.registrars.set_every(every, now);
        }
    }

    /// Takes these zones in the place of those there are, at once.
    pub fn replace(&mut self, zones: &Zones, now: Moment) {
        let mut old = std::mem::take(&mut self.served);
        for one in &zones.deployments {
            let known = old.iter().position(|served| served.deployment == one.deployment).map(|at| old.swap_remove(at));
            self.served.push(self.renewed(known, one, now));
        }
        for mut gone in old {
            gone.registrars.replace(Vec::new(), now);
            if self.former.len() < FORMER_MAX {
                self.former.push(gone);
            }
        }
        let served = &self.served;
        self.former.retain(|gone| served.iter().all(|one| one.deployment != gone.deployment));
    }

    fn renewed(&self, known: Option<Served>, zones: &DeploymentZones, now: Moment) -> Served {
        let configured = zones.zones.iter().map(Into::into).collect();
        let registrars = match known {
            Some(mut known) => {
                known.registrars.replace(configured, now);
                known.registrars
            }
            None => Registrars::new(configured, self.families, self.every, now),
        };
        let (deployment, challenge) = (zones.deployment.clone(), zones.challenge.clone());
        Served { deployment, challenge, registrars, domains: zones.domains.clone() }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, deployment: &Deployment) -> Option<&Served> {
        self.served.iter().find(|served| served.deployment == *deployment)
    }

    /// All of them, the default one first.
    #[must_use]
    pub fn all(&self) -> &[Served] {
        &self.served
    }

    /// The one that serves a host: as its domain, else as the name of one of its registrars.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Served> {
        let of_domain = self.served.iter().find(|served| served.has_domain(host));
        of_domain.or_else(|| self.served.iter().find(|served| served.registrars.is_named(host)))
    }

    /// The registrar node at a place, whosever it is.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<&RegistrarNode> {
        self.served.iter().find_map(|served| served.registrars.at(place))
    }

    /// The registrar node at a place, even one that was taken away.
    #[must_use]
    pub fn once_at(&self, place: Place) -> Option<&RegistrarNode> {
        self.served.iter().chain(&self.former).find_map(|served| served.registrars.once_at(place))
    }

    /// How a registrar at this address is, or was, spoken to.
    #[must_use]
    pub fn once_by(&self, address: SocketAddr) -> Option<Transport> {
        self.served.iter().chain(&self.former).find_map(|served| served.registrars.once_by(address))
    }

    /// All registrar nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &RegistrarNode> {
        self.served.iter().flat_map(|served| served.registrars.nodes())
    }

    /// An answer of the name system.
    pub fn handle_answer(&mut self, query: &DnsQuery, answer: &DnsAnswer, now: Moment) {
        for served in &mut self.served {
            served.registrars.handle_answer(query, answer, now);
        }
    }

    /// A node said something.
    pub fn handle_heard(&mut self, place: Place, now: Moment) {
        for served in &mut self.served {
            served.registrars.handle_heard(place, now);
        }
    }

    /// A node could not be reached, or did not answer.
    pub fn handle_failure(&mut self, place: Place, why: &str, now: Moment) {
        for served in &mut self.served {
            served.registrars.handle_failure(place, why, now);
        }
    }

    /// A node was slow to answer a request: it is probed at once.
    pub fn suspect(&mut self, place: Place, now: Moment) {
        for served in &mut self.served {
            served.registrars.suspect(place, now);
        }
    }

    /// A node asked to be left alone for a while.
    pub fn spare(&mut self, place: Place, retry_after: Duration, now: Moment) {
        for served in &mut self.served {
            served.registrars.spare(place, retry_after, now);
        }
    }

    /// The moment of [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        for served in &mut self.served {
            served.registrars.handle_timeout(now);
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.served.iter().map(|served| served.registrars.next_deadline()).fold(None, Deadline::soonest)
    }

    /// What they want, or have to say, next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.served.iter_mut().find_map(|served| served.registrars.poll_event())
    }

    /// What an operator sees.
    #[must_use]
    pub fn status(&self) -> Vec<RegistrarStatus> {
        let of = |served: &Served| {
            let deployment = served.deployment.to_string();
            let named = move |status| RegistrarStatus { deployment: deployment.clone(), ..status };
            served.registrars.status().into_iter().map(named)
        };
        self.served.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
