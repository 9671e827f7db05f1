//! What the operator asks through the control socket: `edgeway chats …`.
//!
//! | path | question | answer |
//! |---|---|---|
//! | `chats` | `after`, `limit`, `user`, `edge`, `deployment` | sessions, by id, and how many more there are |
//! | `chats/disconnect` | `id` | whether there was such a stream |

use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Chat;
use super::limits::LISTED_MAX;
use super::sessions::Entry;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    /// Those behind this id.
    after: u64,
    /// So many at most.
    limit: Option<usize>,
    /// Of this user only, by the name before the `@`.
    user: Option<String>,
    /// Through this edge only.
    edge: Option<String>,
    /// Of this deployment only.
    deployment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    id: u64,
}

impl Chat {
    /// Answers a question whose path is `chats` or begins with `chats/`.
    ///
    /// # Errors
    /// In the operator's words.
    pub(crate) fn operate(&self, path: &str, question: Value) -> Result<Value, String> {
        match path {
            "chats" => Ok(self.list(&read(question)?)),
            "chats/disconnect" => {
                let Which { id } = read(question)?;
                Ok(json!({ "disconnected": self.sessions.disconnect(id) }))
            }
            _ => Err(format!("there is no {path}")),
        }
    }

    /// How many sessions there are, by deployment.
    pub(crate) fn counts(&self) -> Value {
        let counts = self.sessions.counts().into_iter().filter(|(_, count)| *count > 0);
        Value::Object(counts.map(|(deployment, count)| (deployment.to_string(), count.into())).collect())
    }

    fn list(&self, wish: &Wish) -> Value {
        let limit = wish.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
        let wanted = |entry: &Entry| {
            let deployment = wish.deployment.as_ref().is_none_or(|wanted| entry.deployment.as_str() == wanted);
            let edge = wish.edge.as_ref().is_none_or(|wanted| entry.edge.as_str() == wanted);
            deployment && edge && wish.user.as_ref().is_none_or(|user| is_of(entry, user))
        };
        let (page, more) = self.sessions.page(wish.after, limit, wanted);
        json!({
        "chats": page.iter().map(shown).collect::<Vec<_>>(),
                   "total": self.sessions.count(),
                   "more": more,
               })
    }
}

fn read<T: serde::de::DeserializeOwned>(question: Value) -> Result<T, String> {
    serde_json::from_value(question).map_err(|error| error.to_string())
}

fn is_of(entry: &Entry, user: &str) -> bool {
    let jid = entry.jid.borrow();
    let local = jid.as_ref().and_then(|jid| jid.reveal().split('@').next());
    let named = entry.user.borrow();
    let named = named.as_ref().map(|subject| subject.user.as_str());
    local.into_iter().chain(named).any(|name| name.eq_ignore_ascii_case(user))
}

/// For the operator, who may know who it is.
fn shown(entry: &Rc<Entry>) -> Value {
    let user = entry.user.borrow();
    let user = user.as_ref().map(|subject| subject.user.as_str());
    // Of a stream that was resumed no server says the full JID.
    let bare = || user.map(|user| format!("{user}@{}", entry.opening.domain));
    let jid = entry.jid.borrow().as_ref().map(|jid| jid.reveal().clone()).or_else(bare);
    json!({
        "id": entry.id,
        "jid": jid,
        "user": user,
        "deployment": entry.deployment.as_str(),
        "domain": entry.opening.domain,
        "edge": entry.edge.as_str(),
        "number": entry.opening.number,
        "client": entry.opening.client.to_string(),
        "server": *entry.server.borrow(),
        "since_ms": entry.since_ms,
        "bytes_in": entry.bytes_in.get(),
        "bytes_out": entry.bytes_out.get(),
        "resumable": entry.resumable.get(),
    })
}
