//! What becomes of a stream that has signed in: its bytes, and how it ends.

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_model::chat::{ChatEnd, ChatOffence};

use super::exchange::Action;
use super::relay::Flow;
use super::{Phase, Router};
use crate::condition::{Condition, StreamFault};
use crate::limits::CLOSE_WITHIN;

impl Router {
    pub(super) fn relay_client(&mut self, bytes: Bytes, now: Moment) {
        if let Phase::Relay(relay) = &mut self.phase {
            let flow = relay.client_says(bytes, &self.domain, &mut self.actions);
            self.flowed(flow, now);
        }
    }

    pub(super) fn relay_server(&mut self, bytes: Bytes, now: Moment) {
        if let Phase::Relay(relay) = &mut self.phase {
            let flow = relay.server_says(bytes, &mut self.actions);
            self.flowed(flow, now);
        }
    }

    fn flowed(&mut self, flow: Flow, now: Moment) {
        match flow {
            Flow::On => self.close_if_both_have(now),
            Flow::Tell(fault) => self.refuse(fault),
            Flow::Offence(fault) => {
                self.actions.push_back(Action::Offence(ChatOffence::Protocol, fault.text));
                self.refuse(fault);
            }
            Flow::SeeOther(host) => self.homed(&host),
            Flow::Broken => self.break_off(),
        }
    }

    /// The server wants the client elsewhere, at a place inside, which would tell a client nothing: it comes again, and
    /// is taken there.
    fn homed(&mut self, host: &str) {
        let fault = match self.known_as(host) {
            Some(server) => {
                self.actions.push_back(Action::Homed { server });
                StreamFault::new(Condition::Reset, "Come again.")
            }
            None => StreamFault::new(Condition::RemoteConnectionFailed, "The server is not known here."),
        };
        self.refuse(fault);
    }

    fn close_if_both_have(&mut self, now: Moment) {
        let Phase::Relay(relay) = &self.phase else { return };
        if relay.bind_by().is_none() && !self.servers.is_empty() {
            // Of use for finding a server only, and a stream may last for days.
            (self.servers, self.remembered, self.offered, self.header) = Default::default();
        }
        match (relay.client_closed, relay.server_closed) {
            (true, true) => {
                self.close_server();
                self.phase = Phase::Ended;
                self.actions.push_back(Action::End(ChatEnd::Closed));
            }
            (false, false) => {}
            (true, false) | (false, true) => {
                self.close_by.get_or_insert(now + CLOSE_WITHIN);
            }
        }
    }

    pub(super) fn relay_server_gone(&mut self) {
        let Phase::Relay(relay) = &mut self.phase else { return };
        relay.server_gone = true;
        if relay.server_closed {
            self.end(ChatEnd::Closed);
        } else if relay.client_closed {
            self.close_for_server();
        } else {
            self.break_off();
        }
    }

    /// The client has ended its stream, and the server does not say the last word.
    fn close_for_server(&mut self) {
        let Phase::Relay(relay) = &self.phase else { return };
        if !relay.may_tell_client() {
            return self.break_off();
        }
        self.answered = relay.server_open;
        self.say_header();
        self.say("</stream:stream>");
        self.end(ChatEnd::Closed);
    }

    pub(super) fn relay_disconnect(&mut self, fault: StreamFault, now: Moment) {
        let Phase::Relay(relay) = &mut self.phase else { return };
        if relay.may_tell_client() {
            self.refuse(fault);
        } else {
            // As soon as no element is open.
            relay.ending = Some(fault);
            self.close_by.get_or_insert(now + CLOSE_WITHIN);
        }
    }

    pub(super) fn relay_tick(&mut self, now: Moment) {
        let Phase::Relay(relay) = &self.phase else { return };
        if self.close_by.is_some_and(|by| by <= now) {
            if relay.server_closed {
                self.end(ChatEnd::Closed);
            } else if relay.client_closed && relay.ending.is_none() {
                self.close_for_server();
            } else {
                self.break_off();
            }
        } else if relay.bind_by().is_some_and(|by| by <= now) {
            self.refuse(StreamFault::new(Condition::ConnectionTimeout, "No resource was bound."));
        }
    }
}
