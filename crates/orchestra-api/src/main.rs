//! The binary `orchestra`. What it does is in [`orchestra_api::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    orchestra_api::cli::main()
}
