//! The snapshot in use, shared by all that runs on the HTTP thread.

use std::cell::RefCell;
use std::rc::Rc;

use edgeway_policy::discovery::Snapshot;

/// What is known of the UC servers now. Cheap to clone; all clones are one.
///
/// A reader takes the whole snapshot and goes on with that, however long it takes: a refresh puts a new one in
/// its place by one assignment and never waits for anybody.
#[derive(Clone, Debug, Default)]
pub struct Current(Rc<RefCell<Rc<Snapshot>>>);

impl Current {
    /// Begins with `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Rc::new(RefCell::new(Rc::new(snapshot))))
    }

    /// The snapshot in use. Before the first discovery it has revision 0 and no cluster.
    #[must_use]
    pub fn snapshot(&self) -> Rc<Snapshot> {
        Rc::clone(&self.0.borrow())
    }

    /// The revision of the snapshot in use, for whoever keeps something made of it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0.borrow().revision
    }

    /// Puts another one into use.
    pub fn swap(&self, snapshot: Snapshot) {
        *self.0.borrow_mut() = Rc::new(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_snapshot_keeps_it_and_all_clones_see_the_new_one() {
        let current = Current::default();
        let (other, held) = (current.clone(), current.snapshot());
        current.swap(Snapshot { revision: 7, ..Snapshot::default() });
        assert_eq!((held.revision, other.revision(), other.snapshot().revision), (0, 7, 7));
    }
}
