//! The HTTP server allow list: the one place that decides which HTTP server inside a client may reach.
//!
//! Everything a client wrote comes in raw; what goes out is what will be dialled and sent, and nothing
//! else may be. Default: deny.

use edgeway_model::sign_in::Deployment;

/// How the path of a rule is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchType {
    /// The whole path.
    Exact,
    /// Its beginning, at whole segments.
    Prefix,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The deployment whose users it is for.
    pub deployment: Deployment,
    /// TLS or plain.
    pub https: bool,
    /// Host name in lower case without a trailing dot, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, normal form; empty or `/` means all.
    pub path: String,
    /// How the path is compared.
    pub match_type: MatchType,
    /// Methods in upper case.
    pub methods: Vec<String>,
    /// What it is for.
    pub description: String,
    /// Made by discovery, not by hand: the server it was made for.
    pub automatic: Option<String>,
}

/// What a client asks for, raw.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The deployment of the signed-in user.
    pub deployment: &'a Deployment,
    /// The method.
    pub method: &'a str,
    /// TLS or plain.
    pub https: bool,
    /// The host as the descriptor has it.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Path and query as the client wrote them.
    pub path: &'a str,
}
