//! The shell around a node: sockets, TLS, clocks, links, media threads, the operator's socket.
//!
//! The only crate that listens. Pure code decides ([`edgeway_model::world::Node`]); this crate learns
//! and carries out. Start reading at [`reactor`].

#![warn(missing_docs)]

pub mod admin;
mod alarms;
mod attempts;
pub mod certificates;
pub mod chat;
pub mod clock;
mod datagram;
pub mod dns;
pub mod flow;
pub mod handshake;
pub mod http;
pub mod inside;
pub mod limits;
pub mod link;
pub mod listen;
pub mod log;
mod maintenance;
pub mod media;
pub mod metrics;
pub mod notify;
pub mod operate;
pub mod outbox;
mod panics;
pub mod pki;
pub mod reactor;
mod resources;
pub mod service;
pub mod services;
mod strangers;
pub mod sys;
pub mod tls;
mod tls_layer;
pub mod trace;
