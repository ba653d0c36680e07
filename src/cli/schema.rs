//! `spillway schema`

use std::process::ExitCode;

use super::print;
use crate::config;

/// Prints the JSON Schema of a policy file.
pub(super) fn run() -> ExitCode {
    print(&format!("{:#}\n", config::schema()))
}
