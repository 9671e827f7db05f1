//! The health of one deployment's authority, by kind of credential, and what the operator hears of it.
//!
//! | alarm | when | ends |
//! |---|---|---|
//! | `authority_unavailable` | no server of it answers | with the next answer, or when nobody has asked for a while |
//! | `authority_troubled` | it answers, and some users cannot be checked | when that has not happened for a while |
//! | `user_home_unknown` | a user is at home in a cluster that is not known here | likewise |
//!
//! Passwords and access tokens have nothing to do with each other: what is the matter with the one leaves the other
//! alone.

use std::cell::{Cell, RefCell};

use edgeway_model::Moment;
use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::sign_in::Deployment;
use edgeway_runtime::http::{HttpFact, Teller};

use super::authority::{Credential, Reached};
use super::away::{Away, Change};
use super::desk::Now;
use super::limits::QUIET_FOR;

/// The alarm of an authority no server of which answers.
pub const AUTHORITY_UNAVAILABLE: &str = "authority_unavailable";
/// The alarm of an authority that cannot check some users.
pub const AUTHORITY_TROUBLED: &str = "authority_troubled";
/// The alarm of users whose home is not known here.
pub const USER_HOME_UNKNOWN: &str = "user_home_unknown";

/// Of one kind of credential.
struct Kind {
    what: &'static str,
    /// Whether it goes without saying.
    usual: bool,
    away: RefCell<Away>,
    /// When some user could not be checked last, while the alarm of it stands.
    troubled: Cell<Option<Moment>>,
}

impl Kind {
    fn new(what: &'static str, usual: bool) -> Self {
        Self { what, usual, away: RefCell::default(), troubled: Cell::new(None) }
    }
}

/// The health of one authority.
pub(super) struct Health {
    deployment: Deployment,
    passwords: Kind,
    tokens: Kind,
    /// When a user came last whose home is unknown, while the alarm of it stands.
    homeless: Cell<Option<Moment>>,
}

impl Health {
    pub(super) fn new(deployment: Deployment) -> Self {
        let (passwords, tokens) = (Kind::new("passwords", true), Kind::new("access tokens", false));
        Self { deployment, passwords, tokens, homeless: Cell::new(None) }
    }

    fn kind(&self, credential: &Credential) -> &Kind {
        match credential {
            Credential::Password(_) => &self.passwords,
            Credential::Bearer(_) => &self.tokens,
        }
    }

    /// Whether it is asked now.
    pub(super) fn may_ask(&self, credential: &Credential, now: Now) -> bool {
        self.kind(credential).away.borrow_mut().may_ask(now.moment)
    }

    /// It has said yes.
    pub(super) fn answered(&self, credential: &Credential, teller: &Teller) {
        let kind = self.kind(credential);
        let change = kind.away.borrow_mut().answered();
        self.ended(kind, change, teller);
    }

    /// It has said no. Access tokens are mostly refused here, without a question to anybody: that says nothing.
    pub(super) fn refused(&self, credential: &Credential, now: Now, teller: &Teller) {
        match credential {
            Credential::Password(_) => self.answered(credential, teller),
            Credential::Bearer(_) => self.tokens.away.borrow_mut().not_asked(now.moment),
        }
    }

    /// It has not said.
    pub(super) fn unanswered(&self, credential: &Credential, reached: Reached, why: &str, now: Now, teller: &Teller) {
        let kind = self.kind(credential);
        let change = kind.away.borrow_mut().unanswered(reached, now.moment);
        match change {
            Change::Lost => self.lost(kind, why, now, teller),
            Change::Back | Change::None => self.ended(kind, change, teller),
        }
        if reached != Reached::Nobody && kind.troubled.replace(Some(now.moment)).is_none() {
            teller.tell(HttpFact::Alarm(Alarm {
                id: AUTHORITY_TROUBLED,
                about: self.about(kind),
                severity: Severity::Warning,
                cause: format!(
                    "the {} of some users of deployment {} cannot be checked: {why}",
                    kind.what, self.deployment
                ),
                action: "See that all servers that check credentials are up and answer. Those users are told to come back; the \
                         others are not affected."
                    .into(),
                since_ms: now.unix_ms,
                node: None,
            }));
        }
    }

    /// A user is at home elsewhere.
    pub(super) fn elsewhere(&self, now: Now, teller: &Teller) {
        if self.homeless.replace(Some(now.moment)).is_none() {
            teller.tell(HttpFact::Alarm(Alarm {
                id: USER_HOME_UNKNOWN,
                about: self.deployment.as_str().to_owned(),
                severity: Severity::Warning,
                cause: format!(
                    "a call manager of deployment {} names a home cluster that is not known here: its users are refused",
                    self.deployment
                ),
                action: "If they are to sign in here, add the cluster as [[unified_cm]] of the deployment, or refresh the servers \
                         (edgeway servers refresh). If not, nothing."
                    .into(),
                since_ms: now.unix_ms,
                node: None,
            }));
        }
    }

    /// Ends the alarms that had no cause for a while.
    pub(super) fn quiet(&self, now: Now, teller: &Teller) {
        let is_over = |last: &Cell<Option<Moment>>| {
            let over = last.get().is_some_and(|at| now.moment.since(at) >= QUIET_FOR);
            if over {
                last.set(None);
            }
            over
        };
        for kind in [&self.passwords, &self.tokens] {
            let change = kind.away.borrow_mut().quiet(now.moment);
            self.ended(kind, change, teller);
            if is_over(&kind.troubled) {
                teller.tell(HttpFact::AlarmOver { id: AUTHORITY_TROUBLED, about: self.about(kind) });
            }
        }
        if is_over(&self.homeless) {
            let about = self.deployment.as_str().to_owned();
            teller.tell(HttpFact::AlarmOver { id: USER_HOME_UNKNOWN, about });
        }
    }

    /// The authority is no longer asked: nothing is the matter with it any more.
    pub(super) fn over(&self, teller: &Teller) {
        for kind in [&self.passwords, &self.tokens] {
            let change = kind.away.borrow_mut().answered();
            self.ended(kind, change, teller);
            if kind.troubled.take().is_some() {
                teller.tell(HttpFact::AlarmOver { id: AUTHORITY_TROUBLED, about: self.about(kind) });
            }
        }
        if self.homeless.take().is_some() {
            let about = self.deployment.as_str().to_owned();
            teller.tell(HttpFact::AlarmOver { id: USER_HOME_UNKNOWN, about });
        }
    }

    /// The deployment, and the kind of credential where it is not the usual one.
    fn about(&self, kind: &Kind) -> String {
        if kind.usual { self.deployment.as_str().to_owned() } else { format!("{} ({})", self.deployment, kind.what) }
    }

    fn ended(&self, kind: &Kind, change: Change, teller: &Teller) {
        if change == Change::Back {
            teller.tell(HttpFact::AlarmOver { id: AUTHORITY_UNAVAILABLE, about: self.about(kind) });
        }
    }

    fn lost(&self, kind: &Kind, why: &str, now: Now, teller: &Teller) {
        teller.tell(HttpFact::Alarm(Alarm {
            id: AUTHORITY_UNAVAILABLE,
            about: self.about(kind),
            severity: Severity::Error,
            cause: format!(
                "users of deployment {} cannot sign in, no server that checks {} answers: {why}",
                self.deployment, kind.what
            ),
            action: "See that the server that checks credentials answers, and that this core reaches it. Clients are told to \
                     come back; who has signed in already is not affected."
                .into(),
            since_ms: now.unix_ms,
            node: None,
        }));
    }
}
