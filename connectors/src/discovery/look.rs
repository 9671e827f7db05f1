//! The task of each server: asks until something is known, then looks for changes.

use std::rc::Rc;
use std::time::Duration;

use edgeway_policy::discovery::Change;

use super::Discovery;
use super::fault::AskFault;
use super::limits::{FIRST_AGAIN_MIN, LOOK_AGAIN, REFUSED_AGAIN};
use super::refresh::Read;
use super::server::Server;

impl Discovery {
    /// Runs as long as the HTTP thread does; where looks are off, until something is known. `looked`: the server was looked
    /// at already.
    pub(super) async fn watch(self: Rc<Self>, server: Rc<Server>, looked: bool) {
        let mut pause = FIRST_AGAIN_MIN;
        if let (true, Some(every)) = (looked, self.look_every) {
            tokio::time::sleep(self.jittered(every)).await;
        }
        loop {
            let known = self.current.snapshot().cluster(server.product, server.name()).is_some();
            let wait = match (known, self.look_every) {
                (true, None) => return,
                (true, Some(every)) => self.look(&server, every).await,
                (false, _) => self.first(&server, &mut pause).await,
            };
            tokio::time::sleep(self.jittered(wait)).await;
        }
    }

    /// Asks a server nothing is known of, and takes what it says. Returns how long to wait.
    async fn first(self: &Rc<Self>, server: &Rc<Server>, pause: &mut Duration) -> Duration {
        let own_name = self.own_name.clone();
        let outcome = server.read(own_name.as_deref()).await;
        let mut read = [Read { server: Rc::clone(server), outcome }];
        self.take(&mut read);
        match &read[0].outcome {
            Ok(_) => {
                *pause = FIRST_AGAIN_MIN;
                self.look_every.unwrap_or_default()
            }
            Err(fault) => {
                let longest = fault.again_within();
                let wait = if longest >= REFUSED_AGAIN { longest } else { (*pause).min(longest) };
                *pause = pause.saturating_mul(2).min(longest);
                wait
            }
        }
    }

    /// Composes, swaps, notes. Nothing in between waits, so that nobody else's snapshot can be lost.
    pub(super) fn take(self: &Rc<Self>, read: &mut [Read]) -> Vec<Change> {
        let composed = self.compose(read);
        let changes = if read.iter().any(|one| one.outcome.is_ok()) { self.swap(composed) } else { Vec::new() };
        self.note(read);
        changes
    }

    /// Looks at a server, and changes nothing. Returns how long to wait.
    async fn look(self: &Rc<Self>, server: &Rc<Server>, every: Duration) -> Duration {
        let outcome = server.read(None).await;
        let failed = outcome.as_ref().err().map(AskFault::again_within);
        self.note(&[Read { server: Rc::clone(server), outcome }]);
        match failed {
            Some(longest) => LOOK_AGAIN.max(longest).min(every.max(longest)),
            None => every,
        }
    }

    /// A tenth more or less, so that cores that started together do not ask together.
    fn jittered(&self, wait: Duration) -> Duration {
        let tenth = u64::try_from(wait.as_millis() / 10).unwrap_or(0);
        let random = self.random.borrow_mut().below(2 * tenth + 1);
        wait + Duration::from_millis(random) - Duration::from_millis(tenth)
    }
}
