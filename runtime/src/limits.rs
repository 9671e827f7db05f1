//! The bounds of the operator's side and of certificate files, each with its reason.

use std::time::Duration;

/// Largest certificate or key file taken, bytes. A chain of four RSA certificates is below 10 KiB.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Conversations one operator's listener (Unix socket, metrics address) holds at once; more wait in
/// the kernel. The two do not share them, so that no scraper shuts the operator out.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;

/// How long one conversation with an operator's program may take, from accept to close. Answers are
/// some kilobytes and asked for on the same machine.
pub const ADMIN_CONVERSATION_MAX: Duration = Duration::from_secs(5);

/// Largest request head taken from an operator's program, bytes. The least hyper allows.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields taken in a request of an operator's program.
pub const ADMIN_HEADERS_MAX: usize = 64;

/// Largest answer `edgeway status` takes from a node, bytes. A node with 64 links and 64 registrars
/// answers with some 20 KiB.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How long `edgeway status` waits for a node, from dialling to the last byte.
pub const ADMIN_FETCH_MAX: Duration = Duration::from_secs(5);

/// Series of metrics one node may show: what a small Prometheus takes from many nodes without thought.
pub const METRIC_SERIES_MAX: usize = 2_000;
