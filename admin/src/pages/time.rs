//! Moments and lengths of time, as pages write them.

use super::words::{Words, number};

/// A moment: for programs and browsers, which show it in the reader's zone, and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `2026-11-29T21:05:40Z`.
    pub(crate) machine: String,
    /// `2026-11-29 21:05:40 UTC`.
    pub(crate) full: String,
    /// `21:05:40 UTC`.
    pub(crate) clock: String,
}

impl Moment {
    pub(crate) fn of_ms(ms: u64) -> Self {
        // Beyond the year 9999 nothing is a date that a browser reads.
        let seconds = (ms / 1000).min(253_402_300_799);
        let (days, within) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let clock = format!("{:02}:{:02}:{:02}", within / 3600, within / 60 % 60, within % 60);
        Self {
            machine: format!("{year:04}-{month:02}-{day:02}T{clock}.{:03}Z", ms % 1000),
            full: format!("{year:04}-{month:02}-{day:02} {clock} UTC"),
            clock: format!("{clock} UTC"),
        }
    }
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar: counted in eras of 400 years that begin in
/// March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A length of time in its two largest units.
pub(crate) fn length(words: &Words, seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let part = |key: &str, n: u64| words.count(key, n);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, s) => part("time.seconds", s),
        (0, 0, m, s) => format!("{} {}", part("time.minutes", m), part("time.seconds", s)),
        (0, h, m, _) => format!("{} {}", part("time.hours", h), part("time.minutes", m)),
        (d, h, ..) => format!("{} {}", part("time.days", d), part("time.hours", h)),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{} B", number(bytes));
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::super::words::Language;
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, machine) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Moment::of_ms(seconds * 1000).machine, machine);
        }
        assert_eq!(Moment::of_ms(1_709_251_199_007).clock, "23:59:59 UTC");
        assert!(Moment::of_ms(u64::MAX).machine.starts_with("9999-12-31T"));
    }

    #[test]
    fn lengths_have_two_units_and_sizes_one() {
        let of = |seconds| length(Language::English.words(), seconds);
        assert_eq!(
            [of(5), of(65), of(3 * 3600 + 59), of(2 * 86_400 + 3600)],
            ["5 s", "1 min 5 s", "3 h 0 min", "2 d 1 h"]
        );
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(300 << 20)], ["0 B", "1,023 B", "1.5 KiB", "300 MiB"]);
    }
}
