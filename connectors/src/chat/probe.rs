//! Asks a server that is down how it is: the whole way a stream goes, up to its features.

use std::future::poll_fn;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use edgeway_xmpp::router::{Action, Down, Input, Router};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Chat;
use super::limits::{PROBE_EVERY, PROBE_FIRST_AFTER, PROBE_WITHIN, PROBES_MAX};
use super::server::Server;
use super::upstream::{Event, Upstream};

/// Goes on as long as there is chat.
pub(super) async fn probe_those_that_are_down(chat: Weak<Chat>) {
    let mut pause = None;
    loop {
        match pause {
            Some(pause) => sleep(pause).await,
            None => {
                let Some(marked) = chat.upgrade().map(|chat| Rc::clone(&chat.health.marked)) else { return };
                marked.notified().await;
                sleep(PROBE_FIRST_AFTER).await;
            }
        }
        let Some(chat) = chat.upgrade() else { return };
        let asked = chat.health.to_ask(&chat.servers(), PROBES_MAX);
        pause = (!asked.is_empty()).then_some(PROBE_EVERY);
        for (server, domain) in asked {
            spawn_local(probe(Rc::clone(&chat), server, domain));
        }
    }
}

async fn probe(chat: Rc<Chat>, server: Rc<Server>, domain: String) {
    match timeout(PROBE_WITHIN, ask(&chat, &server, &domain)).await {
        Ok(Ok(())) => chat.health.answered(&server, &domain, &chat.servers()),
        Ok(Err(why)) => chat.health.still_down(&server, &domain, &why, &chat.servers()),
        Err(_) => chat.health.still_down(&server, &domain, "it did not answer in time", &chat.servers()),
    }
}

async fn ask(chat: &Chat, server: &Rc<Server>, domain: &str) -> Result<(), String> {
    let mut router = Router::new(chat.beginning(domain, std::slice::from_ref(server)), chat.now());
    let mut upstream = Upstream::new(chat.dialler(), domain.into());
    // What a client would say.
    let header = format!(
        "<stream:stream to='{domain}' version='1.0' xmlns='{}' xmlns:stream='{}'>",
        edgeway_xmpp::ns::CLIENT,
        edgeway_xmpp::ns::STREAMS
    );
    router.handle(Input::Client(Bytes::from(header)), chat.now());
    let mut gone = None;
    loop {
        while let Some(action) = router.poll() {
            match action {
                Action::Dial { .. } => upstream.dial(Rc::clone(server)),
                Action::StartTls => upstream.start_tls(),
                Action::ToServer(bytes) => upstream.send(bytes),
                Action::ServerUp { .. } => {
                    if let Some(farewell) = upstream.close() {
                        spawn_local(farewell);
                    }
                    return Ok(());
                }
                // It does not know the domain, and says so: it is well.
                Action::ServerDown { why: Down::HostUnknown, .. } => return Ok(()),
                Action::ServerDown { why, .. } | Action::ServerDoubted { why, .. } => {
                    return Err(gone.unwrap_or_else(|| why.to_string()));
                }
                Action::CloseServer
                | Action::ToClient(_)
                | Action::AskRate { .. }
                | Action::Unseen
                | Action::SignedIn { .. }
                | Action::Homed { .. }
                | Action::Bound { .. }
                | Action::Resumable
                | Action::Offence(..) => {}
                Action::End(_) => return Err(gone.unwrap_or_else(|| "it ends streams".to_owned())),
            }
        }
        let event = poll_fn(|context| upstream.poll(context, true, &mut chat.scratch.borrow_mut())).await;
        let input = match event {
            Event::Connected => Input::Connected,
            Event::Secured => Input::Secured,
            Event::Said(bytes) => Input::Server(bytes),
            Event::Gone(why) => {
                gone = Some(why);
                Input::ServerGone
            }
        };
        router.handle(input, chat.now());
    }
}
