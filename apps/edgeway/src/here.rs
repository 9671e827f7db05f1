//! The nodes of this machine, and what they answer.

use std::path::{Path, PathBuf};

use edgeway_model::Role;
use edgeway_runtime::admin;
use serde_json::Value;

use crate::commands::{Failure, USUAL_SOCKETS, any_settings, ask_at, nothing_runs};

/// Where the settings of a node lie that was installed as a package.
const USUAL_FILES: [(Role, &str); 2] = [(Role::Core, "/etc/edgeway/core.toml"), (Role::Edge, "/etc/edgeway/edge.toml")];

/// One of them.
#[derive(Debug)]
pub(crate) struct NodeHere {
    pub(crate) role: Role,
    socket: String,
    /// Its settings file, where that is known.
    pub(crate) settings_file: Option<PathBuf>,
}

impl NodeHere {
    /// What it answers to GET.
    pub(crate) fn fetch(&self, path: &str) -> Result<String, Failure> {
        let (code, body) = admin::fetch(&self.socket, path).map_err(|fault| Failure::fetching(&fault))?;
        if code == 200 { Ok(body) } else { Err(Failure::new(format!("{} answers {code}: {body}", self.socket))) }
    }

    /// What it answers to a question of the operator.
    pub(crate) fn ask(&self, path: &str, question: &Value) -> Result<Value, Failure> {
        ask_at(&self.socket, None, path, question)
    }
}

/// The node whose settings file this is; without one, all of this machine.
pub(crate) fn nodes_here(config: Option<&Path>) -> Result<Vec<NodeHere>, Failure> {
    if let Some(path) = config {
        let settings = any_settings(path)?;
        let socket = settings.control_socket().to_owned();
        return Ok(vec![NodeHere { role: settings.role(), socket, settings_file: Some(path.to_owned()) }]);
    }
    let here = |(role, socket): &(Role, &str)| {
        let file = USUAL_FILES.iter().find(|(of, _)| of == role).map(|(_, file)| PathBuf::from(file));
        let settings_file = file.filter(|file| file.exists());
        Path::new(socket).exists().then(|| NodeHere { role: *role, socket: (*socket).to_owned(), settings_file })
    };
    let nodes: Vec<_> = USUAL_SOCKETS.iter().filter_map(here).collect();
    if nodes.is_empty() { Err(nothing_runs()) } else { Ok(nodes) }
}
