//! After sign-in: what one side says is what the other hears, and mostly in the same memory. Looked at are only the two
//! new headers, the features, the element that says where the client is bound, and `<enabled/>`, which may name a host
//! that nobody outside can reach.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use edgeway_model::{Moment, Pii};

use super::asked::Asked;
use super::exchange::Action;
use super::greeting;
use super::reader::{Item, Reader};
use super::server::{StreamEnd, stream_error};
use crate::condition::{Condition, StreamFault};
use crate::element::Element;
use crate::features;
use crate::limits::{BIND_WITHIN, JID_BYTES_MAX, LOOKED_AT_BYTES_MAX};
use crate::ns;
use crate::scan::{Boundary, Bounds};

/// Both directions of a stream that has signed in.
pub(super) struct Relay {
    client: Reader,
    server: Reader,
    /// The client's header has passed.
    client_open: bool,
    /// The server's has: what is said to the client is within a stream.
    pub(super) server_open: bool,
    /// `</stream:stream>` of the client has passed.
    pub(super) client_closed: bool,
    /// And of the server.
    pub(super) server_closed: bool,
    /// Its connection has ended.
    pub(super) server_gone: bool,
    /// The server's bytes cannot be followed any more; they pass.
    lost: bool,
    /// The client is bound, or has resumed.
    bound: bool,
    watch: Watch,
    /// The client's element at hand, as far as it is held.
    asked: Asked,
    /// The server's element at hand, as far as it has come, unless it passes.
    held: Vec<u8>,
    /// When the client must be bound.
    bind_by: Moment,
    /// The client is to be told this as soon as no element is open.
    pub(super) ending: Option<StreamFault>,
}

/// The server's element at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// There is none.
    Between,
    /// Its beginning is held: it is looked at when it is whole, or its name is not known yet.
    Held,
    /// It passes.
    Passing,
}

/// How it goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// As before.
    On,
    /// The client is to be told this; no element is open.
    Tell(StreamFault),
    /// The same, but for something the client did.
    Offence(StreamFault),
    /// The server wants the client elsewhere.
    SeeOther(String),
    /// Without a word.
    Broken,
}

impl Relay {
    /// Behind `<success/>`; both sides begin anew.
    pub(super) fn new(mut client: Reader, server: Reader, now: Moment) -> Self {
        client.restart(Bounds::SIGNED_IN);
        Self {
            client,
            server,
            client_open: false,
            server_open: false,
            client_closed: false,
            server_closed: false,
            server_gone: false,
            lost: false,
            bound: false,
            watch: Watch::Between,
            asked: Asked::default(),
            held: Vec::new(),
            bind_by: now + BIND_WITHIN,
            ending: None,
        }
    }

    /// Until when something has to have happened.
    pub(super) fn bind_by(&self) -> Option<Moment> {
        (!self.bound).then_some(self.bind_by)
    }

    /// Whether something of ours may be said to the client now.
    pub(super) fn may_tell_client(&self) -> bool {
        !self.server_open || (!self.lost && !self.server_closed && self.held.is_empty() && self.server.between())
    }

    /// Whether something of ours may be said to the server now.
    pub(super) fn may_tell_server(&self) -> bool {
        self.client_open && !self.client_closed && !self.server_gone && self.client.between()
    }

    /// Bytes of the client.
    pub(super) fn client_says(&mut self, mut bytes: Bytes, domain: &str, actions: &mut VecDeque<Action>) -> Flow {
        if !self.client_open {
            let mut rest: &[u8] = &bytes;
            match self.client.next(&mut rest) {
                Ok(None) => return Flow::On,
                Ok(Some(Item::Header(header, raw))) => {
                    if let Err(fault) = greeting::check(&header, domain) {
                        return Flow::Tell(fault);
                    }
                    self.client_open = true;
                    actions.push_back(Action::ToServer(raw.into()));
                }
                Ok(Some(Item::Element(_) | Item::Close)) => return Flow::Offence(NO_HEADER),
                Err(fault) => return Flow::Offence(fault),
            }
            let read = bytes.len() - rest.len();
            bytes.advance(read);
        }
        let (mut at, mut whole) = (0, 0);
        let mut flow = Flow::On;
        while at < bytes.len() && !self.client_closed {
            match self.client.step(bytes.get(at..).unwrap_or_default()) {
                Ok(step) => {
                    let begun = at;
                    at += step.consumed;
                    if self.asked.takes(bytes.get(begun..at).unwrap_or_default(), step.event) {
                        // What was before it goes on; it is held, or was.
                        let before = bytes.split_to(begun);
                        bytes.advance(at - begun);
                        (at, whole) = (0, 0);
                        tell(before, actions);
                        match self.asked.judge(&self.client, step.event.is_some()) {
                            Ok(released) => tell(released, actions),
                            Err(fault) => return Flow::Offence(fault),
                        }
                    } else if let Some(boundary) = step.event {
                        whole = at;
                        self.client_closed = boundary == Boundary::Close;
                    }
                }
                Err(fault) => {
                    // Nothing goes on of what cannot be understood, or of what it stands in.
                    (at, flow) = (whole, Flow::Offence(fault));
                    break;
                }
            }
        }
        bytes.truncate(at);
        tell(bytes, actions);
        flow
    }

    /// Bytes of the server.
    pub(super) fn server_says(&mut self, mut bytes: Bytes, actions: &mut VecDeque<Action>) -> Flow {
        if !self.server_open {
            let mut rest: &[u8] = &bytes;
            match self.server.next(&mut rest) {
                Ok(None) => return Flow::On,
                Ok(Some(Item::Header(_, raw))) => {
                    self.server_open = true;
                    actions.push_back(Action::ToClient(raw.into()));
                }
                Ok(Some(Item::Element(_) | Item::Close)) | Err(_) => return Flow::Broken,
            }
            let read = bytes.len() - rest.len();
            bytes.advance(read);
        }
        let mut at = 0;
        while at < bytes.len() && !self.lost && !self.server_closed {
            let begun = at;
            let Ok(step) = self.server.step(bytes.get(at..).unwrap_or_default()) else {
                self.lost = true;
                self.release(actions);
                break;
            };
            at += step.consumed;
            match step.event {
                Some(Boundary::Stanza) if self.watch == Watch::Passing => self.watch = Watch::Between,
                Some(Boundary::Stanza) | None if self.watch != Watch::Passing => {
                    let is_whole = step.event.is_some();
                    let is_held = self.watch == Watch::Held;
                    let piece = bytes.get(begun..at).unwrap_or_default();
                    if is_held {
                        self.held.extend_from_slice(piece);
                    }
                    let looked_at = self.is_looked_at(if is_held { &self.held } else { piece }, is_whole);
                    if looked_at && !is_held {
                        self.held.extend_from_slice(piece);
                        pass(bytes.split_to(begun), actions);
                        bytes.advance(at - begun);
                        at = 0;
                    } else if is_held {
                        bytes.advance(at);
                        at = 0;
                        if !looked_at {
                            self.release(actions);
                        }
                    }
                    self.watch = match (looked_at, is_whole) {
                        (_, true) => Watch::Between,
                        (true, false) => Watch::Held,
                        (false, false) => Watch::Passing,
                    };
                    if looked_at && is_whole {
                        let flow = self.look(actions);
                        if flow != Flow::On {
                            return flow;
                        }
                    }
                    if self.held.len() > LOOKED_AT_BYTES_MAX {
                        return Flow::Broken;
                    }
                }
                Some(Boundary::Close) => self.server_closed = true,
                Some(Boundary::Whitespace | Boundary::Header | Boundary::Stanza) | None => {}
            }
            if let (Some(_), Watch::Between, Some(fault)) = (step.event, self.watch, self.ending) {
                pass(bytes.split_to(at), actions);
                return if self.server_closed { Flow::On } else { Flow::Tell(fault) };
            }
        }
        if self.server_closed {
            bytes.truncate(at);
        }
        pass(bytes, actions);
        Flow::On
    }

    /// Whether an element is looked at, by its name; one whose name has not come yet may be.
    fn is_looked_at(&self, element: &[u8], is_whole: bool) -> bool {
        match local_name(element) {
            None => !is_whole,
            Some(b"enabled") => true,
            Some(b"features" | b"iq" | b"resumed" | b"error") => !self.bound,
            Some(_) => false,
        }
    }

    /// An element that is looked at is whole.
    fn look(&mut self, actions: &mut VecDeque<Action>) -> Flow {
        let Ok(element) = self.server.parse(&self.held) else {
            self.release(actions);
            return Flow::On;
        };
        if !self.bound {
            if let Some(StreamEnd::SeeOther(host)) = stream_error(&element) {
                self.held.clear();
                return Flow::SeeOther(host);
            }
            if let Some(features) = features::after_sign_in(&element) {
                self.held.clear();
                actions.push_back(Action::ToClient(features.into()));
                return Flow::On;
            }
            if let Some(bound) = bound(&element) {
                self.bound = true;
                actions.push_back(bound);
            }
        }
        if is_resumable(&element) {
            actions.push_back(Action::Resumable);
        }
        match without_location(&element) {
            None => self.release(actions),
            Some(xml) => {
                self.held.clear();
                actions.push_back(Action::ToClient(xml.into()));
            }
        }
        Flow::On
    }

    fn release(&mut self, actions: &mut VecDeque<Action>) {
        pass(std::mem::take(&mut self.held).into(), actions);
    }
}

fn tell(bytes: Bytes, actions: &mut VecDeque<Action>) {
    if !bytes.is_empty() {
        actions.push_back(Action::ToServer(bytes));
    }
}

fn pass(bytes: Bytes, actions: &mut VecDeque<Action>) {
    if !bytes.is_empty() {
        actions.push_back(Action::ToClient(bytes));
    }
}

/// The name of an element without its prefix; `None` while it has not come to its end.
pub(super) fn local_name(element: &[u8]) -> Option<&[u8]> {
    let name = element.strip_prefix(b"<")?;
    let end = name.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>'))?;
    name.get(..end)?.rsplit(|byte| *byte == b':').next()
}

/// Where the client is bound, if this says so: a result with a JID (RFC 6120 §7.6), or a stream that was resumed
/// (XEP-0198 §5).
fn bound(element: &Element) -> Option<Action> {
    if is_stream_management(element) && element.name == "resumed" {
        return Some(Action::Bound { jid: None, resumed: true });
    }
    if !element.is("iq", ns::CLIENT) || element.attribute("type") != Some("result") {
        return None;
    }
    let jid = element.child("bind", ns::BIND)?.child("jid", ns::BIND)?;
    // The client has chosen a part of it, and operators see it: what a terminal would act upon is not shown.
    let text = jid.text.trim();
    let fits = !text.is_empty() && text.len() <= JID_BYTES_MAX && !text.chars().any(char::is_control);
    Some(Action::Bound { jid: fits.then(|| Pii::new(text.to_owned())), resumed: false })
}

/// `<enabled/>` without the place where the server would rather have the client resume (XEP-0198 §3): it is inside.
/// `None` for every other element, and where there is no such place.
fn without_location(element: &Element) -> Option<String> {
    if !is_stream_management(element) || element.name != "enabled" {
        return None;
    }
    element.attribute("location")?;
    let mut enabled = element.clone();
    enabled.attributes.retain(|attribute| attribute.name != "location");
    Some(enabled.to_xml())
}

/// Whether this says that the stream can be resumed (XEP-0198 §3).
fn is_resumable(element: &Element) -> bool {
    let says_so = matches!(element.attribute("resume"), Some("true" | "1"));
    is_stream_management(element) && element.name == "enabled" && says_so
}

/// Any version of it.
fn is_stream_management(element: &Element) -> bool {
    element.namespace.starts_with("urn:xmpp:sm:")
}

const NO_HEADER: StreamFault = StreamFault::new(Condition::BadFormat, "A stream header is expected after sign-in.");
