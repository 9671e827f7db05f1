//! The smaller services: single sign-on, Unity Connection's CUPI, the SOAP login of IM and Presence.

use super::http::{Answer, Question, escaped};
use super::one_time::OneTimePasswords;
use super::soap::leaf;
use super::world::State;

/// `/ssosp/ws/public/singleSignOn`.
pub(super) fn sso(state: &State) -> Answer {
    Answer::xml(
        200,
        format!(
            "<SSOResult version=\"{}\"><Response><SingleSignOn><Status enabled=\"{}\"/><Token enabled=\"{}\"/>\
         </SingleSignOn></Response></SSOResult>",
            escaped(&state.version),
            state.sso,
            state.oauth
        ),
    )
}

/// `/vmrest/…` of Unity Connection.
pub(super) fn cupi(state: &State, question: &Question, empty: bool) -> Answer {
    let (user, password) = &state.application_user;
    let application = question.basic().is_some_and(|(shown, secret)| shown == *user && secret == *password);
    let person = question.user(state).is_some();
    match (question.path.as_str(), application || person) {
        (_, false) => {
            Answer::new(401, "text/html", "").with("www-authenticate", "Basic realm=\"Cisco Unity Connection\"")
        }
        ("/vmrest/version" | "/vmrest/version/product/", true) => {
            let version = if empty { String::new() } else { escaped(&state.version) };
            Answer::xml(
                200,
                format!(
                    "<VersionInformation><name>Cisco Unity Connection</name><version>{version}</version></VersionInformation>"
                ),
            )
        }
        ("/vmrest/cluster", true) => {
            let mut servers = String::new();
            let nodes: Vec<_> = state.listed(super::world::Role::Unity).filter(|_| !empty).collect();
            for (at, node) in nodes.iter().enumerate() {
                // The member 0 is the publisher.
                let member = if node.publisher { 0 } else { at.max(1) };
                servers.push_str(&format!(
                    "<VmsServer><ServerName>{0}</ServerName><IpAddress>{1}</IpAddress><ClusterMemberId>{member}\
                     </ClusterMemberId><HostName>{0}</HostName></VmsServer>",
                    escaped(&node.name),
                    node.address
                ));
            }
            Answer::xml(200, format!("<VmsServers total=\"{}\">{servers}</VmsServers>", nodes.len()))
        }
        ("/vmrest/mailbox/folders/inbox/messages", true) => {
            Answer::xml(200, "<Messages total=\"0\"></Messages>".to_owned())
        }
        (_, true) => Answer::text(404, "no such resource"),
    }
}

/// `POST /EPASSoap/service/v80`: login and the one-time password of a chat client.
pub(super) fn epas(state: &State, one_time: &OneTimePasswords, question: &Question) -> Answer {
    if question.method != "POST" {
        return Answer::text(405, "POST only");
    }
    let (user, password) = (leaf(&question.body, "username"), leaf(&question.body, "password"));
    let right =
        |name: &str, secret: &str| state.user(name).is_some_and(|known| known.password == secret && !known.locked);
    let text = match (user, password) {
        (Some(user), Some(password)) if right(&user, &password) => {
            let key = one_time.login(&user);
            format!("<login-response><session-key>{key}</session-key></login-response>")
        }
        (Some(_), Some(_)) => return Answer::new(500, "application/soap+xml", epas_envelope("<env:Fault/>")),
        (_, _) => match leaf(&question.body, "session-key").and_then(|key| one_time.issue(&key)) {
            Some(password) => format!(
                "<onetime-password-response><success/><password>{password}</password></onetime-password-response>"
            ),
            None => return Answer::new(400, "application/soap+xml", epas_envelope("<env:Fault/>")),
        },
    };
    Answer::new(200, "application/soap+xml", epas_envelope(&text))
}

fn epas_envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns=\"urn:cisco:epas:soap\"><env:Body>{body}</env:Body></env:Envelope>"
    )
}
