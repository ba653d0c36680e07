//! `spillway test` as a person runs it.

use std::path::Path;
use std::process::Command;

use crate::support::{command, directory};

const POLICY: &str = "domain: d\ndescriptors: [{key: x, rate_limit: {unit: day, requests_per_unit: 1}}]\n";
const PASSES: &str = "policy: shop.yaml\nstart: 2026-01-01\nsteps:\n- {send: {x: a}, expect: ok}\n- {send: {x: a}, expect: over_limit}\n";
const FAILS: &str = "policy: shop.yaml\nstart: 2026-01-01\nsteps:\n- {send: {x: a}, expect: over_limit}\n";

/// The exit code, and what it told on standard output and on standard error, without the directory.
fn test(root: &Path, paths: &[&str]) -> (i32, String, String) {
    let output = command(&["test"]).args(paths.iter().map(|path| root.join(path))).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&format!("{}/", root.display()), "");
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_wrong_path_keeps_no_other_from_being_tested() {
    let root = directory(&[("shop.yaml", POLICY), ("shop.test.yaml", PASSES)]);
    let (code, reported, wrong) = test(root.path(), &["shop.tset.yaml", "shop.test.yaml"]);
    assert_eq!(
        (code, reported.as_str()),
        (1, "ok      shop.test.yaml  2 steps\n1 passed, 0 failed\n"),
        "{wrong}"
    );
    assert!(wrong.contains("cannot read `shop.tset.yaml`") && wrong.contains("did you mean"), "{wrong}");
}

#[test]
fn a_policy_stands_for_its_tests_and_a_directory_for_all_below_it() {
    let root = directory(&[
        ("shop.yaml", POLICY),
        ("shop.subjects.yaml", "subjects: []"),
        ("shop.test.yaml", PASSES),
        ("refused.test.yaml", FAILS),
        ("other.yaml", "domain: o\nsubjects: shop.subjects.yaml\ndescriptors: []"),
        (
            "other.test.yaml",
            "policy: elsewhere/other.yaml\nstart: 2026-01-01\nsteps: [{send: {x: a}, expect: ok}]",
        ),
    ]);
    std::fs::create_dir(root.path().join("elsewhere")).unwrap();
    for (name, text) in [("shop.yaml", POLICY), ("shop.test.yaml", PASSES), ("other.yaml", POLICY)] {
        std::fs::write(root.path().join("elsewhere").join(name), text).unwrap();
    }
    let run = |path: &str| {
        let (code, reported, wrong) = test(root.path(), &[path]);
        let run: Vec<String> = reported
            .lines()
            .filter_map(|line| Some(line.strip_prefix("ok").or_else(|| line.strip_prefix("FAILED"))?.trim()))
            .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
            .collect();
        assert_eq!(wrong, "");
        (code, run)
    };
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(run("shop.yaml"), (1, list(&["refused.test.yaml", "shop.test.yaml"])));
    assert_eq!(run("shop.subjects.yaml"), (0, list(&["other.test.yaml"])));
    assert_eq!(run("elsewhere"), (0, list(&["elsewhere/shop.test.yaml"])));
    assert_eq!(
        run("").1,
        list(&["elsewhere/shop.test.yaml", "other.test.yaml", "refused.test.yaml", "shop.test.yaml"])
    );
    // One that was named twice is run once.
    let (_, reported, _) = test(root.path(), &["shop.test.yaml", "shop.yaml"]);
    assert!(reported.ends_with("1 passed, 1 failed\n"), "{reported}");
}

#[test]
fn that_there_is_no_test_is_reported_and_is_no_success() {
    let root = directory(&[("shop.yaml", POLICY), ("shop.subjects.yaml", "subjects: []")]);
    for (path, expected) in [
        ("", "no test found in `"),
        ("shop.yaml", "no test found for `shop.yaml`: it is a policy"),
        ("shop.subjects.yaml", "no test found for `shop.subjects.yaml`: it is a subjects file"),
    ] {
        let (code, reported, wrong) = test(root.path(), &[path]);
        assert_eq!((code, reported.as_str()), (1, ""), "{path}");
        assert!(wrong.contains(expected) && wrong.contains("help:"), "{wrong}");
    }
}

#[test]
fn colours_are_for_the_terminal_that_the_text_goes_to() {
    let root = directory(&[("shop.yaml", "domain: d\ndescriptors: [{kye: x}]"), ("shop.test.yaml", PASSES)]);
    let file = root.path().join("redirected");
    // Both streams are a terminal, but for the one that goes to the file.
    let run = |redirected: &str| {
        let spillway = command(&[]);
        let program = format!(
            "'{}' test '{}' {redirected}>'{}'",
            spillway.get_program().display(),
            root.path().join("shop.yaml").display(),
            file.display()
        );
        let mut script = Command::new("script");
        let output = script.args(["-qec", &program, "/dev/null"]).env_remove("NO_COLOR").output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), std::fs::read_to_string(&file).unwrap())
    };
    let (reported, _) = run("2");
    assert!(reported.contains("FAILED") && reported.contains('\u{1b}'), "{reported}");
    let (_, reported) = run("1");
    assert!(reported.contains("FAILED") && !reported.contains('\u{1b}'), "{reported}");
}
