//! `edgeway lab`: a whole system in one process, to see a call happen.
//!
//! An edge and a core (the real ones, started by the closure given to [`run`]), a simulated Unified CM cluster
//! and two scripted phones on loopback, with certificates made on the spot. The phones sign in as clients do, from
//! the SRV record to the phone's file, register over TLS and call each other with SRTP through edge, link and core; then
//! they chat.
//! `--check` runs the story once and tells by its exit code; without it the lab stays up and calls every 30 s.
//! `--registrar` has a plain registrar inside; `--listen ADDR` does, too, and lets softphones of the LAN in. No root, no other software, nothing left behind
//! but the CA file of `--listen`.

mod certificates;
mod chat;
mod inside;
mod ladder;
mod limits;
mod pages;
mod ports;
#[cfg(test)]
mod rehearsal;
mod screen;
mod sign_in;
mod softphone;
mod story;

use std::any::Any;
use std::io::{BufRead, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Instant;

use edgeway_model::notice::Notice;
use edgeway_model::world::Status;
use tokio::sync::mpsc;

pub(crate) use self::pages::PagesPlace;
use limits::{CALL_EVERY, KEYS_QUEUE_MAX};
use screen::Screen;
use story::Lab;

/// What can be asked of `edgeway lab`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  edgeway lab --check --ladder\n  edgeway lab --listen 192.168.1.20")]
pub(crate) struct LabArgs {
    /// Run the story once; exit 0 if every step passed, 1 if one failed
    #[arg(long)]
    check: bool,
    /// Print the SIP ladder after the story
    #[arg(long)]
    ladder: bool,
    /// Let softphones of the LAN register: the address of this machine they will use, with or
    /// without a port
    #[arg(long, value_name = "ADDR", value_parser = listen_address, conflicts_with = "check")]
    listen: Option<Listen>,
    /// A plain SIP registrar inside, which challenges by itself, rather than a Unified CM cluster that users sign in
    /// at; always so with --listen
    #[arg(long)]
    registrar: bool,
}

/// What a lab is to be like.
pub(super) struct LabWish {
    /// Where clients reach the edge.
    address: IpAddr,
    /// The port for SIP.
    sip_port: Option<u16>,
    /// Whether a plain registrar stands inside.
    registrar: bool,
}

#[cfg(test)]
impl LabArgs {
    /// As `--check`.
    pub(crate) fn once() -> Self {
        Self { check: true, ..Self::default() }
    }
}

/// An address of `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    address: IpAddr,
    port: Option<u16>,
}

fn listen_address(text: &str) -> Result<Listen, String> {
    let listen = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => Listen { address, port: None },
        (Err(_), Ok(both)) => Listen { address: both.ip(), port: Some(both.port()) },
        (Err(_), Err(_)) => return Err("not an IP address, nor one with a port".to_owned()),
    };
    if listen.address.is_unspecified() || listen.address.is_multicast() {
        return Err("give the one address the phones will be told, not a wildcard".to_owned());
    }
    Ok(listen)
}

/// Everything the lab wants of its edge and its core.
pub(crate) struct NodePlan {
    /// Name of the edge.
    pub(crate) edge: &'static str,
    /// Name of the core.
    pub(crate) core: &'static str,
    /// The SIP domain served.
    pub(crate) domain: String,
    /// Where the edge accepts SIP over TLS; the address clients are told.
    pub(crate) edge_sip: SocketAddr,
    /// Where the edge accepts links, TCP and UDP.
    pub(crate) edge_link: SocketAddr,
    /// The edge's media ports, on the address of `edge_sip`.
    pub(crate) edge_media: RangeInclusive<u16>,
    /// Where the core speaks SIP inside, TCP and UDP.
    pub(crate) core_sip: SocketAddr,
    /// The core's media ports, on the address of `core_sip`.
    pub(crate) core_media: RangeInclusive<u16>,
    /// What stands inside.
    pub(crate) inside: InsidePlan,
    /// The certificate shown to clients, PEM.
    pub(crate) chain_pem: String,
    /// Its key, PEM.
    pub(crate) key_pem: String,
    /// Whether clients may offer media without encryption.
    pub(crate) allow_unencrypted: bool,
}

/// What the nodes find inside.
pub(crate) enum InsidePlan {
    /// A registrar that challenges by itself, TCP and UDP.
    Registrar(SocketAddr),
    /// A Unified CM cluster that users sign in at.
    UnifiedCm(Box<UcPlan>),
}

impl InsidePlan {
    /// Where the edge serves HTTPS, if it does.
    pub(crate) fn edge_https(&self) -> Option<SocketAddr> {
        match self {
            Self::Registrar(_) => None,
            Self::UnifiedCm(uc) => Some(uc.edge_https),
        }
    }

    /// Where the edge takes chat, if it does.
    pub(crate) fn edge_xmpp(&self) -> Option<SocketAddr> {
        match self {
            Self::Registrar(_) => None,
            Self::UnifiedCm(uc) => Some(uc.edge_xmpp),
        }
    }
}

/// A Unified CM cluster, as the core is told of it.
pub(crate) struct UcPlan {
    /// The publisher.
    pub(crate) publisher: String,
    /// The application user.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// The authority of the cluster's certificates, PEM.
    pub(crate) ca_pem: String,
    /// The DNS server that knows its names.
    pub(crate) dns: SocketAddr,
    /// The name of the edge, in its certificate and in DNS.
    pub(crate) edge_host: String,
    /// Where the edge serves HTTPS.
    pub(crate) edge_https: SocketAddr,
    /// Where the edge takes chat.
    pub(crate) edge_xmpp: SocketAddr,
    /// The chat server: its name and port.
    pub(crate) im: (String, u16),
}

/// A node that runs; it stops when `guard` is dropped.
pub(crate) struct RunningNode {
    /// What it tells its operator. Bounded by whoever makes it; the lab reads all the time.
    pub(crate) notices: mpsc::Receiver<Notice>,
    /// Its counters now; `None` if it does not answer.
    pub(crate) status: Box<dyn Fn() -> Option<Status> + Send>,
    /// Where `/metrics` is served.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where its pages are.
    pub(crate) pages: Option<PagesPlace>,
    /// Keeps it running.
    #[expect(dead_code, reason = "held, never read")]
    pub(crate) guard: Box<dyn Any + Send>,
}

/// Both nodes of the lab. They are paired: the core dials the edge by itself.
pub(crate) struct RunningNodes {
    /// The edge.
    pub(crate) edge: RunningNode,
    /// The core.
    pub(crate) core: RunningNode,
}

/// Runs the lab to its end and returns the exit code of the program. `start` starts edge and core
/// with their own threads and returns when their sockets are bound. It may be called again with other
/// ports: an error whose chain holds an `io::Error` of kind `AddrInUse` means that one was taken.
pub(crate) fn run(args: &LabArgs, start: impl Fn(NodePlan) -> anyhow::Result<RunningNodes>) -> ExitCode {
    let stdout = std::io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let screen = Screen::new(Box::new(stdout), colour);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "edgeway lab: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let passed = runtime.block_on(live(args, screen, start));
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The lab from start to end; whether the story passed.
async fn live(args: &LabArgs, mut screen: Screen, start: impl Fn(NodePlan) -> anyhow::Result<RunningNodes>) -> bool {
    let begun = Instant::now();
    let wish = LabWish {
        address: args.listen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |listen| listen.address),
        sip_port: args.listen.and_then(|listen| listen.port),
        registrar: args.registrar || args.listen.is_some(),
    };
    let inside = if wish.registrar { "a registrar" } else { "a call manager" };
    screen.line(&format!("Edgeway lab: an edge, a core, {inside} and two phones, all in this process.\n"));
    let mut lab = match Lab::open(&mut screen, &wish, start).await {
        Ok(lab) => lab,
        Err(failure) => {
            failure.show(&mut screen);
            return false;
        }
    };
    let outcome = lab.story(&mut screen).await;
    if args.ladder {
        lab.show_ladder(&mut screen);
    }
    let passed = match outcome {
        Ok(()) => {
            let steps = screen.steps();
            screen.line(&format!("\nAll {steps} steps passed in {}.", screen::short(begun.elapsed())));
            true
        }
        Err(failure) => {
            failure.show(&mut screen);
            lab.show_notices(&mut screen);
            if !args.ladder {
                screen.line("`edgeway lab --check --ladder` shows the SIP messages up to the failure.");
            }
            false
        }
    };
    if args.check || !passed {
        return passed;
    }
    let folder = std::env::current_dir().unwrap_or_else(|_| std::env::temp_dir());
    if args.listen.is_some()
        && let Err(failure) = lab.welcome_softphones(&mut screen, &folder).await
    {
        failure.show(&mut screen);
        return false;
    }
    lab.show_pages(&mut screen);
    stay(&mut lab, &mut screen).await;
    true
}

const KEYS: &str = "
The lab stays up and calls every 30 s. Type a letter and Enter:
  c  call now     s  status     l  ladder of the last call     m  metrics     p  pages     q  quit";

/// Keeps the lab up until `q`, Ctrl-C or the end of the world.
async fn stay(lab: &mut Lab, screen: &mut Screen) {
    screen.line(KEYS);
    let mut keys = keyboard();
    let mut calls = tokio::time::interval_at(tokio::time::Instant::now() + CALL_EVERY, CALL_EVERY);
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = calls.tick() => lab.call_again(screen).await,
            Some(key) = keys.recv() => match key.trim() {
                "c" => lab.call_again(screen).await,
                "s" => lab.show_status(screen),
                "l" => lab.show_ladder(screen),
                "m" => lab.show_metrics(screen),
                "p" => lab.show_pages(screen),
                "q" => break,
                _ => screen.line(KEYS),
            },
        }
    }
    screen.line("\nThe lab is closed; nothing is left running.");
}

/// Lines typed. Without a keyboard the channel just stays silent.
fn keyboard() -> mpsc::Receiver<String> {
    let (typed, keys) = mpsc::channel(KEYS_QUEUE_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_is_one_that_can_be_typed_into_a_phone() {
        let plain = listen_address("192.168.1.20").expect("an address");
        assert_eq!((plain.address.to_string(), plain.port), ("192.168.1.20".to_owned(), None));
        assert_eq!(listen_address("[2001:db8::1]:5099").expect("both").port, Some(5099));
        for wrong in ["0.0.0.0", "::", "224.0.0.1", "edge.example", "10.0.0.1:x", ""] {
            assert!(listen_address(wrong).is_err(), "{wrong}");
        }
    }
}
