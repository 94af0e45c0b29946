//! `orchestra config`.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::failure::{Failure, Outcome};
use super::screen::{Column, Screen};
use crate::config::{ServerArgs, Settings, Source, json_schema};
use crate::state::trial::{Trial, try_providers};

/// Check and show what a server is set to.
///
/// A setting is given by a flag of `orchestra serve`, by an environment variable or by a file of YAML, in this order, and
/// else has a default. The file may have secrets by reference: `password: {env: NAME}`, `{file: PATH}`, or
/// `{secret_manager: projects/P/secrets/S/versions/V}`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra config check --config orchestra.yaml --connect
  ORCHESTRA_REDIS_SHARDS=16 orchestra config show --config orchestra.yaml
  orchestra config schema > orchestra.schema.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Box<Check>),
    Show(Box<Show>),
    Schema(Schema),
}

/// Check that a server could be set so.
///
/// Exits with 0 when it could, with 1 when a setting is wrong, and with 2 when a provider cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra config check --config orchestra.yaml
  orchestra config check --config orchestra.yaml --connect --json")]
struct Check {
    /// Try each provider too: read every secret, embed a text, connect to Redis and to the database. Redis gets the cache's
    /// index if it has none, as at a start; nothing else is changed.
    #[arg(long)]
    connect: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Show every setting, and where its value comes from.
///
/// A secret is shown as ***, or as the place that it is read from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra config show --config orchestra.yaml
  orchestra config show --json")]
struct Show {
    #[command(flatten)]
    server: ServerArgs,
}

/// Print the JSON Schema of the file, for editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra config schema > orchestra.schema.json")]
struct Schema {}

pub async fn run(args: Args, screen: &Screen) -> Outcome {
    match args.command {
        Command::Check(args) => check(&args, screen).await,
        Command::Show(args) => show(&settings(&args.server)?, screen),
        Command::Schema(Schema {}) => Ok(screen.json(&json_schema())?),
    }
}

fn settings(args: &ServerArgs) -> Outcome<Settings> {
    Settings::from_args(args).map_err(|error| {
        Failure::mistake(error.to_string(), "`orchestra config schema` and `orchestra serve --help` list every setting")
    })
}

async fn check(args: &Check, screen: &Screen) -> Outcome {
    let settings = settings(&args.server)?;
    let trials = if args.connect { try_providers(&settings).await } else { Vec::new() };
    let failed = trials.iter().filter(|trial| trial.outcome.is_err()).count();
    let warnings = settings.warnings();
    if screen.is_json() {
        let providers: Vec<Json> = trials.iter().map(in_json).collect();
        let file = settings.values().file().map(|file| file.display().to_string());
        screen.json(&json!({"ok": failed == 0, "file": file, "warnings": warnings, "providers": providers}))?;
    } else {
        for warning in &warnings {
            screen.note(&format!("{} {warning}", screen.yellow("warning:")));
        }
        let file = settings.values().file().map_or("no file".into(), |file| file.display().to_string());
        screen.line(&format!("the settings are in order ({file})"))?;
        if !trials.is_empty() {
            let columns =
                [Column::new("Part"), Column::new("Provider"), Column::new("State"), Column::new("Detail").wraps()];
            screen.table(&columns, trials.iter().map(|trial| row(trial, screen)).collect())?;
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::ours("a provider cannot be used", NEXT)),
        many => Err(Failure::ours(format!("{many} providers cannot be used"), NEXT)),
    }
}

const NEXT: &str = "correct its section, or start what it names, then check again";

fn in_json(trial: &Trial) -> Json {
    let (state, detail) = match &trial.outcome {
        Ok(detail) => ("ok", detail),
        Err(reason) => ("failed", reason),
    };
    json!({"part": trial.part, "provider": trial.provider, "state": state, "detail": detail})
}

fn row(trial: &Trial, screen: &Screen) -> Vec<String> {
    let (state, detail) = match &trial.outcome {
        Ok(detail) => (screen.green("ok"), detail),
        Err(reason) => (screen.red("failed"), reason),
    };
    vec![trial.part.into(), trial.provider.into(), state, detail.clone()]
}

fn show(settings: &Settings, screen: &Screen) -> Outcome {
    let values = settings.values();
    if screen.is_json() {
        let shown: Vec<Json> = values
            .iter()
            .map(|(setting, given)| {
                let (value, source) =
                    given.map_or((Json::Null, Source::Default), |(value, source)| (value.to_json(), source));
                json!({"setting": setting.key, "value": value, "source": source, "variable": setting.variable()})
            })
            .collect();
        return Ok(screen.json(&json!({"file": values.file(), "settings": shown}))?);
    }
    let rows = values.iter().map(|(setting, given)| {
        let value = match given.map(|(value, _)| value.to_json()) {
            None => "-".into(),
            Some(Json::String(text)) => text,
            Some(value) => value.to_string(),
        };
        let source = given.map_or(Source::Default, |(_, source)| source);
        vec![setting.key.into(), value, source.name().into()]
    });
    let columns = [Column::new("Setting"), Column::new("Value").wraps(), Column::new("From")];
    Ok(screen.table(&columns, rows.collect())?)
}
