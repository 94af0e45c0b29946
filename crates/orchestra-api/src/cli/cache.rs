//! `orchestra cache`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::arguments::{self, ScopeArgs};
use super::failure::Outcome;
use super::remember::text_or_stdin;
use super::screen::Screen;
use super::words;
use crate::client::Client;

/// Look answers up in the semantic cache, file them, remove them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra cache put 'How do I turn on dark mode?' 'Settings, Appearance, Dark mode.' --ttl 1d
  orchestra cache get 'how can I turn on dark mode'
  orchestra cache invalidate --tag pricing --dry-run")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(Get),
    Put(Put),
    Invalidate(Invalidate),
    Feedback(Feedback),
}

/// Look an answer up: by the exact prompt, else by a prompt of the same meaning.
///
/// A miss is no error. It tells the nearest entry that was not served, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra cache get 'How can I turn on dark mode?' --model gpt-5 --user maya")]
struct Get {
    /// The prompt; - reads it from the standard input.
    prompt: String,
    #[command(flatten)]
    answerer: Answerer,
    /// The least cosine similarity, -1.0 to 1.0. Default: the server's, which fits its model.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    threshold: Option<f64>,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// File an answer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra cache put 'Where does Maya sit?' 'At the window.' --user maya --ttl 1d --tag travel \\
    --made-of 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d@1")]
struct Put {
    /// The prompt.
    prompt: String,
    /// The answer; - reads it from the standard input.
    response: String,
    #[command(flatten)]
    answerer: Answerer,
    /// How long it is served, such as 90s, 15m, 2h or 7d. Default: the server's, one hour.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    ttl: Option<Duration>,
    /// A memory that the answer used: when it is corrected or forgotten, the answer goes. May be given more than once.
    #[arg(long, value_name = "ID")]
    depends_on: Vec<Uuid>,
    /// A memory that the answer used, in the version that was read: it is not filed if that was changed meanwhile, and goes as
    /// with --depends-on. May be given more than once.
    #[arg(long, value_name = "ID@VERSION", value_parser = memory_version)]
    made_of: Vec<(Uuid, u64)>,
    /// A label to invalidate by; may be given more than once.
    #[arg(long, value_name = "LABEL")]
    tag: Vec<String>,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Remove answers of a scope.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra cache invalidate --tag pricing
  orchestra cache invalidate --depends-on 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --user maya
  orchestra cache invalidate --all --dry-run")]
#[command(group = clap::ArgGroup::new("selection").required(true))]
struct Invalidate {
    /// The answers that used this memory; may be given more than once.
    #[arg(long, value_name = "ID", group = "selection")]
    depends_on: Vec<Uuid>,
    /// The answers with this label.
    #[arg(long, value_name = "LABEL", group = "selection")]
    tag: Option<String>,
    /// This entry.
    #[arg(long, value_name = "ID", group = "selection")]
    entry: Option<Uuid>,
    /// All answers of the scope.
    #[arg(long, group = "selection")]
    all: bool,
    /// Count only, change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Say of an answer that was served whether it was right.
///
/// A wrong one is removed at once: nobody gets it again. Both are counted, in the metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra cache get 'How can I turn on dark mode?' --user maya --json    tells the entry_id
  orchestra cache feedback 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d wrong --user maya")]
struct Feedback {
    /// The entry's id.
    entry: Uuid,
    /// What it was.
    verdict: Verdict,
    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// No answer to what was asked, or not true.
    Wrong,
    /// The answer.
    Right,
}

/// Who answers: an answer of one is never served for another.
#[derive(Debug, clap::Args)]
pub struct Answerer {
    /// The model that answers.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Its system prompt.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    match args.command {
        Command::Get(args) => get(args, client, screen).await,
        Command::Put(args) => put(args, client, screen).await,
        Command::Invalidate(args) => invalidate(args, client, screen).await,
        Command::Feedback(args) => feedback(args, client, screen).await,
    }
}

/// A prompt with who answers and whose answer it is.
pub fn body(prompt: String, answerer: Answerer, scope: &ScopeArgs) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("prompt".into(), prompt.into());
    body.insert("scope".into(), scope.body());
    body.extend(answerer.model.map(|model| ("model".to_owned(), model.into())));
    body.extend(answerer.system.map(|system| ("system".to_owned(), system.into())));
    body
}

async fn get(args: Get, client: &Client, screen: &Screen) -> Outcome {
    let mut body = body(text_or_stdin(args.prompt)?, args.answerer, &args.scope);
    body.extend(args.threshold.map(|threshold| ("threshold".to_owned(), threshold.into())));
    let answer = client.post("/v1/cache/lookup", &body.into()).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    screen.note(&verdict(&answer, screen));
    if answer["hit"] == true {
        screen.line(words::text(&answer, "response"))?;
    }
    Ok(())
}

/// What the cache found, in one line.
pub fn verdict(answer: &Value, screen: &Screen) -> String {
    let took = answer["took_ms"].as_f64().unwrap_or_default();
    let similarity = |value: &Value| value["similarity"].as_f64().unwrap_or_default();
    let near_miss = &answer["near_miss"];
    if answer["hit"] == true && words::text(answer, "kind") == "exact" {
        format!("{}, {took:.1} ms", screen.green("exact hit"))
    } else if answer["hit"] == true {
        let (prompt, similarity) = (words::text(answer, "prompt"), similarity(answer));
        format!("{} at similarity {similarity:.2} to {prompt:?}, {took:.1} ms", screen.green("hit by meaning"))
    } else if near_miss.is_object() && near_miss["refused"]["guard"].is_array() {
        let (prompt, similarity) = (words::text(near_miss, "prompt"), similarity(near_miss));
        let why = words::refusal(&near_miss["refused"]);
        format!("{}: similarity {similarity:.2} to {prompt:?}, but {why}, {took:.1} ms", screen.yellow("refused"))
    } else if near_miss.is_object() {
        let (prompt, similarity) = (words::text(near_miss, "prompt"), similarity(near_miss));
        let threshold = near_miss["refused"]["below_threshold"]["threshold"].as_f64().unwrap_or_default();
        let verdict = screen.yellow("not near enough");
        format!("{verdict}: similarity {similarity:.2} to {prompt:?}, and {threshold:.2} is asked for, {took:.1} ms")
    } else {
        format!("{}: nothing is near, {took:.1} ms", screen.dim("miss"))
    }
}

/// Reads a memory in one of its versions.
fn memory_version(text: &str) -> Result<(Uuid, u64), String> {
    let read = || {
        let (id, version) = text.split_once('@')?;
        Some((id.parse().ok()?, version.parse().ok()?))
    };
    let example = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d@1";
    read().ok_or_else(|| format!("{text:?} is no memory with its version; expected one such as {example}"))
}

async fn put(args: Put, client: &Client, screen: &Screen) -> Outcome {
    let mut body = body(args.prompt, args.answerer, &args.scope);
    body.insert("response".into(), text_or_stdin(args.response)?.into());
    body.extend(args.ttl.map(|ttl| ("ttl_seconds".to_owned(), ttl.as_secs_f64().into())));
    body.insert("depends_on".into(), json!(args.depends_on));
    let made_of = args.made_of.iter().map(|(id, version)| json!({"id": id, "version": version}));
    body.insert("made_of".into(), made_of.collect());
    body.insert("tags".into(), json!(args.tag));
    let answer = client.post("/v1/cache/entries", &body.into()).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    match answer["id"].as_str() {
        Some(id) => Ok(screen.line(&format!(
            "{} {id}, until {}",
            screen.green("filed"),
            words::moment(&answer["expires_at"])
        ))?),
        None => Ok(screen.line(&format!("{}: the cache is switched off", screen.yellow("not filed")))?),
    }
}

async fn invalidate(args: Invalidate, client: &Client, screen: &Screen) -> Outcome {
    let mut body = json!({"scope": args.scope.body(), "dry_run": args.dry_run});
    if !args.depends_on.is_empty() {
        body["memories"] = json!(args.depends_on);
    } else if let Some(tag) = args.tag {
        body["tag"] = tag.into();
    } else if let Some(entry) = args.entry {
        body["entry"] = json!(entry);
    } else {
        body["all"] = true.into();
    }
    let answer = client.post("/v1/cache/invalidate", &body).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    let verb = if args.dry_run { screen.yellow("would remove") } else { screen.green("removed") };
    let number = answer["removed"].as_u64().unwrap_or_default();
    let answers = if number == 1 { "one answer".into() } else { format!("{} answers", words::count(number)) };
    Ok(screen.line(&format!("{verb} {answers} of {}", args.scope.in_words()))?)
}

async fn feedback(args: Feedback, client: &Client, screen: &Screen) -> Outcome {
    let verdict = match args.verdict {
        Verdict::Wrong => "wrong",
        Verdict::Right => "right",
    };
    let body = json!({"entry": args.entry, "verdict": verdict, "scope": args.scope.body()});
    let answer = client.post("/v1/cache/feedback", &body).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    match (args.verdict, answer["removed"].as_u64()) {
        (Verdict::Right, _) => Ok(screen.line("noted")?),
        (Verdict::Wrong, Some(0) | None) => {
            Ok(screen.line(&format!("no answer of that id is in {}", args.scope.in_words()))?)
        }
        (Verdict::Wrong, Some(_)) => Ok(screen.line(&format!("{} the answer", screen.green("removed")))?),
    }
}
