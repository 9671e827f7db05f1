//! Headers that edge and core add to what they carry for clients over the link. None of them but [`CODE`] ever
//! reaches a client or a UC server, and none is believed that a client sent: every name with
//! [`PREFIX`] is removed at the edge, both ways.

/// What all of them begin with.
pub const PREFIX: &str = "edgeway-";
/// Edge to core: the client's address and port. Information, never an authorisation.
pub const CLIENT: &str = "edgeway-client";
/// Edge to core: this request's id, 16 hexadecimal digits, for the logs of both tiers.
pub const REQUEST: &str = "edgeway-request";
/// Core to edge: the reason phrase for the client where it is not the usual one.
pub const REASON: &str = "edgeway-reason";
/// Core to edge: the client has tried this user's credentials and they were refused (`credentials`), or
/// broke the rules (`intrusion`): for intrusion protection at the edge.
pub const OFFENCE: &str = "edgeway-offence";
/// Core to edge: the client's HTTP/1.1 connection ends with this answer.
pub const CLOSE: &str = "edgeway-close";
/// To the client: what a refusal of ours is found by (`EW-7K2F`). The one name of ours that clients see.
pub const CODE: &str = "x-edgeway-code";
