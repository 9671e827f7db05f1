//! Questions to the name system and their answers, as facts (RFC 3263 needs NAPTR, SRV, A and AAAA).
//!
//! A core asks for names its operator configured, and for names that answers to those hold; never for
//! a name a client sent.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// NAPTR (RFC 3403).
    Naptr,
    /// SRV (RFC 2782).
    Srv,
    /// A and AAAA, both at once.
    Addresses,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsQuery {
    /// The name, in lower case and without a final dot.
    pub name: String,
    /// What is asked.
    pub kind: RecordKind,
}

impl fmt::Display for DnsQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RecordKind::Naptr => "NAPTR",
            RecordKind::Srv => "SRV",
            RecordKind::Addresses => "A/AAAA",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// A NAPTR record (RFC 3403 §4.1), without its regular expression: SIP uses none (RFC 3263 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NaptrRecord {
    /// Lower goes first.
    pub order: u16,
    /// Among those of one order, lower goes first.
    pub preference: u16,
    /// `s` leads to SRV, others are of no use here.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub service: String,
    /// The name to ask next.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: String,
}

/// What came of a question. Times to live are what the answer says; the node has its own bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// NAPTR records.
    Naptr {
        /// The records, in no order.
        records: Vec<NaptrRecord>,
        /// How long they hold.
        ttl: Duration,
    },
    /// SRV records.
    Srv {
        /// The records, in no order.
        records: Vec<SrvRecord>,
        /// How long they hold.
        ttl: Duration,
    },
    /// Addresses.
    Addresses {
        /// Of either family.
        addresses: Vec<IpAddr>,
        /// How long they hold.
        ttl: Duration,
    },
    /// The name, or records of this kind, do not exist.
    Nothing,
    /// Nobody answered, or with an error.
    Failed {
        /// Why, for the operator.
        why: String,
    },
}
