//! The reactor, driven by a toy node over real sockets on loopback.

mod bounds;
mod closing;
mod datagrams;
mod flows;
mod inside;
mod links;
mod timers;
mod world;
