//! Bodies and headers with placeholders, filled in with whatever a client may have sent.
//!
//! The first line is a content type (empty: none), the second the value of a header, the third what a client sent, in
//! any bytes; the rest is a body.

use std::collections::HashSet;
use std::time::Duration;

use spillway::model::{Entry, Outcome, Timestamp};
use spillway::response::{
    Context, Denial, Emit, HeaderLine, HeaderName, HeaderSet, Headers, Reported, ShapeError, Template,
};

/// The most bytes of one text that is filled in, and of a header's value.
const LONGEST: usize = 4096;

const CALM: Outcome = Outcome {
    admitted: true,
    limit: 60,
    quota: 60,
    used: 1,
    attempted: 1,
    remaining: 59,
    window: Duration::from_secs(60),
    reset_after: Duration::from_secs(42),
    full_after: Duration::from_secs(42),
    retry_after: None,
};

const REFUSED: Outcome =
    Outcome { admitted: false, used: 61, remaining: 0, retry_after: Some(Duration::ZERO), ..CALM };

const EXTREME: Outcome = Outcome {
    admitted: false,
    limit: u64::MAX,
    quota: u64::MAX,
    used: u64::MAX,
    attempted: u64::MAX,
    remaining: u64::MAX,
    window: Duration::MAX,
    reset_after: Duration::MAX,
    full_after: Duration::from_nanos(u64::MAX),
    retry_after: Some(Duration::MAX),
};

const NOTHING: Outcome =
    Outcome { window: Duration::ZERO, reset_after: Duration::ZERO, full_after: Duration::ZERO, ..REFUSED };

pub(crate) fn run(data: &[u8]) {
    let mut parts = data.splitn(4, |&byte| byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (content_type, value, sent, body) = (next(), next(), next(), next());
    let text = String::from_utf8_lossy;
    deny(Some(&*text(content_type)).filter(|text| !text.is_empty()), &text(body), sent);
    request_header(&text(value), sent);
    response_header(&text(value), sent);
    name(&text(content_type));
}

/// Every way to fill in a text: with nothing, with what was sent, and with the worst that could be.
fn each_context(sent: &[u8], mut show: impl FnMut(&Context<'_>)) {
    show(&Context { reported: None, entries: &[], subject: None, attribute: &|_| None });
    let long =
        [sent, "\"é\\<'\u{85}\r\n&".as_bytes(), &sent.repeat(LONGEST / sent.len().max(1)), b"\xf0\x9f"];
    for (outcome, sent) in [
        (&CALM, b"x".as_slice()),
        (&REFUSED, sent),
        (&EXTREME, long.concat().as_slice()),
        (&NOTHING, br#"","evil":{"a":["#),
        (&CALM, b"\\"),
        (&CALM, b"\xff\r\nx-evil: 1\0\x1b<script>&'\"\xc3"),
    ] {
        let text = String::from_utf8_lossy(sent);
        let keys = ["k", "api_key", "remote_address", "endpoint", "path", ""];
        let entries = keys.map(|key| Entry { key: key.as_bytes(), value: sent });
        let now = if outcome.admitted { Timestamp::EPOCH } else { Timestamp::from_nanos(u64::MAX) };
        show(&Context {
            reported: Some(Reported::alone(&text, outcome, now)),
            entries: &entries,
            subject: Some(&text),
            attribute: &|_| Some(text.clone().into_owned()),
        });
    }
}

fn deny(content_type: Option<&str>, body: &str, sent: &[u8]) {
    let denial = match Denial::parse(content_type, body) {
        Ok(denial) => denial,
        Err(error) => return refused(&error, body),
    };
    let kind = &denial.content_type;
    assert!(content_type.is_none_or(|written| written == kind), "{kind}");
    assert!(kind.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{kind:?}");
    let subtype = kind.split(';').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is = |name: &str| subtype.ends_with(&format!("/{name}")) || subtype.ends_with(&format!("+{name}"));

    let (json, markup) = (is("json"), is("html") || is("xml"));
    let mut before: Option<String> = None;
    each_context(sent, |context| {
        let text = denial.body.render_body(context);
        // A placeholder is five bytes at least, and a byte at most six when it is escaped.
        assert!(text.len() <= body.len() + (body.len() / 5) * 6 * LONGEST);
        if json {
            let read = serde_json::from_str::<serde_json::Value>(&text);
            assert!(read.is_ok(), "{read:?}: {text}");
        }
        let bones: String = if json {
            skeleton(&text)
        } else {
            let special = |c: &char| c.is_control() || (markup && matches!(c, '<' | '>' | '"' | '\''));
            text.chars().filter(special).collect()
        };
        match &before {
            Some(before) => assert_eq!(*before, bones, "what was sent changed the structure"),
            None => before = Some(bones),
        }
    });
}

/// The structure of a JSON text: all that is neither in a string nor a value.
fn skeleton(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let bones = json.chars().filter(|&c| {
        let was_quoted = quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        if was_quoted { !quoted } else { matches!(c, '{' | '}' | '[' | ']' | ':' | ',' | '"') }
    });
    bones.collect()
}

fn request_header(value: &str, sent: &[u8]) {
    match Template::header(value) {
        Ok(template) => each_context(sent, |context| {
            if let Some(value) = template.render_header(context) {
                fit_for_a_header(&value);
            }
        }),
        Err(error) => refused(&error, value),
    }
}

fn response_header(value: &str, sent: &[u8]) {
    let line = match HeaderLine::parse("RateLimit", value) {
        Ok(line) => line,
        Err(error) => return refused(&error, value),
    };
    let headers = HeaderSet::new(vec![line], Emit::Always).expect("one header is not there twice");
    each_context(sent, |context| {
        let reported: Vec<Reported<'_>> = context.reported.into_iter().collect();
        for reported in [reported.clone(), reported.repeat(3), reported.repeat(60)] {
            for limited in [true, false] {
                let mut out = Headers::default();
                headers.render(&reported, limited, &mut out);
                let once = out.to_vec();
                assert!(once.len() <= 1);
                for (_, value) in &once {
                    fit_for_a_header(value);
                }
                headers.render(&reported, limited, &mut out);
                assert_eq!(once, out.to_vec());
            }
        }
    });
}

fn fit_for_a_header(value: &str) {
    assert!(!value.is_empty() && value.len() <= LONGEST, "{} bytes", value.len());
    assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{value:?}");
    assert_eq!(value, value.trim());
}

fn name(text: &str) {
    match HeaderName::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(
                text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
            );
        }
        Err(error) => refused(&error, text),
    }
}

/// An error can be reported, and where it points at is in the text.
fn refused(error: &ShapeError, text: &str) {
    assert!(!error.to_string().is_empty());
    drop(error.hint());
    if let Some((_, names)) = error.candidates() {
        assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len());
    }
    if let Some(offset) = error.offset() {
        assert!(text.is_char_boundary(offset) && offset < text.len(), "{error}: {offset} in {text:?}");
    }
}
