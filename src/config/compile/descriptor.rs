//! Descriptors, from the outermost inwards.

use std::sync::Arc;

use super::subjects::Tell;
use super::{DiagnosticKind, Document, Fields, Kind, Node, Scope, Severity, scalar};
use crate::config::load::OnRefusal;
use crate::config::words::choices;
use crate::policy::{
    self, CountBy, Endpoints, Evaluate, Level, MetricValues, OnStoreFailure, Rule, Shape, SubjectNode,
};
use crate::subjects::{Directory, Value};
use crate::yaml::{Items, Span};

/// Whether an empty value counts as none, by name.
const EMPTIES: [(&str, bool); 2] = [("absent", true), ("value", false)];

/// The names of these.
pub(in crate::config) fn empties() -> Vec<&'static str> {
    EMPTIES.map(|(name, _)| name).to_vec()
}

/// What a descriptor takes over from those around it.
#[derive(Default)]
pub(super) struct Inherited<'p> {
    pub(super) evaluate: Evaluate,
    pub(super) on_refusal: OnRefusal,
    pub(super) shape: Arc<Shape>,
    pub(super) on_store_failure: OnStoreFailure,
    pub(super) count_by: Option<Arc<[CountBy]>>,
    /// Whether this one, or one around it, resolves a subject.
    pub(super) has_subject: bool,
    /// The subjects of the domain.
    directory: Option<&'p Directory>,
    /// Who passes uncounted from here on.
    exempt: &'p [(String, Value)],
    /// The endpoints of the domain.
    pub(super) endpoints: Option<&'p Endpoints>,
    /// The descriptor around this one; none at the top of a domain.
    around: Option<&'p Inherited<'p>>,
    key: &'p str,
    value: &'p str,
    /// The kind of credential that the value is.
    kind: &'p str,
    /// Whether metrics could name a value on the way: one that is not written here, nor a credential, nor counted with others.
    has_open_value: bool,
    /// Whether `value_to_metric` stands beside such a one.
    names_values: bool,
}

impl<'p> Inherited<'p> {
    /// What the outermost descriptors take over from the top of their domain.
    pub(super) fn root(
        evaluate: Evaluate,
        on_refusal: OnRefusal,
        shape: Arc<Shape>,
        on_store_failure: OnStoreFailure,
        endpoints: Option<&'p Endpoints>,
        directory: Option<&'p Directory>,
    ) -> Self {
        Self { evaluate, on_refusal, shape, on_store_failure, directory, endpoints, ..Self::default() }
    }

    /// This one and those around it, from the inside out, without the top of the domain.
    fn outwards(&self) -> impl Iterator<Item = &Inherited<'p>> {
        std::iter::successors(Some(self), |inherited| inherited.around).take_while(|one| one.around.is_some())
    }

    /// The way from the top of the domain, for people.
    pub(super) fn label(&self) -> String {
        let mut labels: Vec<_> = self.outwards().map(|one| label(one.key, one.value)).collect();
        labels.reverse();
        labels.join(" > ")
    }

    /// The way from the top of the domain, as in a limit's identity. Two kinds of credential under one key are two ways.
    pub(super) fn parts(&self) -> Vec<&str> {
        let mut parts: Vec<_> = self.outwards().flat_map(|one| [one.kind, one.value, one.key]).collect();
        parts.reverse();
        parts
    }

    /// The subjects of the domain, if they could be read.
    pub(super) fn directory(&self) -> Option<&'p Directory> {
        self.directory
    }

    /// The kinds of credentials on the way, from the inside out.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.outwards().map(|one| one.kind).filter(|kind| !kind.is_empty())
    }

    /// The attributes of those who pass uncounted.
    pub(super) fn exempt(&self) -> impl Iterator<Item = &(String, Value)> {
        self.outwards().flat_map(|one| one.exempt)
    }

    /// The keys of the entries on the way.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.outwards().map(|one| one.key)
    }
}

/// One descriptor, for people.
pub(super) fn label(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}={value}") }
}

impl Document<'_, '_> {
    pub(super) fn descriptors(
        &mut self,
        list: Option<Node<'_>>,
        level: &mut Level,
        inherited: &Inherited<'_>,
    ) {
        let Some(list) = list else { return };
        for node in self.items(list) {
            self.descriptor(node, level, inherited);
        }
    }

    fn descriptor(&mut self, node: Node<'_>, level: &mut Level, around: &Inherited<'_>) {
        let Some(fields) = self.fields(node, Scope::Descriptor) else { return };
        let key = fields.get("key").and_then(|key| self.read(key, scalar::text));
        let value = fields.get("value").and_then(|value| self.read(value, scalar::text)).unwrap_or_default();
        if key.is_none_or(str::is_empty) && !fields.misspelt {
            let span = fields.get("key").map_or(node.span(), Node::span);
            self.error(span, "the descriptor has no key", Some("begin it with `- key: NAME`"));
        }
        // Without a key the rest is still looked through for mistakes.
        let key = key.unwrap_or_default();
        self.notes_key(key);
        for (word, text) in [("key", key), ("value", value)] {
            if let (Some(node), true) = (fields.get(word), text.trim_ascii() != text) {
                let message = format!("the {word} `{}` begins or ends with a space", text.escape_debug());
                self.report(Severity::Warning, node.span(), &message, Some("remove it if it is not sent"));
            }
        }

        if let Some(span) = fields.span_of_nothing("value") {
            let hint = "leave the word out if that is meant; otherwise put it in quotes: without them `#`, `&`, `~` and `null` are no text";
            self.of_kind(DiagnosticKind::WrongValue, |this| {
                let message = "`value` says nothing, so every value matches";
                this.report(Severity::Warning, span, message, Some(hint));
            });
        }
        if let (policy::ENDPOINT, false, Some(endpoints)) = (key, value.is_empty(), around.endpoints) {
            self.endpoint_value(&fields, value, endpoints);
        }
        self.literal_value(&fields, key, value, around.endpoints.is_some());
        self.key_without_limit(node, &fields, key);
        let subject = self.subject(&fields, value);
        if subject.is_some() {
            self.secrets.insert(key.to_owned());
        }
        let has_subject = around.has_subject || subject.is_some();
        let exempt = self.exempt(&fields, has_subject, around.directory);
        let shared = self.shares(&fields, key, value);
        let value_to_metric = self.flag(&fields, "value_to_metric").unwrap_or_default();
        if value_to_metric && subject.is_some() {
            let hint = "a credential is never shown; leave the word out, or set it on a descriptor without a `subject`";
            self.misplaced(
                &fields,
                "value_to_metric",
                "`value_to_metric` would show credentials",
                Some(hint),
            );
        }
        let is_named = !value.is_empty() && !value.contains('*');
        let is_open = !is_named && subject.is_none() && shared.is_none();
        let inherited = Inherited {
            directory: around.directory,
            exempt: &exempt,
            evaluate: around.evaluate,
            on_refusal: around.on_refusal,
            shape: self.shape(&fields, &around.shape),
            on_store_failure: self.on_store_failure(&fields).unwrap_or(around.on_store_failure),
            count_by: self.count_by(&fields).or_else(|| around.count_by.clone()),
            has_subject,
            endpoints: around.endpoints,
            around: Some(around),
            key,
            value,
            kind: subject.as_ref().map_or("", |subject| subject.kind.as_str()),
            has_open_value: around.has_open_value || is_open,
            names_values: around.names_values || (is_open && value_to_metric),
        };

        let rule = self.rule(&fields, &inherited);
        let empty_is_absent = self.empty_is_absent(&fields, key, value, subject.is_some());
        let mut children = Level::default();
        self.descriptors(fields.get("descriptors"), &mut children, &inherited);
        self.failure_without_limit(&fields, rule.as_ref(), &children);
        if key.is_empty() {
            return;
        }
        if key == "method" && around.endpoints.is_some() && children.has_key("path") {
            let message = "descriptor `method` with `path` in it is never reached: with `endpoints`, the two are one entry";
            self.of_kind(DiagnosticKind::UnreachableRule, |this| {
                this.report(Severity::Warning, node.span(), message, Some("match `- key: endpoint`"));
            });
        }
        let place = self.source.place(node.span());
        let label = label(key, value);
        let compiled = policy::Node {
            place,
            label,
            rule,
            children,
            shared,
            value_to_metric,
            subject: subject.clone(),
            empty_is_absent,
            exempt: exempt.clone(),
        };
        if let Err(first) = level.add(key, value, compiled) {
            let message = format!("descriptor `{}` was listed before, at {}", inherited.label(), first.place);
            self.of_kind(DiagnosticKind::RepeatedRule, |this| {
                let hint = "give each combination of key and value one descriptor";
                this.error(node.span(), &message, Some(hint));
            });
        }
    }

    fn notes_key(&mut self, key: &str) {
        let keys = match self.compiler.keys.get_mut(&self.domain) {
            Some(keys) => keys,
            None => self.compiler.keys.entry(self.domain.clone()).or_default(),
        };
        if !keys.contains(key) {
            keys.insert(key.to_owned());
        }
    }

    /// The rule of a descriptor, with everything that stands beside its limits.
    fn rule(&mut self, fields: &Fields<'_>, inherited: &Inherited<'_>) -> Option<Rule> {
        let own_shadow = self.flag(fields, "shadow_mode").unwrap_or_default();
        let tells_over_limit = self.compiler.options.shadow_mode && !own_shadow;
        let shadow = own_shadow || tells_over_limit;
        let quota = self.flag(fields, "quota_mode").unwrap_or_default();
        let detailed_metric = self.flag(fields, "detailed_metric").unwrap_or_default();
        let metadata = fields.get("metadata").and_then(|metadata| self.metadata(metadata));
        if quota && inherited.evaluate != Evaluate::Each && inherited.on_refusal == OnRefusal::AllCount {
            let hint = "under the other ways a refusal settles the request";
            self.misplaced(fields, "quota_mode", "`quota_mode` needs `evaluate: each`", Some(hint));
        }
        if let (false, Some(span)) = (fields.outside, fields.span_of_nothing("rate_limit")) {
            let hint = "write `rate_limit: {requests_per_unit: 5, unit: minute}`, or `rate_limit: {unlimited: true}` for an exemption";
            self.tolerate(span, "`rate_limit` has nothing in it, so this lets everything pass", Some(hint));
        }
        let rule = match (fields.get("rate_limit"), fields.get("rate_limits")) {
            (Some(one), None) => self.rate_limit(one, inherited),
            (None, Some(list)) => Some(self.rate_limits(list, inherited)),
            (None, None) => None,
            (Some(_), Some(list)) => {
                self.error(
                    list.span(),
                    "`rate_limit` and `rate_limits` are two ways to say one thing",
                    Some("remove one of the two"),
                );
                None
            }
        };
        if let Some(rule) = &rule
            && let Some(watched) = fields.get("shadow_mode").filter(|_| shadow)
        {
            let own = rule.limits.iter().flat_map(|limit| &limit.replaces);
            if let Some(name) = rule.replaces.iter().chain(own).next() {
                let message =
                    format!("a rule that is only watched puts `{name}` aside, which is enforced without it");
                let hint = "leave out `replaces` while it is only watched";
                self.report(Severity::Warning, watched.span(), &message, Some(hint));
            }
        }
        let metric_values = match inherited.has_open_value {
            true if detailed_metric => MetricValues::OfAll,
            _ if inherited.names_values => MetricValues::OfSome,
            _ => MetricValues::Together,
        };
        rule.map(|rule| Rule { shadow, tells_over_limit, quota, metric_values, metadata, ..rule })
    }

    /// The kind of credential that the value must be.
    fn subject(&mut self, fields: &Fields<'_>, value: &str) -> Option<SubjectNode> {
        let strip_scheme = self.flag(fields, "strip_scheme").unwrap_or_default();
        let Some(kind) = self.text(fields, "subject") else {
            if strip_scheme {
                self.misplaced(fields, "strip_scheme", "`strip_scheme` needs a `subject` beside it", None);
            }
            return None;
        };
        if !value.is_empty() {
            self.misplaced(
                fields,
                "value",
                "a descriptor with a `subject` has no value",
                Some("its value is the credential"),
            );
        }
        if !self.has_subjects {
            let hint = "name its file at the top: `subjects: NAME.subjects.yaml`";
            self.error_at(
                fields,
                "subject",
                "the domain has no subjects, so this matches nobody",
                Some(hint),
            );
        }
        if let Some(node) = fields.get("subject") {
            self.asks_for_kind(node.span(), kind, strip_scheme);
        }
        Some(SubjectNode { kind: kind.to_owned(), strip_scheme })
    }

    /// Attributes of those who pass uncounted.
    fn exempt(
        &mut self,
        fields: &Fields<'_>,
        has_subject: bool,
        directory: Option<&Directory>,
    ) -> Vec<(String, Value)> {
        let Some(node) = fields.get("exempt") else { return Vec::new() };
        if !has_subject {
            self.needs_subject(node, "exempt");
        }
        let Some(pairs) =
            self.pairs(node, "attributes with their values", "write it as in `{internal: true}`")
        else {
            return Vec::new();
        };
        let mut exempt = Vec::new();
        for (name, value) in pairs {
            let (name_at, value_at) = (name.span(), value.span());
            if let (Some(name), Some(value)) =
                (self.read(name, scalar::text), self.read(value, scalar::attribute))
            {
                self.asks_for_attribute(name_at, "exempt", name, "it exempts nobody", Tell::Always);
                if let Some(directory) = directory {
                    self.asks_for_value(value_at, name, &value, directory);
                }
                exempt.push((name.to_owned(), value));
            }
        }
        exempt
    }

    pub(super) fn needs_subject(&mut self, node: Node<'_>, word: &str) {
        let message = format!("`{word}` needs a descriptor with a `subject`, here or around it");
        self.of_kind(DiagnosticKind::MisplacedWord, |this| {
            this.error(node.span(), &message, Some("without one nobody is known"));
        });
    }

    /// Whether an empty value counts as none. Only a key alone takes empty values.
    fn empty_is_absent(&mut self, fields: &Fields<'_>, key: &str, value: &str, has_subject: bool) -> bool {
        let Some(way) = self.text(fields, "empty") else { return false };
        let Some((_, is_absent)) = EMPTIES.iter().find(|(name, _)| *name == way) else {
            let hint = choices(way, "ways to read an empty value", &empties());
            let message = format!("unknown way to read an empty value `{way}`");
            let span = fields.get("empty").map_or(Span::START, Node::span);
            self.wrong_value(span, &message, Some(&hint));
            return false;
        };
        // Beside a `subject`, whose value is the key's alone.
        let takes_any = has_subject || !key.ends_with('*');
        if !value.is_empty() || !takes_any {
            let hint = "it takes no empty value in any case, or a `*` says which it takes";
            self.misplaced(fields, "empty", "`empty` is for a descriptor without a value", Some(hint));
        }
        *is_absent
    }

    /// The pattern that values are counted under together.
    fn shares(&mut self, fields: &Fields<'_>, key: &str, value: &str) -> Option<Box<[u8]>> {
        let share = self.flag(fields, "share_threshold").unwrap_or_default();
        let has_star = value.contains('*') || (value.is_empty() && key.ends_with('*'));
        if share && !has_star {
            let hint = Some("without one there is nothing to share");
            self.misplaced(fields, "share_threshold", "`share_threshold` needs a value with a `*`", hint);
        }
        share.then(|| value.as_bytes().into())
    }

    fn metadata(&mut self, node: Node<'_>) -> Option<serde_json::Map<String, serde_json::Value>> {
        self.pairs(node, "a mapping", "write it as in `{owner: payments}`")?;
        match scalar::json(node) {
            serde_json::Value::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// What counters belong to, if anything is said about it. Whether that can be is seen where it is used.
    pub(super) fn count_by(&mut self, fields: &Fields<'_>) -> Option<Arc<[CountBy]>> {
        let node = fields.get("count_by")?;
        let one = matches!(node.kind(), Kind::Scalar { .. });
        let items = if one { Items::one(node) } else { self.items(node) };
        let parts = items.filter_map(|item| {
            Some(match self.read(item, scalar::text)? {
                "entries" => CountBy::Entries,
                "subject" => CountBy::Subject,
                "credential" => CountBy::Credential,
                "domain" => CountBy::Domain,
                key => CountBy::Entry(key.to_owned()),
            })
        });
        Some(parts.collect())
    }
}
