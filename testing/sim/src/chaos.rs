//! What breaks, who calls whom, and what strangers try.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::FlowId;
use edgeway_model::world::Transport;

use crate::addresses::{REGISTRAR, edge_address};
use crate::calls::{HOSTILE, Plan};
use crate::conns::{Item, first_line};
use crate::sign_in::zones;
use crate::world::{Actor, Happening, World};

/// An inside address nobody may reach.
pub(crate) const FORBIDDEN: &str = "10.0.0.200:5060";

impl World {
    /// Breaks one thing, then waits for the next.
    pub(crate) fn chaos(&mut self) {
        if !self.chaotic {
            return;
        }
        let (least, most) = self.unrest;
        let next = self.chance.millis(least, most);
        self.schedule(next, Happening::Chaos);
        if self.chance.percent(12) {
            self.end_some_call();
        }
        if self.gentle {
            return self.gentle_chaos();
        }
        match self.chance.below(100) {
            0..20 => self.stall(200, 2_500),
            20..28 => self.stall(3_200, 6_000),
            28..45 => {
                if let Some(link) = self.some_link() {
                    self.cut_link(link);
                }
            }
            45..53 => self.part(),
            53..61 => self.flip_datagram_path(),
            61..81 => self.reset_phone(),
            81..86 => {
                let core = self.edges + self.chance.below(self.slots.len() - self.edges);
                self.restart_some(core);
            }
            86..88 => self.change_settings(),
            88..90 => {
                let edge = self.chance.below(self.edges);
                self.restart_some(edge);
            }
            90..93 => self.registrar_outage(),
            93..95 => self.swap_zones(false),
            95..98 => self.maintain_some(),
            _ => self.mischief(),
        }
    }

    fn gentle_chaos(&mut self) {
        match self.chance.below(100) {
            0..40 => self.stall(100, 2_000),
            40..45 => self.change_settings(),
            45..55 => self.swap_zones(false),
            55..80 => {
                if let Some(link) = self.some_link() {
                    self.cut_link(link);
                }
            }
            80..90 => self.flip_datagram_path(),
            90..94 => self.maintain_some(),
            _ => self.mischief(),
        }
    }

    fn restart_some(&mut self, node: usize) {
        if self.slots[node].node.is_some() {
            let down = self.chance.millis(100, 6_000);
            self.restart(node, down);
        }
    }

    fn some_link(&mut self) -> Option<usize> {
        let live: Vec<_> = (0..self.links.len()).filter(|link| self.links[*link].is_live()).collect();
        self.chance.pick(&live).copied()
    }

    fn stall(&mut self, from: u64, to: u64) {
        let Some(link) = self.some_link() else { return };
        let span = self.chance.millis(from, to);
        self.links[link].stalled_until = self.now + span;
        let id = self.links[link].id;
        self.trace(format_args!("{id} stalls for {span:?}"));
    }

    /// A core and an edge cannot reach each other for a while.
    fn part(&mut self) {
        let Some(link) = self.some_link() else { return };
        let (core, edge) = (self.links[link].ends[0].node, self.links[link].ends[1].node);
        let until = self.now + self.chance.millis(1_000, 15_000);
        self.parted.insert((core, edge), until);
        self.cut_link(link);
    }

    fn flip_datagram_path(&mut self) {
        let Some(link) = self.some_link() else { return };
        let open = self.chance.percent(50);
        let apart = self.chance.millis(0, 1_000);
        self.schedule(Duration::ZERO, Happening::DatagramPath { link, end: 0, open });
        self.schedule(apart, Happening::DatagramPath { link, end: 1, open });
    }

    fn reset_phone(&mut self) {
        let outside: Vec<_> = (0..self.phones.len()).filter(|n| self.phones[*n].is_outside()).collect();
        let Some(phone) = self.chance.pick(&outside).copied() else { return };
        self.trace(format_args!("phone {phone} loses its connection"));
        self.with_phone(phone, |phone, now| phone.reset(now));
    }

    fn registrar_outage(&mut self) {
        let address = self.registrar_addresses[self.chance.below(self.registrar_addresses.len())];
        if self.registrar_down.contains(&address) {
            return;
        }
        let span = self.chance.millis(1_000, 10_000);
        self.registrar_falls(address);
        self.trace(format_args!("the registrar at {address} is away for {span:?}"));
        self.schedule(span, Happening::RegistrarUp(address));
    }

    fn registrar_falls(&mut self, address: SocketAddr) {
        self.registrar_refuses = self.chance.percent(50);
        self.registrar_down.insert(address);
        self.drop_conns_at(address);
        self.with_registrar(|registrar, now| registrar.forget_connections(address, now));
    }

    /// Discovery has found something else: every core is told at its own time. Where there are two registrars,
    /// one may be taken away, or come back (`whole`: both are there).
    pub(crate) fn swap_zones(&mut self, whole: bool) {
        let mut addresses = self.registrar_addresses.clone();
        if !whole && addresses.len() > 1 {
            match self.chance.below(4) {
                0 => drop(addresses.pop()),
                1 => drop(addresses.remove(0)),
                2 => addresses.reverse(),
                _ => {}
            }
        }
        let revision = self.zones.revision + 1;
        self.zones = zones(&addresses, self.habits.transport, self.core_challenges, revision);
        self.trace(format_args!("zones of revision {revision} lead to {addresses:?}"));
        for node in self.edges..self.slots.len() {
            let (life, after) = (self.slots[node].life, self.chance.millis(0, 300));
            self.schedule(after, Happening::Zones { node, life, zones: Arc::new(self.zones.clone()) });
        }
    }

    /// The first of two addresses goes for good: the other must be enough from now on.
    pub(crate) fn first_registrar_goes(&mut self) {
        if self.first_goes && !self.gentle && !self.registrar_down.contains(&REGISTRAR) {
            self.trace(format_args!("the registrar at {REGISTRAR} goes for good"));
            self.registrar_falls(REGISTRAR);
        }
    }

    /// A registered phone asks for what it must not have.
    fn mischief(&mut self) {
        let ready: Vec<_> =
            (0..self.phones.len()).filter(|n| self.phones[*n].is_outside() && self.phones[*n].is_ready()).collect();
        let Some(phone) = self.chance.pick(&ready).copied() else { return };
        let calls: Vec<_> = self.phones.iter().flat_map(|phone| phone.calls.keys().cloned()).collect();
        let call = self.chance.pick(&calls).cloned().unwrap_or_else(|| "none".to_owned());
        let which = self.chance.below(4);
        self.trace(format_args!("phone {phone} makes mischief of kind {which}"));
        self.with_phone(phone, |phone, now| phone.mischief(which, &call, now));
    }

    pub(crate) fn someone_calls(&mut self) {
        if !self.calling {
            return;
        }
        let next = self.chance.millis(300, 4_000);
        self.schedule(next, Happening::Call);
        let ready: Vec<_> = (0..self.phones.len()).filter(|n| self.phones[*n].is_ready()).collect();
        let Some(caller) = self.chance.pick(&ready).copied() else { return };
        let callee = self.chance.below(self.phones.len());
        let same = self.phones[callee].user == self.phones[caller].user;
        if same || self.phones[caller].calls.len() > 4 {
            return;
        }
        let cancel = self.chance.percent(15).then(|| self.chance.millis(10, 5_000));
        let plan = Plan {
            talk: if self.chance.percent(8) {
                self.chance.millis(70_000, 110_000)
            } else {
                self.chance.millis(200, 15_000)
            },
            hold: self.chance.percent(40),
            cancel,
            late_offer: self.chance.percent(15),
            video: self.chance.percent(30),
            reliable: self.chance.percent(40),
            transfer: self.chance.percent(15),
        };
        let to = self.phones[callee].user.clone();
        self.calls_made += 1;
        self.with_phone(caller, |phone, now| phone.call(&to, plan, now));
    }

    /// Someone without an account, on one connection at a time.
    pub(crate) fn stranger(&mut self) {
        if !self.calling {
            return;
        }
        let next = self.chance.millis(500, 4_000);
        self.schedule(next, Happening::Stranger);
        let Some(flow) = self.stranger else {
            let edge = self.chance.below(self.edges);
            let flow = FlowId::accepted(3, u64::try_from(self.conns.len()).unwrap_or(0));
            let from = std::net::SocketAddr::from(([198, 51, 100, 66], 6_666));
            self.stranger = Some(flow);
            let to = edge_address(edge);
            return self.connect(Actor::Stranger, flow, from, Some(Actor::Node(edge)), to, Transport::Tls);
        };
        if self.chance.percent(10) {
            self.stranger = None;
            return self.close_conn(Actor::Stranger, flow, true);
        }
        let bytes = self.strangers_words();
        self.send_conn(Actor::Stranger, flow, bytes);
    }

    fn strangers_words(&mut self) -> Bytes {
        let word = self.chance.word();
        let route = format!("Route: <sip:edge1.{word}{word}abcdef01@edge1.example.com:5061;transport=tls;lr>\r\n");
        let calls: Vec<_> = self.phones.iter().flat_map(|phone| phone.calls.keys().cloned()).collect();
        let call = self.chance.pick(&calls).cloned().unwrap_or_else(|| word.clone());
        let request = |method: &str, uri: &str, extra: &str, tag: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 198.51.100.66:6666;branch=z9hG4bK{word}\r\n{extra}\
                 Max-Forwards: 70\r\nFrom: <sip:mallory@example.com>;tag={word}\r\nTo: <sip:alice@example.com>{tag}\r\n\
                 Call-ID: {call}\r\nCSeq: 1 {method}\r\nContact: <sip:mallory@198.51.100.66:6666;transport=tls>\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        };
        let hostile = format!("{HOSTILE}: 1\r\n");
        let text = match self.chance.below(10) {
            0 => return Bytes::from_static(b"GET / HTTP/1.1\r\nHost: edge1\r\n\r\n"),
            1 => {
                let mut noise = vec![0; 40];
                noise.iter_mut().for_each(|byte| *byte = u8::try_from(self.chance.below(256)).unwrap_or(0));
                return Bytes::from(noise);
            }
            2 => request("INVITE", "sip:alice@example.com", &hostile, ""),
            3 => request("BYE", "sip:alice@192.0.2.10:50000;transport=tls", &format!("{hostile}{route}"), ";tag=x"),
            4 => request("ACK", "sip:alice@192.0.2.10:50000;transport=tls", &format!("{hostile}{route}"), ";tag=x"),
            5 => request("OPTIONS", "sip:edge1.example.com:5061", "", ""),
            6 => request("REGISTER", "sip:example.com", "", "").replace("To: <sip:alice", "To: <sip:mallory"),
            7 => request("CANCEL", "sip:alice@example.com", &hostile, ""),
            8 => request("OPTIONS", "sip:alice@example.com", &format!("{hostile}{route}"), ""),
            _ => format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bKew1.1\r\n\
                 From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=2\r\nCall-ID: {call}\r\n\
                 CSeq: 1 INVITE\r\n{hostile}Content-Length: 0\r\n\r\n"
            ),
        };
        Bytes::from(text)
    }

    pub(crate) fn stranger_hears(&mut self, flow: FlowId, item: &Item) {
        match item {
            Item::Bytes(bytes) if !bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"\r\n") => {
                self.fail(format!("a stranger was sent a request: {}", first_line(bytes)));
            }
            Item::Closed(_) if self.stranger == Some(flow) => self.stranger = None,
            Item::Opened | Item::Bytes(_) | Item::Closed(_) => {}
        }
    }

    /// From here on nothing breaks any more, and what was broken is mended.
    pub(crate) fn calm(&mut self) {
        self.trace(format_args!("calm"));
        self.chaotic = false;
        self.swap_zones(true);
        self.parted.clear();
        let first_goes = self.first_goes;
        self.registrar_down.retain(|address| first_goes && *address == REGISTRAR);
        for link in 0..self.links.len() {
            self.links[link].stalled_until = self.links[link].stalled_until.min(self.now);
            if self.links[link].is_live() {
                for end in 0..2 {
                    self.schedule(Duration::ZERO, Happening::Link { link, end });
                }
            }
        }
    }
}
