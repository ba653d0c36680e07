//! What is refused, what is warned about, and in which words.

mod layouts;
mod readings;
mod slips;

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
        "\"domain\": d\n'descriptors': []",
        "domain: 1.5\ndescriptors: [{key: 2, value: 0x10}]",
        "# nothing before\n---\ndomain: d\ndescriptors: []\n...\n---\n",
        &with("rate_limit: {unit: MINUTE, requests_per_unit: 1_000}"),
        &with("rate_limit: {unlimited: on}"),
        &with("detailed_metric: true, value_to_metric: yes, rate_limit: {unit: week, requests_per_unit: 0}"),
        &with("value: 'a*', share_threshold: true, quota_mode: true, metadata: {a: [1, {b: c}]}"),
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: &limit {unit: second, requests_per_unit: 1}\n- key: b\n  \
         rate_limit: {<<: *limit, requests_per_unit: 2}",
        "domain: a\ndescriptors: []\n---\ndomain: b\ndescriptors: []\n",
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
            "domain: d\ndescriptors: []\n---\ndomain: d\ndescriptors: []",
            "4:9 domain `d` was described before, at a.yaml:1:9; put them together, or allow it with --merge-domains",
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
            &*with("rate_limit: {unit: day, requests_per_unit: 1}, unit: minute"),
            "warning 3:59 `unit` means nothing in a descriptor; it belongs in `rate_limit`",
        ),
        (
            &with("unit: minute"),
            "warning 3:12 `unit` stands outside of `rate_limit`, so there is no limit here; indent it below `rate_limit:`, as in \
             `rate_limit: {requests_per_unit: 5, unit: minute}`",
        ),
        // Written as if it were in it: there, too, this is no limit.
        (
            "domain: d\ndescriptors:\n- key: x\n  rate_limit:\n  unit: minute\n  requests_per_unit: 5",
            "warning 5:3 `unit`, `requests_per_unit` stand outside of `rate_limit`, so there is no limit here; indent them below \
             `rate_limit:`, as in `rate_limit: {requests_per_unit: 5, unit: minute}`",
        ),
        (
            &with("rate_limit: ~"),
            "warning 3:24 `rate_limit` has nothing in it, so this lets everything pass; write `rate_limit: {requests_per_unit: 5, unit: \
             minute}`, or `rate_limit: {unlimited: true}` for an exemption",
        ),
        (
            "domain: d\ndescriptors:\n",
            "warning 2:1 `descriptors` lists nothing, so nothing is limited here; list some, or write `descriptors: []` if none are \
             meant",
        ),
        (&with("value: a, value: b"), "warning 3:22 `value` is given twice; the last one counts"),
        (
            &with("rate_limit: {unit: day}"),
            "warning 3:24 the limit has no `requests_per_unit`, so it lets nothing pass; write `requests_per_unit: 0` if \
             that is meant",
        ),
        (
            &with("rate_limit: {unlimited: true, unit: unknown}"),
            "warning 3:48 `unlimited: true` has no window; remove one of the two",
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
fn what_decides_nothing_is_a_warning() {
    let nothing = "`on_store_failure` decides nothing here: there is no limit in this descriptor or below it; move it to the limit \
                   that is meant, or to the root for all limits of the domain";
    for (yaml, expected) in [
        (&*with("on_store_failure: closed"), vec![format!("warning 3:30 {nothing}")]),
        (&with("on_store_failure: closed, rate_limit: {unlimited: true}"), vec![]),
        (&with("on_store_failure: closed, rate_limit: {requests_per_unit: 5, unit: day}"), vec![]),
        (
            &with("on_store_failure: closed, descriptors: [{key: y, rate_limit: {requests_per_unit: 5, unit: day}}]"),
            vec![],
        ),
        (
            &limit("requests_per_unit: 5, per: 1d, settle: true, count_denied: true"),
            vec![
                "warning 3:84 `count_denied: true` changes nothing: a limit with `settle` counts whatever it is charged; leave \
                 `count_denied` out"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(found(yaml), expected, "{yaml}");
    }
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
        (&limit("requests_per_unit: 5, per: 1d, durable: resrve"), "3:65 `durable` cannot be `resrve`; did you mean `reserve`?".into()),
        (&limit("requests_per_unit: 5, per: 1d, durable: true"), "3:65 `durable` cannot be `true`; write `durable: reserve`".into()),
        (&limit("requests_per_unit: 5, per: 1d, on_store_failure: deny"), "3:74 `on_store_failure` cannot be `deny`; write `on_store_failure: closed`".into()),
        (&with("durable: exact"), "3:12 `durable` stands outside of `rate_limit`, so there is no limit here; indent it below `rate_limit:`, as in `rate_limit: {requests_per_unit: 5, unit: minute}`".into()),
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
    // What is lost is named.
    let lost = "warning 5:1 `descriptors` is given twice, so the limits below `a`, `b=c` are lost; the last one counts; make one list of them";
    let first = "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: 1}}\n- {key: b, value: c}\n";
    assert_eq!(found(&format!("{first}descriptors: []")), [lost]);
    let many = (0..9).map(|n| format!("{{key: k{n}}}")).collect::<Vec<_>>().join(", ");
    let told = found(&format!("domain: d\nevaluate: each\ndescriptors: [{many}]\ndescriptors: []"));
    assert!(
        told.len() == 1 && told[0].starts_with("4:1 ") && told[0].contains("`k7`, others are lost"),
        "{told:?}"
    );
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

#[test]
fn what_would_match_nobody_or_share_nothing_is_refused() {
    for (yaml, expected) in [
        (with("subject: key"), "the domain has no subjects, so this matches nobody"),
        (limit("requests_per_unit: 5, per: 1m, count_by: []"), "`count_by` names nothing, so all would share one counter"),
        (limit("requests_per_unit: 5, per: 1m, count_by: [domain, x]"), "`domain` stands alone: all would share one counter"),
        (limit("requests_per_unit: 5, per: 1m, counter: c"), "limits that count by all their entries share no counter"),
        (limit("requests_per_unit: 5, per: 1m, algorithm: token_bucket, burst: 0"), "a `burst` of 0 lets nothing pass"),
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

#[test]
fn which_limits_count_a_refused_request_is_the_same_in_all_documents_of_a_domain() {
    let count_denied = |first: &str| {
        let options = Options {
            merge_domains: true,
            on_refusal: crate::config::OnRefusal::RefusingCount,
            ..Options::default()
        };
        let yaml = format!(
            "domain: d\n{first}\ndescriptors: [{{key: a, rate_limit: {{requests_per_unit: 5, unit: hour}}}}]\n---\n\
             domain: d\ndescriptors: [{{key: b, rate_limit: {{requests_per_unit: 5, unit: hour}}}}]"
        );
        let policy = load_text("a.yaml", &yaml, options).unwrap().policy;
        let mut found = Vec::new();
        policy.domain(b"d").unwrap().root.each_rule(&mut |rule| {
            found.extend(rule.limits.iter().map(|limit| limit.count_denied));
        });
        found
    };
    assert_eq!(count_denied(""), [true, true]);
    assert_eq!(count_denied("evaluate: in_order"), [false, false]);
}

#[test]
fn answers_of_a_merged_domain_are_those_of_its_first_document() {
    let options = || Options { merge_domains: true, ..Options::default() };
    let load = |first: &str, second: &str| {
        let yaml = format!(
            "domain: d\n{first}\ndescriptors: [{{key: a, rate_limit: {{unlimited: true}}}}]\n---\ndomain: d\n{second}\ndescriptors: [{{key: b, rate_limit: \
             {{requests_per_unit: 5, per: 1m}}}}]"
        );
        load_text("a.yaml", &yaml, options())
    };
    let told = |first: &str, second: &str| {
        let errors = load(first, second).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let place = &errors[0].excerpt.as_ref().unwrap().place;
        format!("{place} {}; {}", errors[0].message, errors[0].hint.as_deref().unwrap_or_default())
    };
    for (word, one, other) in [
        ("headers", "{X-A: limit}", "{X-A: used}"),
        ("deny", "{body: a}", "{body: b}"),
        ("request_headers", "{x-a: a}", "{x-a: b}"),
    ] {
        let (one, other) = (format!("{word}: {one}"), format!("{word}: {other}"));
        // The second document says nothing, or the same.
        for second in ["", &*one] {
            let policy = load(&one, second).unwrap().policy;
            let domain = policy.domain(b"d").unwrap();
            let said = [
                domain.shape.headers.len(),
                usize::from(domain.shape.denial.is_some()),
                domain.request_headers.len(),
            ];
            assert_eq!(said.iter().sum::<usize>(), 1, "{one} {second}: {said:?}");
        }
        let column = word.len() + 3;
        assert_eq!(
            told(&one, &other),
            format!(
                "a.yaml:6:{column} `{word}` holds for the whole domain, and is something else at a.yaml:2:{column}; write both alike, \
                 or leave this one out"
            )
        );
        assert_eq!(
            told("", &other),
            format!(
                "a.yaml:6:{column} `{word}` holds for the whole domain, which begins at a.yaml:1:9; say it there"
            )
        );
    }
}
