//! `headers`, `deny` and `request_headers`: what answers say.

use std::sync::Arc;

use super::subjects::slip;
use super::{DiagnosticKind, Document, Fields, Kind, Node, Scope, Severity, did_you_mean, scalar};
use crate::policy::{Shape, UpstreamHeader};
use crate::response::{
    DIALECTS, Denial, Emit, HeaderLine, HeaderName, HeaderSet, ShapeError, Template, dialect,
};
use crate::yaml::{Items, Span};

/// The most bytes of a body that a hint writes out.
const LONGEST: usize = 400;

fn headers_example() -> String {
    let names: Vec<_> = DIALECTS.iter().map(|(name, _)| *name).collect();
    format!("write it as in `{{emit: always, dialect: draft-03}}`; dialects are {}", names.join(", "))
}

impl Document<'_, '_> {
    /// The headers and the body that are set here, and for the rest those that are set around it.
    pub(super) fn shape(&mut self, fields: &Fields<'_>, around: &Arc<Shape>) -> Arc<Shape> {
        let headers = fields.get("headers").map(|headers| self.headers(headers));
        let denial = fields.get("deny").and_then(|deny| self.denial(deny));
        if headers.is_none() && denial.is_none() {
            return Arc::clone(around);
        }
        Arc::new(Shape {
            headers: headers.unwrap_or_else(|| around.headers.clone()),
            denial: denial.map(Arc::new).or_else(|| around.denial.clone()),
        })
    }

    /// One family of headers, or a list of families.
    fn headers(&mut self, node: Node<'_>) -> Vec<Arc<HeaderSet>> {
        let families = match node.kind() {
            Kind::Sequence(items) => items,
            _ => Items::one(node),
        };
        families.filter_map(|family| self.family(family)).map(Arc::new).collect()
    }

    /// `emit` and `dialect`; every other word is a header's name.
    fn family(&mut self, node: Node<'_>) -> Option<HeaderSet> {
        let mut emit = Emit::default();
        let mut lines = Vec::new();
        for (key, value) in
            self.pairs_or(node, "`emit`, `dialect` and headers with what they show", headers_example)?
        {
            let Some(word) = self.read(key, scalar::text) else { continue };
            match word {
                "emit" => {
                    let said = self.read(value, scalar::text).map(Emit::parse);
                    emit = said.and_then(|said| self.accept(value.span(), said)).unwrap_or_default();
                }
                "dialect" => {
                    let names = match value.kind() {
                        Kind::Sequence(items) => items,
                        _ => Items::one(value),
                    };
                    for name in names {
                        let found = self.read(name, scalar::text).map(dialect);
                        lines.extend(
                            found.and_then(|found| self.accept(name.span(), found)).into_iter().flatten(),
                        );
                    }
                }
                name => {
                    if let Some(hint) = slip(name, &["emit", "dialect"]) {
                        let message = format!("unknown word `{name}` in `headers`");
                        self.of_kind(DiagnosticKind::UnknownWord, |this| {
                            this.error(key.span(), &message, Some(&hint));
                        });
                        continue;
                    }
                    let Some(shown) = self.read(value, scalar::text) else { continue };
                    let line = HeaderLine::parse(name, shown);
                    let is_name = HeaderName::parse(name).is_ok();
                    lines.extend(self.accept(if is_name { value.span() } else { key.span() }, line));
                }
            }
        }
        let set = HeaderSet::new(lines, emit);
        self.accept(node.span(), set)
    }

    fn denial(&mut self, node: Node<'_>) -> Option<Denial> {
        let fields = self.fields(node, Scope::Deny)?;
        let content_type = self.text(&fields, "content_type");
        let Some(body) = fields.get("body") else {
            if !fields.misspelt {
                self.error(node.span(), "the refusal has no body", Some("add `body: TEXT`"));
            }
            return None;
        };
        if !matches!(body.kind(), Kind::Scalar { .. }) {
            // Most likely it is the JSON that is meant, without quotes.
            let meant = scalar::json(body).to_string();
            let hint = if meant.len() > LONGEST || meant.contains('\'') {
                "write it as text: `body: '{\"error\":\"rate_limited\"}'`".to_owned()
            } else {
                format!("write it as text: `body: '{meant}'`")
            };
            let message = format!("expected text, found {}", body.kind_name());
            self.wrong_value(body.span(), &message, Some(&hint));
            return None;
        }
        let text = self.read(body, scalar::text)?;
        let denial = Denial::parse(content_type, text);
        let about_type = matches!(denial, Err(ShapeError::NotAContentType { .. }));
        let span = fields.get("content_type").filter(|_| about_type).map_or(body.span(), Node::span);
        let denial = self.accept(span, denial)?;
        self.names(body.span(), &denial.body, Severity::Warning);
        Some(denial)
    }

    /// Headers for the upstream: names, each with a template.
    pub(super) fn request_headers(&mut self, fields: &Fields<'_>) -> Vec<UpstreamHeader> {
        let Some(node) = fields.get("request_headers") else { return Vec::new() };
        let mut headers = Vec::new();
        for (key, value) in self
            .pairs(node, "headers with what they say", "write it as in `{x-tenant: '{{subject}}'}`")
            .into_iter()
            .flatten()
        {
            let Some((name, text)) = self.read(key, scalar::text).zip(self.read(value, scalar::text)) else {
                continue;
            };
            let name = HeaderName::parse(name);
            let template = Template::header(text);
            if let Some((name, template)) =
                self.accept(key.span(), name).zip(self.accept(value.span(), template))
            {
                self.names(value.span(), &template, Severity::Error);
                let (name, place) = (name.as_str().to_owned(), self.source.place(key.span()));
                headers.push(UpstreamHeader { name, template, place });
            }
        }
        headers
    }

    fn accept<T>(&mut self, span: Span, parsed: Result<T, ShapeError>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                let likely = error.candidates().and_then(|(typed, known)| did_you_mean(typed, known));
                self.wrong_value(span, &error.to_string(), likely.or_else(|| error.hint()).as_deref());
                None
            }
        }
    }
}
