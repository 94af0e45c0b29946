//! `cargo xtask assets`: makes the built-in embedding model again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command};

const ASSET: &str = "crates/embedders/assets/static-256";

/// How the asset is made.
#[derive(clap::Args)]
pub struct Args {
    /// Put the new files in the place of the committed ones; without it they stay under target/assets
    #[arg(long)]
    apply: bool,
    /// The Python to use, 3.11 or newer, with venv and pip
    #[arg(long, default_value = "python3")]
    python: String,
    /// Arguments for make.py; `-- --help` lists them
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Makes a virtual environment under target/, installs the pinned packages and runs the asset's own script.
pub fn run(args: &Args) -> Result<()> {
    let work = root().join("target/assets");
    let environment = work.join("venv");
    let made = work.join("static-256");
    std::fs::create_dir_all(&made).with_context(|| format!("{}: cannot be made", made.display()))?;
    if !environment.exists() {
        run_command(Command::new(&args.python).args(["-m", "venv"]).arg(&environment))?;
    }
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    run_command(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(format!("{ASSET}/make-requirements.txt")),
    )?;
    let mut make = Command::new(&python);
    make.arg(format!("{ASSET}/make.py")).arg("--out").arg(&made).arg("--cache").arg(work.join("cache"));
    run_command(make.args(&args.arguments))?;
    for name in ["model.safetensors", "vocab.txt", "SHA256SUMS"] {
        let (new, committed) = (made.join(name), root().join(ASSET).join(name));
        let same = equal(&new, &committed)?;
        eprintln!("{name}: {}", if same { "as committed" } else { "differs from the committed one" });
        if args.apply && !same {
            std::fs::copy(&new, &committed).with_context(|| format!("{}: cannot be replaced", committed.display()))?;
        }
    }
    Ok(())
}

fn equal(new: &Path, committed: &Path) -> Result<bool> {
    if !new.exists() {
        bail!("{}: make.py did not write it", new.display());
    }
    Ok(std::fs::read(new)? == std::fs::read(committed).unwrap_or_default())
}
