//! Every bound of the lab, each with its reason.

use std::time::Duration;

/// Messages the ladder keeps; the oldest fall out. One call is about forty.
pub(super) const LADDER_ROWS_MAX: usize = 400;

/// Notices of the nodes kept for a step that fails.
pub(super) const NOTICES_KEPT: usize = 12;

/// How long the link may take to come up: two TLS handshakes and a hello.
pub(super) const LINK_UP_MAX: Duration = Duration::from_secs(4);

/// How long any other step may wait.
pub(super) const STEP_MAX: Duration = Duration::from_secs(4);

/// How long the lab talks before it measures: 60 packets each way.
pub(super) const TALK_TIME: Duration = Duration::from_millis(1_200);

/// How long a held call is listened to.
pub(super) const HOLD_TIME: Duration = Duration::from_millis(300);

/// Pause between two calls of a lab that stays up.
pub(super) const CALL_EVERY: Duration = Duration::from_secs(30);

/// Share of packets that may be missing in a lab call: a busy machine may starve a socket.
pub(super) const LOSS_MAX: f64 = 0.02;

/// Calls the echo and the tone answer at once.
pub(super) const ANSWERED_CALLS_MAX: usize = 8;

/// The longest an echo or tone call is kept up.
pub(super) const ANSWERED_CALL_LIFE: Duration = Duration::from_secs(3_600);

/// Lines read ahead from the keyboard.
pub(super) const KEYS_QUEUE_MAX: usize = 8;

/// Attempts to start edge and core when another program is quicker to take a port.
pub(super) const START_TRIES_MAX: u32 = 5;

/// How long a client asks again how to sign in after 503: the core dials the edge for HTTPS right after the link is up.
pub(super) const SIGN_IN_MAX: Duration = Duration::from_secs(4);

/// Attempts to sign in while the core gets to know the call manager: fewer than rate control lets pass.
pub(super) const SIGN_IN_TRIES: u32 = 6;

/// Pause between two such attempts.
pub(super) const SIGN_IN_AGAIN: Duration = Duration::from_millis(250);

/// Largest page that is fetched, bytes: the product's own stay below 300 KiB.
pub(super) const PAGE_BYTES_MAX: u64 = 512 * 1024;
