//! What is refused, what is warned about, and in which words.

mod layouts;

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
        ("", "1:1 the file holds no policy"),
        ("descriptors: []", "1:1 the policy has no domain; begin with `domain: NAME`"),
        ("domain: ''", "1:9 the domain has no name"),
        (
            "- domain",
            "1:1 expected the top of a policy, which is a mapping, found a list; begin with `domain: NAME`",
        ),
        (
            "domain: d\ndescriptors: {key: x}",
            "2:14 expected a list, found a mapping; begin each item with `- `",
        ),
        (
            "domain: d\ndescriptors: [x]",
            "2:15 expected a descriptor, which is a mapping, found a single value; write `- key: NAME`",
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
            "3:24 the limit has no window; add `unit: minute` or `per: 15m`, or `unlimited: true`",
        ),
        (
            &with("rate_limit: {unlimited: true, unit: day}"),
            "3:48 `unlimited: true` has no window; remove one of the two",
        ),
        (&with("shadow_mode: maybe"), "3:25 expected true or false, found `maybe`"),
        (
            &with("share_threshold: true, value: a"),
            "3:29 `share_threshold` needs a value with a `*`; without one there is nothing to share",
        ),
        (
            &with("metadata: 5"),
            "3:22 expected a mapping, found a single value; write it as in `{owner: payments}`",
        ),
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
        (
            "domain: d\ndescriptors: *nowhere",
            "2:14 not YAML: an alias that stands for nothing; put a value that begins with `*` in quotes: `value: \"*\"`; or name what the \
         alias stands for with `&`",
        ),
    ] {
        assert_eq!(found(yaml), [expected], "{yaml}");
    }
}

#[test]
fn what_loads_elsewhere_but_means_nothing_is_a_warning() {
    for (yaml, expected) in [
        (
            &*with("unit: minute"),
            "warning 3:12 `unit` means nothing in a descriptor; it belongs in `rate_limit`",
        ),
        (
            &with("rate_limit: ~"),
            "warning 3:24 `rate_limit` has nothing in it, so this lets everything pass; write `rate_limit: {requests_per_unit: 5, unit: \
             minute}`, or leave the word out for an exemption",
        ),
        (&with("value: a, value: b"), "warning 3:22 `value` is given twice; the last one counts"),
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

#[test]
fn a_place_is_shown_on_its_line_whatever_ends_the_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let mistakes =
            load_text("a.yaml", &["domain: d", "", "dscriptors: []", ""].join(end), Options::default());
        let excerpt = mistakes.unwrap_err()[0].excerpt.clone().unwrap();
        assert_eq!((excerpt.place.line, excerpt.line.as_deref()), (3, Some("dscriptors: []")), "{end:?}");
    }
}

#[test]
fn a_thousand_mistakes_are_told_and_no_endless_line() {
    let told = |mistakes: usize| {
        let descriptors = "{key: x, valeu: y}, ".repeat(mistakes);
        load_text("a.yaml", &format!("domain: d\ndescriptors: [{descriptors}]"), Options::default())
            .unwrap_err()
    };
    assert!(told(10).iter().all(|mistake| mistake.excerpt.as_ref().unwrap().line.is_some()));
    let many = told(5000);
    assert_eq!(many.len(), 1001);
    assert!(many[..1000].iter().all(|mistake| mistake.excerpt.as_ref().unwrap().line.is_none()));
    assert!(many[1000].message.starts_with("1000 of "), "{}", many[1000].message);
    let shown = render(&many[..1], false);
    assert!(shown.starts_with("error: unknown word `valeu` in a descriptor\n--> a.yaml:2:24\n"), "{shown}");
}

#[test]
fn no_number_of_warnings_hides_the_error_after_them() {
    let warned = "value: a, ".repeat(2000);
    let yaml = with(&format!("{warned}}}\n- {{"));
    let mistakes = load_text("a.yaml", &yaml, Options::default()).unwrap_err();
    assert_eq!(mistakes.len(), 1002);
    let messages: Vec<_> = mistakes[1000..].iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(messages, ["the descriptor has no key", "1000 of 1999 warnings are listed"]);
}

/// One descriptor `x` whose limit has these fields.
fn limit(fields: &str) -> String {
    with(&format!("rate_limit: {{{fields}}}"))
}

#[test]
fn spillways_own_words_load() {
    for yaml in [
        "domain: d\nevaluate: in_order\nheaders: {emit: on_limited, dialect: [draft-03, retry-after]}\ndeny: {body: '{}'}",
        "domain: d\nendpoints: [GET /a/:id, {write: [POST /a, ANY /b/**]}]\nrequest_headers: {x-from: '{{limit}}'}",
        "domain: d\nendpoints: [GET /a]\nundeclared: one\nignore_case: yes",
        "domain: d\nendpoints: [GET /a]\nundeclared: {segments: 16}",
        &with("empty: absent"),
        &with("empty: value"),
        &limit("requests_per_unit: 5, per: 15m"),
        &limit("requests_per_unit: 5, unit: day, algorithm: sliding_window"),
        &limit("requests_per_unit: 5, per: 1h, algorithm: token_bucket, burst: 9"),
        &limit(
            "requests_per_unit: 5, per: 1h, anchor: clock, count_denied: yes, counter: shared, count_by: x",
        ),
        &limit("requests_per_unit: 5, per: calendar_month, time_zone: Europe/Berlin"),
        &with(
            "rate_limit: {unit: day, requests_per_unit: 1, headers: [{X-A: used}, {X-B: 'n={{limit}}'}], deny: {content_type: text/plain, body: no}}",
        ),
    ] {
        assert_eq!(found(yaml), [""; 0], "{yaml}");
    }
}

#[test]
fn what_spillways_own_words_cannot_mean_is_refused_with_its_place() {
    let needs = "needs a descriptor with a `subject`, here or around it; without one nobody is known";
    for (yaml, expected) in [
        ("domain: d\nevaluate: al_or_nothing", "2:11 unknown way to evaluate `al_or_nothing`; did you mean `all_or_nothing`?".to_owned()),
        (&limit("requests_per_unit: 5, per: 15x"), "3:52 `15x` is not a length of time; write a number and a unit, as in `15m`; units are ms, s, m, h, d and w".into()),
        (&limit("requests_per_unit: 5, per: biling_period"), "3:52 `biling_period` is not a length of time; did you mean `billing_period`?".into()),
        (&limit("requests_per_unit: 5, per: 1m, unit: minute"), "3:52 `unit` and `per` are two ways to say one thing; remove one of the two".into()),
        (&limit("requests_per_unit: 5, per: 1m, algorithm: fixed_windw"), "3:67 unknown algorithm `fixed_windw`; did you mean `fixed_window`?".into()),
        (&limit("requests_per_unit: 5, per: 1m, burst: 5"), "3:63 `burst` needs `algorithm: token_bucket`".into()),
        (&limit("requests_per_unit: 5, per: 1m, algorithm: sliding_window, anchor: clock"), "3:91 `anchor` is for fixed windows of a given length".into()),
        (&limit("requests_per_unit: 5, per: 1m, time_zone: Europe/Berlin"), "3:67 `time_zone` is for periods of the calendar; billing periods take the subject's".into()),
        (&limit("requests_per_unit: 5, per: calendar_day, time_zone: Mars"), "3:77 unknown time zone `Mars`; write its name in the IANA database, as in `Europe/Berlin`".into()),
        (&limit("requests_per_unit: 5, per: billing_period"), format!("3:52 `per: billing_period` {needs}")),
        (&limit("requests_per_unit: {attribute: rpm}, per: 1m"), format!("3:44 `requests_per_unit` {needs}")),
        (&limit("requests_per_unit: 5, per: 1m, override: rpm"), format!("3:66 `override` {needs}")),
        (&limit("requests_per_unit: 5, per: 1m, count_by: y"), "3:66 `count_by` names `y`, which is no entry on the way here; it may be `subject`, `credential`, `entries` or a key on the way here: `x`; several are a list, as in `[subject, x]`".into()),
        (&limit("requests_per_unit: 5, per: 1m, headers: {dialect: draft-3}"), "3:75 unknown dialect `draft-3`; did you mean `draft-03`?".into()),
        (&limit("requests_per_unit: 5, per: 1m, headers: {X-A: remaning}"), "3:71 unknown number `remaning`; did you mean `remaining`?".into()),
        (&limit("requests_per_unit: 5, per: 1m, headers: {content-length: used}"), "3:66 header `content-length` cannot be set here: it comes from the body".into()),
        (&limit("requests_per_unit: 5, per: 1m, headers: {X A: used}"), "3:66 `X A` is not a header name".into()),
        (&with("strip_scheme: true"), "3:26 `strip_scheme` needs a `subject` beside it".into()),
        (&with("rate_limits: []"), "3:25 there are no limits in the list".into()),
        (&with("rate_limits: [{unit: day, requests_per_unit: 1}, {unit: day, requests_per_unit: 2}]"), "3:61 two limits in this list are the same but for the number".into()),
        (&with("per: 1m, rate_limit: {unit: day, requests_per_unit: 1}"), "3:12 `per` means nothing in a descriptor; it belongs in `rate_limit`".into()),
        ("domain: d\nendpoints: [GET]", "2:13 `GET` is not a method and a path; write it as in `GET /leads/:id`".into()),
        ("domain: d\nendpoints: [{undeclared: [GET /a]}]", "2:27 `undeclared` is what all other endpoints are called; give it another name".into()),
        ("domain: d\nendpoints: []\nundeclared: on", "3:13 undeclared endpoints cannot be `on`; write `one`, or `{segments: 2}` to tell them apart by method and two segments".into()),
        ("domain: d\nendpoints: []\nundeclared: {}", "3:13 nothing tells undeclared endpoints apart; write `one`, or `{segments: 2}` to tell them apart by method and two segments".into()),
        ("domain: d\nendpoints: []\nundeclared: {segment: 2}", "3:14 unknown word `segment` in `undeclared`; did you mean `segments`?".into()),
        ("domain: d\nendpoints: []\nundeclared: {depth: 2}", "3:14 unknown word `depth` in `undeclared`; `undeclared` may have segments".into()),
        ("domain: d\nendpoints: []\nundeclared: {segments: 0}", "3:24 undeclared endpoints cannot be told apart by 0 segments; write a number from 1 to 16, or `undeclared: one`".into()),
        ("domain: d\nendpoints: []\nundeclared: {segments: 17}", "3:24 undeclared endpoints cannot be told apart by 17 segments; write a number from 1 to 16, or `undeclared: one`".into()),
        ("domain: d\nendpoints: []\nundeclared: {segments: two}", "3:24 expected a whole number, found `two`".into()),
        ("domain: d\nendpoints: []\nignore_case: maybe", "3:14 expected true or false, found `maybe`".into()),
        ("domain: d\nundeclared: one", "2:13 `undeclared` needs `endpoints` beside it; without `endpoints`, paths are compared as they are".into()),
        ("domain: d\nignore_case: true", "2:14 `ignore_case` needs `endpoints` beside it; without `endpoints`, paths are compared as they are".into()),
        ("domain: d\nendpoints: [GET /a]\ndescriptors: [{key: endpoint, value: GET /b}]", "3:38 no request has the endpoint `GET /b`; did you mean `GET /a`?".into()),
        ("domain: d\nendpoints: [{read: [GET /a]}]\ndescriptors: [{key: x, descriptors: [{key: endpoint, value: POST /orders}]}]", "3:61 no request has the endpoint `POST /orders`; declare it under `endpoints`".into()),
        ("domain: d\nendpoints: [{read: [GET /a]}]\ndescriptors: [{key: endpoint, value: 'w*'}]", "3:38 no request has the endpoint `w*`; declare it under `endpoints`".into()),
        (&with("empty: none"), "3:19 unknown way to read an empty value `none`; ways to read an empty value are absent, value".into()),
        (&with("empty: absent, value: y"), "3:19 `empty` is for a descriptor without a value; it takes no empty value in any case, or a `*` says which it takes".into()),
        ("domain: d\ndescriptors: [{key: 'x*', empty: absent}]", "2:34 `empty` is for a descriptor without a value; it takes no empty value in any case, or a `*` says which it takes".into()),
        (&limit("requests_per_unit: 5, per: 1m, empty: absent"), "3:56 `empty` means nothing in `rate_limit`; it belongs in a descriptor".into()),
        ("domain: d\nevaluate: in_order\ndescriptors: [{key: x, quota_mode: true}]", "3:36 `quota_mode` needs `evaluate: each`; under the other ways a refusal settles the request".into()),
        ("domain: d\nsubjects: nowhere.yaml", "2:11 cannot read `nowhere.yaml`: there is no such file or directory; name a file beside the policy, as in `subjects: shop.subjects.yaml`".into()),
    ] {
        assert_eq!(found(yaml), [expected], "{yaml}");
    }
}

#[test]
fn a_mistake_in_a_subjects_file_has_its_place_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), "domain: d\nsubjects: d.subjects.yaml").unwrap();
    let subjects = "subjects:\n  - id: a\n    credentials:\n      - {kind: key, valeu: secret_1}\n";
    std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    let errors = super::load(&[directory.path()], Options::default()).unwrap_err();
    let told = render(&errors, false);
    assert!(told.contains("d.subjects.yaml:4:21"), "{told}");
    assert!(told.contains("did you mean `value`?"), "{told}");
    assert!(!told.contains("secret_1"), "the line holds a credential: {told}");
}

#[test]
fn a_key_given_twice_is_told_wherever_it_is() {
    let twice = |place: &str, key: &str| format!("{place} `{key}` is given twice; the last one counts");
    // In envoyproxy/ratelimit's words only, which load there.
    for (yaml, place, key) in [
        (
            &*with("rate_limit: {unit: day, requests_per_unit: 1}, rate_limit: {unlimited: true}"),
            "3:59",
            "rate_limit",
        ),
        (&with("metadata: {a: 1, b: {c: 1, \"c\": 2}}"), "3:39", "c"),
        ("domain: d\ndescriptors: []\ndescriptors: []", "3:1", "descriptors"),
        (
            &with("rate_limit: &l {unit: day, unit: hour, requests_per_unit: 1}, metadata: {a: *l, b: *l}"),
            "3:39",
            "unit",
        ),
    ] {
        assert_eq!(found(yaml), [format!("warning {}", twice(place, key))], "{yaml}");
    }
    // In Spillway's.
    let own = |fields: &str| with(&format!("rate_limit: {{per: 1m, requests_per_unit: {fields}}}"));
    let many = (0..20).map(|n| format!("p{n}: {n}")).collect::<Vec<_>>().join(", ");
    for (yaml, place, key) in [
        (own("1, requests_per_unit: 2"), "3:56", "requests_per_unit"),
        (own("1, deny: {body: a, body: b}"), "3:72", "body"),
        (own("1, headers: {X-A: a, X-A: b}"), "3:74", "X-A"),
        (own(&format!("1, deny: {{body: {{{many}, p18: 1}}}}")), "3:230", "p18"),
    ] {
        let told = found(&yaml);
        assert!(told.contains(&twice(place, key)), "{yaml}: {told:?}");
    }
}

/// What is found in a policy with this directory beside it: `file:line:column severity message; hint`.
fn found_with(yaml: &str, subjects: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), yaml).unwrap();
    std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    told_of(super::load(&[directory.path()], Options::default()), directory.path())
}

fn told_of(loaded: Result<super::Loaded, Vec<Diagnostic>>, below: &std::path::Path) -> Vec<String> {
    let below = format!("{}/", below.display());
    let tell = |diagnostic: Diagnostic| {
        let place = diagnostic.excerpt.expect("it is in a text").place;
        let severity = format!("{:?}", diagnostic.severity).to_lowercase();
        let hint = diagnostic.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{place} {severity} {}{hint}", diagnostic.message).replace(&below, "")
    };
    loaded.map_or_else(|errors| errors, |loaded| loaded.warnings).into_iter().map(tell).collect()
}

/// `d.yaml:6 …` for `d.yaml:6:53 …`.
fn without_column(told: &str) -> String {
    let (place, rest) = told.split_once(' ').unwrap();
    format!("{} {rest}", place.rsplit_once(':').unwrap().0)
}

/// A policy with a limit for credentials of the kind `key`, with these words beside the limit's number and the descriptor's.
fn for_keys(limit: &str, descriptor: &str) -> String {
    format!(
        "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n- key: k\n  subject: key\n  rate_limit: {{name: n, per: 1h, {limit}}}\n  \
         {descriptor}\n"
    )
}

const LISTED: &str = "list the value under `values`, or add `otherwise: NUMBER` beside `by` for all others";

#[test]
fn a_plan_that_no_table_lists_is_refused_at_the_limit_and_at_the_customers_line() {
    let subjects = "subjects:\n- {id: a, attributes: {plan: pro}, credentials: [{kind: key, value: 1}]}\n- {id: b, attributes: {plan: gold}, \
                    credentials: [{kind: key, value: 2}]}\n- {id: c, credentials: [{kind: key, value: 3}]}\n";
    let table = "requests_per_unit: {by: plan, values: {pro: 5}}";
    assert_eq!(
        found_with(&for_keys(table, ""), subjects),
        [
            &*format!(
                "d.subjects.yaml:3:8 error limit `n` has no number for `b` (plan=gold); it is at d.yaml:6:53; {LISTED}"
            ),
            &format!(
                "d.subjects.yaml:4:8 error limit `n` has no number for `c` (no plan); it is at d.yaml:6:53; {LISTED}"
            ),
            &format!(
                "d.yaml:6:53 error limit `n` has no number for `b` (plan=gold), `c` (no plan); {LISTED}"
            ),
        ]
    );
    let with_otherwise = "requests_per_unit: {by: plan, values: {pro: 5}, otherwise: 1}";
    assert_eq!(found_with(&for_keys(with_otherwise, ""), subjects), [""; 0]);
}

#[test]
fn whoever_never_comes_to_a_limit_needs_no_number_there() {
    let table = "requests_per_unit: {by: plan, values: {pro: 5}}";
    let pro = "{id: a, attributes: {plan: pro}, credentials: [{kind: key, value: 1}]}";
    for (fine, descriptor, other) in [
        // Exempt here, or around.
        (
            true,
            "exempt: {staff: true}",
            "{id: b, attributes: {staff: true}, credentials: [{kind: key, value: 2}]}",
        ),
        (true, "", "{id: b, enabled: false, credentials: [{kind: key, value: 2}]}"),
        (true, "", "{id: b, credentials: [{kind: key, value: 2, enabled: false}]}"),
        (true, "", "{id: b}"),
        (true, "", "{id: b, credentials: [{kind: key, value: 2, attributes: {plan: pro}}]}"),
        // A plan of a credential's own, which no table lists.
        (
            false,
            "",
            "{id: b, attributes: {plan: pro}, credentials: [{kind: key, value: 2, attributes: {plan: x}}]}",
        ),
        (false, "", "{id: b, attributes: {plan: Pro}, credentials: [{kind: key, value: 2}]}"),
    ] {
        let told = found_with(&for_keys(table, descriptor), &format!("subjects: [{pro}, {other}]"));
        assert_eq!(told.is_empty(), fine, "{descriptor} {other}: {told:?}");
    }
    let around = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: k, subject: key, exempt: {staff: true}, descriptors: [{key: e, \
                  rate_limit: {per: 1h, requests_per_unit: {by: plan, values: {pro: 5}}}}]}]";
    let staff =
        "subjects: [{id: b, attributes: {staff: true, plan: none}, credentials: [{kind: key, value: 2}]}]";
    assert_eq!(found_with(around, staff), [""; 0]);
}

#[test]
fn a_number_that_is_none_is_refused_wherever_it_would_be_passed_over() {
    let subjects = |rpm: &str| {
        format!("subjects: [{{id: a, attributes: {{rpm: {rpm}}}, credentials: [{{kind: key, value: 1}}]}}]")
    };
    for words in [
        "requests_per_unit: {attribute: rpm}",
        "requests_per_unit: 5, override: rpm",
        "requests_per_unit: 5, at_most: rpm",
    ] {
        assert_eq!(found_with(&for_keys(words, ""), &subjects("10")), [""; 0]);
        for rpm in ["'10'", "-1"] {
            let told = found_with(&for_keys(words, ""), &subjects(rpm));
            assert_eq!(told.len(), 2, "{words} {rpm}: {told:?}");
            assert!(told[1].ends_with("; write a whole number, without quotes"), "{told:?}");
        }
    }
    let own = "subjects: [{id: a, credentials: [{kind: key, value: 1, attributes: {rpm: '777'}}]}]";
    let told = found_with(&for_keys("requests_per_unit: 5, override: rpm", ""), own);
    assert!(
        told.len() == 2 && !told.concat().contains("777"),
        "what a credential has is not shown: {told:?}"
    );
}

#[test]
fn a_tier_that_a_table_does_not_list_is_refused_before_somebody_reaches_it() {
    let subjects = "tiers: {attribute: tier, rules: [{tier: 1}, {tier: 2, spend: 50}]}\nsubjects: [{id: a, credentials: [{kind: key, value: 1}]}]";
    let told = found_with(&for_keys("requests_per_unit: {by: tier, values: {1: 5}}", ""), subjects);
    assert_eq!(told, [format!("d.yaml:6:53 error limit `n` has no number for tier 2; {LISTED}")]);
}

#[test]
fn a_kind_of_credential_that_one_side_misspells_is_refused() {
    let subjects = |kind: &str| format!("subjects: [{{id: a, credentials: [{{kind: {kind}, value: 1}}]}}]");
    let policy = for_keys("requests_per_unit: 5", "");
    assert_eq!(
        found_with(&policy, &subjects("kye")),
        [
            "d.subjects.yaml:1:34 warning no policy asks for credentials of the kind `kye`; did you mean `key`?",
            "d.yaml:5:12 error no credential is of the kind `key`, so this matches nobody; did you mean `kye`?",
        ]
    );
    assert_eq!(found_with(&policy, "subjects: []"), [""; 0], "nobody is there yet");
    let both = "subjects: [{id: a, credentials: [{kind: key, value: 1}, {kind: site, value: 1}]}]";
    assert_eq!(
        found_with(&policy, both),
        [
            "d.subjects.yaml:1:57 warning no policy asks for credentials of the kind `site`; write `subject: site` on the descriptor \
          whose value it is"
        ]
    );
    // Nobody has a site any more, and nothing looks like a slip: the set must go on loading.
    let sites = policy + "- {key: s, subject: site, rate_limit: {requests_per_unit: 5, per: 1h}}\n";
    assert_eq!(
        found_with(&sites, &subjects("key")),
        [
            "d.yaml:8:21 warning no credential is of the kind `site`, so this matches nobody; the kinds in d.subjects.yaml are `key`"
        ]
    );
}

#[test]
fn an_attribute_that_nobody_has_is_named_and_refused_where_it_is_a_slip() {
    let subjects =
        "subjects: [{id: a, attributes: {rpm: 5, internal: true}, credentials: [{kind: key, value: 1}]}]";
    for (limit, descriptor, told) in [
        (
            "requests_per_unit: 5, override: rmp",
            "",
            "d.yaml:6 error `override` names the attribute `rmp`, which no subject has, so it replaces no number; did you mean `rpm`?",
        ),
        (
            "requests_per_unit: 5, at_most: RPM",
            "",
            "d.yaml:6 error `at_most` names the attribute `RPM`, which no subject has, so it caps no number; did you mean `rpm`?",
        ),
        (
            "requests_per_unit: {attribute: rpn}",
            "",
            "d.yaml:6 error `attribute` names the attribute `rpn`, which no subject has, so nobody has this limit; did you mean `rpm`?",
        ),
        (
            "requests_per_unit: 5",
            "exempt: {internl: true}",
            "d.yaml:7 error `exempt` names the attribute `internl`, which no subject has, so it exempts nobody; did you mean `internal`?",
        ),
        (
            "requests_per_unit: 5",
            "exempt: {internal: 'true'}",
            "d.yaml:7 warning no subject has `internal: true`, so this exempts nobody; one is text, in quotes, and the other is not; write both alike",
        ),
        (
            "requests_per_unit: 5",
            "exempt: {internal: false}",
            "d.yaml:7 warning no subject has `internal: false`, so this exempts nobody; values of `internal` are `true`",
        ),
        (
            "requests_per_unit: 5, override: day_quota",
            "",
            "d.yaml:6 warning `override` names the attribute `day_quota`, which no subject has, so it replaces no number; the attributes in d.subjects.yaml are `internal`, `rpm`",
        ),
    ] {
        let found: Vec<_> = found_with(&for_keys(limit, descriptor), subjects)
            .iter()
            .map(|found| without_column(found))
            .collect();
        assert_eq!(found, [told]);
    }
}

#[test]
fn mistakes_in_a_merged_domain_and_in_a_shared_subjects_file_are_told_once_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let options = || Options { merge_domains: true, ..Options::default() };
    write("a.yaml", "domain: d\nsubjects: s.subjects.yaml\ndescriptors: []\n");
    let limit = "rate_limit: {name: n, per: 1h, requests_per_unit: {by: plan, values: {pro: 5}}}";
    write("b.yaml", &format!("domain: d\ndescriptors:\n- {{key: k, subject: key, {limit}}}\n"));
    write("c.yaml", "domain: d\ndescriptors:\n- {key: x, value: '*'}\n- {key: x, value: 'a*'}\n");
    write("s.subjects.yaml", "subjects: [{id: a, credentials: [{kind: key, value: 1}]}]");
    let told = told_of(super::load(&[directory.path()], options()), directory.path());
    let starts: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["s.subjects.yaml:1:17", "b.yaml:3:76", "c.yaml:4:3"], "{told:?}");

    for name in ["b.yaml", "c.yaml"] {
        write(name, &format!("domain: {name}\nsubjects: s.subjects.yaml\n"));
    }
    write("s.subjects.yaml", "subjects: [{id: a, credntials: []}]");
    let told = told_of(super::load(&[directory.path()], options()), directory.path());
    assert_eq!(
        told,
        ["s.subjects.yaml:1:20 error unknown word `credntials` in a subject; did you mean `credentials`?"]
    );
}

#[test]
fn a_kind_is_asked_for_by_any_domain_that_names_the_file() {
    let shared = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: k, subject: key}]\n---\ndomain: e\nsubjects: \
                  d.subjects.yaml\ndescriptors: [{key: k, subject: site}]\n";
    let both = "subjects: [{id: a, credentials: [{kind: key, value: 1}, {kind: site, value: 1}]}]";
    assert_eq!(found_with(shared, both), [""; 0]);
}

#[test]
fn a_descriptor_that_another_one_hides_is_told_with_both_places() {
    let order = "wildcards are tried in the order they are listed; list the narrower one first";
    let last =
        "wildcards are tried before credentials and before a key alone; give the wildcard less to take";
    for (nodes, told) in [
        (
            "{key: m, value: '*'}, {key: m, value: 'GET *'}",
            Some(format!(
                "`m=GET *` is never reached: `m=*` at a.yaml:2:15 takes all of its values; {order}"
            )),
        ),
        (
            "{key: m, value: 'G*'}, {key: m, value: 'GET *x'}",
            Some(format!(
                "`m=GET *x` is never reached: `m=G*` at a.yaml:2:15 takes all of its values; {order}"
            )),
        ),
        (
            "{key: m, value: '*'}, {key: m}",
            Some(format!("`m` is never reached: `m=*` at a.yaml:2:15 takes all of its values; {last}")),
        ),
        (
            "{key: m}, {key: m, value: '**'}",
            Some(format!("`m` is never reached: `m=**` at a.yaml:2:25 takes all of its values; {last}")),
        ),
        (
            "{key: m}, {key: 'm*'}",
            Some(format!("`m` is never reached: `m*` at a.yaml:2:25 takes all of its values; {last}")),
        ),
        (
            "{key: 'a*'}, {key: 'ab*'}",
            Some(format!("`ab*` is never reached: `a*` at a.yaml:2:15 takes all of its values; {order}")),
        ),
        (
            "{key: 'a*'}, {key: ab, value: 'x*'}",
            Some(format!("`ab=x*` is never reached: `a*` at a.yaml:2:15 takes all of its values; {order}")),
        ),
        ("{key: m, value: 'GET *'}, {key: m, value: '*'}", None),
        ("{key: m, value: '*'}, {key: m, value: GET}", None),
        ("{key: m, value: '*a'}, {key: m, value: 'a*'}, {key: m}", None),
        ("{key: m, value: '*'}, {key: n, value: 'GET *'}", None),
    ] {
        let found = found(&format!("domain: d\ndescriptors: [{nodes}]"));
        let found: Vec<_> =
            found.iter().map(|found| found.split_once("descriptor ").unwrap().1.to_owned()).collect();
        assert_eq!(found, told.into_iter().collect::<Vec<_>>(), "{nodes}");
    }
    let hidden =
        "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: k, subject: key}, {key: k, value: '*'}]";
    let told = found_with(hidden, "subjects: []");
    assert_eq!(
        told,
        [format!(
            "d.yaml:3:15 warning descriptor `k` is never reached: `k=*` at d.yaml:3:39 takes all of its values; {last}"
        )]
    );
}

#[test]
fn what_a_template_names_and_nothing_can_fill_in_is_told() {
    let deny = "deny: {body: 'x {{entry.adress}} {{entry.path}} {{subject}}'}";
    let at_root = |request_headers: &str, deny: &str| {
        format!(
            "domain: d\n{request_headers}\n{deny}\nendpoints: [GET /a]\ndescriptors: [{{key: address}}, {{key: 'u_*'}}]"
        )
    };
    assert_eq!(
        found(&at_root("", deny)),
        [
            "warning 3:14 `{{subject}}` is never there: the domain has no subjects; name their file at the top, as in `subjects: \
             shop.subjects.yaml`",
            "warning 3:14 `{{entry.adress}}` names a key that no descriptor has; did you mean `address`?",
        ]
    );
    for name in ["subject", "attribute.plan"] {
        assert_eq!(
            found(&at_root(&format!("request_headers: {{x-tenant: '{{{{{name}}}}}'}}"), "")),
            [format!(
                "2:29 `{{{{{name}}}}}` is never there: the domain has no subjects; name their file at the top, as in `subjects: \
                 shop.subjects.yaml`"
            )]
        );
    }
    assert_eq!(
        found(&at_root(
            "request_headers: {x-a: '{{entry.address}} {{entry.u_1}} {{entry.method}}', x-b: b}",
            ""
        )),
        [""; 0]
    );
    let policy = for_keys("requests_per_unit: 5", "deny: {body: 'for {{entry.k}} {{attribute.plna}}'}");
    let subjects = "subjects: [{id: a, attributes: {plan: x}, credentials: [{kind: key, value: 1}]}]";
    assert_eq!(
        found_with(&policy, subjects),
        [
            "d.yaml:7:16 error `{{attribute}}` names the attribute `plna`, which no subject has, so it stays empty; did you mean `plan`?",
            "d.yaml:7:16 warning `{{entry.k}}` is a credential, which is shown nowhere; name who it belongs to, with `{{subject}}`",
        ]
    );
}

#[test]
fn a_hint_says_what_there_is_and_gives_an_example() {
    let dialects = "draft-03, draft-07, draft-11, ratelimit-delta, x-ratelimit, x-ratelimit-ms, x-ratelimit-delta, x-rate-limit, github, \
                    gitlab, openai, anthropic, retry-after";
    let per = |text: &str| limit(&format!("requests_per_unit: 5, per: {text}"));
    let minute = "`rate_limit: {requests_per_unit: 5, unit: minute}`";
    for (yaml, message, hint) in [
        (
            with("rate_limit: 5/minute"),
            "expected `rate_limit`, which is a mapping, found a single value",
            format!("write {minute}"),
        ),
        (
            with("rate_limit: 5 per Min"),
            "expected `rate_limit`, which is a mapping, found a single value",
            format!("write {minute}"),
        ),
        (
            with("rate_limit: 90/h"),
            "expected `rate_limit`, which is a mapping, found a single value",
            "write `rate_limit: {requests_per_unit: 90, unit: hour}`".into(),
        ),
        (
            with("rate_limit: many"),
            "expected `rate_limit`, which is a mapping, found a single value",
            format!("write {minute}"),
        ),
        (
            per("1M"),
            "`1M` could be a minute or a month",
            "write `per: 1m` for minutes, or `per: calendar_month`".into(),
        ),
        (
            per("0s"),
            "a window of `0s` has no length",
            "write a number and a unit, as in `15m`; units are ms, s, m, h, d and w".into(),
        ),
        (
            per("15"),
            "`15` is not a length of time",
            "write a number and a unit, as in `15m`; units are ms, s, m, h, d and w".into(),
        ),
        (
            per("minute"),
            "`minute` is not a length of time",
            "write `unit: minute` instead of `per`, or `per: 1m`".into(),
        ),
        (
            per("month"),
            "`month` is not a length of time",
            "write `unit: month` instead of `per`, or `per: calendar_month`".into(),
        ),
        (
            "domain: d\nheaders: draft-03".into(),
            "expected `emit`, `dialect` and headers with what they show, found a single value",
            format!("write it as in `{{emit: always, dialect: draft-03}}`; dialects are {dialects}"),
        ),
        (
            "domain: d\nheaders: {emit: sometimes}".into(),
            "unknown value `sometimes` of `emit`",
            "`emit` is always, on_limited or never".into(),
        ),
        (
            "domain: d\nheaders: {dialect: ietf}".into(),
            "unknown dialect `ietf`",
            format!("dialects are {dialects}"),
        ),
        (
            "domain: d\nrequest_headers: x-a".into(),
            "expected headers with what they say, found a single value",
            "write it as in `{x-tenant: '{{subject}}'}`".into(),
        ),
        (
            "domain: d\ndeny: no".into(),
            "expected `deny`, which is a mapping, found a single value",
            "write `deny: {body: TEXT}`".into(),
        ),
        (
            "domain: d\ndeny: {body: {error: {code: 429}}}".into(),
            "expected text, found a mapping",
            "write it as text: `body: '{\"error\":{\"code\":429}}'`".into(),
        ),
        (
            "domain: d\nevaluate: maybe".into(),
            "unknown way to evaluate `maybe`",
            "ways to evaluate are each, all_or_nothing, in_order, first_match".into(),
        ),
        (
            "domain: d\nevaluate: [each]".into(),
            "expected text, found a list",
            "ways to evaluate are each, all_or_nothing, in_order, first_match".into(),
        ),
        (
            "domain: d\nsubjects: [{id: a}]".into(),
            "`subjects`: expected text, found a list",
            "name a file beside the policy, as in `subjects: shop.subjects.yaml`".into(),
        ),
        (
            limit("requests_per_unit: 5, per: 1m, replaces: [x]"),
            "expected an item of `replaces`, which is a mapping, found a single value",
            "write `- name: NAME`".into(),
        ),
    ] {
        let told = found(&yaml);
        assert_eq!(told.len(), 1, "{told:?}");
        let (_, told) = told[0].split_once(' ').unwrap();
        assert_eq!(told, format!("{message}; {hint}"), "{yaml}");
    }
}

#[test]
fn what_would_be_passed_over_in_silence_is_told() {
    let endpoints =
        "domain: d\nendpoints: [GET /a]\ndescriptors: [{key: method, descriptors: [{key: path}]}]";
    for (yaml, told) in [
        // A word without a value would be as if it were not there.
        (with("subject: "), "`subject` says nothing; give it a value, or remove it"),
        (with("rate_limits: ~"), "`rate_limits` says nothing; give it a value, or remove it"),
        (limit("requests_per_unit: 5, per: 1m, counter: ''"), "`counter` says nothing; give it a value, or remove it"),
        ("domain: d\nevaluate:".into(), "`evaluate` says nothing; give it a value, or remove it"),
        // Nothing beside `unlimited` limits anything.
        (limit("unlimited: true, override: rpm"), "`unlimited: true` lets everything pass, so `override` means nothing; remove one of the two"),
        (limit("unlimited: true, burst: 5"), "`unlimited: true` lets everything pass, so `burst` means nothing; remove one of the two"),
        (endpoints.into(), "warning 3:15 descriptor `method` with `path` in it is never reached: with `endpoints`, the two are one entry; match `- key: endpoint`"),
        (with("descriptors: [{key: ' y'}]"), "warning 3:32 the key ` y` begins or ends with a space; remove it if it is not sent"),
        (with("value: 'y '"), "warning 3:19 the value `y ` begins or ends with a space; remove it if it is not sent"),
        (
            "domain: d\ndescriptors: [{key: x, rate_limit: {requests_per_unit: 5, per: 1m, count_by: x, counter: bulk}}, {key: y, descriptors: \
             [{key: x, rate_limit: {requests_per_unit: 5, per: 1m, count_by: x, counter: bluk}}]}]"
                .into(),
            "warning 2:196 no other limit has the counter `bluk`; did you mean `bulk`?",
        ),
    ] {
        let found = found(&yaml);
        assert!(found.len() == 1 && found[0].ends_with(told), "{yaml}: {found:?}");
    }
    let subjects = "subjects: [{id: a, attributes: {rpm: 1}, credentials: [{kind: key, value: 1}]}]";
    let told = found_with(&for_keys("requests_per_unit: 5, at_most: 100", ""), subjects);
    assert!(told.len() == 1 && told[0].ends_with("error `at_most` names an attribute of subjects, and `100` is a number; for one number for all, write `requests_per_unit: 100`"), "{told:?}");
    let told = found_with(&for_keys("requests_per_unit: {by: plan, values: {}}", ""), "subjects: []");
    assert!(
        told.len() == 1
            && told[0].ends_with("error `values` lists no value; write it as in `{free: 5, pro: 50}`"),
        "{told:?}"
    );
    let told = found_with(&for_keys("requests_per_unit: {attribute: rpm, otherwise: 5}", ""), subjects);
    assert!(
        told.len() == 1 && told[0].contains("error `attribute` and `otherwise` are two ways"),
        "{told:?}"
    );
}

#[test]
fn a_descriptor_with_a_subject_has_no_value() {
    let with_value = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: k, subject: key, value: v}]";
    let told = found_with(with_value, "subjects: []");
    assert!(told.len() == 1 && told[0].contains("a descriptor with a `subject` has no value"), "{told:?}");
}

#[test]
fn what_would_match_nobody_or_share_nothing_is_refused() {
    for (yaml, expected) in [
        (with("subject: key"), "the domain has no subjects, so this matches nobody"),
        (limit("requests_per_unit: 5, per: 1m, count_by: []"), "`count_by` names nothing, so all would share one counter"),
        (limit("requests_per_unit: 5, per: 1m, counter: c"), "limits that count by all their entries share no counter"),
        (limit("requests_per_unit: 5, per: 1m, algorithm: token_bucket, burst: 0"), "a bucket with a burst of 0 lets nothing pass"),
        (
            "domain: d\ndescriptors: [{key: 'u_*', rate_limit: {requests_per_unit: 5, per: 1m, count_by: 'u_*'}}]".into(),
            "`count_by` cannot name a key with a `*`",
        ),
        (
            "domain: d\ndescriptors: [{key: x, rate_limit: {requests_per_unit: 5, per: 1m, count_by: x, counter: c}}, {key: y, \
             descriptors: [{key: x, rate_limit: {requests_per_unit: 5, per: 1h, count_by: x, counter: c}}]}]"
                .into(),
            "the counter `c` counts otherwise at a.yaml:2:90",
        ),
    ] {
        let told = found(&yaml);
        assert!(told.len() == 1 && told[0].contains(expected), "{yaml}: {told:?}");
    }
}

#[test]
fn an_endpoint_that_a_request_can_have_is_no_mistake() {
    for (beside, value) in [
        ("[GET /a]", "GET /a"),
        ("[{read: [GET /a/**]}]", "read"),
        ("[{read: [GET /a]}]", "re*"),
        ("[GET /a]", "undeclared"),
        ("[GET /a]\nundeclared: {segments: 2}", "GET /v1/tags"),
        ("[GET /a]\nundeclared: {segments: 2}", "'GET /v1/*'"),
        ("[ANY /a/**]", "ANY /a/**"),
    ] {
        let yaml =
            format!("domain: d\nendpoints: {beside}\ndescriptors: [{{key: endpoint, value: {value}}}]");
        assert_eq!(found(&yaml), [""; 0], "{yaml}");
    }
    // Without `endpoints`, the value is compared with what Envoy sends.
    assert_eq!(found("domain: d\ndescriptors: [{key: endpoint, value: GET /b}]"), [""; 0]);
}

#[test]
fn templates_that_a_path_can_go_through_in_too_many_ways_are_refused() {
    let ways = |depth: u32| {
        let template = |n: u32| {
            let path: String = (0..depth).map(|at| if n >> at & 1 == 0 { "/a" } else { "/:x" }).collect();
            format!("- GET {path}/{n}\n")
        };
        format!("domain: d\nendpoints:\n{}", (0..1 << depth).map(template).collect::<String>())
    };
    assert_eq!(found(&ways(5)), [""; 0]);
    let told = found(&ways(8));
    assert!(told.len() == 1 && told[0].starts_with("3:1 one path may have to be compared with"), "{told:?}");
}

#[test]
fn what_holds_for_a_merged_domain_is_said_where_it_begins() {
    let options = || Options { merge_domains: true, ..Options::default() };
    let two = |second: &str| format!("domain: d\nevaluate: in_order\n---\ndomain: d\n{second}");
    let policy = load_text("a.yaml", &two("descriptors: []"), options()).unwrap().policy;
    assert_eq!(policy.domain(b"d").unwrap().evaluate, crate::policy::Evaluate::InOrder);
    let errors = load_text("a.yaml", &two("evaluate: each"), options()).unwrap_err();
    assert_eq!(errors[0].message, "`evaluate` holds for the whole domain, which begins at a.yaml:1:9");
    let errors = load_text("a.yaml", &two("undeclared: one"), options()).unwrap_err();
    assert_eq!(errors[0].message, "`undeclared` holds for the whole domain, which begins at a.yaml:1:9");
}
