//! The chat front over real sockets: clients that are TLS clients, and a core that a test plays.

mod ends;
mod entrance;
mod hostile;
mod pressure;
mod rig;
mod strangers;
