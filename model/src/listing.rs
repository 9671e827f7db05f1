//! Pages of what a node holds, as an operator reads them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::limits::{LISTED_EXAMINED_MAX, LISTED_MAX};
use crate::media::{MediaPath, RelayCounters};
use crate::world::Transport;
use crate::{Moment, NodeId, Pii};

/// Where a page ends, and the next one begins: opaque to whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64, pub u32);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.0, self.1)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (row, part) = text.split_once('.').ok_or(())?;
        let read = |text| u64::from_str_radix(text, 16).map_err(|_| ());
        Ok(Self(read(row)?, u32::try_from(read(part)?).map_err(|_| ())?))
    }
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Those behind this one.
    pub after: Option<Cursor>,
    /// So many at most; beyond [`LISTED_MAX`] is that.
    pub limit: usize,
    /// Those of users whose address holds this, whatever the case of ASCII letters.
    pub user: Option<String>,
}

impl Wish {
    /// Whether one of the addresses of a row is wanted.
    #[must_use]
    pub fn takes(&self, addresses: &[&str]) -> bool {
        self.user.as_deref().is_none_or(|user| addresses.iter().any(|address| holds(address, user)))
    }

    /// A page out of rows that come in the order of their cursors, from the first behind `after` on. So that a filter that
    /// lets nothing through costs no more than a bounded time, a page may end before it is full.
    pub fn page<T>(&self, rows: impl Iterator<Item = (Cursor, T)>, total: u64, takes: impl Fn(&T) -> bool) -> Page<T> {
        let mut page = Page { rows: Vec::new(), next: None, total };
        let (limit, mut last) = (self.limit.clamp(1, LISTED_MAX), None);
        let rows = rows.skip_while(|(cursor, _)| self.after.is_some_and(|after| *cursor <= after));
        for (examined, (cursor, row)) in rows.enumerate() {
            if page.rows.len() >= limit || examined >= LISTED_EXAMINED_MAX {
                page.next = last;
                break;
            }
            last = Some(cursor);
            if takes(&row) {
                page.rows.push(row);
            }
        }
        page
    }
}

/// Whether `text` holds `part`, whatever the case of ASCII letters.
fn holds(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let Some((first, rest)) = part.split_first() else { return true };
    let begins = |at: usize| text.get(at + 1..=at + rest.len()).is_some_and(|here| here.eq_ignore_ascii_case(rest));
    // It is asked of thousands at once: most letters are not the first one.
    text.iter().enumerate().any(|(at, letter)| letter.eq_ignore_ascii_case(first) && begins(at))
}

/// Some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<Cursor>,
    /// How many there are in all, whatever was wanted.
    pub total: u64,
}

impl<T> Page<T> {
    /// The same page of other rows.
    pub fn map<U>(self, row: impl FnMut(T) -> U) -> Page<U> {
        Page { rows: self.rows.into_iter().map(row).collect(), next: self.next, total: self.total }
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), next: None, total: 0 }
    }
}

/// One line of one device that is registered over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRow {
    /// The address of record.
    pub aor: Pii<String>,
    /// The device's name, or its instance-id; where it gives neither, its Contact.
    pub device: Pii<String>,
    /// What it calls itself; cut where it is long.
    pub user_agent: Option<String>,
    /// Where it connects from.
    pub client: Option<Pii<SocketAddr>>,
    /// How it does.
    pub transport: Option<Transport>,
    /// The edge it is connected to.
    pub edge: Option<NodeId>,
    /// The core its registration went through.
    pub core: Option<NodeId>,
    /// The registrar that has accepted it (known at a core).
    pub registrar: Option<(SocketAddr, Transport)>,
    /// Since when.
    pub since: Moment,
    /// Until when, unless it is refreshed.
    pub expires: Moment,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Its first INVITE has no final answer.
    SettingUp,
    /// Somebody has answered.
    Up,
    /// It was up, and the connection of its client is gone; it may come back.
    ClientGone,
    /// It is to end, as an operator has ordered, and waits for an ACK or the answer to a CANCEL before its BYEs are sent.
    Ending,
}

impl CallState {
    /// As programs read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SettingUp => "setting_up",
            Self::Up => "up",
            Self::ClientGone => "client_gone",
            Self::Ending => "ending",
        }
    }
}

/// One client's side of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// The node's number of it.
    pub id: u32,
    /// Its Call-ID (known at a core).
    pub call_id: Option<Pii<String>>,
    /// Who calls (known at a core).
    pub from: Option<Pii<String>>,
    /// Who is called (known at a core).
    pub to: Option<Pii<String>>,
    /// How far it is (known at a core).
    pub state: Option<CallState>,
    /// Since when.
    pub since: Moment,
    /// The edge its client is connected to.
    pub edge: Option<NodeId>,
    /// The core that anchors it.
    pub core: Option<NodeId>,
    /// Where the other party is spoken to: a host and a port (known at a core).
    pub inside: Option<String>,
    /// Media that is relayed: `audio`, `video`, `other`, one for each section.
    pub media: Vec<&'static str>,
}

/// A call, with all that the core which anchors it knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDetail {
    /// As in the list.
    pub call: CallRow,
    /// The client's device, where it is registered through the same core.
    pub device: Option<Pii<String>>,
    /// What that calls itself.
    pub user_agent: Option<String>,
    /// Where it connects from.
    pub client: Option<Pii<SocketAddr>>,
    /// How many parties inside it has reached: more than one where a call is forked.
    pub parties: usize,
    /// When media last came from the client; the start of the call, if none has.
    pub heard: Moment,
    /// Its media sections, one relay each.
    pub media: Vec<MediaDetail>,
}

/// One media section of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaDetail {
    /// `audio`, `video` or `other`.
    pub kind: &'static str,
    /// What it is encoded with; empty until both sides have agreed.
    pub codecs: String,
    /// `sendrecv` and so on, as the client sees it; `None` until both sides have agreed.
    pub direction: Option<&'static str>,
    /// The client's leg.
    pub client: MediaLeg,
    /// The leg inside.
    pub inside: MediaLeg,
    /// The edge that relays it.
    pub edge: NodeId,
    /// How it goes between edge and core.
    pub path: MediaPath,
    /// What has passed, as reported about once a second.
    pub counters: RelayCounters,
}

/// One leg of a media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaLeg {
    /// Our port.
    pub port: u16,
    /// Where the party says that it receives.
    pub described: Option<Pii<SocketAddr>>,
    /// `none`, or the SRTP suite; `None` until both sides have agreed.
    pub protection: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(wish: &Wish, names: &[&'static str]) -> Vec<Vec<&'static str>> {
        let (mut wish, mut pages) = (wish.clone(), Vec::new());
        loop {
            let rows = names.iter().enumerate().map(|(n, name)| (Cursor(n as u64, 7), *name));
            let page = wish.page(rows, names.len() as u64, |name| wish.takes(&[*name]));
            assert_eq!(page.total, names.len() as u64);
            pages.push(page.rows);
            match page.next {
                Some(next) => wish.after = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let names = ["alice@a", "bob@a", "ALICE@b", "carol@a", "malice"];
        let wish = Wish { limit: 2, ..Wish::default() };
        assert_eq!(all(&wish, &names), [&names[..2], &names[2..4], &names[4..]]);
        let alice = Wish { user: Some("Alice".into()), ..wish };
        assert_eq!(all(&alice, &names).concat(), ["alice@a", "ALICE@b", "malice"]);
        for (text, part, is_there) in [
            ("", "", true),
            ("", "a", false),
            ("ab", "", true),
            ("ab", "B", true),
            ("ab", "bc", false),
            ("aab", "AB", true),
            ("abab", "abb", false),
            ("\u{e4}\u{c4}", "\u{e4}", true),
            ("\u{c4}", "\u{e4}", false),
        ] {
            assert_eq!(holds(text, part), is_there, "{text:?} {part:?}");
        }
        let nobody = Wish { user: Some("zed".into()), limit: 0, after: None };
        assert_eq!(all(&nobody, &names), [[""; 0]]);
    }

    #[test]
    fn a_page_looks_at_no_more_than_its_bound() {
        let wish = Wish { limit: 10, user: Some("x".into()), after: None };
        let rows = (0..).map(|n| (Cursor(n, 0), "nobody"));
        let page = wish.page(rows, 0, |name| wish.takes(&[*name]));
        assert_eq!((page.rows.len(), page.next), (0, Some(Cursor(LISTED_EXAMINED_MAX as u64 - 1, 0))));
        let wish = Wish { limit: usize::MAX, ..Wish::default() };
        assert_eq!(wish.page((0..).map(|n| (Cursor(n, 0), n)), 0, |_| true).rows.len(), LISTED_MAX);
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for cursor in [Cursor(0, 0), Cursor(u64::MAX, u32::MAX), Cursor(0x12, 3)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in ["", ".", "1", "1.", "x.1", "1.100000000", "-1.0", "1.2.3"] {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }
}
