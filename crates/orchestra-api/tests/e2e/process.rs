//! The server in a process of its own: what a process has once, as its metrics and its traces, is not the test's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::client::Client;
use crate::setup::Setup;

/// A server in a process, which ends with the test.
pub struct Process {
    child: Child,
    /// What it says after it is ready.
    rest: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts it with these variables, and waits until it answers.
    pub fn start(setup: &Setup, variables: &[(&str, &str)]) -> (Self, Client) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra"));
        for (name, _) in std::env::vars_os() {
            if ["ORCHESTRA_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.envs(variables.iter().copied());
        command.arg("serve").arg("--config").arg(setup.file()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Self { child: command.spawn().unwrap(), rest: None };
        let mut lines = BufReader::new(process.child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = String::new();
        let url = lines.find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            Some(line.split_once("answers on ")?.1.split(',').next()?.to_owned())
        });
        let client = Client::new(url.unwrap_or_else(|| panic!("the server did not start: {said}")));
        process.rest = Some(thread::spawn(move || said + &lines.map(|line| line + "\n").collect::<String>()));
        (process, client)
    }

    /// Ends it, and gives all that it said.
    pub fn said(mut self) -> String {
        self.child.kill().unwrap();
        self.rest.take().unwrap().join().unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success() && self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
