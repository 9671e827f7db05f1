//! Sign-in (RFC 6120 §6): whose credentials, whether a server may see them, what it says of them.

use std::fmt::Write as _;
use std::time::Duration;

use edgeway_model::chat::ChatOffence;
use edgeway_model::{Moment, Pii};
use zeroize::Zeroizing;

use super::exchange::{Action, Down, Verdict};
use super::reader::Item;
use super::relay::Relay;
use super::server::{StreamEnd, stream_error};
use super::{Phase, Router};
use crate::condition::{Condition, StreamFault, with_code};
use crate::element::Element;
use crate::limits::{CHALLENGES_MAX, SASL_ANSWER_WITHIN, SIGN_IN_TRIES_MAX};
use crate::ns;
use crate::sasl::{Mechanism, SaslFault, claimed, decode};

/// Credentials a client has shown.
pub(super) struct Shown {
    mechanism: Mechanism,
    user: Option<Pii<String>>,
    /// The mechanism's first message, in base64.
    message: Zeroizing<String>,
}

/// A sign-in that a server has seen.
pub(super) struct Exchange {
    mechanism: Mechanism,
    user: Option<Pii<String>>,
    /// When the server must have answered; `None` while the client has to.
    pub(super) answer_by: Option<Moment>,
    challenges: u8,
}

impl Exchange {
    /// Whether the server may ask something (more). Of the mechanisms that say all at once none asks.
    const fn may_challenge(&self) -> bool {
        let most = match self.mechanism {
            Mechanism::Plain | Mechanism::XOauth2 | Mechanism::CiscoVtgToken => 0,
            // RFC 7628 §3.2.2: why the token was refused.
            Mechanism::OauthBearer => 1,
            // RFC 5802 §5; the second one is the server's last word, where it is not said with `<success/>`
            // (RFC 4422 §5).
            Mechanism::ScramSha1 | Mechanism::ScramSha256 | Mechanism::ScramSha512 => CHALLENGES_MAX,
        };
        self.challenges < most
    }

    /// Checks what a client answers to the last challenge: nothing that could be tried as another credential under
    /// the attempt that was counted.
    fn check(&self, message: &str) -> Result<(), SaslFault> {
        let is_free = match self.mechanism {
            Mechanism::ScramSha1 | Mechanism::ScramSha256 | Mechanism::ScramSha512 => self.challenges < CHALLENGES_MAX,
            Mechanism::Plain | Mechanism::XOauth2 | Mechanism::CiscoVtgToken | Mechanism::OauthBearer => false,
        };
        let decoded = if message.is_empty() { Zeroizing::default() } else { decode(message)? };
        // RFC 7628 §3.2.3: a single %x01.
        let wanted: &[u8] = if self.mechanism == Mechanism::OauthBearer { b"\x01" } else { b"" };
        if is_free || decoded.as_slice() == wanted { Ok(()) } else { Err(SaslFault::MalformedRequest) }
    }

    pub(super) const fn is_clients_turn(&self) -> bool {
        self.answer_by.is_none()
    }
}

impl Router {
    /// An element of a client that has not signed in: nothing but sign-in is taken.
    pub(super) fn sign_in(&mut self, mut element: Element, now: Moment) {
        let is = |name| element.is(name, ns::SASL);
        match &self.phase {
            Phase::Offered if is("auth") => self.auth(element),
            Phase::Prompted(mechanism) if is("response") => {
                let mechanism = *mechanism;
                self.take(mechanism, std::mem::take(&mut element.text));
            }
            Phase::Prompted(_) if is("abort") => self.fail(SaslFault::Aborted, None),
            Phase::Exchange(_) if is("response") => self.respond(&element, now),
            Phase::Exchange(_) if is("abort") => {
                self.server_is_next(now);
                self.tell_server(&Element::new("abort", ns::SASL).to_xml());
            }
            Phase::Greeting
            | Phase::Meeting { .. }
            | Phase::Offered
            | Phase::Prompted(_)
            | Phase::Asking(_)
            | Phase::Moving(_)
            | Phase::Exchange(_)
            | Phase::Relay(_)
            | Phase::Ended => self.refuse(StreamFault::new(Condition::NotAuthorized, "Sign in first.")),
        }
    }

    fn auth(&mut self, mut element: Element) {
        let named = element.attribute("mechanism").and_then(Mechanism::named);
        let Some(mechanism) = named.filter(|mechanism| self.offered.contains(mechanism)) else {
            return self.fail(SaslFault::InvalidMechanism, None);
        };
        if element.text.trim().is_empty() {
            // Every mechanism begins with the client (RFC 4422 §3): it is asked here, and the server sees both at once.
            self.say(&Element::new("challenge", ns::SASL).to_xml());
            self.phase = Phase::Prompted(mechanism);
        } else {
            self.take(mechanism, std::mem::take(&mut element.text));
        }
    }

    /// Takes the first message of a mechanism, and asks whether a server may see it.
    fn take(&mut self, mechanism: Mechanism, text: Zeroizing<String>) {
        let message = text.trim();
        let user = decode(message).and_then(|decoded| claimed(mechanism, &decoded, &self.domain));
        match user {
            Ok(user) => {
                self.actions.push_back(Action::AskRate { user: user.clone(), mechanism });
                let message = Zeroizing::new(message.to_owned());
                self.phase = Phase::Asking(Shown { mechanism, user, message });
            }
            Err(fault) => {
                self.actions.push_back(Action::Offence(ChatOffence::SignIn, fault.condition()));
                self.fail(fault, None);
            }
        }
    }

    /// Whether a server may see them.
    pub(super) fn judged(&mut self, verdict: Verdict, now: Moment) {
        let Phase::Asking(_) = self.phase else { return };
        match verdict {
            Verdict::Wrong => {
                let fault = SaslFault::NotAuthorized;
                self.actions.push_back(Action::Offence(ChatOffence::SignIn, fault.condition()));
                self.fail(fault, None);
            }
            Verdict::Refused { retry_after, code } => {
                self.actions.push_back(Action::Offence(ChatOffence::Abuse, "credentials were supplied too often"));
                self.fail(SaslFault::TemporaryAuthFailure, Some(&with_code(&again_in(retry_after), code)));
            }
            Verdict::Pass { homes } => {
                if let Phase::Asking(shown) = std::mem::replace(&mut self.phase, Phase::Ended) {
                    self.phase = Phase::Moving(shown);
                }
                self.try_servers(&homes, now);
                self.show(now);
            }
        }
    }

    /// Shows them, once the server is ready.
    pub(super) fn show(&mut self, now: Moment) {
        let Some(server) = self.server.as_ref().filter(|server| server.is_ready()) else { return };
        let Phase::Moving(shown) = &self.phase else { return };
        let mechanism = shown.mechanism;
        if !server.offer.mechanisms.contains(&mechanism) {
            // The features the client was told were those of another server.
            self.offered.retain(|other| *other != mechanism);
            return self.fail(SaslFault::InvalidMechanism, None);
        }
        let user = shown.user.clone();
        let text =
            secret(&["<auth xmlns='", ns::SASL, "' mechanism='", mechanism.name(), "'>", &shown.message, "</auth>"]);
        self.tell_server_secret(text);
        let answer_by = Some(now + SASL_ANSWER_WITHIN);
        self.phase = Phase::Exchange(Exchange { mechanism, user, answer_by, challenges: 0 });
    }

    fn respond(&mut self, element: &Element, now: Moment) {
        let message = element.text.trim();
        let Phase::Exchange(exchange) = &self.phase else { return };
        match exchange.check(message) {
            Ok(()) => {
                let text = secret(&["<response xmlns='", ns::SASL, "'>", message, "</response>"]);
                self.tell_server_secret(text);
                self.server_is_next(now);
            }
            Err(fault) => {
                // The server waits for an answer that it will not get: it is left, and the next attempt begins anew.
                self.actions.push_back(Action::Offence(ChatOffence::SignIn, fault.condition()));
                self.close_server();
                self.fail(fault, None);
            }
        }
    }

    fn server_is_next(&mut self, now: Moment) {
        if let Phase::Exchange(exchange) = &mut self.phase {
            exchange.answer_by = Some(now + SASL_ANSWER_WITHIN);
        }
    }

    /// What a server says that is ready.
    pub(super) fn server_item(&mut self, item: Item, now: Moment) {
        let (Phase::Exchange(exchange), Item::Element(element)) = (&mut self.phase, &item) else {
            // It has waited for a client in vain, and says so.
            return self.server_down(Down::Refused, now);
        };
        let is = |name| element.is(name, ns::SASL);
        if is("failure") {
            self.server_refuses(element);
        } else if is("challenge") && !exchange.is_clients_turn() && exchange.may_challenge() {
            exchange.challenges += 1;
            exchange.answer_by = None;
            let challenge = Element::new("challenge", ns::SASL).with_text(element.text.trim());
            self.say(&challenge.to_xml());
        } else if is("success") && !exchange.is_clients_turn() {
            self.succeed(element, now);
        } else if let Some(end) = stream_error(element) {
            self.server_ends(end, now);
        } else {
            self.server_down(Down::Malformed, now);
        }
    }

    /// The end of the stream in the middle of a sign-in.
    fn server_ends(&mut self, end: StreamEnd, now: Moment) {
        match end {
            StreamEnd::SeeOther(host) => match self.known_as(&host) {
                // The credentials were seen: they are not shown again. The next attempt goes there.
                Some(server) => {
                    self.actions.push_back(Action::Homed { server });
                    self.close_server();
                    self.fail_temporarily();
                }
                None => self.server_down(Down::UnknownHost, now),
            },
            StreamEnd::HostUnknown => self.server_down(Down::HostUnknown, now),
            StreamEnd::Other => self.server_down(Down::Refused, now),
        }
    }

    fn server_refuses(&mut self, element: &Element) {
        let of_sasl = |child: &&Element| child.namespace == ns::SASL;
        let condition = element.children.iter().filter(of_sasl).find(|child| child.name != "text");
        let condition = condition.map_or("not-authorized", |condition| condition.name.as_str());
        let nobodys_fault =
            ["temporary-auth-failure", "aborted", "invalid-mechanism", "mechanism-too-weak", "encryption-required"];
        if !nobodys_fault.contains(&condition) {
            self.actions.push_back(Action::Offence(ChatOffence::SignIn, "the server has refused the credentials"));
        }
        let mut failure = Element::new("failure", ns::SASL).with_child(Element::new(condition, ns::SASL));
        failure.children.extend(element.child("text", ns::SASL).cloned());
        self.tell_failure(&failure);
    }

    /// A sign-in fails here.
    pub(super) fn fail(&mut self, fault: SaslFault, text: Option<&str>) {
        let mut failure = Element::new("failure", ns::SASL).with_child(Element::new(fault.condition(), ns::SASL));
        if let Some(text) = text {
            let mut element = Element::new("text", ns::SASL).with_text(text);
            element.attributes.push(crate::element::Attribute {
                namespace: ns::XML.to_owned(),
                name: "lang".to_owned(),
                value: "en".to_owned(),
            });
            failure = failure.with_child(element);
        }
        self.tell_failure(&failure);
    }

    /// RFC 6120 §6.4.5: the client may try again, and not for ever.
    fn tell_failure(&mut self, failure: &Element) {
        self.unseen();
        self.say(&failure.to_xml());
        self.failed = self.failed.saturating_add(1);
        self.phase = Phase::Offered;
        if self.failed >= SIGN_IN_TRIES_MAX {
            self.refuse(StreamFault::new(Condition::PolicyViolation, "Too many attempts to sign in."));
        }
    }

    fn succeed(&mut self, element: &Element, now: Moment) {
        let Some(server) = self.server.take() else { return };
        let place = server.place;
        let client = std::mem::replace(&mut self.reader, super::Reader::new(crate::scan::Bounds::SIGNED_IN));
        let relay = Relay::new(client, server.signed_in(), now);
        if let Phase::Exchange(exchange) = std::mem::replace(&mut self.phase, Phase::Relay(Box::new(relay))) {
            let Exchange { mechanism, user, .. } = exchange;
            self.actions.push_back(Action::SignedIn { user, mechanism, server: place });
        }
        self.say(&Element::new("success", ns::SASL).with_text(element.text.trim()).to_xml());
    }
}

/// The pieces as one text that overwrites itself, written where it does not grow.
fn secret(pieces: &[&str]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum()));
    for piece in pieces {
        text.extend_from_slice(piece.as_bytes());
    }
    text
}

/// The last part of a second counts: one who comes at the second that was said passes.
fn again_in(after: Duration) -> String {
    let mut text = String::new();
    let seconds = after.as_millis().div_ceil(1_000).max(1);
    // Writing into a String cannot fail.
    let _ = write!(text, "Too many attempts. Try again in {seconds} s.");
    text
}
