//! What the table of touched headers does not name passes both nodes byte for byte and in its place.

use edgeway_model::FlowId;
use edgeway_sip::touched::{self, Direction, Kind};
use edgeway_sip::{Message, Name};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::register::plain;
use crate::rig::Rig;
use crate::talk::answer;

const METHODS: &[&str] = &[
    "REGISTER",
    "INVITE",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "MESSAGE",
    "PUBLISH",
    "INFO",
    "UPDATE",
    "PRACK",
    "FROBNICATE",
];

/// Fields of other people, as they spell them. None is one that may stand once only.
const FIELDS: &[&str] = &[
    "X-Any",
    "x-CISCO-thing",
    "Session-ID",
    "Remote-Party-ID",
    "P-Asserted-Identity",
    "Diversion",
    "Call-Info",
    "Recv-Info",
    "Info-Package",
    "Session-Expires",
    "x",
    "Min-SE",
    "RAck",
    "RSeq",
    "Allow",
    "Subject",
    "s",
    "Accept-Contact",
    "a",
    "User-Agent",
    "Server",
    "Date",
    "Event",
    "O",
    "u",
    "Allow-Events",
    "Refer-To",
    "r",
    "Referred-By",
    "b",
    "Replaces",
    "Target-Dialog",
    "Reason",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Geolocation",
    "Identity",
    "y",
    "Max-Breadth",
    "Accept",
    "Require",
    "Warning",
    "Retry-After",
    "P-Preferred-Identity",
    "History-Info",
    "Privacy",
    "SUPPORTED",
    "k",
    "Unsupported",
    "Flow-Timer",
    "Subscription-State",
    "SIP-ETag",
    "Mime-Version",
    "Content-Disposition",
];

/// One line of somebody else: any field, any white space around the colon, folds, any value.
fn line() -> impl Strategy<Value = String> {
    let gap = select(&["", " ", "\t", "  "][..]);
    let after = select(&["", " ", "\t ", "\r\n "][..]);
    let value = vec(prop_oneof![8 => "[ -~]", 1 => Just("\r\n\t".to_owned()), 1 => "[äß日]"], 0..24);
    (select(FIELDS), gap, after, value).prop_map(|(name, gap, after, value)| {
        // A fold at the very end would make a line of white space, which is legal and says nothing.
        let value = value.concat();
        format!("{name}{gap}:{after}{}.\r\n", value.trim_end())
    })
}

/// The raw header lines of a message: name, and the whole line with its folds.
fn lines(message: &Message) -> Vec<(Name, Vec<u8>)> {
    let bytes = message.bytes();
    let head = bytes.len() - message.body().len() - 2;
    let text = &bytes[..head];
    let mut found = Vec::new();
    let mut start = text.iter().position(|byte| *byte == b'\n').expect("a start line") + 1;
    while start < text.len() {
        let mut end = start;
        loop {
            end += text[end..].iter().position(|byte| *byte == b'\n').expect("a line end") + 1;
            if !matches!(text.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let line = &text[start..end];
        let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
        found.push((Name::recognise(line[..colon].trim_ascii_end()), line.to_vec()));
        start = end;
    }
    found
}

/// Holds a message against what became of it.
fn compare(direction: Direction, method: &str, sent: &Message, got: &Message) -> Result<(), TestCaseError> {
    let kind = if sent.is_request() { Kind::Request } else { Kind::Response };
    let is_touched = |name: Name| touched::of(direction, kind, method, name).next().is_some();
    let untouched = |message: &Message| -> Vec<String> {
        let lines = lines(message).into_iter().filter(|(name, _)| !is_touched(*name));
        lines.map(|(_, line)| String::from_utf8_lossy(&line).into_owned()).collect()
    };
    prop_assert_eq!(untouched(sent), untouched(got));
    prop_assert_eq!(sent.body(), got.body());
    prop_assert_eq!((sent.method(), sent.status(), sent.reason()), (got.method(), got.status(), got.reason()));
    prop_assert_eq!(sent.request_uri(), got.request_uri());
    // Of what is touched, what others wrote stays: our own stands in front of it.
    for name in [Name::RecordRoute, Name::Path, Name::Via, Name::ServiceRoute, Name::Warning] {
        let theirs = sent.values(name).skip(usize::from(name == Name::Via)).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let all: Vec<_> = got.values(name).map(<[u8]>::to_vec).collect();
        let stays = all.ends_with(&theirs) || (name == Name::Via && !sent.is_request());
        prop_assert!(stays, "{name:?}: {all:?}");
    }
    Ok(())
}

/// A message with these lines at the end of its head.
fn with(text: &str, lines: &[String], body: &[u8]) -> Vec<u8> {
    let head = text.split("Content-Length").next().expect("a head");
    let mut bytes = format!("{head}{}Content-Length: {}\r\n\r\n", lines.concat(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn parsed(bytes: Vec<u8>) -> Message {
    Message::parse(bytes.into()).expect("legal")
}

fn request(method: &str, uri: &str, routes: &[String], via: &str) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: <{route}>\r\n")).collect();
    format!(
        "{method} {uri} SIP/2.0\r\nv: SIP/2.0/{via};branch=z9hG4bKone , SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKtwo\r\n\
         {routes}f : \"A, B\" <sip:alice@example.com>;tag=1\r\nTO: <sip:alice@example.com>\r\ni:call-1\r\nCSeq: 7 {method}\r\n\
         Record-Route: <sip:192.0.2.88;lr>\r\nmax-forwards : 30\r\n\
         m: <sip:a@192.168.1.2:5061;transport=tls;pn-prid=00fc;pn-provider=x>;+u.sip!serialno.ccm.cisco.com=A1;video\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn registered(rig: &mut Rig) -> (FlowId, Vec<String>) {
    let flow = rig.client();
    rig.client_writes(flow, plain("alice", "", "", 600));
    let got = rig.registrar_reads_one();
    let path = got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect();
    rig.registrar_writes(answer(&got, 200, "r", "", &[]));
    rig.client_reads(flow);
    (flow, path)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn untouched_headers_pass_inward_and_back(
        method in select(METHODS),
        asked in vec(line(), 0..12),
        answered in vec(line(), 0..12),
        body in vec(any::<u8>(), 0..40),
        path_headers: bool,
    ) {
        let mut rig = Rig::with(1, "", &format!("path_headers = {path_headers}"));
        let (flow, _) = registered(&mut rig);
        let text = request(method, "sip:b@example.com;x=y", &[], "TLS 192.168.1.2:5061");
        let sent = parsed(with(&text, &asked, &body));
        rig.client_writes(flow, sent.bytes().clone());
        let got = rig.registrar_reads_one();
        compare(Direction::Inward, method, &sent, &got)?;
        let response = String::from_utf8_lossy(&answer(&got, 200, "r", "sip:b@10.0.0.9", &[])).into_owned();
        let response = parsed(with(&response, &answered, &body));
        rig.registrar_writes(response.bytes().clone());
        compare(Direction::Outward, method, &response, &rig.client_reads_last(flow))?;
    }

    #[test]
    fn untouched_headers_pass_outward_and_back(
        method in select(&METHODS[1..]),
        asked in vec(line(), 0..12),
        answered in vec(line(), 0..12),
        body in vec(any::<u8>(), 0..40),
    ) {
        let mut rig = Rig::new();
        let (flow, path) = registered(&mut rig);
        let text = request(method, "sip:alice@192.168.1.2:5061;transport=tls", &path, "TCP 10.0.0.5:5060;rport");
        let sent = parsed(with(&text, &asked, &body));
        rig.registrar_writes(sent.bytes().clone());
        let got = rig.client_reads_last(flow);
        compare(Direction::Outward, method, &sent, &got)?;
        rig.inside_reads();
        let response = String::from_utf8_lossy(&answer(&got, 200, "c", "sip:a@192.168.1.2", &[])).into_owned();
        let response = parsed(with(&response, &answered, &body));
        rig.client_writes(flow, response.bytes().clone());
        compare(Direction::Inward, method, &response, &rig.registrar_reads_one())?;
    }
}

#[test]
fn the_table_names_only_what_happens() {
    // A description in a call is rewritten, so its length is: and nothing else is said to be.
    let of = |method, name| touched::of(Direction::Inward, Kind::Request, method, name).count();
    assert_eq!(of("INVITE", Name::ContentLength), 1);
    assert_eq!(of("MESSAGE", Name::ContentLength), 0);
    assert_eq!(of("REGISTER", Name::Path), 2);
    assert_eq!(of("BYE", Name::RecordRoute), 0);
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Other, Name::UserAgent] {
        assert!(touched::TOUCHED.iter().all(|touch| touch.name != name), "{name:?} is nobody's to touch");
    }
}
