//! `--listen`: what to type into a softphone, and numbers that answer it.

use std::io;
use std::path::{Path, PathBuf};

use edgeway_lab_servers::{Phone, Sound};

use super::limits::{ANSWERED_CALL_LIFE, ANSWERED_CALLS_MAX, STEP_MAX};
use super::screen::Screen;
use super::story::{DOMAIN, ECHO, EDGE_HOST, Failure, GUESTS, Lab, TONE};

/// Name of the CA file.
const CA_FILE: &str = "edgeway-lab-ca.pem";

impl Lab {
    /// Starts the answering numbers, writes the CA file into `folder` and prints what to type.
    pub(super) async fn welcome_softphones(&mut self, screen: &mut Screen, folder: &Path) -> Result<(), Failure> {
        for (user, sound) in [(ECHO, Sound::Echo), (TONE, Sound::Tone { hz: 450 })] {
            let mut config = self.phone(user, self.password(user));
            (config.sound, config.probe) = (sound, false);
            let phone = Phone::register(config).await.map_err(|error| Failure::new("answering number", error))?;
            self.answering.push(phone);
        }
        self.answer_in_background();
        let ca = write_ca(folder, &self.certificates.ca_pem).map_err(|error| Failure::new("CA file", error))?;
        for line in instructions(&Fields {
            server: self.edge.ip().to_string(),
            bracketed: if self.edge.is_ipv6() { format!("[{}]", self.edge.ip()) } else { self.edge.ip().to_string() },
            port: self.edge.port(),
            password: self.password(GUESTS[0]).to_owned(),
            second_password: self.password(GUESTS[1]).to_owned(),
            ca: ca.display().to_string(),
        }) {
            screen.line(&line);
        }
        Ok(())
    }

    fn answer_in_background(&mut self) {
        for phone in self.answering.drain(..) {
            tokio::spawn(answer_all(phone));
        }
    }
}

/// Answers every call until the lab ends.
async fn answer_all(phone: Phone) {
    let mut calls = tokio::task::JoinSet::new();
    loop {
        let call = phone.next_call(ANSWERED_CALL_LIFE).await;
        while calls.try_join_next().is_some() {}
        let Ok(mut call) = call else { continue };
        if calls.len() >= ANSWERED_CALLS_MAX {
            let _ = call.refuse(486, "Busy Here").await;
            continue;
        }
        calls.spawn(async move {
            tokio::time::sleep(STEP_MAX / 8).await;
            if call.answer().await.is_ok() {
                let _ = call.ended(ANSWERED_CALL_LIFE).await;
            }
        });
    }
}

/// Writes the CA where the user stands, or, if that cannot be written, where temporary files go.
fn write_ca(folder: &Path, pem: &str) -> io::Result<PathBuf> {
    let here = folder.join(CA_FILE);
    if std::fs::write(&here, pem).is_ok() {
        return Ok(here);
    }
    let elsewhere = std::env::temp_dir().join(CA_FILE);
    std::fs::write(&elsewhere, pem)?;
    Ok(elsewhere)
}

/// Everything a softphone must be told.
struct Fields {
    server: String,
    bracketed: String,
    port: u16,
    password: String,
    second_password: String,
    ca: String,
}

fn instructions(fields: &Fields) -> Vec<String> {
    let Fields { server, bracketed, port, password, second_password, ca } = fields;
    let [user, second] = GUESTS;
    let text = format!(
        "
Softphones of the LAN may register now. The same for all of them:
  user name            {user}          (a second phone: {second})
  password             {password}          ({second}: {second_password})
  domain               {DOMAIN}
  proxy                {bracketed}:{port}   (the certificate names {EDGE_HOST} and {server})
  transport            TLS, port {port}
  media encryption     SRTP (SDES), mandatory; codec PCMU (G.711 µ-law)
  CA file              {ca}   (good for this run only)
Then call {ECHO} (echo: you hear yourself), {TONE} (a tone), or {second} from {user}.

Linphone (Settings, SIP account; or in linphonerc)
  Username {user}   Password {password}   SIP domain {DOMAIN}   Transport TLS
  SIP server address / Outbound proxy   <sip:{bracketed}:{port};transport=tls>
  Call settings: Media encryption SRTP, Encryption is mandatory
  [sip] in linphonerc: root_ca={ca}
                       media_encryption=srtp
                       media_encryption_mandatory=1

baresip (~/.baresip)
  accounts: <sip:{user}@{DOMAIN};transport=tls>;auth_user={user};auth_pass={password};outbound=\"sip:{bracketed}:{port};transport=tls\";regint=300;mediaenc=srtp-mand
  config:   sip_cafile {ca}
            module srtp.so
            module g711.so

Zoiper (Settings, Accounts, SIP account)
  Domain {DOMAIN}   Username {user}   Password {password}
  Use outbound proxy   {bracketed}:{port}
  Network related: Transport TLS   Media encryption: SRTP with SDES
  Import the CA file into the certificates the system (or Zoiper, Advanced, Security) trusts"
    );
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(server: &str, bracketed: &str) -> String {
        let fields = Fields {
            server: server.to_owned(),
            bracketed: bracketed.to_owned(),
            port: 5061,
            password: "first-secret".to_owned(),
            second_password: "second-secret".to_owned(),
            ca: "/home/me/edgeway-lab-ca.pem".to_owned(),
        };
        instructions(&fields).join("\n")
    }

    #[test]
    fn every_softphone_is_told_every_field() {
        let all = text("192.168.1.20", "192.168.1.20");
        let sections: Vec<&str> = all.split("\n\n").collect();
        assert_eq!(sections.len(), 4, "common, Linphone, baresip, Zoiper");
        for section in &sections {
            for field in ["100", "first-secret", DOMAIN, "192.168.1.20:5061"] {
                assert!(section.contains(field), "{field} is missing in:\n{section}");
            }
            assert!(section.to_lowercase().contains("srtp") && section.to_lowercase().contains("tls"), "{section}");
            let ca = section.contains("edgeway-lab-ca.pem") || section.contains("CA file");
            assert!(ca, "{section}");
        }
    }

    #[test]
    fn an_ipv6_address_is_bracketed_where_a_port_follows() {
        let all = text("2001:db8::1", "[2001:db8::1]");
        assert!(all.contains("[2001:db8::1]:5061") && !all.contains(" 2001:db8::1:5061"));
    }

    #[test]
    fn the_ca_goes_where_the_user_stands_or_to_a_place_that_can_be_written() {
        let folder = std::env::temp_dir().join(format!("edgeway-lab-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let here = write_ca(&folder, "pem").expect("written");
        assert_eq!(std::fs::read_to_string(&here).expect("there"), "pem");
        std::fs::remove_dir_all(&folder).expect("removed");
        let elsewhere = write_ca(&folder, "pem").expect("written elsewhere");
        assert_eq!(elsewhere.parent(), Some(std::env::temp_dir().as_path()));
        let _ = std::fs::remove_file(elsewhere);
    }
}
