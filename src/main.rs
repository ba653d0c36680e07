//! The doorbell.

use std::process::ExitCode;

/// A call allocates little and often; this takes a tenth less time over it than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    spillway::cli::main()
}
