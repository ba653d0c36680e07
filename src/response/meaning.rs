//! What each number reports, in words, for the reference page.

use crate::response::form::Form;
use crate::response::number::{Number, Wait};

impl Number {
    /// What it reports, in Markdown.
    pub fn meaning(self) -> String {
        let text = match self {
            Self::Name => "the limit's name; absent when it has none",
            Self::NameQuoted => "the same as a structured-field String (RFC 9651): in quotes, escaped",
            Self::Limit => "hits that a window grants; of a token bucket, its `burst`",
            Self::Quota => "hits that a window grants, of a token bucket, too: its `requests_per_unit`",
            Self::Used => "hits that are counted in this window, this request's among them if it passed",
            Self::Attempted => {
                "what `used` would be with this request, also where it is refused and not counted"
            }
            Self::Remaining => "hits that are left",
            Self::PartitionKey => {
                "`;pk=:…:` (draft-11) where an answer reports two counters of one limit, else nothing"
            }
            Self::WindowSeconds => "the window's length in seconds, rounded up; of a period, this one's",
            Self::Wait(wait, form) => return format!("{}: {}", of_wait(wait), of_form(form)),
        };
        text.to_owned()
    }
}

/// What is waited for.
const fn of_wait(wait: Wait) -> &'static str {
    match wait {
        Wait::Reset => "until the window ends, or the first hit is given back",
        Wait::Full => "until the limit is whole again",
        Wait::RetryAfter => "until this request could pass, on a refusal",
    }
}

/// How it is written.
const fn of_form(form: Form) -> &'static str {
    match form {
        Form::Seconds => "seconds from now",
        Form::Millis => "milliseconds from now",
        Form::DecimalSeconds => "seconds from now with three decimals",
        Form::UnixSeconds => "the instant in seconds since 1970",
        Form::UnixMillis => "the instant in milliseconds since 1970",
        Form::Rfc3339 => "the instant as RFC 3339 writes it",
        Form::HttpDate => "the instant as an HTTP date",
        Form::GoDuration => "as Go writes durations",
    }
}
