use std::fs;
use std::path::Path;

use super::*;
use crate::config::files::policy_files;
use crate::config::{Options, load_text, scalar};
use crate::yaml::Tree;

/// The documents of a text, as the loader sees them.
fn documents(text: &str) -> Vec<Value> {
    Tree::parse(text).unwrap().documents().map(scalar::json).collect()
}

fn mistakes(text: &str) -> Vec<String> {
    let schema = jsonschema::draft7::new(&schema()).unwrap();
    let documents = documents(text);
    documents
        .iter()
        .flat_map(|document| schema.iter_errors(document).map(|error| error.to_string()))
        .collect()
}

#[test]
fn it_is_a_schema_of_the_draft_that_editors_know() {
    assert!(jsonschema::draft7::meta::is_valid(&schema()));
}

#[test]
fn every_policy_here_is_valid() {
    let directories = ["config", "tests/policies"].map(Path::new);
    let files: Vec<_> =
        directories.iter().flat_map(|directory| policy_files(directory, false).unwrap().files).collect();
    assert!(files.len() >= 6, "only {} policies were found", files.len());
    for file in files {
        assert_eq!(mistakes(&fs::read_to_string(&file).unwrap()), [""; 0], "{}", file.display());
    }
}

/// Blocks that begin with `domain:` are policies; the page's other test loads them.
#[test]
fn every_policy_of_the_reference_page_is_valid() {
    let page = fs::read_to_string("config/README.md").unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let policies: Vec<&str> = blocks.filter(|block| block.contains("domain: ")).collect();
    assert!(policies.len() > 5, "only {} policies were found", policies.len());
    for policy in policies {
        assert_eq!(mistakes(policy), [""; 0], "{policy}");
    }
}

/// Whatever loads without a warning is valid, also what a fuzzer tries.
#[test]
fn what_the_loader_takes_from_a_fuzzer_is_valid() {
    for file in fs::read_dir("tests/fuzz/corpus/policy").unwrap() {
        let path = file.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if load_text("fuzzed.yaml", &text, Options::default()).is_ok_and(|loaded| loaded.warnings.is_empty())
        {
            assert_eq!(mistakes(&text), [""; 0], "{}", path.display());
        }
    }
}

/// What both the loader and the schema refuse.
const WRONG: &[&str] = &[
    "descriptors: []",
    "domain: d\ndescriptors: {key: a}",
    "domain: d\ndescriptor: []",
    "domain: d\ndescriptors: [{value: a}]",
    "domain: d\ndescriptors: [{key: a, rate_limt: {unit: day, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, subjects: x}]",
    "domain: d\ndescriptors: [{key: [a]}]",
    "domain: d\ndescriptors: [{key: a, shadow_mode: maybe}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: 5}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, per: 1h, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: fortnight, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: 60, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: 0s, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: 1M, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: calendar_moon, requests_per_unit: 1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: -1}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1.5}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 4294967296}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: {by: plan}}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: {by: plan, values: {free: many}}}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1, algorithm: gcra}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: 1h, requests_per_unit: 1, anchor: noon}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {per: 1h, requests_per_unit: 1, algorithm: token_bucket, burst: 0}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: true, replaces: [{nome: x}]}}]",
    "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1}, rate_limits: []}]",
    "domain: d\ndescriptors: [{key: a, empty: gone}]",
    "domain: d\nevaluate: all",
    "domain: d\nheaders: {emit: sometimes}",
    "domain: d\nheaders: {dialect: draft-3}",
    "domain: d\nheaders: {X-Left: remainder}",
    "domain: d\nheaders: {'X Left': remaining}",
    "domain: d\ndeny: {content_type: text/plain}",
    "domain: d\ndeny: {body: {error: x}}",
    "domain: d\nendpoints: [/leads]",
    "domain: d\nendpoints: [GET /leads]\nundeclared: two",
    "domain: d\nendpoints: [GET /leads]\nundeclared: {segments: 17}",
    "domain: d\nignore_case: 'maybe'\nendpoints: [GET /leads]",
];

#[test]
fn what_is_wrong_is_refused_by_the_schema_as_by_the_loader() {
    for text in WRONG {
        assert!(load_text("wrong.yaml", text, Options::default()).is_err(), "the loader takes\n{text}");
        assert!(!mistakes(text).is_empty(), "the schema takes\n{text}");
    }
}

#[test]
fn what_the_loader_takes_in_several_spellings_is_valid() {
    for text in [
        "domain: d\ndescriptors: [{key: a, value: 42, rate_limit: {unit: MINUTE, requests_per_unit: 0x1F}}]",
        "domain: d\ndescriptors: [{key: a, value: true, shadow_mode: yes, rate_limit: {unit: Day, requests_per_unit: 1_000}}]",
        "domain: d\ndescriptors: [{key: a, value: , rate_limit: {per: 1h30m, requests_per_unit: 60.0}}]",
        "domain: d\nheaders: [{dialect: [draft-11, retry-after]}, {X-Left: '{{remaining}} of {{limit}}', X-1: '1'}]",
        "domain: d\nendpoints: [GET /leads/:id, {read: [ANY /reports/**]}]\nundeclared: one",
    ] {
        let loaded = load_text("right.yaml", text, Options::default()).map(|_| ());
        assert!(loaded.is_ok(), "{text}\n{:?}", loaded.unwrap_err());
        assert_eq!(mistakes(text), [""; 0], "{text}");
    }
}

/// Both ways: a word of the loader's is a property, and a property is a word of the loader's. What the loader says of a
/// word tells whether it knows it there.
#[test]
fn it_knows_the_words_that_the_loader_knows_and_where_they_stand() {
    const AROUND: [(Scope, &str); 8] = [
        (Scope::Root, "{WORD: 0}"),
        (Scope::Descriptor, "{domain: d, descriptors: [{WORD: 0}]}"),
        (Scope::RateLimit, "{domain: d, descriptors: [{key: k, rate_limit: {WORD: 0}}]}"),
        (Scope::Requests, "{domain: d, descriptors: [{key: k, rate_limit: {requests_per_unit: {WORD: 0}}}]}"),
        (
            Scope::Replaces,
            "{domain: d, descriptors: [{key: k, rate_limit: {unlimited: true, replaces: [{WORD: 0}]}}]}",
        ),
        (Scope::Headers, "{domain: d, headers: {WORD: nothing}}"),
        (Scope::Deny, "{domain: d, deny: {WORD: 0}}"),
        (Scope::Undeclared, "{domain: d, endpoints: [GET /a], undeclared: {WORD: 0}}"),
    ];
    let schema = schema();
    let mut every_word: Vec<&str> = Scope::ALL.into_iter().flat_map(words::of).collect();
    every_word.sort_unstable();
    every_word.dedup();
    assert!(every_word.len() > 40);
    for (scope, around) in AROUND {
        let at = if scope == Scope::Root { &schema } else { &schema["definitions"][name(scope)] };
        let properties = at["properties"].as_object().unwrap();
        let known = |word: &str| {
            let text = around.replace("WORD", word);
            let told = match load_text("word.yaml", &text, Options::default()) {
                Ok(loaded) => loaded.warnings,
                Err(diagnostics) => diagnostics,
            };
            // A word that is none of `headers` is taken for a header, which shows a number.
            let stranger = ["unknown word", "means nothing in", "outside of", "number `nothing`"];
            !told.iter().any(|one| stranger.iter().any(|text| one.message.contains(text)))
        };
        for word in &every_word {
            assert_eq!(properties.contains_key(*word), known(word), "`{word}` in {scope}");
        }
        assert!(properties.keys().all(|word| every_word.contains(&word.as_str())), "{scope}");
    }
}
