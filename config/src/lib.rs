//! A node's settings: text in, typed settings or all problems out.
//!
//! One short TOML file per node; a working one has some ten lines, everything else has its default
//! here. A mistake never hides another: [`parse_edge`] and [`parse_core`] report whatever is wrong at
//! once, each with the setting, the line, the reason, the remedy and, for a slip of the hand, what was
//! probably meant.
//!
//! This room does not touch files: whether a certificate can be read is the runtime's to say.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin_file;
mod core_file;
pub mod document;
mod edge_file;
pub mod fuzzing;
pub mod known;
pub mod limits;
mod manual;
mod node_file;
mod problem;
mod reader;
pub mod settings;
pub mod sign_in;
mod sign_in_file;
mod suggest;
mod told;
mod values;
pub mod xmpp;
mod xmpp_file;

pub use core_file::parse_core;
pub use edge_file::parse_edge;
pub use known::{Impact, Preset, Role, Scope, Setting};
pub use manual::manual_page;
pub use problem::{Problem, Problems};
pub use settings::{
    AdminSettings, CertificateFiles, CoreLinkSettings, CoreMediaSettings, CoreSettings, CoreSipSettings,
    CoreTlsSettings, EdgeLimits, EdgeLinkSettings, EdgeMediaSettings, EdgeSettings, EdgeSipSettings, FixedEdge,
    HepSettings, HostPort, InsideEncryption, LogFormat, LogLevel, LogSettings, MediaDscp, PortRange, Registrar,
    StandbyKeepalive,
};

pub use sign_in::{
    AllowListRuleSettings, AuthoritySettings, DeploymentSettings, EdgeHttpsSettings, HttpProxySettings, LdapSettings,
    PasswordSettings, SignInSettings, UcServerSettings, UcSettings,
};
pub use sign_in_file::DEFAULT_METHODS;
pub use told::{Committed, EdgeTold};
pub use xmpp::{EdgeXmppSettings, XmppServerSettings};

/// All settings of one service, in the order of the manual.
#[must_use]
pub fn known_settings(role: Role) -> Vec<Setting> {
    known::of(role).copied().collect()
}
