//! The time in which writes may wait for a switch.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use jiff::tz::{AmbiguousOffset, TimeZone};

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
    /// The window that begins at a time, in UTC unless it has an offset or a zone of the IANA time zone database.
    pub fn parse(text: &str, minutes: u32) -> Result<Self> {
        let begins = moment(text.trim())?;
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

/// When it is, in UTC.
fn moment(text: &str) -> Result<DateTime<Utc>> {
    let with_offset = ["%Y-%m-%d %H:%M %:z", "%Y-%m-%d %H:%M%:z", "%Y-%m-%dT%H:%M%:z"];
    if let Some(time) = with_offset.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()) {
        return Ok(time.to_utc());
    }
    let civil = |text: &str| {
        let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ"];
        formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    };
    if let Some(time) = civil(text) {
        return Ok(time.and_utc());
    }
    if let Some((time, zone)) = text.rsplit_once(' ')
        && let Some(civil) = civil(time)
    {
        return in_zone(civil, zone);
    }
    Err(mistake(format!(
        "--maintenance-window {text:?} is no time; write \"2025-06-01 01:00\", \"2025-06-01 01:00 +02:00\" or \"2025-06-01 \
         01:00 Europe/Berlin\""
    )))
}

/// When the clocks of a zone show this. Where they are put forward some times never come, and where they are put back some come
/// twice: those are refused, since a wrong guess is an hour off.
fn in_zone(civil: NaiveDateTime, name: &str) -> Result<DateTime<Utc>> {
    let zone = TimeZone::get(name).map_err(|_| {
        mistake(format!(
            "--maintenance-window: {name:?} is no time zone; write one as in Europe/Berlin or America/New_York"
        ))
    })?;
    let parts =
        [civil.month(), civil.day(), civil.hour(), civil.minute()].map(|part| i8::try_from(part).unwrap_or_default());
    let [month, day, hour, minute] = parts;
    let year = i16::try_from(civil.year()).map_err(|_| mistake("--maintenance-window: the year is out of range"))?;
    let there = jiff::civil::DateTime::new(year, month, day, hour, minute, 0, 0)
        .map_err(|error| mistake(format!("--maintenance-window: {error}")))?;
    let clocks = zone.to_ambiguous_timestamp(there);
    match clocks.offset() {
        AmbiguousOffset::Unambiguous { .. } => {}
        AmbiguousOffset::Gap { .. } => {
            return Err(mistake(format!(
                "--maintenance-window: there is no {} in {name}: the clocks are put forward; give another time",
                civil.format("%Y-%m-%d %H:%M")
            )));
        }
        AmbiguousOffset::Fold { before, after } => {
            return Err(mistake(format!(
                "--maintenance-window: {} comes twice in {name}: the clocks are put back; say which by its offset, {before} or \
                 {after}",
                civil.format("%Y-%m-%d %H:%M")
            )));
        }
    }
    let begins = clocks.unambiguous().map_err(|error| mistake(format!("--maintenance-window: {error}")))?;
    DateTime::from_timestamp(begins.as_second(), 0)
        .ok_or_else(|| mistake("--maintenance-window: the time is out of range"))
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

    #[test]
    fn a_zone_is_known_by_its_name_and_a_time_that_its_clocks_do_not_show_once_is_refused() {
        let begins = |text: &str| Window::parse(text, 60).map(|window| window.begins.to_rfc3339());
        assert_eq!(begins("2025-06-01 01:00 Europe/Berlin").unwrap(), "2025-05-31T23:00:00+00:00");
        assert_eq!(begins("2025-12-01 01:00 Europe/Berlin").unwrap(), "2025-12-01T00:00:00+00:00");
        assert_eq!(begins("2025-06-01T01:00 America/New_York").unwrap(), "2025-06-01T05:00:00+00:00");
        assert_eq!(begins("2025-06-01 01:00 UTC").unwrap(), begins("2025-06-01 01:00").unwrap());
        for (text, said) in [
            ("2025-03-30 02:30 Europe/Berlin", "there is no 2025-03-30 02:30"),
            ("2025-10-26 02:30 Europe/Berlin", "comes twice in Europe/Berlin"),
            ("2025-06-01 01:00 Europe/Atlantis", "is no time zone"),
        ] {
            let error = begins(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let named = begins("2025-10-26 02:30 Europe/Berlin").unwrap_err().to_string();
        assert!(named.contains("+02") && named.contains("+01"), "{named}");
    }
}
