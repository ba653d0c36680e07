//! Where a call stands in a trace: `traceparent` and `tracestate` as W3C Trace Context has them
//! (<https://www.w3.org/TR/trace-context/>).

use http::HeaderMap;

/// The most bytes of `tracestate` that are passed on; longer ones are dropped as a whole, as the recommendation allows.
const LONGEST_STATE: usize = 512;
/// The most members of `tracestate`.
const MOST_MEMBERS: usize = 32;
/// The bytes of a `traceparent` of version 00: `00-TRACE_ID-PARENT_ID-FLAGS`.
const LENGTH: usize = 55;

/// The span of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    /// Never 0.
    pub(super) trace_id: u128,
    /// Never 0.
    pub(super) span_id: u64,
    pub(super) flags: u8,
}

impl Parent {
    /// Set in the flags where the caller may have recorded its span.
    pub(super) const SAMPLED: u8 = 1;
    /// Set where the trace's id is random, which sampling by its bits relies on (level 2 of the recommendation).
    pub(super) const RANDOM: u8 = 2;

    /// The caller's span, if the metadata of its call says one; anything that is not as the recommendation has it says none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").into_iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        if [known[2], known[35], known[52]] != *b"---" {
            return None;
        }
        let version = hex(&known[..2])?;
        // A later version may have more after another dash. 255 is no version.
        let is_long_enough = if version == 0 { more.is_empty() } else { matches!(more, [] | [b'-', ..]) };
        if version == 255 || !is_long_enough {
            return None;
        }
        let trace_id = hex(&known[3..35]).filter(|id| *id != 0)?;
        let span_id = hex(&known[36..52]).filter(|id| *id != 0)?;
        let flags = hex(&known[53..])?;
        Some(Self { trace_id, span_id: u64::try_from(span_id).ok()?, flags: u8::try_from(flags).ok()? })
    }

    pub(super) fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

/// A number in lower-case hexadecimal digits, of which 32 are the most.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// What goes along with a trace for other vendors. It is empty where it is invalid: then it is dropped, and the trace goes on.
pub(super) fn state(headers: &HeaderMap) -> String {
    let mut state = String::new();
    let mut members = 0;
    for value in headers.get_all("tracestate") {
        let Ok(value) = value.to_str() else { return String::new() };
        for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            members += 1;
            if !is_member(member) || members > MOST_MEMBERS || state.len() + member.len() >= LONGEST_STATE {
                return String::new();
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    state
}

/// `key=value`
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_key_char = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '*' | '/');
    let is_value_char = |c: char| matches!(c, ' '..='~') && c != ',' && c != '=';
    let is_key = |part: &str| !part.is_empty() && part.chars().all(is_key_char);
    let is_key = match key.split_once('@') {
        Some((tenant, system)) => is_key(tenant) && is_key(system),
        None => is_key(key),
    };
    is_key && key.len() <= 256 && !value.is_empty() && value.len() <= 256 && value.chars().all(is_value_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut headers, (name, value): (http::HeaderName, _)| {
                headers.append(name, value);
                headers
            },
        )
    }

    fn parent(values: &[&str]) -> Option<Parent> {
        Parent::of(&headers(&values.iter().map(|value| ("traceparent", *value)).collect::<Vec<_>>()))
    }

    #[test]
    fn a_parent_is_what_w3c_says_it_is() {
        let known = Parent {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            flags: 1,
        };
        for (text, expected) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(known)),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), Some(Parent { flags: 0, ..known })),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01"), Some(known)),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like"), Some(known)),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01.what"), None),
            (format!("00-{TRACE}-00f067aa0ba902b7-01-more"), None),
            (format!("ff-{TRACE}-00f067aa0ba902b7-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-00F067AA0BA902B7-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-0000000000000000-01"), None),
            (format!("00-{TRACE}-00f067aa0ba902b7-0x"), None),
            (format!("00-{TRACE}-00f067aa0ba902b7-1"), None),
            (format!("00-{TRACE}+00f067aa0ba902b7-01"), None),
            (format!(" 00-{TRACE}-00f067aa0ba902b7-01"), None),
            (String::new(), None),
        ] {
            assert_eq!(parent(&[&text]), expected, "{text}");
        }
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(parent(&[&good, &good]), None, "nobody knows which of two is meant");
        assert_eq!(parent(&[]), None);
        assert!(known.is_sampled());
    }

    #[test]
    fn a_state_is_passed_on_as_it_came_or_not_at_all() {
        let of = |values: &[&str]| {
            state(&headers(&values.iter().map(|value| ("tracestate", *value)).collect::<Vec<_>>()))
        };
        assert_eq!(
            of(&["rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE,", "1a@v/x=y z"]),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,1a@v/x=y z"
        );
        for wrong in ["Rojo=1", "a", "a=", "=1", "a=b=c", "a@=1", "a@b@c=1", "a b=1"] {
            assert_eq!(of(&["good=1", wrong]), "", "{wrong}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=1")).collect();
        assert_eq!(of(&[&many.join(",")]), "");
        assert_eq!(of(&[&many[..32].join(",")]), many[..32].join(","));
        let long = format!("a={}", "v".repeat(250));
        assert_eq!(of(&[&long, &long]), format!("{long},{long}"));
        assert_eq!(of(&[&long, &long, &long]), "", "no call takes more than half a KiB of memory by it");
        assert_eq!(of(&[]), "");
    }
}
