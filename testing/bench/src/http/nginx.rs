//! nginx: the server inside that both chains ask, and the chain that is compared with ours.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edgeway_interop::Host;
use edgeway_interop::certificates::Certificate;
use edgeway_interop::process::{Daemon, Usage};

/// What the server inside serves, bytes.
pub(crate) const FILE_BYTES: usize = 1024;
/// Its name there.
pub(crate) const FILE: &str = "file.bin";

const START_PATIENCE: Duration = Duration::from_secs(10);

/// The one suite of all TLS hops of both chains: what ours agree on between edge and core.
const TLS: &str = "ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;";

/// What is common: nothing logged but errors, connections that stay.
const HTTP: &str = "access_log off; default_type application/octet-stream; server_tokens off;\n\
    tcp_nodelay on; sendfile on; keepalive_timeout 1h; keepalive_requests 100000000;\n\
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;\n\
    scgi_temp_path scgi;";

/// Connections to the next hop that stay.
const KEEPALIVE: &str = "keepalive 512; keepalive_requests 100000000; keepalive_timeout 1h;";

/// One running nginx.
#[derive(Debug)]
pub(crate) struct Nginx(Daemon);

impl Nginx {
    /// The server inside.
    pub(crate) fn server(directory: &Path, address: SocketAddr) -> Result<Self> {
        let files = directory.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join(FILE), vec![b'x'; FILE_BYTES])?;
        let root = files.display();
        let site = format!(
            "open_file_cache max=10; server {{ listen {address}; root {root}; location / {{ try_files /{FILE} =404; }} }}"
        );
        Self::start("nginx-server", directory, address, 1, &site)
    }

    /// The tier inside: TLS in, plain out.
    pub(crate) fn core(
        directory: &Path,
        address: SocketAddr,
        certificate: &Certificate,
        server: SocketAddr,
        workers: u8,
    ) -> Result<Self> {
        let tls = listener(certificate);
        let site = format!(
            "upstream next {{ server {server}; {KEEPALIVE} }}\n\
             server {{ listen {address} ssl; {tls}\n location / {{ proxy_pass http://next; {PROXY} }} }}"
        );
        Self::start("nginx-core", directory, address, workers, &site)
    }

    /// The tier outside: TLS in, TLS out, verified, with a certificate of its own, as between edge and core.
    pub(crate) fn edge(
        directory: &Path,
        address: SocketAddr,
        certificate: &Certificate,
        authority: &Path,
        name: &str,
        core: SocketAddr,
        workers: u8,
    ) -> Result<Self> {
        let tls = listener(certificate);
        let (own, key, authority) = (certificate.certificate.display(), certificate.key.display(), authority.display());
        let site = format!(
            "upstream next {{ server {core}; {KEEPALIVE} }}\n\
             server {{ listen {address} ssl http2; {tls}\n\
             location / {{ proxy_pass https://next; {PROXY}\n\
             proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;\n\
             proxy_ssl_certificate {own}; proxy_ssl_certificate_key {key};\n\
             proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority};\n\
             proxy_ssl_server_name on; proxy_ssl_name {name}; proxy_ssl_session_reuse on; }} }}"
        );
        Self::start("nginx-edge", directory, address, workers, &site)
    }

    fn start(name: &str, directory: &Path, address: SocketAddr, workers: u8, site: &str) -> Result<Self> {
        let prefix = directory.join(name);
        fs::create_dir_all(&prefix)?;
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; {user} worker_processes {workers}; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 16384; }}\nhttp {{ {HTTP}\n{site}\n}}\n"
        );
        let file = prefix.join("nginx.conf");
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        let mut command = Host::Here.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&prefix).arg("-c").arg(&file);
        let mut daemon = Daemon::start(name, &mut command, directory)?;
        daemon.wait_until("listening", START_PATIENCE, |_| Host::Here.listens_tcp(address))?;
        Ok(Self(daemon))
    }

    /// CPU and memory of all its processes.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.0.usage()
    }
}

/// The address of the client goes on, as with ours; connections stay.
const PROXY: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Client-ip $remote_addr;\n\
    proxy_cache off;";

fn listener(certificate: &Certificate) -> String {
    let (chain, key) = (certificate.certificate.display(), certificate.key.display());
    format!("ssl_certificate {chain}; ssl_certificate_key {key}; {TLS}")
}
