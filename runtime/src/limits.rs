//! Bounds of the sockets, each with its reason. Bounds of flows and links that nodes must know too
//! stand in [`edgeway_model::limits`].

use std::time::Duration;

/// Connections the kernel holds for us before we accept them: a second's worth when every phone
/// comes back at once.
pub const ACCEPT_BACKLOG: i32 = 4_096;

/// TLS handshakes in progress at once, per thread; more wait in the kernel. One that says nothing
/// holds a socket, one that is under way some 10 KiB, both for five seconds at most.
pub const HANDSHAKES_MAX: usize = 4_096;

/// Finished handshakes waiting for the reactor.
pub const FINISHED_MAX: usize = 1_024;

/// Ciphertext one handshake may hold: the largest handshake message rustls takes, and its records.
pub const HANDSHAKE_BYTES_MAX: usize = 72 * 1024;

/// After an accept failed for want of descriptors, how long the queue is left alone.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The read buffer all flows share: three TLS records of the largest size, and a bit.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// Ciphertext of an unfinished TLS record (or of a handshake message cut into records) one flow may
/// leave behind between two reads. A record is at most 16 KiB and a bit (RFC 8446 §5.2).
pub const PARTIAL_BYTES_MAX: usize = 40 * 1024;

/// Reads per wake-up of one flow, so that none starves the others.
pub const READS_PER_TURN: usize = 4;

/// Queued bytes of one flow that leave in one write.
pub const WRITE_BYTES: usize = 64 * 1024;

/// How long a closing flow may take to let out what is queued and to be closed by its peer.
pub const CLOSE_MAX: Duration = Duration::from_secs(2);

/// How often a stopping node looks whether its flows are gone.
pub const STOP_POLL: Duration = Duration::from_millis(10);

/// How often a node that ends as soon as it is idle looks whether it is: nobody notices a tenth of a second, and a
/// status is some work.
pub const IDLE_POLL: Duration = Duration::from_millis(100);

/// What a stopping node gives its links to tell their peers why: a few round trips.
pub const LINK_FAREWELL: Duration = Duration::from_millis(100);

/// How long a dialled connection may take to stand.
pub const CONNECT_MAX: Duration = Duration::from_secs(4);

/// Idle time before TCP asks whether the peer is there. SIP keepalives (RFC 5626 §4.4) come every
/// 30 to 120 s and do the same; this finds peers that send none, without waking phones more often.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(120);

/// Time between two TCP keepalives that go unanswered.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Unanswered TCP keepalives before a connection is dead.
pub const TCP_KEEPALIVE_PROBES: u32 = 4;

/// How long what was written may stay unacknowledged before a connection is dead.
pub const TCP_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Receive buffer of a SIP datagram socket: a burst of some hundred messages.
pub const DATAGRAM_RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

/// The largest datagram UDP carries.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Datagrams taken from one socket per wake-up.
pub const DATAGRAMS_PER_TURN: usize = 64;

/// Datagrams that wait for a full send buffer; more are dropped, as the network would.
pub const DATAGRAM_QUEUE_MAX: usize = 1_024;

/// How soon an edge tries again to write down what cores have told it, where it could not: a disk that is full stays so for
/// minutes, and a write of a few hundred bytes costs nothing.
pub const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// How often the node learns the wall clock.
pub const WALL_CLOCK_EVERY: Duration = Duration::from_secs(10);

/// How often within `WatchdogSec` the service manager is told that the service turns: one that is late once, because the
/// machine is busy, is not ended for it.
pub const WATCHDOG_BEATS: u32 = 3;

/// Largest certificate or key file taken, bytes. A chain of four RSA certificates is below 10 KiB.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Conversations one operator's listener (Unix socket, metrics address) holds at once; more wait in
/// the kernel. The two do not share them, so that no scraper shuts the operator out.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;

/// How long one conversation with an operator's program may take, from accept to close. Answers are
/// some kilobytes and asked for on the same machine.
pub const ADMIN_CONVERSATION_MAX: Duration = Duration::from_secs(5);

/// Largest request head taken from an operator's program, bytes. The least hyper allows.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields taken in a request of an operator's program.
pub const ADMIN_HEADERS_MAX: usize = 64;

/// Largest answer the operator's tool takes from a node, bytes. A node with 64 links and 64 registrars answers with some
/// 20 KiB; the longest is a full HTTP allow list, 10,000 rules of some 400.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long `edgeway status` waits for a node, from dialling to the last byte.
pub const ADMIN_FETCH_MAX: Duration = Duration::from_secs(5);

/// Largest question an operator asks a node, bytes: a list of servers, or a rule.
pub const OPERATE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Largest body posted to the administrator's side, bytes: a whole configuration is at most 256 KiB, a list of rules with
/// ten thousand lines some 500.
pub const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a program at the socket may follow what happens before it must ask again.
pub const OPERATOR_STREAM_MAX: Duration = Duration::from_secs(3_600);

/// How long such a question may take: discovery of a cluster of twenty nodes, some of them silent.
pub const OPERATE_MAX: Duration = Duration::from_secs(120);

/// Questions of operators that may wait for the reactor; further ones wait where they come from.
pub const OPERATOR_QUESTIONS_MAX: usize = 64;

/// Questions that wait for somebody else's answer at a time: another node's, the HTTP side's, a disk's.
pub const OPERATOR_QUESTIONS_ASKED_MAX: usize = 8;

/// Questions that wait for one of those to be answered; further ones are refused.
pub const OPERATOR_QUESTIONS_QUEUED_MAX: usize = 64;

/// Events kept of what seldom happens and matters: those of some busy days, some 400 KiB.
pub const EVENTS_KEPT: usize = 2_000;

/// Events kept of what happens with every message or call: those of the last seconds, or of a quiet hour.
pub const FREQUENT_EVENTS_KEPT: usize = 500;

/// Longest text of an event, bytes: some reasons of the system are long.
pub const EVENT_BYTES_MAX: usize = 512;

/// How often a process looks at what it uses of its machine, at most: each look reads some files of `/proc`.
pub const RESOURCES_EVERY: Duration = Duration::from_secs(1);

/// How often a node looks whether a certificate of its own ends soon.
pub const CERTIFICATE_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Names of one certificate that are shown.
pub const CERTIFICATE_NAMES_MAX: usize = 32;

/// Series of metrics one node may show: what a small Prometheus takes from many nodes without thought.
pub const METRIC_SERIES_MAX: usize = 2_000;

/// Longest name in a DNS message, bytes (RFC 1035 §2.3.4).
pub const DNS_NAME_BYTES_MAX: usize = 255;

/// Records read of one DNS answer: more than a registrar cluster and its aliases have.
pub const DNS_RECORDS_MAX: usize = 128;

/// Aliases followed from one name.
pub const DNS_ALIASES_MAX: usize = 8;

/// Largest DNS answer taken over UDP, bytes: what fits any path (1232), with room for servers that do
/// not keep to it. Over TCP 64 KiB is the protocol's own bound.
pub const DNS_DATAGRAM_BYTES_MAX: usize = 4_096;

/// Name servers of `/etc/resolv.conf` that are asked, as the system does (resolv.conf(5)).
pub const DNS_SERVERS_MAX: usize = 3;

/// How often each name server is asked before a question has failed.
pub const DNS_ROUNDS: usize = 2;

/// How long one name server may take over one answer.
pub const DNS_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long one question may take at all servers together: the node gives it up by itself after 20 s.
pub const DNS_QUESTION_WITHIN: Duration = Duration::from_secs(15);

/// How long an address out of `/etc/hosts` holds: the file may change.
pub const DNS_TTL_HOSTS: Duration = Duration::from_secs(30);

/// Questions to the name system under way at once; more wait.
pub const DNS_QUESTIONS_MAX: usize = 32;

/// Largest part read of a file of the system (`/etc/hosts`, `/etc/resolv.conf`), bytes.
pub const SYSTEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Largest file of trusted certificates taken, bytes: that of a system has some 250 KiB.
pub const CA_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The grid timers of a node fire on. A busy node has a deadline every 200 us, nearly all of them of
/// finished transactions; each would be a wake-up of its own. The shortest time a node counts in is
/// 200 ms.
pub const TICK_GRID: Duration = Duration::from_millis(10);

/// The longest deadline of maintenance mode: a week.
pub const MAINTENANCE_WITHIN_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Characters of one field of a log line: what a client writes may stand there.
pub const LOG_FIELD_CHARACTERS_MAX: usize = 2_048;

/// Settings that were prepared and are not used by then are forgotten when files are read again: whoever prepares means to
/// use it at once, and may have died meanwhile.
pub const PREPARED_KEPT: Duration = Duration::from_secs(60);
