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

    /// The links have changed. A core that is taken out of service is as good as none, for what begins.
    pub(crate) fn tell_linked(&mut self) {
        let serving = self.candidates().into_iter().filter(|(.., draining)| !draining);
        let serving = serving.map(|(core, ..)| core).collect();
        self.told(SignInFact::Linked(serving));
    }

    /// The services of this edge besides SIP, as cores name them to clients.
    pub(crate) fn services(&self) -> Frame {
        Frame::Services { https_port: self.settings.https_port, xmpp_port: self.settings.xmpp_port }
    }
}
