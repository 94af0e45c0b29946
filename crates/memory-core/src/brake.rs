//! What a budget that is nearly spent asks of a server: a file that the watcher of the budget writes, and what follows from
//! it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// By how much a tightened cache lowers its threshold, a cosine similarity. The guard stays as it is.
pub const CACHE_STEP: f32 = 0.03;
/// How long a tenant waits from one consolidation to the next while they are slowed.
pub const CONSOLIDATION_PAUSE: Duration = Duration::from_secs(3600);

/// The version of the file's form that is known.
const VERSION: u32 = 1;

/// What is in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "BudgetBrake"))]
#[serde(default)]
pub struct Brake {
    /// More questions are answered by the cache, which is the cheapest answer there is.
    pub tighten_cache: bool,
    /// Work that can wait is done less often.
    pub slow_consolidation: bool,
    /// Nothing is embedded that somebody has to be paid for.
    pub refuse_embedding: bool,
}

/// Why a text is no brake's.
#[derive(Debug, thiserror::Error)]
pub enum NoBrake {
    /// It is not of the form.
    #[error("it is no brake file")]
    Form(#[from] serde_json::Error),
    /// It is of another form.
    #[error("it is of version {0}, known is {VERSION}")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    brake: Brake,
}

impl Brake {
    /// Reads the text of a brake file. What it does not name is not in force.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &[u8]) -> Result<Self, NoBrake> {
        let File { version, brake } = serde_json::from_slice(text)?;
        if version == VERSION { Ok(brake) } else { Err(NoBrake::Version(version)) }
    }

    /// The text of a brake file.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn text(self) -> String {
        serde_json::to_string_pretty(&File { version: VERSION, brake: self }).expect("a brake is plain")
    }

    /// The threshold of the cache, where `usual` is what the settings say.
    #[must_use]
    pub fn cache_threshold(self, usual: f32) -> f32 {
        if self.tighten_cache { (usual - CACHE_STEP).max(-1.0) } else { usual }
    }

    /// How long until a tenant may be consolidated again whose last run began so long ago; `None` for now.
    #[must_use]
    pub fn consolidation_wait(self, since_last: Duration) -> Option<Duration> {
        let left = CONSOLIDATION_PAUSE.checked_sub(since_last).filter(|left| !left.is_zero())?;
        self.slow_consolidation.then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brake_is_written_as_it_is_read_and_another_form_is_refused() {
        let brake = Brake { tighten_cache: true, ..Brake::default() };
        insta::assert_snapshot!(brake.text(), @r#"
        {
          "version": 1,
          "tighten_cache": true,
          "slow_consolidation": false,
          "refuse_embedding": false
        }
        "#);
        assert_eq!(Brake::parse(brake.text().as_bytes()).unwrap(), brake);
        assert_eq!(Brake::parse(br#"{"version":1}"#).unwrap(), Brake::default());
        Brake::parse(br#"{"version":2,"tighten_cache":true}"#).unwrap_err();
        Brake::parse(br#"{"version":1,"tighten_cache":"#).unwrap_err();
        Brake::parse(b"").unwrap_err();
    }

    #[test]
    fn what_is_not_in_force_changes_nothing() {
        let (none, all) =
            (Brake::default(), Brake { tighten_cache: true, slow_consolidation: true, refuse_embedding: true });
        assert_eq!((none.cache_threshold(0.9), none.consolidation_wait(Duration::ZERO)), (0.9, None));
        assert!((all.cache_threshold(0.9) - 0.87).abs() < 1e-6 && all.cache_threshold(-1.0) >= -1.0);
        assert_eq!(all.consolidation_wait(Duration::from_secs(3000)), Some(Duration::from_secs(600)));
        assert_eq!(all.consolidation_wait(CONSOLIDATION_PAUSE), None);
    }
}
