//! What the settings say of this core.

use edgeway_config::settings::CoreSettings;

/// What this core calls itself towards a Unified CM: a whole name that its nodes can look up, or nothing.
#[must_use]
pub fn own_name(settings: &CoreSettings) -> Option<String> {
    let host = &settings.sip.advertise.host;
    (host.contains('.') && host.parse::<std::net::IpAddr>().is_err()).then(|| host.clone())
}
