//! Sign-in, deployments, UC servers and the HTTP proxy, as types. Whatever stands here has been checked.

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_model::sign_in::Deployment;

use crate::document::Hidden;
use crate::settings::{HostPort, Registrar};

/// The edge's HTTPS side. It shows the certificates of the SIP side: one name, one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeHttpsSettings {
    /// TCP addresses that accept HTTPS; empty where it is off. Default `0.0.0.0:8443`.
    pub listen: Vec<SocketAddr>,
    /// The port clients connect to. Default: port of the first `listen`.
    pub public_port: u16,
}

/// What holds for every sign-in of a core, whatever the deployment. The vendor's names, defaults and units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInSettings {
    /// Lifetime of session tokens and of cached credentials. Default 480 minutes.
    pub credentials_refresh_interval: Duration,
    /// How often what has expired is taken out of memory. Default 720 minutes.
    pub credentials_cleanup_interval: Duration,
    /// "Maximum authorizations per period": how often one user may supply credentials. Default 8.
    pub maximum_authorizations_per_period: u32,
    /// "Rate control period". Default 300 s.
    pub rate_control_period: Duration,
    /// File with the secret that signs tokens and keys the credential cache; made if it is missing.
    /// Cores that stand in for each other have the same. Default `sign-in.key` in the state directory.
    pub key_file: String,
}

/// A deployment: domains, registrars, and who says who may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentSettings {
    /// Its name.
    pub name: Deployment,
    /// Its domains, in lower case.
    pub domains: Vec<String>,
    /// Its plain SIP registrars.
    pub registrars: Vec<Registrar>,
    /// Who may sign in.
    pub authority: AuthoritySettings,
    /// "Authorize by OAuth token with refresh": whether bearer tokens of its call managers are taken.
    /// Default `false`.
    pub oauth: bool,
    /// Audiences (`aud`) a bearer token must have one of. Default: none need be named; one that is must be
    /// `UnifiedCommunications:readwrite`, a domain of the deployment or a node of its call managers.
    pub oauth_audiences: Vec<String>,
}

/// Who checks the credentials of a deployment's users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthoritySettings {
    /// Nobody: HTTPS sign-in is off, phones register with their registrar's own challenge.
    #[default]
    None,
    /// The deployment's Unified CM: `user/<id>/devices` with the user's password.
    UnifiedCm,
    /// A directory, by simple bind over TLS.
    Ldap(LdapSettings),
    /// A file of users with argon2 hashes.
    Users {
        /// The file.
        file: String,
    },
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapSettings {
    /// Its servers, tried in order.
    pub servers: Vec<HostPort>,
    /// StartTLS on the plain port rather than TLS from the first byte. Default `false`.
    pub start_tls: bool,
    /// PEM file with the certificates that may sign the server's. Default: the system's.
    pub ca: Option<String>,
    /// The name that is bound, with `{user}` where the user's name goes (RFC 4514; it is escaped).
    pub bind_dn: String,
}

/// A UC server that is asked for what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UcServerSettings {
    /// The publisher: host name or address.
    pub address: HostPort,
    /// The deployment it belongs to. Default: the default one.
    pub deployment: Deployment,
    /// The application user.
    pub user: String,
    /// That user's password.
    pub password: PasswordSettings,
    /// Whether its certificate is checked; `false` raises an alarm that stays. Default `true`.
    pub tls_verify: bool,
    /// PEM file with the certificates that may sign those of the server. Default: the system's.
    pub ca: Option<String>,
}

/// Where the password of an application user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSettings {
    /// In a file, which is read whenever the password is used.
    File(String),
    /// Here, sealed: it cannot be used before [`CoreSettings::open_secrets`](crate::CoreSettings::open_secrets).
    Sealed(Hidden),
    /// Here, opened.
    Open(Hidden),
}

impl PasswordSettings {
    /// What an operator knows it by; no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Sealed(_) | Self::Open(_) => "password",
        }
    }
}

/// The UC servers of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UcSettings {
    /// Unified CM clusters, by publisher. AXL on port 8443.
    pub unified_cm: Vec<UcServerSettings>,
    /// IM and Presence clusters, by publisher. AXL on port 8443.
    pub im_and_presence: Vec<UcServerSettings>,
    /// Unity Connection clusters, by publisher. CUPI on port 443.
    pub unity: Vec<UcServerSettings>,
    /// How often discovered servers are looked at for changes. Default 5 minutes.
    pub look_every: Option<Duration>,
}

/// The HTTP proxy of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpProxySettings {
    /// The HTTP server allow list beyond the automatic rules: a CSV file in the vendor's columns.
    pub allow_list: Option<String>,
    /// Rules of that list that are written in the configuration itself, beside those of the file.
    pub allow_list_rules: Vec<AllowListRuleSettings>,
    /// Methods of rules that name none. Default OPTIONS, GET, HEAD, PUT, POST, DELETE.
    pub default_methods: Vec<String>,
    /// PEM file with the certificates that may sign those of HTTP servers. Default: the system's.
    pub ca: Option<String>,
}

/// A rule of the HTTP server allow list, as it is written. Whether its URL is one that can be compared is for the list to
/// say (`edgeway_policy::allow_list::configured`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowListRuleSettings {
    /// What tells it from the others.
    pub name: String,
    /// Protocol, host, port and path.
    pub url: String,
    /// The deployment whose users it is for. Default: the default one.
    pub deployment: Deployment,
    /// Whether it is about the whole path rather than its beginning. Default `false`: `prefix`.
    pub exact: bool,
    /// Methods in upper case. Default: those of `http.default_methods`.
    pub methods: Option<Vec<String>>,
    /// What it is for; may be empty.
    pub description: String,
}
