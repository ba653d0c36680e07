//! `spillway check`

use std::io;
use std::process::ExitCode;

use super::args::Check;
use super::peer::Peer;
use super::{WRONG_INPUT, colour, complain, print};
use crate::config::{self, Diagnostic, Severity};

pub(super) fn run(args: &Check, peer: &Peer) -> ExitCode {
    match config::load(&args.paths, peer.options(args.merging)) {
        Ok(loaded) => {
            complain(&config::render(&loaded.warnings, colour(&io::stderr())));
            let (rules, files) = (loaded.policy.rules(), loaded.files.len());
            let warned = match loaded.warnings.len() {
                0 => String::new(),
                n => format!(", {}", counted(n, "warning")),
            };
            print(&format!("ok: {} in {}{warned}\n", counted(rules, "rule"), counted(files, "file")));
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            complain(&report(&diagnostics));
            ExitCode::from(WRONG_INPUT)
        }
    }
}

/// Every mistake, and how many there are.
pub(super) fn report(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let mut text = config::render(diagnostics, colour(&io::stderr()));
    text += &format!("\n{}", counted(errors, "error"));
    match diagnostics.len() - errors {
        0 => {}
        warnings => text += &format!(", {}", counted(warnings, "warning")),
    }
    text + "\n"
}

pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
