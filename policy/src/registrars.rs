//! The registrars of a deployment: which nodes there are, how they are, and which one takes a request.
//!
//! Each configured registrar is a target of RFC 3263 with a priority and a weight of its own; what
//! it leads to are its nodes. A choice goes by priority, then by weight (RFC 2782), then by SRV
//! priority and weight within the registrar, then by address family; nodes that have failed are left
//! out as long as there are others. This engine sends nothing: it says what to ask, whom to probe
//! and what the operator should know ([`Event`]).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_model::dns::{DnsAnswer, DnsQuery};
use edgeway_model::world::{RegistrarStatus, Transport};
use edgeway_model::zones::Zone;
use edgeway_model::{Deadline, Moment, Random};

use crate::health::{Health, Probe};
use crate::limits::RETIRED_MAX;
use crate::location::{Location, News, Place, Target};

/// One registrar, as the operator configured it or discovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The name of its zone.
    pub zone: String,
    /// Hosts of request URIs that mean it besides its own, in lower case.
    pub names: Vec<String>,
    /// What to look up, or where it is.
    pub target: Target,
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
}

impl From<&Zone> for Configured {
    fn from(zone: &Zone) -> Self {
        Self {
            zone: zone.name.clone(),
            names: zone.names.clone(),
            target: Target { host: zone.host.clone(), port: zone.port, transport: zone.transport, secure: zone.secure },
            priority: zone.priority,
            weight: zone.weight,
        }
    }
}

/// Which of several ways to one host a request wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The host it names: no other will do.
    pub host: Option<&'a str>,
    /// The port it writes.
    pub port: Option<u16>,
    /// Whether it asks for TLS (`sips:`, `transport=tls`).
    pub tls: bool,
}

/// What the sockets of this core can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// There is a UDP socket for IPv4.
    pub udp_ipv4: bool,
    /// There is a UDP socket for IPv6.
    pub udp_ipv6: bool,
    /// IPv6 first, where a host has both.
    pub ipv6_first: bool,
}

impl Families {
    fn reach(self, (address, transport): Place) -> bool {
        match transport {
            Transport::Udp => {
                if address.is_ipv4() {
                    self.udp_ipv4
                } else {
                    self.udp_ipv6
                }
            }
            Transport::Tcp | Transport::Tls => true,
        }
    }
}

/// One place a configured registrar leads to.
#[derive(Clone, Debug)]
pub struct RegistrarNode {
    /// Where it is, and how it is spoken to.
    pub place: Place,
    /// The registrar's host as configured: what a certificate must name.
    pub name: String,
    /// The host it was found under, which clients may know it by.
    pub host: String,
    /// How it is.
    pub health: Health,
    /// Hosts of its search rule.
    names: Vec<String>,
    configured: usize,
    rank: u16,
    weight: u16,
    host_index: u32,
    probes: u64,
}

/// What the engine wants, and what it has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Ask the name system.
    Ask(DnsQuery),
    /// Send an OPTIONS.
    Probe {
        /// There.
        place: Place,
        /// The number of this probe to that node.
        number: u64,
    },
    /// A node's health changed.
    Health {
        /// The node.
        place: Place,
        /// Whether it answers.
        alive: bool,
        /// Why not.
        why: String,
    },
    /// Looking up a registrar's name began to fail, or works again (`None`).
    Resolution {
        /// The name, as configured.
        name: String,
        /// What is wrong.
        fault: Option<String>,
    },
    /// The name system no longer names this node.
    Gone(Place),
}

/// All registrars of one deployment.
#[derive(Debug)]
pub struct Registrars {
    configured: Vec<Configured>,
    locations: Vec<Location>,
    nodes: Vec<RegistrarNode>,
    families: Families,
    every: Duration,
    events: VecDeque<Event>,
    /// Nodes that were taken away, oldest first: nothing new goes there, dialogs still do.
    retired: VecDeque<RegistrarNode>,
    /// Some host is reached in several ways that differ by transport or port alone.
    twins: bool,
}

impl Registrars {
    /// Begins to look them up; each node found is probed `every` so often.
    #[must_use]
    pub fn new(configured: Vec<Configured>, families: Families, every: Duration, now: Moment) -> Self {
        let locations = configured.iter().map(|one| Location::new(one.target.clone(), now)).collect();
        let twins = has_twins(&configured);
        let (nodes, events, retired) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut registrars = Self { configured, locations, nodes, families, every, events, retired, twins };
        registrars.settle(now);
        registrars
    }

    /// Probes every node `every` so often from now on.
    pub fn set_every(&mut self, every: Duration, now: Moment) {
        self.every = every;
        for node in &mut self.nodes {
            node.health.set_every(every, now);
        }
    }

    /// Takes others in the place of those there are, at once. What is the same keeps its addresses and
    /// its health; what is taken away gets nothing new, and what goes on there goes on.
    pub fn replace(&mut self, configured: Vec<Configured>, now: Moment) {
        if configured == self.configured {
            return;
        }
        let mut old = std::mem::take(&mut self.locations);
        self.locations = configured
            .iter()
            .map(|one| match old.iter().position(|location| *location.target() == one.target) {
                Some(at) => old.swap_remove(at),
                None => Location::new(one.target.clone(), now),
            })
            .collect();
        self.twins = has_twins(&configured);
        self.configured = configured;
        let gone = self.rebuild(now);
        for node in gone {
            self.retired.retain(|known| known.place != node.place);
            if self.retired.len() >= RETIRED_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(node);
        }
        self.settle(now);
    }

    /// The nodes there are now.
    #[must_use]
    pub fn nodes(&self) -> &[RegistrarNode] {
        &self.nodes
    }

    /// The node at a place.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<&RegistrarNode> {
        self.nodes.iter().find(|node| node.place == place)
    }

    /// The name of the zone that leads to a place.
    #[must_use]
    pub fn zone_at(&self, place: Place) -> Option<&str> {
        let configured = self.at(place).and_then(|node| self.configured.get(node.configured))?;
        Some(&configured.zone)
    }

    /// The node at a place, even one that was taken away.
    #[must_use]
    pub fn once_at(&self, place: Place) -> Option<&RegistrarNode> {
        self.at(place).or_else(|| self.retired.iter().find(|node| node.place == place))
    }

    /// The nodes a host means: as configured, as an SRV record has it, or an address.
    pub fn named<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a RegistrarNode> {
        let ip = host.parse().ok();
        self.nodes.iter().filter(move |node| node.is_named(host, ip))
    }

    /// Whether a host is the name of a registrar, even of one that cannot be found now.
    #[must_use]
    pub fn is_named(&self, host: &str) -> bool {
        let has_it = |one: &Configured| one.names.iter().any(|name| name.eq_ignore_ascii_case(host));
        self.configured.iter().any(|one| one.target.host.eq_ignore_ascii_case(host) || has_it(one))
            || self.named(host).next().is_some()
    }

    /// The node for a request: the one it names if it names one (then no other will do), else the one
    /// that `held` it before, else by priority and weight. Never one of `tried`.
    ///
    /// `None`: there is none left, or the one that was named has failed.
    pub fn choose(
        &self,
        wanted: Wanted<'_>,
        held: Option<Place>,
        tried: &[Place],
        random: &mut Random,
        now: Moment,
    ) -> Option<&RegistrarNode> {
        let ip = wanted.host.and_then(|host| host.parse().ok());
        let is_meant = |node: &&RegistrarNode| {
            !tried.contains(&node.place)
                && wanted.host.is_none_or(|host| node.is_named(host, ip))
                && (!self.twins || self.is_wanted(node, wanted))
        };
        let meant: Vec<_> = self.nodes.iter().filter(is_meant).collect();
        let mut admitted = Vec::new();
        for node in &meant {
            let share = node.health.share(now);
            let is_held = held == Some(node.place) && share > 0;
            if is_held {
                return Some(node);
            }
            if share == 1_000 || (share > 0 && random.below(1_000) < u64::from(share)) {
                admitted.push(*node);
            }
        }
        // One that starts slowly is better than none, one that asked to be spared is better than one
        // that has failed, and that one may be back.
        let mut alive = meant.clone();
        alive.retain(|node| node.health.is_alive());
        let mut willing = alive.clone();
        willing.retain(|node| node.health.share(now) > 0);
        let failed = if wanted.host.is_none() { meant } else { Vec::new() };
        let pool = [admitted, willing, alive, failed].into_iter().find(|pool| !pool.is_empty())?;
        self.draw(&pool, random)
    }

    /// Whether this is the way to its host that a request wants, where there are several: the port it
    /// writes, else TLS for one that asks for TLS, and no TLS for any other; of several such the first.
    fn is_wanted(&self, node: &RegistrarNode, wanted: Wanted<'_>) -> bool {
        let Some(own) = self.configured.get(node.configured) else { return false };
        let twins = || {
            self.nodes
                .iter()
                .filter(|one| self.configured.get(one.configured).is_some_and(|other| are_twins(own, other)))
        };
        let tls = |one: &RegistrarNode| (one.place.1 == Transport::Tls) == wanted.tls;
        let with_port = twins().find(|one| tls(one) && wanted.port == Some(one.place.0.port()));
        let first = || twins().filter(|one| tls(one)).min_by_key(|one| one.configured);
        let any = || twins().min_by_key(|one| one.configured);
        with_port.or_else(first).or_else(any).is_some_and(|one| one.configured == node.configured)
    }

    /// Draws one of a pool: registrar by priority and weight, host by SRV's, address by family.
    fn draw<'a>(&'a self, pool: &[&'a RegistrarNode], random: &mut Random) -> Option<&'a RegistrarNode> {
        let priority = pool.iter().map(|node| self.configured[node.configured].priority).min()?;
        let mut registrars: Vec<_> = pool.iter().map(|node| node.configured).collect();
        registrars.sort_unstable();
        registrars.dedup();
        registrars.retain(|index| self.configured[*index].priority == priority);
        let registrar = *weighted(&registrars, |index| self.configured[*index].weight, random)?;
        let nodes: Vec<_> = pool.iter().copied().filter(|node| node.configured == registrar).collect();
        let rank = nodes.iter().map(|node| node.rank).min()?;
        // One entry per host: two addresses are not two shares.
        let mut hosts: Vec<_> = nodes.iter().copied().filter(|node| node.rank == rank).collect();
        hosts.sort_by_key(|node| (node.host_index, node.place.0.is_ipv6() != self.families.ipv6_first));
        hosts.dedup_by_key(|node| node.host_index);
        weighted(&hosts, |node| node.weight, random).copied()
    }

    /// Another node that a request tried at `tried` could still go to, one that answers.
    #[must_use]
    pub fn has_other(&self, tried: &[Place], now: Moment) -> bool {
        self.nodes.iter().any(|node| !tried.contains(&node.place) && node.health.share(now) > 0)
    }

    /// The node a URI within a dialog means, if its host is a registrar's.
    #[must_use]
    pub fn place_of(&self, host: &str, port: Option<u16>, transport: Option<Transport>) -> Option<Place> {
        let is_it = |node: &RegistrarNode| {
            let (address, of_node) = node.place;
            port.is_none_or(|port| port == address.port()) && transport.is_none_or(|wanted| wanted == of_node)
        };
        let alive = self.named(host).find(|node| is_it(node) && node.health.is_alive());
        alive.or_else(|| self.named(host).find(|node| is_it(node))).map(|node| node.place)
    }

    /// The same for a node that was taken away, where a dialog may still lead.
    #[must_use]
    pub fn once_place_of(&self, host: &str, port: Option<u16>, transport: Option<Transport>) -> Option<Place> {
        let ip = host.parse().ok();
        let is_it = |node: &&RegistrarNode| {
            let (address, of_node) = node.place;
            node.is_named(host, ip)
                && port.is_none_or(|port| port == address.port())
                && transport.is_none_or(|wanted| wanted == of_node)
        };
        self.place_of(host, port, transport).or_else(|| self.retired.iter().find(is_it).map(|node| node.place))
    }

    /// How a node at this address is, or was, spoken to.
    #[must_use]
    pub fn once_by(&self, address: SocketAddr) -> Option<Transport> {
        self.nodes.iter().chain(&self.retired).find(|node| node.place.0 == address).map(|node| node.place.1)
    }

    /// An answer of the name system.
    pub fn handle_answer(&mut self, query: &DnsQuery, answer: &DnsAnswer, now: Moment) {
        for location in &mut self.locations {
            location.handle_answer(query, answer, now);
        }
        self.settle(now);
    }

    /// A node said something.
    pub fn handle_heard(&mut self, place: Place, now: Moment) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.place == place) else { return };
        if node.health.handle_answer(now) {
            self.events.push_back(Event::Health { place, alive: true, why: String::new() });
        }
    }

    /// A node could not be reached, or did not answer. Returns whether that is news.
    pub fn handle_failure(&mut self, place: Place, why: &str, now: Moment) -> bool {
        let Some(node) = self.nodes.iter_mut().find(|node| node.place == place) else { return false };
        let news = node.health.handle_failure(why, now);
        if news {
            self.events.push_back(Event::Health { place, alive: false, why: why.to_owned() });
        }
        news
    }

    /// A node was slow to answer a request: it is probed at once.
    pub fn suspect(&mut self, place: Place, now: Moment) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.place == place) {
            node.health.suspect(now);
        }
    }

    /// A node asked to be left alone for a while.
    pub fn spare(&mut self, place: Place, retry_after: Duration, now: Moment) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.place == place) {
            node.health.spare(retry_after, now);
        }
    }

    /// The moment of [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        for location in &mut self.locations {
            location.handle_timeout(now);
        }
        self.settle(now);
        for node in self.nodes.iter_mut().filter(|node| node.health.deadline() <= now) {
            let place = node.place;
            let (probe, news) = node.health.handle_timeout(now);
            if news {
                let why = node.health.why().unwrap_or_default().to_owned();
                self.events.push_back(Event::Health { place, alive: false, why });
            }
            if probe == Probe::Send {
                node.probes += 1;
                self.events.push_back(Event::Probe { place, number: node.probes });
            }
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let probes =
            self.nodes.iter().map(|node| Some(Deadline { at: node.health.deadline(), why: "registrar health" }));
        let names = self.locations.iter().map(Location::next_deadline);
        probes.chain(names).fold(None, Deadline::soonest)
    }

    /// What it wants, or has to say, next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What an operator sees: every node, and every registrar that leads nowhere.
    #[must_use]
    pub fn status(&self) -> Vec<RegistrarStatus> {
        let mut rows = Vec::new();
        for (index, configured) in self.configured.iter().enumerate() {
            let name = &configured.target.host;
            let zone = &configured.zone;
            rows.extend(self.nodes.iter().filter(|node| node.configured == index).map(|node| RegistrarStatus {
                deployment: String::new(),
                zone: zone.clone(),
                name: name.clone(),
                address: Some(node.place.0),
                transport: Some(node.place.1),
                alive: node.health.is_alive(),
                why: node.health.why().map(str::to_owned),
            }));
            if self.locations[index].located().is_empty() {
                let why = Some("its name leads to no address".to_owned());
                rows.push(RegistrarStatus {
                    deployment: String::new(),
                    zone: zone.clone(),
                    name: name.clone(),
                    address: None,
                    transport: None,
                    alive: false,
                    why,
                });
            }
        }
        rows
    }

    fn settle(&mut self, now: Moment) {
        let mut changed = false;
        for location in &mut self.locations {
            self.events.extend(std::iter::from_fn(|| location.poll_query()).map(Event::Ask));
            while let Some(news) = location.poll_news() {
                let name = location.target().host.clone();
                match news {
                    News::Changed => changed = true,
                    News::Found => self.events.push_back(Event::Resolution { name, fault: None }),
                    News::Failed(why) => {
                        let kept = if location.located().is_empty() { "" } else { "; its last addresses stay in use" };
                        let fault = Some(format!("{why}{kept}"));
                        self.events.push_back(Event::Resolution { name, fault });
                    }
                }
            }
        }
        if changed {
            let gone = self.rebuild(now);
            self.events.extend(gone.into_iter().map(|node| Event::Gone(node.place)));
        }
    }

    /// The nodes of all locations; those that were known keep their health. Returns those that are gone.
    fn rebuild(&mut self, now: Moment) -> Vec<RegistrarNode> {
        let mut old = std::mem::take(&mut self.nodes);
        for (index, location) in self.locations.iter().enumerate() {
            for located in location.located() {
                let place = located.place;
                if !self.families.reach(place) || self.nodes.iter().any(|node| node.place == place) {
                    continue;
                }
                let known = old.iter().position(|node| node.place == place).map(|at| old.swap_remove(at));
                let (health, probes) =
                    known.map_or((Health::new(self.every, now), 0), |node| (node.health, node.probes));
                self.nodes.push(RegistrarNode {
                    place,
                    name: location.target().host.clone(),
                    host: located.host.clone(),
                    names: self.configured.get(index).map_or_else(Vec::new, |one| one.names.clone()),
                    health,
                    configured: index,
                    rank: located.rank,
                    weight: located.weight,
                    host_index: located.host_index,
                    probes,
                });
            }
        }
        old.sort_by_key(|node| node.place);
        old
    }
}

impl RegistrarNode {
    fn is_named(&self, host: &str, ip: Option<IpAddr>) -> bool {
        self.name.eq_ignore_ascii_case(host)
            || self.host.eq_ignore_ascii_case(host)
            || ip == Some(self.place.0.ip())
            || self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Whether two registrars are one host of one rank, reached in two ways: TCP and TLS of a cluster in
/// mixed mode.
fn are_twins(one: &Configured, other: &Configured) -> bool {
    one.target.host == other.target.host && one.priority == other.priority
}

fn has_twins(configured: &[Configured]) -> bool {
    configured.iter().enumerate().any(|(at, one)| configured[..at].iter().any(|other| are_twins(one, other)))
}

/// RFC 2782: one of them, each with the probability of its weight; those of weight 0 have a small
/// chance.
fn weighted<'a, T>(of: &'a [T], weight: impl Fn(&T) -> u16, random: &mut Random) -> Option<&'a T> {
    if of.len() < 2 {
        return of.first();
    }
    let sum: u64 = of.iter().map(|one| u64::from(weight(one))).sum();
    let drawn = random.below(sum + 1);
    let mut running = 0;
    let zeroes = of.iter().filter(|one| weight(one) == 0);
    let others = of.iter().filter(|one| weight(one) > 0);
    let mut ordered = zeroes.chain(others);
    // Where all have weight 0 they share evenly.
    if sum == 0 {
        return of.get(usize::try_from(random.below(of.len() as u64)).unwrap_or(0));
    }
    ordered.find(|one| {
        running += u64::from(weight(one));
        running >= drawn
    })
}

#[cfg(test)]
mod tests;
