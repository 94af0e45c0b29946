//! How a Redis is started and asked whether it is ready. One reply is read at a time: no client library is needed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub(super) const KILL: &str = "kill -KILL $server";
pub(super) const PAUSE: &str = "kill -STOP $server";
pub(super) const RESUME: &str = "kill -CONT $server";

/// A Redis that keeps nothing and takes connections of this machine only.
pub(super) fn command(unpacked: &Path, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(unpacked.join("redis-server"));
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder)
        .arg("--loadmodule")
        .arg(unpacked.join("redisearch.so"));
    command
}

/// The process that answers at a port of this machine, once it is ready and has the search module.
pub(super) fn ready(port: u16) -> Result<u32> {
    let info = ask(port, &["INFO", "server"])?;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).context("INFO names no process")?;
    let pid = pid.trim().parse()?;
    ask(port, &["FT._LIST"]).context("the server has no search module")?;
    Ok(pid)
}

/// Sends one command and gives the first line, or the text, of its answer.
fn ask(port: u16, words: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.trim_end().split_at_checked(1) {
        Some(("$", length)) => {
            let mut text = vec![0; length.parse()?];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8(text)?)
        }
        Some(("-", error)) => bail!("{error}"),
        Some((_, answer)) => Ok(answer.to_owned()),
        None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
    }
}
