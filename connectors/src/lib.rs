//! The core's conversations with UC servers, and what it lets clients say to them: the reverse proxy,
//! sign-in, discovery. Ordinary async code on the HTTP thread (`edgeway_runtime::http`).
//!
//! | folder | what |
//! |---|---|
//! | `inside.rs` | what a core does with requests that edges carry to it |
//! | `allowed.rs` | the HTTP server allow list in force |
//! | `authorities/` | who checks credentials, one for each deployment |
//! | `chat/` | XMPP streams of clients, and the IM servers they go to |
//! | `discovery/` | what is known of the UC servers, refresh, drift |
//! | `fuzzing.rs` | what fuzzing runs |
//! | `imp/` | what IM and Presence says of itself |
//! | `ldap/` | directories |
//! | `oauth/` | access tokens of call managers |
//! | `parts.rs` | what follows from the settings, and is made anew when they change |
//! | `proxy/` | the HTTP client towards UC servers, and what clients may have carried there |
//! | `sign_in/` | credentials, rate control, session tokens, the edge configuration |
//! | `trusts.rs` | whose certificates are taken by whom |
//! | `under_way.rs` | how much one user has under way |
//! | `unified_cm/` | AXL and UDS |
//! | `unity/` | what Unity Connection says of itself |
//! | `users_file/` | users of sites without a call manager or directory |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod allowed;
pub mod authorities;
pub mod chat;
pub mod discovery;
pub mod fuzzing;
pub mod imp;
pub mod inside;
pub mod ldap;
pub mod oauth;
mod parts;
pub mod proxy;
pub mod sign_in;
mod trusts;
mod under_way;
pub mod unified_cm;
pub mod unity;
pub mod users_file;
pub mod xml;

#[cfg(test)]
mod scratch;
