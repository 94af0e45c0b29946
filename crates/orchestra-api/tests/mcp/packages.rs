//! Python packages that tests run, installed once in pinned versions into `target/services`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with the packages that the file `requirements` of this crate pins. Where that is not possible the tests
/// are skipped and say so; `name` in `MEMORY_TEST_REQUIRE` makes that a failure.
pub fn installed(name: &str, requirements: &str) -> Option<PathBuf> {
    match install(name, requirements) {
        Ok(folder) => Some(folder),
        Err(reason) => {
            let required = std::env::var("MEMORY_TEST_REQUIRE").unwrap_or_default();
            let required = required.split(',').any(|required| [name, "all"].contains(&required.trim()));
            assert!(!required, "MEMORY_TEST_REQUIRE requires {name}, and there is none: {reason}");
            // Past the capture of the test runner, which shows nobody what a passing test printed.
            let _ = writeln!(std::io::stderr(), "SKIPPED the tests with {name}: {reason}");
            None
        }
    }
}

fn install(name: &str, requirements: &str) -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let pinned = fs::read(&requirements).map_err(|error| error.to_string())?;
    // Other versions of the packages or of Python are another folder.
    let python = python(&["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])?;
    let folder = home.join(format!("{name}-py{python}-{}", &blake3::hash(&pinned).to_hex()[..12]));
    if folder.exists() {
        return Ok(folder);
    }
    let prepared = || -> std::io::Result<(File, PathBuf)> {
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join("install.lock"))?;
        // Held until it is dropped, and given back by the system when the process dies.
        lock.lock()?;
        let started = folder.with_extension("part");
        if started.exists() {
            fs::remove_dir_all(&started)?;
        }
        Ok((lock, started))
    };
    let (_lock, started) = prepared().map_err(|error| format!("{}: {error}", home.display()))?;
    if !folder.exists() {
        let (target, requirements) = (started.display().to_string(), requirements.display().to_string());
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
        self::python(&[&pip[..], &["--target", &target, "--requirement", &requirements]].concat())?;
        // The folder appears whole or not at all.
        fs::rename(&started, &folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(folder)
}

/// What Python says.
fn python(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("python3").args(arguments).output().map_err(|error| format!("python3: {error}"))?;
    if !output.status.success() {
        return Err(format!("python3: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
