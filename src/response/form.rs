//! The ways to write a time that a client waits for. All of them round up.

use std::fmt::Write;
use std::time::Duration;

use crate::model::Timestamp;

/// How a wait is written. Nothing is ever rounded down: a client that comes back when reported must not be too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `42`, seconds from now.
    Seconds,
    /// `42000`, milliseconds from now.
    Millis,
    /// `42.000`, seconds from now with three decimals.
    DecimalSeconds,
    /// `1738942060`, the instant in seconds since 1970.
    UnixSeconds,
    /// `1738942060000`, the instant in milliseconds since 1970.
    UnixMillis,
    /// `2025-02-07T15:27:40Z`, the instant, to the second.
    Rfc3339,
    /// `Fri, 07 Feb 2025 15:27:40 GMT`, the instant as `Date` and `Retry-After` have it (RFC 9110 IMF-fixdate).
    HttpDate,
    /// `12ms`, `1s`, `6m0s`, `1h0m0.5s`, as Go writes durations, to the millisecond.
    GoDuration,
}

const NANOS_PER_MILLI: u128 = 1_000_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

impl Form {
    /// Appends `wait`, counted from `now`, and says whether there was a way to: dates end with the year 9999.
    pub(super) fn write(self, wait: Duration, now: Timestamp, out: &mut String) -> bool {
        let wait = wait.as_nanos();
        let instant = wait + u128::from(now.as_nanos());
        match self {
            Self::Seconds => digits(rounded_up(wait, NANOS_PER_SECOND), out),
            Self::Millis => digits(rounded_up(wait, NANOS_PER_MILLI), out),
            Self::DecimalSeconds => {
                let (seconds, millis) = seconds_and_millis(wait);
                // Writing to a string cannot fail, here and below.
                let _ = write!(out, "{seconds}.{millis:03}");
            }
            Self::UnixSeconds => digits(rounded_up(instant, NANOS_PER_SECOND), out),
            Self::UnixMillis => digits(rounded_up(instant, NANOS_PER_MILLI), out),
            Self::Rfc3339 => return date(instant, out, |date, out| write!(out, "{date}").is_ok()),
            Self::HttpDate => {
                return date(instant, out, |date, out| {
                    jiff::fmt::rfc2822::DateTimePrinter::new().print_timestamp_rfc9110(&date, out).is_ok()
                });
            }
            Self::GoDuration => go_duration(wait, out),
        }
        true
    }
}

/// How many whole `unit`s cover `nanos`.
pub(super) fn rounded_up(nanos: u128, unit: u128) -> u64 {
    nanos.div_ceil(unit).try_into().unwrap_or(u64::MAX)
}

/// How many whole seconds cover `wait`.
pub(super) fn seconds(wait: Duration) -> u64 {
    rounded_up(wait.as_nanos(), NANOS_PER_SECOND)
}

/// Appends `number`.
pub(super) fn digits(number: u64, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(number));
}

fn seconds_and_millis(nanos: u128) -> (u64, u64) {
    let millis = rounded_up(nanos, NANOS_PER_MILLI);
    (millis / 1000, millis % 1000)
}

fn date(nanos: u128, out: &mut String, print: impl Fn(jiff::Timestamp, &mut String) -> bool) -> bool {
    let seconds = rounded_up(nanos, NANOS_PER_SECOND).try_into().unwrap_or(i64::MAX);
    let start = out.len();
    let printed = jiff::Timestamp::from_second(seconds).is_ok_and(|date| print(date, out));
    if !printed {
        out.truncate(start);
    }
    printed
}

fn go_duration(nanos: u128, out: &mut String) {
    let (seconds, millis) = seconds_and_millis(nanos);
    if seconds == 0 && millis > 0 {
        let _ = write!(out, "{millis}ms");
        return;
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if seconds >= 60 {
        let _ = write!(out, "{minutes}m");
    }
    let _ = write!(out, "{}", seconds % 60);
    if millis > 0 {
        let _ = write!(out, ".{millis:03}");
        out.truncate(out.trim_end_matches('0').len());
    }
    out.push('s');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(form: Form, wait: Duration, now: Timestamp) -> String {
        let mut out = String::new();
        assert!(form.write(wait, now, &mut out));
        out
    }

    #[test]
    fn a_wait_is_written_in_every_form_and_never_too_short() {
        let now = Timestamp::from_nanos(1_738_942_018_000_000_000);
        for (wait, form, expected) in [
            (Duration::from_secs(42), Form::Seconds, "42"),
            (Duration::from_nanos(41_000_000_001), Form::Seconds, "42"),
            (Duration::from_nanos(41_000_000_001), Form::Millis, "41001"),
            (Duration::from_nanos(41_000_000_001), Form::DecimalSeconds, "41.001"),
            (Duration::from_millis(41_500), Form::DecimalSeconds, "41.500"),
            (Duration::from_nanos(41_000_000_001), Form::UnixSeconds, "1738942060"),
            (Duration::from_nanos(41_000_000_001), Form::UnixMillis, "1738942059001"),
            (Duration::from_nanos(41_000_000_001), Form::Rfc3339, "2025-02-07T15:27:40Z"),
            (Duration::from_nanos(41_000_000_001), Form::HttpDate, "Fri, 07 Feb 2025 15:27:40 GMT"),
            (Duration::ZERO, Form::Seconds, "0"),
            (Duration::ZERO, Form::DecimalSeconds, "0.000"),
            (Duration::MAX, Form::Millis, "18446744073709551615"),
            (Duration::MAX, Form::UnixSeconds, "18446744073709551615"),
        ] {
            assert_eq!(written(form, wait, now), expected, "{form:?} of {wait:?}");
        }
    }

    #[test]
    fn a_duration_is_written_as_go_writes_it() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (12_000_000, "12ms"),
            (999_000_001, "1s"),
            (1_500_000_000, "1.5s"),
            (59_999_000_001, "1m0s"),
            (360_000_000_000, "6m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_723_045_000_000, "1h2m3.045s"),
            (70_000_000_000_000, "19h26m40s"),
        ] {
            let wait = Duration::from_nanos(nanos);
            assert_eq!(written(Form::GoDuration, wait, Timestamp::EPOCH), expected);
        }
    }

    #[test]
    fn a_date_after_the_year_9999_is_not_written() {
        for form in [Form::Rfc3339, Form::HttpDate] {
            let mut out = "before".to_owned();
            assert!(!form.write(Duration::MAX, Timestamp::EPOCH, &mut out));
            assert_eq!(out, "before");
        }
    }

    proptest! {
        #[test]
        fn the_reported_wait_covers_the_real_one_and_one_unit_less_does_not(
            wait in 0_u64..=u64::MAX / 2, now in 0_u64..=u64::MAX / 2,
        ) {
            let (duration, start) = (Duration::from_nanos(wait), Timestamp::from_nanos(now));
            let end = u128::from(wait) + u128::from(now);
            for (form, unit, exact) in [
                (Form::Seconds, NANOS_PER_SECOND, u128::from(wait)),
                (Form::Millis, NANOS_PER_MILLI, u128::from(wait)),
                (Form::UnixSeconds, NANOS_PER_SECOND, end),
                (Form::UnixMillis, NANOS_PER_MILLI, end),
            ] {
                let reported = written(form, duration, start).parse::<u128>().unwrap();
                prop_assert!(reported * unit >= exact, "{form:?}: {reported} is too early for {exact}");
                prop_assert!(reported == 0 || (reported - 1) * unit < exact, "{form:?}: {reported} is too late for {exact}");
            }
        }

        #[test]
        fn a_date_reads_back_as_the_second_it_was_rounded_up_to(wait in 0_u64..1 << 60, now in 0_u64..1 << 60) {
            let (duration, start) = (Duration::from_nanos(wait), Timestamp::from_nanos(now));
            let seconds = written(Form::UnixSeconds, duration, start).parse::<i64>().unwrap();
            let rfc3339 = written(Form::Rfc3339, duration, start).parse::<jiff::Timestamp>().unwrap();
            let http = jiff::fmt::rfc2822::parse(&written(Form::HttpDate, duration, start)).unwrap();
            prop_assert_eq!(rfc3339.as_second(), seconds);
            prop_assert_eq!(http.timestamp().as_second(), seconds);
        }
    }
}
