//! `orchestra completions`.

use clap_complete::Shell;

use super::failure::Outcome;

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra completions bash > ~/.local/share/bash-completion/completions/orchestra
  orchestra completions zsh > ~/.zfunc/_orchestra
  orchestra completions fish > ~/.config/fish/completions/orchestra.fish")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

pub fn run(args: Args, command: &mut clap::Command) -> Outcome {
    use std::io::Write as _;
    let mut text = Vec::new();
    clap_complete::generate(args.shell, command, "orchestra", &mut text);
    Ok(std::io::stdout().lock().write_all(&text)?)
}
