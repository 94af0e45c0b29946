//! How the Pub/Sub emulator is found, started and asked whether it is ready: the jar of the Google Cloud CLI, run without
//! the CLI. No package registry carries it.
//!
//! It keeps everything in memory. Where it is not as Pub/Sub: a subscription's filter is stored and not applied.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::emulator;

/// Where the jar is, from the folder of the CLI's programs.
const FOLDER: &str = "../platform/pubsub-emulator/lib";

/// The folder of the jar, where the CLI has it and there is a Java to run it.
pub(super) fn installed() -> Result<PathBuf> {
    let programs = std::env::var_os("PATH").unwrap_or_default();
    let cli = std::env::split_paths(&programs).map(|folder| folder.join("gcloud")).find(|file| file.is_file());
    let hint = "`gcloud components install pubsub-emulator` or your system's package brings it";
    let cli = cli.with_context(|| format!("there is no Google Cloud CLI: {hint}"))?.canonicalize()?;
    let folder = cli.parent().context("a file is in a folder")?.join(FOLDER);
    jar(&folder).context(hint)?;
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !java.context("there is no Java for the Pub/Sub emulator")?.success() {
        bail!("`java -version` fails");
    }
    Ok(folder.canonicalize()?)
}

fn jar(folder: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(folder).context("the Google Cloud CLI has no Pub/Sub emulator")?;
    let mut jars =
        files.filter_map(|file| Some(file.ok()?.path())).filter(|file| file.extension() == Some("jar".as_ref()));
    jars.next().context("the Google Cloud CLI's Pub/Sub emulator has no jar")
}

/// An emulator that takes connections of this machine only.
pub(super) fn command(installed: &Path, port: u16, folder: &Path) -> Result<Command> {
    let mut command = emulator::command(folder, "java");
    command.arg("-jar").arg(jar(installed)?).args(["--host=127.0.0.1", &format!("--port={port}")]);
    Ok(command)
}

/// The process, once it answers.
pub(super) fn ready(port: u16, folder: &Path) -> Result<Option<u32>> {
    emulator::ready(port, folder, "/", "\r\n\r\nOk")
}
