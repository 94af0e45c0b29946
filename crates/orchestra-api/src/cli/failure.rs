//! How a command fails: whose mistake it was, and what to do next.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use crate::client::Problem;

/// What a command gives.
pub type Outcome<T = ()> = Result<T, Failure>;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Whoever reads our output has gone; nothing is wrong.
    Quiet,
    /// The caller made a mistake.
    Mistake,
    /// We or the machine failed.
    Ours,
    /// Nothing is wrong, and there is no answer.
    Unanswered,
    /// The caller interrupted it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Quiet => Self::SUCCESS,
            Exit::Mistake => Self::from(1),
            Exit::Ours => Self::from(2),
            Exit::Unanswered => Self::from(3),
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    next: String,
}

impl Failure {
    /// The caller's mistake. `next` says what to do.
    pub fn mistake(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: Exit::Mistake, message: message.into(), next: next.into() }
    }

    /// Our failure, or the machine's. `next` says what to do.
    pub fn ours(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: Exit::Ours, message: message.into(), next: next.into() }
    }

    /// The caller's interruption. `next` says how to go on.
    pub fn interrupted(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, message: message.into(), next: next.into() }
    }

    /// A question without an answer; what there is to say was printed.
    pub fn unanswered() -> Self {
        Self { exit: Exit::Unanswered, message: String::new(), next: String::new() }
    }

    /// A failure of the system at `place`: the caller's where the file is none or may not be read, else the machine's.
    pub fn io(place: impl Display, error: &io::Error) -> Self {
        let message = format!("{place}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => Self::mistake(message, "check the path"),
            io::ErrorKind::PermissionDenied => Self::mistake(message, "check the permissions"),
            io::ErrorKind::IsADirectory => Self::mistake(message, "name a file"),
            _ => Self::ours(message, "check the disk, then try again"),
        }
    }

    /// Prints what happened to the standard error and gives the exit code.
    pub fn report(self) -> ExitCode {
        if !matches!(self.exit, Exit::Quiet | Exit::Unanswered) {
            let _ = print_lines(&format!("error: {}\nnext:  {}\n", self.message, self.next));
        }
        self.exit.into()
    }
}

fn print_lines(text: &str) -> io::Result<()> {
    use io::Write as _;
    io::stderr().lock().write_all(text.as_bytes())
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let next = match (problem.status, &*problem.code) {
            (_, Problem::UNREACHABLE) => {
                "start the server with `orchestra serve`, or leave --url out to open the folder"
            }
            (_, "not_found") => {
                "`orchestra list` shows the memories of a scope; an id is only found inside its own scope"
            }
            (_, "forgotten") => "what was forgotten stays forgotten: write it anew without the id",
            (_, "version_conflict") => "`orchestra get` shows the version there is now",
            (_, "id_taken") => "write it without an id of your own, or update the memory that has it",
            (_, "storage_full") => {
                "make room on the disk, then run the same command again; what was acknowledged is safe"
            }
            (_, "busy") => "run the same command again when the other is done",
            (_, "embedder_refused") => "check the embedder's key, URL, model and dimensions",
            (401, _) => {
                "set ORCHESTRA_API_KEY to a key of that server; `orchestra keys create` on its machine makes one"
            }
            (_, "access_denied") => "use a key that has the scope; `orchestra keys create --scopes` gives it",
            (_, "quota_exceeded") => "forget what is not needed, or ask the operator for a larger quota",
            (429, _) => "try again in a moment",
            (413, _) => "send it in smaller parts",
            (400..500, _) => "the command's --help has an example",
            (502..505, _) => "try again in a moment",
            _ => "the server's log has the cause; with a folder opened here, set ORCHESTRA_LOG=info to see it",
        };
        let message = match &*problem.detail {
            "" => format!("{} ({})", problem.title, problem.status),
            detail => detail.to_owned(),
        };
        Self { exit: if problem.is_callers() { Exit::Mistake } else { Exit::Ours }, message, next: next.into() }
    }
}

impl From<io::Error> for Failure {
    /// A failure to print.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: Exit::Quiet, message: String::new(), next: String::new() },
            _ => Self::ours(format!("standard output: {error}"), "check where the output goes"),
        }
    }
}
