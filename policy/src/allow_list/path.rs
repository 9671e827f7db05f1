//! Paths in their one form, or refused.

use std::borrow::Cow;

use edgeway_model::sign_in::UserName;

use super::Denial;
use crate::limits::ALLOW_PATH_BYTES_MAX;

/// The segment of a rule that stands for the signed-in user's own name.
pub const USER_SEGMENT: &str = "{user}";

/// In a segment of a rule: the name of a device of the signed-in user.
pub const DEVICE: &str = "{device}";

/// The segment of a rule that stands for a settings file that is no device's: see `is_common_file`.
pub const COMMON_FILE_SEGMENT: &str = "{common}";

/// The segment of a rule that stands for a plain folder: letters, digits, `_` and `-`.
pub const FOLDER_SEGMENT: &str = "{folder}";

/// Who asks, as far as rules make a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The signed-in user; without one, what belongs to users is denied.
    pub user: Option<&'a UserName>,
    /// The names of the user's devices, as far as they are known.
    pub devices: &'a [String],
}

/// Path and query, normal and unambiguous: whatever reads them after us reads the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Path and query, as they are sent.
    pub(super) whole: Cow<'a, str>,
    /// Where the query begins, with its question mark; the length of `whole` if there is none.
    cut: usize,
}

impl<'a> Target<'a> {
    /// Reads what a client wrote. Percent-encoding is taken from unreserved characters (RFC 3986 §6.2.2.2) and
    /// is written with capitals elsewhere (§6.2.2.1); every other doubt is a denial.
    pub(super) fn read(written: &'a str) -> Result<Self, Denial> {
        if written.len() > ALLOW_PATH_BYTES_MAX {
            return Err(Denial::TooLong);
        }
        let (path, query) = written.split_at(written.find('?').unwrap_or(written.len()));
        check_query(query)?;
        let normal = normal_path(path)?;
        check_segments(&normal)?;
        let cut = normal.len();
        let whole = match normal {
            Cow::Borrowed(_) => Cow::Borrowed(written),
            Cow::Owned(path) => Cow::Owned(path + query),
        };
        Ok(Self { whole, cut })
    }

    /// The path alone.
    pub(super) fn path(&self) -> &str {
        self.whole.get(..self.cut).unwrap_or_default()
    }

    /// Whether the query is there.
    pub(super) fn has_query(&self) -> bool {
        self.cut < self.whole.len()
    }
}

fn check_query(query: &str) -> Result<(), Denial> {
    if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
        return Err(Denial::Query);
    }
    // What ends a line or a string for servers of old.
    let hidden =
        |at: usize| query.get(at..at + 3).is_some_and(|code| matches!(code, "%00" | "%0a" | "%0A" | "%0d" | "%0D"));
    if query.match_indices('%').any(|(at, _)| hidden(at)) { Err(Denial::Query) } else { Ok(()) }
}

fn normal_path(path: &str) -> Result<Cow<'_, str>, Denial> {
    if !path.starts_with('/') {
        return Err(Denial::Path);
    }
    // RFC 3986 §3.3, without parameters of segments (`;`), which some servers cut off before they look.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte);
    if path.bytes().all(plain) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(path.len());
    // Bytes beyond ASCII that were encoded: they must be UTF-8 together.
    let mut beyond = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            flush(&mut beyond, &mut normal)?;
            if !plain(byte) {
                return Err(if byte == b';' { Denial::Parameters } else { Denial::Path });
            }
            normal.push(char::from(byte));
            continue;
        }
        let code = code(rest.next(), rest.next()).ok_or(Denial::Encoding)?;
        match code {
            0x80.. => beyond.push(code),
            b'/' | b'\\' | b'%' | b';' | b'?' | b'#' | 0..b' ' | 0x7f => return Err(Denial::Encoding),
            _ => {
                flush(&mut beyond, &mut normal)?;
                if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
                    normal.push(char::from(code));
                } else {
                    encode(code, &mut normal);
                }
            }
        }
    }
    flush(&mut beyond, &mut normal)?;
    Ok(Cow::Owned(normal))
}

/// Writes what was encoded beyond ASCII: letters of names, and nothing that some server could fold into a
/// slash or a dot (full-width forms and the like).
fn flush(beyond: &mut Vec<u8>, normal: &mut String) -> Result<(), Denial> {
    let text = std::str::from_utf8(beyond).map_err(|_| Denial::Encoding)?;
    let harmless = |c: char| {
        let folds = matches!(c, '\u{2000}'..='\u{2bff}' | '\u{fb00}'..='\u{ffff}' | '\u{1d400}'..='\u{1d7ff}');
        !folds && (c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c))
    };
    if !text.chars().all(harmless) {
        return Err(Denial::Encoding);
    }
    beyond.drain(..).for_each(|byte| encode(byte, normal));
    Ok(())
}

fn encode(byte: u8, normal: &mut String) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default().to_ascii_uppercase();
    normal.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn code(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// No dot segments, however they were written, and no empty segments but behind the last slash.
fn check_segments(normal: &str) -> Result<(), Denial> {
    let mut segments = normal.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(Denial::EmptySegment),
            // More dots than two are a name; they, too, are trimmed by some file systems.
            _ if !segment.is_empty() && segment.bytes().all(|byte| byte == b'.') => return Err(Denial::Dots),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a segment is the name of this user: decoded once, in any case.
pub(super) fn is_user(segment: &str, user: &UserName) -> bool {
    if segment.eq_ignore_ascii_case(user.as_str()) {
        return true;
    }
    if !segment.contains('%') {
        return false;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let Some(code) = code(rest.next(), rest.next()) else { return false };
            bytes.push(code);
        } else {
            bytes.push(byte);
        }
    }
    // Names of users are trimmed where they are typed in; a segment is taken as it is.
    let exact = std::str::from_utf8(&bytes).ok().filter(|text| text.trim() == *text);
    exact.and_then(UserName::new).is_some_and(|named| named == *user)
}

/// The segment of a path that names a user of UDS, where the path has one; `Some("")` where it leads there
/// without naming any. It is looked for in any case of letters, so that no server is less strict than this.
pub(super) fn named_user(path: &str) -> Option<&str> {
    const OWN: [&[&str]; 2] = [&["cucm-uds", "user"], &["headset", "config", "user"]];
    let of = |lead: &&[&str]| {
        let mut segments = path.split('/').skip(1);
        lead.iter()
            .all(|wanted| segments.next().is_some_and(|segment| segment.eq_ignore_ascii_case(wanted)))
            .then(|| segments.next().unwrap_or_default())
    };
    OWN.iter().find_map(of)
}

/// Whether a file of a call manager's TFTP server is the same for everybody.
///
/// It is, by its name, a plain word with one of the endings of settings (`.xml`, signed `.xml.sgn`), of trust lists
/// (`CTLFile.tlv`, `ITLFile.tlv`), of languages (`.jar`) and of what phones show and play (`.png`, `.raw`, `.rwb`). The
/// name of a client's configuration is the administrator's choice, so all `.xml` are let through but two kinds: what
/// belongs to one device has `.cnf.` in its name (but for the two defaults), and the lists of all files, by which a
/// stranger would learn of all devices.
pub(super) fn is_common_file(segment: &str) -> bool {
    const DEFAULTS: [&str; 2] = ["SPDefault.cnf.xml", "XMLDefault.cnf.xml"];
    const TRUST_LISTS: [&str; 2] = ["CTLFile.tlv", "ITLFile.tlv"];
    const ENDINGS: [&str; 5] = [".xml", ".jar", ".png", ".raw", ".rwb"];
    let file = segment.strip_suffix(".sgn").unwrap_or(segment);
    if DEFAULTS.contains(&file) || TRUST_LISTS.contains(&segment) {
        return true;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ending = ENDINGS.into_iter().find_map(|ending| file.strip_suffix(ending));
    let signed_is_xml = file.len() == segment.len() || file.ends_with(".xml");
    // Some servers tell no cases apart.
    let folded = segment.to_ascii_lowercase();
    let of_one = folded.contains(".cnf") || folded.contains("cachelist") || folded.contains("filelist");
    ending.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && stem.bytes().all(plain))
        && signed_is_xml
        && !of_one
}

/// Whether a segment of a rule covers a segment of a path.
fn covers_segment(wanted: &str, given: &str, holder: Holder<'_>) -> bool {
    match wanted {
        USER_SEGMENT => holder.user.is_some_and(|user| is_user(given, user)),
        COMMON_FILE_SEGMENT => is_common_file(given),
        FOLDER_SEGMENT => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            !given.is_empty() && given.bytes().all(plain)
        }
        _ => match wanted.split_once(DEVICE) {
            Some((before, after)) => {
                let named = given.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                named.is_some_and(|named| {
                    !named.is_empty() && holder.devices.iter().any(|device| device.eq_ignore_ascii_case(named))
                })
            }
            None => wanted == given,
        },
    }
}

/// Whether the path of a rule has something in it that stands for something else.
pub(super) fn is_pattern(rule: &str) -> bool {
    rule.contains('{')
}

/// Puts plain words into the places of what stands for something else in a segment of a rule.
pub(super) fn filled_in(segment: &str) -> Cow<'_, str> {
    match segment {
        USER_SEGMENT => Cow::Borrowed("user"),
        COMMON_FILE_SEGMENT => Cow::Borrowed("common"),
        FOLDER_SEGMENT => Cow::Borrowed("folder"),
        _ if segment.contains(DEVICE) => Cow::Owned(segment.replacen(DEVICE, "device", 1)),
        _ => Cow::Borrowed(segment),
    }
}

/// Whether a rule's path covers a path.
pub(super) fn covers(rule: &str, prefix: bool, path: &str, holder: Holder<'_>) -> bool {
    let rule = if prefix { rule.strip_suffix('/').unwrap_or(rule) } else { rule };
    let (mut wanted, mut given) = (rule.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (None, Some(_)) => return prefix,
            (Some(wanted), Some(given)) if covers_segment(wanted, given, holder) => {}
            (Some(_), _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Result<String, Denial> {
        Target::read(written).map(|target| target.whole.into_owned())
    }

    #[test]
    fn a_path_has_one_form() {
        for (written, form) in [
            ("/", "/"),
            ("/cucm-uds/version", "/cucm-uds/version"),
            ("/cucm-uds/%76ersion?x=%76", "/cucm-uds/version?x=%76"),
            ("/a%7eb%2Dc", "/a~b-c"),
            ("/CTLSEP%20x.tlv", "/CTLSEP%20x.tlv"),
            ("/user/alice%40example.com", "/user/alice%40example.com"),
            ("/user/j%c3%bcrgen", "/user/j%C3%BCrgen"),
            ("/a/?/../%2f", "/a/?/../%2f"),
            ("/users?name=%25&max=10", "/users?name=%25&max=10"),
            ("/a%7bx%7d", "/a%7Bx%7D"),
        ] {
            assert_eq!(read(written).as_deref(), Ok(form), "{written}");
            assert_eq!(read(form).as_deref(), Ok(form), "{form}");
        }
    }

    #[test]
    fn every_doubt_is_a_denial() {
        let denied = [
            ("", Denial::Path),
            ("x", Denial::Path),
            ("?x", Denial::Path),
            ("*", Denial::Path),
            ("http://h/", Denial::Path),
            ("/a b", Denial::Path),
            ("/a\tb", Denial::Path),
            ("/a\u{0}", Denial::Path),
            ("/a\r\nb", Denial::Path),
            ("/a\\b", Denial::Path),
            ("/a#b", Denial::Path),
            ("/\u{fc}", Denial::Path),
            ("/a|b", Denial::Path),
            ("/{user}", Denial::Path),
            ("/a\"b", Denial::Path),
            ("/a<b", Denial::Path),
            ("/a;b", Denial::Parameters),
            ("/a;jsessionid=1/../b", Denial::Parameters),
            ("/..;/a", Denial::Parameters),
            ("/a%3bb", Denial::Encoding),
            ("/a%2fb", Denial::Encoding),
            ("/a%2Fb", Denial::Encoding),
            ("/a%5cb", Denial::Encoding),
            ("/a%00", Denial::Encoding),
            ("/a%0d%0ab", Denial::Encoding),
            ("/a%09", Denial::Encoding),
            ("/a%7f", Denial::Encoding),
            ("/%252e%252e/", Denial::Encoding),
            ("/%25", Denial::Encoding),
            ("/a%3f", Denial::Encoding),
            ("/a%23", Denial::Encoding),
            ("/a%", Denial::Encoding),
            ("/a%2", Denial::Encoding),
            ("/a%zz", Denial::Encoding),
            ("/a%+1", Denial::Encoding),
            ("/%c0%af", Denial::Encoding),
            ("/%c0%ae%c0%ae/", Denial::Encoding),
            ("/%e0%80%af", Denial::Encoding),
            ("/%ff", Denial::Encoding),
            ("/%c3/%bc", Denial::Encoding),
            ("/%ef%bc%8f", Denial::Encoding),
            ("/%ef%bc%8e%ef%bc%8e/", Denial::Encoding),
            ("/%e2%80%a5/", Denial::Encoding),
            ("/%e2%88%95", Denial::Encoding),
            ("/%u002e", Denial::Encoding),
            ("/.", Denial::Dots),
            ("/..", Denial::Dots),
            ("/a/../b", Denial::Dots),
            ("/a/./b", Denial::Dots),
            ("/a/%2e%2E/b", Denial::Dots),
            ("/a/.%2e", Denial::Dots),
            ("/a/...", Denial::Dots),
            ("//a", Denial::EmptySegment),
            ("//", Denial::EmptySegment),
            ("/a//b", Denial::EmptySegment),
            ("/a//", Denial::EmptySegment),
            ("/a?b c", Denial::Query),
            ("/a?b#c", Denial::Query),
            ("/a?\u{fc}", Denial::Query),
            ("/a?%0d%0aHost:", Denial::Query),
            ("/a?x=%00", Denial::Query),
            ("/a?\\", Denial::Query),
        ];
        for (written, denial) in denied {
            assert_eq!(read(written), Err(denial), "{written:?}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(ALLOW_PATH_BYTES_MAX))), Err(Denial::TooLong));
    }

    #[test]
    fn prefixes_end_at_segments() {
        let alice = UserName::new("alice");
        for (rule, prefix, path, covered) in [
            ("/cucm-uds/user", true, "/cucm-uds/user", true),
            ("/cucm-uds/user", true, "/cucm-uds/user/", true),
            ("/cucm-uds/user", true, "/cucm-uds/user/a/b", true),
            ("/cucm-uds/user", true, "/cucm-uds/users", false),
            ("/cucm-uds/user/", true, "/cucm-uds/user", true),
            ("/cucm-uds/user/", true, "/cucm-uds/user/a", true),
            ("/cucm-uds/user", true, "/Cucm-uds/user", false),
            ("/cucm-uds/user", false, "/cucm-uds/user/", false),
            ("/cucm-uds/user/", false, "/cucm-uds/user", false),
            ("/cucm-uds/user", false, "/cucm-uds/user", true),
            ("/", true, "/", true),
            ("/", true, "/a/b", true),
            ("/", false, "/", true),
            ("/", false, "/a", false),
            ("/user/{user}", true, "/user/Alice/devices", true),
            ("/user/{user}", true, "/user/%41lice", true),
            ("/user/{user}", true, "/user/alic", false),
            ("/user/{user}", true, "/user/alice2", false),
            ("/user/{user}", true, "/user/", false),
            ("/user/{user}", true, "/user", false),
            ("/user/{user}", false, "/user/alice", true),
            ("/user/{user}", false, "/user/alice/x", false),
        ] {
            let holder = Holder { user: alice.as_ref(), devices: &[] };
            assert_eq!(covers(rule, prefix, path, holder), covered, "{rule} {prefix} {path}");
        }
        assert!(!covers("/user/{user}", true, "/user/alice", Holder::default()));
    }

    #[test]
    fn files_are_common_or_of_ones_own_device() {
        for file in [
            "jabber-config.xml",
            "jabber-config-sales.xml",
            "Any_Name.2.xml",
            "SPDefault.cnf.xml",
            "XMLDefault.cnf.xml",
            "XMLDefault.cnf.xml.sgn",
            "AppDialRules.xml",
            "DirLookupDialRules.xml.sgn",
            "softkey4f1a.xml.sgn",
            "featurePolicy1.xml",
            "Ringlist.xml",
            "DistinctiveRinglist.xml",
            "Bass.raw",
            "mk-sip.jar",
            "g4-tones.xml",
            "background.png",
            "CTLFile.tlv",
            "ITLFile.tlv",
        ] {
            assert!(is_common_file(file), "{file}");
        }
        for file in [
            "",
            ".xml",
            "..xml",
            "SEP001122334455.cnf.xml",
            "SEP001122334455.cnf.xml.sgn",
            "SEP001122334455.cnf.xml.enc.sgn",
            "sep001122334455.CNF.xml",
            "SEP001122334455.cnf",
            "CTLSEP001122334455.tlv",
            "ITLSEP001122334455.tlv",
            "ConfigFileCacheList.txt",
            "ConfigFileCacheList.xml",
            "configfilecachelist.XML",
            "BinFileCacheList.xml",
            "FileList.xml",
            "FileList.txt",
            "lddefault.cfg",
            "a.jar.sgn",
            "a%20b.xml",
            "a.xml.sgn.sgn",
            "SPDefault.cnf.xml.enc.sgn",
        ] {
            assert!(!is_common_file(file), "{file}");
        }
        let devices = ["CSFALICE".to_owned(), "SEP001122334455".to_owned()];
        let own = Holder { user: None, devices: &devices };
        for (rule, path, covered) in [
            ("/{device}.cnf.xml", "/CSFALICE.cnf.xml", true),
            ("/{device}.cnf.xml", "/csfalice.cnf.xml", true),
            ("/{device}.cnf.xml", "/CSFBOB.cnf.xml", false),
            ("/{device}.cnf.xml", "/CSFALICE.cnf.xml.sgn", false),
            ("/{device}.cnf.xml", "/CSFALICE2.cnf.xml", false),
            ("/{device}.cnf.xml", "/.cnf.xml", false),
            ("/{device}.cnf.xml", "/x/CSFALICE.cnf.xml", false),
            ("/CTL{device}.tlv", "/CTLSEP001122334455.tlv", true),
            ("/CTL{device}.tlv", "/CTLSEP001122334456.tlv", false),
            ("/{folder}/{common}", "/English_United_States/mk-sip.jar", true),
            ("/{folder}/{common}", "/English_United_States/SEP001122334455.cnf.xml", false),
            ("/{folder}/{common}", "/a.b/mk-sip.jar", false),
            ("/{folder}/{common}", "/mk-sip.jar", false),
        ] {
            assert_eq!(covers(rule, false, path, own), covered, "{rule} {path}");
        }
        assert!(!covers("/{device}.cnf.xml", false, "/CSFALICE.cnf.xml", Holder::default()));
        let nameless = [String::new()];
        let nameless = Holder { user: None, devices: &nameless };
        assert!(!covers("/{device}", false, "/", nameless), "a device has a name");
    }

    #[test]
    fn users_are_found_in_paths() {
        let user = UserName::new("j\u{fc}rgen@example.com").unwrap();
        for own in ["J%C3%9Crgen%40Example.com", "j%C3%BCrgen@example.com"] {
            assert!(is_user(own, &user), "{own}");
        }
        for other in [
            "j%C3%BCrgen@example.com%20",
            "%20j%C3%BCrgen@example.com",
            "j%FCrgen@example.com",
            "jurgen@example.com",
            "j%25C3%25BCrgen@example.com",
            "",
            "%",
        ] {
            assert!(!is_user(other, &user), "{other}");
        }
        for (path, named) in [
            ("/cucm-uds/user/bob/devices", Some("bob")),
            ("/CUCM-UDS/User/bob", Some("bob")),
            ("/headset/config/user/bob", Some("bob")),
            ("/cucm-uds/user", Some("")),
            ("/cucm-uds/user/", Some("")),
            ("/cucm-uds/users", None),
            ("/x/cucm-uds/user/bob", None),
            ("/headset/config", None),
        ] {
            assert_eq!(named_user(path), named, "{path}");
        }
    }
}
