//! SIP over UDP: one task per socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edgeway_model::world::Node;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_QUEUE_MAX, DATAGRAMS_PER_TURN};
use crate::reactor::Reactor;

/// What waits to be sent from one socket.
#[derive(Default)]
pub(crate) struct DatagramOutbox {
    queue: RefCell<VecDeque<(SocketAddr, Bytes)>>,
    waker: RefCell<Option<Waker>>,
}

impl DatagramOutbox {
    /// Queues a datagram; dropped when too many wait, as the network would. Transactions over UDP
    /// send again (RFC 3261 §17).
    pub(crate) fn push(&self, peer: SocketAddr, bytes: Bytes) {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= DATAGRAM_QUEUE_MAX {
            tracing::debug!("a SIP datagram was dropped: the send buffer stays full");
            return;
        }
        queue.push_back((peer, bytes));
        drop(queue);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct DatagramTask<N: Node + 'static> {
    reactor: Rc<Reactor<N>>,
    socket: UdpSocket,
    local: SocketAddr,
    outbox: Rc<DatagramOutbox>,
    buffer: Box<[u8]>,
}

/// Serves SIP over UDP on `socket`; returns its address and where to put what goes out.
pub(crate) fn serve<N: Node + 'static>(
    reactor: &Rc<Reactor<N>>,
    socket: std::net::UdpSocket,
) -> io::Result<(SocketAddr, Rc<DatagramOutbox>)> {
    let socket = UdpSocket::from_std(socket)?;
    let local = socket.local_addr()?;
    let outbox = Rc::new(DatagramOutbox::default());
    let task = DatagramTask {
        reactor: Rc::clone(reactor),
        socket,
        local,
        outbox: Rc::clone(&outbox),
        buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
    };
    tokio::task::spawn_local(task);
    Ok((local, outbox))
}

impl<N: Node + 'static> DatagramTask<N> {
    fn receive_turn(&mut self, cx: &mut Context<'_>) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let mut room = ReadBuf::new(&mut self.buffer);
            match self.socket.poll_recv_from(cx, &mut room) {
                Poll::Pending => return,
                Poll::Ready(Ok(peer)) if !room.filled().is_empty() => {
                    let bytes = Bytes::copy_from_slice(room.filled());
                    self.reactor.datagram_received(self.local, peer, bytes);
                }
                Poll::Ready(Ok(_)) => {}
                // The ICMP error of an earlier datagram is reported here; its transaction times out.
                Poll::Ready(Err(error)) => tracing::debug!(%error, "a SIP datagram did not arrive"),
            }
        }
        cx.waker().wake_by_ref();
    }

    fn send_turn(&self, cx: &mut Context<'_>) {
        loop {
            let Some((peer, bytes)) = self.outbox.queue.borrow_mut().pop_front() else { break };
            match self.socket.poll_send_to(cx, &bytes, peer) {
                Poll::Pending => {
                    self.outbox.queue.borrow_mut().push_front((peer, bytes));
                    return;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => tracing::debug!(%error, "a SIP datagram could not be sent"),
            }
        }
        self.outbox.waker.replace(Some(cx.waker().clone()));
    }
}

impl<N: Node + 'static> Future for DatagramTask<N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.outbox.waker.take();
        self.receive_turn(cx);
        self.send_turn(cx);
        Poll::Pending
    }
}
