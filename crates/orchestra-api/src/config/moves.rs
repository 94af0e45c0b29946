//! The section `move`: the move that the server follows.

use std::path::PathBuf;
use std::time::Duration;

use memory_core::Result;

use super::values::Values;

/// The move that a server follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveSettings {
    /// The file of its record; none where that is in a Postgres.
    pub record: Option<PathBuf>,
    /// Its name, in a Postgres.
    pub name: String,
    /// The configuration of the store that the memory is moved to.
    pub green: PathBuf,
    /// The longest that a request waits for the end of a switch.
    pub wait: Duration,
    /// The percentage of searches that green answers too while blue is in use.
    pub mirror_percent: u8,
}

/// What the values come to, once they are checked.
pub(super) fn settings(values: &Values) -> Option<MoveSettings> {
    Some(MoveSettings {
        record: values.get("move.record"),
        name: values.of("move.name"),
        green: values.get("move.green")?,
        wait: values.seconds("move.wait_seconds"),
        mirror_percent: values.of("move.mirror_percent"),
    })
}

/// Checks what a value alone does not show.
pub(super) fn check(values: &Values) -> Result<()> {
    let has_record = match (values.is_given("move.record"), values.is_given("move.record_url")) {
        (true, true) => return Err(values.invalid("move.record", "nothing, as there is a move.record_url")),
        (record, url) => record || url,
    };
    if has_record && !values.is_given("move.green") {
        return Err(values.invalid("move.green", "the configuration of the store that the memory is moved to"));
    }
    if let Some(key) =
        ["move.green", "move.name", "move.wait_seconds", "move.mirror_percent"].iter().find(|key| values.is_given(key))
        && !has_record
    {
        return Err(values.invalid(key, "nothing, unless there is a move.record or a move.record_url"));
    }
    if values.is_given("move.name") && !values.is_given("move.record_url") {
        return Err(values.invalid("move.name", "nothing, unless there is a move.record_url: a file has one move"));
    }
    values.check_secrets("move.")
}
