//! A directory as an authority, against OpenLDAP: TLS from the first byte, and StartTLS.
//!
//! Runs with `EDGEWAY_INTEROP=1`; a missing slapd then fails with the Debian package that brings it. Otherwise it says so
//! and runs nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use edgeway_config::settings::HostPort;
use edgeway_config::sign_in::LdapSettings;
use edgeway_connectors::ldap::Directory;
use edgeway_connectors::sign_in::authority::{Authority, Credential, Verdict};
use edgeway_interop::process::{Daemon, Scratch, free_port};
use edgeway_interop::requirement;
use edgeway_lab_servers::ca::LabCa;
use edgeway_model::sign_in::{Deployment, Subject, UserName};
use edgeway_runtime::dns::Resolver;
use zeroize::Zeroizing;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);
const PEOPLE: &str = "dn: dc=example,dc=com\nobjectClass: domain\ndc: example\n\n\
    dn: ou=people,dc=example,dc=com\nobjectClass: organizationalUnit\nou: people\n\n\
    dn: uid=alice,ou=people,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: alice\ncn: Alice\nsn: A\nuserPassword: secret\n\n\
    dn: uid=o\\+b\\, jr,ou=people,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: o+b, jr\ncn: O\nsn: B\nuserPassword: secret\n\n\
    dn: uid=mute,ou=people,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: mute\ncn: M\nsn: M\n";

struct OpenLdap {
    _daemon: Daemon,
    tls: u16,
    plain: u16,
}

impl OpenLdap {
    fn start(folder: &Path, ca: &LabCa) -> Result<Self> {
        let pems = ca.issue(&["ldap.example.com"], &[LOOPBACK])?;
        let file = |name: &str, text: &str| {
            fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
            Ok::<_, anyhow::Error>(folder.join(name).display().to_string())
        };
        let (ca_file, chain, key) =
            (file("ca.pem", ca.pem())?, file("chain.pem", &pems.chain)?, file("key.pem", &pems.key)?);
        let database = folder.join("database");
        fs::create_dir_all(&database)?;
        let settings = file(
            "slapd.conf",
            &format!(
                "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
                 include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
                 pidfile {}/slapd.pid\nTLSCACertificateFile {ca_file}\nTLSCertificateFile {chain}\n\
                 TLSCertificateKeyFile {key}\nallow bind_anon_cred bind_anon_dn\nsecurity simple_bind=128\n\
                 database mdb\nsuffix \"dc=example,dc=com\"\ndirectory {}\n",
                folder.display(),
                database.display()
            ),
        )?;
        let people = file("people.ldif", PEOPLE)?;
        let added = Command::new("slapadd").args(["-f", &settings, "-l", &people]).output().context("slapadd")?;
        ensure!(added.status.success(), "slapadd: {}", String::from_utf8_lossy(&added.stderr));
        let (tls, plain) = (free_port(LOOPBACK)?, free_port(LOOPBACK)?);
        let places = format!("ldaps://127.0.0.1:{tls}/ ldap://127.0.0.1:{plain}/");
        let mut command = Command::new("slapd");
        command.args(["-f", &settings, "-h", &places, "-d", "0"]);
        let mut daemon = Daemon::start("slapd", &mut command, folder)?;
        let listens = |port: u16| TcpStream::connect((LOOPBACK, port)).is_ok();
        daemon.wait_until("listens", PATIENCE, |_| listens(tls) && listens(plain))?;
        Ok(Self { _daemon: daemon, tls, plain })
    }
}

fn check(folder: &Path, port: u16, start_tls: bool, user: &str, password: &str) -> Result<Verdict> {
    let settings = LdapSettings {
        servers: vec![HostPort { host: LOOPBACK.to_string(), port }],
        start_tls,
        ca: Some(folder.join("ca.pem").display().to_string()),
        bind_dn: "uid={user},ou=people,dc=example,dc=com".to_owned(),
    };
    let directory = Directory::new(&settings, Resolver::default())?;
    let user = UserName::new(user).context("a name")?;
    let subject = Subject { deployment: Deployment::default_one(), user };
    let credential = Credential::Password(Zeroizing::new(password.to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(directory.check(&subject, &credential)))
}

#[test]
fn people_bind_over_tls_and_nothing_else() -> Result<()> {
    if std::env::var_os("EDGEWAY_INTEROP").is_none() {
        println!("not run: set EDGEWAY_INTEROP=1 (cargo xtask test does)");
        return Ok(());
    }
    requirement::check(requirement::DIRECTORY)?;
    let scratch = Scratch::create("directory")?;
    let folder = scratch.path();
    let ca = LabCa::new("directory")?;
    let server = OpenLdap::start(folder, &ca)?;
    for (port, start_tls) in [(server.tls, false), (server.plain, true)] {
        for (user, password, good) in [
            ("alice", "secret", true),
            ("Alice", "secret", true),
            // A name with what has a meaning in a distinguished name (RFC 4514).
            ("o+b, jr", "secret", true),
            ("alice", "Secret", false),
            // OpenLDAP is told to take it for an anonymous bind, which succeeds.
            ("alice", "", false),
            ("nobody", "secret", false),
            ("mute", "secret", false),
            ("alice,ou=people", "secret", false),
        ] {
            let verdict = check(folder, port, start_tls, user, password)?;
            let agrees = if good { matches!(verdict, Verdict::Good(_)) } else { matches!(verdict, Verdict::Refused) };
            ensure!(agrees, "{user} {password}, StartTLS {start_tls}: {verdict:?}");
        }
    }
    // The wrong kind of TLS for the port, and an authority we do not trust.
    for (port, start_tls) in [(server.tls, true), (server.plain, false)] {
        let verdict = check(folder, port, start_tls, "alice", "secret")?;
        ensure!(matches!(verdict, Verdict::Unavailable { .. }), "{verdict:?}");
    }
    fs::write(folder.join("ca.pem"), LabCa::new("another")?.pem())?;
    for (port, start_tls) in [(server.tls, false), (server.plain, true)] {
        let verdict = check(folder, port, start_tls, "alice", "secret")?;
        ensure!(matches!(verdict, Verdict::Unavailable { .. }), "{verdict:?}");
    }
    Ok(())
}
