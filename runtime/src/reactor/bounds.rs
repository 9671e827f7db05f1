//! What one node takes on at once.

use std::time::Duration;

use edgeway_model::limits::{FLOW_QUEUE_BYTES_MAX, FLOWS_MAX, STRANGER_FLOWS_PER_ADDRESS_MAX, TLS_HANDSHAKE_MAX};

/// What one node takes on at once.
#[derive(Clone, Copy, Debug)]
pub struct ReactorLimits {
    /// Flows held at once; more are closed as soon as they are accepted.
    pub flows_max: usize,
    /// TLS handshakes one address may have in progress.
    pub handshakes_per_address_max: usize,
    /// How long a TLS handshake may take.
    pub handshake_max: Duration,
    /// Threads that shake hands; at least one is started.
    pub handshake_threads: usize,
    /// Bytes queued towards one flow before it is closed as too slow.
    pub flow_queue_bytes_max: usize,
}

impl Default for ReactorLimits {
    fn default() -> Self {
        Self {
            flows_max: FLOWS_MAX,
            handshakes_per_address_max: STRANGER_FLOWS_PER_ADDRESS_MAX,
            handshake_max: TLS_HANDSHAKE_MAX,
            handshake_threads: 1,
            flow_queue_bytes_max: FLOW_QUEUE_BYTES_MAX,
        }
    }
}
