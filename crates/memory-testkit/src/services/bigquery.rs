//! How the BigQuery emulator is started and asked whether it is ready: `bqemulator`, a Python package on DuckDB.
//!
//! It keeps everything in memory. Where it is not as BigQuery: a query that fails is answered with 200 and `errors`; insert
//! ids are not looked at; `require_partition_filter` is not enforced.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::emulator;

/// Where DuckDB looks for its extensions, below what is unpacked. It must find them: it would fetch them otherwise.
pub(super) const HOME: &str = "home";

/// An emulator that takes connections of this machine only.
pub(super) fn command(unpacked: &Path, port: u16, folder: &Path) -> Command {
    let mut command = emulator::command(folder, "env");
    command.arg(format!("HOME={}", unpacked.join(HOME).display()));
    command.arg(format!("PYTHONPATH={}", unpacked.display()));
    command.args(["python3", "-m", "bqemulator", "start", "--log-level", "warning"]);
    // Nothing here speaks gRPC to it: any free port will do.
    command.args(["--rest-port", &port.to_string(), "--grpc-port", "0"]);
    command
}

/// The process, once it answers.
pub(super) fn ready(port: u16, folder: &Path) -> Result<Option<u32>> {
    emulator::ready(port, folder, "/healthz", "\"status\":\"ok\"")
}
