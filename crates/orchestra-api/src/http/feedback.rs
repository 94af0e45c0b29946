//! `POST /v1/cache/feedback`: what a reader says of an answer that was served.

pub mod openapi;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{CacheEntryId, InvalidateRequest, InvalidateSelection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{Fields, JsonBody};
use super::wire::{Id, ScopeBody};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::metrics;
use crate::state::AppState;
use crate::usage;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Feedback")]
struct FeedbackBody {
    /// The entry that was served.
    entry: Id,
    /// What the reader says of it.
    verdict: Verdict,
    /// The scope that the lookup had.
    #[serde(default)]
    scope: Fields<ScopeBody>,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It was no answer to what was asked, or it is not true: nobody gets it again.
    Wrong,
    /// It was.
    Right,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Right => "right",
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeedbackReceipt")]
struct FeedbackView {
    /// What was said.
    verdict: Verdict,
    /// How many entries were removed.
    removed: u64,
}

/// `POST /v1/cache/feedback`: removes an answer of the scope that was wrong, at once, and counts what was said. An answer
/// that is not there, or no more, is no error.
pub async fn feedback(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let FeedbackBody { entry: Id(id), verdict, scope } = body.parse()?;
    let scope = scope.0.within(&identity.tenant)?;
    let removed = match verdict {
        Verdict::Right => 0,
        Verdict::Wrong => {
            let selection = InvalidateSelection::Entry(CacheEntryId(id.as_uuid()));
            let removed =
                state.manager().cache_invalidate(&InvalidateRequest { scope, selection, dry_run: false }).await?;
            // What it spared is taken back: once, however many call it wrong.
            usage::note(|usage| usage.false_hits += removed);
            removed
        }
    };
    metrics::answer_was(verdict.name());
    Ok((Extension(Touched::one(id.as_uuid())), Json(FeedbackView { verdict, removed })).into_response())
}
