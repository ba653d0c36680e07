//! Requests that make the most of a policy: what a client chooses times what an operator wrote.
//!
//! Each row is one message of 60 KB, matched, charged, judged and answered. What is left is linear in the message: it should
//! take a millisecond at most.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::answer;
use spillway::limiter::Limiter;
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::MemoryStore;

const BYTES: usize = 60_000;
const DESCRIPTORS: usize = 1_024;

/// Descriptors as keys and values.
type Message = Vec<Vec<(String, String)>>;

fn measure(criterion: &mut Criterion, row: &str, yaml: &str, subjects: Option<&str>, message: &Message) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("d.yaml"), yaml).expect("written");
    if let Some(subjects) = subjects {
        std::fs::write(directory.path().join("d.subjects.yaml"), subjects).expect("written");
    }
    let loaded = config::load(&[directory.path()], Options::default());
    let loaded = loaded.unwrap_or_else(|wrong| panic!("{row}: {}", config::render(&wrong, false)));
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let limiter = Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), clock));
    let worker = limiter.worker();
    let descriptors = message.iter().map(|entries| Descriptor {
        entries: entries
            .iter()
            .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
            .collect(),
        hits: Hits::ONE,
        limit: None,
    });
    let request = Request { domain: b"d", descriptors: descriptors.collect() };
    let policy = limiter.engine.policy();
    criterion.bench_function(row, |bencher| {
        bencher.iter(|| {
            let decided = worker.decide_now(worker.scratch(), &policy, black_box(&request));
            let verdict = decided.expect("counters in memory answer at once");
            let answer = answer(&request, &verdict);
            verdict.reclaim(black_box(answer).into_texts());
            worker.reuse(verdict.into_scratch());
        });
    });
}

fn one(key: &str, value: String) -> Vec<(String, String)> {
    vec![(key.to_owned(), value)]
}

/// `number` bytes of `unit` again and again.
fn repeated(unit: &str, number: usize) -> String {
    unit.chars().cycle().take(number).collect()
}

fn long(length: usize) -> String {
    "a".repeat(length)
}

/// A thousand of each form; and of what value the client makes a message.
fn forms() -> Vec<(&'static str, Vec<String>, &'static str, &'static str)> {
    let numbered = |form: &str| (0..1_000).map(|n| form.replace('N', &format!("{n:03}"))).collect::<Vec<_>>();
    let mixed = ["/aN*", "*aN", "a*bN", "*aN*", "a*bN*c", "/a/*/a/*/rN", "*a*aa*aN*", "a**N*a"];
    vec![
        ("aN*", numbered("/aN*"), "/a99", "x"),
        ("*aN", numbered("*aN"), "x", "a99"),
        ("a*bN", numbered("/a*bN"), "/a", "b99"),
        ("*aN*", numbered("*aN*"), "", "a99 "),
        ("/api/v1/*/rN/*", numbered("/api/v1/*/rN/*"), "/api/v1/", "r99/"),
        ("/a/*/rN/*", numbered("/a/*/rN/*"), "/a/", "/r999/"),
        ("/a/*/a/*/rN", numbered("/a/*/a/*/rN"), "/", "a/r000/"),
        (
            "/a/*/rN/*/x|z",
            (0..1_000).map(|n| format!("/a/*/r{n:03}/*{}/", ["x", "z"][n % 2])).collect(),
            "/a/",
            "r000/r001/r002/",
        ),
        ("*a..a*", (1..=1_000).map(|n| format!("*{}*{}", long(n), ["b", "x*a"][n % 2])).collect(), "", "a"),
        (
            "a*aa*aaa*..",
            (1..45).map(|most| (1..most).map(long).collect::<Vec<_>>().join("*") + "*x*a").collect(),
            "",
            "a",
        ),
        ("a..a*a..ab", (0..1_000).map(|n| format!("{}*b{}", long(n / 31), long(n % 31))).collect(), "", "a"),
        (
            "a..a*b..b*z",
            (0..900).map(|n| format!("{}*{}*z", long(1 + n / 30), "b".repeat(1 + n % 30))).collect(),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "b",
        ),
        (
            // Pieces that occur before others that do not, and several ends, of which one is there.
            "a..a*b..b*x*a|b",
            (0..900)
                .map(|n| {
                    let end = ["a", "b", "*x*b"][n % 3];
                    format!("{}*{}*{end}", long(1 + n / 30), "b".repeat(1 + n % 30))
                })
                .filter(|pattern| !pattern.ends_with("*b") || pattern.ends_with("*x*b"))
                .collect(),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "b",
        ),
        (
            // All pieces occur, but never in this order: each wildcard is looked at for each value. Cut into short values
            // that is beyond the bound on the work of a request, which is refused.
            "a..a*b..b*a*b",
            (0..900).map(|n| format!("{}*{}*a*b", long(1 + n / 30), "b".repeat(1 + n % 30))).collect(),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "b",
        ),
        (
            "all",
            mixed.iter().flat_map(|form| numbered(form).into_iter().step_by(8)).collect(),
            "/a/",
            "a999b99r99a/",
        ),
    ]
}

fn wildcards(criterion: &mut Criterion) {
    for (form, patterns, head, unit) in forms() {
        let mut yaml = "domain: d\ndescriptors:\n".to_owned();
        for pattern in patterns.iter().collect::<std::collections::BTreeSet<_>>() {
            let _ = writeln!(yaml, "- {{key: k, value: '{pattern}', rate_limit: {{unlimited: true}}}}");
        }
        let value = |length| head.to_owned() + &repeated(unit, length - head.len());
        measure(criterion, &format!("{form}, one value"), &yaml, None, &vec![one("k", value(BYTES))]);
        let cut = (0..DESCRIPTORS).map(|_| one("k", value(58))).collect();
        measure(criterion, &format!("{form}, 1024 values"), &yaml, None, &cut);
        let entries = vec![(0..DESCRIPTORS).map(|_| ("k".to_owned(), value(58))).collect()];
        measure(criterion, &format!("{form}, 1024 entries"), &yaml, None, &entries);
    }
}

/// `rules` rules, each with `extra`, in which N is its number.
fn rules(rules: usize, extra: &str) -> String {
    let mut yaml = "domain: d\ndescriptors:\n".to_owned();
    for n in 0..rules {
        let extra = extra.replace('N', &n.to_string());
        let _ = writeln!(
            yaml,
            "- {{key: k{n}, rate_limit: {{name: r{n}, requests_per_unit: 9, unit: year{extra}}}}}"
        );
    }
    yaml
}

fn others(criterion: &mut Criterion) {
    let each_rule: Message = (0..DESCRIPTORS).map(|n| one(&format!("k{n}"), long(50))).collect();
    let replaces = (0..10).map(|n| format!("{{name: r{n}}}")).collect::<Vec<_>>().join(", ");
    let replacing: String = rules(DESCRIPTORS, "")
        .lines()
        .enumerate()
        // The first ten, behind two lines of another kind, replace nobody.
        .map(|(at, line)| match at {
            12.. => line.replace("unit: year", &format!("unit: year, replaces: [{replaces}]")) + "\n",
            _ => line.to_owned() + "\n",
        })
        .collect();
    measure(criterion, "1024 rules that replace ten", &replacing, None, &each_rule);

    let plain = rules(DESCRIPTORS, "");
    measure(criterion, "1024 rules", &plain, None, &each_rule);

    let headers = ", headers: {emit: always, X-A-N: limit, X-B-N: remaining, X-C-N: reset_s}";
    measure(
        criterion,
        "1024 rules with headers of their own",
        &rules(DESCRIPTORS, headers),
        None,
        &each_rule,
    );

    let path = |length| vec![one("path", long(length))];
    let refusing = |body: &str| {
        format!(
            "domain: d\ndeny: {{content_type: application/json, body: '{body}'}}\ndescriptors:\n- {{key: path, rate_limit: \
             {{requests_per_unit: 0, unit: year}}}}\n"
        )
    };
    let body = "{\"p\":\"".to_owned() + &"{{entry.path}}".repeat(1_000) + "\"}";
    measure(criterion, "a body that shows the path 1000 times", &refusing(&body), None, &path(BYTES));
    let body = "{\"p\":\"".to_owned() + &"{{entry.last}}".repeat(1_000) + "\"}";
    let mut deep = "domain: d\n".to_owned();
    let _ = writeln!(deep, "deny: {{content_type: application/json, body: '{body}'}}\ndescriptors:");
    for level in 0..25 {
        let _ = writeln!(deep, "{0}- key: k\n{0}  descriptors:", "  ".repeat(2 * level));
    }
    let _ = writeln!(
        deep,
        "{}- {{key: last, rate_limit: {{requests_per_unit: 0, unit: year}}}}",
        "  ".repeat(50)
    );
    let mut entries: Vec<_> = (0..25).map(|_| ("k".to_owned(), long(1_000))).collect();
    entries.extend(one("last", long(10_000)));
    measure(criterion, "a body that shows the last entry 1000 times", &deep, None, &vec![entries]);

    let mut yaml = "domain: d\nsubjects: d.subjects.yaml\nrequest_headers:\n".to_owned();
    for n in 0..100 {
        let _ = writeln!(yaml, "  X-{n}: '{}'", "{{entry.path}}".repeat(20));
    }
    yaml += "descriptors:\n- key: api_key\n  subject: api_key\n  descriptors:\n  - {key: path, rate_limit: \
             {requests_per_unit: 1000000000, unit: year}}\n";
    let subjects = "subjects:\n  - {id: s, credentials: [{kind: api_key, value: key}]}\n";
    let mut entries = one("api_key", "key".to_owned());
    entries.push(("path".to_owned(), long(BYTES)));
    measure(criterion, "100 headers that show the path 20 times", &yaml, Some(subjects), &vec![entries]);

    let mut yaml = "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n".to_owned();
    for n in 0..20 {
        let _ = writeln!(yaml, "- {{key: k, subject: kind{n}, rate_limit: {{unlimited: true}}}}");
    }
    let subjects = "subjects:\n  - {id: s, credentials: [{kind: kind1, value: key}]}\n";
    measure(
        criterion,
        "a value that 20 kinds of credentials could be",
        &yaml,
        Some(subjects),
        &vec![one("k", long(BYTES))],
    );

    let mut yaml =
        "domain: d\ndescriptors:\n- key: a\n  descriptors:\n  - key: b\n    rate_limits:\n".to_owned();
    for n in 0..100 {
        let by = if n % 2 == 0 { "a" } else { "b" };
        let _ =
            writeln!(yaml, "    - {{name: l{n}, requests_per_unit: 9, per: {}h, count_by: [{by}]}}", n + 1);
    }
    let entries = vec![("a".to_owned(), long(BYTES / 2)), ("b".to_owned(), long(BYTES / 2))];
    measure(criterion, "100 limits that count by two long values in turn", &yaml, None, &vec![entries]);

    let mut yaml = "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n- key: k\n  subject: api_key\n  rate_limit: {per: 1h, requests_per_unit: {by: plan, values: {".to_owned();
    for n in 0..1_000 {
        let _ = write!(yaml, "plan{n}: {n}, ");
    }
    yaml += "last: 9}}}\n";
    let subjects =
        "subjects:\n  - {id: s, attributes: {plan: last}, credentials: [{kind: api_key, value: key}]}\n";
    let cut = (0..DESCRIPTORS).map(|_| one("k", "key".to_owned())).collect();
    measure(criterion, "1024 customers of the last of 1000 plans", &yaml, Some(subjects), &cut);
}

pub(crate) fn costly(criterion: &mut Criterion) {
    wildcards(criterion);
    others(criterion);
}
