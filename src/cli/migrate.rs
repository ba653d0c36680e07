//! `spillway migrate`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::args::Migrate;
use super::check::counted;
use super::compatibility::Environment;
use super::{FAILED, WRONG_INPUT, colour, complain, print};
use crate::config::{self, Options, Severity};
use crate::migrate::{Migration, migrate};

pub(super) fn run(args: &Migrate, environment: &Environment) -> ExitCode {
    // That server reads files whatever they are called.
    let options = Options { every_file: true, ..environment.options(args.merging) };
    let Migration { found, files, what } = migrate(&args.from, options);
    if !found.is_empty() {
        complain(&config::render(&found, colour(&io::stderr())));
        complain("\n");
    }
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        complain(&format!("{}; nothing is written\n", counted(errors, "error")));
        return ExitCode::from(WRONG_INPUT);
    }
    if files.is_empty() {
        return print(&format!(
            "ok: {} is {what}, and works as it is: spillway serve --config {}\n",
            args.from.display(),
            args.from.display()
        ));
    }
    let Some(directory) = &args.to else {
        let texts: Vec<String> = files.iter().map(|(name, text)| format!("# {name}\n{text}")).collect();
        return print(&texts.join("---\n"));
    };
    for (name, text) in &files {
        if let Err(error) = write(directory, name, text) {
            complain(&format!("error: cannot write `{}`: {error}\n", directory.join(name).display()));
            return ExitCode::from(FAILED);
        }
    }
    print(&format!(
        "ok: {} is {what}; wrote {} into {}; see what they do with: spillway check {}\n",
        args.from.display(),
        counted(files.len(), "policy file"),
        directory.display(),
        directory.display()
    ))
}

/// Writes a new file. What is there already may be somebody's work.
fn write(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(directory.join(name))?;
    file.write_all(text.as_bytes())
}
