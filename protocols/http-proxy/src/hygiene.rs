//! Which fields pass. What belongs to one connection ends there (RFC 9110 §7.6.1), and what only our own
//! tiers may say is taken from whoever else says it.
//!
//! Cookie and Set-Cookie pass here: see `cookie.rs` for what is taken out of them.

use crate::carried;
use crate::limits::CONNECTION_FIELDS_MAX;

/// The fields that Connection names besides `close` and `keep-alive`: mostly none, and then they cost
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionOptions<'a> {
    fields: [&'a [u8]; CONNECTION_FIELDS_MAX],
    count: usize,
}

impl<'a> ConnectionOptions<'a> {
    /// Of the Connection fields of a head. `None` if there are more than the limit, which no checked head has.
    pub fn read(fields: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut options = Self::default();
        for field in fields {
            let usual =
                |option: &[u8]| option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive");
            if Self::options(field).all(usual) {
                continue;
            }
            *options.fields.get_mut(options.count)? = field;
            options.count += 1;
        }
        Some(options)
    }

    /// Whether a field is among them.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        let mut fields = self.fields.iter().take(self.count);
        fields.any(|field| Self::options(field).any(|option| option.eq_ignore_ascii_case(name.as_bytes())))
    }

    /// The options of one Connection field.
    pub(crate) fn options(field: &[u8]) -> impl Iterator<Item = &[u8]> {
        field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
    }

    /// Whether so many fields with options can be held.
    pub(crate) const fn fit(count: usize) -> bool {
        count <= CONNECTION_FIELDS_MAX
    }
}

/// Whether a field of a request goes from the client inwards. Host and Expect do not: the edge has dealt
/// with both, and every hop writes its own. Nor does a name with an underscore: gateways behind some servers
/// (CGI, WSGI) read it as one with a hyphen, so that `X_Forwarded_For` would say what only we may say.
#[must_use]
pub fn passes_inward(name: &str, options: &ConnectionOptions<'_>) -> bool {
    let ambiguous = name.contains('_');
    !(is_hop_by_hop(name) || is_ours(name) || matches!(name, "host" | "expect") || ambiguous || options.names(name))
}

/// Whether a field of a response goes from inside to the client. `Alt-Svc` does not: it would send the client
/// past the edge.
#[must_use]
pub fn passes_outward(name: &str, options: &ConnectionOptions<'_>) -> bool {
    let misleads = matches!(name, "alt-svc" | "x-accel-redirect" | "x-sendfile" | "public-key-pins");
    !(is_hop_by_hop(name) || name.starts_with(carried::PREFIX) || misleads || options.names(name))
}

/// Whether a field belongs to one connection, whatever Connection says.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a field of a request is one that only a proxy in front of a server may say: who the client is,
/// what it has proven, which path and method are meant.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    const PREFIXES: [&str; 10] = [
        carried::PREFIX,
        "x-forwarded",
        "x-mra-",
        "x-ssl-",
        "ssl-",
        "x-client-",
        "x-original-",
        "x-envoy-",
        "x-accel-",
        "x-arr-",
    ];
    let known = matches!(
        name,
        "cdn-loop"
            | "cf-connecting-ip"
            | "client-cert"
            | "client-cert-chain"
            | "client-ip"
            | "fastly-client-ip"
            | "forwarded"
            | "proxy"
            | "remote-user"
            | "true-client-ip"
            | "via"
            | "x-auth"
            | "x-authenticated-user"
            | "x-cluster-client-ip"
            | "x-host"
            | "x-http-host-override"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "x-real-ip"
            | "x-remote-user"
            | "x-rewrite-url"
            | "x-user"
    );
    known || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<'a>(fields: &[&'a str]) -> Option<ConnectionOptions<'a>> {
        ConnectionOptions::read(fields.iter().map(|field| field.as_bytes()))
    }

    #[test]
    fn what_clients_need_passes() {
        let none = ConnectionOptions::default();
        for name in [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "if-none-match",
            "range",
            "soapaction",
            "trackingid",
            "user-agent",
            "x-requested-with",
            "x-cisco-device",
            "x-authority",
            "edgeway",
        ] {
            assert!(passes_inward(name, &none), "{name}");
        }
        for name in
            ["content-type", "etag", "location", "set-cookie", "via", "www-authenticate", "x-frame-options", "server"]
        {
            assert!(passes_outward(name, &none), "{name}");
        }
    }

    #[test]
    fn what_only_we_say_is_taken_from_clients() {
        let none = ConnectionOptions::default();
        for name in [
            "edgeway-client",
            "edgeway-",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded",
            "forwarded",
            "via",
            "client-ip",
            "client-cert",
            "client-cert-chain",
            "ssl-client-cert",
            "ssl-client-verify",
            "x-ssl-client-dn",
            "x-client-ip",
            "x-client-cert",
            "x-mra-user",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "proxy",
            "remote-user",
            "x-auth",
            "host",
            "expect",
            "transfer_encoding",
            "content_length",
            "x_forwarded_for",
            "client_ip",
            "x_cisco_device",
            "_",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "proxy-authorization",
            "connection",
            "keep-alive",
            "http2-settings",
        ] {
            assert!(!passes_inward(name, &none), "{name}");
        }
        for name in [
            "edgeway-reason",
            "edgeway-offence",
            "alt-svc",
            "connection",
            "transfer-encoding",
            "keep-alive",
            "proxy-authenticate",
        ] {
            assert!(!passes_outward(name, &none), "{name}");
        }
    }

    #[test]
    fn what_connection_names_ends_here() {
        let named = options(&["close", "X-Hop , keep-alive", "Keep-Alive", "x-other"]).unwrap();
        for name in ["x-hop", "x-other"] {
            assert!(!passes_inward(name, &named) && !passes_outward(name, &named), "{name}");
        }
        assert!(passes_inward("x-third", &named));
        assert!(options(&["a", "b", "c", "d"]).is_some());
        assert!(options(&["a", "b", "c", "d", "e"]).is_none());
    }
}
