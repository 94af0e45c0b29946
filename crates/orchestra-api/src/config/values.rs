//! The value of every setting, and where each comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memory_core::{Error, Result};
use secrecy::SecretString;

use super::arguments::ServerArgs;
use super::file;
use super::list::SETTINGS;
use super::names;
use super::secret::Secret;
use super::setting::{Kind, Setting, Value};

/// The value of every setting that has one.
#[derive(Debug, Clone)]
pub struct Values {
    values: BTreeMap<&'static str, (Value, Source)>,
    file: Option<PathBuf>,
}

/// Where a value comes from; each goes before those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What it is unless given.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

impl Source {
    /// Its name, as `config show` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

impl Values {
    /// The defaults.
    pub(super) fn defaults() -> Self {
        let default = |setting: &'static Setting| Some((setting.key, setting.parse(setting.default?).ok()?));
        let values = SETTINGS.iter().filter_map(default);
        Self { values: values.map(|(key, value)| (key, (value, Source::Default))).collect(), file: None }
    }

    /// The defaults, then the file, then the environment, then the flags. A variable that is empty is not set.
    pub(super) fn read(args: &ServerArgs, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let mut values = Self::defaults();
        if let Some(path) = &args.config {
            values.file = Some(path.clone());
            let read = file::read(path)?.into_iter();
            values.values.extend(read.map(|(key, value)| (key, (value, Source::File))));
        }
        for setting in SETTINGS {
            let flag = args.flags.get(setting.key).map(|given| (given.clone(), Source::Flag));
            let given = flag.or_else(|| Some((variable(&setting.variable())?, Source::Environment)));
            let Some((given, source)) = given.filter(|(given, source)| *source == Source::Flag || !given.is_empty())
            else {
                continue;
            };
            let value = match (setting.kind, given.to_str()) {
                // A path need not be text.
                (Kind::Path(_), _) if !given.is_empty() => Ok(Value::Path(given.into())),
                (_, Some(text)) => setting.parse(text).map_err(|allowed| {
                    let given = if matches!(setting.kind, Kind::Secret) { "what is none of them" } else { text };
                    Error::invalid(place(setting, source), given, allowed)
                }),
                (_, None) => Err(Error::invalid(place(setting, source), "what is no text", setting.allowed())),
            }?;
            values.values.insert(setting.key, (value, source));
        }
        Ok(values)
    }

    /// Every setting in order, with its value and where that comes from.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, Option<(&Value, Source)>)> {
        let value = |setting: &Setting| self.values.get(setting.key).map(|(value, source)| (value, *source));
        SETTINGS.iter().map(move |setting| (setting, value(setting)))
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Sets what a setting that was not given is taken for.
    pub(super) fn decide(&mut self, key: &'static str, value: Value) {
        self.values.insert(key, (value, Source::Default));
    }

    /// Whether somebody gave it.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, source)| *source != Source::Default)
    }

    /// The value, read as what its setting takes.
    pub(super) fn get<T: FromValue>(&self, key: &str) -> Option<T> {
        debug_assert!(names::find(key).is_some(), "{key} is no setting");
        T::from_value(&self.values.get(key)?.0)
    }

    /// The value of a setting that has a default.
    pub(super) fn of<T: FromValue + Default>(&self, key: &str) -> T {
        self.get(key).unwrap_or_default()
    }

    /// The time of a setting in milliseconds.
    pub(super) fn milliseconds(&self, key: &str) -> Duration {
        Duration::from_millis(self.of(key))
    }

    /// The time of a setting in seconds.
    pub(super) fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.of(key))
    }

    /// The secret of a setting, out of where it is.
    pub(super) async fn secret(&self, key: &str) -> Result<Option<SecretString>> {
        let Some(secret) = self.get::<Secret>(key) else { return Ok(None) };
        secret.read(&self.place(key), &self.of::<String>("secret_manager_url")).await.map(Some)
    }

    /// That a value does not fit, for a reason that only other settings show.
    pub(super) fn invalid(&self, key: &str, allowed: impl Into<String>) -> Error {
        let given = match self.values.get(key) {
            Some((value, _)) => match value.to_json() {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            },
            None => "nothing".into(),
        };
        Error::invalid(self.place(key), given, allowed)
    }

    /// What a setting is called where it was given.
    pub(super) fn place(&self, key: &str) -> String {
        let source = self.values.get(key).map_or(Source::Default, |(_, source)| *source);
        match (names::find(key), source, &self.file) {
            (Some(setting), Source::Environment | Source::Flag, _) => place(setting, source),
            (_, Source::File, Some(file)) => format!("{}: {key}", file.display()),
            _ => key.to_owned(),
        }
    }

    /// What is unwise about the secrets.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warning = |(setting, value): (&Setting, Option<(&Value, Source)>)| match value? {
            (Value::Secret(secret), source) => {
                Some(format!("{}: {}", setting.key, secret.warning(source == Source::File)?))
            }
            _ => None,
        };
        self.iter().filter_map(warning).collect()
    }

    /// Checks that the secrets on this machine are there.
    pub(super) fn check_secrets(&self, section: &str) -> Result<()> {
        for (setting, value) in self.iter().filter(|(setting, _)| setting.key.starts_with(section)) {
            if let Some((Value::Secret(secret), _)) = value {
                secret.check_here(&self.place(setting.key))?;
            }
        }
        Ok(())
    }
}

fn place(setting: &Setting, source: Source) -> String {
    match (source, setting.flag()) {
        (Source::Flag, Some(flag)) => format!("--{flag}"),
        (Source::Environment, _) => setting.variable(),
        _ => setting.key.to_owned(),
    }
}

/// What a value can be read as.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $kind:ident,)*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$kind(value) => Some(value.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    String: Text,
    Secret: Secret,
    PathBuf: Path,
    SocketAddr: Address,
    bool: Bool,
    f64: Number,
    Vec<String>: List,
}

macro_rules! from_integer {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            /// The list's ranges are within the types that they are read as.
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Some(Self::try_from(*number).unwrap_or(Self::MAX)),
                    _ => None,
                }
            }
        }
    )*};
}

from_integer! { u8 u16 u32 u64 usize }

impl FromValue for f32 {
    fn from_value(value: &Value) -> Option<Self> {
        // Through its shortest text, so that 0.85 is what 0.85 is as f32.
        f64::from_value(value)?.to_string().parse().ok()
    }
}
