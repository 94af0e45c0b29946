//! A client that others wrote: the protocol's official Python package, over both transports and in both lifecycles.
//!
//! The package is installed once, with pinned versions, into `target/services`. Where that is not possible the tests
//! are skipped and say so; `MEMORY_TEST_REQUIRE=mcp-client` makes that a failure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::packages;
use super::process::Server;

/// The folder with the installed package.
fn installed() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Option<PathBuf>> = OnceLock::new();
    INSTALLED.get_or_init(|| packages::installed("mcp-client", "tests/mcp/requirements.txt")).as_deref()
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
