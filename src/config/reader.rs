//! Reading YAML that is no policy, and reporting every mistake as a policy's mistakes are reported.

use std::time::Duration;

use super::diagnostic::{Diagnostic, DiagnosticKind, Excerpt, Severity};
use super::scalar::{self, NotThat};
use super::source::Source;
use super::time::{TimeError, point_in_time};
use super::words::did_you_mean;
use crate::model::{Hits, Timestamp};
use crate::yaml::{Items, Kind, Node, Span, Tree};

/// The most mistakes that are reported: nobody reads more.
const MOST: usize = 1000;

/// One file, and what was found wrong with it.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    mistakes: Vec<Diagnostic>,
}

/// The fields of a mapping: its words are all known, and no word is there twice.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    list: Vec<(&'n str, Node<'n>)>,
    span: Span,
    /// Whether there were words that nobody knows; one of them may be what seems to be missing.
    misspelt: bool,
}

impl<'n> Fields<'n> {
    /// The value of `word`, whatever it says.
    pub(crate) fn get(&self, word: &str) -> Option<Node<'n>> {
        self.list.iter().find(|(known, _)| *known == word).map(|(_, node)| *node)
    }

    /// Where the mapping is.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Whether there were words that nobody knows.
    pub(crate) fn misspelt(&self) -> bool {
        self.misspelt
    }
}

impl Reader {
    /// A reader of `text`, which is called `file` in messages.
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self { source: Source::new(file, text.to_owned()), mistakes: Vec::new() }
    }

    /// What was found wrong, in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.mistakes.sort_by_key(|mistake| {
            mistake.excerpt.as_ref().map(|excerpt| (excerpt.place.line, excerpt.place.column))
        });
        self.mistakes
    }

    /// The values of the text.
    pub(crate) fn tree(&mut self) -> Option<Tree> {
        match Tree::parse(&self.source.text) {
            Ok(tree) => Some(tree),
            Err(error) => {
                self.add(DiagnosticKind::Syntax, error.span, &format!("not YAML: {}", error.message), None);
                None
            }
        }
    }

    /// What messages about `span` show.
    pub(crate) fn excerpt(&self, span: Span) -> Option<Excerpt> {
        self.source.diagnose(Severity::Error, span, String::new(), None).excerpt
    }

    /// Notes a mistake.
    pub(crate) fn error(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.add(DiagnosticKind::Other, span, message, hint);
    }

    /// A value is not what its word takes.
    fn wrong_value(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.add(DiagnosticKind::WrongValue, span, message, hint);
    }

    fn add(&mut self, kind: DiagnosticKind, span: Span, message: &str, hint: Option<&str>) {
        if self.mistakes.len() < MOST {
            let hint = hint.map(str::to_owned);
            let wrong = self.source.diagnose(Severity::Error, span, message.to_owned(), hint);
            self.mistakes.push(wrong.kind(kind));
        }
    }

    /// The fields of `node`, which is called `what` and may have these `words`.
    pub(crate) fn fields<'n>(&mut self, node: Node<'n>, what: &str, words: &[&str]) -> Option<Fields<'n>> {
        let all = || words.join(", ");
        let Kind::Mapping(pairs) = node.kind() else {
            let message = format!("expected {what}, which is a mapping, found {}", node.kind_name());
            self.wrong_value(node.span(), &message, Some(&format!("{what} may have {}", all())));
            return None;
        };
        let mut fields: Vec<(&str, Node<'n>)> = Vec::new();
        let mut misspelt = false;
        for (key, value) in pairs {
            let Some(word) = self.read(key, scalar::text) else { continue };
            if !words.contains(&word) {
                misspelt = true;
                let hint = did_you_mean(word, words.iter().copied());
                let hint = hint.unwrap_or_else(|| format!("{what} may have {}", all()));
                let message = format!("unknown word `{word}` in {what}");
                self.add(DiagnosticKind::UnknownWord, key.span(), &message, Some(&hint));
            } else if fields.iter().any(|(known, _)| *known == word) {
                let (message, hint) = (format!("`{word}` is given twice"), "leave one of them out");
                self.add(DiagnosticKind::RepeatedKey, key.span(), &message, Some(hint));
            } else {
                fields.push((word, value));
            }
        }
        Some(Fields { list: fields, span: node.span(), misspelt })
    }

    /// The value of a word that must be there.
    pub(crate) fn needed<'n>(
        &mut self,
        fields: &Fields<'n>,
        word: &str,
        what: &str,
        example: &str,
    ) -> Option<Node<'n>> {
        let found = fields.get(word);
        if found.is_none() && !fields.misspelt {
            self.error(
                fields.span,
                &format!("{what} needs `{word}`"),
                Some(&format!("write `{word}: {example}`")),
            );
        }
        found
    }

    /// The members of a list.
    pub(crate) fn items<'n>(&mut self, node: Node<'n>, what: &str) -> Option<Items<'n>> {
        if let Kind::Sequence(items) = node.kind() {
            return Some(items);
        }
        let message = format!("expected {what}, found {}", node.kind_name());
        self.wrong_value(node.span(), &message, Some("begin each item with `- `"));
        None
    }

    /// Text as it is written, quoted or not: `1.10`, `True`, `0x1F`. Nothing at all is the empty text. What YAML calls null
    /// is refused, for some readers of YAML take it for text and others for nothing.
    pub(crate) fn text<'n>(&mut self, node: Node<'n>) -> Option<&'n str> {
        match node.kind() {
            Kind::Scalar { text, plain: true } if node.is_null() && !text.is_empty() => {
                let hint = format!("write `''` for no text, or `'{text}'` for the text `{text}`");
                self.wrong_value(
                    node.span(),
                    &format!("expected text, found `{text}`, which is none"),
                    Some(&hint),
                );
                None
            }
            _ => self.read(node, scalar::text),
        }
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&mut self, node: Node<'_>, what: &str, known: &[(&str, T)]) -> Option<T> {
        let word = self.text(node)?;
        let found = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let hint = did_you_mean(word, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("write `{}`", names.join("` or `")));
            let message = format!("unknown {what} `{word}`");
            self.add(DiagnosticKind::WrongValue, node.span(), &message, Some(&hint));
        }
        found
    }

    /// A whole number.
    pub(crate) fn hits(&mut self, node: Node<'_>) -> Option<u64> {
        self.read(node, |node| match node.kind() {
            Kind::Scalar { text, .. } => hits(text).map_err(|(message, hint)| NotThat { message, hint }),
            _ => Err(NotThat {
                message: format!("expected a whole number, found {}", node.kind_name()),
                hint: None,
            }),
        })
    }

    /// What a request costs: a whole number, or one below zero for hits that are given back.
    pub(crate) fn cost(&mut self, node: Node<'_>) -> Option<Hits> {
        let given_back = match node.kind() {
            Kind::Scalar { text, .. } => text.strip_prefix('-').and_then(|text| hits(text).ok()),
            _ => None,
        };
        given_back.map(Hits::refund).or_else(|| self.hits(node).map(Hits::charge))
    }

    /// A length of time; `0s` is one, too.
    pub(crate) fn length(&mut self, node: Node<'_>) -> Option<Duration> {
        self.read(node, |node| {
            let text = scalar::text(node)?;
            let is_zero = ["0", "0ms", "0s", "0m", "0h", "0d"].contains(&text);
            if is_zero { Ok(Duration::ZERO) } else { scalar::duration(text) }
        })
    }

    /// A point in time, or a date.
    pub(crate) fn time(&mut self, node: Node<'_>) -> Option<Timestamp> {
        self.read(node, |node| {
            point_in_time(scalar::text(node)?).map_err(|error| NotThat {
                message: error.to_string(),
                hint: Some(TimeError::HINT.to_owned()),
            })
        })
    }

    fn read<'n, T>(
        &mut self,
        node: Node<'n>,
        read: impl FnOnce(Node<'n>) -> Result<T, NotThat>,
    ) -> Option<T> {
        match read(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.add(DiagnosticKind::WrongValue, node.span(), &wrong.message, wrong.hint.as_deref());
                None
            }
        }
    }
}

/// A whole number in decimal, whose digits may be grouped by `_`; or why it is none, and what to write.
pub(crate) fn hits(text: &str) -> Result<u64, (String, Option<String>)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if digits(&plain) {
        let most = u64::MAX;
        return plain
            .parse()
            .map_err(|_| (format!("`{text}` is too large"), Some(format!("the most is {most}"))));
    }
    let without: String = text.chars().filter(|c| !matches!(c, ',' | '\'' | '.' | '_' | ' ')).collect();
    let grouped = text.split([',', '\'', ' ', '.']).skip(1).all(|group| group.len() == 3);
    let hint = if digits(&without) && grouped {
        format!("write the digits alone, `{without}`")
    } else if text.strip_prefix('-').is_some_and(digits) {
        "it cannot be negative".to_owned()
    } else {
        "write its digits, as in `10000`".to_owned()
    };
    Err((format!("expected a whole number, found `{text}`"), Some(hint)))
}

#[cfg(test)]
mod tests {
    use super::hits;

    #[test]
    fn a_number_is_its_digits_and_the_hint_says_which() {
        for (text, number) in [("0", 0), ("60", 60), ("10_000", 10_000), ("18446744073709551615", u64::MAX)] {
            assert_eq!(hits(text), Ok(number), "{text}");
        }
        for (text, hint) in [
            ("10,000", "write the digits alone, `10000`"),
            ("1'000'000", "write the digits alone, `1000000`"),
            ("10.000", "write the digits alone, `10000`"),
            ("1.5", "write its digits, as in `10000`"),
            ("1,5", "write its digits, as in `10000`"),
            ("-1", "it cannot be negative"),
            ("many", "write its digits, as in `10000`"),
            ("", "write its digits, as in `10000`"),
            ("18446744073709551616", "the most is 18446744073709551615"),
        ] {
            assert_eq!(hits(text).map_err(|(_, hint)| hint), Err(Some(hint.to_owned())), "{text}");
        }
    }
}
