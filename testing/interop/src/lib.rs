//! Real daemons and real phones around Edgeway, on a network that ends with the test.
//!
//! The parts, in the order a test uses them: [`requirement`] says what is not installed,
//! [`network`] lays out internet, DMZ, firewall and inside as network namespaces, [`certificates`]
//! makes a small public-style CA, [`kamailio`] is the registrar inside, [`product`] pairs and starts
//! an edge and a core, [`baresip`] and [`wire_phone`] are the phones, [`tone`] listens to what they
//! recorded. For chat, [`chat_server`] is the IM server inside, [`chat_party`] and [`chat_console`] are the clients. [`process`] starts every program and ends exactly what it started.
//!
//! It does not judge: what must be true is said in `tests/first_call` and in `testing/bench`.
//! Creating namespaces needs root; traffic never leaves them.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod baresip;
pub mod certificates;
pub mod chat_console;
pub mod chat_party;
pub mod chat_server;
pub mod dialog;
pub mod host;
pub mod kamailio;
pub mod linphone;
pub mod message;
pub mod network;
pub mod process;
pub mod product;
pub mod quartet;
pub mod report;
pub mod requirement;
pub mod rtp_party;
pub mod tone;
pub mod wire_phone;
pub mod world;

pub use host::Host;
pub use network::Network;
pub use process::Daemon;
