//! Searches while green follows: some go there in place of blue, others are repeated there to compare.

use std::time::Instant;

use memory_core::{Degradation, Error, RecallReport, RecallRequest, Result, Scope};
use metrics::counter;
use migrate::record::Colour;

use crate::moving::{Moving, SHARED};
use crate::state::AppState;

/// Recalls. A search that names no write that it has to see may go to green, and does so by the share of the record; where green
/// fails it goes to blue after all. Of the others the mirror takes its share.
pub async fn recall(state: &AppState, moving: &Moving, request: RecallRequest) -> Result<RecallReport> {
    let serving = moving.serving();
    // Green may have another model, in which a vector that the caller brought means nothing.
    let may_move = serving.active == Colour::Blue
        && serving.is_following
        && request.at_least.is_none()
        && request.embedding.is_none();
    let Some(green) = may_move.then(|| state.of_store(Colour::Green)).flatten() else {
        return state.manager().recall(request).await;
    };
    if is_of_share(&request.scope, serving.reads_on_green) {
        match green.manager().recall(request.clone()).await {
            Ok(report) if !report.degraded.contains(&Degradation::PersistentUnavailable) => {
                counter!(SHARED, "outcome" => "ok").increment(1);
                return Ok(report);
            }
            Err(error @ (Error::Invalid { .. } | Error::TooLarge { .. })) => return Err(error),
            Ok(_) | Err(_) => counter!(SHARED, "outcome" => "failed").increment(1),
        }
        return state.manager().recall(request).await;
    }
    let repeated = moving.mirror().is_due().then(|| request.clone());
    let begun = Instant::now();
    let report = state.manager().recall(request).await?;
    if let Some(repeated) = repeated {
        moving.mirror().repeat(green, repeated, &report, begun.elapsed());
    }
    Ok(report)
}

/// Whether the searches of this scope are among this percentage. All of a user are or none is, on every server; who is among 10 %
/// is among 20 %.
fn is_of_share(scope: &Scope, percent: u8) -> bool {
    if percent == 0 {
        return false;
    }
    let mut hasher = blake3::Hasher::new();
    for part in [scope.tenant_name(), scope.user().unwrap_or_default()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let [low, high, ..] = *hasher.finalize().as_bytes();
    u32::from(u16::from_le_bytes([low, high])) * 100 / (u32::from(u16::MAX) + 1) < u32::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_users_and_grows() {
        let tenant = Scope::tenant("acme").unwrap();
        let users: Vec<Scope> = (0..2000).map(|at| tenant.clone().with_user(format!("user-{at}")).unwrap()).collect();
        let mut former = Vec::new();
        for percent in [0, 10, 50, 100] {
            let of_share: Vec<bool> = users.iter().map(|user| is_of_share(user, percent)).collect();
            let count = of_share.iter().filter(|is| **is).count();
            assert!(count.abs_diff(20 * usize::from(percent)) < 60, "{count} of 2000 are {percent} %");
            assert!(former.iter().zip(&of_share).all(|(before, now)| !before || *now), "who was there stays");
            former = of_share;
        }
        let session = users[0].clone().with_session("monday").unwrap();
        assert_eq!(is_of_share(&session, 50), is_of_share(&users[0], 50));
    }
}
