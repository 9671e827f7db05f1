//! The bounds of this room, each with its reason.

use std::time::Duration;

/// Largest configuration text taken, bytes. A working file is below 1 KiB; a megabyte is a mistake
/// (a certificate, a log) and not worth reading.
pub const CONFIG_TEXT_BYTES_MAX: usize = 256 * 1024;

/// Problems reported at once. Nobody reads more, and a wrong file must not flood a terminal.
pub const PROBLEMS_MAX: usize = 100;

/// Entries of one list (listen addresses, domains, registrars, certificates, edges).
pub const LIST_ENTRIES_MAX: usize = 64;

/// Rules of the HTTP server allow list that are written in the configuration: a document with so many stays below its
/// own bound. Whoever has more keeps them in the file that `http.allow_list` names.
pub const ALLOW_LIST_RULES_MAX: usize = 500;

/// Longest name of such a rule, bytes.
pub const ALLOW_LIST_RULE_NAME_BYTES_MAX: usize = 64;

/// Longest description of such a rule, bytes: a line.
pub const ALLOW_LIST_DESCRIPTION_BYTES_MAX: usize = 256;

/// Entries that the list at `path` may have: a list of tables, or a value.
#[must_use]
pub fn entries_max(path: &str) -> usize {
    if path == "http.allow_list_rule" { ALLOW_LIST_RULES_MAX } else { LIST_ENTRIES_MAX }
}

/// Longest path of a Unix socket, bytes: `sun_path` holds 108 with its final zero (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest file or folder name taken, bytes (`PATH_MAX` of Linux).
pub const PATH_BYTES_MAX: usize = 4_096;

/// Longest host name, bytes (RFC 1123 §2.1).
pub const HOST_BYTES_MAX: usize = 253;

/// Longest label of a host name, bytes (RFC 1123 §2.1).
pub const HOST_LABEL_BYTES_MAX: usize = 63;

/// Shortest time between two OPTIONS probes of one registrar: below that the probes are load.
pub const OPTIONS_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Longest time between two OPTIONS probes: above that a dead registrar is noticed too late to matter.
pub const OPTIONS_INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// Shortest time a request inside may take: a registrar that asks its own database needs some.
pub const REQUEST_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Shortest life of a node certificate: renewal at two thirds of it must leave time for a round trip.
pub const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(20);

/// Longest life of a node certificate, that of the CA: ten years.
pub const CERTIFICATE_LIFETIME_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// Longest time a service that is told to end waits for calls and chats: whoever wants to wait for longer uses
/// maintenance mode first.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// Longest time a request inside may take; clients give up at 64 × T1 = 32 s (RFC 3261 §17.1.2.2).
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(32);

/// Shortest silence the operator may want to be told of: comfort noise and hold are shorter.
pub const SILENCE_NOTICE_MIN: Duration = Duration::from_secs(10);

/// Longest.
pub const SILENCE_NOTICE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Shortest life of session tokens and of cached credentials: a client refreshes them before.
pub const CREDENTIALS_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Longest: a password that was changed is found out after it at the latest.
pub const CREDENTIALS_INTERVAL_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Most authorizations of one user in one period: each is remembered.
pub const AUTHORIZATIONS_MAX: u32 = 1_000;

/// Shortest rate control period.
pub const RATE_PERIOD_MIN: Duration = Duration::from_secs(1);

/// Longest rate control period: a user who is locked out for a day calls the help desk.
pub const RATE_PERIOD_MAX: Duration = Duration::from_secs(86_400);

/// Shortest time between two looks at a UC server: AXL is throttled by the call manager.
pub const LOOK_EVERY_MIN: Duration = Duration::from_secs(10);

/// Longest time between two looks.
pub const LOOK_EVERY_MAX: Duration = Duration::from_secs(86_400);

/// Longest text of one value, bytes: that of the longest kind, a file name.
pub const VALUE_BYTES_MAX: usize = PATH_BYTES_MAX;

/// Longest secret of a setting, bytes, plain or sealed: passwords of application users are below 128.
pub const SECRET_BYTES_MAX: usize = 1_024;

/// Longest name of a place in a document, bytes: a setting's name and the longest host, escaped.
pub const DOCUMENT_PATH_BYTES_MAX: usize = 8_192;
