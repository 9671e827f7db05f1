//! The session cookie, judged as the clients do that give up over a cookie they do not like.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An `X-Auth` cookie that a client can use.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its value.
    pub value: String,
    /// When it ends.
    pub expires: SystemTime,
    /// The domain it is sent to, without a leading dot.
    pub domain: String,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookie").field("expires", &self.expires).field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Cookie {
    /// Reads a `Set-Cookie` value that `host` has sent.
    ///
    /// # Errors
    /// What the client does not like about it.
    pub fn read(line: &str, host: &str) -> Result<Self, String> {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).ok_or("no name and value")?;
        if name != "X-Auth" || value.is_empty() {
            return Err(format!("a cookie named {name}"));
        }
        let (mut expires, mut domain, mut path, mut secure) = (None, None, None, false);
        for part in parts {
            match part.split_once('=') {
                Some(("Expires", date)) => expires = Some(imf_fixdate(date).ok_or("Expires cannot be read")?),
                Some(("Domain", name)) => domain = Some(name.trim_start_matches('.').to_ascii_lowercase()),
                Some(("Path", place)) => path = Some(place.to_owned()),
                Some(_) => {}
                None => secure |= part.eq_ignore_ascii_case("Secure"),
            }
        }
        let expires = expires.ok_or("XAuth Cookie expiration time is invalid or not available")?;
        if expires <= SystemTime::now() {
            return Err("it has expired already".to_owned());
        }
        let domain = domain.ok_or("no Domain")?;
        let host = host.to_ascii_lowercase();
        if host != domain && !host.ends_with(&format!(".{domain}")) {
            return Err(format!("its domain {domain} does not cover {host}"));
        }
        match (path.as_deref(), secure) {
            (Some("/"), true) => Ok(Self { value: value.to_owned(), expires, domain }),
            (Some("/"), false) => Err("it is not Secure".to_owned()),
            _ => Err("its path is not /".to_owned()),
        }
    }
}

/// `Fri, 09 May 2014 20:21:31 GMT` (RFC 9110 §5.6.7), in exactly that form.
fn imf_fixdate(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let words: Vec<&str> = text.split(' ').collect();
    let [weekday, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let digits = |text: &str, length: usize| {
        (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u64>().ok())?
    };
    let month = MONTHS.iter().position(|name| name == month)? as u64;
    let (day, year) = (digits(day, 2)?, digits(year, 4)?);
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock.as_slice() else { return None };
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 || year < 1970 {
        return None;
    }
    // Days since 1970: years that begin in March put the leap day last.
    let (y, m) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let named = DAYS.get(usize::try_from(days % 7).ok()?)?;
    if weekday.strip_suffix(',') != Some(named) {
        return None;
    }
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_one_form_and_their_weekday_must_be_right() {
        let at = |secs| Some(UNIX_EPOCH + Duration::from_secs(secs));
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", at(0)),
            ("Fri, 09 May 2014 20:21:31 GMT", at(1_399_666_891)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", at(1_709_251_199)),
            ("Fri, 29 Feb 2024 23:59:59 GMT", None),
            ("Fri, 9 May 2014 20:21:31 GMT", None),
            ("Fri, 09-May-2014 20:21:31 GMT", None),
            ("Fri, 09 May 2014 20:21:31 UTC", None),
            ("Friday, 09-May-14 20:21:31 GMT", None),
        ] {
            assert_eq!(imf_fixdate(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cookie_a_client_would_drop_is_refused_with_the_reason() {
        let good = "X-Auth=abc; Expires=Fri, 01 Jan 2999 00:00:00 GMT; Domain=.example.com; Path=/; Secure; HttpOnly";
        // 1 January 2999 is a Tuesday.
        let good = good.replace("Fri", "Tue");
        assert_eq!(Cookie::read(&good, "e1.example.com").expect("good").value, "abc");
        assert_eq!(Cookie::read(&good, "example.com").expect("good").domain, "example.com");
        for (change, to, host, why) in [
            ("Expires=Tue, 01 Jan 2999 00:00:00 GMT; ", "Max-Age=28800; ", "e1.example.com", "expiration"),
            ("Tue, 01 Jan 2999", "Wed, 01 Jan 2020", "e1.example.com", "expired"),
            ("Domain=.example.com; ", "", "e1.example.com", "Domain"),
            ("x", "x", "e1.badexample.com", "does not cover"),
            ("Path=/; ", "Path=/a; ", "e1.example.com", "path"),
            ("; Secure", "", "e1.example.com", "Secure"),
            ("X-Auth", "X-Other", "e1.example.com", "X-Other"),
        ] {
            let line = good.replace(change, to);
            let error = Cookie::read(&line, host).expect_err("refused");
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
