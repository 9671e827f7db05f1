//! How streams end, and what is said between.

use std::time::Duration;

use edgeway_model::chat::ChatEnd;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::super::ChatBounds;
use super::rig::{CLOSE, HEADER, LONG, Pipe, Rig, SERVER, STARTTLS, Setup, run};
use crate::http::HttpFact;

const SHORT: Duration = Duration::from_secs(1);

#[test]
fn a_client_that_is_gone_without_a_word_may_resume() {
    run(async {
        let rig = Rig::start();
        let (client, core) = rig.signed_in().await;
        client.vanish().await;
        assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken));
        // As does one that closes only its side.
        let (mut client, core) = rig.signed_in().await;
        client.send("<presence/>").await;
        client.pipe.shutdown().await.unwrap();
        assert_eq!(core.hears_out().await, ("<presence/>".to_owned(), ChatEnd::Broken));
        assert_eq!(client.rest().await, "");
        // And one that is reset.
        let (client, core) = rig.signed_in().await;
        let Pipe::Tls(stream) = &client.pipe else { panic!("TLS") };
        socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken));
        rig.until("nothing is left", |rig| rig.front.alive.borrow().is_empty()).await;
    });
}

#[test]
fn when_the_core_is_gone_the_client_gets_no_error_and_may_resume() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        core.says("<message>half");
        drop(core);
        assert_eq!(client.rest().await, "<message>half", "close_notify and FIN, and nothing else");
        let (mut client, core) = rig.at_a_core().await;
        core.stream.end(ChatEnd::Broken);
        assert_eq!(client.rest().await, "");
    });
}

#[test]
fn a_server_that_ends_the_stream_has_the_last_word() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        let error = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
        core.says(error);
        core.says(CLOSE);
        core.stream.end(ChatEnd::Closed);
        assert_eq!(client.rest().await, format!("{error}{CLOSE}"));
    });
}

#[test]
fn a_server_may_take_its_time_to_answer_a_goodbye_but_not_for_ever() {
    run(async {
        let bounds = ChatBounds { farewell_max: SHORT, ..ChatBounds::default() };
        let rig = Rig::start_with(Setup { bounds, ..Setup::default() });
        let (mut client, core) = rig.signed_in().await;
        // What comes behind the end is nothing.
        client.send(&format!("{CLOSE}<message/>")).await;
        assert_eq!(core.hears_out().await, (CLOSE.to_owned(), ChatEnd::Closed));
        core.says("<message>late</message>");
        core.says(CLOSE);
        core.stream.end(ChatEnd::Closed);
        assert_eq!(client.rest().await, format!("<message>late</message>{CLOSE}"));
        let (mut client, core) = rig.signed_in().await;
        client.send(CLOSE).await;
        assert_eq!(core.hears_out().await, (CLOSE.to_owned(), ChatEnd::Closed));
        assert_eq!(client.whatever_comes().await, "");
        assert_eq!(rig.counted("chat_cut_farewell"), 1);
        assert_eq!(rig.offences(), []);
    });
}

#[test]
fn an_operator_sees_who_is_there_and_disconnects_one() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        let (mut other, other_core) = rig.signed_in().await;
        let _outside = rig.connect().await;
        let list = rig.front.operate("chats", &json!({})).unwrap().unwrap();
        let rows = list["chats"].as_array().unwrap();
        assert_eq!((&list["more"], &rows[0]["domain"]), (&json!(0), &json!("example.com")));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["number"], core.opening.number);
        assert_eq!(rows[0]["client"], core.opening.client.to_string());
        assert_eq!((&rows[0]["core"], &rows[0]["signed_in"]), (&json!("core1"), &json!(true)));
        assert!(rows[0]["bytes_in"].as_u64() > Some(100) && rows[0]["bytes_out"].as_u64() > Some(100));
        let number = json!({ "id": core.opening.number });
        let disconnected = |id| rig.front.operate("chats/disconnect", id).unwrap().unwrap()["disconnected"] == true;
        assert!(disconnected(&number));
        let told = client.rest().await;
        assert!(told.starts_with("<stream:error><policy-violation ") && told.ends_with(CLOSE), "{told}");
        assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken));
        rig.until("it is gone", |_| !disconnected(&number)).await;
        let after = rig.front.operate("chats", &json!({ "after": core.opening.number })).unwrap().unwrap();
        assert_eq!(after["chats"].as_array().unwrap().len(), 1);
        assert!(rig.front.operate("chats/disconnect", &json!({})).unwrap().is_err());
        assert!(rig.front.operate("users", &json!({})).is_none());
        // In the middle of an element its rest comes first.
        other_core.says("<message><body>he");
        other.until("he").await;
        let number = json!({ "id": other_core.opening.number });
        assert!(disconnected(&number));
        sleep(SHORT / 5).await;
        other_core.says("llo</body></message>");
        let told = other.rest().await;
        assert!(told.starts_with("llo</body></message><stream:error><policy-violation "), "{told}");
    });
}

#[test]
fn how_many_have_signed_in_is_told() {
    run(async {
        let rig = Rig::start();
        let clients = [rig.signed_in().await, rig.signed_in().await];
        let _stranger = rig.at_a_core().await;
        let last = |rig: &Rig| {
            let chats = |fact| if let HttpFact::Chats(count) = fact { Some(count) } else { None };
            rig.told().into_iter().filter_map(chats).next_back()
        };
        rig.until("two are told", |rig| last(rig) == Some(2)).await;
        drop(clients);
        rig.until("none is told", |rig| last(rig) == Some(0)).await;
    });
}

#[test]
fn a_client_that_hears_nothing_for_long_is_sent_a_space_between_elements() {
    run(async {
        let bounds = ChatBounds { ping_after: SHORT, ..ChatBounds::default() };
        let rig = Rig::start_with(Setup { bounds, ..Setup::default() });
        let (mut client, core) = rig.signed_in().await;
        assert_eq!(client.until(" ").await, " ");
        core.says("<message>ha");
        client.until("<message>ha").await;
        sleep(SHORT * 4).await;
        core.says("lf</message>");
        assert_eq!(client.until("</message>").await, "lf</message>", "nothing in the middle of an element");
        assert_eq!(client.until(" ").await, " ");
        assert_eq!(rig.offences(), []);
    });
}

#[test]
fn a_stopping_edge_leaves_streams_to_be_resumed_tells_strangers_and_takes_nobody_new() {
    run(async {
        let rig = Rig::start();
        let (mut known, core) = rig.signed_in().await;
        let (mut stranger, _stranger_core) = rig.at_a_core().await;
        let mut outside = rig.connect().await;
        outside.send(HEADER).await;
        outside.until("</stream:features>").await;
        // In the middle of an element.
        let (mut stuck, stuck_core) = rig.signed_in().await;
        stuck_core.says("<message>half");
        stuck.until("half").await;
        let draining = async {
            rig.front.drain().await;
        };
        let clients = async {
            for client in [&mut known, &mut stuck] {
                assert_eq!(client.rest().await, "", "who could resume hears nothing");
            }
            for client in [&mut stranger, &mut outside] {
                let told = client.rest().await;
                assert!(told.contains("<stream:error><system-shutdown ") && told.ends_with(CLOSE), "{told}");
            }
            let mut new = rig.connect().await;
            new.send(HEADER).await;
            let told = new.rest().await;
            assert!(told.starts_with("<?xml") && told.contains("<stream:error><system-shutdown "), "{told}");
        };
        tokio::time::timeout(LONG, async { tokio::join!(draining, clients) }).await.expect("it ends");
        for core in [core, stuck_core] {
            assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken));
        }
    });
}

#[test]
fn an_edge_may_refuse_new_streams_and_keep_those_it_has() {
    run(async {
        let rig = Rig::start();
        let (mut known, core) = rig.signed_in().await;
        let mut under_way = rig.behind_tls().await;
        rig.front.refuse_new(true);
        under_way.send(HEADER).await;
        assert!(under_way.rest().await.contains("<stream:error><system-shutdown "));
        let mut new = rig.connect().await;
        new.send(&format!("{HEADER}{STARTTLS}")).await;
        assert!(new.rest().await.contains("<stream:error><system-shutdown "));
        known.send("<presence/>").await;
        assert_eq!(core.hears(11).await, "<presence/>");
        rig.front.refuse_new(false);
        let (mut client, core) = rig.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        assert_eq!(rig.counted("chat_refused_new"), 2);
    });
}
