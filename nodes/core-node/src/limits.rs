//! Bounds of a core, each with its reason.

use std::time::Duration;

/// How long a request waits for an edge whose link is down: a link that broke is back by then.
pub const ROUTE_WITHIN: Duration = Duration::from_secs(4);

/// Edges one core works with: twice the largest cluster.
pub const EDGES_MAX: usize = 12;

/// Other cores one core is linked with: twice the largest cluster.
pub const PEERS_MAX: usize = 12;

/// Messages no honest edge passes on (no SIP, or SIP it must refuse) that one link may bring before it is
/// closed. An edge and a core of different versions may differ over a few.
pub const LINK_FAULTS_MAX: u32 = 100;

/// Longest Call-ID or tag taken from an edge, bytes: calls are remembered by them.
pub const DIALOG_NAME_BYTES_MAX: usize = 512;

/// Connections inside: registrars, their own connections to us, and parties that called.
pub const STREAMS_MAX: usize = 4_096;

/// Calls held at once: each takes a relay at least.
pub const CALLS_MAX: usize = edgeway_model::limits::RELAYS_MAX;

/// Parties that may ring or have answered for one INVITE: more than a user has devices. One that rings
/// beyond it rings without early media; one that answers takes the place of the first that rings.
pub const EARLY_DIALOGS_MAX: usize = 8;

/// Transactions remembered per call: forks answer late, but not for ever.
pub const EXCHANGES_MAX: usize = 16;

/// Offers kept per dialog: one under way for each side, and those whose answers may be repeated.
pub const PROPOSALS_MAX: usize = 4;

/// When binding media ports is tried again after it failed.
pub const BIND_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Inside port pairs kept bound in advance; a call takes one for each media section.
pub const INSIDE_PAIRS: usize = 64;

/// Tags one party of a call may show (a forking client, several early dialogs).
pub const TAGS_MAX: usize = 8;

/// A call whose client is gone, and that carries no media from it, ends after this.
pub const LOST_CALL_AFTER: Duration = Duration::from_secs(60);

/// Times a request is tried again at another registrar or on a new connection.
pub const RETRIES_MAX: u8 = 2;

/// Own Route values taken off one request.
pub const OWN_ROUTES_MAX: usize = 4;

/// Devices, and connections, of which it is remembered which registrar they are at: twice what an edge
/// may carry. More choose anew each time.
pub const HELD_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;

/// Dialogs of clients whose other party is remembered: phones with many busy lamps have dozens each.
pub const DIALOGS_MAX: usize = 200_000;

/// Dialogs of one client connection: the largest key modules have about a hundred keys, each a
/// subscription.
pub const DIALOGS_PER_CLIENT_MAX: usize = 512;

/// Longest Call-ID and tag of a remembered dialog together, bytes. Honest ones have about 100.
pub const DIALOG_LABEL_BYTES_MAX: usize = 512;

/// Longest Call-ID of a client's INVITE, bytes: it leaves room for the tags of those who answer, so that the
/// dialog can be remembered.
pub const INVITE_CALL_ID_BYTES_MAX: usize = DIALOG_LABEL_BYTES_MAX - 128;

/// How long a call's dialog is remembered without any request that refreshes it.
pub const DIALOG_IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// How long an unanswered call's dialog is remembered: longer than anybody may ring.
pub const DIALOG_EARLY_MAX: Duration = Duration::from_secs(240);

/// How long a dialog is remembered after its end, for what is still under way.
pub const DIALOG_ENDED_KEPT: Duration = Duration::from_secs(32);

/// How long a subscription lasts where nobody says (RFC 3515, RFC 6665 leave it to the package).
pub const SUBSCRIPTION_DEFAULT: Duration = Duration::from_secs(3_600);

/// Sessions of signed-in users a core knows: more than twice the users of a cluster of six edges at work.
pub const SESSIONS_MAX: usize = 100_000;

/// Sessions, or identities of connections, a core that has just been linked is told at once, and after how
/// long the next portion follows: a full table takes half a minute, and SIP is not kept waiting.
pub const REPLAY_PORTION: usize = 200;

/// See [`REPLAY_PORTION`].
pub const REPLAY_EVERY: Duration = Duration::from_millis(50);

/// Users whose tokens were revoked that a core remembers, to tell nodes that were away: an operator
/// revokes by hand. The oldest gives way; by then its tokens have expired.
pub const REVOCATIONS_MAX: usize = 10_000;

/// Connections of clients whose proven identity is remembered: twice what an edge may carry. Beyond it a
/// client is asked to prove itself each time.
pub const IDENTITIES_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;

/// Connections whose nonces are remembered. A stranger costs one; the oldest give way, and their clients
/// are asked once more.
pub const NONCE_FLOWS_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;

/// Nonces of one connection that are good at once: each of its lines may answer one of its own.
pub const NONCES_PER_FLOW_MAX: usize = 4;

/// How long a nonce is good. A client in use then answers once more, with nobody asked for a password.
pub const NONCE_LIFE: Duration = Duration::from_secs(3_600);

/// Wrong digests one connection may show before what it shows is not looked at: somebody who mistypes a
/// password three times, with two lines.
pub const GUESSES_PER_FLOW_MAX: u32 = 5;

/// Wrong digests in a user's name from strangers, and from each address of the user's own, before what they show
/// is not looked at: as with sign-ins over HTTPS, a few thousand guesses take a day.
pub const GUESSES_PER_USER_MAX: u32 = 8;

/// For how long wrong digests count, and how long nothing more is looked at.
pub const GUESS_WINDOW: Duration = Duration::from_secs(300);

/// Users who were guessed at that are remembered, real ones or not. The oldest gives way: it takes as many wrong
/// digests to make it.
pub const GUESSED_USERS_MAX: usize = 50_000;

/// Connections whose wrong digests are counted: twice what an edge may carry.
pub const GUESSERS_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;

/// Users whose addresses are remembered: those whose sessions are. The oldest gives way.
pub const HOMES_MAX: usize = SESSIONS_MAX;

/// Addresses of one user that are remembered: home, office, and two ways to be under way.
pub const HOMES_PER_USER_MAX: usize = 4;

/// Connections of clients that other cores have vouched for: twice what an edge may carry.
pub const VOUCHED_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;

/// How much of an edge's reason for not using its settings an operator is shown, characters.
pub const WHY_CHARS_MAX: usize = 500;

/// Bytes kept of each party's address of a call, for an operator who looks: longer ones are cut.
pub const PARTY_BYTES_MAX: usize = 128;

/// Bytes kept of how one party of an answered call is spoken to: its address, its Contact and its route set. Honest ones
/// have 200 to 600; of a party that says more only address and tag are kept: it is not told of an end that an operator
/// orders, and finds out by itself.
pub const PARTY_WAY_BYTES_MAX: usize = 2_048;

/// Bytes kept of such a party's address, by which it is named to the other one. A longer one is named as nobody.
pub const PARTY_NAME_BYTES_MAX: usize = 512;

/// How long a call that an operator has ended waits for an ACK that is due (RFC 3261 §15), or for the callee's answer to
/// CANCEL (§9.1): 64 times T1, as those sections say.
pub const ENDING_WITHIN: Duration = Duration::from_secs(32);
