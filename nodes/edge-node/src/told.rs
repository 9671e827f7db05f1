//! What cores tell this edge of how it is to be: bounds, and what the STUN keepalive does. Nothing that names it or says
//! where it listens.
//!
//! A core that says something else than the one before is heard if its word was committed later. A text that is wrong
//! anywhere is not taken, and what held goes on to hold.

use std::time::Duration;

use edgeway_config::EdgeTold;
use edgeway_link::Frame;
use edgeway_link::limits::SKEW_REPORTED_MS;
use edgeway_model::notice::Notice;
use edgeway_model::world::{Configurable, ConfigurationStatus};
use edgeway_model::{Moment, Output, Told};

use crate::EdgeNode;
use crate::limits::CORES_MAX;

impl Configurable<Told> for EdgeNode {
    /// What was kept of what a core had told before a restart.
    fn configure(&mut self, told: &Told, now: Moment) {
        self.now = now;
        if let Ok(says) = EdgeTold::parse(&told.text, told.from.as_str()) {
            self.be(told.clone(), &says);
        }
    }
}

impl EdgeNode {
    pub(crate) fn told_settings(&mut self, told: Told) {
        let told = self.not_early(told);
        let (from, revision) = (told.from.clone(), told.revision);
        let known = self.told.as_ref();
        if known.is_some_and(|known| *known == told || !told.supersedes(known)) {
            return self.send_frame(&from, &Frame::EdgeSettingsOutcome { revision, refused: None });
        }
        let refused = match EdgeTold::parse(&told.text, from.as_str()) {
            Ok(says) => {
                self.outputs.push_back(Output::Told(told.clone()));
                self.be(told, &says);
                None
            }
            Err(problems) => Some(problems.to_string()),
        };
        self.notice(Notice::SettingsTold { from: from.clone(), revision, refused: refused.clone() });
        self.send_frame(&from, &Frame::EdgeSettingsOutcome { revision, refused });
    }

    /// A core whose clock is ahead says it later than it is. What it says again is of when it was heard first, also where
    /// that was before a restart.
    fn not_early(&mut self, said: Told) -> Told {
        let now_ms = self.wall.map(|(unix_ms, at)| unix_ms.saturating_add(millis(self.now.since(at))));
        let heard = said.clone().heard_at(now_ms, SKEW_REPORTED_MS.unsigned_abs());
        if heard == said {
            self.early.remove(&said.from);
            return said;
        }
        let before = self.early.get(&said.from).filter(|(before, _)| *before == said).map(|(_, counts_ms)| *counts_ms);
        let is_kept = |kept: &&Told| kept.from == said.from && kept.revision == said.revision && kept.text == said.text;
        let kept = self.told.as_ref().filter(is_kept).map(|kept| kept.committed_ms);
        let counts_ms = before.or(kept).unwrap_or(heard.committed_ms).min(heard.committed_ms);
        if self.early.len() < CORES_MAX || self.early.contains_key(&said.from) {
            self.early.insert(said.from.clone(), (said, counts_ms));
        }
        Told { committed_ms: counts_ms, ..heard }
    }

    /// Flows that are there stay, whatever the bounds.
    fn be(&mut self, told: Told, says: &EdgeTold) {
        self.settings.flows_max = says.flows_max.unwrap_or(self.own.flows_max);
        self.settings.strangers_per_address = says.strangers_per_address.unwrap_or(self.own.strangers_per_address);
        self.settings.stun_keepalive = says.stun_keepalive.unwrap_or(self.own.stun_keepalive);
        self.told = Some(told);
    }

    pub(crate) fn configuration(&self) -> ConfigurationStatus {
        match &self.told {
            Some(told) => {
                ConfigurationStatus { revision: Some(told.revision), source: Some(told.from.as_str().to_owned()) }
            }
            None => ConfigurationStatus::default(),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use edgeway_model::world::Observable;
    use edgeway_model::{Input, Node, NodeId, Random};

    use super::*;
    use crate::Settings;

    fn edge() -> EdgeNode {
        let settings = Settings {
            node: NodeId::new("edge1").expect("a name"),
            public_host: "edge.example.com".into(),
            names: Vec::new(),
            public_port: 5_061,
            https_port: 0,
            xmpp_port: 0,
            stun_keepalive: true,
            media_address: std::net::Ipv4Addr::LOCALHOST.into(),
            flows_max: 1_000,
            strangers_per_address: 100,
        };
        EdgeNode::new(settings, Random::from_seed([1; 32]))
    }

    fn told(from: &str, committed_ms: u64, text: &str) -> Told {
        Told { from: NodeId::new(from).expect("a name"), revision: committed_ms, committed_ms, text: text.into() }
    }

    /// What it wants kept, and what it says it cannot use.
    fn hears(edge: &mut EdgeNode, what: Told) -> (Option<Told>, Option<String>) {
        edge.told_settings(what);
        let (mut kept, mut why) = (None, None);
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is not looked for")]
        for output in std::iter::from_fn(|| edge.poll()) {
            match output {
                Output::Told(told) => kept = Some(told),
                Output::Notice(Notice::SettingsTold { refused, .. }) => why = refused,
                _ => {}
            }
        }
        (kept, why)
    }

    #[test]
    fn what_is_wrong_is_refused_and_what_held_goes_on_to_hold() {
        let mut edge = edge();
        let good = told("core1", 10, "[limits]\nflows_max = 5\n[sip]\nstun_keepalive = false\n");
        assert_eq!(hears(&mut edge, good.clone()), (Some(good), None));
        for wrong in ["[limits]\nflows_max = 0\n", "[sip]\npublic_host = \"evil.example\"\n", "\u{0}"] {
            let (kept, why) = hears(&mut edge, told("core1", 11, wrong));
            assert!(kept.is_none() && why.is_some(), "{wrong}");
            assert_eq!((edge.settings.flows_max, edge.settings.stun_keepalive), (5, false));
            assert_eq!(edge.settings.public_host, "edge.example.com");
        }
        assert_eq!(edge.status().configuration.revision, Some(10));
        assert_eq!(edge.status().configuration.source.as_deref(), Some("core1"));
        // What is no longer said is as its own file has it.
        hears(&mut edge, told("core1", 12, ""));
        assert_eq!((edge.settings.flows_max, edge.settings.stun_keepalive), (1_000, true));
    }

    #[test]
    fn of_two_cores_the_later_word_counts() {
        let mut edge = edge();
        let of = |from, at, flows: usize| told(from, at, &format!("[limits]\nflows_max = {flows}\n"));
        for (says, flows) in [
            (of("core2", 20, 2), 2),
            (of("core1", 10, 1), 2),
            (of("core1", 30, 3), 3),
            (of("core2", 20, 2), 3),
            (of("core2", 30, 4), 4),
            (of("core1", 30, 5), 4),
        ] {
            hears(&mut edge, says.clone());
            assert_eq!(edge.settings.flows_max, flows, "{says:?}");
        }
    }

    #[test]
    fn a_core_whose_clock_is_ahead_is_not_heard_for_ever() {
        let mut edge = edge();
        let of = |from, at, flows: usize| told(from, at, &format!("[limits]\nflows_max = {flows}\n"));
        let (start, ahead) = (1_000_000, 99_000_000);
        for (second, says, flows) in [
            (0, of("core1", start + ahead, 1), 1),
            (60, of("core2", start + 50_000, 2), 2),
            // It says so again whenever its link comes up.
            (70, of("core1", start + ahead, 1), 2),
            (80, of("core1", start + ahead + 1, 3), 3),
            (90, of("core2", start + 85_000, 4), 4),
            (95, of("core2", start + 95_000 + 30_000, 5), 5),
        ] {
            let now = Moment::from_secs(second);
            edge.handle(Input::WallClock { unix_ms: start + second * 1_000 }, now);
            hears(&mut edge, says.clone());
            assert_eq!(edge.settings.flows_max, flows, "{says:?}");
        }
    }
}
