//! Values of the interface in words.

use chrono::Utc;
use memory_core::Timestamp;
use serde_json::Value;

/// A text member, empty where there is none.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A tier as people say it.
pub fn tier(value: &Value) -> &'static str {
    match value["tier"].as_str().or_else(|| value["kind"].as_str()) {
        Some("short_term" | "message") => "short-term",
        Some("medium_term" | "episodic") => "medium-term",
        Some("long_term" | "semantic" | "procedural") => "long-term",
        _ => "",
    }
}

/// Whose a memory is: `maya`, or `maya / 2025-09-02` with the session.
pub fn scope(memory: &Value) -> String {
    let scope = &memory["scope"];
    let parts = ["user", "agent", "session"].map(|part| scope[part].as_str());
    parts.into_iter().flatten().collect::<Vec<_>>().join(" / ")
}

/// When a memory was said or began to be true, else when it was recorded: `2025-09-02 (3 weeks ago)`.
pub fn when(memory: &Value) -> String {
    let moment = memory["valid_from"].as_str().or_else(|| memory["recorded_at"].as_str());
    moment.and_then(|moment| moment.parse().ok()).map_or_else(String::new, |moment: Timestamp| day(moment, Utc::now()))
}

/// A moment as its day and how far it is from `now`.
pub fn day(moment: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", moment.format("%Y-%m-%d"), relative(moment, now))
}

/// A moment of the interface to the second, and how far it is from now.
pub fn moment(value: &Value) -> String {
    match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(moment) => format!("{} UTC ({})", moment.format("%Y-%m-%d %H:%M:%S"), relative(moment, Utc::now())),
        None => String::new(),
    }
}

/// How far `moment` is from `now`, in the largest unit that fits.
pub fn relative(moment: Timestamp, now: Timestamp) -> String {
    let seconds = (now - moment).num_seconds();
    let (amount, unit) = match seconds.unsigned_abs() {
        0..45 => return "just now".into(),
        seconds @ 45..3600 => (seconds.div_ceil(60).min(59), "minute"),
        seconds @ 3600..86_400 => (seconds / 3600, "hour"),
        seconds @ 86_400..1_209_600 => (seconds / 86_400, "day"),
        seconds @ 1_209_600..5_184_000 => (seconds / 604_800, "week"),
        seconds @ 5_184_000..63_072_000 => (seconds / 2_629_800, "month"),
        seconds => (seconds / 31_557_600, "year"),
    };
    let plural = if amount == 1 { "" } else { "s" };
    if seconds < 0 { format!("in {amount} {unit}{plural}") } else { format!("{amount} {unit}{plural} ago") }
}

/// A number of bytes: `12.4 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut amount = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if amount < 999.5 {
            break;
        }
        amount /= 1000.0;
        unit = next;
    }
    format!("{amount:.1} {unit}")
}

/// A number with its thousands apart: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `one memory`, `46 memories`.
pub fn memories(number: u64) -> String {
    if number == 1 { "one memory".into() } else { format!("{} memories", count(number)) }
}

/// `one message`, `46 messages`.
pub fn messages(number: u64) -> String {
    if number == 1 { "one message".into() } else { format!("{} messages", count(number)) }
}

/// A score as a bar of ten cells, relative to the best of the answer.
pub fn bar(score: f64, best: f64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    const CELLS: usize = 8;
    let part = if best > 0.0 { (score / best).clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (part * (CELLS * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// Why the guard refused an entry, in words.
pub fn refusal(refused: &Value) -> String {
    let checks: Vec<String> = refused["guard"].as_array().into_iter().flatten().map(check).collect();
    if checks.is_empty() { "it was refused".into() } else { checks.join("; ") }
}

fn check(refusal: &Value) -> String {
    let (asked, cached) = (text(refusal, "asked"), text(refusal, "cached"));
    let what = match text(refusal, "check") {
        "number" => "another number",
        "unit" => "another unit",
        "negation" => "one of them is negated",
        "name" => "another name",
        "antonym" => "the opposite",
        "word_order" => "the words have exchanged their roles",
        "addition" => "one of them asks for something narrower",
        "question" => "another kind of question",
        other => return format!("{}: asked {asked:?}, cached {cached:?}", other.replace('_', " ")),
    };
    match (asked, cached) {
        ("", "") => what.into(),
        ("", cached) => format!("{what}: the cached prompt has {cached:?}"),
        (asked, "") => format!("{what}: this prompt has {asked:?}"),
        (asked, cached) => format!("{what}: {asked:?} here, {cached:?} in the cached prompt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_fits() {
        let now: Timestamp = "2025-06-01T12:00:00Z".parse().unwrap();
        let told: Vec<String> = [
            "2025-06-01T11:59:50Z",
            "2025-06-01T11:50:00Z",
            "2025-06-01T09:59:00Z",
            "2025-05-31T12:00:00Z",
            "2025-05-11T12:00:00Z",
            "2025-01-11T12:00:00Z",
            "2022-01-11T12:00:00Z",
            "2025-06-03T12:00:01Z",
        ]
        .into_iter()
        .map(|moment| relative(moment.parse().unwrap(), now))
        .collect();
        insta::assert_snapshot!(told.join("\n"), @"
        just now
        10 minutes ago
        2 hours ago
        1 day ago
        3 weeks ago
        4 months ago
        3 years ago
        in 2 days
        ");
    }

    #[test]
    fn numbers_are_told_shortly() {
        assert_eq!((count(0).as_str(), count(999).as_str(), count(1_234_567).as_str()), ("0", "999", "1,234,567"));
        assert_eq!((bytes(999).as_str(), bytes(1500).as_str(), bytes(999_999).as_str()), ("999 B", "1.5 kB", "1.0 MB"));
        assert_eq!((bar(1.0, 1.0).as_str(), bar(0.5, 1.0).as_str(), bar(0.0, 0.0).as_str()), ("████████", "████", ""));
    }

    #[test]
    fn a_refusal_is_told_in_words() {
        let refused = serde_json::json!({"guard": [{"check": "number", "asked": "10", "cached": "5"}]});
        assert_eq!(refusal(&refused), "another number: \"10\" here, \"5\" in the cached prompt");
        let refused = serde_json::json!({"guard": [{"check": "negation", "asked": "not", "cached": ""}]});
        assert_eq!(refusal(&refused), "one of them is negated: this prompt has \"not\"");
    }
}
