//! `spillway check`

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::{Check, CheckFormat};
use super::compatibility::Environment;
use super::counters::{Counters, forgotten, spread};
use super::formats;
use super::{WRONG_INPUT, colour, complain, print, test};
use crate::config::{self, Diagnostic, FileKind, Options, Severity};
use crate::envoy;
use crate::policy::Policy;

pub(super) fn run(args: &Check, environment: &Environment) -> ExitCode {
    let mut checked = Checked::of(&args.paths, &environment.options(args.merging));
    checked.with_envoy(&args.envoy);
    let is_error = |one: &Diagnostic| one.severity == Severity::Error;
    let is_wrong = checked.found.iter().any(is_error);
    let is_counted = |one: &Diagnostic| one.severity != Severity::Note;
    let refused = is_wrong || args.strict && checked.found.iter().any(is_counted);
    let machine = match args.format {
        CheckFormat::Text => None,
        CheckFormat::Json => Some(formats::json as fn(&[Diagnostic]) -> String),
        CheckFormat::Sarif => Some(formats::sarif as _),
        CheckFormat::Github => Some(formats::github as _),
    };
    if machine.is_some() && args.strict {
        let counted = checked.found.iter_mut().filter(|one| is_counted(one));
        counted.for_each(|one| one.severity = Severity::Error);
    }
    let found = &checked.found;
    let written = if let Some(format) = machine {
        print(&format(found))
    } else if refused {
        complain(&report(found, &io::stderr()));
        if !is_wrong {
            complain("warnings count as mistakes, as --strict says\n");
        }
        ExitCode::SUCCESS
    } else {
        complain(&config::render(found, colour(&io::stderr())));
        // No mistake of the files, so --strict lets it pass, and nothing is said where it is not known how they are served.
        if let (Some(Counters::Memory), Some(limits)) = (&args.store, &checked.forgotten) {
            complain(&format!(
                "note: counters are kept in memory, so a restart forgets the counts of {limits}\n"
            ));
        }
        if let (Some(spread), true) = (&checked.spread, args.store.iter().any(Counters::are_in_a_cluster)) {
            complain(&format!(
                "note: in a cluster, counters that count by different things may be at different servers. While one of them refuses a \
                 request, the others count it for a moment, and may refuse another one needlessly: {spread}\n"
            ));
        }
        print(&format!("ok: {}\n", checked.counted()))
    };
    if refused { ExitCode::from(WRONG_INPUT) } else { written }
}

/// What was checked, and what was found.
#[derive(Default)]
struct Checked {
    found: Vec<Diagnostic>,
    /// How many rules there are in how many files.
    policies: Option<(usize, usize)>,
    policy: Option<Policy>,
    /// How many Envoy configurations.
    envoys: usize,
    tests: usize,
    /// Whose counts a restart forgets where they are kept in memory.
    forgotten: Option<String>,
    /// What may refuse needlessly where counters are kept in a cluster.
    spread: Option<String>,
}

impl Checked {
    /// Policies are checked together, as they are served; a test with the policy that it names, and a subjects file with those
    /// that name it.
    fn of(paths: &[PathBuf], options: &Options) -> Self {
        let mut checked = Self::default();
        let (mut policies, mut tests) = (Vec::new(), Vec::new());
        for path in paths {
            let kind = if path.is_file() { config::kind(path) } else { None };
            if path.is_dir() {
                tests.extend(config::test_files(path).0);
            }
            match kind {
                Some(FileKind::Test) => tests.push(path.clone()),
                Some(FileKind::Subjects) => match config::policies_of(path) {
                    naming if naming.is_empty() => checked.found.push(subjects_alone(path)),
                    naming => policies.extend(naming),
                },
                Some(FileKind::Policy) | None => policies.push(path.clone()),
            }
        }
        let mut once = config::Once::default();
        tests.retain(|test| once.is_new(test));
        checked.tests = tests.len();
        checked.found.extend(tests.iter().filter_map(|test| test::ready(test, options).err()).flatten());
        if !policies.is_empty() {
            match config::load(&policies, options.clone()) {
                Ok(loaded) => {
                    checked.policies = Some((loaded.policy.rules(), loaded.names.len()));
                    checked.found.extend(loaded.warnings);
                    checked.forgotten = forgotten(&loaded.policy);
                    checked.spread = spread(&loaded.policy);
                    checked.policy = Some(loaded.policy);
                }
                Err(diagnostics) => checked.found.extend(diagnostics),
            }
        }
        if checked.tests > 0 {
            checked.once();
        }
        checked
    }

    /// Looks at Envoy configurations beside the policies, if those are sound.
    fn with_envoy(&mut self, paths: &[PathBuf]) {
        self.envoys = paths.len();
        if !paths.is_empty() {
            self.found.extend(envoy::check(paths, self.policy.as_ref()));
        }
    }

    /// A policy's mistakes are found again for each of its tests, and reported once.
    fn once(&mut self) {
        let mut reported = HashSet::new();
        let place = |one: &Diagnostic| {
            let place = &one.excerpt.as_ref()?.place;
            Some((place.file.to_string(), place.line, place.column))
        };
        self.found.retain(|one| reported.insert((place(one), one.message.clone())));
    }

    /// «2 rules in 3 files, 1 test (not run: …), 1 warning».
    fn counted(&self) -> String {
        let policies = self
            .policies
            .map(|(rules, files)| format!("{} in {}", counted(rules, "rule"), counted(files, "file")));
        let of = |severity| self.found.iter().filter(|one| one.severity == severity).count();
        let some = |number, what| (number > 0).then(|| counted(number, what));
        let tests = match self.tests {
            0 => None,
            1 => Some("1 test (not run: `spillway test` runs it)".to_owned()),
            many => Some(format!("{many} tests (not run: `spillway test` runs them)")),
        };
        let more = [
            some(self.envoys, "Envoy configuration"),
            tests,
            some(of(Severity::Warning), "warning"),
            some(of(Severity::Note), "note"),
        ];
        policies.into_iter().chain(more.into_iter().flatten()).collect::<Vec<_>>().join(", ")
    }
}

fn subjects_alone(path: &Path) -> Diagnostic {
    let message = format!(
        "`{}` is a subjects file, which is checked with the policy that names it, and no policy beside it does",
        path.display()
    );
    let hint = "write `subjects: FILE` into a policy beside it, and run `spillway check POLICY`";
    Diagnostic::error(message).hint(Some(hint.to_owned()))
}

/// Every mistake, and how many there are, for the stream it is written to.
pub(super) fn report(diagnostics: &[Diagnostic], stream: &impl IsTerminal) -> String {
    let of = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let mut text = config::render(diagnostics, colour(stream));
    text += &format!("\n{}", counted(of(Severity::Error), "error"));
    for (number, what) in [(of(Severity::Warning), "warning"), (of(Severity::Note), "note")] {
        if number > 0 {
            text += &format!(", {}", counted(number, what));
        }
    }
    text + "\n"
}

pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
