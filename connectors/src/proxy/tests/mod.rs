//! The client against real sockets.

mod servers;

mod client;
mod forward;
mod trust;
