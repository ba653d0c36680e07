//! The policy loader: any text is a policy or is refused with a place for every mistake; and whatever it accepts can
//! decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use spillway::clock::ManualClock;
use spillway::config::{self, Diagnostic, Options, Severity};
use spillway::engine;
use spillway::limiter::{Limiter, Worker};
use spillway::model::{Descriptor, Entry, Hits, LimitOverride, Request, Timestamp, Unit};
use spillway::policy::{Domain, Level, Policy};
use spillway::policy_test::Script;
use spillway::store::MemoryStore;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(script) = Script::parse(&text) {
        assert_eq!(script.lines.len(), script.steps.len());
        assert!(script.lines.iter().all(|line| (1..=text.split(LINE_ENDS).count()).contains(line)));
    }
    if let Ok(length) = config::duration(&text) {
        assert!(!length.is_zero());
    }
    let options = Options { merge_domains: data.len().is_multiple_of(2), ..Options::default() };
    let name = file();
    match config::load_text(name, &text, options.clone()) {
        Ok(loaded) => {
            assert!(!text.contains('\0'), "YAML ends at a zero byte, and what follows would be lost");
            assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
            told(name, &text, &loaded.warnings);
            let again = config::load_text(name, &text, options).expect("it was loaded before");
            assert_eq!(loaded.policy.rules(), again.policy.rules());
            assert_eq!(loaded.warnings, again.warnings);
            decide(again.policy, &loaded.policy);
        }
        Err(mistakes) => {
            assert!(mistakes.iter().any(|mistake| mistake.severity == Severity::Error));
            told(name, &text, &mistakes);
        }
    }
}

/// All that ends a line to YAML 1.1.
const LINE_ENDS: [char; 5] = ['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}'];

/// What the policy is called: a file beside `subjects.yaml`, so that `subjects: subjects.yaml` finds that.
fn file() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        // The package is this one when it is fuzzed, and the program's when it is tested.
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let here: PathBuf =
            if package.ends_with("tests/fuzz") { package.into() } else { package.join("tests/fuzz") };
        here.join("policy.yaml").display().to_string()
    })
}

/// Every mistake has a place in the text, and can be shown.
fn told(name: &str, text: &str, diagnostics: &[Diagnostic]) {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(LINE_ENDS).collect();
    for diagnostic in diagnostics {
        assert!(!diagnostic.message.is_empty());
        let Some(excerpt) = &diagnostic.excerpt else {
            assert!(diagnostics.len() > 1000, "a mistake in a text has a place: {diagnostic:?}");
            continue;
        };
        let place = &excerpt.place;
        assert!(place.line > 0 && place.column > 0 && excerpt.length > 0, "{diagnostic:?}");
        if *place.file == *name {
            // What is missing may be missed after the last line.
            assert!(place.line <= lines.len() + 1, "{diagnostic:?}");
            let line = lines.get(place.line - 1).copied().unwrap_or_default();
            assert_eq!(excerpt.line.as_deref(), (line.len() <= 4096).then_some(line), "{diagnostic:?}");
            // The parser counts bytes, not characters, in a directive (`%YAML`).
            let exact = !diagnostic.message.starts_with("not YAML");
            assert!(!exact || place.column <= line.chars().count() + 1, "{diagnostic:?}");
        }
    }
    // Showing ten thousand of the same kind shows nothing new.
    let some = &diagnostics[..diagnostics.len().min(20)];
    for colour in [false, true] {
        assert_eq!(config::render(some, colour).is_empty(), some.is_empty());
    }
}

/// Requests for what the policy names, at several times, with every kind of hits.
fn decide(policy: Policy, same: &Policy) {
    let mut requests = Vec::new();
    for domain in same.domains() {
        let mut ways = Vec::new();
        collect(&domain.root, &mut Vec::new(), &mut ways);
        requests.extend(ways.into_iter().map(|way| (domain, way)));
    }
    requests.truncate(40);
    let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), ManualClock::at(Timestamp::EPOCH)));
    let worker = limiter.worker();
    for at in [0, 1_800_000_000, 1_800_000_059, 1_900_000_000, u64::MAX] {
        limiter.clock.set(Timestamp::from_secs(at));
        for (domain, way) in &requests {
            for hits in [Hits::ONE, Hits::Look, Hits::charge(u64::MAX), Hits::refund(3), Hits::charge(1000)] {
                ask(&worker, domain, way, hits, None);
            }
        }
    }
    if let Some((domain, way)) = requests.first() {
        for unit_multiplier in [1, u32::MAX] {
            let limit = LimitOverride { requests_per_unit: u32::MAX, unit: Unit::Year, unit_multiplier };
            ask(&worker, domain, way, Hits::ONE, Some(limit));
        }
    }
}

fn ask(
    worker: &Worker<MemoryStore, ManualClock>,
    domain: &Domain,
    way: &[(String, String)],
    hits: Hits,
    limit: Option<LimitOverride>,
) {
    let entries =
        way.iter().map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() }).collect();
    let descriptor = Descriptor { entries, hits, limit };
    let request = Request {
        domain: domain.name.as_bytes(),
        descriptors: [descriptor.clone(), descriptor].into_iter().collect(),
    };
    let policy = worker.limiter().engine.policy();
    let verdict = worker.decide_now(worker.scratch(), &policy, &request).expect("the store is memory");
    assert_eq!(verdict.decisions.len(), 2);
    let answer = engine::answer(&request, &verdict);
    for (name, value) in answer.response_headers.iter().chain(answer.request_headers.iter()) {
        assert!(!name.is_empty() && !value.is_empty(), "{name}: {value}");
        assert!(value.len() <= 4096 || name == "Content-Type", "{name} has {} bytes", value.len());
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?}");
        if name == "Content-Type" && value == "application/json" {
            serde_json::from_str::<serde_json::Value>(&answer.body).expect("JSON is JSON");
        }
    }
}

/// The way to every node, as entries that may take it.
fn collect(level: &Level, way: &mut Vec<(String, String)>, ways: &mut Vec<Vec<(String, String)>>) {
    for node in level.nodes() {
        if ways.len() > 100 {
            return;
        }
        let (key, value) = node.label.split_once('=').unwrap_or((&node.label, ""));
        let value = match &node.subject {
            Some(subject) if subject.strip_scheme => "Bearer key_acme_1",
            Some(_) => "key_acme_1",
            None if key == "endpoint" && value.is_empty() => "GET /leads/7?x",
            None => value,
        };
        way.push((key.to_owned(), value.to_owned()));
        ways.push(way.clone());
        collect(&node.children, way, ways);
        way.pop();
    }
}
