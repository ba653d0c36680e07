//! What each command exits with: 0 when all is well, 1 when the input is wrong, 2 when the command line or the environment is, and
//! 70 when the program failed, or lacks what it may have a moment later.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Spillway, command, directory};

const POLICY: &str = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]\n";
const TEST: &str = "policy: right.yaml\nstart: 2026-01-01T00:00:00Z\nsteps: [{send: {k: v}, expect: ok}]\n";
const LIMITS: &str = "- {namespace: n, max_value: 5, seconds: 60, variables: [user]}\n";

/// Files that are right, and files that are not.
fn files() -> tempfile::TempDir {
    let files = directory(&[
        ("right.yaml", POLICY),
        ("wrong.yaml", "domain: w\nlimits: 1\n"),
        ("right.test.yaml", TEST),
        ("failing.test.yaml", &TEST.replace("expect: ok", "expect: over_limit")),
        ("limits.yml", LIMITS),
        ("wrong-limits.yml", "- {namespace: n}\n"),
    ]);
    std::fs::create_dir(files.path().join("store")).unwrap();
    let mut import = command(&["store", "import", "store/a"]);
    let head = format!("{{\"spillway_store\":1,\"secret\":\"{}\"}}\n", "0".repeat(32));
    std::fs::write(files.path().join("export"), head).unwrap();
    import.stdin(File::open(files.path().join("export")).unwrap());
    assert!(import.current_dir(files.path()).output().unwrap().status.success());
    files
}

/// What `spillway` with these words exits with, and what it says.
fn run(files: &Path, words: &str, to: Stdio) -> (i32, String) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut command = command(&words);
    let output = command.current_dir(files).stdin(Stdio::null()).stdout(to).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_exits_with_what_became_of_it() {
    let files = files();
    for (words, code) in [
        ("--version", 0),
        ("--help", 0),
        ("", 2),
        ("chekc", 2),
        ("serve --nothing", 2),
        ("serve --config nowhere.yaml", 1),
        ("serve --config wrong.yaml", 1),
        ("serve --config right.yaml --grpc-addr nonsense", 2),
        ("serve --config right.yaml --store disk:/proc/nowhere", 2),
        ("serve --config right.yaml --store redis://", 2),
        ("check right.yaml", 0),
        ("check wrong.yaml", 1),
        ("check nowhere.yaml", 1),
        ("check", 2),
        ("check --format xml right.yaml", 2),
        ("explain --config right.yaml --domain d k=v", 0),
        ("explain --config right.yaml --domain e k=v", 1),
        ("explain --config wrong.yaml --domain w k=v", 1),
        ("explain --config right.yaml --domain d k", 2),
        ("explain --config right.yaml k=v", 2),
        ("explain --config right.yaml --domain d --at soon k=v", 2),
        ("explain --config right.yaml --domain d --hits -1 k=v", 2),
        ("test right.test.yaml", 0),
        ("test failing.test.yaml", 1),
        ("test nowhere.test.yaml", 1),
        ("test", 2),
        ("schema", 0),
        ("schema more", 2),
        ("env", 0),
        ("env --sett", 2),
        ("completions bash", 0),
        ("completions tcsh", 2),
        ("migrate limits.yml", 0),
        ("migrate wrong-limits.yml", 1),
        ("migrate nowhere.yml", 1),
        ("migrate limits.yml --to right.yaml", 1),
        ("migrate limits.yml --to /proc/nowhere", 70),
        ("migrate", 2),
        ("store inspect store/a", 0),
        ("store export store/a", 0),
        ("store compact store/a", 0),
        ("store backup store/a store/b", 0),
        ("store backup store/a store/b", 1),
        ("store inspect store/nowhere", 1),
        ("store inspect redis://localhost", 1),
        ("store inspect right.yaml", 1),
        ("store inspect store/a --domain d", 2),
        ("store reset store/a --domain d", 2),
        ("store reset store/a --domain d --config right.yaml k=v", 0),
        ("store inspect store/a --domain d --config right.yaml k", 2),
        ("store inspect store/a --domain e --config right.yaml k=v", 1),
        ("store reset store/a --domain d --tier-of s", 1),
        ("store import store/c", 1),
        ("store", 2),
        ("top --nothing", 2),
    ] {
        let (found, said) = run(files.path(), words, Stdio::piped());
        assert_eq!(found, code, "spillway {words}: {said}");
        assert!(
            code != 70 || said.lines().any(|line| line.starts_with("error: ")),
            "spillway {words}: {said}"
        );
    }
}

#[test]
fn what_cannot_be_written_is_a_failure_of_the_program() {
    let files = files();
    for words in [
        "--version",
        "--help",
        "check right.yaml",
        "explain --config right.yaml --domain d k=v",
        "test right.test.yaml",
        "schema",
        "env",
        "completions bash",
        "migrate limits.yml",
        "store inspect store/a",
        "store export store/a",
        "store reset store/a --domain d --config right.yaml k=v",
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = run(files.path(), words, full.into());
        assert_eq!(code, 70, "spillway {words}: {said}");
        assert!(said.contains("cannot write to standard output"), "spillway {words}: {said}");
    }
}

#[test]
fn what_may_pass_is_no_mistake_of_whoever_starts_it() {
    let files = files();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let free = "--http-addr 127.0.0.1:0 --admin-addr off";
    let mut serving = command(&["serve", "--config", "right.yaml", "--store", "disk:store/a"]);
    serving.args("--grpc-addr 127.0.0.1:0".split(' ')).args(free.split(' ')).current_dir(files.path());
    let _serving = Spillway::running(&mut serving);
    for (words, expected) in [
        (format!("--grpc-addr {taken} {free}"), "the address is in use"),
        (format!("--grpc-addr 192.0.2.1:0 {free}"), "this machine has no such address"),
        (format!("--grpc-addr no-such-host.invalid:1 {free}"), "there is no such address"),
        (format!("--grpc-addr 127.0.0.1:0 {free} --store disk:store/a"), "is open in another process"),
    ] {
        let (code, said) = run(files.path(), &format!("serve --config right.yaml {words}"), Stdio::piped());
        assert!(said.contains(expected), "{words}: {said}");
        assert_eq!(code, 70, "{words}: {said}");
    }
    let mut unresolved = command(&["serve", "--config", "right.yaml", "--http-addr", "127.0.0.1:0"]);
    let output =
        unresolved.env("GRPC_HOST", "no-such-host.invalid").current_dir(files.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    let unit = include_str!("../../envoy/systemd/spillway.service");
    assert!(unit.lines().any(|line| line == "RestartPreventExitStatus=1 2"), "and it is started again");
}
