//! Offers and answers as clients in the field write them.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_model::Random;
use edgeway_model::media::{Carriage, CryptoSuite, LegSecurity, PortPair};

use super::*;
use crate::limits::SDP_SECTIONS_CARRIED_MAX;

const CLIENT_KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const GCM_KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
const GCM_256_KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKis=";

fn rules() -> Rules {
    let side = |address, offer, allow_plain| SideRules { address: IpAddr::V4(address), offer, allow_plain };
    Rules {
        outside: side(Ipv4Addr::new(203, 0, 113, 9), Protection::Srtp, false),
        inside: side(Ipv4Addr::new(10, 0, 0, 5), Protection::Plain, true),
    }
}

fn plain_allowed() -> Rules {
    let mut rules = rules();
    rules.outside.allow_plain = true;
    rules
}

/// Section n is at port 36100 + 10 n inside and 40000 + 10 n outside.
fn anchors(sections: u16) -> Vec<Option<Anchor>> {
    let mut random = Random::from_seed([1; 32]);
    let mut place = |rtp| Place { ports: PortPair { rtp }, keys: OurKeys::generate(&mut random) };
    (0..sections).map(|n| Some(Anchor { outside: place(40_000 + 10 * n), inside: place(36_100 + 10 * n) })).collect()
}

fn crypto_line(tag: u32, keys: &OurKeys, suite: CryptoSuite) -> String {
    format!("a=crypto:{tag} {} inline:{}", suite.name(), STANDARD.encode(keys.of(suite).key_and_salt()))
}

fn our_lines(keys: &OurKeys) -> Vec<String> {
    (1..).zip(CryptoSuite::ALL).map(|(tag, suite)| crypto_line(tag, keys, suite)).collect()
}

fn lines(body: &[u8]) -> Vec<String> {
    String::from_utf8(body.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn has(body: &[u8], line: &str) -> bool {
    lines(body).iter().any(|other| other == line)
}

fn client_offer(profile: &str, extra: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=Cisco-SIPUA 4711 1 IN IP4 192.168.1.20\r\ns=SIP Call\r\nb=AS:4000\r\n\
         c=IN IP4 192.168.1.20\r\nt=0 0\r\na=cisco-mari:v1\r\na=ice-lite\r\n\
         m=audio 20000 {profile} 114 9 0 101\r\na=rtpmap:114 opus/48000/2\r\n\
         a=extmap:14 http://protocols.cisco.com/timestamp#100us\r\n{extra}\
         a=candidate:1 1 UDP 2130706431 192.168.1.20 20000 typ host\r\na=rtcp-fb:* nack\r\n\
         m=application 5072 TCP/BFCP *\r\na=setup:passive\r\n"
    )
    .into_bytes()
}

fn secured() -> String {
    format!(
        "a=crypto:1 F8_128_HMAC_SHA1_80 {CLIENT_KEY}\r\na=crypto:7 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}|2^31\r\n\
         a=crypto:8 AEAD_AES_256_GCM {GCM_256_KEY}\r\na=rtcp:20011 IN IP4 192.168.1.21\r\n"
    )
}

fn from_outside(body: &[u8], rules: &Rules) -> Result<PassedOffer, Refusal> {
    pass_offer(body, Side::Outside, rules, &anchors(4))
}

#[test]
fn an_offer_from_outside_goes_in_plain_at_our_address() {
    let offer = from_outside(&client_offer("RTP/SAVP", &secured()), &rules()).unwrap();
    assert_eq!(
        lines(&offer.body),
        [
            "v=0",
            "o=Cisco-SIPUA 4711 1 IN IP4 10.0.0.5",
            "s=SIP Call",
            "b=AS:4000",
            "c=IN IP4 10.0.0.5",
            "t=0 0",
            "a=cisco-mari:v1",
            "m=audio 36100 RTP/AVP 114 9 0 101",
            "a=rtpmap:114 opus/48000/2",
            "a=extmap:14 http://protocols.cisco.com/timestamp#100us",
            "a=rtcp-fb:* nack",
            "m=application 0 TCP/BFCP *",
            "a=setup:passive",
        ]
    );
    let client = offer.offered.offerer(0).unwrap();
    let described = ("192.168.1.20:20000".parse().unwrap(), "192.168.1.21:20011".parse().unwrap());
    assert_eq!(client.described, Some(described));
    let LegSecurity::Srtp { receive, send } = &client.security else { panic!("not encrypted") };
    assert_eq!((receive.suite(), &receive.master_key()[..4]), (CryptoSuite::AesCm128HmacSha1_80, &[0, 1, 2, 3][..]));
    assert_eq!(send, anchors(1)[0].as_ref().unwrap().outside.keys.of(receive.suite()));
    assert_eq!(offer.offered.offerer(1), None);
}

#[test]
fn the_answer_repeats_the_clients_profile_and_tag() {
    let anchors = anchors(2);
    for profile in ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP"] {
        let offer = pass_offer(&client_offer(profile, &secured()), Side::Outside, &rules(), &anchors).unwrap();
        let inside_answer = b"v=0\no=- 1 1 IN IP4 10.0.0.77\ns=-\nc=IN IP4 10.0.0.77\nt=0 0\n\
            m=audio 5004 RTP/AVP 9 101\na=ptime:20\na=recvonly\nm=application 0 TCP/BFCP *\n";
        let answer = pass_answer(inside_answer, &offer.offered, &rules(), &anchors).unwrap();
        let keys = &anchors[0].as_ref().unwrap().outside.keys;
        assert_eq!(
            lines(&answer.body),
            [
                "v=0",
                "o=- 1 1 IN IP4 203.0.113.9",
                "s=-",
                "c=IN IP4 203.0.113.9",
                "t=0 0",
                &format!("m=audio 40000 {profile} 9 101"),
                &crypto_line(7, keys, CryptoSuite::AesCm128HmacSha1_80),
                "a=ptime:20",
                "a=recvonly",
                "m=application 0 TCP/BFCP *",
            ]
        );
        let agreed = answer.sections[0].as_ref().unwrap();
        let described = ("10.0.0.77:5004".parse().unwrap(), "10.0.0.77:5005".parse().unwrap());
        assert_eq!((agreed.inside.described, agreed.inside.direction), (Some(described), Direction::RecvOnly));
        assert_eq!(agreed.inside.security, LegSecurity::Plain);
        assert_eq!(&agreed.outside, offer.offered.offerer(0).unwrap());
        assert_eq!(answer.sections[1], None);
    }
}

/// A phone with everything, as the vendor's rooms offer it.
fn everything() -> String {
    format!(
        "v=0\r\no=tandberg 7 2 IN IP4 192.168.1.30\r\ns=-\r\nc=IN IP4 192.168.1.30\r\nb=AS:6000\r\nt=0 0\r\n\
         m=audio 2326 RTP/SAVP 108 101\r\nb=TIAS:64000\r\na=rtpmap:108 MP4A-LATM/90000\r\na=fmtp:101 0-15\r\n\
         a=crypto:1 AEAD_AES_256_GCM {GCM_256_KEY}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\na=sendrecv\r\n\
         m=video 2328 RTP/SAVPF 97\r\na=rtcp-fb:* nack pli\r\na=content:main\r\na=label:11\r\na=rtcp-mux\r\n\
         a=crypto:1 AEAD_AES_128_GCM {GCM_KEY}\r\n\
         m=video 2330 RTP/SAVP 97\r\na=content:slides\r\na=label:12\r\na=sendonly\r\n\
         a=crypto:4 AES_CM_128_HMAC_SHA1_32 {CLIENT_KEY}\r\n\
         m=application 5070 UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\na=userid:2\r\na=floorid:2 mstrm:12\r\n\
         a=setup:actpass\r\na=connection:new\r\n\
         m=application 2332 RTP/SAVP 105\r\na=rtpmap:105 H224/4800\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n\
         m=application 2334 UDP/UDT/IX *\r\na=ixmap:0 ping\r\na=ixmap:2 xccp\r\n\
         m=audio 2340 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\na=setup:actpass\r\n"
    )
}

#[test]
fn every_section_that_can_be_carried_is() {
    let anchors = anchors(7);
    let body = everything();
    let (rtp, datagrams) = (Some(Carriage::Rtp), Some(Carriage::Datagrams));
    let needed = survey(body.as_bytes(), Side::Outside, &rules()).unwrap();
    assert_eq!(needed, [rtp, rtp, rtp, datagrams, rtp, datagrams, None]);
    let offer = pass_offer(body.as_bytes(), Side::Outside, &rules(), &anchors).unwrap();
    assert_eq!(
        lines(&offer.body)[6..],
        [
            "m=audio 36100 RTP/AVP 108 101",
            "b=TIAS:64000",
            "a=rtpmap:108 MP4A-LATM/90000",
            "a=fmtp:101 0-15",
            "a=sendrecv",
            "m=video 36110 RTP/AVPF 97",
            "a=rtcp-mux",
            "a=rtcp-fb:* nack pli",
            "a=content:main",
            "a=label:11",
            "m=video 36120 RTP/AVP 97",
            "a=content:slides",
            "a=label:12",
            "a=sendonly",
            "m=application 36130 UDP/BFCP *",
            "a=floorctrl:c-s",
            "a=confid:1",
            "a=userid:2",
            "a=floorid:2 mstrm:12",
            "a=setup:actpass",
            "a=connection:new",
            "m=application 36140 RTP/AVP 105",
            "a=rtpmap:105 H224/4800",
            "m=application 36150 UDP/UDT/IX *",
            "a=ixmap:0 ping",
            "a=ixmap:2 xccp",
            "m=audio 0 UDP/TLS/RTP/SAVPF 0",
            "a=fingerprint:sha-256 00",
            "a=setup:actpass",
        ]
    );
    let answer = "v=0\r\no=- 1 1 IN IP4 10.0.0.77\r\ns=-\r\nc=IN IP4 10.0.0.77\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 108\r\nm=video 5002 RTP/AVPF 97\r\nm=video 0 RTP/AVP 97\r\n\
        m=application 5006 UDP/BFCP *\r\na=setup:passive\r\nm=application 5008 RTP/AVP 105\r\n\
        m=application 0 UDP/UDT/IX *\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\n";
    let answer = pass_answer(answer.as_bytes(), &offer.offered, &rules(), &anchors).unwrap();
    let keys = |n: usize| &anchors[n].as_ref().unwrap().outside.keys;
    assert_eq!(
        lines(&answer.body)[5..],
        [
            "m=audio 40000 RTP/SAVP 108".to_owned(),
            crypto_line(1, keys(0), CryptoSuite::AeadAes256Gcm),
            "m=video 40010 RTP/SAVPF 97".to_owned(),
            crypto_line(1, keys(1), CryptoSuite::AeadAes128Gcm),
            "a=rtcp-mux".to_owned(),
            "m=video 0 RTP/SAVP 97".to_owned(),
            "m=application 40030 UDP/BFCP *".to_owned(),
            "a=setup:passive".to_owned(),
            "m=application 40040 RTP/SAVP 105".to_owned(),
            crypto_line(1, keys(4), CryptoSuite::AesCm128HmacSha1_80),
            "m=application 0 UDP/UDT/IX *".to_owned(),
            "m=audio 0 UDP/TLS/RTP/SAVPF 0".to_owned(),
        ]
    );
    let running: Vec<_> =
        answer.sections.iter().map(|section| section.as_ref().map(|section| section.carriage)).collect();
    assert_eq!(running, [rtp, rtp, None, datagrams, rtp, None, None]);
    let video = answer.sections[1].as_ref().unwrap();
    assert_eq!((video.kind, video.outside.mux, video.inside.mux), (MediaKind::Video, true, false));
    let place = "192.168.1.30:2328".parse().unwrap();
    assert_eq!(video.outside.described, Some((place, place)), "RTCP shares the port");
    let floor = answer.sections[3].as_ref().unwrap();
    assert_eq!((&floor.outside.security, &floor.inside.security), (&LegSecurity::Plain, &LegSecurity::Plain));
}

#[test]
fn an_offer_to_outside_lists_every_suite_and_the_answer_decides() {
    let anchors = anchors(1);
    let keys = &anchors[0].as_ref().unwrap().outside.keys;
    let inside_offer = b"v=0\r\no=- 1 1 IN IP4 10.0.0.77\r\ns=-\r\nt=0 0\r\n\
        m=audio 5004 RTP/AVP 0\r\nc=IN IP4 10.0.0.77\r\n";
    let offer = pass_offer(inside_offer, Side::Inside, &rules(), &anchors).unwrap();
    let head = ["m=audio 40000 RTP/SAVP 0".to_owned(), "c=IN IP4 203.0.113.9".to_owned()];
    assert_eq!(lines(&offer.body)[4..], [&head[..], &our_lines(keys)].concat());
    for (tag, suite, key) in [
        (1, CryptoSuite::AeadAes256Gcm, GCM_256_KEY),
        (2, CryptoSuite::AeadAes128Gcm, GCM_KEY),
        (3, CryptoSuite::AesCm128HmacSha1_80, CLIENT_KEY),
        (4, CryptoSuite::AesCm128HmacSha1_32, CLIENT_KEY),
    ] {
        let answer = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
             m=audio 7000 RTP/SAVP 0\r\na=crypto:{tag} {} {key}\r\n",
            suite.name()
        );
        let answer = pass_answer(answer.as_bytes(), &offer.offered, &rules(), &anchors).unwrap();
        assert_eq!(lines(&answer.body)[3..], ["c=IN IP4 10.0.0.5", "t=0 0", "m=audio 36100 RTP/AVP 0"]);
        let agreed = answer.sections[0].as_ref().unwrap();
        let LegSecurity::Srtp { receive, send } = &agreed.outside.security else { panic!("not encrypted") };
        assert_eq!((receive.suite(), send), (suite, keys.of(suite)));
    }
    // Several early dialogs answer one offer.
    let refused = b"v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 7000 RTP/AVP 0\r\n";
    assert_eq!(pass_answer(refused, &offer.offered, &rules(), &anchors).unwrap_err(), Refusal::NoEncryption);

    let mut plain = rules();
    plain.outside.offer = Protection::Plain;
    let offer = pass_offer(inside_offer, Side::Inside, &plain, &anchors).unwrap();
    assert!(has(&offer.body, "m=audio 40000 RTP/AVP 0"));
    assert!(!String::from_utf8(offer.body).unwrap().contains("crypto"));
    let answer = pass_answer(refused, &offer.offered, &plain, &anchors).unwrap();
    assert_eq!(answer.sections[0].as_ref().unwrap().outside.security, LegSecurity::Plain);
}

#[test]
fn encryption_inside_is_answered_and_offered_by_setting() {
    let anchors = anchors(1);
    let place = anchors[0].as_ref().unwrap();
    for profile in ["RTP/SAVP", "RTP/AVP"] {
        let offer = format!(
            "v=0\r\nc=IN IP4 10.0.0.77\r\nm=audio 5004 {profile} 0\r\na=X-cisco-srtp-fallback\r\n\
             a=crypto:3 AEAD_AES_128_GCM {GCM_KEY}\r\n"
        );
        let offer = pass_offer(offer.as_bytes(), Side::Inside, &rules(), &anchors).unwrap();
        assert_eq!(
            lines(&offer.body)[2..],
            [&["m=audio 40000 RTP/SAVP 0".to_owned()][..], &our_lines(&place.outside.keys)].concat()
        );
        let answer = format!(
            "v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 7000 RTP/SAVP 0\r\na=crypto:3 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n"
        );
        let answer = pass_answer(answer.as_bytes(), &offer.offered, &rules(), &anchors).unwrap();
        let line = crypto_line(3, &place.inside.keys, CryptoSuite::AeadAes128Gcm);
        assert_eq!(lines(&answer.body)[2..], [format!("m=audio 36100 {profile} 0"), line]);
        let agreed = answer.sections[0].as_ref().unwrap();
        let sent = |leg: &LegMedia| match &leg.security {
            LegSecurity::Srtp { send, .. } => send.clone(),
            LegSecurity::Plain | LegSecurity::Awaited => panic!("not encrypted"),
        };
        assert_eq!(&sent(&agreed.inside), place.inside.keys.of(CryptoSuite::AeadAes128Gcm));
        assert_eq!(&sent(&agreed.outside), place.outside.keys.of(CryptoSuite::AesCm128HmacSha1_80));
    }

    let client = client_offer("RTP/SAVP", &secured());
    for (protection, profile) in [(Protection::Optional, "RTP/AVP"), (Protection::Srtp, "RTP/SAVP")] {
        let mut rules = rules();
        rules.inside.offer = protection;
        let offer = pass_offer(&client, Side::Outside, &rules, &anchors).unwrap();
        assert!(has(&offer.body, &format!("m=audio 36100 {profile} 114 9 0 101")));
        assert!(our_lines(&place.inside.keys).iter().all(|line| has(&offer.body, line)));
        assert_eq!(has(&offer.body, "a=X-cisco-srtp-fallback"), protection == Protection::Optional);
        let plain = b"v=0\r\nc=IN IP4 10.0.0.77\r\nm=audio 5004 RTP/AVP 0\r\n";
        let answer = pass_answer(plain, &offer.offered, &rules, &anchors);
        match protection {
            Protection::Optional => {
                assert_eq!(answer.unwrap().sections[0].as_ref().unwrap().inside.security, LegSecurity::Plain);
            }
            Protection::Srtp | Protection::Plain => assert_eq!(answer.unwrap_err(), Refusal::NoEncryption),
        }
        let secure = format!(
            "v=0\r\nc=IN IP4 10.0.0.77\r\nm=audio 5004 {profile} 0\r\na=crypto:1 AEAD_AES_256_GCM {GCM_256_KEY}\r\n"
        );
        let answer = pass_answer(secure.as_bytes(), &offer.offered, &rules, &anchors).unwrap();
        assert!(matches!(answer.sections[0].as_ref().unwrap().inside.security, LegSecurity::Srtp { .. }));
    }
    // What was not offered cannot be answered.
    let offer = pass_offer(&client, Side::Outside, &rules(), &anchors).unwrap();
    let secure = format!(
        "v=0\r\nc=IN IP4 10.0.0.77\r\nm=audio 5004 RTP/SAVP 0\r\na=crypto:1 AEAD_AES_256_GCM {GCM_256_KEY}\r\n"
    );
    let refused = pass_answer(secure.as_bytes(), &offer.offered, &rules(), &anchors).unwrap_err();
    assert_eq!(refused, Refusal::UnsupportedProfile);
}

#[test]
fn encryption_is_demanded_unless_allowed_otherwise() {
    let plain = client_offer("RTP/AVP", "");
    assert_eq!(from_outside(&plain, &rules()).unwrap_err(), Refusal::NoEncryption);
    assert_eq!(survey(&plain, Side::Outside, &rules()).unwrap_err(), Refusal::NoEncryption);
    assert_eq!(Refusal::NoEncryption.status(), 488);
    let allowed = from_outside(&plain, &plain_allowed()).unwrap();
    assert_eq!(allowed.offered.offerer(0).unwrap().security, LegSecurity::Plain);
    // A profile that demands encryption cannot do without a key, whatever is allowed.
    let keyless = client_offer("RTP/SAVP", "");
    assert_eq!(from_outside(&keyless, &plain_allowed()).unwrap_err(), Refusal::NoEncryption);
}

#[test]
fn crypto_lines_we_cannot_honour_are_not_chosen() {
    for bad in [
        format!("AES_CM_256_HMAC_SHA1_80 {CLIENT_KEY}"),
        format!("AEAD_AES_128_GCM {CLIENT_KEY}"),
        format!("AEAD_AES_256_GCM {GCM_KEY}"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}|2^20|1:4"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}|1:4"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY};{CLIENT_KEY}"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} UNENCRYPTED_SRTP"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} UNENCRYPTED_SRTCP"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} UNAUTHENTICATED_SRTP"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} KDR=1"),
        "AES_CM_128_HMAC_SHA1_80 inline:AAEC".to_owned(),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}AAAA"),
        "AES_CM_128_HMAC_SHA1_80 uri:https://example.com/key".to_owned(),
    ] {
        let offer = client_offer("RTP/SAVP", &format!("a=crypto:1 {bad}\r\n"));
        assert_eq!(from_outside(&offer, &plain_allowed()).unwrap_err(), Refusal::UnsupportedSuite, "{bad}");
        // The next line that can be honoured is taken.
        let offer = client_offer("RTP/SAVP", &format!("a=crypto:1 {bad}\r\na=crypto:2 AEAD_AES_128_GCM {GCM_KEY}\r\n"));
        assert!(from_outside(&offer, &rules()).is_ok(), "{bad}");
    }
    for good in [format!("{CLIENT_KEY} WSH=64"), format!("{CLIENT_KEY}|2^48 -X=1"), format!("{CLIENT_KEY}|2^31 KDR=0")]
    {
        let offer = client_offer("RTP/SAVP", &format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 {good}\r\n"));
        assert!(from_outside(&offer, &rules()).is_ok(), "{good}");
    }
}

#[test]
fn holds_old_and_new() {
    let held = String::from_utf8(client_offer("RTP/SAVP", &secured())).unwrap();
    let old = held.replace("c=IN IP4 192.168.1.20", "c=IN IP4 0.0.0.0");
    let offer = from_outside(old.as_bytes(), &rules()).unwrap();
    assert_eq!(offer.offered.offerer(0).unwrap().described, None);
    assert!(has(&offer.body, "c=IN IP4 0.0.0.0"), "the inside must see the hold");
    assert!(has(&offer.body, "m=audio 36100 RTP/AVP 114 9 0 101"));

    let new = held.replace("a=rtcp-fb:* nack", "a=sendonly");
    let offer = from_outside(new.as_bytes(), &rules()).unwrap();
    let client = offer.offered.offerer(0).unwrap();
    assert_eq!((client.direction, client.described.is_some()), (Direction::SendOnly, true));
    assert!(has(&offer.body, "a=sendonly"));

    let ended = held.replace("m=audio 20000", "m=audio 0");
    let offer = from_outside(ended.as_bytes(), &rules());
    assert_eq!(offer.unwrap_err(), Refusal::UnsupportedProfile, "TCP is all that is left");
    let ended = ended.replace("m=application 5072", "m=application 0");
    let offer = from_outside(ended.as_bytes(), &rules()).unwrap();
    assert_eq!(offer.offered.offerer(0), None);
    assert!(has(&offer.body, "m=audio 0 RTP/SAVP 114 9 0 101"));
    let inside_answer = b"v=0\r\nc=IN IP4 10.0.0.77\r\nm=audio 0 RTP/SAVP 0\r\nm=application 0 TCP/BFCP *\r\n";
    let answer = pass_answer(inside_answer, &offer.offered, &rules(), &anchors(2)).unwrap();
    assert_eq!(answer.sections, [None, None]);
}

/// Offers later in a dialog: a section ends, one is added, one comes back in another's place.
#[test]
fn sections_come_and_go() {
    let section = |kind: &str, port: u16| match port {
        0 => format!("m={kind} 0 RTP/SAVP 0\r\n"),
        _ => format!("m={kind} {port} RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n"),
    };
    let mut anchors = anchors(1);
    for (wanted, relayed) in [
        (vec![("audio", 2_000)], vec![true]),
        (vec![("audio", 2_000), ("video", 2_002)], vec![true, true]),
        (vec![("audio", 2_000), ("video", 0)], vec![true, false]),
        (vec![("audio", 0), ("application", 2_006), ("video", 2_008)], vec![false, true, true]),
    ] {
        let body: String = wanted.iter().map(|(kind, port)| section(kind, *port)).collect();
        let body = format!("v=0\r\nc=IN IP4 192.0.2.7\r\n{body}");
        let needed = survey(body.as_bytes(), Side::Outside, &rules()).unwrap();
        assert_eq!(needed.iter().map(Option::is_some).collect::<Vec<_>>(), relayed);
        anchors.resize_with(needed.len(), || super::tests::anchors(1).pop().flatten());
        let offer = pass_offer(body.as_bytes(), Side::Outside, &rules(), &anchors).unwrap();
        let goes = Description::parse(&offer.body).unwrap();
        assert_eq!(goes.sections().iter().map(|section| section.port != 0).collect::<Vec<_>>(), relayed);
        let answer = pass_answer(&offer.body, &offer.offered, &rules(), &anchors).unwrap();
        assert_eq!(answer.sections.iter().map(Option::is_some).collect::<Vec<_>>(), relayed);
    }
}

#[test]
fn what_has_no_anchor_or_is_over_the_bound_is_refused_alone() {
    let body = everything();
    let mut anchors = anchors(7);
    anchors[1] = None;
    let offer = pass_offer(body.as_bytes(), Side::Outside, &rules(), &anchors).unwrap();
    assert!(has(&offer.body, "m=video 0 RTP/SAVPF 97") && has(&offer.body, "a=content:main"));
    assert!(!String::from_utf8(offer.body).unwrap().contains("inline:"), "no key of the client goes in");

    let many = format!("v=0\r\nc=IN IP4 192.0.2.1\r\n{}", "m=audio 9000 RTP/AVP 0\r\n".repeat(20));
    let needed = survey(many.as_bytes(), Side::Inside, &rules()).unwrap();
    assert_eq!(needed.iter().flatten().count(), SDP_SECTIONS_CARRIED_MAX);
    assert_eq!(needed.len(), 20);
}

#[test]
fn answers_that_break_the_rules_run_nothing() {
    let anchors = anchors(2);
    let offer = pass_offer(&client_offer("RTP/SAVP", &secured()), Side::Outside, &rules(), &anchors).unwrap();
    let answer = |body: &str| pass_answer(body.as_bytes(), &offer.offered, &rules(), &anchors);
    // Fewer sections, more sections, a refused one opened, another protocol.
    assert_eq!(answer("v=0\r\n").unwrap().sections, [None, None]);
    let more =
        "v=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 9 RTP/AVP 0\r\nm=application 9 TCP/BFCP *\r\nm=video 9 RTP/AVP 97\r\n";
    let more = answer(more).unwrap();
    assert_eq!(more.sections.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    assert_eq!(lines(&more.body)[4..], ["m=application 0 TCP/BFCP *", "m=video 0 RTP/AVP 97"]);
    let other = "v=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 9 UDP/BFCP *\r\n";
    assert_eq!(answer(other).unwrap_err(), Refusal::UnsupportedProfile);
}

#[test]
fn rtcp_mux_is_each_sides_own() {
    let anchors = anchors(2);
    let offer = |extra: &str| {
        let body = client_offer("RTP/SAVP", &format!("{}{extra}", secured()));
        pass_offer(&body, Side::Outside, &rules(), &anchors).unwrap()
    };
    for (offered, answered) in [(false, false), (false, true), (true, false), (true, true)] {
        let offer = offer(if offered { "a=rtcp-mux\r\na=rtcp-mux-only\r\n" } else { "" });
        assert_eq!(has(&offer.body, "a=rtcp-mux"), offered);
        assert!(!has(&offer.body, "a=rtcp-mux-only"));
        let mux = if answered { "a=rtcp-mux\r\n" } else { "" };
        let answer = format!("v=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 9 RTP/AVP 0\r\n{mux}m=application 0 TCP/BFCP *\r\n");
        let answer = pass_answer(answer.as_bytes(), &offer.offered, &rules(), &anchors).unwrap();
        assert_eq!(has(&answer.body, "a=rtcp-mux"), offered, "we can, whatever the other side does");
        let agreed = answer.sections[0].as_ref().unwrap();
        assert_eq!((agreed.outside.mux, agreed.inside.mux), (offered, offered && answered));
    }
}

#[test]
fn session_level_direction_counts_where_the_section_is_silent() {
    let body =
        b"v=0\r\nc=IN IP4 192.0.2.1\r\na=inactive\r\nm=audio 9 RTP/AVP 0\r\nm=audio 9 RTP/AVP 0\r\na=recvonly\r\n";
    let description = Description::parse(body).unwrap();
    let directions: Vec<_> = description.sections().iter().map(|section| section.direction).collect();
    assert_eq!(directions, [Direction::Inactive, Direction::RecvOnly]);
}

#[test]
fn of_two_audio_sections_the_encrypted_one_is_taken() {
    let body = format!(
        "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9000 RTP/AVP 0\r\nm=audio 9002 RTP/SAVP 0\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n"
    );
    let offer = from_outside(body.as_bytes(), &rules()).unwrap();
    assert_eq!(lines(&offer.body)[2..], ["m=audio 0 RTP/AVP 0", "m=audio 36110 RTP/AVP 0"]);
}

#[test]
fn dtls_is_refused_and_video_alone_is_not() {
    let dtls = client_offer("UDP/TLS/RTP/SAVPF", "a=fingerprint:sha-256 00\r\n");
    assert_eq!(from_outside(&dtls, &plain_allowed()).unwrap_err(), Refusal::UnsupportedProfile);
    let video = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 9000 RTP/AVP 96\r\n";
    assert!(from_outside(video, &plain_allowed()).is_ok());
    let keyless = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9000 RTP/SAVP 96\r\n";
    let refused = pass_offer(keyless, Side::Inside, &rules(), &anchors(1)).unwrap_err();
    assert_eq!(refused, Refusal::NoEncryption);
}

#[test]
fn ipv6_and_addresses_media_is_not_sent_to() {
    let mut six = plain_allowed();
    six.inside.address = "2001:db8::5".parse().unwrap();
    let offer = from_outside(&client_offer("RTP/AVP", ""), &six).unwrap();
    assert!(has(&offer.body, "c=IN IP6 2001:db8::5"));
    for (address, rtp) in [
        ("IN IP6 2001:db8::1", Some("[2001:db8::1]:9000")),
        ("IN IP4 224.2.1.1/127/3", None),
        ("IN IP4 255.255.255.255", None),
        ("IN IP4 phone.example.com", None),
        ("IN IP6 ::ffff:192.0.2.9", Some("192.0.2.9:9000")),
    ] {
        let body = format!("v=0\r\nc={address}\r\nm=audio 9000 RTP/AVP 0\r\n");
        let description = Description::parse(body.as_bytes()).unwrap();
        assert_eq!(description.sections()[0].rtp, rtp.map(|text| text.parse().unwrap()), "{address}");
    }
}

#[test]
fn what_is_no_description_says_where() {
    let fault = |body: &str| Description::parse(body.as_bytes()).unwrap_err();
    assert_eq!(fault(""), SdpFault::NoVersion);
    assert_eq!(fault("v=1\r\n"), SdpFault::NoVersion);
    assert_eq!(fault("v=0\r\nhello\r\n"), SdpFault::NotALine { line: 2 });
    assert_eq!(fault("v=0\r\n\r\ns=-\r\n"), SdpFault::NotALine { line: 2 });
    assert_eq!(fault("v=0\r\ns=a\rb\r\n"), SdpFault::NotALine { line: 2 });
    assert_eq!(fault("v=0\r\nm=audio x RTP/AVP 0\r\n"), SdpFault::BadMedia { line: 2 });
    assert_eq!(fault("v=0\r\nm=audio 70000 RTP/AVP 0\r\n"), SdpFault::BadMedia { line: 2 });
    assert_eq!(fault("v=0\r\nm=audio 7000 RTP/AVP\r\n"), SdpFault::BadMedia { line: 2 });
    assert_eq!(fault("v=0\r\nc=IN IP4\r\n"), SdpFault::BadConnection { line: 2 });
    assert_eq!(fault(&format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(33))), SdpFault::TooLarge);
    assert_eq!(fault(&format!("v=0\r\n{}", "a=x\r\n".repeat(1_000))), SdpFault::TooLarge);
    assert_eq!(fault(&"v".repeat(40_000)), SdpFault::TooLarge);
    let homeless = from_outside(b"v=0\r\nm=audio 9000 RTP/AVP 0\r\n", &plain_allowed()).unwrap_err();
    assert_eq!(homeless, Refusal::Malformed(SdpFault::NoConnection));
    assert_eq!(homeless.status(), 400);
}

proptest::proptest! {
    /// Any bytes, and any cut and spliced real offer, are read without a panic.
    #[test]
    fn any_body_is_survived(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400), cut in 0usize..2_000) {
        crate::fuzzing::sdp(&body);
        let mut offer = everything().into_bytes();
        offer.truncate(cut);
        crate::fuzzing::sdp(&offer);
        offer.extend_from_slice(&body);
        crate::fuzzing::sdp(&offer);
    }
}

#[test]
fn an_offer_begins_with_the_preferred_suite_and_keeps_every_key() {
    let mut keys = OurKeys::generate(&mut Random::from_seed([7; 32]));
    let before: Vec<_> = CryptoSuite::ALL.map(|suite| keys.of(suite).clone()).to_vec();
    keys.prefer(CryptoSuite::AesCm128HmacSha1_80);
    let offered: Vec<_> = keys.offered().into_iter().map(|(tag, key)| (tag, key.suite())).collect();
    assert_eq!(offered[0], (1, CryptoSuite::AesCm128HmacSha1_80));
    let others = CryptoSuite::ALL.into_iter().filter(|suite| *suite != CryptoSuite::AesCm128HmacSha1_80);
    assert!(offered.iter().skip(1).map(|(_, suite)| *suite).eq(others), "{offered:?}");
    assert_eq!(CryptoSuite::ALL.map(|suite| keys.of(suite).clone()).to_vec(), before);
}
