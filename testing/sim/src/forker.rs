//! Forking of the registrar (RFC 3261 §16.7): one INVITE, every device of a user.
//!
//! A virtual hop of its proxy: an INVITE that is forwarded to it comes back as one request for each
//! device, under a Via of the forker's; their answers become those of the INVITE.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeway_sip::{Message, Name};

/// Where one copy goes.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) contact: String,
    pub(crate) path: Vec<String>,
}

#[derive(Debug)]
struct Branch {
    sent: Bytes,
    answered: bool,
    rings: bool,
    cancelled: bool,
}

#[derive(Debug)]
struct Fork {
    branches: Vec<Branch>,
    /// The INVITE is over: what rings must stop.
    ending: bool,
    best: Option<Bytes>,
    won: bool,
}

/// What follows from a message.
#[derive(Debug)]
pub(crate) enum Turn {
    /// A request of the forker's, for the proxy.
    Request(Bytes),
    /// An answer to the INVITE.
    Answer(Bytes),
}

/// All INVITEs that are forked now.
#[derive(Debug, Default)]
pub(crate) struct Forker {
    forks: BTreeMap<String, Fork>,
}

const VIA: &str = "SIP/2.0/TCP forker.invalid;branch=z9hG4bKfork";

impl Forker {
    /// Forks an INVITE, as the proxy has forwarded it, to these devices.
    pub(crate) fn fork(&mut self, invite: &Message, devices: &[Device]) -> Vec<Turn> {
        let name = invite.top_via().branch().unwrap_or_default().to_owned();
        let copy = |(number, device): (usize, &Device)| {
            let mut edit = invite.edit();
            edit.set_request_uri(&device.contact);
            for route in device.path.iter().rev() {
                edit.push(Name::Route, route);
            }
            edit.push_via(&format!("{VIA}.{number}.{name}"));
            edit.finish()
        };
        let sent: Vec<_> = devices.iter().enumerate().map(copy).collect();
        let branch = |sent: &Bytes| Branch { sent: sent.clone(), answered: false, rings: false, cancelled: false };
        let branches = sent.iter().map(branch).collect();
        self.forks.insert(name, Fork { branches, ending: false, best: None, won: false });
        sent.into_iter().map(Turn::Request).collect()
    }

    /// The INVITE of this name is cancelled.
    pub(crate) fn cancel(&mut self, cancel: &Message) -> Vec<Turn> {
        let Some(fork) = self.forks.get_mut(cancel.top_via().branch().unwrap_or_default()) else { return Vec::new() };
        fork.ending = true;
        fork.cancel()
    }

    /// A device has answered.
    pub(crate) fn answered(&mut self, bytes: &Bytes) -> Vec<Turn> {
        let Ok(response) = Message::parse(bytes.clone()) else { return Vec::new() };
        let branch = response.top_via().branch().unwrap_or_default().to_owned();
        let Some((number, name)) = branch.strip_prefix("z9hG4bKfork.").and_then(|rest| rest.split_once('.')) else {
            return Vec::new();
        };
        let (Some(fork), Ok(number)) = (self.forks.get_mut(name), number.parse::<usize>()) else { return Vec::new() };
        let status = response.status().unwrap_or(500);
        if response.cseq().1 != "INVITE" {
            return Vec::new();
        }
        let Some(one) = fork.branches.get_mut(number) else { return Vec::new() };
        let mut edit = response.edit();
        edit.pop_via();
        let passed = edit.finish();
        one.rings = true;
        if status < 200 {
            let mut turns = if fork.ending { fork.cancel() } else { Vec::new() };
            if status > 100 && !fork.won {
                turns.push(Turn::Answer(passed));
            }
            return turns;
        }
        one.answered = true;
        if status < 300 {
            (fork.won, fork.ending) = (true, true);
            let mut turns = vec![Turn::Answer(passed)];
            turns.extend(fork.cancel());
            return turns;
        }
        let mut turns = hop_ack(&one.sent, &response).map(Turn::Request).into_iter().collect::<Vec<_>>();
        fork.best.get_or_insert(passed);
        if fork.branches.iter().all(|branch| branch.answered) && !fork.won {
            turns.extend(fork.best.clone().map(Turn::Answer));
        }
        turns
    }

    /// INVITEs remembered; there is no timer, so the answered ones are forgotten in heaps.
    pub(crate) fn forget_answered(&mut self) {
        if self.forks.len() > 200 {
            self.forks.retain(|_, fork| fork.branches.iter().any(|branch| !branch.answered));
        }
    }
}

impl Fork {
    /// RFC 3261 §9.1: a CANCEL follows a provisional answer.
    fn cancel(&mut self) -> Vec<Turn> {
        let due = |branch: &&mut Branch| branch.rings && !branch.answered && !branch.cancelled;
        let due = self.branches.iter_mut().filter(due);
        due.filter_map(|branch| {
            branch.cancelled = true;
            derived(&branch.sent, "CANCEL", None).map(Turn::Request)
        })
        .collect()
    }
}

fn hop_ack(sent: &Bytes, response: &Message) -> Option<Bytes> {
    derived(sent, "ACK", response.header(Name::To).map(|to| String::from_utf8_lossy(to).into_owned()))
}

fn derived(sent: &Bytes, method: &str, to: Option<String>) -> Option<Bytes> {
    let invite = Message::parse(sent.clone()).ok()?;
    let text = crate::calls::hop_request(&invite, method, to.as_deref());
    Some(Bytes::from(text))
}
