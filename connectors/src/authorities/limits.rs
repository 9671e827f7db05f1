//! Bounds of the conversations with authorities, each with its reason.

use std::time::Duration;

/// Time one check has altogether, whatever the authority does: a client waits about as long.
pub const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// Longest users file, bytes: a hundred thousand users at 160 bytes each.
pub const USERS_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Users of one file: more belong into a directory.
pub const USERS_FILE_USERS_MAX: usize = 100_000;

/// Longest line of a users file, bytes: a hash is about 100, the rest is numbers and devices.
pub const USERS_FILE_LINE_BYTES_MAX: usize = 4_096;

/// Problems of a users file that are told at once: a file of another kind has one on every line.
pub const USERS_FILE_PROBLEMS_MAX: usize = 20;

/// Numbers, and devices, of one user of a users file.
pub const USERS_NAMES_MAX: usize = 32;

/// Longest number or device name of a users file, bytes.
pub const USERS_NAME_BYTES_MAX: usize = 64;

/// How often a users file is looked at for changes.
pub const USERS_FILE_LOOK_EVERY: Duration = Duration::from_secs(2);

/// Memory of one Argon2id check, KiB: 256 Mi, and [`ARGON2_CHECKS_MAX`] may run at once.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Passes of one Argon2id check.
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Lanes of one Argon2id check.
pub const ARGON2_LANES_MAX: u32 = 8;

/// Argon2id checks under way at once, each on a thread: signing in must not take the processors from calls.
pub const ARGON2_CHECKS_MAX: usize = 2;

/// Sign-ins that wait for a check of the users file: what is behind them would only wait in vain, and is told
/// so at once.
pub const ARGON2_WAITING_MAX: usize = 256;

/// Longest password, bytes. Longer ones are refused unread.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Longest answer of UDS, bytes: a user with a hundred devices has about 100 KiB.
pub const UDS_ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Deepest element of an answer of UDS: they are five deep.
pub const UDS_DEPTH_MAX: usize = 32;

/// Elements of an answer of UDS: a device has about ten.
pub const UDS_ELEMENTS_MAX: usize = 16_384;

/// Attributes of one element of an answer of UDS: they have four.
pub const UDS_ATTRIBUTES_MAX: usize = 32;

/// Devices, numbers or servers of one answer of UDS that are taken.
pub const UDS_NAMES_MAX: usize = 256;

/// Longest name of a device, number or server that is taken, bytes.
pub const UDS_NAME_BYTES_MAX: usize = 128;

/// Time one node has to answer one question of UDS: another one is asked within [`CHECK_WITHIN`].
pub const UDS_ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How long the other clusters are waited for once one has said where a user is at home: all of them where they are
/// well, so that known users take no other time than unknown ones.
pub const UDS_OTHERS_WITHIN: Duration = Duration::from_millis(500);

/// Nodes of a cluster that are asked the same before the cluster counts as unavailable.
pub const UDS_NODES_TRIED_MAX: usize = 3;

/// Clusters of a deployment that are asked for a user's home at once.
pub const UDS_CLUSTERS_MAX: usize = 16;

/// Longest access token, bytes: those of call managers have two to four thousand, an encrypted part included.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Audiences of one access token that are looked at.
pub const TOKEN_AUDIENCES_MAX: usize = 16;

/// Keys one access token without a key id, or with one that several have, is tried with.
pub const TOKEN_KEYS_TRIED_MAX: usize = 8;

/// How much clocks of call manager and core may differ.
pub const TOKEN_SKEW: Duration = Duration::from_secs(60);

/// How soon an unknown key makes discovery look at the keys again: whoever makes tokens up must not make it ask
/// the call managers for each.
pub const TOKEN_KEYS_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The same where not all call managers have answered: until then nobody with an unknown key is told yes or no.
pub const TOKEN_KEYS_FAILED_FOR: Duration = Duration::from_secs(5);

/// How long a sign-in waits for that look.
pub const TOKEN_KEYS_WITHIN: Duration = Duration::from_secs(4);

/// Binds under way at once, all directories of a deployment together: more sign-ins wait.
pub const LDAP_BINDS_MAX: usize = 64;

/// Time one directory server has, with its name, TCP, TLS and the bind: the next one is asked within [`CHECK_WITHIN`].
pub const LDAP_SERVER_WITHIN: Duration = Duration::from_secs(4);

/// Time one address of a directory server has to accept a connection.
pub const LDAP_ADDRESS_WITHIN: Duration = Duration::from_millis(1_500);

/// Addresses of a directory server's name that are tried.
pub const LDAP_ADDRESSES_MAX: usize = 4;

/// Longest answer of a directory to a bind, bytes: a code, a text and maybe some controls.
pub const LDAP_ANSWER_BYTES_MAX: usize = 64 * 1024;
