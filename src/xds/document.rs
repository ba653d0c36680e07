//! A resource as the policy file that says the same.
//!
//! So it is compiled as files are, and a mistake in it has a line that can be shown; which field of the resource that line is of,
//! [`field`] tells.

use std::fmt::Write;

use prost_types::Struct;
use prost_types::value::Kind;

use super::proto::{RateLimitConfig, RateLimitDescriptor, RateLimitPolicy};

/// `RateLimitUnit` by number, as policies name it. The number 0 is a unit that was not said.
const UNITS: [&str; 8] = ["UNKNOWN", "second", "minute", "hour", "day", "month", "year", "week"];

/// The policy file.
pub(super) fn text(config: &RateLimitConfig) -> String {
    let mut document = Document::default();
    document.config(config);
    document.text
}

/// The field that a line of the policy file is of, as `descriptors[2].rate_limit.unit`. Lines count from 1.
pub(super) fn field(config: &RateLimitConfig, line: usize) -> Option<String> {
    let mut document = Document { wanted: line, ..Document::default() };
    document.config(config);
    document.found
}

#[derive(Debug, Default)]
struct Document {
    text: String,
    /// Lines that are written.
    lines: usize,
    /// The line whose field is looked for; 0 for none.
    wanted: usize,
    found: Option<String>,
    /// The descriptors around the line, each by its number among its neighbours.
    path: Vec<usize>,
}

impl Document {
    fn config(&mut self, config: &RateLimitConfig) {
        self.line("domain", &quoted(&config.domain));
        self.descriptors(&config.descriptors);
    }

    fn descriptors(&mut self, descriptors: &[RateLimitDescriptor]) {
        if descriptors.is_empty() {
            return;
        }
        self.line("descriptors", "");
        for (number, descriptor) in descriptors.iter().enumerate() {
            self.path.push(number);
            self.descriptor(descriptor);
            self.path.pop();
        }
    }

    fn descriptor(&mut self, descriptor: &RateLimitDescriptor) {
        self.line("key", &quoted(&descriptor.key));
        if !descriptor.value.is_empty() {
            self.line("value", &quoted(&descriptor.value));
        }
        let flags = [
            ("shadow_mode", descriptor.shadow_mode),
            ("detailed_metric", descriptor.detailed_metric),
            ("quota_mode", descriptor.quota_mode),
        ];
        for (word, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
            self.line(word, "true");
        }
        if let Some(metadata) = &descriptor.metadata {
            let mut value = String::new();
            structure(metadata, &mut value);
            self.line("metadata", &value);
        }
        if let Some(limit) = &descriptor.rate_limit {
            self.limit(limit);
        }
        self.descriptors(&descriptor.descriptors);
    }

    fn limit(&mut self, limit: &RateLimitPolicy) {
        self.line("rate_limit", "");
        if limit.unlimited {
            self.line("rate_limit.unlimited", "true");
        } else {
            self.line("rate_limit.requests_per_unit", &limit.requests_per_unit.to_string());
        }
        if limit.unit != 0 || !limit.unlimited {
            let unit = usize::try_from(limit.unit).ok().and_then(|unit| UNITS.get(unit));
            self.line("rate_limit.unit", &unit.map_or_else(|| limit.unit.to_string(), |unit| quoted(unit)));
        }
        if !limit.name.is_empty() {
            self.line("rate_limit.name", &quoted(&limit.name));
        }
        if !limit.replaces.is_empty() {
            let names = limit.replaces.iter().map(|replaced| format!("{{name: {}}}", quoted(&replaced.name)));
            let names = names.collect::<Vec<_>>().join(", ");
            self.line("rate_limit.replaces", &format!("[{names}]"));
        }
    }

    /// Writes `word: value`, indented as deep as it is. `field` is the way to the word from its descriptor.
    fn line(&mut self, field: &'static str, value: &str) {
        self.lines += 1;
        if self.lines == self.wanted {
            let mut way = String::new();
            for number in &self.path {
                way.push_str(&format!("descriptors[{number}]."));
            }
            way.push_str(field);
            self.found = Some(way);
        }
        let (below, word) = field.rsplit_once('.').unwrap_or(("", field));
        let begins_item = word == "key";
        let depth = 2 * self.path.len() + if below.is_empty() { 0 } else { 2 };
        for _ in if begins_item { 2 } else { 0 }..depth {
            self.text.push(' ');
        }
        if begins_item {
            self.text.push_str("- ");
        }
        self.text.push_str(word);
        self.text.push(':');
        if !value.is_empty() {
            self.text.push(' ');
            self.text.push_str(value);
        }
        self.text.push('\n');
    }
}

/// A text in double quotes. What YAML does not take as it is, what it would fold, and what nobody sees is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            // Writing to a text cannot fail.
            _ => drop(write!(quoted, "\\U{:08x}", u32::from(character))),
        }
    }
    quoted.push('"');
    quoted
}

fn structure(fields: &Struct, to: &mut String) {
    to.push('{');
    for (number, (name, value)) in fields.fields.iter().enumerate() {
        // A mark before it: without one a name may not be longer than 1024 characters.
        to.push_str(if number == 0 { "? " } else { ", ? " });
        to.push_str(&quoted(name));
        to.push_str(" : ");
        metadata_value(value.kind.as_ref(), to);
    }
    to.push('}');
}

fn metadata_value(kind: Option<&Kind>, to: &mut String) {
    match kind {
        Some(Kind::BoolValue(value)) => to.push_str(if *value { "true" } else { "false" }),
        // What is no number in JSON is none here.
        Some(Kind::NumberValue(value)) if value.is_finite() => drop(write!(to, "{value}")),
        None | Some(Kind::NullValue(_) | Kind::NumberValue(_)) => to.push_str("null"),
        Some(Kind::StringValue(value)) => to.push_str(&quoted(value)),
        Some(Kind::StructValue(fields)) => structure(fields, to),
        Some(Kind::ListValue(list)) => {
            to.push('[');
            for (number, value) in list.values.iter().enumerate() {
                to.push_str(if number == 0 { "" } else { ", " });
                metadata_value(value.kind.as_ref(), to);
            }
            to.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{ListValue, Value};

    use super::*;
    use crate::xds::proto::RateLimitReplace;

    fn sample() -> RateLimitConfig {
        let value = |kind| Value { kind: Some(kind) };
        let list = ListValue { values: vec![value(Kind::BoolValue(true)), value(Kind::NumberValue(2.5))] };
        let metadata = [
            ("team".to_owned(), value(Kind::StringValue("payments".to_owned()))),
            ("parts".to_owned(), value(Kind::ListValue(list))),
            ("none".to_owned(), value(Kind::NullValue(0))),
        ];
        let inner = RateLimitDescriptor {
            key: "rule-0-match-0".to_owned(),
            shadow_mode: true,
            detailed_metric: true,
            quota_mode: true,
            metadata: Some(Struct { fields: metadata.into() }),
            rate_limit: Some(RateLimitPolicy {
                unit: 7,
                requests_per_unit: 5,
                unlimited: false,
                name: "five".to_owned(),
                replaces: vec![RateLimitReplace { name: "other".to_owned() }],
            }),
            ..RateLimitDescriptor::default()
        };
        let free = RateLimitDescriptor {
            key: "free".to_owned(),
            rate_limit: Some(RateLimitPolicy { unlimited: true, ..RateLimitPolicy::default() }),
            ..RateLimitDescriptor::default()
        };
        let outer = RateLimitDescriptor {
            key: "route".to_owned(),
            value: "a \"quoted\\\n\u{2028}\u{7f}ä* ~".to_owned(),
            descriptors: vec![inner, free],
            ..RateLimitDescriptor::default()
        };
        RateLimitConfig {
            name: "first-listener".to_owned(),
            domain: "eg/http".to_owned(),
            descriptors: vec![outer],
        }
    }

    #[test]
    fn a_resource_is_the_policy_that_says_the_same() {
        let written = text(&sample());
        let expected = r#"domain: "eg/http"
descriptors:
- key: "route"
  value: "a \"quoted\\\U0000000a\U00002028\U0000007fä* ~"
  descriptors:
  - key: "rule-0-match-0"
    shadow_mode: true
    detailed_metric: true
    quota_mode: true
    metadata: {? "none" : null, ? "parts" : [true, 2.5], ? "team" : "payments"}
    rate_limit:
      requests_per_unit: 5
      unit: "week"
      name: "five"
      replaces: [{name: "other"}]
  - key: "free"
    rate_limit:
      unlimited: true
"#;
        assert_eq!(written, expected);
        let yaml: serde_yaml::Value = serde_yaml::from_str(&written).unwrap();
        assert_eq!(yaml["descriptors"][0]["value"], sample().descriptors[0].value.as_str());
        assert_eq!(yaml["descriptors"][0]["descriptors"][0]["metadata"]["parts"][1], 2.5);
    }

    #[test]
    fn each_line_has_its_field() {
        let (config, text) = (sample(), text(&sample()));
        for (number, line) in text.lines().enumerate() {
            let found = field(&config, number + 1).unwrap();
            let word = line.trim_start_matches([' ', '-']).split(':').next().unwrap();
            assert!(found.rsplit('.').next() == Some(word), "{line}: {found}");
        }
        assert_eq!(field(&config, 13).as_deref(), Some("descriptors[0].descriptors[0].rate_limit.unit"));
        assert_eq!(field(&config, 18).as_deref(), Some("descriptors[0].descriptors[1].rate_limit.unlimited"));
        assert_eq!(field(&config, 99), None);
    }

    #[test]
    fn a_unit_that_nobody_knows_stays_one() {
        let with = |unit, unlimited| {
            let rate_limit = Some(RateLimitPolicy { unit, unlimited, ..RateLimitPolicy::default() });
            let key = "k".to_owned();
            let descriptors = vec![RateLimitDescriptor { key, rate_limit, ..RateLimitDescriptor::default() }];
            text(&RateLimitConfig { descriptors, ..RateLimitConfig::default() })
        };
        assert!(with(0, false).contains("unit: \"UNKNOWN\""));
        assert!(with(8, false).contains("unit: 8"));
        assert!(with(-1, false).contains("unit: -1"));
        assert!(!with(0, true).contains("unit"));
        assert!(with(1, true).contains("unit: \"second\""));
    }
}
