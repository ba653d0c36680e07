//! From paths to a policy: read every file, compile every document, report everything at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::Compiler;
use super::diagnostic::{Diagnostic, Severity};
use super::files::{cannot_read, policy_files};
use super::source::Source;
use crate::policy::Policy;
use crate::shape::HeaderSet;
use crate::yaml::Tree;

/// How files are put together.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Let several documents describe one domain; otherwise that is an error.
    pub merge_domains: bool,
    /// Count and report, and refuse nothing.
    pub shadow_mode: bool,
    /// Response headers of domains that say nothing about headers.
    pub headers: Option<Arc<HeaderSet>>,
}

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Loaded {
    /// What to enforce.
    pub policy: Policy,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// The files it came from: policies and subjects.
    pub files: Vec<PathBuf>,
}

/// The policy that the files at `paths` describe, or every mistake in any of them (with the warnings among them, in
/// the order of the files). One mistake refuses the whole set.
pub fn load<P: AsRef<Path>>(paths: &[P], options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    let mut unreadable = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        match policy_files(path.as_ref()) {
            Ok(files) => {
                for file in files {
                    match fs::read_to_string(&file) {
                        Ok(text) => sources.push(Source::new(&file.display().to_string(), text)),
                        Err(error) => unreadable.push(cannot_read(&file, &error)),
                    }
                }
            }
            Err(diagnostic) => unreadable.push(diagnostic),
        }
    }
    compile(&sources, options, unreadable)
}

/// The same from one text, which is called `name` in messages.
pub fn load_text(name: &str, text: &str, options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    compile(&[Source::new(name, text.to_owned())], options, Vec::new())
}

fn compile(
    sources: &[Source],
    options: Options,
    mut diagnostics: Vec<Diagnostic>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(options);
    for source in sources {
        match Tree::parse(&source.text) {
            Ok(tree) => compiler.file(source, &tree),
            Err(error) => compiler.syntax_error(source, &error),
        }
    }
    let (policy, subjects, mut found) = compiler.finish();
    found.sort_by_key(|diagnostic| {
        let place = diagnostic.excerpt.as_ref().map(|excerpt| &excerpt.place);
        let file = sources.iter().position(|source| place.is_some_and(|place| place.file == source.file));
        // What is said of all the others comes after them.
        (place.is_none(), file, place.map(|place| (place.line, place.column)))
    });
    diagnostics.extend(found);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let policies = sources.iter().map(|source| PathBuf::from(&*source.file));
    let files = policies.chain(subjects).collect();
    Ok(Loaded { policy, warnings: diagnostics, files })
}
