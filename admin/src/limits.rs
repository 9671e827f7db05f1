//! The bounds of this room, each with its reason.

use std::time::Duration;

/// Connections of administrators at once: browsers hold six each, programs one.
pub const CONNECTIONS_MAX: usize = 256;

/// Of one address, so that one program that leaks connections does not shut the others out. All that come by way of one
/// proxy share it.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// TLS handshake, from accept to its end.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long the head of a request may take, and how long a connection may be idle (HTTP/1.1).
pub const HEAD_MAX: Duration = Duration::from_secs(30);

/// Largest head of a request, bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How long a connection may have no request under way, whatever else it sends, before it is ended.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// An answer is handed over in pieces of so many bytes, so that one that is taken slowly is seen to be taken.
pub const PIECE_BYTES: usize = 16 * 1024;

/// Requests of one HTTP/2 connection at once: a page with its assets and its stream has ten.
pub const STREAMS_MAX: u32 = 64;

/// Largest body of a request, bytes: as on the control socket.
pub const BODY_BYTES_MAX: usize = edgeway_runtime::limits::ADMIN_BODY_BYTES_MAX;

/// Largest body of somebody who has not signed in, bytes: a name, a password and where to go then, each character written
/// as three.
pub const STRANGERS_BODY_BYTES_MAX: usize = 8 * 1024;

/// Bodies held at once, bytes: sixteen of the largest. Further ones are told to come again.
pub const BODIES_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;

/// Bodies held at once of those who have not signed in, bytes, apart from the others so that they keep nobody out who has:
/// 128 of the largest.
pub const STRANGERS_BODIES_BYTES_MAX: usize = 128 * STRANGERS_BODY_BYTES_MAX;

/// Of them from one place, an IPv4 address or a network of IPv6 (/64): half, which all that come by way of one proxy share.
pub const BODIES_BYTES_OF_PLACE_MAX: usize = BODIES_BYTES_MAX / 2;

/// Of those of strangers from one place: an eighth, sixteen sign-ins at once.
pub const STRANGERS_BODIES_BYTES_OF_PLACE_MAX: usize = STRANGERS_BODIES_BYTES_MAX / 8;

/// What a client may send on an HTTP/2 connection before anybody reads it, bytes: as RFC 9113 has it, since it is held
/// even of strangers.
pub const WINDOW_BYTES: u32 = 65_535;

/// How long the body of a request may take.
pub const BODY_MAX: Duration = Duration::from_secs(20);

/// How long a client may leave an answer lying before its connection is closed.
pub const STALLED_MAX: Duration = Duration::from_secs(30);

/// How long one node may take to answer before its part of a page is left out and said to be missing.
pub const NODE_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long an order to one node may take, such as a discovery of twenty servers.
pub const NODE_ORDER_MAX: Duration = Duration::from_secs(60);

/// Nodes asked at once: a full deployment has six edges and six cores.
pub const NODES_MAX: usize = 64;

/// Entries of one page of a list.
pub const PAGE_MAX: usize = 500;

/// Entries of a page where nobody says how many.
pub const PAGE_DEFAULT: usize = 100;

/// Longest cursor taken back, bytes.
pub const CURSOR_BYTES_MAX: usize = 4 * 1024;

/// What one node may add to it, bytes as JSON: a text of 64, more than any node of ours says.
pub const CURSOR_OF_NODE_BYTES_MAX: usize = 66;

/// Longest filter of a list, characters, as the description of the API counts: the longest name of a user.
pub const FILTER_CHARS_MAX: usize = 320;

/// Longest name of a deployment that is asked about, characters.
pub const DEPLOYMENT_CHARS_MAX: usize = 64;

/// Longest name of a rule of the allow list, as it is sent, characters; the configuration has bounds of its own, which are
/// no wider.
pub const RULE_NAME_CHARS_MAX: usize = 64;

/// Longest URL of a rule, as it is sent, characters.
pub const RULE_URL_CHARS_MAX: usize = 4_096;

/// Longest word for how a rule compares, as it is sent, characters.
pub const RULE_MATCH_TYPE_CHARS_MAX: usize = 16;

/// Longest description of a rule, as it is sent, characters.
pub const RULE_DESCRIPTION_CHARS_MAX: usize = 256;

/// Methods of a rule, as it is sent.
pub const RULE_METHODS_MAX: usize = 16;

/// Longest method of a request that the allow list is asked about, characters.
pub const TESTED_METHOD_CHARS_MAX: usize = 24;

/// Longest name in a path where nothing of that sort has a shorter bound of its own, characters: what is longer is the name
/// of nothing, and is not looked for.
pub const PATH_NAME_CHARS_MAX: usize = 256;

/// For how long the certificate holds that the core makes itself, days: browsers take no longer one.
pub const SELF_SIGNED_DAYS: i64 = 820;

/// A certificate of our own that holds for less than this is made anew at the next start, days.
pub const SELF_SIGNED_LEFT_DAYS: i64 = 30;

/// How often certificate files are looked at.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// How often a listener whose port is taken tries again.
pub const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// How long the administrator's side may take to end.
pub const END_MAX: Duration = Duration::from_secs(2);

/// Refusals of strangers that are written to the audit log in a minute, and as many of failed sign-ins; the others are
/// not, so that nobody can push its lines out from outside.
pub const AUDITED_REFUSALS_MAX: u32 = 30;

/// Requests of one account or token that were refused and are written to the audit log in an hour; then one line says that
/// there are more, so that nobody with little to say can push its lines out.
pub const AUDITED_REFUSALS_OF_ONE_MAX: u32 = 60;

/// Accounts and tokens whose refusals are counted: as many as there may be of both.
pub const AUDITED_ONES_MAX: usize = 1_024;

/// Longest text of a request in the audit log, characters.
pub const AUDIT_TEXT_MAX: usize = 200;

/// Shortest password, characters (NIST SP 800-63B asks for 8 where there is a second factor, and for more where there is
/// none).
pub const PASSWORD_CHARS_MIN: usize = 12;

/// Longest password, characters: a passphrase is shorter, and hashing must not be made expensive by its length.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// Passwords hashed at once: each takes 19 MiB and some 30 ms of a processor.
pub const HASHES_AT_ONCE: usize = 2;

/// Sign-ins that wait for that; further ones are told to come again.
pub const HASHES_WAITING_MAX: usize = 16;

/// Longest name of an account, bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest name of a token, characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;

/// Longest life of a token that ends at all, days: ten years.
pub const TOKEN_DAYS_MAX: u64 = 3_650;

/// A session of a browser that is not used for so long ends, ms: half an hour.
pub const SESSION_IDLE_MS: u64 = 30 * 60_000;

/// A session ends after this in any case, ms: a working day.
pub const SESSION_MS: u64 = 12 * 3_600_000;

/// How often the use of a session or a token is written down, ms: a page that follows what happens asks every second.
pub const SEEN_EVERY_MS: u64 = 60_000;

/// How long the code for the first sign-in is good, ms: a day.
pub const FIRST_CODE_MS: u64 = 24 * 3_600_000;

/// Entries of each table of failed sign-ins; whoever failed longest ago is forgotten first.
pub const THROTTLE_ENTRIES_MAX: usize = 4_096;

/// Failed sign-ins are forgotten after this without a further one.
pub const FAILURES_FORGOTTEN: Duration = Duration::from_secs(3_600);

/// For how long a place is known from which somebody has signed in, ms: a quarter of a year.
pub const KNOWN_PLACE_MS: u64 = 90 * 86_400_000;

/// How often it is written down that somebody signs in from a place that is known, ms: once a day.
pub const KNOWN_PLACE_EVERY_MS: u64 = 86_400_000;

/// Orders at the control socket that wait to be written into the audit log; where it is full, whoever orders waits.
pub const ORDERS_WAITING_MAX: usize = 256;

/// Longest that a request at the control socket waits until the orders before it are in the audit log.
pub const ORDER_WRITTEN_MAX: Duration = Duration::from_secs(1);

/// Programs and browsers that follow what happens at once.
pub const FOLLOWERS_MAX: usize = 64;

/// Of them of one account or token.
pub const FOLLOWERS_OF_ONE_MAX: usize = 16;

/// How often the status is told to those who follow it; all share one look.
pub const TICK: Duration = Duration::from_secs(1);

/// What may wait for one who reads slowly; then it ends, and they connect again.
pub const FOLLOWER_QUEUE_MAX: usize = 64;

/// How often it is asked whether somebody may still follow.
pub const FOLLOWER_CHECK: Duration = Duration::from_secs(15);
