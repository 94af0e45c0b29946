//! `cargo xtask recording`: makes docs/migrate-recording.md, what a terminal shows of a whole move, by running it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, cargo};

/// Where it is written.
const FILE: &str = "docs/migrate-recording.md";
/// The port that readers see in place of a free one.
const SHOWN_PORT: &str = "7437";
/// How many memories there are.
const MEMORIES: usize = 2000;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chapters, each with its commands.
const CHAPTERS: &[(&str, &[&str])] = &[
    (
        "What is there",
        &["cat blue.yaml green.yaml", "orchestra import notes.jsonl --user ann", "orchestra-migrate --help"],
    ),
    (
        "Preparation",
        &[
            "orchestra-migrate plan --dry-run",
            "orchestra-migrate plan",
            "orchestra-migrate start --dry-run",
            "orchestra-migrate start",
            "orchestra-migrate status",
            "orchestra-migrate status --json | head -8",
        ],
    ),
    (
        "Testing",
        &[
            "orchestra-migrate verify",
            "orchestra-migrate stress --yes --step-seconds 1 --rate-start 50 --max-rate 100 --queries 50",
        ],
    ),
    (
        "A gate that does not hold",
        &[
            "orchestra-migrate --record other.json --green other.yaml plan --improvement 0.4",
            "orchestra-migrate --record other.json --green other.yaml run --yes; echo \"exit code $?\"",
            "orchestra-migrate --record other.json --green other.yaml cancel --yes",
        ],
    ),
    (
        "Cutover, and back",
        &[
            "orchestra-migrate switch --reads 10%",
            "orchestra-migrate switch --reads 10% --yes",
            "orchestra-migrate switch --writes --yes",
            "orchestra remember 'Ann has moved to Lisbon' --user ann",
            "orchestra-migrate run --rollback --yes",
            "orchestra recall 'Where does Ann live?' --user ann --limit 1",
        ],
    ),
    (
        "All of it, in a window",
        &[
            "orchestra-migrate run --maintenance-window '2025-06-01 01:00' --yes; echo \"exit code $?\"",
            "orchestra-migrate run --maintenance-window '2025-03-30 02:30 Europe/Berlin' --yes; echo \"exit code $?\"",
            "orchestra-migrate run --maintenance-window \"$(date -u '+%Y-%m-%d %H:%M')\" --stress-test --stress-rate 50 --step-seconds 1 --max-rate 100 --dry-run",
            "orchestra-migrate run --maintenance-window \"$(date -u '+%Y-%m-%d %H:%M')\" --stress-test --stress-rate 50 --step-seconds 1 --max-rate 100 --yes",
            "ls report.* *.gz",
            "orchestra-migrate rollback --yes; echo \"exit code $?\"",
            "orchestra recall 'Where does Ann live?' --user ann --limit 1",
        ],
    ),
];

/// Builds the programs, runs the commands beside a server, and writes the file.
pub fn run() -> Result<()> {
    process::run(cargo().args(["build", "--quiet", "--locked", "-p", "orchestra-api", "-p", "orchestra-migrate"]))?;
    let place = Place::make()?;
    let mut server = Server::start(&place)?;
    let mut text = String::from(
        "# A move in a terminal\n\nMade by `cargo xtask recording`, which runs the commands with a debug build: a server whose memories are in \
         a file follows the move of them to another file. That server has both files open, so each `orchestra-migrate` was also given \
         `--blue http://127.0.0.1:7437` and, unless it names another one, `--green http://127.0.0.1:7437#green`. \
         [migrate.md](migrate.md) explains the commands.\n",
    );
    for (chapter, commands) in CHAPTERS {
        let _ = write!(text, "\n## {chapter}\n\n```text\n");
        for command in *commands {
            eprintln!("$ {command}");
            let _ = writeln!(text, "$ {command}\n{}", place.run(command)?.trim_end());
        }
        text += "```\n";
    }
    server.end();
    let text = text.replace(&place.port.to_string(), SHOWN_PORT).replace(&place.folder.display().to_string(), ".");
    fs::write(process::root().join(FILE), text).with_context(|| format!("{FILE} cannot be written"))?;
    fs::remove_dir_all(&place.folder).context("the folder cannot be removed")?;
    eprintln!("{FILE} is written");
    Ok(())
}

/// A folder with what a move needs.
struct Place {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

impl Place {
    fn make() -> Result<Self> {
        let folder = process::root().join("target/tmp/recording");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("what an earlier recording left cannot be removed")?;
        }
        fs::create_dir_all(&folder).context("the folder cannot be made")?;
        // As the programs name it, which follow links.
        let folder = folder.canonicalize().context("the folder cannot be found")?;
        // Free now, and nobody else's a moment later.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?.local_addr()?.port();
        let blue = format!(
            "listen: 127.0.0.1:{port}\ndata: blue\nmove:\n  record: orchestra-migrate.json\n  green: green.yaml\n"
        );
        fs::write(folder.join("blue.yaml"), blue)?;
        fs::write(folder.join("green.yaml"), "data: green\n")?;
        fs::write(folder.join("other.yaml"), "data: other\n")?;
        fs::write(folder.join("notes.jsonl"), notes())?;
        Ok(Self { folder, programs: process::root().join("target/debug"), port })
    }

    /// A command in the folder, with the programs at hand, and nothing of this environment that would change what they do.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&paths);
        let paths = std::env::join_paths(std::iter::once(self.programs.clone()).chain(paths)).unwrap_or_default();
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRA_")) {
            command.env_remove(name);
        }
        let url = format!("http://127.0.0.1:{}", self.port);
        command.current_dir(&self.folder).env("PATH", paths).env("ORCHESTRA_URL", url).stdin(Stdio::null());
        command
    }

    /// What a command prints, on both of its outputs.
    fn run(&self, command: &str) -> Result<String> {
        // The server has both files, so the mover asks it.
        let url = format!("http://127.0.0.1:{}", self.port);
        let green = if command.contains("--green") { String::new() } else { format!(" --green {url}#green") };
        let typed = command.replace("orchestra-migrate ", &format!("orchestra-migrate --blue {url}{green} "));
        let output = self.command("sh").args(["-c", &format!("{{ {typed}; }} 2>&1")]).output();
        let output = output.with_context(|| format!("{command}: cannot be started"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Memories that differ in more than a number.
fn notes() -> String {
    let (people, things) = (["Ann", "Bob", "Cleo", "Dan"], ["boats", "trains", "cats", "maps", "pears"]);
    let mut lines = String::new();
    for at in 0..MEMORIES {
        let (person, thing) = (people[at % people.len()], things[at % things.len()]);
        let _ = writeln!(lines, "{{\"text\": \"{person} counted {at} {thing} on day {}\"}}", at / 7);
    }
    lines
}

/// The server, ended with this.
struct Server(Child);

impl Server {
    fn start(place: &Place) -> Result<Self> {
        let log = fs::File::create(place.folder.join("server.log"))?;
        let mut command = place.command(&place.programs.join("orchestra").display().to_string());
        command.args(["serve", "--config", "blue.yaml"]).stdout(Stdio::null()).stderr(log);
        let server = Self(command.spawn().context("the server cannot be started")?);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).is_err() {
            ensure!(began.elapsed() < PATIENCE, "the server does not answer: {}", told(&place.folder));
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn told(folder: &Path) -> String {
    fs::read_to_string(folder.join("server.log")).unwrap_or_default()
}
