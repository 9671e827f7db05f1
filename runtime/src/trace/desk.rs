//! What an operator may ask about attempts and traces.

use std::sync::Arc;

use edgeway_model::attempt::Code;
use serde_json::{Value, json};

use super::Journal;
use super::journal::Filter;
use super::limits::{ATTEMPTS_PER_ANSWER, ATTEMPTS_PER_ANSWER_MAX};
use crate::operate::Refusal;

/// Answers questions about attempts.
#[derive(Clone, Debug)]
pub struct Desk {
    journal: Arc<Journal>,
}

impl Desk {
    /// Of one node.
    #[must_use]
    pub const fn new(journal: Arc<Journal>) -> Self {
        Self { journal }
    }

    /// `attempts`: the last attempts, newest first.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn ask(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        match path {
            "attempts" => self.attempts(body),
            _ => Err(Refusal::not_found(format!("there is no {path}"))),
        }
    }

    fn attempts(&self, body: &Value) -> Result<Value, Refusal> {
        let text = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Refusal::invalid(format!("`{name}` is a text"))),
        };
        let number = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| Refusal::invalid(format!("`{name}` is a whole number")))
            }
        };
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
        ] {
            assert!(desk.ask(path, &body).is_err(), "{path} {body}");
        }
    }
}
