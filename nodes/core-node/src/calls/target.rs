//! Where requests of a dialog go: inside, by its route set (RFC 3261 §12.1); outside, by the token
//! of the edge.

use edgeway_model::FlowId;
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name};

use crate::inward::port_of;
use crate::{CoreNode, is_flow_of_edge};

/// Where requests of a dialog go inside.
#[derive(Clone, Debug)]
pub(crate) struct InsideParty {
    pub(crate) place: (String, u16),
    /// A Record-Route says so, which stays for the whole dialog; else the party's Contact does.
    pub(crate) by_route: bool,
}

impl InsideParty {
    /// RFC 3261 §12.2: within a dialog the route set stays, the Contact may change.
    pub(super) fn refresh(&mut self, message: &Message) {
        if self.by_route {
            return;
        }
        if let Some(place) = message.contacts().next().and_then(|contact| host_port(contact.uri)) {
            self.place = place;
        }
    }
}

/// Where requests of a dialog that the inside opened will go: its topmost Record-Route, or its
/// Contact (RFC 3261 §12.1.1).
pub(crate) fn party_behind(request: &Message) -> Option<InsideParty> {
    let route = request.addresses(Name::RecordRoute).next().map(|route| route.uri);
    let by_route = route.is_some();
    let place = route.or_else(|| request.contacts().next().map(|contact| contact.uri)).and_then(host_port);
    place.map(|place| InsideParty { place, by_route })
}

impl CoreNode {
    /// Where requests of the client's dialog will go, out of the answer to its INVITE: the
    /// Record-Route above our own, or the Contact (RFC 3261 §12.1.2).
    pub(crate) fn party_ahead(&self, response: &Message) -> Option<InsideParty> {
        let routes: Vec<_> = response.addresses(Name::RecordRoute).map(|route| route.uri).collect();
        let ours = routes.iter().rposition(|uri| Uri::parse(uri).is_some_and(|uri| self.is_own(&uri)))?;
        let place = match ours.checked_sub(1) {
            Some(above) => host_port(routes[above]),
            None => response.contacts().next().and_then(|contact| host_port(contact.uri)),
        };
        place.map(|place| InsideParty { place, by_route: ours > 0 })
    }
}

pub(crate) fn host_port(uri: &str) -> Option<(String, u16)> {
    let uri = Uri::parse(uri)?;
    Some((uri.host.trim_matches(['[', ']']).to_owned(), port_of(&uri)))
}

/// The client's flow out of the edge's token in the Route, or in a rewritten Contact.
pub(crate) fn flow_of_route(request: &Message) -> Option<FlowId> {
    let in_routes = request.routes().find_map(|route| flow_of_user(Uri::parse(route.uri)?.user?));
    in_routes.or_else(|| {
        let (_, route) = crate::contact::restored(request.request_uri()?)?;
        flow_of_user(&route)
    })
}

fn flow_of_user(user: &str) -> Option<FlowId> {
    let (_, token) = user.split_once('.')?;
    // The edge wrote it: a flow it cannot have is none.
    u64::from_str_radix(token.get(..16)?, 16).ok().map(FlowId).filter(|flow| is_flow_of_edge(*flow))
}
