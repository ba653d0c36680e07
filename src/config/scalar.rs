//! What a single value means: YAML 1.2's core schema, and what envoyproxy/ratelimit's files use beyond it. Where the two
//! read different numbers, neither is taken.

use std::borrow::Cow;
use std::time::Duration;

use crate::subjects::Value;
use crate::yaml::{Kind, Node};

/// Why a value is not what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotThat {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

fn not_that<T>(message: String, hint: Option<&str>) -> Result<T, NotThat> {
    Err(NotThat { message, hint: hint.map(str::to_owned) })
}

/// Any single value as text: `42`, `true` and `"x"` alike. Nothing at all is the empty text.
pub(super) fn text(node: Node<'_>) -> Result<&str, NotThat> {
    match node.kind() {
        Kind::Scalar { .. } if node.is_null() => Ok(""),
        Kind::Scalar { text, .. } => Ok(text),
        _ => not_that(format!("expected text, found {}", node.kind_name()), None),
    }
}

/// `true` or `false`, in the words of YAML 1.1 as well: `yes`, `no`, `on`, `off`.
pub(super) fn boolean(node: Node<'_>) -> Result<bool, NotThat> {
    let Kind::Scalar { text, plain } = node.kind() else {
        return not_that(format!("expected true or false, found {}", node.kind_name()), None);
    };
    let meant = match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ if node.is_null() => Some(false),
        _ => None,
    };
    match (meant, plain) {
        (Some(truth), true) => Ok(truth),
        (Some(_), false) => {
            not_that(format!("expected true or false, found the text `{text}`"), Some("remove the quotes"))
        }
        (None, _) => not_that(format!("expected true or false, found `{text}`"), None),
    }
}

/// A whole number from 0 to `u32::MAX`.
pub(super) fn whole_number(node: Node<'_>) -> Result<u32, NotThat> {
    let Kind::Scalar { text, plain } = node.kind() else {
        return not_that(format!("expected a whole number, found {}", node.kind_name()), None);
    };
    if plain && let Some((octal, decimal)) = ambiguous(text) {
        return Err(NotThat {
            message: format!("`{text}` is {octal} to YAML 1.1 (octal) and {decimal} to YAML 1.2"),
            hint: Some(format!("write `{octal}`, as envoyproxy/ratelimit reads it, or `{decimal}`")),
        });
    }
    let hint = (!plain && number(text).is_some()).then_some("remove the quotes");
    let number = if plain { number(text) } else { None };
    match number {
        Some(number) if number < 0.0 => {
            not_that(format!("expected a whole number, found `{text}`"), Some("a limit cannot be negative"))
        }
        Some(number) if number.fract() != 0.0 => {
            not_that(format!("expected a whole number, found `{text}`"), None)
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just compared")]
        Some(number) if number <= f64::from(u32::MAX) => Ok(number as u32),
        Some(_) => not_that(
            format!("`{text}` is more than a limit can be"),
            Some("the most is 4294967295; write `unlimited: true` to let everything pass"),
        ),
        None if hint.is_some() => not_that(format!("expected a whole number, found the text `{text}`"), hint),
        None => not_that(format!("expected a whole number, found `{text}`"), None),
    }
}

/// A number that begins with 0: what it is in octal, as YAML 1.1 has it, and in decimal, as 1.2 has it, if these differ.
fn ambiguous(text: &str) -> Option<(u64, u64)> {
    let text = text.replace('_', "");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let octal = u64::from_str_radix(digits.strip_prefix('0')?, 8).ok()?;
    let decimal = digits.parse().ok()?;
    (octal != decimal).then_some((octal, decimal))
}

/// A number of the core schema, or one that go-yaml knows: digits may be grouped by `_`, and `0X`, `0O`, `0b` and `0B` are
/// bases too. Exact for everything up to 2⁵³, which is past every
/// limit there can be.
#[expect(clippy::cast_precision_loss, reason = "past 2^53 it only matters that it is too large")]
fn number(text: &str) -> Option<f64> {
    let text: Cow<'_, str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, &*text),
    };
    let radix = |base: [char; 2], radix| {
        let rest = digits.strip_prefix('0')?.strip_prefix(base)?;
        // A second sign is none of a number's digits.
        let is_number = rest.chars().all(|c| c.is_digit(radix));
        is_number.then(|| u64::from_str_radix(rest, radix).ok()).flatten().map(|n| n as f64)
    };
    let decimal = || {
        let starts_right = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        starts_right.then(|| digits.parse::<f64>().ok()).flatten()
    };
    radix(['x', 'X'], 16)
        .or_else(|| radix(['o', 'O'], 8))
        .or_else(|| radix(['b', 'B'], 2))
        .or_else(decimal)
        .map(|magnitude| sign * magnitude)
}

/// The units of a length of time, in nanoseconds.
pub(super) const LENGTHS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// A length of time: numbers with units, as in `15m` or `1h30m`. Never zero.
pub(super) fn duration(text: &str) -> Result<Duration, NotThat> {
    let wrong = || {
        not_that(format!("`{text}` is not a length of time"), Some("write a number and a unit, as in `15m`"))
    };
    let (mut rest, mut nanos) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = LENGTHS.iter().find(|(name, _)| *name == unit);
        let part =
            number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, unit))| number.checked_mul(*unit));
        match part.and_then(|part| nanos.checked_add(part)) {
            Some(sum) => nanos = sum,
            None => return wrong(),
        }
        rest = after;
    }
    if nanos == 0 { wrong() } else { Ok(Duration::from_nanos(nanos)) }
}

/// A single value as an attribute of a subject: a boolean, a whole number, or text.
pub(super) fn attribute(node: Node<'_>) -> Result<Value, NotThat> {
    let text = text(node)?;
    let Kind::Scalar { plain: true, .. } = node.kind() else { return Ok(text.into()) };
    Ok(match (text, text.parse::<i64>()) {
        ("true", _) => true.into(),
        ("false", _) => false.into(),
        (_, Ok(number)) => number.into(),
        (text, Err(_)) => text.into(),
    })
}

/// Up to here every whole number is one of its own: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Any value at all, as JSON.
pub(super) fn json(node: Node<'_>) -> serde_json::Value {
    match node.kind() {
        Kind::Scalar { .. } if node.is_null() => serde_json::Value::Null,
        Kind::Scalar { text, plain: false } => text.into(),
        Kind::Scalar { text, plain: true } => match (text, number(text)) {
            ("true" | "True" | "TRUE", _) => true.into(),
            ("false" | "False" | "FALSE", _) => false.into(),
            // Whichever it is meant to be, it is not the other one.
            (text, Some(_)) if ambiguous(text).is_some() => text.into(),
            #[expect(clippy::cast_possible_truncation, reason = "just compared")]
            (_, Some(number)) if number.fract() == 0.0 && number.abs() < EXACT => (number as i64).into(),
            (_, Some(number)) => number.into(),
            (text, None) => text.into(),
        },
        Kind::Sequence(items) => items.map(json).collect(),
        Kind::Mapping(pairs) => {
            let fields = pairs.map(|(key, value)| (text(key).unwrap_or_default().to_owned(), json(value)));
            serde_json::Value::Object(fields.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Tree;

    fn read<T>(text: &str, read: impl Fn(Node<'_>) -> Result<T, NotThat>) -> Result<T, String> {
        let document = format!("[{text}]");
        let tree = Tree::parse(&document).unwrap();
        let Some(Kind::Sequence(mut items)) = tree.documents().next().map(Node::kind) else {
            panic!("a list")
        };
        read(items.next().unwrap())
            .map_err(|wrong| format!("{}; {}", wrong.message, wrong.hint.unwrap_or_default()))
    }

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for (text, number) in [
            ("60", 60),
            ("0o10", 8),
            ("0O17", 15),
            ("0x10", 16),
            ("0X1F", 31),
            ("0b101", 5),
            ("0B1_1", 3),
            ("!!int \"5\"", 5),
            ("!!int '0b101'", 5),
            ("! 7", 7),
            ("08", 8),
            ("07", 7),
            ("0", 0),
            ("0x1F", 31),
            ("+5", 5),
            ("1_000", 1000),
            ("60.0", 60),
            ("1e3", 1000),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(read(text, whole_number), Ok(number), "{text}");
        }
        for (text, wrong) in [
            ("-1", "expected a whole number, found `-1`; a limit cannot be negative"),
            ("1.5", "expected a whole number, found `1.5`; "),
            ("'60'", "expected a whole number, found the text `60`; remove the quotes"),
            ("ten", "expected a whole number, found `ten`; "),
            ("infinity", "expected a whole number, found `infinity`; "),
            ("1:30", "expected a whole number, found `1:30`; "),
            ("0x+5", "expected a whole number, found `0x+5`; "),
            ("0b102", "expected a whole number, found `0b102`; "),
            ("!!str 5", "expected a whole number, found the text `5`; remove the quotes"),
            (
                "010",
                "`010` is 8 to YAML 1.1 (octal) and 10 to YAML 1.2; write `8`, as envoyproxy/ratelimit reads it, or `10`",
            ),
            (
                "+0_20",
                "`+0_20` is 16 to YAML 1.1 (octal) and 20 to YAML 1.2; write `16`, as envoyproxy/ratelimit reads it, or `20`",
            ),
            ("[1]", "expected a whole number, found a list; "),
            (
                "4294967296",
                "`4294967296` is more than a limit can be; the most is 4294967295; write `unlimited: true` to let \
                 everything pass",
            ),
        ] {
            assert_eq!(read(text, whole_number), Err(wrong.to_owned()), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_have_units() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("15m", 900_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "m", "15x", "0s", "-5m", "1.5h", "99999999999999w", "5 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn booleans_may_be_said_as_in_yaml_1_1() {
        for (text, truth) in
            [("true", true), ("yes", true), ("On", true), ("off", false), ("no", false), ("~", false)]
        {
            assert_eq!(read(text, boolean), Ok(truth), "{text}");
        }
        assert_eq!(
            read("'yes'", boolean),
            Err("expected true or false, found the text `yes`; remove the quotes".to_owned())
        );
        assert!(read("maybe", boolean).is_err());
    }

    #[test]
    fn text_is_whatever_was_written() {
        for (written, text_of) in [("42", "42"), ("true", "true"), ("0x10", "0x10"), ("'~'", "~"), ("~", "")]
        {
            assert_eq!(read(written, |node| text(node).map(str::to_owned)), Ok(text_of.to_owned()));
        }
    }

    #[test]
    fn metadata_has_the_numbers_that_were_written() {
        let told = read("{a: 0x10, b: 010, c: 1.5, d: 3.0, e: '7', f: yes}", |node| Ok(json(node)));
        let expected = serde_json::json!({"a": 16, "b": "010", "c": 1.5, "d": 3, "e": "7", "f": "yes"});
        assert_eq!(told, Ok(expected));
    }
}
