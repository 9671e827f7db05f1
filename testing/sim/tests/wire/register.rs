//! REGISTER as real clients write it.

use crate::rig::Rig;

/// A desktop client's: a directed Route, a vendor's Contact parameters, a multipart body.
pub(crate) const JABBER: &str = include_str!("register-desktop.sip");
/// A room system's: white space before a parameter, an unquoted vendor parameter.
pub(crate) const ROOM: &str = include_str!("register-room.sip");

/// A file with LF line ends as a message, its Content-Length filled in.
pub(crate) fn message(file: &str) -> String {
    let text = file.replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The lines of a message that its head consists of, and the body.
pub(crate) fn parts(bytes: &[u8]) -> (Vec<String>, String) {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

#[test]
fn the_desktop_clients_register_crosses_both_tiers() {
    let mut rig = Rig::new();
    let flow = rig.client();
    let sent = message(JABBER);
    rig.client_writes(flow, sent.clone());
    let got = rig.registrar_reads_one();
    let (sent_lines, sent_body) = parts(sent.as_bytes());
    let (mut lines, body) = parts(got.bytes());
    assert_eq!(body, sent_body);
    let take = |lines: &mut Vec<String>, start: &str| {
        let at = lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:#?}"));
        lines.remove(at)
    };
    assert!(take(&mut lines, "Via: SIP/2.0/TCP 10.0.1.1:5060;branch=z9hG4bK").ends_with(";rport"));
    take(&mut lines, "Via: SIP/2.0/TLS 192.0.2.100:5061;branch=z9hG4bK");
    assert_eq!(take(&mut lines, "Path: <sip:core1@"), "Path: <sip:core1@10.0.1.1:5060;transport=tcp;lr;ob>");
    take(&mut lines, "Path: <sip:edge1.");
    assert_eq!(take(&mut lines, "Supported: path"), "Supported: path");
    let expected: Vec<_> = sent_lines
        .iter()
        .filter(|line| !line.starts_with("Route:"))
        .map(|line| match line.as_str() {
            "Max-Forwards: 70" => "Max-Forwards: 68".to_owned(),
            via if via.starts_with("Via:") => format!("{via};received=203.0.113.7;rport=58980"),
            other => other.to_owned(),
        })
        .collect();
    assert_eq!(lines, expected);
}
