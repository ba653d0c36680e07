//! `spillway check` of tests and of subjects files.

use std::path::Path;

use crate::support::{command, directory};

const POLICY: &str = "domain: d\nsubjects: shop.subjects.yaml\ndescriptors:\n- key: api_key\n  subject: key\n  exempt: {plan: staff}\n  \
                      rate_limit: {requests_per_unit: {by: plan, values: {free: 1, pro: 5}}, unit: day}\n";
const SUBJECTS: &str = "subjects:\n- {id: acme, attributes: {plan: free}, credentials: [{kind: key, value: k}]}\n- {id: us, attributes: {plan: staff}}\n";
const TEST: &str = "policy: shop.yaml\nstart: 2026-01-01\nsteps:\n- {send: {api_key: k}, expect: ok}\n";

/// The exit code, and what it told on either stream, without the directory.
fn check(root: &Path, paths: &[&str]) -> (i32, String) {
    let output = command(&["check"]).args(paths.iter().map(|path| root.join(path))).output().unwrap();
    let reported = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), reported.replace(&format!("{}/", root.display()), ""))
}

#[test]
fn a_test_and_a_subjects_file_are_checked_as_what_they_are() {
    let root =
        directory(&[("shop.yaml", POLICY), ("shop.subjects.yaml", SUBJECTS), ("shop.test.yaml", TEST)]);
    assert_eq!(
        check(root.path(), &["shop.test.yaml"]),
        (0, "ok: 1 test (not run: `spillway test` runs it)\n".to_owned())
    );
    assert_eq!(check(root.path(), &["shop.subjects.yaml"]), (0, "ok: 1 rule in 2 files\n".to_owned()));
    let all = ["shop.yaml", "shop.subjects.yaml", "shop.test.yaml"];
    assert_eq!(
        check(root.path(), &all),
        (0, "ok: 1 rule in 2 files, 1 test (not run: `spillway test` runs it)\n".to_owned())
    );

    // A mistake of the policy is one, however many tests have met it.
    std::fs::write(root.path().join("shop.yaml"), POLICY.replace("unit: day", "unit: dya")).unwrap();
    let (code, reported) = check(root.path(), &all);
    assert!(code == 1 && reported.ends_with("\n1 error\n"), "{reported}");
}

#[test]
fn a_test_of_no_policy_and_subjects_of_none_are_mistakes() {
    let root = directory(&[
        ("a.subjects.yaml", SUBJECTS),
        ("a.test.yaml", TEST),
        ("b.yaml", "domain: b\ndescriptors: []"),
    ]);
    let (code, reported) = check(root.path(), &["a.test.yaml"]);
    assert!(
        code == 1 && reported.contains("there is no policy `shop.yaml`\n --> a.test.yaml:1:9"),
        "{reported}"
    );
    let (code, reported) = check(root.path(), &["a.subjects.yaml"]);
    assert!(code == 1 && reported.contains("`a.subjects.yaml` is a subjects file"), "{reported}");
    assert!(reported.contains("run `spillway check POLICY`"), "{reported}");
}

#[test]
fn a_subjects_file_that_is_not_there_is_compared_with_such_files_only() {
    let hint = |beside: &[(&str, &str)]| {
        let root = directory(&[&[("shop.yaml", POLICY)], beside].concat());
        let (code, told) = check(root.path(), &["shop.yaml"]);
        assert!(code == 1 && told.contains("cannot read `shop.subjects.yaml`"), "{told}");
        told.split_once("did you mean ").map(|(_, meant)| meant.split('?').next().unwrap().to_owned())
    };
    for other in
        ["shop.subjects.test.yaml", "shop.subject.test.yaml", "shop.subject.yml", "shop-subjects.yaml"]
    {
        assert_eq!(hint(&[(other, TEST)]), None, "{other}");
    }
    assert_eq!(hint(&[("shop.subject.yaml", POLICY)]), None);
    assert_eq!(hint(&[("shop.subject.yaml", SUBJECTS)]).as_deref(), Some("`shop.subject.yaml`"));
    let both = [("shop.subjects.test.yaml", TEST), ("shops.subjects.yaml", "")];
    assert_eq!(hint(&both).as_deref(), Some("`shops.subjects.yaml`"));
}

#[test]
fn what_a_test_sets_has_to_mean_something() {
    let root = directory(&[("shop.yaml", POLICY), ("shop.subjects.yaml", SUBJECTS)]);
    let set = |change: &str| {
        let test = format!("{TEST}- {{set: {change}}}\n");
        std::fs::write(root.path().join("shop.test.yaml"), test).unwrap();
        check(root.path(), &["shop.test.yaml"])
    };
    for sound in ["plan: pro", "plan: staff", "plan: free, seats: 5"] {
        let (code, reported) = set(&format!("{{subject: acme, attributes: {{{sound}}}}}"));
        assert_eq!(code, 0, "{sound}: {reported}");
    }
    for (change, message, hint) in [
        (
            "{subject: acme, attributes: {plan: por}}",
            "no limit has a number for `plan: por`\n --> shop.test.yaml:5:44",
            "`pro`?",
        ),
        (
            "{subject: acme, attributes: {plan: gold}}",
            "no limit has a number for `plan: gold`",
            "values of `plan` are `free`, `pro`",
        ),
        (
            "{subject: acne, attributes: {plan: pro}}",
            "there is no subject `acne`\n --> shop.test.yaml:5:19",
            "`acme`?",
        ),
        (
            "{subject: acme, attributes: {paln: pro}}",
            "no subject has the attribute `paln`",
            "did you mean `plan`?",
        ),
    ] {
        let (code, reported) = set(change);
        assert!(code == 1 && reported.contains(message) && reported.contains(hint), "{change}: {reported}");
        // `spillway test` says the same.
        let output = command(&["test"]).arg(root.path().join("shop.test.yaml")).output().unwrap();
        let reported = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && reported.contains(hint), "{change}: {reported}");
    }
}

/// Each limit asks for itself, of what is true of the subject when the step comes to it.
#[test]
fn what_a_test_sets_is_looked_at_when_it_is_sent() {
    let limit = |key: &str, plans: &str, more: &str| {
        format!(
            "  - {{key: {key}, rate_limit: {{name: {key}, requests_per_unit: {{by: plan, values: {{{plans}}}}}, unit: day{more}}}}}\n"
        )
    };
    let policy = "domain: d\nsubjects: shop.subjects.yaml\ndescriptors:\n- key: api_key\n  subject: key\n  exempt: {internal: true}\n  \
                  descriptors:\n"
        .to_owned()
        + &limit("few", "free: 1", "")
        + &limit("more", "free: 1, pro: 5", ", override: rpm");
    let root = directory(&[("shop.yaml", &policy), ("shop.subjects.yaml", SUBJECTS)]);
    let play = |steps: &str| {
        let test = format!("policy: shop.yaml\nstart: 2026-01-01\nsteps:\n{steps}");
        std::fs::write(root.path().join("shop.test.yaml"), test).unwrap();
        check(root.path(), &["shop.test.yaml"])
    };
    let set = |attributes: &str| format!("- {{set: {{subject: acme, attributes: {{{attributes}}}}}}}\n");
    let send = |key: &str| format!("- {{send: {{api_key: k, {key}: x}}, expect: ok}}\n");
    // The other limit has a number for it.
    let (code, told) = play(&(set("plan: pro") + &send("more") + &send("few") + &send("few")));
    assert!(
        code == 1 && told.contains("limit `few` has no number for `plan: pro`\n --> shop.test.yaml:4:44"),
        "{told}"
    );
    assert!(told.contains("its values of `plan` are `free`") && told.ends_with("\n1 error\n"), "{told}");
    for sound in [
        set("plan: pro") + &send("more"),
        set("plan: pro") + &set("plan: free") + &send("few"),
        // What an earlier step set holds on.
        set("rpm: 5") + &set("plan: gold") + &send("more"),
        set("internal: true") + &set("plan: gold") + &send("few"),
    ] {
        let (code, told) = play(&sound);
        assert_eq!(code, 0, "{sound}: {told}");
    }
    let (code, told) = play(&(set("internal: true") + &set("internal: false, plan: pro") + &send("few")));
    assert!(code == 1 && told.contains("shop.test.yaml:5:61"), "{told}");
}

#[test]
fn each_sort_of_mistake_has_a_name_that_programs_can_keep() {
    let root = directory(&[
        ("syntax.yaml", "domain: ["),
        (
            "shop.yaml",
            "domain: d\nsubjects: shop.subjects.yaml\ndescriptors:\n- key: api_key\n  subject: key\n\
             \x20 rate_limit: {requests_per_unit: {by: plan, values: {pro: 5}}, unit: dya}\n  rate_limt: {}\n\
             - {key: a, key: a}\n- {key: b}\n- {key: b}\n- {key: c, unlimited: {}, replaces: [{name: nobody}]}\n\
             - {key: d, rate_limit: {requests_per_unit: {by: plan, values: {pro: 5}}, unit: day}}\n",
        ),
        ("shop.subjects.yaml", SUBJECTS),
        ("other.yaml", "domain: o\nsubjects: other.subjects.yaml\ndescriptors: []\nburst: 1"),
        ("other.subjects.yaml", "subjects: [{idd: a}]"),
        (
            "warned.yaml",
            "domain: w\nsubjects: shop.subjects.yaml\ndescriptors:\n\
             - key: k\n  subject: key\n  rate_limit: {requests_per_unit: {by: plan, values: {pro: 5}}, unit: day}\n\
             - {key: b, value: '*', rate_limit: {requests_per_unit: 1, unit: day, name: x, replaces: [{name: y}]}}\n\
             - {key: b, value: 'b*'}\n- {key: \"c\u{a0}\"}\n- {key: 'e '}\n",
        ),
    ]);
    let check = |more: &[&str]| {
        let output = command(&["check", "--format", "json"]).arg(root.path()).args(more).output().unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        found
    };
    let found = check(&["missing.yaml"]);
    let mut kinds: Vec<&str> = found.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all = "misplaced-word missing-number other repeated-key repeated-rule syntax unknown-name unknown-word unreachable-rule \
               unreadable-file unseen-character wrong-subjects wrong-value";
    assert_eq!(kinds.join(" "), all, "{found:#?}");
    // What --strict refuses is an error to programs, too.
    assert!(found.iter().any(|one| one["severity"] == "warning"));
    assert!(check(&["--strict"]).iter().all(|one| one["severity"] == "error"));
}

#[test]
fn digits_that_are_grouped_inside_braces_are_one_mistake() {
    let root = directory(&[(
        "d.yaml",
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 10,000, unit: day}}\n\
         - {key: b, rate_limit: {unit: day, requests_per_unit: 1,000,000}}\n",
    )]);
    let (code, reported) = check(root.path(), &["d.yaml"]);
    assert!(code == 1 && reported.ends_with("\n2 errors\n"), "{reported}");
    for (place, hint) in [("3:44", "`10000`"), ("4:55", "`1000000`")] {
        assert!(reported.contains(&format!("d.yaml:{place}\n")), "{reported}");
        assert!(reported.contains(&format!("write the digits alone, {hint}")), "{reported}");
    }
    let policy = POLICY.replace("pro: 5", "pro: 10,000").replace("{free: 1,", "{free: 1,000,");
    std::fs::write(root.path().join("d.yaml"), policy).unwrap();
    std::fs::write(root.path().join("shop.subjects.yaml"), SUBJECTS).unwrap();
    let (_, reported) = check(root.path(), &["d.yaml"]);
    assert!(
        reported.contains("`1,000`") && reported.contains("`10,000`") && reported.ends_with("\n2 errors\n"),
        "{reported}"
    );
    // Names of three digits are none, where they are meant.
    let policy = POLICY.replace("free: 1, pro: 5", "free: 1, 000: 5, \"100\": 1, 200: 3");
    std::fs::write(root.path().join("d.yaml"), policy).unwrap();
    assert_eq!(check(root.path(), &["d.yaml"]).0, 0);
}

#[test]
fn what_is_named_twice_is_checked_once() {
    let root =
        directory(&[("shop.yaml", POLICY), ("shop.subjects.yaml", SUBJECTS), ("shop.test.yaml", TEST)]);
    let ok = |tests: &str| (0, format!("ok: 1 rule in 2 files{tests}\n"));
    assert_eq!(
        check(root.path(), &[".", "shop.subjects.yaml"]),
        ok(", 1 test (not run: `spillway test` runs it)")
    );
    assert_eq!(check(root.path(), &["./shop.yaml", "shop.subjects.yaml", "shop.yaml"]), ok(""));
    assert_eq!(
        check(root.path(), &["shop.test.yaml", "./shop.test.yaml"]),
        (0, "ok: 1 test (not run: `spillway test` runs it)\n".to_owned())
    );
}

#[test]
fn a_subjects_file_goes_with_the_policy_that_names_it_and_not_one_of_its_name() {
    let root = directory(&[("shop.subjects.yaml", SUBJECTS)]);
    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("shop.yaml"), POLICY.replace("shop.subjects", "../shop.subjects")).unwrap();
    std::fs::write(other.join("shop.subjects.yaml"), "subjects: [{idd: oops}]").unwrap();
    let (code, reported) = check(root.path(), &["other/shop.subjects.yaml"]);
    assert!(code == 1 && reported.contains("no policy beside it does"), "{code}: {reported}");
}

#[test]
fn what_a_directory_leaves_out_is_checked_when_it_is_named() {
    let root = directory(&[
        ("shop.yaml", "domain: shop\ndescriptors: [{key: k}]"),
        (".b.yaml", "domain: b\nlimits: 1"),
    ]);
    std::fs::create_dir(root.path().join(".drafts")).unwrap();
    std::fs::write(root.path().join(".drafts/c.yaml"), "domain: c\nlimits: 1").unwrap();
    assert_eq!(check(root.path(), &["."]).0, 0);
    for (named, reported) in [(".b.yaml", "limits"), (".drafts", "limits"), ("missing.yaml", "missing.yaml")]
    {
        let (code, found) = check(root.path(), &[".", named]);
        assert!(code == 1 && found.contains(reported), "{named}: {code} {found}");
    }
    std::os::unix::fs::symlink("shop.yaml", root.path().join("link.yaml")).unwrap();
    assert_eq!(check(root.path(), &[".", "link.yaml", "shop.yaml"]).0, 0, "one file, however it is named");
}
