//! After sign-in: what passes, what does not, and how it ends.

use bytes::Bytes;
use edgeway_model::chat::ChatEnd;

use super::stage::*;
use crate::condition::{Condition, StreamFault};
use crate::limits::WAITING_BYTES_MAX;
use crate::router::{Action, Input};

const BROKEN: [&str; 2] = ["close server", "end broken"];

fn broken() -> Vec<String> {
    BROKEN.iter().map(|word| w(word)).collect()
}

fn own_error(condition: &str, text: &str) -> String {
    format!(
        "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>{text}</text></stream:error></stream:stream>"
    )
}

fn ended(how: ChatEnd) -> What {
    What::Other(Input::ClientEnded(how))
}

fn disconnect() -> What {
    What::Other(Input::Disconnect(StreamFault::new(Condition::PolicyViolation, "Out.")))
}

#[test]
fn a_client_may_send_everything_at_once() {
    // XEP-0305.
    let presence = "<presence/>";
    let ahead = [CLIENT_HEADER, AUTH, CLIENT_HEADER, BIND, presence].concat();
    let mut script = vec![(client(&ahead), vec![w("dial 0")])];
    script.extend(reached(0));
    script.pop();
    script.push((server(SASL_FEATURES), vec![w("up 0"), c(&[TO_CLIENT, OFFERED].concat()), w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    let behind = [CLIENT_HEADER, BIND, presence].concat();
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS), s(&behind)]));
    let answer = [SERVER_HEADER, BIND_FEATURES, BOUND].concat();
    let heard = vec![c(&[SERVER_HEADER, BIND_FEATURES].concat()), w("bound alice@example.com/desk false"), c(BOUND)];
    script.push((server(&answer), heard));
    play(&script);
}

#[test]
fn what_was_sent_ahead_of_a_sign_in_that_fails_goes_nowhere() {
    let ahead = [AUTH, CLIENT_HEADER, BIND].concat();
    for piece in [usize::MAX, 1, 13] {
        let mut stage = Stage::new();
        for (what, _) in met() {
            stage.tell(&what, usize::MAX);
        }
        assert_eq!(stage.tell(&client(&ahead), piece), [w("ask alice PLAIN")]);
        assert_eq!(stage.tell(&pass(), piece), [s(AUTH)]);
        let heard = stage.tell(&server(NOT_AUTHORIZED), piece);
        let told = heard.iter().filter(|heard| heard.starts_with("S ")).collect::<Vec<_>>();
        assert_eq!(told, [&s(CLOSE)], "{heard:?}");
        assert_eq!(heard.iter().filter(|heard| heard.starts_with("offence")).count(), 1, "{heard:?}");
        assert_eq!(heard.last().map(String::as_str), Some("end closed"), "{heard:?}");
    }
}

#[test]
fn too_much_sent_ahead() {
    let fault = own_error("policy-violation", "Too much was sent ahead.");
    let mut script = vec![(client(CLIENT_HEADER), vec![w("dial 0")])];
    script.push((client(&" ".repeat(WAITING_BYTES_MAX)), vec![]));
    let heard = vec![
        w("offence protocol: Too much was sent ahead."),
        c(&[OWN_TO_CLIENT, &fault].concat()),
        w("close server"),
        w("end closed"),
    ];
    script.push((client(" "), heard));
    play(&script);
}

#[test]
fn who_has_signed_in_does_not_again() {
    let fault = "The sign-in is over.";
    let prefixed = "<s:auth xmlns:s='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGJvYgBzZWNyZXQ=</s:auth>";
    for again in [
        AUTH,
        prefixed,
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGJvYgBzZWNyZXQ=</response>",
        "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    ] {
        for mut script in [bound(), signed_in()] {
            let is_bound = script.len() > signed_in().len();
            if !is_bound {
                script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
                script.push((server(SERVER_HEADER), vec![c(SERVER_HEADER)]));
            }
            let heard = vec![
                s("<presence/>"),
                format!("offence protocol: {fault}"),
                c(&own_error("policy-violation", fault)),
                s(CLOSE),
                w("close server"),
                w("end closed"),
            ];
            script.push((client(&["<presence/>", again, "<presence/>"].concat()), heard));
            play(&script);
        }
    }
    // What has such a name and is something else passes, and what is within something else.
    for other in [
        "<auth xmlns='urn:x'>y</auth>",
        "<next/>",
        "<x:response xmlns:x='urn:x'/>",
        "<a/><au/><authe/><authenticated/><r xmlns='urn:xmpp:sm:3'/>",
        "<message><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth></message>",
    ] {
        let mut script = bound();
        let all = [other, " ", other, "<presence/>"].concat();
        script.push((client(&all), vec![s(&all)]));
        play(&script);
    }
}

#[test]
fn a_stream_is_resumed() {
    let resume = "<resume xmlns='urn:xmpp:sm:3' h='12' previd='x'/>";
    let resumed =
        "<resumed xmlns='urn:xmpp:sm:3' h='7' previd='x'/><message from='bob@example.com'><body>late</body></message>";
    let mut script = signed_in();
    script.push((client(&[CLIENT_HEADER, resume].concat()), vec![s(&[CLIENT_HEADER, resume].concat())]));
    script.push((server(&[SERVER_HEADER, BIND_FEATURES].concat()), vec![c(&[SERVER_HEADER, BIND_FEATURES].concat())]));
    script.push((server(resumed), vec![w("bound ? true"), c(resumed)]));
    // It is bound now: what looks like another place is a client's affair.
    script.push((server(BOUND), vec![c(BOUND)]));
    script.push((What::Wait(100), vec![]));
    play(&script);
}

#[test]
fn the_place_to_resume_is_inside_and_stays_there() {
    for (said, heard) in [
        (
            "<enabled xmlns='urn:xmpp:sm:3' id='x' location='[10.0.0.5]:5222' resume='true' max='600'/>",
            "<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='600'/>",
        ),
        (
            "<sm:enabled location=\"im2.inside\" xmlns:sm=\"urn:xmpp:sm:2\" id='a&apos;b'></sm:enabled>",
            "<enabled xmlns='urn:xmpp:sm:2' id='a&apos;b'/>",
        ),
        (
            "<enabled xmlns='urn:xmpp:sm:3' id=\"x\" resume='1'/>",
            "<enabled xmlns='urn:xmpp:sm:3' id=\"x\" resume='1'/>",
        ),
        ("<enabled xmlns='urn:other' location='x'/>", "<enabled xmlns='urn:other' location='x'/>"),
        ("<enabler xmlns='urn:xmpp:sm:3' location='x'/>", "<enabler xmlns='urn:xmpp:sm:3' location='x'/>"),
        (
            "<message><enabled xmlns='urn:xmpp:sm:3' location='x'/></message>",
            "<message><enabled xmlns='urn:xmpp:sm:3' location='x'/></message>",
        ),
    ] {
        let resumable = said.starts_with("<enabled xmlns='urn:xmpp:sm:") && said.contains("resume=");
        let mut script = bound();
        let (before, behind) = ("<a/> ", "\n<r xmlns='urn:xmpp:sm:3'/>");
        let said = [before, said, behind].concat();
        let heard = match resumable {
            true => vec![c(before), w("resumable"), c(&[heard, behind].concat())],
            false => vec![c(&[before, heard, behind].concat())],
        };
        script.push((server(&said), heard.clone()));
        script.push((server(&said), heard));
        play(&script);
    }
}

#[test]
fn features_after_sign_in_change_no_bytes() {
    let more = BIND_FEATURES.replace(
        "<bind",
        "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms><authentication xmlns='urn:xmpp:sasl:2'/><bind",
    );
    let mut script = signed_in();
    script.push((server(&[SERVER_HEADER, &more].concat()), vec![c(&[SERVER_HEADER, BIND_FEATURES].concat())]));
    play(&script);
    // A prefix that the server's header declares is not known to what is written here: it is written out.
    let header = SERVER_HEADER.replace(" id=", " xmlns:b='urn:ietf:params:xml:ns:xmpp-bind' id=");
    let features = "<stream:features><b:bind/></stream:features>";
    let written = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";
    let mut script = signed_in();
    script.push((server(&[&header, features].concat()), vec![c(&[&header, written].concat())]));
    play(&script);
}

#[test]
fn a_server_that_wants_a_signed_in_client_elsewhere() {
    let see = |host: &str| {
        format!(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host></stream:error></stream:stream>"
        )
    };
    let mut script = signed_in();
    script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
    script.push((server(SERVER_HEADER), vec![c(SERVER_HEADER)]));
    let told = c(&own_error("reset", "Come again."));
    script.push((server(&see("im2.inside")), vec![w("homed 1"), told, s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    let mut script = signed_in();
    script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
    script.push((server(SERVER_HEADER), vec![c(SERVER_HEADER)]));
    let told = c(&own_error("remote-connection-failed", "The server is not known here."));
    script.push((server(&see("evil.example")), vec![told, s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
}

#[test]
fn whoever_dies_dies_without_a_word() {
    for alive in [signed_in(), bound()] {
        let mut script = alive.clone();
        script.push((GONE, vec![w("end broken")]));
        script.push((client("<presence/>"), vec![]));
        play(&script);
        let mut script = alive.clone();
        script.push((ended(ChatEnd::Broken), broken()));
        script.push((server("<presence/>"), vec![]));
        play(&script);
    }
    for early in [vec![], met()] {
        let mut script: Vec<Step> = early;
        let is_met = !script.is_empty();
        script.push((ended(ChatEnd::Broken), if is_met { broken() } else { vec![w("end broken")] }));
        play(&script);
    }
}

#[test]
fn both_sides_have_a_last_word() {
    // The server first: it is about to stop.
    let error =
        "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    let mut script = bound();
    script.push((server(error), vec![c(error)]));
    script.push((client(CLOSE), vec![s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    // Or the client says nothing.
    let mut script = bound();
    script.push((server(error), vec![c(error)]));
    script.push((What::Wait(4), vec![]));
    script.push((What::Wait(1), vec![s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    let mut script = bound();
    script.push((server(error), vec![c(error)]));
    script.push((GONE, vec![w("end closed")]));
    play(&script);
    // Or the server says nothing.
    let mut script = bound();
    script.push((client(CLOSE), vec![s(CLOSE)]));
    script.push((What::Wait(5), vec![c(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    let mut script = bound();
    script.push((client(CLOSE), vec![s(CLOSE)]));
    script.push((GONE, vec![c(CLOSE), w("end closed")]));
    play(&script);
    // In the middle of an element.
    let mut script = bound();
    script.push((server("<message>"), vec![c("<message>")]));
    script.push((client(CLOSE), vec![s(CLOSE)]));
    script.push((GONE, vec![w("end broken")]));
    play(&script);
}

#[test]
fn an_operator_has_the_last_word_between_elements() {
    let told = own_error("policy-violation", "Out.");
    let mut script = bound();
    script.push((disconnect(), vec![c(&told), s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
    // The server is in the middle of an element, and the client, too.
    let mut script = bound();
    script.push((client("<message>"), vec![s("<message>")]));
    script.push((server("<message><body>hel"), vec![c("<message><body>hel")]));
    script.push((disconnect(), vec![]));
    let heard = vec![c(&["lo</body></message>", &told].concat()), w("close server"), w("end closed")];
    script.push((server("lo</body></message><message/>"), heard));
    play(&script);
    // And stays there.
    let mut script = bound();
    script.push((server("<message><body>hel"), vec![c("<message><body>hel")]));
    script.push((disconnect(), vec![]));
    script.push((What::Wait(5), broken()));
    play(&script);
    // Before the server's header.
    let mut script = signed_in();
    script.push((disconnect(), vec![c(&[OWN_TO_CLIENT, &told].concat()), w("close server"), w("end closed")]));
    play(&script);
    let mut script = met();
    script.push((disconnect(), vec![c(&told), s(CLOSE), w("close server"), w("end closed")]));
    play(&script);
}

#[test]
fn a_client_that_breaks_the_rules_after_sign_in() {
    let mut script = bound();
    script.push((client("<message/>"), vec![s("<message/>")]));
    let mut stage = Stage::new();
    for (what, _) in &script {
        stage.tell(what, usize::MAX);
    }
    // What stands before the fault in the same piece and is whole passes, and nothing else.
    let heard = stage.tell(&client("<presence/><message><!-- x --></message>"), usize::MAX);
    assert_eq!(heard.first(), Some(&s("<presence/>")), "{heard:?}");
    assert!(heard.get(1).is_some_and(|heard| heard.starts_with("offence protocol")), "{heard:?}");
    assert!(heard.get(2).is_some_and(|heard| heard.starts_with("C <stream:error><restricted-xml")), "{heard:?}");
    assert_eq!(heard.get(3..), Some(&[w("close server"), w("end closed")][..]));

    for no_header in ["<presence/>", CLOSE, "x"] {
        let mut stage = Stage::new();
        for (what, _) in signed_in() {
            stage.tell(&what, usize::MAX);
        }
        let heard = stage.tell(&client(no_header), usize::MAX);
        assert!(heard.iter().all(|heard| !heard.starts_with("S ")), "{heard:?}");
        assert_eq!(heard.last().map(String::as_str), Some("end closed"), "{heard:?}");
    }
    let other = CLIENT_HEADER.replace("example.com", "other.example");
    let mut script = signed_in();
    let told = own_error("host-unknown", "The domain is not served here.");
    script.push((client(&other), vec![c(&[OWN_TO_CLIENT, &told].concat()), w("close server"), w("end closed")]));
    play(&script);
}

#[test]
fn a_client_that_does_not_bind_goes() {
    let mut script = bound();
    script.push((What::Wait(100_000), vec![]));
    play(&script);
    let mut script = signed_in();
    let told = own_error("connection-timeout", "No resource was bound.");
    let heard = vec![c(&[OWN_TO_CLIENT, &told].concat()), w("close server"), w("end closed")];
    script.push((What::Wait(60), heard));
    play(&script);
}

#[test]
fn what_a_server_says_is_never_refused() {
    let odd = "<message><!-- a comment --></message><message/>";
    let mut script = bound();
    script.push((server(odd), vec![c(odd)]));
    script.push((server("\u{0} <<<"), vec![c("\u{0} <<<")]));
    script.push((client("<presence/>"), vec![s("<presence/>")]));
    // Nothing of ours can be put into what is not understood.
    script.push((disconnect(), vec![]));
    script.push((What::Wait(5), vec![s(CLOSE), w("close server"), w("end broken")]));
    let last = script.len() - 1;
    if let Some(step) = script.get_mut(last) {
        step.1 = broken();
    }
    play(&script);
}

#[test]
fn other_results_are_no_place() {
    let others = [
        "<iq type='result' id='b1'/>",
        "<iq type='error' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq>",
        "<iq type='result' id='b1'><bind xmlns='urn:other'><jid>a@b/c</jid></bind></iq>",
        "<message><iq xmlns='jabber:client' type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq></message>",
        "<resumed xmlns='urn:other'/>",
        "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    ];
    for other in others {
        let mut script = signed_in();
        script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
        script.push((
            server(&[SERVER_HEADER, BIND_FEATURES].concat()),
            vec![c(&[SERVER_HEADER, BIND_FEATURES].concat())],
        ));
        script.push((server(other), vec![c(other)]));
        script.push((server(BOUND), vec![w("bound alice@example.com/desk false"), c(BOUND)]));
        play(&script);
    }
}

#[test]
fn what_is_no_jid_is_not_shown() {
    for jid in ["alice@example.com/\u{9b}31m", "", &format!("alice@example.com/{}", "x".repeat(3054))] {
        let odd = BOUND.replace("alice@example.com/desk", jid);
        let mut script = bound();
        script.pop();
        script.push((server(&odd), vec![w("bound ? false"), c(&odd)]));
        play(&script);
    }
}

#[test]
fn bytes_pass_in_the_memory_in_which_they_came() {
    let mut stage = Stage::new();
    for (what, _) in bound() {
        stage.tell(&what, usize::MAX);
    }
    let messages = Bytes::from("<message><body>hello</body></message> <message/><enable/>".repeat(20));
    let now = stage.now;
    stage.router.handle(Input::Client(messages.clone()), now);
    stage.router.handle(Input::Server(messages.clone()), now);
    let passed = std::iter::from_fn(|| stage.router.poll()).map(|action| {
        let (Action::ToServer(bytes) | Action::ToClient(bytes)) = action else { panic!("{action:?}") };
        (bytes.as_ptr(), bytes.len())
    });
    assert_eq!(passed.collect::<Vec<_>>(), [(messages.as_ptr(), messages.len()); 2]);
}
