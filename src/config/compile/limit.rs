//! `rate_limit`: a number of hits, and a window in which they count.

mod requests;
mod window;

pub(in crate::config) use window::{algorithm_names, anchors, periods};

use std::sync::Arc;

use super::descriptor::Inherited;
use super::{DiagnosticKind, Document, Fields, Kind, Node, Replaced, Scope, Severity, did_you_mean, scalar};
use crate::config::load::OnRefusal;
use crate::model::Unit;
use crate::policy::{CountBy, Evaluate, Limit, LimitId, MetricValues, Rule, Window};
use window::{Written, parameters};

impl Document<'_, '_> {
    /// One limit, or none by name.
    pub(super) fn rate_limit(&mut self, node: Node<'_>, inherited: &Inherited<'_>) -> Option<Rule> {
        let fields = self.fields(node, Scope::RateLimit)?;
        let unlimited = self.flag(&fields, "unlimited").unwrap_or_default();
        let limits = if unlimited {
            self.refuse_numbers_beside_unlimited(&fields);
            Vec::new()
        } else {
            vec![self.limit(node, &fields, inherited)?]
        };
        let name = self.name(&fields);
        if let Some(name) = &name {
            self.names_one_rule(&fields, name);
        }
        let replaces = self.replaces(fields.get("replaces"), name.as_deref());
        Some(rule(name, limits, replaces, inherited))
    }

    /// Several limits on the same hits.
    pub(super) fn rate_limits(&mut self, list: Node<'_>, inherited: &Inherited<'_>) -> Rule {
        let items = self.items(list);
        if items.is_empty() && matches!(list.kind(), Kind::Sequence(_)) {
            self.error(list.span(), "there are no limits in the list", None);
        }
        let mut limits: Vec<Limit> = Vec::new();
        for item in items {
            let Some(fields) = self.fields(item, Scope::RateLimit) else { continue };
            if self.flag(&fields, "unlimited") == Some(true) {
                self.error(
                    item.span(),
                    "`unlimited` cannot be one of several",
                    Some("use `rate_limit` for it"),
                );
                continue;
            }
            let name = self.name(&fields);
            let replaces = self.replaces(fields.get("replaces"), name.as_deref());
            let Some(limit) = self.limit(item, &fields, inherited) else { continue };
            let limit = Limit { replaces, ..limit };
            if limits.iter().any(|other| other.id == limit.id) {
                self.error(item.span(), "two limits in this list are the same but for the number", None);
            }
            limits.push(limit);
        }
        rule(None, limits, Vec::new(), inherited)
    }

    fn name(&mut self, fields: &Fields<'_>) -> Option<String> {
        let name = self.text(fields, "name")?.to_owned();
        self.compiler.named.entry(self.domain.clone()).or_default().insert(name.clone());
        Some(name)
    }

    /// Warns of a name that another rule of the domain has: metrics would show the two as one. Rules that share a counter may share
    /// the name, and so may those that one alias stands for; in files of envoyproxy/ratelimit's words names are for `replaces` only.
    fn names_one_rule(&mut self, fields: &Fields<'_>, name: &str) {
        let Some(node) =
            fields.get("name").filter(|_| !self.is_compatible && fields.get("counter").is_none())
        else {
            return;
        };
        let place = self.source.place(node.span());
        let key = (self.domain.clone(), name.to_owned());
        let Some(first) = self.compiler.rule_names.get(&key) else {
            self.compiler.rule_names.insert(key, place);
            return;
        };
        if *first != place {
            let message =
                format!("the rule at {first} is named `{name}`, too, so metrics show the two as one");
            let hint =
                "give each a name of its own, or none: a rule without one is known by its keys and values";
            self.of_kind(DiagnosticKind::RepeatedRule, |this| {
                this.report(Severity::Warning, node.span(), &message, Some(hint));
            });
        }
    }

    fn limit(&mut self, node: Node<'_>, fields: &Fields<'_>, inherited: &Inherited<'_>) -> Option<Limit> {
        let requests = self.requests(node, fields, inherited);
        let written = self.written(node, fields);
        let shape = self.shape(fields, &inherited.shape);
        let count_by = self.count_by(fields).or_else(|| inherited.count_by.clone());
        let count_by = count_by.unwrap_or_else(|| {
            Arc::new([if inherited.has_subject { CountBy::Subject } else { CountBy::Entries }])
        });
        self.known_keys(node, fields, &count_by, inherited);
        // In envoyproxy/ratelimit's words a refused request is counted too.
        let plain = matches!(written, Some(Written::Unit(_)))
            && ["algorithm", "anchor"].into_iter().chain(parameters()).all(|word| fields.get(word).is_none());
        let by_default =
            inherited.evaluate == Evaluate::Each || inherited.on_refusal == OnRefusal::RefusingCount;
        let count_denied = self.flag(fields, "count_denied").unwrap_or(plain && by_default);
        let settles = self.flag(fields, "settle").unwrap_or_default();
        if let (true, Some(node)) = (settles, fields.get("count_denied")) {
            let (message, hint) =
                ("a limit with `settle` counts whatever it is charged", "remove one of the two");
            match self.flag(fields, "count_denied") {
                Some(false) => self.error(node.span(), message, Some(hint)),
                Some(true) => {
                    let message = format!("`count_denied: true` changes nothing: {message}");
                    self.report(Severity::Warning, node.span(), &message, Some("leave `count_denied` out"));
                }
                None => {}
            }
        }
        let on_store_failure = self.on_store_failure(fields).unwrap_or(inherited.on_store_failure);
        let window = self.window(written?, fields, inherited)?;
        let durability = self.durability(fields, &window);

        let counter = self.text(fields, "counter");
        self.shared_counter(fields, counter, &window, &count_by);
        let id = self.identity(&window, counter, &count_by, inherited);
        let name = self.text(fields, "name");
        let is_named = name.is_some();
        let name = name.map_or_else(|| inherited.label(), str::to_owned);
        let replaces = Vec::new();
        let requests = requests?;
        self.of_kind(DiagnosticKind::MissingNumber, |this| {
            this.limit_coverage(node, fields, &name, &requests, inherited);
        });
        Some(Limit {
            id,
            name,
            is_named,
            replaces,
            requests,
            window,
            count_by,
            count_denied,
            settles,
            durability,
            on_store_failure,
            shape,
        })
    }

    /// Domain, way, window and owner; or domain, counter, window and owner, where limits share a counter by its name.
    fn identity(
        &self,
        window: &Window,
        counter: Option<&str>,
        count_by: &[CountBy],
        inherited: &Inherited<'_>,
    ) -> LimitId {
        let (window, by) = (window.tag(), tag(count_by));
        let way: Vec<&str> = match counter {
            Some(counter) => vec!["counter", counter],
            None => inherited.parts(),
        };
        let parts = [self.domain.as_str()].into_iter().chain(way).chain([window.as_str(), by.as_str()]);
        LimitId::of(parts.map(str::as_bytes))
    }

    fn known_keys(
        &mut self,
        node: Node<'_>,
        fields: &Fields<'_>,
        count_by: &[CountBy],
        inherited: &Inherited<'_>,
    ) {
        if count_by.is_empty() {
            self.error_at(
                fields,
                "count_by",
                "`count_by` names nothing, so all would share one counter",
                Some("write `count_by: domain` where that is meant"),
            );
        }
        if count_by.len() > 1 && count_by.contains(&CountBy::Domain) {
            let hint = Some("write `count_by: domain`, or leave `domain` out of the list");
            self.error_at(fields, "count_by", "`domain` stands alone: all would share one counter", hint);
        }
        for part in count_by {
            match part {
                CountBy::Entry(key) if key.contains('*') => {
                    let hint = "use `entries`, or give the descriptor a key without one";
                    self.error_at(fields, "count_by", "`count_by` cannot name a key with a `*`", Some(hint));
                }
                CountBy::Entry(key) if !inherited.keys().any(|known| known == key) => {
                    let span = fields.get("count_by").map_or(node.span(), Node::span);
                    let mut keys: Vec<&str> = inherited.keys().collect();
                    keys.reverse();
                    let hint = did_you_mean(key, keys.iter().copied()).unwrap_or_else(|| {
                        format!(
                            "it may be `subject`, `credential`, `entries` or a key on the way here: {}; several are a list, as in \
                             `[subject, {}]`",
                            crate::hint::listed(&keys),
                            keys.first().copied().unwrap_or_default()
                        )
                    });
                    self.error(
                        span,
                        &format!("`count_by` names `{key}`, which is no entry on the way here"),
                        Some(&hint),
                    );
                }
                CountBy::Subject | CountBy::Credential if !inherited.has_subject => {
                    self.needs_subject(node, "count_by");
                }
                _ => {}
            }
        }
    }

    fn refuse_numbers_beside_unlimited(&mut self, fields: &Fields<'_>) {
        for word in ["unit", "per"] {
            if let Some(node) = fields.get(word) {
                let message = "`unlimited: true` has no window";
                let is_unit =
                    matches!(node.kind(), Kind::Scalar { text, .. } if Unit::from_name(text).is_some());
                if word == "unit" && !is_unit {
                    // envoyproxy/ratelimit refuses only what is a unit.
                    self.tolerate(node.span(), message, Some("remove one of the two"));
                } else {
                    self.error(node.span(), message, Some("remove one of the two"));
                }
            }
        }
        let others = [
            "algorithm",
            "anchor",
            "time_zone",
            "override",
            "at_most",
            "count_denied",
            "settle",
            "durable",
            "on_store_failure",
            "counter",
            "count_by",
        ];
        for word in others.into_iter().chain(parameters()) {
            if let Some(node) = fields.get(word) {
                let message = format!("`unlimited: true` lets everything pass, so `{word}` means nothing");
                self.error(node.span(), &message, Some("remove one of the two"));
            }
        }
        if let Some(number) = fields.get("requests_per_unit") {
            self.tolerate(number.span(), "`unlimited: true` makes this number mean nothing", None);
        }
    }

    fn replaces(&mut self, list: Option<Node<'_>>, own_name: Option<&str>) -> Vec<String> {
        let Some(list) = list else { return Vec::new() };
        let mut names = Vec::new();
        for node in self.items(list) {
            let Some(fields) = self.fields(node, Scope::Replaces) else { continue };
            let name = fields.get("name").and_then(|name| self.read(name, scalar::text)).unwrap_or_default();
            let span = fields.get("name").map_or(node.span(), Node::span);
            if name.is_empty() {
                self.error(span, "nothing is named to be replaced", Some("write `- name: NAME`"));
            } else if own_name == Some(name) {
                self.error(span, &format!("`{name}` cannot replace itself"), None);
            } else {
                let message = format!("no rule of domain `{}` is named `{name}`", self.domain);
                let unknown = self.source.diagnose(Severity::Warning, span, message, None);
                let own = own_name.map(str::to_owned);
                let replaced = Replaced { domain: self.domain.clone(), own, name: name.to_owned(), unknown };
                self.compiler.replaced.push(replaced);
                names.push(name.to_owned());
            }
        }
        names
    }
}

fn rule(name: Option<String>, limits: Vec<Limit>, replaces: Vec<String>, inherited: &Inherited<'_>) -> Rule {
    Rule {
        label: name.clone().unwrap_or_else(|| inherited.label()),
        path: name.is_some().then(|| inherited.label()),
        index: None,
        name,
        limits,
        replaces,
        shadow: false,
        tells_over_limit: false,
        quota: false,
        metric_values: MetricValues::Together,
        metadata: None,
    }
}

/// How a limit is written, with what `text` (`5/minute`) may have meant.
pub(super) fn example(text: &str) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u32>().unwrap_or(5);
    let rest =
        text[digits..].trim_start().trim_start_matches('/').trim_start_matches("per ").trim().to_lowercase();
    let is_short = |unit: &Unit| !rest.is_empty() && unit.name().starts_with(&rest);
    let unit = Unit::ALL.into_iter().find(is_short).unwrap_or(Unit::Minute);
    format!("{{requests_per_unit: {number}, unit: {}}}", unit.name())
}

/// How `count_by` goes into a limit's identity; said only where it is not what envoyproxy/ratelimit does.
pub(super) fn tag(count_by: &[CountBy]) -> String {
    let tags = count_by.iter().map(|part| match part {
        CountBy::Entries => "entries".to_owned(),
        CountBy::Entry(key) => format!("entry {key}"),
        CountBy::Subject => "subject".to_owned(),
        CountBy::Credential => "credential".to_owned(),
        CountBy::Domain => "domain".to_owned(),
    });
    if count_by == [CountBy::Entries] { String::new() } else { tags.collect::<Vec<_>>().join(", ") }
}
