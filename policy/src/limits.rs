//! Bounds of the policies, each with its reason.

use std::time::Duration;

/// NAPTR records of one name that are followed: one per transport and then some.
pub const NAPTR_RECORDS_MAX: usize = 8;

/// SRV records of one name that are followed: more than any registrar cluster has nodes.
pub const SRV_RECORDS_MAX: usize = 32;

/// Addresses of one host that are used.
pub const ADDRESSES_MAX: usize = 8;

/// Places one configured registrar leads to.
pub const PLACES_MAX: usize = 64;

/// Nodes remembered per deployment after they were taken away, for dialogs that still lead there.
pub const RETIRED_MAX: usize = 64;

/// Questions one look-up may ask: NAPTR, an SRV for each transport, the addresses of each host.
pub const QUERIES_MAX: usize = 64;

/// A look-up is repeated no sooner, whatever the name system says: a time to live of zero must not
/// become a storm. Short enough that a change is taken within 5 s of what was promised.
pub const TTL_MIN: Duration = Duration::from_secs(4);

/// A look-up is repeated no later, whatever the name system says: a mistaken week is not waited for.
pub const TTL_MAX: Duration = Duration::from_secs(3_600);

/// First pause after a look-up that failed; doubled each time.
pub const LOOKUP_AGAIN_MIN: Duration = Duration::from_secs(2);

/// Longest pause after look-ups that failed.
pub const LOOKUP_AGAIN_MAX: Duration = Duration::from_secs(30);

/// A question without an answer is given up after this; the runtime gives up sooner.
pub const LOOKUP_WITHIN: Duration = Duration::from_secs(20);

/// How long an OPTIONS may stay unanswered.
pub const PROBE_ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// How soon a registrar that has failed is asked again; doubled each time.
pub const PROBE_AGAIN_MIN: Duration = Duration::from_secs(2);

/// How rarely a registrar that stays away is asked: an outage ends at most so much later for us.
pub const PROBE_AGAIN_MAX: Duration = Duration::from_secs(8);

/// How long a registrar that is back takes to get its full share: its caches are cold, and a crowd
/// would fell it again.
pub const SLOW_START: Duration = Duration::from_secs(30);

/// The longest a registrar's own Retry-After keeps us away from it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Nodes of one cluster of UC servers: a Unified CM cluster has 21 at most, of all kinds.
pub const CLUSTER_NODES_MAX: usize = 64;

/// TFTP servers of one cluster.
pub const TFTP_SERVERS_MAX: usize = 16;

/// Keys that one cluster signs its tokens with: the one in use, the one before, and room.
pub const TOKEN_KEYS_MAX: usize = 16;

/// DER of such a key, bytes: RSA with 8,192 bits has 1,062.
pub const TOKEN_KEY_BYTES_MAX: usize = 2_048;

/// Id of such a key, bytes: clusters write a UUID or a hash.
pub const TOKEN_KEY_ID_BYTES_MAX: usize = 256;

/// Version of a UC server, bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Users whose attempts to sign in are counted at a time: more than one core serves, and at 24 attempts
/// each at most some 100 MiB.
pub const RATE_USERS_MAX: usize = 65_536;

/// Old windows that are forgotten with each attempt: more than the one it may add.
pub const RATE_SWEEP: usize = 4;

/// Users of whom it is remembered where they have signed in. Only who has signed in gets an entry.
pub const RATE_PROVEN_USERS_MAX: usize = 65_536;

/// Places remembered for one user: home, office, a telephone's network, and a few more.
pub const RATE_PROVEN_ADDRESSES_MAX: usize = 8;

/// Users whose credentials a core remembers. Of more the one that ends first is forgotten, which costs a
/// question to whoever checks credentials.
pub const CREDENTIALS_MAX: usize = 65_536;

/// How long a refused credential is refused unasked: a client that repeats itself asks nobody, and a
/// password that has just been put right works at the next attempt of a person.
pub const REFUSED_FOR: Duration = Duration::from_secs(3);

/// Refused credentials that are remembered; of more the oldest is forgotten.
pub const REFUSED_MAX: usize = 4_096;

/// The longest a session token lasts: the longest credentials refresh interval there may be. Revocations are
/// remembered for so long whatever the interval is now: tokens of a longer one may be about.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Revocations that are remembered, each until all tokens it is about have expired. Of more the one that
/// ends first is forgotten: operators make them, by hand or by script.
pub const REVOCATIONS_MAX: usize = 65_536;

/// Rules of the HTTP allow list, automatic ones included: ten or so for each of some hundred nodes, and
/// whatever an operator writes.
pub const ALLOW_RULES_MAX: usize = 10_000;

/// Methods of one rule.
pub const ALLOW_METHODS_MAX: usize = 16;

/// Longest description of a rule, bytes.
pub const ALLOW_DESCRIPTION_BYTES_MAX: usize = 256;

/// Longest path with its query that is compared with rules, bytes: as long as the edge lets it be.
pub const ALLOW_PATH_BYTES_MAX: usize = 8 * 1024;

/// Largest file of rules or tests, bytes: some hundred for each line.
pub const ALLOW_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Tests of one tests file.
pub const ALLOW_CASES_MAX: usize = 10_000;

/// Mistakes of one file that are reported: whoever has more starts with these.
pub const ALLOW_PROBLEMS_MAX: usize = 100;

/// Calls whose lengths are remembered, for a guess at how long those of now will go on: an hour or two of a busy node.
pub const LENGTHS_KEPT: usize = 512;

/// URLs an operator asks the allow list about at once.
pub const ALLOW_TESTS_AT_ONCE_MAX: usize = 100;

/// Devices an operator gives whoever asks in such a test.
pub const ALLOW_TEST_DEVICES_MAX: usize = 16;
