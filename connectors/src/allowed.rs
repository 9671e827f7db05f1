//! The HTTP server allow list in force: what the operator wrote into the file and into the configuration, and what follows
//! from discovery.

mod asked;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read as _;
use std::rc::Rc;

use edgeway_config::settings::CoreSettings;
use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::sign_in::Deployment;
use edgeway_policy::allow_list::{AllowList, Rule, RuleFault, RulesContext, configured_rules, read_rules};
use edgeway_policy::discovery::Snapshot;
use edgeway_policy::limits::{ALLOW_FILE_BYTES_MAX, ALLOW_RULES_MAX};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::{HttpFact, Teller};

pub(crate) use self::asked::{listed, tested};
use crate::discovery::Current;

/// There are more rules than may be.
pub const ALARM_FULL: &str = "allow_list_full";

/// The list, made anew whenever discovery has taken something else into use.
pub struct InForce {
    servers: Current,
    written: Vec<Rule>,
    teller: Teller,
    /// Whether the alarm stands that there is no room.
    full: Cell<bool>,
    /// Of which snapshot; `None`: of none yet.
    made: RefCell<(Option<u64>, Rc<AllowList>)>,
}

impl InForce {
    /// Reads the operator's rules.
    ///
    /// # Errors
    /// With everything that is wrong with the file.
    pub fn new(settings: &CoreSettings, servers: Current, teller: Teller) -> Result<Self, String> {
        let deployments: Vec<Deployment> = settings.deployments.iter().map(|one| one.name.clone()).collect();
        let mut written = match &settings.http.allow_list {
            Some(path) => read(path, &deployments, &settings.http.default_methods)?,
            None => Vec::new(),
        };
        let configured = configured_rules(&settings.http).map_err(|misfits| {
            let lines: Vec<_> = misfits.iter().map(|one| format!("{}: {}", one.path(), one.fault)).collect();
            lines.join("\n")
        })?;
        written.extend(configured);
        Self::with(written, servers, teller)
    }

    fn with(written: Vec<Rule>, servers: Current, teller: Teller) -> Result<Self, String> {
        let list = compose(&written, &[]).map_err(|fault| format!("the HTTP server allow list: {fault}"))?;
        let made = RefCell::new((None, Rc::new(list)));
        Ok(Self { servers, written, teller, full: Cell::new(false), made })
    }

    /// It takes the place of `old`, whose alarm is its own now.
    pub fn take_over(&self, old: &Self) {
        self.full.set(old.full.get());
        let _ = self.list();
    }

    /// Makes the list of a snapshot: as many clusters, in the order of the settings, as there is room for. Those that
    /// do not fit have no rules of their own, and an alarm says which: the others are served all the same.
    fn make(&self, snapshot: &Snapshot) {
        let (mut automatic, mut dropped) = (Vec::new(), Vec::new());
        for cluster in &snapshot.clusters {
            let rules = cluster.allow_rules();
            if self.written.len() + automatic.len() + rules.len() <= ALLOW_RULES_MAX {
                automatic.extend(rules);
            } else {
                dropped.push(format!("{} {}", cluster.product, cluster.publisher));
            }
        }
        match compose(&self.written, &automatic) {
            Ok(list) => *self.made.borrow_mut() = (Some(snapshot.revision), Rc::new(list)),
            Err(fault) => {
                // No rule of discovery is none; should one be, the last list stays, and is not tried again.
                tracing::error!(%fault, "no allow list can be made of what was discovered");
                self.made.borrow_mut().0 = Some(snapshot.revision);
            }
        }
        let about = "http.allow_list".to_owned();
        if !dropped.is_empty() {
            let cause = format!(
                "there is room for {ALLOW_RULES_MAX} rules, and those of {} do not fit: clients reach none of its servers",
                dropped.join(", ")
            );
            let action = "write fewer rules into the file, and refresh the servers".to_owned();
            let (id, severity, since_ms) = (ALARM_FULL, Severity::Error, unix_ms());
            self.teller.tell(HttpFact::Alarm(Alarm { id, about, severity, cause, action, since_ms, node: None }));
        } else if self.full.get() {
            self.teller.tell(HttpFact::AlarmOver { id: ALARM_FULL, about });
        }
        self.full.set(!dropped.is_empty());
    }

    /// The list as it is now. Whoever has it keeps it, whatever is discovered meanwhile.
    #[must_use]
    pub fn list(&self) -> Rc<AllowList> {
        let snapshot = self.servers.snapshot();
        if self.made.borrow().0 != Some(snapshot.revision) {
            self.make(&snapshot);
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

fn compose(written: &[Rule], automatic: &[Rule]) -> Result<AllowList, RuleFault> {
    AllowList::new(written.iter().chain(automatic).cloned())
}

#[cfg(test)]
mod tests {
    use edgeway_policy::allow_list::MatchType;
    use edgeway_policy::discovery::{Cluster, Product, UcNode};

    use super::*;

    fn cluster(publisher: &str) -> Cluster {
        Cluster {
            product: Product::Unity,
            publisher: publisher.to_owned(),
            deployment: Deployment::default_one(),
            version: "12.5".to_owned(),
            mixed_mode: false,
            nodes: vec![UcNode {
                name: publisher.to_owned(),
                publisher: true,
                sip_port: 0,
                sip_tls_port: 0,
                sip_oauth_port: 0,
                https_port: 443,
            }],
            tftp: Vec::new(),
            oauth: false,
            token_keys: Vec::new(),
        }
    }

    #[test]
    fn a_cluster_whose_rules_do_not_fit_goes_without_and_an_alarm_says_so() {
        let rule = |at: usize| {
            let url = format!("https://h{at}.example.com/");
            Rule::of_url(&url, Deployment::default_one(), MatchType::Prefix, vec!["GET".to_owned()], "").unwrap()
        };
        let written: Vec<Rule> = (1..ALLOW_RULES_MAX).map(rule).collect();
        let (teller, mut facts) = Teller::new();
        let (one, two) = (cluster("one.example.com"), cluster("two.example.com"));
        let servers = Current::new(Snapshot { revision: 1, taken_ms: 1, clusters: vec![one.clone(), two] });
        let in_force = InForce::with(written, servers.clone(), teller).unwrap();
        assert_eq!(in_force.list().rules().len(), ALLOW_RULES_MAX);
        let Ok(HttpFact::Alarm(alarm)) = facts.try_recv() else { panic!("an alarm") };
        assert_eq!(alarm.id, ALARM_FULL);
        assert!(alarm.cause.contains("two.example.com") && !alarm.cause.contains("one.example.com"), "{}", alarm.cause);
        servers.swap(Snapshot { revision: 2, taken_ms: 2, clusters: vec![one] });
        assert_eq!(in_force.list().rules().len(), ALLOW_RULES_MAX);
        assert!(matches!(facts.try_recv(), Ok(HttpFact::AlarmOver { id: ALARM_FULL, .. })));
    }
}
