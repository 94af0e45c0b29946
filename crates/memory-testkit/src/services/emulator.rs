//! What the emulators have in common: one process each, which says over HTTP that it is ready and does not say its number.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// In its folder: its process.
const PROCESS_FILE: &str = "process";

/// Begins a command that becomes `program` and leaves its number in the folder.
pub(super) fn command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(folder.join(PROCESS_FILE)).arg(program);
    command
}

/// The process in the folder, once what is answered to `path` at the port has `sign` in it. None where
/// it runs in a container.
pub(super) fn ready(port: u16, folder: &Path, path: &str, sign: &str) -> Result<Option<u32>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    // The Pub/Sub emulator leaves the connection open: what is waited for is the sign, not the end.
    let (mut answer, mut part) = (String::new(), [0; 1024]);
    while !answer.contains(sign) {
        let length = stream.read(&mut part)?;
        if length == 0 {
            bail!("what answers at port {port} is something else: {}", answer.lines().next().unwrap_or_default());
        }
        answer += &String::from_utf8_lossy(&part[..length]);
    }
    process(folder)
}

fn process(folder: &Path) -> Result<Option<u32>> {
    match fs::read_to_string(folder.join(PROCESS_FILE)) {
        Ok(process) => process.trim().parse().map(Some).context("the number of the process is being written"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process in the folder is gone. One that nobody has waited for is.
pub(super) fn has_ended(folder: &Path) -> bool {
    let Ok(Some(process)) = process(folder) else { return true };
    fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
