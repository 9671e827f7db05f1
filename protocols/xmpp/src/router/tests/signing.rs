//! Sign-in: what the client hears, what the server sees, and when it sees nothing.

use super::stage::*;
use crate::limits::SASL_CHARS_MAX;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

fn auth(mechanism: &str, message: &str) -> String {
    format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{message}</auth>")
}

fn said(name: &str, text: &str) -> String {
    if text.is_empty() {
        format!("<{name} xmlns='{SASL}'/>")
    } else {
        format!("<{name} xmlns='{SASL}'>{text}</{name}>")
    }
}

fn failure(condition: &str) -> String {
    format!("<failure xmlns='{SASL}'><{condition}/></failure>")
}

/// As [`met`], with a server that offers other mechanisms.
fn met_offering(mechanisms: &[&str]) -> Vec<Step> {
    let mut script = met();
    script.pop();
    let list: String = mechanisms.iter().map(|name| format!("<mechanism>{name}</mechanism>")).collect();
    let features = format!("<stream:features><mechanisms xmlns='{SASL}'>{list}</mechanisms></stream:features>");
    script.push((server(&features), vec![w("up 0"), c(&[TO_CLIENT, &features].concat())]));
    script
}

const REFUSED: &str = "offence sign_in: the server has refused the credentials";
const TOO_MANY: &str = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>Too many attempts to sign in.</text></stream:error></stream:stream>";
const SIGN_IN_FIRST: &str = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>Sign in first.</text></stream:error></stream:stream>";

#[test]
fn plain() {
    let mut script = bound();
    let message = "<message to='bob@example.com'><body>hello</body></message>";
    script.push((client(message), vec![s(message)]));
    script.push((server(message), vec![c(message)]));
    script.push((client(" "), vec![s(" ")]));
    script.push((server("\n"), vec![c("\n")]));
    script.push((client(CLOSE), vec![s(CLOSE)]));
    script.push((server(CLOSE), vec![c(CLOSE), w("close server"), w("end closed")]));
    play(&script);
}

#[test]
fn scram_takes_a_challenge() {
    // RFC 5802 §5.
    let first = auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdM");
    let challenge = said(
        "challenge",
        "cj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0wzcmZjTkhZSlkxWlZ2V1ZzN2oscz1RU1hDUitRNnNlazhiZjkyLGk9NDA5Ng==",
    );
    let response = said(
        "response",
        "Yz1iaXdzLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdMM3JmY05IWUpZMVpWdldWczdqLHA9djBYOHYzQnoyVDBDSkdiSlF5RjBYK0hJNFRzPQ==",
    );
    let success = said("success", "dj1ybUY5cHFWOFM3c3VBb1pXamE0ZEpSa0ZzS1E9");
    let mut script = met();
    script.push((client(&first), vec![w("ask user SCRAM-SHA-1")]));
    script.push((pass(), vec![s(&first)]));
    script.push((server(&challenge), vec![c(&challenge)]));
    script.push((client(&response), vec![s(&response)]));
    script.push((server(&success), vec![w("signed in user at 0"), c(&success)]));
    script.push((client(CLIENT_HEADER), vec![s(CLIENT_HEADER)]));
    play(&script);
}

#[test]
fn a_one_time_password() {
    let auth = auth("CISCO-VTG-TOKEN", "dXNlcmlkPWFsaWNlQGV4YW1wbGUuY29tAHRva2VuPW90cDEyMw==");
    let mut script = met_offering(&["PLAIN", "CISCO-VTG-TOKEN"]);
    script.push((client(&auth), vec![w("ask alice CISCO-VTG-TOKEN")]));
    script.push((pass(), vec![s(&auth)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS)]));
    play(&script);
}

#[test]
fn a_token_that_is_refused_is_refused_in_two_steps() {
    // RFC 7628 §3.2.3: an error as a challenge, a dummy response, the failure.
    let first = auth("OAUTHBEARER", "bixhPWFsaWNlQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB4AQE=");
    let nobodys = auth("OAUTHBEARER", "biwsAWF1dGg9QmVhcmVyIHgBAQ==");
    let challenge = said("challenge", "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=");
    let response = said("response", "AQ==");
    let mut script = met_offering(&["OAUTHBEARER"]);
    script.push((client(&first), vec![w("ask alice OAUTHBEARER")]));
    script.push((pass(), vec![s(&first)]));
    script.push((server(&challenge), vec![c(&challenge)]));
    script.push((client(&response), vec![s(&response)]));
    script.push((server(NOT_AUTHORIZED), vec![w(REFUSED), c(NOT_AUTHORIZED)]));
    script.push((client(&nobodys), vec![w("ask ? OAUTHBEARER")]));
    script.push((pass(), vec![s(&nobodys)]));
    script.push((server(SUCCESS), vec![w("signed in ? at 0"), c(SUCCESS)]));
    play(&script);
}

#[test]
fn without_an_initial_response_the_client_is_asked_here() {
    let mut script = met();
    script.push((client(&said("auth", "").replace("/>", " mechanism='PLAIN'/>")), vec![c(&said("challenge", ""))]));
    script.push((client(&said("response", "AGFsaWNlAHNlY3JldA==")), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS)]));
    play(&script);
    let mut script = met();
    script.push((client(&auth("PLAIN", "")), vec![c(&said("challenge", ""))]));
    script.push((client(&said("abort", "")), vec![c(&failure("aborted"))]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    play(&script);
}

#[test]
fn a_client_gives_up() {
    let first = auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA==");
    let mut script = met();
    script.push((client(&first), vec![w("ask user SCRAM-SHA-1")]));
    script.push((pass(), vec![s(&first)]));
    script.push((server(&said("challenge", "cj14")), vec![c(&said("challenge", "cj14"))]));
    script.push((client(&said("abort", "")), vec![s(&said("abort", ""))]));
    script.push((server(&failure("aborted")), vec![c(&failure("aborted"))]));
    play(&script);
}

#[test]
fn a_failure_and_then_success() {
    let told = format!("<failure xmlns='{SASL}'><not-authorized/><text xml:lang='de'>Nein &amp; nein</text></failure>");
    // A server may write the same in another way, and more of it.
    let said = format!(
        "<f:failure xmlns:f=\"{SASL}\"><x xmlns='urn:x'/><f:not-authorized/><f:text xml:lang='de'>Nein &amp; nein</f:text></f:failure>"
    );
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(&said), vec![w(REFUSED), c(&told)]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS)]));
    play(&script);
}

#[test]
fn what_is_nobodys_fault_is_no_offence() {
    for condition in ["temporary-auth-failure", "mechanism-too-weak", "encryption-required"] {
        let mut script = met();
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((pass(), vec![s(AUTH)]));
        script.push((server(&failure(condition)), vec![c(&failure(condition))]));
        play(&script);
    }
}

#[test]
fn five_failures_are_enough() {
    let mut script = met();
    for attempt in 1..=5 {
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((pass(), vec![s(AUTH)]));
        let last =
            vec![w(REFUSED), c(&[NOT_AUTHORIZED, TOO_MANY].concat()), s(CLOSE), w("close server"), w("end closed")];
        let heard = if attempt < 5 { vec![w(REFUSED), c(NOT_AUTHORIZED)] } else { last };
        script.push((server(NOT_AUTHORIZED), heard));
    }
    script.push((client(AUTH), vec![]));
    play(&script);
}

#[test]
fn an_attempt_beyond_the_rate_is_seen_by_no_server() {
    let refused = format!(
        "<failure xmlns='{SASL}'><temporary-auth-failure/><text xml:lang='en'>Too many attempts. Try again in 7 s.</text></failure>"
    );
    let abuse = "offence abuse: credentials were supplied too often";
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((too_often(), vec![w(abuse), c(&refused)]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    script.push((server(SUCCESS), vec![w("signed in alice at 0"), c(SUCCESS)]));
    play(&script);
    let mut script = met();
    for _ in 1..5 {
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((too_often(), vec![w(abuse), c(&refused)]));
    }
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    let last = vec![w(abuse), c(&[refused.as_str(), TOO_MANY].concat()), s(CLOSE), w("close server"), w("end closed")];
    script.push((too_often(), last));
    play(&script);
}

#[test]
fn a_name_that_is_nobodys_is_answered_as_wrong_credentials_are() {
    let mut script = met();
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((nobodys(), vec![w("offence sign_in: not-authorized"), c(NOT_AUTHORIZED)]));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    play(&script);
}

#[test]
fn what_cannot_be_right_is_seen_by_no_server() {
    let offence = |condition: &str| format!("offence sign_in: {condition}");
    let cases = [
        // Not offered; offered by the server, and not by us; none.
        (auth("OAUTHBEARER", "biws"), "invalid-mechanism", false),
        (auth("SCRAM-SHA-1-PLUS", "cD10bHMtZXhwb3J0ZXIsLG49dXNlcixyPXg="), "invalid-mechanism", false),
        (auth("EXTERNAL", "="), "invalid-mechanism", false),
        (said("auth", "AGFsaWNlAHNlY3JldA=="), "invalid-mechanism", false),
        (auth("PLAIN", "AGFsaWNlAHNlY3JldA"), "incorrect-encoding", true),
        (auth("PLAIN", "AGFs aWNl"), "incorrect-encoding", true),
        (auth("PLAIN", "="), "malformed-request", true),
        (auth("PLAIN", "AGFsaWNl"), "malformed-request", true),
        (auth("PLAIN", &"A".repeat(SASL_CHARS_MAX + 4)), "malformed-request", true),
        // bob@example.com NUL alice NUL secret
        (auth("PLAIN", "Ym9iQGV4YW1wbGUuY29tAGFsaWNlAHNlY3JldA=="), "invalid-authzid", true),
        // NUL alice@x1 NUL secret
        (auth("PLAIN", "AGFsaWNlQHgxAHNlY3JldA=="), "not-authorized", true),
        // p=tls-exporter,,n=user,r=x
        (auth("SCRAM-SHA-1", "cD10bHMtZXhwb3J0ZXIsLG49dXNlcixyPXg="), "malformed-request", true),
    ];
    for (auth, condition, is_offence) in cases {
        let mut heard = vec![c(&failure(condition))];
        if is_offence {
            heard.insert(0, offence(condition));
        }
        let mut script = met();
        script.push((client(&auth), heard));
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        play(&script);
    }
}

#[test]
fn a_response_that_is_no_base64_ends_that_attempt() {
    let first = auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA==");
    let mut script = met();
    script.push((client(&first), vec![w("ask user SCRAM-SHA-1")]));
    script.push((pass(), vec![s(&first)]));
    script.push((server(&said("challenge", "cj14")), vec![c(&said("challenge", "cj14"))]));
    let heard = vec![w("offence sign_in: incorrect-encoding"), w("close server"), c(&failure("incorrect-encoding"))];
    script.push((client(&said("response", "!!")), heard));
    script.push((client(AUTH), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![w("dial 0")]));
    script.extend(reached(0));
    script.pop();
    script.push((server(SASL_FEATURES), vec![w("up 0"), s(AUTH)]));
    play(&script);
}

#[test]
fn nothing_but_sign_in_comes_before_it() {
    let others = [
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>".to_owned(),
        "<message to='bob@example.com'><body>x</body></message>".to_owned(),
        STARTTLS.to_owned(),
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>".to_owned(),
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>".to_owned(),
        said("response", "AGFsaWNlAHNlY3JldA=="),
        said("abort", ""),
        "<auth mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>".to_owned(),
    ];
    for other in others {
        let mut script = met();
        script.push((client(&other), vec![c(SIGN_IN_FIRST), s(CLOSE), w("close server"), w("end closed")]));
        play(&script);
    }
}

#[test]
fn attributes_of_sign_in_that_mean_nothing_here_stay_here() {
    let odd = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' xmlns:ga='http://www.google.com/talk/protocol/auth' ga:client-uses-full-bind-result='true' mechanism='PLAIN'>\n AGFsaWNlAHNlY3JldA==\n</auth>";
    let mut script = met();
    script.push((client(odd), vec![w("ask alice PLAIN")]));
    script.push((pass(), vec![s(AUTH)]));
    play(&script);
}

/// Shows the first message of a mechanism to the server.
fn shown(mechanism: &str, message: &str, user: &str) -> Vec<Step> {
    let first = auth(mechanism, message);
    let mut script = met_offering(&[mechanism]);
    script.push((client(&first), vec![format!("ask {user} {mechanism}")]));
    script.push((pass(), vec![s(&first)]));
    script
}

#[test]
fn a_server_that_asks_for_more_than_the_mechanism_has_is_left() {
    let challenge = said("challenge", "cj14");
    let left = vec![w("close server"), w("doubt 0: no XMPP"), c(DOWN)];
    for (mechanism, message) in [
        ("PLAIN", "AGFsaWNlAHNlY3JldA=="),
        ("X-OAUTH2", "AGFsaWNlAHNlY3JldA=="),
        ("CISCO-VTG-TOKEN", "dXNlcmlkPWFsaWNlQGV4YW1wbGUuY29tAHRva2VuPW90cDEyMw=="),
    ] {
        let mut script = shown(mechanism, message, "alice");
        script.push((server(&challenge), left.clone()));
        play(&script);
    }
    let mut script = shown("OAUTHBEARER", "bixhPWFsaWNlQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB4AQE=", "alice");
    script.push((server(&challenge), vec![c(&challenge)]));
    script.push((client(&said("response", "AQ==")), vec![s(&said("response", "AQ=="))]));
    script.push((server(&challenge), left.clone()));
    play(&script);
    // Where the server's last word of SCRAM is a challenge, nothing is the answer.
    let mut script = shown("SCRAM-SHA-256", "biwsbj11c2VyLHI9eA==", "user");
    for response in ["cj14", ""] {
        script.push((server(&challenge), vec![c(&challenge)]));
        script.push((
            client(&said("response", response)),
            vec![s(&said("response", response).replace("/>", "></response>"))],
        ));
    }
    script.push((server(&challenge), left));
    play(&script);
}

#[test]
fn no_other_credential_is_shown_under_one_attempt() {
    let (challenge, malformed) = (said("challenge", "cj14"), failure("malformed-request"));
    let refused = vec![w("offence sign_in: malformed-request"), w("close server"), c(&malformed)];
    // biwsAWF1dGg9QmVhcmVyIHgBAQ==: another token.
    for response in ["biwsAWF1dGg9QmVhcmVyIHgBAQ==", "AQE=", "", "="] {
        let mut script = shown("OAUTHBEARER", "bixhPWFsaWNlQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB4AQE=", "alice");
        script.push((server(&challenge), vec![c(&challenge)]));
        script.push((client(&said("response", response)), refused.clone()));
        play(&script);
    }
    let mut script = shown("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA==", "user");
    script.push((server(&challenge), vec![c(&challenge)]));
    script.push((client(&said("response", "cj14")), vec![s(&said("response", "cj14"))]));
    script.push((server(&challenge), vec![c(&challenge)]));
    script.push((client(&said("response", "cj14")), refused));
    play(&script);
}

#[test]
fn a_server_does_not_answer_before_it_was_asked() {
    let first = auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA==");
    let challenge = said("challenge", "cj14");
    for early in [SUCCESS, challenge.as_str()] {
        let mut script = met();
        script.push((client(&first), vec![w("ask user SCRAM-SHA-1")]));
        script.push((pass(), vec![s(&first)]));
        script.push((server(&challenge), vec![c(&challenge)]));
        script.push((server(early), vec![w("close server"), w("doubt 0: no XMPP"), c(DOWN)]));
        play(&script);
    }
    for early in [SUCCESS, challenge.as_str(), NOT_AUTHORIZED] {
        let mut script = met();
        script.push((server(early), vec![w("close server")]));
        script.push((client(AUTH), vec![w("ask alice PLAIN")]));
        script.push((pass(), vec![w("dial 0")]));
        play(&script);
    }
}
