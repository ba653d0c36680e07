//! The well-known families of headers, as data: a row here is all that a dialect is.

use crate::response::error::ShapeError;
use crate::response::header::HeaderLine;

/// Every built-in dialect, by the name it has in a policy file: the names of its headers, and what each shows in the
/// words of [`HeaderLine::parse`]. What says to a refused caller how long to wait is absent
/// on admitted requests by itself.
pub const DIALECTS: &[(&str, &[(&str, &str)])] = &[
    // draft-polli-ratelimit-headers-03; seconds from now. Also what envoyproxy/ratelimit sends.
    (
        "draft-03",
        &[("RateLimit-Limit", "limit"), ("RateLimit-Remaining", "remaining"), ("RateLimit-Reset", "reset_s")],
    ),
    // draft-ietf-httpapi-ratelimit-headers-07: one field, and one for the policies.
    (
        "draft-07",
        &[
            ("RateLimit", "limit={{limit}}, remaining={{remaining}}, reset={{reset_s}}"),
            ("RateLimit-Policy", "{{each}}{{quota}};w={{window_s}}"),
        ],
    ),
    // draft-ietf-httpapi-ratelimit-headers-08 to -11: structured fields, one member for each limit. `t` is the time
    // within which no more than `r` can be used, so it ends when the first slot comes back. A bucket's quota is what
    // refills in its window; the draft has no word for its burst.
    (
        "draft-11",
        &[
            ("RateLimit-Policy", "{{each}}{{name_quoted}};q={{quota}};w={{window_s}}{{pk}}"),
            ("RateLimit", "{{each}}{{name_quoted}};r={{remaining}};t={{reset_s}}{{pk}}"),
        ],
    ),
    // The three of draft-03 with the time until the limit is *whole* again, beside the time until one request passes.
    (
        "ratelimit-delta",
        &[
            ("RateLimit-Limit", "limit"),
            ("RateLimit-Remaining", "remaining"),
            ("RateLimit-Reset", "full_s"),
            ("Retry-After", "retry_after_s"),
        ],
    ),
    // The most common of all: seconds since 1970.
    (
        "x-ratelimit",
        &[
            ("X-RateLimit-Limit", "limit"),
            ("X-RateLimit-Remaining", "remaining"),
            ("X-RateLimit-Reset", "reset_unix_s"),
        ],
    ),
    (
        "x-ratelimit-ms",
        &[
            ("X-RateLimit-Limit", "limit"),
            ("X-RateLimit-Remaining", "remaining"),
            ("X-RateLimit-Reset", "reset_unix_ms"),
        ],
    ),
    (
        "x-ratelimit-delta",
        &[
            ("X-RateLimit-Limit", "limit"),
            ("X-RateLimit-Remaining", "remaining"),
            ("X-RateLimit-Reset", "reset_s"),
        ],
    ),
    // With a hyphen more: X, Okta.
    (
        "x-rate-limit",
        &[
            ("X-Rate-Limit-Limit", "limit"),
            ("X-Rate-Limit-Remaining", "remaining"),
            ("X-Rate-Limit-Reset", "reset_unix_s"),
        ],
    ),
    (
        "github",
        &[
            ("x-ratelimit-limit", "limit"),
            ("x-ratelimit-remaining", "remaining"),
            ("x-ratelimit-used", "used"),
            ("x-ratelimit-reset", "reset_unix_s"),
            ("x-ratelimit-resource", "name"),
        ],
    ),
    // `RateLimit-Reset` is an instant here, unlike in the drafts.
    (
        "gitlab",
        &[
            ("RateLimit-Limit", "limit"),
            ("RateLimit-Name", "name"),
            ("RateLimit-Observed", "used"),
            ("RateLimit-Remaining", "remaining"),
            ("RateLimit-Reset", "reset_unix_s"),
            ("RateLimit-ResetTime", "reset_http_date"),
            ("Retry-After", "retry_after_s"),
        ],
    ),
    // Durations until the limit is whole again.
    (
        "openai",
        &[
            ("x-ratelimit-limit-requests", "limit"),
            ("x-ratelimit-remaining-requests", "remaining"),
            ("x-ratelimit-reset-requests", "full_duration"),
        ],
    ),
    // Dates at which the limit is whole again.
    (
        "anthropic",
        &[
            ("anthropic-ratelimit-requests-limit", "limit"),
            ("anthropic-ratelimit-requests-remaining", "remaining"),
            ("anthropic-ratelimit-requests-reset", "full_rfc3339"),
            ("retry-after", "retry_after_s"),
        ],
    ),
    ("retry-after", &[("Retry-After", "retry_after_s")]),
];

/// Where each dialect comes from, and what is special about it, in Markdown.
const ABOUT: &[(&str, &str)] = &[
    ("draft-03", "draft-polli-ratelimit-headers-03, and what envoyproxy/ratelimit sends: seconds from now"),
    (
        "draft-07",
        "draft-ietf-httpapi-ratelimit-headers-07: one field, and one for the policies of all limits",
    ),
    (
        "draft-11",
        "draft-ietf-httpapi-ratelimit-headers-08 to -11: structured fields with a member for each limit. It has no \
         `Retry-After`: write `dialect: [draft-11, retry-after]` to have both",
    ),
    (
        "ratelimit-delta",
        "seconds until the limit is *whole* again, beside the seconds until one request passes",
    ),
    (
        "x-ratelimit",
        "the most common of all: Unix seconds. `dialect: [x-ratelimit, retry-after]` reports the wait as well",
    ),
    ("x-ratelimit-ms", "the same in Unix milliseconds"),
    ("x-ratelimit-delta", "the same in seconds from now"),
    ("x-rate-limit", "with a hyphen more, as X and Okta have it: Unix seconds"),
    ("github", "GitHub's: with what was used, and the limit's name as the resource"),
    ("gitlab", "GitLab's: `RateLimit-Reset` is an instant here, unlike in the drafts"),
    ("openai", "OpenAI's: durations until the limit is whole again"),
    ("anthropic", "Anthropic's: the date at which the limit is whole again"),
    ("retry-after", "`Retry-After` alone (RFC 9110): seconds, on refusals"),
];

/// What is to be said of the dialect called `name`, in Markdown.
pub fn about(name: &str) -> Option<&'static str> {
    ABOUT.iter().find(|(known, _)| *known == name).map(|(_, about)| *about)
}

/// The header lines of the dialect called `name`.
pub fn dialect(name: &str) -> Result<Vec<HeaderLine>, ShapeError> {
    let (_, rows) = DIALECTS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| ShapeError::UnknownDialect { name: name.to_owned() })?;
    rows.iter().map(|(header, value)| HeaderLine::parse(header, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;
    use crate::response::header::{Emit, HeaderSet};
    use crate::response::headers::Headers;
    use crate::response::number::Reported;
    use crate::response::number::samples::{ADMITTED, REFUSED, reported};

    fn report(name: &str, reported: &[Reported<'_>], limited: bool) -> String {
        let set = HeaderSet::new(dialect(name).unwrap(), Emit::Always).unwrap();
        let mut headers = Headers::default();
        set.render(reported, limited, &mut headers);
        headers.iter().fold(String::new(), |text, (name, value)| text + name + ": " + value + "\n")
    }

    /// What each dialect says of one refusal: MEGA's, 60 a minute, 2025-02-07T15:26:00Z.
    const REFUSALS: &[(&str, &str)] = &[
        ("draft-03", "RateLimit-Limit: 60\nRateLimit-Remaining: 0\nRateLimit-Reset: 30\n"),
        ("draft-07", "RateLimit: limit=60, remaining=0, reset=30\nRateLimit-Policy: 60;w=60, 1000;w=3600\n"),
        (
            "draft-11",
            "RateLimit-Policy: \"minute\";q=60;w=60, \"an \\\"hour\\\"\";q=1000;w=3600\n\
             RateLimit: \"minute\";r=0;t=30, \"an \\\"hour\\\"\";r=999;t=3600\n",
        ),
        (
            "ratelimit-delta",
            "RateLimit-Limit: 60\nRateLimit-Remaining: 0\nRateLimit-Reset: 42\nRetry-After: 30\n",
        ),
        ("x-ratelimit", "X-RateLimit-Limit: 60\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1738941990\n"),
        (
            "x-ratelimit-ms",
            "X-RateLimit-Limit: 60\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1738941990000\n",
        ),
        ("x-ratelimit-delta", "X-RateLimit-Limit: 60\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 30\n"),
        (
            "x-rate-limit",
            "X-Rate-Limit-Limit: 60\nX-Rate-Limit-Remaining: 0\nX-Rate-Limit-Reset: 1738941990\n",
        ),
        (
            "github",
            "x-ratelimit-limit: 60\nx-ratelimit-remaining: 0\nx-ratelimit-used: 60\n\
             x-ratelimit-reset: 1738941990\nx-ratelimit-resource: minute\n",
        ),
        (
            "gitlab",
            "RateLimit-Limit: 60\nRateLimit-Name: minute\nRateLimit-Observed: 60\nRateLimit-Remaining: 0\n\
             RateLimit-Reset: 1738941990\nRateLimit-ResetTime: Fri, 07 Feb 2025 15:26:30 GMT\nRetry-After: 30\n",
        ),
        (
            "openai",
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 42s\n",
        ),
        (
            "anthropic",
            "anthropic-ratelimit-requests-limit: 60\nanthropic-ratelimit-requests-remaining: 0\n\
             anthropic-ratelimit-requests-reset: 2025-02-07T15:26:42Z\nretry-after: 30\n",
        ),
        ("retry-after", "Retry-After: 30\n"),
    ];

    #[test]
    fn every_dialect_tells_a_refusal_in_its_own_words() {
        let reported = [reported("minute", &REFUSED), reported("an \"hour\"", &ADMITTED)];
        for (name, expected) in REFUSALS {
            assert_eq!(report(name, &reported, true), *expected, "{name}");
        }
        let listed: Vec<_> = DIALECTS.iter().map(|(name, _)| name).collect();
        assert_eq!(listed, ABOUT.iter().map(|(name, _)| name).collect::<Vec<_>>());
        assert_eq!(listed, REFUSALS.iter().map(|(name, _)| name).collect::<Vec<_>>());
    }

    #[test]
    fn an_admitted_request_is_never_told_to_retry() {
        let refused_in_shadow = Outcome { admitted: false, ..REFUSED };
        for outcome in [ADMITTED, refused_in_shadow] {
            for (name, _) in DIALECTS {
                let headers = report(name, &[reported("minute", &outcome)], false).to_lowercase();
                assert!(!headers.contains("retry-after"), "{name}: {headers}");
            }
        }
        assert_eq!(
            report("ratelimit-delta", &[reported("hour", &ADMITTED)], false),
            "RateLimit-Limit: 1000\nRateLimit-Remaining: 999\nRateLimit-Reset: 3600\n"
        );
    }

    #[test]
    fn an_unknown_dialect_is_reported_with_the_known_ones() {
        let error = dialect("draft-3").unwrap_err();
        assert_eq!(error.to_string(), "unknown dialect `draft-3`");
        let (name, known) = error.candidates().unwrap();
        assert!(name == "draft-3" && known.contains(&"draft-03") && known.len() == DIALECTS.len());
    }
}
