//! The doorbell.

use std::process::ExitCode;

/// The system's allocator (glibc's) keeps two thirds of what a refused set of policies has taken, for ever.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    spillway::cli::main()
}
