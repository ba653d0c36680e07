//! What a single value means: YAML 1.2's core schema, without what people read in two ways.

use jiff::tz::TimeZone;

use super::problem::shown;
use super::value::Value;
use crate::hint::did_you_mean;
use crate::model::Timestamp;

/// Why a value is not what was wanted: the message, and what to do.
pub(super) type NotThat = (String, Option<String>);

fn not_that<T>(message: impl Into<String>, hint: &str) -> Result<T, NotThat> {
    Err((message.into(), (!hint.is_empty()).then(|| hint.to_owned())))
}

/// Whether a plain scalar says nothing.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// An attribute's value. Messages do not show it, as it may be a credential's.
///
/// Refused without quotes: `yes` and its like, text to this version of YAML and a boolean to the last; `007`, which
/// as a number would lose its zeros; and decimal numbers, which no limit can be.
pub(super) fn value(text: &str, plain: bool) -> Result<Value, NotThat> {
    const QUOTES: &str = "put it in quotes if it is text";
    if !plain {
        return Ok(Value::from(text));
    }
    match text {
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ if is_null(text) => return not_that("an attribute needs a value", "leave the attribute out"),
        _ if truth(text).is_some() && text.len() > 1 => {
            let hint = "write `true` or `false`, or put it in quotes if it is text";
            return not_that("an attribute that could be true or false or text", hint);
        }
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match (digits.get(..2), digits.get(2..)) {
        (Some("0x"), Some(digits)) => (16, digits),
        (Some("0o"), Some(digits)) => (8, digits),
        _ => (10, digits),
    };
    let starts_right = digits.starts_with(|c: char| c.is_digit(radix));
    if starts_right && digits.chars().all(|c| c.is_digit(radix) || c == '_') {
        if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
            return not_that("a number that starts with 0", QUOTES);
        }
        return match i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix) {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => not_that("a number that does not fit in 64 bits", QUOTES),
        };
    }
    let decimal =
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    if decimal || matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return not_that(
            "an attribute is text, a whole number or true or false, not a decimal number",
            QUOTES,
        );
    }
    Ok(Value::from(text))
}

/// What YAML 1.1 calls a boolean.
fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => None,
    }
}

/// `true` or `false`, where nothing else is possible.
pub(super) fn boolean(text: &str, plain: bool) -> Result<bool, NotThat> {
    match (truth(text), plain) {
        (Some(truth), true) => Ok(truth),
        (Some(_), false) => not_that("expected true or false, found text", "remove the quotes"),
        (None, _) => not_that("expected true or false", ""),
    }
}

/// A whole number from 0 up.
pub(super) fn whole(text: &str, plain: bool) -> Result<u64, NotThat> {
    let message = format!("expected a whole number, found {}", shown(text));
    match (value(text, true).ok().and_then(|value| value.as_number()), plain) {
        (Some(number), true) => u64::try_from(number).or_else(|_| not_that(message, "it cannot be negative")),
        (Some(_), false) => not_that(message, "remove the quotes"),
        (None, _) => not_that(message, ""),
    }
}

/// An amount in millionths, exactly; quoted or not.
pub(super) fn amount(text: &str) -> Result<u64, NotThat> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return not_that(
            format!("expected an amount, found {}", shown(text)),
            "write it like `60` or `59.95`, without a sign or a currency",
        );
    }
    if fraction.len() > 6 {
        return not_that(format!("{} has more than six digits after the point", shown(text)), "");
    }
    match format!("{whole}{fraction:0<6}").parse() {
        Ok(millionths) => Ok(millionths),
        Err(_) => not_that(format!("{} is more than can be counted", shown(text)), ""),
    }
}

/// A point in time, RFC 3339.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, NotThat> {
    const HINT: &str = "write it like `2025-01-31T09:30:00Z`";
    // jiff would read a zone in brackets, and not obey it.
    let read = (!text.contains('[')).then(|| text.parse::<jiff::Timestamp>().ok()).flatten();
    let Some(time) = read else {
        return not_that(format!("{} is not a point in time", shown(text)), HINT);
    };
    match u64::try_from(time.as_nanosecond()) {
        Ok(nanos) => Ok(Timestamp::from_nanos(nanos)),
        Err(_) => not_that(format!("{} is not between 1970 and 2554", shown(text)), ""),
    }
}

/// An IANA time zone.
pub(super) fn zone(text: &str) -> Result<TimeZone, NotThat> {
    TimeZone::get(text).or_else(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
        let hint = did_you_mean(text, names.iter().map(String::as_str))
            .unwrap_or_else(|| "write an IANA name like `America/New_York`".to_owned());
        not_that(format!("{} is not a time zone", shown(text)), &hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_what_yaml_says_unless_people_read_it_in_two_ways() {
        for (text, meant) in [
            ("growth", Value::from("growth")),
            ("120", Value::from(120)),
            ("-5", Value::from(-5)),
            ("+5", Value::from(5)),
            ("0", Value::from(0)),
            ("1_000", Value::from(1000)),
            ("0x1F", Value::from(31)),
            ("0o17", Value::from(15)),
            ("9223372036854775807", Value::from(i64::MAX)),
            ("-9223372036854775808", Value::from(i64::MIN)),
            ("true", Value::from(true)),
            ("False", Value::from(false)),
            ("n", Value::from("n")),
            ("10.0.0.1", Value::from("10.0.0.1")),
            ("2025-01-31", Value::from("2025-01-31")),
            ("12ab", Value::from("12ab")),
            ("-", Value::from("-")),
            ("_1", Value::from("_1")),
            ("0x", Value::from("0x")),
            ("infinity", Value::from("infinity")),
            ("é", Value::from("é")),
        ] {
            assert_eq!(value(text, true), Ok(meant), "{text}");
            assert_eq!(value(text, false), Ok(Value::from(text)), "quoted {text}");
        }
        for text in [
            "",
            "~",
            "null",
            "yes",
            "NO",
            "Off",
            "007",
            "1.5",
            "1e3",
            ".5",
            "-.inf",
            ".nan",
            "9223372036854775808",
        ] {
            assert!(value(text, true).is_err(), "{text}");
            assert_eq!(value(text, false), Ok(Value::from(text)), "quoted {text}");
        }
    }

    #[test]
    fn values_name_a_row_of_a_table() {
        let texts = [Value::from("growth"), Value::from(-5), Value::from(true), Value::from(false)];
        assert_eq!(texts.each_ref().map(Value::as_text), ["growth", "-5", "true", "false"]);
        assert_eq!(texts.each_ref().map(Value::as_number), [None, Some(-5), None, None]);
    }

    #[test]
    fn amounts_are_exact_to_a_millionth() {
        for (text, millionths) in
            [("60", 60_000_000), ("0.000001", 1), ("59.95", 59_950_000), ("18446744073709.551615", u64::MAX)]
        {
            assert_eq!(amount(text), Ok(millionths), "{text}");
        }
        for text in ["", "-1", "+1", "1.", ".5", "1e3", "5 EUR", "0.0000001", "18446744073709.551616", "٣"] {
            assert!(amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let second = |secs| Ok(Timestamp::from_secs(secs));
        for (text, time) in [
            ("1970-01-01T00:00:00Z", second(0)),
            ("2025-01-31T09:30:00Z", second(1_738_315_800)),
            ("2025-01-31T04:30:00-05:00", second(1_738_315_800)),
            ("2025-01-31t09:30:00.000z", second(1_738_315_800)),
        ] {
            assert_eq!(timestamp(text), time, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2025-01-31",
            "2025-01-31T09:30:00",
            "2025-02-30T09:30:00Z",
            "2025-01-31T09:30:00Z[America/New_York]",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "1738315800",
        ] {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_zone_is_an_iana_name() {
        assert_eq!(zone("America/New_York").unwrap().iana_name(), Some("America/New_York"));
        let (message, hint) = zone("America/NewYork").unwrap_err();
        assert_eq!(message, "`America/NewYork` is not a time zone");
        assert_eq!(hint.as_deref(), Some("did you mean `America/New_York`?"));
        assert!(zone("+05:00").is_err());
        assert!(zone("").is_err());
    }
}
