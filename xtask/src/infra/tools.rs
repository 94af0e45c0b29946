//! The programs that checks run: those of Python packages in pinned versions, and those that the machine has or lacks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{output, root};

/// Names the programs whose absence is a failure, separated by commas: `ORCHESTRA_CI_REQUIRE=terraform`.
pub const REQUIRE_VARIABLE: &str = "ORCHESTRA_CI_REQUIRE";

/// Says that what needs `program` is left out.
///
/// # Errors
/// When [`REQUIRE_VARIABLE`] names the program.
pub fn left_out(program: &str, reason: &str) -> Result<()> {
    let required = std::env::var(REQUIRE_VARIABLE).unwrap_or_default();
    if required.split(',').any(|name| name.trim() == program) {
        bail!("{REQUIRE_VARIABLE} requires {program}: {reason}");
    }
    eprintln!("{program}: {reason}; its checks are left out");
    Ok(())
}

/// The program, if it is on the path and starts.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&paths).map(|folder| folder.join(&name)).find(|path| path.is_file())
}

/// The folder of the programs of the packages that `requirements` pins, in an environment of their own, which is made
/// if need be. `requirements` lists every package: no other is installed with them.
///
/// # Errors
/// When there is no Python 3 with venv and pip, or a package cannot be had.
pub fn python(name: &str, requirements: &str) -> Result<PathBuf> {
    let home = root().join("target/tools");
    fs::create_dir_all(&home).with_context(|| format!("{}: cannot be made", home.display()))?;
    let lock = File::create(home.join("install.lock"))?;
    // Held until it is dropped, and given back by the system when the process dies.
    lock.lock()?;
    let environment = home.join(name);
    let programs = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let (pinned, installed) = (environment.join("pinned.txt"), environment.join("installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == requirements) {
        return Ok(programs);
    }
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    output(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    fs::write(&pinned, requirements)?;
    output(
        Command::new(programs.join("python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(&pinned),
    )?;
    // Last, so that what was interrupted is made anew.
    fs::rename(&pinned, &installed)?;
    Ok(programs)
}

/// The path of `folder` in the workspace, as messages show it.
pub fn shown(folder: &Path) -> String {
    folder.strip_prefix(root()).unwrap_or(folder).display().to_string()
}
