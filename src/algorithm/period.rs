//! Where a calendar puts the bounds of a period.
//!
//! Every boundary is computed from one fixed origin (the subscription's anchor, or the calendar date of `now`), never
//! from another boundary: a day that a short month clamped would stay clamped for ever. Local times that a zone skips
//! mean the later instant, and those that it has twice the earlier one. Periods are half-open and tile time.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Zoned};

use crate::model::Timestamp;

/// A period of the civil calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday, as in ISO 8601.
    Week,
    /// From the first of a month to the first of the next.
    Month,
    /// From 1 January to 1 January.
    Year,
}

/// The month of a subscription that `now` lies in, as `[start, end)`.
///
/// Period `i` starts at `anchor` plus `i` months in local time, on the last day of a month that lacks the anchor's day
/// (Stripe's documented rule: anchored on 31 January, the next start on 28 or 29 February, 31 March, 30 April). Periods
/// go on before the anchor too. The anchor itself always starts one, even in an hour that its zone has twice.
pub fn billing_period(anchor: Timestamp, zone: &TimeZone, now: Timestamp) -> (Timestamp, Timestamp) {
    let origin = local(anchor, zone).datetime();
    let today = local(now, zone).datetime();
    let months = |date: DateTime| 12 * i32::from(date.year()) + i32::from(date.month());
    around(now, months(today) - months(origin), |i| {
        if i == 0 { anchor } else { instant(origin.saturating_add(i.months()), zone) }
    })
}

/// The calendar period that `now` lies in, as `[start, end)`.
pub fn calendar_period(calendar: Calendar, zone: &TimeZone, now: Timestamp) -> (Timestamp, Timestamp) {
    let today = local(now, zone).date();
    let (origin, one): (_, fn(i32) -> Span) = match calendar {
        Calendar::Day => (today, |i| i.days()),
        Calendar::Week => {
            (today.saturating_sub(today.weekday().to_monday_zero_offset().days()), |i| i.weeks())
        }
        Calendar::Month => (today.first_of_month(), |i| i.months()),
        Calendar::Year => (today.first_of_year(), |i| i.years()),
    };
    around(now, 0, |i| instant(origin.saturating_add(one(i)).to_datetime(Time::midnight()), zone))
}

/// The period around `now`, its number being guessed from the local date.
///
/// Where a zone skips or repeats the hours around a boundary, the guess is up to two too high or one too low.
fn around(now: Timestamp, guess: i32, boundary: impl Fn(i32) -> Timestamp) -> (Timestamp, Timestamp) {
    let number = (guess - 1..=guess + 1).rev().find(|i| boundary(*i) <= now).unwrap_or(guess - 2);
    (boundary(number), boundary(number + 1))
}

/// `time` as the clocks of `zone` show it.
fn local(time: Timestamp, zone: &TimeZone) -> Zoned {
    // jiff reaches the year 9999, a `Timestamp` 2554.
    jiff::Timestamp::from_nanosecond(time.as_nanos().into()).unwrap_or_default().to_zoned(zone.clone())
}

/// When the clocks of `zone` show `local`; the nearest time that can be written when that lies outside 1970 to 2554.
fn instant(local: DateTime, zone: &TimeZone) -> Timestamp {
    let nanos = zone.to_ambiguous_timestamp(local).compatible().map_or(0, jiff::Timestamp::as_nanosecond);
    Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::{Calendar, billing_period, calendar_period};
    use crate::model::Timestamp;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_nanos(u64::try_from(time.as_nanosecond()).unwrap())
    }

    fn text(time: Timestamp) -> String {
        jiff::Timestamp::from_nanosecond(time.as_nanos().into()).unwrap().to_string()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn just_before(time: Timestamp) -> Timestamp {
        Timestamp::from_nanos(time.as_nanos() - 1)
    }

    /// Asks about the first and the last instant of the period that starts at `start`.
    #[track_caller]
    fn check_billing(anchor: &str, name: &str, start: &str, end: &str) {
        for now in [at(start), just_before(at(end))] {
            let (reported_start, reported_end) = billing_period(at(anchor), &zone(name), now);
            assert_eq!(
                (text(reported_start), text(reported_end)),
                (start.into(), end.into()),
                "{anchor} {}",
                text(now)
            );
        }
    }

    #[test]
    fn a_month_that_lacks_the_anchors_day_starts_on_its_last_and_the_next_recovers_it() {
        for (anchor, boundaries) in [
            (
                "2026-01-31T09:30:00Z",
                &[
                    "2025-11-30T09:30:00Z",
                    "2025-12-31T09:30:00Z",
                    "2026-01-31T09:30:00Z",
                    "2026-02-28T09:30:00Z",
                    "2026-03-31T09:30:00Z",
                    "2026-04-30T09:30:00Z",
                    "2026-05-31T09:30:00Z",
                    "2026-06-30T09:30:00Z",
                ][..],
            ),
            (
                "2025-01-31T09:30:00Z",
                &["2025-02-28T09:30:00Z", "2025-03-31T09:30:00Z", "2025-04-30T09:30:00Z"],
            ),
            ("2024-02-29T00:00:00Z", &["2024-03-29T00:00:00Z", "2024-04-29T00:00:00Z"]),
            (
                "2024-02-29T00:00:00Z",
                &["2025-01-29T00:00:00Z", "2025-02-28T00:00:00Z", "2025-03-29T00:00:00Z"],
            ),
            ("2024-02-29T00:00:00Z", &["2026-02-28T00:00:00Z", "2026-03-29T00:00:00Z"]),
            ("2024-02-29T00:00:00Z", &["2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z"]),
            (
                "2027-12-31T23:59:59Z",
                &["2028-01-31T23:59:59Z", "2028-02-29T23:59:59Z", "2028-03-31T23:59:59Z"],
            ),
            (
                "2026-01-31T09:30:00.123456789Z",
                &["2026-02-28T09:30:00.123456789Z", "2026-03-31T09:30:00.123456789Z"],
            ),
        ] {
            for pair in boundaries.windows(2) {
                check_billing(anchor, "UTC", pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn a_skipped_hour_means_the_later_instant_and_a_repeated_hour_the_earlier() {
        // 02:30 in New York: skipped on 8 March 2026, twice on 1 November 2026.
        for (anchor, start, end) in [
            ("2026-02-08T07:30:00Z", "2026-02-08T07:30:00Z", "2026-03-08T07:30:00Z"),
            ("2026-02-08T07:30:00Z", "2026-03-08T07:30:00Z", "2026-04-08T06:30:00Z"),
            ("2026-02-08T07:30:00Z", "2026-10-08T06:30:00Z", "2026-11-08T07:30:00Z"),
            ("2026-10-01T05:30:00Z", "2026-11-01T05:30:00Z", "2026-12-01T06:30:00Z"),
            // Anchored in the second 01:30 of that night: its period starts there and not an hour before.
            ("2026-11-01T06:30:00Z", "2026-11-01T06:30:00Z", "2026-12-01T06:30:00Z"),
            ("2026-11-01T06:30:00Z", "2026-10-01T05:30:00Z", "2026-11-01T06:30:00Z"),
        ] {
            check_billing(anchor, "America/New_York", start, end);
        }
    }

    #[test]
    fn a_calendar_period_starts_at_the_zones_midnight() {
        use Calendar::{Day, Month, Week, Year};
        for (calendar, name, now, start, end) in [
            (Day, "UTC", "2026-11-21T23:55:12Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            (Week, "UTC", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Week, "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Month, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Year, "UTC", "2026-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            // Days of 23 and of 25 hours.
            (Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (Month, "Asia/Tokyo", "2026-01-31T15:00:00Z", "2026-01-31T15:00:00Z", "2026-02-28T15:00:00Z"),
            // No midnight: the clocks went from 00:00 to 01:00.
            (
                Day,
                "America/Sao_Paulo",
                "2018-11-04T12:00:00Z",
                "2018-11-04T03:00:00Z",
                "2018-11-05T02:00:00Z",
            ),
            // Two midnights: at 00:01 on 7 November the clocks went back to 23:01 on the 6th.
            (Day, "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"),
            (Day, "America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z"),
            // No 30 December 2011 at all.
            (Day, "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
            (Day, "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        ] {
            let (reported_start, reported_end) = calendar_period(calendar, &zone(name), at(now));
            assert_eq!(
                (text(reported_start), text(reported_end)),
                (start.into(), end.into()),
                "{calendar:?} {name} {now}"
            );
        }
    }

    #[test]
    fn the_first_and_the_last_nanosecond_that_can_be_written_have_a_period() {
        for nanos in [0, 1, u64::MAX - 1, u64::MAX] {
            let now = Timestamp::from_nanos(nanos);
            for anchor in [Timestamp::EPOCH, Timestamp::from_nanos(u64::MAX)] {
                let (start, end) = billing_period(anchor, &TimeZone::UTC, now);
                assert!(start <= now && now <= end);
            }
            for calendar in [Calendar::Day, Calendar::Week, Calendar::Month, Calendar::Year] {
                let (start, end) = calendar_period(calendar, &TimeZone::UTC, now);
                assert!(start <= now && now <= end);
            }
        }
    }

    /// Zones that skip or repeat hours on both sides of midnight, and one that skipped a day.
    const ZONES: [&str; 8] = [
        "UTC",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Africa/Casablanca",
    ];

    /// From 1975 to 2110.
    fn any_time() -> impl Strategy<Value = Timestamp> {
        (157_766_400_000_000_000_u64..4_417_977_600_000_000_000).prop_map(Timestamp::from_nanos)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn periods_contain_their_now_and_tile_time(
            anchor in any_time(),
            now in any_time(),
            name in prop::sample::select(&ZONES[..]),
            calendar in prop::option::of(prop::sample::select(
                &[Calendar::Day, Calendar::Week, Calendar::Month, Calendar::Year][..],
            )),
        ) {
            let zone = zone(name);
            let period = |now| match calendar {
                Some(calendar) => calendar_period(calendar, &zone, now),
                None => billing_period(anchor, &zone, now),
            };
            let (mut start, mut end) = period(now);
            prop_assert!(start <= now && now < end);
            for _ in 0..14 {
                prop_assert_eq!(period(just_before(end)), (start, end));
                let (next_start, next_end) = period(end);
                prop_assert_eq!(next_start, end);
                prop_assert!(next_start < next_end);
                (start, end) = (next_start, next_end);
            }
            for _ in 0..14 {
                let (before_start, before_end) = period(just_before(period(now).0));
                prop_assert_eq!(before_end, period(now).0);
                prop_assert_eq!(period(before_start), (before_start, before_end));
            }
        }

        /// The law itself, month by month: a boundary that were computed from the one before would keep the day that a
        /// short month clamped.
        #[test]
        fn the_nth_period_starts_n_months_after_the_anchor(
            date in (1975_i16..2090, 1_i8..13, 1_i8..32, 0_i8..24, 0_i8..60),
            months in -48_i32..240,
        ) {
            let (year, month, day, hour, minute) = date;
            let last = jiff::civil::date(year, month, 1).days_in_month();
            let anchor = jiff::civil::date(year, month, day.min(last)).at(hour, minute, 0, 0);
            let starts = (anchor + months.months()).in_tz("UTC").unwrap().timestamp();
            prop_assume!(starts.as_second() > 0);

            let anchor = at(&anchor.in_tz("UTC").unwrap().timestamp().to_string());
            let now = at(&starts.to_string());
            prop_assert_eq!(billing_period(anchor, &TimeZone::UTC, now).0, now);
            prop_assert_eq!(billing_period(anchor, &TimeZone::UTC, just_before(now)).1, now);
        }
    }
}
