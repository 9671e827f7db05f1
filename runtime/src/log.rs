//! Log lines: what a notice looks like, and the subscriber that prints them.
//!
//! Identities and addresses stay out above DEBUG: notices carry them as `Pii`, which redacts itself.

use edgeway_config::LogFormat;
use edgeway_model::notice::Notice;

/// Writes a notice as a log line.
pub fn notice(notice: &Notice) {
    match notice {
        Notice::LinkUp { .. } | Notice::Registrar { alive: true, .. } => tracing::info!("{notice}"),
        Notice::LinkDown { .. } | Notice::ClockSkew { .. } | Notice::Registrar { alive: false, .. } => {
            tracing::warn!("{notice}");
        }
        Notice::OneWayMedia { .. } => tracing::info!("{notice}"),
        // One per message or call: a crowd, or an attacker, must not fill the log.
        Notice::Registered { .. }
        | Notice::Unregistered { .. }
        | Notice::CallOffered { .. }
        | Notice::CallRinging { .. }
        | Notice::CallAnswered { .. }
        | Notice::CallEnded { .. }
        | Notice::Dropped { .. } => tracing::debug!("{notice}"),
    }
}

/// Starts logging to standard error at `level` (`error`, `warn`, `info`, `debug`, `trace`).
/// Without effect if logging has been started already.
pub fn start(level: &str, format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,edgeway={level},edgeway_runtime={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Human => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
}
