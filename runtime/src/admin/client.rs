//! Asks a running node, over its socket or its loopback address: what `edgeway status` does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use edgeway_model::NodeId;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::limits::{ADMIN_ANSWER_BYTES_MAX, ADMIN_FETCH_MAX, OPERATE_MAX};

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// `target` is neither a path nor `http://host:port`.
    #[error("{target:?} is neither the path of a socket nor http://HOST:PORT")]
    Target {
        /// What was given.
        target: String,
    },
    /// Nobody listens there.
    #[error("nobody answers on {target} ({source}): is the service not running? Look at `systemctl status`")]
    NotRunning {
        /// What was dialled.
        target: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The caller may not use the socket.
    #[error("{target} may only be used by its owner and its group: use sudo, or join the group of the socket")]
    NotPermitted {
        /// What was dialled.
        target: String,
    },
    /// The node took too long.
    #[error("{target} did not answer in time: the service hangs, or is badly overloaded")]
    Timeout {
        /// What was dialled.
        target: String,
    },
    /// The connection broke.
    #[error("the conversation with {target} broke off: {source}")]
    Broken {
        /// What was dialled.
        target: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer is no HTTP, is cut short or is too large.
    #[error("{target} gave an answer that cannot be read ({what}): is it another program?")]
    Answer {
        /// What was dialled.
        target: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl FetchFault {
    /// The exit code of a command that fails with this: 2 usage, 3 not running, 4 timeout, 77 no
    /// permission, 1 else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Target { .. } => 2,
            Self::NotRunning { .. } => 3,
            Self::Timeout { .. } => 4,
            Self::NotPermitted { .. } => 77,
            Self::Broken { .. } | Self::Answer { .. } => 1,
        }
    }
}

/// Asks the node at `target` (the path of its socket, or `http://host:port`) for `path`; returns the
/// HTTP status and the body. Blocks for at most [`ADMIN_FETCH_MAX`].
///
/// # Errors
/// [`FetchFault`], which also knows the exit code.
pub fn fetch(target: &str, path: &str) -> Result<(u16, String), FetchFault> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: edgeway\r\nConnection: close\r\n\r\n");
    exchange(target, &request, ADMIN_FETCH_MAX)
}

/// Asks the node at `target` (the path of its socket), or the one it is linked with as `node`, what an
/// [`OperatorPort`](crate::operate::OperatorPort) may be asked; returns the HTTP status and the body, both ways JSON.
/// 200 is an answer, anything else a refusal with `error` in it. Blocks for at most [`OPERATE_MAX`].
///
/// # Errors
/// [`FetchFault`], which also knows the exit code.
pub fn ask(
    target: &str,
    node: Option<&NodeId>,
    path: &str,
    question: &serde_json::Value,
) -> Result<(u16, String), FetchFault> {
    let body = question.to_string();
    let node = node.map(|node| format!("?node={node}")).unwrap_or_default();
    let request = format!(
        "POST /ask/{path}{node} HTTP/1.1\r\nHost: edgeway\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(target, &request, OPERATE_MAX)
}

/// A request to the administrator's side of the core at `target` (the path of its socket).
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    /// `GET`, `PUT`, …
    pub method: &'a str,
    /// `/api/v1/…`, with what stands after `?`.
    pub path: &'a str,
    /// For `If-Match`: the revision that was read.
    pub revision: Option<u64>,
    /// JSON, where something is sent.
    pub body: Option<&'a serde_json::Value>,
}

/// Asks the REST API at `target` (the path of a core's socket); returns the HTTP status and the body. Blocks for at most
/// [`OPERATE_MAX`].
///
/// # Errors
/// [`FetchFault`], which also knows the exit code.
pub fn api(target: &str, request: ApiRequest<'_>) -> Result<(u16, String), FetchFault> {
    let ApiRequest { method, path, revision, body } = request;
    let body = body.map(ToString::to_string).unwrap_or_default();
    let matching = revision.map(|revision| format!("If-Match: \"{revision}\"\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{matching}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(target, &request, OPERATE_MAX)
}

fn exchange(target: &str, request: &str, within: Duration) -> Result<(u16, String), FetchFault> {
    let deadline = Instant::now() + within;
    let addresses = addresses_of(target)?;
    let fault = |source| fault(target, source);
    let mut socket = dial(&addresses, deadline).map_err(fault)?;
    socket.set_write_timeout(Some(left(deadline).map_err(fault)?)).map_err(fault)?;
    socket.write_all(request.as_bytes()).map_err(fault)?;
    let answer = read_all(&mut socket, deadline).map_err(fault)?;
    parse(&answer).map_err(|what| FetchFault::Answer { target: target.to_owned(), what })
}

fn addresses_of(target: &str) -> Result<Vec<SockAddr>, FetchFault> {
    let illegal = || FetchFault::Target { target: target.to_owned() };
    if let Some(host) = target.strip_prefix("http://") {
        let resolved = host.trim_end_matches('/').to_socket_addrs();
        let addresses: Vec<_> = resolved.map_err(|_| illegal())?.map(|address: SocketAddr| address.into()).collect();
        return if addresses.is_empty() { Err(illegal()) } else { Ok(addresses) };
    }
    if target.is_empty() || target.contains("://") {
        return Err(illegal());
    }
    SockAddr::unix(Path::new(target)).map(|address| vec![address]).map_err(|_| illegal())
}

/// The first of several addresses (of `localhost`, say) that answers.
fn dial(addresses: &[SockAddr], deadline: Instant) -> io::Result<Socket> {
    let mut outcome = Err(ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        let domain = address.as_socket().map_or(Domain::UNIX, Domain::for_address);
        let socket = Socket::new(domain, Type::STREAM, None)?;
        outcome = socket.connect_timeout(address, left(deadline)?).map(|()| socket);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_all(socket: &mut Socket, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut answer, mut piece) = (Vec::new(), [0; 16 * 1024]);
    // One byte too many is enough to know that it is too large.
    while answer.len() <= ADMIN_ANSWER_BYTES_MAX {
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// Status and body. Our server always names the length, so that a cut answer is noticed.
fn parse(answer: &[u8]) -> Result<(u16, String), &'static str> {
    if answer.len() > ADMIN_ANSWER_BYTES_MAX {
        return Err("it is too large");
    }
    let text = std::str::from_utf8(answer).map_err(|_| "it is no text")?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("it has no end of headers")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).ok_or("it is no HTTP/1.1")?;
    let status = status.parse().map_err(|_| "it is no HTTP/1.1")?;
    let is_length = |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
    let length = lines.find(is_length).and_then(|line| line.get(15..)?.trim().parse::<usize>().ok());
    // RFC 9110 §8.6: an answer without content names no length.
    let nothing = status == 204 && body.is_empty();
    if !nothing && length != Some(body.len()) {
        return Err("it is cut short");
    }
    Ok((status, body.to_owned()))
}

fn fault(target: &str, source: io::Error) -> FetchFault {
    let (target, kind) = (target.to_owned(), source.kind());
    if [ErrorKind::NotFound, ErrorKind::ConnectionRefused, ErrorKind::AddrNotAvailable].contains(&kind) {
        return FetchFault::NotRunning { target, source };
    }
    if kind == ErrorKind::PermissionDenied {
        return FetchFault::NotPermitted { target };
    }
    // WouldBlock: a read that waited in vain, or a Unix socket whose queue is full.
    if [ErrorKind::TimedOut, ErrorKind::WouldBlock].contains(&kind) {
        return FetchFault::Timeout { target };
    }
    FetchFault::Broken { target, source }
}
