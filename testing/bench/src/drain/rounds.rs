//! One node is drained once, and looked at all the while.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::quartet::Which;
use edgeway_lab_servers::xmpp::{ChatClient, ChatError};
use edgeway_lab_servers::{MediaGap, Phone, PhoneError};
use tokio::task::JoinHandle;

use super::crowd::{self, Crowd, together};
use super::world::{COUNTED_WITHIN, INACTIVE, NodeStatus, Person, World};
use super::{CROWDS, DrainArguments, PACKETS_IN_A_ROW_MAX, PAUSE_MORE_MAX, Target};

/// The parts of services that drain, the one that carries all others last.
pub(super) const PARTS: [&str; 5] =
    ["HTTP proxy service", "Provisioning server", "SIP", "XMPP router", "Port forwarding mesh"];
/// Those who try something new in a round; each of them signs in too seldom to be held up by the rate of sign-ins.
pub(super) const VISITORS: usize = 5;
/// The node must be drained so soon after its last session.
const DRAINED_WITHIN: Duration = Duration::from_secs(2);
/// Registrations that are tried again at once.
const AT_ONCE: usize = 16;
/// With a call up a registration is granted for so long, seconds.
const SHORT: u32 = 60;

/// What it takes.
pub(super) struct Round<'a> {
    pub(super) world: &'a World,
    pub(super) target: Target,
    pub(super) arguments: &'a DrainArguments,
    pub(super) routes: &'a [String],
    /// Which round of all it is: everybody who visits does so in one of them.
    pub(super) index: usize,
}

/// What was found.
pub(super) struct Row {
    /// New things that were tried while the node was out of service.
    pub(super) attempts: usize,
    /// Of them, those that were refused.
    pub(super) refused: usize,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) before: MediaGap,
    pub(super) during: MediaGap,
    /// How long this program itself had to wait meanwhile.
    late: Duration,
    /// CPU of the node before maintenance mode and in it, of one processor.
    pub(super) cpu: [f64; 2],
    /// From the cancel until a new registration, call, chat and sign-in were served.
    pub(super) again: Duration,
    /// From the end of the last session until the node said that it is drained.
    pub(super) drained: Duration,
}

/// A gap for people.
pub(super) fn gap(gap: MediaGap) -> String {
    format!("{} packets, {} ms", gap.packets, gap.time.as_millis())
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, refused, packets, lost, before, during, late, cpu: [quiet, busy], again, drained } = self;
        write!(
            f,
            "{refused} of {attempts} new things refused, the others served elsewhere; {lost} of {packets} packets lost; \
             longest gap {} (before: {}; the bench itself was late by {} ms); CPU {:.0} % \
             (before: {:.0} %); served again within {} ms; drained after {} ms",
            gap(*during),
            gap(*before),
            late.as_millis(),
            busy * 100.0,
            quiet * 100.0,
            again.as_millis(),
            drained.as_millis(),
        )
    }
}

impl Round<'_> {
    pub(super) async fn run(&self) -> Result<Row> {
        let Self { world, target, arguments, .. } = *self;
        let sizes = (arguments.registrations, arguments.calls, arguments.chats);
        let first_chat = self.index % CROWDS * crowd::chatters(arguments.chats);
        let mut crowd = Crowd::begin(world, target, sizes, self.routes, first_chat).await?;
        let all = |status: &NodeStatus| {
            (status.count("registrations"), status.count("calls"), status.count("chats")) == sizes
        };
        world.wait(target, "everybody is counted", COUNTED_WITHIN, all).await?;
        world.refusals()?;

        let pulse = Pulse::begin();
        crowd.count_gaps_anew();
        let quiet = Busy::since_now(world, target)?;
        tokio::time::sleep(Duration::from_secs(arguments.before)).await;
        let (before, heard, quiet) = (crowd.gap(), crowd.heard(), quiet.share(world, target)?);
        crowd.count_gaps_anew();
        pulse.late();

        let busy = Busy::since_now(world, target)?;
        self.begin(Which::First).await?;
        let (registrations, calls, chats) = sizes;
        let status = world.status(target).await?;
        let fetched = status.left("HTTP proxy service");
        ensure!(if target == Target::Edge { fetched == crowd::DOWNLOADS } else { fetched > 0 }, "downloads: {status}");
        let expected = [("SIP", registrations + calls), ("XMPP router", chats)];
        ensure!(expected.iter().all(|(part, left)| status.left(part) == *left), "{status} rather than {expected:?}");
        let mut tried = self.try_everything(&crowd, 1, target == Target::Edge).await?;
        self.goes_on(&mut crowd).await?;
        if target == Target::Core {
            tried.add(self.try_with_no_core(&crowd, fetched).await.context("with both cores out of service")?);
            self.goes_on(&mut crowd).await?;
        }
        let again = self.cancelled().await.context("cancelled")?;
        self.begin(Which::First).await?;
        tried.add(self.try_everything(&crowd, 2, target == Target::Edge).await?);
        tried.add(self.all_move(&mut crowd).await?);
        self.goes_on(&mut crowd).await?;
        // As long as before, or the two are not to be compared.
        tokio::time::sleep(Duration::from_secs(arguments.before).saturating_sub(busy.since.elapsed())).await;
        crowd.is_whole().await?;

        let (late, during, now, busy) = (pulse.late(), crowd.gap(), crowd.heard(), busy.share(world, target)?);
        let drained = self.ends(crowd).await?;
        let after = self.cancelled().await.context("back in service")?;
        let (packets, lost) = (now.0 - heard.0, now.1 - heard.1);
        // Where the machine lets this program wait, so do the packets that it sends and hears.
        let pause_max = before.time.max(late) + PAUSE_MORE_MAX;
        ensure!(
            during.packets <= before.packets.max(PACKETS_IN_A_ROW_MAX) && during.time <= pause_max,
            "the media has a gap of {}; before it was {}, and this program waited for {late:?}",
            gap(during),
            gap(before)
        );
        ensure!(drained <= DRAINED_WITHIN, "drained only {drained:?} after the last session");
        let Tried { attempts, refused } = tried;
        let (cpu, again) = ([quiet, busy], again.max(after));
        Ok(Row { attempts, refused, packets, lost, before, during, late, cpu, again, drained })
    }

    /// Maintenance mode begins.
    async fn begin(&self, which: Which) -> Result<()> {
        let said = self.world.edgeway(self.target, which, &["maintenance", "start"]).await?;
        ensure!(said.contains("draining: "), "maintenance start said: {said}");
        Ok(())
    }

    fn visitor(&self, number: usize) -> Person {
        Person::Visitor(self.index * VISITORS + number)
    }

    fn newcomer(&self, crowd: &Crowd) -> Result<Person> {
        crowd.idle.last().map(|(person, _)| *person).context("an idle phone")
    }

    /// Whatever is new, once of each kind: refused, or taken by the other core. `callee`: an idle phone that has not moved.
    async fn try_everything(&self, crowd: &Crowd, callee: usize, refused: bool) -> Result<Tried> {
        let world = self.world;
        let mut tried = Tried::default();
        // A second connection of somebody who is registered: the device comes from elsewhere.
        let person = self.newcomer(crowd)?;
        let new = Phone::register(world.phone(Which::First, person, crowd.route(person))).await;
        tried.sip("a new registration", &new, refused)?;
        if let Ok(new) = new {
            new.unregister().await?;
        }
        let (_, idle) = crowd.idle.first().context("an idle phone")?;
        let (callee, there) = crowd.idle.get(callee).context("another")?;
        let aor = world.aor(*callee);
        if refused {
            tried.sip("a new call", &idle.call(&aor).await, true)?;
        } else {
            // The callee is still reached through the core that is drained only: the registrar has no other way.
            tried.sip("a call for who is there only", &idle.call(&aor).await, true)?;
            ensure!(there.refresh().await.is_ok_and(|granted| granted > SHORT), "a refresh through the other core");
            let answering = there.answer_next(COUNTED_WITHIN, Duration::ZERO);
            let (there, here) = tokio::join!(answering, idle.call(&aor));
            tried.sip("a new call", &here, false)?;
            there.context("answered")?;
            here.context("a call")?.hang_up().await.context("a BYE")?;
        }
        for method in ["MESSAGE", "SUBSCRIBE", "PUBLISH"] {
            let status = idle.request(method, &aor).await?;
            tried.count(refused);
            ensure!((status == 503) == refused, "{method} was answered {status}");
        }
        // Whatever was refused was refused in the right words.
        let (heard, refusals) = (world.refusals()?, tried.refused);
        ensure!(heard == refusals, "{heard} of {refusals} refusals were heard");
        for (what, got) in [
            ("a sign-in", world.sign_in(Which::First, self.visitor(0)).await?),
            ("a request for a server", world.fetch(Which::First, self.visitor(4)).await?),
        ] {
            tried.count(refused);
            let as_stated =
                if refused { got.status == 503 && got.header("retry-after").is_some() } else { got.status == 200 };
            ensure!(as_stated, "{what} was answered {} {:?}", got.status, got.headers);
        }
        tried.count(refused);
        match (ChatClient::start(&world.chat(Which::First, self.visitor(1))).await, refused) {
            (Err(ChatError::Stream(condition, _)), true) if condition == "system-shutdown" => {}
            (Ok(chat), false) => chat.close().await?,
            (Ok(_), true) => bail!("a new chat was let in"),
            (Err(error), _) => return Err(error).context("a new chat"),
        }
        Ok(tried)
    }

    /// The other core goes out of service, too: what is new has nowhere to go, and who has a call up stays.
    async fn try_with_no_core(&self, crowd: &Crowd, fetched: usize) -> Result<Tried> {
        let world = self.world;
        self.begin(Which::Second).await?;
        let others = world.status_of(self.target, Which::Second).await?.left("HTTP proxy service");
        ensure!(fetched + others == crowd::DOWNLOADS, "{fetched} + {others} downloads are counted");
        let mut tried = self.try_everything(crowd, 3, true).await?;
        let (_, idle) = crowd.idle.get(3).context("an idle phone")?;
        tried.sip("a refresh", &idle.refresh().await, true)?;
        ensure!(world.refusals()? == 1, "a refresh is refused in other words");
        let granted = crowd.talkers.first().context("a phone that talks")?.refresh().await.context("with a call up")?;
        ensure!(granted <= SHORT, "with a call up {granted} s were granted");
        world.edgeway(self.target, Which::Second, &["maintenance", "cancel"]).await?;
        Ok(tried)
    }

    /// What exists goes on: requests within dialogs pass, nothing has ended.
    async fn goes_on(&self, crowd: &mut Crowd) -> Result<()> {
        for (here, there) in crowd.calls.iter().take(crowd.talked_in()) {
            here.hold().await.context("a re-INVITE")?;
            here.resume().await.context("a second re-INVITE")?;
            there.hold_by_update(true).await.context("an UPDATE")?;
            there.hold_by_update(false).await.context("a second UPDATE")?;
        }
        crowd.is_whole().await
    }

    /// In service again: everything new is served, at once and by this node. How soon.
    async fn cancelled(&self) -> Result<Duration> {
        let (world, target) = (self.world, self.target);
        world.edgeway(target, Which::First, &["maintenance", "cancel"]).await?;
        let since = Instant::now();
        let served = world.status(target).await?;
        for part in PARTS {
            ensure!(served.part(part) == "Active", "{part}: {}", served.part(part));
        }
        let edge = Which::First;
        let first_core = self.routes.iter().find(|route| world.names_first_core(route)).context("a Route")?;
        // These have phones of their own.
        let (caller, callee) = (self.visitor(2), self.visitor(3));
        let before = served.count("registrations");
        let phones = together([caller, callee].map(|person| async move {
            let got = world.sign_in(edge, person).await?;
            ensure!(got.status == 200, "a sign-in was answered {}", got.status);
            Ok(Phone::register(world.phone(edge, person, first_core)).await?)
        }));
        let phones = phones.await?;
        let [from, to] = <&[Phone; 2]>::try_from(phones.as_slice())?;
        let (there, here) = tokio::join!(to.answer_next(COUNTED_WITHIN, Duration::ZERO), from.call(to.aor()));
        let (here, _there) = (here.context("a call")?, there.context("answered")?);
        let chat = ChatClient::start(&world.chat(edge, self.visitor(1))).await?;
        let took = since.elapsed();
        let now = world.status(target).await?;
        ensure!(now.count("registrations") == before + 2, "the new registrations are elsewhere: {now}");
        here.hang_up().await?;
        chat.close().await?;
        for phone in &phones {
            phone.unregister().await?;
        }
        Ok(took)
    }

    /// Registrations go to the other node as they are refreshed; those with a call up stay at an edge, for a minute.
    async fn all_move(&self, crowd: &mut Crowd) -> Result<Tried> {
        let (world, target) = (self.world, self.target);
        let mut tried = Tried::default();
        let sent = std::mem::take(&mut crowd.idle);
        let mut idle: Vec<(Person, Phone)> = Vec::new();
        let mut left = sent.into_iter();
        // One goes for good.
        let (_, one) = left.next().context("an idle phone")?;
        one.unregister().await.context("a de-registration")?;
        loop {
            let some: Vec<_> = left.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            tried.attempts += some.len();
            let crowd = &*crowd;
            let moved = some.into_iter().map(|(person, phone)| async move {
                match (phone.refresh().await, target) {
                    (Err(PhoneError::Refused { status: 503, .. }), Target::Edge) => {
                        // As a client does: the next edge.
                        drop(phone);
                        let config = world.phone(Which::Second, person, crowd.route(person));
                        Ok((person, Phone::register(config).await.context("at the other edge")?))
                    }
                    (Ok(granted), Target::Core) if granted > SHORT => Ok((person, phone)),
                    (other, _) => bail!("a refresh was answered {other:?}"),
                }
            });
            idle.extend(together(moved).await?);
        }
        if target == Target::Edge {
            let heard = world.refusals()?;
            ensure!(heard == idle.len(), "{heard} refusals of {} refreshes", idle.len());
            tried.refused += heard;
        }
        let talkers = crowd.talkers.len();
        for phone in &crowd.talkers {
            let granted = phone.refresh().await.context("with a call up")?;
            ensure!((granted <= SHORT) == (target == Target::Edge), "with a call up {granted} s were granted");
        }
        let staying = if target == Target::Edge { talkers } else { 0 };
        let moved = move |status: &NodeStatus| status.count("registrations") == staying;
        world.wait(target, "registrations have moved", COUNTED_WITHIN, moved).await?;
        crowd.idle = idle;
        Ok(tried)
    }

    /// While the node is drained, everything new is served at the other one.
    async fn goes_on_elsewhere(&self, idle: &[(Person, Phone)]) -> Result<()> {
        let world = self.world;
        let edge = if self.target == Target::Edge { Which::Second } else { Which::First };
        let [(_, from), (_, to), ..] = idle else { bail!("too few phones") };
        let (there, here) = tokio::join!(to.answer_next(COUNTED_WITHIN, Duration::ZERO), from.call(to.aor()));
        let (here, _there) = (here.context("a call")?, there.context("answered")?);
        here.hang_up().await.context("a BYE")?;
        let (signed_in, fetched) =
            (world.sign_in(edge, self.visitor(0)).await?, world.fetch(edge, self.visitor(4)).await?);
        let answers = (signed_in.status, fetched.status);
        ensure!(answers == (200, 200), "a sign-in and a request for a server were answered {answers:?}");
        ChatClient::start(&world.chat(edge, self.visitor(1))).await.context("a chat")?.close().await?;
        Ok(())
    }

    /// One kind of session after the other ends, and the parts with them; how long the node took after the last.
    async fn ends(&self, crowd: Crowd) -> Result<Duration> {
        let (world, target) = (self.world, self.target);
        let Crowd { talkers, idle, calls, chats, downloads, .. } = crowd;
        world.files.hurry(true);
        for download in downloads {
            download.await?.context("a download")?;
        }
        let http = |status: &NodeStatus| status.inactive(&["HTTP proxy service", "Provisioning server"]);
        let status = world.wait(target, "no request is left", DRAINED_WITHIN, http).await?;
        ensure!(PARTS[2..].iter().all(|part| status.part(part).starts_with("Draining (")), "all at once: {status}");

        for (here, _) in &calls {
            here.hang_up().await.context("a BYE")?;
        }
        for phone in &talkers {
            phone.unregister().await.context("a de-registration")?;
        }
        let status = world.wait(target, "no call is left", DRAINED_WITHIN, |status| status.inactive(&["SIP"])).await?;
        ensure!(PARTS[3..].iter().all(|part| status.part(part).starts_with("Draining (")), "all at once: {status}");

        for chat in chats {
            chat.close().await?;
        }
        let last = Instant::now();
        let drained = |status: &NodeStatus| status.inactive(&PARTS);
        world.wait(target, "drained", 2 * DRAINED_WITHIN, drained).await?;
        let took = last.elapsed();
        let said = world.edgeway(target, Which::First, &["maintenance", "status", "--watch"]).await?;
        ensure!(said.contains("drained: "), "maintenance status said: {said} rather than {INACTIVE}");
        self.goes_on_elsewhere(&idle).await.context("elsewhere")?;
        let mut idle = idle.into_iter();
        loop {
            let some: Vec<_> = idle.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(took);
            }
            together(some.into_iter().map(|(_, phone)| async move { Ok(phone.unregister().await?) })).await?;
        }
    }
}

/// How late this program is when it wants to do something.
struct Pulse {
    late_us: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// As often as a packet is due, and a little more.
    const EVERY: Duration = Duration::from_millis(10);

    fn begin() -> Self {
        let late_us = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&late_us);
        let task = tokio::spawn(async move {
            loop {
                let due = tokio::time::Instant::now() + Self::EVERY;
                tokio::time::sleep_until(due).await;
                told.fetch_max(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { late_us, task }
    }

    /// The latest since this was asked last.
    fn late(&self) -> Duration {
        Duration::from_micros(self.late_us.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// CPU time of the node since some moment.
struct Busy {
    since: Instant,
    before: Duration,
}

impl Busy {
    fn since_now(world: &World, target: Target) -> Result<Self> {
        Ok(Self { since: Instant::now(), before: world.cpu(target)? })
    }

    /// Of the time since then, on one processor.
    fn share(&self, world: &World, target: Target) -> Result<f64> {
        let Self { since, before } = self;
        Ok(world.cpu(target)?.saturating_sub(*before).as_secs_f64() / since.elapsed().as_secs_f64())
    }
}

/// How many new things were tried.
#[derive(Default)]
struct Tried {
    attempts: usize,
    refused: usize,
}

impl Tried {
    fn count(&mut self, refused: bool) {
        self.attempts += 1;
        self.refused += usize::from(refused);
    }

    /// A request was answered as it should be.
    fn sip<T>(&mut self, what: &str, outcome: &Result<T, PhoneError>, refused: bool) -> Result<()> {
        self.count(refused);
        match (outcome, refused) {
            (Err(PhoneError::Refused { status: 503, .. }), true) | (Ok(_), false) => Ok(()),
            (Err(other), _) => bail!("{what}: {other}"),
            (Ok(_), true) => bail!("{what} was let in"),
        }
    }

    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.refused += other.refused;
    }
}
