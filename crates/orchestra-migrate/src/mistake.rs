//! What the caller has to mend.

use std::fmt;

/// What the caller has to mend.
#[derive(Debug)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

pub fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}
