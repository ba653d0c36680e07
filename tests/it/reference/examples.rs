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
  {key: y, rate_limit: {name: OTHER, unit: day, requests_per_unit: 1}},
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
        &[(&["key"], "key: k")],
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
    ("`headers`", "{domain: d, headers: {EXAMPLE}, descriptors: [{key: a, value: v}]}", &[]),
    ("`deny`", "{domain: d, deny: {EXAMPLE}, descriptors: [{key: a, value: v}]}", &[(&["body"], "body: x")]),
    (
        "`undeclared`",
        "{domain: d, endpoints: [GET /leads/:id], undeclared: {EXAMPLE}, descriptors: [{key: a, value: v}]}",
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
    // What `replaces` names must be there, and no two rules have one name.
    let other = if text.contains("replaces") { "login" } else { "other" };
    AROUND_A_LIMIT.replace("LIMIT", &text).replace("OTHER", other)
}

/// What makes an example no key alone without a limit, which is warned about.
fn beside(place: &str, example: &str) -> &'static str {
    let has = |word: &&str| example.contains(&format!("{word}:"));
    if place != "a descriptor"
        || ["value", "subject", "rate_limit", "rate_limits", "descriptors"].iter().any(has)
    {
        ""
    } else if ["empty", "strip_scheme"].iter().any(has) {
        ", rate_limit: {unit: minute, requests_per_unit: 5}"
    } else {
        ", value: v"
    }
}

#[test]
fn every_example_of_a_word_loads_without_a_warning() {
    for section in config::language() {
        for word in &section.words {
            let policy =
                policy(&section.place, &format!("{}{}", word.example, beside(&section.place, word.example)));
            let files = directory(&[
                ("d.yaml", &policy),
                ("d.subjects.yaml", SUBJECTS),
                ("shop.subjects.yaml", SUBJECTS),
            ]);
            let reported = match config::load(&[files.path()], Options::default()) {
                Ok(loaded) => config::render(&loaded.warnings, false),
                Err(diagnostics) => config::render(&diagnostics, false),
            };
            assert_eq!(reported, "", "`{}` in {}: {policy}", word.name, section.place);
            assert!(word.example.contains(&format!("{}:", word.name)), "{}", word.example);
        }
    }
}
