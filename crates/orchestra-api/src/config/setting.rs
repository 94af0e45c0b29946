//! What a setting is: its key, what it takes, and how its text is read.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::secret::Secret;

/// A setting. Its key is its name in the file, with a dot after the section; from it come the environment variable and
/// the flag.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file, such as `redis.shards`.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is unless given; none where that depends on something else, or there is nothing.
    pub default: Option<&'static str>,
    /// What it is for. The first paragraph stands alone.
    pub about: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text that is not empty, shown in help by this name.
    Text(&'static str),
    /// A value that is never shown.
    Secret,
    /// A file or a folder, shown in help by this name.
    Path(&'static str),
    /// An address and a port.
    Address,
    /// Yes or no.
    Bool,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// A number within these bounds, of this unit.
    Number(f64, f64, &'static str),
    /// One of these, each with what it means.
    Choice(&'static [(&'static str, &'static str)]),
    /// Texts; in the environment separated by commas.
    List(&'static str),
}

/// The value of a setting.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a text or a choice.
    Text(String),
    /// Of a secret.
    Secret(Secret),
    /// Of a path.
    Path(PathBuf),
    /// Of an address.
    Address(SocketAddr),
    /// Of a bool.
    Bool(bool),
    /// Of an integer.
    Integer(u64),
    /// Of a number.
    Number(f64),
    /// Of a list.
    List(Vec<String>),
}

impl Setting {
    /// The same, of this default.
    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// The environment variable: `ORCHESTRA_` and the key in capitals, with an underscore for the dot.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ORCHESTRA_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The flag, for what is outside of the sections and no secret: flags show in process lists.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        let has_one = !self.key.contains('.') && !matches!(self.kind, Kind::Secret);
        has_one.then(|| self.key.replace('_', "-"))
    }

    /// Reads a value out of a flag or a variable, or out of a scalar of the file. A refusal is what is allowed.
    pub(super) fn parse(&self, text: &str) -> Result<Value, String> {
        let refused = || self.allowed();
        match self.kind {
            _ if text.is_empty() => Err(refused()),
            Kind::Text(_) => Ok(Value::Text(text.to_owned())),
            Kind::Secret => Secret::parse(text).map(Value::Secret),
            Kind::Path(_) => Ok(Value::Path(text.into())),
            Kind::Address => text.parse().map(Value::Address).map_err(|_| refused()),
            Kind::Bool => match &*text.to_ascii_lowercase() {
                "true" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Bool(false)),
                _ => Err(refused()),
            },
            Kind::Integer(least, most) => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(number));
                number.map(Value::Integer).ok_or_else(refused)
            }
            Kind::Number(least, most, _) => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(number));
                number.map(Value::Number).ok_or_else(refused)
            }
            Kind::Choice(choices) => {
                let known = choices.iter().any(|(name, _)| *name == text);
                if known { Ok(Value::Text(text.to_owned())) } else { Err(refused()) }
            }
            Kind::List(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(Value::List(items.map(str::to_owned).collect()))
            }
        }
    }

    /// What it takes, in words.
    pub(super) fn allowed(&self) -> String {
        match self.kind {
            Kind::Text(name) => format!("a {}, not empty", name.to_lowercase()),
            Kind::Secret => Secret::ALLOWED.into(),
            Kind::Path(name) => format!("the path of a {}", name.to_lowercase()),
            Kind::Address => "an address and a port, such as 127.0.0.1:7070".into(),
            Kind::Bool => "true or false".into(),
            Kind::Integer(least, most) => format!("{least} to {most}"),
            Kind::Number(least, most, "") => format!("{least:?} to {most:?}"),
            Kind::Number(least, most, unit) => format!("{least:?} to {most:?}, {unit}"),
            Kind::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                match names.split_last() {
                    Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                    _ => names.join(", "),
                }
            }
            Kind::List(name) => format!("a list of {name}"),
        }
    }
}

impl Value {
    /// As the file would have it; a secret that stands there itself is `***`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Secret(secret) => secret.to_json(),
            Self::Path(path) => path.display().to_string().into(),
            Self::Address(address) => address.to_string().into(),
            Self::Bool(is) => (*is).into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::List(items) => items.as_slice().into(),
        }
    }
}

pub(super) const fn setting(key: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { key, kind, default: None, about }
}

pub(super) const fn text(key: &'static str, name: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::Text(name), about)
}

pub(super) const fn secret(key: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::Secret, about)
}

pub(super) const fn path(key: &'static str, name: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::Path(name), about)
}

pub(super) const fn bool(key: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::Bool, about)
}

pub(super) const fn integer(key: &'static str, range: (u64, u64), about: &'static str) -> Setting {
    setting(key, Kind::Integer(range.0, range.1), about)
}

pub(super) const fn number(key: &'static str, range: (f64, f64), unit: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::Number(range.0, range.1, unit), about)
}

pub(super) const fn choice(
    key: &'static str,
    choices: &'static [(&'static str, &'static str)],
    about: &'static str,
) -> Setting {
    setting(key, Kind::Choice(choices), about)
}

pub(super) const fn list(key: &'static str, name: &'static str, about: &'static str) -> Setting {
    setting(key, Kind::List(name), about)
}
