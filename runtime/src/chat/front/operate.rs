//! What an operator may ask an edge about chat.

use edgeway_xmpp::{Condition, StreamFault};
use serde_json::{Value, json};

use super::ChatFront;
use super::vitals::{Order, Vitals};
use crate::chat::limits::LISTED_MAX;

/// What a client is told whom an operator disconnects.
const DISCONNECTED: StreamFault = StreamFault::new(Condition::PolicyViolation, "An operator has ended this stream.");

impl ChatFront {
    /// Answers a question; `None`: it is not for us.
    pub(crate) fn operate(&self, path: &str, question: &Value) -> Option<Result<Value, String>> {
        match path {
            "chats" => Some(Ok(self.list(question))),
            "chats/disconnect" => Some(self.disconnect(question)),
            _ => None,
        }
    }

    /// Clients that a core has, in the order of their numbers, from behind `after` on; and how many are left.
    fn list(&self, question: &Value) -> Value {
        let after = question.get("after").and_then(Value::as_u64).unwrap_or(0);
        let alive = self.alive.borrow();
        let mut rows = alive.range(after.saturating_add(1)..).filter_map(|(_, vitals)| row(vitals));
        let page: Vec<_> = rows.by_ref().take(LISTED_MAX).collect();
        json!({ "chats": page, "more": rows.count() })
    }

    fn disconnect(&self, question: &Value) -> Result<Value, String> {
        let id = question.get("id").and_then(Value::as_u64).ok_or("which one? Its number is missing")?;
        let vitals = self.alive.borrow().get(&id).cloned();
        if vitals.as_ref().is_some_and(|vitals| vitals.order(Order::Leave(DISCONNECTED))) {
            self.count("chat_disconnected");
            tracing::info!(event = "chat.disconnected", id, "an operator has ended a chat stream");
        }
        Ok(json!({ "disconnected": vitals.is_some() }))
    }
}

fn row(vitals: &Vitals) -> Option<Value> {
    let at = vitals.at.borrow();
    let (core, domain) = at.as_ref()?;
    Some(json!({
        "number": vitals.number,
        "client": vitals.client.to_string(),
        "domain": domain,
        "core": core.as_str(),
        "since_ms": vitals.since_ms,
        "signed_in": vitals.signed_in.get(),
        "bytes_in": vitals.received.get(),
        "bytes_out": vitals.sent.get(),
    }))
}
