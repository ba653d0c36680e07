//! `spillway check`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use super::args::{Check, CheckFormat};
use super::formats;
use super::peer::Peer;
use super::{WRONG_INPUT, colour, complain, print};
use crate::config::{self, Diagnostic, Severity};

pub(super) fn run(args: &Check, peer: &Peer) -> ExitCode {
    let loaded = config::load(&args.paths, peer.options(args.merging));
    let refused = match &loaded {
        Ok(loaded) => args.strict && !loaded.warnings.is_empty(),
        Err(_) => true,
    };
    let machine = match args.format {
        CheckFormat::Text => None,
        CheckFormat::Json => Some(formats::json as fn(&[Diagnostic]) -> String),
        CheckFormat::Sarif => Some(formats::sarif as _),
        CheckFormat::Github => Some(formats::github as _),
    };
    let found = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    match (machine, &loaded) {
        (Some(format), _) => print(&format(found)),
        (None, Err(_)) => complain(&report(found, &io::stderr())),
        (None, Ok(_)) if refused => {
            complain(&report(found, &io::stderr()));
            complain("warnings count as mistakes, as --strict says\n");
        }
        (None, Ok(loaded)) => {
            complain(&config::render(found, colour(&io::stderr())));
            let (rules, files) = (loaded.policy.rules(), loaded.files.len());
            let warned = match found.len() {
                0 => String::new(),
                n => format!(", {}", counted(n, "warning")),
            };
            print(&format!("ok: {} in {}{warned}\n", counted(rules, "rule"), counted(files, "file")));
        }
    }
    if refused { ExitCode::from(WRONG_INPUT) } else { ExitCode::SUCCESS }
}

/// Every mistake, and how many there are, for the stream it is written to.
pub(super) fn report(diagnostics: &[Diagnostic], stream: &impl IsTerminal) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let mut text = config::render(diagnostics, colour(stream));
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
