//! What a simulated cluster is made of, what is wrong with it, and what it was asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::limits::{UC_LOG_MAX, UC_TOKENS_MAX};

use super::OneTimePasswords;
use super::oauth::SigningKey;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Unified CM.
    CallManager,
    /// IM and Presence Service.
    ImAndPresence,
    /// Unity Connection: in no list of the call manager's.
    Unity,
}

/// A part of a node that can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `/axl/`.
    Axl,
    /// `/cucm-uds/`.
    Uds,
    /// `/ssosp/ws/`.
    Sso,
    /// `/ssosp/oauth/`, `/ssosp/public/`.
    OAuth,
    /// HTTP on the TFTP ports.
    Files,
    /// `/vmrest/`.
    Cupi,
    /// `/EPASSoap/`.
    Epas,
}

/// What is wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every answer takes this much longer.
    Slow(Duration),
    /// This status, with a page of a servlet container.
    Status(u16),
    /// 200 with bytes that mean nothing.
    Garbage,
    /// The right head, half of the body, and the connection is closed.
    CutShort,
    /// The connection is closed without an answer.
    Silent,
    /// 503 with `Retry-After`, as AXL when it is asked too often.
    Throttled,
    /// Well-formed answers that name hosts of nobody's, link-local addresses among them.
    StrangeHosts,
    /// Well-formed answers whose lists are empty.
    Empty,
    /// 302 to this place.
    Redirect(String),
    /// A body without end, until the other side has enough of it.
    Endless,
}

/// The certificate a node shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The authority's, for the node's name and address.
    #[default]
    Good,
    /// Signed by itself, `CA:TRUE`.
    SelfSigned,
    /// For another name.
    WrongName,
    /// Ended years ago.
    Expired,
    /// By an authority nobody has heard of.
    Untrusted,
}

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UcDevice {
    /// `CSFALICE`, `SEP…`.
    pub name: String,
    /// Its key in the database, without braces.
    pub id: String,
    /// Its product name.
    pub model: String,
    /// Whether its security profile is an encrypted one.
    pub secure: bool,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UcUser {
    /// User id.
    pub name: String,
    /// Password.
    pub password: String,
    /// Directory numbers, the primary one first.
    pub numbers: Vec<String>,
    /// Devices.
    pub devices: Vec<UcDevice>,
    /// Whether the account is locked: it gets 401 with the right password too.
    pub locked: bool,
    /// Whether this is the user's home cluster.
    pub at_home: bool,
    /// The node of IM and Presence the user is assigned to: named first. The first of the list if there is none.
    pub im_home: Option<String>,
}

impl UcUser {
    /// A user with one softphone, `CSF<NAME>`.
    #[must_use]
    pub fn new(name: &str, password: &str, number: &str) -> Self {
        let device = format!("CSF{}", name.to_ascii_uppercase());
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            numbers: vec![number.to_owned()],
            devices: vec![UcDevice {
                id: identifier(&device),
                name: device,
                model: "Cisco Unified Client Services Framework".to_owned(),
                secure: false,
            }],
            locked: false,
            at_home: true,
            im_home: None,
        }
    }
}

/// A key of the database that is the same for the same name.
fn identifier(name: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let second = hash.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        hash >> 32,
        hash >> 16 & 0xffff,
        hash & 0xfff,
        second >> 52,
        second & 0xffff_ffff_ffff
    )
}

/// A node.
#[derive(Clone, Debug)]
pub struct UcNode {
    /// Its fully qualified name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Whether it is the first of its kind.
    pub publisher: bool,
    /// Whether the cluster's lists name it; one that is not listed runs all the same.
    pub listed: bool,
    /// Whether it serves files.
    pub tftp: bool,
    /// Its loopback address.
    pub address: IpAddr,
    /// SIP over TCP and UDP, as the cluster says.
    pub sip_port: u16,
    /// SIP over TLS, as the cluster says.
    pub sip_tls_port: u16,
    /// The certificate it shows.
    pub shown: Shown,
    /// What is wrong with it.
    pub faults: BTreeMap<Service, Fault>,
}

/// One request, as a UC server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// Which node.
    pub node: String,
    /// Which part of it.
    pub service: Service,
    /// The method.
    pub method: String,
    /// Path and query, as received.
    pub path: String,
    /// Whose credentials it carried: the user of Basic, or of a token that is known.
    pub user: Option<String>,
    /// All headers but `Authorization`, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The status it was answered with; 0 if with none.
    pub status: u16,
}

impl Asked {
    /// The value of a header, the first one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a client asked through a proxy; else the core did on its own.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.header("via").is_some() || self.header("x-forwarded-for").is_some()
    }
}

/// Everything that can be changed while the cluster runs.
#[derive(Clone, Debug)]
pub struct State {
    /// The domain of its users.
    pub domain: String,
    /// `12.5.1.10000(22)`.
    pub version: String,
    /// Whether the cluster security mode is mixed.
    pub mixed_mode: bool,
    /// Whether it issues self-describing tokens.
    pub oauth: bool,
    /// Whether single sign-on is enabled for users.
    pub sso: bool,
    /// The application user that may use AXL, and its password.
    pub application_user: (String, String),
    /// Its users.
    pub users: Vec<UcUser>,
    /// Its nodes.
    pub nodes: Vec<UcNode>,
    /// Expressway-C servers that were added: name, and the name of their certificate.
    pub expressways: Vec<(String, String)>,
    /// Files beyond those it makes by itself: name without a slash, and content.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Where in `users` a name is, in lower case: whether there is such a user must not show in how long the search takes.
    pub(super) by_name: HashMap<String, usize>,
    pub(super) keys: Vec<SigningKey>,
    pub(super) tokens: VecDeque<Issued>,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) user: String,
    pub(super) until: SystemTime,
    /// Whether it is good for new access tokens only.
    pub(super) refresh: bool,
}

impl State {
    /// A user by name; call managers do not tell cases apart.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&UcUser> {
        self.by_name.get(&name.to_ascii_lowercase()).and_then(|at| self.users.get(*at))
    }

    /// To be done whenever the users have changed.
    pub(super) fn index(&mut self) {
        let names = self.users.iter().enumerate().rev();
        self.by_name = names.map(|(at, user)| (user.name.to_ascii_lowercase(), at)).collect();
    }

    /// Nodes of a kind that the cluster's lists name.
    pub fn listed(&self, role: Role) -> impl Iterator<Item = &UcNode> {
        self.nodes.iter().filter(move |node| node.role == role && node.listed)
    }

    /// The node of that name.
    pub fn node_mut(&mut self, name: &str) -> Option<&mut UcNode> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }

    pub(super) fn keep(&mut self, issued: Issued) {
        if self.tokens.len() == UC_TOKENS_MAX {
            self.tokens.pop_front();
        }
        self.tokens.push_back(issued);
    }

    /// The user of a token that holds now.
    pub(super) fn holder(&self, token: &str, refresh: bool) -> Option<&str> {
        let now = SystemTime::now();
        let found = self.tokens.iter().find(|one| one.token == token && one.refresh == refresh)?;
        (found.until > now).then_some(found.user.as_str())
    }
}

/// State and log, shared by all servers of a cluster.
pub(super) struct World {
    state: Mutex<State>,
    log: Mutex<VecDeque<Asked>>,
    pub(super) one_time: OneTimePasswords,
}

impl World {
    pub(super) fn new(mut state: State, one_time: OneTimePasswords) -> Self {
        state.index();
        Self { state: Mutex::new(state), log: Mutex::new(VecDeque::new()), one_time }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, asked: Asked) {
        let mut log = self.log();
        if log.len() == UC_LOG_MAX {
            log.pop_front();
        }
        log.push_back(asked);
    }
}

pub(super) fn unix_secs(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
