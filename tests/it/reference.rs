//! `config/README.md`, the reference of the language: its tables are made of the code's own, and its examples run. So is
//! the table of variables in `README.md`.

mod examples;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use spillway::config;
use spillway::policy_test::Script;

use crate::support::{command, directory};

const PAGE: &str = "config/README.md";
/// Where a table begins; its name follows.
const BEGIN: &str = "<!-- table: ";
const END: &str = "<!-- end of table -->";

/// The page with every table written anew.
fn written(page: &str, mut tables: Vec<(&str, String)>) -> String {
    let mut parts = page.split(BEGIN);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").unwrap();
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("the table `{name}` has no end"));
        let at = tables.iter().position(|(known, _)| *known == name);
        let at = at.unwrap_or_else(|| panic!("there is no table `{name}`, or it is on the page twice"));
        let (_, table) = tables.remove(at);
        out += &format!("{BEGIN}{name} -->\n{}\n{END}{after}", table.trim_end());
    }
    let missing: Vec<_> = tables.iter().map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "the page has no table {missing:?}");
    out
}

/// `make reference` writes what this compares.
#[test]
fn the_tables_are_what_the_code_knows() {
    for (file, tables) in [(PAGE, tables::of_the_language()), ("README.md", tables::of_the_command())] {
        let page = fs::read_to_string(file).unwrap();
        let wanted = written(&page, tables);
        #[expect(clippy::disallowed_methods, reason = "`make reference` asks by it")]
        if std::env::var("SPILLWAY_WRITE_REFERENCE").is_ok() {
            fs::write(file, wanted).unwrap();
            continue;
        }
        for (n, (there, wanted)) in page.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(there, wanted, "{file}:{}: run `make reference`", n + 1);
        }
        assert!(page == wanted, "{file} is not what the code knows: run `make reference`");
    }
}

/// What a heading is called in a link, as GitHub and most others do it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_within_the_page_leads_to_a_heading() {
    let page = fs::read_to_string(PAGE).unwrap();
    let headings: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let links = page.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links {
        assert!(headings.iter().any(|heading| heading == link), "#{link} leads nowhere");
    }
    for file in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let local = !file.starts_with('#') && !file.contains("://");
        assert!(!local || Path::new("config").join(file).exists(), "{file} is not there");
    }
}

/// The YAML blocks of the page, each with the name of its file, which is its first line.
fn files() -> Vec<(String, String)> {
    let page = fs::read_to_string(PAGE).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let name = |text: &str| {
        let name = text.lines().next().and_then(|line| line.strip_prefix("# "));
        name.and_then(|name| name.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    blocks.map(|text| (name(&text), text)).collect()
}

/// A directory with the files that are no policies, and with `policy`.
fn beside(files: &[(String, String)], policy: &(String, String)) -> tempfile::TempDir {
    let others = files.iter().filter(|(name, _)| !is_policy(name));
    let all: Vec<_> = others.chain([policy]).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    directory(&all)
}

fn is_policy(name: &str) -> bool {
    !name.ends_with(".test.yaml") && !name.ends_with(".subjects.yaml")
}

#[test]
fn every_yaml_block_says_its_file_and_no_two_the_same() {
    let files = files();
    assert!(files.len() > 10, "only {} blocks were found", files.len());
    for (at, (name, text)) in files.iter().enumerate() {
        assert!(name.contains(".yaml"), "a block does not begin with the name of its file:\n{text}");
        assert!(files[..at].iter().all(|(earlier, _)| earlier != name), "`{name}` is there twice");
    }
}

#[test]
fn every_policy_of_the_page_is_sound() {
    let files = files();
    for policy in files.iter().filter(|(name, _)| is_policy(name)) {
        let config = beside(&files, policy);
        let output = command(&["check", &policy.0]).current_dir(config.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{}\n{stderr}", policy.0);
    }
}

#[test]
fn every_test_of_the_page_passes() {
    let files = files();
    let all: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let config = directory(&all);
    let output = command(&["test", "."]).current_dir(config.path()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    let tests = files.iter().filter(|(name, _)| name.ends_with(".test.yaml")).count();
    assert!(tests > 5, "only {tests} tests were found");
    assert!(stdout.contains(&format!("{tests} passed, 0 failed")), "{stdout}");
}

/// One test of a policy with every word there is.
const EVERY_WORD: &str = "
policy: p.yaml
domain: d
start: 2026-01-01T00:00:00Z
steps:
  - is: everything
    at: 1m
    set: {subject: s, attributes: {plan: pro}}
    send: {key: value}
    times: 2
    every: 1s
    hits: 3
    expect: ok
    headers: {X-Limit: ~}
    all_headers: {X-Left: '1'}
    request_headers: {x-tenant: s}
    body: ''
    rule: r
";

/// The words at the top of a test, and in its steps.
fn words_of_a_test(text: &str) -> BTreeSet<String> {
    let script: serde_yaml::Mapping = serde_yaml::from_str(text).unwrap();
    let steps =
        script["steps"].as_sequence().unwrap().iter().flat_map(|step| step.as_mapping().unwrap().keys());
    script.keys().chain(steps).map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A word is read by the program, it is on the page, and whatever a test of ours uses is on the page.
#[test]
fn the_words_of_a_test_are_on_the_page() {
    Script::parse(EVERY_WORD).unwrap();
    let page = fs::read_to_string(PAGE).unwrap();
    let (_, section) = page.split_once("\n## Tests of a policy\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.flat_map(|row| row.split(" | ").next().unwrap().split(", "));
    let reported: BTreeSet<String> = cells.map(|word| word.replace('`', "")).collect();
    assert_eq!(reported, words_of_a_test(EVERY_WORD));

    let directories = ["config", "tests/policies"].map(Path::new);
    let tests = directories.iter().flat_map(|path| config::test_files(path).0);
    let used: BTreeSet<String> =
        tests.flat_map(|file| words_of_a_test(&fs::read_to_string(file).unwrap())).collect();
    assert!(used.is_subset(&reported), "not on the page: {:?}", used.difference(&reported));
}

/// A page of Markdown and samples to change stand beside the policies; none of that is taken for something else.
#[test]
fn the_directory_of_samples_is_sound_without_a_warning() {
    let output = command(&["check", "config"]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_schema_is_printed() {
    let output = command(&["schema"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, config::schema());
    assert_eq!(printed["$schema"], "http://json-schema.org/draft-07/schema#");
}
