//! One IM server: where it is, whom we take for it, and whether it answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use edgeway_config::xmpp::XmppServerSettings;
use edgeway_model::sign_in::Deployment;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::limits::TRUSTED_DOMAINS_MAX;
use crate::proxy::Trust;

/// Those that were discovered come after all that an operator wrote down (whose priorities are 16 bits).
const DISCOVERED_PRIORITY: u32 = 1 << 16;
/// IM and Presence takes clients there.
const DISCOVERED_PORT: u16 = 5222;
/// RFC 7301, as XEP-0368 §3 registers it.
const ALPN: &[u8] = b"xmpp-client";

/// An IM server of a deployment.
pub(super) struct Server {
    pub(super) deployment: Deployment,
    /// Host name in lower case, or address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) direct_tls: bool,
    pub(super) priority: u32,
    pub(super) weight: u16,
    /// The one name its certificate must carry; `None`: that of the stream's domain, or one of `names`.
    tls_name: Option<String>,
    /// What it is called.
    names: Vec<String>,
    pub(super) trust: Trust,
    /// By the domain of the stream.
    configs: RefCell<BTreeMap<String, Arc<ClientConfig>>>,
    /// What is the matter with it, by the domain of the streams that found out: a certificate, or a part of a server, may be
    /// bad for one domain and good for another, and who names the one has no say over the other. As many as the settings
    /// have domains at most.
    pub(super) down: RefCell<BTreeMap<String, Down>>,
}

/// A server that did not answer.
pub(super) struct Down {
    /// The cause, for the operator.
    pub(super) why: String,
    /// Whether the operator knows.
    pub(super) told: bool,
    /// Whether it is asked before it counts as down: it did something odd to one client.
    pub(super) doubted: bool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Server {
    /// One that an operator wrote down.
    pub(super) fn written(settings: &XmppServerSettings, trust: Trust) -> Self {
        let host = settings.address.host.to_lowercase();
        Self {
            deployment: settings.deployment.clone(),
            port: settings.address.port,
            direct_tls: settings.direct_tls,
            priority: u32::from(settings.priority),
            weight: settings.weight,
            tls_name: settings.tls_name.clone(),
            names: vec![host.clone()],
            host,
            trust,
            configs: RefCell::default(),
            down: RefCell::default(),
        }
    }

    /// A node of a cluster that was discovered. A cluster that knows its nodes by their first label alone has
    /// certificates with whole names all the same: those in the domain of `publisher`.
    pub(super) fn discovered(deployment: &Deployment, name: &str, publisher: &str, trust: Trust) -> Self {
        let host = name.to_lowercase();
        let mut names = vec![host.clone()];
        if !host.contains(['.', ':'])
            && publisher.parse::<IpAddr>().is_err()
            && let Some((_, domain)) = publisher.split_once('.')
        {
            names.push(format!("{host}.{}", domain.to_lowercase()));
        }
        Self {
            deployment: deployment.clone(),
            port: DISCOVERED_PORT,
            direct_tls: false,
            priority: DISCOVERED_PRIORITY,
            weight: 1,
            tls_name: None,
            names,
            host,
            trust,
            configs: RefCell::default(),
            down: RefCell::default(),
        }
    }

    /// Whether the two are one server that is reached in one way, and comes to the same users.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.port, one.direct_tls, one.priority, one.weight);
        let names = |one: &Self| (one.tls_name.clone(), one.names.clone());
        self.is_at(other) && key(self) == key(other) && names(self) == names(other) && self.trust.is_alike(&other.trust)
    }

    /// Whether both are at one place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.deployment == other.deployment && self.host == other.host && self.port == other.port
    }

    /// Whether it is called so.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it does not answer streams of `domain`.
    pub(super) fn is_down(&self, domain: &str) -> bool {
        self.down.borrow().get(domain).is_some_and(|down| !down.doubted)
    }

    /// How TLS with it is made for a stream of `domain`, and what is said there of whom we want (SNI).
    ///
    /// RFC 6120 §13.7.2.1 wants the domain of the stream in the certificate. The node's own name is taken as well: an
    /// operator or a verified server told us it, and many have a certificate of that one only.
    pub(super) fn tls(&self, domain: &str) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let wanted = server_name(domain)?;
        let config = self.configs.borrow().get(domain).cloned();
        let config = config.unwrap_or_else(|| {
            let mut names: Vec<_> = match &self.tls_name {
                Some(name) => server_name(name).into_iter().collect(),
                None => self.names.iter().filter_map(|name| server_name(name)).collect(),
            };
            if self.tls_name.is_none() {
                names.insert(0, wanted.clone());
            }
            let alpn = if self.direct_tls { vec![ALPN.to_vec()] } else { Vec::new() };
            let config = self.trust.naming(names, alpn);
            let mut configs = self.configs.borrow_mut();
            if configs.len() < TRUSTED_DOMAINS_MAX {
                configs.insert(domain.to_owned(), Arc::clone(&config));
            }
            config
        });
        Some((config, wanted))
    }
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    match name.parse::<IpAddr>() {
        Ok(ip) => Some(ServerName::IpAddress(ip.into())),
        Err(_) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
    }
}
