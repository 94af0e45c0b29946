//! The time in which writes may wait for a switch.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use crate::mistake::mistake;

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub begins: DateTime<Utc>,
    /// When it ends.
    pub ends: DateTime<Utc>,
}

/// What to do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// It has not begun.
    Wait(Duration),
    /// It is open.
    Go,
    /// It is over, or what is left of it is too short.
    TooLate,
}

impl Window {
    /// The window that begins at a time, in UTC unless it has an offset.
    pub fn parse(text: &str, minutes: u32) -> Result<Self> {
        let text = text.trim();
        let with_offset = ["%Y-%m-%d %H:%M %:z", "%Y-%m-%d %H:%M%:z", "%Y-%m-%dT%H:%M%:z"];
        let without = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M UTC", "%Y-%m-%dT%H:%MZ"];
        let begins = with_offset
            .iter()
            .find_map(|format| DateTime::parse_from_str(text, format).ok())
            .map(|time| time.to_utc())
            .or_else(|| {
                without
                    .iter()
                    .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                    .map(|time| time.and_utc())
            });
        let begins = begins.ok_or_else(|| {
            mistake(format!(
                "--maintenance-window {text:?} is no time; write \"2025-06-01 01:00\" or \"2025-06-01 01:00 +02:00\""
            ))
        })?;
        Ok(Self { begins, ends: begins + TimeDelta::minutes(minutes.into()) })
    }

    /// What to do now, with work that takes about so long.
    pub fn at(&self, now: DateTime<Utc>, work: Duration) -> Now {
        if now < self.begins {
            return Now::Wait((self.begins - now).to_std().unwrap_or_default());
        }
        let left = (self.ends - now).to_std().unwrap_or_default();
        if left > work { Now::Go } else { Now::TooLate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_waited_for_and_refused_when_the_work_does_not_fit() {
        let window = Window::parse("2025-06-01 01:00", 60).unwrap();
        assert_eq!(window, Window::parse("2025-06-01 03:00 +02:00", 60).unwrap());
        let at = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        assert_eq!(window.at(at("2025-06-01 00:59"), minute), Now::Wait(minute));
        assert_eq!(window.at(at("2025-06-01 01:30"), minute), Now::Go);
        assert_eq!(window.at(at("2025-06-01 01:30"), hour), Now::TooLate);
        assert_eq!(window.at(at("2025-06-01 02:00"), Duration::ZERO), Now::TooLate);
        for bad in ["", "tomorrow", "2025-06-01", "2025-13-01 01:00"] {
            assert!(Window::parse(bad, 60).unwrap_err().to_string().contains("is no time"), "{bad}");
        }
    }
}
