//! Orders at the control socket on their way into the audit log: in a queue of their own, so that a store that is slow holds
//! up nobody who asks for something else.

use std::sync::Arc;

use edgeway_runtime::operate::Ordered;
use tokio::sync::{mpsc, watch};

use super::door::ordered;
use crate::limits::{ORDER_WRITTEN_MAX, ORDERS_WAITING_MAX};
use crate::office::Office;

/// Orders that are written down one after the other. None is left out: where the queue is full, whoever hands one over waits.
pub struct Orders {
    queue: mpsc::Sender<Ordered>,
    handed_over: u64,
    written: watch::Receiver<u64>,
}

impl Orders {
    /// A queue, and who writes down what is in it.
    #[must_use]
    pub fn new(office: &Arc<Office>) -> Self {
        let (queue, mut waiting) = mpsc::channel(ORDERS_WAITING_MAX);
        let (count, written) = watch::channel(0);
        let office = Arc::clone(office);
        tokio::spawn(async move {
            while let Some(one) = waiting.recv().await {
                ordered(&office, one).await;
                count.send_modify(|count| *count += 1);
            }
        });
        Self { queue, handed_over: 0, written }
    }

    /// Hands one over.
    pub async fn hand_over(&mut self, ordered: Ordered) {
        if self.queue.send(ordered).await.is_ok() {
            self.handed_over += 1;
        }
    }

    /// Waits until all that has been handed over is written, within bounds: whoever reads the audit log after an order finds
    /// it there.
    pub fn written(&self) -> impl Future<Output = ()> + Send + use<> {
        let (all, mut written) = (self.handed_over, self.written.clone());
        async move {
            let _ = tokio::time::timeout(ORDER_WRITTEN_MAX, written.wait_for(|count| *count >= all)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeway_runtime::operate;

    use super::*;
    use crate::configuration::{ConfigurationDesk, boot};
    use crate::office::Settled;
    use crate::scratch::Scratch;
    use crate::store::Store as _;

    #[tokio::test]
    async fn a_store_that_is_slow_holds_up_nobody_who_orders_something_and_gets_it_in_the_end() {
        let scratch = Scratch::new("orders-slow");
        let (file, state_dir) = (scratch.path().join("core.toml"), scratch.path().join("state"));
        let text = format!(
            "node = \"core1\"\nstate_dir = {state_dir:?}\ndomains = [\"example.com\"]\n\n[sip]\nadvertise = \"10.0.0.4:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n"
        );
        std::fs::write(&file, text).expect("written");
        let booted = boot(&file).expect("it starts");
        let store = Arc::clone(&booted.parts.store);
        let (port, _asked) = operate::port();
        let desk = ConfigurationDesk::new(booted.parts, port.clone());
        let office = Office::new(port, Arc::clone(&store) as _, desk, Settled::of(&booted.settings));
        let mut orders = Orders::new(&office);
        let one = || Ordered { uid: Some(0), action: "maintenance".to_owned(), refused: None };

        // Another process writes: the store waits for it.
        let other = rusqlite::Connection::open(state_dir.join("store.db")).expect("opened");
        other.execute_batch("BEGIN IMMEDIATE").expect("begun");
        orders.hand_over(one()).await;
        tokio::task::yield_now().await;
        orders.hand_over(one()).await;
        assert_eq!(store.audited(None, 10).expect("read").len(), 0, "handed over, and not written yet");
        other.execute_batch("ROLLBACK").expect("ended");
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while *orders.written.borrow() < 2 && tokio::time::Instant::now() < until {
            orders.written().await;
        }
        assert_eq!(store.audited(None, 10).expect("read").len(), 2);
    }
}
