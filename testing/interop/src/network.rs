//! Internet, DMZ, firewall and inside as network namespaces.
//!
//! ```text
//!   internet                dmz                      firewall                     inside
//!   198.51.100.10…  ──────  198.51.100.1
//!                           10.20.0.1  ───────  10.20.0.254 │ 10.30.0.254  ───────  10.30.0.1 (core)
//!                                                  nftables:                        10.30.0.10 (registrar)
//!                                                  dmz → inside  new: counted, dropped      10.30.0.20… (phones)
//!                                                  inside → dmz  link port only
//! ```
//! Nothing else is reachable: no namespace has a way to the machine's own network.

use crate::Host;
use crate::host::Namespace;
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The edge's address towards the internet.
pub const EDGE_PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// The edge's address towards the firewall.
pub const EDGE_LINK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 1));
/// The port the core dials, over TCP and UDP: all the firewall lets out.
pub const LINK_PORT: u16 = 7001;
/// The core.
pub const CORE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 30, 0, 1));
/// The registrar.
pub const REGISTRAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 30, 0, 10));
/// Phones a network has room for on each side.
pub const PHONES_MAX: u8 = 10;

const FIREWALL_RULES: &str = r#"
table inet firewall {
    counter new_from_dmz { }
    counter link_cut { }
    chain cut { type filter hook forward priority -10; policy accept; }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "dmz" ct state new counter name new_from_dmz drop
        iifname "inside" oifname "dmz" ip daddr 10.20.0.1 tcp dport 7001 accept
        iifname "inside" oifname "dmz" ip daddr 10.20.0.1 udp dport 7001 accept
    }
}
"#;

/// Phones share a namespace, so their media could take a short way round the edge. Here it cannot.
const INTERNET_RULES: &str = r#"
table inet internet {
    counter short_cut { }
    chain output {
        type filter hook output priority 0; policy accept;
        ip saddr 198.51.100.0/24 oifname "lo" meta l4proto udp counter name short_cut drop
    }
}
"#;

/// One network. Dropping it ends what runs inside and removes it.
#[derive(Debug)]
pub struct Network {
    internet: Arc<Namespace>,
    dmz: Arc<Namespace>,
    firewall: Arc<Namespace>,
    inside: Arc<Namespace>,
}

impl Network {
    /// Creates the namespaces, the cables between them and the firewall rules.
    pub fn create() -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = |name: &str| Namespace::create(number, name).map(Arc::new);
        let network = Self {
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

    /// Address number `index` of the internet's phones.
    pub fn outside_phone(index: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10 + index))
    }

    /// Address number `index` of the phones inside.
    pub fn inside_phone(index: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 30, 0, 20 + index))
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

    /// Keeps outside phones from sending media straight to each other.
    pub fn forbid_short_cut(&self) -> Result<()> {
        feed_nft(&self.internet, INTERNET_RULES)
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let listed =
            Host::Namespace(Arc::clone(&self.firewall)).run("nft", &["list", "counter", "inet", "firewall", name])?;
        let packets = listed.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.and_then(|count| count.parse().ok()).with_context(|| format!("counter {name}: {listed}"))
    }

    fn nft(&self, command: &str) -> Result<()> {
        feed_nft(&self.firewall, command)
    }

    fn lay_cables(&self) -> Result<()> {
        cable((&self.internet, "dmz"), (&self.dmz, "internet"))?;
        cable((&self.dmz, "inside"), (&self.firewall, "dmz"))?;
        cable((&self.firewall, "inside"), (&self.inside, "dmz"))?;
        for index in 0..PHONES_MAX {
            address(&self.internet, "dmz", Self::outside_phone(index))?;
            address(&self.inside, "dmz", Self::inside_phone(index))?;
        }
        address(&self.dmz, "internet", EDGE_PUBLIC)?;
        address(&self.dmz, "inside", EDGE_LINK)?;
        address(&self.firewall, "dmz", Ipv4Addr::new(10, 20, 0, 254).into())?;
        address(&self.firewall, "inside", Ipv4Addr::new(10, 30, 0, 254).into())?;
        address(&self.inside, "dmz", CORE)?;
        address(&self.inside, "dmz", REGISTRAR)?;
        self.dmz.ip(&["route", "add", "10.30.0.0/24", "via", "10.20.0.254"])?;
        // Without `src` the kernel would pick the first address of the cable, a phone's.
        self.inside.ip(&["route", "add", "10.20.0.0/24", "via", "10.30.0.254", "src", "10.30.0.1"])?;
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
