//! The JSON Schema of a policy file, for editors. Made of the same table of words that the loader knows.

use serde_json::{Map, Value, json};

use super::compile::periods;
use super::scalar;
use super::takes::Takes;
use super::words::{self, Scope, Word};
use crate::model::Unit;
use crate::response::{DIALECTS, Number};

/// What every other spelling of true and false is, in YAML 1.1.
const TRUTHS: [&str; 16] =
    ["yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "no", "No", "NO", "off", "Off", "OFF", "n", "N"];

/// A header's name: a token (RFC 9110 §5.6.2).
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// The JSON Schema (draft-07, which editors understand) of one document of a policy file.
///
/// It knows every word, where it may stand and what it takes. What goes together, and what needs something elsewhere in the
/// file, only the loader knows: `spillway check` tells.
pub fn schema() -> Value {
    let definitions: Map<String, Value> = Scope::ALL
        .into_iter()
        .filter(|scope| *scope != Scope::Root)
        .map(|scope| (name(scope).to_owned(), mapping(scope)))
        .collect();
    let mut root = mapping(Scope::Root);
    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = "Spillway policy".into();
    root["definitions"] = definitions.into();
    root
}

/// What a kind of mapping is called among the definitions.
fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Root => "policy",
        Scope::Descriptor => "descriptor",
        Scope::RateLimit => "rate_limit",
        Scope::Replaces => "replaces",
        Scope::Requests => "requests",
        Scope::Headers => "headers",
        Scope::Deny => "deny",
        Scope::Undeclared => "undeclared",
    }
}

fn reference(scope: Scope) -> Value {
    json!({"$ref": format!("#/definitions/{}", name(scope))})
}

/// A mapping with the words that may stand in it.
fn mapping(scope: Scope) -> Value {
    let properties: Map<String, Value> =
        words::rows_of(scope).map(|word| (word.name.to_owned(), described(word))).collect();
    let mut mapping = json!({"type": "object", "properties": properties, "additionalProperties": false});
    match scope {
        Scope::Root => mapping["required"] = json!(["domain"]),
        Scope::Descriptor => {
            mapping["required"] = json!(["key"]);
            mapping["not"] = json!({"required": ["rate_limit", "rate_limits"]});
        }
        Scope::RateLimit => {
            mapping["anyOf"] = json!([
                {"required": ["unit"]},
                {"required": ["per"]},
                {"required": ["unlimited"], "properties": {"unlimited": {"not": {"const": false}}}},
            ]);
            mapping["not"] = json!({"required": ["unit", "per"]});
        }
        Scope::Requests => {
            mapping["anyOf"] = json!([{"required": ["by", "values"]}, {"required": ["attribute"]}]);
        }
        Scope::Replaces => mapping["required"] = json!(["name"]),
        Scope::Deny => mapping["required"] = json!(["body"]),
        Scope::Undeclared => mapping["required"] = json!(["segments"]),
        // Every other word is a header, and what it shows a number by its name, or a text with numbers in it.
        Scope::Headers => {
            mapping["propertyNames"] = json!({"pattern": TOKEN});
            mapping["additionalProperties"] = json!({"type": "string", "anyOf": [
                {"enum": Number::names().collect::<Vec<_>>()},
                {"pattern": "^[^A-Za-z]|[^0-9A-Za-z_]"},
            ]});
        }
    }
    mapping
}

/// What `word` takes, with what an editor shows of it.
fn described(word: &Word) -> Value {
    let default =
        if word.default.is_empty() { String::new() } else { format!(" Without it: {}.", word.default) };
    let text = format!("{}.{default} Example: `{}`", word.meaning, word.example);
    let taken = taken(word.takes);
    // Beside a `$ref` everything else means nothing in this draft.
    let mut described = if taken.get("$ref").is_some() { json!({"allOf": [taken]}) } else { taken };
    described["description"] = text.replace('`', "").into();
    // What the YAML language server shows instead, where it is there.
    described["markdownDescription"] = text.into();
    described
}

fn taken(takes: Takes) -> Value {
    let text = json!({"type": ["string", "number", "boolean", "null"]});
    let number = |least: u32, most: u32| json!({"type": "integer", "minimum": least, "maximum": most});
    let one_or_several = |one: Value| json!({"anyOf": [one, {"type": "array", "items": one}]});
    match takes {
        Takes::Text(_) => text,
        Takes::Flag => json!({"anyOf": [{"type": "boolean"}, {"enum": TRUTHS}]}),
        Takes::Number { least, most } => number(least, most),
        Takes::OneOf(names) => json!({"enum": names()}),
        Takes::Unit => {
            let names = Unit::ALL.map(Unit::name);
            let pattern = names.map(any_case).join("|");
            json!({"type": "string", "anyOf": [{"enum": names}, {"pattern": format!("^(?:{pattern})$")}]})
        }
        Takes::Window => {
            let units = scalar::LENGTHS.map(|(unit, _)| unit).join("|");
            json!({"type": "string", "anyOf": [
                {"enum": periods()},
                {"pattern": format!("^(?:[0-9]+(?:{units}))*[0-9]*[1-9][0-9]*(?:{units})(?:[0-9]+(?:{units}))*$")},
            ]})
        }
        Takes::Requests => json!({"anyOf": [number(0, u32::MAX), reference(Scope::Requests)]}),
        Takes::Numbers => json!({"type": "object", "additionalProperties": number(0, u32::MAX)}),
        Takes::Mapping(scope) => reference(scope),
        Takes::List(scope) => json!({"type": "array", "items": reference(scope)}),
        Takes::Undeclared => json!({"anyOf": [{"const": "one"}, reference(Scope::Undeclared)]}),
        Takes::Endpoints => {
            let template = json!({"type": "string", "pattern": "^[A-Z0-9_-]+ +/"});
            let named =
                json!({"type": "object", "additionalProperties": {"type": "array", "items": template}});
            json!({"type": "array", "items": {"anyOf": [template, named]}})
        }
        Takes::CountBy => one_or_several(json!({"type": "string", "anyOf": [
            {"enum": ["entries", "subject", "credential", "domain"]},
            {"minLength": 1},
        ]})),
        Takes::Headers => one_or_several(reference(Scope::Headers)),
        Takes::Dialects => {
            one_or_several(json!({"enum": DIALECTS.iter().map(|(name, _)| *name).collect::<Vec<_>>()}))
        }
        Takes::Templates => {
            json!({"type": "object", "propertyNames": {"pattern": TOKEN}, "additionalProperties": {"type": "string"}})
        }
        Takes::Attributes => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
        }
        Takes::Anything => json!({"type": "object"}),
    }
}

/// A regular expression for `name` in any case.
fn any_case(name: &str) -> String {
    name.chars().flat_map(|c| ['[', c.to_ascii_uppercase(), c, ']']).collect()
}

#[cfg(test)]
mod tests;
