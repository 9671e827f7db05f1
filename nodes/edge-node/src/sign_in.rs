//! Sign-in, as far as an edge's links are concerned: cores say with which keys tokens are signed and which
//! tokens hold no longer, and that is handed to the HTTP side. An edge is told nothing else of users.

use edgeway_link::Frame;
use edgeway_model::Output;
use edgeway_model::sign_in::SignInFact;

use crate::EdgeNode;

impl EdgeNode {
    /// Hands the HTTP side what a core has told.
    pub(crate) fn told(&mut self, fact: SignInFact) {
        self.outputs.push_back(Output::SignIn(fact));
    }

    /// The links have changed.
    pub(crate) fn tell_linked(&mut self) {
        let linked = self.connected_cores();
        self.told(SignInFact::Linked(linked));
    }

    /// The services of this edge besides SIP, as cores name them to clients.
    pub(crate) fn services(&self) -> Frame {
        Frame::Services { https_port: self.settings.https_port, xmpp_port: self.settings.xmpp_port }
    }
}
