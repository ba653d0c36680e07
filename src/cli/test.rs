//! `spillway test`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::Test;
use super::check::{counted, report};
use super::compatibility::Environment;
use super::{WRONG_INPUT, complain, print};
use crate::config::{self, Diagnostic, DiagnosticKind, Options};
use crate::hint::did_you_mean;
use crate::policy::{Domain, Policy};
use crate::policy_test::{InProcessLimiter, Script, run as play};

pub(super) fn run(args: &Test, environment: &Environment) -> ExitCode {
    let options = environment.options(args.merging);
    let (mut scripts, mut wrong) = (Vec::new(), Vec::new());
    let mut once = config::Once::default();
    for path in &args.paths {
        let (found, unfound) = config::test_files(path);
        // A policy and its test may both be named.
        scripts.extend(found.into_iter().filter(|script| once.is_new(script)));
        wrong.extend(unfound);
    }
    if !wrong.is_empty() {
        complain(&report(&wrong, &io::stderr()));
    }
    let failed = scripts.iter().filter(|script| !passes(script, &options)).count();
    let written = if scripts.is_empty() {
        ExitCode::SUCCESS
    } else {
        print(&format!("{} passed, {failed} failed\n", scripts.len() - failed))
    };
    if failed == 0 && wrong.is_empty() { written } else { ExitCode::from(WRONG_INPUT) }
}

/// Plays one script and prints how it went.
fn passes(file: &Path, options: &Options) -> bool {
    let name = file.display();
    let fails = |why: &str| {
        // What cannot be written is complained of each time, and decides how the last line ends.
        let _ = print(&format!("FAILED  {name}\n{}\n", indented(why)));
        false
    };
    let wrong = |mistakes: &[Diagnostic]| fails(report(mistakes, &io::stdout()).trim_end());
    let Ready { script, policy, domain } = match ready(file, options) {
        Ok(ready) => ready,
        Err(mistakes) => return wrong(&mistakes),
    };
    let options = options.clone();
    let Some(mut target) = InProcessLimiter::new(&domain, Box::new(move || load(&policy, &options).ok()))
    else {
        return fails("the policy cannot be read");
    };
    let misses = play(&script, &mut target);
    if misses.is_empty() {
        let _ = print(&format!("ok      {name}  {}\n", counted(script.steps.len(), "step")));
        return true;
    }
    let shown: Vec<String> = misses.iter().map(ToString::to_string).collect();
    fails(shown.join("\n").trim_end())
}

/// A script without mistakes, and what it is about.
pub(super) struct Ready {
    script: Script,
    policy: PathBuf,
    domain: String,
}

/// Reads a script and the policy that it names, or returns everything that is wrong with either.
pub(super) fn ready(file: &Path, options: &Options) -> Result<Ready, Vec<Diagnostic>> {
    let name = file.display().to_string();
    let text = config::read_text(file).map_err(|error| {
        vec![Diagnostic::error(format!("cannot read `{name}`: {error}")).kind(DiagnosticKind::UnreadableFile)]
    })?;
    let script = Script::read(&name, &text).map_err(|error| error.0)?;
    let policy = file.parent().unwrap_or(Path::new("")).join(&script.policy);
    if !policy.exists() {
        let message = format!("there is no policy `{}`", script.policy);
        let hint = "the file is named as it is seen from the test's directory".to_owned();
        return Err(vec![script.wrong_policy(message, Some(hint))]);
    }
    let mut loaded = load(&policy, options)?;
    let domain = domain(&loaded, &script)?.name.clone();
    let wrong = script.wrong_changes(loaded.domain_mut(&domain));
    if wrong.is_empty() { Ok(Ready { script, policy, domain }) } else { Err(wrong) }
}

fn load(policy: &PathBuf, options: &Options) -> Result<Policy, Vec<Diagnostic>> {
    config::load(&[policy], options.clone()).map(|loaded| loaded.policy)
}

/// The domain that the script is about: the only one, unless it says which.
fn domain<'p>(policy: &'p Policy, script: &Script) -> Result<&'p Domain, Vec<Diagnostic>> {
    let mut domains: Vec<&Domain> = policy.domains().collect();
    domains.sort_unstable_by_key(|domain| &domain.name);
    let names = || domains.iter().map(|domain| domain.name.as_str());
    match (&script.domain, domains.as_slice()) {
        (Some(name), _) => policy.domain(name.as_bytes()).ok_or_else(|| {
            let hint = did_you_mean(name, names());
            let hint = hint.unwrap_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")));
            vec![script.wrong_domain(format!("the policy has no domain `{name}`"), Some(hint))]
        }),
        (None, [only]) => Ok(only),
        (None, many) => {
            let hint = format!("say which is meant, as in `domain: {}`", names().next().unwrap_or("NAME"));
            Err(vec![script.wrong_domain(format!("the policy has {} domains", many.len()), Some(hint))])
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
