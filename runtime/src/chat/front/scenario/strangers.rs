//! Clients that have not signed in: how many, how long, and how much they may say.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use edgeway_model::chat::{ChatEnd, ChatOffence};
use tokio::time::sleep;

use super::super::ChatBounds;
use super::rig::{AUTH, CLOSE, FAILURE, HEADER, LONG, Rig, SERVER, STARTTLS, Setup, run};
use crate::chat::limits::STRANGER_BYTES_MAX;
use crate::http::limits::ATTEMPTS_MAX;

/// In place of ten seconds and more.
const SHORT: Duration = Duration::from_secs(1);

fn with(bounds: ChatBounds) -> Rig {
    Rig::start_with(Setup { bounds, ..Setup::default() })
}

#[test]
fn a_client_that_says_nothing_is_told_that_it_took_too_long() {
    run(async {
        let rig = with(ChatBounds { header_within: SHORT, ..ChatBounds::default() });
        let begun = Instant::now();
        let (mut silent, mut behind_tls) = (rig.connect().await, rig.behind_tls().await);
        for client in [&mut silent, &mut behind_tls] {
            let told = client.rest().await;
            assert!(told.starts_with("<?xml") && told.contains("<connection-timeout "), "{told}");
            assert!(told.ends_with(CLOSE), "{told}");
        }
        assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG);
        assert_eq!((rig.counted("chat_cut_slow_header"), rig.offences().len()), (2, 0));
    });
}

#[test]
fn a_client_that_says_a_little_now_and_then_gains_nothing() {
    run(async {
        let rig = with(ChatBounds { header_within: SHORT, ..ChatBounds::default() });
        let (mut outside, mut inside) = (rig.connect().await, rig.behind_tls().await);
        let begun = Instant::now();
        for byte in HEADER.bytes().take(HEADER.len() - 1) {
            outside.send_bytes(&[byte]).await;
            inside.send_bytes(b" ").await;
            if rig.counted("chat_cut_slow_header") == 2 {
                break;
            }
            sleep(SHORT / 10).await;
        }
        assert!(begun.elapsed() < LONG);
        assert!(outside.whatever_comes().await.contains("<connection-timeout "));
        assert!(inside.whatever_comes().await.contains("<connection-timeout "));
    });
}

#[test]
fn a_handshake_that_does_not_end_is_cut() {
    run(async {
        let rig = with(ChatBounds { handshake_within: SHORT, ..ChatBounds::default() });
        let mut client = rig.connect().await;
        client.send(&format!("{HEADER}{STARTTLS}")).await;
        client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        let direct = rig.connect_direct().await;
        client.send_bytes(&[22, 3, 1, 0, 200, 1]).await;
        assert_eq!(client.whatever_comes().await, "");
        rig.until("both are cut", |rig| rig.counted("chat_handshake_timed_out") == 2).await;
        drop(direct);
    });
}

#[test]
fn a_client_that_does_not_sign_in_is_told_so() {
    run(async {
        let rig = with(ChatBounds { sign_in_within: SHORT * 2, ..ChatBounds::default() });
        let (mut client, core) = rig.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        let told = client.rest().await;
        assert!(told.starts_with("<stream:error><connection-timeout "), "{told}");
        assert!(told.ends_with(CLOSE));
        assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken));
        assert_eq!(rig.counted("chat_cut_slow_sign_in"), 1);
        // One who has signed in has all the time there is.
        let (mut client, core) = rig.signed_in().await;
        sleep(SHORT * 4).await;
        client.send("<presence/>").await;
        assert_eq!(core.hears(11).await, "<presence/>");
    });
}

#[test]
fn there_is_a_bound_of_clients_in_all_and_by_address() {
    run(async {
        let bounds = ChatBounds { clients_max: 6, clients_per_address_max: 3, ..ChatBounds::default() };
        let rig = Rig::start_with(Setup { bounds, strangers_per_address_max: 2, ..Setup::default() });
        let mut first = vec![rig.signed_in().await];
        first.push(rig.signed_in().await);
        let refused = |what: &'static str, count| move |rig: &Rig| rig.counted(what) == count;
        // Two have signed in and are no strangers; the third fills the address.
        let third = rig.behind_tls().await;
        assert_eq!(rig.connect().await.whatever_comes().await, "");
        rig.until("the address is full", refused("chat_refused_address", 1)).await;
        // Another address may have two strangers.
        let others = [rig.behind_tls_from(2).await, rig.behind_tls_from(2).await];
        assert_eq!(rig.connect_from(2).await.whatever_comes().await, "");
        rig.until("the strangers are full", refused("chat_refused_address", 2)).await;
        let last = rig.behind_tls_from(3).await;
        assert_eq!(rig.connect_from(4).await.whatever_comes().await, "");
        rig.until("the edge is full", refused("chat_refused_full", 1)).await;
        // Whoever leaves makes room.
        drop((third, others, last));
        rig.until("there is room", |rig| rig.front.alive.borrow().len() == 2).await;
        drop(first);
        rig.until("all are gone", |rig| rig.front.alive.borrow().is_empty()).await;
        rig.signed_in().await;
    });
}

#[test]
fn where_there_are_too_many_strangers_the_oldest_goes() {
    run(async {
        let rig = with(ChatBounds { strangers_max: 3, ..ChatBounds::default() });
        let (mut known, core) = rig.signed_in().await;
        let mut oldest = rig.behind_tls().await;
        let mut second = rig.connect().await;
        let mut third = rig.connect().await;
        third.send(HEADER).await;
        third.until("</stream:features>").await;
        let (newest, _) = rig.at_a_core().await;
        assert_eq!(oldest.whatever_comes().await, "");
        assert_eq!(rig.counted("chat_cut_for_others"), 1);
        for client in [&mut second, &mut third] {
            client.send(&format!("{HEADER}{STARTTLS}")).await;
        }
        known.send("<presence/>").await;
        assert_eq!(core.hears(11).await, "<presence/>", "who has signed in is not among them");
        drop(newest);
    });
}

#[test]
fn an_address_opens_only_so_many_streams_without_signing_in() {
    run(async {
        let rig = Rig::start_with(Setup { bound_loopback: true, ..Setup::default() });
        // Whoever only shakes hands has tried nothing.
        for _ in 0..2 * ATTEMPTS_MAX {
            drop(rig.connect().await);
        }
        assert_eq!(rig.counted("chat_refused_address"), 0);
        let mut waits = rig.behind_tls().await;
        let mut opened = 0;
        while rig.front.attempts.borrow_mut().is_left(IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now()) {
            let (mut client, core) = rig.at_a_core().await;
            client.send(CLOSE).await;
            assert_eq!(core.hears(CLOSE.len()).await, CLOSE);
            opened += 1;
            assert!(opened <= 2 * ATTEMPTS_MAX, "some are given back while this runs");
        }
        // One that has shown nothing costs no more than it is.
        assert!(opened > ATTEMPTS_MAX - 10, "{opened}");
        waits.send(HEADER).await;
        assert!(waits.whatever_comes().await.contains("<policy-violation "));
        assert_eq!(rig.counted("chat_refused_address"), 1);
        assert!(rig.offences().contains(&ChatOffence::Abuse));
        // Others are others.
        let mut other = rig.connect_from(9).await;
        other.send(HEADER).await;
        other.until("</stream:features>").await;
    });
}

/// What is left for streams of this machine is used up, but for so many.
fn leave(rig: &Rig, left: u32) {
    let mut attempts = rig.front.attempts.borrow_mut();
    for _ in left..ATTEMPTS_MAX {
        assert!(attempts.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now()));
    }
}

fn is_left(rig: &Rig) -> bool {
    rig.front.attempts.borrow_mut().is_left(IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now())
}

#[test]
fn an_office_that_an_outage_turns_away_keeps_what_it_has() {
    run(async {
        let rig = Rig::start_with(Setup { bound_loopback: true, ..Setup::default() });
        leave(&rig, 4);
        for turn in 0..40 {
            let (mut client, core) = rig.at_a_core().await;
            match turn % 4 {
                // The core is in maintenance, or full, or does not know the domain.
                0 => core.stream.end(ChatEnd::Closed),
                // It is gone.
                1 => drop(core),
                // No server is there: the client is told, and goes away, politely or not.
                how => {
                    core.says(SERVER);
                    client.until(SERVER).await;
                    client.send(AUTH).await;
                    core.hears(AUTH.len()).await;
                    core.says(FAILURE);
                    client.until(FAILURE).await;
                    if how == 2 {
                        client.send(CLOSE).await;
                        core.hears(CLOSE.len()).await;
                        core.stream.end(ChatEnd::Closed);
                    } else {
                        drop(client);
                        assert_eq!(core.hears_out().await.1, ChatEnd::Broken);
                        continue;
                    }
                }
            }
            client.whatever_comes().await;
        }
        rig.lose_cores();
        for _ in 0..10 {
            let mut client = rig.behind_tls().await;
            client.send(HEADER).await;
            assert!(client.whatever_comes().await.contains("<remote-connection-failed "));
        }
        assert!(is_left(&rig));
        assert_eq!((rig.counted("chat_refused_address"), rig.offences()), (0, vec![]));
    });
}

#[test]
fn wrong_passwords_are_the_end_of_an_address_however_their_streams_end() {
    run(async {
        let rig = Rig::start_with(Setup { bound_loopback: true, ..Setup::default() });
        let begun = Instant::now();
        let (mut wrong, mut turn) = (0, 0);
        while is_left(&rig) {
            let (mut client, core) = rig.at_a_core().await;
            core.says(SERVER);
            client.until(SERVER).await;
            for _ in 0..4 {
                client.send(AUTH).await;
                core.hears(AUTH.len()).await;
                core.stream.sign_in_refused();
                core.says(FAILURE);
                client.until(FAILURE).await;
                wrong += 1;
                if !is_left(&rig) {
                    break;
                }
            }
            match turn % 3 {
                0 => drop(client),
                1 => client.send(CLOSE).await,
                _ => core.stream.end(ChatEnd::Closed),
            }
            turn += 1;
            assert!(wrong <= 2 * ATTEMPTS_MAX, "they go on for ever");
        }
        let given_back = u32::try_from(begun.elapsed().as_secs()).expect("not long") + 8;
        assert!(2 * wrong <= ATTEMPTS_MAX + given_back, "{wrong} wrong passwords");
        assert!(2 * wrong >= ATTEMPTS_MAX - 8, "{wrong} wrong passwords");
        assert!(!rig.offences().contains(&ChatOffence::SignIn), "the core has reported them");
    });
}

#[test]
fn a_stream_that_tries_on_when_nothing_is_left_ends() {
    run(async {
        let rig = Rig::start_with(Setup { bound_loopback: true, ..Setup::default() });
        leave(&rig, 2);
        let (mut client, core) = rig.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        for _ in 0..60 {
            core.stream.sign_in_refused();
        }
        core.says(FAILURE);
        assert!(client.whatever_comes().await.contains("<policy-violation "));
        assert_eq!(core.hears_out().await.1, ChatEnd::Broken);
    });
}

#[test]
fn there_is_a_bound_of_bytes_before_tls_and_before_sign_in() {
    run(async {
        let rig = Rig::start();
        let mut client = rig.connect().await;
        client.send(&format!("{HEADER}{}", " ".repeat(10_000))).await;
        assert!(client.whatever_comes().await.contains("<policy-violation "));
        let (mut client, core) = rig.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        let says = async {
            let mut said = 0;
            while said <= STRANGER_BYTES_MAX {
                client.send(AUTH).await;
                said += AUTH.len() as u64;
            }
            client.whatever_comes().await
        };
        let (told, (heard, how)) = tokio::join!(says, core.hears_out());
        assert!(told.starts_with("<stream:error><policy-violation "), "{told}");
        assert!(heard.len() as u64 <= STRANGER_BYTES_MAX && how == ChatEnd::Broken);
        assert_eq!(rig.offences(), [ChatOffence::Protocol; 2]);
    });
}
