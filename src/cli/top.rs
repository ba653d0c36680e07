//! `spillway top`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use super::args::Top;
use super::{FAILED, WRONG_COMMAND, complain};

pub(super) fn run(args: &Top) -> ExitCode {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        complain("error: `top` needs a terminal; the same numbers are on /metrics of the HTTP port\n");
        return ExitCode::from(WRONG_COMMAND);
    }
    match crate::top::run(&args.address, args.interval) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: the terminal failed: {error}\n"));
            ExitCode::from(FAILED)
        }
    }
}
