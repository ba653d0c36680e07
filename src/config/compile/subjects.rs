//! What policies ask of the subjects behind them, and whether the subjects have it. A misspelt name would switch a limit off
//! silently.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::coverage::{Demand, MissingNumbers, Uncovered};
use super::{Compiler, Document, Node, Severity, did_you_mean, scalar};
use crate::config::files::is_lines;
use crate::config::source::Source;
use crate::config::sources::beside;
use crate::config::{Diagnostic, DiagnosticKind};
use crate::hint::{listed, near};
use crate::model::lossy;
use crate::subjects::{Directory, Survey, Syntax, Value};
use crate::yaml::Span;

/// How many values of one attribute are compared with what `exempt` says.
const MOST_VALUES: usize = 64;

/// The subjects of one domain while it is compiled.
pub(super) struct Known {
    name: String,
    /// For places in it; its text is not kept.
    pub(super) source: Source,
    pub(super) survey: Survey,
    /// The subjects without a number, by what limits ask of them: most limits ask the same.
    pub(super) uncovered: HashMap<Demand, Arc<Uncovered>>,
    /// The reasons, each once.
    pub(super) missing: MissingNumbers,
    values: HashMap<String, Vec<Value>>,
}

/// When to tell of an attribute that nobody has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Always,
    /// Where it is a slip; else something better is said of it.
    Slips,
}

/// What all domains together ask of one subjects file.
#[derive(Default)]
pub(super) struct Asked {
    /// Whether its mistakes were reported.
    is_refused: bool,
    /// Its name in messages.
    file: String,
    /// The kinds of credentials it has, each with the first of them as a warning that nobody asks for it.
    kinds: BTreeMap<String, Diagnostic>,
    /// Whether it lists anybody. A list of nobody is meant, because it must be written as one.
    has_subjects: bool,
    /// Kinds of which somebody enabled has an enabled credential.
    live_kinds: HashSet<String>,
    attributes: HashSet<String>,
    /// Kinds that are asked for, and whether each time without the scheme before the credential.
    wanted_kinds: BTreeMap<String, bool>,
    /// By kind, that a credential is written with the scheme before it.
    schemes: Vec<(String, Diagnostic)>,
    wanted_attributes: HashSet<String>,
    /// Kinds and attributes that it does not have: the name, what to say, and when.
    unknown_kinds: Vec<(String, Diagnostic)>,
    unknown_attributes: Vec<(String, Diagnostic, Tell)>,
}

impl Document<'_, '_> {
    /// The directory in the file of that name, beside the policy.
    pub(super) fn subjects(&mut self, file: Node<'_>) -> Option<Directory> {
        const EXAMPLE: &str = "name a file beside the policy, as in `subjects: shop.subjects.yaml`";
        let name = match scalar::text(file) {
            Ok("") => return self.refuse_subjects(file, "`subjects` names no file", EXAMPLE),
            Ok(name) => name,
            Err(wrong) => {
                return self.refuse_subjects(file, &format!("`subjects`: {}", wrong.message), EXAMPLE);
            }
        };
        let name = beside(&self.source.file, name);
        // Looked at again when it changes, be it read or not.
        self.compiler.subjects.push(name.clone());
        let text = match self.compiler.lookup.text(&name) {
            Ok(text) => text,
            Err(wrong) => {
                let hint = wrong.hint.or_else(|| Some(EXAMPLE.to_owned()));
                let unread = wrong.unread;
                let wrong = self.source.diagnose(Severity::Error, file.span(), wrong.message, hint);
                let wrong = Diagnostic { unread, ..wrong };
                self.compiler.add(wrong.kind(DiagnosticKind::UnreadableFile));
                return None;
            }
        };
        let label = lossy(name.as_bytes()).into_owned();
        let syntax = if is_lines(&name) { Syntax::Lines } else { Syntax::Yaml };
        let (directory, survey) = match Directory::survey(&text, syntax) {
            Ok(read) => read,
            Err(problems) => {
                // Another domain may have named it before.
                let asked = self.compiler.asked.entry(name.clone()).or_default();
                if !std::mem::replace(&mut asked.is_refused, true) {
                    let source = Source::secret(&label, text);
                    for problem in problems {
                        let span =
                            Span { line: problem.line, column: problem.column, length: problem.length };
                        let wrong = source.diagnose(Severity::Error, span, problem.message, problem.hint);
                        self.compiler.add(wrong.kind(DiagnosticKind::WrongSubjects));
                    }
                }
                return None;
            }
        };
        let source = Source::secret(&label, String::new());
        let asked = self.compiler.asked.entry(name.clone()).or_default();
        let is_new = asked.file.is_empty();
        asked.file = label;
        asked.attributes.extend(directory.attributes().map(str::to_owned));
        asked.has_subjects |= directory.ids().next().is_some();
        asked.live_kinds.extend(directory.live_kinds(&survey).map(str::to_owned));
        for (kind, span) in survey.kinds() {
            let message = format!("no policy asks for credentials of the kind `{kind}`");
            let idle = source.diagnose(Severity::Warning, span, message, None);
            asked.kinds.insert(kind.to_owned(), idle);
        }
        if is_new {
            for (kind, span) in
                survey.kinds().flat_map(|(kind, _)| survey.schemes(kind).map(move |at| (kind, at)))
            {
                let message = format!(
                    "a credential of the kind `{kind}` with its scheme, which `strip_scheme` takes away from what is sent, so it matches \
                     nobody"
                );
                let hint = "write it without the `Bearer` or `Basic` before it".to_owned();
                let wrong = source.diagnose(Severity::Error, span, message, Some(hint));
                asked.schemes.push((kind.to_owned(), wrong.kind(DiagnosticKind::WrongSubjects)));
            }
        }
        for (span, character) in survey.unseen_characters().filter(|_| is_new) {
            // What it is in is not shown: it may be a credential.
            let message = format!("there is {character} in this text");
            let hint =
                Some("remove it: what is compared with the text would have to have it, too".to_owned());
            let found = source.diagnose(Severity::Warning, span, message, hint);
            self.compiler.add(found.kind(DiagnosticKind::UnseenCharacter));
        }
        let (uncovered, values) = (HashMap::new(), HashMap::new());
        let known = Known { name, source, survey, uncovered, missing: MissingNumbers::default(), values };
        self.compiler.known.insert(self.domain.clone(), known);
        Some(directory)
    }

    fn refuse_subjects(&mut self, file: Node<'_>, message: &str, hint: &str) -> Option<Directory> {
        self.wrong_value(file.span(), message, Some(hint));
        None
    }

    /// What is asked of the subjects file of this domain, where one was read.
    fn asked(&mut self) -> Option<&mut Asked> {
        let name = &self.compiler.known.get(&self.domain)?.name;
        self.compiler.asked.get_mut(name)
    }

    /// Notes that a descriptor asks for credentials of this kind, without the scheme before them or as they are sent.
    pub(super) fn asks_for_kind(&mut self, span: Span, kind: &str, strip_scheme: bool) {
        let message = format!("no credential is of the kind `{kind}`, so this matches nobody");
        let unknown = self.source.diagnose(Severity::Warning, span, message, None);
        let message =
            format!("nobody enabled has an enabled credential of the kind `{kind}`, so this matches nobody");
        let idle = self.source.diagnose(Severity::Warning, span, message, None);
        let Some(asked) = self.asked() else { return };
        if !asked.kinds.is_empty() && !asked.kinds.contains_key(kind) {
            asked.unknown_kinds.push((kind.to_owned(), unknown));
        } else if asked.has_subjects && !asked.live_kinds.contains(kind) {
            let hint = format!("give one to a subject in {}", asked.file);
            self.compiler.add(idle.kind(DiagnosticKind::UnknownName).hint(Some(hint)));
        }
        let Some(asked) = self.asked() else { return };
        *asked.wanted_kinds.entry(kind.to_owned()).or_insert(true) &= strip_scheme;
    }

    /// Notes that `word` asks for an attribute, and what becomes of that where nobody has it.
    pub(super) fn asks_for_attribute(
        &mut self,
        span: Span,
        word: &str,
        name: &str,
        effect: &str,
        tell: Tell,
    ) {
        let message = format!("`{word}` names the attribute `{name}`, which no subject has, so {effect}");
        let unknown = self.source.diagnose(Severity::Warning, span, message, None);
        let Some(asked) = self.asked() else { return };
        if !asked.kinds.is_empty() && !asked.attributes.contains(name) {
            asked.unknown_attributes.push((name.to_owned(), unknown, tell));
        }
        asked.wanted_attributes.insert(name.to_owned());
    }

    /// Warns where nobody has the `value` of an attribute that exempts.
    pub(super) fn asks_for_value(&mut self, span: Span, name: &str, value: &Value, directory: &Directory) {
        let Some(known) = self.compiler.known.get_mut(&self.domain) else { return };
        let survey = &known.survey;
        let values = known
            .values
            .entry(name.to_owned())
            .or_insert_with(|| directory.values(survey, name, MOST_VALUES));
        if values.is_empty() || values.len() == MOST_VALUES || values.contains(value) {
            return;
        }
        let text = value.as_text();
        let texts: Vec<_> = values.iter().map(|value| value.as_text().into_owned()).collect();
        let hint = if texts.iter().any(|other| *other == text) {
            "one is text, in quotes, and the other is not; write both alike".to_owned()
        } else {
            slip(&text, &texts)
                .or_else(|| did_you_mean(&text, texts.iter().map(String::as_str)))
                .unwrap_or_else(|| format!("values of `{name}` are {}", listed(&texts)))
        };
        let message = format!("no subject has `{name}: {text}`, so this exempts nobody");
        self.of_kind(DiagnosticKind::UnknownName, |this| {
            this.report(Severity::Warning, span, &message, Some(&hint));
        });
    }
}

impl Compiler {
    /// Tells of kinds of credentials and of attributes that only one side knows. A name that nobody has beside a name like it
    /// that nobody asks for is a slip, and refused; a name that nobody has yet may be meant.
    pub(super) fn finish_subjects(&mut self) {
        let mut files: Vec<_> = std::mem::take(&mut self.asked).into_iter().collect();
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        // In the order of the domains' names; `HashMap` has none.
        let missing: BTreeMap<_, _> = self
            .known
            .iter_mut()
            .map(|(name, known)| (name.clone(), std::mem::take(&mut known.missing)))
            .collect();
        for diagnostic in missing.into_values().flat_map(MissingNumbers::finish) {
            self.add(diagnostic);
        }
        self.mistyped_values();
        for (_, asked) in files {
            asked.tell(|diagnostic| self.add(diagnostic));
        }
    }
}

impl Asked {
    fn tell(self, mut tell: impl FnMut(Diagnostic)) {
        let all_kinds: Vec<String> = self.kinds.keys().cloned().collect();
        let (_, idle): (Vec<_>, Vec<_>) =
            self.kinds.into_iter().partition(|(kind, _)| self.wanted_kinds.contains_key(kind));
        let unknown: Vec<String> = self.unknown_kinds.iter().map(|(kind, _)| kind.clone()).collect();
        let idle_kinds: Vec<String> = idle.iter().map(|(kind, _)| kind.clone()).collect();
        for (kind, diagnostic) in self.unknown_kinds {
            let severity = if idle_kinds.is_empty() { Severity::Warning } else { Severity::Error };
            let hint = slip(&kind, &idle_kinds)
                .or_else(|| did_you_mean(&kind, idle_kinds.iter().map(String::as_str)))
                .unwrap_or_else(|| {
                    let kinds = listed(&all_kinds);
                    format!("the kinds in {} are {kinds}", self.file)
                });
            tell(Diagnostic { severity, ..diagnostic }.hint(Some(hint)));
        }
        let wanted: Vec<&str> = self.wanted_kinds.keys().map(String::as_str).collect();
        for (kind, diagnostic) in self.schemes {
            // Where one descriptor takes them as they are sent, the scheme may be meant.
            if self.wanted_kinds.get(&kind) == Some(&true) {
                tell(diagnostic);
            }
        }
        for (kind, diagnostic) in idle {
            // A kind may be given out before a policy asks for it, so this refuses nothing.
            let hint = slip(&kind, &unknown)
                .or_else(|| did_you_mean(&kind, unknown.iter().map(String::as_str)))
                .or_else(|| slip(&kind, &wanted))
                .or_else(|| did_you_mean(&kind, wanted.iter().copied()))
                .unwrap_or_else(|| format!("write `subject: {kind}` on the descriptor whose value it is"));
            tell(diagnostic.hint(Some(hint)));
        }
        let mut all: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        all.sort_unstable();
        let idle: Vec<&str> =
            all.iter().copied().filter(|name| !self.wanted_attributes.contains(*name)).collect();
        for (name, diagnostic, when) in &self.unknown_attributes {
            let slip = slip(name, &idle);
            let is_sure = near(name, &idle).is_some_and(|meant| is_surely(name, meant));
            let severity = if is_sure { Severity::Error } else { Severity::Warning };
            if slip.is_none() && *when == Tell::Slips {
                continue;
            }
            let hint = slip.or_else(|| did_you_mean(name, idle.iter().copied())).unwrap_or_else(|| {
                if all.is_empty() {
                    format!("nobody in {} has any attributes", self.file)
                } else {
                    format!("the attributes in {} are {}", self.file, listed(&all))
                }
            });
            tell(Diagnostic { severity, ..diagnostic.clone() }.hint(Some(hint)));
        }
    }
}

/// «did you mean», for the one of `known` that is so near to `typed` that it must be a slip. Names that differ in their digits are
/// two: `limit1`, `limit2`.
pub(super) fn slip<S: AsRef<str>>(typed: &str, known: &[S]) -> Option<String> {
    near(typed, known).map(|name| format!("did you mean `{name}`?"))
}

/// Whether a name that is near to another can hardly be a name of its own: of short ones, `rps` beside `rpm`, only letters that
/// changed places say so.
fn is_surely(typed: &str, meant: &str) -> bool {
    const SHORT: usize = 5;
    let (typed, meant) = (typed.to_lowercase(), meant.to_lowercase());
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    typed.chars().count().min(meant.chars().count()) >= SHORT || letters(&typed) == letters(&meant)
}
