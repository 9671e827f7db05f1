//! Servers: found, lost, left for another one, and never told of a client too early.

use edgeway_model::Moment;
use edgeway_model::chat::ChatEnd;

use super::stage::*;
use crate::condition::{Condition, StreamFault};
use crate::router::{Beginning, Candidate, Input, Router, normal_domain};
use crate::sasl::Mechanism;

const UNSEEN_AND_OWN_ID: [&str; 2] = [OWN_TO_CLIENT, UNSEEN];

fn error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
}

fn see_other(host: &str) -> String {
    format!(
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host></stream:error></stream:stream>"
    )
}

fn own_error(condition: &str, text: &str) -> String {
    format!(
        "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>{text}</text></stream:error></stream:stream>"
    )
}

/// What a server may do at each step of [`reached`] that makes it go, and why.
fn ways_to_go(step: usize) -> Vec<(What, &'static str)> {
    let late = (What::Wait(10), "no answer in time");
    let gone = (GONE, "no connection");
    let mut ways = vec![late, gone];
    match step {
        0 => ways.push((server("x"), "no XMPP")),
        1 | 5 => {
            ways.push((server("HTTP/1.1 400 Bad Request\r\n\r\n"), "no XMPP"));
            ways.push((server("<!DOCTYPE x>"), "no XMPP"));
            ways.push((server(&SERVER_HEADER.replace(" version='1.0' xml", " xml")), "no XMPP"));
            ways.push((server(&(SERVER_HEADER.to_owned() + &error("host-unknown"))), "the domain is not served there"));
        }
        2 | 6 => {
            ways.push((server(&error("host-unknown")), "the domain is not served there"));
            ways.push((server(&error("policy-violation")), "it has ended the stream"));
            ways.push((server(CLOSE), "it has ended the stream"));
            ways.push((server("<iq/>"), "no XMPP"));
            ways.push((server("<stream:features>&nbsp;"), "no XMPP"));
            ways.push((server(&see_other("elsewhere.example")), "it names a server that is not known"));
            let nothing = if step == 2 { "no STARTTLS offered" } else { "no mechanism that passes" };
            ways.push((server("<stream:features/>"), nothing));
            ways.push((server(if step == 2 { SASL_FEATURES } else { TLS_FEATURES }), nothing));
        }
        3 => {
            ways.push((server("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "no STARTTLS offered"));
            // The client's fault in CVE-2011-0411, the other way round.
            ways.push((server(&(PROCEED.to_owned() + SERVER_HEADER)), "no XMPP"));
        }
        4 => ways.push((server(SERVER_HEADER), "no XMPP")),
        _ => {}
    }
    ways
}

#[test]
fn a_server_that_goes_is_followed_by_the_next_one_unseen() {
    for step in 0..7 {
        for (what, why) in ways_to_go(step) {
            let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
            script.extend(reached(0).into_iter().take(step));
            let closes = !matches!(what, What::Other(_));
            let mut heard = vec![format!("down 0: {why}"), w("dial 1")];
            if closes {
                heard.insert(0, w("close server"));
            }
            // In pieces, TLS may be begun before the injection comes; it comes to the same.
            if step == 3 && matches!(&what, What::Server(text) if text.starts_with("<proceed")) {
                let mut stage = Stage::new();
                for (what, _) in &script {
                    stage.tell(what, usize::MAX);
                }
                assert_eq!(stage.tell(&what, usize::MAX), heard);
                continue;
            }
            script.push((what, heard));
            script.extend(reached(1));
            script.pop();
            script.push((server(SASL_FEATURES), vec![w("up 1"), c(&[TO_CLIENT, OFFERED].concat())]));
            play(&script);
        }
    }
}

/// All servers are tried, and none answers.
fn none_answers(first: Step, last: &[String]) -> Vec<Step> {
    let mut script = vec![first];
    script.push((GONE, vec![w("down 0: no connection"), w("dial 1")]));
    script.push((GONE, vec![w("down 1: no connection"), w("dial 2")]));
    script.push((GONE, [&[w("down 2: no connection")], last].concat()));
    script
}

#[test]
fn where_no_server_answers_nobody_is_told_that_a_password_is_wrong() {
    let mut script = none_answers((client(CLIENT_HEADER), vec![w("dial 0")]), &[c(&UNSEEN_AND_OWN_ID.concat())]);
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.extend(none_answers((pass(), vec![w("dial 0")]), &[w("unseen"), c(DOWN)]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[1]), vec![w("dial 1")]));
    script.extend(reached(1));
    script.pop();
    script.push((server(SASL_FEATURES), vec![w("up 1"), s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 1"), c(SUCCESS)]));
    play(&script);
}

#[test]
fn where_no_server_answers_what_was_offered_before_is() {
    let mut stage = Stage::remembering(&[Mechanism::CiscoVtgToken, Mechanism::Plain]);
    stage.tell(&client(CLIENT_HEADER), usize::MAX);
    stage.tell(&GONE, usize::MAX);
    stage.tell(&GONE, usize::MAX);
    let heard = stage.tell(&GONE, usize::MAX).concat();
    let offered = "<mechanism>CISCO-VTG-TOKEN</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
    assert!(heard.ends_with(offered), "{heard}");
}

#[test]
fn servers_that_say_nothing_keep_nobody_waiting_for_ever() {
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.push((What::Wait(9), vec![]));
    script.push((What::Wait(1), vec![w("close server"), w("down 0: no answer in time"), w("dial 1")]));
    script.push((CONNECTED, vec![s(TO_SERVER)]));
    // The client hears something after 20 s, and the third server is tried meanwhile.
    let heard = vec![c(&UNSEEN_AND_OWN_ID.concat()), w("close server"), w("down 1: no answer in time"), w("dial 2")];
    script.push((What::Wait(10), heard));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![]));
    script.push((CONNECTED, vec![s(TO_SERVER)]));
    script.push((server(SERVER_HEADER), vec![]));
    script.push((server(SASL_FEATURES), vec![w("up 2"), s(AUTH)]));
    play(&script);
}

#[test]
fn a_client_that_does_not_sign_in_goes() {
    let late = own_error("connection-timeout", "Sign-in took too long.");
    let heard = vec![c(&late), s(CLOSE), w("close server"), w("end closed")];
    let mut script = met();
    script.push((What::Wait(19), vec![]));
    script.push((What::Wait(1), heard.clone()));
    script.push((client(AUTH), vec![]));
    play(&script);
    // One who has begun has longer.
    let wrong = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>";
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><malformed-request/></failure>";
    let mut script = met();
    script.push((What::Wait(19), vec![]));
    script.push((client(wrong), vec![w("offence sign_in: malformed-request"), c(refused)]));
    script.push((What::Wait(40), vec![]));
    script.push((What::Wait(1), heard.clone()));
    play(&script);
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((What::Wait(60), heard));
    script.push((pass(), vec![]));
    play(&script);
    play(&[(What::Wait(60), vec![c(&[OWN_TO_CLIENT, &late].concat()), w("end closed")])]);
}

#[test]
fn a_server_that_is_lost_after_it_has_seen_credentials() {
    let first = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9eA==</auth>";
    let challenge = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>";
    let ways = [
        (GONE, "no connection"),
        (server(CLOSE), "no answer in time"),
        (server(&error("policy-violation")), "it has ended the stream"),
        (server(&error("host-gone")), "the domain is not served there"),
        (server(&see_other("elsewhere.example")), "it names a server that is not known"),
        (server("<iq/>"), "no XMPP"),
        (server("</iq>"), "no XMPP"),
        (What::Wait(15), "no answer in time"),
    ];
    for (what, why) in ways {
        for challenged in [false, true] {
            let why =
                if matches!(&what, What::Server(text) if text == CLOSE) { "it has ended the stream" } else { why };
            if challenged && matches!(what, What::Wait(_)) {
                continue;
            }
            let mut script = met();
            script.push((client(first), vec![w("ask user SCRAM-SHA-1")]));
            script.push((pass(), vec![s(first)]));
            if challenged {
                script.push((server(challenge), vec![c(challenge)]));
            }
            let mut heard = vec![format!("doubt 0: {why}"), c(DOWN)];
            if !matches!(what, What::Other(_)) {
                heard.insert(0, w("close server"));
            }
            script.push((what.clone(), heard));
            // No other server sees them; the next attempt begins anew.
            script.push((client(AUTH), vec![w("ask alice PLAIN")]));
            script.push((pass(), vec![w("dial 0")]));
            play(&script);
        }
    }
}

#[test]
fn a_server_that_closes_while_nobody_signs_in_is_not_down() {
    for (what, heard) in [
        (GONE, vec![]),
        (server(CLOSE), vec![w("close server")]),
        (server(&error("connection-timeout")), vec![w("close server")]),
    ] {
        let mut script = met();
        script.push((what, heard));
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((pass(), vec![w("dial 0")]));
        script.extend(reached(0));
        script.pop();
        script.push((server(SASL_FEATURES), vec![w("up 0"), s(AUTH)]));
        play(&script);
    }
}

#[test]
fn a_user_is_taken_home() {
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[2]), vec![s(CLOSE), w("close server"), w("dial 2")]));
    // Direct TLS: no STARTTLS.
    script.push((CONNECTED, vec![s(TO_SERVER)]));
    script.push((server(SERVER_HEADER), vec![]));
    script.push((server(SASL_FEATURES), vec![w("up 2"), s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 2"), c(SUCCESS)]));
    play(&script);

    // The home is down: the next best, then any other one.
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[2, 1, 2, 99]), vec![s(CLOSE), w("close server"), w("dial 2")]));
    script.push((GONE, vec![w("down 2: no connection"), w("dial 1")]));
    script.push((GONE, vec![w("down 1: no connection"), w("dial 0")]));
    script.push((GONE, vec![w("down 0: no connection"), w("unseen"), c(DOWN)]));
    play(&script);

    // At home already.
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[0, 1]), vec![s(AUTH)]));
    play(&script);
}

#[test]
fn a_home_that_offers_something_else() {
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[1]), vec![s(CLOSE), w("close server"), w("dial 1")]));
    script.extend(reached(1));
    script.pop();
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>";
    let only_scram = SASL_FEATURES.replace("<mechanism>PLAIN</mechanism>", "");
    script.push((server(&only_scram), vec![w("up 1"), w("unseen"), c(failure)]));
    script.push((client(AUTH), vec![c(failure)]));
    play(&script);
}

#[test]
fn a_known_host_is_gone_to_and_no_other() {
    for (host, place) in [("im2.inside", 1), ("IM2.inside.:5222", 1), ("10.0.0.3:5222", 2), ("[10.0.0.3]", 2)] {
        let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
        script.extend(reached(0).into_iter().take(2));
        script.push((server(&see_other(host)), vec![w("close server"), format!("dial {place}")]));
        play(&script);
    }
    for host in ["im2.inside:5223", "im2.inside.evil.example", "", "[", "im1.inside@evil.example", "10.0.0.3:99999999"]
    {
        let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
        script.extend(reached(0).into_iter().take(2));
        let unknown = "down 0: it names a server that is not known";
        let heard = vec![w("close server"), w(unknown), w("dial 1")];
        // A port that is none is no port.
        let heard = if host.ends_with("99999999") { vec![w("close server"), w("dial 2")] } else { heard };
        script.push((server(&see_other(host)), heard));
        play(&script);
    }
}

#[test]
fn servers_do_not_send_a_client_round_for_ever() {
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    let mut at = 0;
    for _ in 0..3 {
        let next = 1 - at;
        script.push((CONNECTED, vec![s(TO_SERVER)]));
        script.push((server(SERVER_HEADER), vec![]));
        let host = format!("im{}.inside", next + 1);
        script.push((server(&see_other(&host)), vec![w("close server"), format!("dial {next}")]));
        at = next;
    }
    script.push((CONNECTED, vec![s(TO_SERVER)]));
    script.push((server(SERVER_HEADER), vec![]));
    let heard = vec![w("close server"), w("down 1: it has ended the stream"), w("dial 2")];
    script.push((server(&see_other("im1.inside")), heard));
    play(&script);
}

#[test]
fn a_server_that_sends_the_user_elsewhere_after_it_has_seen_credentials() {
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(&see_other("im2.inside")), vec![w("homed 1"), w("close server"), c(DOWN)]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((at_home(&[1]), vec![w("dial 1")]));
    play(&script);
}

#[test]
fn headers_of_clients() {
    let unknown = own_error("host-unknown", "The domain is not served here.");
    let version = own_error("unsupported-version", "This is XMPP 1.0.");
    for (good, wrong, error) in [
        ("to='example.com'", "to='other.example'", &unknown),
        ("to='example.com'", "", &unknown),
        ("to='example.com'", "to='example.com.evil.example'", &unknown),
        ("version='1.0' xml", "xml", &version),
        ("version='1.0' xml", "version='0.9' xml", &version),
        ("version='1.0' xml", "version='2.0' xml", &version),
        ("version='1.0' xml", "version='1' xml", &version),
    ] {
        let header = CLIENT_HEADER.replace(good, wrong);
        play(&[(client(&header), vec![c(&[OWN_TO_CLIENT, error].concat()), w("end closed")])]);
    }
    let header = CLIENT_HEADER.replace("to='example.com' version='1.0'", "to='example.com' version='01.00'");
    assert_ne!(header, CLIENT_HEADER);
    play(&[(client(&header), vec![w("dial 0")])]);
    for good in ["to='EXAMPLE.com'", "to='example.com.'", "to='Example.Com.'", "id='x' to='example.com'"] {
        let header = CLIENT_HEADER.replace("to='example.com'", good);
        play(&[(client(&header), vec![w("dial 0")]), (CONNECTED, vec![s(TO_SERVER)])]);
    }
    let two_dots = CLIENT_HEADER.replace("example.com", "example.com..");
    play(&[(client(&two_dots), vec![c(&[OWN_TO_CLIENT, &unknown].concat()), w("end closed")])]);
}

#[test]
fn one_domain_has_one_spelling() {
    for spelling in ["example.com", "EXAMPLE.com", "example.com.", "Example.Com."] {
        assert_eq!(normal_domain(spelling), "example.com");
    }
    assert_eq!(normal_domain("example.com.."), "example.com.");
    let candidate = Candidate { host: "im1.inside".to_owned(), port: 5222, direct_tls: false };
    let beginning =
        Beginning { domain: "Example.Com.".to_owned(), servers: vec![candidate], remembered: Vec::new(), id: [0; 16] };
    let mut stage = Stage { router: Router::new(beginning, Moment::ZERO), now: Moment::ZERO };
    stage.tell(&client(CLIENT_HEADER), usize::MAX);
    assert_eq!(stage.tell(&CONNECTED, usize::MAX), [s(TO_SERVER)]);
}

#[test]
fn a_domain_that_no_server_has_is_unknown_and_one_that_is_not_answered_for_is_not() {
    let unknown = own_error("host-unknown", "The domain is not served here.");
    let not_theirs = format!("{SERVER_HEADER}{}", error("host-unknown"));
    let at = |place: usize| {
        let mut script = vec![(CONNECTED, vec![s(TO_SERVER)])];
        let last = vec![w("close server"), format!("down {place}: the domain is not served there")];
        let next = if place < 2 { vec![format!("dial {}", place + 1)] } else { Vec::new() };
        script.push((server(&not_theirs), [last, next].concat()));
        script
    };
    let refused = [c(&[OWN_TO_CLIENT, &unknown].concat()), w("end closed")];
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.extend((0..3).flat_map(at));
    script.last_mut().unwrap().1.extend(refused);
    play(&script);
    // One that cannot be asked may be the one that has it.
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.extend(at(0));
    script.push((GONE, vec![w("down 1: no connection"), w("dial 2")]));
    script.extend(at(2));
    script.last_mut().unwrap().1.push(c(&UNSEEN_AND_OWN_ID.concat()));
    // When credentials are there, all say so.
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![w("dial 0")]));
    script.extend((0..3).flat_map(at));
    script.last_mut().unwrap().1.extend([c(&unknown), w("unseen"), w("end closed")]);
    play(&script);
}

#[test]
fn credentials_that_no_server_has_seen_are_no_attempt() {
    let moving = || {
        let mut script = met();
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((at_home(&[1]), vec![s(CLOSE), w("close server"), w("dial 1")]));
        script
    };
    let mut script = moving();
    let ended = What::Other(Input::ClientEnded(ChatEnd::Broken));
    script.push((ended, vec![w("unseen"), w("close server"), w("end broken")]));
    play(&script);
    let mut script = moving();
    let out = StreamFault::new(Condition::PolicyViolation, "Out.");
    let heard = vec![c(&own_error("policy-violation", "Out.")), w("unseen"), w("close server"), w("end closed")];
    script.push((What::Other(Input::Disconnect(out)), heard));
    play(&script);
}

#[test]
fn a_client_that_says_who_it_is_is_answered_so_and_no_server_hears_it() {
    for (from, to) in [
        ("alice@example.com", " to='alice@example.com'"),
        ("alice@EXAMPLE.COM/desk", " to='alice@EXAMPLE.COM'"),
        ("alice&apos;s&lt;@example.com", " to='alice&apos;s&lt;@example.com'"),
        ("alice@other.example", ""),
        ("example.com", ""),
        ("@example.com", ""),
        ("a@b@example.com", ""),
    ] {
        let header = CLIENT_HEADER.replace("to=", &format!("from='{from}' to="));
        let mut script = vec![(client(&header), vec![w("dial 0")])];
        script.extend(reached(0));
        script.pop();
        let answer = TO_CLIENT.replace(" from=", &format!("{to} from="));
        script.push((server(SASL_FEATURES), vec![w("up 0"), c(&[&answer, OFFERED].concat())]));
        play(&script);
    }
}

#[test]
fn clients_that_speak_no_xmpp() {
    for (text, starts) in [("GET / HTTP/1.1\r\n\r\n", "<not-well-formed"), ("<!DOCTYPE x>", "<restricted-xml")] {
        let mut stage = Stage::new();
        let heard = stage.tell(&client(text), usize::MAX);
        assert!(heard.concat().contains(starts), "{heard:?}");
        assert!(heard.first().is_some_and(|first| first.starts_with("offence protocol")), "{heard:?}");
        assert_eq!(heard.last().map(String::as_str), Some("end closed"));
    }
}

#[test]
fn a_client_that_leaves_before_it_has_signed_in() {
    let mut script = met();
    script.push((client(CLOSE), vec![c(CLOSE), s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    // Before it has heard anything.
    let mut script = vec![(client(&[CLIENT_HEADER, CLOSE].concat()), vec![w("dial 0")])];
    script.extend(none_answers((GONE, vec![]), &[]).into_iter().skip(1));
    script.pop();
    let heard = c(&[&UNSEEN_AND_OWN_ID.concat(), CLOSE].concat());
    script.push((GONE, vec![w("down 2: no connection"), heard, w("end closed")]));
    play(&script);
}

#[test]
fn headers_of_an_id_that_must_be_escaped() {
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.extend(reached(0));
    script.truncate(6);
    script.push((server(&SERVER_HEADER.replace("'s1'", "\"a'b&lt;\"")), vec![]));
    let answer = TO_CLIENT.replace("'s1'", "'a&apos;b&lt;'");
    script.push((server(SASL_FEATURES), vec![w("up 0"), c(&[&answer, OFFERED].concat())]));
    play(&script);
}
