use std::net::{Ipv4Addr, Ipv6Addr};

use edgeway_model::sign_in::{Deployment, UserName};
use proptest::prelude::*;

use super::*;

const SETTINGS: RateSettings =
    RateSettings { attempts: 8, period: Duration::from_secs(300), remember: Duration::from_secs(480 * 60) };
const REFUSED_FOR_300: Decision = Decision::Refused { retry_after: Duration::from_secs(300) };

fn user(name: &str) -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new(name).unwrap() }
}

fn place(last: u8) -> Source {
    Source::at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

fn device() -> Source {
    Source { holds_token: true, ..place(9) }
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

#[test]
fn eight_pass_and_the_ninth_is_told_when() {
    let mut rate = Rate::new(SETTINGS);
    for second in 0..8 {
        assert_eq!(rate.check(&user("alice"), place(1), at(second * 1_000)), Decision::Pass);
    }
    for (now, left) in [(7_000, 293_000), (7_001, 292_999), (299_999, 1)] {
        let refused = Decision::Refused { retry_after: Duration::from_millis(left) };
        assert_eq!(rate.check(&user("alice"), place(1), at(now)), refused, "at {now} ms");
        assert_eq!(rate.check(&user("alice"), place(2), at(now)), refused, "from another address");
    }
    assert_eq!(rate.check(&user("bob"), place(1), at(7_000)), Decision::Pass, "another user");
    // The refused ones above were not recorded: the window slides by the attempts that passed.
    assert_eq!(rate.check(&user("alice"), place(1), at(300_000)), Decision::Pass);
    let next = Decision::Refused { retry_after: Duration::from_secs(1) };
    assert_eq!(rate.check(&user("alice"), place(1), at(300_000)), next);
    assert_eq!(rate.check(&user("alice"), place(1), at(301_000)), Decision::Pass);
}

#[test]
fn an_attempt_that_was_none_is_given_back_to_whoever_made_it() {
    let mut rate = Rate::new(SETTINGS);
    for second in 0..8 {
        let from = place(if second == 3 { 2 } else { 1 });
        assert_eq!(rate.check(&user("alice"), from, at(second * 1_000)), Decision::Pass);
    }
    // None of his, and none of hers from there: nothing is given.
    rate.take_back(&user("bob"), place(1));
    rate.take_back(&user("alice"), place(3));
    let refused = Decision::Refused { retry_after: Duration::from_secs(292) };
    assert_eq!(rate.check(&user("alice"), place(1), at(8_000)), refused);
    // The newest from there, wherever it stands: one may come, and the next when the first leaves.
    rate.take_back(&user("alice"), place(2));
    assert_eq!(rate.check(&user("alice"), place(1), at(8_000)), Decision::Pass);
    assert_eq!(rate.check(&user("alice"), place(1), at(8_000)), refused);
    rate.take_back(&user("alice"), place(2));
    assert_eq!(rate.check(&user("alice"), place(1), at(8_000)), refused, "it had made no other");
    // An outage takes nothing.
    let mut rate = Rate::new(SETTINGS);
    for second in 0..100 {
        assert_eq!(rate.check(&user("alice"), place(1), at(second)), Decision::Pass);
        rate.take_back(&user("alice"), place(1));
        assert!(rate.is_empty() && rate.by_age.is_empty() && rate.by_fill.is_empty());
    }
}

#[test]
fn who_signs_in_at_once_has_no_more_than_eight_wherever() {
    // (where it comes from, whether the credentials are right) of nine attempts.
    let tables: [[(u8, bool); 9]; 5] = [
        [(1, true); 9],
        [(1, true), (1, true), (1, true), (1, true), (2, true), (2, true), (2, true), (2, true), (1, true)],
        [(1, true), (1, true), (1, true), (1, true), (2, true), (2, true), (2, true), (2, true), (3, true)],
        [(1, true), (1, false), (1, false), (1, false), (1, false), (1, false), (1, false), (1, false), (1, true)],
        [(1, false), (1, false), (1, true), (1, false), (2, true), (2, false), (2, false), (2, true), (4, true)],
    ];
    for (number, table) in tables.into_iter().enumerate() {
        let mut rate = Rate::new(SETTINGS);
        for (nth, (from, right)) in table.into_iter().enumerate() {
            let decision = rate.check(&user("alice"), place(from), at(0));
            let wanted = if nth < 8 { Decision::Pass } else { REFUSED_FOR_300 };
            assert_eq!(decision, wanted, "table {number}, attempt {nth}");
            if right && decision == Decision::Pass {
                rate.succeeded(&user("alice"), place(from), at(0));
            }
        }
    }
}

#[test]
fn strangers_who_guess_lock_nobody_out_who_has_proven_himself() {
    let mut rate = Rate::new(SETTINGS);
    assert_eq!(rate.check(&user("alice"), place(1), at(0)), Decision::Pass);
    rate.succeeded(&user("alice"), place(1), at(0));
    let later = 10_000_000;
    for guess in 0..8 {
        assert_eq!(rate.check(&user("alice"), place(66), at(later)), Decision::Pass, "{guess}");
    }
    assert_eq!(rate.check(&user("alice"), place(66), at(later)), REFUSED_FOR_300);
    assert_eq!(rate.check(&user("alice"), place(67), at(later)), REFUSED_FOR_300, "a place never seen");
    for time in 0..8 {
        assert_eq!(rate.check(&user("alice"), place(1), at(later)), Decision::Pass, "from home, {time}");
    }
    assert_eq!(rate.check(&user("alice"), place(1), at(later)), REFUSED_FOR_300, "neighbours at home guess, too");
    for time in 0..8 {
        assert_eq!(rate.check(&user("alice"), device(), at(later)), Decision::Pass, "with an old token, {time}");
    }
    assert_eq!(rate.check(&user("alice"), device(), at(later)), REFUSED_FOR_300);
}

#[test]
fn a_place_proves_something_for_the_refresh_interval_and_until_it_is_forgotten() {
    let remembered = u64::try_from(SETTINGS.remember.as_millis()).unwrap();
    for (after, forgotten, wanted) in [
        (remembered - 1, false, Decision::Pass),
        (remembered, false, REFUSED_FOR_300),
        (remembered - 1, true, REFUSED_FOR_300),
    ] {
        let mut rate = Rate::new(SETTINGS);
        rate.check(&user("alice"), place(1), at(0));
        rate.succeeded(&user("alice"), place(1), at(0));
        if forgotten {
            rate.forget(&user("alice"));
        }
        for _ in 0..8 {
            rate.check(&user("alice"), place(66), at(after));
        }
        assert_eq!(rate.check(&user("alice"), place(1), at(after)), wanted, "after {after} ms, {forgotten}");
    }
}

#[test]
fn addresses_of_one_subscriber_are_one_place() {
    let v6 = |segments: [u16; 8]| Prefix::from(IpAddr::V6(Ipv6Addr::from(segments)));
    let one = v6([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6]);
    assert_eq!(one, v6([0x2001, 0xdb8, 1, 2, 9, 9, 9, 9]));
    assert_ne!(one, v6([0x2001, 0xdb8, 1, 3, 3, 4, 5, 6]));
    let mapped = Prefix::from(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()));
    assert_eq!(mapped, Prefix::V4([192, 0, 2, 1]));
}

#[test]
fn a_table_full_of_invented_names_resets_nobodys_window() {
    let mut rate = Rate::new(SETTINGS);
    for _ in 0..8 {
        assert_eq!(rate.check(&user("victim"), place(66), at(0)), Decision::Pass);
    }
    for name in 0..RATE_USERS_MAX + 1_000 {
        assert_eq!(rate.check(&user(&format!("u{name}")), place(66), at(1_000)), Decision::Pass);
    }
    assert_eq!(rate.len(), RATE_USERS_MAX);
    let left = Decision::Refused { retry_after: Duration::from_secs(298) };
    assert_eq!(rate.check(&user("victim"), place(66), at(2_000)), left);
    // When the period is over they all go, a few at a time.
    for name in 0..RATE_USERS_MAX {
        rate.check(&user(&format!("v{}", name % 10)), place(66), at(400_000));
    }
    assert_eq!(rate.len(), 10);
    assert_eq!(rate.by_age.len(), 10);
    assert_eq!(rate.by_fill.len(), 10);
}

#[test]
fn a_table_full_of_full_windows_takes_no_more_names() {
    let mut rate = Rate::new(RateSettings { attempts: 1, ..SETTINGS });
    for name in 0..RATE_USERS_MAX {
        assert_eq!(rate.check(&user(&format!("u{name}")), place(66), at(0)), Decision::Pass);
    }
    assert_eq!(rate.check(&user("one more"), place(66), at(1)), REFUSED_FOR_300);
    assert_eq!(rate.check(&user("one more"), place(66), at(300_000)), Decision::Pass);
}

/// The rule in words, on a list that forgets nothing.
#[derive(Default)]
struct Model {
    attempts: Vec<(u64, u8, u8)>,
    proven: Vec<(u64, u8)>,
}

impl Model {
    fn check(&mut self, limit: usize, period: u64, from: u8, token: bool, now: u64) -> bool {
        let proven = self.proven.iter().any(|(since, place)| *place == from && now - since < 1_000);
        let standing = if token { 2 } else { u8::from(proven) };
        let against = |(then, _, of): &&(u64, u8, u8)| now - then < period && *of >= standing;
        let pass = self.attempts.iter().filter(against).count() < limit;
        if pass {
            self.attempts.push((now, from, standing));
        }
        pass
    }

    fn succeeded(&mut self, from: u8, now: u64) {
        for (_, place, standing) in &mut self.attempts {
            if *place == from {
                *standing = 1.max(*standing);
            }
        }
        self.proven.push((now, from));
    }
}

/// How long after the one before, where from, whether the credentials are right, and 0 for a token.
type Step = (u64, u8, bool, u8);

fn is_judged_as_the_rule_says(limit: u32, period: u64, steps: Vec<Step>) {
    let settings =
        RateSettings { attempts: limit, period: Duration::from_millis(period), remember: Duration::from_secs(1) };
    let most = usize::try_from(limit).unwrap();
    let mut rate = Rate::new(settings);
    let mut model = Model::default();
    let mut now = 0;
    for (pause, from, right, token) in steps {
        now += pause;
        let source = Source { holds_token: token == 0, ..place(from) };
        let decision = rate.check(&user("alice"), source, at(now));
        let pass = model.check(most, period, from, source.holds_token, now);
        assert_eq!(decision == Decision::Pass, pass, "at {now} ms");
        if let Decision::Refused { retry_after } = decision {
            assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_millis(period));
            // One who waits so long passes, and no sooner.
            let later = rate.clone().check(&user("alice"), source, at(now) + retry_after);
            assert_eq!(later, Decision::Pass, "{retry_after:?} after {now} ms");
            let sooner = at(now) + retry_after.saturating_sub(Duration::from_millis(1));
            let too_soon = rate.clone().check(&user("alice"), source, sooner);
            assert!(matches!(too_soon, Decision::Refused { .. }), "sooner than {retry_after:?} after {now} ms");
        } else if right {
            rate.succeeded(&user("alice"), source, at(now));
            model.succeeded(from, now);
        }
        let held = rate.windows.values().map(|window| window.attempts.len()).max().unwrap_or(0);
        assert!(held <= 3 * most);
    }
}

/// Found by chance: what the address had proven ended while it waited, and strangers' attempts counted against it then.
#[test]
fn whoever_becomes_a_stranger_while_waiting_is_told_of_that_wait() {
    let tokens = |pauses: &[u64]| pauses.iter().map(|pause| (*pause, 0, false, 0)).collect::<Vec<Step>>();
    let mut steps = vec![(0, 0, false, 0), (0, 2, true, 0)];
    steps.extend(tokens(&[7, 31, 54, 54, 40, 36, 23, 20, 23, 46, 32, 27]));
    steps.push((22, 0, false, 1));
    steps.extend(tokens(&[23, 30, 24]));
    steps.push((54, 0, false, 1));
    steps.extend(tokens(&[37, 26]));
    steps.push((22, 0, false, 1));
    steps.extend(tokens(&[16, 28, 41, 38]));
    steps.extend([(51, 0, false, 1), (20, 2, false, 0), (1, 0, false, 1), (0, 0, false, 0), (0, 2, false, 1)]);
    is_judged_as_the_rule_says(2, 175, steps);
}

proptest! {
    #[test]
    fn every_history_is_judged_as_the_rule_says(
        limit in 1_u32..5,
        period in 1_u64..200,
        steps in proptest::collection::vec((0_u64..60, 0_u8..3, any::<bool>(), 0_u8..4), 1..120),
    ) {
        is_judged_as_the_rule_says(limit, period, steps);
    }
}
