//! Chat, as types. Whatever stands here has been checked.

use std::net::SocketAddr;

use edgeway_model::sign_in::Deployment;

use crate::settings::HostPort;

/// The edge's side that chat clients connect to. It shows the certificates of the SIP side: one name, one
/// certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeXmppSettings {
    /// TCP addresses that accept XMPP, with STARTTLS (RFC 6120 §5); empty where it is off. Default `0.0.0.0:5222`.
    pub listen: Vec<SocketAddr>,
    /// TCP addresses that accept XMPP with TLS from the first byte (XEP-0368). Default: none.
    pub direct_tls_listen: Vec<SocketAddr>,
    /// The port clients connect to for `listen`. Default: port of the first.
    pub public_port: u16,
}

impl EdgeXmppSettings {
    /// Whether clients can chat at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.direct_tls_listen.is_empty()
    }

    /// The port that clients are told at their sign-in: that of STARTTLS, which every client can do; 0 where there
    /// is none.
    #[must_use]
    pub const fn announced_port(&self) -> u16 {
        if self.listen.is_empty() { 0 } else { self.public_port }
    }
}

/// An IM server inside that an operator has written down. The nodes of a discovered IM and Presence cluster need no
/// entry: they come after those that have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppServerSettings {
    /// Where it is. Default port 5222, or 5223 with `direct_tls`.
    pub address: HostPort,
    /// The deployment whose users it serves. Default: the default one.
    pub deployment: Deployment,
    /// Lower goes first. Default 0.
    pub priority: u16,
    /// Share among those of one priority. Default 1.
    pub weight: u16,
    /// The one name its certificate must carry. Default: the domain of the client's stream (RFC 6120 §13.7.2.1) or
    /// the host of `address`, either of them.
    pub tls_name: Option<String>,
    /// PEM file with the certificates that may sign its own, or its own itself. Default: the system's.
    pub ca: Option<String>,
    /// TLS from the first byte rather than STARTTLS. Default `false`.
    pub direct_tls: bool,
}
