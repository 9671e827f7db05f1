//! Who may register, and where who is reachable: users, nonces and bindings (RFC 3261 §10.3,
//! RFC 3327, RFC 5626 §6).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use edgeway_model::Random;
use edgeway_sip::digest::{Algorithm, Challenge, Credentials, Ha1};
use edgeway_sip::{Message, Name, NameAddr};
use tokio::time::Instant;

use super::proxy::Hop;
use crate::limits::{CONTACTS_PER_AOR_MAX, EXPIRES_MAX_SECS, NONCE_LIFETIME, NONCES_MAX, USERS_MAX};
use crate::wire;

/// One contact of one user.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) uri: String,
    /// Contact parameters other than `expires`, as registered, with their leading `;`.
    params: String,
    /// Path values; the Route set of requests to this contact.
    pub(super) path: Vec<String>,
    /// `+sip.instance` and `reg-id`: a new registration with the same ones replaces this.
    instance: Option<(String, String)>,
    /// The flow it was registered on, if the phone stands on it directly (no Path).
    pub(super) hop: Option<Hop>,
    expires_at: Instant,
    call_id: String,
    cseq: u32,
}

/// A refusal: status and reason.
pub(super) type Refusal = (u16, &'static str);

/// What the credentials of a request are worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They prove this user.
    User(String),
    /// They were right for a nonce that is too old.
    Stale,
    /// None, or wrong ones.
    Nobody,
}

/// Users, nonces and bindings.
pub(super) struct Location {
    domain: String,
    /// What every registration is granted, whatever it asks for.
    granted: Option<u32>,
    users: BTreeMap<String, Ha1>,
    bindings: BTreeMap<String, Vec<Binding>>,
    /// Nonce, when it was issued, and the highest count it was used with.
    nonces: VecDeque<(String, Instant, u32)>,
}

impl Location {
    pub(super) fn new(domain: &str, users: &[(String, String)]) -> Self {
        let known = users.iter().take(USERS_MAX);
        let secret =
            |(user, password): &(String, String)| (user.clone(), Ha1::new(Algorithm::Md5, user, domain, password));
        Self {
            domain: domain.to_owned(),
            granted: None,
            users: known.map(secret).collect(),
            bindings: BTreeMap::new(),
            nonces: VecDeque::new(),
        }
    }

    /// Grants every registration so many seconds.
    pub(super) fn granting(mut self, seconds: Option<u32>) -> Self {
        self.granted = seconds;
        self
    }

    pub(super) fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// A challenge with a nonce of its own.
    pub(super) fn challenge(&mut self, stale: bool, random: &mut Random, now: Instant) -> String {
        let nonce = wire::token(random, 24);
        if self.nonces.len() == NONCES_MAX {
            self.nonces.pop_front();
        }
        self.nonces.push_back((nonce.clone(), now, 0));
        let algorithm = Algorithm::Md5;
        Challenge { realm: self.domain.clone(), nonce, algorithm, qop_auth: true, opaque: None, stale }.to_value()
    }

    /// Checks the credentials a request carries in `name`.
    pub(super) fn check(&mut self, request: &Message, name: Name, now: Instant) -> Verdict {
        let ours = |credentials: &Credentials| credentials.realm == self.domain;
        let Some(credentials) = request.lines(name).filter_map(Credentials::parse).find(ours) else {
            return Verdict::Nobody;
        };
        let method = request.method().unwrap_or_default();
        let right = self.users.get(&credentials.username).is_some_and(|ha1| credentials.verify(ha1, method));
        // RFC 7616 §3.4.6: a proxy on the way may have rewritten the Request-URI; what the credentials
        // were made for must still be this place.
        let for_us = request.request_uri() == Some(&credentials.uri)
            || edgeway_sip::Uri::parse(&credentials.uri).is_some_and(|uri| uri.host.eq_ignore_ascii_case(&self.domain));
        if !right || !for_us {
            return Verdict::Nobody;
        }
        let count = credentials.count.as_ref().map_or(0, |count| count.nc);
        let Some((_, issued, last)) = self.nonces.iter_mut().find(|(nonce, _, _)| *nonce == credentials.nonce) else {
            return Verdict::Stale;
        };
        // A count that does not grow is a replay (RFC 7616 §3.4, `nc`).
        if now.duration_since(*issued) > NONCE_LIFETIME || count <= *last {
            return Verdict::Stale;
        }
        *last = count;
        Verdict::User(credentials.username)
    }

    /// Applies a REGISTER of an authenticated `user`; the header lines of the 200.
    pub(super) fn register(
        &mut self,
        request: &Message,
        user: &str,
        hop: Hop,
        now: Instant,
    ) -> Result<Vec<String>, Refusal> {
        let to = request.to();
        let aor = to.parsed_uri().and_then(|uri| uri.user).unwrap_or_default().to_owned();
        if aor != user {
            return Err((403, "Forbidden"));
        }
        self.expire(now);
        let path = wire::values(request, Name::Path);
        let mut bindings = self.bindings.remove(&aor).unwrap_or_default();
        let outcome = apply(&mut bindings, request, &path, hop, self.granted, now);
        let mut lines: Vec<String> = bindings.iter().map(|binding| binding.line(now)).collect();
        if !bindings.is_empty() {
            self.bindings.insert(aor, bindings);
        }
        outcome?;
        lines.extend(path.iter().map(|value| format!("Path: {value}")));
        if uses_outbound(request, &path) {
            // RFC 5626 §6: tells the phone that its flows are kept apart.
            lines.push("Require: outbound".to_owned());
        }
        Ok(lines)
    }

    /// The contacts of a user, latest first.
    pub(super) fn contacts(&mut self, user: &str, now: Instant) -> Vec<Binding> {
        self.expire(now);
        let mut all = self.bindings.get(user).cloned().unwrap_or_default();
        all.reverse();
        // RFC 5626 §6.1: one flow per instance at a time.
        let mut seen = Vec::new();
        all.retain(|binding| match &binding.instance {
            Some((instance, _)) if seen.contains(instance) => false,
            Some((instance, _)) => {
                seen.push(instance.clone());
                true
            }
            None => true,
        });
        all
    }

    /// The binding whose contact is exactly this URI.
    pub(super) fn by_contact(&self, uri: &str) -> Option<&Binding> {
        self.bindings.values().flatten().find(|binding| binding.uri == uri)
    }

    /// A flow is gone: what was registered on it cannot be reached any more.
    pub(super) fn flow_closed(&mut self, hop: Hop) {
        for bindings in self.bindings.values_mut() {
            bindings.retain(|binding| binding.hop != Some(hop));
        }
    }

    fn expire(&mut self, now: Instant) {
        self.bindings.retain(|_, bindings| {
            bindings.retain(|binding| binding.expires_at > now);
            !bindings.is_empty()
        });
    }

    /// For tests and the lab's status: contact, Path and seconds left of each binding.
    pub(super) fn view(&mut self, user: &str, now: Instant) -> Vec<super::BindingView> {
        self.expire(now);
        let all = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        let view = |binding: &Binding| super::BindingView {
            contact: binding.uri.clone(),
            path: binding.path.clone(),
            expires_in: binding.expires_at.duration_since(now),
        };
        all.iter().map(view).collect()
    }
}

impl Binding {
    fn line(&self, now: Instant) -> String {
        let left = self.expires_at.duration_since(now).as_secs_f64().round();
        format!("Contact: <{}>{};expires={left}", self.uri, self.params)
    }
}

fn apply(
    bindings: &mut Vec<Binding>,
    request: &Message,
    path: &[String],
    hop: Hop,
    granted: Option<u32>,
    now: Instant,
) -> Result<(), Refusal> {
    let default = request.expires().unwrap_or(EXPIRES_MAX_SECS);
    for contact in request.contacts() {
        if contact.is_star() {
            // RFC 3261 §10.3 step 6.
            if default != 0 {
                return Err((400, "Expires Must Be 0 With *"));
            }
            bindings.clear();
            continue;
        }
        let asked = contact.expires().unwrap_or(default).min(EXPIRES_MAX_SECS);
        let expires = granted.filter(|_| asked > 0).unwrap_or(asked);
        let fresh = Binding {
            uri: contact.uri.to_owned(),
            params: params_of(&contact),
            path: path.to_vec(),
            instance: instance_of(&contact),
            hop: path.is_empty().then_some(hop),
            expires_at: now + Duration::from_secs(u64::from(expires)),
            call_id: request.call_id().to_owned(),
            cseq: request.cseq().0,
        };
        let same = |old: &Binding| match (&old.instance, &fresh.instance) {
            (Some(old), Some(new)) => old == new,
            (None, _) | (_, None) => old.uri == fresh.uri,
        };
        if let Some(at) = bindings.iter().position(same) {
            let old = &bindings[at];
            // RFC 3261 §10.3 step 7: a late copy must not undo what came after it.
            if old.call_id == fresh.call_id && fresh.cseq <= old.cseq {
                return Err((500, "Out Of Order"));
            }
            bindings.remove(at);
        }
        if expires > 0 {
            if bindings.len() >= CONTACTS_PER_AOR_MAX {
                return Err((503, "Too Many Contacts"));
            }
            bindings.push(fresh);
        }
    }
    Ok(())
}

fn instance_of(contact: &NameAddr<'_>) -> Option<(String, String)> {
    let instance = contact.param("+sip.instance").flatten()?;
    let reg_id = contact.param("reg-id").flatten().unwrap_or_default();
    Some((instance.to_owned(), reg_id.to_owned()))
}

fn params_of(contact: &NameAddr<'_>) -> String {
    let kept = contact.params().filter(|(name, _)| !name.eq_ignore_ascii_case("expires"));
    kept.map(|(name, value)| match value {
        Some(value) if value.bytes().all(is_token_byte) => format!(";{name}={value}"),
        // The parser took the quotes away.
        Some(value) => format!(";{name}=\"{value}\""),
        None => format!(";{name}"),
    })
    .collect()
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'+' | b'*' | b'!' | b'%' | b'~')
}

fn uses_outbound(request: &Message, path: &[String]) -> bool {
    let asks = request.contacts().any(|contact| contact.param("reg-id").is_some());
    let first_hop_agrees = path.last().is_none_or(|first| {
        let uri = NameAddr::parse(first.as_bytes()).and_then(|addr| addr.parsed_uri());
        uri.is_some_and(|uri| uri.param("ob").is_some())
    });
    asks && first_hop_agrees
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use edgeway_sip::digest::Asked;

    use super::*;

    const HOP: Hop = Hop::Stream(1);

    fn location() -> Location {
        Location::new("lab.example", &[("alice".to_owned(), "secret".to_owned())])
    }

    fn random() -> Random {
        Random::from_seed([1; 32])
    }

    fn register(cseq: u32, contact: &str, lines: &str) -> Message {
        let text = format!(
            "REGISTER sip:lab.example SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5;branch=z9hG4bKa\r\n\
             From: <sip:alice@lab.example>;tag=1\r\nTo: <sip:alice@lab.example>\r\nCall-ID: c\r\n\
             CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\nContact: {contact}\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a REGISTER")
    }

    fn authorised(challenge: &str, password: &str, nc: u32) -> Message {
        let challenge = Challenge::parse(challenge.as_bytes()).expect("our own challenge");
        let asked = Asked { method: "REGISTER", uri: "sip:lab.example", cnonce: "c", nc };
        let value = challenge.answer(&asked, "alice", password).to_value();
        register(1, "<sip:alice@127.0.0.1:5>", &format!("Authorization: {value}\r\n"))
    }

    #[test]
    fn a_nonce_serves_once_per_count_and_not_for_ever() {
        let (mut location, mut random, now) = (location(), random(), Instant::now());
        let challenge = location.challenge(false, &mut random, now);
        let mut check = |message: &Message, now| location.check(message, Name::Authorization, now);
        let first = authorised(&challenge, "secret", 1);
        assert_eq!(check(&first, now), Verdict::User("alice".to_owned()));
        assert_eq!(check(&first, now), Verdict::Stale, "a replay");
        assert_eq!(check(&authorised(&challenge, "secret", 2), now), Verdict::User("alice".to_owned()));
        let late = now + NONCE_LIFETIME + Duration::from_secs(1);
        assert_eq!(check(&authorised(&challenge, "secret", 3), late), Verdict::Stale);
        assert_eq!(check(&authorised(&challenge, "wrong", 4), now), Verdict::Nobody);
        assert_eq!(check(&register(1, "<sip:a@b>", ""), now), Verdict::Nobody);
    }

    #[test]
    fn an_instance_replaces_itself_and_a_late_copy_changes_nothing() {
        let (mut location, now) = (location(), Instant::now());
        let contact = |port| format!("<sip:alice@127.0.0.1:{port}>;+sip.instance=\"<urn:uuid:1>\";reg-id=1");
        let path = "Path: <sip:token@10.0.0.1;lr;ob>\r\nExpires: 60\r\n";
        let lines = location.register(&register(2, &contact(5), path), "alice", HOP, now).expect("bound");
        assert!(lines[0].contains(";+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=60"), "{lines:?}");
        assert!(lines.contains(&"Path: <sip:token@10.0.0.1;lr;ob>".to_owned()), "{lines:?}");
        assert!(lines.contains(&"Require: outbound".to_owned()), "{lines:?}");
        location.register(&register(3, &contact(6), path), "alice", HOP, now).expect("bound");
        let late = location.register(&register(3, &contact(5), path), "alice", HOP, now);
        assert_eq!(late.err(), Some((500, "Out Of Order")));
        let contacts = location.contacts("alice", now);
        assert_eq!(contacts.len(), 1);
        assert_eq!(contacts[0].uri, "sip:alice@127.0.0.1:6");
        assert_eq!(contacts[0].path, ["<sip:token@10.0.0.1;lr;ob>"]);
        assert!(location.contacts("alice", now + Duration::from_secs(61)).is_empty(), "expired");
    }

    #[test]
    fn only_ones_own_contacts_are_changed_and_a_star_removes_them_all() {
        let (mut location, now) = (location(), Instant::now());
        let one = register(1, "<sip:alice@127.0.0.1:5>, <sip:alice@127.0.0.1:6>;expires=9", "");
        assert_eq!(location.register(&one, "bob", HOP, now).err(), Some((403, "Forbidden")));
        location.register(&one, "alice", HOP, now).expect("bound");
        assert_eq!(location.contacts("alice", now).len(), 2);
        let star = |expires: &str| register(2, "*", &format!("Expires: {expires}\r\n"));
        assert!(location.register(&star("60"), "alice", HOP, now).is_err());
        assert_eq!(location.contacts("alice", now).len(), 2);
        location.register(&star("0"), "alice", HOP, now).expect("removed");
        assert!(location.contacts("alice", now).is_empty());
    }

    #[test]
    fn contacts_are_bounded() {
        let (mut location, now) = (location(), Instant::now());
        for port in 0..CONTACTS_PER_AOR_MAX {
            let one = register(1, &format!("<sip:alice@127.0.0.1:{}>", port + 1), "");
            location.register(&one, "alice", HOP, now).expect("bound");
        }
        let more = register(1, "<sip:alice@127.0.0.1:999>", "");
        assert_eq!(location.register(&more, "alice", HOP, now).err(), Some((503, "Too Many Contacts")));
        assert_eq!(location.contacts("alice", now).len(), CONTACTS_PER_AOR_MAX);
    }
}
