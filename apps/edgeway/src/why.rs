//! `edgeway users why`: the last attempts, and why they were refused, at this node and those linked with it.

use clap::Args;
use edgeway_model::attempt::Code;
use edgeway_runtime::admin::{cell, grid};
use edgeway_runtime::clock::rfc3339;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure};
use crate::output::{say, show};

/// Whose attempts, and how to print them.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The code the client was shown, such as EW-7K2F.
    code: Option<String>,
    /// Attempts of users whose name holds this.
    #[arg(long)]
    user: Option<String>,
    /// Attempts from this address.
    #[arg(long)]
    client: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) fn run(why: &Why) -> Result<(), Failure> {
    if let Some(code) = why.code.as_ref().filter(|code| Code::parse(code).is_none()) {
        return Err(Failure(2, format!("{code:?} is no code: they look like EW-7K2F")));
    }
    let question = json!({ "code": why.code, "user": why.user, "client": why.client, "limit": why.limit });
    let answers = why.at.ask_everywhere("attempts", &question)?;
    let of = |answer: &Value| answer.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut attempts: Vec<_> = answers.iter().flat_map(of).collect();
    let at = |attempt: &Value| attempt.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
    attempts.sort_by_key(|attempt| std::cmp::Reverse(at(attempt)));
    attempts.truncate(usize::from(why.limit));
    match why.output {
        Format::Json => say!("{:#}", json!({ "attempts": attempts })),
        Format::Table if attempts.is_empty() => say!("no attempt like that is remembered"),
        Format::Table => show!("{}", table(&attempts)),
    }
    Ok(())
}

fn table(attempts: &[Value]) -> String {
    let heads = ["time (UTC)", "what", "who", "client", "edge", "core", "outcome", "code", "why"];
    let row = |attempt: &Value| {
        let of = |name: &str| cell(attempt.get(name));
        let at = attempt.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
        let time = rfc3339(at).get(..19).unwrap_or_default().replace('T', " ");
        let (words, detail) = (of("words"), attempt.get("detail").and_then(Value::as_str).unwrap_or_default());
        let why = if detail.is_empty() { words } else { cell(Some(&format!("{words}: {detail}").into())) };
        let times = attempt.get("times").and_then(Value::as_u64).unwrap_or(1);
        let outcome = if times > 1 { format!("{} ({times} times)", of("outcome")) } else { of("outcome") };
        vec![time, of("kind"), of("user"), of("client"), of("edge"), of("core"), outcome, of("code"), why]
    };
    let mut text = String::new();
    grid(&mut text, &heads, &attempts.iter().map(row).collect::<Vec<_>>(), &[]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_what_and_why() {
        let attempt = json!({
            "at_ms": 1_795_543_200_123_u64, "kind": "sign_in", "user": "sato\u{1b}[2J", "client": "203.0.113.7",
            "edge": "edge1", "core": "core1", "outcome": "refused", "reason": "sign_in_limit", "code": "EW-7K2F",
            "words": "sign-in limit", "detail": "sign-in 9 within 300 s, limit 8, next try 14:03:22 UTC", "times": 1,
        });
        let text = table(&[attempt]);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for part in ["2026-11-24 18:00:00", "203.0.113.7", "EW-7K2F", "sign-in limit: sign-in 9 within 300 s, limit 8"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
