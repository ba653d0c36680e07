//! What is refused, what is warned about, and in which words.

use super::{Diagnostic, Options, load_text, render};

/// Every diagnostic as `line:column message; hint`.
fn found(yaml: &str) -> Vec<String> {
    let tell = |diagnostics: Vec<Diagnostic>| {
        let each = diagnostics.into_iter().map(|diagnostic| {
            let excerpt = diagnostic.excerpt.expect("it is in the text");
            let hint = diagnostic.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{}:{} {}{hint}", excerpt.place.line, excerpt.place.column, diagnostic.message)
        });
        each.collect::<Vec<_>>()
    };
    match load_text("a.yaml", yaml, Options::default()) {
        Ok(loaded) => tell(loaded.warnings).into_iter().map(|warning| format!("warning {warning}")).collect(),
        Err(errors) => tell(errors),
    }
}

/// One descriptor `x` with these fields.
fn with(fields: &str) -> String {
    format!("domain: d\ndescriptors:\n- {{key: x, {fields}}}")
}

#[test]
fn what_loads_in_envoyproxy_ratelimit_loads_here() {
    for yaml in [
        "domain: d",
        "domain: d\ndescriptors:\n",
        "\"domain\": d\n'descriptors': []",
        "domain: 1.5\ndescriptors: [{key: 2, value: 0x10}]",
        "# nothing before\n---\ndomain: d\n...\n---\n",
        &with("rate_limit: ~"),
        &with("rate_limit: {unit: MINUTE, requests_per_unit: 1_000}"),
        &with("rate_limit: {unlimited: on}"),
        &with("detailed_metric: true, value_to_metric: yes, rate_limit: {unit: week, requests_per_unit: 0}"),
        &with("value: 'a*', share_threshold: true, quota_mode: true, metadata: {a: [1, {b: c}]}"),
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: &limit {unit: second, requests_per_unit: 1}\n- key: b\n  \
         rate_limit: {<<: *limit, requests_per_unit: 2}",
        "domain: a\n---\ndomain: b\n",
    ] {
        assert_eq!(found(yaml), [""; 0], "{yaml}");
    }
}

#[test]
fn what_would_never_work_is_refused_with_its_place() {
    let units = "units are second, minute, hour, day, week, month, year";
    for (yaml, expected) in [
        ("descriptors: []", "1:1 the policy has no domain; begin with `domain: NAME`"),
        ("domain: ''", "1:9 the domain has no name"),
        ("- domain", "1:1 expected the top of a policy, which is a mapping, found a list"),
        (
            "domain: d\ndescriptors: {key: x}",
            "2:14 expected a list, found a mapping; begin each item with `- `",
        ),
        (
            "domain: d\ndescriptors: [x]",
            "2:15 expected a descriptor, which is a mapping, found a single value",
        ),
        (
            "domain: d\ndescriptors: [{value: x}]",
            "2:15 the descriptor has no key; begin it with `- key: NAME`",
        ),
        (&with("valeu: x"), "3:12 unknown word `valeu` in a descriptor; did you mean `value`?"),
        (
            &with("rate_limit: {unit: parsec, requests_per_unit: 1}"),
            &format!("3:31 unknown unit `parsec`; {units}"),
        ),
        (
            &with("rate_limit: {requests_per_unit: 1}"),
            "3:24 the limit has no unit; add `unit: minute`, or `unlimited: true`",
        ),
        (
            &with("rate_limit: {unlimited: true, unit: day}"),
            "3:48 `unlimited: true` has no unit; remove one of the two",
        ),
        (&with("shadow_mode: maybe"), "3:25 expected true or false, found `maybe`"),
        (
            &with("share_threshold: true, value: a"),
            "3:29 `share_threshold` needs a value with a `*`; without one there is nothing to share",
        ),
        (&with("metadata: 5"), "3:22 expected a mapping, found a single value"),
        (
            &with("rate_limit: {unit: day, requests_per_unit: 1, name: me, replaces: [{name: me}]}"),
            "3:86 `me` cannot replace itself",
        ),
        (
            &with("rate_limit: {unit: day, requests_per_unit: 1, replaces: [{}]}"),
            "3:69 nothing is named to be replaced; write `- name: NAME`",
        ),
        (
            "domain: d\n---\ndomain: d",
            "3:9 domain `d` was described before, at a.yaml:1:9; put them together, or allow it with --merge-domains",
        ),
        (
            "domain: d\ndescriptors:\n- key: a\n- {key: a, value: ''}",
            "4:3 descriptor `a` was listed before, at a.yaml:3:3; give each combination of key and value one descriptor",
        ),
        ("domain: d\ndescriptors: *nowhere", "2:14 not YAML: while parsing node, found unknown anchor"),
    ] {
        assert_eq!(found(yaml), [expected], "{yaml}");
    }
}

#[test]
fn what_loads_elsewhere_but_means_nothing_is_a_warning() {
    for (yaml, expected) in [
        ("", "warning 1:1 the file holds no policy"),
        (
            &with("unit: minute"),
            "warning 3:12 `unit` means nothing in a descriptor; it belongs in `rate_limit`",
        ),
        (&with("value: a, value: b"), "warning 3:22 `value` is given twice, and this one counts"),
        (
            &with("rate_limit: {unit: day}"),
            "warning 3:24 the limit has no `requests_per_unit`, so it lets nothing pass; write `requests_per_unit: 0` if \
             that is meant",
        ),
        (
            &with("rate_limit: {unlimited: true, requests_per_unit: 5}"),
            "warning 3:61 `unlimited: true` makes this number mean nothing",
        ),
        (
            "domain: d\ndescriptors:\n- {key: a, rate_limit: {name: total, unlimited: true}}\n- {key: b, rate_limit: \
             {unlimited: true, replaces: [{name: totl}]}}",
            "warning 4:60 no rule of domain `d` is named `totl`; did you mean `total`?",
        ),
    ] {
        assert_eq!(found(yaml), [expected], "{yaml}");
    }
}

#[test]
fn a_place_is_shown_under_its_line_even_behind_wide_characters() {
    let errors = load_text("a.yaml", "domain: d\ndescriptors: [{key: ü, valeu: \"\t\"}]", Options::default())
        .unwrap_err();
    let expected = "error: unknown word `valeu` in a descriptor
 --> a.yaml:2:24
  |
2 | descriptors: [{key: ü, valeu: \"    \"}]
  |                        ^^^^^
  |
  = help: did you mean `value`?
";
    assert_eq!(render(&errors, false), expected);
}
