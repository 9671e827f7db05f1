//! Starts an edge and a core in this process, for the lab: real sockets, keys in memory.

use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use edgeway_admin::Ingredients;
use edgeway_admin::configuration::{self, Booted};
use edgeway_admin::store::LateStore;
use edgeway_config::parse_edge;
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_model::notice::Notice;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::pki::{Authority, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, StatusPort, Stop, Stopped};
use edgeway_runtime::tls::CertificateStore;

use crate::lab::{InsidePlan, NodePlan, PagesPlace, RunningNode, RunningNodes, UcPlan};

/// Notices the lab has not read yet.
const NOTICES_MAX: usize = 1_024;
/// How long a node may take to bind its sockets.
const START_WITHIN: Duration = Duration::from_secs(5);

/// The files of a core that has a call manager.
const PASSWORD_FILE: &str = "axl-password";
const CA_FILE: &str = "uc-ca.pem";
/// What an operator names to the command line: the settings of either node.
const CORE_FILE: &str = "core.toml";
const EDGE_FILE: &str = "edge.toml";
/// Where either answers.
const CORE_SOCKET: &str = "core.sock";
const EDGE_SOCKET: &str = "edge.sock";

/// A node on its thread; ends with it.
struct Guard {
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
    /// Removed when the node has ended.
    files: Option<Files>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        drop(self.files.take());
    }
}

/// Starts both nodes and returns when their sockets are bound.
pub(crate) fn start(plan: NodePlan) -> anyhow::Result<RunningNodes> {
    let files = Files::make(&plan)?;
    let text = edge_settings(&plan, &files.0)?;
    files.write(EDGE_FILE, &text)?;
    let edge_settings = parse_edge(&text, "the lab's edge")?;
    files.write(CORE_FILE, &core_settings(&plan, &files.0)?)?;
    let Booted { settings: core_settings, parts } = configuration::boot(&files.0.join(CORE_FILE))?;
    let authority = Authority::ephemeral()?;
    let name = |name: &str| NodeId::new(name).with_context(|| format!("{name:?} is no node name"));
    let edge_identity = authority.issue(&name(plan.edge)?, Role::Edge)?;
    let core_identity = authority.issue(&name(plan.core)?, Role::Core)?;
    let certificates = Arc::new(CertificateStore::from_pem(&plan.chain_pem, &plan.key_pem)?);
    let record = EdgeRecord {
        node: name(plan.edge)?,
        role: Role::Edge,
        address: plan.edge_link.to_string(),
        key_hash: edge_identity.key().key_hash(),
    };

    let keys = EdgeKeys::Memory { identity: Box::new(edge_identity), certificates };
    let metrics = edge_settings.metrics;
    let control = files.0.join(EDGE_SOCKET);
    let edge = launch("edge", metrics, None, move |mut hooks, stopped| {
        hooks.control = Some(control);
        let node = EdgeNode::new((&edge_settings).into(), Random::from_seed(service::seed()?));
        service::run_edge(&edge_settings, node, keys, hooks, stopped)
    })?;
    let keys = CoreKeys::Memory { identity: Box::new(core_identity), edges: vec![record] };
    let metrics = core_settings.metrics;
    let (announce, announced) = std::sync::mpsc::channel();
    let (state_dir, control) = (files.0.clone(), files.0.join(CORE_SOCKET));
    let administration = Ingredients {
        settings: core_settings.clone().into(),
        store: Arc::<LateStore>::clone(&parts.store),
        configuration: parts,
        announce: Some(announce),
    };
    let mut core = launch("core", metrics, Some(files), move |mut hooks, stopped| {
        hooks.control = Some(control);
        hooks.admin = Some(edgeway_admin::make(administration));
        hooks.inside = Some(edgeway_connectors::inside::make(core_settings.clone()));
        let node = CoreNode::new((&core_settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
        service::run_core(&core_settings, node, keys, hooks, stopped)
    })?;
    let address = announced.recv_timeout(START_WITHIN).context("the pages of the core")?;
    core.pages = Some(PagesPlace { address, state_dir });
    Ok(RunningNodes { edge, core })
}

fn launch(
    name: &'static str,
    metrics: Option<SocketAddr>,
    files: Option<Files>,
    serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static,
) -> anyhow::Result<RunningNode> {
    let (notice, notices) = tokio::sync::mpsc::channel::<Notice>(NOTICES_MAX);
    let (ready, started) = sync_channel::<Result<StatusPort, ServiceFault>>(2);
    let (stop, stopped) = service::stop();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        let bound = ready.clone();
        let hooks = Hooks {
            notice: Some(service::notices_to(notice)),
            ready: Some(Box::new(move |port| drop(bound.send(Ok(port))))),
            ..Hooks::default()
        };
        if let Err(fault) = serve(hooks, stopped) {
            let _ = ready.send(Err(fault));
        }
    })?;
    let guard = Guard { stop: Some(stop), thread: Some(thread), files };
    let port = match started.recv_timeout(START_WITHIN) {
        Ok(outcome) => outcome?,
        Err(RecvTimeoutError::Timeout) => anyhow::bail!("the {name} did not start within {START_WITHIN:?}"),
        Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the {name} ended while starting"),
    };
    Ok(RunningNode { notices, status: Box::new(move || port.ask()), metrics, pages: None, guard: Box::new(guard) })
}

/// The settings of the edge; its files lie in `folder`.
fn edge_settings(plan: &NodePlan, folder: &Path) -> anyhow::Result<String> {
    let host = match &plan.inside {
        InsidePlan::Registrar(_) => plan.edge_sip.ip().to_string(),
        InsidePlan::UnifiedCm(uc) => uc.edge_host.clone(),
    };
    let listen = |place: Option<SocketAddr>| place.map_or("\"off\"".to_owned(), |place| format!("[\"{place}\"]"));
    let (https, xmpp) = (listen(plan.inside.edge_https()), listen(plan.inside.edge_xmpp()));
    let text = format!(
        "node = \"{}\"\nmetrics = \"{}\"\ncontrol_socket = \"{}\"\n[sip]\nlisten = [\"{}\"]\npublic_host = \"{host}\"\ncertificate = \"memory\"\nkey = \"memory\"\n\
         [https]\nlisten = {https}\n[xmpp]\nlisten = {xmpp}\n[link]\nlisten = \"{}\"\n[media]\naddress = \"{}\"\nports = \"{}\"\n",
        plan.edge,
        free_port()?,
        folder.join(EDGE_SOCKET).display(),
        plan.edge_sip,
        plan.edge_link,
        plan.edge_sip.ip(),
        range(&plan.edge_media),
    );
    Ok(text)
}

/// The settings of the core; files they name lie in `folder`.
fn core_settings(plan: &NodePlan, folder: &Path) -> anyhow::Result<String> {
    let folder = folder.display();
    let (registrars, inside) = match &plan.inside {
        InsidePlan::Registrar(registrar) => (format!("registrars = [\"tcp:{registrar}\"]\n"), String::new()),
        InsidePlan::UnifiedCm(uc) => {
            let UcPlan { publisher, user, dns, im: (im, im_port), .. } = &**uc;
            let sections = format!(
                "[dns]\nservers = [\"{dns}\"]\n[sign_in]\nauthority = \"unified_cm\"\n[[unified_cm]]\n\
                 address = \"{publisher}\"\nuser = \"{user}\"\npassword_file = \"{folder}/{PASSWORD_FILE}\"\n\
                 ca = \"{folder}/{CA_FILE}\"\n[[xmpp_server]]\naddress = \"{im}:{im_port}\"\nca = \"{folder}/{CA_FILE}\"\n"
            );
            (String::new(), sections)
        }
    };
    let text = format!(
        "node = \"{}\"\nstate_dir = \"{folder}\"\ncontrol_socket = \"{folder}/{CORE_SOCKET}\"\nmetrics = \"{}\"\ndomains = [\"{}\"]\n[sip]\nlisten = [\"{}\"]\n{registrars}\
         [media]\naddress = \"{}\"\nports = \"{}\"\nallow_unencrypted = {}\n[admin]\nlisten = \"{}\"\n{inside}",
        plan.core,
        free_port()?,
        plan.domain,
        plan.core_sip,
        plan.core_sip.ip(),
        range(&plan.core_media),
        plan.allow_unencrypted,
        free_port()?,
    );
    Ok(text)
}

/// What the core must find in files, in a folder of its own that goes with it.
struct Files(PathBuf);

impl Files {
    fn make(plan: &NodePlan) -> anyhow::Result<Self> {
        let unique = format!("edgeway-lab-{}-{:016x}", std::process::id(), u64::from_be_bytes(first_bytes()?));
        let files = Self(std::env::temp_dir().join(unique));
        std::fs::DirBuilder::new().mode(0o700).create(&files.0).context("a folder for the lab's core")?;
        if let InsidePlan::UnifiedCm(uc) = &plan.inside {
            files.write(PASSWORD_FILE, &uc.password)?;
            files.write(CA_FILE, &uc.ca_pem)?;
        }
        Ok(files)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.0.join(name))?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn first_bytes() -> anyhow::Result<[u8; 8]> {
    let seed = service::seed()?;
    seed.first_chunk::<8>().copied().context("a seed is longer than that")
}

/// A loopback port nobody uses now, for metrics.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn range(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    use edgeway_lab_servers::{
        Call, MediaSecurity, Phone, PhoneConfig, PhoneError, PhoneTransport, Registrar, RegistrarConfig, Sound,
        SrtpSuite,
    };
    use tokio::time::sleep;

    use super::*;
    use crate::lab;

    const DOMAIN: &str = "lab.example";
    const SOON: Duration = Duration::from_secs(5);

    /// A port free over TCP and UDP, as an edge or a core wants it.
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn port_of(family: IpAddr) -> SocketAddr {
        loop {
            let tcp = TcpListener::bind((family, 0)).expect("loopback");
            let address = tcp.local_addr().expect("bound");
            if UdpSocket::bind(address).is_ok() {
                return address;
            }
        }
    }

    /// A registrar, both nodes and two phones at the edge.
    struct House {
        alice: Phone,
        bob: Phone,
        registrar: Registrar,
        /// How phones reach the edge.
        outside: PhoneTransport,
        _nodes: RunningNodes,
    }

    async fn house(media: [RangeInclusive<u16>; 2], allow_unencrypted: bool, security: MediaSecurity) -> House {
        house_of([V4, V4], media, allow_unencrypted, security).await
    }

    /// As [`house`], with an address family for each side: outside, and inside.
    async fn house_of(
        [outside, inside]: [IpAddr; 2],
        media: [RangeInclusive<u16>; 2],
        allow_unencrypted: bool,
        security: MediaSecurity,
    ) -> House {
        let users = [("alice", "a-secret"), ("bob", "b-secret"), ("carol", "c-secret"), ("dave", "d-secret")];
        let listen = SocketAddr::new(inside, 0);
        let config = RegistrarConfig { listen, ..RegistrarConfig::new(DOMAIN, &users) };
        let registrar = Registrar::start(config).await.expect("a registrar");
        let authority = Authority::ephemeral().expect("a CA");
        let (chain_pem, key_pem) = authority.issue_server(&["edge.lab.example"]).expect("a certificate").pem();
        let [edge_media, core_media] = media;
        let plan = NodePlan {
            edge: "edge1",
            core: "core1",
            domain: DOMAIN.to_owned(),
            edge_sip: port_of(outside),
            edge_link: port_of(outside),
            edge_media,
            core_sip: port_of(inside),
            core_media,
            inside: InsidePlan::Registrar(registrar.address()),
            chain_pem,
            key_pem,
            allow_unencrypted,
        };
        let server = plan.edge_sip;
        let nodes = start(plan).expect("both nodes");
        let ca_pem = authority.certificate_pem();
        let phone = |(user, password): (&str, &str)| {
            let transport = PhoneTransport::Tls { server, name: "edge.lab.example".into(), ca_pem: ca_pem.clone() };
            let mut config = PhoneConfig::new(user, password, DOMAIN, transport);
            config.security = security;
            config.media_address = outside;
            Phone::register(config)
        };
        let alice = phone(users[0]).await.expect("alice registers");
        let bob = phone(users[1]).await.expect("bob registers");
        let outside = PhoneTransport::Tls { server, name: "edge.lab.example".into(), ca_pem: ca_pem.clone() };
        House { alice, bob, registrar, outside, _nodes: nodes }
    }

    async fn assert_flows(one: &Call, other: &Call) {
        sleep(Duration::from_millis(600)).await;
        for stats in [one.stats(), other.stats()] {
            assert!(stats.received >= 20 && stats.refused == 0, "{stats:?}");
        }
    }

    #[tokio::test]
    async fn methods_known_and_unknown_are_passed_to_the_other_phone() {
        let house = house([12_000..=12_099, 12_100..=12_199], false, MediaSecurity::Srtp).await;
        for method in ["MESSAGE", "INFO", "NOTIFY", "OPTIONS", "UPDATE"] {
            assert_eq!(house.alice.request(method, "sip:bob@lab.example").await, Ok(200), "{method}");
        }
        // That they are refused is the word of the phone; the last is known to no node here.
        for method in ["SUBSCRIBE", "REFER", "PUBLISH", "PRACK", "FROBNICATE"] {
            assert_eq!(house.alice.request(method, "sip:bob@lab.example").await, Ok(405), "{method}");
        }
        assert_eq!(house.alice.request("FROBNICATE", "sip:nobody@lab.example").await, Ok(404), "of the registrar");
    }

    #[tokio::test]
    async fn plain_media_passes_where_the_operator_allows_it() {
        let house = house([12_200..=12_299, 12_300..=12_399], true, MediaSecurity::Plain).await;
        let server = house.registrar.address();
        let inside = PhoneConfig::new("carol", "c-secret", DOMAIN, PhoneTransport::Udp { server });
        let carol = Phone::register(inside).await.expect("carol registers inside");
        let answering = carol.answer_next(SOON, Duration::ZERO);
        let (out, inward) = tokio::try_join!(house.alice.call("sip:carol@lab.example"), answering).expect("a call");
        assert_flows(&out, &inward).await;
        inward.hang_up().await.expect("answered");
        // What the core itself offers a client is encrypted all the same.
        let refused = house.alice.call("sip:bob@lab.example").await.map(drop);
        assert!(matches!(refused, Err(PhoneError::Refused { status: 488, .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn plain_media_is_refused_with_488_otherwise() {
        let house = house([12_400..=12_499, 12_500..=12_599], false, MediaSecurity::Plain).await;
        let refused = house.alice.call("sip:bob@lab.example").await.map(drop);
        assert!(matches!(refused, Err(PhoneError::Refused { status: 488, .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn encrypted_media_flows_both_ways() {
        let house = house([12_600..=12_699, 12_700..=12_799], false, MediaSecurity::Srtp).await;
        let answering = house.bob.answer_next(SOON, Duration::ZERO);
        let (out, inward) = tokio::try_join!(house.alice.call("sip:bob@lab.example"), answering).expect("a call");
        assert_flows(&out, &inward).await;
        out.hang_up().await.expect("answered");
    }

    /// IPv6 outside, inside, and on both sides: the link, SIP, and media between two phones outside and
    /// with one inside, whose address families the core joins.
    #[tokio::test]
    async fn either_side_may_speak_ipv6() {
        let media = [
            [12_800..=12_849, 12_850..=12_899],
            [12_900..=12_949, 12_950..=12_999],
            [13_000..=13_049, 13_050..=13_099],
        ];
        for (families, media) in [[V6, V6], [V6, V4], [V4, V6]].into_iter().zip(media) {
            let house = house_of(families, media, false, MediaSecurity::Srtp).await;
            let answering = house.bob.answer_next(SOON, Duration::ZERO);
            let (out, inward) = tokio::try_join!(house.alice.call("sip:bob@lab.example"), answering)
                .unwrap_or_else(|error| panic!("{families:?}: {error:?}"));
            assert_flows(&out, &inward).await;
            out.hang_up().await.expect("answered");

            let server = house.registrar.address();
            let mut inside = PhoneConfig::new("carol", "c-secret", DOMAIN, PhoneTransport::Udp { server });
            inside.media_address = families[1];
            let carol = Phone::register(inside).await.expect("carol registers inside");
            let answering = carol.answer_next(SOON, Duration::ZERO);
            let (out, inward) = tokio::try_join!(house.alice.call("sip:carol@lab.example"), answering)
                .unwrap_or_else(|error| panic!("{families:?}: {error:?}"));
            assert_flows(&out, &inward).await;
            inward.hang_up().await.expect("answered");
        }
    }

    /// A phone at the edge, or at the registrar.
    async fn phone(house: &House, user: &str, outside: bool, shape: impl FnOnce(&mut PhoneConfig)) -> Phone {
        let secret = format!("{}-secret", &user[..1]);
        let transport = match outside {
            true => house.outside.clone(),
            false => PhoneTransport::Udp { server: house.registrar.address() },
        };
        let mut config = PhoneConfig::new(user, &secret, DOMAIN, transport);
        shape(&mut config);
        Phone::register(config).await.expect("registers")
    }

    fn assert_video(calls: &[&Call]) {
        for call in calls {
            let video = call.video_stats().expect("a camera");
            assert!(video.received >= 20 && video.refused == 0, "{video:?}");
        }
    }

    #[tokio::test]
    async fn a_video_call_carries_tone_and_pictures_both_ways() {
        let house = house([13_500..=13_599, 13_600..=13_699], false, MediaSecurity::Srtp).await;
        let suites = [
            SrtpSuite::AeadAes256Gcm,
            SrtpSuite::AeadAes128Gcm,
            SrtpSuite::AesCm128HmacSha1_80,
            SrtpSuite::AesCm128HmacSha1_32,
        ];
        let inside = |hz| {
            move |config: &mut PhoneConfig| {
                (config.video, config.sound, config.expected_hz) = (true, Sound::Tone { hz }, Some(450));
            }
        };
        let carol = phone(&house, "carol", false, inside(600)).await;
        for (turn, suite) in suites.into_iter().enumerate() {
            let camera = phone(&house, "dave", true, |config| {
                (config.video, config.suite, config.rtcp_mux) = (true, suite, turn % 2 == 0);
                config.expected_hz = Some(600);
            })
            .await;
            // Turn by turn the client calls and is called.
            let (caller, callee, to) = if turn < 2 { (&camera, &carol, "carol") } else { (&carol, &camera, "dave") };
            let answering = callee.answer_next(SOON, Duration::from_millis(50));
            let to = format!("sip:{to}@lab.example");
            let (out, inward) = tokio::try_join!(caller.call(&to), answering).expect("a call");
            assert_flows(&out, &inward).await;
            assert_video(&[&out, &inward]);
            assert!(
                out.stats().tone_ok && inward.stats().tone_ok,
                "{suite:?}: {:?}, {:?}",
                out.stats(),
                inward.stats()
            );
            sleep(Duration::from_millis(700)).await;
            let reports = (out.stats().reports_received, inward.stats().reports_received);
            assert!(reports.0 > 0 && reports.1 > 0, "{suite:?}: {reports:?}");
            // Silence and no picture while on hold, by UPDATE; and back.
            out.hold_by_update(true).await.expect("held");
            sleep(Duration::from_millis(100)).await;
            let before = (inward.stats().received, out.stats().received);
            sleep(Duration::from_millis(200)).await;
            assert_eq!((inward.stats().received, out.stats().received), before, "{suite:?}");
            out.hold_by_update(false).await.expect("resumed");
            sleep(Duration::from_millis(300)).await;
            assert!(inward.stats().received > before.0 && out.stats().received > before.1, "{suite:?}");
            out.hang_up().await.expect("answered");
            camera.unregister().await.expect("gone");
        }
    }

    #[tokio::test]
    async fn a_fork_is_heard_before_it_is_answered() {
        let house = house([12_900..=12_999, 13_000..=13_099], false, MediaSecurity::Srtp).await;
        let tone = |hz| move |config: &mut PhoneConfig| config.sound = Sound::Tone { hz };
        let one = phone(&house, "carol", false, tone(600)).await;
        let two = phone(&house, "carol", false, tone(900)).await;
        let mut out = house.alice.dial("sip:carol@lab.example").await.expect("dials");
        let first = one.next_call(SOON).await.expect("rings");
        let mut second = two.next_call(SOON).await.expect("rings");
        first.progress().await.expect("early media");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(out.stats().heard_hz, Some(600), "{:?}", out.stats());
        second.progress().await.expect("early media of the other one as well");
        sleep(Duration::from_millis(300)).await;
        let both = out.stats();
        assert!(both.refused == 0 && both.received > 30, "{both:?}");
        second.answer().await.expect("the second takes the call");
        out.answered(SOON).await.expect("answered");
        sleep(Duration::from_millis(600)).await;
        assert_eq!(out.stats().heard_hz, Some(900), "{:?}", out.stats());
        assert!(second.stats().received >= 20, "{:?}", second.stats());
        out.hang_up().await.expect("answered");
    }

    #[tokio::test]
    async fn a_blind_transfer_ends_with_other_parties_talking() {
        let house = house([13_100..=13_199, 13_200..=13_299], false, MediaSecurity::Srtp).await;
        let carol = phone(&house, "carol", false, |config| config.sound = Sound::Tone { hz: 600 }).await;
        let answering = house.bob.answer_next(SOON, Duration::ZERO);
        let (out, inward) = tokio::try_join!(house.alice.call("sip:bob@lab.example"), answering).expect("a call");
        assert_flows(&out, &inward).await;
        out.transfer("sip:carol@lab.example").await.expect("accepted");
        let mut placed = house.bob.next_call(SOON).await.expect("bob calls");
        let transferred = carol.answer_next(SOON, Duration::ZERO).await.expect("carol answers");
        placed.answered(SOON).await.expect("answered");
        out.hang_up().await.expect("answered");
        assert_flows(&placed, &transferred).await;
        assert_eq!(placed.stats().heard_hz, Some(600));
        placed.hang_up().await.expect("answered");
    }

    #[tokio::test]
    async fn a_client_that_reconnects_is_hung_up_on_over_its_new_connection() {
        let house = house([13_300..=13_399, 13_400..=13_499], false, MediaSecurity::Srtp).await;
        let carol = phone(&house, "carol", false, |_| {}).await;
        let answering = carol.answer_next(SOON, Duration::ZERO);
        let (mut out, inward) = tokio::try_join!(house.alice.call("sip:carol@lab.example"), answering).expect("a call");
        assert_flows(&out, &inward).await;
        house.alice.reset_connection().await;
        sleep(Duration::from_millis(100)).await;
        house.alice.registered().wait_for(|registered| *registered).await.expect("alice is back");
        assert_flows(&out, &inward).await;
        inward.hold().await.expect("the re-INVITE finds the new connection");
        out.held_there(true, SOON).await.expect("held");
        inward.hang_up().await.expect("answered");
        assert_eq!(out.ended(SOON).await, Ok(edgeway_lab_servers::Ending::HungUpThere));
    }

    #[test]
    fn the_lab_passes_with_all_its_usual_ports_taken() {
        let usual = [5_060, 5_061, 5_070, 7_001];
        // Whoever holds them, they are taken.
        let _held: Vec<_> = usual
            .iter()
            .map(|port| (TcpListener::bind(("127.0.0.1", *port)), UdpSocket::bind(("127.0.0.1", *port))))
            .collect();
        assert_eq!(lab::run(&lab::LabArgs::once(), start), std::process::ExitCode::SUCCESS);
    }
}
