//! What an operator should know of a node's certificates: for whom, by whom, until when; and in time that one ends.

use std::rc::Rc;

use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::certificates::{CertificateStatus, CertificateUse};
use edgeway_model::world::Observable;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::unix_ms;
use crate::limits::{CERTIFICATE_LOOK_EVERY, CERTIFICATE_NAMES_MAX};
use crate::pki::unix_now;
use crate::reactor::Reactor;

/// The alarm of one that ends soon, or has ended.
pub(crate) const ALARM_CERTIFICATE_EXPIRING: &str = "certificate_expiring";
const DAY: u64 = 24 * 60 * 60;
/// From so many days before its end on, or such a share of its life, an alarm stands; the first that holds.
const WARNED_AT: [(u64, u64, Severity); 3] =
    [(1, 27, Severity::Critical), (7, 9, Severity::Error), (21, 3, Severity::Warning)];

/// Tells the certificates of one use.
pub(crate) type Source = Box<dyn Fn() -> Vec<CertificateStatus>>;

/// A certificate as it is shown; `None` for what is none.
#[must_use]
pub fn read(used_for: CertificateUse, certificate: &CertificateDer<'_>) -> Option<CertificateStatus> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    let at = |moment: i64| u64::try_from(moment).unwrap_or(0);
    Some(CertificateStatus {
        used_for,
        names: names(&parsed),
        issuer: parsed.issuer().to_string(),
        not_before_unix: at(validity.not_before.timestamp()),
        not_after_unix: at(validity.not_after.timestamp()),
        fingerprint: Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let mut names: Vec<_> = alternative
        .iter()
        .flat_map(|one| &one.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
        .take(CERTIFICATE_NAMES_MAX)
        .collect();
    if names.is_empty() {
        names.push(parsed.subject().to_string());
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|four| std::net::Ipv4Addr::from(four).to_string());
    let sixteen = || <[u8; 16]>::try_from(bytes).map(|sixteen| std::net::Ipv6Addr::from(sixteen).to_string());
    four.or_else(|_| sixteen()).ok()
}

/// How bad it is that so much is left of a certificate's life, both in seconds; `None`: not at all yet. Of one whose life
/// is short by intention the last third counts, and so on in proportion.
fn severity(left: u64, life: u64) -> Option<Severity> {
    let near = |(days, share, _): &(u64, u64, Severity)| left <= (days * DAY).min(life / share);
    WARNED_AT.into_iter().find(near).map(|(.., severity)| severity)
}

fn alarm(certificate: &CertificateStatus, now_unix: u64) -> Option<Alarm> {
    let left = certificate.not_after_unix.saturating_sub(now_unix);
    let severity = severity(left, certificate.not_after_unix.saturating_sub(certificate.not_before_unix))?;
    let name = certificate.names.first().map_or("?", String::as_str);
    let cause = match left {
        0 => format!("The certificate of {name} has ended: whoever verifies it refuses this node."),
        _ => format!("The certificate of {name} ends in {} h.", left.div_ceil(60 * 60)),
    };
    let action = certificate.used_for.remedy().to_owned();
    let about = format!("{} {name}", certificate.used_for.as_str());
    Some(Alarm { id: ALARM_CERTIFICATE_EXPIRING, about, severity, cause, action, since_ms: unix_ms(), node: None })
}

/// Raises and ends alarms as certificates come and go.
pub(crate) async fn watch<N: Observable + 'static>(reactor: Rc<Reactor<N>>) {
    let mut standing: Vec<String> = Vec::new();
    loop {
        let now = unix_now();
        let certificates = reactor.certificates();
        let alarms: Vec<_> = certificates.iter().filter_map(|one| alarm(one, now)).collect();
        for about in standing.iter().filter(|about| !alarms.iter().any(|alarm| alarm.about == **about)) {
            reactor.end_alarm(ALARM_CERTIFICATE_EXPIRING, about);
        }
        standing = alarms.iter().map(|alarm| alarm.about.clone()).collect();
        alarms.into_iter().for_each(|alarm| reactor.raise_alarm(alarm));
        tokio::time::sleep(CERTIFICATE_LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, Role};

    #[test]
    fn what_is_shown_of_a_certificate_stands_in_it() {
        let authority = Authority::ephemeral().unwrap();
        let node = edgeway_model::NodeId::new("edge1").unwrap();
        let identity = authority.issue(&node, Role::Edge).unwrap();
        let shown = read(CertificateUse::Link, identity.certificate()).unwrap();
        assert!(shown.names.iter().any(|name| name.contains("edge1")), "{:?}", shown.names);
        assert_eq!(shown.not_after_unix, identity.life().ends);
        assert!(!shown.issuer.is_empty());
        let hash = Sha256::digest(identity.certificate());
        assert_eq!(shown.fingerprint.len(), 64);
        assert!(shown.fingerprint.starts_with(&format!("{:02x}{:02x}", hash[0], hash[1])));
        assert_eq!(read(CertificateUse::Link, &CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn the_nearer_the_end_the_worse() {
        const HOUR: u64 = 60 * 60;
        for (life, left, expected) in [
            (365 * DAY, 22 * DAY, None),
            (365 * DAY, 21 * DAY, Some(Severity::Warning)),
            (365 * DAY, 7 * DAY, Some(Severity::Error)),
            (365 * DAY, DAY, Some(Severity::Critical)),
            (365 * DAY, 0, Some(Severity::Critical)),
            (6 * DAY, 5 * DAY, None),
            (6 * DAY, 2 * DAY, Some(Severity::Warning)),
            (6 * DAY, 16 * HOUR, Some(Severity::Error)),
            (6 * DAY, 5 * HOUR, Some(Severity::Critical)),
        ] {
            assert_eq!(severity(left, life), expected, "{left} s left of {life}");
        }
    }

    #[test]
    fn an_alarm_says_whose_certificate_and_what_to_do() {
        let one = CertificateStatus {
            used_for: CertificateUse::Clients,
            names: vec!["edge.example.com".into()],
            issuer: "CN=Some CA".into(),
            not_before_unix: 0,
            not_after_unix: 100 * DAY,
            fingerprint: String::new(),
        };
        assert_eq!(alarm(&one, 10 * DAY), None);
        let raised = alarm(&one, 99 * DAY).unwrap();
        assert_eq!((raised.severity, raised.about.as_str()), (Severity::Critical, "clients edge.example.com"));
        assert!(raised.cause.contains("24 h") && raised.action.contains("Renew it"));
        assert!(alarm(&one, 101 * DAY).unwrap().cause.contains("has ended"));
    }
}
