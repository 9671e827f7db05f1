//! Bounds of what clients ask over HTTPS, each with its reason.

/// Longest path with its query, bytes. Searches and file names stay below 1 KiB; 8,000 is what RFC 9110 §4.1
/// asks of every server.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Longest first segment, characters: base64 of the longest domain, scheme, host and port.
pub const SEGMENT_CHARS_MAX: usize = 704;

/// Longest host name, characters (RFC 1035 §2.3.4), without a trailing dot.
pub const HOST_CHARS_MAX: usize = 253;

/// Longest label of a host name, characters (RFC 1035 §2.3.4).
pub const LABEL_CHARS_MAX: usize = 63;

/// Services one request for an edge configuration may name: clients know four.
pub const SERVICE_NAMES_MAX: usize = 16;

/// Longest name of a service, characters.
pub const SERVICE_NAME_CHARS_MAX: usize = 63;

/// Longest mail address in a query, bytes (RFC 5321 §4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;

/// Longest method, characters: the longest registered one is UPDATEREDIRECTREF.
pub const METHOD_CHARS_MAX: usize = 24;

/// Fields of one head: browsers send some twenty.
pub const HEADER_FIELDS_MAX: usize = 100;

/// Longest name of a field, characters.
pub const HEADER_NAME_CHARS_MAX: usize = 128;

/// Longest value of a field, bytes: an access token and some cookies.
pub const HEADER_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Names and values of one head together, bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Connection fields of one head that name more than close and keep-alive.
pub const CONNECTION_FIELDS_MAX: usize = 4;

/// `X-Auth` cookies of one request that are looked at: a client has one for each domain it was in.
pub const SESSION_COOKIES_MAX: usize = 4;

/// Longest `X-Auth` cookie that is looked at, characters.
pub const SESSION_COOKIE_CHARS_MAX: usize = 1024;

/// Longest user name in credentials, bytes.
pub const BASIC_USER_BYTES_MAX: usize = 128;

/// Longest password, bytes: call managers take 127 characters.
pub const BASIC_PASSWORD_BYTES_MAX: usize = 512;

/// Longest bearer token, characters: a signed token with an encrypted one inside takes some 3,000.
pub const BEARER_CHARS_MAX: usize = 8 * 1024;

/// Largest head of an HTTP/1.1 request, bytes, with its request line and line ends. Cookies and bearer tokens have
/// some 4 KiB each.
pub const STREAM_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Digits of the length of a chunk: 15 make more than any body may have, and fit any counter.
pub const CHUNK_DIGITS_MAX: usize = 15;

/// Largest trailer section, bytes; what is in it goes nowhere.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;
