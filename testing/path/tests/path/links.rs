//! A whole edge and a whole core at the two ends of the path: does the link hold?

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeway_config::{parse_core, parse_edge};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_interop::Host;
use edgeway_model::media::MediaPath;
use edgeway_model::notice::Notice;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_path::{IPV4, Path, Rules};
use edgeway_runtime::pki::{Authority, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, StatusPort, Stop, Stopped};
use edgeway_runtime::tls::CertificateStore;
use tokio::sync::mpsc;

use crate::ends::{LINK_PORT, SOON, wait};

/// Silence on stream and datagrams after which a link is dead, and what a busy machine may add.
const NOTICED: std::ops::RangeInclusive<Duration> = Duration::from_millis(2_400)..=Duration::from_millis(3_600);

/// A running service and what it has told its operator.
struct Service {
    status: StatusPort,
    notices: mpsc::Receiver<Notice>,
    said: Vec<(Instant, Notice)>,
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(
        host: &Host,
        serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static,
    ) -> Result<Self> {
        let (notice, notices) = mpsc::channel(4_096);
        let (ready, started) = sync_channel::<Result<StatusPort, ServiceFault>>(2);
        let (stop, stopped) = service::stop();
        // A thread started here belongs to the namespace, and so do its sockets.
        let thread = host.enter(move || {
            Ok(std::thread::spawn(move || {
                let bound = ready.clone();
                let hooks = Hooks {
                    notice: Some(service::notices_to(notice)),
                    ready: Some(Box::new(move |port| drop(bound.send(Ok(port))))),
                    ..Hooks::default()
                };
                if let Err(fault) = serve(hooks, stopped) {
                    let _ = ready.send(Err(fault));
                }
            }))
        })?;
        let status = started.recv_timeout(SOON).context("it does not start")??;
        Ok(Self { status, notices, said: Vec::new(), stop: Some(stop), thread: Some(thread) })
    }

    fn said(&mut self) -> &[(Instant, Notice)] {
        while let Ok(notice) = self.notices.try_recv() {
            self.said.push((Instant::now(), notice));
        }
        &self.said
    }

    fn ups(&mut self) -> usize {
        self.said().iter().filter(|(_, notice)| matches!(notice, Notice::LinkUp { .. })).count()
    }

    fn downs(&mut self) -> Vec<(Instant, String)> {
        let down = |(at, notice): &(Instant, Notice)| {
            if let Notice::LinkDown { why, .. } = notice { Some((*at, why.clone())) } else { None }
        };
        self.said().iter().filter_map(down).collect()
    }

    /// The ways media took, as the operator was told.
    fn paths(&mut self) -> Vec<MediaPath> {
        let path = |(_, notice): &(Instant, Notice)| {
            if let Notice::MediaPath { path, .. } = notice { Some(*path) } else { None }
        };
        self.said().iter().filter_map(path).collect()
    }

    /// As the status says.
    fn media_path(&self) -> Option<MediaPath> {
        self.status.ask()?.links.iter().find(|link| link.up).map(|link| link.media_path)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An edge and a core.
struct Fleet {
    edge: Service,
    core: Service,
}

impl Fleet {
    fn start(path: &Path) -> Result<Self> {
        let authority = Authority::ephemeral()?;
        let (edge, core) = (NodeId::new("edge1").context("legal")?, NodeId::new("core1").context("legal")?);
        let (edge_identity, core_identity) = (authority.issue(&edge, Role::Edge)?, authority.issue(&core, Role::Core)?);
        let (chain, key) = authority.issue_server(&["edge1.example.test"])?.pem();
        let certificates = Arc::new(CertificateStore::from_pem(&chain, &key)?);
        let link = SocketAddr::new(IPV4[0], LINK_PORT);
        let record = EdgeRecord {
            node: edge,
            role: Role::Edge,
            address: link.to_string(),
            key_hash: edge_identity.key().key_hash(),
        };
        let settings = parse_edge(
            &format!(
                "node = \"edge1\"\n[sip]\nlisten = [\"127.0.0.1:5061\"]\npublic_host = \"127.0.0.1\"\n\
                 certificate = \"memory\"\nkey = \"memory\"\n[https]\nlisten = \"off\"\n[xmpp]\nlisten = \"off\"\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\n"
            ),
            "the edge",
        )?;
        let keys = EdgeKeys::Memory { identity: Box::new(edge_identity), certificates };
        let edge = Service::start(path.host(0), move |hooks, stopped| {
            let node = EdgeNode::new((&settings).into(), Random::from_seed(service::seed()?));
            service::run_edge(&settings, node, keys, hooks, stopped)
        })?;
        let settings = parse_core(
            "node = \"core1\"\ndomains = [\"example.test\"]\n[sip]\nlisten = [\"127.0.0.1:5060\"]\n\
             registrars = [\"tcp:127.0.0.1:5080\"]\n[media]\naddress = \"127.0.0.1\"\n",
            "the core",
        )?;
        let keys = CoreKeys::Memory { identity: Box::new(core_identity), edges: vec![record] };
        let core = Service::start(path.host(1), move |hooks, stopped| {
            let node = CoreNode::new((&settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
            service::run_core(&settings, node, keys, hooks, stopped)
        })?;
        Ok(Self { edge, core })
    }

    fn wait_up(&self, media: MediaPath) -> Result<()> {
        wait("link", SOON, || self.core.media_path() == Some(media) && self.edge.media_path() == Some(media))
    }

    /// Nothing is to happen for this long.
    fn hold(&mut self, span: Duration) -> Result<()> {
        let (start, before) = (Instant::now(), [self.edge.downs().len(), self.core.downs().len()]);
        while start.elapsed() < span {
            std::thread::sleep(Duration::from_millis(50));
            let downs = [self.edge.downs(), self.core.downs()];
            let fresh = downs.iter().zip(before).find_map(|(downs, before)| downs.get(before));
            ensure!(
                fresh.is_none(),
                "after {:.1} s: {}",
                start.elapsed().as_secs_f64(),
                fresh.map_or("", |(_, why)| why)
            );
        }
        Ok(())
    }
}

/// One packet in five is lost, each way; then everything.
pub(crate) fn udp_open(number: usize, watched: Duration) -> Result<String> {
    let calm = Rules { delay: Duration::from_millis(10), ..Rules::default() };
    let path = Path::create(number, calm, 5)?;
    let mut fleet = Fleet::start(&path)?;
    fleet.wait_up(MediaPath::Udp)?;
    path.set(Rules { loss_ppm: 200_000, ..calm });
    fleet.hold(watched)?;
    let paths = fleet.core.paths();
    path.set(Rules { open: [false; 2], ..calm });
    let start = Instant::now();
    let before = [fleet.edge.downs().len(), fleet.core.downs().len()];
    wait("end of the link on both sides", SOON, || {
        let now = [fleet.edge.downs().len(), fleet.core.downs().len()];
        now[0] > before[0] && now[1] > before[1]
    })?;
    let noticed = [fleet.edge.downs()[before[0]].0 - start, fleet.core.downs()[before[1]].0 - start];
    ensure!(noticed.iter().all(|after| NOTICED.contains(after)), "a hole was noticed after {noticed:.2?}");
    std::thread::sleep(Duration::from_secs(2));
    let ups = fleet.core.ups();
    path.set(calm);
    let start = Instant::now();
    wait("link after the hole", SOON, || fleet.core.ups() > ups)?;
    let healed = start.elapsed();
    Ok(format!(
        "no false failure in {watched:?}, media by {paths:?}; a hole noticed after {noticed:.2?}, healed after {healed:.1?}"
    ))
}

/// One packet in twenty is lost, each way, and there is no UDP.
pub(crate) fn udp_blocked(number: usize, watched: Duration) -> Result<String> {
    let calm = Rules { delay: Duration::from_millis(10), udp: false, ..Rules::default() };
    let path = Path::create(number, calm, 6)?;
    let mut fleet = Fleet::start(&path)?;
    fleet.wait_up(MediaPath::Tcp)?;
    path.set(Rules { loss_ppm: 50_000, ..calm });
    fleet.hold(watched)?;
    ensure!(fleet.core.media_path() == Some(MediaPath::Tcp), "the status says {:?}", fleet.core.media_path());
    let paths = fleet.core.paths();
    ensure!(paths.iter().filter(|path| **path == MediaPath::Tcp).count() == 1, "notices: {paths:?}");
    Ok(format!("no false failure in {watched:?}; notices: {paths:?}"))
}

/// Two seconds of nothing are survived without a word; a hole in one direction ends the link on both sides.
pub(crate) fn holes(number: usize) -> Result<String> {
    let calm = Rules { delay: Duration::from_millis(10), ..Rules::default() };
    let path = Path::create(number, calm, 7)?;
    let mut fleet = Fleet::start(&path)?;
    fleet.wait_up(MediaPath::Udp)?;
    for open in [[false, false], [true, false], [false, true]] {
        path.set(Rules { open, ..calm });
        fleet.hold(Duration::from_secs(2))?;
        path.set(calm);
        fleet.hold(Duration::from_secs(1))?;
    }
    let paths = [fleet.edge.paths(), fleet.core.paths()];
    ensure!(paths.iter().all(|told| *told == [MediaPath::Udp]), "told of media: {paths:?}");
    let mut said = Vec::new();
    for (open, passes) in [([true, false], "edge to core"), ([false, true], "core to edge")] {
        let (downs, ups) = ([fleet.edge.downs().len(), fleet.core.downs().len()], fleet.core.ups());
        path.set(Rules { open, ..calm });
        let start = Instant::now();
        wait("end of the link on both sides", SOON, || {
            let now = [fleet.edge.downs().len(), fleet.core.downs().len()];
            now[0] > downs[0] && now[1] > downs[1]
        })?;
        let noticed = [fleet.edge.downs()[downs[0]].0 - start, fleet.core.downs()[downs[1]].0 - start];
        // The side that is still told everything learns it from the other one, which waits a second for an answer.
        let latest = *NOTICED.end() + Duration::from_millis(1_200);
        ensure!(NOTICED.contains(&noticed[0].min(noticed[1])), "only {passes} open: noticed after {noticed:.2?}");
        ensure!(noticed.iter().all(|after| *after <= latest), "only {passes} open: noticed after {noticed:.2?}");
        said.push(format!("only {passes} open: noticed after {noticed:.2?}"));
        path.set(calm);
        wait("link after the hole", SOON, || fleet.core.ups() > ups)?;
        fleet.wait_up(MediaPath::Udp)?;
    }
    Ok(said.join("; "))
}
