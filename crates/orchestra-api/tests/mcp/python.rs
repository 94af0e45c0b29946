//! A client that others wrote: the protocol's official Python package, over both transports and in both lifecycles.
//!
//! The package is installed once, with pinned versions, into `target/services`. Where that is not possible the tests
//! are skipped and say so; `MEMORY_TEST_REQUIRE=mcp-client` makes that a failure.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::process::Server;

const NAME: &str = "mcp-client";

/// The folder with the installed package.
fn installed() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(install) {
        Ok(folder) => Some(folder),
        Err(reason) => {
            let required = std::env::var("MEMORY_TEST_REQUIRE").unwrap_or_default();
            let required = required.split(',').any(|name| [NAME, "all"].contains(&name.trim()));
            assert!(!required, "MEMORY_TEST_REQUIRE requires {NAME}, and there is none: {reason}");
            // Past the capture of the test runner, which shows nobody what a passing test printed.
            let _ = writeln!(std::io::stderr(), "SKIPPED the tests with the Python client: {reason}");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/requirements.txt");
    let pinned = fs::read(&requirements).map_err(|error| error.to_string())?;
    // Other versions of the packages or of Python are another folder.
    let python = python(&["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])?;
    let folder = home.join(format!("{NAME}-py{python}-{}", &blake3::hash(&pinned).to_hex()[..12]));
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

/// Runs the client. `None` where there is none.
fn client(scenario: &str, lifecycle: &str, target: &str, data: &Path) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py");
    let mut command = Command::new("python3");
    command.arg(script).args([scenario, lifecycle, target]).arg(data).env("PYTHONPATH", installed()?);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command.output().unwrap())
}

fn passed(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "passed", "{said}");
}

/// `auto` takes the newest revision that both know; `legacy` shakes hands, as clients of today do.
const LIFECYCLES: [&str; 2] = ["auto", "legacy"];

#[test]
fn over_the_standard_streams() {
    for lifecycle in LIFECYCLES {
        let folder = tempfile::tempdir().unwrap();
        let Some(output) = client("tools", lifecycle, env!("CARGO_BIN_EXE_orchestra"), folder.path()) else { return };
        passed(&output);
    }
}

#[tokio::test]
async fn over_http() {
    if installed().is_none() {
        return;
    }
    for lifecycle in LIFECYCLES {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path()).await;
        let url = format!("http://{}/mcp", server.address);
        passed(&client("tools", lifecycle, &url, folder.path()).unwrap());
    }
}

#[test]
fn a_call_is_given_up() {
    if installed().is_none() {
        return;
    }
    for lifecycle in LIFECYCLES {
        let folder = tempfile::tempdir().unwrap();
        // An embedder that takes the question and never answers. What it took is held until the client has ended.
        let embedder = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", embedder.local_addr().unwrap());
        fs::write(folder.path().join("embedder"), url).unwrap();
        let output = client("give-up", lifecycle, env!("CARGO_BIN_EXE_orchestra"), folder.path()).unwrap();
        drop(embedder);
        passed(&output);
    }
}
