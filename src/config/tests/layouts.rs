//! However a file is laid out, it means the same.

use super::found;
use crate::config::scalar;
use crate::yaml::Tree;

/// What `yaml` says, once it was seen that it loads without a word.
fn means(yaml: &str) -> serde_json::Value {
    assert_eq!(found(yaml), [""; 0], "{yaml}");
    let tree = Tree::parse(yaml).unwrap();
    scalar::json(tree.documents().next().unwrap())
}

fn expected(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

/// Five files that envoyproxy/ratelimit loads and this did not.
#[test]
fn files_that_libyaml_reads_mean_what_they_say() {
    for (yaml, json) in [
        // Tab after colon.
        (
            "domain:\tshop\ndescriptors:\n  - key:\tremote_address\n    rate_limit:\n      unit:\tminute\n      requests_per_unit:\t5\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Brace further out.
        (
            "domain: shop\ndescriptors:\n  - key: remote_address\n    rate_limit: {\n      unit: minute,\n      requests_per_unit: 5\n  }\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Tabs in flow.
        (
            "domain: shop\ndescriptors:\n  [\n\t{\n\t\t\"key\": \"remote_address\",\n\t\t\"rate_limit\": {\"unit\": \"minute\", \"requests_per_unit\": 5}\n\t}\n  ]\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Wrapped quotes.
        (
            "domain: shop\ndescriptors:\n- key: agent\n  value: \"alpha\n  beta\"\n  rate_limit: {unit: minute, requests_per_unit: 5}\n",
            r#"{"domain": "shop", "descriptors": [{"key": "agent", "value": "alpha beta", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Flow in first column.
        (
            "domain: shop\ndescriptors: [\n{key: remote_address, rate_limit: {unit: minute, requests_per_unit: 5}},\n{key: user, rate_limit: {unit: minute, requests_per_unit: 5}}\n]\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}, {"key": "user", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
    ] {
        assert_eq!(means(yaml), expected(json), "{yaml}");
    }
}

#[test]
fn and_so_do_others_in_layouts_like_theirs() {
    for (yaml, json) in [
        // A tab before a comment and at a line's end.
        (
            "domain: shop\t# ours\ndescriptors:\t\n- key: remote_address\t\n  rate_limit: {unit: minute,\trequests_per_unit:\t5\t}\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // A bracket left of its key.
        (
            "domain: shop\ndescriptors:\n  [{key: remote_address, rate_limit: {unit: minute,\n      requests_per_unit: 5\n  }}\n]\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // A list that ends in the first column.
        (
            "domain: shop\ndescriptors: [\n{key: remote_address, rate_limit: {\nunit: minute,\nrequests_per_unit: 5\n}}\n]\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Single quotes in the first column.
        (
            "domain: shop\ndescriptors:\n- key: agent\n  value: 'alpha\n\tbeta'\n  rate_limit: {unit: minute, requests_per_unit: 5}\n",
            r#"{"domain": "shop", "descriptors": [{"key": "agent", "value": "alpha beta", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // Words without quotes over two lines of a flow.
        (
            "domain: shop\ndescriptors: [{key: agent, value: alpha\nbeta, rate_limit: {unit: minute, requests_per_unit: 5}}]\n",
            r#"{"domain": "shop", "descriptors": [{"key": "agent", "value": "alpha beta", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // JSON indented with tabs.
        (
            "{\n\t\"domain\":\t\"shop\",\n\t\"descriptors\":\t[\n\t\t{\"key\":\"remote_address\",\n\t\t\"rate_limit\":{\"unit\":\"minute\",\"requests_per_unit\":5}}\n\t]\n}\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // A tab behind a key in quotes, and lines that end as on Windows.
        (
            "\"domain\"\t: shop\r\ndescriptors:\r\n- key:\tremote_address\r\n  rate_limit: {unit: minute, requests_per_unit: 5}\r\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
        // A tab behind an anchor, and an alias behind one.
        (
            "domain: shop\ndescriptors:\n- key: remote_address\n  rate_limit: &five\t{unit: minute, requests_per_unit: 5}\n- {key: user, rate_limit:\t*five}\n",
            r#"{"domain": "shop", "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}, {"key": "user", "rate_limit": {"unit": "minute", "requests_per_unit": 5}}]}"#,
        ),
    ] {
        assert_eq!(means(yaml), expected(json), "{yaml}");
    }
}

/// 16, 31 and 5 are numbers in any base; what YAML 1.1 and 1.2 read differently is refused.
#[test]
fn numbers_in_a_policy_are_what_go_yaml_reads() {
    let numbers = "domain: shop\ndescriptors:\n  - {key: a, rate_limit: {unit: day, requests_per_unit: 0x10}}\n  - {key: b, \
                   rate_limit: {unit: day, requests_per_unit: 0X1F}}\n  - {key: c, rate_limit: {unit: day, requests_per_unit: \
                   0b101}}\n";
    assert_eq!(found(numbers), [""; 0]);
    let octal = format!("{numbers}  - {{key: d, rate_limit: {{unit: day, requests_per_unit: 010}}}}\n");
    let told = "6:57 `010` is 8 to YAML 1.1 (octal) and 10 to YAML 1.2; write `8`, as envoyproxy/ratelimit reads it, or `10`";
    assert_eq!(found(&octal), [told]);
}
