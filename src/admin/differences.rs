//! What changed of a subject, for its line in the log and for whoever looks later.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::telemetry::SUBJECT_FIELDS;

/// The most characters of a value that a line shows, and of a field.
const LONGEST_VALUE: usize = 64;
const LONGEST: usize = 512;

/// Something of a subject that changed, in short texts.
#[derive(Debug)]
pub(super) struct Difference {
    /// Which of [`SUBJECT_FIELDS`].
    field: usize,
    /// Of a field that has names in it, which one.
    name: Option<String>,
    before: String,
    after: String,
}

/// What differs. Nobody is before a subject was created, and after it was taken back.
pub(super) fn between(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (field, name) in SUBJECT_FIELDS.into_iter().enumerate() {
        let of = |subject: Option<&Value>| subject.map_or(Value::Null, |subject| subject[name].clone());
        let (before, after) = (of(before), of(after));
        let mut differ = |name: Option<&String>, before: &Value, after: &Value| {
            if before != after {
                let (before, after) = (shown(before), shown(after));
                differences.push(Difference { field, name: name.map(|name| cut(name)), before, after });
            }
        };
        if !before.is_object() && !after.is_object() {
            differ(None, &before, &after);
            continue;
        }
        let names = [&before, &after].into_iter().filter_map(Value::as_object).flat_map(|all| all.keys());
        for name in names.collect::<BTreeSet<_>>() {
            differ(Some(name), &before[name], &after[name]);
        }
    }
    differences
}

/// For each of [`SUBJECT_FIELDS`] what it was and what it is, as `plan: growth → scale`; none where it stayed.
pub(super) fn by_field(differences: &[Difference]) -> [Option<String>; SUBJECT_FIELDS.len()] {
    let mut field = 0..;
    SUBJECT_FIELDS.map(|_| {
        let field = field.next();
        let of_field = differences.iter().filter(|difference| Some(difference.field) == field);
        let told = of_field.map(|Difference { name, before, after, .. }| {
            let name = name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            format!("{name}{before} → {after}")
        });
        Some(joined(told)).filter(|told| !told.is_empty())
    })
}

/// All that differs as it was, and as it is.
pub(super) fn sides(differences: &[Difference]) -> (String, String) {
    let side = |value: fn(&Difference) -> &str| {
        joined(differences.iter().map(|difference| {
            let name = difference.name.as_deref().unwrap_or(SUBJECT_FIELDS[difference.field]);
            format!("{name}: {}", value(difference))
        }))
    };
    (side(|difference| &difference.before), side(|difference| &difference.after))
}

/// As many of `texts` as a line has room for.
fn joined(texts: impl Iterator<Item = String>) -> String {
    let (mut told, mut more) = (String::new(), 0);
    for text in texts {
        if told.chars().count() > LONGEST {
            more += 1;
            continue;
        }
        if !told.is_empty() {
            told.push_str(", ");
        }
        told.push_str(&text);
    }
    if more > 0 {
        told.push_str(&format!(" and {more} more"));
    }
    told
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_VALUE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields that changed, with their names.
    fn told(before: &Value, after: &Value) -> Vec<String> {
        let of = |subject| Some(subject).filter(|subject: &&Value| !subject.is_null());
        let changes = by_field(&between(of(before), of(after))).into_iter().zip(SUBJECT_FIELDS);
        changes.filter_map(|(change, field)| Some(format!("{field}: {}", change?))).collect()
    }

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        let acme =
            json!({"enabled": true, "attributes": {"plan": "growth", "n": 5, "seats": 3}, "time_zone": null});
        let after = json!({"enabled": false, "attributes": {"plan": "scale", "n": 5, "rpm": 7}, "time_zone": "Europe/Berlin"});
        assert_eq!(
            told(&acme, &after),
            [
                "enabled: true → false",
                "attributes: plan: growth → scale, rpm: none → 7, seats: 3 → none",
                "time_zone: none → Europe/Berlin",
            ]
        );
        assert_eq!(
            sides(&between(Some(&acme), Some(&after))),
            (
                "enabled: true, plan: growth, rpm: none, seats: 3, time_zone: none".to_owned(),
                "enabled: false, plan: scale, rpm: 7, seats: none, time_zone: Europe/Berlin".to_owned(),
            )
        );
        assert_eq!(told(&acme, &acme), Vec::<String>::new());
        let created =
            ["enabled: none → true", "attributes: n: none → 5, plan: none → growth, seats: none → 3"];
        assert_eq!(told(&Value::Null, &acme), created);
    }

    #[test]
    fn a_line_has_an_end_however_much_changes() {
        let attributes = |value: &str| {
            let all =
                (0..5_000).map(|n| (format!("attribute_{n}_{}", "x".repeat(500)), json!(value.repeat(500))));
            json!({"attributes": all.collect::<serde_json::Map<_, _>>()})
        };
        let told = told(&attributes("é"), &attributes("ü"));
        assert!(told[0].ends_with(" more") && told[0].chars().count() < 1_000, "{}", told[0]);
    }
}
