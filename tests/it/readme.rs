//! What the README shows is what happens.

use std::collections::BTreeSet;
use std::fs;

use spillway::store::StoreError;

use crate::support::{command, directory};

/// The code blocks of one language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).filter_map(|rest| rest.split("```").next().map(str::to_owned)).collect()
}

#[test]
fn every_policy_in_the_readme_is_sound() {
    let readme = fs::read_to_string("README.md").unwrap();
    let policies = blocks(&readme, "yaml");
    assert!(!policies.is_empty());
    for policy in policies.iter().filter(|block| !block.starts_with("subjects:")) {
        let config = directory(&[("shop.yaml", policy)]);
        let output = command(&["check"]).arg(config.path()).output().unwrap();
        assert!(output.status.success(), "{policy}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_explanation_in_the_readme_is_what_explain_prints() {
    let readme = fs::read_to_string("README.md").unwrap();
    let config = directory(&[("shop.yaml", &blocks(&readme, "yaml")[0])]);
    let output =
        command(&["explain", "--config", "shop.yaml", "--domain", "shop", "--at", "2026-01-01T00:00:18Z"])
            .arg("api_key=k1,endpoint=POST /orders")
            .current_dir(config.path())
            .output()
            .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(readme.contains(&printed), "the README does not show this:\n{printed}");
}

#[test]
fn the_subjects_file_in_the_readme_is_read_as_it_says() {
    let readme = fs::read_to_string("README.md").unwrap();
    let subjects = blocks(&readme, "yaml").into_iter().find(|block| block.starts_with("subjects:")).unwrap();
    let policy = "domain: shop\nsubjects: shop.subjects.yaml\ndescriptors:\n\
                  - {key: api_key, subject: api_key, rate_limit: {per: billing_period, requests_per_unit: {attribute: rpm}}}\n\
                  - {key: plan, subject: api_key, rate_limit: {per: 1m, requests_per_unit: {by: plan, values: {growth: 7}}}}\n";
    let config = directory(&[("shop.yaml", policy), ("shop.subjects.yaml", &subjects)]);
    let args = ["explain", "--domain", "shop", "api_key=key_acme_1", "api_key=key_acme_2", "plan=key_acme_1"];
    let output = command(&args).arg("--config").arg(config.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for used in ["used 1 of 120", "limit    10 per billing period", "used 1 of 7"] {
        assert!(printed.contains(used), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_request_in_json_of_the_readme_is_answered() {
    let readme = fs::read_to_string("README.md").unwrap();
    let line = blocks(&readme, "sh").into_iter().find(|block| block.contains("/json")).unwrap();
    let spillway = crate::support::Spillway::serving(
        "domain: demo\ndescriptors: [{key: api_key, rate_limit: {unit: year, requests_per_unit: 1}}]",
    );
    let line = line.replace("localhost:8080", &format!("-s -w '%{{http_code}}' {}", spillway.http));
    let ask = || {
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (passes, refused) = (ask(), ask());
    assert!(passes.contains("\"overallCode\":\"OK\"") && passes.ends_with("200"), "{passes}");
    assert!(refused.contains("\"overallCode\":\"OVER_LIMIT\"") && refused.ends_with("429"), "{refused}");
}

/// The paths to all fields of `value`, as `descriptors[].limits[]`.
fn fields(path: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields_of) => {
            for (name, value) in fields_of {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(&path, value, found);
            }
        }
        serde_json::Value::Array(list) if !path.ends_with("headers") => {
            let path = format!("{path}[]");
            for value in list {
                fields(&path, value, found);
            }
            found.insert(path);
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_fields_of_an_explanation_are_those_in_the_readme() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, table) = readme.split_once("<!-- the fields of explain -->\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    let mut listed = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        let mut before = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let name =
                name.strip_prefix('…').map_or_else(|| name.to_owned(), |rest| format!("{before}{rest}"));
            before = name.rsplit_once('.').map_or(String::new(), |(before, _)| before.to_owned());
            listed.insert(name);
        }
    }
    let config = directory(&[
        (
            "d.yaml",
            "domain: d\nsubjects: d.subjects.yaml\nheaders: {emit: always, X-Left: remaining}\n\
             request_headers: {X-Who: '{{subject}}'}\ndescriptors:\n\
             - {key: key, subject: key, rate_limit: {unit: day, requests_per_unit: 5}}\n\
             - {key: free, rate_limit: {unlimited: true}}\n",
        ),
        ("d.subjects.yaml", "subjects: [{id: ada, credentials: [{kind: key, value: k1}]}]"),
    ]);
    let args = ["explain", "--json", "--domain", "d", "--hits", "6", "key=k1", "free=1", "--config"];
    let output = command(&args).arg(config.path()).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut then = printed["then"].clone();
    let mut printed_fields = BTreeSet::new();
    fields("", &printed, &mut printed_fields);
    printed_fields.retain(|field| !field.starts_with("then."));
    printed_fields.insert("then".to_owned());
    assert_eq!(printed_fields, listed, "{printed:#}");
    // What comes then has the same fields as the call itself.
    then["then"] = serde_json::Value::Null;
    let mut of_then = BTreeSet::from(["domain".to_owned(), "at".to_owned()]);
    fields("", &then, &mut of_then);
    assert_eq!(of_then, listed, "{then:#}");
}

/// The admin port's lines, as they are printed, but for the port.
#[test]
fn the_curl_lines_of_the_readme_work() {
    let readme = fs::read_to_string("README.md").unwrap();
    let policy = &blocks(&readme, "yaml")[0];
    let server = crate::admin::Server::with(directory(&[("shop.yaml", policy)]), &[]);
    let console = blocks(&readme, "console").into_iter().find(|block| block.contains(":6070/")).unwrap();
    let lines: Vec<_> = console.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(lines.len() >= 10, "{console}");
    for line in lines {
        let line = line
            .replace("127.0.0.1:6070", &server.admin.to_string())
            .replace("curl -s", "curl -s --fail-with-body");
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.is_empty(), "{line}: {said}");
    }
    let after = server.get("/api/v1/config").json();
    assert_eq!(after["generation"], 2, "it was reloaded");
}

#[test]
fn the_readme_names_each_kind_of_error_of_a_store_and_no_other() {
    let (after, source) = (std::time::Duration::ZERO, || std::io::Error::other(""));
    let text = String::new;
    let errors = [
        StoreError::TimedOut { after },
        StoreError::Late,
        StoreError::Unreachable { address: text(), source: source() },
        StoreError::Refused { reason: text() },
        StoreError::Failed { store: text(), reason: text() },
        StoreError::InDoubt { store: text(), reason: text() },
        StoreError::Incomplete { expected: 1, found: 0 },
        StoreError::Rekeyed,
        StoreError::Resting,
        StoreError::Unreadable { source: source().into() },
    ];
    let kinds: BTreeSet<&str> = errors.iter().map(StoreError::kind).collect();
    let readme = fs::read_to_string("README.md").unwrap();
    let row = readme.lines().find(|line| line.contains("`spillway_store_errors_total{kind}`")).unwrap();
    let (_, named) = row.split_once("`kind` is ").unwrap();
    let named: BTreeSet<&str> = named.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, kinds);
}
