//! From sources to a policy: compile every document, report everything at once.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::compile::Compiler;
use super::diagnostic::{Diagnostic, Severity};
use super::sources::Sources;
use crate::policy::Policy;
use crate::response::HeaderSet;
use crate::yaml::Tree;

/// How files are put together.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Let several documents describe one domain; otherwise that is an error.
    pub merge_domains: bool,
    /// What counts a request that is refused, in domains that do not say `evaluate`.
    pub on_refusal: OnRefusal,
    /// Count and report, and refuse nothing.
    pub shadow_mode: bool,
    /// Take every file of a directory for a policy that is not hidden, as envoyproxy/ratelimit does.
    pub every_file: bool,
    /// Response headers of domains that say nothing about headers.
    pub headers: Option<Arc<HeaderSet>>,
}

/// Which limits of a request count it where one of them refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// All of them.
    #[default]
    AllCount,
    /// Those that refuse, as envoyproxy/ratelimit does with `STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT`.
    RefusingCount,
}

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Loaded {
    /// What to enforce.
    pub policy: Policy,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// The names of what it came from: policies and subjects.
    pub names: Vec<String>,
}

/// The stack of the thread that loads: values lie in each other up to 64 deep, and what reads a level takes less than
/// 16 KiB of stack, in a build without optimization too; eight times that is kept.
const STACK: usize = 64 * (16 << 10) * 8;

/// The policy that the files at `paths` describe, or every mistake in any of them (with the warnings among them, in
/// the order of the files). One mistake refuses the whole set.
pub fn load<P: AsRef<Path> + Sync>(paths: &[P], options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    on_a_thread(STACK, || compile_here(&Sources::in_files(paths, options.every_file), options))
}

/// Runs what loads on a thread of its own. If that panics, nothing was loaded, and whoever asked goes on.
fn on_a_thread<T: Send>(
    stack: usize,
    load: impl FnOnce() -> Result<T, Vec<Diagnostic>> + Send,
) -> Result<T, Vec<Diagnostic>> {
    let failed = |why: &str| Err(vec![Diagnostic::error(format!("internal error: {why}"))]);
    thread::scope(|scope| {
        match thread::Builder::new().name("loader".to_owned()).stack_size(stack).spawn_scoped(scope, load) {
            Ok(loader) => loader.join().unwrap_or_else(|_| failed("loading panicked, which is a bug")),
            Err(error) => failed(&format!("no thread to load on: {error}")),
        }
    })
}

/// The policy that `sources` describe, or every mistake in any of them (with the warnings among them, in the order of the
/// sources). One mistake refuses the whole set. The work is done on a thread of its own, which is waited for.
pub fn compile(sources: &Sources, options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    on_a_thread(STACK, || compile_here(sources, options))
}

fn compile_here(sources: &Sources, options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loaded = put_together(sources, options)?;
    if loaded.policy.domains().all(|domain| domain.root.is_empty()) {
        let none = Diagnostic::error("there are no descriptors, so everything passes");
        loaded.warnings.push(Diagnostic { severity: Severity::Warning, ..none });
    }
    Ok(loaded)
}

/// The same from one policy, which is called `name` in messages and may name subjects on the disk. Here nothing is said
/// where there are no descriptors, and it is done on the caller's thread.
pub fn load_text(name: &str, text: &str, options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    put_together(&Sources::text_beside_files(name, text), options)
}

fn put_together(sources: &Sources, options: Options) -> Result<Loaded, Vec<Diagnostic>> {
    let mut diagnostics = sources.found.clone();
    let mut compiler = Compiler::new(options, Arc::clone(&sources.subjects));
    let sources = &*sources.policies;
    for source in sources {
        match Tree::parse(&source.text) {
            Ok(tree) => compiler.file(source, &tree),
            Err(error) => compiler.syntax_error(source, &error),
        }
    }
    let (policy, subjects, mut found) = compiler.finish(sources);
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
    let names = sources.iter().map(|source| source.file.to_string()).chain(subjects).collect();
    Ok(Loaded { policy, warnings: diagnostics, names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_policy_takes_an_eighth_of_the_stack() {
        let mut text = "domain: d\ndescriptors: ".to_owned();
        // A list and a mapping a level; 64 are allowed in all.
        let levels = 31;
        text += &"[{key: k, descriptors: ".repeat(levels);
        text += "[]";
        text += &"}]".repeat(levels);
        let loaded = on_a_thread(STACK / 8, || load_text("deep.yaml", &text, Options::default()));
        let told =
            loaded.map(|loaded| loaded.policy.rules()).map_err(|all| super::super::render(&all, false));
        assert_eq!(told, Ok(0));
    }

    #[test]
    fn a_panic_refuses_the_set_and_nothing_else() {
        let refused = on_a_thread::<()>(STACK, || panic!("planted")).unwrap_err();
        assert_eq!(refused[0].message, "internal error: loading panicked, which is a bug");
    }
}
