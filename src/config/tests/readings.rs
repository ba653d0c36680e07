//! What values read as: each line of the reference page's table.

use super::*;
use crate::subjects::{Directory, Value};

const PAGE: &str = include_str!("../../../config/README.md");

/// The rows of the table: as it is written; then a descriptor's `value`, an id or a credential, and an attribute.
fn rows() -> Vec<[String; 4]> {
    let (_, table) = PAGE.split_once("| Written | ").unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().to_owned();
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(cell).collect();
            cells.try_into().unwrap()
        })
        .collect()
}

/// As the table has it: text in backticks, or `a mistake`.
fn shown(text: &str) -> String {
    format!("`{text}`")
}

fn descriptor(written: &str) -> String {
    let yaml = format!("domain: d\ndescriptors:\n- key: k\n  value: {written}\n");
    let Ok(loaded) = load_text("a.yaml", &yaml, Options::default()) else { return "a mistake".to_owned() };
    let label = loaded.policy.domain(b"d").unwrap().root.nodes().next().unwrap().label.clone();
    let warning = if loaded.warnings.is_empty() { "" } else { ", with a warning" };
    label.strip_prefix("k=").map_or_else(|| format!("any value{warning}"), shown)
}

fn directory(yaml: &str) -> Option<Directory> {
    Directory::parse(yaml).ok()
}

fn id(written: &str) -> String {
    let directory = directory(&format!("subjects:\n- id: {written}\n"));
    directory.map_or_else(|| "a mistake".to_owned(), |directory| shown(directory.ids().next().unwrap()))
}

/// Whether the credential is `text`; of a mistake there is none.
fn credential(written: &str, text: &str) -> bool {
    let directory =
        directory(&format!("subjects:\n- id: a\n  credentials:\n  - kind: k\n    value: {written}\n"));
    match directory {
        None => text == "a mistake",
        Some(directory) => directory.resolve("k", text.trim_matches('`').as_bytes()).is_some(),
    }
}

fn attribute(written: &str) -> String {
    let directory = directory(&format!("subjects:\n- id: a\n  attributes:\n    b: {written}\n"));
    let Some(directory) = directory else { return "a mistake".to_owned() };
    match directory.subject("a").unwrap().attribute("b").unwrap() {
        Value::Text(text) if text.is_empty() => "no text".to_owned(),
        Value::Text(text) => shown(text),
        Value::Number(number) => format!("the number {number}"),
        Value::Bool(truth) => format!("the boolean {truth}"),
    }
}

#[test]
fn each_line_of_the_table_is_what_is_read() {
    let rows = rows();
    assert!(rows.len() > 20, "{rows:?}");
    for [written, value, name, attribute_is] in rows {
        let written = written.trim_matches('`');
        assert_eq!(descriptor(written), value, "the value {written}");
        assert_eq!(id(written), name, "the id {written}");
        assert!(credential(written, &name), "the credential {written} is not {name}");
        assert_eq!(attribute(written), attribute_is, "the attribute {written}");
    }
}

#[test]
fn a_value_that_yaml_takes_for_none_is_warned_of() {
    let hint = "leave the word out if that is meant; otherwise put it in quotes: without them `#`, `&`, `~` and `null` are no text";
    for nothing in ["", "~", "null", "#login", "&login"] {
        let yaml = format!("domain: d\ndescriptors:\n- key: k\n  value: {nothing}\n");
        let told = found(&yaml);
        assert!(told.len() == 1, "{told:?}");
        let told = told[0].split_once(' ').and_then(|(_, told)| told.split_once(' ')).unwrap().1;
        assert_eq!(told, format!("`value` says nothing, so every value matches; {hint}"), "{nothing}");
    }
    assert_eq!(found(&with("value: ''")), [""; 0]);
}
