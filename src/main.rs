//! The doorbell.

use std::process::ExitCode;

fn main() -> ExitCode {
    spillway::cli::main()
}
