use super::*;
use crate::model::{Outcome, Timestamp};
use crate::response::number::samples::{ADMITTED, REFUSED, reported};
use proptest::prelude::*;
use std::time::Duration;

fn set(lines: &[(&str, &str)], emit: Emit) -> Result<HeaderSet, ShapeError> {
    let lines = lines.iter().map(|(name, value)| HeaderLine::parse(name, value)).collect::<Result<_, _>>()?;
    HeaderSet::new(lines, emit)
}

fn report(lines: &[(&str, &str)], reported: &[Reported<'_>], limited: bool) -> Vec<String> {
    let set = set(lines, Emit::Always).unwrap();
    let mut headers = Headers::default();
    set.render(reported, limited, &mut headers);
    headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn a_value_is_a_number_or_a_text_with_numbers_in_it() {
    for (value, expected) in [
        ("limit", "60"),
        (" limit ", "60"),
        ("{{limit}}", "60"),
        ("{{used}}/{{limit}}", "60/60"),
        ("{{limit}}}", "60}"),
        ("60;w=60", "60;w=60"),
        ("endpoint-rate", "endpoint-rate"),
        ("slow down", "slow down"),
        ("2", "2"),
        (r#"{{"user"}}"#, "user"),
        (r#"{{"{{"}}"#, "{{"),
        ("{{each}}{{name}}={{remaining}}", "minute=0, hour=999"),
        ("{{each}}limit", "60, 1000"),
    ] {
        let reported = [reported("minute", &REFUSED), reported("hour", &ADMITTED)];
        assert_eq!(report(&[("x", value)], &reported, true), [format!("x: {expected}")], "{value}");
    }
}

#[test]
fn a_header_whose_number_is_absent_is_not_sent() {
    let never = Outcome { retry_after: None, ..REFUSED };
    let lines =
        [("a", "retry_after_s"), ("b", "wait {{retry_after_duration}}"), ("c", "limit"), ("d", "name")];
    assert_eq!(report(&lines, &[reported("", &never)], true), ["c: 60"]);
    assert_eq!(report(&lines, &[reported("n", &REFUSED)], true), ["a: 30", "b: wait 30s", "c: 60", "d: n"]);
    assert_eq!(report(&lines, &[reported("ü\u{1}", &never)], true), ["c: 60"]);
    assert!(report(&lines, &[], true).is_empty());
}

#[test]
fn an_absent_number_takes_its_member_out_of_a_list() {
    let lines = [("x", "{{each}}{{name_quoted}};r={{remaining}}")];
    assert_eq!(
        report(&lines, &[reported("", &REFUSED), reported("hour", &ADMITTED)], true),
        ["x: \"hour\";r=999"],
        "a list goes on without a member that has no name"
    );
    assert!(report(&lines, &[reported("", &REFUSED)], true).is_empty());
}

#[test]
fn a_long_list_is_cut_between_members() {
    let many = vec![reported("a limit with a name", &REFUSED); 1000];
    let sent = report(&[("x", "{{each}}{{name_quoted}};r={{remaining}}")], &many, true).remove(0);
    assert!(sent.len() > 4000 && sent.len() <= 4096 + "x: ".len());
    assert!(sent.ends_with(";r=0"));
}

#[test]
fn headers_are_sent_when_emit_says_so() {
    for (emit, limited, expected) in [
        ("always", false, 1),
        ("always", true, 1),
        ("on_limited", false, 0),
        ("on_limited", true, 1),
        ("never", false, 0),
        ("never", true, 0),
    ] {
        let set = set(&[("x", "limit")], Emit::parse(emit).unwrap()).unwrap();
        let mut headers = Headers::default();
        set.render(&[reported("minute", &REFUSED)], limited, &mut headers);
        assert_eq!(headers.iter().len(), expected, "{emit}, limited: {limited}");
    }
    let error = Emit::parse("on-limited").unwrap_err();
    assert_eq!(error.candidates().unwrap().1, ["always", "on_limited", "never"]);
}

#[test]
fn one_answer_never_says_two_things_under_one_name() {
    let gateway = set(&[("Retry-After", "retry_after_s"), ("X-Limit", "limit")], Emit::Always).unwrap();
    let quota = set(&[("retry-after", "retry_after_s"), ("X-Quota", "limit")], Emit::Always).unwrap();
    let later = Outcome { retry_after: Some(Duration::from_secs(99)), limit: 7, ..REFUSED };
    let mut headers = Headers::default();
    gateway.render(&[reported("gateway", &REFUSED)], true, &mut headers);
    quota.render(&[reported("quota", &later)], true, &mut headers);
    let sent: Vec<_> = headers.iter().collect();
    assert_eq!(sent, [("Retry-After", "30"), ("X-Limit", "60"), ("X-Quota", "7")]);
    assert_eq!(
        set(&[("X-Limit", "limit"), ("x-limit", "used")], Emit::Always).unwrap_err().to_string(),
        "header `x-limit` is listed twice"
    );
}

#[test]
fn names_that_do_harm_are_refused_when_they_are_loaded() {
    for (name, expected) in [
        ("", "`` is not a header name"),
        ("x limit", "`x limit` is not a header name"),
        ("x\r\nx-evil", "`x\\r\\nx-evil` is not a header name"),
        ("x-limit:", "`x-limit:` is not a header name"),
        ("x-límit", "`x-límit` is not a header name"),
        (":status", "header `:status` cannot be set here: pseudo-headers are Envoy's"),
        ("Host", "header `Host` cannot be set here: Envoy would append to it"),
        ("Content-Length", "header `Content-Length` cannot be set here: it comes from the body"),
        ("content-type", "header `content-type` cannot be set here: it goes with the body, in `deny`"),
        ("transfer-encoding", "header `transfer-encoding` cannot be set here: it belongs to the connection"),
        ("Connection", "header `Connection` cannot be set here: it belongs to the connection"),
        ("X-Envoy-RateLimited", "header `X-Envoy-RateLimited` cannot be set here: Envoy uses these itself"),
    ] {
        assert_eq!(HeaderName::parse(name).unwrap_err().to_string(), expected);
    }
    for name in ["X-RateLimit-Limit", "retry-after", "date", "x.y!z", "x-env"] {
        assert_eq!(HeaderName::parse(name).unwrap().as_str(), name);
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused_when_they_are_loaded() {
    for (value, message, offset) in [
        ("", "a header value must not be empty", None),
        (" ", "a header value must not be empty", None),
        ("{{each}}", "a header value must not be empty", None),
        ("reset_unix", "unknown number `reset_unix`", None),
        ("{{each}}limits", "unknown number `limits`", None),
        ("{{limits}}", "unknown name `limits` in `{{…}}`", Some(0)),
        ("a {{limit", "`{{` is never closed", Some(2)),
        ("{{}}", "`{{}}` names nothing", Some(0)),
        ("{{limit}} {{each}}", "unknown name `each` in `{{…}}`", Some(10)),
        ("1\r\nx-evil: 1", "`\\r` cannot stand in a header value", Some(1)),
        ("{{limit}}é", "`\\u{e9}` cannot stand in a header value", Some(9)),
        ("{{\"a\tb\"}}", "`\\t` cannot stand in a header value", Some(4)),
        ("{{limit}} {{entry.k}}", "`entry.k` cannot stand in a response header", Some(10)),
        ("{{each}}a{{subject}}", "`subject` cannot stand in a response header", Some(9)),
        ("{{attribute.plan}}", "`attribute.plan` cannot stand in a response header", Some(0)),
    ] {
        let error = HeaderLine::parse("x", value).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.offset()), (message, offset), "{value:?}");
    }
    let error = HeaderLine::parse("x", "user").unwrap_err();
    assert_eq!(error.hint().unwrap(), r#"to send the word itself, write `{{"user"}}`"#);
}

proptest! {
    #[test]
    fn no_header_that_is_sent_could_split_an_answer(
        name in any::<String>(), value in "([ -~]|\\PC|[\r\n\0]|\\{\\{(each|limit|name|name_quoted|retry_after_s)\\}\\}){0,6}",
        limit_name in any::<String>(), limited in any::<bool>(), nanos in any::<u64>(),
    ) {
        let outcome = Outcome { retry_after: Some(Duration::from_nanos(nanos)), ..REFUSED };
        let reported = Reported::alone(&limit_name, &outcome, Timestamp::from_nanos(nanos));
        for name in [name.as_str(), "x-limit"] {
            let Ok(set) = set(&[(name, &value)], Emit::Always) else { continue };
            let mut headers = Headers::default();
            set.render(&[reported, reported], limited, &mut headers);
            for (name, value) in headers.iter() {
                prop_assert!(is_token(name));
                prop_assert!(!value.is_empty() && value.bytes().all(escape::is_visible), "{value:?}");
                prop_assert_eq!(value.trim(), value);
            }
        }
    }
}
