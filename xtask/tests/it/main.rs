//! `cargo xtask deploy` and `cargo xtask verify` as programs: on this machine with real parts, and on Google Cloud with
//! stand-ins that record what they are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod gcp;
mod google;
mod local;

use std::process::Output;

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}
