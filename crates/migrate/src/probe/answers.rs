//! What the caches of answers hold. Answers are not moved: what green's cache lacks is computed again when it is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use memory_core::{Scope, SemanticCache};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::engine::{Engine, of};
use crate::record::Colour;

/// The most tenants whose answers are counted.
const TENANTS: usize = 1000;

/// The cache of answers of a side.
#[derive(Debug, Clone)]
pub enum AnswerCache {
    /// There is none.
    None,
    /// There may be one, and it cannot be asked: why.
    Unknown(&'static str),
    /// This one.
    Cache {
        /// The cache.
        cache: Arc<dyn SemanticCache>,
        /// What it compares questions by, the model and how alike two must be; none where no other side can have the same cache.
        by: Option<String>,
    },
}

/// How many answers the caches of both sides hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cached {
    /// Nothing was asked.
    #[default]
    NotAsked,
    /// There is nothing that could be lost, and why.
    NothingToLose(String),
    /// It cannot be told, and why.
    Unknown(String),
    /// So many.
    Counted {
        /// Of so many tenants,
        tenants: u64,
        /// of all that have memories.
        of: u64,
        /// On blue.
        blue: u64,
        /// On green.
        green: u64,
    },
}

impl Engine {
    /// Counts the answers of these tenants in the caches of both sides. A cache that does not answer holds the move up no more than
    /// it does requests.
    pub(super) async fn count_answers(&self, tenants: &BTreeSet<String>) -> Result<Cached> {
        if self.record().active == Colour::Green {
            return Ok(Cached::NothingToLose("green is in use, and its cache with it".into()));
        }
        let [blue, green] = [Colour::Blue, Colour::Green].map(|colour| &self.parts().side(colour).answers);
        let (blue, green, are_alike) = match (blue, green) {
            (AnswerCache::None, _) => return Ok(Cached::NothingToLose("blue has no cache of answers".into())),
            (AnswerCache::Unknown(why), _) => return Ok(Cached::Unknown(format!("blue {why}"))),
            (_, AnswerCache::Unknown(why)) => return Ok(Cached::Unknown(format!("green {why}"))),
            (AnswerCache::Cache { cache, .. }, AnswerCache::None) => (cache, None, true),
            (AnswerCache::Cache { cache: blue, by }, AnswerCache::Cache { cache: green, by: of_green }) => {
                (blue, Some(green), by == of_green)
            }
        };
        let (mut of_blue, mut of_green, mut counted) = (0, 0, 0);
        for tenant in tenants.iter().take(TENANTS) {
            let scope = Scope::tenant(tenant).map_err(of(Colour::Blue, "read"))?;
            let Ok(there) = blue.stats(&scope).await else { return Ok(away(Colour::Blue)) };
            of_blue += there.entries;
            if let Some(green) = green {
                let Ok(there) = green.stats(&scope).await else { return Ok(away(Colour::Green)) };
                of_green += there.entries;
            }
            counted += 1;
        }
        if of_green > 0 && !are_alike {
            return Ok(Cached::Unknown("the caches compare questions by different models or similarities".into()));
        }
        Ok(Cached::Counted { tenants: counted, of: tenants.len() as u64, blue: of_blue, green: of_green })
    }
}

fn away(colour: Colour) -> Cached {
    Cached::Unknown(format!("{colour}'s cache does not answer"))
}
