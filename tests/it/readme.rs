//! What the README shows is what happens.

use std::fs;

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
    for policy in policies {
        let config = directory(&[("shop.yaml", &policy)]);
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
