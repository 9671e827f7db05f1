//! The edges, and the further cores, a core has joined: `edges.json` in its state directory.

use std::path::Path;

use edgeway_model::{NodeId, Role};
use serde::{Deserialize, Serialize};

use super::limits::EDGES_MAX;
use super::token::is_address;
use super::{PkiError, store};

const FILE: &str = "edges.json";

/// One edge, or one further core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRecord {
    /// Its name.
    pub node: NodeId,
    /// Edge, or core.
    pub role: Role,
    /// Where its link port is dialled, `host:port`.
    pub address: String,
    /// SHA-256 of its public key.
    pub key_hash: [u8; 32],
}

/// Every edge a core dials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeBook {
    edges: Vec<EdgeRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    node: String,
    /// Only said of cores: files of earlier versions know edges alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    core: bool,
    address: String,
    key_sha256: String,
}

impl EdgeBook {
    /// Reads `edges.json`; no file, no edges.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn load(state_dir: &Path) -> Result<Self, PkiError> {
        let path = state_dir.join(FILE);
        let Some(bytes) = store::read_private(&path)? else { return Ok(Self::default()) };
        let on_disk: Vec<OnDisk> =
            serde_json::from_slice(&bytes).map_err(|error| PkiError::damaged(&path, error.to_string()))?;
        let record = |entry: OnDisk| {
            let node = NodeId::new(&entry.node)?;
            let key_hash = store::from_hex(&entry.key_sha256)?;
            let role = if entry.core { Role::Core } else { Role::Edge };
            is_address(&entry.address).then_some(EdgeRecord { node, role, address: entry.address, key_hash })
        };
        let edges: Option<Vec<_>> = on_disk.into_iter().map(record).collect();
        let edges = edges.ok_or_else(|| PkiError::damaged(&path, "an entry has no legal name, address or key hash"))?;
        if edges.len() > EDGES_MAX {
            return Err(PkiError::Full(format!("{} lists more than {EDGES_MAX} edges", path.display())));
        }
        Ok(Self { edges })
    }

    /// Writes `edges.json` in one step.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn store(&self, state_dir: &Path) -> Result<(), PkiError> {
        store::ensure_directory(state_dir)?;
        let path = state_dir.join(FILE);
        let entry = |edge: &EdgeRecord| OnDisk {
            node: edge.node.to_string(),
            core: edge.role == Role::Core,
            address: edge.address.clone(),
            key_sha256: store::hex(&edge.key_hash),
        };
        let on_disk: Vec<_> = self.edges.iter().map(entry).collect();
        let bytes = serde_json::to_vec_pretty(&on_disk).map_err(|error| PkiError::damaged(&path, error.to_string()))?;
        store::replace(&path, &bytes)
    }

    /// Adds an edge, or updates the address and key of one with that name.
    ///
    /// # Errors
    /// If there are [`EDGES_MAX`] already.
    pub fn record(&mut self, edge: EdgeRecord) -> Result<(), PkiError> {
        if let Some(known) = self.edges.iter_mut().find(|known| known.node == edge.node) {
            *known = edge;
            return Ok(());
        }
        if self.edges.len() >= EDGES_MAX {
            return Err(PkiError::Full(format!("{EDGES_MAX} edges are recorded already: forget one first")));
        }
        self.edges.push(edge);
        Ok(())
    }

    /// Forgets an edge and says whether it was there.
    pub fn forget(&mut self, node: &NodeId) -> bool {
        let before = self.edges.len();
        self.edges.retain(|edge| edge.node != *node);
        self.edges.len() != before
    }

    /// The edges, oldest first.
    #[must_use]
    pub fn edges(&self) -> &[EdgeRecord] {
        &self.edges
    }

    /// The edge of that name.
    #[must_use]
    pub fn find(&self, node: &NodeId) -> Option<&EdgeRecord> {
        self.edges.iter().find(|edge| edge.node == *node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::tests::Scratch;

    fn edge(name: &str, address: &str) -> EdgeRecord {
        EdgeRecord {
            node: NodeId::new(name).unwrap(),
            role: Role::Edge,
            address: address.to_owned(),
            key_hash: [5; 32],
        }
    }

    #[test]
    fn the_book_survives_a_restart() {
        let scratch = Scratch::new("edges");
        assert_eq!(EdgeBook::load(scratch.path()).unwrap(), EdgeBook::default());
        let mut book = EdgeBook::default();
        book.record(edge("edge1", "10.0.0.1:7001")).unwrap();
        book.record(edge("edge2", "10.0.0.2:7001")).unwrap();
        book.record(edge("edge1", "10.0.0.3:7001")).unwrap();
        book.store(scratch.path()).unwrap();
        let loaded = EdgeBook::load(scratch.path()).unwrap();
        assert_eq!(loaded, book);
        assert_eq!(loaded.find(&NodeId::new("edge1").unwrap()).unwrap().address, "10.0.0.3:7001");
        assert!(book.forget(&NodeId::new("edge2").unwrap()) && book.edges().len() == 1);
    }

    #[test]
    fn a_damaged_book_is_told_not_guessed() {
        let scratch = Scratch::new("edges-bad");
        for bad in ["", "{}", r#"[{"node":"Edge","address":"a:1","key_sha256":""}]"#] {
            store::replace(&scratch.path().join(FILE), bad.as_bytes()).unwrap();
            assert!(matches!(EdgeBook::load(scratch.path()), Err(PkiError::Damaged { .. })), "{bad}");
        }
    }
}
