//! Which streams have changed since a carrier looked last: it asks those, and no others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// The list of one carrier.
#[derive(Debug, Default)]
pub(super) struct Changes {
    list: RefCell<Vec<u32>>,
    waker: RefCell<Option<Waker>>,
    /// The carrier looks by itself in a moment: nobody needs to wake it.
    awake: Cell<bool>,
}

impl Changes {
    /// The carrier's task is to be woken, from now on.
    pub(super) fn listen(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    /// Whether the carrier will look by itself.
    pub(super) fn set_awake(&self, awake: bool) {
        self.awake.set(awake);
    }

    /// The carrier has something to look at.
    pub(super) fn wake(&self) {
        if !self.awake.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Whether nothing has changed.
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// What has changed; it is forgotten here.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut self.list.borrow_mut());
    }

    fn push(&self, stream: u32) {
        self.list.borrow_mut().push(stream);
        self.wake();
    }
}

/// What ties a stream to the list of its carrier.
#[derive(Debug)]
pub(super) struct Tie {
    changes: Rc<Changes>,
    stream: u32,
    listed: Cell<bool>,
}

impl Tie {
    pub(super) const fn new(changes: Rc<Changes>, stream: u32) -> Self {
        Self { changes, stream, listed: Cell::new(false) }
    }

    /// The stream has changed.
    pub(super) fn mark(&self) {
        if !self.listed.replace(true) {
            self.changes.push(self.stream);
        }
    }

    /// The carrier looks at it now.
    pub(super) fn unmark(&self) {
        self.listed.set(false);
    }
}
