//! What the cores of a deployment tell its edges: `[edge]` of a core's settings, and in the form of an edge's file on the way.

use std::fmt::Write as _;

use edgeway_model::limits::TOLD_TEXT_BYTES_MAX;

use crate::known::Role;
use crate::problem::Problems;
use crate::reader::{Complaint, Found, Parse, Reader};
use crate::settings::{EdgeSettings, LogLevel};
use crate::values;

/// Which revision settings are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Its number; 0 where there are none.
    pub revision: u64,
    /// When, Unix milliseconds; 0 where that is not known.
    pub at_ms: u64,
}

/// What cores say of edges. What they do not say is as the edge's own file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeTold {
    /// Client connections held at once.
    pub flows_max: Option<usize>,
    /// Handshakes and unregistered connections one address may hold at once.
    pub strangers_per_address: Option<usize>,
    /// How audio packets to clients are marked.
    pub dscp_audio: Option<u8>,
    /// How video packets to clients are marked.
    pub dscp_video: Option<u8>,
    /// The least severe line that is logged.
    pub log_level: Option<LogLevel>,
    /// Whether STUN keepalives on the SIP connection are answered: as the cores have it.
    pub stun_keepalive: Option<bool>,
}

/// The settings that cores tell, as an edge's file calls them.
const TOLD: [&str; 6] = [
    "limits.flows_max",
    "limits.strangers_per_address",
    "media.dscp_audio",
    "media.dscp_video",
    "log.level",
    "sip.stun_keepalive",
];

impl EdgeTold {
    /// Reads `[edge]` of a core's file; `stun_keepalive` is the core's own.
    pub(crate) fn of_core(reader: &mut Reader<'_>, stun_keepalive: bool) -> Self {
        Self { stun_keepalive: Some(stun_keepalive), ..Self::read(reader, "edge.") }
    }

    /// Reads what a core has told. Nothing is taken of a text that says anything else, or is wrong anywhere.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Problems> {
        let too_long = text.len() > TOLD_TEXT_BYTES_MAX;
        let mut reader = Reader::new(if too_long { "" } else { text }, origin, Role::Edge);
        if too_long {
            let reason = format!("it is longer than {TOLD_TEXT_BYTES_MAX} bytes");
            reader.complain("", None, Complaint::new(reason, "Say less."));
        }
        for path in crate::known::of(Role::Edge).map(|setting| setting.path).filter(|path| !TOLD.contains(path)) {
            if !matches!(reader.read(path, anything), Found::Absent) {
                let complaint = Complaint::new("cores cannot tell it", "Write it into the edge's own file.");
                reader.complain(path, None, complaint);
            }
        }
        if reader.entries("sip.certificates") > 0 {
            let complaint = Complaint::new("cores cannot tell it", "Write it into the edge's own file.");
            reader.complain("sip.certificates", None, complaint);
        }
        let stun_keepalive = reader.read("sip.stun_keepalive", values::boolean).good();
        let told = Self { stun_keepalive, ..Self::read(&mut reader, "") };
        reader.finish(Some(told))
    }

    fn read(reader: &mut Reader<'_>, prefix: &str) -> Self {
        fn one<T>(reader: &mut Reader<'_>, prefix: &str, path: &str, parse: Parse<T>) -> Option<T> {
            reader.read(&format!("{prefix}{path}"), parse).good()
        }
        Self {
            flows_max: one(reader, prefix, "limits.flows_max", values::flows),
            strangers_per_address: one(reader, prefix, "limits.strangers_per_address", values::flows),
            dscp_audio: one(reader, prefix, "media.dscp_audio", values::dscp),
            dscp_video: one(reader, prefix, "media.dscp_video", values::dscp),
            log_level: one(reader, prefix, "log.level", values::log_level),
            stun_keepalive: None,
        }
    }

    /// As it goes to edges: one text for one meaning.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Self { flows_max, strangers_per_address, dscp_audio, dscp_video, log_level, stun_keepalive } = self;
        let mut text = String::new();
        let mut table = |name: &str, entries: [(&str, Option<String>); 2]| {
            if entries.iter().any(|(_, value)| value.is_some()) {
                let _ = writeln!(text, "[{name}]");
            }
            for (key, value) in entries {
                let _ = value.map(|value| writeln!(text, "{key} = {value}"));
            }
        };
        let level = log_level.map(|level| format!("\"{}\"", level.as_str()));
        table("log", [("level", level), ("", None)]);
        table("sip", [("stun_keepalive", stun_keepalive.map(|on| on.to_string())), ("", None)]);
        let dscp = |value: &Option<u8>| value.map(|value| value.to_string());
        table("media", [("dscp_audio", dscp(dscp_audio)), ("dscp_video", dscp(dscp_video))]);
        let bound = |value: &Option<usize>| value.map(|value| value.to_string());
        table("limits", [("flows_max", bound(flows_max)), ("strangers_per_address", bound(strangers_per_address))]);
        text
    }

    /// The settings of an edge whose own file says `own`.
    #[must_use]
    pub fn over(&self, own: &EdgeSettings) -> EdgeSettings {
        let mut settings = own.clone();
        settings.limits.flows_max = self.flows_max.unwrap_or(own.limits.flows_max);
        settings.limits.strangers_per_address = self.strangers_per_address.unwrap_or(own.limits.strangers_per_address);
        settings.media.dscp.audio = self.dscp_audio.unwrap_or(own.media.dscp.audio);
        settings.media.dscp.video = self.dscp_video.unwrap_or(own.media.dscp.video);
        settings.log.level = self.log_level.unwrap_or(own.log.level);
        settings.sip.stun_keepalive = self.stun_keepalive.unwrap_or(own.sip.stun_keepalive);
        settings
    }
}

/// Whatever it is: it is asked after only because it may not be there.
#[expect(clippy::unnecessary_wraps, reason = "a parser may complain")]
fn anything(_: &toml::de::DeValue<'_>) -> Result<(), Complaint> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> EdgeTold {
        EdgeTold {
            flows_max: Some(20_000),
            strangers_per_address: Some(200),
            dscp_audio: Some(0),
            dscp_video: Some(63),
            log_level: Some(LogLevel::Debug),
            stun_keepalive: Some(false),
        }
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let some = EdgeTold { dscp_video: None, log_level: None, ..all() };
        for told in [all(), some, EdgeTold::default()] {
            let text = told.to_toml();
            assert_eq!(EdgeTold::parse(&text, "core1"), Ok(told), "{text}");
        }
        assert_eq!(EdgeTold::default().to_toml(), "");
    }

    #[test]
    fn nothing_else_is_taken_and_nothing_by_halves() {
        for (text, why) in [
            ("[limits]\nflows_max = 0\n", "limits.flows_max"),
            ("[limits]\nflows_max = 5\n[sip]\npublic_host = \"evil.example\"\n", "cores cannot tell it"),
            ("[sip]\ncertificate = \"/etc/shadow\"\n", "cores cannot tell it"),
            ("[[sip.certificates]]\nchain = \"/a\"\nkey = \"/b\"\n", "cores cannot tell it"),
            ("node = \"edge2\"\n", "cores cannot tell it"),
            ("[limits]\nflows_maximum = 5\n", "flows_maximum"),
            ("[[[", "not TOML"),
            (&"#".repeat(TOLD_TEXT_BYTES_MAX + 1), "longer than"),
        ] {
            let problems = EdgeTold::parse(text, "core1").expect_err(why).to_string();
            assert!(problems.contains(why), "{problems}");
        }
    }
}
