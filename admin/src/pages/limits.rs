//! The bounds of the web pages, each with its reason.

use std::time::Duration;

/// Rows of a list on one page: more are not read, and each node's answer is cut there.
pub const PAGE_ROWS_MAX: usize = 500;

/// Rows of a list that is searched and turned over page by page: some screens full.
pub const LIST_ROWS: usize = 50;

/// Nodes shown: a full deployment has six edges and six cores.
pub const SHOWN_NODES_MAX: usize = 64;

/// How old the status of all nodes may be that a page shows: browsers that look at the same moment share it.
pub const STATUS_AGE_MAX: Duration = Duration::from_millis(700);

/// How often a page that is looked at is told to look again.
pub const TICK: Duration = Duration::from_secs(1);

/// Pages that are told so at once; further ones are refreshed by hand.
pub const WATCHERS_MAX: usize = 64;

/// Of them of one account or token.
pub const WATCHERS_OF_ONE_MAX: usize = 16;

/// How often it is asked whether one of them may still look.
pub const WATCH_CHECK: Duration = Duration::from_secs(15);

/// How long one of them is told so before its browser must ask anew, and prove again who asks.
pub const WATCH_MAX: Duration = Duration::from_secs(300);

/// How often a point of the charts is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Points kept: one hour.
pub const SAMPLES_MAX: usize = 360;

/// Longest text of a search, bytes: the longest name of a user.
pub const SEARCH_BYTES_MAX: usize = 320;

/// Messages of a ladder that are drawn: a call with transfers has some hundred.
pub const LADDER_MESSAGES_MAX: usize = 400;

/// Longest path a preference leads back to, bytes.
pub const BACK_BYTES_MAX: usize = 1024;

/// Revisions on one page.
pub const HISTORY_ROWS: usize = 50;

/// Minutes a deadline of maintenance mode may be away: a week.
pub const WITHIN_MINUTES_MAX: u64 = 7 * 24 * 60;
