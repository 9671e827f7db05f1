//! Two edges and two cores, every core linked with every edge.

use crate::process::{Usage, wait_for};
use crate::product::{LINK_PATIENCE, Node, ProductSetup, binaries};
use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that was set up first.
    First,
    /// The other.
    Second,
}

/// Two running edges, one running core, and one that is yet to be [added](Self::add_second_core).
#[derive(Debug)]
pub struct Quartet {
    binaries: PathBuf,
    edges: [Node; 2],
    cores: [Node; 2],
}

impl Quartet {
    /// Starts both edges and the first core, and waits until they are linked. Each setup says of one edge and one core
    /// where they are; both cores are told the same otherwise.
    pub fn start(setups: &[ProductSetup<'_>; 2], directory: &Path) -> Result<Self> {
        let [first, second] = setups;
        let mut quartet = Self {
            binaries: binaries()?,
            edges: [Node::edge(first, 1, directory)?, Node::edge(second, 2, directory)?],
            cores: [Node::core(first, 1, directory)?, Node::core(second, 2, directory)?],
        };
        let Self { binaries, edges, cores: [core, _] } = &mut quartet;
        for edge in edges.iter_mut() {
            edge.start(binaries)?;
            core.join(edge, binaries)?;
        }
        core.start(binaries)?;
        quartet.wait_linked(Which::First)?;
        Ok(quartet)
    }

    /// Starts the second core, has the first one certify it, links it with both edges, and waits until it is.
    pub fn add_second_core(&mut self) -> Result<()> {
        let Self { binaries, edges, cores: [first, second] } = self;
        second.start(binaries)?;
        wait_for("the second core", LINK_PATIENCE, || second.status(binaries).is_ok())?;
        first.join(second, binaries)?;
        for edge in edges {
            second.join(edge, binaries)?;
        }
        self.wait_linked(Which::Second)
    }

    /// Ends a core as a power cut would.
    pub fn kill_core(&mut self, which: Which) -> Result<()> {
        let daemon = self.core_mut(which).daemon.take().context("the core runs")?;
        daemon.signal(Signal::KILL)
    }

    /// Starts a core that was killed and waits until it is linked with both edges.
    pub fn start_core(&mut self, which: Which) -> Result<()> {
        let binaries = self.binaries.clone();
        self.core_mut(which).start(&binaries)?;
        self.wait_linked(which)
    }

    /// `edgeway status` of an edge.
    pub fn edge_status(&self, which: Which) -> Result<Value> {
        self.edge(which).status(&self.binaries)
    }

    /// An `edgeway` command on an edge's machine, with that edge's file.
    pub fn edge_command(&self, which: Which, arguments: &[&str]) -> Command {
        self.edge(which).command(&self.binaries, arguments)
    }

    /// The same of a core.
    pub fn core_command(&self, which: Which, arguments: &[&str]) -> Command {
        self.core(which).command(&self.binaries, arguments)
    }

    /// `edgeway status` of a core.
    pub fn core_status(&self, which: Which) -> Result<Value> {
        self.core(which).status(&self.binaries)
    }

    /// CPU and memory of an edge.
    pub fn edge_usage(&self, which: Which) -> Result<Usage> {
        self.edge(which).daemon.as_ref().context("the edge runs")?.usage()
    }

    /// CPU and memory of a core.
    pub fn core_usage(&self, which: Which) -> Result<Usage> {
        self.core(which).daemon.as_ref().context("the core runs")?.usage()
    }

    /// The end of all logs, for error messages.
    pub fn log_tails(&self) -> String {
        let daemons = self.edges.iter().chain(&self.cores).filter_map(|node| node.daemon.as_ref());
        daemons.map(|daemon| daemon.log_tail() + "\n").collect()
    }

    fn wait_linked(&self, which: Which) -> Result<()> {
        let edges = self.edges.len();
        let linked = || self.core(which).links_up(&self.binaries, "edge") >= edges;
        wait_for("links with both edges", LINK_PATIENCE, linked).with_context(|| self.log_tails())
    }

    fn edge(&self, which: Which) -> &Node {
        let [first, second] = &self.edges;
        if which == Which::First { first } else { second }
    }

    fn core(&self, which: Which) -> &Node {
        let [first, second] = &self.cores;
        if which == Which::First { first } else { second }
    }

    fn core_mut(&mut self, which: Which) -> &mut Node {
        let [first, second] = &mut self.cores;
        if which == Which::First { first } else { second }
    }
}
