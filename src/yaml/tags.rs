//! What a tag may stand in front of. go-yaml, by which envoyproxy/ratelimit reads its files, refuses what does not fit.

/// What should stand behind `!!` and `tag`, if `value` is not that.
pub(super) fn wanted(tag: &str, value: &str) -> Option<&'static str> {
    let (fits, wanted) = match tag {
        "int" => (is_whole(value), "a whole number"),
        "float" => (is_whole(value) || is_fraction(value), "a number"),
        "bool" => (BOOLEANS.contains(&value), "`true` or `false`"),
        "null" => (matches!(value, "" | "~" | "null" | "Null" | "NULL"), "nothing"),
        _ => return None,
    };
    (!fits).then_some(wanted)
}

#[rustfmt::skip]
const BOOLEANS: [&str; 22] = [
    "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y",
    "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N",
];

/// Digits, grouped by `_` or not, with a sign and a base or not.
fn is_whole(value: &str) -> bool {
    let value = value.strip_prefix(['+', '-']).unwrap_or(value);
    let based = |base: [char; 2], radix| {
        let digits = value.strip_prefix('0').and_then(|rest| rest.strip_prefix(base));
        digits.is_some_and(|digits| are_digits(digits, radix))
    };
    are_digits(value, 10) || based(['x', 'X'], 16) || based(['o', 'O'], 8) || based(['b', 'B'], 2)
}

fn are_digits(text: &str, radix: u32) -> bool {
    text.contains(|c: char| c.is_digit(radix)) && text.chars().all(|c| c == '_' || c.is_digit(radix))
}

fn is_fraction(value: &str) -> bool {
    let value = value.strip_prefix(['+', '-']).unwrap_or(value);
    let is_word = matches!(value, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    is_word
        || value.starts_with(|c: char| c == '.' || c.is_ascii_digit())
            && value.replace('_', "").parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn a_tag_fits_what_go_yaml_takes_it_for() {
        for (tag, fitting, others) in [
            ("int", "0 5 -5 +5 1_000 0x1F 0o17 0b101 010", "x 5.0 1e3 0x 0b2 _ - 1,000 ٣ ~"),
            ("float", "5 1_000 0x1F 5.0 1e3 .5 -.inf .nan", "x inf nan infinity 1.2.3 ~"),
            ("bool", "true False yes NO on n", "maybe tRUE 1 ~"),
            ("null", "~ null NULL", "x 0 no nil"),
        ] {
            for value in fitting.split(' ') {
                assert_eq!(wanted(tag, value), None, "!!{tag} {value}");
            }
            for value in others.split(' ') {
                assert!(wanted(tag, value).is_some(), "!!{tag} {value}");
            }
        }
        assert_eq!((wanted("null", ""), wanted("int", "")), (None, Some("a whole number")));
    }
}
