//! The story: from certificates to hang-up, each step shown as it is taken.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use edgeway_lab_servers::{Call, Ending, MediaStats, Phone, PhoneConfig, PhoneError, PhoneTransport, Sound, secret};
use edgeway_model::notice::Notice;
use edgeway_model::world::{LinkStatus, Status};
use tokio::time::timeout;

use super::certificates::{self, Certificates};
use super::inside::{CUCM, Inside};
use super::ladder::{self, Ladder};
use super::limits::{HOLD_TIME, LINK_UP_MAX, LOSS_MAX, NOTICES_KEPT, START_TRIES_MAX, STEP_MAX, TALK_TIME};
use super::ports::{self, Wish};
use super::screen::{Screen, short};
use super::sign_in::number_of;
use super::{LabWish, NodePlan, RunningNode, RunningNodes};

/// The SIP domain of the lab (RFC 2606: never anyone's).
pub(super) const DOMAIN: &str = "lab.example";

/// The name in the edge's certificate.
pub(super) const EDGE_HOST: &str = "edge.lab.example";

/// Tones the phones play, hertz.
const ALICE_HZ: u32 = 450;
const BOB_HZ: u32 = 700;

/// Numbers that answer by themselves, and the ones softphones register as.
pub(super) const ECHO: &str = "600";
pub(super) const TONE: &str = "601";
pub(super) const GUESTS: [&str; 2] = ["100", "101"];

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    step: &'static str,
    why: String,
}

impl Failure {
    pub(super) fn new(step: &'static str, why: impl fmt::Display) -> Self {
        Self { step, why: why.to_string() }
    }

    pub(super) fn show(&self, screen: &mut Screen) {
        screen.failed(&format!("{}: {}", self.step, self.why));
    }
}

/// Turns any error into the failure of a step.
pub(super) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, format!("{error:#}")))
    }
}

/// Everything that runs.
pub(super) struct Lab {
    nodes: Nodes,
    ladder: Ladder,
    pub(super) users: Vec<(String, String)>,
    pub(super) certificates: Certificates,
    pub(super) edge: SocketAddr,
    /// Where the edge takes chat, if it does.
    pub(super) chat: Option<SocketAddr>,
    /// Kept running; the nodes and the phones speak to it.
    pub(super) inside: Inside,
    phones: Option<(Phone, Phone)>,
    pub(super) answering: Vec<Phone>,
    calls: u32,
    ladder_start: Instant,
}

struct Nodes {
    edge: RunningNode,
    core: RunningNode,
    recent: VecDeque<(Duration, &'static str, Notice)>,
}

impl Lab {
    /// Starts what stands inside, edge and core.
    pub(super) async fn open(
        screen: &mut Screen,
        wish: &LabWish,
        start: impl Fn(NodePlan) -> anyhow::Result<RunningNodes>,
    ) -> Result<Self, Failure> {
        let LabWish { address, sip_port, registrar } = *wish;
        let certificates = certificates::make(EDGE_HOST, address).step("certificates")?;
        screen.done(&format!("certificates made: a CA for this run, and one for {EDGE_HOST}"));
        let ladder = Ladder::default();
        let names = ["alice", "bob", ECHO, TONE].into_iter().chain(GUESTS);
        let users: Vec<(String, String)> = names.map(|name| (name.to_owned(), secret(12))).collect();

        let observer = ladder.watch("core");
        let inside = if registrar {
            Inside::registrar(screen, &users, observer).await?
        } else {
            Inside::cluster(screen, &users, observer)?
        };
        let (edge_sip, chat, RunningNodes { edge, core }) =
            start_nodes(screen, (address, sip_port), &inside, &certificates, start)?;
        let ladder_start = screen.started();
        let nodes = Nodes { edge, core, recent: VecDeque::new() };
        Ok(Self {
            nodes,
            ladder,
            users,
            certificates,
            edge: edge_sip,
            chat,
            inside,
            phones: None,
            answering: Vec::new(),
            calls: 0,
            ladder_start,
        })
    }

    /// The story once.
    pub(super) async fn story(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let link = self.nodes.link_up(screen.started()).await?;
        screen.done(&link);
        let (alice, bob) = self.register(screen).await?;
        if matches!(self.inside, Inside::Cluster(..)) {
            self.refuse_a_guess(screen).await?;
        }
        self.refuse_a_stranger(screen).await?;
        let outcome = self.call(screen, &alice, &bob).await;
        self.phones = Some((alice, bob));
        outcome?;
        if matches!(self.inside, Inside::Cluster(..)) {
            Box::pin(self.chat(screen)).await?;
        }
        if let Some(pages) = &self.nodes.core.pages {
            let size = bounded("the pages", pages.fetch()).await?.step("the pages")?;
            screen.done(&format!("https://localhost:{} asks who signs in ({size} bytes)", pages.address.port()));
        }
        Ok(())
    }

    /// A phone outside: TLS to the edge, SRTP.
    pub(super) fn phone(&self, user: &str, password: &str) -> PhoneConfig {
        let transport = PhoneTransport::Tls {
            server: self.edge,
            name: EDGE_HOST.to_owned(),
            ca_pem: self.certificates.ca_pem.clone(),
        };
        let mut config = PhoneConfig::new(user, password, DOMAIN, transport);
        config.media_address = self.edge.ip();
        config
    }

    pub(super) fn password(&self, user: &str) -> &str {
        self.users.iter().find(|(name, _)| name == user).map_or("", |(_, password)| password)
    }

    async fn register(&self, screen: &mut Screen) -> Result<(Phone, Phone), Failure> {
        let mut both = Vec::new();
        for (user, plays, hears) in [("alice", ALICE_HZ, BOB_HZ), ("bob", BOB_HZ, ALICE_HZ)] {
            let mut config = match &self.inside {
                Inside::Registrar(_) => self.phone(user, self.password(user)),
                Inside::Cluster(..) => self.sign_in(screen, user).await?,
            };
            (config.sound, config.expected_hz) = (Sound::Tone { hz: plays }, Some(hears));
            config.observer = self.ladder.watch("edge");
            let begun = Instant::now();
            let phone = bounded("registration", Phone::register(config)).await?.step("registration")?;
            let path = self.inside.path_length(user).await;
            let path = path.ok_or_else(|| Failure::new("registration", "the phone has no contact inside"))?;
            let route = if path == 0 { "Contact rewritten" } else { "Path kept" };
            screen.done(&format!("{user} registered over TLS with digest in {} ({route})", short(begun.elapsed())));
            both.push(phone);
        }
        let (Some(bob), Some(alice)) = (both.pop(), both.pop()) else {
            return Err(Failure::new("registration", "two phones were to register"));
        };
        Ok((alice, bob))
    }

    /// A wrong password must not get in.
    async fn refuse_a_stranger(&self, screen: &mut Screen) -> Result<(), Failure> {
        const STEP: &str = "a wrong password";
        let mut config = self.phone("alice", "guessed");
        if matches!(self.inside, Inside::Cluster(..)) {
            (config.user, config.domain) = (number_of("alice").to_owned(), CUCM.to_owned());
            (config.digest_user, config.device) = (Some("alice".to_owned()), Some("CSFALICE".to_owned()));
        }
        config.reconnect = false;
        match bounded(STEP, Phone::register(config)).await? {
            Err(PhoneError::Refused { status: status @ (401 | 403), .. }) => {
                screen.done(&format!("a phone with a wrong password is refused ({status})"));
                Ok(())
            }
            Err(other) => Err(Failure::new(STEP, format!("expected 401, got: {other}"))),
            Ok(_) => Err(Failure::new(STEP, "it was let in")),
        }
    }

    // ── the call ─────────────────────────────────────────────────────────────────────────────

    async fn call(&mut self, screen: &mut Screen, alice: &Phone, bob: &Phone) -> Result<(), Failure> {
        self.calls += 1;
        let (mut out, mut inward) = self.connect(screen, alice, bob).await?;
        tokio::time::sleep(TALK_TIME).await;
        hear(screen, "alice → bob", &out.stats(), &inward.stats())?;
        hear(screen, "bob → alice", &inward.stats(), &out.stats())?;
        hold(screen, &out, &mut inward).await?;
        inward.hang_up().await.step("hang-up")?;
        let ending = out.ended(STEP_MAX).await.step("hang-up")?;
        if ending != Ending::HungUpThere {
            return Err(Failure::new("hang-up", format!("alice's call ended otherwise: {ending:?}")));
        }
        screen.done("bob hung up, alice's phone knows");
        self.idle(screen).await
    }

    async fn connect(&self, screen: &mut Screen, alice: &Phone, bob: &Phone) -> Result<(Call, Call), Failure> {
        let begun = Instant::now();
        let mut out = alice.dial(bob.aor()).await.step("call")?;
        let mut inward = tokio::select! {
            offered = bob.next_call(STEP_MAX) => offered.step("call")?,
            ended = out.ended(STEP_MAX) => return Err(Failure::new("call", refusal(&ended.step("call")?))),
        };
        out.ringing(STEP_MAX).await.step("ringing")?;
        screen.done(&format!("alice called, bob rings after {}", short(begun.elapsed())));
        inward.answer().await.step("answer")?;
        out.answered(STEP_MAX).await.step("answer")?;
        screen.done("bob answered: SRTP to the edge on both sides, RTP inside");
        Ok((out, inward))
    }

    /// After the call nobody may still count it, and both nodes count the two phones.
    async fn idle(&self, screen: &mut Screen) -> Result<(), Failure> {
        let until = Instant::now() + STEP_MAX;
        loop {
            let statuses = self.nodes.statuses();
            if let Some(text) = settled(&statuses) {
                screen.done(&text);
                return Ok(());
            }
            if Instant::now() > until {
                let lines: Vec<String> = statuses.iter().map(counts).collect();
                return Err(Failure::new("counts", format!("wrong after the call: {}", lines.join("; "))));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One more call of a lab that stays up.
    pub(super) async fn call_again(&mut self, screen: &mut Screen) {
        self.nodes.read_notices(screen.started());
        let Some((alice, bob)) = self.phones.take() else { return };
        self.ladder.clear();
        self.ladder_start = Instant::now();
        screen.line(&format!("\nCall {}:", self.calls + 1));
        if let Err(failure) = self.call(screen, &alice, &bob).await {
            failure.show(screen);
            self.show_notices(screen);
        }
        self.phones = Some((alice, bob));
    }

    // ── looking ──────────────────────────────────────────────────────────────────────────────

    pub(super) fn show_ladder(&self, screen: &mut Screen) {
        screen.line("");
        let rows = self.ladder.rows();
        ladder::draw(&rows, &self.inside.lanes(), self.ladder_start).iter().for_each(|line| screen.line(line));
    }

    pub(super) fn show_notices(&mut self, screen: &mut Screen) {
        self.nodes.read_notices(screen.started());
        for (at, node, notice) in &self.nodes.recent {
            screen.note(&format!("{node} said after {}: {notice}", short(*at)));
        }
    }

    pub(super) fn show_status(&self, screen: &mut Screen) {
        let statuses = self.nodes.statuses();
        if statuses.is_empty() {
            screen.note("no node tells its status");
        }
        statuses.iter().flat_map(describe).for_each(|line| screen.line(&line));
    }

    /// Where the pages are, and how to sign in.
    pub(super) fn show_pages(&self, screen: &mut Screen) {
        let Some(pages) = &self.nodes.core.pages else { return };
        screen.line(&format!("\nThe pages of core1: https://localhost:{}/first-sign-in", pages.address.port()));
        match pages.code() {
            Some(code) => screen.line(&format!("  the code for the first sign-in, good once: {code}")),
            None => screen.line("  sign in with the account that was made"),
        }
        screen.line(
            "  The certificate is one the core has made, so the browser warns. Accounts and changes go with the lab.",
        );
        let folder = pages.state_dir.display();
        screen.line(&format!(
            "\nIn another terminal, from the same folder (README, \"Ten minutes as its operator\"):\n  \
             export PATH=$PWD/target/release:$PATH LAB={folder}\n  \
             edgeway status --config $LAB/core.toml          what core1 knows; edge.toml asks edge1"
        ));
    }

    pub(super) fn show_metrics(&self, screen: &mut Screen) {
        for (name, node) in [("edge1", &self.nodes.edge), ("core1", &self.nodes.core)] {
            match node.metrics {
                Some(address) => screen.line(&format!("{name}: curl http://{address}/metrics")),
                None => screen.line(&format!("{name}: serves no metrics")),
            }
        }
    }
}

pub(super) async fn bounded<T>(step: &'static str, waiting: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(STEP_MAX, waiting).await.step(step)
}

/// Starts edge and core, and again with other ports if one was lost between choosing and binding.
fn start_nodes(
    screen: &mut Screen,
    outside: (IpAddr, Option<u16>),
    inside: &Inside,
    certificates: &Certificates,
    start: impl Fn(NodePlan) -> anyhow::Result<RunningNodes>,
) -> Result<(SocketAddr, Option<SocketAddr>, RunningNodes), Failure> {
    for attempt in 1.. {
        let plan = plan(screen, outside, inside, certificates, attempt == 1)?;
        let (edge_sip, edge_link, core_sip) = (plan.edge_sip, plan.edge_link, plan.core_sip);
        let (https, chat) = (plan.inside.edge_https(), plan.inside.edge_xmpp());
        match start(plan) {
            Ok(nodes) => {
                let mut also = https.map_or_else(String::new, |https| format!(", {https} (HTTPS)"));
                also.extend(chat.map(|chat| format!(", {chat} (chat)")));
                screen.done(&format!("edge1 listens on {edge_sip} (SIP over TLS){also} and {edge_link} (link)"));
                if let Some(https) = https {
                    inside.publish_edge(https);
                }
                screen.done(&format!("core1 listens on {core_sip} (SIP inside); nothing outside can reach it"));
                return Ok((edge_sip, chat, nodes));
            }
            Err(error) if attempt < START_TRIES_MAX && lost_a_port(&error) => {
                screen.note("another program took one of the ports meanwhile: trying others");
            }
            Err(error) => return Err(Failure::new("edge and core", format!("{error:#}"))),
        }
    }
    Err(Failure::new("edge and core", "no attempt was made"))
}

fn lost_a_port(error: &anyhow::Error) -> bool {
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(in_use))
}

fn plan(
    screen: &mut Screen,
    (address, sip_port): (IpAddr, Option<u16>),
    stands: &Inside,
    certificates: &Certificates,
    usual: bool,
) -> Result<NodePlan, Failure> {
    let inside = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut find =
        |address, what, usual_port: u16| port(screen, address, Wish { what, port: if usual { usual_port } else { 0 } });
    let (https, xmpp) = match stands {
        Inside::Registrar(_) => (SocketAddr::new(address, 0), SocketAddr::new(address, 0)),
        Inside::Cluster(..) => (find(address, "HTTPS", 8443)?, find(address, "chat", 5222)?),
    };
    Ok(NodePlan {
        edge: "edge1",
        core: "core1",
        domain: DOMAIN.to_owned(),
        edge_sip: find(address, "SIP over TLS", sip_port.unwrap_or(5061))?,
        edge_link: find(inside, "link", 7001)?,
        edge_media: ports::EDGE_MEDIA,
        core_sip: find(inside, "SIP inside", 5060)?,
        core_media: ports::CORE_MEDIA,
        inside: stands.plan(https, xmpp),
        chain_pem: certificates.chain_pem.clone(),
        key_pem: certificates.key_pem.clone(),
        allow_unencrypted: false,
    })
}

pub(super) fn port(screen: &mut Screen, address: IpAddr, wish: Wish) -> Result<SocketAddr, Failure> {
    let (found, message) = ports::choose(address, wish).step("ports")?;
    if let Some(message) = message {
        screen.note(&message);
    }
    Ok(found)
}

/// How a call ended that should have rung.
fn refusal(ending: &Ending) -> String {
    if let Ending::Refused { status, reason } = ending {
        format!("refused before bob rang: {status} {reason}")
    } else {
        format!("ended before bob rang: {ending:?}")
    }
}

/// Judges one direction: what one side sent and the other heard.
fn hear(screen: &mut Screen, way: &str, sender: &MediaStats, listener: &MediaStats) -> Result<(), Failure> {
    let MediaStats { received, lost, .. } = *listener;
    if received == 0 {
        let why = format!("{way}: of {} packets sent none arrived ({} refused)", sender.sent, listener.refused);
        return Err(Failure::new("media", why));
    }
    let delay = match (listener.delay_p50, listener.delay_max) {
        (Some(median), Some(longest)) => format!("delay {} median, {} longest", short(median), short(longest)),
        (_, _) => "delay not measured".to_owned(),
    };
    let text = format!(
        "media {way}: {received} packets, {lost} lost, {delay}, tone {}",
        match listener.heard_hz {
            Some(hz) if listener.tone_ok => format!("of {hz} Hz heard"),
            Some(hz) => format!("broken (last {hz} Hz)"),
            None => "not heard".to_owned(),
        }
    );
    if !listener.tone_ok || lost as f64 > LOSS_MAX * received as f64 || listener.refused > 0 {
        return Err(Failure::new("media", format!("{text}, {} refused", listener.refused)));
    }
    screen.done(&text);
    Ok(())
}

async fn hold(screen: &mut Screen, out: &Call, inward: &mut Call) -> Result<(), Failure> {
    const STEP: &str = "hold";
    out.hold().await.step(STEP)?;
    inward.held_there(true, STEP_MAX).await.step(STEP)?;
    // What is on its way still arrives.
    tokio::time::sleep(HOLD_TIME / 3).await;
    let before = (out.stats().received, inward.stats().received);
    tokio::time::sleep(HOLD_TIME).await;
    let after = (out.stats().received, inward.stats().received);
    if before != after {
        return Err(Failure::new(STEP, "media went on while the call was held"));
    }
    out.resume().await.step("resume")?;
    inward.held_there(false, STEP_MAX).await.step("resume")?;
    let until = Instant::now() + STEP_MAX;
    while out.stats().received < after.0 + 10 || inward.stats().received < after.1 + 10 {
        if Instant::now() > until {
            return Err(Failure::new("resume", "media did not come back"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    screen.done("alice held the call: silence; resumed: both tones again");
    Ok(())
}

impl Nodes {
    /// Waits for the core's word that the link is up.
    async fn link_up(&mut self, start: Instant) -> Result<String, Failure> {
        let begun = Instant::now();
        let waiting = async {
            while let Some(notice) = self.core.notices.recv().await {
                keep(&mut self.recent, start, "core1", notice.clone());
                if let Notice::LinkUp { peer, skew_ms, .. } = notice {
                    let took = short(begun.elapsed());
                    return Some(format!(
                        "link up: core1 dialled {peer}, mutual TLS, in {took} (clocks {skew_ms:+} ms)"
                    ));
                }
            }
            None
        };
        match timeout(LINK_UP_MAX, waiting).await {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(Failure::new("link", "the core stopped")),
            Err(_) => Err(Failure::new("link", format!("not up within {}", short(LINK_UP_MAX)))),
        }
    }

    fn read_notices(&mut self, start: Instant) {
        for (name, node) in [("edge1", &mut self.edge), ("core1", &mut self.core)] {
            while let Ok(notice) = node.notices.try_recv() {
                keep(&mut self.recent, start, name, notice);
            }
        }
    }

    fn statuses(&self) -> Vec<Status> {
        [&self.edge, &self.core].into_iter().filter_map(|node| (node.status)()).collect()
    }
}

fn keep(recent: &mut VecDeque<(Duration, &'static str, Notice)>, start: Instant, node: &'static str, notice: Notice) {
    if recent.len() == NOTICES_KEPT {
        recent.pop_front();
    }
    recent.push_back((start.elapsed(), node, notice));
}

/// The counts in words, once they are what they must be: two phones or more, no call left, one seen,
/// and its media relayed here rather than from phone to phone.
fn settled(statuses: &[Status]) -> Option<String> {
    let relayed = |s: &Status| s.media_packets.0 > 0 && s.media_packets.1 > 0;
    let right = |s: &Status| s.registrations.current >= 2 && s.calls.current == 0 && s.calls.peak >= 1 && relayed(s);
    if !statuses.iter().all(right) {
        return None;
    }
    let lines: Vec<String> = statuses.iter().map(counts).collect();
    Some(if lines.is_empty() { "nobody counts here".to_owned() } else { lines.join("; ") })
}

fn counts(status: &Status) -> String {
    let Status { node, registrations, calls, media_packets: (inwards, outwards), .. } = status;
    let packets = inwards + outwards;
    format!(
        "{node} counts {} MRA registrations, {} calls (peak {}), {packets} media packets",
        registrations.current, calls.current, calls.peak
    )
}

/// A node's counters in words.
fn describe(status: &Status) -> Vec<String> {
    let Status { node, role, registrations, calls, connections, .. } = status;
    let mut out = vec![
        String::new(),
        format!("{node} ({role})"),
        format!("  MRA registrations  {} (peak {})", registrations.current, registrations.peak),
        format!("  calls              {} (peak {})", calls.current, calls.peak),
        format!("  connections        {} (peak {})", connections.current, connections.peak),
        format!("  media packets      {} inwards, {} outwards", status.media_packets.0, status.media_packets.1),
    ];
    out.extend(status.links.iter().map(|link| format!("  link               {}", link_text(link))));
    out.extend(status.registrars.iter().map(|registrar| {
        let state = if registrar.alive { "answers" } else { "does not answer" };
        let place = registrar.address.map_or_else(|| registrar.name.clone(), |address| address.to_string());
        format!("  registrar          {place} {state}")
    }));
    out.extend(
        status
            .drops
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| format!("  refused            {count} × {why}")),
    );
    out
}

fn link_text(link: &LinkStatus) -> String {
    let state = if link.up { "up" } else { "down" };
    let trip = link.round_trip.map_or_else(String::new, |trip| format!(", round trip {}", short(trip)));
    format!("{} {state}{trip}, media path {}", link.peer, link.media_path.label())
}

#[cfg(test)]
mod tests {
    use edgeway_model::world::Gauge;

    use super::*;

    fn status(registrations: u64, calls: u64, calls_peak: u64) -> Status {
        Status {
            media_packets: (60, 61),
            node: "edge1".to_owned(),
            role: "edge",
            registrations: Gauge { current: registrations, peak: 2 },
            calls: Gauge { current: calls, peak: calls_peak },
            ..Status::default()
        }
    }

    #[test]
    fn counts_settle_only_when_the_call_is_over_and_both_phones_are_there() {
        let right = [status(2, 0, 1)];
        assert_eq!(
            settled(&right).as_deref(),
            Some("edge1 counts 2 MRA registrations, 0 calls (peak 1), 121 media packets")
        );
        let bypassed = Status { media_packets: (60, 0), ..status(2, 0, 1) };
        for wrong in [status(1, 0, 1), status(2, 1, 1), status(2, 0, 0), bypassed] {
            assert_eq!(settled(&[status(2, 0, 1), wrong]), None);
        }
    }

    #[test]
    fn media_is_judged_by_what_was_heard() {
        let mut screen = Screen::new(Box::new(std::io::sink()), false);
        let sender = MediaStats { sent: 60, ..MediaStats::default() };
        let good = MediaStats { received: 58, lost: 1, tone_ok: true, heard_hz: Some(450), ..MediaStats::default() };
        assert!(hear(&mut screen, "way", &sender, &good).is_ok());
        for bad in [
            MediaStats { received: 0, ..good },
            MediaStats { lost: 6, ..good },
            MediaStats { tone_ok: false, ..good },
            MediaStats { refused: 1, ..good },
        ] {
            assert!(hear(&mut screen, "way", &sender, &bad).is_err(), "{bad:?}");
        }
    }
}
