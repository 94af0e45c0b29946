//! `orchestra mcp`: the real binary, on its standard streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orchestra_api::client::Client;
use serde_json::{Value, json};

use super::process::Server;

/// How long an answer may take, and the process to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// A command in an environment without settings but one: minilm-int8 is there on some machines only.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRA_")) {
        command.env_remove(name);
    }
    command.env("ORCHESTRA_CACHE_EMBEDDER", "static-256");
    command
}

/// The process, as a client holds it. It is killed when this is dropped.
struct Mcp {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    said: Option<JoinHandle<String>>,
}

impl Mcp {
    /// Starts it on `data` with these settings.
    fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = bare(env!("CARGO_BIN_EXE_orchestra"));
        command.args(["mcp", "--data"]).arg(data).envs(settings.iter().copied());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().for_each(|read| line.send(read.unwrap()).unwrap_or_default()));
        let mut errors = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            errors.read_to_string(&mut said).unwrap();
            said
        });
        Self { input: child.stdin.take(), child, lines, said: Some(said) }
    }

    /// Starts it and shakes hands.
    fn begun(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start(data, settings).shaken()
    }

    fn shaken(mut self) -> Self {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        self.send(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        assert_eq!(self.answer(0)["result"]["protocolVersion"], "2025-11-25");
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        self
    }

    fn send(&mut self, message: Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    }

    /// The next message, which is one of the protocol. `None` at the end of the output.
    fn next(&self) -> Option<Value> {
        let line = match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(error) => panic!("no message: {error}"),
        };
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not the protocol: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "not the protocol: {line}");
        Some(message)
    }

    /// The answer to this request, which is the next message.
    fn answer(&self, id: u64) -> Value {
        let message = self.next().expect("an answer");
        assert_eq!(message["id"], id, "{message:#}");
        message
    }

    /// Ends the input. Gives how the process ended, what it still answered, and what it said on the standard error.
    fn end(&mut self) -> (ExitStatus, Vec<Value>, String) {
        drop(self.input.take());
        let rest = std::iter::from_fn(|| self.next()).collect();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, rest, self.said.take().unwrap().join().unwrap());
            }
            assert!(begun.elapsed() < DEADLINE, "the process did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_the_protocol_goes_to_the_standard_output_and_no_memory_to_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut mcp = Mcp::begun(folder.path(), &[("ORCHESTRA_LOG", "trace,rmcp::service=trace")]);
    mcp.call(1, "remember", json!({"text": "Ann hides plums", "scope": {"user": "ann"}}));
    assert_eq!(mcp.answer(1)["result"]["isError"], false);
    mcp.call(2, "recall", json!({"query": "what does Ann hide?", "scope": {"user": "ann"}}));
    let shown = mcp.answer(2)["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(shown.contains("| Ann hides plums\n"), "{shown}");
    mcp.call(3, "recall", json!({"query": "plums", "limit": 0}));
    assert_eq!(mcp.answer(3)["result"]["isError"], true);
    let (status, rest, said) = mcp.end();
    assert!(status.success() && rest.is_empty(), "{status} {rest:?}");
    assert!(said.contains("request answered"), "there is a log: {said}");
    assert!(!said.contains("plums"), "{}", said.lines().find(|line| line.contains("plums")).unwrap());
    // What was acknowledged is there for the next one.
    let mut next = Mcp::begun(folder.path(), &[]);
    next.call(1, "stats", json!({}));
    assert_eq!(next.answer(1)["result"]["structuredContent"]["store"]["memories"], 1);
}

#[tokio::test]
async fn the_server_on_the_folder_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    // Two clients at once, which the folder alone does not allow.
    let mut mcp = Mcp::begun(folder.path(), &[]);
    let mut other = Mcp::begun(folder.path(), &[]);
    mcp.call(1, "remember", json!({"text": "Ann prefers the window seat"}));
    let written = mcp.answer(1)["result"]["structuredContent"].clone();
    other.call(1, "get", json!({"id": written["id"]}));
    assert_eq!(other.answer(1)["result"]["structuredContent"]["id"], written["id"]);
    let client = Client::remote(&format!("http://{}", server.address)).unwrap();
    let read = client.get(&format!("/v1/memories/{}", written["id"].as_str().unwrap())).await.unwrap();
    assert_eq!(read["origin"], json!({"writer": "agent", "path": "mcp"}));
    drop(server);
    mcp.call(2, "stats", json!({}));
    let gone = mcp.answer(2)["result"].clone();
    assert_eq!(gone["isError"], true, "{gone:#}");
    assert!(gone["content"][0]["text"].as_str().unwrap().contains("unreachable"), "{gone:#}");
}

#[test]
fn a_cancelled_call_is_not_answered_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    // An embedder that takes the question and never answers.
    let embedder = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", embedder.local_addr().unwrap());
    let settings = [("ORCHESTRA_EMBEDDER", "openai"), ("ORCHESTRA_EMBEDDER_URL", &*url)];
    let mut mcp = Mcp::begun(folder.path(), &settings);
    mcp.call(1, "recall", json!({"query": "where does Ann sit?"}));
    let asked = embedder.accept().unwrap();
    mcp.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    mcp.call(2, "stats", json!({}));
    assert_eq!(mcp.answer(2)["result"]["isError"], false);
    drop((asked, embedder));
    let (status, rest, said) = mcp.end();
    assert!(status.success() && rest.is_empty(), "{status} {rest:?} {said}");
}

#[test]
fn who_says_nothing_wants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (status, rest, said) = Mcp::start(folder.path(), &[]).end();
    assert!(status.success() && rest.is_empty(), "{status} {rest:?} {said}");
}

#[test]
fn a_folder_that_cannot_be_opened_is_said_on_the_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Mcp::begun(folder.path(), &[]);
    let (status, rest, said) = Mcp::start(folder.path(), &[]).end();
    assert_eq!((status.code(), rest.len()), (Some(2), 0), "{said}");
    assert!(said.contains("is in use by process") && said.contains("next:  "), "{said}");
}

/// Runs `orchestra mcp install --json` in `folder`.
fn install(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = bare(env!("CARGO_BIN_EXE_orchestra"));
    command.current_dir(folder).args(["mcp", "install", "--json"]).args(arguments).output().unwrap()
}

#[test]
fn what_install_prints_starts_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let output = install(folder.path(), &["--client", "cursor", "--data", "data", "--tenant", "acme"]);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed[0]["file"], "~/.cursor/mcp.json");
    let snippet: Value = serde_json::from_str(printed[0]["snippet"].as_str().unwrap()).unwrap();
    let server = &snippet["mcpServers"]["orchestra"];
    // A client starts it somewhere else, and not by a path of ours.
    let mut command = bare(server["command"].as_str().unwrap());
    command.current_dir("/").args(server["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
    let mut mcp = Mcp::spawn(command).shaken();
    mcp.call(1, "stats", json!({}));
    assert_eq!(mcp.answer(1)["result"]["structuredContent"]["tenant"], "acme");
    assert!(folder.path().join("data/memory.db").exists());
}

#[tokio::test]
async fn install_names_the_server_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let url = |output: std::process::Output| -> String {
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let snippet: Value = serde_json::from_str(printed[0]["snippet"].as_str().unwrap()).unwrap();
        snippet["servers"]["orchestra"]["url"].as_str().unwrap().to_owned()
    };
    let arguments = ["--client", "vscode", "--http", "--data", &data];
    assert_eq!(url(install(folder.path(), &arguments)), "http://127.0.0.1:7070/mcp");
    let server = Server::start(folder.path()).await;
    assert_eq!(url(install(folder.path(), &arguments)), format!("http://{}/mcp", server.address));
    let elsewhere = [&arguments[..], &["--url", "https://memory.example.com/"]].concat();
    assert_eq!(url(install(folder.path(), &elsewhere)), "https://memory.example.com/mcp");
    let refused = install(folder.path(), &["--client", "claude-desktop", "--http"]);
    assert_eq!(refused.status.code(), Some(1));
}

/// A client that starts a second one on the same folder is told who has it and what to do.
#[test]
fn a_second_one_on_the_folder_says_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Mcp::begun(folder.path(), &[]);
    let (status, answers, said) = Mcp::start(folder.path(), &[]).end();
    assert_eq!((status.code(), answers.len()), (Some(2), 0), "{said}");
    let holder = format!("memory.db is in use by process {}; one process opens it at a time", first.child.id());
    assert!(said.contains(&holder) && said.contains("next:") && said.contains("`orchestra serve`"), "{said}");
    first.call(1, "remember", json!({"text": "Ann hides plums"}));
    assert_eq!(first.answer(1)["result"]["isError"], false, "the first goes on");
    assert!(first.end().0.success());
    let mut next = Mcp::begun(folder.path(), &[]);
    next.call(1, "recall", json!({"query": "plums"}));
    assert!(next.answer(1).to_string().contains("Ann hides plums"), "the folder is free again");
}
