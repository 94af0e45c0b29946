//! Times that callers give, as those of rows are compared with them.

use memory_core::Timestamp;
use serde_json::{Value, json};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// The first day of Postgres, counted from 1970-01-01. No row has a time before it, so what is asked for before it is moved
/// there.
const FIRST_DAY: i64 = -2_440_588;

/// A time that a caller asks for.
pub(super) struct Moment {
    day: i64,
    /// Of the day, rounded down.
    micros: i64,
    /// Whether a row can have this time, which is in whole microseconds and no leap second.
    pub(super) is_whole: bool,
}

impl Moment {
    /// `None` when it is no time.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let at: Timestamp = value.as_str()?.parse().ok()?;
        let (seconds, nanos) = (at.timestamp(), i64::from(at.timestamp_subsec_nanos()));
        // A leap second counts on in nanoseconds; it is after the last microsecond of the one before it.
        let micros = (nanos / 1000).min(999_999);
        let is_whole = micros * 1000 == nanos;
        let (day, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        Some(Self { day, micros: second * 1_000_000 + micros, is_whole })
    }

    /// The time itself or the last microsecond before it, as day and microsecond of the day.
    pub(super) fn last_before(&self) -> Value {
        json!([self.day.max(FIRST_DAY), self.micros])
    }

    pub(super) fn first_after(&self) -> Value {
        json!([self.day.max(FIRST_DAY), self.micros + i64::from(!self.is_whole)])
    }
}
