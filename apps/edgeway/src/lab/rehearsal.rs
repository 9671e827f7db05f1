//! The story without edge and core: a TLS end in front of the registrar stands in for both, so that
//! what is red here is the lab's own fault.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeway_lab_servers::{Phone, Sound};
use edgeway_model::notice::Notice;
use edgeway_model::{LinkId, NodeId};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::screen::Screen;
use super::story::Lab;
use super::{InsidePlan, LabArgs, LabWish, NodePlan, RunningNode, RunningNodes, live};

/// A screen that can be read afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one writer").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("one writer").clone()).expect("UTF-8")
    }
}

fn node(notices: mpsc::Receiver<Notice>, guard: Box<dyn std::any::Any + Send>) -> RunningNode {
    RunningNode { notices, status: Box::new(|| None), metrics: None, pages: None, guard }
}

/// Ends TLS and forwards to the registrar.
fn stand_in(plan: NodePlan) -> anyhow::Result<RunningNodes> {
    let chain = CertificateDer::pem_slice_iter(plan.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(plan.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let listener = std::net::TcpListener::bind(plan.edge_sip)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let InsidePlan::Registrar(registrar) = plan.inside else { anyhow::bail!("HTTPS is no part of the rehearsal") };
    let task = tokio::spawn(forward(listener, TlsAcceptor::from(Arc::new(config)), registrar));
    let (_, silent) = mpsc::channel(1);
    let (tell, notices) = mpsc::channel(1);
    let peer = NodeId::new(plan.edge).expect("a legal name");
    tell.try_send(Notice::LinkUp { link: LinkId(1), peer, skew_ms: 0 })?;
    Ok(RunningNodes { edge: node(silent, Box::new(task.abort_handle())), core: node(notices, Box::new(tell)) })
}

async fn forward(listener: TcpListener, acceptor: TlsAcceptor, registrar: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut outside = acceptor.accept(stream).await?;
            let mut inside = TcpStream::connect(registrar).await?;
            inside.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut outside, &mut inside).await
        });
    }
}

async fn check(args: &LabArgs, start: impl Fn(NodePlan) -> anyhow::Result<RunningNodes>) -> (bool, String) {
    let page = Page::default();
    let screen = Screen::new(Box::new(page.clone()), false);
    let passed = tokio::time::timeout(Duration::from_secs(20), live(args, screen, start)).await;
    (passed.expect("a check ends by itself"), page.text())
}

#[tokio::test]
async fn the_story_passes_and_shows_every_step() {
    let args = LabArgs { check: true, ladder: true, listen: None, registrar: true };
    let (passed, shown) = check(&args, stand_in).await;
    assert!(passed, "{shown}");
    for step in [
        "certificates made",
        "link up: core1 dialled edge1",
        "alice registered over TLS",
        "bob registered over TLS",
        "wrong password is refused (401)",
        "bob rings after",
        "bob answered",
        "media alice → bob:",
        "media bob → alice:",
        "0 lost",
        "tone of 450 Hz heard",
        "tone of 700 Hz heard",
        "alice held the call",
        "bob hung up",
        "steps passed in",
        "alice → edge       REGISTER sip:lab.example",
        "core → registrar   INVITE sip:bob@lab.example",
        "180 Ringing (INVITE)",
        "BYE sip:alice@",
    ] {
        assert!(shown.contains(step), "{step} is missing in:\n{shown}");
    }
    assert!(!shown.contains('✗'), "{shown}");
    let ticks = shown.matches('✓').count();
    assert!(shown.contains(&format!("All {ticks} steps passed")), "{shown}");
}

#[tokio::test]
async fn a_lab_whose_nodes_do_not_start_says_why_and_fails() {
    let args = LabArgs { check: true, registrar: true, ..LabArgs::default() };
    let (passed, shown) = check(&args, |_| anyhow::bail!("the edge found no certificate")).await;
    assert!(!passed);
    assert!(shown.contains("✗") && shown.contains("the edge found no certificate"), "{shown}");
}

#[tokio::test]
async fn a_port_lost_between_choosing_and_binding_costs_one_more_attempt() {
    let args = LabArgs { check: true, registrar: true, ..LabArgs::default() };
    let thief = std::cell::RefCell::new(None);
    let (passed, shown) = check(&args, |plan| {
        if thief.borrow().is_none() {
            *thief.borrow_mut() = Some(std::net::TcpListener::bind(plan.edge_sip)?);
        }
        stand_in(plan)
    })
    .await;
    assert!(passed, "{shown}");
    assert!(shown.contains("took one of the ports meanwhile"), "{shown}");
}

#[tokio::test]
async fn a_lab_whose_edge_shows_a_certificate_of_someone_else_fails() {
    let other = super::certificates::make("edge.other.example", [127, 0, 0, 1].into()).expect("certificates");
    let args = LabArgs { check: true, registrar: true, ..LabArgs::default() };
    let (passed, shown) = check(&args, |mut plan| {
        (plan.chain_pem, plan.key_pem) = (other.chain_pem.clone(), other.key_pem.clone());
        stand_in(plan)
    })
    .await;
    assert!(!passed);
    assert!(shown.contains("✗") && shown.contains("certificate"), "{shown}");
}

#[tokio::test]
async fn a_softphone_registers_as_told_and_hears_itself_and_the_tone() {
    let folder = std::env::temp_dir().join(format!("edgeway-lab-listen-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let page = Page::default();
    let mut screen = Screen::new(Box::new(page.clone()), false);
    let wish = LabWish { address: [127, 0, 0, 1].into(), sip_port: None, registrar: true };
    let mut lab = Lab::open(&mut screen, &wish, stand_in).await.expect("open");
    lab.welcome_softphones(&mut screen, &folder).await.expect("welcome");

    // What a person would type: the password from the screen, the CA from the file.
    let shown = page.text();
    let typed = shown.lines().find_map(|line| line.trim().strip_prefix("password")).expect("shown");
    let password = typed.split_whitespace().next().expect("a password");
    let ca = std::fs::read_to_string(folder.join("edgeway-lab-ca.pem")).expect("the CA file");
    for (number, expected) in [("600", 800), ("601", 450)] {
        let mut config = lab.phone("100", password);
        let edgeway_lab_servers::PhoneTransport::Tls { ca_pem, .. } = &mut config.transport else {
            panic!("outside is TLS");
        };
        ca_pem.clone_from(&ca);
        (config.sound, config.expected_hz) = (Sound::Tone { hz: 800 }, Some(expected));
        let softphone = Phone::register(config).await.expect("registered as told");
        let call = softphone.call(&format!("sip:{number}@lab.example")).await.expect("answered");
        tokio::time::sleep(Duration::from_millis(900)).await;
        let stats = call.stats();
        assert_eq!(stats.heard_hz, Some(expected), "{number}: {stats:?}");
        call.hang_up().await.expect("over");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
