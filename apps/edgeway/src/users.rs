//! `edgeway users`: ends what signed-in users have, and edits the users file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use edgeway_model::sign_in::{Deployment, UserName};
use serde_json::{Value, json};

use crate::commands::{Failure, ask, core_settings, finish};
use crate::output::say;
use crate::users_file::{self, FileCommand};
use crate::why;

/// Users who sign in, and the users file.
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Ends a user's session tokens and cached credentials at once, at every core and edge.
    #[command(
        after_help = "Examples:\n  edgeway users revoke alice\n  edgeway users revoke alice --deployment staging"
    )]
    Revoke(Who),
    /// Forgets a user's cached credentials at this core: the next sign-in asks whoever checks them. Tokens stay good.
    #[command(after_help = "Examples:\n  edgeway users purge alice\n  edgeway users purge alice --deployment staging")]
    Purge(Who),
    /// Why somebody was refused: the last attempts to sign in, to register, to call, with the reason in words. By the
    /// code that the client was shown, or by the user.
    #[command(after_help = "Examples:\n  edgeway users why EW-7K2F\n  edgeway users why --user sato -o json")]
    Why(why::Why),
    #[command(flatten)]
    File(FileCommand),
}

/// A user, at a core.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The user's name.
    user: String,
    /// The user's deployment.
    #[arg(long, default_value = Deployment::DEFAULT)]
    deployment: String,
    /// The core's settings file.
    #[arg(long, default_value = "/etc/edgeway/core.toml")]
    config: PathBuf,
}

pub(crate) fn run(command: &UsersCommand) -> ExitCode {
    finish(match command {
        UsersCommand::Revoke(who) => revoke(who),
        UsersCommand::Purge(who) => purge(who),
        UsersCommand::Why(asked) => why::run(asked),
        UsersCommand::File(command) => users_file::run(command),
    })
}

fn revoke(who: &Who) -> Result<(), Failure> {
    ask_about(who, "users/revoke")?;
    say!("{}: tokens issued until now hold no longer, and nothing of the user is cached", who.user);
    Ok(())
}

fn purge(who: &Who) -> Result<(), Failure> {
    let answer = ask_about(who, "users/purge")?;
    let was_there = answer.get("purged").and_then(Value::as_bool).unwrap_or_default();
    let text = if was_there { "nothing of the user is cached any more" } else { "nothing of the user was cached" };
    say!("{}: {text} at this core", who.user);
    Ok(())
}

fn ask_about(who: &Who, path: &str) -> Result<Value, Failure> {
    let usage = |text: String| Failure(2, text);
    UserName::new(&who.user).ok_or_else(|| usage(format!("{:?} is no name of a user", who.user)))?;
    let config: &Path = &who.config;
    let settings = core_settings(config)?;
    if !settings.deployments.iter().any(|known| known.name.as_str() == who.deployment) {
        let names: Vec<_> = settings.deployments.iter().map(|known| known.name.as_str()).collect();
        return Err(usage(format!("there is no deployment {:?}; there are: {}", who.deployment, names.join(", "))));
    }
    ask(config, path, &json!({ "user": who.user, "deployment": who.deployment }))
}
