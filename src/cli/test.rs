//! `spillway test`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::Test;
use super::check::{counted, report};
use super::peer::Peer;
use super::{WRONG_INPUT, complain, print};
use crate::config::{self, Diagnostic, Options};
use crate::policy::Policy;
use crate::trial::{EngineTarget, Script, run as play};

pub(super) fn run(args: &Test, peer: &Peer) -> ExitCode {
    let options = peer.options(args.merging);
    let mut scripts = Vec::new();
    let mut wrong = Vec::new();
    for path in &args.paths {
        let (found, unfound) = config::test_files(path);
        // A policy and its test may both be named.
        scripts.extend(found.into_iter().filter(|script| !scripts.contains(script)).collect::<Vec<_>>());
        wrong.extend(unfound);
    }
    if !wrong.is_empty() {
        complain(&report(&wrong, &io::stderr()));
    }
    let failed = scripts.iter().filter(|script| !passes(script, &options)).count();
    if !scripts.is_empty() {
        print(&format!("{} passed, {failed} failed\n", scripts.len() - failed));
    }
    if failed == 0 && wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG_INPUT) }
}

/// Plays one script and prints how it went.
fn passes(file: &Path, options: &Options) -> bool {
    let name = file.display();
    let fails = |why: &str| {
        print(&format!("FAILED  {name}\n{}\n", indented(why)));
        false
    };
    let wrong = |mistakes: &[Diagnostic]| fails(report(mistakes, &io::stdout()).trim_end());
    let script = match config::read_text(file).map_err(|error| cannot_read(&error)) {
        Ok(text) => Script::read(&name.to_string(), &text),
        Err(why) => return fails(&why),
    };
    let script = match script {
        Ok(script) => script,
        Err(error) => return wrong(&error.0),
    };
    let policy = file.parent().unwrap_or(Path::new("")).join(&script.policy);
    let domain = match domain(&policy, &script, options) {
        Ok(domain) => domain,
        Err(mistakes) => return wrong(&mistakes),
    };
    let options = options.clone();
    let Some(mut target) = EngineTarget::new(&domain, Box::new(move || load(&policy, &options).ok())) else {
        return fails("the policy cannot be read");
    };
    let misses = play(&script, &mut target);
    if misses.is_empty() {
        print(&format!("ok      {name}  {}\n", counted(script.steps.len(), "step")));
        return true;
    }
    let told: Vec<String> = misses.iter().map(ToString::to_string).collect();
    fails(told.join("\n").trim_end())
}

fn load(policy: &PathBuf, options: &Options) -> Result<Policy, Vec<Diagnostic>> {
    config::load(&[policy], options.clone()).map(|loaded| loaded.policy)
}

/// The domain that the script is about: the only one, unless it says which.
fn domain(file: &PathBuf, script: &Script, options: &Options) -> Result<String, Vec<Diagnostic>> {
    if !file.exists() {
        let message = format!("there is no policy `{}`", script.policy);
        let hint = "the file is named as it is seen from the test's directory".to_owned();
        return Err(vec![script.wrong_policy(message, Some(hint))]);
    }
    let policy = load(file, options)?;
    let mut names: Vec<&str> = policy.domains().map(|domain| domain.name.as_str()).collect();
    names.sort_unstable();
    match (&script.domain, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name.clone()),
        (Some(name), _) => {
            let hint = config::did_you_mean(name, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("it has {}", names.join(", ")));
            Err(vec![script.wrong_domain(format!("the policy has no domain `{name}`"), Some(hint))])
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, many) => {
            let hint = format!("say which is meant, as in `domain: {}`", many.first().unwrap_or(&"NAME"));
            Err(vec![script.wrong_domain(format!("the policy has {} domains", many.len()), Some(hint))])
        }
    }
}

fn cannot_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
