//! The time that a caller waits for an answer.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// Looked up as it is: a text would be parsed for each call.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The timeout in a call's `grpc-timeout` header: at most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). An absent or malformed header sets no bound.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(&GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let digit =
        |number: u64, &digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
    let number = digits.iter().try_fold(0, digit)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, timeout) in [
            ("20m", Some(Duration::from_millis(20))),
            ("1S", Some(Duration::from_secs(1))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("7u", Some(Duration::from_micros(7))),
            ("999999999n", None),
            ("20", None),
            ("m", None),
            ("", None),
            ("-1S", None),
            ("1.5S", None),
            ("20s", None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                text.parse().unwrap(),
            )]);
            assert_eq!(of(&headers), timeout, "{text}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
