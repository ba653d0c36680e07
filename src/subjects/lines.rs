//! Subjects as JSON Lines: each line is a subject, written as an item of `subjects` is in YAML. One line may be the tiers
//! instead: `{"tiers": {…}}`.
//!
//! A list of a million credentials is written by a program, and JSON is read several times as fast as YAML. The lines become
//! the tokens of the YAML file that says the same, so there is one reader of what they mean.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::index::index;
use super::problem::Place;
use crate::yaml::Token;

/// Deeper nesting is no subject.
const DEEPEST: usize = 16;

/// A line that is no JSON.
#[derive(Debug)]
pub(super) struct NotJson {
    pub(super) at: Place,
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

pub(super) struct Lines<'t> {
    rest: &'t str,
    /// The line that was read last, counted from 1.
    line: usize,
    ready: VecDeque<(Token<'t>, Place)>,
    /// The tokens of the tiers, which stand behind all subjects.
    tiers: Vec<(Token<'t>, Place)>,
    /// Whether a line was a subject.
    some: bool,
    ended: bool,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let word = |text: &'static str| Token::Scalar { text: Cow::Borrowed(text), plain: true };
        let begin = [Token::Document, Token::Mapping, word("subjects"), Token::List];
        let ready = begin.into_iter().map(|token| (token, Place::START)).collect();
        Self { rest: text, line: 0, ready, tiers: Vec::new(), some: false, ended: false }
    }

    /// The next token, and [`Token::Finish`] for ever once the text has ended.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, Place), NotJson> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(next);
            }
            if self.rest.is_empty() {
                self.end()?;
            } else {
                self.read_line()?;
            }
        }
    }

    fn read_line(&mut self) -> Result<(), NotJson> {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let at = Place { line: index(self.line), column: 1, length: 1 };
        let mut tokens = Tokens { at, all: Vec::new(), depth: 0 };
        let mut json = serde_json::Deserializer::from_str(line);
        let read = (&mut tokens).deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| {
            // serde_json's own place is that of one line.
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            let at = Place { column: index(error.column().max(1)), ..at };
            NotJson { at, message: format!("not a line of JSON: {words}"), hint: None }
        })?;
        let is_mapping = matches!(tokens.all.first(), Some((Token::Mapping, _)));
        if is_mapping && matches!(tokens.all.get(1), Some((Token::Scalar { text, .. }, _)) if text == "tiers")
        {
            // Without the braces around it. A second one is refused as the word that is given twice.
            let inner = tokens.all.len() - 1;
            self.tiers.extend(tokens.all.drain(1..inner));
        } else {
            self.some = true;
            self.ready.extend(tokens.all);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), NotJson> {
        let at = Place { line: index(self.line.max(1)), column: 1, length: 1 };
        if !self.ended {
            if !self.some {
                // Half a file, more likely than nobody: to take it at its word would free everybody of their limits.
                let hint = Some("if nobody is meant, name a YAML file that says `subjects: []`");
                return Err(NotJson { at, message: "no line is a subject".to_owned(), hint });
            }
            self.ended = true;
            self.ready.push_back((Token::End, at));
            self.ready.extend(self.tiers.drain(..));
            self.ready.push_back((Token::End, at));
        }
        self.ready.push_back((Token::Finish, at));
        Ok(())
    }
}

/// The tokens of one JSON value.
struct Tokens<'t> {
    at: Place,
    all: Vec<(Token<'t>, Place)>,
    depth: usize,
}

impl<'t> Tokens<'t> {
    fn push(&mut self, token: Token<'t>) {
        self.all.push((token, self.at));
    }

    fn nested<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEEPEST {
            Err(E::custom(format!("nested deeper than {DEEPEST} levels")))
        } else {
            Ok(())
        }
    }
}

impl<'t> DeserializeSeed<'t> for &mut Tokens<'t> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, json: D) -> Result<(), D::Error> {
        // As it is written: a number is the text that it was written as.
        let raw: &'t RawValue = serde::Deserialize::deserialize(json)?;
        let raw = raw.get();
        let mut inner = serde_json::Deserializer::from_str(raw);
        match raw.as_bytes().first() {
            Some(b'{') => inner.deserialize_map(self).map_err(D::Error::custom),
            Some(b'[') => inner.deserialize_seq(self).map_err(D::Error::custom),
            Some(b'"') => inner.deserialize_str(self).map_err(D::Error::custom),
            _ => {
                self.push(Token::Scalar { text: Cow::Borrowed(raw), plain: true });
                Ok(())
            }
        }
    }
}

impl<'t> Visitor<'t> for &mut Tokens<'t> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<(), E> {
        self.push(Token::Scalar { text: Cow::Borrowed(text), plain: false });
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.push(Token::Scalar { text: Cow::Owned(text.to_owned()), plain: false });
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        self.nested()?;
        self.push(Token::List);
        while items.next_element_seed(&mut *self)?.is_some() {}
        self.push(Token::End);
        self.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'t>>(self, mut fields: A) -> Result<(), A::Error> {
        self.nested()?;
        self.push(Token::Mapping);
        while fields.next_key_seed(&mut *self)?.is_some() {
            fields.next_value_seed(&mut *self)?;
        }
        self.push(Token::End);
        self.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::subjects::{Directory, Problem};

    const LINES: &str = r#"{"id": "acme", "attributes": {"plan": "growth", "rpm": 120, "ok": true, "s": "12"}, "credentials": [{"kind": "api_key", "value": "k\u0065y_1"}]}

{"tiers": {"attribute": "tier", "rules": [{"tier": 1, "spend": 5}]}}
{"id": "emca", "facts": {"spend": 7}, "enabled": false}
"#;
    const YAML: &str = "
subjects:
- {id: acme, attributes: {plan: growth, rpm: 120, ok: true, s: '12'}, credentials: [{kind: api_key, value: key_1}]}
- {id: emca, facts: {spend: 7}, enabled: false}
tiers: {attribute: tier, rules: [{tier: 1, spend: 5}]}
";

    fn problems(lines: &str) -> Vec<String> {
        let reported = |Problem { line, column, message, .. }: &Problem| format!("{line}:{column} {message}");
        Directory::parse_lines(lines).unwrap_err().iter().map(reported).collect()
    }

    #[test]
    fn lines_say_what_the_same_yaml_says() {
        let (lines, yaml) = (Directory::parse_lines(LINES).unwrap(), Directory::parse(YAML).unwrap());
        assert_eq!(format!("{lines:?}"), format!("{yaml:?}"));
        for directory in [&lines, &yaml] {
            let found = directory.resolve("api_key", b"key_1").unwrap();
            assert_eq!(found.subject.id(), "acme");
            assert_eq!(found.attribute("rpm").unwrap().as_number(), Some(120));
            assert_eq!(found.attribute("s").unwrap().as_number(), None, "text in quotes is text");
        }
    }

    #[test]
    fn each_mistake_has_its_line() {
        assert_eq!(
            problems("{\"id\": \"a\"}\n{\"id\": \"b\", \"plan\": \"x\"}\n{\"credentials\": []}\n"),
            ["2:1 unknown word `plan` in a subject", "3:1 a subject without an `id`"]
        );
        assert_eq!(problems("{\"id\": \"a\"}\n{\"id\": }\n"), ["2:8 not a line of JSON: expected value"]);
        assert_eq!(problems("{\"id\": \"a\"} x\n"), ["1:13 not a line of JSON: trailing characters"]);
        assert_eq!(problems("[1]\n"), ["1:1 expected a mapping for a subject, found a list"]);
        for no_mapping in ["[\"tiers\"]", "[\"tiers\", {}]", "\"tiers\"", "7", "[]", "null"] {
            assert!(
                problems(no_mapping)[0].starts_with("1:1 expected a mapping for a subject"),
                "{no_mapping}"
            );
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(problems(&deep), ["1:1 not a line of JSON: nested deeper than 16 levels"]);
    }

    #[test]
    fn half_a_file_frees_nobody() {
        for half in ["", "\n\n", "{\"tiers\": {\"attribute\": \"t\", \"rules\": []}}\n"] {
            assert!(problems(half)[0].ends_with("no line is a subject"), "{half:?}");
        }
    }

    #[test]
    fn tiers_are_given_once() {
        let twice = "{\"id\": \"a\"}\n".to_owned()
            + &"{\"tiers\": {\"attribute\": \"t\", \"rules\": []}}\n".repeat(2);
        assert!(problems(&twice)[0].ends_with("`tiers` is given twice"), "{:?}", problems(&twice));
    }
}
