//! Whether the subjects of a domain have what its limits ask of them. Whoever has not, has no limit.

use super::{Document, Severity};
use crate::model::Timestamp;
use crate::policy::{Level, Limit, Node, Source};
use crate::subjects::{Directory, Value};
use crate::yaml::Span;

/// How many subjects are named in one warning.
const NAMED: usize = 3;
/// Late enough for every tier that time alone brings.
const SOME_DAY: Timestamp = Timestamp::from_nanos(u64::MAX);

impl Document<'_, '_> {
    /// Warns of subjects for which a limit has no number.
    pub(super) fn coverage(&mut self, level: &Level, directory: &Directory) {
        for node in level.nodes() {
            for limit in node.rule.iter().flat_map(|rule| &rule.limits) {
                self.limit_coverage(node, limit, directory);
            }
            self.coverage(&node.children, directory);
        }
    }

    fn limit_coverage(&mut self, node: &Node, limit: &Limit, directory: &Directory) {
        if let Source::Table { by, values } = &limit.requests.source {
            let covered = |value: &Value| values.iter().any(|(name, _)| *name == value.as_text());
            let hint = "they have no such limit; add their value to `values`, or give them an attribute";
            self.uncovered(node, limit, directory, by, hint, |value| {
                value.is_none_or(|value| !covered(value))
            });
        }
        for name in limit.requests.attributes() {
            if !matches!(&limit.requests.source, Source::Table { by, .. } if by == name) {
                let is_no_number = |value: Option<&Value>| {
                    value.is_some_and(|value| value.as_number().is_none_or(|number| number < 0))
                };
                self.uncovered(
                    node,
                    limit,
                    directory,
                    name,
                    "write a whole number, without quotes",
                    is_no_number,
                );
            }
        }
    }

    fn uncovered(
        &mut self,
        node: &Node,
        limit: &Limit,
        directory: &Directory,
        attribute: &str,
        hint: &str,
        is_wrong: impl Fn(Option<&Value>) -> bool,
    ) {
        let value = |id: &str| directory.subject(id)?.attribute_at(attribute, SOME_DAY);
        let exempt = |id: &str| {
            let Some(subject) = directory.subject(id) else { return true };
            node.exempt.iter().any(|(name, value)| subject.attribute(name) == Some(value))
        };
        let mut wrong = directory.ids().filter(|id| is_wrong(value(id)) && !exempt(id)).peekable();
        if wrong.peek().is_none() {
            return;
        }
        let tell = |id: &str| match value(id) {
            Some(value) => format!("`{id}` ({attribute}={})", value.as_text()),
            None => format!("`{id}` (no {attribute})"),
        };
        let named: Vec<_> = wrong.by_ref().take(NAMED).map(tell).collect();
        let more = match wrong.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("limit `{}` has no number for {}{more}", limit.name, named.join(", "));
        let span = Span { line: node.place.line, column: node.place.column, length: 1 };
        self.report(Severity::Warning, span, &message, Some(hint));
    }
}
