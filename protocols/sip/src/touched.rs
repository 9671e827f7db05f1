//! Every header field our nodes touch, and how: one table, from which the manual's page is made and
//! against which a test holds both nodes. What is not in it passes byte for byte, in its place.

use std::fmt::Write as _;

use crate::header::{Name, makes_dialog};

/// One of our nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The edge.
    Edge,
    /// The core.
    Core,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a registrar or another party inside.
    Inward,
    /// From inside to a client.
    Outward,
}

/// Requests or responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Request,
    /// Responses; methods are those of their requests.
    Response,
}

/// Which methods an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// All, unknown ones included.
    All,
    /// Those that make dialogs ([`makes_dialog`]).
    Dialogs,
    /// These.
    Only(&'static [&'static str]),
}

impl Methods {
    fn contains(self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Dialogs => makes_dialog(method),
            Self::Only(methods) => methods.contains(&method),
        }
    }

    fn words(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Dialogs => "INVITE, SUBSCRIBE, REFER, NOTIFY".to_owned(),
            Self::Only(methods) => methods.join(", "),
        }
    }
}

/// One header field that one node touches.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// The node.
    pub tier: Tier,
    /// Which way.
    pub direction: Direction,
    /// In requests or in responses.
    pub kind: Kind,
    /// The field.
    pub name: Name,
    /// In messages of which methods.
    pub methods: Methods,
    /// What it does, for the manual.
    pub what: &'static str,
}

const fn touch(
    tier: Tier,
    direction: Direction,
    kind: Kind,
    name: Name,
    methods: Methods,
    what: &'static str,
) -> Touch {
    Touch { tier, direction, kind, name, methods, what }
}

const REGISTER: Methods = Methods::Only(&["REGISTER"]);
/// Methods whose messages may carry a session description that is rewritten.
const OFFERS: Methods = Methods::Only(&["INVITE", "UPDATE", "PRACK", "ACK"]);
const HOPS: &str = "one less; 70 where it is missing";
const BODY: &str = "the length of a body whose session description was rewritten";
const OWN_VIA: &str = "our own put in front";
const OWN_VIA_OFF: &str = "our own taken off";
const FOREIGN: &str = "taken off, all of it, unless the connection has proven who it is and every value is an address registered on it, or its own in this message";
const OWN_CREDENTIALS: &str =
    "where the core challenges: the answer to its own challenge taken off; what is for another realm stays";
const RECORD: &str = "our own URI put in front";

use Direction::{Inward, Outward};
use Kind::{Request, Response};
use Methods::{All, Dialogs};
use Tier::{Core, Edge};

/// The table.
pub const TOUCHED: &[Touch] = &[
    touch(
        Edge,
        Inward,
        Request,
        Name::Via,
        All,
        "`received` and `rport` of the client's, `keep` where it asks (RFC 6223); our own put in front",
    ),
    touch(
        Edge,
        Inward,
        Request,
        Name::Route,
        All,
        "values that lead to this edge, and the one behind them that names a core, taken off",
    ),
    touch(Edge, Inward, Request, Name::MaxForwards, All, HOPS),
    touch(Edge, Inward, Request, Name::Path, REGISTER, "our own URI, with the flow's token, put in front"),
    touch(Edge, Inward, Request, Name::RecordRoute, Dialogs, "our own URI, with the flow's token, put in front"),
    touch(Core, Inward, Request, Name::Via, All, OWN_VIA),
    touch(Core, Inward, Request, Name::MaxForwards, All, HOPS),
    touch(Core, Inward, Request, Name::RecordRoute, Dialogs, RECORD),
    touch(Core, Inward, Request, Name::Path, REGISTER, "SIP Path headers On: our own URI put in front; Off: taken off"),
    touch(
        Core,
        Inward,
        Request,
        Name::Supported,
        REGISTER,
        "On: `path` added where it is missing; Off: `outbound` taken out",
    ),
    touch(Core, Inward, Request, Name::Contact, REGISTER, "Off: the URIs lead to the core; parameters stay"),
    touch(Core, Inward, Request, Name::ContentLength, OFFERS, BODY),
    touch(Core, Inward, Request, Name::PAssertedIdentity, All, FOREIGN),
    touch(Core, Inward, Request, Name::PPreferredIdentity, All, FOREIGN),
    touch(Core, Inward, Request, Name::RemotePartyId, All, FOREIGN),
    touch(Core, Inward, Request, Name::Diversion, All, FOREIGN),
    touch(Core, Inward, Request, Name::HistoryInfo, All, FOREIGN),
    touch(Core, Inward, Request, Name::ReferredBy, All, FOREIGN),
    touch(Core, Inward, Request, Name::PServedUser, All, FOREIGN),
    touch(Core, Inward, Request, Name::PProfileKey, All, FOREIGN),
    touch(Core, Inward, Request, Name::PChargeInfo, All, FOREIGN),
    touch(Core, Inward, Request, Name::Authorization, All, OWN_CREDENTIALS),
    touch(Core, Inward, Request, Name::ProxyAuthorization, All, OWN_CREDENTIALS),
    touch(Core, Outward, Response, Name::Via, All, OWN_VIA_OFF),
    touch(Core, Outward, Response, Name::Contact, REGISTER, "Off: the client's own URIs are given back"),
    touch(Core, Outward, Response, Name::ContentLength, OFFERS, BODY),
    touch(Edge, Outward, Response, Name::Via, All, OWN_VIA_OFF),
    touch(
        Edge,
        Outward,
        Response,
        Name::Supported,
        REGISTER,
        "to a client that offers AR or SK: `X-cisco-supports-…`, as far as the whole path has them",
    ),
    touch(
        Edge,
        Outward,
        Response,
        Name::ServiceRoute,
        REGISTER,
        "to a client that offers AR and came through another core than its Route names: the way to that core put in front",
    ),
    touch(Edge, Outward, Response, Name::Warning, REGISTER, "with that: 399 \"Rerouted to …\" added"),
    touch(
        Core,
        Outward,
        Request,
        Name::Via,
        All,
        "`received` and `rport` of the sender's where it asks or lies; our own put in front",
    ),
    touch(
        Core,
        Outward,
        Request,
        Name::Route,
        All,
        "our own taken off; Off: the edge's URI put in front, and the client's own URI into the request line",
    ),
    touch(Core, Outward, Request, Name::MaxForwards, All, HOPS),
    touch(Core, Outward, Request, Name::RecordRoute, Dialogs, RECORD),
    touch(
        Core,
        Outward,
        Request,
        Name::ContentLength,
        All,
        "added where a datagram lacks it; the length of a body whose session description was rewritten",
    ),
    touch(Edge, Outward, Request, Name::Via, All, OWN_VIA),
    touch(Edge, Outward, Request, Name::Route, All, OWN_VIA_OFF),
    touch(Edge, Outward, Request, Name::MaxForwards, All, HOPS),
    touch(Edge, Outward, Request, Name::RecordRoute, Dialogs, "our own URI, with the flow's token, put in front"),
    touch(
        Edge,
        Inward,
        Response,
        Name::RecordRoute,
        All,
        "put back as the request had it, where the client changed it",
    ),
    touch(Edge, Inward, Response, Name::Via, All, OWN_VIA_OFF),
    touch(Core, Inward, Response, Name::Via, All, OWN_VIA_OFF),
    touch(Core, Inward, Response, Name::ContentLength, OFFERS, BODY),
    touch(Core, Inward, Response, Name::PAssertedIdentity, All, FOREIGN),
    touch(Core, Inward, Response, Name::PPreferredIdentity, All, FOREIGN),
    touch(Core, Inward, Response, Name::RemotePartyId, All, FOREIGN),
    touch(Core, Inward, Response, Name::Diversion, All, FOREIGN),
    touch(Core, Inward, Response, Name::HistoryInfo, All, FOREIGN),
    touch(Core, Inward, Response, Name::ReferredBy, All, FOREIGN),
    touch(Core, Inward, Response, Name::PServedUser, All, FOREIGN),
    touch(Core, Inward, Response, Name::PProfileKey, All, FOREIGN),
    touch(Core, Inward, Response, Name::PChargeInfo, All, FOREIGN),
];

/// What any of our nodes does to a field of such a message, tiers in the order of the table.
pub fn of(direction: Direction, kind: Kind, method: &str, name: Name) -> impl Iterator<Item = &'static Touch> {
    TOUCHED.iter().filter(move |touch| {
        (touch.direction, touch.kind, touch.name) == (direction, kind, name) && touch.methods.contains(method)
    })
}

/// The manual's page.
#[must_use]
pub fn manual_page() -> String {
    let mut page = String::from(HEAD);
    for (direction, kind, title) in [
        (Inward, Request, "Requests from clients"),
        (Outward, Response, "Answers to them"),
        (Outward, Request, "Requests to clients"),
        (Inward, Response, "Answers of clients"),
    ] {
        // Writing into a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| header | methods | node | what it does |\n|---|---|---|---|\n");
        for touch in TOUCHED.iter().filter(|touch| (touch.direction, touch.kind) == (direction, kind)) {
            let node = match touch.tier {
                Edge => "edge",
                Core => "core",
            };
            let (name, methods) = (touch.name.as_str(), touch.methods.words());
            let _ = writeln!(page, "| {name} | {methods} | {node} | {} |", touch.what);
        }
    }
    page.push_str(TAIL);
    page
}

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from protocols/sip/src/touched.rs. Change it there. -->

# Headers

Every SIP header field Edgeway touches between a client and a registrar, per method and direction. Any other line
crosses both nodes byte for byte and in its place, whatever its name, spelling, folding or compact form: Session-ID,
Call-Info, Session-Expires, push parameters (RFC 8599), vendor headers and parameters. What says who a client is
(Remote-Party-ID, P-Asserted-Identity, Diversion and the like) crosses so where it is true. Bodies are passed on untouched, except session descriptions of calls, whose media the
core anchors; in a multipart body only the part that is one changes. A test sends random messages of every method
through both nodes and compares.
";

const TAIL: &str = "
## What is made anew

CANCEL and the ACK of a failed INVITE go from hop to hop (RFC 3261 §9, §17.1.1.3): each node writes its own, with the
Request-URI, topmost Via, Route, From, To, Call-ID and CSeq of its INVITE.

Answers a node gives itself carry the request's Via, From, To, Call-ID and CSeq, a tag of ours, and, where something
failed, a Warning with `host:port` of the node that speaks. A challenge (401, 407) of a client becomes 403.
";
