//! Which IM servers answer, and what the operator hears of it.
//!
//! What streams meet says it: one that could not be made marks its server, one that was made clears it. A marked one is
//! asked by itself how it is, the whole way through TLS to its features, until it is well; streams go to the others
//! meanwhile, and to it only when nobody else is left. All of this for each domain by itself.
//!
//! No client has a say in it but by the domain it names: that a server does not know that domain is an answer, and one
//! that went wrong in the middle of a sign-in is only asked how it is. The alarm `chat_server_down` begins with the first such
//! question that fails too, and is critical while no server of the deployment is left.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use edgeway_model::alarm::Severity;
use edgeway_model::sign_in::Deployment;
use edgeway_runtime::http::{HttpFact, Teller};
use edgeway_runtime::services::ALARM_CHAT_SERVER_DOWN;
use tokio::sync::Notify;

use super::counters as count;
use super::server::{Down, Server};
use super::servers::Servers;
use crate::discovery::alarms::Alarms;

/// What is watched.
pub(super) struct Health {
    alarms: Alarms,
    teller: Teller,
    /// Woken when a server was marked.
    pub(super) marked: Rc<Notify>,
    those_marked: RefCell<Vec<(Rc<Server>, String)>>,
    /// Where the next round of questions begins, while more are marked than one round asks.
    turn: Cell<usize>,
}

impl Health {
    pub(super) fn new(teller: Teller) -> Self {
        let (alarms, those_marked) = (Alarms::new(teller.clone()), RefCell::default());
        Self { alarms, teller, marked: Rc::default(), those_marked, turn: Cell::new(0) }
    }

    /// A stream of `domain` could not be made there.
    pub(super) fn failed(&self, server: &Rc<Server>, domain: &str, why: &str) {
        self.mark(server, domain, why);
        if let Some(down) = server.down.borrow_mut().get_mut(domain) {
            why.clone_into(&mut down.why);
            self.known(server, down);
        }
    }

    /// A stream of `domain` came to grief there, perhaps by what its client did: it is asked how it is.
    pub(super) fn doubted(&self, server: &Rc<Server>, domain: &str, why: &str) {
        self.mark(server, domain, why);
    }

    /// Marks it, if it is not: for now it is only asked.
    fn mark(&self, server: &Rc<Server>, domain: &str, why: &str) {
        let mut marks = server.down.borrow_mut();
        if !marks.contains_key(domain) {
            marks.insert(domain.to_owned(), Down { why: why.to_owned(), told: false, doubted: true });
            self.those_marked.borrow_mut().push((Rc::clone(server), domain.to_owned()));
            self.marked.notify_one();
        }
    }

    /// It does not answer, that much is certain.
    fn known(&self, server: &Server, down: &mut Down) {
        if std::mem::take(&mut down.doubted) {
            tracing::info!(event = "chat.server", server = %server, deployment = %server.deployment, why = down.why, "an IM server does not answer");
            self.teller.tell(HttpFact::Counted(count::SERVER_DOWN));
        }
    }

    /// A stream of `domain` was made there.
    pub(super) fn answered(&self, server: &Server, domain: &str, servers: &Servers) {
        if self.clear(server, domain).is_some_and(|down| !down.doubted) {
            tracing::info!(event = "chat.server", server = %server, deployment = %server.deployment, "an IM server answers again");
            self.retell(&server.deployment, servers);
        }
    }

    /// It was asked how it is, and did not say.
    pub(super) fn still_down(&self, server: &Server, domain: &str, why: &str, servers: &Servers) {
        if let Some(down) = server.down.borrow_mut().get_mut(domain) {
            why.clone_into(&mut down.why);
            down.told = true;
            self.known(server, down);
        }
        self.retell(&server.deployment, servers);
    }

    /// Of those that are marked, whom to ask now, and about which domain. One that is no server of ours any more is
    /// forgotten.
    pub(super) fn to_ask(&self, servers: &Servers, at_most: usize) -> Vec<(Rc<Server>, String)> {
        let all = servers.all();
        let is_ours = |(server, _): &(Rc<Server>, String)| all.iter().any(|one| Rc::ptr_eq(one, server));
        let (mut ours, gone): (Vec<_>, Vec<_>) = self.those_marked.borrow().iter().cloned().partition(is_ours);
        for (server, domain) in gone {
            self.clear(&server, &domain);
        }
        if ours.len() > at_most {
            let first = self.turn.get() % ours.len();
            self.turn.set(first + at_most);
            ours.rotate_left(first);
            ours.truncate(at_most);
        }
        ours
    }

    /// Takes its mark away. What it was.
    fn clear(&self, server: &Server, domain: &str) -> Option<Down> {
        let down = server.down.borrow_mut().remove(domain)?;
        self.those_marked.borrow_mut().retain(|(one, of)| !std::ptr::eq(&**one, server) || of != domain);
        if !server.down.borrow().values().any(|down| down.told) {
            self.alarms.over(ALARM_CHAT_SERVER_DOWN, &about(server));
        }
        Some(down)
    }

    /// What stands is worse or less bad as the others are.
    fn retell(&self, deployment: &Deployment, servers: &Servers) {
        let all: Vec<_> = servers.all().into_iter().filter(|server| server.deployment == *deployment).collect();
        for server in &all {
            let marks = server.down.borrow();
            let told = || marks.iter().filter(|(_, down)| down.told);
            let Some((_, down)) = told().next() else { continue };
            let (severity, others) = if told().any(|(domain, _)| all.iter().all(|server| server.is_down(domain))) {
                (Severity::Critical, "No other is left: nobody can sign in to chat, and clients are told to come back.")
            } else {
                (Severity::Warning, "Its users are sent to the others.")
            };
            let cause = format!("the IM server {server} of deployment {deployment} does not answer: {}", down.why);
            let action =
                format!("See that it runs, that this core reaches it, and that its certificate is good. {others}");
            self.alarms.raise(ALARM_CHAT_SERVER_DOWN, &about(server), severity, cause, &action);
        }
    }
}

fn about(server: &Server) -> String {
    format!("{server} ({})", server.deployment)
}
