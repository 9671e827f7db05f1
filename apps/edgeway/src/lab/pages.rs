//! The pages of the lab's core: where they are, the code for the first sign-in, and that they answer.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::limits::PAGE_BYTES_MAX;

/// Where the pages of a core are.
#[derive(Clone, Debug)]
pub(crate) struct PagesPlace {
    /// On loopback.
    pub(crate) address: SocketAddr,
    /// Where the core keeps its files; it goes with the lab.
    pub(crate) state_dir: PathBuf,
}

impl PagesPlace {
    /// The code for the first sign-in; `None` once somebody has used it.
    pub(super) fn code(&self) -> Option<String> {
        fs::read_to_string(self.state_dir.join("first-code")).ok().map(|code| code.trim().to_owned())
    }

    /// Fetches the page of the sign-in, over TLS with the certificate the core has made; how large it is, in bytes.
    pub(super) async fn fetch(&self) -> anyhow::Result<usize> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&fs::read(self.state_dir.join("admin.crt"))?) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?;
        let port = self.address.port();
        let question = format!("GET /sign-in HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        anyhow::ensure!(text.starts_with("HTTP/1.1 200 "), "it answers {}", text.lines().next().unwrap_or_default());
        anyhow::ensure!(text.contains("<form") && text.contains("</html>"), "it is no page to sign in at");
        Ok(answer.len())
    }
}
