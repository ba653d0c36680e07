//! Files that were written to harm, or stand where no file is expected.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::process::{peak, resident, until};
use super::{Others, POLICY};
use crate::support::{PATIENCE, Spillway, command, directory, serve};

/// A program that reads what is wrong must not take a second for it; a busy machine may take some.
const SOON: Duration = Duration::from_secs(10);
/// Somebody who may not read everything.
const NOBODY: u32 = 65_534;

fn check(config: &Path) -> Output {
    let begun = tokio::time::Instant::now();
    let output = command(&["check"]).arg(config).output().unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    output
}

/// The same as somebody who may not read everything. The program is copied into `directory`, for where it was built nobody
/// else may look.
fn as_nobody(command: &Command, directory: &Path) -> Command {
    let program = directory.join(".spillway");
    // By another process: while this one had the copy open for writing, a child of another test could keep it so.
    assert!(Command::new("cp").arg(command.get_program()).arg(&program).status().unwrap().success());
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let mut nobody = Command::new(program);
    nobody.args(command.get_args()).uid(NOBODY).gid(NOBODY);
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        nobody.env_remove(name);
    }
    nobody
}

fn reported(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn put(directory: &Path, name: &str, text: &str) {
    let new = directory.join(format!(".{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, directory.join(name)).unwrap();
}

/// Anchors of anchors, each a level deeper than the one before.
fn nested() -> String {
    let levels = (1..1_200).map(|n| format!("- &a{n} [*a{}]", n - 1)).collect::<Vec<_>>().join("\n");
    format!("domain: d\nx:\n- &a0 [x]\n{levels}\n")
}

/// Anchors of anchors, each ten times as large as the one before.
fn laughs() -> String {
    let tenfold = |n: usize| vec![format!("*a{}", n - 1); 10].join(", ");
    let levels = (1..9).map(|n| format!("- &a{n} [{}]", tenfold(n))).collect::<Vec<_>>().join("\n");
    format!("domain: d\nx:\n- &a0 [x, x, x, x, x, x, x, x, x, x]\n{levels}\n")
}

#[test]
fn hostile_aliases_end_no_running_server_and_fill_no_memory() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    let before = peak(&spillway);
    for text in [nested(), laughs()] {
        put(config.path(), "policy.yaml", &text);
        spillway.log_line("the old one stays in force");
        others.are_answered(&spillway);
    }
    let more = peak(&spillway).saturating_sub(before);
    assert!(more < 32 << 10, "{more} KiB for two small files");
}

#[test]
fn a_policy_takes_memory_in_proportion_to_its_text() {
    let rule = |n| format!("  - {{key: k, value: v{n}, rate_limit: {{unit: hour, requests_per_unit: 9}}}}\n");
    let rules = |count: u32| format!("domain: d\ndescriptors:\n{}", (0..count).map(rule).collect::<String>());
    let peak_of = |count| {
        let config = directory(&[("policy.yaml", &rules(count))]);
        peak(&Spillway::start(config.path(), "127.0.0.1:0"))
    };
    let more = peak_of(20_000).saturating_sub(peak_of(1));
    assert!(more < 40 << 10, "{more} KiB for 20,000 rules");
}

#[test]
fn the_memory_of_a_refused_set_is_given_back() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let before = resident(&spillway);
    let rule = |n| format!("  - {{key: k, value: v{n}, rate_limit: {{unit: hour, requests_per_unit: 9}}}}\n");
    let rules: String = (0..50_000).map(rule).collect();
    put(config.path(), "more.yaml", &format!("domain: more\ndescriptors:\n{rules}  - {{kye: k}}\n"));
    spillway.log_line("the old one stays in force");
    let most = peak(&spillway).saturating_sub(before);
    assert!(most > 32 << 10, "{most} KiB tell nothing");
    until("most memory is given back", || resident(&spillway).saturating_sub(before) < most / 8);
}

#[test]
fn merge_keys_take_time_in_proportion() {
    let keys = |letter: char| (0..3_000).map(|n| format!("{letter}{n}: 1")).collect::<Vec<_>>().join(", ");
    let uses = vec![format!("{{<<: *a, {}}}", keys('j')); 20].join(", ");
    let config = directory(&[("policy.yaml", &format!("domain: d\na: &a {{{}}}\nb: [{uses}]\n", keys('k')))]);
    assert_eq!(check(config.path()).status.code(), Some(1));
}

#[test]
fn what_is_no_regular_file_is_refused_by_name() {
    let config = directory(&[("policy.yaml", &format!("{POLICY}subjects: people\n"))]);
    let people = config.path().join("people");
    assert!(Command::new("mkfifo").arg(&people).status().unwrap().success());
    let output = check(config.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(reported(&output).contains("people`: it is a FIFO and no regular file"), "{}", reported(&output));

    fs::remove_file(&people).unwrap();
    symlink("/dev/zero", &people).unwrap();
    assert!(reported(&check(config.path())).contains("people`: it is a device and no regular file"));
}

#[test]
fn links_that_lead_back_and_strays_refuse_nothing() {
    let config = directory(&[("policy.yaml", POLICY)]);
    symlink(".", config.path().join("l")).unwrap();
    symlink("nowhere", config.path().join("gone")).unwrap();
    fs::create_dir(config.path().join("lost+found")).unwrap();
    fs::set_permissions(config.path().join("lost+found"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut checked = as_nobody(command(&["check"]).arg(config.path()), config.path());
    let output = checked.output().unwrap();
    let reported = reported(&output);
    assert_eq!(output.status.code(), Some(0), "{reported}");
    for stray in ["lost+found`: permission denied", "gone`: there is no such file"] {
        assert!(reported.contains(stray), "{reported}");
    }
    assert_eq!(reported.matches("warning").count(), 2, "{reported}");

    // A policy that cannot be read is no stray: its limits would be missing.
    fs::write(config.path().join("more.yaml"), "domain: more").unwrap();
    fs::set_permissions(config.path().join("more.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = checked.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_becomes_readable_is_read() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let policy = config.path().join("policy.yaml");
    let mode = |mode| fs::set_permissions(&policy, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let mut spillway = Spillway::running(&mut as_nobody(serve().arg(config.path()), config.path()));
    mode(0o600);
    spillway.log_line("permission denied");
    // Changed while it cannot be read, which nobody but its owner sees.
    fs::write(
        &policy,
        format!("{POLICY}  - {{key: new, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n"),
    )
    .unwrap();
    mode(0o644);
    let line = spillway.log_line("configuration loaded");
    assert!(line.contains("rules=3"), "{line}");
}

#[test]
fn a_change_is_in_force_within_a_moment_where_the_file_system_tells() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let mut shortest = Duration::MAX;
    for n in 0..5 {
        let begun = tokio::time::Instant::now();
        put(config.path(), "policy.yaml", &format!("{POLICY}# {n}\n"));
        spillway.log_line("configuration loaded");
        shortest = shortest.min(begun.elapsed());
    }
    assert!(shortest < Duration::from_millis(200), "{shortest:?} at best");
}

#[test]
fn a_file_that_is_rewritten_all_the_time_is_read_all_the_same() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let line = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = tokio::time::Instant::now();
            let mut n = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                put(config.path(), "policy.yaml", &format!("{POLICY}# {n}\n"));
                n += 1;
            }
        });
        let line = spillway.log_line("configuration loaded");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        line
    });
    assert!(line.contains("rules=2"), "{line}");
}
