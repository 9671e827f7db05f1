//! The HTTP server allow list in force: what the operator wrote, and what follows from discovery.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::rc::Rc;

use edgeway_config::settings::CoreSettings;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::allow_list::{AllowList, Rule, RuleFault, RulesContext, read_rules};
use edgeway_policy::discovery::Snapshot;
use edgeway_policy::limits::ALLOW_FILE_BYTES_MAX;

use crate::discovery::Current;

/// The list, made anew whenever discovery has taken something else into use.
pub struct InForce {
    servers: Current,
    written: Vec<Rule>,
    made: RefCell<(u64, Rc<AllowList>)>,
}

impl InForce {
    /// Reads the operator's rules.
    ///
    /// # Errors
    /// With everything that is wrong with the file.
    pub fn new(settings: &CoreSettings, servers: Current) -> Result<Self, String> {
        let deployments: Vec<Deployment> = settings.deployments.iter().map(|one| one.name.clone()).collect();
        let written = match &settings.http.allow_list {
            Some(path) => read(path, &deployments, &settings.http.default_methods)?,
            None => Vec::new(),
        };
        let snapshot = servers.snapshot();
        let list = compose(&written, &snapshot).map_err(|fault| format!("the HTTP server allow list: {fault}"))?;
        Ok(Self { servers, written, made: RefCell::new((snapshot.revision, Rc::new(list))) })
    }

    /// The list as it is now. Whoever has it keeps it, whatever is discovered meanwhile.
    #[must_use]
    pub fn list(&self) -> Rc<AllowList> {
        let snapshot = self.servers.snapshot();
        if self.made.borrow().0 != snapshot.revision {
            match compose(&self.written, &snapshot) {
                Ok(list) => *self.made.borrow_mut() = (snapshot.revision, Rc::new(list)),
                Err(fault) => {
                    // More rules than may be: the last list stays, and is not tried again for this snapshot.
                    tracing::error!(%fault, "no allow list can be made of what was discovered");
                    self.made.borrow_mut().0 = snapshot.revision;
                }
            }
        }
        Rc::clone(&self.made.borrow().1)
    }
}

fn read(path: &str, deployments: &[Deployment], default_methods: &[String]) -> Result<Vec<Rule>, String> {
    let mut text = String::new();
    // One byte more than may be: a file that is too long is found to be so.
    let bound = ALLOW_FILE_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(bound).read_to_string(&mut text))
        .map_err(|error| format!("the HTTP server allow list {path} cannot be read: {error}"))?;
    read_rules(&text, RulesContext { deployments, default_methods }).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(|problem| format!("{path}, {problem}")).collect();
        lines.join("\n")
    })
}

fn compose(written: &[Rule], snapshot: &Snapshot) -> Result<AllowList, RuleFault> {
    let mut rules = written.to_vec();
    rules.extend(snapshot.allow_rules());
    AllowList::new(rules)
}
