//! Limitador's conditions and variables: the part of CEL that compares one entry with texts, and what was written before.

/// An entry that is asked for: which descriptor of the request, and the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reference {
    /// Its place among the descriptors; 0 where nothing is said, as before CEL.
    pub(super) descriptor: usize,
    pub(super) key: String,
}

/// What is asked of a value that is there. Of one that is not nothing is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Is(String),
    IsNot(String),
    OneOf(Vec<String>),
    StartsWith(String),
}

/// One test of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) of: Reference,
    pub(super) test: Test,
}

/// All conditions that `text` joins with `&&`, or what of it is not understood.
pub(super) fn conditions(text: &str) -> Result<Vec<Condition>, String> {
    let mut rest = Rest { text: text.trim() };
    let mut found = vec![rest.condition()?];
    while !rest.text.is_empty() {
        if !rest.take("&&") {
            return Err(rest.not_understood());
        }
        found.push(rest.condition()?);
    }
    Ok(found)
}

/// The entry that a variable is.
pub(super) fn variable(text: &str) -> Result<Reference, String> {
    let mut rest = Rest { text: text.trim() };
    let found = rest.reference()?;
    if rest.text.is_empty() { Ok(found) } else { Err(rest.not_understood()) }
}

/// What is still to be read.
struct Rest<'t> {
    text: &'t str,
}

impl Rest<'_> {
    fn skip(&mut self) {
        self.text = self.text.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let Some(rest) = self.text.strip_prefix(token) else { return false };
        self.text = rest;
        self.skip();
        true
    }

    fn not_understood(&self) -> String {
        format!("`{}` is more of CEL than is translated", self.text)
    }

    fn condition(&mut self) -> Result<Condition, String> {
        if let Some(value) = self.literal()? {
            let is_equal = self.operator()?;
            let of = self.reference()?;
            return Ok(Condition { of, test: if is_equal { Test::Is(value) } else { Test::IsNot(value) } });
        }
        let of = self.reference()?;
        if self.take(".startsWith(") {
            let value = self.needed_literal()?;
            if !self.take(")") {
                return Err(self.not_understood());
            }
            return Ok(Condition { of, test: Test::StartsWith(value) });
        }
        if self.take("in ") || self.text.starts_with("in[") && self.take("in") {
            if !self.take("[") {
                return Err(self.not_understood());
            }
            let mut values = vec![self.needed_literal()?];
            while self.take(",") {
                values.push(self.needed_literal()?);
            }
            if !self.take("]") {
                return Err(self.not_understood());
            }
            return Ok(Condition { of, test: Test::OneOf(values) });
        }
        let is_equal = self.operator()?;
        let value = match self.literal()? {
            Some(value) => value,
            None => self.bare_value()?,
        };
        Ok(Condition { of, test: if is_equal { Test::Is(value) } else { Test::IsNot(value) } })
    }

    fn operator(&mut self) -> Result<bool, String> {
        match (self.take("=="), self.text.starts_with("!=")) {
            (true, _) => Ok(true),
            (false, true) => {
                self.take("!=");
                Ok(false)
            }
            (false, false) => Err(self.not_understood()),
        }
    }

    /// A value without quotes, as conditions had it before version 1.0.
    fn bare_value(&mut self) -> Result<String, String> {
        let end = self.text.find(|c: char| c.is_whitespace() || c == '&').unwrap_or(self.text.len());
        let (value, rest) = self.text.split_at(end);
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | ':');
        if value.is_empty() || !value.chars().all(is_plain) {
            return Err(self.not_understood());
        }
        self.text = rest;
        self.skip();
        Ok(value.to_owned())
    }

    fn needed_literal(&mut self) -> Result<String, String> {
        self.literal()?.ok_or_else(|| self.not_understood())
    }

    /// A text in quotes, if there is one.
    fn literal(&mut self) -> Result<Option<String>, String> {
        self.skip();
        let Some(quote) = self.text.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            return Ok(None);
        };
        let inside = &self.text[1..];
        let Some(end) = inside.find(quote).filter(|end| !inside[..*end].contains('\\')) else {
            return Err(self.not_understood());
        };
        let value = inside[..end].to_owned();
        self.text = &inside[end + 1..];
        self.skip();
        Ok(Some(value))
    }

    /// `descriptors[0]['req.method']`, `descriptors[0].method`, or `req.method` as it was written before.
    fn reference(&mut self) -> Result<Reference, String> {
        self.skip();
        if let Some(rest) = self.text.strip_prefix("descriptors[") {
            let Some((number, rest)) = rest.split_once(']') else { return Err(self.not_understood()) };
            let Ok(descriptor) = number.trim().parse() else { return Err(self.not_understood()) };
            let mut inner = Rest { text: rest };
            let key = if inner.take("[") {
                let key = inner.needed_literal()?;
                if !inner.take("]") {
                    return Err(self.not_understood());
                }
                key
            } else if inner.take(".") {
                inner.name(|c| c.is_alphanumeric() || c == '_')?
            } else {
                return Err(self.not_understood());
            };
            self.text = inner.text;
            self.skip();
            return Ok(Reference { descriptor, key });
        }
        let key = self.name(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ':'))?;
        Ok(Reference { descriptor: 0, key })
    }

    fn name(&mut self, is_part: impl Fn(char) -> bool) -> Result<String, String> {
        let end = self.text.find(|c| !is_part(c)).unwrap_or(self.text.len());
        let (name, rest) = self.text.split_at(end);
        // What is called is a function and no entry.
        if name.is_empty() || rest.starts_with(['(', '[']) {
            return Err(self.not_understood());
        }
        self.text = rest;
        self.skip();
        Ok(name.to_owned())
    }
}

impl Test {
    /// The texts that it compares with.
    pub(super) fn literals(&self) -> &[String] {
        match self {
            Self::Is(value) | Self::IsNot(value) => std::slice::from_ref(value),
            Self::OneOf(values) => values,
            Self::StartsWith(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(usize, String, Test)>, String> {
        let found = conditions(text)?;
        Ok(found.into_iter().map(|one| (one.of.descriptor, one.of.key, one.test)).collect())
    }

    #[test]
    fn a_condition_is_read_as_it_is_written_now_and_as_it_was_before() {
        let get = || Test::Is("GET".to_owned());
        for text in [
            "descriptors[0]['req.method'] == 'GET'",
            "descriptors[0][\"req.method\"]==\"GET\"",
            "'GET' == descriptors[0]['req.method']",
            "req.method == 'GET'",
            "req.method == GET",
        ] {
            assert_eq!(read(text), Ok(vec![(0, "req.method".to_owned(), get())]), "{text}");
        }
        assert_eq!(
            read("descriptors[1].tier != 'free' && descriptors[1].path.startsWith('/v1')"),
            Ok(vec![
                (1, "tier".to_owned(), Test::IsNot("free".to_owned())),
                (1, "path".to_owned(), Test::StartsWith("/v1".to_owned())),
            ])
        );
        let two = Test::OneOf(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read("descriptors[0]['k'] in ['a', 'b']"), Ok(vec![(0, "k".to_owned(), two)]));
    }

    #[test]
    fn what_is_more_of_cel_is_refused_with_the_part() {
        for (text, part) in [
            ("descriptors[0]['k'] == 'a' || true", "|| true"),
            ("descriptors[0]['k'].matches('a.*')", ".matches('a.*')"),
            ("size(descriptors) > 1", "size(descriptors) > 1"),
            ("descriptors[0]['k'] > '5'", "> '5'"),
            ("", ""),
        ] {
            assert_eq!(read(text), Err(format!("`{part}` is more of CEL than is translated")), "{text}");
        }
        assert!(variable("descriptors[0]['user']").is_ok() && variable("user_id").is_ok());
        assert!(variable("size(user)").is_err() && variable("a b").is_err());
    }
}
