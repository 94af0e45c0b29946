//! Tools that others wrote: a validator of OpenAPI documents, a validator of JSON schemas, and a maker of clients.
//!
//! They are Python packages, installed once in pinned versions into `target/services`. Where that is not possible the
//! tests are skipped and say so; `MEMORY_TEST_REQUIRE=openapi-client` makes that a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::json;

use crate::examples::exchanged;
use crate::packages;
use crate::process::Server;
use crate::refusals::refused;

/// The folder with the installed packages.
fn installed() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Option<PathBuf>> = OnceLock::new();
    INSTALLED.get_or_init(|| packages::installed("openapi-client", "tests/openapi/requirements.txt")).as_deref()
}

fn python(folders: &[&Path]) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", std::env::join_paths(folders).unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi").join(name)
}

#[track_caller]
fn passed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The document as the command line prints it, in a file of `folder`.
fn printed(folder: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_orchestra")).arg("openapi").output().unwrap();
    assert!(output.status.success());
    let path = folder.join("openapi.json");
    fs::write(&path, output.stdout).unwrap();
    path
}

#[tokio::test]
async fn the_document_is_valid_and_all_that_is_sent_and_answered_fits_it() {
    let Some(packages) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let instances = folder.path().join("instances.json");
    let all = [exchanged().await, refused().await].concat();
    fs::write(&instances, json!(all).to_string()).unwrap();
    let mut check = python(&[packages]);
    let output = check.arg(script("check.py")).arg(printed(folder.path())).arg(&instances).output().unwrap();
    assert_eq!(passed(&output).trim(), format!("{} fit", all.len()));
}

#[tokio::test]
async fn a_generated_client_drives_a_server() {
    let Some(packages) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let document = printed(folder.path());
    let config = folder.path().join("config.yaml");
    // The tool would format what it writes with another one.
    fs::write(&config, "post_hooks: []\n").unwrap();
    let made = python(&[packages])
        .args(["-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"])
        .arg("--config")
        .arg(&config)
        .arg("--path")
        .arg(&document)
        .arg("--output-path")
        .arg(folder.path().join("orchestra_client"))
        .output()
        .unwrap();
    passed(&made);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let url = format!("http://{}", server.address);
    let output = python(&[packages, folder.path()]).arg(script("client.py")).arg(url).output().unwrap();
    assert_eq!(passed(&output).trim(), "passed");
}
