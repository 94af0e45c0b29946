//! Times, in the forms that people's files have them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use memory_core::Timestamp;

/// The forms that [`parse`] reads, for messages.
pub const FORMS: &str = "a time such as 2025-06-01T01:00:00Z, 2025-06-01, or 1:56 pm on 8 May, 2023";

/// Reads a time. Without an offset it is taken as UTC, without a time of day as midnight.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Ok(time) = DateTime::parse_from_rfc2822(text) {
        return Some(time.to_utc());
    }
    const MOMENTS: [&str; 7] = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
        // LoCoMo: "1:56 pm on 8 May, 2023".
        "%I:%M %p on %d %B, %Y",
        "%I:%M %P on %d %B %Y",
        "%d %B %Y %H:%M",
    ];
    if let Some(time) = MOMENTS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()) {
        return Some(time.and_utc());
    }
    const DAYS: [&str; 4] = ["%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%d %B, %Y"];
    DAYS.iter()
        .find_map(|form| NaiveDate::parse_from_str(text, form).ok())
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc())
}

/// Reads a Unix time: seconds, or milliseconds where seconds would be past the year 5000. Stores keep microseconds.
#[must_use]
pub fn from_unix(number: f64) -> Option<Timestamp> {
    const LAST_SECONDS: f64 = 1e11;
    let seconds = if number.abs() > LAST_SECONDS { number / 1000.0 } else { number };
    if !seconds.is_finite() || seconds.abs() > LAST_SECONDS {
        return None;
    }
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

/// Reads a time from JSON: a text in one of the [`FORMS`], or a Unix time.
#[must_use]
pub fn from_json(value: &serde_json::Value) -> Option<Timestamp> {
    match value {
        serde_json::Value::String(text) => parse(text),
        serde_json::Value::Number(number) => from_unix(number.as_f64()?),
        _ => None,
    }
}

/// A time inside a typed JSON document; a mistake then has its line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl<'de> serde::Deserialize<'de> for When {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        from_json(&value)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("{value} is no time; expected {FORMS}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_real_files_are_read() {
        let is = |text: &str, expected: &str| {
            assert_eq!(parse(text).map(|time| time.to_rfc3339()).as_deref(), Some(expected), "{text}")
        };
        is("2025-06-01T01:00:00Z", "2025-06-01T01:00:00+00:00");
        is("2025-06-01T03:00:00+02:00", "2025-06-01T01:00:00+00:00");
        is("2025-06-01 01:00", "2025-06-01T01:00:00+00:00");
        is("2025-06-01", "2025-06-01T00:00:00+00:00");
        is("1:56 pm on 8 May, 2023", "2023-05-08T13:56:00+00:00");
        is("12:09 am on 13 September, 2023", "2023-09-13T00:09:00+00:00");
        is("9:55 am on 22 October, 2023", "2023-10-22T09:55:00+00:00");
        is("Tue, 1 Jul 2003 10:52:37 +0200", "2003-07-01T08:52:37+00:00");
        assert_eq!(parse("next Tuesday"), None);
        assert_eq!(parse("2025-13-01"), None);
    }

    #[test]
    fn unix_times_are_seconds_or_milliseconds() {
        assert_eq!(from_unix(1_700_000_000.25).unwrap().to_rfc3339(), "2023-11-14T22:13:20.250+00:00");
        assert_eq!(from_unix(1_700_000_000_250.0).unwrap().to_rfc3339(), "2023-11-14T22:13:20.250+00:00");
        assert_eq!(from_unix(f64::NAN), None);
    }
}
