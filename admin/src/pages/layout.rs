//! What all pages have in common: the menu, which node is looked at, language and theme, who is signed in.

use std::fmt::Display;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::assets::Hrefs;
use super::limits::{BACK_BYTES_MAX, SEARCH_BYTES_MAX};
use super::state::Badge;
use super::views::Status;
use super::words::{Language, Said, Words};

/// A part of the menu: the same four that operators of such systems know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Status,
    Configuration,
    Users,
    Maintenance,
}

impl Section {
    pub(crate) const ALL: [Self; 4] = [Self::Status, Self::Configuration, Self::Users, Self::Maintenance];

    const fn key(self) -> &'static str {
        match self {
            Self::Status => "menu.status",
            Self::Configuration => "menu.configuration",
            Self::Users => "menu.users",
            Self::Maintenance => "menu.maintenance",
        }
    }
}

/// A page of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) section: Section,
    pub(crate) path: &'static str,
    /// Its title in the catalogues.
    pub(crate) key: &'static str,
}

const fn entry(section: Section, path: &'static str, key: &'static str) -> Entry {
    Entry { section, path, key }
}

pub(crate) const OVERVIEW: Entry = entry(Section::Status, "/status/overview", "menu.overview");
pub(crate) const SERVICES: Entry =
    entry(Section::Status, "/status/unified-communications", "menu.unified_communications");
pub(crate) const REGISTRATIONS: Entry = entry(Section::Status, "/status/registrations", "menu.registrations");
pub(crate) const CALLS: Entry = entry(Section::Status, "/status/calls", "menu.calls");
pub(crate) const CHATS: Entry = entry(Section::Status, "/status/chats", "menu.chats");
pub(crate) const NODES: Entry = entry(Section::Status, "/status/nodes", "menu.nodes");
pub(crate) const ALARMS: Entry = entry(Section::Status, "/status/alarms", "menu.alarms");
pub(crate) const EVENTS: Entry = entry(Section::Status, "/status/events", "menu.events");
pub(crate) const REFUSED: Entry = entry(Section::Status, "/status/refused", "menu.refused");
pub(crate) const LADDER: Entry = entry(Section::Status, "/status/ladder", "menu.ladder");

pub(crate) const CONFIGURATION: Entry =
    entry(Section::Configuration, "/configuration/unified-communications", "menu.unified_communications");
pub(crate) const SERVERS: Entry = entry(Section::Configuration, "/configuration/servers", "menu.servers");
pub(crate) const ALLOW_LIST: Entry = entry(Section::Configuration, "/configuration/allow-list", "fix.allow_list");
pub(crate) const DOCUMENT: Entry = entry(Section::Configuration, "/configuration/document", "document.title");
pub(crate) const HISTORY: Entry = entry(Section::Configuration, "/configuration/history", "fix.history");
pub(crate) const MAINTENANCE: Entry = entry(Section::Maintenance, "/maintenance/maintenance-mode", "fix.maintenance");
pub(crate) const CERTIFICATES: Entry = entry(Section::Maintenance, "/maintenance/certificates", "fix.certificates");

pub(crate) const PEOPLE: Entry = entry(Section::Users, "/users/people", "menu.people");
pub(crate) const ACCOUNTS: Entry = entry(Section::Users, "/users/administrators", "menu.accounts");
pub(crate) const TOKENS: Entry = entry(Section::Users, "/users/tokens", "menu.tokens");
pub(crate) const AUDIT: Entry = entry(Section::Users, "/users/audit", "menu.audit");

/// The menu, in its order. A page that is added here is found by people, and by the tests that look at every page.
pub(crate) const MENU: &[Entry] = &[
    OVERVIEW,
    SERVICES,
    REGISTRATIONS,
    CALLS,
    CHATS,
    NODES,
    ALARMS,
    EVENTS,
    REFUSED,
    LADDER,
    CONFIGURATION,
    SERVERS,
    ALLOW_LIST,
    DOCUMENT,
    HISTORY,
    PEOPLE,
    ACCOUNTS,
    TOKENS,
    AUDIT,
    MAINTENANCE,
    CERTIFICATES,
];

/// Light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the reader's system is.
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn of_text(text: &str) -> Self {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text).unwrap_or(Self::System)
    }

    const fn key(self) -> &'static str {
        match self {
            Self::System => "preferences.system",
            Self::Light => "preferences.light",
            Self::Dark => "preferences.dark",
        }
    }
}

/// The cookie of the language.
pub(crate) const LANGUAGE_COOKIE: &str = "edgeway-language";
/// The cookie of the theme.
pub(crate) const THEME_COOKIE: &str = "edgeway-theme";

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    pub(crate) name: String,
    /// May end calls and chats, and so on.
    pub(crate) operates: bool,
    /// May change the configuration.
    pub(crate) administers: bool,
    /// Bound to the session: a form without it does nothing.
    pub(crate) csrf: String,
}

/// A node that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) chosen: bool,
}

/// What a request wishes to see, as far as all pages are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    /// The node it asks for; all of them where it asks for none.
    pub(crate) node: Option<String>,
    /// Only what lies within the page's main part: a script asked.
    pub(crate) bare: bool,
    /// Path and query, to come back to.
    pub(crate) here: String,
}

impl Wish {
    pub(crate) fn of(parts: &Parts) -> Self {
        let header = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let language = cookie(&parts.headers, LANGUAGE_COOKIE).as_deref().and_then(Language::of_tag);
        let accepted = || header(header::ACCEPT_LANGUAGE).map_or(Language::English, Language::accepted);
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let restores = parts.headers.contains_key("hx-history-restore-request");
        Self {
            language: language.unwrap_or_else(accepted),
            theme: cookie(&parts.headers, THEME_COOKIE).map_or(Theme::System, |text| Theme::of_text(&text)),
            node: query(parts.uri.query(), "node").filter(|node| !node.is_empty()),
            bare: parts.headers.contains_key("hx-request") && !restores,
            here: if here.len() <= BACK_BYTES_MAX { here.to_owned() } else { parts.uri.path().to_owned() },
        }
    }
}

/// A cookie's value (RFC 6265 §4.2).
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

/// A value out of a query, bounded.
pub(crate) fn query(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    let text = percent_decoded(value);
    let fits = |(at, char): &(usize, char)| at + char.len_utf8() <= SEARCH_BYTES_MAX;
    Some(text.char_indices().take_while(fits).map(|(_, char)| char).collect())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex =
                    [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                if let [Some(high), Some(low)] = hex {
                    bytes.extend(u8::try_from(high * 16 + low));
                }
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as it stands in a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether somebody may be led there: a path of ours, and nothing that a browser could take for another host's.
pub(crate) fn is_local(path: &str) -> bool {
    let mut bytes = path.bytes();
    path.len() <= BACK_BYTES_MAX
        && bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\')
}

/// The frame around a page, for its template.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) wish: Wish,
    pub(crate) page: Option<Entry>,
    /// Nobody before sign-in.
    pub(crate) viewer: Option<Viewer>,
    pub(crate) nodes: Vec<Choice>,
    /// The title in the catalogues.
    title: &'static str,
}

impl Frame {
    pub(crate) fn new(wish: Wish, page: Entry, viewer: Viewer, nodes: &[Status]) -> Self {
        let chosen = |name: &str| wish.node.as_deref() == Some(name);
        let choices = nodes.iter().map(|node| Choice { name: node.node.clone(), chosen: chosen(&node.node) });
        Self { nodes: choices.collect(), wish, page: Some(page), viewer: Some(viewer), title: page.key }
    }

    /// Before sign-in, and for what is no page of the menu.
    pub(crate) fn outside(wish: Wish, title: &'static str) -> Self {
        Self { wish, page: None, viewer: None, nodes: Vec::new(), title }
    }

    pub(crate) fn words(&self) -> &'static Words {
        self.wish.language.words()
    }

    pub(crate) fn say<'s>(&'s self, key: &'s str) -> &'s str {
        self.words().say(key)
    }

    pub(crate) fn with(&self, key: &str, name: &str, value: impl Display) -> String {
        self.words().with(key, name, value)
    }

    pub(crate) fn fill(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        self.words().fill(key, values)
    }

    pub(crate) fn count(&self, key: &str, n: &u64) -> String {
        self.words().count(key, *n)
    }

    /// How many servers of how many have been read.
    pub(crate) fn reading(&self, read: &u64, of: &u64) -> String {
        self.words().fill("servers.reading", &[("read", read), ("of", of)])
    }

    pub(crate) fn said(&self, text: &str) -> Said {
        self.words().said(text)
    }

    /// What a node said, as a badge with an icon.
    pub(crate) fn badge(&self, text: &str) -> Badge {
        Badge::of(self.said(text), text)
    }

    pub(crate) fn title(&self) -> &str {
        self.words().say(self.title)
    }

    pub(crate) fn tag(&self) -> &'static str {
        self.wish.language.tag()
    }

    pub(crate) fn theme(&self) -> &'static str {
        self.wish.theme.as_str()
    }

    pub(crate) fn bare(&self) -> bool {
        self.wish.bare
    }

    pub(crate) fn here(&self) -> &str {
        &self.wish.here
    }

    pub(crate) fn path(&self) -> &'static str {
        self.page.map_or("/", |page| page.path)
    }

    pub(crate) fn assets(&self) -> Hrefs {
        Hrefs
    }

    pub(crate) fn sections(&self) -> Vec<SectionLink> {
        let of = |section: Section| {
            let first = MENU.iter().find(|entry| entry.section == section)?;
            let is_here = self.page.is_some_and(|page| page.section == section);
            Some(SectionLink { title: self.say_owned(section.key()), href: self.to(first.path), is_here })
        };
        Section::ALL.into_iter().filter_map(of).collect()
    }

    pub(crate) fn entries(&self) -> Vec<SectionLink> {
        let section = self.page.map(|page| page.section);
        let here = MENU.iter().filter(|entry| Some(entry.section) == section);
        let link = |entry: &Entry| SectionLink {
            title: self.say_owned(entry.key),
            href: self.to(entry.path),
            is_here: Some(*entry) == self.page,
        };
        here.map(link).collect()
    }

    fn say_owned(&self, key: &str) -> String {
        self.say(key).to_owned()
    }

    /// A path of ours, with the node that is looked at.
    pub(crate) fn to(&self, path: &str) -> String {
        match &self.wish.node {
            Some(node) => format!("{path}?node={}", percent_encoded(node)),
            None => path.to_owned(),
        }
    }

    pub(crate) fn all_chosen(&self) -> bool {
        self.wish.node.is_none()
    }

    pub(crate) fn languages(&self) -> Vec<LanguageLink> {
        let link = |language: Language| LanguageLink {
            tag: language.tag(),
            name: language.own_name(),
            href: format!("/preferences?language={}&back={}", language.tag(), percent_encoded(&self.wish.here)),
            is_here: language == self.wish.language,
        };
        Language::ALL.into_iter().map(link).collect()
    }

    pub(crate) fn themes(&self) -> Vec<SectionLink> {
        let link = |theme: Theme| SectionLink {
            title: self.say_owned(theme.key()),
            href: format!("/preferences?theme={}&back={}", theme.as_str(), percent_encoded(&self.wish.here)),
            is_here: theme == self.wish.theme,
        };
        Theme::ALL.into_iter().map(link).collect()
    }
}

/// A link of the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectionLink {
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) is_here: bool,
}

/// A link to the same page in a language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LanguageLink {
    pub(crate) tag: &'static str,
    pub(crate) name: &'static str,
    pub(crate) href: String,
    pub(crate) is_here: bool,
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn nobody_is_led_away() {
        for good in ["/", "/status/overview", "/status/calls?user=a%20b&node=core1"] {
            assert!(is_local(good), "{good}");
        }
        for bad in
            ["", "status", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/a b", "/\t/e"]
        {
            assert!(!is_local(bad), "{bad}");
        }
        assert!(!is_local(&format!("/{}", "a".repeat(BACK_BYTES_MAX))));
    }

    #[test]
    fn a_wish_is_read_from_cookies_headers_and_the_query() {
        let request = Request::get("/status/calls?user=x&node=core%2D1")
            .header("cookie", "a=b; edgeway-language=ja")
            .header("cookie", "edgeway-theme=dark")
            .header("accept-language", "en");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let wish = Wish::of(&parts);
        assert_eq!((wish.language, wish.theme, wish.bare), (Language::Japanese, Theme::Dark, false));
        assert_eq!((wish.node.as_deref(), wish.here.as_str()), (Some("core-1"), "/status/calls?user=x&node=core%2D1"));
    }

    #[test]
    fn queries_are_decoded_and_bounded() {
        let of = |text: &str| query(Some(text), "q").unwrap_or_default();
        assert_eq!(of("p=1&q=a+b%2Fc%E4%BC%9A"), "a b/c会");
        assert_eq!(of("q=%zz%1"), "");
        assert_eq!(of(&format!("q={}", "会".repeat(500))).len(), SEARCH_BYTES_MAX / 3 * 3);
        let odd = "a b&c=\u{202e}<>\"";
        assert_eq!(of(&format!("q={}", percent_encoded(odd))), odd);
    }
}
