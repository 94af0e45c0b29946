//! How much a memory matters: more when it was said again, less as time passes without it. Pure functions; nothing is ever
//! deleted for its importance.

use std::time::Duration;

use super::record::{last_stated, stated};
use crate::{Memory, Timestamp};

/// The half-life of importance unless told otherwise: thirty days.
pub const DEFAULT_HALF_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// `importance` after `further` repetitions, each of which adds the part `repetition` of what it lacks to 1. It stays
/// within `0.0..=1.0` and never falls.
#[must_use]
pub fn raised(importance: f32, further: u64, repetition: f32) -> f32 {
    let lacks = (1.0 - importance) * (1.0 - repetition).powf(further as f32);
    (1.0 - lacks).clamp(importance, 1.0)
}

/// How much `memory` matters at `now`: its importance, halved with each `half_life` since it was last stated. What was
/// stated n times fades n times as slowly.
#[must_use]
pub fn decayed(memory: &Memory, now: Timestamp, half_life: Duration) -> f32 {
    let age = (now - last_stated(memory)).to_std().unwrap_or_default();
    let half_lives = age.as_secs_f64() / (half_life.as_secs_f64() * stated(memory) as f64).max(f64::MIN_POSITIVE);
    memory.importance * (-half_lives).exp2() as f32
}
