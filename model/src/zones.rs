//! Where SIP goes inside, for each deployment: what the settings say and discovery has found, as the
//! core's node takes it. A new one replaces the old one whole.

use crate::sign_in::Deployment;
use crate::world::Transport;

/// All zones of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// Grows with every change.
    pub revision: u64,
    /// One entry for each deployment; domains and registrars are in one only.
    pub deployments: Vec<DeploymentZones>,
}

/// What one deployment's users may reach by SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentZones {
    /// Which.
    pub deployment: Deployment,
    /// The SIP domains it serves, in lower case.
    pub domains: Vec<String>,
    /// Its registrars.
    pub zones: Vec<Zone>,
    /// Who proves users by digest.
    pub challenge: Challenge,
}

/// Who asks clients of a deployment to prove themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// The registrar does; challenges and answers pass untouched.
    #[default]
    Registrar,
    /// The core does, on behalf of a call manager that trusts it (Unified CM).
    Core {
        /// The realm.
        realm: String,
        /// Whether an access token that a user has signed in with proves that user, too (RFC 8898).
        bearer: bool,
    },
}

/// How the names of zones begin over which a Unified CM wants to see the access token of its users (SIP OAuth).
pub const OAUTH_ZONE: &str = "CEOAuth-";

/// One neighbour zone: a registrar, and a way to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// `CEtcp-cucm1.example.com`, `CEtls-…`, `CEOAuth-…`; the registrar as written where an operator did.
    pub name: String,
    /// Host name in lower case, or an IP address without brackets.
    pub host: String,
    /// The port. `None`: as its name says (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport. `None`: as its name says (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// Nothing but TLS will do.
    pub secure: bool,
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Its search rule: hosts of request URIs that lead here besides `host`, in lower case.
    pub names: Vec<String>,
}
