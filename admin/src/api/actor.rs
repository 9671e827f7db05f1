//! Who is at the door.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Problem;
use crate::accounts::Role;

/// Where a request comes from; set by the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The network.
    Address(IpAddr),
    /// The control socket: whoever may open it may do everything.
    Socket {
        /// The user, as the system says.
        uid: Option<u32>,
    },
}

impl Peer {
    /// As the audit log says it.
    #[must_use]
    pub fn from(&self) -> String {
        match self {
            Self::Address(address) => address.to_canonical().to_string(),
            Self::Socket { .. } => "socket".to_owned(),
        }
    }
}

/// How somebody showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A browser that has signed in.
    Cookie {
        /// The key of its session.
        session: String,
        /// What its forms must carry.
        csrf: String,
    },
    /// A program with a token.
    Token {
        /// Which.
        id: String,
    },
    /// The control socket.
    Socket,
}

/// Somebody who may do something: known, and not expired at the time of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// As revisions and the audit log name them: `account alice`, `token ci`, `socket uid 0`.
    pub author: String,
    /// The account, or what stands for it.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How they showed it.
    pub via: Via,
}

impl Actor {
    /// Whoever opened the control socket.
    #[must_use]
    pub fn at_the_socket(uid: Option<u32>) -> Self {
        let author = uid.map_or_else(|| "socket".to_owned(), |uid| format!("socket uid {uid}"));
        Self { name: author.clone(), author, role: Role::Administrator, via: Via::Socket }
    }

    /// Whether they may do what takes `role`.
    #[must_use]
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// What forms of this browser must carry as `csrf` (or scripts as `X-CSRF-Token`); empty for all others.
    #[must_use]
    pub fn csrf(&self) -> &str {
        match &self.via {
            Via::Cookie { csrf, .. } => csrf,
            Via::Token { .. } | Via::Socket => "",
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Self>().cloned();
        known.ok_or_else(|| Problem::new("not_signed_in", "Sign in, or send an API token as Bearer."))
    }
}

impl<S: Send + Sync> axum::extract::OptionalFromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Self>().copied();
        known.ok_or_else(|| Problem::new("broken", "It is not known where the request comes from."))
    }
}
