//! Points in time, as people write them in tests and on the command line.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// Why a text is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is neither a date nor RFC 3339.
    #[error("`{0}` is not a point in time")]
    Malformed(String),
    /// Timestamps are nanoseconds since 1970 in 64 bits.
    #[error("`{0}` is not between 1970 and 2554")]
    OutOfRange(String),
}

impl TimeError {
    /// How it is written.
    pub const HINT: &str =
        "write a date, `2026-01-31`, or a date and a time with its offset, `2026-01-31T09:30:00Z`";
}

/// A point in time: RFC 3339 (`2026-01-31T09:30:00Z`), or a date alone, which begins at midnight UTC.
///
/// # Errors
///
/// [`TimeError`], for anything else: a time without an offset, and a time zone in brackets, too.
pub fn point_in_time(text: &str) -> Result<Timestamp, TimeError> {
    let malformed = || TimeError::Malformed(text.to_owned());
    // jiff would read more than it obeys here: a zone in brackets, and the time of a date that lacks its offset.
    if text.contains('[') {
        return Err(malformed());
    }
    let is_date = text.len() == "2026-01-31".len() && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let time = if is_date {
        let midnight = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
        midnight.map_err(|_| malformed())?.timestamp()
    } else {
        text.parse::<jiff::Timestamp>().map_err(|_| malformed())?
    };
    let nanos = u64::try_from(time.as_nanosecond()).map_err(|_| TimeError::OutOfRange(text.to_owned()))?;
    Ok(Timestamp::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_at_midnight_utc() {
        let seconds = |text| point_in_time(text).map(|time| time.as_nanos() / 1_000_000_000);
        assert_eq!(seconds("1970-01-01"), Ok(0));
        assert_eq!(seconds("2026-01-31"), Ok(1_769_817_600));
        assert_eq!(seconds("2026-01-31T00:00:00Z"), Ok(1_769_817_600));
        assert_eq!(seconds("2026-01-31T02:00:00+02:00"), Ok(1_769_817_600));
        assert_eq!(seconds("2024-02-29"), Ok(1_709_164_800));
        for wrong in ["", "today", "2026-02-30", "2026-1-31", "20260131", "2026-01-31T09:30:00", "1769817600"]
        {
            assert_eq!(seconds(wrong), Err(TimeError::Malformed(wrong.to_owned())));
        }
        for wrong in ["2026-01-31[Europe/Paris]", "2026-01-31T09:30:00Z[Europe/Paris]"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        for wrong in ["1969-12-31", "2554-12-31", "1969-12-31T23:59:59Z"] {
            assert_eq!(seconds(wrong), Err(TimeError::OutOfRange(wrong.to_owned())));
        }
    }
}
