//! Chat: what a core does with the XMPP streams of clients that edges carry to it.
//!
//! | file | what |
//! |---|---|
//! | `counters.rs` | what is counted |
//! | `dial.rs` | a connection to an IM server: names, TCP, TLS |
//! | `drive.rs` | one client's stream: moves the bytes, does what its router wants |
//! | `health.rs` | which servers answer, and the alarm |
//! | `homes.rs` | which server a user lives on |
//! | `nameless.rs` | attempts that name no user |
//! | `operate.rs` | what an operator asks |
//! | `probe.rs` | asks servers that are down how they are |
//! | `server.rs` | one IM server |
//! | `servers.rs` | all of them, and which of them a user comes to |
//! | `sessions.rs` | the streams that are there |
//! | `upstream.rs` | the connection to a server, as a stream wants it |
//! | `who.rs` | whose credentials a client shows |
//!
//! What is said on a stream, and what not, decides `edgeway_xmpp::Router`.

pub mod counters;
mod dial;
mod drive;
mod health;
mod homes;
pub mod limits;
mod nameless;
mod operate;
mod probe;
mod server;
mod servers;
mod sessions;
mod upstream;
mod who;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use edgeway_config::settings::CoreSettings;
use edgeway_model::attempt::{Attempt, Kind, Reason};
use edgeway_model::chat::{ChatEnd, ChatOffence, ChatOpening};
use edgeway_model::notice::Notice;
use edgeway_model::sign_in::{Deployment, Subject};
use edgeway_model::{Moment, NodeId, Pii};
use edgeway_policy::rate::Source;
use edgeway_runtime::chat::ChatStream;
use edgeway_runtime::clock::Clock;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{HttpFact, Teller};
use edgeway_runtime::trace;
use edgeway_xmpp::router::{Beginning, Candidate, Router, Verdict, normal_domain, turned_away};
use edgeway_xmpp::sasl::Mechanism;
use edgeway_xmpp::{Condition, StreamFault};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use self::counters as count;
use self::dial::Dialler;
use self::drive::Drive;
use self::health::Health;
use self::homes::{Home, Homes};
use self::limits::{READ_BYTES, SPACE_AFTER, STOP_WITHIN, TELL_EVERY};
use self::nameless::Nameless;
use self::server::Server;
use self::servers::Servers;
use self::sessions::Sessions;
use self::who::Who;
use crate::discovery::Current;
use crate::sign_in::desk::Desk;
use crate::trusts::Trusts;

/// Chat at a core. Lives on the HTTP thread.
pub(crate) struct Chat {
    desk: Rc<Desk>,
    deployments: RefCell<BTreeMap<String, Deployment>>,
    servers: RefCell<Rc<Servers>>,
    health: Health,
    homes: Homes,
    nameless: Nameless,
    /// What servers of a domain have offered last, for when none answers.
    remembered: RefCell<BTreeMap<String, Vec<Mechanism>>>,
    sessions: Rc<Sessions>,
    dialler: RefCell<Dialler>,
    clock: Clock,
    /// After how long without a word a server gets a space.
    space_after: Cell<Duration>,
    /// What is read from servers is read into it first: one for all, rather than one for each stream.
    scratch: RefCell<Box<[u8]>>,
    /// Maintenance mode: streams that begin are turned away.
    maintained: Cell<bool>,
    teller: Teller,
}

/// What chat is made of.
pub(crate) struct Needs {
    pub(crate) desk: Rc<Desk>,
    pub(crate) current: Current,
    pub(crate) trusts: Option<Rc<Trusts>>,
    pub(crate) resolver: Resolver,
    pub(crate) allow_loopback: bool,
    pub(crate) teller: Teller,
}

/// What holds from new settings on.
pub(crate) struct Renewed {
    deployments: BTreeMap<String, Deployment>,
    servers: Servers,
    resolver: Resolver,
    rate_control_period: Duration,
}

/// Deployments by domain.
fn deployments(settings: &CoreSettings) -> BTreeMap<String, Deployment> {
    let of = |deployment: &edgeway_config::sign_in::DeploymentSettings| {
        let name = deployment.name.clone();
        deployment.domains.clone().into_iter().map(move |domain| (normal_domain(&domain), name.clone()))
    };
    settings.deployments.iter().flat_map(of).collect()
}

impl Chat {
    /// Reads the files the settings name, and starts what goes on by itself; on the HTTP thread.
    ///
    /// # Errors
    /// In the operator's words.
    pub(crate) fn start(settings: &CoreSettings, needs: Needs) -> Result<Rc<Self>, String> {
        let Needs { desk, current, trusts, resolver, allow_loopback, teller } = needs;
        let chat = Rc::new(Self {
            desk,
            deployments: RefCell::new(deployments(settings)),
            servers: RefCell::new(Rc::new(Servers::load(settings, current, trusts, None)?)),
            health: Health::new(teller.clone()),
            homes: Homes::default(),
            nameless: Nameless::new(settings.sign_in.rate_control_period),
            remembered: RefCell::default(),
            sessions: Rc::new(Sessions::new(teller.clone(), TELL_EVERY)),
            dialler: RefCell::new(Dialler { resolver, allow_loopback }),
            clock: Clock::start(),
            space_after: Cell::new(SPACE_AFTER),
            scratch: RefCell::new(vec![0; READ_BYTES].into()),
            maintained: Cell::new(false),
            teller,
        });
        spawn_local(probe::probe_those_that_are_down(Rc::downgrade(&chat)));
        Ok(chat)
    }

    /// Gets ready for new settings, and changes nothing.
    ///
    /// # Errors
    /// In the operator's words.
    pub(crate) fn prepare(
        &self,
        settings: &CoreSettings,
        current: Current,
        trusts: Option<Rc<Trusts>>,
        resolver: Resolver,
    ) -> Result<Renewed, String> {
        let servers = Servers::load(settings, current, trusts, Some(&self.servers()))?;
        let rate_control_period = settings.sign_in.rate_control_period;
        Ok(Renewed { deployments: deployments(settings), servers, resolver, rate_control_period })
    }

    /// Streams that begin are served so from now on; those that are there go on as they began.
    pub(crate) fn renew(&self, renewed: Renewed) {
        let Renewed { deployments, servers, resolver, rate_control_period } = renewed;
        *self.deployments.borrow_mut() = deployments;
        *self.servers.borrow_mut() = Rc::new(servers);
        self.dialler.borrow_mut().resolver = resolver;
        self.nameless.set_period(rate_control_period);
        let is_served = |domain: &String| self.deployments.borrow().contains_key(domain);
        self.remembered.borrow_mut().retain(|domain, _| is_served(domain));
        self.health.marked.notify_one();
    }

    fn servers(&self) -> Rc<Servers> {
        Rc::clone(&self.servers.borrow())
    }

    fn dialler(&self) -> Dialler {
        self.dialler.borrow().clone()
    }

    /// Maintenance mode: turns away streams that begin, or takes them again. Those that are there stay.
    pub(crate) fn maintain(&self, on: bool) {
        self.maintained.set(on);
    }

    /// Past the deadline of maintenance mode: every stream ends without a word, so that clients resume elsewhere.
    pub(crate) fn end_all(&self) {
        self.sessions.end_all();
    }

    /// Serves one stream until it has ended.
    pub(crate) async fn serve(self: Rc<Self>, edge: NodeId, mut opening: ChatOpening, stream: ChatStream) {
        self.count(count::STREAM);
        // One spelling from here on: it is what servers hear, certificates are asked for, and their health goes by.
        opening.domain = normal_domain(&opening.domain);
        let domain = opening.domain.as_str();
        let deployment = self.deployments.borrow().get(domain).cloned();
        let Some(deployment) = deployment else {
            let fault = StreamFault::new(Condition::HostUnknown, "The domain is not served here.");
            return self.turn_away(&edge, &opening, &stream, fault, Reason::NoSuchDomain);
        };
        if self.maintained.get() {
            self.count(count::MAINTENANCE);
            let fault = StreamFault::new(Condition::SystemShutdown, "System in Maintenance Mode");
            return self.turn_away(&edge, &opening, &stream, fault, Reason::Maintenance);
        }
        let Ok(entered) = self.sessions.enter(edge.clone(), &opening, deployment) else {
            self.count(count::FULL);
            let fault = StreamFault::new(Condition::ResourceConstraint, "Too many streams are here already.");
            return self.turn_away(&edge, &opening, &stream, fault, Reason::Overloaded);
        };
        let entry = entered.entry();
        let key = entry.opening.client.ip().to_canonical().to_string();
        let servers = self.servers().ranked(&entry.deployment, &entry.opening.domain, &key, &Home::default());
        let router = Router::new(self.beginning(&entry.opening.domain, &servers), self.now());
        Drive::new(self, entered, stream, router, servers).run().await;
    }

    fn beginning(&self, domain: &str, servers: &[Rc<Server>]) -> Beginning {
        let candidate = |server: &Rc<Server>| Candidate {
            host: server.host.clone(),
            port: server.port,
            direct_tls: server.direct_tls,
        };
        Beginning {
            domain: domain.to_owned(),
            servers: servers.iter().map(candidate).collect(),
            remembered: self.remembered.borrow().get(domain).cloned().unwrap_or_default(),
            id: self.stream_id(),
        }
    }

    /// It tells streams apart, and no more: without randomness the time will do.
    fn stream_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        if aws_lc_rs::rand::fill(&mut id).is_err() {
            id.iter_mut().zip(self.now().as_micros().to_be_bytes()).for_each(|(id, byte)| *id = byte);
        }
        id
    }

    /// Says why, in a stream of ours, and ends it.
    fn turn_away(&self, edge: &NodeId, opening: &ChatOpening, stream: &ChatStream, fault: StreamFault, reason: Reason) {
        let code = self.teller.refused(attempt(edge, opening, None, reason, fault.text));
        stream.send(turned_away(&opening.domain, self.stream_id(), fault.coded(code)));
        stream.end(ChatEnd::Closed);
    }

    /// A server of a domain that is served offers this.
    fn remember(&self, domain: &str, mechanisms: Vec<Mechanism>) {
        if !self.deployments.borrow().contains_key(domain) {
            // Its domain was taken away while its stream was beginning.
            return;
        }
        self.remembered.borrow_mut().insert(domain.to_owned(), mechanisms);
    }

    /// Whether a server may see such credentials.
    ///
    /// # Errors
    /// Why not.
    fn admit(&self, who: &Who, address: IpAddr) -> Result<(), Verdict> {
        let counted = match who.counted() {
            Some(counted) => self.desk.supplied(counted, Source::at(address)),
            None => self.nameless.supplied(address, self.now()),
        };
        counted.map_err(|retry_after| Verdict::Refused { retry_after, code: None })?;
        if matches!(who, Who::Nobody) { Err(Verdict::Wrong) } else { Ok(()) }
    }

    /// Where a user lives.
    fn home_of(&self, subject: &Subject) -> Home {
        let told = self.desk.session(subject).map(|session| session.profile.im_servers.clone()).unwrap_or_default();
        self.homes.of(subject, told)
    }

    fn offence(&self, edge: &NodeId, opening: &ChatOpening, offence: ChatOffence, detail: &'static str) {
        self.count(count::offence(offence));
        if offence == ChatOffence::SignIn {
            self.count(count::REFUSED);
        }
        let (client, edge) = (Pii::new(opening.client), Some(edge.clone()));
        self.teller.tell(HttpFact::Notice(Notice::ChatOffence { client, edge, offence, detail }));
    }

    /// A user was revoked: the user's sessions end.
    pub(crate) fn revoked(&self, subject: &Subject) {
        self.sessions.revoke(subject);
    }

    /// Ends all streams; returns when they have ended, or have had time to.
    pub(crate) async fn stop(&self) {
        let _ = timeout(STOP_WITHIN, self.sessions.stop()).await;
    }

    fn count(&self, what: &'static str) {
        self.teller.tell(HttpFact::Counted(what));
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn instant(&self, at: Moment) -> Instant {
        Instant::from_std(self.clock.instant(at))
    }
}

/// What a client has attempted, and what became of it.
fn attempt(edge: &NodeId, opening: &ChatOpening, user: Option<&Subject>, reason: Reason, detail: &str) -> Attempt {
    Attempt {
        kind: Kind::Chat,
        reason,
        user: user.map(|user| Pii::new(user.user.as_str().to_owned())),
        client: Some(Pii::new(opening.client.ip().to_canonical())),
        edge: Some(edge.clone()),
        code: None,
        detail: detail.to_owned(),
        trace: trace::of_chat(opening.number),
    }
}
