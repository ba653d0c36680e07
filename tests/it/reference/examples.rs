//! What the table of words shows of each word is taken by the loader, in the place where it is shown.

use spillway::config::{self, Options};

use crate::support::directory;

/// With whatever the examples ask of them.
const SUBJECTS: &str = "
subjects:
  - id: one
    attributes: {plan: free, internal: true, rpm: 5, agreed_per_minute: 5, own_cap: 5}
    credentials: [{kind: api_key, value: key_one}]
  - {id: other, attributes: {plan: pro}}
";

/// A policy around a limit: others that it may name, and somebody whom it may ask for attributes.
const AROUND_A_LIMIT: &str =
    "{domain: d, subjects: d.subjects.yaml, endpoints: [GET /leads/:id], descriptors: [
  {key: x, rate_limit: {name: per-address, unit: day, requests_per_unit: 1}},
  {key: y, rate_limit: {name: login, unit: day, requests_per_unit: 1}},
  {key: a, subject: api_key, descriptors: [{key: endpoint, rate_limit: LIMIT}]}]}";

/// A line that must be there, unless one of these words is.
type Beside = (&'static [&'static str], &'static str);

/// Where a word stands, and what must be beside it.
const PLACES: [(&str, &str, &[Beside]); 8] = [
    (
        "the top of a policy",
        "{EXAMPLE}",
        &[
            (&["domain"], "domain: d"),
            // Credentials that no descriptor asks for are warned about.
            (&["subjects", "descriptors"], "subjects: d.subjects.yaml"),
            (&["descriptors"], "descriptors: [{key: a, subject: api_key}]"),
            (&["endpoints"], "endpoints: [GET /leads/:id]"),
        ],
    ),
    (
        "a descriptor",
        "{domain: d, subjects: d.subjects.yaml, descriptors: [{key: a, subject: api_key, descriptors: [{EXAMPLE}]}]}",
        &[
            (&["key"], "key: k"),
            // Or everybody would pass who sends the key.
            (&["rate_limit", "rate_limits", "descriptors", "value"], "rate_limit: {unlimited: true}"),
        ],
    ),
    (
        "`rate_limit`",
        "{EXAMPLE}",
        &[
            (&["unit", "per", "unlimited"], "per: 1m"),
            (&["requests_per_unit", "unlimited"], "requests_per_unit: 5"),
        ],
    ),
    ("`requests_per_unit`", "{per: 1m, requests_per_unit: {EXAMPLE}}", &[]),
    ("an item of `replaces`", "{unlimited: true, replaces: [{EXAMPLE}]}", &[]),
    ("`headers`", "{domain: d, headers: {EXAMPLE}, descriptors: [{key: a, value: b}]}", &[]),
    ("`deny`", "{domain: d, deny: {EXAMPLE}, descriptors: [{key: a, value: b}]}", &[(&["body"], "body: x")]),
    (
        "`undeclared`",
        "{domain: d, endpoints: [GET /leads/:id], undeclared: {EXAMPLE}, descriptors: [{key: a, value: b}]}",
        &[],
    ),
];

fn policy(place: &str, example: &str) -> String {
    let (_, around, beside) = PLACES.iter().find(|(name, ..)| *name == place).unwrap();
    let is_there =
        |word: &&str| example.starts_with(&format!("{word}:")) || example.contains(&format!(", {word}:"));
    let beside = beside.iter().filter(|(words, _)| !words.iter().any(is_there));
    let lines: Vec<&str> = beside.map(|(_, line)| *line).chain([example]).collect();
    let text = around.replace("EXAMPLE", &lines.join(", "));
    if text.contains("domain: ") {
        return text;
    }
    // Two rules of one name would be warned about.
    let names_itself = place == "`rate_limit`" && example.starts_with("name: login");
    let others =
        if names_itself { AROUND_A_LIMIT.replace("login", "other") } else { AROUND_A_LIMIT.to_owned() };
    others.replace("LIMIT", &text)
}

#[test]
fn every_example_of_a_word_loads_without_a_warning() {
    for section in config::language() {
        for word in &section.words {
            let policy = policy(&section.place, word.example);
            let files = directory(&[
                ("d.yaml", &policy),
                ("d.subjects.yaml", SUBJECTS),
                ("shop.subjects.yaml", SUBJECTS),
            ]);
            let told = match config::load(&[files.path()], Options::default()) {
                Ok(loaded) => config::render(&loaded.warnings, false),
                Err(diagnostics) => config::render(&diagnostics, false),
            };
            assert_eq!(told, "", "`{}` in {}: {policy}", word.name, section.place);
            assert!(word.example.contains(&format!("{}:", word.name)), "{}", word.example);
        }
    }
}
