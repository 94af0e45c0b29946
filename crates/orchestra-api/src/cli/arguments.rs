//! Arguments that several commands take, and the values in them.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use memory_core::{MemoryKind, Timestamp};
use serde_json::{Map, Value};

use crate::client::Query;
use crate::import::Names;

/// Whose memory.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Whose memory")]
pub struct ScopeArgs {
    /// The user.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The agent.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// The session: one conversation.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

impl ScopeArgs {
    /// The scope in a request's body.
    pub fn body(&self) -> Value {
        let parts = [("user", &self.user), ("agent", &self.agent), ("session", &self.session)];
        parts
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))))
            .collect::<Map<_, _>>()
            .into()
    }

    /// The scope as parameters of a query.
    pub fn query(&self, path: impl Into<String>) -> Query {
        Query::new(path)
            .with("user", self.user.as_ref())
            .with("agent", self.agent.as_ref())
            .with("session", self.session.as_ref())
    }

    /// The scope in words: `user maya, session monday`, or `the whole tenant`.
    pub fn in_words(&self) -> String {
        let parts = [("user", &self.user), ("agent", &self.agent), ("session", &self.session)];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        if parts.is_empty() { "the whole tenant".into() } else { parts.join(", ") }
    }
}

impl From<ScopeArgs> for Names {
    fn from(args: ScopeArgs) -> Self {
        Self { user: args.user, agent: args.agent, session: args.session }
    }
}

/// The parser of a kind of memory.
pub fn kind() -> impl TypedValueParser<Value = MemoryKind> {
    PossibleValuesParser::new(MemoryKind::ALL.map(MemoryKind::name)).try_map(|name| name.parse::<MemoryKind>())
}

/// Reads a length of time: `90s`, `15m`, `2h`, `7d`, or seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no length of time; expected one such as 90s, 15m, 2h or 7d");
    let (number, unit) = match text.find(|letter: char| letter.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

/// Reads a time, or a day.
pub fn time(text: &str) -> Result<Timestamp, String> {
    crate::import::time::parse(text)
        .ok_or_else(|| format!("{text:?} is no time; expected one such as 2025-06-01T01:00:00Z or 2025-06-01"))
}

/// Reads `key=value`. A value that is JSON is taken as that, everything else as text.
pub fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
        }
        _ => Err(format!("{text:?} is no pair; expected key=value, such as topic=travel")),
    }
}

/// Reads a JSON object.
pub fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("expected a JSON object, such as {\"kind\": \"semantic\"}".into()),
        Err(error) => Err(format!("{error}; expected a JSON object, such as {{\"kind\": \"semantic\"}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1.5h").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(604_800));
        assert!(duration("soon").is_err() && duration("-1s").is_err() && duration("1y").is_err());
        assert_eq!(pair("n=5").unwrap(), ("n".into(), Value::from(5)));
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), Value::from("b=c")));
        assert!(pair("alone").is_err() && pair("=x").is_err());
        assert!(object("[1]").is_err() && object("{").is_err() && object("{}").is_ok());
    }
}
