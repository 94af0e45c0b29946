//! `cargo xtask verify`: whether a deployment does what it is for, fast enough and safely. Each check is a named value.

mod check;
mod functionality;
mod html;
mod performance;
mod roles;
mod scan;
mod security;
mod workload;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use uuid::Uuid;

use self::check::{Area, Outcome, Status};
use crate::deploy::local::Local;
use crate::deploy::{Environment, deployed, home};
use crate::http::Client;
use crate::table;

/// What is checked, and where.
#[derive(clap::Args)]
pub struct Args {
    /// Which checks
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Where the deployment answers. Default: the one on this machine
    #[arg(long, value_name = "URL", requires = "api_key_env")]
    url: Option<String>,
    /// The environment variable that holds its API key, with the scopes read and write
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// With --url: the variable that holds a key of another tenant, for the probes of isolation
    #[arg(long, value_name = "NAME")]
    other_api_key_env: Option<String>,
    /// Which of the deployments on this machine
    #[arg(long, value_enum, default_value_t = Environment::Dev, conflicts_with = "url")]
    env: Environment,
    /// Where its record is
    #[arg(long, value_name = "DIR", default_value = "target/deploy", conflicts_with = "url")]
    home: PathBuf,
    /// Fewer memories and shorter rounds: to see that it works, not to measure
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the outcome, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Which checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// All of them
    All,
    /// That it remembers, recalls, corrects, forgets and caches
    Functionality,
    /// That it is fast enough
    Performance,
    /// That nobody gets what is not theirs
    Security,
}

/// What the checks look at.
pub struct Deployment {
    /// The deployment's own key.
    pub client: Client,
    /// A key of another tenant.
    pub other: Option<Client>,
    /// What is on this machine of it.
    pub local: Option<Local>,
    /// Whether to be quick.
    pub quick: bool,
    /// Tells what these checks write from everything else, and from what other runs write.
    pub run: String,
}

impl Deployment {
    /// The user whose memories these are.
    pub fn user(&self) -> String {
        format!("verify-{}", self.run)
    }

    /// The server, and nobody's key.
    pub fn nobody(&self) -> Client {
        self.client.with_bearer(None)
    }
}

/// Checks.
///
/// # Errors
/// When a check fails, or there is nothing to check.
pub fn run(args: &Args) -> Result<()> {
    let mut deployment = open(args)?;
    let areas = [
        (What::Functionality, Area { name: "functionality", checks: functionality::CHECKS }),
        (What::Performance, Area { name: "performance", checks: performance::CHECKS }),
        (What::Security, Area { name: "security", checks: security::CHECKS }),
    ];
    let mut outcomes = Vec::new();
    for (what, area) in &areas {
        if args.what == What::All || args.what == *what {
            outcomes.extend(area.run(&mut deployment));
        }
    }
    if let Err(error) = forget(&deployment) {
        eprintln!("what the checks wrote is still there: {error:#}");
    }
    if let Some(file) = &args.html {
        std::fs::write(file, html::page(deployment.client.url(), &outcomes))
            .with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&check::report(deployment.client.url(), &outcomes))?);
    } else {
        println!("{}", table::lines(&rows(&outcomes)).join("\n"));
    }
    let failed = outcomes.iter().filter(|outcome| outcome.status == Status::Fail).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", outcomes.len());
    }
    Ok(())
}

fn open(args: &Args) -> Result<Deployment> {
    let run = Uuid::new_v4().simple().to_string()[..12].to_owned();
    let quick = args.quick;
    let Some(url) = &args.url else {
        let local = deployed(&home(&args.home), args.env.as_str())?;
        let url = local.url().context("nothing serves")?;
        let key = |name: &str| -> Result<String> {
            let file = local.secret(name);
            let key = std::fs::read_to_string(&file).with_context(|| format!("{}: cannot be read", file.display()))?;
            Ok(key.trim().to_owned())
        };
        let client = Client::new(&url, Some(key("api_key")?));
        let other = client.with_bearer(Some(key("other_api_key")?));
        return Ok(Deployment { client, other: Some(other), local: Some(local), quick, run });
    };
    let read = |name: &String| std::env::var(name).with_context(|| format!("the variable {name} holds no key"));
    let key = args.api_key_env.as_ref().map(read).transpose()?;
    let client = Client::new(url, key);
    let other = args.other_api_key_env.as_ref().map(read).transpose()?.map(|key| client.with_bearer(Some(key)));
    Ok(Deployment { client, other, local: None, quick, run })
}

/// Forgets everything that the checks wrote.
fn forget(deployment: &Deployment) -> Result<()> {
    let ours = serde_json::json!({ "filter": { "metadata.verify": deployment.run } });
    deployment.client.post("/v1/memories/forget", &ours)?.ok()?;
    let cached = serde_json::json!({ "tag": deployment.run });
    deployment.client.post("/v1/cache/invalidate", &cached)?.ok().map(drop)
}

fn rows(outcomes: &[Outcome]) -> Vec<[String; 4]> {
    let mut rows = vec![["", "check", "goal", "seen"].map(str::to_owned)];
    for outcome in outcomes {
        let Outcome { status, area, name, goal, seen, .. } = outcome;
        rows.push([status.word().to_owned(), format!("{area}: {name}"), (*goal).to_owned(), seen.clone()]);
    }
    rows
}
