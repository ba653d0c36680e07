//! `spillway migrate`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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
    if let Err((name, error)) = write(directory, &files) {
        let path = directory.join(name);
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "; nothing is written over, so name a directory without such files"
            }
            _ => "",
        };
        complain(&format!("error: cannot write `{}`: {error}{hint}; nothing is written\n", path.display()));
        let is_theirs = error.kind() == io::ErrorKind::AlreadyExists;
        return ExitCode::from(if is_theirs { WRONG_INPUT } else { FAILED });
    }
    print(&format!(
        "ok: {} is {what}; wrote {} into {}; see what they do with: spillway check {}\n",
        args.from.display(),
        counted(files.len(), "policy file"),
        directory.display(),
        directory.display()
    ))
}

/// Writes new files, all of them or none. What is there already may be somebody's work. Returns the name of a file that cannot be
/// written.
fn write<'f>(directory: &Path, files: &'f [(String, String)]) -> Result<(), (&'f str, io::Error)> {
    let all = || files.iter().map(|(name, _)| name.as_str());
    if let Some(name) = all().find(|name| fs::symlink_metadata(directory.join(name)).is_ok()) {
        return Err((name, io::ErrorKind::AlreadyExists.into()));
    }
    let mut made: Vec<PathBuf> = Vec::new();
    let written = files.iter().try_for_each(|(name, text)| {
        let failed = |error| (name.as_str(), error);
        fs::create_dir_all(directory).map_err(failed)?;
        // Hidden, so that no server takes half of them for its policies.
        let new = directory.join(format!(".{name}.new"));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new).map_err(failed)?;
        made.push(new);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    });
    let named = written.and_then(|()| {
        all().zip(&made).enumerate().try_for_each(|(at, (name, new))| {
            // A link takes no other file's name.
            let path = directory.join(name);
            let linked = fs::hard_link(new, &path);
            // Some file systems have no links.
            let named = linked.or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                _ if fs::symlink_metadata(&path).is_ok() => Err(error),
                _ => fs::rename(new, &path),
            });
            named.map_err(|error| {
                all().take(at).for_each(|name| drop(fs::remove_file(directory.join(name))));
                (name, error)
            })
        })
    });
    for new in made {
        // It has its other name, or nobody wants it.
        let _ = fs::remove_file(new);
    }
    named
}
