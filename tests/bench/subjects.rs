//! What loading a million credentials costs: time, and memory that stays.
//!
//! With a layout and a number as arguments it loads so many credentials in that layout, once; without, a million in
//! every layout, each in a process of its own so that the memory is its own.

#![expect(clippy::print_stdout, reason = "the result is read by a person")]
#![expect(clippy::disallowed_methods, reason = "measures the wall clock")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use spillway::model::Timestamp;
use spillway::subjects::Directory;

/// Its name, and how it writes so many credentials.
type Layout = (&'static str, fn(usize) -> String);

const LAYOUTS: &[Layout] = &[
    ("flow-by-1000", |count| subjects(count, 1000, "", flow_value)),
    ("flow-by-1", |count| {
        subjects(count, 1, "    attributes: {plan: growth, per_minute: 120}\n", flow_value)
    }),
    ("flow-by-all", |count| subjects(count, count, "", flow_value)),
    ("sha256-by-1000", |count| subjects(count, 1000, "", flow_sha256)),
    ("sha256-by-1", |count| {
        subjects(count, 1, "    attributes: {plan: growth, per_minute: 120}\n", flow_sha256)
    }),
    ("block-by-1", |count| subjects(count, 1, "    attributes:\n      plan: growth\n", block_value)),
    ("full-by-1", |count| subjects(count, 1, FULL, flow_rpm) + TIERS),
    ("json-by-1000", |count| json(count, 1000)),
    ("json-by-1", |count| json(count, 1)),
    ("lines-by-1000", |count| lines(count, 1000, "")),
    ("lines-by-1", |count| lines(count, 1, "")),
    ("lines-full-by-1", |count| lines(count, 1, FULL_JSON)),
];

const FULL: &str = "    attributes: {plan: growth, per_minute: 120, internal: true}
    billing_anchor: 2025-01-31T09:30:00Z
    time_zone: America/New_York
    facts: {spend: 60, first_payment: 2025-01-01T00:00:00Z}
";
const FULL_JSON: &str = ",\"attributes\":{\"plan\":\"growth\",\"per_minute\":120,\"internal\":true},\
    \"billing_anchor\":\"2025-01-31T09:30:00Z\",\"time_zone\":\"America/New_York\",\
    \"facts\":{\"spend\":60,\"first_payment\":\"2025-01-01T00:00:00Z\"}";
const TIERS: &str = "tiers:
  attribute: tier
  rules: [{tier: 1, spend: 5}, {tier: 2, spend: 50, days_since_first_payment: 7}]
";

fn flow_value(text: &mut String, n: usize) {
    let _ = writeln!(text, "      - {{kind: api_key, value: key_live_{n:07}}}");
}

fn flow_rpm(text: &mut String, n: usize) {
    let _ = writeln!(
        text,
        "      - {{kind: api_key, value: key_live_{n:07}, attributes: {{rpm: {}}}}}",
        n % 1000
    );
}

fn flow_sha256(text: &mut String, n: usize) {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15";
    let _ = writeln!(text, "      - {{kind: api_key, sha256: \"{hash}{n:08x}\"}}");
}

fn block_value(text: &mut String, n: usize) {
    let _ = writeln!(text, "      - kind: api_key\n        value: key_live_{n:07}");
}

fn subjects(count: usize, each: usize, more: &str, credential: fn(&mut String, usize)) -> String {
    let mut text = "subjects:\n".to_owned();
    for n in 0..count {
        if n % each == 0 {
            let _ = write!(text, "  - id: tenant_{}\n{more}    credentials:\n", n / each);
        }
        credential(&mut text, n);
    }
    text
}

fn json(count: usize, each: usize) -> String {
    let mut text = "{\"subjects\":[".to_owned();
    for n in 0..count {
        if n % each == 0 {
            let end = if n > 0 { "]}," } else { "" };
            let _ = write!(text, "{end}\n{{\"id\":\"tenant_{}\",\"credentials\":[", n / each);
        } else {
            text.push(',');
        }
        let _ = write!(text, "{{\"kind\":\"api_key\",\"value\":\"key_live_{n:07}\"}}");
    }
    text + "]}]}\n"
}

fn lines(count: usize, each: usize, more: &str) -> String {
    let mut text = String::new();
    for n in 0..count {
        if n % each == 0 {
            let end = if n > 0 { "]}\n" } else { "" };
            let _ = write!(text, "{end}{{\"id\":\"tenant_{}\"{more},\"credentials\":[", n / each);
        } else {
            text.push(',');
        }
        let _ = write!(text, "{{\"kind\":\"api_key\",\"value\":\"key_live_{n:07}\"}}");
    }
    text + "]}\n"
}

/// Resident memory in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn main() {
    // `cargo bench` adds a flag.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let Some(name) = arguments.first() else {
        let program = std::env::current_exe().expect("it is running");
        for (name, _) in LAYOUTS {
            assert!(Command::new(&program).arg(name).status().expect("it starts").success(), "{name}");
        }
        return;
    };
    let count = arguments.get(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let (_, layout) = LAYOUTS.iter().find(|(known, _)| known == name).expect("a layout of the list");
    load(name, *layout, count);
}

fn load(name: &str, layout: fn(usize) -> String, count: usize) {
    // Whatever is made once in a process, such as the list of time zones, is made first.
    black_box(Directory::parse("subjects: [{id: a, time_zone: Europe/Berlin}]").expect("it is sound"));
    let before = resident();
    let text = layout(count);
    let size = text.len();
    let start = Instant::now();
    let parse = if name.starts_with("lines") { Directory::parse_lines } else { Directory::parse };
    let directory = parse(&text).expect("the text is sound");
    let took = start.elapsed();
    drop(text);
    let grown = resident().saturating_sub(before);

    let keys: Vec<String> =
        (0..count).map(|n| format!("key_live_{:07}", n.wrapping_mul(7_919_987) % count)).collect();
    let start = Instant::now();
    let found = keys.iter().filter(|key| directory.resolve("api_key", key.as_bytes()).is_some()).count();
    let lookup = start.elapsed() / u32::try_from(count.max(1)).unwrap_or(u32::MAX);

    let mut later = parse(&layout(count)).expect("the text is sound");
    let start = Instant::now();
    later.keep_tiers(&directory, Timestamp::from_secs(1_800_000_000));
    println!(
        "{name:>15}: {:>4} MB in {:.2} s, {} bytes each; {found} found, {lookup:?} each; tiers kept in {:.2} s",
        size / 1_000_000,
        took.as_secs_f64(),
        grown / count.max(1),
        start.elapsed().as_secs_f64(),
    );
}
