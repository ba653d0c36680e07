//! Slips that would switch a limit off without a word, and what a hint says of them.

mod subjects;

use super::super::{Loaded, load};
use super::*;

/// What is found in a policy with this directory beside it: `file:line:column severity message; hint`.
fn found_with(yaml: &str, subjects: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), yaml).unwrap();
    std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    told_of(load(&[directory.path()], Options::default()), directory.path())
}

fn told_of(loaded: Result<Loaded, Vec<Diagnostic>>, below: &std::path::Path) -> Vec<String> {
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

/// Envoy sends a masked address as text, and operators choose labels as they like: these are meant.
#[test]
fn a_value_that_reads_like_a_pattern_and_is_text_is_told() {
    let range = |value: &str, action: &str| {
        Some(format!(
            "`{value}` is compared as text, not as a range of addresses; to limit a range as one, have Envoy send it: \
             `masked_remote_address: {{{action}}}`, which is matched by `- key: masked_remote_address`"
        ))
    };
    let template = |value: &str, parameter: &str| {
        Some(format!(
            "`{value}` is compared as text, and `{parameter}` stands for itself; write `*` for what may differ, or list it under \
             `endpoints:` at the top as `{value}`"
        ))
    };
    for (key, value, told) in [
        ("remote_address", "10.0.0.0/8", range("10.0.0.0/8", "v4_prefix_mask_len: 8")),
        ("client", "2001:db8::/32", range("2001:db8::/32", "v6_prefix_mask_len: 32")),
        ("masked_remote_address", "10.0.0.0/8", None),
        ("generic_key", "10.0.0.0/8", None),
        ("remote_address", "10.0.0.1", None),
        ("date", "10/8", None),
        ("remote_address", "10.0.0.0/33", None),
        ("endpoint", "GET /books/:id", template("GET /books/:id", ":id")),
        ("path", "/books/{id}/pages", template("/books/{id}/pages", "{id}")),
        ("path", "/books/:id/*", template("/books/:id/*", ":id")),
        ("path", "/v1/books:batchGet", None),
        ("path", "/:", None),
        ("path", "/a/10:30", None),
        ("path", "/a/:1", None),
        ("header_match", "GET /books/:id", None),
        ("note", "SEE /books/:id", None),
        ("note", ":id", None),
    ] {
        let yaml = format!(
            "domain: d\ndescriptors: [{{key: {key}, value: '{value}', rate_limit: {{unit: day, requests_per_unit: 5}}}}]"
        );
        let expected = told.map(|told| format!("warning 2:{} {told}", 30 + key.len()));
        assert_eq!(found(&yaml), expected.into_iter().collect::<Vec<_>>(), "{yaml}");
    }
    let declared = "domain: d\nendpoints: ['GET /books/:id']\ndescriptors: [{key: endpoint, value: 'GET /books/:id', rate_limit: \
                    {unlimited: true}}, {key: path, value: '/books/:id', rate_limit: {unlimited: true}}]";
    let hint = "match `- key: endpoint` instead, or write `*` for what may differ";
    let message = "`/books/:id` is compared as text, and `:id` stands for itself";
    assert_eq!(found(declared), [format!("warning 3:107 {message}; {hint}")]);
}

#[test]
fn a_key_that_lets_everybody_pass_who_sends_it_is_told() {
    let own = "domain: d\nevaluate: all_or_nothing\n";
    let hint = "write `rate_limit: {requests_per_unit: 5, unit: minute}`, or `rate_limit: {unlimited: true}` if that is meant";
    let told = |place: &str, key: &str| {
        vec![format!("warning {place} `{key}` has no limit, so whoever sends it passes; {hint}")]
    };
    for (descriptors, expected) in [
        ("{key: api_key}", told("3:15", "api_key")),
        ("{key: api_key, detailed_metric: true}", told("3:15", "api_key")),
        ("{key: plan, value: free, descriptors: [{key: path}]}", told("3:54", "path")),
        ("{key: api_key, rate_limit: {unlimited: true}}", vec![]),
        ("{key: api_key, value: internal}", vec![]),
        ("{key: 'internal_*'}", vec![]),
        ("{key: tenant, descriptors: [{key: path, rate_limit: {per: 1h, requests_per_unit: 5}}]}", vec![]),
    ] {
        assert_eq!(found(&format!("{own}descriptors: [{descriptors}]")), expected, "{descriptors}");
    }
    // In envoyproxy/ratelimit's words it is common.
    assert_eq!(found("domain: d\ndescriptors: [{key: api_key}]"), [""; 0]);
}

#[test]
fn two_rules_of_one_name_are_told_with_both_places() {
    let rule = |key: &str, words: &str| {
        format!("{{key: {key}, rate_limit: {{name: n, per: 1h, requests_per_unit: 5{words}}}}}")
    };
    let two = |one: String, other: String| format!("domain: d\ndescriptors:\n- {one}\n- {other}\n");
    let warned = "warning 4:31 the rule at a.yaml:3:31 is named `n`, too, so metrics show the two as one; give each a name of its own, \
                  or none: a rule without one is known by its keys and values";
    assert_eq!(found(&two(rule("a", ""), rule("b", ""))), [warned]);
    let shared = ", counter: c, count_by: []".replace("[]", "a");
    let within = |key: &str| {
        format!("{{key: a, value: {key}, rate_limit: {{name: n, per: 1h, requests_per_unit: 5{shared}}}}}")
    };
    for fine in [
        two(rule("a", ""), rule("b", "").replace("name: n", "name: m")),
        two(within("x"), within("y")),
        // In envoyproxy/ratelimit's words.
        two(rule("a", ""), rule("b", "")).replace("per: 1h", "unit: hour"),
        // Limits of lists, whose rules are known by their keys.
        two(rule("a", ""), rule("b", "")).replace("rate_limit: {", "rate_limits: [{").replace("5}", "5}]"),
        // One written rule in two places; two domains.
        two(rule("a", "").replace("rate_limit: ", "rate_limit: &r "), "{key: b, rate_limit: *r}".into()),
        two(rule("a", ""), rule("b", "")).replace("\n- {key: b", "\n---\ndomain: e\ndescriptors:\n- {key: b"),
    ] {
        assert_eq!(found(&fine), [""; 0], "{fine}");
    }
}

#[test]
fn what_a_template_names_and_nothing_can_fill_in_is_told() {
    let deny = "deny: {body: 'x {{entry.adress}} {{entry.path}} {{subject}}'}";
    let at_root = |request_headers: &str, deny: &str| {
        format!(
            "domain: d\n{request_headers}\n{deny}\nendpoints: [GET /a]\ndescriptors: [{{key: address, value: x}}, {{key: 'u_*'}}]"
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
#[expect(clippy::too_many_lines, reason = "one table")]
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
        "domain: d\nendpoints: [GET /a]\ndescriptors: [{key: method, descriptors: [{key: path, value: x}]}]";
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
fn a_misspelt_word_among_headers_is_no_header() {
    for (typed, meant) in
        [("dialct", "dialect"), ("emitt", "emit"), ("Emit", "emit"), ("dialects", "dialect")]
    {
        let told = found(&limit(&format!(
            "requests_per_unit: 5, per: 1m, headers: {{X-A: limit, {typed}: x-ratelimit}}"
        )));
        let hint = format!("unknown word `{typed}` in `headers`; did you mean `{meant}`?");
        assert!(told.len() == 1 && told[0].ends_with(&hint), "{told:?}");
    }
}

#[test]
fn a_log_beside_the_policies_is_told_why_it_is_read() {
    let told = load_text("rules/log", "", Options::default()).unwrap_err();
    assert!(
        told[0].hint.as_ref().unwrap().starts_with("it is read because its name has no ending"),
        "{told:?}"
    );
    assert_eq!(load_text("rules.d/log.yaml", "", Options::default()).unwrap_err()[0].hint, None);
}

#[test]
fn what_would_limit_nothing_is_told() {
    for nothing in ["domain: d", "domain: d\ndescriptors: []"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("d.yaml"), nothing).unwrap();
        let warned = load(&[directory.path()], Options::default()).unwrap().warnings;
        assert_eq!(
            warned.last().unwrap().message,
            "there are no descriptors, so everything passes",
            "{nothing}"
        );
    }
    let told = "`descriptors` lists nothing, so nothing is limited here; list some, or write `descriptors: []` if none are meant";
    for (yaml, severity) in
        [("domain: d\ndescriptors:", "warning "), ("domain: d\nevaluate: each\ndescriptors:", "")]
    {
        let found = found(yaml);
        assert!(found.len() == 1 && found[0].starts_with(severity) && found[0].ends_with(told), "{found:?}");
    }
    assert_eq!(found("domain: d\ndescriptors: []"), [""; 0]);
    // The word itself may be missing; other documents that limit something change nothing about it.
    let none = "domain `d` has no descriptors here, so nothing is limited; list some below `descriptors:`, or write `descriptors: []` if \
                none are meant";
    let others = "---\ndomain: e\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1}}]";
    for yaml in ["domain: d", &format!("domain: d\n{others}")] {
        assert_eq!(found(yaml), [format!("warning 1:9 {none}")], "{yaml}");
    }
    let merged = Options { merge_domains: true, ..Options::default() };
    let yaml = format!("domain: e\n{others}");
    assert_eq!(load_text("a.yaml", &yaml, merged).unwrap().warnings.len(), 1);
    // What holds for a whole domain may be a document of its own.
    assert_eq!(found("domain: d\nevaluate: each"), [""; 0]);
    // Half a subjects file frees nobody.
    for half in ["subjects:", "subjects: ~", "subjects:\n# to be written\n"] {
        let told = found_with(&for_keys("requests_per_unit: 5", ""), half);
        assert!(
            told.len() == 1
                && told[0]
                    .ends_with("error `subjects` lists nobody; write `subjects: []` if nobody is meant"),
            "{told:?}"
        );
    }
}

#[test]
fn rules_that_put_each_other_or_an_enforced_one_aside_are_told() {
    let rule = |key: &str, more: &str, name: &str, replaces: &str| {
        format!(
            "- {{key: {key}{more}, rate_limit: {{unit: day, requests_per_unit: 1, name: {name}, replaces: [{{name: {replaces}}}]}}}}\n"
        )
    };
    let yaml =
        format!("domain: d\ndescriptors:\n{}{}", rule("a", "", "one", "two"), rule("b", "", "two", "one"));
    let told = found(&yaml);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("warning 3:")
            && told[0]
                .contains("`one` and `two` replace each other, so a request that reaches both has no limit"),
        "{told:?}"
    );
    let yaml = format!(
        "domain: d\ndescriptors:\n- {{key: a, rate_limit: {{unit: day, requests_per_unit: 1, name: two}}}}\n{}",
        rule("b", ", shadow_mode: true", "one", "two")
    );
    let told = found(&yaml);
    assert!(
        told.len() == 1
            && told[0].contains("warning 4:")
            && told[0].contains("a rule that is only watched puts `two` aside"),
        "{told:?}"
    );
}

#[test]
fn characters_that_nobody_sees_are_named_where_they_are() {
    let limit = "rate_limit: {unit: day, requests_per_unit: 1}";
    for (yaml, told) in [
        (
            format!("domain: d\ndescriptors:\n- key: path\n  value: /a\u{200b}pi\n  {limit}"),
            "warning 4:10 there is a zero-width space (U+200B) in `/a\\u{200b}pi`; remove it, or write `\"\\u200B\"` in double quotes if it is meant",
        ),
        (
            format!("domain: 'd\u{a0}'\ndescriptors: [{{key: a, {limit}}}]"),
            "warning 1:9 there is a no-break space (U+00A0) in `d\\u{a0}`; remove it, or write `\"\\u00A0\"` in double quotes if it is meant",
        ),
        (
            format!("domain: d\ndescriptors: [{{key: a\u{feff}, {limit}}}]"),
            "warning 2:21 there is a byte order mark (U+FEFF) in `a\\u{feff}`; remove it, or write `\"\\uFEFF\"` in double quotes if it is meant",
        ),
        (
            format!(
                "domain: d\nendpoints: [{{re\u{ad}ad: [GET /a]}}]\ndescriptors: [{{key: endpoint, {limit}}}]"
            ),
            "warning 2:14 there is a soft hyphen (U+00AD) in `re\\u{ad}ad`; remove it, or write `\"\\u00AD\"` in double quotes if it is meant",
        ),
        (
            format!(
                "domain: d\ndescriptors:\n- key: a\n  {}",
                limit.replace("unit: day", "\u{200b}unit: day")
            ),
            "4:16 unknown word `\\u{200b}unit` in `rate_limit`; there is a zero-width space (U+200B) in it; type `unit` anew",
        ),
        // An alias repeats it.
        (
            format!(
                "domain: d\ndescriptors: [{{key: a, descriptors: &v [{{key: c\u{200b}, {limit}}}]}}, {{key: b, descriptors: *v}}]"
            ),
            "warning 2:47 there is a zero-width space (U+200B) in `c\\u{200b}`; remove it, or write `\"\\u200B\"` in double quotes if it is meant",
        ),
        (
            format!("domain: d\ndescriptors: [{{key: a\u{e0041}, {limit}}}]"),
            "warning 2:21 there is a character that is not shown (U+E0041) in `a\\u{e0041}`; remove it, or write `\"\\U000E0041\"` in double quotes if it is meant",
        ),
        (
            "domain: d: e\u{a0}f".to_owned(),
            "1:10 not YAML: mapping values are not allowed in this context; there is a no-break space (U+00A0) in this line or in the one above; type it anew",
        ),
        (
            format!("domain: d\ndescriptors:\n- key: a\n\u{a0} value: b\n  {limit}"),
            "5:13 not YAML: mapping values are not allowed in this context; there is a no-break space (U+00A0) in this line or in the one above; type it anew",
        ),
    ] {
        assert_eq!(found(&yaml), [told], "{yaml:?}");
    }
    for yaml in [
        // Written by its number; and text that people read.
        "domain: d\ndescriptors: [{key: a, value: \"a\\u200Bb\"}]",
        "domain: d\nheaders: {X-A: limit}\ndeny: {body: \"a\u{a0}b\"}\ndescriptors: [{key: a, metadata: {b: \"c\u{a0}\"}}] # \u{a0}",
        "\u{feff}domain: d\ndescriptors: [{key: größe}]",
        // Written by its number, where the same one, or another, stands elsewhere.
        "\u{feff}domain: d\ndescriptors: [{key: a, value: \"a\\uFEFFb\"}]",
        "domain: d # \u{a0}\ndescriptors: [{key: a, value: \"a\\u200Bb\"}]",
    ] {
        assert_eq!(found(yaml), [""; 0], "{yaml:?}");
    }
    let name = "subjects: [{id: a, attributes: {pl\u{ad}an: pro}, credentials: [{kind: key, value: 1}]}]";
    let told = found_with(&for_keys("requests_per_unit: 5", ""), name);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("d.subjects.yaml:1:33 warning there is a soft hyphen (U+00AD) in this text"),
        "{told:?}"
    );
    let subjects = "subjects:\n- {id: \"a\u{200b}\", attributes: {plan: \"pro\u{a0}\"}, credentials: [{kind: key, value: \"secret\u{200e}\"}]}\n";
    let told = found_with(&for_keys("requests_per_unit: 5", ""), subjects);
    let hint = "in this text; remove it: what is compared with the text would have to have it, too";
    assert_eq!(
        told,
        [
            format!("d.subjects.yaml:2:8 warning there is a zero-width space (U+200B) {hint}"),
            format!("d.subjects.yaml:2:33 warning there is a no-break space (U+00A0) {hint}"),
            format!("d.subjects.yaml:2:75 warning there is a left-to-right mark (U+200E) {hint}"),
        ]
    );
    let told = found_with(&for_keys("requests_per_unit: 5", ""), &subjects.replace("id:", "id\u{200b}:"));
    assert!(told.concat().contains("there is a zero-width space (U+200B) in it; type `id` anew"), "{told:?}");
}

/// The kinds of all that is found, in the order of the places.
fn kinds_with(yaml: &str, subjects: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), yaml).unwrap();
    std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    let loaded = load(&[directory.path()], Options::default());
    let found = loaded.map_or_else(|errors| errors, |loaded| loaded.warnings);
    found.iter().map(|one| one.kind.id()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_found_is_of_the_kind_that_fits() {
    let with_endpoints = |more: &str| format!("domain: d\nendpoints: [GET /a]\ndescriptors: [{more}]");
    let subjects =
        "subjects: [{id: a, attributes: {internal: true}, credentials: [{kind: key, value: Bearer x}]}]";
    for (yaml, kinds) in [
        (with("unit: minute"), "misplaced-word"),
        (with("value: \"a\u{a0}\""), "unseen-character"),
        (with("counter: ''"), "misplaced-word"),
        (with("subject: ''"), "wrong-value"),
        (with("value: ~"), "wrong-value"),
        (with("descriptors: {}"), "wrong-value"),
        (with("strip_scheme: true"), "misplaced-word"),
        (with("share_threshold: true"), "misplaced-word"),
        (with("empty: absent, value: a"), "misplaced-word"),
        (with("empty: never"), "wrong-value"),
        (with("exempt: {a: b}"), "misplaced-word"),
        (with("rate_limit: []"), "wrong-value"),
        (with("deny: {body: {}}"), "wrong-value"),
        (with("headers: {dialect: x}"), "wrong-value"),
        (with("headers: {emitt: always}"), "unknown-word"),
        (with("deny: {body: 'x {{subject}}'}"), "unknown-name"),
        (with("deny: {body: 'x {{entry.y}}'}"), "unknown-name"),
        ("domain: ''".into(), "wrong-value"),
        ("domain: d\nundeclared: one\ndescriptors: [{key: a, value: b}]".into(), "misplaced-word"),
        ("domain: d\nsubjects: []\ndescriptors: [{key: a, value: b}]".into(), "wrong-value"),
        (with_endpoints("{key: endpoint, value: GET /b}"), "unreachable-rule"),
        (with_endpoints("{key: method, descriptors: [{key: path, value: x}]}"), "unreachable-rule"),
        ("domain: d\ndescriptors: [{key: a, value: b}]\n---\ndomain: d\ndescriptors: [{key: b}]".into(), "repeated-rule"),
        (
            with("rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: nobody}]}"),
            "unknown-name",
        ),
        // They put each other aside, and nothing is unknown.
        (
            "domain: d\ndescriptors:\n- {key: a, rate_limit: {unlimited: true, name: a, replaces: [{name: b}]}}\n- {key: b, rate_limit: \
             {unlimited: true, name: b, replaces: [{name: a}]}}"
                .into(),
            "other other",
        ),
        // At the credential, and what exempts nobody.
        (for_keys("requests_per_unit: 5", "strip_scheme: true"), "wrong-subjects"),
        (for_keys("requests_per_unit: 5", "exempt: {internal: false}"), "unknown-name"),
        (for_keys("requests_per_unit: 5", "deny: {body: 'x {{entry.k}}'}"), "other"),
        (for_keys("requests_per_unit: {by: internal, values: {false: 5}}", ""), "missing-number missing-number"),
    ] {
        assert_eq!(kinds_with(&yaml, subjects), kinds, "{yaml}");
    }
    let unseen = subjects.replace("id: a", "id: \"a\u{a0}\"");
    assert_eq!(kinds_with(&for_keys("requests_per_unit: 5", ""), &unseen), "unseen-character");
}

/// As old archives and file systems have them.
#[test]
#[cfg(target_os = "linux")]
fn subjects_are_found_in_a_directory_whose_name_is_no_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;

    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir_all(directory.join("below")).unwrap();
    let subjects = "subjects: [{id: a, credentials: [{kind: key, value: 1}]}]";
    for (file, named) in
        [("d.subjects.yaml", "d.subjects.yaml"), ("below/d.subjects.yaml", "below/d.subjects.yaml")]
    {
        std::fs::write(directory.join(file), subjects).unwrap();
        let policy = for_keys("requests_per_unit: 5", "").replace("d.subjects.yaml", named);
        std::fs::write(directory.join("d.yaml"), policy).unwrap();
        let loaded = load(&[directory.join("d.yaml")], Options::default());
        assert!(loaded.is_ok(), "{named}: {loaded:?}");
    }
}

#[test]
fn a_value_that_is_nearly_one_that_limits_list_is_told_once_where_others_have_a_number() {
    let subject = |id: &str, plan: &str| {
        format!("- {{id: {id}, attributes: {{plan: {plan}}}, credentials: [{{kind: key, value: k_{id}}}]}}\n")
    };
    let subjects = |plans: &[&str]| {
        let listed = plans.iter().enumerate().map(|(at, plan)| subject(&format!("s{at}"), plan));
        format!("subjects:\n{}", listed.collect::<String>())
    };
    let policy = for_keys(
        "requests_per_unit: {by: plan, values: {growth: 5, scale1: 7}, otherwise: 1}",
        "exempt: {plan: partner}",
    );
    let told = found_with(&policy, &subjects(&["growth", "grwoth", "grwoth", "legacy", "scale2", "partner"]));
    let [told] = told.as_slice() else { panic!("{told:#?}") };
    assert!(told.contains("d.subjects.yaml:3"), "{told}");
    assert!(
        told.contains(
            "warning no limit lists the `plan: grwoth` of subject `s1` and 1 more, so the number of `otherwise` holds; did you mean \
             `growth`?"
        ),
        "{told}"
    );
    let told = found_with(&policy, &subjects(&["growth", "partnre"]));
    // The exemption that nobody has is told as well, at its own place.
    assert!(told.len() == 2 && told[0].ends_with("did you mean `partner`?"), "{told:#?}");
}
