//! Log lines: what a notice looks like, and the subscriber that prints them.
//!
//! Lines that name a person or an address are DEBUG or below; above that, identities are `Pii`, which
//! redacts itself. One line is either for people (`2026-11-24T18:00:00.000Z INFO  link up …`) or one
//! JSON object with `ts`, `level`, `event` (a stable name, where there is one), `msg` and whatever
//! else is known. Control characters are escaped in both, so nobody can forge a line.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use edgeway_config::LogFormat;
use edgeway_model::media::MediaPath;
use edgeway_model::notice::Notice;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, debug, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{rfc3339, unix_ms};
use crate::limits::LOG_FIELD_CHARACTERS_MAX;
use crate::trace::scrub;

/// Writes a notice as a log line.
pub fn notice(notice: &Notice) {
    let id = notice.id();
    match notice {
        Notice::LinkUp { link, peer, skew_ms } => info!(event = id, %peer, %link, skew_ms, "{notice}"),
        Notice::LinkDown { link, peer, why } => {
            let peer = peer.as_ref().map(tracing::field::display);
            warn!(event = id, peer, %link, reason = why, "{notice}");
        }
        Notice::MediaPath { peer, path: MediaPath::Udp } => info!(event = id, %peer, "{notice}"),
        Notice::MediaPath { peer, path: MediaPath::Tcp | MediaPath::None } => {
            warn!(event = id, %peer, "{notice}");
        }
        Notice::LinkRefused { peer, why } => warn!(event = id, %peer, reason = why, "{notice}"),
        Notice::CertificateRenewed { node, not_after_unix } => {
            info!(event = id, %node, not_after_unix, "{notice}");
        }
        Notice::CertificateExpiring { node, seconds_left, .. } => {
            tracing::error!(event = id, %node, seconds_left, "{notice}");
        }
        Notice::CertificateRevoked { node } => warn!(event = id, %node, "{notice}"),
        Notice::CertificatesReloaded { .. } => info!(event = id, "{notice}"),
        Notice::CertificatesRejected { .. } => tracing::error!(event = id, "{notice}"),
        Notice::ClockSkew { peer, skew_ms } => warn!(event = id, %peer, skew_ms, "{notice}"),
        Notice::Registrar { address, alive: true, .. } => info!(event = id, %address, "{notice}"),
        Notice::Registrar { address, alive: false, why } => {
            warn!(event = id, %address, reason = why, "{notice}");
        }
        Notice::Resolution { name, fault: None } => info!(event = id, name, "{notice}"),
        Notice::Resolution { name, fault: Some(fault) } => {
            warn!(event = id, name, reason = fault, "{notice}");
        }
        Notice::OneWayMedia { relay } => info!(event = id, %relay, "{notice}"),
        Notice::CallEndUnheard { call, .. } => info!(event = id, call = call.reveal(), "{notice}"),
        Notice::NoMedia { call, silent_for } => {
            info!(event = id, call = call.reveal(), seconds = silent_for.as_secs(), "{notice}");
        }
        // One per message or call: a crowd, or an attacker, must not fill the log; and these name people.
        Notice::Registered { aor, flow } => debug!(event = id, aor = aor.reveal(), %flow, "{notice}"),
        Notice::Unregistered { aor, why } => {
            debug!(event = id, aor = aor.reveal(), reason = why, "{notice}");
        }
        Notice::CallOffered { call } => debug!(event = id, call = call.reveal(), "{notice}"),
        Notice::CallRinging { call } => debug!(event = id, call = call.reveal(), "{notice}"),
        Notice::CallAnswered { call } => debug!(event = id, call = call.reveal(), "{notice}"),
        Notice::CallEnded { call, why } => {
            debug!(event = id, call = call.reveal(), reason = why, "{notice}");
        }
        Notice::EdgeSettings { edge, refused: None, .. } => info!(event = id, %edge, "{notice}"),
        Notice::EdgeSettings { edge, refused: Some(_), .. } => warn!(event = id, %edge, "{notice}"),
        Notice::SettingsTold { from, refused: None, .. } => info!(event = id, %from, "{notice}"),
        Notice::SettingsTold { from, refused: Some(_), .. } => warn!(event = id, %from, "{notice}"),
        Notice::Maintenance { on } => warn!(event = id, on, "{notice}"),
        Notice::ChatOffence { client, offence, .. } => {
            debug!(event = id, client = %client.reveal(), kind = offence.label(), "{notice}");
        }
        Notice::Attempt(attempt) => {
            let (reason, code) = (attempt.reason.id(), attempt.code.map(|code| code.to_string()));
            let (code, trace) = (code.as_deref().unwrap_or_default(), attempt.trace.as_str());
            debug!(event = id, kind = attempt.kind.label(), reason, code, trace, "{notice}");
        }
        // Whole messages are for those who have asked for them, and not for the log.
        Notice::Signal(_) => {}
        Notice::Dropped { reason, .. } => debug!(event = id, reason = reason.label(), "{notice}"),
    }
}

/// Starts logging to standard error at `level` (`error`, `warn`, `info`, `debug`, `trace`).
/// Without effect if logging has been started already. Panics are counted from then on.
pub fn start(level: &str, format: LogFormat) {
    crate::panics::watch();
    let filter = filter_of(level);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .event_format(Line { format })
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    if subscriber.try_init().is_ok() {
        let reload = move |filter| {
            if let Err(error) = handle.reload(filter) {
                tracing::error!(%error, "the log level stays as it is");
            }
        };
        let _ = RELOAD.set(Box::new(reload));
    }
}

/// Writes lines of this level from now on; without effect where logging was not started by [`start`].
pub fn set_level(level: &str) {
    if let Some(reload) = RELOAD.get() {
        reload(filter_of(level));
    }
}

/// Puts another filter in the place of the one in use.
type Reload = Box<dyn Fn(EnvFilter) + Send + Sync>;
static RELOAD: OnceLock<Reload> = OnceLock::new();

fn filter_of(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,edgeway={level},edgeway_runtime={level}"))
}

/// Prints one event as one line.
struct Line {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        match self.format {
            LogFormat::Json => fields.write_json(&mut writer, unix_ms(), level),
            LogFormat::Human => {
                let colour = writer.has_ansi_escapes();
                fields.write_human(&mut writer, unix_ms(), level, colour)
            }
        }
    }
}

/// What one event carries.
#[derive(Default)]
struct Fields {
    event: Option<String>,
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn write_json(&self, out: &mut impl fmt::Write, unix_ms: u64, level: Level) -> fmt::Result {
        write!(out, r#"{{"ts":"{}","level":"{}""#, rfc3339(unix_ms), level.as_str().to_ascii_lowercase())?;
        if let Some(event) = &self.event {
            out.write_str(r#","event":"#)?;
            write_json_text(out, event)?;
        }
        out.write_str(r#","msg":"#)?;
        write_json_text(out, &self.message)?;
        for (name, value) in &self.others {
            write!(out, ",{}:", Value::from(*name))?;
            match value {
                Value::String(text) => write_json_text(out, text)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    write!(out, "{value}")?;
                }
            }
        }
        out.write_str("}\n")
    }

    fn write_human(&self, out: &mut impl fmt::Write, unix_ms: u64, level: Level, colour: bool) -> fmt::Result {
        let (on, off) = if colour { (colour_of(level), "\u{1b}[0m") } else { ("", "") };
        write!(out, "{} {on}{:5}{off} ", rfc3339(unix_ms), level.as_str())?;
        write_escaped(out, &self.message)?;
        // A named event says everything in its message, except who it was.
        for (name, value) in &self.others {
            if self.event.is_none() || matches!(*name, "aor" | "call") {
                write!(out, " {name}=")?;
                match value {
                    Value::String(text) => write_escaped(out, text)?,
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        write!(out, "{value}")?;
                    }
                }
            }
        }
        out.write_char('\n')
    }

    fn record(&mut self, field: &Field, value: Value) {
        self.take(field.name(), value);
    }

    /// Without what looks like a secret, and of a bounded length: clients have a say in many a text.
    fn take(&mut self, name: &'static str, value: Value) {
        let value = match value {
            Value::String(text) if text.len() > LOG_FIELD_CHARACTERS_MAX => {
                let mut bounded: String = scrub(&text).chars().take(LOG_FIELD_CHARACTERS_MAX).collect();
                bounded.push('…');
                Value::String(bounded)
            }
            Value::String(text) => Value::String(scrub(&text).into_owned()),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other,
        };
        match (name, value) {
            ("event", Value::String(event)) => self.event = Some(event),
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
}

const fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG | Level::TRACE => "\u{1b}[2m",
    }
}

fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| {
        if is_hidden(character) { write!(out, "{}", character.escape_default()) } else { out.write_char(character) }
    })
}

/// As JSON has it, with everything escaped that would not be seen as what it is.
fn write_json_text(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            // All of these are of the basic plane: four digits say them.
            hidden if is_hidden(hidden) => write!(out, "\\u{:04x}", u32::from(hidden))?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

/// Control characters, ends of lines of any kind, and marks that turn the direction of a text.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_795_543_200_123;

    fn fields(event: Option<&str>) -> Fields {
        Fields {
            event: event.map(str::to_owned),
            message: "refused: \"x\"\r\nforged line \u{1b}[2J".to_owned(),
            others: vec![("aor", "sip:alice@example.com".into()), ("skew_ms", (-3_i64).into())],
        }
    }

    #[test]
    fn a_json_line_is_one_object_in_a_stable_order() {
        let mut line = String::new();
        fields(Some("request.refused")).write_json(&mut line, AT, Level::WARN).expect("written");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(
            line.starts_with(r#"{"ts":"2026-11-24T18:00:00.123Z","level":"warn","event":"request.refused","msg":"#)
        );
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["msg"], "refused: \"x\"\r\nforged line \u{1b}[2J");
        assert_eq!(parsed["skew_ms"], -3);
    }

    /// 10^5 fields of hostile texts: each line is one line, in both shapes, shows no control character, and no secret that is
    /// written in a way in which secrets are written.
    #[test]
    fn hostile_fields_forge_nothing_and_give_nothing_away() {
        const SECRET: &str = "S3cretS3cret9";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut dice = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 11).unwrap_or(0) % bound
        };
        let secrets = [
            "Authorization: Basic {}",
            "Bearer {}",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}|2^20",
            "token={}",
            "access_token=\"{}\"",
            "sip:alice:{}@example.com",
            "https://u:{}@h/",
            "Cookie: X-Auth={}; Path=/",
            "Digest username=\"a\", response=\"{}\"",
            "PASSWORD={}&x",
            "proxy-authorization={}",
            "<sip:a:{}@h>",
        ];
        let hostile = [
            '\r',
            '\n',
            '\u{1b}',
            '\0',
            '\u{7f}',
            '\u{9b}',
            '\u{85}',
            '\u{2028}',
            '\u{202e}',
            '\u{2066}',
            '"',
            '\\',
            '{',
            '}',
            '=',
            ' ',
            'a',
            'é',
            '漢',
            '\u{1f600}',
            '%',
            '<',
            '\t',
        ];
        let mut fields = 0;
        while fields < 100_000 {
            let mut line = Fields { event: Some("attempt".to_owned()), ..Fields::default() };
            for name in ["message", "aor", "call", "reason", "user_agent"] {
                let mut text: String = (0..dice(24)).map(|_| hostile[dice(hostile.len())]).collect();
                if dice(2) == 0 {
                    let secret = secrets[dice(secrets.len())].replace("{}", SECRET);
                    text = format!("{text} {secret} {}", hostile[dice(hostile.len())]);
                }
                line.take(name, Value::from(text));
                fields += 1;
            }
            let (mut json, mut human) = (String::new(), String::new());
            line.write_json(&mut json, AT, Level::DEBUG).expect("written");
            line.event = Some("attempt".to_owned()).filter(|_| dice(2) == 0);
            line.write_human(&mut human, AT, Level::DEBUG, false).expect("written");
            for written in [&json, &human] {
                assert!(!written.contains(SECRET), "{written:?}");
                let body = written.strip_suffix('\n').expect("an end");
                assert!(!body.chars().any(is_hidden), "{written:?}");
            }
            let parsed: Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(parsed["event"], "attempt");
        }
        let mut long = Fields::default();
        long.take("aor", Value::from("x".repeat(1_000_000)));
        let mut json = String::new();
        long.write_json(&mut json, AT, Level::DEBUG).expect("written");
        assert!(json.len() < 2 * LOG_FIELD_CHARACTERS_MAX);
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "refused (identity): Basic authentication is not offered",
            "call one:two:three@10.0.0.1: ended, hang-up",
            "registered alice@example.com on flow 7",
            "response 200 to a token of nobody",
        ] {
            assert_eq!(scrub(text), text);
        }
    }

    #[test]
    fn a_human_line_is_one_line() {
        let mut line = String::new();
        fields(None).write_human(&mut line, AT, Level::INFO, false).expect("written");
        assert_eq!(
            line,
            "2026-11-24T18:00:00.123Z INFO  refused: \"x\"\\r\\nforged line \\u{1b}[2J \
             aor=sip:alice@example.com skew_ms=-3\n"
        );
        line.clear();
        fields(Some("call.ended")).write_human(&mut line, AT, Level::DEBUG, false).expect("written");
        assert!(line.ends_with(" aor=sip:alice@example.com\n"), "{line}");
    }

    /// Whom a notice names is seen at DEBUG and nowhere above.
    #[test]
    fn notices_name_people_at_debug_only() {
        use std::sync::{Arc, Mutex};

        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("lock").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let told = Notice::Registered {
            aor: edgeway_model::Pii::new("sip:alice@example.com".to_owned()),
            flow: edgeway_model::FlowId::accepted(0, 1),
        };
        for (level, seen) in [(Level::INFO, false), (Level::DEBUG, true)] {
            let sink = Sink::default();
            let writer = sink.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(level)
                .with_writer(move || writer.clone())
                .event_format(Line { format: LogFormat::Json })
                .finish();
            tracing::subscriber::with_default(subscriber, || notice(&told));
            let text = String::from_utf8(sink.0.lock().expect("lock").clone()).expect("UTF-8");
            assert_eq!(text.contains("alice"), seen, "{level}: {text}");
        }
    }
}
