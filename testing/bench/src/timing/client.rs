//! One client, one request at a time, and the answer as it came.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use edgeway_interop::product::EDGE_NAME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::world::DOMAIN;
use crate::http::crowd::{connect, connector};

/// The client.
pub(super) struct Client {
    edge: SocketAddr,
    tls: TlsConnector,
    kept: Option<TlsStream<TcpStream>>,
}

impl Client {
    pub(super) fn new(edge: SocketAddr, authority: &Path) -> Result<Self> {
        Ok(Self { edge, tls: connector(authority, b"http/1.1")?, kept: None })
    }

    /// The next request goes over a connection of its own.
    pub(super) fn hang_up(&mut self) {
        self.kept = None;
    }

    /// Signs in: all bytes of the answer but the value of `Date`, and the time they took.
    pub(super) async fn sign_in(&mut self, user: &str, password: &str) -> Result<(String, Duration)> {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        let request = format!(
            "GET /{}/get_edge_config HTTP/1.1\r\nHost: {EDGE_NAME}:8443\r\nUser-Agent: bench\r\n\
             Authorization: Basic {credentials}\r\n\r\n",
            STANDARD_NO_PAD.encode(DOMAIN)
        );
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => connect(self.edge, &self.tls).await?,
        };
        let mut answer = Vec::new();
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        while !whole(&answer)? {
            if stream.read_buf(&mut answer).await? == 0 {
                bail!("the connection ended after {} bytes", answer.len());
            }
        }
        let took = begun.elapsed();
        let answer = String::from_utf8(answer)?;
        if !answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
            self.kept = Some(stream);
        }
        Ok((undated(&answer), took))
    }
}

/// Whether all of an answer is there.
fn whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let (head, body) = (std::str::from_utf8(&answer[..end])?, &answer[end + 4..]);
    let field = |wanted: &str| {
        let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
    };
    match (field("content-length"), field("transfer-encoding")) {
        (Some(length), None) => Ok(body.len() >= length.parse()?),
        (None, Some("chunked")) => Ok(body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n")),
        (_, _) => bail!("an answer of no known length: {head}"),
    }
}

fn undated(answer: &str) -> String {
    let lines = answer.split("\r\n").map(|line| match line.split_once(':') {
        Some((name, _)) if name.eq_ignore_ascii_case("date") => format!("{name}:"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n")
}
