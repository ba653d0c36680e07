//! `requests_per_unit`: how many hits a window grants, and to whom.

use super::{Document, Fields, Inherited, Kind, Node, Scope, scalar};
use crate::policy::{Requests, Source};

impl Document<'_, '_> {
    pub(super) fn requests(
        &mut self,
        node: Node<'_>,
        fields: &Fields<'_>,
        inherited: &Inherited<'_>,
    ) -> Option<Requests> {
        let source = match fields.get("requests_per_unit") {
            Some(table) if matches!(table.kind(), Kind::Mapping(_)) => {
                if !inherited.has_subject {
                    self.needs_subject(table, "requests_per_unit");
                }
                self.source(table)
            }
            Some(number) => {
                self.read(number, scalar::whole_number).map(|number| Source::Fixed(number.into()))
            }
            None if fields.misspelt => None,
            None => {
                let message = "the limit has no `requests_per_unit`, so it lets nothing pass";
                self.tolerate(node.span(), message, Some("write `requests_per_unit: 0` if that is meant"));
                Some(Source::Fixed(0))
            }
        };
        let mut attribute = |word| {
            let name = self.text(fields, word)?.to_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("`{word}` names an attribute of subjects, and `{name}` is a number");
                let hint = format!("for one number for all, write `requests_per_unit: {name}`");
                self.error_at(fields, word, &message, Some(&hint));
                return None;
            }
            if let (false, Some(node)) = (inherited.has_subject, fields.get(word)) {
                self.needs_subject(node, word);
            }
            Some(name)
        };
        let (instead, at_most) = (attribute("override"), attribute("at_most"));
        Some(Requests { source: source?, instead, at_most })
    }

    /// `{by: plan, values: {free: 5, pro: 50}}`, or `{attribute: rpm}`.
    fn source(&mut self, node: Node<'_>) -> Option<Source> {
        let fields = self.fields(node, Scope::Requests)?;
        if let Some(name) = self.text(&fields, "attribute") {
            for word in ["by", "values", "otherwise"] {
                if fields.get(word).is_some() {
                    let hint = "for a number that an attribute replaces, write `requests_per_unit: 5, override: NAME`";
                    let message =
                        format!("`attribute` and `{word}` are two ways to say where the number comes from");
                    self.error_at(&fields, word, &message, Some(hint));
                }
            }
            return Some(Source::Attribute(name.to_owned()));
        }
        let (Some(by), Some(values)) = (self.text(&fields, "by"), fields.get("values")) else {
            if !fields.misspelt {
                let hint = "write `{by: ATTRIBUTE, values: {VALUE: NUMBER}}`, or `{attribute: NAME}`";
                self.error(node.span(), "it is not said where the number comes from", Some(hint));
            }
            return None;
        };
        let mut table = Vec::new();
        for (value, number) in
            self.pairs(values, "values with their numbers", "write it as in `{free: 5, pro: 50}`")?
        {
            if let (Some(value), Some(number)) =
                (self.read(value, scalar::text), self.read(number, scalar::whole_number))
            {
                table.push((value.to_owned(), number.into()));
            }
        }
        if table.is_empty() && matches!(values.kind(), Kind::Mapping(_)) {
            self.error(values.span(), "`values` lists no value", Some("write it as in `{free: 5, pro: 50}`"));
        }
        let otherwise = fields.get("otherwise");
        let otherwise = otherwise.and_then(|number| self.read(number, scalar::whole_number)).map(u64::from);
        Some(Source::Table { by: by.to_owned(), values: table, otherwise })
    }
}
