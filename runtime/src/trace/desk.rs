//! What an operator may ask about attempts and traces.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::attempt::Code;
use serde_json::{Value, json};

use super::journal::Filter;
use super::limits::{ATTEMPTS_PER_ANSWER, ATTEMPTS_PER_ANSWER_MAX, TRACE_SECONDS_MAX, TRACES_MAX};
use super::recorder::{Which, Whom};
use super::{Journal, Recorder};
use crate::clock::unix_ms;
use crate::operate::{Refusal, RefusalKind};

/// Answers questions about attempts.
#[derive(Clone)]
pub struct Desk {
    journal: Arc<Journal>,
    recorder: Rc<Recorder>,
}

impl Desk {
    /// For attempts alone.
    #[must_use]
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal, recorder: Rc::default() }
    }

    /// Of one node.
    pub(crate) const fn of(journal: Arc<Journal>, recorder: Rc<Recorder>) -> Self {
        Self { journal, recorder }
    }

    /// | path | question | answer |
    /// |---|---|---|
    /// | `attempts` | `user`, `code`, `client`, `after`, `limit` | the last attempts, newest first |
    /// | `trace/start` | `user` or `address`, `seconds` | until when |
    /// | `trace/stop` | the same, or nothing: all | how many traces have ended |
    /// | `ladder` | `user`, `call_id`, `trace` | the messages that were kept |
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn ask(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        match path {
            "attempts" => self.attempts(body),
            "ladder" => {
                let text = |name: &str| text(body, name);
                let user = text("user")?.map(str::to_lowercase);
                let (call_id, trace) = (text("call_id")?.map(str::to_owned), text("trace")?.map(str::to_owned));
                Ok(self.recorder.ladder(&Which { user, call_id, trace }))
            }
            "trace/start" => self.start(body),
            "trace/stop" => Ok(json!({ "stopped": self.recorder.stop(whom(body)?.as_ref()) })),
            _ => Err(Refusal::not_found(format!("there is no {path}"))),
        }
    }

    fn start(&self, body: &Value) -> Result<Value, Refusal> {
        let whom = whom(body)?.ok_or_else(|| Refusal::invalid("whom? Give a `user` or an `address`"))?;
        let seconds = number(body, "seconds")?.unwrap_or(TRACE_SECONDS_MAX);
        if !(1..=TRACE_SECONDS_MAX).contains(&seconds) {
            return Err(Refusal::invalid(format!("`seconds` is 1 to {TRACE_SECONDS_MAX}")));
        }
        if !self.recorder.start(whom, Duration::from_secs(seconds)) {
            return Err(Refusal {
                kind: RefusalKind::Conflict,
                why: format!("{TRACES_MAX} traces are going on already"),
            });
        }
        Ok(json!({ "until_ms": unix_ms().saturating_add(seconds * 1_000) }))
    }

    fn attempts(&self, body: &Value) -> Result<Value, Refusal> {
        let text = |name: &str| text(body, name);
        let number = |name: &str| number(body, name);
        let no_code = || Refusal::invalid("a code looks like EW-7K2F".to_owned());
        let filter = Filter {
            user: text("user")?.map(str::to_lowercase),
            code: text("code")?.map(|code| Code::parse(code).ok_or_else(no_code)).transpose()?,
            client: text("client")?.map(str::to_owned),
            before: number("after")?,
        };
        let limit = number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(ATTEMPTS_PER_ANSWER);
        let (attempts, next, total) = self.journal.list(&filter, limit.clamp(1, ATTEMPTS_PER_ANSWER_MAX));
        Ok(json!({ "attempts": attempts, "next": next, "total": total }))
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Refusal::invalid(format!("`{name}` is a text"))),
    }
}

fn number(body: &Value, name: &str) -> Result<Option<u64>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| Refusal::invalid(format!("`{name}` is a whole number"))),
    }
}

/// Who is meant, where somebody is.
fn whom(body: &Value) -> Result<Option<Whom>, Refusal> {
    match (text(body, "user")?, text(body, "address")?) {
        (Some(user), None) if !user.trim().is_empty() => Ok(Some(Whom::User(user.trim().to_lowercase()))),
        (None, Some(address)) => {
            let address: IpAddr =
                address.parse().map_err(|_| Refusal::invalid("`address` is an IP address, such as 203.0.113.7"))?;
            Ok(Some(Whom::Address(address.to_canonical())))
        }
        (None, None) => Ok(None),
        (Some(_), _) => Err(Refusal::invalid("a `user` or an `address`, and not both")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_question_is_refused_in_words() {
        let desk = Desk::new(Arc::default());
        assert_eq!(desk.ask("attempts", &json!({})), Ok(json!({ "attempts": [], "next": null, "total": 0 })));
        for (path, body) in [
            ("nothing", json!({})),
            ("attempts", json!({ "code": "EW-1" })),
            ("attempts", json!({ "user": 7 })),
            ("attempts", json!({ "after": "x" })),
            ("trace/start", json!({})),
            ("trace/start", json!({ "user": "a", "address": "192.0.2.1" })),
            ("trace/start", json!({ "address": "edge1" })),
            ("trace/start", json!({ "user": "a", "seconds": 601 })),
            ("trace/start", json!({ "user": "  " })),
            ("ladder", json!({ "user": 1 })),
        ] {
            assert!(desk.ask(path, &body).is_err(), "{path} {body}");
        }
    }
}
