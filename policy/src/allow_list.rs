//! The HTTP server allow list: the one place that decides which HTTP server inside a client may reach.
//!
//! Everything a client wrote comes in raw; what goes out is what will be dialled and sent, and nothing
//! else may be. Default: deny. Whatever could be read in two ways is denied before any rule is looked at.
//!
//! | file | what |
//! |---|---|
//! | `host.rs` | hosts in their one form |
//! | `path.rs` | paths in their one form, and how rules cover them |
//! | `rules_file.rs` | rules as CSV, in the vendor's columns |
//! | `tests_file.rs` | what is expected of rules, as CSV in the vendor's columns |
//! | `automatic.rs` | the rules that discovery makes |
//! | `configured.rs` | the rules that stand in the configuration |

mod automatic;
mod configured;
mod host;
mod path;
mod rules_file;
mod tests_file;

use std::borrow::Cow;
use std::collections::BTreeMap;

use edgeway_model::sign_in::Deployment;

pub use automatic::{AutomaticPorts, automatic_rules};
pub use configured::{Misfit, configured_rules};
pub use path::{COMMON_FILE_SEGMENT, DEVICE, FOLDER_SEGMENT, Holder, USER_SEGMENT};
pub use rules_file::{Problem, RulesContext, read_rules, write_cells, write_rules};
pub use tests_file::{Case, Outcome, read_cases, run_cases};

use crate::limits::{ALLOW_DESCRIPTION_BYTES_MAX, ALLOW_METHODS_MAX, ALLOW_RULES_MAX};
use path::Target;

/// How the path of a rule is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchType {
    /// The whole path.
    Exact,
    /// Its beginning, at whole segments.
    Prefix,
}

impl MatchType {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The deployment whose users it is for.
    pub deployment: Deployment,
    /// TLS or plain.
    pub https: bool,
    /// Host name in lower case without a trailing dot, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, normal form; empty or `/` means all. A segment `{user}` stands for the name of the
    /// signed-in user, `{device}` in a segment for the name of a device of that user, a segment `{common}` for a
    /// settings file that is no device's, a segment `{folder}` for a plain word.
    pub path: String,
    /// How the path is compared.
    pub match_type: MatchType,
    /// Methods in upper case.
    pub methods: Vec<String>,
    /// What it is for.
    pub description: String,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a rule is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Made by discovery: the server it was made for.
    Automatic(String),
    /// The file that `http.allow_list` names.
    File,
    /// The configuration itself: the name of the rule there.
    Configuration(String),
}

impl Origin {
    /// A word for tables and programs: `automatic`, `file` or `configuration`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Automatic(_) => "automatic",
            Self::File => "file",
            Self::Configuration(_) => "configuration",
        }
    }
}

/// What a client asks for, raw.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The deployment of the signed-in user.
    pub deployment: &'a Deployment,
    /// Who asks.
    pub holder: Holder<'a>,
    /// The method.
    pub method: &'a str,
    /// TLS or plain.
    pub https: bool,
    /// The host as the descriptor has it.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Path and query as the client wrote them.
    pub path: &'a str,
}

/// What is dialled and sent, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed<'l, 'a> {
    /// TLS or plain.
    pub https: bool,
    /// Host name in lower case without a trailing dot, or an IP address without brackets: the rule's own text.
    pub host: &'l str,
    /// The port.
    pub port: u16,
    /// Path and query in normal form.
    pub path: Cow<'a, str>,
    /// The rule that allows it.
    pub rule: &'l Rule,
}

/// Why a request goes nowhere; answered with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Denial {
    /// Not a URL of a host, or with user information.
    #[error("not an http or https URL of a host without user information")]
    Url,
    /// Not a name or an address in a form that can mean one host only.
    #[error("the host is not written in its one form")]
    Host,
    /// No port.
    #[error("the port is none")]
    Port,
    /// Not a path, or with characters that are none of a path's.
    #[error("characters that do not belong into a path")]
    Path,
    /// Encoded characters that could change what the path means.
    #[error("encoded characters that could change the path")]
    Encoding,
    /// `.` or `..`.
    #[error("dot segments")]
    Dots,
    /// `//`.
    #[error("empty segments")]
    EmptySegment,
    /// `;`.
    #[error("parameters in the path")]
    Parameters,
    /// Characters that do not belong into a query.
    #[error("characters that do not belong into a query")]
    Query,
    /// Longer than the limit.
    #[error("too long")]
    TooLong,
    /// An address of this machine, its link, or the like, and no rule names it.
    #[error("an address no server has")]
    SpecialAddress,
    /// No rule of this deployment is about this scheme, host and port.
    #[error("no rule for this server")]
    Server,
    /// None of the server's rules covers the path.
    #[error("no rule for this path")]
    NoRule,
    /// A rule covers the path, but for other methods.
    #[error("no rule for this method")]
    Method,
    /// It belongs to another user.
    #[error("another user's")]
    NotOwn,
}

impl Denial {
    /// A word for counters and tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Host => "host",
            Self::Port => "port",
            Self::Path => "path",
            Self::Encoding => "encoding",
            Self::Dots => "dot-segments",
            Self::EmptySegment => "empty-segment",
            Self::Parameters => "parameters",
            Self::Query => "query",
            Self::TooLong => "too-long",
            Self::SpecialAddress => "special-address",
            Self::Server => "no-rule-for-server",
            Self::NoRule => "no-rule-for-path",
            Self::Method => "no-rule-for-method",
            Self::NotOwn => "not-own",
        }
    }
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// Its host, port or path.
    #[error("the URL of a rule: {0}")]
    Url(#[source] Denial),
    /// Without methods, with too many, or one that is none.
    #[error("methods of a rule are words like GET, at least one")]
    Methods,
    /// Its description.
    #[error("the description of a rule is one line of at most 256 bytes")]
    Description,
    /// Too many rules.
    #[error("more than {ALLOW_RULES_MAX} rules")]
    TooMany,
}

impl Rule {
    /// A rule of a file, for a URL `http[s]://host[:port][/path]`.
    ///
    /// # Errors
    /// [`RuleFault`].
    pub fn of_url(
        url: &str,
        deployment: Deployment,
        match_type: MatchType,
        methods: Vec<String>,
        description: &str,
    ) -> Result<Self, RuleFault> {
        let UrlParts { https, host, port, path } = UrlParts::read(url).map_err(RuleFault::Url)?;
        let (host, path, description) = (host.to_owned(), path.to_owned(), description.to_owned());
        let rule = Self { deployment, https, host, port, path, match_type, methods, description, origin: Origin::File };
        rule.normal()
    }

    /// Puts host and path into their normal forms and methods into capitals, and checks all of them.
    ///
    /// # Errors
    /// [`RuleFault`].
    pub fn normal(mut self) -> Result<Self, RuleFault> {
        self.host = host::canonical(&self.host).map_err(RuleFault::Url)?.into_owned();
        if self.port == 0 {
            return Err(RuleFault::Url(Denial::Port));
        }
        self.path = normal_pattern(&self.path).map_err(RuleFault::Url)?;
        self.methods.iter_mut().for_each(|method| method.make_ascii_uppercase());
        let token = |method: &String| !method.is_empty() && method.len() <= 24 && method.bytes().all(is_method_byte);
        if !(1..=ALLOW_METHODS_MAX).contains(&self.methods.len()) || !self.methods.iter().all(token) {
            return Err(RuleFault::Methods);
        }
        let one_line = !self.description.chars().any(char::is_control);
        if !one_line || self.description.len() > ALLOW_DESCRIPTION_BYTES_MAX {
            return Err(RuleFault::Description);
        }
        Ok(self)
    }

    /// The server as a URL without a path.
    #[must_use]
    pub fn origin_url(&self) -> String {
        let (scheme, default) = if self.https { ("https", 443) } else { ("http", 80) };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let port = if self.port == default { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{open}{}{close}{port}", self.host)
    }

    /// All it is about, as a URL; what is in braces stands for something else.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.origin_url(), self.path)
    }

    fn covers(&self, target: &Target<'_>, holder: Holder<'_>) -> bool {
        path::covers(&self.path, self.match_type == MatchType::Prefix, target.path(), holder)
    }
}

/// A rule's path: normal, with what stands for something else in braces, which no path of a client has.
fn normal_pattern(path: &str) -> Result<String, Denial> {
    if path.is_empty() {
        return Ok("/".into());
    }
    let mut pattern = String::with_capacity(path.len());
    for (at, segment) in path.split('/').enumerate() {
        match at {
            0 if !segment.is_empty() => return Err(Denial::Path),
            0 => {}
            _ if path::is_pattern(segment) => {
                let one = format!("/{}", path::filled_in(segment));
                // Beside what stands for something else it is as it is sent.
                if Target::read(&one)?.whole != one {
                    return Err(Denial::Encoding);
                }
                pattern.extend(["/", segment]);
            }
            _ => {
                let one = format!("/{segment}");
                let target = Target::read(&one)?;
                if target.has_query() {
                    return Err(Denial::Query);
                }
                pattern.push_str(&target.whole);
            }
        }
    }
    // Empty segments are seen in the whole only.
    let filled: Vec<_> = pattern.split('/').map(path::filled_in).collect();
    Target::read(&filled.join("/")).map(|_| pattern)
}

const fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}

/// The rules of a server, as they are looked up.
#[derive(Debug, Default)]
struct Site {
    /// Where its rules stand, those of one literal path together: a path has few beginnings, however many
    /// rules there are.
    literal: BTreeMap<String, Vec<usize>>,
    /// Those with something in braces.
    patterns: Vec<usize>,
}

/// Servers by host, then by whether it is TLS and by port.
type Hosts = BTreeMap<String, BTreeMap<(bool, u16), Site>>;

/// The rules in force. Made whole, replaced whole.
#[derive(Debug, Default)]
pub struct AllowList {
    rules: Vec<Rule>,
    sites: BTreeMap<Deployment, Hosts>,
}

impl AllowList {
    /// Takes the rules, in any order and with any duplicates.
    ///
    /// # Errors
    /// [`RuleFault`] of the first rule that is none.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, RuleFault> {
        let mut list = Self::default();
        for rule in rules {
            if list.rules.len() == ALLOW_RULES_MAX {
                return Err(RuleFault::TooMany);
            }
            list.add(rule.normal()?);
        }
        Ok(list)
    }

    fn add(&mut self, rule: Rule) {
        let at = self.rules.len();
        let hosts = self.sites.entry(rule.deployment.clone()).or_default();
        let site = hosts.entry(rule.host.clone()).or_default().entry((rule.https, rule.port)).or_default();
        if path::is_pattern(&rule.path) {
            site.patterns.push(at);
        } else {
            let path = rule.path.strip_suffix('/').unwrap_or(&rule.path);
            site.literal.entry(path.to_owned()).or_default().push(at);
        }
        self.rules.push(rule);
    }

    /// The rules in force, in the order given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides. Whoever dials takes everything from the answer and nothing from the question.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn decide<'l, 'a>(&'l self, wanted: Wanted<'a>) -> Result<Allowed<'l, 'a>, Denial> {
        if wanted.port == 0 {
            return Err(Denial::Port);
        }
        let host = host::canonical(wanted.host)?;
        let target = Target::read(wanted.path)?;
        let site = self
            .site(&wanted, &host)
            .ok_or_else(|| if host::is_special(&host) { Denial::SpecialAddress } else { Denial::Server })?;
        // Whatever rules say: what UDS keeps for one user is nobody else's.
        let named = path::named_user(target.path());
        if named.is_some_and(|named| !wanted.holder.user.is_some_and(|user| path::is_user(named, user))) {
            return Err(Denial::NotOwn);
        }
        let rule = self.rule(site, &wanted, &target)?;
        Ok(Allowed { https: rule.https, host: &rule.host, port: rule.port, path: target.whole, rule })
    }

    /// Decides about a URL as a whole, in the form `http[s]://host[:port][/path][?query]`.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn decide_url<'l, 'a>(
        &'l self,
        deployment: &'a Deployment,
        holder: Holder<'a>,
        method: &'a str,
        url: &'a str,
    ) -> Result<Allowed<'l, 'a>, Denial> {
        let UrlParts { https, host, port, path } = UrlParts::read(url)?;
        self.decide(Wanted { deployment, holder, method, https, host, port, path })
    }

    fn site(&self, wanted: &Wanted<'_>, host: &str) -> Option<&Site> {
        self.sites.get(wanted.deployment)?.get(host)?.get(&(wanted.https, wanted.port))
    }

    fn rule(&self, site: &Site, wanted: &Wanted<'_>, target: &Target<'_>) -> Result<&Rule, Denial> {
        let beginnings = target.path().match_indices('/').map(|(at, _)| at).chain([target.path().len()]);
        let literal = beginnings.filter_map(|at| site.literal.get(target.path().get(..at)?)).flatten();
        let mut covered = false;
        for rule in literal.chain(&site.patterns).filter_map(|at| self.rules.get(*at)) {
            if rule.covers(target, wanted.holder) {
                if rule.methods.iter().any(|method| method == wanted.method) {
                    return Ok(rule);
                }
                covered = true;
            }
        }
        Err(if covered { Denial::Method } else { Denial::NoRule })
    }
}

/// A URL taken apart at its slashes and colons, nothing decoded.
struct UrlParts<'a> {
    https: bool,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> UrlParts<'a> {
    fn read(url: &'a str) -> Result<Self, Denial> {
        let (scheme, rest) = url.split_once("://").ok_or(Denial::Url)?;
        let https = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(Denial::Url),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Denial::Url);
        }
        // The colon of the port stands behind the bracket of an address.
        let name = authority.find(']').map_or(0, |bracket| bracket + 1);
        let colon = authority.get(name..).and_then(|rest| rest.find(':')).map(|at| name + at);
        let (host, port) = match colon {
            Some(colon) => (authority.get(..colon), authority.get(colon + 1..).map(port_number).ok_or(Denial::Url)??),
            None => (Some(authority), if https { 443 } else { 80 }),
        };
        let host = host.filter(|host| !host.is_empty()).ok_or(Denial::Url)?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { https, host, port, path })
    }
}

/// A port has one form.
fn port_number(text: &str) -> Result<u16, Denial> {
    let one_form = !text.starts_with('0') && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    one_form.then(|| text.parse().ok()).flatten().ok_or(Denial::Port)
}

#[cfg(test)]
mod tests;
