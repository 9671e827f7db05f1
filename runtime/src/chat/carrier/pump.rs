//! The one task of a connection: reads, says what is to be said, and looks whether the other end is there.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use edgeway_model::Moment;
use edgeway_model::chat::ChatOpening;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::super::limits::{GATHER, GATHERED_BYTES_MAX, LAST_WORDS_MAX, READS_MAX, UNSAID_BYTES_MAX};
use super::super::stream::ChatStream;
use super::line::{Line, News};
use crate::http::naps;
use crate::pki::tls::explain_io;

/// What a pump tells of.
pub(super) enum Turn {
    /// A stream was opened.
    Opened(ChatOpening, ChatStream),
    /// The other end wants another connection. Said once.
    Leaving,
    /// The connection is over.
    Ended(String),
}

/// Moves bytes between a connection and its streams. When it is dropped, they end as broken.
pub(super) struct Pump<T> {
    line: Rc<Line>,
    tls: T,
    read: Box<[u8]>,
    /// When the protocol wants to be asked, and for when that is set.
    timer: Pin<Box<Sleep>>,
    timer_at: Moment,
    /// Nothing more is said before this.
    next: Moment,
    gather: Pin<Box<Sleep>>,
    /// For when that is set.
    gather_at: Moment,
    /// What was gathered is leaving.
    leaves: bool,
    /// Nothing is read, because too much waits to be said.
    choked: bool,
}

impl<T> Drop for Pump<T> {
    fn drop(&mut self) {
        self.line.finish();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Pump<T> {
    pub(super) fn new(line: Rc<Line>, tls: T) -> Self {
        Self {
            line,
            tls,
            read: vec![0; GATHERED_BYTES_MAX].into_boxed_slice(),
            timer: Box::pin(sleep(std::time::Duration::ZERO)),
            timer_at: Moment::ZERO,
            next: Moment::ZERO,
            gather: Box::pin(sleep(std::time::Duration::ZERO)),
            gather_at: Moment::ZERO,
            leaves: false,
            choked: false,
        }
    }

    /// The next thing of which somebody must know.
    pub(super) async fn turn(&mut self) -> Turn {
        poll_fn(|context| self.poll_turn(context)).await
    }

    /// Says what is left, and closes. Streams have ended before, for whoever uses them.
    pub(super) async fn close(mut self) {
        let last_words = async {
            loop {
                let more = self.line.gather();
                if poll_fn(|context| self.poll_leave(context)).await.is_err() {
                    return;
                }
                if !more {
                    break;
                }
            }
            let _ = self.tls.shutdown().await;
        };
        let _ = timeout(LAST_WORDS_MAX, last_words).await;
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let line = Rc::clone(&self.line);
        line.changes.listen(context);
        // What came before is handed on before more is read.
        if let Some(turn) = self.hand_on() {
            return Poll::Ready(turn);
        }
        let now = line.clock.now();
        if let Poll::Ready(turn) = self.poll_read(context, now) {
            return Poll::Ready(turn);
        }
        self.poll_timer(context, now);
        if let Some(turn) = self.hand_on() {
            return Poll::Ready(turn);
        }
        if let Err(why) = self.poll_say(context, now) {
            return Poll::Ready(Turn::Ended(why));
        }
        let state = line.state.borrow();
        if state.mux.is_over() && state.mux.outgoing().is_empty() {
            return Poll::Ready(Turn::Ended("it was replaced, and its last stream has ended".to_owned()));
        }
        if self.choked && state.mux.outgoing().len() <= UNSAID_BYTES_MAX {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn hand_on(&self) -> Option<Turn> {
        self.line.poll_news().map(|news| match news {
            News::Opened(opening, stream) => Turn::Opened(opening, stream),
            News::Leaving => Turn::Leaving,
            News::Failed(fault) => Turn::Ended(fault.to_string()),
        })
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Moment) -> Poll<Turn> {
        for _ in 0..READS_MAX {
            self.choked = self.line.state.borrow().mux.outgoing().len() > UNSAID_BYTES_MAX;
            if self.choked {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut self.read);
            if let Err(error) = ready!(Pin::new(&mut self.tls).poll_read(context, &mut buffer)) {
                return Poll::Ready(Turn::Ended(explain_io(&error)));
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Turn::Ended("closed".to_owned()));
            }
            self.line.state.borrow_mut().mux.handle_bytes(buffer.filled(), now);
            if let Some(turn) = self.hand_on() {
                return Poll::Ready(turn);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The timer may be late by what was heard since it was set: then it is set anew.
    fn poll_timer(&mut self, context: &mut Context<'_>, mut now: Moment) {
        loop {
            let due = self.line.state.borrow().mux.poll_timeout();
            let Some((due, _)) = due else { return };
            if due < self.timer_at || now >= self.timer_at {
                if now >= due {
                    self.line.state.borrow_mut().mux.handle_timeout(now);
                    continue;
                }
                self.timer_at = due;
                self.timer.as_mut().reset(Instant::from_std(self.line.clock.instant(due)));
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            now = self.line.clock.now();
            self.timer_at = now;
        }
    }

    /// Says what is to be said, once it may.
    fn poll_say(&mut self, context: &mut Context<'_>, now: Moment) -> Result<(), String> {
        let line = Rc::clone(&self.line);
        loop {
            if !self.leaves {
                if !line.has_something() {
                    line.changes.set_awake(false);
                    return Ok(());
                }
                if self.poll_gathered(context, now).is_pending() {
                    line.changes.set_awake(true);
                    return Ok(());
                }
                let more = line.gather();
                self.leaves = true;
                // What does not fit leaves right behind.
                self.next = if more { now } else { now + GATHER };
            }
            match self.poll_leave(context) {
                Poll::Pending => {
                    line.changes.set_awake(true);
                    return Ok(());
                }
                Poll::Ready(left) => left?,
            }
            self.leaves = false;
        }
    }

    /// Ready when what is to be said need not wait for more. A thread that naps has gathered already.
    fn poll_gathered(&mut self, context: &mut Context<'_>, now: Moment) -> Poll<()> {
        if now >= self.next || naps::naps() {
            return Poll::Ready(());
        }
        // Only for what waits: a timer that becomes the next of all wakes the thread once more, to tell it.
        if self.gather_at != self.next {
            self.gather_at = self.next;
            self.gather.as_mut().reset(Instant::from_std(self.line.clock.instant(self.next)));
        }
        self.gather.as_mut().poll(context)
    }

    /// Ready when all has left that was gathered.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            let mut state = self.line.state.borrow_mut();
            let waiting = state.mux.outgoing();
            if waiting.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.tls).poll_write(context, waiting)) {
                Ok(0) => return Poll::Ready(Err("the connection takes nothing".to_owned())),
                Ok(count) => state.mux.handle_sent(count),
                Err(error) => return Poll::Ready(Err(explain_io(&error))),
            }
        }
        Pin::new(&mut self.tls).poll_flush(context).map_err(|error| explain_io(&error))
    }
}
