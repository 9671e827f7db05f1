//! What a running node keeps an eye on: its certificates, those that are revoked, and the files it was started with.

use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeway_config::CertificateFiles;
use edgeway_model::notice::Notice;
use edgeway_model::world::Observable;
use tokio::task::spawn_local;

use super::EDGES_EVERY;
use crate::http::HttpHandle;
use crate::media::MediaHandle;
use crate::notify;
use crate::pki::Trust;
use crate::reactor::Reactor;
use crate::tls::CertificateStore;

/// How often an edge looks whether the files of its certificates have changed.
pub(super) const CERTIFICATES_EVERY: Duration = Duration::from_secs(1);

/// Certificates and revocations, and what the operator should hear of them.
///
/// Who is revoked loses what leads to it at once, and not only its link.
pub(super) fn look_after<N: Observable + 'static>(
    trust: &Rc<Trust>,
    reactor: &Rc<Reactor<N>>,
    media: &MediaHandle,
    http: Option<&HttpHandle>,
) {
    let (told, media, http) = (Rc::clone(reactor), media.clone(), http.cloned());
    trust.on_notice(move |notice| {
        if let Notice::CertificateRevoked { node } = notice {
            media.forget(node);
            if let Some(http) = &http {
                http.forget(node);
            }
        }
        told.announce(notice);
    });
    spawn_local(Rc::clone(trust).run());
}

/// The media path of an edge asks for the certificate the edge has now, and whoever is revoked has no bulk
/// connection, whether it has a link or not.
pub(super) async fn offer_media(trust: Rc<Trust>, media: MediaHandle, http: Option<HttpHandle>) {
    let mut generation = trust.generation();
    loop {
        tokio::time::sleep(EDGES_EVERY).await;
        if trust.generation() == generation {
            continue;
        }
        generation = trust.generation();
        if let Some(http) = &http {
            http.revoked(trust.revoked_serials());
        }
        match trust.identity().as_ref().map(crate::pki::tls::media_server_config).transpose() {
            Ok(Some(config)) => media.set_server_config(config),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the media path keeps the certificate it had"),
        }
    }
}

/// Tells the service manager again and again that this thread and the HTTP thread take their turns; not a word while
/// either of them hangs, so that the manager ends the service and starts it again. The media threads are not asked:
/// each of them sleeps in the kernel, and does nothing there that could wait for another.
pub(super) async fn prove_turning(http: Option<HttpHandle>) {
    let Some(every) = notify::turns_every() else { return };
    loop {
        if let Some(http) = &http
            && http.turns().await.is_err()
        {
            return;
        }
        notify::turns();
        tokio::time::sleep(every).await;
    }
}

/// SIGHUP makes a core look at its state directory at once, as an edge looks at its certificates.
pub(super) fn watch_state(look_again: Rc<tokio::sync::Notify>) {
    let Ok(mut hang_up) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    spawn_local(async move {
        while hang_up.recv().await.is_some() {
            notify::reloading();
            look_again.notify_one();
            tracing::info!("the state directory is read again");
            notify::ready();
        }
    });
}

/// The certificates shown to clients are read again at SIGHUP, and when their files have changed and then
/// stayed as they are for [`CERTIFICATES_EVERY`]: whoever renews them writes two files, one after the other.
/// Connections stay.
pub(super) fn watch_certificates<N: Observable + 'static>(
    certificates: &Arc<CertificateStore>,
    files: Vec<CertificateFiles>,
    reactor: &Rc<Reactor<N>>,
) {
    let (certificates, reactor) = (Arc::clone(certificates), Rc::clone(reactor));
    // Caught from now on: before that, the signal ends the process.
    let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    spawn_local(async move {
        let mut loaded = stamps(&files);
        let mut seen = loaded.clone();
        loop {
            let asked = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                asked = asked => asked.is_some(),
                () = tokio::time::sleep(CERTIFICATES_EVERY) => false,
            };
            let now = stamps(&files);
            let settled = now == std::mem::replace(&mut seen, now.clone());
            if !asked && (!settled || now == loaded) {
                continue;
            }
            loaded = now;
            notify::reloading();
            let read = certificates.reload(&files);
            reactor.count_reload(read.is_ok());
            reactor.announce(&match read {
                Ok(()) => Notice::CertificatesReloaded { names: certificates.names() },
                Err(faults) => {
                    let why: Vec<_> = faults.iter().map(ToString::to_string).collect();
                    Notice::CertificatesRejected { why: why.join("; ") }
                }
            });
            notify::ready();
        }
    });
}

/// What tells a file from the one that was there before.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;

pub(super) fn stamp(path: &str) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    files.iter().flat_map(|pair| [stamp(&pair.chain), stamp(&pair.key)]).collect()
}
