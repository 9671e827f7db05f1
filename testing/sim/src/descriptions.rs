//! The session descriptions of a phone: audio, sometimes video, SDES outside and plain inside.

use edgeway_model::media::CryptoSuite;
use edgeway_sip::Message;

use crate::media::base64;
use crate::phone::Phone;

/// One `m=` line and what belongs to it.
struct Section {
    kind: String,
    port: u16,
    profile: String,
    /// Tag and suite of each `a=crypto`.
    crypto: Vec<(String, String)>,
}

fn sections(body: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("m=") {
            let mut words = rest.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            let (kind, port, profile) = (word(), word().parse().unwrap_or(0), word());
            sections.push(Section { kind, port, profile, crypto: Vec::new() });
        } else if let (Some(rest), Some(section)) = (line.strip_prefix("a=crypto:"), sections.last_mut()) {
            let mut words = rest.split(' ').map(str::to_owned);
            section.crypto.extend(words.next().zip(words.next()));
        }
    }
    sections
}

/// Whether media in clear is described: a section that is refused describes none.
pub(crate) fn offers_plain(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    sections(&text).iter().any(|section| section.port != 0 && section.profile.starts_with("RTP/AVP"))
}

impl Phone {
    /// Our offer: the sections the call has, video among them if it is wanted or was there before.
    pub(crate) fn offer(&mut self, id: &str, direction: &str) -> String {
        let mut kinds = self.calls.get(id).map(|call| call.lines.clone()).unwrap_or_default();
        let video = self.calls.get(id).is_some_and(|call| call.plan.video);
        for (kind, wanted) in [("audio", true), ("video", video)] {
            if wanted && !kinds.iter().any(|known| known == kind) {
                kinds.push(kind.to_owned());
            }
        }
        let wanted: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let open = kind == "audio" || (kind == "video" && video && !self.chance.percent(20));
                open.then(|| (1..=1 + self.chance.below(2)).map(|tag| (tag.to_string(), self.suite())).collect())
            })
            .collect();
        self.describe(id, &kinds, &wanted, direction)
    }

    /// Our answer: every section of the offer, refused or not.
    pub(crate) fn answer_to(&mut self, id: &str, offer: &[u8], direction: &str) -> String {
        let offered = sections(&String::from_utf8_lossy(offer));
        let kinds: Vec<_> = offered.iter().map(|section| section.kind.clone()).collect();
        let wanted: Vec<_> = offered
            .iter()
            .map(|section| {
                let open = section.port != 0 && (section.kind == "audio" || self.chance.percent(75));
                let chosen = self.chance.pick(&section.crypto).cloned();
                open.then(|| chosen.into_iter().collect())
            })
            .collect();
        self.describe(id, &kinds, &wanted, direction)
    }

    /// `wanted`: for each section its crypto lines, or `None` if it is refused.
    fn describe(
        &mut self,
        id: &str,
        kinds: &[String],
        wanted: &[Option<Vec<(String, String)>>],
        direction: &str,
    ) -> String {
        let host = self.address.ip();
        self.version += 1;
        let mut text =
            format!("v=0\r\no={} 1 {} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n", self.name, self.version);
        let profile = if self.is_outside() { "RTP/SAVP" } else { "RTP/AVP" };
        for (kind, wanted) in kinds.iter().zip(wanted) {
            let payload = if kind == "audio" { 0 } else { 96 };
            let Some(crypto) = wanted else {
                text += &format!("m={kind} 0 {profile} {payload}\r\n");
                continue;
            };
            let port = 40_000 + 2 * self.chance.below(5_000);
            text += &format!("m={kind} {port} {profile} {payload}\r\n");
            let crypto = if self.is_outside() { crypto.as_slice() } else { &[] };
            for (tag, suite) in crypto {
                let key = self.key(suite);
                text += &format!("a=crypto:{tag} {suite} inline:{key}\r\n");
                self.keys.insert(key, id.to_owned());
            }
            let rtpmap = if kind == "audio" { "0 PCMU/8000" } else { "96 H264/90000" };
            text += &format!("a=rtpmap:{rtpmap}\r\na={direction}\r\n");
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.lines = kinds.to_vec();
        }
        text
    }

    fn suite(&mut self) -> String {
        let at = self.chance.below(CryptoSuite::ALL.len());
        CryptoSuite::ALL[at].name().to_owned()
    }

    /// A fresh master key and salt.
    fn key(&mut self, suite: &str) -> String {
        let bytes = CryptoSuite::of_name(suite).map_or(30, |suite| suite.key_bytes() + suite.salt_bytes());
        let key: Vec<_> = (0..bytes).map(|_| u8::try_from(self.chance.below(256)).unwrap_or(0)).collect();
        base64(&key)
    }

    pub(crate) fn check_description(&mut self, message: &Message) {
        if !message.has_sdp() || message.body().is_empty() {
            return;
        }
        let Ok(body) = std::str::from_utf8(message.body()).map(str::to_owned) else {
            return self.violation("a description that is no text");
        };
        for key in body.split("inline:").skip(1).filter_map(|rest| rest.split(['|', ' ', '\r']).next()) {
            let call = message.call_id().to_owned();
            let first = self.heard_keys.entry(key.to_owned()).or_insert_with(|| call.clone());
            if *first != call {
                return self.violation("one key for two calls");
            }
        }
        let open: Vec<_> = sections(&body).into_iter().filter(|section| section.port != 0).collect();
        let secure = |section: &Section| section.profile.starts_with("RTP/SAVP") && !section.crypto.is_empty();
        let plain = |section: &Section| section.profile.starts_with("RTP/AVP") && section.crypto.is_empty();
        let at_edge = body.contains("c=IN IP4 203.0.113.") && !body.contains("c=IN IP4 10.");
        let at_core = body.contains("c=IN IP4 10.0.0.");
        if self.is_outside() {
            if !at_edge || !open.iter().all(secure) {
                self.violation(format!("a description outside that is not encrypted to the edge:\n{body}"));
            }
        } else if !at_core || !open.iter().all(plain) {
            self.violation(format!("a description inside that is not plain at the core:\n{body}"));
        }
        // RFC 3264 §8: sections are never taken away.
        let (id, kinds) = (message.call_id(), sections(&body).len());
        if self.calls.get(id).is_some_and(|call| call.lines.len() > kinds) {
            self.violation(format!("a description with fewer sections than before:\n{body}"));
        }
    }
}
