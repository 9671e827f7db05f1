//! Sockets, TLS, files and clocks: what turns the crank of a node.

pub mod pki;
