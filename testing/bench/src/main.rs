//! What Edgeway costs beside its peers, measured in one run, alternating, on the machine at hand.
//!
//! `edgeway-bench sip` sends REGISTER and calls through edge, core and a Kamailio registrar, and through a Kamailio
//! edge and core to the same registrar. `edgeway-bench media` sends SRTP outside and RTP inside through both tiers,
//! and through one rtpengine. `edgeway-bench http` fetches 1 KiB through both tiers, and through two of nginx. `edgeway-bench
//! xmpp` holds chat sessions and sends messages through both tiers, and through one HAProxy. CPU per operation is user plus system time of every process of a tier; it travels
//! between machines better than throughput and latency do.
//!
//! `edgeway-bench parts` measures single parts of ours. `edgeway-bench soak` holds thousands of registrations,
//! `edgeway-bench hostile` keeps strangers at the door, `edgeway-bench xmpp-hostile` breaks chat streams in every way, `edgeway-bench refresh` refreshes servers under load.
//! `edgeway-bench drain` takes an edge and a core out of service under load.
//! `edgeway-bench timing` measures whether refused sign-ins tell who is known.
//!
//! Everything runs on loopback and ends with the run. No numbers are judged here: a person reads the ratios.

#![forbid(unsafe_code)]

mod drain;
mod hostile;
mod http;
mod media;
mod parts;
mod perf;
mod refresh;
mod report;
mod sip;
mod soak;
mod timing;
mod xmpp;
mod xmpp_hostile;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use edgeway_interop::{product, requirement};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;
use std::process::ExitCode;

/// What Edgeway costs beside its peers.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// REGISTER and calls: edge + core against a Kamailio edge + core, the same Kamailio registrar behind both
    Sip(sip::SipArguments),
    /// HTTPS: edge + core against nginx → TLS → nginx, the same server behind both
    Http(http::HttpArguments),
    /// Chat: edge + core against one HAProxy that ends TLS, the same Prosody behind both
    Xmpp(xmpp::XmppArguments),
    /// Media: both tiers together against one rtpengine, SRTP outside and RTP inside
    Media(media::MediaArguments),
    /// Thousands of registrations held and refreshed for long: none may be lost
    Soak(soak::SoakArguments),
    /// Thousands of half-open connections and a flood of garbage: memory stays, phones are served
    Hostile(hostile::HostileArguments),
    /// Hostile XMPP streams: the right error at once, nothing of them reaches a server, memory stays
    XmppHostile(xmpp_hostile::XmppHostileArguments),
    /// Servers are refreshed while people sign in and talk: nobody may notice
    Refresh(refresh::RefreshArguments),
    /// Wrong passwords of users there are and users there are not: nobody may tell them apart by the answer or its time
    Timing(timing::TimingArguments),
    /// An edge and a core are taken out of service under load: nobody may be hurt, nothing new may begin
    Drain(drain::DrainArguments),
    /// Single parts of ours without the rest: a message on the link, a packet in the media engine
    Parts,
}

/// What both benches understand.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Write the results as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One small size and short phases: about a minute
    #[arg(long)]
    quick: bool,
    /// Measure each side this often, alternating; medians are reported
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Which side to measure; ours is taken from EDGEWAY_BIN_DIR, or from beside this program
    #[arg(long, value_enum, default_value_t = Only::Both)]
    only: Only,
    /// Record where the time of our processes goes with `perf`, into this folder, if perf works here
    #[arg(long, value_name = "FOLDER")]
    perf: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Both,
    Ours,
    Peer,
}

impl Common {
    /// Says what is missing before anything is started.
    fn check(&self) -> Result<()> {
        if self.wants_ours() { product::binaries().map(drop) } else { Ok(()) }
    }

    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    fn wants_ours(&self) -> bool {
        self.only != Only::Peer
    }

    fn wants_peer(&self) -> bool {
        self.only != Only::Ours
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeway-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match arguments.bench {
        Bench::Parts | Bench::Drain(_) | Bench::Refresh(_) | Bench::Timing(_) | Bench::XmppHostile(_) => {}
        Bench::Http(_) => requirement::check(requirement::BENCH_HTTP)?,
        Bench::Xmpp(_) => requirement::check(requirement::BENCH_XMPP)?,
        Bench::Sip(_) | Bench::Media(_) | Bench::Soak(_) | Bench::Hostile(_) => {
            requirement::check(requirement::BENCH)?;
        }
    }
    raise_file_limit().context("raise the limit of open files")?;
    match &arguments.bench {
        Bench::Sip(arguments) => sip::run(arguments),
        Bench::Http(arguments) => http::run(arguments),
        Bench::Xmpp(arguments) => xmpp::run(arguments),
        Bench::Media(arguments) => media::run(arguments),
        Bench::Soak(arguments) => soak::run(arguments),
        Bench::Hostile(arguments) => hostile::run(arguments),
        Bench::Refresh(arguments) => refresh::run(arguments),
        Bench::Drain(arguments) => drain::run(arguments),
        Bench::Timing(arguments) => timing::run(arguments),
        Bench::XmppHostile(arguments) => xmpp_hostile::run(arguments),
        Bench::Parts => parts::run(),
    }
}

/// Thousands of connections need as many files; what is started from here inherits the limit.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
