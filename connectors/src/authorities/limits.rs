//! Bounds of the conversations with authorities, each with its reason.

use std::time::Duration;

/// Time one check has altogether, whatever the authority does: a client waits about as long.
pub const CHECK_WITHIN: Duration = Duration::from_secs(10);
