//! One client's stream between the two tiers: bytes both ways, each with a bound, and how it ends.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edgeway_link::limits::{CHAT_FRAME_COST_BYTES, CHAT_WINDOW_BYTES_MIN};
use edgeway_model::chat::ChatEnd;

use super::changes::{Changes, Tie};
use crate::http::naps::note_chat;

/// What comes out of a stream, in the order in which it was put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes of XMPP.
    Bytes(Bytes),
    /// The client has signed in (core to edge): the bounds of strangers hold no longer.
    SignedIn,
    /// What the client has shown was refused (core to edge), for a reason that is its own.
    SignInRefused,
    /// It has ended there. The last item, given again whenever asked.
    End(ChatEnd),
}

/// The other end has ended; what was to be sent goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the stream has ended")]
pub struct Gone;

/// One end of a stream. Dropping it ends it as [`ChatEnd::Broken`], unless it has ended already; what was sent before
/// still arrives.
///
/// Whoever sends waits for [`Self::poll_room`] first; [`Self::send`] itself takes whatever it is given, so that one
/// read may overshoot the bound, and no more.
#[derive(Debug)]
pub struct ChatStream {
    shared: Rc<Shared>,
    /// Which of the two ways leads away from here.
    out: usize,
}

#[derive(Debug)]
struct Shared {
    ways: [Way; 2],
    /// The carrier that holds one end, and which.
    tie: OnceCell<(usize, Tie)>,
}

/// What waits in many streams together.
#[derive(Debug)]
pub(super) struct Together {
    waiting: Cell<usize>,
    bytes_max: usize,
}

impl Together {
    pub(super) fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self { waiting: Cell::new(0), bytes_max })
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    items: RefCell<VecDeque<Item>>,
    /// What waits, with what it costs to hold it.
    waiting: Cell<usize>,
    window: usize,
    /// Whether more than the least may wait depends on others.
    together: Option<Rc<Together>>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// What was taken out, or thrown away, since a carrier asked last: pieces and bytes.
    taken: Cell<(usize, usize)>,
    /// What that may cost before the carrier must be told.
    untold_max: Cell<usize>,
    /// Nobody reads any more.
    unread: Cell<bool>,
    ended: Cell<Option<ChatEnd>>,
}

/// What a piece costs.
const fn cost(bytes: &Bytes) -> usize {
    bytes.len() + CHAT_FRAME_COST_BYTES as usize
}

impl Way {
    fn new(window: usize, together: Option<Rc<Together>>) -> Self {
        Self { window, together, ..Self::default() }
    }

    fn put(&self, item: Item) {
        self.items.borrow_mut().push_back(item);
        wake(&self.reader);
    }

    fn set_waiting(&self, waiting: usize) {
        let before = self.waiting.replace(waiting);
        if let Some(together) = &self.together {
            together.waiting.set((together.waiting.get() + waiting).saturating_sub(before));
        }
    }

    fn has_room(&self) -> bool {
        let waiting = self.waiting.get();
        let others = |together: &Rc<Together>| together.waiting.get() < together.bytes_max;
        waiting < self.window && (waiting < CHAT_WINDOW_BYTES_MIN as usize || self.together.as_ref().is_none_or(others))
    }

    fn note_taken(&self, bytes: usize) {
        let (pieces, before) = self.taken.get();
        self.taken.set((pieces + 1, before + bytes));
    }

    fn must_tell(&self) -> bool {
        let (pieces, bytes) = self.taken.get();
        pieces * CHAT_FRAME_COST_BYTES as usize + bytes >= self.untold_max.get()
    }

    fn pop(&self) -> Option<Item> {
        let mut items = self.items.borrow_mut();
        let item = items.pop_front()?;
        if items.is_empty() && items.capacity() > KEPT_ITEMS {
            *items = VecDeque::new();
        }
        drop(items);
        if let Item::Bytes(bytes) = &item {
            self.note_taken(bytes.len());
            self.set_waiting(self.waiting.get().saturating_sub(cost(bytes)));
            if self.has_room() {
                wake(&self.writer);
            }
        }
        Some(item)
    }
}

/// Places for items that an empty stream keeps.
const KEPT_ITEMS: usize = 4;

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.borrow_mut().take() {
        waker.wake();
    }
}

/// Asks to be woken; an equal waker stays.
fn wait(place: &RefCell<Option<Waker>>, context: &Context<'_>) {
    let mut place = place.borrow_mut();
    if !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
        *place = Some(context.waker().clone());
    }
}

impl ChatStream {
    /// Both ends of a stream in which `window` bytes may wait in each direction, each piece with 64 bytes more.
    #[must_use]
    pub fn pair(window: usize) -> (Self, Self) {
        Self::of([Way::new(window, None), Way::new(window, None)])
    }

    /// As [`Self::pair`]; what is said by the second end waits together with that of others.
    pub(super) fn pair_together(window: usize, together: Rc<Together>) -> (Self, Self) {
        Self::of([Way::new(window, None), Way::new(window, Some(together))])
    }

    fn of(ways: [Way; 2]) -> (Self, Self) {
        let shared = Rc::new(Shared { ways, tie: OnceCell::new() });
        (Self { shared: Rc::clone(&shared), out: 0 }, Self { shared, out: 1 })
    }

    fn outwards(&self) -> &Way {
        let [first, second] = &self.shared.ways;
        if self.out == 0 { first } else { second }
    }

    fn inwards(&self) -> &Way {
        let [first, second] = &self.shared.ways;
        if self.out == 0 { second } else { first }
    }

    /// Lets the carrier that holds the other end know.
    fn mark(&self) {
        if let Some((end, tie)) = self.shared.tie.get()
            && *end != self.out
        {
            tie.mark();
        }
    }

    /// This end is held by a carrier: whatever the other end does puts the stream on its list.
    pub(super) fn tie(&self, changes: Rc<Changes>, stream: u32) {
        let _ = self.shared.tie.set((self.out, Tie::new(changes, stream)));
    }

    /// The carrier looks at the stream now.
    pub(super) fn unmark(&self) {
        if let Some((_, tie)) = self.shared.tie.get() {
            tie.unmark();
        }
    }

    /// Puts the stream on its carrier's list itself.
    pub(super) fn mark_own(&self) {
        if let Some((_, tie)) = self.shared.tie.get() {
            tie.mark();
        }
    }

    /// How many pieces, of how many bytes, the other end has taken or thrown away since this was asked last.
    pub(super) fn take_taken(&self) -> (usize, usize) {
        self.outwards().taken.take()
    }

    /// What the other end may take before this end must be told.
    pub(super) fn set_untold_max(&self, cost: u32) {
        self.outwards().untold_max.set(cost as usize);
    }

    /// The other end reads no more.
    pub(super) fn is_unread(&self) -> bool {
        self.outwards().unread.get()
    }

    /// The next item, if there is one.
    pub(super) fn take(&self) -> Option<Item> {
        let way = self.inwards();
        let item = way.pop().or_else(|| way.ended.get().map(Item::End));
        if matches!(item, Some(Item::Bytes(_))) && way.must_tell() {
            self.mark();
        }
        item
    }

    /// How many bytes the next item has; `None` if it is none of bytes.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        match self.inwards().items.borrow().front() {
            Some(Item::Bytes(bytes)) => Some(bytes.len()),
            Some(Item::SignedIn | Item::SignInRefused | Item::End(_)) | None => None,
        }
    }

    /// The next item.
    pub fn poll_receive(&self, context: &Context<'_>) -> Poll<Item> {
        if let Some(item) = self.take() {
            return Poll::Ready(item);
        }
        wait(&self.inwards().reader, context);
        Poll::Pending
    }

    /// The next item.
    pub async fn receive(&self) -> Item {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// Ready when more may be sent.
    ///
    /// # Errors
    /// When nobody would read it.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<Result<(), Gone>> {
        let way = self.outwards();
        if way.unread.get() || way.ended.get().is_some() {
            return Poll::Ready(Err(Gone));
        }
        if way.has_room() {
            return Poll::Ready(Ok(()));
        }
        wait(&way.writer, context);
        Poll::Pending
    }

    /// Waits until more may be sent.
    ///
    /// # Errors
    /// As [`Self::poll_room`].
    pub async fn room(&self) -> Result<(), Gone> {
        poll_fn(|context| self.poll_room(context)).await
    }

    /// Sends bytes. After the end of this side, or of the reader, they go nowhere.
    pub fn send(&self, bytes: Bytes) {
        let way = self.outwards();
        if bytes.is_empty() || way.ended.get().is_some() {
            return;
        }
        if way.unread.get() {
            return;
        }
        note_chat();
        way.set_waiting(way.waiting.get() + cost(&bytes));
        way.put(Item::Bytes(bytes));
        self.mark();
    }

    /// Says that the client has signed in: right before the bytes of `<success/>`, which are the last of the stream that
    /// then begins anew.
    pub fn signed_in(&self) {
        let way = self.outwards();
        if !way.unread.get() && way.ended.get().is_none() {
            way.put(Item::SignedIn);
            self.mark();
        }
    }

    /// Says that what the client has shown was refused: wrong credentials, or what is
    /// none. Once for each time; after sign-in it means nothing, and a fault that is not the client's is no refusal.
    pub fn sign_in_refused(&self) {
        let way = self.outwards();
        if !way.unread.get() && way.ended.get().is_none() {
            way.put(Item::SignInRefused);
            self.mark();
        }
    }

    /// Ends this side; the first time counts. What was sent before still arrives. Whoever ends as
    /// [`ChatEnd::Broken`] reads nothing more either, where the two ends are on two nodes.
    pub fn end(&self, how: ChatEnd) {
        let way = self.outwards();
        if way.ended.get().is_none() {
            way.ended.set(Some(how));
            wake(&way.reader);
            wake(&way.writer);
            self.mark();
        }
    }
}

impl Drop for ChatStream {
    fn drop(&mut self) {
        self.end(ChatEnd::Broken);
        let way = self.inwards();
        way.unread.set(true);
        let thrown = std::mem::take(&mut *way.items.borrow_mut());
        for item in &thrown {
            if let Item::Bytes(bytes) = item {
                way.note_taken(bytes.len());
            }
        }
        way.set_waiting(0);
        wake(&way.writer);
        self.mark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn what_is_sent_arrives_in_order_and_then_the_end() {
        let (edge, core) = ChatStream::pair(8);
        edge.send(Bytes::from_static(b"one"));
        core.sign_in_refused();
        core.signed_in();
        edge.send(Bytes::from_static(b"two"));
        edge.end(ChatEnd::Closed);
        edge.send(Bytes::from_static(b"late"));
        edge.end(ChatEnd::Broken);
        let mut got = Vec::new();
        while let Poll::Ready(item) = core.poll_receive(&context()) {
            let ends = matches!(item, Item::End(_));
            got.push(item);
            if ends {
                break;
            }
        }
        let bytes = |text: &'static str| Item::Bytes(Bytes::from_static(text.as_bytes()));
        assert_eq!(got, [bytes("one"), bytes("two"), Item::End(ChatEnd::Closed)]);
        assert_eq!(edge.poll_receive(&context()), Poll::Ready(Item::SignInRefused));
        assert_eq!(edge.poll_receive(&context()), Poll::Ready(Item::SignedIn));
        assert!(edge.poll_receive(&context()).is_pending());
        drop(core);
        assert_eq!(edge.poll_receive(&context()), Poll::Ready(Item::End(ChatEnd::Broken)));
    }

    #[test]
    fn a_full_stream_waits_until_it_is_read() {
        let (edge, core) = ChatStream::pair(4);
        assert_eq!(edge.poll_room(&context()), Poll::Ready(Ok(())));
        edge.send(Bytes::from_static(b"12345"));
        assert!(edge.poll_room(&context()).is_pending());
        assert!(core.poll_receive(&context()).is_ready());
        assert_eq!(edge.poll_room(&context()), Poll::Ready(Ok(())));
        edge.send(Bytes::from_static(b"12345"));
        drop(core);
        assert_eq!(edge.poll_room(&context()), Poll::Ready(Err(Gone)));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (edge, core) = ChatStream::pair(4);
        let writer = async {
            for number in 0..100_u8 {
                edge.room().await.expect("read");
                edge.send(Bytes::copy_from_slice(&[number; 3]));
                tokio::task::yield_now().await;
            }
            edge.end(ChatEnd::Closed);
        };
        let reader = async {
            let mut count = 0;
            while let Item::Bytes(bytes) = core.receive().await {
                count += bytes.len();
            }
            count
        };
        assert_eq!(tokio::join!(writer, reader).1, 300);
    }
}
