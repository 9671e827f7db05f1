//! One client's stream between the two tiers: bytes both ways, each with a bound, and how it ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edgeway_model::chat::ChatEnd;

/// What comes out of a stream, in the order in which it was put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes of XMPP.
    Bytes(Bytes),
    /// The client has signed in (core to edge): the bounds of strangers hold no longer.
    SignedIn,
    /// It has ended there. The last item, given again whenever asked.
    End(ChatEnd),
}

/// The other end has ended; what was to be sent goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the stream has ended")]
pub struct Gone;

/// One end of a stream. Dropping it ends it as [`ChatEnd::Broken`], unless it has ended already.
///
/// Whoever sends waits for [`Self::poll_room`] first; [`Self::send`] itself takes whatever it is given, so that one
/// read may overshoot the bound, and no more.
#[derive(Debug)]
pub struct ChatStream {
    ways: Rc<[Way; 2]>,
    /// Which of the two leads away from here.
    out: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    items: RefCell<VecDeque<Item>>,
    waiting: Cell<usize>,
    window: usize,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// What was taken out, or thrown away, since a carrier asked last: pieces and bytes.
    taken: Cell<(usize, usize)>,
    /// Nobody reads any more.
    unread: Cell<bool>,
    ended: Cell<Option<ChatEnd>>,
}

impl Way {
    fn put(&self, item: Item) {
        self.items.borrow_mut().push_back(item);
        wake(&self.reader);
    }
}

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
    /// Both ends of a stream in which `window` bytes may wait in each direction.
    #[must_use]
    pub fn pair(window: usize) -> (Self, Self) {
        let way = || Way { window, ..Way::default() };
        let ways = Rc::new([way(), way()]);
        (Self { ways: Rc::clone(&ways), out: 0 }, Self { ways, out: 1 })
    }

    fn outwards(&self) -> &Way {
        let [first, second] = &*self.ways;
        if self.out == 0 { first } else { second }
    }

    fn inwards(&self) -> &Way {
        let [first, second] = &*self.ways;
        if self.out == 0 { second } else { first }
    }

    /// The next item.
    pub fn poll_receive(&self, context: &Context<'_>) -> Poll<Item> {
        let way = self.inwards();
        if let Some(item) = way.items.borrow_mut().pop_front() {
            if let Item::Bytes(bytes) = &item {
                way.waiting.set(way.waiting.get().saturating_sub(bytes.len()));
                if way.waiting.get() < way.window {
                    wake(&way.writer);
                }
            }
            return Poll::Ready(item);
        }
        if let Some(end) = way.ended.get() {
            return Poll::Ready(Item::End(end));
        }
        wait(&way.reader, context);
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
        if way.waiting.get() < way.window {
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
        if !bytes.is_empty() && !way.unread.get() && way.ended.get().is_none() {
            way.waiting.set(way.waiting.get() + bytes.len());
            way.put(Item::Bytes(bytes));
        }
    }

    /// Says that the client has signed in.
    pub fn signed_in(&self) {
        let way = self.outwards();
        if !way.unread.get() && way.ended.get().is_none() {
            way.put(Item::SignedIn);
        }
    }

    /// Ends this side; the first time counts. What was sent before still arrives.
    pub fn end(&self, how: ChatEnd) {
        let way = self.outwards();
        if way.ended.get().is_none() {
            way.ended.set(Some(how));
            wake(&way.reader);
            wake(&way.writer);
        }
    }
}

impl Drop for ChatStream {
    fn drop(&mut self) {
        self.end(ChatEnd::Broken);
        let way = self.inwards();
        way.unread.set(true);
        way.items.borrow_mut().clear();
        way.waiting.set(0);
        wake(&way.writer);
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
