//! Asks the cache guard about two prompts and prints its reasons.
//!
//! `cargo run -p memory-core --example guard -- "turn on dark mode" "turn off dark mode"`

use std::env;
use std::process::ExitCode;

use memory_core::guard::compare;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [asked, cached] = &arguments[..] else {
        eprintln!("usage: guard ASKED CACHED\nput each prompt in quotes");
        return ExitCode::from(1);
    };
    let refusals = compare(asked, cached);
    if refusals.is_empty() {
        println!("pass: the guard has nothing against serving the cached answer");
    }
    for refusal in refusals {
        println!("refuse: {refusal}");
    }
    ExitCode::SUCCESS
}
