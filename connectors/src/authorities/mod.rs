//! Who checks the credentials of which deployment's users: made once, from the settings.

pub mod limits;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::{AuthoritySettings, DeploymentSettings};
use edgeway_model::sign_in::{Deployment, Subject};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{LocalFuture, Teller};

use crate::discovery::Current;
use crate::ldap::Directory;
use crate::oauth::Tokens;
use crate::proxy::HttpClient;
use crate::sign_in::authority::{Authority, Credential, Verdict};
use crate::unified_cm::uds::UnifiedCm;
use crate::users_file::UsersFile;

/// Asks discovery to look at the token keys of a deployment's call managers again, now. Ends when it has, or
/// could not, and says whether all of them have answered; what it found is in [`Current`] by then.
pub type FetchKeys = Rc<dyn Fn(Deployment) -> LocalFuture<'static, bool>>;

/// What authorities need of the rest of the core.
#[derive(Clone)]
pub struct Needs {
    /// What is known of the UC servers.
    pub servers: Current,
    /// For tokens whose key nobody knows.
    pub fetch_keys: FetchKeys,
    /// Asks Unified CM; must be there where a deployment has one.
    pub http: Option<HttpClient>,
    /// Looks up names of directories.
    pub resolver: Resolver,
    /// For alarms.
    pub teller: Teller,
}

/// Why there are no authorities: a file that is missing or wrong. In the operator's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityFault(pub String);

/// The authority of each deployment.
pub struct Authorities {
    of: BTreeMap<Deployment, Rc<dyn Authority>>,
}

impl Authorities {
    /// Makes them, on the `LocalSet` of the HTTP thread. Files are read now: a core with an unreadable users
    /// file or CA does not start.
    ///
    /// # Errors
    /// [`AuthorityFault`].
    pub fn new(settings: &CoreSettings, needs: &Needs) -> Result<Self, AuthorityFault> {
        let mut of = BTreeMap::new();
        for deployment in &settings.deployments {
            if let Some(authority) = one(settings, deployment, needs)? {
                of.insert(deployment.name.clone(), authority);
            }
        }
        Ok(Self { of })
    }

    /// The authority of a deployment; `None` where HTTPS sign-in is off.
    #[must_use]
    pub fn of(&self, deployment: &Deployment) -> Option<Rc<dyn Authority>> {
        self.of.get(deployment).map(Rc::clone)
    }
}

fn one(
    settings: &CoreSettings,
    deployment: &DeploymentSettings,
    needs: &Needs,
) -> Result<Option<Rc<dyn Authority>>, AuthorityFault> {
    let passwords: Option<Rc<dyn Authority>> = match &deployment.authority {
        AuthoritySettings::None => None,
        AuthoritySettings::UnifiedCm => Some(unified_cm(settings, deployment, needs)?),
        AuthoritySettings::Ldap(ldap) => Some(Rc::new(Directory::new(ldap, needs.resolver.clone())?)),
        AuthoritySettings::Users { file } => {
            let file = UsersFile::open(Path::new(file), needs.teller.clone())?;
            tokio::task::spawn_local(UsersFile::watch(Rc::downgrade(&file)));
            Some(file)
        }
    };
    let tokens: Option<Rc<dyn Authority>> = if deployment.oauth {
        let unified_cm = unified_cm(settings, deployment, needs)?;
        Some(Rc::new(Tokens::new(deployment, needs.servers.clone(), Rc::clone(&needs.fetch_keys), unified_cm)))
    } else {
        None
    };
    Ok((passwords.is_some() || tokens.is_some()).then(|| Rc::new(ByKind { passwords, tokens }) as Rc<dyn Authority>))
}

fn unified_cm(
    settings: &CoreSettings,
    deployment: &DeploymentSettings,
    needs: &Needs,
) -> Result<Rc<dyn Authority>, AuthorityFault> {
    let http =
        needs.http.as_ref().ok_or_else(|| AuthorityFault("there is no HTTP client for Unified CM".to_owned()))?;
    let http = http.of(deployment.name.clone());
    let ours = settings.uc.unified_cm.iter().filter(|server| server.deployment == deployment.name);
    let publishers = ours.map(|server| (server.address.host.clone(), server.address.port)).collect();
    Ok(Rc::new(UnifiedCm::new(deployment.name.clone(), publishers, needs.servers.clone(), http)))
}

/// Passwords go to one authority, tokens to another.
struct ByKind {
    passwords: Option<Rc<dyn Authority>>,
    tokens: Option<Rc<dyn Authority>>,
}

impl Authority for ByKind {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        let authority = match credential {
            Credential::Password(_) => &self.passwords,
            Credential::Bearer(_) => &self.tokens,
        };
        match authority {
            Some(authority) => authority.check(subject, credential),
            None => Box::pin(std::future::ready(Verdict::Refused)),
        }
    }
}

#[cfg(test)]
mod tests;
