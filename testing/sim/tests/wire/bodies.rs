//! Session descriptions inside multipart bodies: anchored where they are, everything else untouched.

use edgeway_sip::{Message, Name};

use crate::register::{plain, register};
use crate::rig::Rig;
use crate::talk::Leg;

const VIA: &str = "TLS 192.168.1.2:5061";
const XML: &str = "--b\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\nContent-Disposition: session;handling=optional\r\n\r\n\
                   <x/>\r\n";
const OFFER: &str = "v=0\r\no=Cisco-SIPUA 1 0 IN IP4 203.0.113.7\r\ns=SIP Call\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
                     m=audio 30000 RTP/SAVP 0\r\n\
                     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\na=sendrecv\r\n";
const ANSWER: &str =
    "v=0\r\no=- 1 0 IN IP4 10.0.0.77\r\ns=-\r\nc=IN IP4 10.0.0.77\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

fn sdp_part(sdp: &str) -> String {
    format!("--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n")
}

fn invite(rig: &mut Rig, body: &str) -> edgeway_model::FlowId {
    let flow = rig.client();
    register(rig, flow, &plain("alice", "", "", 600), "");
    let leg = Leg::new("multi", VIA, "alice1", "sip:bob@example.com");
    rig.client_writes(flow, leg.with_body("INVITE", "Content-Type: multipart/mixed;boundary=b\r\n", body));
    flow
}

#[test]
fn the_description_is_anchored_and_the_other_parts_pass() {
    let mut rig = Rig::new();
    let epilogue = "--b--\r\n";
    let flow = invite(&mut rig, &format!("{XML}{}{epilogue}", sdp_part(OFFER)));
    let got = rig.registrar_reads_one();
    let body = std::str::from_utf8(got.body()).expect("text");
    assert!(body.starts_with(XML) && body.ends_with(epilogue), "{body}");
    let sdp = std::str::from_utf8(got.sdp()).expect("text");
    assert!(sdp.contains("10.0.1.1") && !sdp.contains("crypto") && !sdp.contains("203.0.113.7"), "{sdp}");
    assert!(!body.contains("inline:"), "no key goes inside");
    rig.client_reads(flow);
    let answer = format!("{}{XML}{epilogue}", sdp_part(ANSWER));
    let ok = got.respond(200, "OK").to_tag("bob").record_route().header(Name::Contact, "<sip:bob@10.0.0.77>");
    rig.registrar_writes(ok.body("multipart/mixed; boundary=\"b\"", answer.as_bytes()).build());
    let got = rig.client_reads_one(flow);
    let body = std::str::from_utf8(got.body()).expect("text");
    assert!(body.ends_with(&format!("{XML}{epilogue}")), "{body}");
    let sdp = std::str::from_utf8(got.sdp()).expect("text");
    assert!(sdp.contains("192.0.2.100") && sdp.contains("a=crypto:") && !body.contains("10.0.0.77"), "{sdp}");
}

#[test]
fn two_descriptions_are_one_too_many() {
    let mut rig = Rig::new();
    let flow = invite(&mut rig, &format!("{}{}--b--\r\n", sdp_part(OFFER), sdp_part(OFFER)));
    assert!(rig.inside_reads().is_empty(), "keys of the second would go inside unread");
    assert!(matches!(rig.client_reads_last(flow).status(), Some(400 | 488)));
}

#[test]
fn what_is_no_description_passes() {
    let mut rig = Rig::new();
    invite(&mut rig, &format!("{XML}--b--\r\n"));
    let got: Message = rig.registrar_reads_one();
    assert_eq!(got.body(), format!("{XML}--b--\r\n").as_bytes());
}
