//! Those who have sessions when a node goes out of service.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeway_interop::quartet::Which;
use edgeway_lab_servers::xmpp::ChatClient;
use edgeway_lab_servers::{Call, CallState, MediaGap, Phone};
use tokio::task::{JoinHandle, JoinSet};

use super::Target;
use super::world::{Person, World};

/// Things begun at once.
const AT_ONCE: usize = 8;
/// How long a packet of media may be on its way, however busy the machine.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Between two packets of a stream.
const PACKET_TIME: Duration = Duration::from_millis(20);
/// So many downloads that each of two cores has some of them.
pub(super) const DOWNLOADS: usize = 12;
/// How long a call may take to be set up.
const SET_UP_WITHIN: Duration = Duration::from_secs(20);

/// Everybody with a phone signs in once; the Routes they are given.
pub(super) async fn sign_in_all(world: &World, phones: usize) -> Result<Vec<String>> {
    // Both edges, and through them both cores, serve before anybody counts.
    for (edge, person) in [(Which::First, 0), (Which::Second, 1)] {
        world.ready(edge, Person::Phone(person)).await?;
    }
    let mut routes = Vec::new();
    for first in (2..phones).step_by(AT_ONCE) {
        let people = (first..phones.min(first + AT_ONCE)).map(Person::Phone);
        routes.extend(together(people.map(|person| world.ready(Which::First, person))).await?);
    }
    ensure!(routes.iter().any(|route| world.names_first_core(route)), "nobody was sent to the first core");
    Ok(routes)
}

/// Waits for some things that run on this task, side by side.
pub(super) async fn together<T>(all: impl IntoIterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut all: Vec<_> = all.into_iter().map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in all.iter_mut().zip(&mut done) {
            if let Some(running) = one
                && let std::task::Poll::Ready(outcome) = running.as_mut().poll(context)
            {
                *one = None;
                match outcome {
                    Ok(value) => *done = Some(value),
                    Err(error) => return std::task::Poll::Ready(Err(error)),
                }
            }
        }
        if all.iter().all(Option::is_none) { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}

/// All of them.
pub(super) struct Crowd {
    /// Phones that talk in pairs.
    pub(super) talkers: Vec<Phone>,
    /// Phones that are registered and no more.
    pub(super) idle: Vec<(Person, Phone)>,
    pub(super) calls: Vec<(Call, Call)>,
    pub(super) chats: Vec<ChatClient>,
    pub(super) downloads: Vec<JoinHandle<Result<()>>>,
    /// The Routes of the phones.
    routes: Vec<String>,
}

impl Crowd {
    /// Everybody begins, at the node that is to be drained. `first_chat`: who of the chatters is the first of this round.
    pub(super) async fn begin(
        world: &World,
        target: Target,
        (phones, calls, chats): (usize, usize, usize),
        routes: &[String],
        first_chat: usize,
    ) -> Result<Self> {
        let first_core =
            routes.iter().find(|route| world.names_first_core(route)).context("a Route to the first core")?;
        let route = |number: usize| match target {
            // Who talks goes through one core with whom they talk to: an edge counts a call once for each core it is at.
            Target::Edge => routes.get(number / 2 % routes.len()).unwrap_or(first_core).clone(),
            Target::Core => first_core.clone(),
        };
        let routes: Vec<String> = (0..phones).map(route).collect();
        let edge = |number: usize| match target {
            Target::Core if number % 4 > 1 => Which::Second,
            Target::Core | Target::Edge => Which::First,
        };
        let mut registered = Vec::new();
        let mut tasks = JoinSet::new();
        for (number, route) in routes.iter().enumerate() {
            let config = world.phone(edge(number), Person::Phone(number), route);
            tasks.spawn(async move { (number, Phone::register(config).await) });
            if tasks.len() >= AT_ONCE
                && let Some(done) = tasks.join_next().await
            {
                registered.push(done?);
            }
        }
        while let Some(done) = tasks.join_next().await {
            registered.push(done?);
        }
        registered.sort_by_key(|(number, _)| *number);
        let mut talkers = Vec::new();
        let mut idle = Vec::new();
        for (number, outcome) in registered {
            let phone = outcome.with_context(|| format!("phone {number} registers"))?;
            if number < calls * 2 {
                talkers.push(phone);
            } else {
                idle.push((Person::Phone(number), phone));
            }
        }
        let connected = connect(&talkers).await?;
        let (chats, downloads) =
            (chat(world, target, chats, first_chat).await?, download(world, first_chat).await.context("a download")?);
        Ok(Self { talkers, idle, calls: connected, chats, downloads, routes })
    }

    /// The Route of a person's phone.
    pub(super) fn route(&self, person: Person) -> &str {
        let Person::Phone(number) = person else { return "" };
        self.routes.get(number).map_or("", String::as_str)
    }

    /// Nothing has ended.
    pub(super) async fn is_whole(&mut self) -> Result<()> {
        for (number, (here, there)) in self.calls.iter().enumerate() {
            for call in [here, there] {
                let state = call.view().state;
                ensure!(state == CallState::Established, "call {number} has ended: {state:?}");
            }
        }
        self.talks().await?;
        for (number, chat) in self.chats.iter_mut().enumerate() {
            chat.ping().await.with_context(|| format!("chat {number} has ended"))?;
        }
        ensure!(!self.downloads.iter().any(JoinHandle::is_finished), "a download has ended");
        Ok(())
    }

    /// Everybody who talks hears more: a call that fell silent for good has no gap that ends.
    async fn talks(&self) -> Result<()> {
        let heard: Vec<_> = self.ends().map(|call| call.stats().received).collect();
        let until = Instant::now() + HEARD_WITHIN;
        loop {
            let silent = self.ends().zip(&heard).filter(|(call, heard)| call.stats().received <= **heard).count();
            if silent == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{silent} of {} ends of calls hear nothing more", heard.len());
            tokio::time::sleep(PACKET_TIME).await;
        }
    }

    fn ends(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().flat_map(|(here, there)| [here, there])
    }

    /// From now on gaps count.
    pub(super) fn count_gaps_anew(&self) {
        self.ends().for_each(Call::count_gaps_anew);
    }

    /// Of how many calls requests within the dialog are tried: they are held, and so are silent for a while.
    pub(super) fn talked_in(&self) -> usize {
        self.calls.len().div_ceil(10)
    }

    /// The longest gap of all calls; of those that are held only in packets.
    pub(super) fn gap(&self) -> MediaGap {
        let silent = 2 * self.talked_in();
        let gaps = self.ends().map(|call| call.stats().gap).enumerate();
        let gaps = gaps.map(|(end, gap)| if end < silent { MediaGap { time: Duration::ZERO, ..gap } } else { gap });
        gaps.fold(MediaGap::default(), MediaGap::or_worse)
    }

    /// Packets heard and packets missing.
    pub(super) fn heard(&self) -> (u64, u64) {
        self.ends().map(Call::stats).fold((0, 0), |(heard, lost), stats| (heard + stats.received, lost + stats.lost))
    }
}

async fn connect(talkers: &[Phone]) -> Result<Vec<(Call, Call)>> {
    let mut calls = Vec::new();
    for some in talkers.chunks(2 * AT_ONCE) {
        let pairs = some.chunks_exact(2).filter_map(|pair| <&[Phone; 2]>::try_from(pair).ok());
        let connected = pairs.map(|[from, to]| async move {
            let (there, here) = tokio::join!(to.answer_next(SET_UP_WITHIN, Duration::ZERO), from.call(to.aor()));
            Ok((here.context("a call")?, there.context("answered")?))
        });
        calls.extend(together(connected).await?);
    }
    Ok(calls)
}

/// So many chats at the node. At a core they are those of some people; the others' are at the other core, and stay there.
async fn chat(world: &World, target: Target, wanted: usize, first: usize) -> Result<Vec<ChatClient>> {
    let mut chats = Vec::new();
    let mut next = first..first + chatters(wanted);
    loop {
        let missing = wanted.saturating_sub(world.share(target, "chats", chats.len()).await?);
        if missing == 0 {
            return Ok(chats);
        }
        let people: Vec<_> = next.by_ref().take(missing).collect();
        ensure!(!people.is_empty(), "too few of {} chats are at the node", chats.len());
        for some in people.chunks(AT_ONCE) {
            let configs = some.iter().map(|number| {
                let edge = if target == Target::Core && number % 2 == 1 { Which::Second } else { Which::First };
                world.chat(edge, Person::Chat(*number))
            });
            let begun = configs.map(|config| async move { Ok(ChatClient::start(&config).await?) });
            chats.extend(together(begun).await?);
        }
    }
}

/// How many people there must be so that enough of them chat at one core of two.
pub(super) fn chatters(chats: usize) -> usize {
    4 * chats + DOWNLOADS
}

/// Downloads that are under way: at an edge all of them are, at a core those of some people.
async fn download(world: &World, first: usize) -> Result<Vec<JoinHandle<Result<()>>>> {
    world.files.hurry(false);
    let people = (first..first + DOWNLOADS).map(Person::Chat);
    let begun = together(people.map(|person| world.download(Which::First, person))).await?;
    Ok(begun.into_iter().map(|download| tokio::spawn(download.end())).collect())
}
