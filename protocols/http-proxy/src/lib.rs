//! What clients ask of the edge over HTTPS, as pure functions: the grammar of paths, what a head must
//! look like, cookies, credentials, and the edge configuration.
//!
//! | file | what |
//! |---|---|
//! | `lane.rs` | `/<base64(domain)>/verb` and `/<base64(domain/proto/host/port)>/path` |
//! | `query.rs` | `service_name` and `email` of the small lane |
//! | `head.rs` | what a head must look like, and how its body is framed |
//! | `stream.rs` | where requests of HTTP/1.1 begin and end, byte by byte |
//! | `hygiene.rs` | which fields pass inwards and outwards |
//! | `cookie.rs` | the session token in Cookie and Set-Cookie |
//! | `bearer.rs` | whose token a bearer token says it is |
//! | `credentials.rs` | Authorization: Basic and Bearer |
//! | `edge_config.rs` | the XML of the edge configuration |
//! | `date.rs` | dates of HTTP |
//! | `carried.rs` | names of the headers edge and core add on the link |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bearer;
pub mod carried;
pub mod cookie;
pub mod credentials;
pub mod date;
pub mod edge_config;
pub mod fuzzing;
pub mod head;
pub mod hygiene;
pub mod lane;
pub mod limits;
pub mod query;
pub mod stream;

pub use credentials::{Authorization, CredentialsFault};
pub use lane::{Lane, LaneFault, Scheme, Verb};
