//! Servers one after the other, until one is ready.

use edgeway_model::Moment;

use super::exchange::{Action, Down};
use super::greeting::NOT_SERVED;
use super::server::{Heard, Server};
use super::{Phase, Router, greeting};
use crate::features::Offer;
use crate::limits::REDIRECTS_MAX;
use crate::sasl::{Mechanism, SaslFault};

/// Offered where no server was ever seen.
const UNSEEN: [Mechanism; 4] = [Mechanism::ScramSha512, Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain];

impl Router {
    /// Begins a round: `first` first, then all others. A server that is there stays if no other is to come before it.
    pub(super) fn try_servers(&mut self, first: &[usize], now: Moment) {
        let current = self.server.as_ref().map(|server| server.place);
        let stays = current.is_some() && first.first().is_none_or(|first| Some(*first) == current);
        self.redirects = 0;
        self.nowhere = None;
        self.untried.clear();
        for place in first.iter().copied().chain(0..self.servers.len()) {
            let is_current = stays && Some(place) == current;
            if place < self.servers.len() && !is_current && !self.untried.contains(&place) {
                self.untried.push_back(place);
            }
        }
        if !stays {
            self.leave_server();
            self.dial_next(now);
        }
    }

    /// Leaves a server for another one.
    fn leave_server(&mut self) {
        if self.server.as_ref().is_some_and(Server::is_ready) {
            self.tell_server("</stream:stream>");
        }
        self.close_server();
    }

    fn dial_next(&mut self, now: Moment) {
        let next = self.untried.pop_front().and_then(|place| Some((place, self.servers.get(place)?)));
        if let Some((place, candidate)) = next {
            self.server = Some(Server::new(place, candidate.direct_tls, now));
            self.dials = self.dials.wrapping_add(1);
            self.actions.push_back(Action::Dial { server: place });
            return;
        }
        match &self.phase {
            Phase::Meeting { .. } | Phase::Moving(_) if self.nowhere == Some(true) => self.refuse(NOT_SERVED),
            Phase::Meeting { .. } => self.offer(),
            Phase::Moving(_) => self.fail_temporarily(),
            Phase::Greeting
            | Phase::Offered
            | Phase::Prompted(_)
            | Phase::Asking(_)
            | Phase::Exchange(_)
            | Phase::Relay(_)
            | Phase::Ended => {}
        }
    }

    pub(super) fn server_connected(&mut self, now: Moment) {
        if let Some(server) = &mut self.server {
            let heard = server.connected(&self.domain);
            self.heard(heard, now);
        }
    }

    pub(super) fn server_secured(&mut self, now: Moment) {
        if let Some(server) = &mut self.server {
            let heard = server.secured(&self.domain);
            self.heard(heard, now);
        }
    }

    pub(super) fn server_gone(&mut self, now: Moment) {
        if self.relays() { self.relay_server_gone() } else { self.lose_server(Down::Gone, now) }
    }

    /// A server that is not ready yet did something.
    pub(super) fn heard(&mut self, heard: Heard, now: Moment) {
        match heard {
            Heard::Nothing => {}
            Heard::Say(text) => self.tell_server(&text),
            Heard::StartTls => self.actions.push_back(Action::StartTls),
            Heard::Ready => self.ready(now),
            Heard::SeeOther(host) => self.redirected(&host, now),
            Heard::Down(why) => self.server_down(why, now),
        }
    }

    fn ready(&mut self, now: Moment) {
        let Some(server) = &self.server else { return };
        let (server, mechanisms) = (server.place, server.offer.mechanisms.clone());
        self.actions.push_back(Action::ServerUp { server, mechanisms });
        match &self.phase {
            Phase::Meeting { .. } => self.offer(),
            Phase::Moving(_) => self.show(now),
            Phase::Greeting
            | Phase::Offered
            | Phase::Prompted(_)
            | Phase::Asking(_)
            | Phase::Exchange(_)
            | Phase::Relay(_)
            | Phase::Ended => {}
        }
    }

    /// Tells the client what it may sign in with: what the server offers, or, where none is ready, what one did before.
    /// If none ever did, nobody can be signed in, and what is offered is what the answer is given to: SCRAM among it, so
    /// that a client that has settled on it does not show a password in the end.
    pub(super) fn offer(&mut self) {
        let offer = match self.server.as_ref().filter(|server| server.is_ready()) {
            Some(server) => server.offer.clone(),
            None if self.remembered.is_empty() => Offer { mechanisms: UNSEEN.to_vec(), ..Offer::default() },
            None => Offer { mechanisms: self.remembered.clone(), ..Offer::default() },
        };
        self.say_header();
        self.say(&offer.to_xml());
        self.offered = offer.mechanisms;
        self.phase = Phase::Offered;
    }

    /// RFC 6120 §4.9.3.19. Only servers that are known are gone to, whatever one says.
    fn redirected(&mut self, host: &str, now: Moment) {
        let here = self.server.as_ref().map(|server| server.place);
        match self.known_as(host) {
            Some(place) if Some(place) != here && self.redirects < REDIRECTS_MAX => {
                self.redirects += 1;
                self.untried.retain(|other| *other != place);
                self.untried.push_front(place);
                self.close_server();
                self.dial_next(now);
            }
            Some(_) => self.server_down(Down::Refused, now),
            None => self.server_down(Down::UnknownHost, now),
        }
    }

    /// The server that another one calls so: a name, or an address, and perhaps a port.
    pub(super) fn known_as(&self, host: &str) -> Option<usize> {
        let (host, port) = greeting::host_and_port(host);
        self.servers.iter().position(|candidate| {
            let own = candidate.host.trim_matches(['[', ']']).trim_end_matches('.');
            own.eq_ignore_ascii_case(host) && port.is_none_or(|port| port == candidate.port)
        })
    }

    /// A server did what it should not, or nothing.
    pub(super) fn server_down(&mut self, why: Down, now: Moment) {
        if self.server.is_some() {
            self.actions.push_back(Action::CloseServer);
            self.lose_server(why, now);
        }
    }

    /// A server whose connection is closed.
    fn lose_server(&mut self, why: Down, now: Moment) {
        let Some(server) = self.server.take() else { return };
        let is_in_use = matches!(self.phase, Phase::Moving(_) | Phase::Exchange(_));
        let place = server.place;
        if !server.is_ready() {
            self.nowhere = Some(why == Down::HostUnknown && self.nowhere.unwrap_or(true));
            self.actions.push_back(Action::ServerDown { server: place, why });
        } else if is_in_use {
            self.actions.push_back(Action::ServerDoubted { server: place, why });
        }
        // Any other has waited for a client in vain; that it goes says nothing.
        if let Phase::Exchange(_) = self.phase {
            // It may have seen the credentials: no other one does.
            self.fail_temporarily();
        } else if !server.is_ready() || is_in_use {
            self.dial_next(now);
        }
    }

    pub(super) fn fail_temporarily(&mut self) {
        self.fail(SaslFault::TemporaryAuthFailure, Some("The server cannot be reached. Try again later."));
    }
}
