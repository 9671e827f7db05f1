//! Where a SIP name leads: RFC 3263 as a function of the answers at hand.
//!
//! [`evaluate`] is the whole procedure: given a target and what the name system has said so far, it
//! yields the places found, or the questions still to be asked. [`Location`] keeps one target's
//! places up to date around it: it asks, keeps the last good places when the name system fails, and
//! asks again when the times to live run out. It does not choose among places
//! ([`crate::registrars`]) and knows nothing of their health.
//!
//! Implements RFC 3263 §4.1 (transport), §4.2 (port and address), with NAPTR → SRV → A/AAAA.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind, SrvRecord};
use edgeway_model::world::Transport;
use edgeway_model::{Deadline, Moment};

use crate::limits::{
    ADDRESSES_MAX, LOOKUP_AGAIN_MAX, LOOKUP_AGAIN_MIN, LOOKUP_WITHIN, NAPTR_RECORDS_MAX, PLACES_MAX, QUERIES_MAX,
    SRV_RECORDS_MAX, TTL_MAX, TTL_MIN,
};

/// A SIP URI's host, port and transport, as the operator wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name in lower case, or an address without brackets.
    pub host: String,
    /// The port, if one was written: then no SRV is asked (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport, if one was written: then no NAPTR is asked (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// `sips:`: nothing but TLS will do.
    pub secure: bool,
}

/// How something is reached: an address, and how it is spoken to there.
pub type Place = (SocketAddr, Transport);

/// One place a target leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where, and how.
    pub place: Place,
    /// The host it was found under: the target's own, or an SRV record's.
    pub host: String,
    /// Lower goes first: the priority of SRV (RFC 2782).
    pub rank: u16,
    /// Share among those of one rank (RFC 2782).
    pub weight: u16,
    /// The addresses of one host share one number.
    pub host_index: u32,
}

/// What [`evaluate`] makes of the answers at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The places found, best rank first.
    pub located: Vec<Located>,
    /// Questions to ask before more can be said.
    pub missing: Vec<DnsQuery>,
    /// The shortest time to live of what was used.
    pub ttl: Option<Duration>,
    /// What went wrong with a question.
    pub fault: Option<String>,
}

/// RFC 3263 §4 with the answers at hand. Pure: the same answers give the same places.
#[must_use]
pub fn evaluate(target: &Target, answers: &BTreeMap<DnsQuery, DnsAnswer>) -> Evaluation {
    let mut lookup = Lookup { target, answers, found: Evaluation::default(), hosts: 0 };
    lookup.run();
    lookup.found
}

struct Lookup<'a> {
    target: &'a Target,
    answers: &'a BTreeMap<DnsQuery, DnsAnswer>,
    found: Evaluation,
    hosts: u32,
}

impl Lookup<'_> {
    fn run(&mut self) {
        let (host, secure) = (self.target.host.clone(), self.target.secure);
        let fallback = if secure { Transport::Tls } else { Transport::Udp };
        if let Ok(ip) = host.parse::<IpAddr>() {
            let transport = self.target.transport.unwrap_or(fallback);
            let address = SocketAddr::new(ip, self.target.port.unwrap_or(default_port(transport)));
            return self.add(&host, (address, transport), 0, 1);
        }
        if let Some(port) = self.target.port {
            let transport = self.target.transport.unwrap_or(fallback);
            return self.host(&host, port, transport, 0, 1);
        }
        match self.target.transport {
            Some(transport) => {
                // RFC 3263 §4.2: no SRV record: the host itself, at the default port.
                if self.service(&service_name(&host, transport), transport) == Some(false) {
                    self.host(&host, default_port(transport), transport, 0, 1);
                }
            }
            None => self.any_transport(&host, fallback),
        }
    }

    /// RFC 3263 §4.1: NAPTR says which transport; else whatever SRV records there are; else UDP. One
    /// transport is chosen: a server that cannot be reached by TLS is not tried without it.
    fn any_transport(&mut self, host: &str, fallback: Transport) {
        let Some(service) = self.naptr(host) else { return };
        if let Some((name, transport)) = service {
            let _ = self.service(&name, transport);
            return;
        }
        let transports: &[_] =
            if self.target.secure { &[Transport::Tls] } else { &[Transport::Tls, Transport::Tcp, Transport::Udp] };
        for transport in transports {
            match self.service(&service_name(host, *transport), *transport) {
                Some(true) | None => return,
                Some(false) => {}
            }
        }
        self.host(host, default_port(fallback), fallback, 0, 1);
    }

    fn answer(&mut self, name: &str, kind: RecordKind) -> Option<&DnsAnswer> {
        let query = DnsQuery { name: normal(name), kind };
        let answer = self.answers.get(&query);
        if answer.is_none() && !self.found.missing.contains(&query) {
            self.found.missing.push(query);
        }
        answer
    }

    fn used(&mut self, ttl: Duration) {
        self.found.ttl = Some(self.found.ttl.map_or(ttl, |known| known.min(ttl)));
    }

    /// The SRV name to ask; `Some(None)` if there is none; `None` while that is not known.
    fn naptr(&mut self, host: &str) -> Option<Option<(String, Transport)>> {
        match self.answer(host, RecordKind::Naptr)?.clone() {
            DnsAnswer::Naptr { mut records, ttl } => {
                self.used(ttl);
                records.truncate(NAPTR_RECORDS_MAX);
                records.sort_by_key(|record| (record.order, record.preference));
                let secure = self.target.secure;
                Some(records.into_iter().find_map(|record| {
                    let transport = match record.service.to_ascii_uppercase().as_str() {
                        "SIPS+D2T" => Transport::Tls,
                        // RFC 3263 §4.1: a SIPS URI takes SIPS services only.
                        "SIP+D2T" if !secure => Transport::Tcp,
                        "SIP+D2U" if !secure => Transport::Udp,
                        _ => return None,
                    };
                    record.flags.eq_ignore_ascii_case("s").then_some((record.replacement, transport))
                }))
            }
            DnsAnswer::Failed { why } => {
                self.found.fault = Some(why);
                None
            }
            DnsAnswer::Srv { .. } | DnsAnswer::Addresses { .. } | DnsAnswer::Nothing => Some(None),
        }
    }

    /// Adds what an SRV name leads to. Whether there are records; `None` while that is not known.
    fn service(&mut self, name: &str, transport: Transport) -> Option<bool> {
        match self.answer(name, RecordKind::Srv)?.clone() {
            DnsAnswer::Srv { mut records, ttl } => {
                self.used(ttl);
                records.sort_by(|a, b| (a.priority, &a.target, a.port).cmp(&(b.priority, &b.target, b.port)));
                records.truncate(SRV_RECORDS_MAX);
                // RFC 2782: a target of "." says that there is decidedly no such service.
                let named = |record: &SrvRecord| !matches!(record.target.as_str(), "" | ".");
                for SrvRecord { priority, weight, port, target } in records.into_iter().filter(named) {
                    self.host(&target, port, transport, priority, weight);
                }
                Some(true)
            }
            DnsAnswer::Failed { why } => {
                self.found.fault = Some(why);
                None
            }
            DnsAnswer::Naptr { .. } | DnsAnswer::Addresses { .. } | DnsAnswer::Nothing => Some(false),
        }
    }

    fn host(&mut self, host: &str, port: u16, transport: Transport, rank: u16, weight: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.add(host, (SocketAddr::new(ip, port), transport), rank, weight);
        }
        match self.answer(host, RecordKind::Addresses).cloned() {
            Some(DnsAnswer::Addresses { mut addresses, ttl }) => {
                self.used(ttl);
                addresses.sort_unstable();
                addresses.dedup();
                for ip in addresses.into_iter().take(ADDRESSES_MAX) {
                    self.add(host, (SocketAddr::new(ip, port), transport), rank, weight);
                }
                self.hosts += 1;
            }
            Some(DnsAnswer::Failed { why }) => self.found.fault = Some(why),
            Some(DnsAnswer::Naptr { .. } | DnsAnswer::Srv { .. } | DnsAnswer::Nothing) | None => {}
        }
    }

    fn add(&mut self, host: &str, place: Place, rank: u16, weight: u16) {
        let known = self.found.located.iter().any(|located| located.place == place);
        if known || self.found.located.len() >= PLACES_MAX {
            return;
        }
        self.found.located.push(Located { place, host: normal(host), rank, weight, host_index: self.hosts });
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// RFC 3263 §4.2.
pub(crate) const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls => 5_061,
        Transport::Tcp | Transport::Udp => 5_060,
    }
}

/// RFC 3263 §4.1.
fn service_name(host: &str, transport: Transport) -> String {
    let service = match transport {
        Transport::Tls => "_sips._tcp",
        Transport::Tcp => "_sip._tcp",
        Transport::Udp => "_sip._udp",
    };
    format!("{service}.{host}")
}

/// What became of a look-up, as news for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The places are others than before.
    Changed,
    /// It failed, where the one before did not. The places stay as they are.
    Failed(String),
    /// It works again.
    Found,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Questions are out, until then.
    Asking { answers: BTreeMap<DnsQuery, DnsAnswer>, asked: BTreeSet<DnsQuery>, until: Moment },
    /// Until then, what is known holds.
    Resting { until: Option<Moment> },
}

/// One target and where it leads, kept up to date.
///
/// *Invariant*: once places were known there are always some: neither a dead name system nor a
/// deleted name takes the last ones away. An operator removes a registrar in the configuration.
#[derive(Clone, Debug)]
pub struct Location {
    target: Target,
    phase: Phase,
    located: Vec<Located>,
    failures: u32,
    queries: VecDeque<DnsQuery>,
    news: VecDeque<News>,
}

impl Location {
    /// Begins to look the target up, at once.
    #[must_use]
    pub fn new(target: Target, now: Moment) -> Self {
        let phase = Phase::Resting { until: Some(now) };
        let (located, queries, news) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut location = Self { target, phase, located, failures: 0, queries, news };
        location.begin(now);
        location
    }

    /// What is looked up.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where it leads, as far as is known.
    #[must_use]
    pub fn located(&self) -> &[Located] {
        &self.located
    }

    /// An answer. Those to questions of others are of no concern.
    pub fn handle_answer(&mut self, query: &DnsQuery, answer: &DnsAnswer, now: Moment) {
        let Phase::Asking { answers, asked, .. } = &mut self.phase else { return };
        if asked.contains(query) {
            answers.insert(query.clone(), answer.clone());
            self.advance(now);
        }
    }

    /// The moment of [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        match &self.phase {
            Phase::Asking { until, .. } if now >= *until => self.failed("the name system does not answer", now),
            Phase::Resting { until: Some(until) } if now >= *until => self.begin(now),
            Phase::Asking { .. } | Phase::Resting { .. } => {}
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let at = match &self.phase {
            Phase::Asking { until, .. } => Some(*until),
            Phase::Resting { until } => *until,
        };
        at.map(|at| Deadline { at, why: "registrar names" })
    }

    /// The next question to ask.
    pub fn poll_query(&mut self) -> Option<DnsQuery> {
        self.queries.pop_front()
    }

    /// The next piece of news.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn begin(&mut self, now: Moment) {
        let until = now + LOOKUP_WITHIN;
        self.phase = Phase::Asking { answers: BTreeMap::new(), asked: BTreeSet::new(), until };
        self.advance(now);
    }

    fn advance(&mut self, now: Moment) {
        let Phase::Asking { answers, asked, .. } = &mut self.phase else { return };
        let found = evaluate(&self.target, answers);
        if let Some(fault) = found.fault {
            return self.failed(&fault, now);
        }
        if found.missing.is_empty() {
            return self.succeeded(found.located, found.ttl, now);
        }
        for query in found.missing {
            if asked.len() >= QUERIES_MAX {
                return self.failed("the name leads to more names than are followed", now);
            }
            if asked.insert(query.clone()) {
                self.queries.push_back(query);
            }
        }
    }

    fn succeeded(&mut self, located: Vec<Located>, ttl: Option<Duration>, now: Moment) {
        if located.is_empty() {
            return self.failed("the name system knows no address for it", now);
        }
        if std::mem::take(&mut self.failures) > 0 {
            self.news.push_back(News::Found);
        }
        if located != self.located {
            self.located = located;
            self.news.push_back(News::Changed);
        }
        // An address needs no look-up, and none again.
        self.phase = Phase::Resting { until: ttl.map(|ttl| now + ttl.clamp(TTL_MIN, TTL_MAX)) };
    }

    fn failed(&mut self, why: &str, now: Moment) {
        if self.failures == 0 {
            self.news.push_back(News::Failed(why.to_owned()));
        }
        let pause = LOOKUP_AGAIN_MIN * 2_u32.saturating_pow(self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.queries.clear();
        self.phase = Phase::Resting { until: Some(now + pause.min(LOOKUP_AGAIN_MAX)) };
    }
}

#[cfg(test)]
mod tests;
