//! Names to addresses, off the media thread: a resolver may take seconds.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};

use edgeway_model::NodeId;

use super::{Board, Order};

/// Looks up `host:port` for the dial to `peer`; the answer comes as [`Order::Resolved`].
///
/// One thread per lookup that needs one. Each dial has one lookup under way at most, and dials
/// are as few as peers.
pub(super) fn resolve(peer: NodeId, address: String, orders: mpsc::Sender<Order>, board: Arc<Board>) {
    let answer = move |peer, address, found| {
        // The thread that asked may have ended; then nobody wants to know.
        let _ = orders.send(Order::Resolved { peer, address, found });
        board.wake();
    };
    if let Ok(literal) = address.parse::<SocketAddr>() {
        return answer(peer, address, Ok(vec![literal]));
    }
    let (again, name) = (answer.clone(), (peer.clone(), address.clone()));
    let started = std::thread::Builder::new().name("resolve".into()).spawn(move || {
        let found = look_up(&address);
        answer(peer, address, found);
    });
    if let Err(error) = started {
        let (peer, address) = name;
        again(peer, address, Err(error.to_string()));
    }
}

fn look_up(address: &str) -> Result<Vec<SocketAddr>, String> {
    address.to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string())
}
