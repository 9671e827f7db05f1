//! The core's conversations with UC servers, and what it lets clients say to them: the reverse proxy,
//! sign-in, discovery. Ordinary async code on the HTTP thread (`edgeway_runtime::http`).
//!
//! | folder | what |
//! |---|---|
//! | `proxy/` | the HTTP client towards UC servers, and what clients may have carried there |
//! | `sign_in/` | credentials, rate control, session tokens, the edge configuration |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod proxy;
pub mod sign_in;
