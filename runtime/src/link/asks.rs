//! Questions of operators that a core puts to another node, on a stream of their own beside the signalling.
//!
//! ```text
//!   who asks                     who is asked
//!    │ ASK id, path and body ───▶ │  puts it to its own switchboard
//!    │ ◀──────── READY id, bytes  │
//!    │ PULL id ─────────────────▶ │  one piece is under way on a link at a time,
//!    │ ◀───────────── PIECE id, … │  so that signalling waits behind 32 KiB at most
//!    │ DROP id ─────────────────▶ │  instead of a PULL: nobody waits for it any more
//!    │ ◀───────────────── GONE id │
//! ```
//! Each is a message as on the identity stream: u32 length, a kind, u32 id, a payload. Whatever was not asked for ends the
//! link: an edge is believed to say what it was asked, and nothing else. An edge asks nobody. A peer of an earlier version
//! opens no such stream, or refuses it, and is not asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use edgeway_model::{NodeId, Role};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::limits::{
    ANSWER_BYTES_MAX, ANSWER_COMMAS_MAX, ANSWER_DEPTH_MAX, ANSWER_PIECE_BYTES, ANSWER_WITHIN, ANSWER_WORDS_MAX,
    ANSWER_WRAPPED_MAX, ASK_QUEUE_BYTES_MAX, QUESTION_BYTES_MAX, QUESTIONS_MAX,
};
use crate::admin::printable;
use crate::operate::{OperatorPort, Refusal, RefusalKind};
use crate::outbox::Outbox;

const ASK: u8 = 1;
const READY: u8 = 2;
const PULL: u8 = 3;
const PIECE: u8 = 4;
const DROP: u8 = 5;
const GONE: u8 = 6;

/// What a core may ask another node, and what is below it.
const CARRIED: [&str; 11] = [
    "status",
    "links",
    "maintenance",
    "registrations",
    "calls",
    "chats",
    "events",
    "attempts",
    "ladder",
    "trace",
    "configuration",
];

/// Whether another node may be asked for it.
#[must_use]
fn is_carried(path: &str) -> bool {
    CARRIED.iter().any(|known| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The questions of one link, both ways.
pub struct Asks {
    peer: NodeId,
    role: Role,
    ours: Role,
    /// Who answers what the peer asks.
    operator: Option<OperatorPort>,
    pub(super) says: Rc<Outbox>,
    /// Whether the peer knows of questions.
    pub(super) speaks: Cell<bool>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    next: u32,
    /// What we have asked.
    asked: BTreeMap<u32, Asked>,
    /// What we have asked and do not wait for any more, with the one message that may still come before GONE.
    given_up: BTreeMap<u32, Option<u8>>,
    /// Answers with pieces to come, the next one first.
    pulls: VecDeque<u32>,
    /// The answer a piece of which is under way.
    pulling: Option<u32>,
    /// What the peer has asked: its answer, once there is one.
    answers: BTreeMap<u32, Option<Bytes>>,
}

struct Asked {
    /// The length of the answer, once it is ready.
    total: Option<usize>,
    got: BytesMut,
    done: oneshot::Sender<Bytes>,
}

impl Asks {
    /// Those of a link with `peer`, in the role of `role`; ours is `ours`.
    pub(super) fn new(peer: NodeId, role: Role, ours: Role, operator: Option<OperatorPort>) -> Rc<Self> {
        Rc::new(Self {
            peer,
            role,
            ours,
            operator,
            says: Outbox::new(ASK_QUEUE_BYTES_MAX),
            speaks: Cell::new(false),
            state: RefCell::default(),
        })
    }

    /// Asks the peer.
    ///
    /// # Errors
    /// [`Refusal`]: its own, or that it could not be asked.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.ask_within(path, body, ANSWER_WITHIN).await
    }

    async fn ask_within(&self, path: &str, body: &Value, within: Duration) -> Result<Value, Refusal> {
        let peer = &self.peer;
        if self.ours != Role::Core {
            return Err(Refusal::invalid("an edge asks no other node: ask a core"));
        }
        if !is_carried(path) {
            return Err(Refusal::not_found(format!(
                "another node cannot be asked for {path}: ask it at its own socket"
            )));
        }
        if !self.speaks.get() {
            let why = format!(
                "{peer} does not know this question: it is of an earlier version, or its link has just come up"
            );
            return Err(Refusal::unavailable(why));
        }
        let question = json!({ "path": path, "body": body }).to_string();
        if question.len() > QUESTION_BYTES_MAX {
            return Err(Refusal::invalid("the question is too long for another node"));
        }
        let (id, answered) = {
            let mut state = self.state.borrow_mut();
            if state.asked.len() + state.given_up.len() >= QUESTIONS_MAX {
                return Err(Refusal::unavailable(format!("{peer} has not answered the questions before this one")));
            }
            state.next = state.next.wrapping_add(1);
            let id = state.next;
            let (done, answered) = oneshot::channel();
            state.asked.insert(id, Asked { total: None, got: BytesMut::new(), done });
            (id, answered)
        };
        self.say(ASK, id, question.as_bytes());
        match timeout(within, answered).await {
            Ok(Ok(answer)) => read_answer(peer, &answer),
            Ok(Err(_)) => Err(Refusal::unavailable(format!("the link with {peer} has ended"))),
            Err(_) => {
                self.give_up(id);
                Err(Refusal::unavailable(format!("{peer} did not answer in time")))
            }
        }
    }

    /// The link is over: nobody waits any longer.
    pub(super) fn end(&self) {
        self.speaks.set(false);
        let asked = std::mem::take(&mut self.state.borrow_mut().asked);
        drop(asked);
    }

    fn give_up(&self, id: u32) {
        {
            let mut state = self.state.borrow_mut();
            let Some(asked) = state.asked.remove(&id) else { return };
            state.pulls.retain(|one| *one != id);
            let comes = match asked.total {
                None => Some(READY),
                Some(_) => (state.pulling == Some(id)).then_some(PIECE),
            };
            state.given_up.insert(id, comes);
        }
        self.say(DROP, id, &[]);
    }

    fn say(&self, kind: u8, id: u32, payload: &[u8]) {
        let mut out = BytesMut::with_capacity(9 + payload.len());
        out.put_u32(u32::try_from(payload.len() + 5).unwrap_or(u32::MAX));
        out.put_u8(kind);
        out.put_u32(id);
        out.put_slice(payload);
        // The queue holds all that may be said at once: so many questions, so many pieces.
        if self.says.push(out.freeze()).is_err() {
            tracing::warn!(peer = %self.peer, "questions to {} find no room", self.peer);
        }
    }

    /// The peer said something (what follows the length).
    ///
    /// # Errors
    /// Why the link must be closed.
    pub(super) fn handle_message(self: &Rc<Self>, mut message: &[u8]) -> Result<(), &'static str> {
        if message.len() < 5 {
            return Err("a message about a question is too short");
        }
        let (kind, id) = (message.get_u8(), message.get_u32());
        match (kind, self.role) {
            (ASK, Role::Core) => self.asked(id, message),
            (PULL, Role::Core) => self.pulled(id),
            (DROP, Role::Core) => {
                self.state.borrow_mut().answers.remove(&id);
                self.say(GONE, id, &[]);
                Ok(())
            }
            (ASK | PULL | DROP, Role::Edge) => Err("an edge may not ask anything"),
            (READY, _) => self.ready(id, message),
            (PIECE, _) => self.piece(id, message),
            (GONE, _) => {
                let mut state = self.state.borrow_mut();
                let known = state.given_up.remove(&id);
                // A piece that was asked for comes no more.
                if state.pulling == Some(id) {
                    state.pulling = None;
                }
                drop(state);
                self.pull();
                known.map(drop).ok_or("it forgot what it was not asked to forget")
            }
            // A later version may say more.
            _ => Ok(()),
        }
    }

    fn asked(self: &Rc<Self>, id: u32, question: &[u8]) -> Result<(), &'static str> {
        #[derive(serde::Deserialize)]
        struct Put {
            path: String,
            body: Value,
        }
        {
            let mut state = self.state.borrow_mut();
            if state.answers.len() >= QUESTIONS_MAX || state.answers.contains_key(&id) {
                return Err("it asks too much at once");
            }
            state.answers.insert(id, None);
        }
        let put: Option<Put> = serde_json::from_slice(question).ok();
        let (asks, operator) = (Rc::clone(self), self.operator.clone());
        spawn_local(async move {
            let outcome = match (put, operator) {
                (Some(put), Some(operator)) if is_carried(&put.path) => operator.ask(None, &put.path, put.body).await,
                (Some(put), Some(_)) => Err(Refusal::not_found(format!("there is no {} for other nodes", put.path))),
                (None, _) => Err(Refusal::invalid("the question is no question")),
                (_, None) => Err(Refusal::unavailable("this node answers nobody")),
            };
            asks.answered(id, &outcome);
        });
        Ok(())
    }

    fn answered(&self, id: u32, outcome: &Result<Value, Refusal>) {
        let mut text = match outcome {
            Ok(answer) => json!({ "ok": answer }).to_string(),
            Err(refusal) => refused(refusal),
        };
        if text.len() > ANSWER_BYTES_MAX {
            text = refused(&Refusal::invalid("the answer is too long to be carried: ask for fewer rows at once"));
        }
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        if let Some(answer) = self.state.borrow_mut().answers.get_mut(&id) {
            *answer = Some(Bytes::from(text));
        } else {
            return;
        }
        self.say(READY, id, &length.to_be_bytes());
    }

    fn pulled(&self, id: u32) -> Result<(), &'static str> {
        let piece = {
            let mut state = self.state.borrow_mut();
            let Some(Some(answer)) = state.answers.get_mut(&id) else {
                return Err("it wants a piece of an answer that is not there");
            };
            let piece = answer.split_to(answer.len().min(ANSWER_PIECE_BYTES));
            if answer.is_empty() {
                state.answers.remove(&id);
            }
            piece
        };
        self.say(PIECE, id, &piece);
        Ok(())
    }

    fn ready(&self, id: u32, length: &[u8]) -> Result<(), &'static str> {
        let length = <[u8; 4]>::try_from(length).map_err(|_| "an answer without a length")?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > ANSWER_BYTES_MAX {
            return Err("it has an answer that is too long, or none at all");
        }
        {
            let mut state = self.state.borrow_mut();
            if let Some(comes) = state.given_up.get_mut(&id) {
                return if comes.take() == Some(READY) { Ok(()) } else { Err(UNASKED) };
            }
            let asked = state.asked.get_mut(&id).filter(|asked| asked.total.is_none()).ok_or(UNASKED)?;
            asked.total = Some(length);
            state.pulls.push_back(id);
        }
        self.pull();
        Ok(())
    }

    /// Asks for the next piece, unless one is under way.
    fn pull(&self) {
        let mut state = self.state.borrow_mut();
        if state.pulling.is_some() {
            return;
        }
        let Some(id) = state.pulls.pop_front() else { return };
        state.pulling = Some(id);
        drop(state);
        self.say(PULL, id, &[]);
    }

    fn piece(&self, id: u32, bytes: &[u8]) -> Result<(), &'static str> {
        {
            let mut state = self.state.borrow_mut();
            if state.pulling != Some(id) || bytes.len() > ANSWER_PIECE_BYTES {
                return Err(UNASKED);
            }
            state.pulling = None;
            if let Some(comes) = state.given_up.get_mut(&id) {
                *comes = None;
            } else {
                let asked = state.asked.get_mut(&id).ok_or(UNASKED)?;
                let left = asked.total.unwrap_or_default().saturating_sub(asked.got.len());
                if bytes.len() != left.min(ANSWER_PIECE_BYTES) {
                    return Err("a piece of an answer has another length than it should");
                }
                asked.got.extend_from_slice(bytes);
                if bytes.len() < left {
                    state.pulls.push_back(id);
                } else if let Some(asked) = state.asked.remove(&id) {
                    let _ = asked.done.send(asked.got.freeze());
                }
            }
        }
        self.pull();
        Ok(())
    }
}

const UNASKED: &str = "it answered what it was not asked";

fn refused(refusal: &Refusal) -> String {
    json!({ "refused": refusal.kind.word(), "why": refusal.why }).to_string()
}

/// What a peer has answered. Nothing in it is believed beyond being what that peer says.
fn read_answer(peer: &NodeId, answer: &[u8]) -> Result<Value, Refusal> {
    let bad = |why: &str| Refusal::unavailable(format!("{peer} gave an answer that cannot be read: {why}"));
    check(answer).map_err(bad)?;
    let mut answer: Value = serde_json::from_slice(answer).map_err(|_| bad("it is no JSON"))?;
    if let Some(answer) = answer.get_mut("ok") {
        return Ok(answer.take());
    }
    let word = answer.get("refused").and_then(Value::as_str).unwrap_or_default();
    let kind = RefusalKind::ALL.into_iter().find(|kind| kind.word() == word);
    let why = answer.get("why").and_then(Value::as_str).unwrap_or("without a reason");
    let why: String = printable(why).chars().take(ANSWER_WORDS_MAX).collect();
    Err(Refusal { kind: kind.unwrap_or(RefusalKind::Unavailable), why: format!("{peer}: {why}") })
}

/// Bounds what reading an answer may cost: a byte of text can be hundreds in memory.
fn check(text: &[u8]) -> Result<(), &'static str> {
    let (mut depth, mut wrapped, mut commas, mut quoted, mut escaped) = (0_usize, 0_usize, 0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => (depth, wrapped) = (depth + 1, wrapped + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => commas += 1,
            _ => {}
        }
        if depth > ANSWER_DEPTH_MAX {
            return Err("it is too deep");
        }
        if wrapped > ANSWER_WRAPPED_MAX || commas > ANSWER_COMMAS_MAX {
            return Err("it has too many parts");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
