//! From a tree of values to rules, with every mistake on the way.

mod answers;
mod counter;
mod coverage;
mod descriptor;
mod endpoints;
mod grouped;
mod hidden;
mod limit;
mod meant;
mod mistyped;
mod names;
mod repeated;
mod root;
mod subjects;
mod survival;
mod unseen;

pub(super) use descriptor::empties;
pub(super) use endpoints::MOST_SEGMENTS;
pub(super) use limit::{algorithm_names, anchors, periods};

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Options;
use super::diagnostic::{Diagnostic, DiagnosticKind, Severity};
use super::scalar::{self, NotThat};
use super::source::Source;
use super::sources::Lookup;
use super::words::{self, Scope, did_you_mean};
use crate::policy::{Place, Policy};
use crate::yaml::{Items, Kind, Node, Pairs, Span, SyntaxError, Tree};

/// The most errors, and the most warnings, that are reported: nobody reads more, and aliases can repeat one a million times.
const MOST: usize = 1000;

/// Puts files together into one policy.
pub(super) struct Compiler {
    options: Options,
    policy: Policy,
    diagnostics: Vec<Diagnostic>,
    /// The kind of diagnostics that name none.
    kind: DiagnosticKind,
    /// Places, as file, line and column, at which nothing more is reported.
    explained: HashSet<(Arc<str>, usize, usize)>,
    /// How many errors and how many warnings there were.
    found: [usize; 2],
    /// Limits that share a counter, by domain and name.
    counters: HashMap<(String, String), counter::Shared>,
    /// Finds the subjects that a policy names.
    lookup: Arc<dyn Lookup>,
    /// The names of subjects that were asked for.
    subjects: Vec<String>,
    /// The subjects of each domain that has some.
    known: HashMap<String, subjects::Known>,
    /// The keys of all descriptors of each domain.
    keys: HashMap<String, HashSet<String>>,
    /// Entries that templates name.
    entries: Vec<names::NamedEntry>,
    /// What is asked of each subjects file.
    asked: HashMap<String, subjects::Asked>,
    /// The first document of each domain.
    domains: HashMap<String, root::First>,
    /// Names that some rule replaces, to be looked up when all rules are known.
    replaced: Vec<Replaced>,
    /// Names of rules, each with its domain.
    named: HashMap<String, HashSet<String>>,
    /// Where each name of a rule stands first, by domain and name.
    rule_names: HashMap<(String, String), Place>,
}

impl Compiler {
    pub(super) fn new(options: Options, lookup: Arc<dyn Lookup>) -> Self {
        Self {
            options,
            lookup,
            policy: Policy::default(),
            diagnostics: Vec::new(),
            kind: DiagnosticKind::Other,
            explained: HashSet::new(),
            found: [0; 2],
            subjects: Vec::new(),
            known: HashMap::new(),
            asked: HashMap::new(),
            keys: HashMap::new(),
            entries: Vec::new(),
            counters: HashMap::new(),
            domains: HashMap::new(),
            replaced: Vec::new(),
            named: HashMap::new(),
            rule_names: HashMap::new(),
        }
    }

    pub(super) fn syntax_error(&mut self, source: &Source, error: &SyntaxError) {
        let message = format!("not YAML: {}", error.message);
        let wrong = source.diagnose(Severity::Error, error.span, message, error.hint.clone());
        self.add(wrong.kind(DiagnosticKind::Syntax));
    }

    /// Adds a diagnostic, unless [`MOST`] of its severity were added.
    fn add(&mut self, mut diagnostic: Diagnostic) {
        let place = diagnostic.excerpt.as_ref().map(|excerpt| &excerpt.place);
        if !self.explained.is_empty()
            && place.is_some_and(|place| {
                self.explained.contains(&(Arc::clone(&place.file), place.line, place.column))
            })
        {
            return;
        }
        if diagnostic.kind == DiagnosticKind::Other {
            diagnostic.kind = self.kind;
        }
        let found = &mut self.found[diagnostic.severity as usize];
        *found += 1;
        if *found <= MOST {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Runs `look`; the diagnostics that it adds have this kind unless they name another.
    fn of_kind<T>(&mut self, kind: DiagnosticKind, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.kind, kind);
        let found = look(self);
        self.kind = before;
        found
    }

    /// Takes in every document of one file.
    pub(super) fn file(&mut self, source: &Source, tree: &Tree) {
        if tree.documents().next().is_none() {
            // Most likely it is just being written.
            let message = "the file holds no policy".to_owned();
            // A log or a note beside the policies.
            let no_ending = !source.file.rsplit('/').next().unwrap_or_default().contains('.');
            let hint = no_ending.then(|| {
                "it is read because its name has no ending; if it is no policy, give it one, such as `.log`".to_owned()
            });
            self.add(source.diagnose(Severity::Error, Span::START, message, hint));
        }
        for document in tree.documents() {
            let is_compatible = !has_own_word(document);
            let mut reader = Document {
                compiler: self,
                source,
                domain: String::new(),
                has_subjects: false,
                secrets: BTreeSet::new(),
                is_compatible,
            };
            reader.grouped_digits(document);
            reader.of_kind(DiagnosticKind::RepeatedKey, |reader| reader.repeated_keys(document));
            reader.unseen_characters(document);
            reader.root(document);
        }
    }

    /// The policy, the subjects files behind it, and everything that was found wrong.
    pub(super) fn finish(mut self, sources: &[Arc<Source>]) -> (Policy, Vec<String>, Vec<Diagnostic>) {
        self.finish_replaced();
        self.of_kind(DiagnosticKind::UnknownName, Self::finish_subjects);
        self.finish_names();
        self.of_kind(DiagnosticKind::UnreachableRule, |this| this.finish_hidden(sources));
        self.of_kind(DiagnosticKind::UnknownName, Self::finish_counters);
        for (severity, kind) in [(Severity::Error, "errors"), (Severity::Warning, "warnings")] {
            let found = self.found[severity as usize];
            if found > MOST {
                let message = format!("{MOST} of {found} {kind} are listed");
                self.diagnostics.push(Diagnostic { severity, ..Diagnostic::error(message) });
            }
        }
        (self.policy, self.subjects, self.diagnostics)
    }
}

/// A name that some rule replaces.
struct Replaced {
    domain: String,
    /// The name of that rule.
    own: Option<String>,
    name: String,
    /// What to say if no rule has the name.
    unknown: Diagnostic,
}

impl Compiler {
    /// Reports names that no rule has, and two rules that replace each other: a request that reaches both is charged to neither.
    fn finish_replaced(&mut self) {
        let all = std::mem::take(&mut self.replaced);
        let pairs: HashSet<(&str, &str, &str)> =
            all.iter().filter_map(|one| Some((&*one.domain, one.own.as_deref()?, &*one.name))).collect();
        let mut found = Vec::new();
        for one in &all {
            let names = self.named.get(&one.domain);
            if !names.is_some_and(|names| names.contains(&one.name)) {
                let hint = did_you_mean(&one.name, names.into_iter().flatten().map(String::as_str));
                found.push(one.unknown.clone().hint(hint).kind(DiagnosticKind::UnknownName));
            } else if let Some(own) = &one.own
                && pairs.contains(&(&one.domain, &one.name, own))
            {
                let message = format!(
                    "`{own}` and `{}` replace each other, so a request that reaches both has no limit",
                    one.name
                );
                let hint = Some("let one of the two go".to_owned());
                found.push(Diagnostic { message, hint, ..one.unknown.clone() });
            }
        }
        for diagnostic in found {
            self.add(diagnostic);
        }
    }
}

/// Whether Spillway's own language is used anywhere in a document.
fn has_own_word(node: Node<'_>) -> bool {
    match node.kind() {
        Kind::Scalar { .. } => false,
        Kind::Sequence(items) => items.into_iter().any(has_own_word),
        Kind::Mapping(pairs) => pairs.into_iter().any(|(key, value)| {
            let word = scalar::text(key).unwrap_or_default();
            words::is_own(word) || (word != "metadata" && has_own_word(value))
        }),
    }
}

/// Whether a word with this value means the same as its absence.
fn says_nothing(value: Node<'_>) -> bool {
    value.is_null() || matches!(value.kind(), Kind::Scalar { text: "", .. })
}

/// How a mapping of this kind is written.
fn example(scope: Scope, found: Node<'_>) -> String {
    match scope {
        Scope::Root => "begin with `domain: NAME`".to_owned(),
        Scope::Descriptor => "write `- key: NAME`".to_owned(),
        Scope::RateLimit => {
            format!("write `rate_limit: {}`", limit::example(scalar::text(found).unwrap_or_default()))
        }
        Scope::Replaces => "write `- name: NAME`".to_owned(),
        Scope::Requests => "write `{by: plan, values: {free: 5, pro: 50}}`".to_owned(),
        Scope::Deny => "write `deny: {body: TEXT}`".to_owned(),
        Scope::Headers => "write `headers: {emit: always, dialect: x-ratelimit}`".to_owned(),
        Scope::Undeclared => "write `{segments: 2}`".to_owned(),
    }
}

/// One document on its way into the policy.
struct Document<'c, 's> {
    compiler: &'c mut Compiler,
    source: &'s Source,
    domain: String,
    /// The domain names a directory of subjects.
    has_subjects: bool,
    /// Keys whose values are credentials.
    secrets: BTreeSet<String>,
    /// It uses envoyproxy/ratelimit's words only. A mistake that envoyproxy/ratelimit ignores is a warning then.
    is_compatible: bool,
}

/// The fields of one mapping, each known to be allowed where it stands.
struct Fields<'n> {
    list: Vec<(&'n str, Node<'n>)>,
    /// Whether there were words that nobody knows; one of them may be what seems to be missing.
    misspelt: bool,
    /// Whether words of a limit stand here that are in no limit.
    outside: bool,
}

impl<'n> Fields<'n> {
    /// The value of `name`, unless it is absent or says nothing.
    fn get(&self, name: &str) -> Option<Node<'n>> {
        let (_, node) = self.list.iter().find(|(found, _)| *found == name)?;
        (!node.is_null()).then_some(*node)
    }

    /// Where `name` stands, if it says nothing.
    fn span_of_nothing(&self, name: &str) -> Option<Span> {
        self.list.iter().find(|(found, node)| *found == name && node.is_null()).map(|(_, node)| node.span())
    }
}

/// Reading values and reporting what is wrong with them.
impl Document<'_, '_> {
    /// The fields of a mapping, after refusing every word that does not belong there.
    fn fields<'n>(&mut self, node: Node<'n>, scope: Scope) -> Option<Fields<'n>> {
        let pairs = self.pairs_or(node, &format!("{scope}, which is a mapping"), || example(scope, node))?;
        let mut fields: Vec<(&str, Node<'_>)> = Vec::new();
        let mut outside = Vec::new();
        let mut misspelt = false;
        for (key, value) in pairs {
            let Some(word) = self.read(key, scalar::text) else { continue };
            match words::scopes(word) {
                None => {
                    misspelt = true;
                    let hint = did_you_mean(word, words::of(scope)).unwrap_or_else(|| {
                        format!("{scope} may have {}", words::of(scope).collect::<Vec<_>>().join(", "))
                    });
                    let shown = if word.is_ascii() { word.into() } else { word.escape_debug().to_string() };
                    self.of_kind(DiagnosticKind::UnknownWord, |this| {
                        this.error(key.span(), &format!("unknown word `{shown}` in {scope}"), Some(&hint));
                    });
                }
                Some(scopes)
                    if scope == Scope::Descriptor
                        && scopes.contains(&Scope::RateLimit)
                        && !scopes.contains(&scope) =>
                {
                    outside.push((key.span(), word));
                }
                Some(scopes) if !scopes.contains(&scope) => {
                    let message = format!("`{word}` means nothing in {scope}");
                    self.of_kind(DiagnosticKind::MisplacedWord, |this| {
                        this.tolerate(key.span(), &message, Some(&format!("it belongs in {}", scopes[0])));
                    });
                }
                Some(_) if word == "descriptors" && says_nothing(value) => {
                    let hint = "list some, or write `descriptors: []` if none are meant";
                    self.tolerate(
                        key.span(),
                        "`descriptors` lists nothing, so nothing is limited here",
                        Some(hint),
                    );
                }
                Some(_) if words::is_own(word) && word != "body" && says_nothing(value) => {
                    let message = format!("`{word}` says nothing");
                    self.wrong_value(key.span(), &message, Some("give it a value, or remove it"));
                    misspelt = true;
                }
                Some(_) => match fields.iter_mut().find(|(taken, _)| *taken == word) {
                    // `repeated_keys` has reported it.
                    Some(taken) => taken.1 = value,
                    None => fields.push((word, value)),
                },
            }
        }
        let fields = Fields { list: fields, misspelt, outside: !outside.is_empty() };
        self.of_kind(DiagnosticKind::MisplacedWord, |this| this.words_outside(&outside, &fields));
        Some(fields)
    }

    /// Reports words of a limit that stand on its descriptor: most likely their indentation is wrong. envoyproxy/ratelimit accepts
    /// its words anywhere, so it loads such a file, and there is no limit.
    fn words_outside(&mut self, outside: &[(Span, &str)], fields: &Fields<'_>) {
        let Some((first, _)) = outside.first() else { return };
        if fields.get("rate_limit").is_some() || fields.get("rate_limits").is_some() {
            for (span, word) in outside {
                let message = format!("`{word}` means nothing in a descriptor");
                self.tolerate(*span, &message, Some("it belongs in `rate_limit`"));
            }
            return;
        }
        let words: Vec<_> = outside.iter().map(|(_, word)| *word).collect();
        let (stand, them) = if words.len() == 1 { ("stands", "it") } else { ("stand", "them") };
        let message = format!(
            "{} {stand} outside of `rate_limit`, so there is no limit here",
            crate::hint::listed(&words)
        );
        let hint = format!(
            "indent {them} below `rate_limit:`, as in `rate_limit: {{requests_per_unit: 5, unit: minute}}`"
        );
        self.tolerate(*first, &message, Some(&hint));
    }

    fn pairs<'n>(&mut self, node: Node<'n>, what: &str, hint: &str) -> Option<Pairs<'n>> {
        self.pairs_or(node, what, || hint.to_owned())
    }

    /// The pairs of a mapping. `what` was expected, and the hint says how it is written.
    fn pairs_or<'n>(
        &mut self,
        node: Node<'n>,
        what: &str,
        hint: impl FnOnce() -> String,
    ) -> Option<Pairs<'n>> {
        if let Kind::Mapping(pairs) = node.kind() {
            return Some(pairs);
        }
        let message = format!("expected {what}, found {}", node.kind_name());
        self.wrong_value(node.span(), &message, Some(&hint()));
        None
    }

    fn items<'n>(&mut self, node: Node<'n>) -> Items<'n> {
        if let Kind::Sequence(items) = node.kind() {
            return items;
        }
        let message = format!("expected a list, found {}", node.kind_name());
        self.wrong_value(node.span(), &message, Some("begin each item with `- `"));
        Items::none(node)
    }

    fn read<'n, T>(
        &mut self,
        node: Node<'n>,
        read: impl FnOnce(Node<'n>) -> Result<T, NotThat>,
    ) -> Option<T> {
        match read(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong_value(node.span(), &wrong.message, wrong.hint.as_deref());
                None
            }
        }
    }

    /// The text of a field that is there and not empty.
    fn text<'n>(&mut self, fields: &Fields<'n>, name: &str) -> Option<&'n str> {
        let node = fields.get(name)?;
        self.read(node, scalar::text).filter(|text| !text.is_empty())
    }

    fn flag(&mut self, fields: &Fields<'_>, name: &str) -> Option<bool> {
        fields.get(name).and_then(|node| self.read(node, scalar::boolean))
    }

    /// Runs `look`; the diagnostics that it adds have this kind unless they name another.
    fn of_kind<T>(&mut self, kind: DiagnosticKind, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.compiler.kind, kind);
        let found = look(self);
        self.compiler.kind = before;
        found
    }

    fn error(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.report(Severity::Error, span, message, hint);
    }

    /// A value is not what its word takes.
    fn wrong_value(&mut self, span: Span, message: &str, hint: Option<&str>) {
        self.of_kind(DiagnosticKind::WrongValue, |this| this.error(span, message, hint));
    }

    /// A word means nothing beside the others.
    fn misplaced(&mut self, fields: &Fields<'_>, word: &str, message: &str, hint: Option<&str>) {
        self.of_kind(DiagnosticKind::MisplacedWord, |this| this.error_at(fields, word, message, hint));
    }

    /// At the value of a field that is known to be there.
    fn error_at(&mut self, fields: &Fields<'_>, name: &str, message: &str, hint: Option<&str>) {
        let span = fields.get(name).map_or(Span::START, Node::span);
        self.error(span, message, hint);
    }

    /// What envoyproxy/ratelimit would load all the same.
    fn tolerate(&mut self, span: Span, message: &str, hint: Option<&str>) {
        let severity = if self.is_compatible { Severity::Warning } else { Severity::Error };
        self.report(severity, span, message, hint);
    }

    fn report(&mut self, severity: Severity, span: Span, message: &str, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.compiler.add(self.source.diagnose(severity, span, message.to_owned(), hint));
    }
}
