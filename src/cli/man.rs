//! `spillway man`: the manual pages, for whoever packages it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use super::args::Args;
use super::{FAILED, complain};

/// Writes a page for the program and one for each of its commands into `folder`, which is made where there is none.
pub(super) fn run(folder: &Path) -> ExitCode {
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Args::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: cannot write manual pages to `{}`: {error}\n", folder.display()));
            ExitCode::from(FAILED)
        }
    }
}
