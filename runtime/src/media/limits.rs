//! Every bound of the media thread, each with its reason.

use std::time::Duration;

use edgeway_media::limits::{DATAGRAM_HEADER_BYTES, PACKET_BYTES_MAX, SRTCP_OVERHEAD_BYTES};
use edgeway_model::limits::RELAYS_MAX;

/// Port pairs bound at once: one for each relay, and as many again as may be quiet or free.
pub(super) const PAIRS_MAX: usize = RELAYS_MAX + RELAYS_MAX / 2;

/// Random picks of a pair before the range is walked through.
pub(super) const RANDOM_PICKS: usize = 16;

/// Pairs tried in one walk through the range; each costs two or three system calls, and packets
/// wait meanwhile.
pub(super) const PICKS_IN_ORDER_MAX: usize = 512;

/// How long a pair discards what arrives after its relay has ended: longer than a far end takes
/// to hear that a call is over, so that the next call does not hear the last.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// Receive buffer of a media socket in use, bytes as the system accounts them: some hundred
/// packets, the burst of a video key frame.
pub(super) const SOCKET_BUFFER_BYTES: usize = 256 * 1024;

/// Receive buffer of a media socket that nobody uses: nothing sprayed at it is to take memory.
/// The system rounds it up to about one packet.
pub(super) const IDLE_SOCKET_BUFFER_BYTES: usize = 0;

/// Packets taken out of a pair's socket before it is given to a relay; more than its buffer holds.
pub(super) const STALE_PACKETS_MAX: usize = 1_024;

/// Room for one packet: link header, the largest packet with what protection adds, and one byte
/// more, so that a larger one shows.
pub(super) const SCRATCH_BYTES: usize = DATAGRAM_HEADER_BYTES + PACKET_BYTES_MAX + SRTCP_OVERHEAD_BYTES + 1;

/// Bytes of the chunks outgoing datagrams are cut from.
pub(super) const ARENA_BYTES: usize = 64 * 1024;

/// Sockets reported by one wait.
pub(super) const EVENTS_MAX: usize = 1_024;

/// Looks at the sockets within one turn. A turn that finds more than this leaves it to the next,
/// so that links are written and orders heard.
pub(super) const PASSES_MAX: usize = 8;

/// Packets a second from which on turns are spaced by [`TURN_SPACING`]. Below, a turn is cheap
/// against the delay it would add; above, one wake-up per packet is what costs most.
pub(super) const BUSY_PACKETS_PER_SECOND: u64 = 4_000;

/// How long packets are counted before the thread is called busy, or no longer.
pub(super) const LOAD_WINDOW: Duration = Duration::from_millis(10);

/// Time between two turns while there is load: what batching may add to the delay of a packet,
/// per node. Measured at 10,000 packets a second: 300 us cost 30 us of CPU per packet over both
/// nodes, 600 us cost 16, 900 us cost 15.
pub(super) const TURN_SPACING: Duration = Duration::from_micros(600);

/// The same where load is just enough to count: a turn must be worth its wake-up.
pub(super) const TURN_SPACING_LIGHT: Duration = Duration::from_micros(900);

/// Packets a second from which on a turn of [`TURN_SPACING`] is worth its wake-up: nine of them.
pub(super) const FULL_PACKETS_PER_SECOND: u64 = 15_000;

/// Packets of a link that may come before they are acknowledged, and how long they may wait for it
/// (draft-ietf-quic-ack-frequency): nothing is sent again, so nobody is in a hurry.
pub(super) const LINK_ACK_EVERY: u32 = 10;

/// See [`LINK_ACK_EVERY`].
pub(super) const LINK_ACK_WITHIN: Duration = Duration::from_millis(20);

/// How often relays are looked after (reports, silent clients, quiet ports), and facts retried that
/// the node had no room for.
pub(super) const HOUSEKEEPING_EVERY: Duration = Duration::from_millis(100);

/// How often a relay is reported.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Control datagrams waiting for the thread: probes go every 200 ms per peer, so this is more
/// than a second of a full mesh. Older ones say nothing new.
pub(super) const CONTROL_QUEUED_MAX: usize = 256;

/// Control datagrams a second taken from one peer: ten times what nodes send. A peer that floods
/// must not take the node's own thread with it.
pub(super) const CONTROL_PER_SECOND_MAX: u32 = 100;

/// Pairs bound in one turn: each costs some ten microseconds, while packets wait.
pub(super) const BINDS_PER_TURN: u16 = 16;

/// Orders carried out in one turn, so that packets never wait long.
pub(super) const ORDERS_PER_TURN: usize = 64;

/// Peers known at once: a full mesh has six; the rest is for names that came and went.
pub(super) const PEERS_MAX: usize = 64;

/// QUIC connections at once, closing ones included: two for each peer (the old and its
/// replacement), and handshakes.
pub(super) const CONNECTIONS_MAX: usize = 192;

/// Handshakes under way from which on a new address must prove itself first (RFC 9000 §8.1.2).
pub(super) const HANDSHAKES_BEFORE_RETRY: usize = 8;

/// Handshakes under way from which on nobody new is let in.
pub(super) const HANDSHAKES_MAX: usize = 64;

/// Handshakes under way from one address: a full mesh behind one NAT has six.
pub(super) const HANDSHAKES_PER_ADDRESS_MAX: usize = 8;

/// Bytes buffered of handshakes not looked at yet; the thread accepts within the turn.
pub(super) const INCOMING_BUFFER_BYTES: u64 = 64 * 1024;

/// Bytes of datagrams waiting to be sent on a link: 80 ms of 100 Mbit/s. The oldest give way.
pub(super) const DATAGRAM_BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes of datagrams of a link taken in within one turn: what its socket may have held after the thread had
/// to wait for its processor, and as much again.
pub(super) const DATAGRAMS_TAKEN_BYTES: usize = 2 * LINK_SOCKET_BYTES;

/// Bytes in flight on one link: more than a second of 100 Mbit/s. Media is admitted by calls; what
/// is admitted is never held back, for late media is lost media.
pub(super) const LINK_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// How long a stranger's QUIC handshake may take.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Silence after which a link's datagram path is given up. Nodes judge liveness themselves, by
/// probes, earlier; this makes room for a new dial.
pub(super) const LINK_IDLE: Duration = Duration::from_secs(3);

/// How often a silent link is prodded: eight times before it is given up.
pub(super) const LINK_KEEPALIVE: Duration = Duration::from_millis(300);

/// Silence after which an open UDP path is given up for another way: a cut of two seconds changes
/// nothing, and it comes before the link itself counts as dead. Nodes probe the path every 200 ms: at
/// 20 % loss, twelve in a row are lost once in years.
pub(super) const LINK_SILENT_AFTER: Duration = Duration::from_millis(2_500);

/// How long UDP may be silent, or closed, before TCP is dialled beside it: soon enough that it is there
/// when UDP is given up.
pub(super) const FALLBACK_AFTER: Duration = Duration::from_secs(1);

/// How long the TCP connection is kept after UDP has come back: it may go again.
pub(super) const FALLBACK_KEPT: Duration = Duration::from_secs(10);

/// TCP connections for media at once: one for each peer.
pub(super) const STREAMS_MAX: usize = PEERS_MAX;

/// Bytes of datagrams waiting for one TCP connection: a fifth of a second of 10 Mbit/s. The oldest give
/// way.
pub(super) const STREAM_QUEUE_BYTES: usize = 256 * 1024;

/// How long a datagram may wait for a TCP connection: later, nobody plays it.
pub(super) const STREAM_STALE_AFTER: Duration = Duration::from_millis(200);

/// Bytes the system may hold of a TCP connection and has not sent: what waits there cannot give way.
pub(super) const STREAM_UNSENT_BYTES: u32 = 32 * 1024;

/// Bytes of datagrams written as one TLS record, which is at most 16 KiB (RFC 8446 §5.1).
pub(super) const STREAM_RECORD_BYTES: usize = 16 * 1024;

/// Largest datagram on a TCP connection: a packet with what protection adds, and its header.
pub(super) const STREAM_DATAGRAM_BYTES_MAX: usize = SCRATCH_BYTES;

/// Reads from one TCP connection within one pass.
pub(super) const STREAM_READS_PER_PASS: usize = 16;

/// How long dialling over TCP may take, for each address.
pub(super) const STREAM_HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried over TCP.
pub(super) const STREAM_ADDRESSES_MAX: usize = 4;

/// How long sent bytes may stay unacknowledged before the system gives a TCP connection up.
pub(super) const STREAM_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// First delay before an edge is dialled again.
pub(super) const REDIAL_FIRST: Duration = Duration::from_millis(100);

/// Longest delay.
pub(super) const REDIAL_MAX: Duration = Duration::from_secs(5);

/// How long a connection must have lived for the next delay to be the first again.
pub(super) const REDIAL_FORGIVEN_AFTER: Duration = Duration::from_secs(5);

/// Segments sent in one system call.
pub(super) const SEGMENTS_MAX: usize = 32;

/// UDP packets, or trains of them, taken in by one system call.
pub(super) const RECEIVE_BATCH: usize = 4;

/// Room for one train of received segments.
pub(super) const RECEIVE_BYTES: usize = 64 * 1024;

/// Receive calls on a link's socket within one pass.
pub(super) const RECEIVES_PER_PASS: usize = 16;

/// Socket buffers of a link, bytes, as far as the system grants them.
pub(super) const LINK_SOCKET_BYTES: usize = 4 * 1024 * 1024;
