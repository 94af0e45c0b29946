//! The settings about callers: who may call, and how much.

use memory_core::Result;

use super::values::Values;
use crate::identity::limits::RateLimit;
use crate::identity::settings::{IdentitySettings, is_origin};

/// What the values come to, once they are checked.
pub fn settings(values: &Values) -> IdentitySettings {
    let rate = values.get("limits.rate").and_then(|rate| RateLimit::new(rate, values.get("limits.burst")).ok());
    IdentitySettings {
        keys_file: values.get("auth.keys_file"),
        audit_file: values.get("auth.audit_file"),
        rate,
        memories: values.get("limits.memories"),
        cors_origins: values.of("http.cors_origins"),
    }
}

/// Checks what a value alone does not show.
pub fn check(values: &Values) -> Result<()> {
    if values.is_given("limits.burst") && !values.is_given("limits.rate") {
        return Err(values.invalid("limits.burst", "nothing, unless there is a limits.rate"));
    }
    match values.of::<Vec<String>>("http.cors_origins").iter().all(|origin| is_origin(origin)) {
        true => Ok(()),
        false => Err(values
            .invalid("http.cors_origins", "origins such as https://app.example.com, in lower case and without a path")),
    }
}
