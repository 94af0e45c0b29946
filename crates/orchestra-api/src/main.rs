//! The binary `orchestra`. What it does is in [`orchestra_api::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request takes and gives back hundreds of small pieces of memory, from all threads at once.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    orchestra_api::cli::main()
}
