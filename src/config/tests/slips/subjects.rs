//! Slips between what a policy asks of its subjects and what they have.

use super::*;

#[test]
fn a_plan_that_no_table_lists_is_refused_at_the_limit_and_at_the_customers_line() {
    let subjects = "subjects:\n- {id: a, attributes: {plan: pro}, credentials: [{kind: key, value: 1}]}\n- {id: b, attributes: {plan: gold}, \
                    credentials: [{kind: key, value: 2}]}\n- {id: c, credentials: [{kind: key, value: 3}]}\n";
    let table = "requests_per_unit: {by: plan, values: {pro: 5}}";
    assert_eq!(
        found_with(&for_keys(table, ""), subjects),
        [
            &*format!(
                "d.subjects.yaml:3:8 error limit `n` has no number for subjects with `plan: gold`, as this one; see d.yaml:6:53; {LISTED}"
            ),
            &format!(
                "d.subjects.yaml:4:8 error limit `n` has no number for subjects without `plan`, as this one; see d.yaml:6:53; {LISTED}"
            ),
            &format!(
                "d.yaml:6:53 error limit `n` has no number for subjects with `plan: gold`: `b` at d.subjects.yaml:3:8; {LISTED}"
            ),
            &format!(
                "d.yaml:6:53 error limit `n` has no number for subjects without `plan`: `c` at d.subjects.yaml:4:8; {LISTED}"
            ),
        ]
    );
    let with_otherwise = "requests_per_unit: {by: plan, values: {pro: 5}, otherwise: 1}";
    assert_eq!(found_with(&for_keys(with_otherwise, ""), subjects), [""; 0]);
}

/// The limits come to different customers, one of whom is the same.
#[test]
fn all_who_have_no_number_for_one_reason_are_counted_over_all_limits() {
    let limit = |kind: &str, name: &str| {
        format!(
            "- {{key: {name}, subject: {kind}, rate_limit: {{name: {name}, per: 1h, requests_per_unit: {{by: plan, values: {{pro: 5}}}}}}}}\n"
        )
    };
    let policy = format!(
        "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n{}{}{}",
        limit("key", "k"),
        limit("site", "s"),
        limit("site", "t")
    );
    let subject = |id: &str, credentials: &str| {
        format!("- {{id: {id}, attributes: {{plan: gold}}, credentials: [{credentials}]}}\n")
    };
    let subjects = format!(
        "subjects:\n{}{}{}",
        subject("a", "{kind: key, value: 1}"),
        subject("b", "{kind: key, value: 2}, {kind: site, value: 2}"),
        subject("c", "{kind: site, value: 3}")
    );
    let told = found_with(&policy, &subjects);
    let limits = "limits `k`, `s`, `t` have no number for subjects with `plan: gold`";
    assert_eq!(
        told,
        [
            format!("d.subjects.yaml:2:8 error {limits}, as this one and 2 more; see d.yaml:4:76; {LISTED}"),
            format!("d.yaml:4:76 error {limits}: `a` at d.subjects.yaml:2:8 and 2 more; {LISTED}"),
        ]
    );
}

#[test]
fn a_credential_is_not_to_be_named_by_metrics() {
    let policy = "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n- {key: k, subject: key, value_to_metric: true, rate_limit: \
                  {unlimited: true}}";
    let subjects = "subjects: [{id: a, credentials: [{kind: key, value: 1}]}]";
    assert_eq!(
        found_with(policy, subjects),
        [
            "d.yaml:4:43 error `value_to_metric` would show credentials; a credential is never shown; leave the word out, or set it on \
          a descriptor without a `subject`"
        ]
    );
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
    // What stands beside a credential is not shown.
    let own =
        "{id: b, attributes: {plan: pro}, credentials: [{kind: key, value: 2, attributes: {plan: hidden}}]}";
    let told = found_with(&for_keys(table, ""), &format!("subjects: [{pro}, {own}]")).concat();
    assert!(
        told.contains("with a credential whose own `plan` is not listed") && !told.contains("hidden"),
        "{told}"
    );
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
    // One customer's kind beside another's: a slip, or given out before the policy asks for it. It is told, and refuses nothing.
    for (kind, hint) in [
        ("kay", "did you mean `key`?"),
        ("kez", "did you mean `key`?"),
        ("key2", "did you mean `key`?"),
        ("site", "write `subject: site` on the descriptor whose value it is"),
    ] {
        let two = format!(
            "subjects: [{{id: a, credentials: [{{kind: key, value: 1}}]}}, {{id: b, credentials: [{{kind: {kind}, value: 2}}]}}]"
        );
        let message = format!("no policy asks for credentials of the kind `{kind}`; {hint}");
        assert_eq!(found_with(&policy, &two), [format!("d.subjects.yaml:1:81 warning {message}")]);
    }
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
            "d.yaml:6 warning `attribute` names the attribute `rpn`, which no subject has, so nobody has this limit; did you mean `rpm`?",
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
    let told = told_of(load(&[directory.path()], options()), directory.path());
    let starts: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["s.subjects.yaml:1:17", "b.yaml:3:76", "c.yaml:4:3"], "{told:?}");

    for name in ["b.yaml", "c.yaml"] {
        write(name, &format!("domain: {name}\nsubjects: s.subjects.yaml\n"));
    }
    write("s.subjects.yaml", "subjects: [{id: a, credntials: []}]");
    let told = told_of(load(&[directory.path()], options()), directory.path());
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
fn names_that_are_near_and_yet_two_are_no_slips() {
    let people = "subjects: [{id: a, attributes: {rpm: 1, limit1: 1}, credentials: [{kind: key, value: 1}]}]";
    for (asked, is_slip) in
        [("limit2", false), ("limit", false), ("rps", false), ("rmp", true), ("RPM", true), ("limti1", true)]
    {
        let told = found_with(&for_keys(&format!("requests_per_unit: 5, override: {asked}"), ""), people);
        assert_eq!(told.iter().any(|told| told.contains(" error ")), is_slip, "{asked}: {told:?}");
    }
}

#[test]
fn a_tier_that_is_exempt_needs_no_number() {
    let people = "subjects: [{id: a, credentials: [{kind: key, value: 1}]}]\ntiers: {attribute: tier, rules: [{tier: 1}, {tier: 3, spend: 9}]}";
    let told =
        |exempt: &str| found_with(&for_keys("requests_per_unit: {by: tier, values: {1: 5}}", exempt), people);
    assert!(told("").iter().any(|told| told.contains("has no number for tier 3")), "{:?}", told(""));
    assert_eq!(told("exempt: {tier: 3}"), [""; 0]);
}

#[test]
fn a_credential_written_with_the_scheme_that_is_stripped_is_refused() {
    let subjects = "subjects:\n- {id: a, credentials: [{kind: key, value: 'bearer secret_1'}]}\n- {id: b, credentials: [{kind: key, \
                    value: Basic secret_2, enabled: false}, {kind: key, value: secret_3}]}\n";
    let told = found_with(&for_keys("requests_per_unit: 5", "strip_scheme: true"), subjects);
    assert_eq!(
        told,
        [
            "d.subjects.yaml:2:44 error a credential of the kind `key` with its scheme, which `strip_scheme` takes away from what is \
          sent, so it matches nobody; write it without the `Bearer` or `Basic` before it"
        ]
    );
    // Here it is compared as it is sent.
    assert_eq!(found_with(&for_keys("requests_per_unit: 5", ""), subjects), [""; 0]);
    let both = for_keys("requests_per_unit: 5", "strip_scheme: true") + "- {key: raw, subject: key}\n";
    assert_eq!(found_with(&both, subjects), [""; 0]);
}

#[test]
fn a_plan_that_tables_misspell_is_told_once_for_all_its_customers_and_limits() {
    let customer = |n: usize| {
        format!("- {{id: c{n}, attributes: {{plan: business}}, credentials: [{{kind: key, value: {n}}}]}}\n")
    };
    let subjects = format!("subjects:\n{}", (0..50).map(customer).collect::<String>());
    let limit = |name: &str, per: &str, more: &str| {
        format!(
            "  - {{name: {name}, per: {per}, requests_per_unit: {{by: plan, values: {{bussiness: 5{more}}}}}}}\n"
        )
    };
    let policy = format!(
        "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n- key: k\n  subject: key\n  rate_limits:\n{}{}",
        limit("hourly", "1h", ""),
        limit("daily", "1d", ", pro: 9"),
    );
    let hint = format!("`values` lists `bussiness`; write both alike, or {LISTED}");
    let lack = "error limits `hourly`, `daily` have no number for subjects with `plan: business`";
    assert_eq!(
        found_with(&policy, &subjects),
        [
            format!("d.subjects.yaml:2:8 {lack}, as this one and 49 more; see d.yaml:7:48; {hint}"),
            format!("d.yaml:7:48 {lack}: `c0` at d.subjects.yaml:2:8 and 49 more; {hint}"),
        ]
    );
}

#[test]
fn subjects_may_be_json_lines() {
    let policy = "domain: d\nsubjects: who.jsonl\ndescriptors:\n- {key: k, subject: key, rate_limit: {unit: day, \
                  requests_per_unit: {by: plan, values: {pro: 1}}}}\n";
    let found = |lines: &str| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("d.yaml"), policy).unwrap();
        std::fs::write(directory.path().join("who.jsonl"), lines).unwrap();
        told_of(load(&[directory.path()], Options::default()), directory.path())
    };
    let who = |id: &str, plan: &str| {
        format!(
            "{{\"id\": \"{id}\", \"attributes\": {{\"plan\": \"{plan}\"}}, \"credentials\": [{{\"kind\": \"key\", \
             \"value\": \"of {id}\"}}]}}\n"
        )
    };
    assert_eq!(found(&(who("a", "pro") + &who("b", "pro"))), Vec::<String>::new());
    let wrong = found(&(who("a", "pro") + &who("b", "gold")));
    assert!(wrong.iter().any(|line| line.starts_with("who.jsonl:2:")), "{wrong:?}");
    assert_eq!(
        found("{\"id\": \"a\"\n"),
        ["who.jsonl:1:10 error not a line of JSON: EOF while parsing an object"]
    );
}

#[test]
fn an_override_that_only_one_can_have_is_fine_and_one_that_nobody_can_is_told() {
    let policy = for_keys("requests_per_unit: 5, override: agreed", "");
    let subjects = |attributes: &str, credential: &str, tiers: &str| {
        format!(
            "subjects:\n- {{id: a, attributes: {{plan: pro}}, credentials: [{{kind: key, value: 1}}]}}\n- {{id: b, attributes: \
             {{{attributes}}}, credentials: [{{kind: key, value: 2, attributes: {{{credential}}}}}]}}\n{tiers}"
        )
    };
    let tiers = "tiers: {attribute: agreed, rules: [{tier: 1, spend: 5}]}\n";
    for (attributes, credential, tiers) in [("agreed: 9", "", ""), ("", "agreed: 9", ""), ("", "", tiers)] {
        let told = found_with(&policy, &subjects(attributes, credential, tiers));
        assert_eq!(told, [""; 0], "{attributes} {credential} {tiers}");
    }
    // It may be agreed on later, unless it is a slip.
    let told = found_with(&policy, &subjects("", "", ""));
    assert!(
        told.len() == 1
            && told[0].contains(" warning `override` names the attribute `agreed`, which no subject has, so it replaces no number"),
        "{told:?}"
    );
    for (attributes, credential, tiers) in
        [("agred: 9", "", ""), ("", "agred: 9", ""), ("", "", &*tiers.replace("agreed", "agred"))]
    {
        let told = found_with(&policy, &subjects(attributes, credential, tiers));
        assert!(
            told.len() == 1
                && told[0].contains(" error `override` names the attribute `agreed`")
                && told[0].ends_with("did you mean `agred`?"),
            "{told:?}"
        );
    }
}

#[test]
fn a_subjects_file_that_two_domains_name_is_told_of_once() {
    let domain = |name: &str| {
        format!(
            "domain: {name}\nsubjects: d.subjects.yaml\ndescriptors: [{{key: k, subject: key, strip_scheme: true}}]\n"
        )
    };
    let subjects = "subjects: [{id: \"a\u{200b}\", credentials: [{kind: key, value: Bearer x}]}]";
    let told = found_with(&format!("{}---\n{}", domain("d"), domain("e")), subjects);
    let places: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["d.subjects.yaml:1:17", "d.subjects.yaml:1:56"], "{told:?}");
}

#[test]
fn of_many_limits_without_a_number_the_first_eight_are_named() {
    let limit = |n: usize| {
        format!("  - {{name: l{n}, per: {n}h, requests_per_unit: {{by: plan, values: {{pro: 5}}}}}}\n")
    };
    let limits: String = (1..=10).map(limit).collect();
    let policy = format!(
        "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n- key: k\n  subject: key\n  rate_limits:\n{limits}"
    );
    let told = found_with(&policy, "subjects: [{id: a, credentials: [{kind: key, value: 1}]}]");
    let named = "error limits `l1`, `l2`, `l3`, `l4`, `l5`, `l6`, `l7`, `l8` and 2 more have no number for subjects without `plan`";
    assert!(told.len() == 2 && told.iter().all(|told| told.contains(named)), "{told:?}");
}

#[test]
fn a_kind_of_which_nobody_enabled_has_a_credential_is_told() {
    let told = "nobody enabled has an enabled credential of the kind `key`, so this matches nobody";
    for (subjects, is_told) in [
        ("subjects: [{id: a, enabled: false, credentials: [{kind: key, value: k}]}]", true),
        ("subjects: [{id: a, credentials: [{kind: key, value: k, enabled: false}]}]", true),
        ("subjects: [{id: a}]", true),
        ("subjects: [{id: a, credentials: [{kind: key, value: k}]}]", false),
        // It is written that nobody is meant.
        ("subjects: []", false),
    ] {
        let found = found_with(&for_keys("requests_per_unit: 5", ""), subjects).concat();
        assert_eq!(found.contains(told), is_told, "{subjects}: {found}");
    }
}

#[test]
fn subjects_among_the_policies_are_told_how_they_are_called() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), "domain: d\nsubjects: who.yaml\ndescriptors: [{key: k}]")
        .unwrap();
    std::fs::write(directory.path().join("who.yaml"), "subjects: [{id: a}]").unwrap();
    let found = told_of(load(&[directory.path()], Options::default()), directory.path()).concat();
    assert!(
        found
            .contains("the policy has no domain; if it is a file of subjects, name it `who.subjects.yaml`; "),
        "{found}"
    );
}
