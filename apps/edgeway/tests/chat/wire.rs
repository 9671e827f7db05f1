//! A wire that can be cut: TCP connections that pass through here, on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It carries.
    Whole,
    /// Connections that were there are reset, new ones are, too.
    Cut,
}

/// From an address of its own to the one given.
pub(crate) struct WireTo {
    pub(crate) address: SocketAddr,
    set: Option<watch::Sender<Wire>>,
    thread: Option<JoinHandle<()>>,
}

impl WireTo {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (set, state) = watch::channel(Wire::Whole);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(carry(listener, to, state));
        });
        Self { address, set: Some(set), thread: Some(thread) }
    }

    pub(crate) fn set(&self, wire: Wire) {
        if let Some(set) = &self.set {
            set.send_replace(wire);
        }
    }
}

impl Drop for WireTo {
    fn drop(&mut self) {
        self.set = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn carry(listener: std::net::TcpListener, to: SocketAddr, mut state: watch::Receiver<Wire>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut all = JoinSet::new();
    loop {
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = listener.accept() => {
                let Ok((from, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                if *state.borrow() == Wire::Cut {
                    let _ = from.set_zero_linger();
                } else {
                    all.spawn(join(from, to, state.clone()));
                }
            }
            Some(_) = all.join_next() => {}
        }
    }
}

async fn join(mut from: TcpStream, to: SocketAddr, mut state: watch::Receiver<Wire>) {
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let cut = tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => false,
        _ = state.wait_for(|state| *state == Wire::Cut) => true,
    };
    if cut {
        // Closed like this it is reset: what was under way is lost.
        let _ = (from.set_zero_linger(), to.set_zero_linger());
    }
}
