//! Offers and answers as clients in the field write them.

use std::net::{IpAddr, Ipv4Addr};

use edgeway_model::Secret;
use edgeway_model::media::{PortPair, SrtpKey};

use super::*;

const CLIENT_KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const INSIDE: (IpAddr, PortPair) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), PortPair { rtp: 36_100 });
const OUTSIDE: (IpAddr, PortPair) = (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), PortPair { rtp: 40_000 });

fn our_key() -> SrtpKey {
    SrtpKey(Secret::new([0xff; 30]))
}

fn lines(body: &[u8]) -> Vec<String> {
    String::from_utf8(body.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn client_offer(profile: &str, extra: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=Cisco-SIPUA 4711 1 IN IP4 192.168.1.20\r\ns=SIP Call\r\nb=AS:4000\r\n\
         c=IN IP4 192.168.1.20\r\nt=0 0\r\na=cisco-mari:v1\r\na=ice-lite\r\n\
         m=audio 20000 {profile} 114 9 0 101\r\na=rtpmap:114 opus/48000/2\r\n\
         a=extmap:14 http://protocols.cisco.com/timestamp#100us\r\n{extra}\
         a=candidate:1 1 UDP 2130706431 192.168.1.20 20000 typ host\r\na=rtcp-mux\r\na=rtcp-fb:* nack\r\n\
         m=video 20002 {profile} 126\r\na=content:slides\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n"
    )
    .into_bytes()
}

fn secured() -> String {
    format!(
        "a=crypto:1 AEAD_AES_256_GCM inline:xxxx\r\na=crypto:7 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}|2^31\r\n\
         a=crypto:8 AES_CM_128_HMAC_SHA1_32 {CLIENT_KEY}\r\na=rtcp:20011 IN IP4 192.168.1.21\r\n"
    )
}

#[test]
fn an_offer_from_outside_goes_in_plain_at_our_address() {
    let offer = offer_from_outside(&client_offer("RTP/SAVP", &secured()), INSIDE, false).unwrap();
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
            "m=video 0 RTP/SAVP 126",
            "a=content:slides",
        ]
    );
    let described = ("192.168.1.20:20000".parse().unwrap(), "192.168.1.21:20011".parse().unwrap());
    assert_eq!(offer.client.described, Some(described));
    let crypto = offer.client.crypto.unwrap();
    assert_eq!((crypto.tag, crypto.suite), (7, CryptoSuite::AesCm128HmacSha1_80));
    assert_eq!(crypto.key.unwrap().0.expose()[..4], [0, 1, 2, 3]);
}

#[test]
fn the_answer_repeats_the_clients_profile_and_tag() {
    for profile in ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP"] {
        let offer = offer_from_outside(&client_offer(profile, &secured()), INSIDE, false).unwrap();
        let inside_answer = b"v=0\no=- 1 1 IN IP4 10.0.0.77\ns=-\nc=IN IP4 10.0.0.77\nt=0 0\n\
            m=audio 5004 RTP/AVP 9 101\na=ptime:20\na=recvonly\nm=video 0 RTP/SAVP 126\n";
        let answer = answer_to_outside(inside_answer, &offer.client, &our_key(), OUTSIDE).unwrap();
        assert_eq!(
            lines(&answer.body),
            [
                "v=0",
                "o=- 1 1 IN IP4 203.0.113.9",
                "s=-",
                "c=IN IP4 203.0.113.9",
                "t=0 0",
                &format!("m=audio 40000 {profile} 9 101"),
                &format!("a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:{}", "/".repeat(40)),
                "a=ptime:20",
                "a=recvonly",
                "m=video 0 RTP/SAVP 126",
            ]
        );
        let described = ("10.0.0.77:5004".parse().unwrap(), "10.0.0.77:5005".parse().unwrap());
        assert_eq!(answer.inside_described, Some(described));
        assert_eq!(answer.direction, Direction::RecvOnly);
    }
}

#[test]
fn an_offer_to_outside_and_its_answer() {
    let inside_offer = b"v=0\r\no=- 1 1 IN IP4 10.0.0.77\r\ns=-\r\nt=0 0\r\n\
        m=audio 5004 RTP/AVP 0\r\nc=IN IP4 10.0.0.77\r\n";
    let offer = offer_to_outside(inside_offer, &our_key(), OUTSIDE, Security::Srtp).unwrap();
    assert_eq!(
        lines(&offer.body)[4..],
        [
            "m=audio 40000 RTP/SAVP 0".to_owned(),
            "c=IN IP4 203.0.113.9".to_owned(),
            format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}", "/".repeat(40)),
        ]
    );
    let client_answer = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 7000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}\r\n"
    );
    let answer = answer_from_outside(client_answer.as_bytes(), INSIDE, Security::Srtp).unwrap();
    assert_eq!(lines(&answer.body)[3..], ["c=IN IP4 10.0.0.5", "t=0 0", "m=audio 36100 RTP/AVP 0"]);
    assert!(answer.client.key().is_some());

    let plain = offer_to_outside(inside_offer, &our_key(), OUTSIDE, Security::Plain).unwrap();
    assert!(lines(&plain.body).contains(&"m=audio 40000 RTP/AVP 0".to_owned()));
    assert!(!String::from_utf8(plain.body).unwrap().contains("crypto"));
}

#[test]
fn encryption_is_demanded_unless_allowed_otherwise() {
    let plain = client_offer("RTP/AVP", "");
    assert_eq!(offer_from_outside(&plain, INSIDE, false).unwrap_err(), Refusal::NoEncryption);
    assert_eq!(Refusal::NoEncryption.status(), 488);
    let allowed = offer_from_outside(&plain, INSIDE, true).unwrap();
    assert_eq!((allowed.client.crypto, allowed.client.profile), (None, Profile::Avp));
    // A profile that demands encryption cannot do without a key, whatever is allowed.
    let keyless = client_offer("RTP/SAVP", "");
    assert_eq!(offer_from_outside(&keyless, INSIDE, true).unwrap_err(), Refusal::NoEncryption);
    let answer = client_offer("RTP/SAVP", "");
    assert_eq!(answer_from_outside(&answer, INSIDE, Security::Srtp).unwrap_err(), Refusal::NoEncryption);
}

#[test]
fn crypto_lines_we_cannot_honour_are_not_chosen() {
    for bad in [
        format!("AES_CM_128_HMAC_SHA1_32 {CLIENT_KEY}"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}|2^20|1:4"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY};{CLIENT_KEY}"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} UNENCRYPTED_SRTP"),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY} KDR=1"),
        "AES_CM_128_HMAC_SHA1_80 inline:AAEC".to_owned(),
        format!("AES_CM_128_HMAC_SHA1_80 {CLIENT_KEY}AAAA"),
        "AES_CM_128_HMAC_SHA1_80 uri:https://example.com/key".to_owned(),
    ] {
        let offer = client_offer("RTP/SAVP", &format!("a=crypto:1 {bad}\r\n"));
        assert_eq!(offer_from_outside(&offer, INSIDE, true).unwrap_err(), Refusal::UnsupportedSuite, "{bad}");
    }
    for good in [format!("{CLIENT_KEY} WSH=64"), format!("{CLIENT_KEY}|2^48 -X=1")] {
        let offer = client_offer("RTP/SAVP", &format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 {good}\r\n"));
        assert!(offer_from_outside(&offer, INSIDE, false).is_ok(), "{good}");
    }
}

#[test]
fn holds_old_and_new() {
    let held = String::from_utf8(client_offer("RTP/SAVP", &secured())).unwrap();
    let old = held.replace("c=IN IP4 192.168.1.20", "c=IN IP4 0.0.0.0");
    let offer = offer_from_outside(old.as_bytes(), INSIDE, false).unwrap();
    assert_eq!(offer.client.described, None);
    assert!(lines(&offer.body).contains(&"c=IN IP4 0.0.0.0".to_owned()), "the inside must see the hold");
    assert!(lines(&offer.body).contains(&"m=audio 36100 RTP/AVP 114 9 0 101".to_owned()));

    let new = held.replace("a=rtcp-mux", "a=sendonly");
    let offer = offer_from_outside(new.as_bytes(), INSIDE, false).unwrap();
    assert_eq!(offer.direction, Direction::SendOnly);
    assert!(offer.client.described.is_some());
    assert!(lines(&offer.body).contains(&"a=sendonly".to_owned()));

    let ended = held.replace("m=audio 20000", "m=audio 0");
    let offer = offer_from_outside(ended.as_bytes(), INSIDE, false).unwrap();
    assert_eq!((offer.client.described, offer.client.crypto), (None, None));
    assert!(lines(&offer.body).contains(&"m=audio 0 RTP/AVP 114 9 0 101".to_owned()));
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
    let offer = offer_from_outside(body.as_bytes(), INSIDE, false).unwrap();
    assert_eq!(lines(&offer.body)[2..], ["m=audio 0 RTP/AVP 0", "m=audio 36100 RTP/AVP 0"]);
}

#[test]
fn dtls_and_no_audio_are_refused() {
    let dtls = client_offer("UDP/TLS/RTP/SAVPF", "a=fingerprint:sha-256 00\r\n");
    assert_eq!(offer_from_outside(&dtls, INSIDE, true).unwrap_err(), Refusal::UnsupportedProfile);
    let video = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 9000 RTP/SAVP 96\r\n";
    assert_eq!(offer_from_outside(video, INSIDE, true).unwrap_err(), Refusal::NoAudio);
    let srtp_inside = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9000 RTP/SAVP 96\r\n";
    let refused = offer_to_outside(srtp_inside, &our_key(), OUTSIDE, Security::Srtp).unwrap_err();
    assert_eq!(refused, Refusal::UnsupportedProfile);
}

#[test]
fn ipv6_and_addresses_media_is_not_sent_to() {
    let inside = (IpAddr::V6("2001:db8::5".parse().unwrap()), PortPair { rtp: 36_000 });
    let offer = offer_from_outside(&client_offer("RTP/AVP", ""), inside, true).unwrap();
    assert!(lines(&offer.body).contains(&"c=IN IP6 2001:db8::5".to_owned()));
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
    let homeless = offer_from_outside(b"v=0\r\nm=audio 9000 RTP/AVP 0\r\n", INSIDE, true).unwrap_err();
    assert_eq!(homeless, Refusal::Malformed(SdpFault::NoConnection));
    assert_eq!(homeless.status(), 400);
}

proptest::proptest! {
    /// Any bytes, and any cut and spliced real offer, are read without a panic.
    #[test]
    fn any_body_is_survived(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400), cut in 0usize..900) {
        fuzz(&body);
        let mut offer = client_offer("RTP/SAVP", &secured());
        offer.truncate(cut);
        fuzz(&offer);
        offer.extend_from_slice(&body);
        fuzz(&offer);
    }
}
