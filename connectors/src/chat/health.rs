//! Which IM servers answer, and what the operator hears of it.
//!
//! What streams meet says it: one that could not be made marks its server, one that was made clears it. A marked one is
//! asked by itself how it is, the whole way through TLS to its features, until it is well; streams go to the others
//! meanwhile, and to it only when nobody else is left. The alarm `chat_server_down` begins with the first such
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
    those_marked: RefCell<Vec<Rc<Server>>>,
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
        let mut down = server.down.borrow_mut();
        match &mut *down {
            Some(down) => why.clone_into(&mut down.why),
            None => {
                tracing::info!(event = "chat.server", server = %server, deployment = %server.deployment, why, "an IM server does not answer");
                self.teller.tell(HttpFact::Counted(count::SERVER_DOWN));
                *down = Some(Down { why: why.to_owned(), domain: domain.to_owned(), told: false });
                self.those_marked.borrow_mut().push(Rc::clone(server));
                self.marked.notify_one();
            }
        }
    }

    /// A stream was made there.
    pub(super) fn answered(&self, server: &Server, servers: &Servers) {
        if self.clear(server) {
            tracing::info!(event = "chat.server", server = %server, deployment = %server.deployment, "an IM server answers again");
            self.retell(&server.deployment, servers);
        }
    }

    /// It was asked how it is, and did not say.
    pub(super) fn still_down(&self, server: &Server, why: &str, servers: &Servers) {
        if let Some(down) = &mut *server.down.borrow_mut() {
            why.clone_into(&mut down.why);
            down.told = true;
        }
        self.retell(&server.deployment, servers);
    }

    /// Of those that are marked, whom to ask now. One that is no server of ours any more is forgotten.
    pub(super) fn to_ask(&self, servers: &Servers, at_most: usize) -> Vec<Rc<Server>> {
        let all = servers.all();
        let is_ours = |server: &Rc<Server>| all.iter().any(|one| Rc::ptr_eq(one, server));
        let (mut ours, gone): (Vec<_>, Vec<_>) = self.those_marked.borrow().iter().cloned().partition(is_ours);
        for server in gone {
            self.clear(&server);
        }
        if ours.len() > at_most {
            let first = self.turn.get() % ours.len();
            self.turn.set(first + at_most);
            ours.rotate_left(first);
            ours.truncate(at_most);
        }
        ours
    }

    /// Whether it was marked.
    fn clear(&self, server: &Server) -> bool {
        let Some(down) = server.down.borrow_mut().take() else { return false };
        self.those_marked.borrow_mut().retain(|one| !std::ptr::eq(&**one, server));
        if down.told {
            self.alarms.over(ALARM_CHAT_SERVER_DOWN, &about(server));
        }
        true
    }

    /// What stands is worse or less bad as the others are.
    fn retell(&self, deployment: &Deployment, servers: &Servers) {
        let all: Vec<_> = servers.all().into_iter().filter(|server| server.deployment == *deployment).collect();
        let (severity, others) = if all.iter().all(|server| server.is_down()) {
            (Severity::Critical, "No other is left: nobody can sign in to chat, and clients are told to come back.")
        } else {
            (Severity::Warning, "Its users are sent to the others.")
        };
        for server in &all {
            if let Some(down) = server.down.borrow().as_ref().filter(|down| down.told) {
                let cause = format!("the IM server {server} of deployment {deployment} does not answer: {}", down.why);
                let action =
                    format!("See that it runs, that this core reaches it, and that its certificate is good. {others}");
                self.alarms.raise(ALARM_CHAT_SERVER_DOWN, &about(server), severity, cause, &action);
            }
        }
    }
}

fn about(server: &Server) -> String {
    format!("{server} ({})", server.deployment)
}
