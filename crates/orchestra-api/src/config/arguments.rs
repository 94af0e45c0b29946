//! The flags, made from the list of settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use super::list::SETTINGS;
use super::setting::{Kind, Setting};

/// What a server, or a command that opens the memory in its own process, is told on the command line.
#[derive(Debug, Clone, Default)]
pub struct ServerArgs {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The flags by their settings' keys.
    pub(super) flags: BTreeMap<&'static str, OsString>,
}

impl ServerArgs {
    /// The same with a flag more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.flags.insert(key, value.into());
        self
    }
}

impl clap::Args for ServerArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("ORCHESTRA_CONFIG")
            .value_parser(ValueParser::path_buf())
            .help("The configuration file, of YAML. A flag goes before the environment, that before the file")
            .long_help(
                "The configuration file, of YAML. A flag goes before the environment, that before the file.\n\nIt can \
                 hold every setting below, with underscores, and the sections redis and alloydb: `orchestra config \
                 schema` lists them. Each is an environment variable too: ORCHESTRA_REDIS_URL for url in redis.",
            );
        command.arg(config).args(SETTINGS.iter().filter_map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting. Neither the environment nor the default is left to it: the file comes between the two.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let argument = Arg::new(setting.key).long(setting.flag()?).action(ArgAction::Set).allow_negative_numbers(true);
    let (first, rest) = setting.about.split_once("\n\n").unwrap_or((setting.about, ""));
    let short = first.strip_suffix('.').unwrap_or(first);
    let mut long = if rest.is_empty() { short.to_owned() } else { setting.about.to_owned() };
    long += &format!("\n\n[env: {}]", setting.variable());
    if let Some(default) = setting.default {
        long += &format!("\n[default: {default}]");
    }
    let argument = argument.help(short).long_help(long);
    Some(match setting.kind {
        Kind::Bool => argument.value_name("BOOL").num_args(0..=1).default_missing_value("true"),
        Kind::Choice(choices) => {
            let choices = choices.iter().map(|(name, about)| PossibleValue::new(name).help(about));
            argument.value_name("KIND").value_parser(PossibleValuesParser::new(choices))
        }
        Kind::Path(name) => argument.value_name(name).value_parser(ValueParser::path_buf()),
        Kind::Text(name) | Kind::List(name) => argument.value_name(name),
        Kind::Address => argument.value_name("ADDR:PORT"),
        Kind::Secret | Kind::Integer(..) | Kind::Number(..) => argument.value_name("N"),
    })
}

impl FromArgMatches for ServerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let config = matches.get_one::<PathBuf>("config").filter(|file| !file.as_os_str().is_empty()).cloned();
        let mut args = Self { config, flags: BTreeMap::new() };
        for setting in SETTINGS.iter().filter(|setting| setting.flag().is_some()) {
            if matches.value_source(setting.key) != Some(ValueSource::CommandLine) {
                continue;
            }
            let given = match setting.kind {
                Kind::Path(_) => matches.get_one::<PathBuf>(setting.key).cloned().map(OsString::from),
                _ => matches.get_one::<String>(setting.key).map(OsString::from),
            };
            args.flags.extend(given.map(|given| (setting.key, given)));
        }
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
