//! The bounds of the configuration desk.

use std::time::Duration;

/// Settings changed by name at once: a form has fewer; whoever wants more sends the document.
pub const CHANGES_MAX: usize = 256;

/// Longest password of an application user, bytes: what call managers take is below.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Longest comment of a revision, bytes: a paragraph. What is longer is cut.
pub const COMMENT_BYTES_MAX: usize = 1_024;

/// Shortest time in which a revision may be confirmed: somebody has to look and type.
pub const CONFIRM_MIN: Duration = Duration::from_secs(5);

/// Longest: what nobody has confirmed in a day is forgotten, and comes as a surprise.
pub const CONFIRM_MAX: Duration = Duration::from_secs(86_400);

/// How soon a rollback that the store did not take is tried again.
pub const ROLLBACK_AGAIN: Duration = Duration::from_secs(10);

/// How soon a store that could not be used is tried again: it reads the whole file, and may write as much as the change
/// that was not taken.
pub const STORE_AGAIN: Duration = Duration::from_secs(10);

/// Longest sleep before the clock is looked at again: wall time can be set.
pub const CLOCK_LOOK: Duration = Duration::from_secs(5);

/// Older revisions that are tried where the newest cannot be used.
pub const REVISIONS_TRIED: usize = 16;

/// Longest answer of a page of history, revisions.
pub const HISTORY_PAGE_MAX: usize = 500;
