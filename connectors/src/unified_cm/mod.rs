//! Unified CM.
//!
//! What discovery asks the publisher, in this order, on one connection (HTTPS, Basic, `POST /axl/`, SOAP 1.1). What
//! the simulated call manager of the lab answers is made after this table, and so is what is kept: nothing else is ever asked.
//!
//! | question | what is read of the answer |
//! |---|---|
//! | `getCCMVersion` in the lowest schema, `10.0` | `return/componentVersion/version`: `12.5.1.10000(22)`; all further questions are in the schema `12.5` of that version |
//! | `listProcessNode`, `name` `%`, tags `name nodeUsage processNodeRole` | every `processNode`: `name`, `nodeUsage` (`Publisher`, `Subscriber`), `processNodeRole` (`CUCM Voice/Video`, `CUCM IM and Presence`); `EnterpriseWideData` is no node |
//! | `listCallManager`, `name` `%`, tags `name processNodeName ports` | every `callManager`: `processNodeName`, `ports/sipPorts/{sipPhonePort, sipPhoneSecurePort, sipOAuthPort, sipMRAOAuthPort}` (the last one counts, where there is one; 5091 where none is told) |
//! | `executeSQLQuery`: `select paramname,paramvalue from processconfig where paramname in ('ClusterSecurityMode','ClusterSIPOAuthMode')` | every `row`: `paramname`, `paramvalue`; `1` is mixed mode, or SIP OAuth; a parameter that is missing is `0` |
//! | `listProcessNodeService`, `processNodeName` `%`, `service` `Cisco Tftp`, tags `processNodeName service isActive` | every `processNodeService`: `processNodeName`, `service`, `isActive` (`true`, `false`) |
//! | `GET /ssosp/token/keys`, without credentials | 200: a JWK set (RFC 7517) of RSA keys, `kty` `kid` `n` `e`: the cluster issues self-describing tokens, signed with these; 404: it issues none |
//! | `addExpresswayCConfiguration`, where the settings name this core's host | anything but a fault that does not say it is there already |
//!
//! The path of the keys is ours to choose: the vendor documents none ([`TOKEN_KEYS_PATH`]).

pub(crate) mod axl;
pub(crate) mod cluster;

/// Where the keys that sign access tokens are published, as a JWK set (RFC 7517 §5).
pub const TOKEN_KEYS_PATH: &str = "/ssosp/token/keys";

pub mod uds;
pub mod uds_xml;
