//! What a header or a body may show of a limit, by name.

use std::time::Duration;

use crate::model::{CellKey, Outcome, Timestamp};
use crate::response::escape;
use crate::response::form::{self, Form};

/// One limit's verdict, about to be reported.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// The limit's name; empty when it has none.
    pub name: &'a str,
    /// Its numbers.
    pub outcome: &'a Outcome,
    /// The clock reading they were computed from.
    pub now: Timestamp,
    /// How long until the request could pass: the longest time of all limits that refuse it. `None` when it passes, or
    /// never will.
    pub retry_after: Option<Duration>,
    /// The counter that they are of.
    pub counter: CellKey,
    /// Whether the answer reports another counter of the same name.
    pub shares_name: bool,
    /// Whether it is because of this limit that the request is refused.
    pub refuses: bool,
}

impl<'a> Reported<'a> {
    /// A limit that is all there is to report.
    pub fn alone(name: &'a str, outcome: &'a Outcome, now: Timestamp) -> Self {
        let counter = CellKey { high: 0, low: 0 };
        let refuses = !outcome.admitted;
        Self { name, outcome, now, retry_after: None, counter, shares_name: false, refuses }.by_itself()
    }

    /// The same with the limit's own time to retry.
    #[must_use]
    pub(super) fn by_itself(self) -> Self {
        Self { retry_after: self.outcome.retry_after.filter(|_| self.refuses), ..self }
    }
}

/// Something a header or a body may show of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// The limit's name as it is; absent when it has none.
    Name,
    /// The same as a structured-field String (RFC 9651): quoted, escaped, visible ASCII only.
    NameQuoted,
    /// The most hits at once: those granted per window, or a bucket's burst.
    Limit,
    /// Hits granted per window, of a bucket too.
    Quota,
    /// Hits counted in this window.
    Used,
    /// What `used` would be with this request, whether it is counted or not.
    Attempted,
    /// Hits left in this window.
    Remaining,
    /// How long a window lasts, in seconds rounded up; absent where there is no window.
    WindowSeconds,
    /// `;pk=:…:` (draft-ietf-httpapi-ratelimit-headers-11 §3.1.4) where the answer reports two counters of that name, else
    /// nothing.
    PartitionKey,
    /// A time to wait for, and how it is written.
    Wait(Wait, Form),
}

/// A time to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the first hit leaves, or the window ends.
    Reset,
    /// Until the limit is whole again.
    Full,
    /// Until the refused request could pass; absent when it was not refused or never could. In seconds at least 1.
    RetryAfter,
}

/// Every number, by the name it has in a policy file.
const NUMBERS: &[(&str, Number)] = &[
    ("name", Number::Name),
    ("name_quoted", Number::NameQuoted),
    ("limit", Number::Limit),
    ("quota", Number::Quota),
    ("used", Number::Used),
    ("attempted", Number::Attempted),
    ("remaining", Number::Remaining),
    ("window_s", Number::WindowSeconds),
    ("pk", Number::PartitionKey),
    ("reset_s", Number::Wait(Wait::Reset, Form::Seconds)),
    ("reset_ms", Number::Wait(Wait::Reset, Form::Millis)),
    ("reset_s_decimal", Number::Wait(Wait::Reset, Form::DecimalSeconds)),
    ("reset_unix_s", Number::Wait(Wait::Reset, Form::UnixSeconds)),
    ("reset_unix_ms", Number::Wait(Wait::Reset, Form::UnixMillis)),
    ("reset_rfc3339", Number::Wait(Wait::Reset, Form::Rfc3339)),
    ("reset_http_date", Number::Wait(Wait::Reset, Form::HttpDate)),
    ("reset_duration", Number::Wait(Wait::Reset, Form::GoDuration)),
    ("full_s", Number::Wait(Wait::Full, Form::Seconds)),
    ("full_ms", Number::Wait(Wait::Full, Form::Millis)),
    ("full_s_decimal", Number::Wait(Wait::Full, Form::DecimalSeconds)),
    ("full_unix_s", Number::Wait(Wait::Full, Form::UnixSeconds)),
    ("full_unix_ms", Number::Wait(Wait::Full, Form::UnixMillis)),
    ("full_rfc3339", Number::Wait(Wait::Full, Form::Rfc3339)),
    ("full_http_date", Number::Wait(Wait::Full, Form::HttpDate)),
    ("full_duration", Number::Wait(Wait::Full, Form::GoDuration)),
    ("retry_after_s", Number::Wait(Wait::RetryAfter, Form::Seconds)),
    ("retry_after_ms", Number::Wait(Wait::RetryAfter, Form::Millis)),
    ("retry_after_s_decimal", Number::Wait(Wait::RetryAfter, Form::DecimalSeconds)),
    ("retry_after_unix_s", Number::Wait(Wait::RetryAfter, Form::UnixSeconds)),
    ("retry_after_unix_ms", Number::Wait(Wait::RetryAfter, Form::UnixMillis)),
    ("retry_after_rfc3339", Number::Wait(Wait::RetryAfter, Form::Rfc3339)),
    ("retry_after_http_date", Number::Wait(Wait::RetryAfter, Form::HttpDate)),
    ("retry_after_duration", Number::Wait(Wait::RetryAfter, Form::GoDuration)),
];

impl Number {
    /// The number of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// Every name, in the order of the reference page.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NUMBERS.iter().map(|(name, _)| *name)
    }

    /// Appends what `reported` has of this number. An absent number says `false` and appends nothing.
    ///
    /// A name comes as it is; making it safe for where it stands is up to the caller.
    pub fn render(self, reported: &Reported<'_>, out: &mut String) -> bool {
        let Reported { name, outcome, now, .. } = *reported;
        match self {
            Self::Name | Self::NameQuoted if name.is_empty() => return false,
            Self::WindowSeconds if outcome.window.is_zero() => return false,
            Self::Name => out.push_str(name),
            Self::NameQuoted => escape::structured_string(name, out),
            Self::Limit => form::digits(outcome.limit, out),
            Self::Quota => form::digits(outcome.quota, out),
            Self::Used => form::digits(outcome.used, out),
            Self::Attempted => form::digits(outcome.attempted, out),
            Self::Remaining => form::digits(outcome.remaining, out),
            Self::WindowSeconds => form::digits(form::seconds(outcome.window), out),
            Self::PartitionKey if !reported.shares_name => {}
            Self::PartitionKey => {
                out.push_str(";pk=:");
                escape::base64(reported.counter.low, out);
                out.push(':');
            }
            Self::Wait(wait, form) => {
                return wait.of(reported, form).is_some_and(|time| form.write(time, now, out));
            }
        }
        true
    }

    /// Whether it is text, which must be escaped where it stands, rather than digits or a date.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::NameQuoted)
    }

    /// Whether only a refused request has it.
    pub(super) fn is_retry_after(self) -> bool {
        matches!(self, Self::Wait(Wait::RetryAfter, _))
    }
}

impl Wait {
    fn of(self, reported: &Reported<'_>, form: Form) -> Option<Duration> {
        match self {
            Self::Reset => Some(reported.outcome.reset_after),
            Self::Full => Some(reported.outcome.full_after),
            // «Come back in 0 seconds» is no help to the refused.
            Self::RetryAfter if form == Form::Seconds => {
                reported.retry_after.map(|wait| wait.max(Duration::from_secs(1)))
            }
            Self::RetryAfter => reported.retry_after,
        }
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// MEGA's refusal: 60 hits spread over 12 s, asked again 18 s after the last.
    pub(crate) const REFUSED: Outcome = Outcome {
        admitted: false,
        limit: 60,
        quota: 60,
        used: 60,
        attempted: 61,
        remaining: 0,
        window: Duration::from_secs(60),
        reset_after: Duration::from_secs(30),
        full_after: Duration::from_secs(42),
        retry_after: Some(Duration::from_secs(30)),
    };

    /// One hit of a thousand an hour, first and last.
    pub(crate) const ADMITTED: Outcome = Outcome {
        admitted: true,
        limit: 1000,
        quota: 1000,
        used: 1,
        attempted: 1,
        remaining: 999,
        window: Duration::from_secs(3600),
        reset_after: Duration::from_secs(3600),
        full_after: Duration::from_secs(3600),
        retry_after: None,
    };

    /// 2025-02-07T15:26:00Z.
    pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_738_941_960);

    pub(crate) fn reported<'a>(name: &'a str, outcome: &'a Outcome) -> Reported<'a> {
        Reported::alone(name, outcome, NOW)
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{ADMITTED, REFUSED, reported};
    use super::*;
    use proptest::prelude::*;

    fn render(name: &str, reported: &Reported<'_>) -> Option<String> {
        let mut out = String::new();
        let present = Number::from_name(name).unwrap().render(reported, &mut out);
        assert!(present || out.is_empty(), "{name} is absent and yet wrote {out:?}");
        present.then_some(out)
    }

    #[test]
    fn every_number_has_its_own_name_and_shows_what_it_says() {
        let reported = reported("per \"minute\"", &REFUSED);
        for (name, expected) in [
            ("name", "per \"minute\""),
            ("name_quoted", r#""per \"minute\"""#),
            ("limit", "60"),
            ("quota", "60"),
            ("used", "60"),
            ("attempted", "61"),
            ("remaining", "0"),
            ("window_s", "60"),
            ("pk", ""),
            ("reset_s", "30"),
            ("reset_ms", "30000"),
            ("reset_s_decimal", "30.000"),
            ("reset_unix_s", "1738941990"),
            ("reset_unix_ms", "1738941990000"),
            ("reset_rfc3339", "2025-02-07T15:26:30Z"),
            ("reset_http_date", "Fri, 07 Feb 2025 15:26:30 GMT"),
            ("reset_duration", "30s"),
            ("full_s", "42"),
            ("full_ms", "42000"),
            ("full_s_decimal", "42.000"),
            ("full_unix_s", "1738942002"),
            ("full_unix_ms", "1738942002000"),
            ("full_rfc3339", "2025-02-07T15:26:42Z"),
            ("full_http_date", "Fri, 07 Feb 2025 15:26:42 GMT"),
            ("full_duration", "42s"),
            ("retry_after_s", "30"),
            ("retry_after_ms", "30000"),
            ("retry_after_s_decimal", "30.000"),
            ("retry_after_unix_s", "1738941990"),
            ("retry_after_unix_ms", "1738941990000"),
            ("retry_after_rfc3339", "2025-02-07T15:26:30Z"),
            ("retry_after_http_date", "Fri, 07 Feb 2025 15:26:30 GMT"),
            ("retry_after_duration", "30s"),
        ] {
            assert_eq!(render(name, &reported).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(Number::names().count(), 33);
        assert_eq!(Number::from_name("reset"), None);
    }

    #[test]
    fn retry_after_is_absent_when_the_request_passes_or_never_will() {
        let never = Outcome { retry_after: None, ..REFUSED };
        let passed_in_shadow = Outcome { retry_after: Some(Duration::from_secs(9)), ..ADMITTED };
        for outcome in [never, ADMITTED, passed_in_shadow] {
            for name in Number::names().filter(|name| name.starts_with("retry_after")) {
                assert_eq!(render(name, &reported("x", &outcome)), None, "{name}");
            }
        }
    }

    #[test]
    fn retry_after_in_seconds_is_at_least_one() {
        let soon = Outcome { retry_after: Some(Duration::ZERO), reset_after: Duration::ZERO, ..REFUSED };
        assert_eq!(render("retry_after_s", &reported("x", &soon)).as_deref(), Some("1"));
        assert_eq!(render("retry_after_ms", &reported("x", &soon)).as_deref(), Some("0"));
        assert_eq!(render("reset_s", &reported("x", &soon)).as_deref(), Some("0"));
    }

    #[test]
    fn a_limit_without_a_name_or_a_window_shows_none() {
        let unnamed = Outcome { window: Duration::ZERO, ..REFUSED };
        for name in ["name", "name_quoted", "window_s"] {
            assert_eq!(render(name, &reported("", &unnamed)), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn retry_after_reported_in_seconds_suffices_and_one_less_does_not(nanos in 0_u64..=u64::MAX) {
            let wait = Duration::from_nanos(nanos);
            let outcome = Outcome { retry_after: Some(wait), ..REFUSED };
            let reported = render("retry_after_s", &reported("x", &outcome)).unwrap().parse::<u64>().unwrap();
            prop_assert!(reported >= 1);
            prop_assert!(Duration::from_secs(reported) >= wait);
            prop_assert!(reported == 1 || Duration::from_secs(reported - 1) < wait);
        }
    }
}
