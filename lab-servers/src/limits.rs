//! Every bound of the simulated servers and phones, each with its reason.

use std::time::Duration;

/// Users a registrar knows; a lab has a handful, a test fleet some hundreds.
pub const USERS_MAX: usize = 4_096;

/// Contacts one address of record may hold: a person's desk phone, softphone, mobile and spares.
pub const CONTACTS_PER_AOR_MAX: usize = 8;

/// Nonces the registrar remembers; the oldest is forgotten first (and then answered as stale).
pub const NONCES_MAX: usize = 4_096;

/// How long a nonce may be used before it is called stale.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// Stream connections a registrar holds at once.
pub const CONNECTIONS_MAX: usize = 1_024;

/// Transactions a registrar or phone holds at once; beyond it requests get 503.
pub const TRANSACTIONS_MAX: usize = 4_096;

/// Elements waiting for one actor; a reader waits when it is full, so the peer feels back-pressure.
pub const EVENTS_QUEUE_MAX: usize = 256;

/// Messages waiting to be written to one connection; beyond it the connection is closed as stalled.
pub const WRITES_QUEUE_MAX: usize = 256;

/// Expiry granted when a REGISTER asks for none, and the longest one granted (RFC 3261 §10.3).
pub const EXPIRES_MAX_SECS: u32 = 3_600;

/// Largest UDP datagram read.
pub const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// RFC 3261 §17.1.1.1: the round-trip estimate all retransmission starts from.
pub const T1: Duration = Duration::from_millis(500);

/// RFC 3261 §17.1.2.2: the longest pause between retransmissions.
pub const T2: Duration = Duration::from_secs(4);

/// RFC 3261: 64·T1, the life of a transaction that gets no answer.
pub const TRANSACTION_LIFE: Duration = Duration::from_secs(32);

/// Timer C of a proxied INVITE (RFC 3261 §16.6 step 11): how long a phone may ring.
pub const RINGING_MAX: Duration = Duration::from_secs(180);

/// How long a phone waits to be connected, TLS handshake included.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a phone waits for the final answer to a request other than INVITE.
pub const ANSWER_MAX: Duration = Duration::from_secs(8);

/// Calls one phone holds at once, ringing ones included; beyond it callers get 486.
pub const CALLS_MAX: usize = 16;

/// Past responses a phone keeps for retransmitted requests.
pub const RESPONSES_KEPT: usize = 64;

/// Delay samples kept per media stream: ten minutes of 20 ms packets.
pub const DELAY_SAMPLES_MAX: usize = 30_000;

/// Tries for a free even/odd pair of ports.
pub const PORT_TRIES_MAX: usize = 64;

/// Packets an echoing phone holds back: one second of speech.
pub const ECHO_PACKETS_MAX: usize = 50;

/// Longest pause between two attempts to reconnect.
pub const RECONNECT_MAX: Duration = Duration::from_secs(4);

/// Sources (SSRC) one media stream follows; a call transferred a few times may bring as many.
pub const SOURCES_MAX: usize = 8;

/// Requests the log of simulated UC servers keeps, the oldest forgotten first: a minute of 200 sign-ins a second,
/// several requests each.
pub const UC_LOG_MAX: usize = 65_536;

/// Largest body simulated UC servers read.
pub const UC_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Access tokens a simulated cluster remembers, the oldest forgotten first.
pub const UC_TOKENS_MAX: usize = 16_384;

/// Loopback addresses tried for one on which all ports of a UC server are free.
pub const ADDRESS_TRIES_MAX: usize = 64;

/// Attempts to take the ports of a server back that was switched off: its last connections may still be closing.
pub const BIND_TRIES_MAX: usize = 200;

/// How long records of the lab's DNS may be kept: changes should be seen soon.
pub const DNS_TTL_SECS: u32 = 1;

/// Questions the lab's DNS remembers.
pub const DNS_LOG_MAX: usize = 16_384;

/// What a call manager grants whatever a REGISTER asks for ("SIP Station KeepAlive Interval"), seconds.
pub const STATION_EXPIRES_SECS: u32 = 120;

/// How long a client of the lab waits for a whole HTTP answer.
pub const CLIENT_ANSWER_MAX: Duration = Duration::from_secs(15);

/// Largest body a client of the lab reads.
pub const CLIENT_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest stanza simulated chat servers and clients read: more than any node lets through.
pub const STANZA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Streams a simulated chat server remembers for its log.
pub const CHAT_STREAMS_MAX: usize = 16_384;

/// Bytes of one stream it remembers.
pub const CHAT_LOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Stanzas that wait for one chat session, unacknowledged ones included; beyond it they are lost, and the log says so.
pub const CHAT_WAITING_MAX: usize = 4_096;

/// Work of SCRAM: what RFC 7677 §4 asks for at least.
pub const SCRAM_ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::new(4_096).unwrap();

/// How long a chat client waits for the answer to one thing.
pub const CHAT_ANSWER_MAX: Duration = Duration::from_secs(20);

/// One-time passwords that are remembered, the oldest forgotten first.
pub const ONE_TIME_PASSWORDS_MAX: usize = 4_096;
