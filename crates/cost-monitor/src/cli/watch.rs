//! `cost-monitor watch` and `brake`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::Utc;
use clap::{Args, Subcommand};
use cost_monitor::auth::Access;
use cost_monitor::brake as file;
use cost_monitor::config::Config;
use cost_monitor::policy::Action;
use cost_monitor::state::State;
use cost_monitor::watch::Watch;
use google_cloud_pubsub::client::{Publisher, Subscriber};

use super::metrics::MetricsArgs;
use super::{PlaceArgs, mistake, say};

#[derive(Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The subscription of the budget's topic: its name, or projects/…/subscriptions/…
    #[arg(long, env = "COST_MONITOR_SUBSCRIPTION")]
    subscription: String,
    /// The topic for messages that are none of a budget's, with the reason; without it they are kept in the state alone
    #[arg(long, env = "COST_MONITOR_DEAD_LETTER_TOPIC")]
    dead_letter: Option<String>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Settings: policy and channels. Without it the built-in policy holds, and nobody is told
    #[arg(long, env = "COST_MONITOR_CONFIG")]
    config: Option<PathBuf>,
    /// An emulator to use instead of Pub/Sub
    #[arg(long, env = "PUBSUB_EMULATOR_HOST", value_name = "HOST")]
    pubsub_emulator: Option<String>,
    /// Seconds until a notice that was not taken is tried again; then twice as long each time
    #[arg(long, default_value_t = 5.0)]
    first_retry: f64,
}

#[derive(Args)]
pub(crate) struct StateArgs {
    /// The folder of the state and of brake.json; it must outlive the process
    #[arg(long, env = "COST_MONITOR_STATE", default_value = "cost-monitor")]
    state: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum BrakeCommand {
    /// Show what is in force, and how much is still to be done
    Show {
        #[command(flatten)]
        state: StateArgs,
    },
    /// End an action, until another threshold asks for it in a later period
    Release {
        /// Which
        action: Action,
        #[command(flatten)]
        state: StateArgs,
    },
}

const STATE_FILE: &str = "watch.sqlite";
const BRAKE_FILE: &str = "brake.json";

pub(crate) async fn watch(args: WatchArgs) -> Result<()> {
    let config = Config::read(args.config.as_deref()).map_err(|error| mistake(format!("{error:#}")))?;
    let first_retry =
        Duration::try_from_secs_f64(args.first_retry).map_err(|error| mistake(format!("--first-retry: {error}")))?;
    let folder = &args.state.state;
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let state = State::open(&folder.join(STATE_FILE)).await?;
    let warehouse = args.place.connect().await?;
    let (metrics, budget) = (args.metrics.publisher(&warehouse)?, args.metrics.budget()?);
    let access = if args.pubsub_emulator.is_some() { Access::Emulator } else { Access::google()? };
    let endpoint = args.pubsub_emulator.as_ref().map(|host| format!("http://{host}"));
    let mut subscriber = Subscriber::builder().with_credentials(access.for_pubsub());
    if let Some(endpoint) = &endpoint {
        subscriber = subscriber.with_endpoint(endpoint);
    }
    let full = |name: &str, kind: &str| match name.contains('/') {
        true => name.to_owned(),
        false => format!("projects/{}/{kind}/{name}", args.place.project),
    };
    let dead_letters = match &args.dead_letter {
        None => None,
        Some(topic) => {
            let mut publisher = Publisher::builder(full(topic, "topics")).with_credentials(access.for_pubsub());
            if let Some(endpoint) = &endpoint {
                publisher = publisher.with_endpoint(endpoint);
            }
            Some(publisher.build().await.context("the client of the dead letter topic cannot be made")?)
        }
    };
    let watch = Watch {
        state,
        config,
        warehouse: Some(warehouse),
        subscriber: subscriber.build().await.context("the client of the subscription cannot be made")?,
        subscription: full(&args.subscription, "subscriptions"),
        dead_letters,
        brake: folder.join(BRAKE_FILE),
        first_retry,
        metrics,
        budget,
    };
    tracing::info!(subscription = watch.subscription, "watching");
    watch.run(stopped()).await
}

/// Ready when the process is told to end.
async fn stopped() {
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! { () = interrupted => {}, _ = terminate.recv() => {} }
            return;
        }
    }
    interrupted.await;
}

pub(crate) async fn brake(command: BrakeCommand) -> Result<()> {
    match command {
        BrakeCommand::Show { state } => {
            let known = open(&state.state).await?;
            let shown =
                serde_json::json!({ "brake": file::of(&known.in_force().await?), "state": known.counts().await? });
            say(&serde_json::to_string_pretty(&shown)?)
        }
        BrakeCommand::Release { action, state } => {
            let known = open(&state.state).await?;
            let was_in_force = known.release(action, Utc::now()).await?;
            file::write(file::of(&known.in_force().await?), &state.state.join(BRAKE_FILE))?;
            say(&if was_in_force { format!("{action} is released") } else { format!("{action} was not in force") })
        }
    }
}

async fn open(folder: &Path) -> Result<State> {
    let file = folder.join(STATE_FILE);
    if !file.exists() {
        return Err(mistake(format!("{}: there is no state; name its folder with --state", file.display())));
    }
    Ok(State::open(&file).await?)
}
