//! Every bound of this room, each with its reason.

use std::time::Duration;

/// Largest session description taken, bytes. A rich video client stays below 8 KiB.
pub const SDP_BYTES_MAX: usize = 32 * 1024;

/// Lines of one session description.
pub const SDP_LINES_MAX: usize = 1_000;

/// Media sections of one session description.
pub const SDP_SECTIONS_MAX: usize = 32;

/// Media sections of one description that are relayed; each takes two ports on either side. Audio,
/// two videos, BFCP, far-end camera control and iX are the most a client in the field offers.
pub const SDP_SECTIONS_CARRIED_MAX: usize = 8;

/// Crypto attributes kept per media section; offers in the field carry at most eight.
pub const SDP_CRYPTO_LINES_MAX: usize = 16;

/// Bytes of the header of a datagram on the link.
pub const DATAGRAM_HEADER_BYTES: usize = 8;

/// Bytes before one half of a packet that is larger than a datagram of the link.
pub const HALF_HEADER_BYTES: usize = DATAGRAM_HEADER_BYTES + 4;

/// Halves that wait for the other, per direction of a link; a power of two, so that numbers may
/// wrap. At 100 Mbit/s of video it holds 28 ms, more than a path reorders.
pub const HALVES_WAITING_MAX: usize = 256;

/// How long a half waits for the other. Both leave together; what comes later is too late to be
/// played.
pub const HALF_WITHIN: Duration = Duration::from_millis(200);

/// Largest RTP or RTCP packet taken from a socket, protection included: what an Ethernet carries.
/// Two datagrams of the link carry it over any path.
pub const PACKET_BYTES_MAX: usize = 1_500;

/// Most bytes SRTP adds to an RTP packet: the tag of the AEAD suites (RFC 7714 §13.1).
pub const SRTP_OVERHEAD_BYTES: usize = 16;

/// Most bytes SRTP adds to an RTCP packet: such a tag, E flag and index (RFC 7714 §9.2).
pub const SRTCP_OVERHEAD_BYTES: usize = 20;

/// Fewest bytes SRTP adds to an RTP packet: the tag of AES_CM_128_HMAC_SHA1_32.
pub const SRTP_OVERHEAD_BYTES_MIN: usize = 4;

/// Fewest bytes SRTP adds to an RTCP packet: E flag and index, a tag of 80 bits (RFC 3711 §3.4).
pub const SRTCP_OVERHEAD_BYTES_MIN: usize = 14;

/// Synchronisation sources one receiving context remembers. Their replay state is never given up
/// while the key lives (a forgotten source could be replayed), so the table must outlast every
/// change of source a client makes under one key.
pub const RECEIVE_SOURCES_MAX: usize = 256;

/// Inside sources one sending context maps at once; the one idle longest gives way.
pub const SEND_SOURCES_MAX: usize = 16;

/// Outgoing SSRCs one key may use up. After that the sender falls silent: without memory of what
/// was used, keystream could repeat.
pub const SEND_SSRCS_MAX: usize = 1_024;

/// Duplicates in a row, with nothing new between them, after which the inside source is taken to
/// have restarted.
pub const RESTART_DUPLICATES: u8 = 8;

/// Unproven sources one component of a relay follows at once, the signalling address's slot
/// included.
pub const CANDIDATES_MAX: usize = 4;

/// Packets a second forwarded from unproven sources, per relay and class (signalling address,
/// others).
pub const UNPROVEN_PACKETS_PER_SECOND: u64 = 20;

/// Packets from unproven sources that may come in one burst.
pub const UNPROVEN_BURST: u64 = 10;

/// Packets forwarded for one candidate after which a new source may take its slot.
pub const CANDIDATE_TRIES: u8 = 5;

/// Silence after which a new source may take a candidate's slot. With [`CANDIDATE_TRIES`] it
/// keeps a slot's 64 generations from coming round while a latch is under way.
pub const CANDIDATE_IDLE: Duration = Duration::from_secs(1);

/// How long after its last packet the latched source still counts as alive: meanwhile only a packet
/// that was certainly not held back moves the latch. Longer than the gaps of any codec without
/// silence suppression, and well below the second within which media is to be regained.
pub const LATCHED_ALIVE: Duration = Duration::from_millis(500);

/// How long a complete relay waits for the client's first packet before it is called silent.
pub const CLIENT_SILENT_AFTER: Duration = Duration::from_secs(3);

/// How long packets under the client's previous key are still opened after a change: both sides
/// cannot change at the same instant.
pub const KEY_CHANGE_GRACE: Duration = Duration::from_secs(2);

/// Packets opened with the key before in that time: two seconds of video at 10 Mbit/s.
pub const KEY_CHANGE_PACKETS: u32 = 2_500;

/// Keys of one party whose replay state is kept. A key that comes back within so many changes is
/// still proof against replays of its earlier packets.
pub const RECEIVE_KEYS_MAX: usize = 8;

/// Keys one relay may send with in its life, both legs together: four suites on each, and one
/// renewal of them all. A key is never forgotten, for it could come back and its keystream with it;
/// when the table is full, a leg with a further key falls silent.
pub const SEND_KEYS_MAX: usize = 16;

/// Bytes kept of the names of the codecs of a media section, for an operator who looks at a call. Most answers name one or
/// two; an answer that names many is cut.
pub const CODECS_BYTES_MAX: usize = 96;
