//! Links, as their tasks see the reactor.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edgeway_model::world::{LinkCommand, LinkEvent};
use edgeway_model::{Input, LinkId, NodeId, Output, Role};
use edgeway_runtime::link::LinkHost;
use edgeway_runtime::outbox::{Outbox, Taken};
use edgeway_runtime::reactor::ReactorLimits;

use crate::world::{Log, run};

fn closed(log: &Log) -> Vec<(LinkId, String)> {
    let closed = log.inputs.iter().filter_map(|(_, input)| {
        if let Input::Link { link, event: LinkEvent::Closed { why } } = input {
            Some((*link, why.clone()))
        } else {
            None
        }
    });
    closed.collect()
}

fn send(link: LinkId, bytes: Bytes) -> Output {
    Output::Link { link, command: LinkCommand::Send { bytes } }
}

#[test]
fn frames_reach_the_outbox_and_closing_is_told_once() {
    run(ReactorLimits::default(), |world| async move {
        let (host, peer) = (&world.reactor, NodeId::new("core1").expect("name"));
        let address: SocketAddr = "192.0.2.1:7001".parse().expect("address");
        let mut cx = Context::from_waker(Waker::noop());
        let links = [host.next_link(), host.next_link(), host.next_link()];
        assert!(links[0] != links[1] && links[1] != links[2]);
        let outboxes = links.map(|link| {
            let outbox = Outbox::new(10);
            host.link_opened(link, peer.clone(), Role::Core, address, Rc::clone(&outbox));
            outbox
        });

        world.order([send(links[0], Bytes::from_static(b"one")), send(links[0], Bytes::from_static(b"two"))]);
        let mut taken = Vec::new();
        assert_eq!(outboxes[0].poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Bytes));
        assert_eq!(taken.concat(), b"onetwo", "one turn, one write");

        // The peer closes.
        host.link_closed(links[0], "gone".into());
        host.link_received(links[0], Bytes::from_static(b"late"));
        assert_eq!(closed(&world.log.borrow()), [(links[0], "gone".to_owned())]);

        // The node closes: it is not told what it knows.
        world.order([Output::Link { link: links[1], command: LinkCommand::Close { why: "draining".into() } }]);
        assert_eq!(outboxes[1].poll_take(&mut cx, &mut taken), Poll::Ready(Taken::Close("draining".into())));
        host.link_closed(links[1], "closed".into());
        assert_eq!(closed(&world.log.borrow()).len(), 1);

        // The peer does not read: told once, and the outbox lets go of what it held.
        world.order([send(links[2], Bytes::from_static(b"123456")), send(links[2], Bytes::from_static(b"78901"))]);
        host.link_closed(links[2], "closed".into());
        let closed = closed(&world.log.borrow());
        assert_eq!(closed.len(), 2);
        assert!(closed[1].1.contains("does not read"), "{closed:?}");
        assert_eq!(outboxes[2].queued_bytes(), 0);
    });
}
