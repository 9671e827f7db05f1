//! TLS at the edge's door, as a scanner looks at it (Mozilla's "intermediate"): with openssl, which is there for good.

use crate::site::{Site, door};
use anyhow::{Result, ensure};
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::report::Report;
use std::process::Stdio;

/// What must be refused: an option of `openssl s_client`, and what it stands for.
const REFUSED: &[(&str, &[&str])] = &[
    ("TLS 1.0", &["-tls1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("TLS 1.1", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("CBC", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"]),
    ("keys without forward secrecy", &["-tls1_2", "-cipher", "kRSA"]),
    ("no encryption and no authentication", &["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"]),
    ("3DES, RC4, export", &["-tls1_2", "-cipher", "3DES:RC4:EXPORT:LOW:@SECLEVEL=0"]),
    ("a curve nobody should use", &["-tls1_2", "-groups", "secp192r1"]),
];

/// What must be offered.
const TAKEN: &[(&str, &[&str])] = &[
    ("TLS 1.3", &["-tls1_3"]),
    ("TLS 1.2 with AES-GCM", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
    ("TLS 1.2 with ChaCha20", &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"]),
    ("X25519", &["-tls1_3", "-groups", "X25519"]),
    ("P-256", &["-tls1_3", "-groups", "P-256"]),
    ("P-384", &["-tls1_3", "-groups", "P-384"]),
];

/// Each of them, and the certificate of the domain.
pub(crate) fn story(report: &Report, site: &Site) {
    report.scenario("TLS: what is old is refused", || {
        for (what, options) in REFUSED {
            let said = handshake(site, options)?;
            ensure!(!is_taken(&said), "{what} was taken:\n{said}");
        }
        Ok(())
    });
    report.scenario("TLS: what is good is taken, with the domain's certificate", || {
        for (what, options) in TAKEN {
            let said = handshake(site, options)?;
            ensure!(is_taken(&said) && said.contains("Verify return code: 0"), "{what} was refused:\n{said}");
        }
        Ok(())
    });
    report.scenario("TLS: no renegotiation, no compression", || {
        let said = handshake(site, &["-tls1_2"])?;
        ensure!(said.contains("Compression: NONE"), "{said}");
        ensure!(said.contains("Secure Renegotiation IS supported"), "RFC 5746: {said}");
        Ok(())
    });
}

/// Whether a cipher was agreed on.
fn is_taken(said: &str) -> bool {
    said.contains("Cipher is ") && !said.contains("Cipher is (NONE)")
}

/// What `openssl s_client` says about a handshake after STARTTLS.
fn handshake(site: &Site, options: &[&str]) -> Result<String> {
    let address = door().to_string();
    let mut command = site.network.internet().command("openssl");
    command.args(["s_client", "-connect", &address, "-starttls", "xmpp", "-xmpphost", DOMAIN, "-servername", DOMAIN]);
    command.args(["-verify_hostname", DOMAIN, "-CAfile"]).arg(site.authority.certificate()).args(options);
    let output = command.stdin(Stdio::null()).output()?;
    Ok([output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect())
}
