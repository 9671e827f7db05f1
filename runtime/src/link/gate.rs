//! A waker that does not wake a task for what it is doing itself.
//!
//! A link drives its HTTP/2 connection, its stream and its outbox in one task. Each of them wakes
//! "the other side" on every step, and the other side is the same task: without a gate, every
//! message would cost another turn of the scheduler with nothing to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The gate of one task. While it is entered, a wake is only noted.
#[derive(Debug)]
pub(super) struct Gate {
    entered: AtomicBool,
    noted: AtomicBool,
    task: Mutex<Waker>,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            entered: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            task: Mutex::new(Waker::noop().clone()),
        })
    }

    /// The task `waker` starts a turn.
    pub(super) fn enter(&self, waker: &Waker) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(waker);
        self.entered.store(true, Ordering::SeqCst);
    }

    /// Forgets what was noted; call before doing the work it would ask for.
    pub(super) fn forget(&self) {
        self.noted.store(false, Ordering::SeqCst);
    }

    /// Whether a wake was noted since [`Self::forget`].
    pub(super) fn is_noted(&self) -> bool {
        self.noted.load(Ordering::SeqCst)
    }

    /// The turn ends; a wake that is still noted goes to the task.
    pub(super) fn leave(&self) {
        self.entered.store(false, Ordering::SeqCst);
        if self.noted.swap(false, Ordering::SeqCst) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.entered.load(Ordering::SeqCst) {
            self.noted.store(true, Ordering::SeqCst);
            // Another thread may have come in just as the turn ended.
            if !self.entered.load(Ordering::SeqCst) {
                self.wake_task();
            }
        } else {
            self.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn inside_a_turn_it_notes_and_outside_it_wakes() {
        let count = Arc::new(Counted(AtomicUsize::new(0)));
        let task = Waker::from(count.clone());
        let gate = Gate::new();
        let waker = Waker::from(gate.clone());
        gate.enter(&task);
        waker.wake_by_ref();
        assert!(gate.is_noted() && count.0.load(Ordering::SeqCst) == 0);
        gate.forget();
        gate.leave();
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "done already");
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        gate.enter(&task);
        waker.wake();
        gate.leave();
        assert_eq!(count.0.load(Ordering::SeqCst), 2, "not done: handed on");
    }
}
