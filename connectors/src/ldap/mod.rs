//! A directory as an authority: whoever can bind with the password is the user (RFC 4513 §5.1.3).
//!
//! Only over TLS, from the first byte or by StartTLS (RFC 4511 §4.14) before anything else; there is no way round
//! it. The servers are tried in order: one that cannot be reached or does not say is passed over for the next, one
//! that says no has said it. An empty password is never sent: to a directory it is no wrong password but an
//! unauthenticated bind, which succeeds (RFC 4513 §5.1.2).

pub mod message;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_config::settings::HostPort;
use edgeway_config::sign_in::LdapSettings;
use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind};
use edgeway_model::sign_in::{Profile, Subject, UserName};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::LocalFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::message::Asked;
use crate::authorities::AuthorityFault;
use crate::authorities::limits::{
    CHECK_WITHIN, LDAP_ADDRESS_WITHIN, LDAP_ADDRESSES_MAX, LDAP_BINDS_MAX, LDAP_SERVER_WITHIN, PASSWORD_BYTES_MAX,
};
use crate::proxy::{TlsFault, Trust};
use crate::sign_in::authority::{Authority, Credential, Known, Reached, Verdict};

/// A directory.
pub struct Directory {
    servers: Vec<HostPort>,
    start_tls: bool,
    bind_dn: String,
    trust: Trust,
    resolver: Resolver,
    binds: Semaphore,
}

/// What a directory says of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Yes,
    No,
}

impl Directory {
    /// A directory with these settings. Names of its servers are looked up with `resolver`.
    ///
    /// # Errors
    /// The file with the authorities of its certificates cannot be used.
    pub fn new(settings: &LdapSettings, resolver: Resolver) -> Result<Self, AuthorityFault> {
        let trust = Trust::load(settings.ca.as_deref(), "ldap.ca", None);
        Ok(Self {
            servers: settings.servers.clone(),
            start_tls: settings.start_tls,
            bind_dn: settings.bind_dn.clone(),
            trust: trust.map_err(|fault| AuthorityFault(fault.to_string()))?,
            resolver,
            binds: Semaphore::new(LDAP_BINDS_MAX),
        })
    }

    /// `reached` tells as well when the time is up in the middle.
    async fn ask(&self, user: &UserName, credential: &Credential, reached: &Cell<Reached>) -> Verdict {
        let Credential::Password(password) = credential else { return Verdict::Refused };
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Verdict::Refused;
        }
        let Ok(_place) = self.binds.acquire().await else {
            return Verdict::Unavailable { why: "the node is stopping".to_owned(), reached: Reached::NotAsked };
        };
        reached.set(Reached::Nobody);
        let name = self.bind_dn.replace("{user}", &escaped(user.as_str()));
        let mut why = "no directory is configured".to_owned();
        for server in &self.servers {
            match timeout(LDAP_SERVER_WITHIN, self.ask_server(server, &name, password.as_bytes(), reached)).await {
                Ok(Ok(Said::Yes)) => {
                    return Verdict::Good(Box::new(Known {
                        user: user.clone(),
                        spelled: None,
                        devices: None,
                        numbers: Vec::new(),
                        profile: Profile::default(),
                        until_ms: None,
                    }));
                }
                Ok(Ok(Said::No)) => return Verdict::Refused,
                Ok(Err(fault)) => why = format!("{server}: {fault}"),
                Err(_) => why = format!("{server}: no answer within {} s", LDAP_SERVER_WITHIN.as_secs()),
            }
            tracing::debug!(%why, "directory");
        }
        Verdict::Unavailable { why, reached: reached.get() }
    }

    async fn ask_server(
        &self,
        server: &HostPort,
        name: &str,
        password: &[u8],
        reached: &Cell<Reached>,
    ) -> Result<Said, String> {
        let server_name = ServerName::try_from(server.host.clone())
            .map_err(|_| "its name is none that a certificate has".to_owned())?;
        let mut plain = self.connect(server).await?;
        if self.start_tls {
            let code = exchange(&mut plain, &message::start_tls(1), 1, Asked::StartTls).await?;
            if code != 0 {
                return Err(format!("it does not go on with TLS: result {code}"));
            }
        }
        let connector = TlsConnector::from(self.trust.config());
        // What came in plain behind the answer to StartTLS is taken for TLS, and fails.
        let mut stream = connector
            .connect(server_name, plain)
            .await
            .map_err(|error| TlsFault::of(&error).map_or_else(|| error.to_string(), |fault| fault.to_string()))?;
        let code = exchange(&mut stream, &message::bind(2, name, password), 2, Asked::Bind).await;
        // From here on it may be the name it stumbles over. One that is silent has not been reached.
        reached.set(Reached::Somebody);
        let code = code?;
        // The answer is there; how the connection ends is no matter.
        let _ = timeout(Duration::from_millis(200), async {
            stream.write_all(&message::unbind(3)).await?;
            stream.shutdown().await
        })
        .await;
        meaning(code)
    }

    async fn connect(&self, server: &HostPort) -> Result<TcpStream, String> {
        let mut why = "its name has no address".to_owned();
        for address in self.addresses(server).await? {
            let address = SocketAddr::new(address, server.port);
            match timeout(LDAP_ADDRESS_WITHIN, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = "it does not accept a connection in time".to_owned(),
            }
        }
        Err(why)
    }

    async fn addresses(&self, server: &HostPort) -> Result<Vec<IpAddr>, String> {
        if let Some(address) = server.ip() {
            return Ok(vec![address]);
        }
        let name = server.host.trim_end_matches('.').to_ascii_lowercase();
        match self.resolver.answer(&DnsQuery { name, kind: RecordKind::Addresses }).await {
            DnsAnswer::Addresses { addresses, .. } => Ok(addresses.into_iter().take(LDAP_ADDRESSES_MAX).collect()),
            DnsAnswer::Failed { why } => Err(why),
            DnsAnswer::Nothing | DnsAnswer::Naptr { .. } | DnsAnswer::Srv { .. } => Ok(Vec::new()),
        }
    }
}

impl Authority for Directory {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        Box::pin(async move {
            let reached = Cell::new(Reached::NotAsked);
            let asked = timeout(CHECK_WITHIN, self.ask(&subject.user, credential, &reached)).await;
            asked.unwrap_or_else(|_| Verdict::Unavailable {
                why: format!("no answer from the directory within {} s", CHECK_WITHIN.as_secs()),
                reached: reached.get(),
            })
        })
    }
}

/// Sends a request, and reads the result of its answer.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    id: u8,
    asked: Asked,
) -> Result<u32, String> {
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    // Byte by byte as far as the length goes: what follows the answer is not ours to read.
    let mut head = Vec::with_capacity(8);
    let length = loop {
        head.push(stream.read_u8().await.map_err(|error| broken(&error))?);
        if let Some((_, length)) = message::length(&head).map_err(|fault| fault.to_string())? {
            break length;
        }
    };
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.map_err(|error| broken(&error))?;
    message::result(&content, id, asked).map_err(|fault| fault.to_string())
}

fn broken(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "it closed the connection instead of answering".to_owned()
    } else {
        error.to_string()
    }
}

/// What the result of a bind means (RFC 4511 appendix A). Directories tell an unknown name, a wrong password and a
/// locked account in different ways, all of which are no. Everything else is no answer.
fn meaning(code: u32) -> Result<Said, String> {
    match code {
        0 => Ok(Said::Yes),
        // constraintViolation: some say it of accounts that are locked.
        19
        // noSuchObject, invalidDNSyntax.
        | 32 | 34
        // inappropriateAuthentication: the entry has no password. invalidCredentials, insufficientAccessRights.
        | 48 | 49 | 50
        // unwillingToPerform: some say it of accounts that are disabled.
        | 53 => Ok(Said::No),
        code => Err(format!("it answers with result {code} instead of yes or no")),
    }
}

/// A value inside a distinguished name (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', character]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\{byte:02x}"));
                }
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
