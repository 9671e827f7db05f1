//! What discovery has found out about the UC servers: a snapshot, what follows from it, and what has
//! changed between two.

mod check;
mod diff;
mod rules;
#[cfg(test)]
mod tests;
mod zones;

use std::fmt;

use edgeway_model::sign_in::Deployment;

pub use self::check::{Configured, Lie, is_host};
pub use self::diff::{Change, What};

/// All that is known of the UC servers, at one moment. Replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows with every one that is taken into use.
    pub revision: u64,
    /// When it was taken, Unix milliseconds.
    pub taken_ms: u64,
    /// The clusters.
    pub clusters: Vec<Cluster>,
}

/// Kind of UC server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// Unified CM.
    UnifiedCm,
    /// IM and Presence Service.
    ImAndPresence,
    /// Unity Connection.
    Unity,
}

impl Product {
    /// As a word of the settings and of the operator's tools.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnifiedCm => "unified_cm",
            Self::ImAndPresence => "im_and_presence",
            Self::Unity => "unity",
        }
    }

    /// The other way round.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::UnifiedCm, Self::ImAndPresence, Self::Unity].into_iter().find(|product| product.as_str() == word)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnifiedCm => "Unified CM",
            Self::ImAndPresence => "IM and Presence",
            Self::Unity => "Unity Connection",
        })
    }
}

impl Snapshot {
    /// The cluster of a publisher.
    #[must_use]
    pub fn cluster(&self, product: Product, publisher: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.product == product && cluster.publisher == publisher)
    }
}

/// One cluster, as its publisher describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its kind.
    pub product: Product,
    /// The publisher, as configured: lower case.
    pub publisher: String,
    /// The deployment it belongs to.
    pub deployment: Deployment,
    /// `12.5.1.10000(22)`.
    pub version: String,
    /// Whether the cluster security mode is mixed.
    pub mixed_mode: bool,
    /// Its nodes, publisher first.
    pub nodes: Vec<UcNode>,
    /// TFTP servers, best first.
    pub tftp: Vec<String>,
    /// Whether it issues self-describing tokens ("OAuth with refresh").
    pub oauth: bool,
    /// Keys that sign its tokens.
    pub token_keys: Vec<OauthKey>,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UcNode {
    /// Host name in lower case, or address.
    pub name: String,
    /// Whether it is the publisher.
    pub publisher: bool,
    /// SIP over TCP; 0 where it does none.
    pub sip_port: u16,
    /// SIP over TLS; 0 where the cluster is not in mixed mode.
    pub sip_tls_port: u16,
    /// SIP OAuth; 0 where it does none.
    pub sip_oauth_port: u16,
    /// HTTPS of UDS (or CUPI).
    pub https_port: u16,
}

/// A key that signs access tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OauthKey {
    /// Its `kid`.
    pub id: String,
    /// Public key, SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
}
