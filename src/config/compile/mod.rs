//! From a tree of values to rules, with every mistake on the way.

use std::collections::HashMap;

use super::Options;
use super::diagnostic::{Diagnostic, Severity};
use super::scalar::{self, NotThat};
use super::source::{Source, Span};
use super::words::{self, Scope, did_you_mean};
use super::yaml::{Kind, Node, SyntaxError};
use crate::model::Unit;
use crate::policy::{self, Level, Limit, LimitId, Place, Policy, Rule};

/// Puts files together into one policy.
pub(super) struct Compiler {
    options: Options,
    policy: Policy,
    diagnostics: Vec<Diagnostic>,
    /// Where each domain was first described.
    domains: HashMap<String, Place>,
    /// Names that some rule replaces, to be looked up when all rules are known.
    replaced: Vec<(String, String, Diagnostic)>,
    /// Names of rules, each with its domain.
    named: HashMap<String, Vec<String>>,
}

impl Compiler {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            policy: Policy::default(),
            diagnostics: Vec::new(),
            domains: HashMap::new(),
            replaced: Vec::new(),
            named: HashMap::new(),
        }
    }

    pub(super) fn syntax_error(&mut self, source: &Source, error: &SyntaxError) {
        self.diagnostics.push(source.diagnose(
            Severity::Error,
            error.span,
            format!("not YAML: {}", error.message),
            None,
        ));
    }

    /// Takes in every document of one file.
    pub(super) fn file(&mut self, source: &Source, documents: &[Node<'_>]) {
        if documents.is_empty() {
            self.diagnostics.push(source.diagnose(
                Severity::Warning,
                Span::START,
                "the file holds no policy".to_owned(),
                None,
            ));
        }
        for document in documents {
            Document { compiler: self, source, domain: String::new() }.compile(document);
        }
    }

    /// The policy, and everything that was found wrong.
    pub(super) fn finish(mut self) -> (Policy, Vec<Diagnostic>) {
        for (domain, name, diagnostic) in self.replaced {
            let names = self.named.get(&domain).map(Vec::as_slice).unwrap_or_default();
            if !names.contains(&name) {
                let hint = did_you_mean(&name, names.iter().map(String::as_str));
                self.diagnostics.push(diagnostic.hint(hint));
            }
        }
        (self.policy, self.diagnostics)
    }
}

/// One document on its way into the policy.
struct Document<'c, 's> {
    compiler: &'c mut Compiler,
    source: &'s Source,
    domain: String,
}

/// The fields of one mapping, each known to be allowed where it stands.
struct Fields<'n, 't> {
    fields: Vec<(&'n str, &'n Node<'t>)>,
    /// Whether there were words that nobody knows; one of them may be what seems to be missing.
    misspelt: bool,
}

impl<'n, 't> Fields<'n, 't> {
    /// The value of `name`, unless it is absent or says nothing.
    fn get(&self, name: &str) -> Option<&'n Node<'t>> {
        let (_, node) = self.fields.iter().find(|(found, _)| *found == name)?;
        (!node.is_null()).then_some(*node)
    }
}

/// The way from the root of a domain to a descriptor.
#[derive(Clone, Default)]
struct Way {
    labels: Vec<String>,
    parts: Vec<String>,
}

impl Document<'_, '_> {
    fn compile(mut self, root: &Node<'_>) {
        let Some(fields) = self.fields(root, Scope::Root) else { return };
        let Some(domain) = fields.get("domain") else {
            if !fields.misspelt {
                self.error(root.span, "the policy has no domain", Some("begin with `domain: NAME`"));
            }
            return;
        };
        self.domain = self.read(domain, scalar::text).unwrap_or_default().to_owned();
        if self.domain.is_empty() {
            return self.error(domain.span, "the domain has no name", None);
        }
        if let Some(first) = self.compiler.domains.get(&self.domain).cloned() {
            if !self.compiler.options.merge_domains {
                let message = format!("domain `{}` was described before, at {first}", self.domain);
                self.error(
                    domain.span,
                    &message,
                    Some("put them together, or allow it with --merge-domains"),
                );
            }
        } else {
            let place = self.source.place(domain.span);
            self.compiler.domains.insert(self.domain.clone(), place);
        }
        // Taken out while it grows, so that mistakes can be reported meanwhile.
        let mut level = std::mem::take(&mut self.compiler.policy.domain_mut(&self.domain).root);
        self.descriptors(fields.get("descriptors"), &mut level, &Way::default());
        self.compiler.policy.domain_mut(&self.domain).root = level;
    }

    fn descriptors(&mut self, list: Option<&Node<'_>>, level: &mut Level, way: &Way) {
        let Some(list) = list else { return };
        for node in self.items(list) {
            self.descriptor(node, level, way);
        }
    }

    fn descriptor(&mut self, node: &Node<'_>, level: &mut Level, way: &Way) {
        let Some(fields) = self.fields(node, Scope::Descriptor) else { return };
        let key = fields.get("key").and_then(|key| self.read(key, scalar::text));
        let value = fields.get("value").and_then(|value| self.read(value, scalar::text)).unwrap_or_default();
        if key.is_none_or(str::is_empty) && !fields.misspelt {
            let span = fields.get("key").map_or(node.span, |key| key.span);
            self.error(span, "the descriptor has no key", Some("begin it with `- key: NAME`"));
        }
        // Without a key the rest is still looked through for mistakes.
        let key = key.unwrap_or_default();

        let label = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
        let mut way = way.clone();
        way.labels.push(label.clone());
        way.parts.extend([key.to_owned(), value.to_owned()]);

        let mut flag =
            |name| fields.get(name).and_then(|flag| self.read(flag, scalar::boolean)).unwrap_or_default();
        let (shadow, quota) = (flag("shadow_mode"), flag("quota_mode"));
        let (detailed_metric, value_to_metric) = (flag("detailed_metric"), flag("value_to_metric"));
        let share = flag("share_threshold");
        if share && !value.contains('*') && !(value.is_empty() && key.ends_with('*')) {
            let span = fields.get("share_threshold").map_or(node.span, |flag| flag.span);
            self.error(
                span,
                "`share_threshold` needs a value with a `*`",
                Some("without one there is nothing to share"),
            );
        }
        let metadata = fields.get("metadata").and_then(|metadata| self.metadata(metadata));
        let mut rule = fields.get("rate_limit").and_then(|limit| self.rate_limit(limit, &way));
        if let Some(rule) = &mut rule {
            (rule.shadow, rule.quota, rule.detailed_metric, rule.metadata) =
                (shadow, quota, detailed_metric, metadata);
        }

        let mut children = Level::default();
        self.descriptors(fields.get("descriptors"), &mut children, &way);
        let place = self.source.place(node.span);
        let shared = share.then(|| value.as_bytes().into());
        let compiled = policy::Node { place, label, rule, children, shared, value_to_metric };
        if key.is_empty() {
            return;
        }
        if let Err(first) = level.add(key, value, compiled) {
            let message =
                format!("descriptor `{}` was listed before, at {}", way.labels.join(" > "), first.place);
            self.error(node.span, &message, Some("give each combination of key and value one descriptor"));
        }
    }

    fn rate_limit(&mut self, node: &Node<'_>, way: &Way) -> Option<Rule> {
        let fields = self.fields(node, Scope::RateLimit)?;
        let name =
            fields.get("name").and_then(|name| self.read(name, scalar::text)).filter(|name| !name.is_empty());
        let unlimited =
            fields.get("unlimited").and_then(|flag| self.read(flag, scalar::boolean)).unwrap_or_default();
        let limits = if unlimited {
            self.refuse_numbers_beside_unlimited(&fields);
            Vec::new()
        } else {
            vec![self.limit(node, &fields, way)?]
        };
        if let Some(name) = name {
            self.compiler.named.entry(self.domain.clone()).or_default().push(name.to_owned());
        }
        Some(Rule {
            label: name.map_or_else(|| way.labels.join(" > "), str::to_owned),
            name: name.map(str::to_owned),
            limits,
            replaces: self.replaces(fields.get("replaces"), name),
            shadow: false,
            quota: false,
            detailed_metric: false,
            metadata: None,
        })
    }

    fn limit(&mut self, node: &Node<'_>, fields: &Fields<'_, '_>, way: &Way) -> Option<Limit> {
        let requests = match fields.get("requests_per_unit") {
            Some(number) => self.read(number, scalar::whole_number),
            None if fields.misspelt => None,
            None => {
                self.warn(
                    node.span,
                    "the limit has no `requests_per_unit`, so it lets nothing pass",
                    Some("write `requests_per_unit: 0` if that is meant"),
                );
                Some(0)
            }
        };
        let Some(unit) = fields.get("unit") else {
            if !fields.misspelt {
                self.error(
                    node.span,
                    "the limit has no unit",
                    Some("add `unit: minute`, or `unlimited: true`"),
                );
            }
            return None;
        };
        let unit_name = self.read(unit, scalar::text)?;
        let Some(known) = Unit::from_name(unit_name) else {
            let names = Unit::ALL.map(Unit::name);
            let hint =
                did_you_mean(unit_name, names).unwrap_or_else(|| format!("units are {}", names.join(", ")));
            self.error(unit.span, &format!("unknown unit `{unit_name}`"), Some(&hint));
            return None;
        };
        let identity = [self.domain.as_str()].into_iter().chain(way.parts.iter().map(String::as_str));
        let id = LimitId::of(identity.chain([known.name()]).map(str::as_bytes));
        Some(Limit::per_unit(id, requests?, known, 1))
    }

    fn refuse_numbers_beside_unlimited(&mut self, fields: &Fields<'_, '_>) {
        if let Some(unit) = fields.get("unit") {
            self.error(unit.span, "`unlimited: true` has no unit", Some("remove one of the two"));
        }
        if let Some(number) = fields.get("requests_per_unit") {
            self.warn(number.span, "`unlimited: true` makes this number mean nothing", None);
        }
    }

    fn replaces(&mut self, list: Option<&Node<'_>>, own_name: Option<&str>) -> Vec<String> {
        let Some(list) = list else { return Vec::new() };
        let mut names = Vec::new();
        for node in self.items(list) {
            let Some(fields) = self.fields(node, Scope::Replaces) else { continue };
            let name = fields.get("name").and_then(|name| self.read(name, scalar::text)).unwrap_or_default();
            let span = fields.get("name").map_or(node.span, |name| name.span);
            if name.is_empty() {
                self.error(span, "nothing is named to be replaced", Some("write `- name: NAME`"));
            } else if own_name == Some(name) {
                self.error(span, &format!("`{name}` cannot replace itself"), None);
            } else {
                let message = format!("no rule of domain `{}` is named `{name}`", self.domain);
                let unknown = self.source.diagnose(Severity::Warning, span, message, None);
                self.compiler.replaced.push((self.domain.clone(), name.to_owned(), unknown));
                names.push(name.to_owned());
            }
        }
        names
    }

    fn metadata(&mut self, node: &Node<'_>) -> Option<serde_json::Map<String, serde_json::Value>> {
        if let serde_json::Value::Object(fields) = scalar::json(node) {
            return Some(fields);
        }
        let message = format!("expected a mapping, found {}", node.kind_name());
        self.error(node.span, &message, None);
        None
    }

    /// The fields of a mapping, after refusing every word that does not belong there.
    fn fields<'n, 't>(&mut self, node: &'n Node<'t>, scope: Scope) -> Option<Fields<'n, 't>> {
        let Kind::Mapping(pairs) = &node.kind else {
            let message = format!("expected {scope}, which is a mapping, found {}", node.kind_name());
            self.error(node.span, &message, None);
            return None;
        };
        let mut fields: Vec<(&str, &Node<'_>)> = Vec::with_capacity(pairs.len());
        let mut misspelt = false;
        for (key, value) in pairs {
            let Some(word) = self.read(key, scalar::text) else { continue };
            match words::scopes(word) {
                None => {
                    misspelt = true;
                    let hint = did_you_mean(word, words::of(scope)).unwrap_or_else(|| {
                        format!("{scope} may have {}", words::of(scope).collect::<Vec<_>>().join(", "))
                    });
                    self.error(key.span, &format!("unknown word `{word}` in {scope}"), Some(&hint));
                }
                // Such files load in envoyproxy/ratelimit, which takes no notice of the word.
                Some(scopes) if !scopes.contains(&scope) => {
                    let message = format!("`{word}` means nothing in {scope}");
                    self.warn(key.span, &message, Some(&format!("it belongs in {}", scopes[0])));
                }
                Some(_) => match fields.iter_mut().find(|(taken, _)| *taken == word) {
                    Some(taken) => {
                        self.warn(key.span, &format!("`{word}` is given twice, and this one counts"), None);
                        taken.1 = value;
                    }
                    None => fields.push((word, value)),
                },
            }
        }
        Some(Fields { fields, misspelt })
    }

    fn items<'n, 't>(&mut self, node: &'n Node<'t>) -> &'n [Node<'t>] {
        let Kind::Sequence(items) = &node.kind else {
            let message = format!("expected a list, found {}", node.kind_name());
            self.error(node.span, &message, Some("begin each item with `- `"));
            return &[];
        };
        items
    }

    fn read<'n, T>(
        &mut self,
        node: &'n Node<'_>,
        read: impl Fn(&'n Node<'_>) -> Result<T, NotThat>,
    ) -> Option<T> {
        match read(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.error(node.span, &wrong.message, wrong.hint.as_deref());
                None
            }
        }
    }

    fn error(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.report(Severity::Error, span, message, hint);
    }

    fn warn(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.report(Severity::Warning, span, message, hint);
    }

    fn report(&mut self, severity: Severity, span: Span, message: &str, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.compiler.diagnostics.push(self.source.diagnose(severity, span, message.to_owned(), hint));
    }
}
