//! Internet, DMZ, firewall and inside as network namespaces.
//!
//! ```text
//!   phone   phone                                                                        phone
//!     └──┬────┘                                                                            │
//!   internet (bridge) ───── dmz                      firewall                     inside (bridge)
//!   198.51.100.200          198.51.100.1
//!                           10.20.0.1  ───────  10.20.0.254 │ 10.30.0.254  ───────  10.30.0.1 core
//!                                                  nftables:                        10.30.0.10 registrar
//!                                                  dmz → inside  new: counted, dropped
//!                                                  inside → dmz  link port only
//! ```
//! Every phone has a namespace of its own. Nothing else is reachable: no namespace has a way to the machine's own
//! network, and phones outside reach the edge but, unless asked for, not each other.

use crate::Host;
use crate::host::Namespace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The edge's address towards the internet.
pub const EDGE_PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// The edge's address towards the firewall.
pub const EDGE_LINK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 1));
/// A second edge's address towards the internet, on the machine of the first.
pub const SECOND_EDGE_PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));
/// A second edge's address towards the firewall.
pub const SECOND_EDGE_LINK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 2));
/// The port the core dials, over TCP and UDP: all the firewall lets out.
pub const LINK_PORT: u16 = 7001;
/// The core.
pub const CORE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 30, 0, 1));
/// A second core, on the machine of the first.
pub const SECOND_CORE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 30, 0, 2));
/// The registrar.
pub const REGISTRAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 30, 0, 10));
/// A client outside that is no phone: `openssl`, our own.
pub const OUTSIDE_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200));
/// The bridge of internet and inside, in their namespaces.
const BRIDGE: &str = "lan";
/// Media ports of phones; `PHONE_RULES` counts them.
pub const PHONE_MEDIA_PORTS: &str = "20000-20999";

const FIREWALL_RULES: &str = r#"
table inet firewall {
    counter new_from_dmz { }
    counter link_cut { }
    chain cut { type filter hook forward priority -10; policy accept; }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "dmz" ct state new counter name new_from_dmz drop
        iifname "inside" oifname "dmz" ip daddr { 10.20.0.1, 10.20.0.2 } tcp dport 7001 accept
        iifname "inside" oifname "dmz" ip daddr { 10.20.0.1, 10.20.0.2 } udp dport 7001 accept
    }
}
"#;

/// Counts what arrives at a phone's media ports.
const PHONE_RULES: &str = r#"
table inet phone {
    counter media { }
    set ports { type inet_service; flags dynamic; counter; }
    chain input {
        type filter hook input priority 0; policy accept;
        udp dport 20000-20999 counter name media update @ports { udp dport }
    }
}
"#;

/// Drops whatever comes and goes.
const CUT_RULES: &str = r#"
table inet cut {
    counter dropped { }
    chain input { type filter hook input priority -10; policy accept; iifname "lan" counter name dropped drop; }
    chain output { type filter hook output priority -10; policy accept; oifname "lan" counter name dropped drop; }
}
"#;

/// Whether phones outside reach each other without the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Their media must go through the edge.
    Apart,
    /// They are on one network.
    Together,
}

/// Where a phone stands: a namespace and the address in it.
#[derive(Clone, Debug)]
pub struct Station {
    host: Host,
    address: IpAddr,
}

/// One network. Dropping it ends what runs inside and removes it.
#[derive(Debug)]
pub struct Network {
    number: usize,
    outside_phones: Outside,
    internet: Arc<Namespace>,
    dmz: Arc<Namespace>,
    firewall: Arc<Namespace>,
    inside: Arc<Namespace>,
}

impl Network {
    /// Creates the namespaces, the cables between them and the firewall rules.
    pub fn create(outside_phones: Outside) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = |name: &str| Namespace::create(number, name).map(Arc::new);
        let network = Self {
            number,
            outside_phones,
            internet: namespace("internet")?,
            dmz: namespace("dmz")?,
            firewall: namespace("firewall")?,
            inside: namespace("inside")?,
        };
        network.lay_cables()?;
        network.guard()?;
        Ok(network)
    }

    /// Where phones outside run.
    pub fn internet(&self) -> Host {
        Host::Namespace(Arc::clone(&self.internet))
    }

    /// Where the edge runs.
    pub fn dmz(&self) -> Host {
        Host::Namespace(Arc::clone(&self.dmz))
    }

    /// Where the core, the registrar and inside phones run.
    pub fn inside(&self) -> Host {
        Host::Namespace(Arc::clone(&self.inside))
    }

    /// A place for phone number `index` outside; ends with the last clone of it.
    pub fn station_outside(&self, index: u8) -> Result<Station> {
        let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10 + index));
        let station = self.station(&self.internet, "outside", index, address)?;
        if self.outside_phones == Outside::Apart {
            let port = format!("outside{index}");
            self.internet.ip(&["link", "set", &port, "type", "bridge_slave", "isolated", "on"])?;
        }
        Ok(station)
    }

    /// A place for phone number `index` inside.
    pub fn station_inside(&self, index: u8) -> Result<Station> {
        self.station(&self.inside, "inside", index, IpAddr::V4(Ipv4Addr::new(10, 30, 0, 20 + index)))
    }

    /// Flows the DMZ tried to open towards the inside. Must stay zero.
    pub fn new_flows_from_dmz(&self) -> Result<u64> {
        self.counter("new_from_dmz")
    }

    /// Packets dropped by [`Self::cut_link`] so far: proof that a cut was one.
    pub fn packets_cut(&self) -> Result<u64> {
        self.counter("link_cut")
    }

    /// From now on nothing passes between DMZ and inside, in either direction.
    pub fn cut_link(&self) -> Result<()> {
        self.nft("add rule inet firewall cut counter name link_cut drop")
    }

    /// Ends [`Self::cut_link`].
    pub fn restore_link(&self) -> Result<()> {
        self.nft("flush chain inet firewall cut")
    }

    /// Resets every TCP connection between DMZ and inside, at the core's end.
    pub fn reset_link(&self) -> Result<()> {
        let port = format!(":{LINK_PORT}");
        let killed = self.inside().run("ss", &["-K", "-t", "dport", "=", &port])?;
        ensure!(killed.lines().count() > 1, "there is no connection to reset: {killed}");
        Ok(())
    }

    fn counter(&self, name: &str) -> Result<u64> {
        counter(&Host::Namespace(Arc::clone(&self.firewall)), "firewall", name)
    }

    fn station(&self, lan: &Namespace, side: &str, index: u8, own: IpAddr) -> Result<Station> {
        let name = format!("{side}{index}");
        let namespace = Arc::new(Namespace::create(self.number, &name)?);
        plug(lan, &name, (&namespace, "lan"))?;
        address(&namespace, "lan", own)?;
        // Linphone asks for the way to the whole world to learn its own address. Nobody answers there.
        namespace.ip(&["route", "add", "default", "dev", "lan"])?;
        namespace.know(crate::product::EDGE_NAME, EDGE_PUBLIC)?;
        feed_nft(&namespace, PHONE_RULES)?;
        Ok(Station { host: Host::Namespace(namespace), address: own })
    }

    fn nft(&self, command: &str) -> Result<()> {
        feed_nft(&self.firewall, command)
    }

    fn lay_cables(&self) -> Result<()> {
        for lan in [&self.internet, &self.inside] {
            lan.ip(&["link", "add", BRIDGE, "type", "bridge"])?;
            lan.ip(&["link", "set", BRIDGE, "up"])?;
        }
        plug(&self.internet, "dmz", (&self.dmz, "internet"))?;
        cable((&self.dmz, "inside"), (&self.firewall, "dmz"))?;
        plug(&self.inside, "dmz", (&self.firewall, "inside"))?;
        address(&self.internet, BRIDGE, OUTSIDE_CLIENT)?;
        address(&self.dmz, "internet", EDGE_PUBLIC)?;
        address(&self.dmz, "inside", EDGE_LINK)?;
        address(&self.dmz, "internet", SECOND_EDGE_PUBLIC)?;
        address(&self.dmz, "inside", SECOND_EDGE_LINK)?;
        address(&self.firewall, "dmz", Ipv4Addr::new(10, 20, 0, 254).into())?;
        address(&self.firewall, "inside", Ipv4Addr::new(10, 30, 0, 254).into())?;
        address(&self.inside, BRIDGE, CORE)?;
        address(&self.inside, BRIDGE, SECOND_CORE)?;
        address(&self.inside, BRIDGE, REGISTRAR)?;
        self.dmz.ip(&["route", "add", "10.30.0.0/24", "via", "10.20.0.254"])?;
        self.inside.ip(&["route", "add", "10.20.0.0/24", "via", "10.30.0.254", "src", &CORE.to_string()])?;
        Ok(())
    }

    fn guard(&self) -> Result<()> {
        // A packet in the middle of a connection the firewall does not know opens no flow.
        let settings =
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose";
        feed_nft(&self.firewall, FIREWALL_RULES)?;
        Host::Namespace(Arc::clone(&self.firewall)).run("sh", &["-ec", settings])?;
        Ok(())
    }
}

impl Station {
    /// Where to run the phone.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// From now on nothing arrives here and nothing leaves.
    pub fn cut(&self) -> Result<()> {
        self.host.run("nft", &[CUT_RULES]).map(drop)
    }

    /// Ends [`Self::cut`]; how many packets were dropped meanwhile.
    pub fn restore(&self) -> Result<u64> {
        let dropped = counter(&self.host, "cut", "dropped")?;
        self.host.run("nft", &["delete table inet cut"])?;
        Ok(dropped)
    }

    /// Resets every TCP connection from here to that port of anybody, at this end.
    pub fn reset_connections(&self, port: u16) -> Result<()> {
        let killed = self.host.run("ss", &["-K", "-t", "dport", "=", &format!(":{port}")])?;
        ensure!(killed.lines().count() > 1, "there is no connection to reset: {killed}");
        Ok(())
    }

    /// The same by port.
    pub fn media_packets_by_port(&self) -> Result<BTreeMap<u16, u64>> {
        let listed = self.host.run("nft", &["list", "set", "inet", "phone", "ports"])?;
        let words: Vec<&str> = listed.split([' ', ',', '\n', '\t', '{', '}']).filter(|word| !word.is_empty()).collect();
        let entries = words.windows(4).filter(|four| four[1] == "counter" && four[2] == "packets");
        Ok(entries.filter_map(|four| Some((four[0].parse().ok()?, four[3].parse().ok()?))).collect())
    }

    /// Packets that arrived at its media ports so far.
    pub fn media_packets(&self) -> Result<u64> {
        counter(&self.host, "phone", "media")
    }
}

fn counter(host: &Host, table: &str, name: &str) -> Result<u64> {
    let listed = host.run("nft", &["list", "counter", "inet", table, name])?;
    let packets = listed.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    packets.and_then(|count| count.parse().ok()).with_context(|| format!("counter {name}: {listed}"))
}

/// A cable from the bridge of `lan`, where it is called `port`, to another namespace.
fn plug(lan: &Namespace, port: &str, other: (&Namespace, &str)) -> Result<()> {
    cable((lan, port), other)?;
    lan.ip(&["link", "set", port, "master", BRIDGE]).map(drop)
}

fn cable(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
    one.0.ip(&["link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", other.0.name()])?;
    one.0.ip(&["link", "set", one.1, "up"])?;
    other.0.ip(&["link", "set", other.1, "up"])?;
    Ok(())
}

fn address(namespace: &Namespace, cable: &str, address: IpAddr) -> Result<()> {
    namespace.ip(&["address", "add", &format!("{address}/24"), "dev", cable]).map(drop)
}

fn feed_nft(namespace: &Arc<Namespace>, rules: &str) -> Result<()> {
    // `nft` takes the rules as one argument: no file, no standard input to feed.
    Host::Namespace(Arc::clone(namespace)).run("nft", &[rules]).map(drop)
}
