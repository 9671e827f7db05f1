//! A file that takes as long as one likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edgeway_interop::product::EDGE_NAME;
use edgeway_lab_servers::client::http::Ask;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How many pieces of how many bytes the file has.
const PIECES: usize = 2_000;
const PIECE: [u8; 1_000] = [b'x'; 1_000];
/// Between two pieces while it is slow.
const SLOWLY: Duration = Duration::from_millis(200);

/// A server inside with a short file, and a long one: slow until it is [let go](Files::hurry).
pub(super) struct Files {
    address: SocketAddr,
    hurry: Arc<watch::Sender<bool>>,
}

impl Files {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let hurry = Arc::new(watch::Sender::new(false));
        let told = Arc::clone(&hurry);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, told.subscribe()));
            }
        });
        Ok(Self { address, hurry })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on files take no longer than they must, or do again.
    pub(super) fn hurry(&self, on: bool) {
        self.hurry.send_replace(on);
    }
}

async fn serve(stream: TcpStream, mut hurry: watch::Receiver<bool>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let pieces = if first.starts_with("GET /short ") { 1 } else { PIECES };
    let length = pieces * PIECE.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..pieces {
        stream.write_all(&PIECE).await?;
        if pieces > 1 && !*hurry.borrow() {
            let _ = tokio::time::timeout(SLOWLY, hurry.wait_for(|hurry| *hurry)).await;
        }
    }
    stream.flush().await?;
    Ok(())
}

/// A download that is under way.
pub(super) struct Download {
    stream: BufReader<TlsStream<TcpStream>>,
    length: usize,
}

impl Download {
    /// Asks for a file; its head has come.
    pub(super) async fn begin(edge: SocketAddr, tls: TlsConnector, ask: &Ask) -> Result<Self> {
        let socket = TcpStream::connect(edge).await?;
        let stream = tls.connect(ServerName::try_from(EDGE_NAME)?, socket).await?;
        let mut stream = BufReader::new(stream);
        let headers: String = ask.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", ask.target, ask.host);
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let (mut head, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).await? > 2 {
            head += &line;
            line.clear();
        }
        ensure!(head.starts_with("HTTP/1.1 200 "), "the download was answered:\n{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
        });
        Ok(Self { stream, length: length.context("a length")? })
    }

    /// The rest of the file, which must be whole.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut body = vec![0; self.length];
        self.stream.read_exact(&mut body).await.context("the download was cut off")?;
        ensure!(body.iter().all(|byte| *byte == b'x') && body.len() == PIECES * PIECE.len(), "another file came");
        Ok(())
    }
}
