use super::*;
use crate::response::number::samples::{ADMITTED, NOW, REFUSED, reported};
use proptest::prelude::*;
use serde_json::{Value, json};

const ENTRIES: &[Entry<'static>] = &[
    Entry { key: b"remote_address", value: b"192.0.2.1" },
    Entry { key: b"path", value: b"/a\"\r\nx-evil: <1>\xff" },
    Entry { key: b"path", value: b"second" },
];

fn attribute(name: &str) -> Option<String> {
    (name == "plan").then_some("growth".into())
}

fn context(reported: Option<Reported<'static>>) -> Context<'static> {
    Context { reported, entries: ENTRIES, subject: Some("acme"), attribute: &attribute }
}

fn refused() -> Context<'static> {
    context(Some(reported("minute", &REFUSED)))
}

fn template(text: &str, content_type: &str) -> Result<Template, ShapeError> {
    Template::body(text, &ContentType::parse(content_type).unwrap())
}

fn body(text: &str, content_type: &str, context: &Context<'_>) -> String {
    template(text, content_type).unwrap().render_body(context)
}

#[test]
fn published_bodies_come_out_as_published() {
    let outcome =
        Outcome { used: 50_001, limit: 50_000, retry_after: Some(Duration::from_millis(841_001)), ..REFUSED };
    let context = Context { reported: Some(Reported::alone("quota", &outcome, NOW)), ..NOTHING };
    for (text, expected) in [
        (
            r#"{"success":false,"status":429,"message":"Too many requests","retryAfter":{{retry_after_s}}}"#,
            json!({"success": false, "status": 429, "message": "Too many requests", "retryAfter": 842}),
        ),
        (
            r#"{"success":false,"status":429,"code":"API_LIMIT_EXCEEDED","used":{{used}},"limit":{{limit}}}"#,
            json!({"success": false, "status": 429, "code": "API_LIMIT_EXCEEDED", "used": 50001, "limit": 50000}),
        ),
        (
            r#"{"status":429,"title":"Too many requests.","detail":"The limit of {{limit}} has been exceeded."}"#,
            json!({"status": 429, "title": "Too many requests.", "detail": "The limit of 50000 has been exceeded."}),
        ),
        (
            r#"{"error":{"type":"rate_limit_error","code":429,"message":"Rate limit exceeded."}}"#,
            json!({"error": {"type": "rate_limit_error", "code": 429, "message": "Rate limit exceeded."}}),
        ),
    ] {
        let reported = body(text, "application/json", &context);
        assert_eq!(serde_json::from_str::<Value>(&reported).unwrap(), expected);
    }
}

#[test]
fn a_placeholder_shows_its_value_escaped_for_the_type() {
    for (content_type, text, expected) in [
        ("application/json", r#"{"l":{{limit}}}"#, r#"{"l":60}"#),
        ("application/json", r#"{"n":"{{name}} {{name_quoted}}"}"#, r#"{"n":"minute \"minute\""}"#),
        ("application/json", r#""{{subject}} {{attribute.plan}}""#, r#""acme growth""#),
        (
            "application/problem+json",
            r#"["{{entry.path}}"]"#,
            "[\"/a\\\"\\u000d\\u000ax-evil: \\u003c1\\u003e\u{fffd}\"]",
        ),
        ("text/plain", "{{entry.path}}\n", "/a\"x-evil: <1>\u{fffd}\n"),
        ("text/html", "<p>{{entry.path}}</p>", "<p>/a&quot;x-evil: &lt;1&gt;\u{fffd}</p>"),
        ("text/plain", "{{entry.nobody}}{{attribute.nothing}}.", "."),
        ("application/json", r#"["{{entry.nobody}}{{attribute.nothing}}"]"#, r#"[""]"#),
        ("text/plain", r#"{{"{{limit}}"}} is {{limit}}"#, "{{limit}} is 60"),
    ] {
        assert_eq!(body(text, content_type, &refused()), expected, "{content_type}: {text}");
    }
}

#[test]
fn an_absent_number_is_null_in_json_and_nothing_elsewhere() {
    let never = context(Some(reported("", &ADMITTED)));
    let json = r#"{"retry":{{retry_after_s}},"name":"{{name}}","limit":{{limit}}}"#;
    assert_eq!(body(json, "application/json", &never), r#"{"retry":null,"name":"","limit":1000}"#);
    assert_eq!(body("retry: {{retry_after_s}}, {{name}}", "text/plain", &never), "retry: , ");
    assert_eq!(body("[{{limit}},{{used}}]", "application/json", &NOTHING), "[null,null]");
}

#[test]
fn a_json_body_that_some_value_would_break_is_refused_when_it_is_loaded() {
    for text in [
        "",
        r#"{"a":}"#,
        r#"{"a":{{subject}}}"#,
        r#"{"a":{{entry.k}}}"#,
        r#"{"a":{{attribute.k}}}"#,
        r#"{"a":{{name}}}"#,
        r#"{"a":{{name_quoted}}}"#,
        r#"{"a":{{reset_rfc3339}}}"#,
        r#"{"a":{{reset_duration}}}"#,
        r#"{"a":{{limit}}{{used}}}"#,
        r#"{"a":1{{limit}}}"#,
        r#"{"a":"\{{limit}}"}"#,
        r#"{"a":"\uD{{limit}}00"}"#,
        r#"{"a":"\uD800{{subject}}"}"#,
        r#"{"a":1e{{limit}}}"#,
        "{{limit}} {{limit}}",
    ] {
        assert!(matches!(template(text, "application/json"), Err(ShapeError::NotJson { .. })), "{text}");
    }
    for text in [
        r#"{"a":"{{reset_rfc3339}} {{reset_duration}} {{limit}}{{used}} \\{{subject}}","{{entry.k}}":1}"#,
        "{{limit}}",
        r#"{"a":{{reset_s_decimal}},"b":[{{limit}},{{retry_after_s}}]}"#,
    ] {
        template(text, "application/json").unwrap();
    }
}

#[test]
fn a_request_header_is_visible_ascii_or_is_not_sent() {
    for (text, expected) in [
        ("{{subject}}", Some("acme")),
        ("{{subject}} on {{attribute.plan}}", Some("acme on growth")),
        ("{{entry.path}}", Some("/a\"%0D%0Ax-evil: <1>%FF")),
        (" 100% of {{entry.remote_address}} ", Some("100% of 192.0.2.1")),
        ("{{entry.remote_address}};r={{remaining}}", Some("192.0.2.1;r=0")),
        ("fixed", Some("fixed")),
        ("{{entry.nobody}}", None),
        ("{{subject}}{{attribute.nothing}}", None),
    ] {
        assert_eq!(Template::header(text).unwrap().render_header(&refused()).as_deref(), expected, "{text}");
    }
    let long = "x".repeat(60_000);
    let entries = [Entry { key: b"k", value: long.as_bytes() }, Entry { key: b"bad", value: b"\r\n\0\xff" }];
    let context = Context { entries: &entries, ..NOTHING };
    let render = |text| Template::header(text).unwrap().render_header(&context);
    assert_eq!(render("{{entry.k}}"), None, "cut off, it might be another's");
    assert_eq!(render("{{entry.bad}}{{entry.k}}"), None);
    assert_eq!(render("{{entry.bad}}").as_deref(), Some("%0D%0A%00%FF"));
    let whole = "x".repeat(4_096);
    let context = Context { subject: Some(&whole), ..NOTHING };
    assert_eq!(Template::header("{{subject}}").unwrap().render_header(&context).as_ref(), Some(&whole));
    assert_eq!(Template::header(" "), Err(ShapeError::EmptyValue));
    assert_eq!(Template::header("a\nb"), Err(ShapeError::NotVisible { character: '\n', offset: 1 }));
}

/// Bytes with more than their share of what does harm.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), 0_u8..0x20, prop::sample::select(&b"\"\\<>&{}\xc2\xe2\x80"[..])];
    prop::collection::vec(byte, 0..60)
}

proptest! {
    #[test]
    fn a_json_body_is_json_whatever_the_values(
        value in hostile(), subject in prop::option::of(any::<String>()), name in any::<String>(),
        nanos in any::<u64>(), number in any::<u64>(), admitted in any::<bool>(),
        parts in prop::collection::vec(prop::sample::select(&[
            "{", "}", "[", "]", "\"", ",", ":", "0", "1", "-", ".", "e", "\\", "\\u", "\\uD", "00", "8", "{{limit}}",
            "{{retry_after_s}}", "{{reset_s_decimal}}", "{{full_http_date}}", "{{name}}", "{{name_quoted}}",
            "\"{{entry.k}}\"", "{{subject}}", "{{attribute.plan}}",
        ][..]), 1..7),
    ) {
        let wait = Duration::from_nanos(nanos);
        let outcome = Outcome {
            admitted, limit: number, reset_after: wait, full_after: wait, retry_after: Some(wait), ..REFUSED
        };
        let entries = [Entry { key: b"k", value: &value }];
        let context = Context {
            reported: Some(Reported::alone(&name, &outcome, Timestamp::from_nanos(nanos))),
            entries: &entries,
            subject: subject.as_deref(),
            attribute: &|_| Some(name.clone()),
        };
        let fixed = r#"{"k":"{{entry.k}}","s":"{{subject}} {{name}}","n":[{{limit}},{{retry_after_s}}]}"#;
        let drawn = parts.concat();
        let wrapped = format!("[{drawn}]");
        let quoted = format!("\"{drawn}\"");
        for text in [fixed, &drawn, &wrapped, &quoted] {
            let Ok(template) = template(text, "application/json") else { continue };
            let body = template.render_body(&context);
            let parsed = serde_json::from_str::<Value>(&body);
            prop_assert!(parsed.is_ok(), "{} became {}", text, body);
            if text == fixed {
                let expected = json!({
                    "k": String::from_utf8_lossy(&value),
                    "s": format!("{} {name}", subject.as_deref().unwrap_or_default()),
                    "n": [number, if admitted { Value::Null } else { json!(wait.as_nanos().div_ceil(1_000_000_000).max(1)) }],
                });
                prop_assert_eq!(parsed.unwrap().to_string(), expected.to_string());
            }
        }
    }

    #[test]
    fn no_value_reaches_a_request_header_or_a_page_unescaped(value in hostile(), name in any::<String>()) {
        let entries = [Entry { key: b"k", value: &value }];
        let context = Context {
            reported: Some(Reported::alone(&name, &REFUSED, NOW)),
            entries: &entries,
            subject: Some(&name),
            attribute: &|_| Some(name.clone()),
        };
        let text = "{{entry.k}} {{subject}} {{name}} {{name_quoted}} {{attribute.a}}";
        if let Some(header) = Template::header(text).unwrap().render_header(&context) {
            prop_assert!(header.bytes().all(escape::is_visible));
        }
        for (content_type, harmful) in [("text/html", &['<', '>', '"', '\''][..]), ("text/plain", &[])] {
            let body = body(text, content_type, &context);
            prop_assert!(!body.chars().any(char::is_control) && !body.contains(harmful), "{body:?}");
        }
    }
}

#[test]
fn a_value_shown_again_and_again_makes_no_more_than_16_kib() {
    let long = "\u{1}".repeat(50_000);
    let entries = [Entry { key: b"path", value: long.as_bytes() }];
    let context = Context { entries: &entries, subject: Some("acme"), ..NOTHING };
    let text = format!(r#"{{"paths":"{}","who":"{{{{subject}}}}"}}"#, "{{entry.path}}".repeat(1_000));
    let reported: Value = serde_json::from_str(&body(&text, "application/json", &context)).unwrap();
    assert_eq!(reported["paths"].as_str().unwrap().len(), 4 * 4096);
    assert_eq!(reported["who"], "acme", "what the operator knows is not cut by what the client sent");

    let header = Template::header(&("{{entry.path}}".repeat(1_000) + "{{subject}}")).unwrap();
    assert_eq!(header.render_header(&context), None);
}

#[test]
fn of_many_entries_the_first_of_a_key_is_shown_as_of_few() {
    let keys: Vec<String> = (0..50).map(|n| format!("k{}", n % 40)).collect();
    let values: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let entries: Vec<Entry<'_>> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
        .collect();
    let context = Context { entries: &entries, ..NOTHING };
    assert_eq!(body("{{entry.k3}} {{entry.k39}} {{entry.k40}}", "text/plain", &context), "3 39 ");
}
