//! `edgeway users add`, `remove`, `list`, `passwd`, `lock`, `unlock`: the users file of a deployment without a call manager or directory.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use edgeway_connectors::authorities::limits::PASSWORD_BYTES_MAX;
use edgeway_connectors::users_file::edit::{Change, Costs, EditFault, change, hash, read};
use edgeway_connectors::users_file::format::Users;
use edgeway_model::sign_in::UserName;
use serde_json::json;
use zeroize::Zeroizing;

use crate::Format;
use crate::commands::Failure;
use crate::output::say;
use crate::terminal;

/// The users file: who may sign in where there is neither a call manager nor a directory.
#[derive(Debug, Subcommand)]
pub(crate) enum FileCommand {
    /// Adds a user; makes the file if there is none. The password comes from the terminal, or from a file.
    #[command(
        after_help = "Examples:\n  edgeway users add alice --file /etc/edgeway/users --number 1001 --device CSFALICE\n  \
                      edgeway users add bob --file ./users --password-file ./bob.password"
    )]
    Add {
        /// The user's name.
        user: String,
        #[command(flatten)]
        place: Place,
        /// The user part of a SIP address of the user; may be given several times.
        #[arg(long)]
        number: Vec<String>,
        /// The name of a device of the user; may be given several times.
        #[arg(long)]
        device: Vec<String>,
        #[command(flatten)]
        password: Password,
    },
    /// Takes a user out.
    #[command(
        after_help = "Examples:\n  edgeway users remove alice --file /etc/edgeway/users\n  edgeway users remove bob --file ./users"
    )]
    Remove {
        /// The user's name.
        user: String,
        #[command(flatten)]
        place: Place,
    },
    /// Lists the users; reports every problem of the file.
    #[command(
        after_help = "Examples:\n  edgeway users list --file /etc/edgeway/users --output json\n  edgeway users list --file ./users"
    )]
    List {
        #[command(flatten)]
        place: Place,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Gives a user another password.
    #[command(
        after_help = "Examples:\n  edgeway users passwd alice --file /etc/edgeway/users\n  edgeway users passwd bob --file ./users --password-file ./bob.password"
    )]
    Passwd {
        /// The user's name.
        user: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        password: Password,
    },
    /// Refuses a user, whatever the password, until `unlock`. Who is signed in stays so: `revoke` ends that.
    #[command(
        after_help = "Examples:\n  edgeway users lock alice --file /etc/edgeway/users\n  edgeway users lock bob --file ./users"
    )]
    Lock {
        /// The user's name.
        user: String,
        #[command(flatten)]
        place: Place,
    },
    /// Takes a user's password again.
    #[command(
        after_help = "Examples:\n  edgeway users unlock alice --file /etc/edgeway/users\n  edgeway users unlock bob --file ./users"
    )]
    Unlock {
        /// The user's name.
        user: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The users file, as `sign_in.users_file` names it.
    #[arg(long)]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// A file with the password in its first line; default: the terminal, or standard input where that is none.
    #[arg(long)]
    password_file: Option<PathBuf>,
}

pub(crate) fn run(command: &FileCommand) -> Result<(), Failure> {
    match command {
        FileCommand::Add { user, place, number, device, password } => add(user, place, number, device, password),
        FileCommand::Remove { user, place } => changed(user, place, Change::Remove, "removed"),
        FileCommand::List { place, output } => list(&place.file, *output),
        FileCommand::Passwd { user, place, password } => passwd(user, place, password),
        FileCommand::Lock { user, place } => changed(user, place, Change::Lock(true), "locked"),
        FileCommand::Unlock { user, place } => changed(user, place, Change::Lock(false), "unlocked"),
    }
}

fn add(user: &str, place: &Place, numbers: &[String], devices: &[String], password: &Password) -> Result<(), Failure> {
    let name = user_name(user)?;
    let made = !place.file.exists();
    // Before anybody types a password in vain.
    if users_of(&place.file)?.by_name.contains_key(&name) {
        return Err(failure(&EditFault::There));
    }
    let hash = new_hash(password)?;
    let (numbers, devices) = (numbers.join(","), devices.join(","));
    let wish = Change::Add { hash: &hash, numbers: &numbers, devices: &devices };
    change(&place.file, &name, wish).map_err(|fault| {
        // The file was right: it is what was to be added that is not.
        if let EditFault::Wrong { problems, .. } = &fault {
            Failure(2, problems.iter().map(|problem| problem.reason.clone()).collect::<Vec<_>>().join("; "))
        } else {
            failure(&fault)
        }
    })?;
    say!("{}: {user} added", place.file.display());
    if made {
        eprintln!("The file was made: it must be readable by the user edgeway-core runs as (chown).");
    }
    Ok(())
}

fn passwd(user: &str, place: &Place, password: &Password) -> Result<(), Failure> {
    let name = user_name(user)?;
    // Before anybody types a password for nobody.
    if !users_of(&place.file)?.by_name.contains_key(&name) {
        return Err(failure(&EditFault::Unknown));
    }
    let hash = new_hash(password)?;
    change(&place.file, &name, Change::Password { hash: &hash }).map_err(|fault| failure(&fault))?;
    say!("{}: {user} has another password", place.file.display());
    Ok(())
}

fn changed(user: &str, place: &Place, wish: Change<'_>, done: &str) -> Result<(), Failure> {
    change(&place.file, &user_name(user)?, wish).map_err(|fault| failure(&fault))?;
    say!("{}: {user} {done}", place.file.display());
    Ok(())
}

fn list(file: &Path, output: Format) -> Result<(), Failure> {
    if !file.exists() {
        return Err(Failure::configuration(format!("there is no {}", file.display())));
    }
    let users = users_of(file)?;
    match output {
        Format::Json => {
            let users: Vec<_> = users
                .by_name
                .iter()
                .map(|(user, entry)| {
                    json!({"user": user.as_str(), "locked": entry.locked, "numbers": entry.numbers, "devices": entry.devices})
                })
                .collect();
            say!("{}", json!(users));
        }
        Format::Table => {
            say!("{:<32} {:<8} {:<24} devices", "user", "state", "numbers");
            for (user, entry) in &users.by_name {
                let state = if entry.locked { "locked" } else { "open" };
                let (numbers, devices) = (entry.numbers.join(","), entry.devices.join(","));
                say!("{:<32} {state:<8} {numbers:<24} {devices}", user.as_str());
            }
        }
    }
    Ok(())
}

/// The users of a file that is right; a file that is not there has none.
fn users_of(file: &Path) -> Result<Users, Failure> {
    read(file).map(|(_, users)| users).map_err(Failure::configuration)
}

/// What the command line says wrongly is usage; what the file says wrongly is bad configuration.
fn failure(fault: &EditFault) -> Failure {
    match fault {
        EditFault::Wrong { .. } => Failure::configuration(fault),
        EditFault::Unknown | EditFault::Name | EditFault::Password => Failure(2, fault.to_string()),
        EditFault::File { .. } | EditFault::Busy(_) | EditFault::There | EditFault::Hash(_) => Failure::new(fault),
    }
}

fn user_name(text: &str) -> Result<UserName, Failure> {
    let wrong = "a user's name is 1 to 128 bytes without colons, slashes and controls";
    UserName::new(text).ok_or_else(|| Failure(2, wrong.to_owned()))
}

fn new_hash(password: &Password) -> Result<String, Failure> {
    hash(typed(password)?.as_bytes(), Costs::USUAL).map_err(|fault| failure(&fault))
}

/// A new password, from where it was said to come from.
pub(crate) fn typed(password: &Password) -> Result<Zeroizing<String>, Failure> {
    match &password.password_file {
        Some(file) => {
            first_line(File::open(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?)
        }
        None if io::stdin().is_terminal() => twice(),
        None => first_line(io::stdin().lock()),
    }
}

fn twice() -> Result<Zeroizing<String>, Failure> {
    let first = terminal::read_secret("Password: ").map_err(Failure::new)?;
    let second = terminal::read_secret("Again: ").map_err(Failure::new)?;
    if *first == *second { Ok(first) } else { Err(Failure::new("the two are not the same")) }
}

fn first_line(from: impl io::Read) -> Result<Zeroizing<String>, Failure> {
    // Two more for the end of the line: what is too long is then refused, not cut.
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 4));
    from.take(PASSWORD_BYTES_MAX as u64 + 3).read_to_string(&mut text).map_err(Failure::new)?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
