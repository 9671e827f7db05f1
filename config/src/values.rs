//! One function per kind of value: TOML in, a typed value or the complaint out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_model::NodeId;
use edgeway_model::limits::FLOWS_MAX;
use edgeway_model::sign_in::{Deployment, USER_BYTES_MAX};
use edgeway_model::world::Transport;
use toml::de::DeValue;

use crate::document::SEALED_PREFIX;
use crate::limits::{
    ALLOW_LIST_DESCRIPTION_BYTES_MAX, ALLOW_LIST_RULE_NAME_BYTES_MAX, AUTHORIZATIONS_MAX, CERTIFICATE_LIFETIME_MAX,
    CERTIFICATE_LIFETIME_MIN, CREDENTIALS_INTERVAL_MAX, CREDENTIALS_INTERVAL_MIN, DRAIN_TIMEOUT_MAX, HOST_BYTES_MAX,
    HOST_LABEL_BYTES_MAX, LOOK_EVERY_MAX, LOOK_EVERY_MIN, OPTIONS_INTERVAL_MAX, OPTIONS_INTERVAL_MIN, PATH_BYTES_MAX,
    RATE_PERIOD_MAX, RATE_PERIOD_MIN, REQUEST_TIMEOUT_MAX, REQUEST_TIMEOUT_MIN, SECRET_BYTES_MAX, SILENCE_NOTICE_MAX,
    SILENCE_NOTICE_MIN, SOCKET_PATH_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::reader::Complaint;
use crate::settings::{HostPort, InsideEncryption, LogFormat, LogLevel, PortRange, Registrar, StandbyKeepalive};
use crate::suggest::nearest;

type Parsed<T> = Result<T, Complaint>;

pub(crate) fn node(value: &DeValue<'_>) -> Parsed<NodeId> {
    let name = text(value, "a name")?;
    NodeId::new(name).ok_or_else(|| {
        Complaint::new(
            format!("\"{}\" is no node name", shown(name)),
            "Use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit.",
        )
    })
}

pub(crate) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    if let DeValue::Boolean(value) = value { Ok(*value) } else { Err(wrong_type(value, "true or false")) }
}

pub(crate) fn path(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "a file or folder name")?;
    if name.is_empty() || name.len() > PATH_BYTES_MAX || name.contains('\0') {
        return Err(Complaint::new(
            format!("\"{}\" is no file or folder name", shown(name)),
            "Give the full name, starting with /.",
        ));
    }
    Ok(name.to_owned())
}

pub(crate) fn socket_path(value: &DeValue<'_>) -> Parsed<String> {
    let name = path(value)?;
    if name.len() > SOCKET_PATH_BYTES_MAX {
        return Err(Complaint::new(
            format!("{} bytes are too long for the name of a Unix socket", name.len()),
            format!("At most {SOCKET_PATH_BYTES_MAX} are possible."),
        ));
    }
    Ok(name)
}

pub(crate) fn loopback(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let address = socket_addr(value)?;
    if !address.ip().is_loopback() {
        return Err(Complaint::new(
            format!("{address} can be reached from other machines, and the page has no sign-in"),
            "Use a loopback address, for example 127.0.0.1:9464, and let a collector on this machine read it.",
        ));
    }
    Ok(address)
}

pub(crate) fn log_level(value: &DeValue<'_>) -> Parsed<LogLevel> {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    one_of(value, &levels.map(|level| (level.as_str(), level)))
}

pub(crate) fn log_format(value: &DeValue<'_>) -> Parsed<LogFormat> {
    one_of(value, &[("human", LogFormat::Human), ("json", LogFormat::Json)])
}

pub(crate) fn standby_keepalive(value: &DeValue<'_>) -> Parsed<StandbyKeepalive> {
    one_of(value, &[("answered", StandbyKeepalive::Answered), ("relayed", StandbyKeepalive::Relayed)])
}

pub(crate) fn ip(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = text(value, "an IP address")?;
    unbracketed(address).parse().map_err(|_| {
        Complaint::new(
            format!("\"{}\" is no IP address", shown(address)),
            "Write it as 192.0.2.10 or 2001:db8::10; names are not looked up here.",
        )
    })
}

/// An address of one machine, not of all.
pub(crate) fn concrete_ip(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = ip(value)?;
    if address.is_unspecified() {
        return Err(unspecified(&address.to_string()));
    }
    Ok(address)
}

/// A host of one machine, with port.
pub(crate) fn concrete_host_port(value: &DeValue<'_>) -> Parsed<HostPort> {
    let parsed = host_port(value)?;
    if parsed.ip().is_some_and(|ip| ip.is_unspecified()) {
        return Err(unspecified(&parsed.host));
    }
    Ok(parsed)
}

fn unspecified(address: &str) -> Complaint {
    Complaint::new(format!("{address} means any address of this machine"), "Say which one: others are told to use it.")
}

pub(crate) fn socket_addr(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    parse_socket_addr(text(value, "an address with port")?)
}

fn parse_socket_addr(address: &str) -> Parsed<SocketAddr> {
    let Ok(parsed) = address.parse::<SocketAddr>() else {
        let remedy = if unbracketed(address).parse::<IpAddr>().is_ok() {
            "Add the port, for example 192.0.2.10:5060 or [2001:db8::10]:5060."
        } else {
            "Write it as 192.0.2.10:5060 or [2001:db8::10]:5060; names are not looked up here."
        };
        return Err(Complaint::new(format!("\"{}\" is no address with port", shown(address)), remedy));
    };
    check_port(parsed.port())?;
    Ok(parsed)
}

pub(crate) fn host(value: &DeValue<'_>) -> Parsed<String> {
    parse_host(text(value, "a host name")?)
}

/// A host name (RFC 1123 §2.1) or an IP address, in lower case and without brackets.
fn parse_host(text: &str) -> Parsed<String> {
    let host = unbracketed(text).to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() {
        return Ok(host);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= HOST_LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // RFC 3261 §25.1: the last label starts with a letter, so 192.0.2 or 300.1.1.1 is no name.
    let top = host.rsplit('.').next().is_some_and(|top| top.starts_with(|c: char| c.is_ascii_alphabetic()));
    if host.len() <= HOST_BYTES_MAX && host.split('.').all(label) && top {
        return Ok(host);
    }
    let remedy = if host.starts_with("sip:") || host.starts_with("sips:") || host.contains('@') {
        "Write the host alone, without sip: and without a user."
    } else if host.contains(':') {
        "Write the host alone, without a port."
    } else {
        "Write it as edge.example.com or 192.0.2.10."
    };
    Err(Complaint::new(format!("\"{}\" is no host name and no IP address", shown(text)), remedy))
}

pub(crate) fn host_port(value: &DeValue<'_>) -> Parsed<HostPort> {
    let text = text(value, "a host with port")?;
    let bad = |remedy: &str| Complaint::new(format!("\"{}\" is no host with port", shown(text)), remedy);
    let example = "Write it as edge.example.com:7001, 192.0.2.10:7001 or [2001:db8::10]:7001.";
    let Some((host, port)) = text.rsplit_once(':') else { return Err(bad(example)) };
    if host.contains(':') && !host.starts_with('[') {
        return Err(bad("Put an IPv6 address in brackets, as in [2001:db8::10]:7001."));
    }
    let Ok(port) = port.parse::<u16>() else { return Err(bad(example)) };
    check_port(port)?;
    Ok(HostPort { host: parse_host(host)?, port })
}

pub(crate) fn port(value: &DeValue<'_>) -> Parsed<u16> {
    let number = integer(value, "a port number")?;
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| out_of_range(number, "1 to 65535"))
}

pub(crate) fn dscp(value: &DeValue<'_>) -> Parsed<u8> {
    let number = integer(value, "a DSCP")?;
    u8::try_from(number).ok().filter(|dscp| *dscp < 64).ok_or_else(|| out_of_range(number, "0 to 63"))
}

pub(crate) fn port_range(value: &DeValue<'_>) -> Parsed<PortRange> {
    let text = text(value, "a range of ports")?;
    let ends = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
    let Some((Ok(first), Ok(last))) = ends else {
        let reason = format!("\"{}\" is no range of ports", shown(text));
        return Err(Complaint::new(reason, "Write it as \"36000-59999\"."));
    };
    if first > last {
        return Err(Complaint::new(format!("{first} is above {last}"), format!("Write it as \"{last}-{first}\".")));
    }
    let range = PortRange { first, last };
    if first < 1024 {
        return Err(Complaint::new(format!("port {first} is privileged"), "Start at 1024 or above."));
    }
    if range.pairs() == 0 {
        return Err(Complaint::new(
            format!("{range} holds no pair of ports"),
            "A pair is an even port and the next one; a call needs one pair, so name some hundreds.",
        ));
    }
    Ok(range)
}

const REGISTRAR_REMEDY: &str = "Write it as tcp:10.0.0.5:5060, udp:10.0.0.5:5060, tls:pbx.example.com:5061 or \
                                sip:pbx.example.com;transport=tls.";

/// A registrar as written, where the priority may still be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenRegistrar {
    pub(crate) registrar: Registrar,
    pub(crate) priority: Option<u16>,
}

/// `tcp:ADDRESS:PORT`, or a SIP URI without user; either with `;priority=` and `;weight=`.
pub(crate) fn registrar(value: &DeValue<'_>) -> Parsed<WrittenRegistrar> {
    let text = text(value, "a transport and an address, or a SIP URI")?;
    let Some((scheme, rest)) = text.split_once(':').filter(|(name, _)| name.starts_with(char::is_alphabetic)) else {
        let reason = format!("\"{}\" does not say the transport", shown(text));
        return Err(Complaint::new(reason, REGISTRAR_REMEDY));
    };
    let mut parts = rest.split(';');
    let authority = parts.next().unwrap_or_default();
    let (host, port) = registrar_host(authority)?;
    let mut written = WrittenRegistrar {
        registrar: Registrar { host, port, transport: None, secure: false, priority: 0, weight: 1 },
        priority: None,
    };
    match scheme.to_ascii_lowercase().as_str() {
        "sip" => {}
        "sips" => written.registrar.secure = true,
        other => match transport(other) {
            Some(transport) => written.registrar.transport = Some(transport),
            None => {
                let reason = format!("\"{}\" is no transport", shown(other));
                let mut complaint = Complaint::new(reason, REGISTRAR_REMEDY);
                complaint.did_you_mean =
                    nearest(other, ["tcp", "udp", "tls", "sip", "sips"]).map(|meant| format!("{meant}:{rest}"));
                return Err(complaint);
            }
        },
    }
    let fixed = written.registrar.transport.is_some();
    for part in parts {
        registrar_parameter(&mut written, part, fixed)?;
    }
    let registrar = &mut written.registrar;
    if registrar.secure && registrar.transport.is_some_and(|transport| transport == Transport::Udp) {
        return Err(Complaint::new("sips: and transport=udp exclude each other", "Use transport=tls, or none."));
    }
    if registrar.secure && registrar.transport.is_some() {
        // RFC 3261 §26.2.2: sips over transport=tcp means TLS.
        registrar.transport = Some(Transport::Tls);
    }
    Ok(written)
}

fn transport(name: &str) -> Option<Transport> {
    [Transport::Tcp, Transport::Udp, Transport::Tls].into_iter().find(|one| one.param().eq_ignore_ascii_case(name))
}

fn registrar_host(authority: &str) -> Parsed<(String, Option<u16>)> {
    if authority.contains('@') {
        return Err(Complaint::new("a registrar has no user", "Write the host alone, without user and @."));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => {
            let Ok(port) = port.parse::<u16>() else {
                let reason = format!("\"{}\" is no host with port", shown(authority));
                return Err(Complaint::new(reason, REGISTRAR_REMEDY));
            };
            if host.contains(':') && !host.starts_with('[') {
                let reason = format!("\"{}\" is no host with port", shown(authority));
                return Err(Complaint::new(reason, "Put an IPv6 address in brackets, as in tcp:[2001:db8::5]:5060."));
            }
            check_port(port)?;
            (host, Some(port))
        }
        Some(_) | None => (authority, None),
    };
    let host = parse_host(host)?;
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(unspecified(&host));
    }
    Ok((host, port))
}

fn registrar_parameter(written: &mut WrittenRegistrar, part: &str, transport_fixed: bool) -> Parsed<()> {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let number = || {
        let wrong = || Complaint::new(format!("\"{}\" is no number", shown(value)), "Use 0 to 65535.");
        value.parse::<u16>().map_err(|_| wrong())
    };
    match name.to_ascii_lowercase().as_str() {
        "transport" if !transport_fixed => {
            let Some(transport) = transport(value) else {
                let reason = format!("\"{}\" is no transport", shown(value));
                return Err(Complaint::new(reason, "Use tcp, udp or tls."));
            };
            written.registrar.transport = Some(transport);
        }
        "priority" => written.priority = Some(number()?),
        "weight" => written.registrar.weight = number()?,
        _ => {
            let reason = format!("\"{}\" is no parameter of a registrar", shown(part));
            return Err(Complaint::new(reason, "Known are transport (of sip: and sips:), priority and weight."));
        }
    }
    Ok(())
}

/// An address of a name server; port 53 where none is written.
pub(crate) fn dns_server(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let text = text(value, "an address")?;
    match unbracketed(text).parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, 53)),
        Err(_) => parse_socket_addr(text),
    }
}

pub(crate) fn options_interval(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, OPTIONS_INTERVAL_MIN, OPTIONS_INTERVAL_MAX)
}

pub(crate) fn request_timeout(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, REQUEST_TIMEOUT_MIN, REQUEST_TIMEOUT_MAX)
}

pub(crate) fn drain_timeout(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, Duration::ZERO, DRAIN_TIMEOUT_MAX)
}

pub(crate) fn certificate_lifetime(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, CERTIFICATE_LIFETIME_MIN, CERTIFICATE_LIFETIME_MAX)
}

/// A duration, or "off".
pub(crate) fn silence_notice(value: &DeValue<'_>) -> Parsed<Option<Duration>> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    duration_between(value, SILENCE_NOTICE_MIN, SILENCE_NOTICE_MAX).map(Some)
}

pub(crate) fn inside_encryption(value: &DeValue<'_>) -> Parsed<InsideEncryption> {
    let choices = [
        ("off", InsideEncryption::Off),
        ("optional", InsideEncryption::Optional),
        ("required", InsideEncryption::Required),
    ];
    one_of(value, &choices)
}

/// An address with port, or "off".
pub(crate) fn socket_addr_or_off(value: &DeValue<'_>) -> Parsed<Option<SocketAddr>> {
    if value.as_str() == Some("off") { Ok(None) } else { socket_addr(value).map(Some) }
}

/// A host, with a port or without.
pub(crate) fn host_maybe_port(value: &DeValue<'_>) -> Parsed<(String, Option<u16>)> {
    let written = text(value, "a host, with a port or without")?;
    let alone = written.parse::<IpAddr>().is_ok() || !written.rsplit(']').next().unwrap_or(written).contains(':');
    if alone {
        return Ok((parse_host(written)?, None));
    }
    host_port(value).map(|parsed| (parsed.host, Some(parsed.port)))
}

/// A host of one machine, with a port or without.
pub(crate) fn im_server(value: &DeValue<'_>) -> Parsed<(String, Option<u16>)> {
    let (host, port) = host_maybe_port(value)?;
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(unspecified(&host));
    }
    Ok((host, port))
}

/// A priority or a weight, as SRV records have them (RFC 2782).
pub(crate) fn rank(value: &DeValue<'_>) -> Parsed<u16> {
    let number = integer(value, "a number")?;
    u16::try_from(number).map_err(|_| out_of_range(number, "0 to 65535"))
}

/// Kinds of authorities, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorityKind {
    None,
    UnifiedCm,
    Ldap,
    Users,
}

pub(crate) fn authority(value: &DeValue<'_>) -> Parsed<AuthorityKind> {
    let choices = [
        ("none", AuthorityKind::None),
        ("unified_cm", AuthorityKind::UnifiedCm),
        ("ldap", AuthorityKind::Ldap),
        ("users", AuthorityKind::Users),
    ];
    one_of(value, &choices)
}

pub(crate) fn deployment(value: &DeValue<'_>) -> Parsed<Deployment> {
    let name = text(value, "a name")?;
    Deployment::new(name).ok_or_else(|| {
        let reason = format!("\"{}\" is no name of a deployment", shown(name));
        Complaint::new(reason, "Use 1 to 64 of A-Z, a-z, 0-9, ., _ and -.")
    })
}

/// The name of an application user.
pub(crate) fn user(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "a user's name")?;
    // RFC 7617 §2: a colon would end it.
    if name.is_empty() || name.len() > USER_BYTES_MAX || name.contains(|c: char| c.is_control() || c == ':') {
        let reason = format!("\"{}\" is no user's name", shown(name));
        return Err(Complaint::new(reason, "Use 1 to 128 characters without a colon."));
    }
    Ok(name.to_owned())
}

/// A secret as it may stand in a text: sealed. What else stands there is not shown.
pub(crate) fn sealed(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value, "a sealed text")?;
    let rest = text.strip_prefix(SEALED_PREFIX);
    if text.len() > SECRET_BYTES_MAX || !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_base64)) {
        return Err(Complaint::new(
            "is a secret in plain text",
            "Put it into a file that only the service's user can read and name that in `password_file`, or set it with \
             `edgeway config apply` or on the pages, which seal it.",
        ));
    }
    Ok(text.to_owned())
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'=' | b'.' | b':')
}

pub(crate) fn bind_dn(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "a distinguished name")?;
    if !name.contains("{user}") || name.len() > PATH_BYTES_MAX || name.contains(char::is_control) {
        let reason = format!("\"{}\" does not say where the user's name goes", shown(name));
        return Err(Complaint::new(reason, "Write it as uid={user},ou=people,dc=example,dc=com."));
    }
    Ok(name.to_owned())
}

/// Whom an access token is for.
pub(crate) fn audience(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "an audience")?;
    if name.is_empty() || name.len() > PATH_BYTES_MAX || name.contains(char::is_control) {
        let reason = format!("\"{}\" is no audience", shown(name));
        return Err(Complaint::new(reason, "Write it as it stands in `aud` of the tokens."));
    }
    Ok(name.to_owned())
}

pub(crate) fn method(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "a method")?.to_ascii_uppercase();
    if name.is_empty() || name.len() > 20 || !name.bytes().all(|byte| byte.is_ascii_uppercase()) || name == "CONNECT" {
        let reason = format!("\"{}\" is no method that is proxied", shown(&name));
        return Err(Complaint::new(reason, "Use GET, HEAD, POST, PUT, DELETE or OPTIONS."));
    }
    Ok(name)
}

/// The name of a rule of the allow list: part of a URL of the API.
pub(crate) fn rule_name(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value, "a name")?;
    let fits = (1..=ALLOW_LIST_RULE_NAME_BYTES_MAX).contains(&name.len());
    if !fits || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        let reason = format!("\"{}\" is no name of a rule", shown(name));
        return Err(Complaint::new(reason, "Use 1 to 64 of A-Z, a-z, 0-9, ., _ and -."));
    }
    Ok(name.to_owned())
}

/// Whether it is written as a URL is; the allow list itself says more.
pub(crate) fn rule_url(value: &DeValue<'_>) -> Parsed<String> {
    let url = text(value, "http[s]://host[:port][/path]")?;
    if !url.starts_with("https://") && !url.starts_with("http://") || url.len() > VALUE_BYTES_MAX {
        let reason = format!("\"{}\" is no URL of an HTTP server", shown(url));
        return Err(Complaint::new(reason, "Write it as https://files.example.com:8443/updates."));
    }
    Ok(url.to_owned())
}

/// `true`: exact.
pub(crate) fn match_type(value: &DeValue<'_>) -> Parsed<bool> {
    one_of(value, &[("prefix", false), ("exact", true)])
}

pub(crate) fn rule_description(value: &DeValue<'_>) -> Parsed<String> {
    let words = text(value, "a line of text")?;
    if words.len() > ALLOW_LIST_DESCRIPTION_BYTES_MAX || words.chars().any(char::is_control) {
        return Err(Complaint::new("is no description", "Use one line of at most 256 bytes."));
    }
    Ok(words.to_owned())
}

/// Where signalling goes: `udp:` and an address.
pub(crate) fn hep_collector(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let written = text(value, "udp: and an address with port")?;
    let Some(address) = written.strip_prefix("udp:") else {
        return Err(Complaint::new(
            format!("\"{}\" does not say how it is reached", shown(written)),
            "Write it as udp:10.0.0.9:9060; UDP is what there is.",
        ));
    };
    parse_socket_addr(address)
}

pub(crate) fn capture_id(value: &DeValue<'_>) -> Parsed<u32> {
    let number = integer(value, "a whole number")?;
    u32::try_from(number).map_err(|_| Complaint::new(format!("{number} is no capture id"), "It is 0 to 4294967295."))
}

pub(crate) fn authorizations(value: &DeValue<'_>) -> Parsed<u32> {
    let number = integer(value, "a number")?;
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=AUTHORIZATIONS_MAX).contains(number))
        .ok_or_else(|| out_of_range(number, &format!("1 to {AUTHORIZATIONS_MAX}")))
}

pub(crate) fn credentials_interval(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, CREDENTIALS_INTERVAL_MIN, CREDENTIALS_INTERVAL_MAX)
}

pub(crate) fn rate_period(value: &DeValue<'_>) -> Parsed<Duration> {
    duration_between(value, RATE_PERIOD_MIN, RATE_PERIOD_MAX)
}

/// A duration, or "off".
pub(crate) fn look_every(value: &DeValue<'_>) -> Parsed<Option<Duration>> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    duration_between(value, LOOK_EVERY_MIN, LOOK_EVERY_MAX).map(Some)
}

pub(crate) fn flows(value: &DeValue<'_>) -> Parsed<usize> {
    let number = integer(value, "a number")?;
    usize::try_from(number)
        .ok()
        .filter(|number| (1..=FLOWS_MAX).contains(number))
        .ok_or_else(|| out_of_range(number, &format!("1 to {FLOWS_MAX}")))
}

fn duration_between(value: &DeValue<'_>, min: Duration, max: Duration) -> Parsed<Duration> {
    let written = text(value, "a duration")?;
    let Some(duration) = parse_duration(written) else {
        return Err(Complaint::new(
            format!("\"{}\" is no duration", shown(written)),
            "Write a whole number and a unit, as in \"500ms\", \"30s\", \"480m\", \"2h\" or \"90d\".",
        ));
    };
    if !(min..=max).contains(&duration) {
        let range = format!("{} s to {} s", min.as_secs(), max.as_secs());
        return Err(Complaint::new(format!("{written} is out of range"), format!("Use {range}.")));
    }
    Ok(duration)
}

/// A whole number and one of `ms`, `s`, `m` (minutes), `h`, `d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

fn one_of<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Parsed<T> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let word = text(value, &format!("one of {}", names.join(", ")))?;
    if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(*chosen);
    }
    let mut complaint = Complaint::new(
        format!("\"{}\" is none of the choices", shown(word)),
        format!("Use one of {}.", names.join(", ")),
    );
    complaint.did_you_mean = nearest(word, names).map(str::to_owned);
    Err(complaint)
}

fn text<'v>(value: &'v DeValue<'_>, wanted: &str) -> Parsed<&'v str> {
    value.as_str().ok_or_else(|| wrong_type(value, &format!("{wanted} in quotes")))
}

fn integer(value: &DeValue<'_>, wanted: &str) -> Parsed<i64> {
    let DeValue::Integer(number) = value else { return Err(wrong_type(value, wanted)) };
    i64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| Complaint::new(format!("{} is out of range", shown(number.as_str())), ""))
}

fn check_port(port: u16) -> Parsed<()> {
    if port == 0 {
        return Err(Complaint::new("port 0 means any port", "Say which one: firewalls and clients must know it."));
    }
    Ok(())
}

fn wrong_type(value: &DeValue<'_>, wanted: &str) -> Complaint {
    let got = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Complaint::new(format!("wants {wanted} and got {got}"), "")
}

fn out_of_range(number: i64, range: &str) -> Complaint {
    Complaint::new(format!("{number} is out of range"), format!("Use {range}."))
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text)
}

/// A value as it may appear in a message: short, and nothing a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > 80 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("480m", 28_800_000),
            ("2h", 7_200_000),
            ("5 s", 5_000),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1w", "99999999999999999999h", "18446744073709551615h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, host) in [
            ("Edge.Example.COM", "edge.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("localhost", "localhost"),
            ("3com.example", "3com.example"),
        ] {
            assert_eq!(parse_host(text).ok().as_deref(), Some(host), "{text}");
        }
        let long = format!("{}.com", "x".repeat(64));
        for text in
            ["", ".", "a..b", "-a.com", "a-.com", "300.1.1.1", "sip:a.com", "a.com:5061", "a b", "ü.example", &long]
        {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
