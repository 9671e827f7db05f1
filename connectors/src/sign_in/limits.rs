//! Bounds of sign-in, each with its reason.

use std::time::Duration;

/// Peers whose token keys are known: more cores than stand in for each other.
pub const PEERS_MAX: usize = 64;

/// Keys one peer may sign with: the present one, and those before it.
pub const PEER_KEYS_MAX: usize = 8;

/// Checks of credentials of one deployment that may be under way: each holds a connection to whoever checks them for up to ten
/// seconds. Those beyond are told to come back, and those of other deployments are not affected.
pub const CHECKS_MAX: usize = 1_024;

/// How long a request waits until the access token it shows is known to SIP, too: as a rule it takes no longer
/// than a call manager to answer.
pub const ACQUAINT_WITHIN: Duration = Duration::from_secs(2);

/// Checks that reach nobody one after the other before the authority counts as away: a lost packet is no outage.
pub const FAILURES_MAX: u32 = 3;

/// How long an authority that is away is not asked; doubled with each question it leaves open. Clients are
/// answered at once meanwhile.
pub const AWAY_MIN: Duration = Duration::from_secs(1);

/// The longest an authority that is away is not asked: an outage ends at most so much later for users.
pub const AWAY_MAX: Duration = Duration::from_secs(8);

/// How long an alarm of sign-in stands after its last cause, where no answer ends it: at night nobody signs in.
pub const QUIET_FOR: Duration = Duration::from_secs(300);

/// How often that is looked at.
pub const QUIET_LOOK_EVERY: Duration = Duration::from_secs(15);

/// What clients are told to wait when credentials cannot be checked, before they ask again.
pub const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(5);

/// How long the answers of the name system about services inside are kept; one that failed as long.
pub const SERVICES_FOR: Duration = Duration::from_secs(30);

/// Domains whose services are kept: as many as a core serves.
pub const SERVICES_MAX: usize = 1_024;

/// Servers of one service that clients are told.
pub const SERVERS_MAX: usize = 32;

/// How long the name system may take for one service of an edge configuration: a client waits for the answer,
/// and does without that service.
pub const LOOKUP_WITHIN: Duration = Duration::from_secs(2);

/// Edges, and cores, that are told in an edge configuration: more than a cluster has.
pub const CONTACTS_MAX: usize = 32;

/// Revocations that outlive a restart: the latest ones. The file stays below what is read of a state file.
pub const REVOCATIONS_KEPT_MAX: usize = 2_048;

/// When revocations could not be written to disk, it is tried again after this: a disk that is full stays so a while.
pub const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What has ended is taken out of memory no more often than this, whatever the settings say.
pub const SWEEP_MIN: Duration = Duration::from_secs(60);

/// Session tokens whose signatures were found good and are not checked again, by digest: some 20,000 clients. As many
/// credentials that were counted once and go to servers inside, by keyed hash.
pub const GOOD_TOKENS_MAX: usize = 32_768;

/// The least a refusal takes, from when the credentials came. Authorities answer sooner if there is no such user, by
/// microseconds or more; whatever is over by then does not show. A person does not notice it.
pub const REFUSAL_TAKES: Duration = Duration::from_millis(50);

/// A random time on top of that, at most: for authorities that take longer.
pub const REFUSAL_TAKES_MORE: Duration = Duration::from_millis(10);
