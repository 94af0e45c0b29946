//! `cargo xtask deploy`: from an empty project, or on this machine, to a deployment that was verified step by step.
//!
//! A deployment is a list of steps ([`step::Step`]). Each is looked at, done if need be, verified and recorded
//! ([`runner`]), so that a run that was killed goes on where it was.

mod cost;
mod dashboards;
mod gcp;
pub mod local;
mod record;
mod runner;
mod step;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use self::local::Local;
use self::record::{Lock, Record};
use self::runner::Outcome;
use self::step::{Choice, chosen};
use crate::process::{cargo, output, root, show};

/// What is deployed, and where to.
#[derive(clap::Args)]
pub struct Args {
    /// The steps; all of them unless some are named
    #[arg(value_enum, value_name = "STEP", hide_default_value = true)]
    steps: Vec<Choice>,
    /// Which of the deployments
    #[arg(long, value_enum, default_value_t = Environment::Dev)]
    env: Environment,
    /// Where to: this machine, or a project of Google Cloud
    #[arg(long, value_enum, default_value_t = Place::Local)]
    target: Place,
    /// Do it; without this the steps and their commands are shown, and nothing is changed
    #[arg(long)]
    apply: bool,
    /// Let the revision serve that served before
    #[arg(long, conflicts_with = "steps")]
    rollback: bool,
    /// Print the outcome as JSON; progress goes to standard error all the same
    #[arg(long)]
    json: bool,
    /// Where the records and files of deployments are kept
    #[arg(long, value_name = "DIR", default_value = "target/deploy")]
    home: PathBuf,
    /// What the source is called. Default: its commit, as git tells it
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    #[command(flatten)]
    local: local::Settings,
    #[command(flatten)]
    gcp: gcp::Settings,
}

/// One of the deployments of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// To try things in: small, and quickly replaced.
    Dev,
    /// As production, with less of it.
    Staging,
    /// What people rely on.
    Prod,
}

impl Environment {
    /// As it is written on the command line, and in the names of what is deployed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Prod => "prod",
        }
    }
}

/// Where a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// This machine.
    Local,
    /// A project of Google Cloud.
    Gcp,
}

/// Plans, deploys, goes back, or takes down.
pub fn run(args: Args) -> Result<()> {
    let home = home(&args.home);
    let source = args.revision.clone().unwrap_or_else(source);
    let place = if args.target == Place::Local { "local" } else { "gcp" };
    let name = format!("{place}-{}", args.env.as_str());
    let changes = args.apply || args.rollback || args.local.down;
    let _lock = if changes { Some(Lock::take(&home.join(format!("{name}.lock")))?) } else { None };
    let file = home.join(format!("{name}.json"));
    let record = Record::open(&file)?;
    match args.target {
        Place::Local => {
            let folder = local::folder_of(&home, args.env.as_str());
            let (down, all) = (args.local.down, is_all(&args.steps));
            let mut local = Local::new(record, folder.clone(), args.local, source);
            if down {
                let ended = local.down()?;
                if file.exists() {
                    std::fs::remove_file(&file)?;
                }
                return report(args.json, &json!({ "ended": ended }), &listed(&ended, "nothing was deployed"));
            }
            if args.rollback {
                if !args.apply {
                    let former = runner::Target::record(&mut local).former()?.clone();
                    return told_rollback(args.json, &former.number.to_string(), &former.image);
                }
                local.roll_back()?;
                return told_summary(args.json, &[], &local.summary(args.env));
            }
            let steps = chosen(local::STEPS, &args.steps);
            if !args.apply {
                return told_plan(args.json, &runner::plan(&local, &steps));
            }
            let outcomes = runner::apply(&mut local, local::STEPS, &steps)?;
            if all {
                runner::ended(&mut local)?;
            }
            told_summary(args.json, &outcomes, &local.summary(args.env))
        }
        Place::Gcp => {
            let all = is_all(&args.steps);
            let mut gcp = gcp::Gcp::new(record, &home, args.env, args.gcp, source)?;
            if args.rollback {
                if !args.apply {
                    let former = runner::Target::record(&mut gcp).former()?.clone();
                    return told_rollback(args.json, &former.service_revision, &former.image);
                }
                gcp.roll_back()?;
                return told_summary(args.json, &[], &gcp.summary()?);
            }
            let steps = chosen(gcp::STEPS, &args.steps);
            if !args.apply {
                return told_plan(args.json, &[gcp.preparation(), runner::plan(&gcp, &steps)].concat());
            }
            gcp.prepare()?;
            let outcomes = runner::apply(&mut gcp, gcp::STEPS, &steps)?;
            if all {
                gcp.check_settled()?;
                runner::ended(&mut gcp)?;
            }
            told_summary(args.json, &outcomes, &gcp.summary()?)
        }
    }
}

/// The absolute folder of records.
pub fn home(given: &Path) -> PathBuf {
    root().join(given)
}

fn is_all(steps: &[Choice]) -> bool {
    steps.is_empty() || steps.contains(&Choice::All)
}

fn told_plan(json: bool, lines: &[String]) -> Result<()> {
    let text = format!("{}\n\nNothing was changed; add --apply to do it.", lines.join("\n"));
    report(json, &json!({ "plan": lines, "applied": false }), &text)
}

fn told_rollback(json: bool, revision: &str, image: &str) -> Result<()> {
    let text =
        format!("would let revision {revision} serve again: {image}\n\nNothing was changed; add --apply to do it.");
    report(json, &json!({ "rollback": { "revision": revision, "image": image }, "applied": false }), &text)
}

fn told_summary(json: bool, outcomes: &[Outcome], summary: &Summary) -> Result<()> {
    let values: Value = summary.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(&**value))).collect();
    let body = json!({ "applied": true, "steps": outcomes, "summary": values, "cost_estimate": summary.cost });
    let facts: Vec<_> = summary.facts.iter().map(|(name, value)| [(*name).to_owned(), value.clone()]).collect();
    report(json, &body, &[crate::table::lines(&facts), cost::lines(&summary.cost)].concat().join("\n"))
}

fn report(json: bool, body: &Value, text: &str) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(body)?);
    } else {
        println!("{text}");
    }
    Ok(())
}

fn listed(ended: &[String], none: &str) -> String {
    if ended.is_empty() { none.to_owned() } else { format!("ended: {}", ended.join(", ")) }
}

/// What stands at the end: where things are, and what a month of them costs.
pub struct Summary {
    /// Names and values, in order.
    pub facts: Vec<(&'static str, String)>,
    /// The estimate; empty where nothing is paid for.
    pub cost: Vec<cost::Item>,
}

impl Local {
    fn summary(&self, environment: Environment) -> Summary {
        let key = self.secret("api_key");
        let facts = vec![
            ("API", self.url().unwrap_or_else(|| "not deployed".into())),
            ("reference", self.url().map(|url| format!("{url}/docs")).unwrap_or_default()),
            ("API key", format!("in {}", key.display())),
            ("try", "cargo xtask verify all".into()),
            ("end", format!("cargo xtask deploy --env {} --down", environment.as_str())),
            ("monthly cost", "none: it runs on this machine".into()),
        ];
        Summary { facts, cost: Vec::new() }
    }
}

/// The commit, marked where the checkout differs from it.
fn source() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--abbrev=12", "--exclude=*", &format!("--dirty={}", runner::DIRTY)])
        .current_dir(root())
        .stderr(Stdio::null())
        .output();
    match described {
        Ok(described) if described.status.success() => String::from_utf8_lossy(&described.stdout).trim().to_owned(),
        _ => "unversioned".to_owned(),
    }
}

/// Builds the server as it is released, and gives where it is.
fn build_server() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "orchestra-api", "--bin", "orchestra"]);
    build.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", show(&build));
    let messages = output(build.stderr(Stdio::inherit()))?;
    let executable = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_server = message["target"]["name"] == "orchestra";
        message["executable"].as_str().filter(|_| is_server).map(PathBuf::from)
    });
    match executable {
        Some(executable) => Ok(executable),
        None => bail!("cargo did not say where it put the server"),
    }
}

/// The record of a local deployment, for what verifies it.
///
/// # Errors
/// When nothing is deployed there.
pub fn deployed(home: &Path, environment: &str) -> Result<Local> {
    let record = Record::open(&home.join(format!("local-{environment}.json")))?;
    let local = Local::new(record, local::folder_of(home, environment), local::Settings::default(), source());
    local
        .url()
        .context("nothing is deployed on this machine; `cargo xtask deploy --apply` does it, --url names another")?;
    Ok(local)
}
