//! Identifiers. Each is a newtype, so that a flow can never be handed over where a link is meant.

use std::fmt;
use std::sync::Arc;

/// One SIP transport connection (RFC 5626 "flow"): accepted or dialled, TLS or TCP.
///
/// Layout: the top 8 bits are the shard (reactor) that owns the flow, the lowest bit tells who
/// chose the number: 0 the runtime (an accepted flow), 1 the node (a dialled one).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl FlowId {
    /// The `sequence`-th flow accepted by `shard`.
    #[must_use]
    pub const fn accepted(shard: u8, sequence: u64) -> Self {
        Self(((shard as u64) << 56) | ((sequence << 1) & 0x00ff_ffff_ffff_fffe))
    }

    /// The `sequence`-th flow dialled by the node of `shard`.
    #[must_use]
    pub const fn dialled(shard: u8, sequence: u64) -> Self {
        Self(Self::accepted(shard, sequence).0 | 1)
    }

    /// The reactor that owns this flow.
    #[must_use]
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Whether the node (not the runtime) chose this number.
    #[must_use]
    pub const fn is_dialled(self) -> bool {
        self.0 & 1 == 1
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow-{:x}", self.0)
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One live link between an edge and a core. A reconnect is a new `LinkId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link-{}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One relay session of media: the pair of legs of one party of one call. Chosen by the core,
/// unique among the relays of that core while it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u32);

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay-{}", self.0)
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The name of a node, as its certificate carries it: 1 to 63 of `a-z 0-9 -`, starting with a
/// letter or digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// `None` unless `name` is a legal node name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = !name.is_empty()
            && name.len() <= 63
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        legal.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node is, as its certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Stands in the DMZ, is dialled.
    Edge,
    /// Stands inside, dials.
    Core,
}

impl Role {
    /// The word for it, in messages and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Core => "core",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_and_dialled_flows_never_collide() {
        let accepted = FlowId::accepted(3, 17);
        let dialled = FlowId::dialled(3, 17);
        assert_ne!(accepted, dialled);
        assert_eq!((accepted.shard(), dialled.shard()), (3, 3));
        assert!(!accepted.is_dialled() && dialled.is_dialled());
    }

    #[test]
    fn node_names_are_host_labels() {
        for good in ["edge1", "e", "core-tokyo-2", "9lives"] {
            assert!(NodeId::new(good).is_some(), "{good}");
        }
        for bad in ["", "-edge", "Edge", "edge_1", "edge.example", &"x".repeat(64)] {
            assert!(NodeId::new(bad).is_none(), "{bad}");
        }
    }
}
