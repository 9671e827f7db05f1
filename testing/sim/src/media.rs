//! The media threads of one node, without packets: binds ports, keeps relays, and notices every
//! command that makes no sense.

use std::collections::{BTreeMap, BTreeSet};

use edgeway_model::media::{MediaCommand, OutsideSecurity, PortPair};
use edgeway_model::{NodeId, RelayId};

/// First port of the range, and how many pairs there are.
const RANGE: (u16, u16) = (36_000, 12_000);

/// What a command led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Report these as bound soon.
    Bound(Vec<PortPair>),
    /// The relay has ended: its pair is quiet, then bound again.
    Quiet(PortPair),
    /// Nothing to report.
    None,
}

/// Ports and relays of one node.
#[derive(Debug, Default)]
pub(crate) struct MediaModel {
    next: u16,
    /// Every pair that is bound, whatever it is used for.
    bound: BTreeSet<PortPair>,
    /// Bound, but not (or not again) reported yet.
    quiet: BTreeSet<PortPair>,
    relays: BTreeMap<(NodeId, RelayId), PortPair>,
    /// At a core: the key the client sends with, and whether the inside party's address is known.
    keys: BTreeMap<(NodeId, RelayId), (String, bool)>,
}

/// Base 64 of 30 bytes, which need no padding.
fn base64(bytes: &[u8; 30]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let bits = three.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    });
    digits.collect()
}

impl MediaModel {
    /// Obeys. `Err` says what the node did wrong.
    pub(crate) fn obey(&mut self, command: &MediaCommand) -> Result<Effect, String> {
        match command {
            MediaCommand::BindPorts { pairs: 0 } => Err("asked to bind no port".to_owned()),
            MediaCommand::BindPorts { pairs } => Ok(Effect::Bound(self.bind(*pairs))),
            MediaCommand::SetOutside(rule) => self.set(&rule.peer, rule.relay, rule.ports),
            MediaCommand::SetInside(rule) => {
                if let OutsideSecurity::Srtp { receive: Some(key), .. } = &rule.outside {
                    let key = (base64(key.0.expose()), rule.described.is_some());
                    self.keys.insert((rule.peer.clone(), rule.relay), key);
                }
                self.set(&rule.peer, rule.relay, rule.ports)
            }
            MediaCommand::SetClass { peer, relay, .. } => match self.relays.contains_key(&(peer.clone(), *relay)) {
                true => Ok(Effect::None),
                false => Err(format!("classed {relay} of {peer}, which does not exist")),
            },
            MediaCommand::Close { peer, relay } => {
                self.keys.remove(&(peer.clone(), *relay));
                let pair = self.relays.remove(&(peer.clone(), *relay));
                let pair = pair.ok_or_else(|| format!("closed {relay} of {peer}, which does not exist"))?;
                self.quiet.insert(pair);
                Ok(Effect::Quiet(pair))
            }
        }
    }

    fn bind(&mut self, pairs: u16) -> Vec<PortPair> {
        let last = self.next.saturating_add(pairs).min(RANGE.1);
        let bound: Vec<_> = (self.next..last).map(|n| PortPair { rtp: RANGE.0 + 2 * n }).collect();
        self.next = last;
        self.bound.extend(&bound);
        self.quiet.extend(&bound);
        bound
    }

    /// Ports that could not be bound after all.
    pub(crate) fn unbind(&mut self, pairs: &[PortPair]) {
        for pair in pairs {
            self.bound.remove(pair);
            self.quiet.remove(pair);
        }
    }

    /// The node is about to be told that these are bound.
    pub(crate) fn reported(&mut self, pairs: &[PortPair]) {
        for pair in pairs {
            self.quiet.remove(pair);
        }
    }

    fn set(&mut self, peer: &NodeId, relay: RelayId, ports: PortPair) -> Result<Effect, String> {
        if !self.bound.contains(&ports) {
            return Err(format!("{relay} on port {}, which is not bound", ports.rtp));
        }
        if self.quiet.contains(&ports) {
            return Err(format!("{relay} on port {}, which is quiet", ports.rtp));
        }
        let key = (peer.clone(), relay);
        if self.relays.iter().any(|(other, used)| *other != key && *used == ports) {
            return Err(format!("{relay} on port {}, which another relay uses", ports.rtp));
        }
        match self.relays.insert(key, ports) {
            Some(old) if old != ports => Err(format!("{relay} moved from port {} to {}", old.rtp, ports.rtp)),
            Some(_) | None => Ok(Effect::None),
        }
    }

    /// Pairs bound, whatever they are used for.
    pub(crate) fn bound(&self) -> usize {
        self.bound.len()
    }

    /// Pairs bound that the node does not know of (yet, or again).
    pub(crate) fn quiet(&self) -> usize {
        self.quiet.len()
    }

    /// At a core: relays whose client's key is known, the key, and whether the inside is known too.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&(NodeId, RelayId), &str, bool)> {
        self.keys.iter().map(|(relay, (key, described))| (relay, key.as_str(), *described))
    }

    /// At a core: the key the client of a relay sends with.
    pub(crate) fn key_of(&self, peer: &NodeId, relay: RelayId) -> Option<String> {
        self.keys.get(&(peer.clone(), relay)).map(|(key, _)| key.clone())
    }

    /// Whether a relay with this node stands here.
    pub(crate) fn has_relay(&self, peer: &NodeId, relay: RelayId) -> bool {
        self.relays.contains_key(&(peer.clone(), relay))
    }

    /// Relays, by the node at the other end.
    pub(crate) fn relays(&self) -> impl Iterator<Item = &(NodeId, RelayId)> {
        self.relays.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_like_the_phones_write_them() {
        let mut bytes = [0; 30];
        bytes[..3].copy_from_slice(b"Man");
        assert!(base64(&bytes).starts_with("TWFuAAAA") && base64(&bytes).len() == 40);
    }

    #[test]
    fn every_senseless_command_is_noticed() {
        let peer = NodeId::new("edge1").expect("legal");
        let mut media = MediaModel::default();
        let Ok(Effect::Bound(pairs)) = media.obey(&MediaCommand::BindPorts { pairs: 2 }) else {
            panic!("binds");
        };
        assert!(pairs.iter().all(|pair| pair.rtp % 2 == 0) && pairs[0] != pairs[1]);
        assert!(media.set(&peer, RelayId(1), pairs[0]).is_err(), "not reported yet");
        media.reported(&pairs);
        assert_eq!(media.set(&peer, RelayId(1), pairs[0]), Ok(Effect::None));
        assert!(media.set(&peer, RelayId(2), pairs[0]).is_err(), "used by another");
        assert!(media.set(&peer, RelayId(2), PortPair { rtp: 10 }).is_err(), "not bound");
        let close = MediaCommand::Close { peer: peer.clone(), relay: RelayId(1) };
        assert_eq!(media.obey(&close), Ok(Effect::Quiet(pairs[0])));
        assert!(media.obey(&close).is_err(), "closed twice");
        assert_eq!((media.bound(), media.quiet()), (2, 1));
    }
}
