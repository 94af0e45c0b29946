//! The deployment on this machine, with real parts: killed on the way, gone on with, verified, rolled back, taken down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use memory_testkit::services::{self, Service};
use serde_json::Value;
use tempfile::TempDir;

use super::Ran;

/// How long a step may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A deployment that is taken down with this.
struct Deployment {
    home: TempDir,
}

impl Deployment {
    fn xtask(&self, command: &str, arguments: &[&str]) -> Command {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.arg(command).arg("--home").arg(self.home.path()).args(arguments).env("RUST_BACKTRACE", "0");
        xtask
    }

    fn deploy(&self, arguments: &[&str]) -> Ran {
        self.xtask("deploy", arguments).output().unwrap().into()
    }

    fn record(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.home.path().join("local-dev.json")).ok()?).ok()
    }

    /// Begins to deploy, and kills that as soon as `step` was begun.
    fn killed_at(&self, step: &str, arguments: &[&str]) {
        let mut deploy = self.xtask("deploy", arguments);
        let mut deploy: Child = deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.record().is_none_or(|record| record["run"]["at"] != step) {
            assert!(deploy.try_wait().unwrap().is_none(), "it ended before {step}: {:?}", self.record());
            assert!(Instant::now() < deadline, "it never came to {step}: {:?}", self.record());
            std::thread::sleep(Duration::from_millis(1));
        }
        deploy.kill().unwrap();
        deploy.wait().unwrap();
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // Also where the test failed. When that fails nobody is left to tell.
        let _ = self.xtask("deploy", &["--down"]).output();
    }
}

/// The server, and a second one that differs in what nobody reads. A test of the whole workspace has built it beside the
/// program that is tested; a test of this package alone takes what is there, or builds it.
fn programs(folder: &Path) -> [PathBuf; 2] {
    let first =
        Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name(format!("orchestra{}", std::env::consts::EXE_SUFFIX));
    if !first.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let built = build.args(["build", "--quiet", "--package", "orchestra-api", "--bin", "orchestra"]).status();
        assert!(built.unwrap().success(), "the server is not built");
    }
    let second = folder.join("orchestra-2");
    fs::copy(&first, &second).unwrap();
    let mut longer = fs::File::options().append(true).open(&second).unwrap();
    std::io::Write::write_all(&mut longer, b"another revision").unwrap();
    [first, second]
}

#[test]
fn a_deployment_that_was_killed_is_finished_verified_rolled_back_and_taken_down() {
    // They are fetched, or the test is skipped, as all tests that need them are.
    for service in [Service::Redis, Service::Postgres] {
        if services::url(service).is_none() {
            return;
        }
    }
    let deployment = Deployment { home: tempfile::tempdir().unwrap() };
    let [first, second] = programs(deployment.home.path()).map(|program| program.display().to_string());
    let all = |program: &'_ str| ["--apply", "--revision", "test", "--binary", program].map(str::to_owned);
    let (to_first, to_second) = (all(&first), all(&second));
    let [to_first, to_second] = [&to_first, &to_second].map(|words| words.each_ref().map(String::as_str));

    deployment.killed_at("migrations", &to_first);
    deployment.killed_at("api", &to_first);
    let done = deployment.deploy(&to_first);
    assert!(done.ok, "{}", done.err);
    assert!(
        done.err.contains("going on with the deployment that did not end") && done.err.contains("was done"),
        "{}",
        done.err
    );
    let again = deployment.deploy(&[&to_first[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&again.out).unwrap();
    let at = |name: &str| {
        told["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()["state"].clone()
    };
    for step in ["network", "redis", "alloydb", "ha", "secrets", "iam", "migrations", "indexes", "api"] {
        assert_eq!(at(step), "already", "{step} finds nothing to do: {}", again.err);
    }

    let verified: Ran = deployment.xtask("verify", &["all", "--quick", "--json"]).output().unwrap().into();
    assert!(verified.ok, "{}{}", verified.out, verified.err);
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    assert!(report["passed"].as_u64().unwrap() >= 18, "{report}");

    let killed = deployment.record().unwrap()["local"]["server"]["pid"].clone();
    Command::new("sh").args(["-c", &format!("kill -KILL {killed}")]).status().unwrap();
    let fails: Ran = deployment.xtask("verify", &["functionality", "--quick"]).output().unwrap().into();
    assert!(!fails.ok && fails.out.contains("FAIL"), "a server that is gone does not pass: {}", fails.out);
    let back = deployment.deploy(&[&to_second[..], &["image", "api"]].concat());
    assert!(back.ok, "{}", back.err);
    assert_eq!(deployment.record().unwrap()["current"], 2);
    let rolled_back = deployment.deploy(&["--rollback", "--apply"]);
    assert!(rolled_back.ok, "{}", rolled_back.err);
    let record = deployment.record().unwrap();
    assert_eq!(record["current"], 1);
    let ready: Ran = deployment.xtask("verify", &["functionality", "--quick"]).output().unwrap().into();
    assert!(ready.ok, "the former revision serves: {}{}", ready.out, ready.err);

    // What does not start takes nobody's place.
    let broken = deployment.deploy(&["--apply", "image", "api", "--binary", "/bin/sh"]);
    assert!(!broken.ok && broken.err.contains("step image failed"), "{}", broken.err);
    assert_eq!(deployment.record().unwrap()["current"], 1);

    let down = deployment.deploy(&["--down"]);
    assert!(down.ok && down.out.contains("the server") && down.out.contains("the postgres"), "{down:?}");
    assert!(deployment.record().is_none() && !deployment.home.path().join("local-dev").exists());
    let address = record["local"]["listen"].as_str().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens any more");
    let nothing = deployment.deploy(&["--down"]);
    assert!(nothing.ok && nothing.out.contains("nothing was deployed"), "{nothing:?}");
}
