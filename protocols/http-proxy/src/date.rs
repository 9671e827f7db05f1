//! Dates of HTTP: IMF-fixdate (RFC 9110 §5.6.7), `Fri, 09 May 2014 20:21:31 GMT`.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;
/// 9999-12-31T23:59:59Z: the form has four digits for the year.
const LAST_S: u64 = 253_402_300_799;

/// The date of a moment, Unix milliseconds. What lies behind the year 9999 is its last second.
#[must_use]
pub fn imf_fixdate(unix_ms: u64) -> String {
    let seconds = (unix_ms / 1_000).min(LAST_S);
    let (days, time) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, days % 7), name(&MONTHS, month - 1));
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// The moment of a date, Unix milliseconds; `None` for anything but IMF-fixdate from 1970 on, and for a
/// weekday that is not that day's.
#[must_use]
pub fn parse_imf_fixdate(text: &str) -> Option<u64> {
    let (weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (number(parts.next()?, 2)?, parts.next()?, number(parts.next()?, 4)?);
    let (time, zone) = (parts.next()?, parts.next()?);
    let mut time = time.split(':');
    let (hour, minute, second) = (number(time.next()?, 2)?, number(time.next()?, 2)?, number(time.next()?, 2)?);
    let month = 1 + u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let over = parts.next().is_some() || time.next().is_some() || zone != "GMT";
    if over || year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_to(year, month, day);
    let is_it = civil(days) == (year, month, day) && DAYS.get(usize::try_from(days % 7).ok()?) == Some(&weekday);
    is_it.then_some((days * DAY_S + hour * 3_600 + minute * 60 + second) * 1_000)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// Year, month and day of a day since 1970: the calendar is counted in years that begin in March, so that
/// leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Days from 1970 to a date from 1970 on; for dates that do not exist, those of another.
fn days_to(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day;
    // The day counts from one, the epoch from zero: 719,468 and one.
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_399_666_891, "Fri, 09 May 2014 20:21:31 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, text) in known {
            assert_eq!(imf_fixdate(seconds * 1_000), text);
            assert_eq!(parse_imf_fixdate(text), Some(seconds * 1_000), "{text}");
        }
        assert_eq!(imf_fixdate(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn what_is_no_date_is_none() {
        let bad = [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Tue, 30 Feb 2000 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
        ];
        for text in bad {
            assert_eq!(parse_imf_fixdate(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_date_comes_back(seconds in 0..=LAST_S) {
            prop_assert_eq!(parse_imf_fixdate(&imf_fixdate(seconds * 1_000)), Some(seconds * 1_000));
        }
    }
}
