//! The grammar of paths: `/<base64(domain)>/verb`, the small lane, and
//! `/<base64(domain "/" scheme "/" host "/" port)>/path?query`, the descriptor lane.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How a UC server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// What the small lane can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `get_edge_config`.
    GetEdgeConfig,
    /// `get_edge_sso`.
    GetEdgeSso,
    /// `access_token`.
    AccessToken,
    /// `authorize`.
    Authorize,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// To the core's own provisioning service.
    Small {
        /// The service domain, in lower case.
        domain: String,
        /// What is asked.
        verb: Verb,
        /// The query without its question mark; empty if there is none.
        query: String,
    },
    /// To an HTTP server inside, by the reverse proxy. What stands here was only decoded: whether it may
    /// be reached is for the allow list.
    Descriptor {
        /// The service domain, in lower case.
        domain: String,
        /// Plain or TLS.
        scheme: Scheme,
        /// As the client wrote it.
        host: String,
        /// As the client wrote it; the scheme's own where it wrote none.
        port: u16,
        /// Path and query as the client wrote them; begins with a slash.
        path: String,
    },
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    /// The first segment is no base64 of a descriptor.
    #[error("the path does not begin with a service domain")]
    NoDescriptor,
    /// A descriptor of the wrong shape.
    #[error("the descriptor is not domain, or domain/scheme/host/port")]
    Shape,
    /// A verb that does not exist.
    #[error("there is no such service")]
    UnknownVerb,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

impl Lane {
    /// Reads the path (with its query) of a request.
    ///
    /// # Errors
    /// [`LaneFault`], which the edge answers with 404.
    pub fn parse(path: &str) -> Result<Self, LaneFault> {
        let rest = path.strip_prefix('/').ok_or(LaneFault::NoDescriptor)?;
        let cut = rest.find('/').ok_or(LaneFault::NoDescriptor)?;
        let (segment, tail) = rest.split_at(cut);
        let decoded = STANDARD.decode(segment).map_err(|_| LaneFault::NoDescriptor)?;
        let descriptor = String::from_utf8(decoded).map_err(|_| LaneFault::Shape)?;
        let mut parts = descriptor.split('/');
        let domain = parts.next().filter(|domain| !domain.is_empty()).ok_or(LaneFault::Shape)?.to_ascii_lowercase();
        let Some(scheme) = parts.next() else { return small(domain, tail) };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(LaneFault::Shape),
        };
        let host = parts.next().filter(|host| !host.is_empty()).ok_or(LaneFault::Shape)?.to_owned();
        let port = match parts.next() {
            Some(port) => port.parse().map_err(|_| LaneFault::Shape)?,
            None if scheme == Scheme::Http => 80,
            None => 443,
        };
        if parts.next().is_some() {
            return Err(LaneFault::Shape);
        }
        Ok(Self::Descriptor { domain, scheme, host, port, path: tail.to_owned() })
    }
}

fn small(domain: String, tail: &str) -> Result<Lane, LaneFault> {
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let verb = match path.trim_start_matches('/').trim_end_matches('/') {
        "get_edge_config" => Verb::GetEdgeConfig,
        "get_edge_sso" => Verb::GetEdgeSso,
        "access_token" => Verb::AccessToken,
        "authorize" => Verb::Authorize,
        _ => return Err(LaneFault::UnknownVerb),
    };
    Ok(Lane::Small { domain, verb, query: query.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lanes_are_told_apart() {
        let small = Lane::parse("/ZXhhbXBsZS5jb20/get_edge_config?service_name=_cisco-uds");
        let query = "service_name=_cisco-uds".to_owned();
        assert_eq!(small, Ok(Lane::Small { domain: "example.com".into(), verb: Verb::GetEdgeConfig, query }));
        let long = Lane::parse("/ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw/cucm-uds/version?a=b");
        let (host, path) = ("cucm1.example.com".into(), "/cucm-uds/version?a=b".into());
        let wanted = Lane::Descriptor { domain: "example.com".into(), scheme: Scheme::Https, host, port: 8443, path };
        assert_eq!(long, Ok(wanted));
    }
}
