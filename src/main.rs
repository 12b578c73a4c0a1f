//! The process's edge: an allocator, and the command line.

use std::process::ExitCode;

// musl's own allocator takes one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    skep::cli::main()
}
