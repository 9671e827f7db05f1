//! Deployments, their zones, and who has signed in.

use std::net::SocketAddr;
use std::sync::Arc;

use edgeway_model::Input;
use edgeway_model::sign_in::{Deployment, DigestSecret, Profile, Session, SignInFact, Subject, UserName};
use edgeway_model::world::Transport;
use edgeway_model::zones::{Challenge, DeploymentZones, Zone, Zones};
use edgeway_sip::digest;

const DOMAIN: &str = "example.com";
/// Everybody's password.
pub(crate) const PASSWORD: &str = "secret";

/// A user has signed in over HTTPS, for good, as the core's HTTP side says.
pub(crate) fn signed_in(user: &str) -> Option<Input> {
    let (md5, sha256) = digest::hashes(user, DOMAIN, PASSWORD);
    let session = Session {
        subject: Subject { deployment: Deployment::default_one(), user: UserName::new(user)? },
        until_ms: u64::MAX,
        since_ms: 1,
        verifier: None,
        digests: vec![DigestSecret { user: user.to_owned(), realm: DOMAIN.to_owned(), md5, sha256 }],
        tokens: Vec::new(),
        devices: None,
        numbers: vec![user.to_owned()],
        profile: Profile::default(),
    };
    Some(Input::SignIn(SignInFact::SignedIn(Arc::new(session))))
}

/// Registrars at fixed addresses, best first, and a second deployment that has none.
pub(crate) fn zones(addresses: &[SocketAddr], transport: Transport, core_challenges: bool, revision: u64) -> Zones {
    let realm = DOMAIN.to_owned();
    let challenge = if core_challenges { Challenge::Core { realm, bearer: false } } else { Challenge::Registrar };
    let zone = |(priority, address): (u16, &SocketAddr)| Zone {
        name: format!("zone-{address}-{revision}"),
        host: address.ip().to_string(),
        port: Some(address.port()),
        transport: Some(transport),
        secure: false,
        priority,
        weight: 1,
        names: vec![format!("node{revision}.example.com")],
    };
    let of = |name: &str, domain: &str, zones: Vec<Zone>| {
        let deployment = Deployment::new(name)?;
        let domains = vec![domain.to_owned()];
        Some(DeploymentZones { deployment, domains, zones, challenge: challenge.clone() })
    };
    let own = (0..).zip(addresses).map(zone).collect();
    let deployments = [of(Deployment::DEFAULT, DOMAIN, own), of("other", "example.net", Vec::new())];
    Zones { revision, deployments: deployments.into_iter().flatten().collect() }
}
